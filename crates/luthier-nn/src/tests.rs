//! Tests of whole networks.

mod differences;
mod pytorch;
mod training;

use crate::noise::{mix, uniform};
use crate::{
    Activation, AdamW, Batch, Decay, Encoder, EncoderConfig, EncoderLayer, Linear, Loss, Norm,
    Pooling, Schedule, SequenceClassifier, TrainOptions,
};

/// One of about 700 weights.
fn config() -> EncoderConfig {
    EncoderConfig {
        vocabulary: 13,
        hidden: 8,
        layers: 2,
        heads: 2,
        intermediate: 12,
        positions: 9,
        first_position: 0,
        types: 2,
        activation: Activation::Gelu,
        epsilon: 1e-5,
        dropout: 0.0,
        attention_dropout: 0.0,
    }
}

/// Random weights, large enough that nothing is nearly linear.
fn model(config: EncoderConfig, pooling: Pooling, classes: usize) -> SequenceClassifier {
    let EncoderConfig { vocabulary, hidden, intermediate, positions, types, layers, .. } = config;
    let mut seed = 0;
    let mut random = |count| {
        seed += 1;
        uniform(count, 0.5, mix(seed))
    };
    let mut norm =
        || Norm { scale: random(hidden).iter().map(|x| x + 1.0).collect(), shift: random(hidden) };
    let (norm_1, mut norms) = (norm(), (0..2 * layers).map(|_| norm()).collect::<Vec<_>>());
    let mut linear = |inputs: usize, outputs: usize| Linear {
        weights: random(inputs * outputs),
        bias: random(outputs),
    };
    let layers = (0..layers).map(|_| EncoderLayer {
        query: linear(hidden, hidden),
        key: linear(hidden, hidden),
        value: linear(hidden, hidden),
        output: linear(hidden, hidden),
        attention_norm: norms.pop().unwrap_or_default(),
        up: linear(hidden, intermediate),
        down: linear(intermediate, hidden),
        output_norm: norms.pop().unwrap_or_default(),
    });
    let layers = layers.collect();
    let head = linear(hidden, classes);
    let encoder = Encoder {
        words: random(vocabulary * hidden),
        positions: random(positions * hidden),
        types: random(types * hidden),
        norm: norm_1,
        layers,
        config,
    };
    SequenceClassifier { encoder, pooling, head }
}

fn options() -> TrainOptions {
    TrainOptions {
        loss: Loss::default(),
        schedule: Schedule { rate: 1e-3, steps: 100, warmup: 0.0, decay: Decay::Constant },
        adamw: AdamW::default(),
        clip: None,
        layer_decay: 1.0,
        dropout: 0.0,
        attention_dropout: 0.0,
        freeze_embeddings: false,
        freeze_layers: 0,
        lora: None,
        seed: 1,
    }
}

/// Sequences of some lengths.
fn batch(config: &EncoderConfig, lengths: &[usize]) -> Batch {
    let mut batch = Batch::new();
    for (index, length) in lengths.iter().enumerate() {
        let number = |place: usize| mix(index as u64 ^ mix(place as u64)) as u32;
        let ids: Vec<u32> = (0..*length).map(|p| number(p) % config.vocabulary as u32).collect();
        let types: Vec<u32> =
            (0..*length).map(|p| number(p + 99) % config.types.max(1) as u32).collect();
        batch.push_with_types(&ids, &types);
    }
    batch
}

/// Numbers that agree within a share of the largest.
#[track_caller]
fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-3_f32, |largest, x| largest.max(x.abs()));
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off <= tolerance * largest, "{what}: {off} off, of at most {largest}");
}
