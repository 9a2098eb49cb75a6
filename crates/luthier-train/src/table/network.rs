//! Networks over the columns of a table.

use luthier_graph::{DType, Dim, Graph, GraphBuilder};
use luthier_model::{COLUMNS, PREDICTION, PROBABILITIES};
use luthier_nn::Mlp;

use super::linear::LinearLayer;
use super::mlp;
use super::preparation::{Preparation, Prepared};
use crate::bag::softmax;
use crate::trees::Link;

/// A network over the columns of a table, with how their cells are prepared for it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableNetwork {
    pub(crate) preparation: Preparation,
    pub(crate) body: Body,
    /// From margins to what is told; there is a margin for each class.
    pub(crate) link: Link,
}

/// What makes margins of prepared rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    Linear(LinearLayer),
    Mlp(Mlp),
}

impl TableNetwork {
    /// The network as a graph from [`COLUMNS`], float32 `[batch, columns]`, to
    /// `probabilities`, `[batch, classes]`, or to `prediction`, `[batch, 1]`.
    pub fn graph(&self) -> Graph {
        let mut builder = GraphBuilder::new("table");
        let shape = |width| vec![Dim::Named("batch".to_owned()), Dim::Fixed(width)];
        let cells = builder.input(COLUMNS, DType::F32, shape(self.preparation.columns()));
        let prepared = self.preparation.nodes(&mut builder, &cells);
        let (name, op) = match self.link {
            Link::Softmax => ("logits", Some(("Softmax", PROBABILITIES))),
            Link::Identity => (PREDICTION, None),
            Link::Exp => ("logarithms", Some(("Exp", PREDICTION))),
        };
        let margins = match &self.body {
            Body::Linear(layer) => layer.nodes(&mut builder, &prepared, name),
            Body::Mlp(mlp) => mlp::nodes(mlp, &mut builder, &prepared, name),
        };
        let output = op.map_or(margins.clone(), |(op, name)| builder.node(op, &[&margins], name));
        builder.finish(&[(output.as_str(), DType::F32, shape(self.outputs()))])
    }

    /// What rows of cells, row-major `[rows, columns]`, are answered: probabilities, row-major
    /// `[rows, classes]`, or a number for each.
    pub fn answer(&self, cells: &[f32]) -> Vec<f32> {
        let columns = self.preparation.columns();
        let rows = cells.len().checked_div(columns).unwrap_or(0);
        let prepared = self.preparation.prepare(rows, |row, column| cells[row * columns + column]);
        self.answer_prepared(&prepared)
    }

    /// The same for rows that are prepared.
    pub(crate) fn answer_prepared(&self, rows: &Prepared) -> Vec<f32> {
        let mut answers = match &self.body {
            Body::Linear(layer) => layer.margins(rows),
            Body::Mlp(mlp) => mlp.outputs(mlp::inputs(rows)),
        };
        match self.link {
            Link::Softmax => answers.chunks_exact_mut(self.outputs()).for_each(softmax),
            Link::Identity => {}
            Link::Exp => answers.iter_mut().for_each(|margin| *margin = margin.exp()),
        }
        answers
    }

    fn outputs(&self) -> usize {
        match &self.body {
            Body::Linear(layer) => layer.bias.len(),
            Body::Mlp(mlp) => mlp.head.outputs(),
        }
    }
}
