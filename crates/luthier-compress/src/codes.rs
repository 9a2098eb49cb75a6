//! One byte per row for both constants of a binary linear model.
//!
//! Such a model looks up a weight and a square by the same ids. Both constants shrink to the
//! columns of a [`Codebook`], and each row gets a code, its place there: `Gather` of codes →
//! `Cast` → `Gather` of weights and of squares. Only operators of the default set are used, so
//! every engine reads the result.

use luthier_graph::{Attribute, Graph, Tensor, TensorData};
use luthier_model::Model;

use crate::CompressError;
use crate::codebook::Codebook;
use crate::int8::{node, table_name};
use crate::prune::looked_up_alike;

/// ONNX's number for int32, for `Cast`.
const INT32: i64 = 6;

pub(crate) fn encode(model: &Model, usage: &[u32]) -> Result<Model, CompressError> {
    let what = "single column of finite weights with squares";
    let columns =
        Columns::find(&model.graph).ok_or(CompressError::NotFound { step: "codes", what })?;
    let rows = columns.weights.len();
    if usage.len() != rows {
        return Err(CompressError::Usage { found: usage.len(), rows });
    }
    let codebook = Codebook::new(columns.weights, columns.squares, usage);
    let names = columns.names.map(str::to_owned);
    let mut model = model.clone();
    look_up(&mut model.graph, &names, codebook);
    Ok(model)
}

pub(crate) fn has_columns(graph: &Graph) -> bool {
    Columns::find(graph).is_some()
}

/// The weights and squares of rows, finite float32, one of each per row.
struct Columns<'a> {
    names: [&'a str; 2],
    weights: &'a [f32],
    squares: &'a [f32],
}

impl<'a> Columns<'a> {
    /// The table, of a single column, and the only other constant that is looked up by the same
    /// ids.
    fn find(graph: &'a Graph) -> Option<Self> {
        let table = graph.tensor(&table_name(graph)?)?;
        let mut others = looked_up_alike(graph, &table.name);
        others.retain(|name| *name != table.name);
        let [other] = &others[..] else { return None };
        let other = graph.tensor(other)?;
        match ([table, other].map(|tensor| &tensor.data), &table.shape[..], &other.shape[..]) {
            ([TensorData::F32(weights), TensorData::F32(squares)], [rows, 1], [more])
                if rows == more
                    && *rows > 0
                    && weights.iter().chain(squares).all(|value| value.is_finite()) =>
            {
                Some(Self { names: [&table.name, &other.name], weights, squares })
            }
            _ => None,
        }
    }
}

/// Puts the codebook where the constants called `names`, weights and squares, were, and has it
/// looked up by the codes of the ids.
fn look_up(graph: &mut Graph, names: &[String; 2], codebook: Codebook) {
    let reads = |name: &str| names.iter().any(|known| known == name);
    let Some(first) = graph.nodes.iter().position(|n| n.op == "Gather" && reads(&n.inputs[0]))
    else {
        return;
    };
    let [codes, bytes, places] = ["codes", "row_codes", "row_places"].map(str::to_owned);
    let ids = graph.nodes[first].inputs[1].clone();
    for node in graph.nodes.iter_mut().filter(|n| n.op == "Gather" && reads(&n.inputs[0])) {
        node.inputs[1].clone_from(&places);
    }
    let to = vec![("to".to_owned(), Attribute::Int(INT32))];
    let gather = node("Gather", vec![codes.clone(), ids], &bytes, Vec::new());
    graph.nodes.splice(first..first, [gather, node("Cast", vec![bytes], &places, to)]);
    graph.tensors.retain(|tensor| !reads(&tensor.name));
    let [weights, squares] = names.clone();
    let (rows, size) = (codebook.codes.len(), codebook.weights.len());
    graph.tensors.extend([
        Tensor { name: codes, shape: vec![rows], data: TensorData::U8(codebook.codes) },
        Tensor { name: weights, shape: vec![size, 1], data: TensorData::F32(codebook.weights) },
        Tensor { name: squares, shape: vec![size], data: TensorData::F32(codebook.squares) },
    ]);
}

#[cfg(test)]
mod tests;
