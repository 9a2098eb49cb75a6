//! PyTorch's logits, gradients and training of small encoders; `tests/fixtures.py` writes them.

use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

use super::{assert_close, options};
use crate::{
    Activation, Batch, Decay, Encoder, EncoderConfig, EncoderLayer, Linear, Norm, Pooling,
    Schedule, SequenceClassifier, StepPart, Targets, TrainOptions, Trainer, weights::Weights,
};

struct Fixture {
    facts: Value,
    bytes: Vec<u8>,
}

impl Fixture {
    fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let facts = serde_json::from_str(&header.metadata().as_ref().unwrap()["facts"]).unwrap();
        Self { facts, bytes }
    }

    fn tensor(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        let (numbers, _) = tensor.data().as_chunks();
        numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn number(&self, name: &str) -> usize {
        self.facts["config"][name].as_u64().unwrap() as usize
    }

    fn config(&self) -> EncoderConfig {
        EncoderConfig {
            vocabulary: self.number("vocabulary"),
            hidden: self.number("hidden"),
            layers: self.number("layers"),
            heads: self.number("heads"),
            intermediate: self.number("intermediate"),
            positions: self.number("positions"),
            first_position: self.number("first_position"),
            types: self.number("types"),
            activation: match self.facts["config"]["activation"].as_str() {
                Some("gelu") => Activation::Gelu,
                Some("gelu_tanh") => Activation::GeluTanh,
                _ => Activation::Relu,
            },
            epsilon: self.facts["config"]["epsilon"].as_f64().unwrap() as f32,
            dropout: 0.0,
            attention_dropout: 0.0,
        }
    }

    fn model(&self) -> SequenceClassifier {
        let config = self.config();
        let layers = vec![EncoderLayer::default(); config.layers];
        let pooling = match self.facts["config"]["pooling"].as_str() {
            Some("first") => Pooling::First,
            _ => Pooling::Mean,
        };
        let encoder = Encoder {
            config,
            layers,
            words: Vec::new(),
            positions: Vec::new(),
            types: Vec::new(),
            norm: Norm::default(),
        };
        let model = SequenceClassifier { encoder, pooling, head: Linear::default() };
        let mut weights = Weights { model, adapters: None, projections: Vec::new() };
        for (place, values) in weights.tensors_mut() {
            *values = self.tensor(&format!("weights.{place}"));
        }
        weights.model
    }

    fn options(&self) -> TrainOptions {
        let schedule = &self.facts["schedule"];
        let number = |name: &str| schedule[name].as_f64().map(|x| x as f32);
        TrainOptions {
            schedule: Schedule {
                rate: number("rate").unwrap(),
                steps: self.facts["steps"].as_u64().unwrap(),
                warmup: number("warmup").unwrap(),
                decay: match schedule["decay"].as_str() {
                    Some("linear") => Decay::Linear,
                    Some("cosine") => Decay::Cosine,
                    _ => Decay::Constant,
                },
            },
            clip: number("clip"),
            ..options()
        }
    }

    fn batch(&self) -> Batch {
        let lists = |name: &str| -> Vec<Vec<u32>> {
            serde_json::from_value(self.facts[name].clone()).unwrap()
        };
        let mut batch = Batch::new();
        for (ids, types) in lists("sequences").iter().zip(lists("types")) {
            batch.push_with_types(ids, &types);
        }
        batch
    }

    fn labels(&self) -> Vec<Option<u32>> {
        let labels: Vec<u32> = serde_json::from_value(self.facts["labels"].clone()).unwrap();
        labels.into_iter().map(Some).collect()
    }
}

#[track_caller]
fn check(name: &str) {
    let fixture = Fixture::read(name);
    let (batch, labels) = (fixture.batch(), fixture.labels());
    let mut trainer = Trainer::new(fixture.model(), fixture.options()).unwrap();
    let logits = trainer.logits(&batch).unwrap();
    assert_close("logits", &logits, &fixture.tensor("logits"), 1e-5);
    let targets = Targets { labels: &labels, ..Targets::default() };
    let part = StepPart { batch: &batch, targets };
    trainer.take_gradients(&[part]).unwrap();
    for (place, gradient) in trainer.gradients.tensors() {
        let expected = fixture.tensor(&format!("gradients.{place}"));
        assert_close(&place.to_string(), gradient, &expected, 2e-5);
    }
    for _ in 0..trainer.options.schedule.steps {
        trainer.step(&[part]).unwrap();
    }
    let trained = trainer.logits(&batch).unwrap();
    assert_close("trained logits", &trained, &fixture.tensor("trained_logits"), 1e-4);
    let first = fixture.tensor("logits");
    let moved = first.iter().zip(&trained).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(moved > 0.1, "training has moved logits by {moved} alone");
}

#[test]
fn bert() {
    check("bert");
}

#[test]
fn distilbert() {
    check("distilbert");
}

#[test]
fn roberta() {
    check("roberta");
}
