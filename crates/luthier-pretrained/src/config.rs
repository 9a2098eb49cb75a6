//! `config.json`: what kind of encoder there is, and its shape.

use std::path::Path;

use luthier_nn::{Activation, EncoderConfig};
use serde_json::{Map, Value};

use crate::{PretrainedError, parse, read};

pub(crate) const CONFIG: &str = "config.json";

/// Values of `model_type` that are known.
const TYPES: [&str; 5] = ["bert", "distilbert", "roberta", "xlm-roberta", "camembert"];

/// How tensors are called, and what `config.json` calls its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Bert,
    DistilBert,
}

/// What `config.json` says.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) family: Family,
    pub(crate) encoder: EncoderConfig,
    /// Id of the padding token.
    pub(crate) pad: Option<u32>,
}

impl Config {
    pub(crate) fn read(folder: &Path) -> Result<Self, PretrainedError> {
        let bytes = read(folder, CONFIG)?;
        let bytes = bytes.ok_or(PretrainedError::NoFile { folder: folder.into(), file: CONFIG })?;
        Self::of(&Fields(parse(folder, CONFIG, &bytes)?))
    }

    fn of(fields: &Fields) -> Result<Self, PretrainedError> {
        let found = fields.text("model_type")?.unwrap_or_default();
        if !TYPES.contains(&found) {
            return Err(PretrainedError::Type { found: found.to_owned(), known: &TYPES });
        }
        fields.only("position_embedding_type", "absolute")?;
        if fields.0.get("is_decoder") == Some(&Value::Bool(true)) {
            return Err(PretrainedError::Unsupported {
                field: "is_decoder",
                found: "true".to_owned(),
                known: "encoders",
            });
        }
        let pad = fields.id("pad_token_id")?;
        let family = if found == "distilbert" { Family::DistilBert } else { Family::Bert };
        let mut encoder = match family {
            Family::DistilBert => distilbert(fields)?,
            Family::Bert => bert(fields)?,
        };
        if !matches!(found, "bert" | "distilbert") {
            // RoBERTa numbers positions from the id of its padding on.
            encoder.first_position = pad.unwrap_or(1) as usize + 1;
        }
        check(&encoder)?;
        Ok(Self { family, encoder, pad })
    }
}

fn bert(fields: &Fields) -> Result<EncoderConfig, PretrainedError> {
    Ok(EncoderConfig {
        vocabulary: fields.count("vocab_size")?,
        hidden: fields.count("hidden_size")?,
        layers: fields.count("num_hidden_layers")?,
        heads: fields.count("num_attention_heads")?,
        intermediate: fields.count("intermediate_size")?,
        positions: fields.count("max_position_embeddings")?,
        first_position: 0,
        types: fields.id("type_vocab_size")?.unwrap_or(2) as usize,
        activation: fields.activation("hidden_act")?,
        epsilon: fields.number("layer_norm_eps", 1e-12)?,
        dropout: fields.number("hidden_dropout_prob", 0.1)?,
        attention_dropout: fields.number("attention_probs_dropout_prob", 0.1)?,
    })
}

fn distilbert(fields: &Fields) -> Result<EncoderConfig, PretrainedError> {
    Ok(EncoderConfig {
        vocabulary: fields.count("vocab_size")?,
        hidden: fields.count("dim")?,
        layers: fields.count("n_layers")?,
        heads: fields.count("n_heads")?,
        intermediate: fields.count("hidden_dim")?,
        positions: fields.count("max_position_embeddings")?,
        first_position: 0,
        types: 0,
        activation: fields.activation("activation")?,
        epsilon: 1e-12,
        dropout: fields.number("dropout", 0.1)?,
        attention_dropout: fields.number("attention_dropout", 0.1)?,
    })
}

fn check(encoder: &EncoderConfig) -> Result<(), PretrainedError> {
    let EncoderConfig { hidden, heads, positions, first_position, .. } = encoder;
    if hidden % heads != 0 {
        let reason = format!("is {heads}, which does not divide {hidden}, the hidden size");
        return Err(PretrainedError::Config { field: "num_attention_heads", reason });
    }
    if positions <= first_position {
        let reason = format!("is {positions}, and the first token has position {first_position}");
        return Err(PretrainedError::Config { field: "max_position_embeddings", reason });
    }
    Ok(())
}

/// The fields of `config.json`.
struct Fields(Map<String, Value>);

impl Fields {
    /// A field that may be absent or null.
    fn get<T>(
        &self,
        field: &'static str,
        what: &str,
        take: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, PretrainedError> {
        let Some(value) = self.0.get(field).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        take(value).map(Some).ok_or_else(|| {
            let reason = format!("is {value}, and not {what}");
            PretrainedError::Config { field, reason }
        })
    }

    fn text(&self, field: &'static str) -> Result<Option<&str>, PretrainedError> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => {
                let reason = format!("is {other}, and not text");
                Err(PretrainedError::Config { field, reason })
            }
        }
    }

    fn only(&self, field: &'static str, known: &'static str) -> Result<(), PretrainedError> {
        match self.text(field)? {
            Some(found) if found != known => {
                Err(PretrainedError::Unsupported { field, found: found.to_owned(), known })
            }
            _ => Ok(()),
        }
    }

    /// A number of things of which there must be one or more.
    fn count(&self, field: &'static str) -> Result<usize, PretrainedError> {
        let whole = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let found = self.get(field, "a whole number from 1", |v| whole(v).filter(|n| *n > 0))?;
        let absent = || PretrainedError::Config { field, reason: "is absent".to_owned() };
        found.map(|count| count as usize).ok_or_else(absent)
    }

    fn id(&self, field: &'static str) -> Result<Option<u32>, PretrainedError> {
        self.get(field, "a whole number", |value| value.as_u64().and_then(|n| n.try_into().ok()))
    }

    /// A number from 0 to below 1.
    fn number(&self, field: &'static str, absent: f32) -> Result<f32, PretrainedError> {
        let range = |value: &Value| value.as_f64().filter(|x| (0.0..1.0).contains(x));
        let found = self.get(field, "a number from 0 to below 1", range)?;
        Ok(found.map_or(absent, |number| number as f32))
    }

    fn activation(&self, field: &'static str) -> Result<Activation, PretrainedError> {
        match self.text(field)?.unwrap_or("gelu") {
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            other => Err(PretrainedError::Unsupported {
                field,
                found: format!("`{other}`"),
                known: "gelu, gelu_new and relu",
            }),
        }
    }
}
