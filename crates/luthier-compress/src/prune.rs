//! Fewer rows in the n-gram table.

use luthier_graph::{Tensor, TensorData};
use luthier_model::{Model, Preprocess};

use crate::CompressError;
use crate::int8::table_name;

/// Keeps the rows that move answers most, in their order, and gives the feature index the same
/// rows. What a row moves is its squared norm times its `usage`, the number of texts that it takes
/// part in: the part of the sum's variance that is lost with it. Ties go to the earlier row. A row
/// that goes takes its n-gram out of the count that scales the weights of a text, as if training
/// had never seen it.
pub(crate) fn prune_rows(model: &Model, usage: &[u32], keep: f64) -> Result<Model, CompressError> {
    if !(keep > 0.0 && keep <= 1.0) {
        return Err(CompressError::Share);
    }
    let missing = CompressError::NotFound { step: "prune_rows", what: "table of n-gram rows" };
    let name = table_name(&model.graph).ok_or_else(|| missing.clone())?;
    let mut model = model.clone();
    let Preprocess::NgramText(text) = &mut model.preprocess;
    let table = model.graph.tensors.iter_mut().find(|tensor| tensor.name == name);
    let Some(Tensor { shape, data: TensorData::F32(values), .. }) = table else {
        return Err(missing);
    };
    let [rows, width] = shape[..] else { return Err(missing) };
    if usage.len() != rows {
        return Err(CompressError::Usage { found: usage.len(), rows });
    }
    let count = ((rows as f64 * keep).round() as usize).clamp(1, rows);
    let kept = largest(values, width, usage, count);
    let mut left = Vec::with_capacity(kept.iter().filter(|kept| **kept).count() * width);
    for (row, kept) in values.chunks_exact(width).zip(&kept) {
        if *kept {
            left.extend_from_slice(row);
        }
    }
    shape[0] = left.len() / width;
    *values = left;
    *text = text.with_index(text.index().retain(|row| kept[row]));
    Ok(model)
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
