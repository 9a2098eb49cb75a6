//! What a model is: how raw rows become tensors, the graph, and how its outputs become answers.
//!
//! Start from [`Model`]. Training makes one, compression maps one to another, the bundle is its
//! form on disk and the server runs it. [`Preprocess`] and [`Decision`] are plain values with a
//! format number; nothing here reads files, trains or runs a graph.

mod decision;
mod index;
mod ngrams;
mod signature;
mod temperature;

pub use decision::{Answer, Decision, DecisionError};
pub use index::{FeatureIndex, IndexError};
pub use ngrams::{
    Extractor, Group, HASH_BITS, MAX_CHARS, MAX_WORDS, MIN_CHARS, NgramText, Scratch,
    feature_weight,
};
pub use signature::{Field, Kind, Signature};

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
}

/// The serialisable part of a [`Preprocess`]; the index travels beside it as bytes
/// ([`FeatureIndex::to_bytes`]).
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
}

impl Preprocess {
    /// Splits into the form to store and the bytes of the index.
    pub fn to_form(&self) -> (PreprocessForm, Vec<u8>) {
        let Self::NgramText(text) = self;
        let form = PreprocessForm::NgramText {
            format: NgramText::FORMAT,
            words: text.words(),
            chars: text.chars(),
            hash_bits: HASH_BITS,
            features: text.index().len(),
        };
        (form, text.index().to_bytes())
    }

    /// Puts a stored form and its index together again.
    pub fn from_form(form: &PreprocessForm, index: &[u8]) -> Result<Self, PreprocessError> {
        let PreprocessForm::NgramText { format, words, chars, hash_bits, features } = form;
        if *format > NgramText::FORMAT {
            return Err(PreprocessError::Format { found: *format, known: NgramText::FORMAT });
        }
        if *hash_bits != HASH_BITS {
            return Err(PreprocessError::Field { field: "hash_bits" });
        }
        if *words > MAX_WORDS {
            return Err(PreprocessError::Field { field: "words" });
        }
        if *chars > MAX_CHARS {
            return Err(PreprocessError::Field { field: "chars" });
        }
        let index = FeatureIndex::from_bytes(index)?;
        if index.len() != *features {
            return Err(PreprocessError::Field { field: "features" });
        }
        Ok(Self::NgramText(NgramText::new(*words, *chars, index)))
    }
}

#[cfg(test)]
mod tests;
