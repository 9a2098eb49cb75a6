//! What a BERT-family encoder consists of.

use crate::lora::Adapters;
use crate::noise::Noise;
use crate::pass::Pass;
use crate::{Batch, BatchError, Linear, TrainError, Workspace};

/// The shape of an encoder of the BERT family (Devlin et al. 2018): layers of self-attention and two
/// linear layers, each followed by a layer norm. BERT, DistilBERT, MiniLM, RoBERTa and XLM-R differ
/// in these numbers alone.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderConfig {
    /// Rows of the table of words.
    pub vocabulary: usize,
    /// Numbers that stand for a token between layers.
    pub hidden: usize,
    /// Number of layers, at least 1.
    pub layers: usize,
    /// Attention heads of a layer; divides `hidden`.
    pub heads: usize,
    /// Numbers between the two linear layers of a layer.
    pub intermediate: usize,
    /// Rows of the table of positions.
    pub positions: usize,
    /// The row of the first token in the table of positions: 0, or, in RoBERTa's layout, one more
    /// than the id of the padding token.
    pub first_position: usize,
    /// Rows of the table of sentence types; 0 where there is none, as in DistilBERT.
    pub types: usize,
    /// Between the two linear layers of a layer.
    pub activation: Activation,
    /// What layer norms add to the variance.
    pub epsilon: f32,
    /// Share of the numbers that dropout clears where fine-tuning is not told otherwise.
    pub dropout: f32,
    /// The same for the weights of attention.
    pub attention_dropout: f32,
}

/// A function that is applied number by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · Φ(x), exactly (`gelu`).
    Gelu,
    /// Its approximation by tanh (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// The weights of an encoder. All matrices are row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoder {
    /// The shape.
    pub config: EncoderConfig,
    /// `[vocabulary, hidden]`.
    pub words: Vec<f32>,
    /// `[positions, hidden]`.
    pub positions: Vec<f32>,
    /// `[types, hidden]`.
    pub types: Vec<f32>,
    /// After the sum of the three.
    pub norm: Norm,
    /// One after the other.
    pub layers: Vec<EncoderLayer>,
}

/// The weights of one layer of an [`Encoder`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncoderLayer {
    /// Hidden to the queries of all heads.
    pub query: Linear,
    /// Hidden to keys.
    pub key: Linear,
    /// Hidden to values.
    pub value: Linear,
    /// What the heads give to hidden.
    pub output: Linear,
    /// After attention and what it was given are added.
    pub attention_norm: Norm,
    /// Hidden to intermediate.
    pub up: Linear,
    /// Intermediate to hidden.
    pub down: Linear,
    /// After that and what it was given are added.
    pub output_norm: Norm,
}

/// Layer norm (Ba et al. 2016): each row to mean 0 and variance 1, then times `scale` plus `shift`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Norm {
    /// `[hidden]`.
    pub scale: Vec<f32>,
    /// `[hidden]`.
    pub shift: Vec<f32>,
}

/// How the tokens of a text become one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's row.
    First,
    /// The mean over all tokens.
    Mean,
}

/// An encoder with a linear layer on what its tokens are pooled to.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceClassifier {
    /// The encoder.
    pub encoder: Encoder,
    /// How its output becomes one row for a text.
    pub pooling: Pooling,
    /// That row to one logit per class.
    pub head: Linear,
}

impl EncoderLayer {
    /// The linear layers in the order of their places: queries, keys, values, output, up, down.
    pub(crate) fn linears(&self) -> [&Linear; 6] {
        [&self.query, &self.key, &self.value, &self.output, &self.up, &self.down]
    }

    pub(crate) fn linears_mut(&mut self) -> [&mut Linear; 6] {
        let Self { query, key, value, output, up, down, .. } = self;
        [query, key, value, output, up, down]
    }
}

impl EncoderConfig {
    /// The most tokens that a text may have.
    pub fn longest(&self) -> usize {
        self.positions - self.first_position
    }
}

impl EncoderConfig {
    /// Whether a batch fits the shape.
    pub(crate) fn check_batch(&self, batch: &Batch) -> Result<(), BatchError> {
        if batch.is_empty() {
            return Err(BatchError::Empty);
        }
        let longest = self.longest();
        for (sequence, tokens) in batch.sequences().enumerate() {
            if tokens.is_empty() || tokens.len() > longest {
                return Err(BatchError::Length { sequence, tokens: tokens.len(), longest });
            }
        }
        let beyond = |table, ids: &[u32], rows| {
            let id = ids.iter().find(|id| **id as usize >= rows);
            id.map_or(Ok(()), |id| Err(BatchError::Id { table, id: *id, rows }))
        };
        beyond("the table of words", batch.ids(), self.vocabulary)?;
        // Without a table, types are not looked up.
        let types = if self.types == 0 { usize::MAX } else { self.types };
        beyond("the table of sentence types", batch.types(), types)
    }

    fn check(&self) -> Result<(), TrainError> {
        let divides = self.heads > 0 && self.hidden > 0 && self.hidden.is_multiple_of(self.heads);
        let rules = [
            ("heads", "a divisor of `hidden`", divides),
            ("layers", "at least 1", self.layers > 0),
            ("intermediate", "at least 1", self.intermediate > 0),
            ("first_position", "less than `positions`", self.first_position < self.positions),
            ("layer_norm_eps", "at least 0", self.epsilon >= 0.0),
        ];
        match rules.into_iter().find(|(.., holds)| !holds) {
            Some((option, range, _)) => Err(TrainError::Option { option, range }),
            None => Ok(()),
        }
    }
}

impl Encoder {
    /// Whether every tensor has the size that the shape calls for.
    pub fn check(&self) -> Result<(), TrainError> {
        let EncoderConfig { vocabulary, hidden, intermediate, positions, types, layers, .. } =
            self.config;
        self.config.check()?;
        let size = |tensor: &str, tensors: &[f32], expected: usize| {
            let found = tensors.len();
            if found == expected {
                return Ok(());
            }
            Err(TrainError::Shape { tensor: tensor.to_owned(), expected, found })
        };
        size("words", &self.words, vocabulary.saturating_mul(hidden))?;
        size("positions", &self.positions, positions.saturating_mul(hidden))?;
        size("types", &self.types, types.saturating_mul(hidden))?;
        let norm = |tensor: &str, norm: &Norm| {
            size(&format!("{tensor}.scale"), &norm.scale, hidden)?;
            size(&format!("{tensor}.shift"), &norm.shift, hidden)
        };
        norm("norm", &self.norm)?;
        if self.layers.len() != layers {
            let found = self.layers.len();
            return Err(TrainError::Shape { tensor: "layers".into(), expected: layers, found });
        }
        for (index, layer) in self.layers.iter().enumerate() {
            norm(&format!("layers.{index}.attention_norm"), &layer.attention_norm)?;
            norm(&format!("layers.{index}.output_norm"), &layer.output_norm)?;
            let widths = [hidden, hidden, hidden, hidden, intermediate, hidden];
            let names = ["query", "key", "value", "output", "up", "down"];
            for ((linear, width), name) in layer.linears().into_iter().zip(widths).zip(names) {
                let inputs = if name == "down" { intermediate } else { hidden };
                size(
                    &format!("layers.{index}.{name}.weights"),
                    &linear.weights,
                    width.saturating_mul(inputs),
                )?;
                size(&format!("layers.{index}.{name}.bias"), &linear.bias, width)?;
            }
        }
        Ok(())
    }
}

impl SequenceClassifier {
    /// Whether every tensor has the size that the shape calls for.
    pub fn check(&self) -> Result<(), TrainError> {
        self.encoder.check()?;
        let (expected, found) =
            (self.head.outputs() * self.encoder.config.hidden, self.head.weights.len());
        if found != expected || found == 0 {
            return Err(TrainError::Shape { tensor: "head.weights".into(), expected, found });
        }
        Ok(())
    }

    /// The logits of a batch, `[sequences, classes]`.
    ///
    /// # Panics
    ///
    /// Where the network is not one that [`Self::check`] accepts.
    pub fn logits(&self, batch: &Batch, workspace: &mut Workspace) -> Result<Vec<f32>, BatchError> {
        self.logits_beside(None, batch, workspace)
    }

    pub(crate) fn logits_beside(
        &self,
        adapters: Option<&Adapters>,
        batch: &Batch,
        workspace: &mut Workspace,
    ) -> Result<Vec<f32>, BatchError> {
        self.run(adapters, batch, &[], workspace, &mut |_, _| ())
    }

    /// The logits of a batch; shows its hidden states of some levels, `[tokens, hidden]`, in rising
    /// order on the way. Level 0 are the embeddings, level `n` what `n` layers make of them.
    ///
    /// # Panics
    ///
    /// Where the network is not one that [`Self::check`] accepts.
    pub fn outputs(
        &self,
        batch: &Batch,
        levels: &[usize],
        workspace: &mut Workspace,
        hidden: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Vec<f32>, BatchError> {
        self.run(None, batch, levels, workspace, hidden)
    }

    fn run(
        &self,
        adapters: Option<&Adapters>,
        batch: &Batch,
        levels: &[usize],
        workspace: &mut Workspace,
        hidden: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Vec<f32>, BatchError> {
        self.encoder.config.check_batch(batch)?;
        let reach = self.encoder.config.layers;
        let noise = &Noise::NONE;
        let pass = Pass { model: self, adapters, batch, noise, reach, levels };
        pass.forward(workspace, hidden);
        Ok(workspace.logits(&pass).0.to_vec())
    }
}
