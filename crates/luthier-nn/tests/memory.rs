//! The memory that is foretold against the peak of a process of its own.
#![cfg(target_os = "linux")]

use luthier_nn::{
    Activation, AdamW, Batch, BatchSize, Decay, Encoder, EncoderConfig, EncoderLayer, Linear, Loss,
    Norm, Pooling, Schedule, SequenceClassifier, StepPart, Targets, TrainOptions, Trainer,
};

const SEQUENCES: usize = 32;
const LENGTH: usize = 128;

/// Bytes by their name in the kernel's account of this process.
fn bytes(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn config() -> EncoderConfig {
    EncoderConfig {
        vocabulary: SEQUENCES * LENGTH,
        hidden: 128,
        layers: 3,
        heads: 4,
        intermediate: 512,
        positions: LENGTH,
        first_position: 0,
        types: 0,
        activation: Activation::Gelu,
        epsilon: 1e-12,
        dropout: 0.1,
        attention_dropout: 0.1,
    }
}

fn model(pooling: Pooling) -> SequenceClassifier {
    let config = config();
    let EncoderConfig { vocabulary, hidden, intermediate, positions, layers, .. } = config;
    let linear = |inputs, outputs| Linear::uniform(inputs, outputs, 0.05, 1);
    let norm = || Norm { scale: vec![1.0; hidden], shift: vec![0.0; hidden] };
    let layer = |_| EncoderLayer {
        query: linear(hidden, hidden),
        key: linear(hidden, hidden),
        value: linear(hidden, hidden),
        output: linear(hidden, hidden),
        attention_norm: norm(),
        up: linear(hidden, intermediate),
        down: linear(intermediate, hidden),
        output_norm: norm(),
    };
    let encoder = Encoder {
        words: linear(hidden, vocabulary).weights,
        positions: linear(hidden, positions).weights,
        types: Vec::new(),
        norm: norm(),
        layers: (0..layers).map(layer).collect(),
        config,
    };
    SequenceClassifier { encoder, pooling, head: linear(hidden, 2) }
}

#[test]
fn peaks_are_foretold_within_a_quarter() {
    let options = TrainOptions {
        loss: Loss::default(),
        schedule: Schedule { rate: 1e-4, steps: 2, warmup: 0.0, decay: Decay::Linear },
        adamw: AdamW::default(),
        clip: Some(1.0),
        layer_decay: 1.0,
        dropout: 0.1,
        attention_dropout: 0.1,
        freeze_embeddings: false,
        freeze_layers: 0,
        lora: None,
        seed: 1,
    };
    // The peak of a process only rises, so what takes less comes first.
    for pooling in [Pooling::First, Pooling::Mean] {
        let before = bytes("VmRSS");
        let mut trainer = Trainer::new(model(pooling), options.clone()).unwrap();
        let mut batch = Batch::new();
        for first in (0..SEQUENCES * LENGTH).step_by(LENGTH) {
            let ids: Vec<u32> = (first..first + LENGTH).map(|id| id as u32).collect();
            batch.push(&ids);
        }
        let labels: Vec<_> = (0..SEQUENCES).map(|index| Some(index as u32 % 2)).collect();
        let targets = Targets { labels: &labels, ..Targets::default() };
        trainer.step(&[StepPart { batch: &batch, targets }]).unwrap();
        trainer.logits(&batch).unwrap();
        let largest = BatchSize { sequences: SEQUENCES, tokens: SEQUENCES * LENGTH };
        let foretold = options.peak_memory(&config(), pooling, 2, largest) as f64;
        let taken = (bytes("VmHWM") - before) as f64;
        let ratio = foretold / taken;
        assert!((0.8..1.25).contains(&ratio), "foretold {foretold}, taken {taken}: {ratio}");
    }
}
