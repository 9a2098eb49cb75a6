//! What can be wrong with networks, batches and targets.

/// Why a batch cannot go through a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// It has no sequence.
    #[error("the batch has no sequence")]
    Empty,
    /// A sequence has no token, or more than there are positions.
    #[error("sequence {sequence} has {tokens} tokens, the network takes from 1 to {longest}")]
    Length {
        /// Counted from 0.
        sequence: usize,
        /// Its tokens.
        tokens: usize,
        /// The most that the network takes.
        longest: usize,
    },
    /// An id is not in its table.
    #[error("{table} has {rows} rows, id {id} is not one of them")]
    Id {
        /// `the table of words` or `the table of sentence types`.
        table: &'static str,
        /// The id.
        id: u32,
        /// Rows of the table.
        rows: usize,
    },
}

/// Why training cannot begin or go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A tensor has another size than the shape of the network calls for.
    #[error("tensor `{tensor}` has {found} numbers, its shape needs {expected}")]
    Shape {
        /// The tensor's name in this crate.
        tensor: String,
        /// Numbers that the shape needs.
        expected: usize,
        /// Numbers that there are.
        found: usize,
    },
    /// An option, or a number of the shape, is outside of its range.
    #[error("`{option}` must be {range}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// A batch does not fit the network.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Targets do not fit a batch.
    #[error("`{targets}` has {found} numbers, the batch needs {expected}")]
    Targets {
        /// Their name.
        targets: &'static str,
        /// Numbers that the batch needs.
        expected: usize,
        /// Numbers that there are.
        found: usize,
    },
    /// A label is not a class.
    #[error("label {label} of sequence {sequence} is not below {classes}, the number of classes")]
    Label {
        /// Counted from 0.
        sequence: usize,
        /// Its label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
    /// The loss or a gradient is infinite or not a number. The weights are as they were before the
    /// step.
    #[error("step {step} has loss {loss} and a gradient of length {gradient_norm}")]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// Its loss.
        loss: f64,
        /// The length of its gradient.
        gradient_norm: f64,
    },
}
