//! What goes into a model and what comes out, in a caller's terms.

use serde::{Deserialize, Serialize};

/// Named inputs and outputs of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// What a caller gives, per row.
    pub inputs: Vec<Field>,
    /// What a caller gets, per row.
    pub outputs: Vec<Field>,
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Name.
    pub name: String,
    /// Element type.
    pub kind: Kind,
    /// Shape; −1 is the batch.
    pub shape: Vec<i64>,
}

/// Element type of a [`Field`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// UTF-8 text.
    String,
    /// 32-bit floating point.
    Float32,
}

impl Signature {
    /// One text in; the score of the positive class out, or one score per class.
    pub fn text_classifier(classes: usize, binary: bool) -> Self {
        let shape = if binary { vec![-1] } else { vec![-1, classes as i64] };
        Self {
            inputs: vec![Field { name: "text".into(), kind: Kind::String, shape: vec![-1] }],
            outputs: vec![Field { name: "scores".into(), kind: Kind::Float32, shape }],
        }
    }
}
