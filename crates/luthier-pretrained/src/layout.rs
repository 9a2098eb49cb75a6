//! Which tensor of a checkpoint is which part of an encoder.

use luthier_nn::{Encoder, EncoderLayer, Linear, Norm};

use crate::PretrainedError;
use crate::checkpoint::Checkpoint;
use crate::config::{Config, Family};

/// Ends the name of the table of words, in every layout; what is before it is before all names.
const WORDS: &str = "embeddings.word_embeddings";
const WEIGHT: &str = ".weight";

/// Names of the parts of a layer.
struct LayerNames {
    /// Stands before the number of a layer.
    layers: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    output: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    output_norm: &'static str,
}

const BERT: LayerNames = LayerNames {
    layers: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};

const DISTILBERT: LayerNames = LayerNames {
    layers: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
};

/// Takes the encoder out of a checkpoint.
pub(crate) fn read(
    checkpoint: &mut Checkpoint,
    config: &Config,
) -> Result<Encoder, PretrainedError> {
    let names = match config.family {
        Family::Bert => &BERT,
        Family::DistilBert => &DISTILBERT,
    };
    let prefix = prefix(checkpoint);
    let config = config.encoder.clone();
    let hidden = config.hidden;
    let mut table = |name: &str, rows: usize| {
        checkpoint.tensor(&format!("{prefix}{name}{WEIGHT}"), &[rows, hidden])
    };
    let words = table(WORDS, config.vocabulary)?;
    let positions = table("embeddings.position_embeddings", config.positions)?;
    let types = match config.types {
        0 => Vec::new(),
        types => table("embeddings.token_type_embeddings", types)?,
    };
    let norm = norm(checkpoint, &format!("{prefix}embeddings.LayerNorm"), hidden)?;
    let mut layers = Vec::new();
    for layer in 0..config.layers {
        let prefix = format!("{prefix}{}.{layer}.", names.layers);
        layers.push(self::layer(checkpoint, &prefix, names, [hidden, config.intermediate])?);
    }
    Ok(Encoder { config, words, positions, types, norm, layers })
}

/// What stands before all names: nothing, or the name of the model within one with a head.
fn prefix(checkpoint: &Checkpoint) -> String {
    let words = format!("{WORDS}{WEIGHT}");
    let prefixes = checkpoint.names().filter_map(|name| name.strip_suffix(&words));
    prefixes.min_by_key(|prefix| prefix.len()).unwrap_or_default().to_owned()
}

fn layer(
    checkpoint: &mut Checkpoint,
    prefix: &str,
    names: &LayerNames,
    [hidden, intermediate]: [usize; 2],
) -> Result<EncoderLayer, PretrainedError> {
    let named = |name: &str| format!("{prefix}{name}");
    Ok(EncoderLayer {
        query: linear(checkpoint, &named(names.query), [hidden, hidden])?,
        key: linear(checkpoint, &named(names.key), [hidden, hidden])?,
        value: linear(checkpoint, &named(names.value), [hidden, hidden])?,
        output: linear(checkpoint, &named(names.output), [hidden, hidden])?,
        attention_norm: norm(checkpoint, &named(names.attention_norm), hidden)?,
        up: linear(checkpoint, &named(names.up), [intermediate, hidden])?,
        down: linear(checkpoint, &named(names.down), [hidden, intermediate])?,
        output_norm: norm(checkpoint, &named(names.output_norm), hidden)?,
    })
}

fn linear(
    checkpoint: &mut Checkpoint,
    name: &str,
    shape: [usize; 2],
) -> Result<Linear, PretrainedError> {
    Ok(Linear {
        weights: checkpoint.tensor(&format!("{name}{WEIGHT}"), &shape)?,
        bias: checkpoint.tensor(&format!("{name}.bias"), &shape[..1])?,
    })
}

/// The first checkpoints of BERT, which TensorFlow wrote, call the two `gamma` and `beta`.
fn norm(checkpoint: &mut Checkpoint, name: &str, hidden: usize) -> Result<Norm, PretrainedError> {
    let old = format!("{name}.gamma");
    let [scale, shift] = match checkpoint.names().any(|name| name == old) {
        true => ["gamma", "beta"],
        false => ["weight", "bias"],
    };
    Ok(Norm {
        scale: checkpoint.tensor(&format!("{name}.{scale}"), &[hidden])?,
        shift: checkpoint.tensor(&format!("{name}.{shift}"), &[hidden])?,
    })
}
