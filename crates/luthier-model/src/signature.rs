//! What goes into a model and what comes out, in a caller's terms.

use serde::{Deserialize, Serialize};

use crate::{ColumnKind, Decision, PREDICTION, Table, TableColumn};

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
    /// The columns of a table in, each under its name: numbers as float32, where NaN is missing, and
    /// categories and times as text, where the empty one is. Out comes what [`Self::text_classifier`]
    /// gives, or the number.
    pub fn of_table(table: &Table, decision: &Decision) -> Self {
        let input = |column: &TableColumn| Field {
            name: column.name.clone(),
            kind: match column.kind {
                ColumnKind::Number => Kind::Float32,
                ColumnKind::Time | ColumnKind::Category(_) => Kind::String,
            },
            shape: vec![-1],
        };
        let inputs = table.columns().iter().map(input).collect();
        let outputs = match decision {
            Decision::Class(decision) => {
                Self::text_classifier(decision.classes(), decision.positive.is_some()).outputs
            }
            Decision::Number(_) => {
                vec![Field { name: PREDICTION.into(), kind: Kind::Float32, shape: vec![-1] }]
            }
        };
        Self { inputs, outputs }
    }

    /// One text in; the score of the positive class out, or one score per class.
    pub fn text_classifier(classes: usize, binary: bool) -> Self {
        let shape = if binary { vec![-1] } else { vec![-1, classes as i64] };
        Self {
            inputs: vec![Field { name: "text".into(), kind: Kind::String, shape: vec![-1] }],
            outputs: vec![Field { name: "scores".into(), kind: Kind::Float32, shape }],
        }
    }
}
