//! What a model is: how raw rows become tensors, the graph, and how its outputs become answers.
//!
//! Start from [`Model`]. Training makes one, compression maps one to another, the bundle is its
//! form on disk and the server runs it. [`Preprocess`] and [`Decision`] are plain values with a
//! format number; nothing here reads files, trains or runs a graph.

mod decision;
mod import;
mod index;
mod ngrams;
mod scaling;
mod signature;
mod table;
mod tokens;

pub use decision::{Answer, ClassDecision, Decision, DecisionError, MAX_POINTS, NumberDecision};
pub use import::{ClassOutput, Gives, ImportError, PREDICTION, PROBABILITIES};
pub use index::{FeatureIndex, IndexError};
pub use ngrams::{
    Extractor, Group, HASH_BITS, MAX_CHARS, MAX_WORDS, MIN_CHARS, NgramText, Scratch,
    feature_weight,
};
pub use signature::{Field, Kind, Signature};
pub use table::COLUMNS;
pub use tokens::{Encoding, MAX_LENGTH, TokenInputs, TokenSettings, Tokens};

pub use luthier_data::{
    Categories, Cell, CellError, ColumnKind, MAX_CATEGORIES, MAX_COLUMNS, Table, TableColumn,
    TableError,
};
use luthier_graph::Graph;
use serde::{Deserialize, Serialize};

/// A complete model.
#[derive(Debug, Clone)]
pub struct Model {
    /// How a raw row becomes the graph's inputs.
    pub preprocess: Preprocess,
    /// The graph.
    pub graph: Graph,
    /// How the graph's output becomes an answer.
    pub decision: Decision,
    /// What goes in and out, in a caller's terms.
    pub signature: Signature,
}

/// How a raw row becomes the graph's inputs.
#[derive(Debug, Clone)]
pub enum Preprocess {
    /// Text to hashed n-grams: input [`NgramText::IDS`], int32 `[batch, features]`, and
    /// [`NgramText::WEIGHTS`], float32 of the same shape.
    NgramText(NgramText),
    /// Text to tokens: inputs as [`TokenInputs`] names them.
    Tokens(Tokens),
    /// Cells of a table to numbers: input [`COLUMNS`].
    Table(Table),
}

/// The serialisable part of a [`Preprocess`]; the index ([`FeatureIndex::to_bytes`]), the tokenizer
/// ([`Tokens::file`]) or the columns, as JSON, travel beside it as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PreprocessForm {
    /// See [`NgramText`].
    NgramText {
        /// Number of this form; readers refuse numbers above the ones they know.
        format: u32,
        /// Longest word n-gram; 0 means none.
        words: u8,
        /// Longest character n-gram; 0 means none.
        chars: u8,
        /// Bits of the feature hash.
        hash_bits: u32,
        /// Number of features in the index.
        features: usize,
    },
    /// See [`Tokens`].
    Tokens {
        /// Number of this form; readers refuse numbers above the ones they know.
        format: u32,
        /// How many tokens of a text count.
        max_length: usize,
        /// Id that fills up the shorter texts of a batch.
        pad: u32,
        /// The graph's inputs.
        inputs: TokenInputs,
    },
    /// See [`Table`].
    Table {
        /// Number of this form; readers refuse numbers above the ones they know.
        format: u32,
        /// Number of columns.
        columns: usize,
    },
}

/// Why a [`PreprocessForm`] cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreprocessError {
    /// It was written by a newer release.
    #[error("preprocessing format {found} is newer than {known}, the newest this release knows")]
    Format {
        /// The format found.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// A field is out of its range.
    #[error("preprocessing field `{field}` is out of range")]
    Field {
        /// The field.
        field: &'static str,
    },
    /// The index is broken.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The tokenizer cannot be used, or fails over a text.
    #[error("the tokenizer cannot be used: {reason}")]
    Tokenizer {
        /// Why.
        reason: String,
    },
    /// The columns of a table cannot be used.
    #[error("the columns cannot be used: {reason}")]
    Columns {
        /// Why.
        reason: String,
    },
    /// A text was given to a model that takes the cells of a table.
    #[error("the model takes the columns of a table, and not a text")]
    NoText,
    /// The graph does not take what the preprocessing gives.
    #[error("the graph's `{name}` {reason}")]
    Input {
        /// The input.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are tokens without a row.
    #[error("`{table}` has {rows} rows, and the tokenizer gives ids up to {}", .ids - 1)]
    Table {
        /// The constant that tokens are looked up in.
        table: String,
        /// Its rows.
        rows: usize,
        /// How many ids there are.
        ids: usize,
    },
}

impl Preprocess {
    /// Splits into the form to store and the bytes that travel beside it.
    pub fn to_form(&self) -> (PreprocessForm, Vec<u8>) {
        match self {
            Self::NgramText(text) => {
                let form = PreprocessForm::NgramText {
                    format: NgramText::FORMAT,
                    words: text.words(),
                    chars: text.chars(),
                    hash_bits: HASH_BITS,
                    features: text.index().len(),
                };
                (form, text.index().to_bytes())
            }
            Self::Tokens(tokens) => {
                let form = PreprocessForm::Tokens {
                    format: Tokens::FORMAT,
                    max_length: tokens.settings().max_length,
                    pad: tokens.pad(),
                    inputs: tokens.settings().inputs.clone(),
                };
                (form, tokens.file().to_vec())
            }
            Self::Table(table) => {
                let form =
                    PreprocessForm::Table { format: table::FORMAT, columns: table.columns().len() };
                (form, table::to_bytes(table))
            }
        }
    }

    /// Puts a stored form and its bytes together again.
    pub fn from_form(form: &PreprocessForm, bytes: &[u8]) -> Result<Self, PreprocessError> {
        match form {
            PreprocessForm::NgramText { format, words, chars, hash_bits, features } => {
                known(*format, NgramText::FORMAT)?;
                if *hash_bits != HASH_BITS {
                    return Err(PreprocessError::Field { field: "hash_bits" });
                }
                if *words > MAX_WORDS {
                    return Err(PreprocessError::Field { field: "words" });
                }
                if *chars > MAX_CHARS {
                    return Err(PreprocessError::Field { field: "chars" });
                }
                let index = FeatureIndex::from_bytes(bytes)?;
                if index.len() != *features {
                    return Err(PreprocessError::Field { field: "features" });
                }
                Ok(Self::NgramText(NgramText::new(*words, *chars, index)))
            }
            PreprocessForm::Tokens { format, max_length, pad, inputs } => {
                known(*format, Tokens::FORMAT)?;
                let settings = TokenSettings {
                    max_length: *max_length,
                    pad: Some(*pad),
                    inputs: inputs.clone(),
                };
                Ok(Self::Tokens(Tokens::new(bytes.to_vec(), settings)?))
            }
            PreprocessForm::Table { format, columns } => {
                known(*format, table::FORMAT)?;
                Ok(Self::Table(table::from_bytes(bytes, *columns)?))
            }
        }
    }

    /// Checks that `graph` takes what this gives.
    pub fn check(&self, graph: &Graph) -> Result<(), PreprocessError> {
        match self {
            Self::NgramText(_) => Ok(()),
            Self::Tokens(tokens) => tokens.check(graph),
            Self::Table(table) => table::check(table, graph),
        }
    }

    /// The columns that the model takes, if it takes some and no text.
    pub fn table(&self) -> Option<&Table> {
        match self {
            Self::Table(table) => Some(table),
            Self::NgramText(_) | Self::Tokens(_) => None,
        }
    }

    /// The share of what `text` consists of, n-grams or tokens, that the model does not know.
    pub fn unknown_share(&self, text: &str, scratch: &mut Scratch) -> Result<f64, PreprocessError> {
        match self {
            Self::NgramText(ngrams) => Ok(ngrams.unknown_share(text, scratch)),
            Self::Tokens(tokens) => {
                let (mut ids, mut types) = (Vec::new(), Vec::new());
                tokens.encode(text, &mut ids, &mut types)?;
                Ok(tokens.unknown_share(&ids))
            }
            Self::Table(_) => Err(PreprocessError::NoText),
        }
    }
}

fn known(format: u32, newest: u32) -> Result<(), PreprocessError> {
    match format > newest {
        true => Err(PreprocessError::Format { found: format, known: newest }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
