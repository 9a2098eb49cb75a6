//! Writes the ONNX form of a classifier on a pretrained encoder.
//!
//! ```text
//! encoder_onnx <folder> <head.json> <first|mean> <out.onnx>
//! ```
//!
//! `head.json` has `weights`, row-major `[classes, hidden]`, and `bias`. `tests/onnx_parity` compares
//! what ONNX Runtime makes of the file with PyTorch.

use std::error::Error;
use std::fs;
use std::path::Path;

use luthier_model::Decision;
use luthier_nn::{Linear, Pooling, SequenceClassifier};
use luthier_pretrained::Pretrained;
use luthier_train::to_model;
use serde::Deserialize;

#[derive(Deserialize)]
struct Head {
    weights: Vec<f32>,
    bias: Vec<f32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, head, pooling, out] = arguments.as_slice() else {
        return Err("encoder_onnx <folder> <head.json> <first|mean> <out.onnx>".into());
    };
    let Head { weights, bias } = serde_json::from_slice(&fs::read(head)?)?;
    let pooling = if pooling == "mean" { Pooling::Mean } else { Pooling::First };
    let labels = (0..bias.len()).map(|label| label.to_string()).collect();
    let Pretrained { encoder, tokens, .. } = Pretrained::open(Path::new(folder))?;
    let head = Linear { weights, bias };
    let model = to_model(
        SequenceClassifier { encoder, pooling, head },
        tokens,
        Decision::of_classes(labels, None),
    )?;
    fs::write(out, model.graph.to_onnx())?;
    Ok(())
}
