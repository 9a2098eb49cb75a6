//! The ONNX form of a classifier on an encoder.
//!
//! One graph of plain operators, of which engines recognise those that they have a faster form for:
//! a product and its bias, attention's softmax with its mask, GELU. Constants carry the names that
//! the weights have in BERT's checkpoints; matrices are transposed, since `MatMul` wants inputs
//! first.

use luthier_graph::{Attribute, DType, Dim, Graph, GraphBuilder, TensorData};
use luthier_model::{
    Decision, Model, PROBABILITIES, Preprocess, PreprocessError, Signature, TokenInputs, Tokens,
};
use luthier_nn::{
    Activation, Encoder, EncoderConfig, EncoderLayer, Linear, Norm, Pooling, SequenceClassifier,
};

use crate::layers;

/// Bytes that protobuf can have in a message, less what is there beside the weights.
const MAX_BYTES: u64 = (1 << 31) - (1 << 20);
/// What is added to the scores of places where a text is filled up: far below any score, and finite,
/// so that a text without tokens gives no NaN.
const MASKED: f32 = -1e9;
/// ONNX's number for float32, for `Cast`.
const FLOAT: i64 = 1;

/// Why a classifier has no ONNX form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The weights do not fit into one ONNX file.
    #[error("the weights have {bytes} bytes, and an ONNX file holds {MAX_BYTES} at most")]
    TooLarge {
        /// Bytes of the weights.
        bytes: u64,
    },
    /// Texts are longer than the encoder takes.
    #[error("texts have up to {asked} tokens, and the encoder takes {longest}")]
    TooLong {
        /// Tokens of the longest texts.
        asked: usize,
        /// What the encoder takes.
        longest: usize,
    },
    /// The tokens are not those of the encoder.
    #[error(transparent)]
    Tokens(#[from] PreprocessError),
}

/// Checks that a classifier of this shape will have an ONNX form.
pub fn check_size(config: &EncoderConfig, classes: usize) -> Result<(), ExportError> {
    let bytes = weight_bytes(config, classes);
    match bytes > MAX_BYTES {
        true => Err(ExportError::TooLarge { bytes }),
        false => Ok(()),
    }
}

/// Bytes of a classifier's weights.
fn weight_bytes(config: &EncoderConfig, classes: usize) -> u64 {
    let wide = |size: usize| size as u128;
    let (hidden, intermediate) = (wide(config.hidden), wide(config.intermediate));
    let linear = |inputs: u128, outputs: u128| (inputs + 1) * outputs;
    let norm = 2 * hidden;
    let layer = 4 * linear(hidden, hidden)
        + linear(hidden, intermediate)
        + linear(intermediate, hidden)
        + 2 * norm;
    let rows = wide(config.vocabulary) + wide(config.longest()) + wide(config.types);
    let all = rows * hidden + norm + wide(config.layers) * layer + linear(hidden, wide(classes));
    u64::try_from(all * size_of::<f32>() as u128).unwrap_or(u64::MAX)
}

/// Exports a classifier behind its tokens. The graph reads int64 `[batch, tokens]` as [`TokenInputs`]
/// names them and gives [`PROBABILITIES`], `[batch, classes]`: a softmax of `logits`, which end in
/// the bias of the head. Without an input for them, all tokens are of sentence type 0.
pub fn to_model(
    classifier: SequenceClassifier,
    tokens: Tokens,
    decision: Decision,
) -> Result<Model, ExportError> {
    let config = &classifier.encoder.config;
    let classes = classifier.head.bias.len();
    check_size(config, classes)?;
    let (asked, longest) = (tokens.settings().max_length, config.longest());
    if asked > longest {
        return Err(ExportError::TooLong { asked, longest });
    }
    let graph = graph(classifier, &tokens.settings().inputs);
    tokens.check(&graph)?;
    Ok(Model {
        preprocess: Preprocess::Tokens(tokens),
        graph,
        signature: Signature::text_classifier(classes, decision.positive().is_some()),
        decision,
    })
}

fn graph(classifier: SequenceClassifier, inputs: &TokenInputs) -> Graph {
    let SequenceClassifier { encoder, pooling, head } = classifier;
    let Encoder { config, words, positions, types, norm, layers } = encoder;
    let mut writer = Writer::new(&config);
    let ids = writer.input(&inputs.ids);
    let mask = writer.input(&inputs.mask);
    let type_ids = inputs.types.as_ref().map(|name| writer.input(name));
    let to_float = vec![("to", Attribute::Int(FLOAT))];
    let mask = writer.builder.node_with("Cast", &[&mask], "mask", to_float);
    let masked = writer.masked(&mask);

    let words = writer.words(words, &ids);
    let positions = writer.positions(positions, config.first_position, &ids);
    let places = writer.types(types, type_ids.as_deref(), &positions);
    let sum = writer.node("Add", &[&words, &places], "embeddings.sum");
    let mut states = writer.norm("embeddings.LayerNorm", norm, &sum);
    let last = layers.len().saturating_sub(1);
    for (index, layer) in layers.into_iter().enumerate() {
        // Nothing reads what the last layer would give for other tokens.
        let rows = match (pooling, index == last) {
            (Pooling::First, true) => writer.first(&states),
            _ => states.clone(),
        };
        states = writer.layer(index, layer, &rows, &states, &masked);
    }
    let pooled = match pooling {
        Pooling::First => writer.node("Squeeze", &[&states, TOKEN_AXIS], "pooled"),
        Pooling::Mean => writer.mean(&states, &mask),
    };
    let classes = head.bias.len();
    let logits = writer.linear("classifier", head, &pooled, "logits");
    let probabilities = writer.node("Softmax", &[&logits], PROBABILITIES);
    let shape = vec![Dim::Named("batch".to_owned()), Dim::Fixed(classes)];
    writer.builder.finish(&[(&probabilities, DType::F32, shape)])
}

/// Constants that several parts share.
const TOKEN_AXIS: &str = "axis.tokens";
const QUERY_AXES: &str = "axes.queries";
const FROM: &str = "slice.from";
const BATCH_AXIS: &str = "axis.batch";
pub(super) const HEADS_SHAPE: &str = "shape.heads";
const HIDDEN_SHAPE: &str = "shape.hidden";
const SCALE: &str = "attention.scale";
/// Of the first tokens, which there is where nothing else is pooled.
pub(super) const FIRST: &str = "first";

/// Writes parts of a graph. Methods give the names of their results, which are
/// `[batch, tokens, hidden]` where nothing else is said.
struct Writer {
    builder: GraphBuilder,
    hidden: usize,
    activation: Activation,
    epsilon: f32,
}

impl Writer {
    fn new(config: &EncoderConfig) -> Self {
        let EncoderConfig { hidden, heads, activation, epsilon, .. } = *config;
        let builder = GraphBuilder::new("sequence-classifier");
        let mut writer = Self { builder, hidden, activation, epsilon };
        let width = hidden / heads;
        writer.whole(BATCH_AXIS, &[0]);
        writer.whole(TOKEN_AXIS, &[1]);
        writer.whole(QUERY_AXES, &[1, 2]);
        writer.whole(FROM, &[0]);
        // A size of 0 stands for the one that is there.
        writer.whole(HEADS_SHAPE, &[0, 0, heads, width]);
        writer.whole(HIDDEN_SHAPE, &[0, 0, hidden]);
        writer.scalar(SCALE, (width as f32).sqrt().recip());
        layers::activation_constants(&mut writer.builder, activation);
        writer
    }

    /// `[batch, tokens]`.
    fn input(&mut self, name: &str) -> String {
        let sizes = ["batch", "tokens"].map(|size| Dim::Named(size.to_owned()));
        self.builder.input(name, DType::I64, sizes.to_vec())
    }

    fn node(&mut self, op: &str, inputs: &[&str], output: &str) -> String {
        self.builder.node(op, inputs, output)
    }

    fn whole(&mut self, name: &str, values: &[usize]) -> String {
        let data = TensorData::I64(values.iter().map(|n| *n as i64).collect());
        self.builder.constant(name, vec![values.len()], data)
    }

    fn scalar(&mut self, name: &str, value: f32) -> String {
        self.floats(name, Vec::new(), vec![value])
    }

    fn floats(&mut self, name: &str, shape: Vec<usize>, values: Vec<f32>) -> String {
        self.builder.constant(name, shape, TensorData::F32(values))
    }

    /// A table that rows are looked up in.
    fn table(&mut self, name: &str, values: Vec<f32>) -> String {
        let shape = vec![values.len() / self.hidden, self.hidden];
        self.floats(&format!("embeddings.{name}_embeddings.weight"), shape, values)
    }

    fn words(&mut self, table: Vec<f32>, ids: &str) -> String {
        let table = self.table("word", table);
        self.node("Gather", &[&table, ids], "embeddings.words")
    }

    /// The first rows of the table from row `first` on, as many as there are tokens:
    /// `[tokens, hidden]`.
    fn positions(&mut self, mut table: Vec<f32>, first: usize, ids: &str) -> String {
        table.drain(..first * self.hidden);
        let table = self.table("position", table);
        let token_axis = vec![("start", Attribute::Int(1)), ("end", Attribute::Int(2))];
        let count = self.builder.node_with("Shape", &[ids], "tokens.count", token_axis);
        self.node("Slice", &[&table, FROM, &count, BATCH_AXIS], "embeddings.positions")
    }

    /// Adds the rows of the sentence types, of type 0 where none are given, if there is a table.
    fn types(&mut self, mut table: Vec<f32>, ids: Option<&str>, positions: &str) -> String {
        if table.is_empty() {
            return positions.to_owned();
        }
        let rows = match ids {
            Some(ids) => {
                let table = self.table("token_type", table);
                self.node("Gather", &[&table, ids], "embeddings.types")
            }
            None => {
                table.truncate(self.hidden);
                self.table("token_type", table)
            }
        };
        self.node("Add", &[positions, &rows], "embeddings.places")
    }

    /// What is added to attention's scores, `[batch, 1, 1, tokens]`: 0 for tokens, and [`MASKED`]
    /// where a text is filled up.
    fn masked(&mut self, mask: &str) -> String {
        let one = self.scalar("mask.one", 1.0);
        let lowest = self.scalar("mask.lowest", -MASKED);
        let absent = self.node("Sub", &[mask, &one], "mask.absent");
        let scores = self.node("Mul", &[&absent, &lowest], "mask.scores");
        self.node("Unsqueeze", &[&scores, QUERY_AXES], "mask.added")
    }

    /// The first token alone.
    fn first(&mut self, states: &str) -> String {
        let to = self.whole("slice.first", &[1]);
        self.node("Slice", &[states, FROM, &to, TOKEN_AXIS], FIRST)
    }

    /// The mean over the tokens of each text, `[batch, hidden]`; 0 where there are none.
    fn mean(&mut self, states: &str, mask: &str) -> String {
        let least = self.scalar("mean.least", 1.0);
        let row = self.node("Unsqueeze", &[mask, TOKEN_AXIS], "mean.weights");
        let sum = self.node("MatMul", &[&row, states], "mean.row");
        let sum = self.node("Squeeze", &[&sum, TOKEN_AXIS], "mean.sum");
        let count = self.node("ReduceSum", &[mask, TOKEN_AXIS], "mean.count");
        let count = self.node("Max", &[&count, &least], "mean.divisor");
        self.node("Div", &[&sum, &count], "pooled")
    }

    /// What a layer makes of `rows`, which attend to all `states`.
    fn layer(
        &mut self,
        index: usize,
        layer: EncoderLayer,
        rows: &str,
        states: &str,
        masked: &str,
    ) -> String {
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let EncoderLayer { query, key, value, output, attention_norm, up, down, output_norm } =
            layer;
        let query = self.heads(&name("attention.self.query"), query, rows, [0, 2, 1, 3]);
        let key = self.heads(&name("attention.self.key"), key, states, [0, 2, 3, 1]);
        let value = self.heads(&name("attention.self.value"), value, states, [0, 2, 1, 3]);
        let scores = self.node("MatMul", &[&query, &key], &name("attention.products"));
        let scores = self.node("Mul", &[&scores, SCALE], &name("attention.scores"));
        let scores = self.node("Add", &[&scores, masked], &name("attention.masked"));
        let last_axis = vec![("axis", Attribute::Int(-1))];
        let weights = name("attention.weights");
        let weights = self.builder.node_with("Softmax", &[&scores], &weights, last_axis);
        let context = self.node("MatMul", &[&weights, &value], &name("attention.heads"));
        let context = self.transpose(&context, [0, 2, 1, 3], &name("attention.rows"));
        let context = self.node("Reshape", &[&context, HIDDEN_SHAPE], &name("attention.context"));

        let dense = name("attention.output.dense");
        let attended = self.linear(&dense, output, &context, &name("attention.output"));
        let sum = self.node("Add", &[&attended, rows], &name("attention.sum"));
        let attended = self.norm(&name("attention.output.LayerNorm"), attention_norm, &sum);
        let wide = self.linear(&name("intermediate.dense"), up, &attended, &name("intermediate"));
        let active = layers::activation(&mut self.builder, self.activation, &wide);
        let narrow = self.linear(&name("output.dense"), down, &active, &name("output"));
        let sum = self.node("Add", &[&narrow, &attended], &name("sum"));
        self.norm(&name("output.LayerNorm"), output_norm, &sum)
    }

    /// A linear layer, its outputs split into heads: `[batch, tokens, heads, width]`, with the axes
    /// in the order of `axes`.
    fn heads(&mut self, name: &str, linear: Linear, input: &str, axes: [i64; 4]) -> String {
        let rows = self.linear(name, linear, input, &format!("{name}.rows"));
        let split = self.node("Reshape", &[&rows, HEADS_SHAPE], &format!("{name}.split"));
        self.transpose(&split, axes, &format!("{name}.heads"))
    }

    fn transpose(&mut self, input: &str, axes: [i64; 4], output: &str) -> String {
        let axes = vec![("perm", Attribute::Ints(axes.to_vec()))];
        self.builder.node_with("Transpose", &[input], output, axes)
    }

    fn linear(&mut self, name: &str, linear: Linear, input: &str, output: &str) -> String {
        layers::linear(&mut self.builder, name, linear, input, output)
    }

    fn norm(&mut self, name: &str, norm: Norm, input: &str) -> String {
        let scale = self.floats(&format!("{name}.weight"), vec![self.hidden], norm.scale);
        let shift = self.floats(&format!("{name}.bias"), vec![self.hidden], norm.shift);
        let attributes =
            vec![("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(self.epsilon))];
        self.builder.node_with("LayerNormalization", &[input, &scale, &shift], name, attributes)
    }
}

#[cfg(test)]
mod tests;
