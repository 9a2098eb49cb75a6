//! What a dimension hangs on.

use serde::{Deserialize, Serialize};

/// A dimension is active when dimension `parent`, a choice, is active and took one of some options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Condition {
    parent: usize,
    /// At least one, ascending.
    options: Vec<usize>,
}

/// A condition in files: a single option stands there as a number.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    One { parent: usize, option: usize },
    Several { parent: usize, options: Vec<usize> },
}

impl From<Condition> for Stored {
    fn from(Condition { parent, options }: Condition) -> Self {
        match options.as_slice() {
            &[option] => Self::One { parent, option },
            _ => Self::Several { parent, options },
        }
    }
}

impl TryFrom<Stored> for Condition {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Self, &'static str> {
        match stored {
            Stored::One { parent, option } => Ok(Self::new(parent, [option])),
            Stored::Several { options, .. } if options.is_empty() => {
                Err("a condition has no options")
            }
            Stored::Several { parent, options } => Ok(Self::new(parent, options)),
        }
    }
}

impl Condition {
    /// The condition that dimension `parent` took one of `options`: positions in the space, where a
    /// parent comes before what hangs on it, and among the options of the parent.
    ///
    /// # Panics
    /// If there are no options.
    pub fn new(parent: usize, options: impl Into<Vec<usize>>) -> Self {
        let mut options = options.into();
        assert!(!options.is_empty(), "a condition has options");
        options.sort_unstable();
        options.dedup();
        Self { parent, options }
    }

    /// Position of the parent in the space.
    pub fn parent(&self) -> usize {
        self.parent
    }

    /// Positions of the options among those of the parent, ascending.
    pub fn options(&self) -> &[usize] {
        &self.options
    }

    /// Whether an option is one of them.
    pub fn has(&self, option: usize) -> bool {
        self.options.contains(&option)
    }

    /// The same options of the same parent where dimensions stand `offset` places later.
    pub(crate) fn moved(self, offset: usize) -> Self {
        Self { parent: self.parent + offset, ..self }
    }
}
