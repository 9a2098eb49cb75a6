//! Texts of even lengths.

use luthier_graph::{Graph, Node, TensorData};
use luthier_model::Model;

use crate::CompressError;

/// Lets the weighted sum pass without being divided by the length of the text's feature vector.
/// Training keeps the mean square of the scales at 1, so the typical length is 1 too.
pub(crate) fn drop_lengths(model: &Model) -> Result<Model, CompressError> {
    let missing = CompressError::NotFound { step: "even_lengths", what: "division by a length" };
    let division = division(&model.graph).ok_or(missing)?;
    let (sum, quotient) = (division.inputs[0].clone(), division.outputs[0].clone());
    let mut model = model.clone();
    model.graph.bypass(&quotient, &sum);
    Ok(model)
}

pub(crate) fn has_lengths(graph: &Graph) -> bool {
    division(graph).is_some()
}

/// The division by a root of what a single column gives.
fn division(graph: &Graph) -> Option<&Node> {
    let column = |node: &Node| {
        let table = node.inputs.first().and_then(|table| graph.tensor(table));
        node.op == "Gather"
            && table.is_some_and(|t| t.shape.len() == 1 && matches!(t.data, TensorData::F32(_)))
    };
    graph.nodes.iter().any(column).then_some(())?;
    graph.nodes.iter().find(|node| {
        let divisor = node.inputs.get(1).and_then(|divisor| graph.producer(divisor));
        node.op == "Div" && divisor.is_some_and(|divisor| divisor.op == "Sqrt")
    })
}
