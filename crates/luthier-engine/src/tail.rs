//! What commonly follows trees, done row by row where they are: one row answers in the time that it
//! takes to hand a tensor to another engine.

use luthier_graph::{Attribute, Graph, Node, Tensor, TensorData};

use crate::forest::{logistic, softmax};

/// The largest matrix that is multiplied here.
const MAX_MATRIX: usize = 1 << 12;

/// What is done with every row of a `[rows, width]` tensor.
#[derive(Debug)]
pub(crate) enum RowStep {
    /// Nothing.
    Keep,
    /// A number and its operand make a number.
    Each(fn(f32, f32) -> f32, Vec<f32>),
    /// Multiplied by a matrix, `[width, columns]` and row-major.
    MatMul {
        matrix: Vec<f32>,
        columns: usize,
    },
    Exp,
    Sigmoid,
    Softmax,
}

impl RowStep {
    /// What `node` does with `read`, one of its inputs, which has `width` columns; nothing if it is
    /// not of this kind. Names in `graph` tell what is constant.
    pub(crate) fn of_node(node: &Node, graph: &Graph, read: &str, width: usize) -> Option<Self> {
        if !node.domain.is_empty() || node.outputs.len() != 1 {
            return None;
        }
        let operand =
            |name: &String| graph.tensor(name).and_then(|tensor| broadcast(tensor, width));
        match (node.op.as_str(), node.inputs.as_slice()) {
            ("Identity", [_]) => Some(Self::Keep),
            ("Cast", [_]) if attribute(node, "to") == Some(1) => Some(Self::Keep),
            ("Exp", [_]) => Some(Self::Exp),
            ("Sigmoid", [_]) => Some(Self::Sigmoid),
            // The default was axis 1 at first; of a matrix that is the same.
            ("Softmax", [_]) => {
                matches!(attribute(node, "axis"), None | Some(-1 | 1)).then_some(Self::Softmax)
            }
            ("MatMul", [left, right]) if left == read => matrix(graph.tensor(right)?, width),
            (op, [left, right]) if left == read => {
                let apply: fn(f32, f32) -> f32 = match op {
                    "Add" => |x, operand| x + operand,
                    "Sub" => |x, operand| x - operand,
                    "Mul" => |x, operand| x * operand,
                    "Div" => |x, operand| x / operand,
                    _ => return None,
                };
                Some(Self::Each(apply, operand(right)?))
            }
            (op, [left, right]) if right == read => {
                let apply: fn(f32, f32) -> f32 = match op {
                    "Add" => |x, operand| operand + x,
                    "Sub" => |x, operand| operand - x,
                    "Mul" => |x, operand| operand * x,
                    "Div" => |x, operand| operand / x,
                    _ => return None,
                };
                Some(Self::Each(apply, operand(left)?))
            }
            _ => None,
        }
    }

    /// Columns of the result where there are `width` before.
    pub(crate) fn width(&self, width: usize) -> usize {
        match self {
            Self::MatMul { columns, .. } => *columns,
            _ => width,
        }
    }

    /// Does it with rows of `width` columns.
    pub(crate) fn apply(&self, mut data: Vec<f32>, width: usize) -> Vec<f32> {
        match self {
            Self::Keep => {}
            Self::Each(apply, operands) => {
                for row in data.chunks_exact_mut(width) {
                    row.iter_mut().zip(operands).for_each(|(x, operand)| *x = apply(*x, *operand));
                }
            }
            Self::MatMul { matrix, columns } => return multiply(&data, width, matrix, *columns),
            Self::Exp => data.iter_mut().for_each(|x| *x = x.exp()),
            Self::Sigmoid => data.iter_mut().for_each(|x| *x = logistic(*x)),
            Self::Softmax => data.chunks_exact_mut(width).for_each(|row| softmax(row, |_| true)),
        }
        data
    }
}

fn multiply(data: &[f32], width: usize, matrix: &[f32], columns: usize) -> Vec<f32> {
    let mut products = vec![0.0; data.len() / width * columns];
    for (products, row) in products.chunks_exact_mut(columns).zip(data.chunks_exact(width)) {
        for (x, line) in row.iter().zip(matrix.chunks_exact(columns)) {
            products.iter_mut().zip(line).for_each(|(product, weight)| *product += x * weight);
        }
    }
    products
}

/// A constant as the operand of each of `width` columns.
fn broadcast(tensor: &Tensor, width: usize) -> Option<Vec<f32>> {
    let TensorData::F32(data) = &tensor.data else { return None };
    let one_row =
        tensor.shape.len() <= 2 && tensor.shape.iter().rev().skip(1).all(|size| *size == 1);
    match data.as_slice() {
        [operand] if one_row => Some(vec![*operand; width]),
        operands if one_row && operands.len() == width => Some(operands.to_vec()),
        _ => None,
    }
}

fn matrix(tensor: &Tensor, width: usize) -> Option<RowStep> {
    match (&tensor.data, tensor.shape.as_slice()) {
        (TensorData::F32(data), &[rows, columns])
            if rows == width && columns > 0 && data.len() <= MAX_MATRIX =>
        {
            Some(RowStep::MatMul { matrix: data.clone(), columns })
        }
        _ => None,
    }
}

fn attribute(node: &Node, name: &str) -> Option<i64> {
    node.attributes.iter().find_map(|(known, value)| match value {
        Attribute::Int(value) if known == name => Some(*value),
        _ => None,
    })
}
