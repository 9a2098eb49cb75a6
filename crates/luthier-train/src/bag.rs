//! The network of both learners, and its ONNX form.

use luthier_graph::{DType, Dim, GraphBuilder, TensorData};
use luthier_model::{
    Decision, Model, NgramText, PROBABILITIES, Preprocess, Signature, feature_weight,
};

use crate::TrainError;
use crate::data::{Subset, TextData};
use crate::matrix::Matrix;

/// A weighted sum of table rows, then dense layers, then softmax.
#[derive(Debug, Clone, PartialEq)]
pub struct BagNetwork {
    /// Row-major `[features, width]`.
    pub table: Vec<f32>,
    /// Columns of the table.
    pub width: usize,
    /// The square of what each feature was scaled by in training, one per row of the table. Where
    /// present, the sum is divided by the length of the scaled feature vector.
    pub squares: Option<Vec<f32>>,
    /// Layers after the sum, at least one; the last gives one logit per class.
    pub layers: Vec<Dense>,
}

/// One layer: `x · weights + bias`, then ReLU where `relu` is set.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// Row-major `[inputs, outputs]`; `None` passes the input through, so `outputs = inputs`.
    pub weights: Option<Vec<f32>>,
    /// One value per output.
    pub bias: Vec<f32>,
    /// Whether negative outputs become 0.
    pub relu: bool,
}

impl Dense {
    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Writes the layer's output for `input`.
    #[inline(always)]
    pub(crate) fn forward(&self, input: &[f32], output: &mut [f32]) {
        output.copy_from_slice(&self.bias);
        match &self.weights {
            None => axpy(1.0, input, output),
            Some(weights) => {
                for (x, row) in input.iter().zip(weights.chunks_exact(self.outputs())) {
                    axpy(*x, row, output);
                }
            }
        }
        if self.relu {
            output.iter_mut().for_each(|y| *y = y.max(0.0));
        }
    }

    /// From the gradient of the output to that of the input: clears the entries of `gradient`
    /// (one per output) where ReLU is off, then writes `input_gradient`.
    #[inline(always)]
    pub(crate) fn backward(
        &self,
        output: &[f32],
        gradient: &mut [f32],
        input_gradient: &mut [f32],
    ) {
        if self.relu {
            for (g, y) in gradient.iter_mut().zip(output) {
                if *y <= 0.0 {
                    *g = 0.0;
                }
            }
        }
        match &self.weights {
            None => input_gradient.copy_from_slice(gradient),
            Some(weights) => {
                for (g, row) in input_gradient.iter_mut().zip(weights.chunks_exact(self.outputs()))
                {
                    *g = row.iter().zip(&*gradient).map(|(w, g)| w * g).sum();
                }
            }
        }
    }
}

/// Keeps the length of a text without features from being 0.
const SMALLEST_SQUARE: f32 = 1e-12;

/// `y += a · x`.
#[inline(always)]
pub(crate) fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// Logits to probabilities, in place.
#[inline(always)]
pub(crate) fn softmax(logits: &mut [f32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in logits.iter_mut() {
        *x = (*x - max).exp();
        sum += *x;
    }
    logits.iter_mut().for_each(|x| *x /= sum);
}

impl BagNetwork {
    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.layers.last().map_or(self.width, Dense::outputs)
    }

    /// Probabilities of one text whose features are `rows`, all of the same `weight`.
    pub fn predict(&self, rows: &[u32], weight: f32) -> Vec<f32> {
        let mut state = vec![0.0; self.width];
        for &row in rows {
            axpy(1.0, self.row(row), &mut state);
        }
        state.iter_mut().for_each(|x| *x *= weight);
        if let Some(squares) = &self.squares {
            let sum: f32 = rows.iter().map(|row| weight * weight * squares[*row as usize]).sum();
            let length = sum.max(SMALLEST_SQUARE).sqrt();
            state.iter_mut().for_each(|x| *x /= length);
        }
        for layer in &self.layers {
            let mut output = vec![0.0; layer.outputs()];
            layer.forward(&state, &mut output);
            state = output;
        }
        softmax(&mut state);
        state
    }

    /// Writes the probabilities of the validation rows, row-major `[rows, classes]`.
    pub(crate) fn predict_valid(
        &self,
        data: &TextData<'_>,
        matrix: &Matrix,
        probabilities: &mut Vec<f32>,
    ) -> Result<(), TrainError> {
        let classes = self.classes();
        probabilities.resize(data.valid().labels.len() * classes, 0.0);
        data.chunks(matrix, Subset::Valid, &mut |chunk| {
            for row in 0..chunk.rows.len() {
                let columns = chunk.rows.row(row);
                let start = chunk.number(row) * classes;
                let found = self.predict(columns, feature_weight(columns.len()));
                probabilities[start..start + classes].copy_from_slice(&found);
            }
        })
    }

    /// The same network with a table that has copies of the given `rows`.
    pub(crate) fn with_rows(&self, rows: &[u32]) -> Self {
        let squares = self.squares.as_ref();
        Self {
            table: rows.iter().flat_map(|row| self.row(*row)).copied().collect(),
            squares: squares.map(|all| rows.iter().map(|row| all[*row as usize]).collect()),
            width: self.width,
            layers: self.layers.clone(),
        }
    }

    #[inline(always)]
    pub(crate) fn row(&self, row: u32) -> &[f32] {
        let start = row as usize * self.width;
        &self.table[start..start + self.width]
    }

    /// Exports the network behind `preprocess`. The graph reads [`NgramText::IDS`] and
    /// [`NgramText::WEIGHTS`], both `[batch, features]`, and gives `probabilities`,
    /// `[batch, classes]`: Gather, weighted sum (a matrix product), dense layers, Softmax.
    pub(crate) fn to_model(&self, preprocess: NgramText, decision: Decision) -> Model {
        let mut builder = GraphBuilder::new("bag");
        let batch = || Dim::Named("batch".to_owned());
        let ragged = || vec![batch(), Dim::Named("features".to_owned())];
        let ids = builder.input(NgramText::IDS, DType::I32, ragged());
        let weights = builder.input(NgramText::WEIGHTS, DType::F32, ragged());
        let shape = vec![self.table.len() / self.width, self.width];
        let table = builder.constant("table", shape, TensorData::F32(self.table.clone()));
        let axis = builder.constant("feature_axis", vec![1], TensorData::I64(vec![1]));
        let rows = builder.node("Gather", &[&table, &ids], "rows");
        let line = builder.node("Unsqueeze", &[&weights, &axis], "weight_rows");
        let sum = builder.node("MatMul", &[&line, &rows], "sums");
        let mut state = builder.node("Squeeze", &[&sum, &axis], "pooled");
        if let Some(squares) = &self.squares {
            state = length_nodes(&mut builder, squares, [&ids, &weights, &axis], &state);
        }
        let mut inputs = self.width;
        for (index, layer) in self.layers.iter().enumerate() {
            state = dense_nodes(&mut builder, layer, index, inputs, &state);
            inputs = layer.outputs();
        }
        let output = builder.node("Softmax", &[&state], PROBABILITIES);
        let classes = self.classes();
        let outputs = [(output.as_str(), DType::F32, vec![batch(), Dim::Fixed(classes)])];
        Model {
            preprocess: Preprocess::NgramText(preprocess),
            graph: builder.finish(&outputs),
            signature: Signature::text_classifier(classes, decision.positive().is_some()),
            decision,
        }
    }
}

/// Divides `state` by the length of the scaled feature vector: the root of the weights' squares
/// times the squared scales, summed.
fn length_nodes(
    builder: &mut GraphBuilder,
    squares: &[f32],
    [ids, weights, axis]: [&str; 3],
    state: &str,
) -> String {
    let table = TensorData::F32(squares.to_vec());
    let table = builder.constant("squares", vec![squares.len()], table);
    let smallest = TensorData::F32(vec![SMALLEST_SQUARE]);
    let smallest = builder.constant("smallest_square", vec![1], smallest);
    let scales = builder.node("Gather", &[&table, ids], "row_squares");
    let weighted = builder.node("Mul", &[weights, weights], "weight_squares");
    let products = builder.node("Mul", &[&weighted, &scales], "scaled_squares");
    let sum = builder.node("ReduceSum", &[&products, axis], "square_sum");
    let sum = builder.node("Max", &[&sum, &smallest], "positive_sum");
    let length = builder.node("Sqrt", &[&sum], "length");
    builder.node("Div", &[state, &length], "direction")
}

fn dense_nodes(
    builder: &mut GraphBuilder,
    layer: &Dense,
    index: usize,
    inputs: usize,
    state: &str,
) -> String {
    let name = |part: &str| format!("dense{index}.{part}");
    let mut state = state.to_owned();
    if let Some(weights) = &layer.weights {
        let shape = vec![inputs, layer.outputs()];
        let data = TensorData::F32(weights.clone());
        let weights = builder.constant(&name("weights"), shape, data);
        state = builder.node("MatMul", &[&state, &weights], &name("product"));
    }
    let bias = TensorData::F32(layer.bias.clone());
    let bias = builder.constant(&name("bias"), vec![layer.outputs()], bias);
    state = builder.node("Add", &[&state, &bias], &name("sum"));
    if layer.relu {
        state = builder.node("Relu", &[&state], &name("relu"));
    }
    state
}
