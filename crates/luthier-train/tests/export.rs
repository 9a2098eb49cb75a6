//! Classifiers on encoders, from a Hugging Face folder through ONNX to the engine.
//!
//! The folders come with what PyTorch answers; see `luthier-pretrained/tests/fixtures/make.py`.

use std::path::{Path, PathBuf};

use luthier_engine::{Input, Session, Threads};
use luthier_graph::{DType, Dim, TensorInfo};
use luthier_model::{Decision, Model, Tokens};
use luthier_nn::{Linear, Pooling, SequenceClassifier};
use luthier_pretrained::Pretrained;
use luthier_test::assert_close;
use luthier_train::to_model;
use serde::Deserialize;

const LAYOUTS: [&str; 4] = ["bert", "distilbert", "roberta", "xlm-roberta"];
/// How far logits may be from PyTorch's.
const TOLERANCE: f64 = 1e-4;

/// What PyTorch answers.
#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
    head: Head,
    first: Vec<f32>,
    mean: Vec<f32>,
}

#[derive(Deserialize)]
struct Head {
    weights: Vec<f32>,
    bias: Vec<f32>,
}

fn fixture(layout: &str) -> (PathBuf, Expected) {
    let folder = Path::new("../luthier-pretrained/tests/fixtures").join(layout);
    let expected = std::fs::read(folder.join("expected.json")).unwrap();
    (folder, serde_json::from_slice(&expected).unwrap())
}

fn model(folder: &Path, head: &Head, pooling: Pooling) -> Model {
    let Pretrained { encoder, tokens, .. } = Pretrained::open(folder).unwrap();
    let head = Linear { weights: head.weights.clone(), bias: head.bias.clone() };
    let labels = (0..head.bias.len()).map(|label| label.to_string()).collect();
    to_model(
        SequenceClassifier { encoder, pooling, head },
        tokens,
        Decision::of_classes(labels, None),
    )
    .unwrap()
}

/// Logits of a batch of texts, filled up to the longest.
fn logits(model: &Model, tokens: &Tokens, texts: &[String]) -> Vec<f32> {
    let mut graph = model.graph.clone();
    let shape = vec![Dim::Named("batch".into()), Dim::Named("classes".into())];
    graph.outputs.push(TensorInfo { name: "logits".into(), dtype: DType::F32, shape });
    let session = Session::load(graph.to_onnx(), &Threads::new(1)).unwrap();
    let rows: Vec<Vec<u32>> = texts.iter().map(|text| ids(tokens, text)).collect();
    let width = rows.iter().map(Vec::len).max().unwrap();
    let shape = [rows.len(), width];
    let place = |row: &Vec<u32>, at: usize| row.get(at).copied().unwrap_or(tokens.pad());
    let filled = rows.iter().flat_map(|row| (0..width).map(|at| place(row, at).cast_signed()));
    let filled: Vec<i32> = filled.collect();
    let mask = rows.iter().flat_map(|row| (0..width).map(|at| i32::from(at < row.len())));
    let mask: Vec<i32> = mask.collect();
    let inputs =
        [("input_ids", Input::I32(&shape, &filled)), ("attention_mask", Input::I32(&shape, &mask))];
    session.run(&inputs, "logits").unwrap().data
}

fn ids(tokens: &Tokens, text: &str) -> Vec<u32> {
    let (mut ids, mut types) = (Vec::new(), Vec::new());
    tokens.encode(text, &mut ids, &mut types).unwrap();
    ids
}

fn assert_logits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert_close((*found).into(), (*expected).into(), TOLERANCE, what);
    }
}

#[test]
fn every_layout_answers_as_pytorch_does() {
    for layout in LAYOUTS {
        let (folder, expected) = fixture(layout);
        for (pooling, answers) in
            [(Pooling::First, &expected.first), (Pooling::Mean, &expected.mean)]
        {
            let model = model(&folder, &expected.head, pooling);
            let luthier_model::Preprocess::Tokens(tokens) = &model.preprocess else { panic!() };
            model.graph.check().unwrap();
            for (text, ids) in expected.texts.iter().zip(&expected.ids) {
                assert_eq!(self::ids(tokens, text), *ids, "{layout}: {text:?}");
            }
            let what = format!("{layout}, {pooling:?}");
            assert_logits(&logits(&model, tokens, &expected.texts), answers, &what);
            let single = logits(&model, tokens, &expected.texts[..1]);
            assert_logits(&single, &answers[..single.len()], &what);
        }
    }
}
