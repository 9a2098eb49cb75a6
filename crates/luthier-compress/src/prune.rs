//! Fewer rows in the n-gram table.

use luthier_graph::{Graph, Tensor, TensorData};
use luthier_model::{Model, Preprocess};

use crate::CompressError;
use crate::int8::table_name;

/// Keeps the rows that move answers most, in their order, and gives the feature index the same
/// rows. What a row moves is its squared norm times its `usage`, the number of texts that it takes
/// part in: the part of the sum's variance that is lost with it. Ties go to the earlier row. A row
/// that goes takes its n-gram out of the count that scales the weights of a text, as if training
/// had never seen it. Gives the usage of the rows that stay, too.
pub(crate) fn prune_rows(
    model: &Model,
    usage: &[u32],
    keep: f64,
) -> Result<(Model, Vec<u32>), CompressError> {
    if !(keep > 0.0 && keep <= 1.0) {
        return Err(CompressError::Share);
    }
    let missing = CompressError::NotFound { step: "prune_rows", what: "table of n-gram rows" };
    let name = table_name(&model.graph).ok_or_else(|| missing.clone())?;
    let Some(Tensor { shape, data: TensorData::F32(values), .. }) = model.graph.tensor(&name)
    else {
        return Err(missing);
    };
    let [rows @ (1..), width @ (1..)] = shape[..] else { return Err(missing) };
    if usage.len() != rows {
        return Err(CompressError::Usage { found: usage.len(), rows });
    }
    let count = ((rows as f64 * keep).round() as usize).clamp(1, rows);
    let kept = largest(values, width, usage, count);
    let alike = looked_up_alike(&model.graph, &name);
    let mut model = model.clone();
    for tensor in model.graph.tensors.iter_mut().filter(|tensor| alike.contains(&tensor.name)) {
        keep_rows(tensor, &kept);
    }
    let Preprocess::NgramText(text) = &mut model.preprocess else { return Err(missing) };
    *text = text.with_index(text.index().retain(|row| kept[row]));
    let usage = usage.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(usage, _)| *usage);
    Ok((model, usage.collect()))
}

/// The constants that are gathered from by the same indices as `table`, itself among them.
pub(crate) fn looked_up_alike(graph: &Graph, table: &str) -> Vec<String> {
    let gathers =
        || graph.nodes.iter().filter(|node| node.op == "Gather" && node.inputs.len() == 2);
    let ids = gathers().find(|node| node.inputs[0] == table).map(|node| &node.inputs[1]);
    gathers().filter(|node| Some(&node.inputs[1]) == ids).map(|n| n.inputs[0].clone()).collect()
}

/// Drops the rows of a float32 tensor that are not `kept`.
fn keep_rows(tensor: &mut Tensor, kept: &[bool]) {
    let TensorData::F32(values) = &mut tensor.data else { return };
    let width = values.len() / kept.len();
    let rows = values.chunks_exact(width).zip(kept).filter(|(_, kept)| **kept);
    *values = rows.flat_map(|(row, _)| row).copied().collect();
    tensor.shape[0] = values.len() / width;
}

/// Marks the `count` rows that move answers most.
fn largest(values: &[f32], width: usize, usage: &[u32], count: usize) -> Vec<bool> {
    let squares = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>();
    let rows = values.chunks_exact(width).zip(usage);
    let moved: Vec<f32> = rows.map(|(row, usage)| squares(row) * *usage as f32).collect();
    let mut order: Vec<usize> = (0..moved.len()).collect();
    order.sort_unstable_by(|a, b| moved[*b].total_cmp(&moved[*a]).then(a.cmp(b)));
    let mut kept = vec![false; moved.len()];
    for row in &order[..count] {
        kept[*row] = true;
    }
    kept
}
