//! 8-bit integers for tables and dense weights.
//!
//! A table that feeds `Gather` → `MatMul` as the right operand becomes int8 with one scale per
//! column; since the scale is the same for all rows, it is applied once, after the weighted sum:
//! `Gather` → `Cast` → `MatMul` → `Mul`. Single columns and embeddings that are used otherwise are
//! scaled when they have been gathered. Dense weights become int8 constants behind `DequantizeLinear`. Only operators of the default set are used, so every engine
//! reads the result.

use luthier_graph::{Attribute, Graph, Node, Tensor, TensorData};
use luthier_model::{Model, Preprocess};

use crate::CompressError;

/// Dense weights with fewer elements than this stay as they are: scales would eat the gain.
const MIN_DENSE: usize = 256;
/// ONNX's number for float32, for `Cast`.
const FLOAT: i64 = 1;
/// Largest magnitude of a quantised weight.
const MAX_LEVEL: f32 = 127.0;

pub(crate) fn quantize(model: &Model) -> Result<Model, CompressError> {
    if !applies(model) {
        return Err(CompressError::NotFound { step: "int8", what: "large table or dense weights" });
    }
    let mut model = model.clone();
    if let Some(name) = table_name(&model.graph) {
        quantize_table(&mut model.graph, &name);
    }
    quantize_gathered(&mut model.graph);
    quantize_dense(&mut model.graph);
    Ok(model)
}

/// Whether a model has what is to be stored as 8-bit integers: its n-gram table, or anything large where
/// there are no n-grams.
pub(crate) fn applies(model: &Model) -> bool {
    let graph = &model.graph;
    match model.preprocess {
        Preprocess::NgramText(_) => table_name(graph).is_some(),
        Preprocess::Tokens(_) => !gathered(graph).is_empty() || !dense(graph).is_empty(),
        Preprocess::Table(_) => false,
    }
}

/// The constant, `[rows, width]` float32, that is gathered from by ids that are fed, and summed by
/// a matrix product.
pub(crate) fn table_name(graph: &Graph) -> Option<String> {
    let fed = |node: &&Node| {
        let ids = node.inputs.get(1);
        node.op == "Gather" && graph.inputs.iter().any(|input| Some(&input.name) == ids)
    };
    graph.nodes.iter().filter(fed).find_map(|gather| {
        let table = graph.tensor(gather.inputs.first()?)?;
        let summed = graph.nodes.iter().any(|node| sums(node, &gather.outputs[0]));
        let fits = table.shape.len() == 2 && matches!(table.data, TensorData::F32(_));
        (summed && fits).then(|| table.name.clone())
    })
}

fn sums(node: &Node, rows: &str) -> bool {
    node.op == "MatMul" && node.inputs.get(1).is_some_and(|input| input == rows)
}

fn quantize_table(graph: &mut Graph, table: &str) {
    let scale = format!("{table}.scale");
    let Some(columns) = replace_by_int8(graph, table) else { return };
    let width = columns.len();
    graph.tensors.push(Tensor {
        name: scale.clone(),
        shape: vec![width],
        data: TensorData::F32(columns),
    });
    let Some(gather) = graph.nodes.iter().position(|n| n.op == "Gather" && n.inputs[0] == table)
    else {
        return;
    };
    let rows = graph.nodes[gather].outputs[0].clone();
    let levels = format!("{rows}.int8");
    graph.nodes[gather].outputs[0].clone_from(&levels);
    let cast = node("Cast", vec![levels], &rows, vec![("to".into(), Attribute::Int(FLOAT))]);
    graph.nodes.insert(gather + 1, cast);
    let Some(product) = graph.nodes.iter().position(|node| sums(node, &rows)) else { return };
    let sum = graph.nodes[product].outputs[0].clone();
    let unscaled = format!("{sum}.unscaled");
    graph.nodes[product].outputs[0].clone_from(&unscaled);
    graph.nodes.insert(product + 1, node("Mul", vec![unscaled, scale], &sum, Vec::new()));
}

/// Other constants that rows are gathered from, single columns and embeddings: int8 with one scale per
/// column, applied to what was gathered.
fn quantize_gathered(graph: &mut Graph) {
    for name in gathered(graph) {
        let scale = format!("{name}.scale");
        let Some(scales) = replace_by_int8(graph, &name) else { continue };
        graph.tensors.push(Tensor {
            name: scale.clone(),
            shape: vec![scales.len()],
            data: TensorData::F32(scales),
        });
        let mut position = 0;
        while position < graph.nodes.len() {
            if graph.nodes[position].inputs.first() == Some(&name) {
                let values = graph.nodes[position].outputs[0].clone();
                let (levels, floats) = (format!("{values}.int8"), format!("{values}.unscaled"));
                graph.nodes[position].outputs[0].clone_from(&levels);
                let to_float = vec![("to".to_owned(), Attribute::Int(FLOAT))];
                let cast = node("Cast", vec![levels], &floats, to_float);
                let scaled = node("Mul", vec![floats, scale.clone()], &values, Vec::new());
                graph.nodes.splice(position + 1..position + 1, [cast, scaled]);
            }
            position += 1;
        }
    }
}

/// The large constants of float32, single columns and matrices, that are only read by gathering rows.
fn gathered(graph: &Graph) -> Vec<String> {
    let by_row = |node: &Node| {
        let axis =
            |(name, value): &(String, Attribute)| name != "axis" || *value == Attribute::Int(0);
        node.op == "Gather" && node.attributes.iter().all(axis)
    };
    let is_gathered = |tensor: &&Tensor| {
        let mut readers = graph.nodes.iter().filter(|node| node.inputs.contains(&tensor.name));
        is_large(tensor)
            && matches!(tensor.shape.len(), 1 | 2)
            && graph.nodes.iter().any(|node| node.inputs.contains(&tensor.name))
            && readers.all(|node| by_row(node) && node.inputs[0] == tensor.name)
    };
    graph.tensors.iter().filter(is_gathered).map(|tensor| tensor.name.clone()).collect()
}

fn is_large(tensor: &Tensor) -> bool {
    matches!(tensor.data, TensorData::F32(_)) && tensor.data.len() >= MIN_DENSE
}

fn level(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-MAX_LEVEL, MAX_LEVEL) as i8
}

fn quantize_dense(graph: &mut Graph) {
    for name in dense(graph) {
        let Some(scales) = replace_by_int8(graph, &name) else { continue };
        let (scale, floats) = (format!("{name}.scale"), format!("{name}.float"));
        graph.tensors.push(Tensor {
            name: scale.clone(),
            shape: vec![scales.len()],
            data: TensorData::F32(scales),
        });
        for node in &mut graph.nodes {
            node.inputs.iter_mut().filter(|input| **input == name).for_each(|input| {
                input.clone_from(&floats);
            });
        }
        let axis = vec![("axis".to_owned(), Attribute::Int(1))];
        let dequantize = node("DequantizeLinear", vec![name, scale], &floats, axis);
        graph.nodes.insert(0, dequantize);
    }
}

/// The large matrices of float32 that something is multiplied by.
fn dense(graph: &Graph) -> Vec<String> {
    let products = graph.nodes.iter().filter(|node| node.op == "MatMul" || node.op == "Gemm");
    let weights = products.filter_map(|node| graph.tensor(node.inputs.get(1)?));
    let mut names = Vec::new();
    for weights in weights.filter(|weights| weights.shape.len() == 2 && is_large(weights)) {
        if !names.contains(&weights.name) {
            names.push(weights.name.clone());
        }
    }
    names
}

pub(crate) fn node(
    op: &str,
    inputs: Vec<String>,
    output: &str,
    attributes: Vec<(String, Attribute)>,
) -> Node {
    Node {
        name: format!("{op}/{output}"),
        op: op.to_owned(),
        domain: String::new(),
        inputs,
        outputs: vec![output.to_owned()],
        attributes,
    }
}

/// Turns a float32 matrix, or a single column, into int8 with one scale per column, and gives the
/// scales.
fn replace_by_int8(graph: &mut Graph, name: &str) -> Option<Vec<f32>> {
    let tensor = graph.tensors.iter_mut().find(|tensor| tensor.name == name)?;
    let TensorData::F32(values) = &tensor.data else { return None };
    let width = if tensor.shape.len() == 1 { 1 } else { *tensor.shape.last()? };
    let scales: Vec<f32> = (0..width).map(|column| column_scale(values, width, column)).collect();
    let positions = values.iter().enumerate();
    let levels = positions.map(|(position, value)| level(*value, scales[position % width]));
    tensor.data = TensorData::I8(levels.collect());
    Some(scales)
}

/// The scale of one column: the largest magnitude, or less where clipping the few largest weights
/// lowers the squared error of all.
fn column_scale(values: &[f32], width: usize, column: usize) -> f32 {
    let column = || values.iter().skip(column).step_by(width).copied();
    let largest = column().fold(0.0f32, |max, x| max.max(x.abs()));
    if largest < f32::MIN_POSITIVE * MAX_LEVEL {
        return 1.0;
    }
    let error = |scale: f32| -> f64 {
        let error = |x: f32| x - (x / scale).round_ties_even().clamp(-MAX_LEVEL, MAX_LEVEL) * scale;
        column().map(|x| f64::from(error(x)).powi(2)).sum()
    };
    let candidates = (0..10).map(|step| largest * (1.0 - 0.08 * step as f32) / MAX_LEVEL);
    let best = candidates.map(|scale| (error(scale), scale)).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(largest / MAX_LEVEL, |(_, scale)| scale)
}
