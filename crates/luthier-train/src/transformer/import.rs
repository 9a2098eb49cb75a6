//! A classifier back from its ONNX form.

use luthier_graph::{Attribute, Graph, Node, TensorData};
use luthier_model::{Model, Preprocess};
use luthier_nn::{Encoder, EncoderConfig, EncoderLayer, Linear, Norm, Pooling, SequenceClassifier};

use super::EncoderNetwork;
use super::graph::{FIRST, HEADS_SHAPE, to_model};
use crate::layers;

/// Dropout that the graph does not tell: BERT's.
const DROPOUT: f32 = 0.1;

/// Why a model's encoder cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ImportError {
    /// It is none that [`to_model`] makes.
    #[error("the model is no transformer that was trained here")]
    Foreign,
    /// Weights are not what they were exported as.
    #[error("the model was compressed: `{tensor}` is no longer there as float32")]
    Compressed {
        /// The name that it was exported with.
        tensor: String,
    },
    /// The graph does something else than it did when it was exported.
    #[error("the model's graph was changed after its export, at `{node}`")]
    Changed {
        /// The first node that is not as it was.
        node: String,
    },
    /// Weights have other sizes than they were exported with.
    #[error(transparent)]
    Weights(#[from] luthier_nn::TrainError),
}

impl EncoderNetwork {
    /// The network that [`to_model`] made a model of. Rows of positions that nothing reads are not there any
    /// more, and a calibration is part of the head; else the weights are the same bit for bit.
    pub fn from_model(model: &Model) -> Result<Self, ImportError> {
        let Preprocess::Tokens(tokens) = &model.preprocess else {
            return Err(ImportError::Foreign);
        };
        let mut classifier = Reader { graph: &model.graph }.classifier()?;
        classifier.check()?;
        let plain = to_model(classifier.clone(), tokens.clone(), model.decision.clone());
        let plain = plain.map_err(|_| ImportError::Foreign)?;
        if let Some(node) = other_node(&model.graph, &plain.graph) {
            return Err(ImportError::Changed { node: node.name.clone() });
        }
        let Linear { weights, bias } = &mut classifier.head;
        bias.iter_mut().zip(model.shifts()).for_each(|(bias, shift)| *bias += shift);
        let factor = (1.0 / model.temperature()) as f32;
        weights.iter_mut().chain(bias).for_each(|weight| *weight *= factor);
        Ok(Self { classifier, tokens: tokens.clone() })
    }
}

/// The first node of a graph that is not as it was in the `exported` one. Behind the logits a calibration
/// may have come.
fn other_node<'g>(found: &'g Graph, exported: &'g Graph) -> Option<&'g Node> {
    let (softmax, rest) = exported.nodes.split_last()?;
    let (same, behind) = found.nodes.split_at(rest.len().min(found.nodes.len()));
    let other = same.iter().zip(rest).find(|(found, exported)| found != exported);
    let calibrates = |node: &&Node| ["Add", "Mul", "Softmax"].contains(&node.op.as_str());
    let other = other.map(|(found, _)| found).or(behind.iter().find(|node| !calibrates(node)));
    other.or((behind.last().map(|node| &node.op) != Some(&softmax.op)).then_some(softmax))
}

/// Reads weights by the names that they are exported with.
struct Reader<'a> {
    graph: &'a Graph,
}

impl Reader<'_> {
    fn classifier(&self) -> Result<SequenceClassifier, ImportError> {
        let norm = "embeddings.LayerNorm";
        let hidden = self.norm(norm).map_err(|_| ImportError::Foreign)?.scale.len().max(1);
        let words = self.floats("embeddings.word_embeddings.weight")?;
        let positions = self.floats("embeddings.position_embeddings.weight")?;
        let types = match self.graph.tensor("embeddings.token_type_embeddings.weight") {
            Some(table) => self.floats(&table.name)?,
            None => Vec::new(),
        };
        let is_layer = |index: &usize| {
            let norm = format!("encoder.layer.{index}.output.LayerNorm.weight");
            self.graph.tensor(&norm).is_some()
        };
        let layers = (0..).take_while(is_layer).map(|index| self.layer(index));
        let layers: Vec<EncoderLayer> = layers.collect::<Result<_, _>>()?;
        let config = EncoderConfig {
            vocabulary: words.len() / hidden,
            hidden,
            layers: layers.len(),
            heads: self.heads().ok_or(ImportError::Foreign)?,
            intermediate: layers.first().map_or(0, |layer| layer.up.outputs()),
            positions: positions.len() / hidden,
            first_position: 0,
            types: types.len() / hidden,
            activation: layers::activation_of(self.graph),
            epsilon: self.epsilon(norm).ok_or(ImportError::Foreign)?,
            dropout: DROPOUT,
            attention_dropout: DROPOUT,
        };
        let norm = self.norm(norm)?;
        let encoder = Encoder { config, words, positions, types, norm, layers };
        let pooling = match self.graph.producer(FIRST) {
            Some(_) => Pooling::First,
            None => Pooling::Mean,
        };
        Ok(SequenceClassifier { encoder, pooling, head: self.linear("classifier")? })
    }

    fn layer(&self, index: usize) -> Result<EncoderLayer, ImportError> {
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        Ok(EncoderLayer {
            query: self.linear(&name("attention.self.query"))?,
            key: self.linear(&name("attention.self.key"))?,
            value: self.linear(&name("attention.self.value"))?,
            output: self.linear(&name("attention.output.dense"))?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"))?,
            up: self.linear(&name("intermediate.dense"))?,
            down: self.linear(&name("output.dense"))?,
            output_norm: self.norm(&name("output.LayerNorm"))?,
        })
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>, ImportError> {
        match self.graph.tensor(name).map(|tensor| &tensor.data) {
            Some(TensorData::F32(values)) => Ok(values.clone()),
            _ => Err(ImportError::Compressed { tensor: name.to_owned() }),
        }
    }

    fn linear(&self, name: &str) -> Result<Linear, ImportError> {
        let bias = self.floats(&format!("{name}.bias"))?;
        let weights = self.floats(&format!("{name}.weight"))?;
        Ok(Linear { weights: layers::transposed(&weights, bias.len().max(1)), bias })
    }

    fn norm(&self, name: &str) -> Result<Norm, ImportError> {
        Ok(Norm {
            scale: self.floats(&format!("{name}.weight"))?,
            shift: self.floats(&format!("{name}.bias"))?,
        })
    }

    fn heads(&self) -> Option<usize> {
        match &self.graph.tensor(HEADS_SHAPE)?.data {
            TensorData::I64(shape) => usize::try_from(*shape.get(2)?).ok(),
            _ => None,
        }
    }

    fn epsilon(&self, norm: &str) -> Option<f32> {
        let attributes = &self.graph.producer(norm)?.attributes;
        attributes.iter().find_map(|(name, value)| match value {
            Attribute::Float(epsilon) if name == "epsilon" => Some(*epsilon),
            _ => None,
        })
    }
}
