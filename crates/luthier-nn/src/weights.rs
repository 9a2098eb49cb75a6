//! All tensors of a network that is trained, in one order.

use std::fmt;

use crate::linear::Adapter;
use crate::lora::Adapters;
use crate::{Encoder, EncoderLayer, Linear, Norm, SequenceClassifier};

/// What is trained. Gradients are kept in the same type, and are empty where none are taken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weights {
    pub(crate) model: SequenceClassifier,
    pub(crate) adapters: Option<Adapters>,
    /// From hidden states to those of a teacher.
    pub(crate) projections: Vec<Linear>,
}

/// A tensor's place in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) part: Part,
    name: &'static str,
}

/// Where in a network a tensor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Before the layers.
    Embeddings,
    /// In a layer.
    Layer(usize),
    /// Beside a layer.
    Adapter(usize),
    /// After the layers.
    Head,
    /// Beside the head.
    Projection(usize),
}

impl Place {
    /// Whether weight decay is for it: biases and norms keep what they have.
    pub(crate) fn decays(&self) -> bool {
        !["bias", "scale", "shift"].iter().any(|end| self.name.ends_with(end))
    }

    /// Whether it is the table of words, of which a step sees few rows.
    pub(crate) fn is_words(&self) -> bool {
        self.name == "words"
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Part::Embeddings => write!(f, "embeddings.{}", self.name),
            Part::Layer(layer) => write!(f, "layers.{layer}.{}", self.name),
            Part::Adapter(layer) => write!(f, "adapters.{layer}.{}", self.name),
            Part::Head => write!(f, "head.{}", self.name),
            Part::Projection(index) => write!(f, "projections.{index}.{}", self.name),
        }
    }
}

/// Names of a linear layer's tensors and of its adapter's, by its place in a layer.
const LINEARS: [[&str; 4]; 6] = [
    ["query.weights", "query.bias", "query.down", "query.up"],
    ["key.weights", "key.bias", "key.down", "key.up"],
    ["value.weights", "value.bias", "value.down", "value.up"],
    ["output.weights", "output.bias", "output.down", "output.up"],
    ["up.weights", "up.bias", "up.down", "up.up"],
    ["down.weights", "down.bias", "down.down", "down.up"],
];

/// Pushes a value's tensors with their names.
macro_rules! push {
    ($tensors:ident, $part:expr, $($name:expr => $tensor:expr),+ $(,)?) => {
        $($tensors.push((Place { part: $part, name: $name }, $tensor));)+
    };
}

/// Lists the tensors of `Weights`, by reference or by mutable reference.
macro_rules! list {
    ($weights:expr $(, $mutable:ident)?) => {{
        let Weights { model, adapters, projections } = $weights;
        let SequenceClassifier { encoder, head, .. } = model;
        let Encoder { words, positions, types, norm: Norm { scale, shift }, layers, .. } = encoder;
        let place = |name| Place { part: Part::Embeddings, name };
        let mut tensors = vec![
            (place("words"), words),
            (place("positions"), positions),
            (place("types"), types),
            (place("norm.scale"), scale),
            (place("norm.shift"), shift),
        ];
        for (index, layer) in (0..).zip(layers) {
            let part = Part::Layer(index);
            let EncoderLayer {
                query, key, value, output, up, down,
                attention_norm: Norm { scale, shift },
                output_norm: Norm { scale: output_scale, shift: output_shift },
            } = layer;
            push!(tensors, part, "attention_norm.scale" => scale, "attention_norm.shift" => shift,
                "output_norm.scale" => output_scale, "output_norm.shift" => output_shift);
            for (Linear { weights, bias }, names) in
                [query, key, value, output, up, down].into_iter().zip(LINEARS)
            {
                push!(tensors, part, names[0] => weights, names[1] => bias);
            }
        }
        for (index, adapters) in (0..).zip(adapters.into_iter().flat_map(|all| & $($mutable)? all.layers)) {
            for (adapter, names) in adapters.into_iter().zip(LINEARS) {
                if let Some(Adapter { down, up }) = adapter {
                    push!(tensors, Part::Adapter(index), names[2] => down, names[3] => up);
                }
            }
        }
        push!(tensors, Part::Head, "weights" => & $($mutable)? head.weights, "bias" => & $($mutable)? head.bias);
        for (index, Linear { weights, bias }) in (0..).zip(projections) {
            push!(tensors, Part::Projection(index), "weights" => weights, "bias" => bias);
        }
        tensors
    }};
}

impl Weights {
    /// All tensors.
    pub(crate) fn tensors(&self) -> Vec<(Place, &Vec<f32>)> {
        list!(self)
    }

    /// The same to change.
    pub(crate) fn tensors_mut(&mut self) -> Vec<(Place, &mut Vec<f32>)> {
        list!(self, mut)
    }
}

impl Weights {
    /// Zeros of the same sizes for those tensors that are `trained`, and nothing for the others.
    pub(crate) fn zeros(&self, trained: impl Fn(&Place) -> bool) -> Self {
        let mut zeros = self.hollow();
        for ((place, values), (_, zeros)) in self.tensors().into_iter().zip(zeros.tensors_mut()) {
            if trained(&place) {
                *zeros = vec![0.0; values.len()];
            }
        }
        zeros
    }

    fn hollow(&self) -> Self {
        let SequenceClassifier { encoder, pooling, .. } = &self.model;
        let encoder = Encoder {
            config: encoder.config.clone(),
            words: Vec::new(),
            positions: Vec::new(),
            types: Vec::new(),
            norm: Norm::default(),
            layers: encoder.layers.iter().map(|_| EncoderLayer::default()).collect(),
        };
        Self {
            model: SequenceClassifier { encoder, pooling: *pooling, head: Linear::default() },
            adapters: self.adapters.as_ref().map(Adapters::hollow),
            projections: self.projections.iter().map(|_| Linear::default()).collect(),
        }
    }
}
