//! Trains a network on one batch over and over and says how long steps took: the half of
//! `benches/train/step.py` that is ours.
//!
//! `step <file.safetensors>`, then a number of steps on each line of standard input;
//! it answers with one line of JSON: seconds and seconds of processor time of each step, its loss, and
//! the peak of memory so far in KiB. At the end of the input it writes the logits.

use std::io::{self, BufRead, Write};
use std::time::Instant;

use luthier_nn::{
    Activation, AdamW, Batch, Decay, Encoder, EncoderConfig, EncoderLayer, Linear, Loss, Norm,
    Pooling, Schedule, SequenceClassifier, StepPart, Targets, TrainOptions, Trainer,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let path = std::env::args().nth(1).ok_or("step <file.safetensors>")?;
    let (facts, model) = read(&path)?;
    let (batch, labels) = rows(&facts)?;
    let mut trainer = Trainer::new(model, options(&facts))?;
    let targets = Targets { labels: &labels, ..Targets::default() };
    let part = StepPart { batch: &batch, targets };
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let (mut seconds, mut processor, mut losses) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..line?.trim().parse()? {
            let (start, used) = (Instant::now(), processor_seconds()?);
            losses.push(trainer.step(&[part])?.loss);
            seconds.push(start.elapsed().as_secs_f64());
            processor.push(processor_seconds()? - used);
        }
        let answer = json!({
            "seconds": seconds, "processor": processor, "losses": losses, "peak_kib": peak_kib()?,
        });
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    writeln!(out, "{}", json!(trainer.logits(&batch)?))?;
    Ok(())
}

/// The facts that the file carries, and the network that its tensors make.
fn read(path: &str) -> Result<(Value, SequenceClassifier), Failure> {
    let bytes = std::fs::read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let facts =
        header.metadata().as_ref().and_then(|facts| facts.get("facts")).ok_or("no facts")?;
    let facts: Value = serde_json::from_str(facts)?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let tensor = |name: &str| -> Result<Vec<f32>, Failure> {
        let (numbers, _) = tensors.tensor(name)?.data().as_chunks();
        Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    };
    let linear = |name: String| -> Result<Linear, Failure> {
        let (weights, bias) =
            (tensor(&format!("{name}.weights"))?, tensor(&format!("{name}.bias"))?);
        Ok(Linear { weights, bias })
    };
    let norm = |name: String| -> Result<Norm, Failure> {
        let (scale, shift) = (tensor(&format!("{name}.scale"))?, tensor(&format!("{name}.shift"))?);
        Ok(Norm { scale, shift })
    };
    let layer = |index: usize| -> Result<EncoderLayer, Failure> {
        let name = |part: &str| format!("layers.{index}.{part}");
        Ok(EncoderLayer {
            query: linear(name("query"))?,
            key: linear(name("key"))?,
            value: linear(name("value"))?,
            output: linear(name("output"))?,
            attention_norm: norm(name("attention_norm"))?,
            up: linear(name("up"))?,
            down: linear(name("down"))?,
            output_norm: norm(name("output_norm"))?,
        })
    };
    let config = config(&facts["config"]).ok_or("the shape has too few numbers")?;
    let encoder = Encoder {
        words: tensor("embeddings.words")?,
        positions: tensor("embeddings.positions")?,
        types: tensor("embeddings.types")?,
        norm: norm("embeddings.norm".into())?,
        layers: (0..config.layers).map(layer).collect::<Result<_, _>>()?,
        config,
    };
    let pooling = if facts["config"]["pooling"] == "mean" { Pooling::Mean } else { Pooling::First };
    Ok((facts, SequenceClassifier { encoder, pooling, head: linear("head".into())? }))
}

fn config(facts: &Value) -> Option<EncoderConfig> {
    let number = |name: &str| facts[name].as_u64().map(|number| number as usize);
    Some(EncoderConfig {
        vocabulary: number("vocabulary")?,
        hidden: number("hidden")?,
        layers: number("layers")?,
        heads: number("heads")?,
        intermediate: number("intermediate")?,
        positions: number("positions")?,
        first_position: number("first_position")?,
        types: number("types")?,
        activation: Activation::Gelu,
        epsilon: facts["epsilon"].as_f64()? as f32,
        dropout: 0.0,
        attention_dropout: 0.0,
    })
}

fn rows(facts: &Value) -> Result<(Batch, Vec<Option<u32>>), Failure> {
    let sequences: Vec<Vec<u32>> = serde_json::from_value(facts["sequences"].clone())?;
    let mut batch = Batch::new();
    sequences.iter().for_each(|ids| batch.push(ids));
    let labels: Vec<u32> = serde_json::from_value(facts["labels"].clone())?;
    Ok((batch, labels.into_iter().map(Some).collect()))
}

fn options(facts: &Value) -> TrainOptions {
    let dropout = facts["dropout"].as_f64().unwrap_or(0.0) as f32;
    TrainOptions {
        loss: Loss::default(),
        schedule: Schedule { rate: 2e-5, steps: 100, warmup: 0.0, decay: Decay::Constant },
        adamw: AdamW::default(),
        clip: None,
        layer_decay: 1.0,
        dropout,
        attention_dropout: dropout,
        freeze_embeddings: false,
        freeze_layers: 0,
        lora: None,
        seed: 1,
    }
}

/// Seconds that all threads of this process have run, in the kernel's hundredths.
fn processor_seconds() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields = text.rsplit_once(')').ok_or("no fields")?.1.split_whitespace();
    let ticks: Result<Vec<u64>, _> = fields.skip(11).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum::<u64>() as f64 / 100.0)
}

fn peak_kib() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with("VmHWM")).ok_or("no peak")?;
    Ok(line.split_whitespace().nth(1).ok_or("no peak")?.parse()?)
}
