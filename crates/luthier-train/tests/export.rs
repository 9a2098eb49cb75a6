//! Classifiers on encoders, from a Hugging Face folder through ONNX to the engine.
//!
//! The folders come with what PyTorch answers; see `luthier-pretrained/tests/fixtures/make.py`.

use std::path::{Path, PathBuf};

use luthier_compress::{Recipe, Step};
use luthier_engine::{Input, Session, Threads};
use luthier_graph::{DType, Dim, TensorData, TensorInfo};
use luthier_model::{Decision, Model, Preprocess, Tokens};
use luthier_nn::{Batch, Linear, Pooling, SequenceClassifier, Workspace};
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

fn classifier(folder: &Path, head: &Head, pooling: Pooling) -> (SequenceClassifier, Tokens) {
    let Pretrained { encoder, tokens, .. } = Pretrained::open(folder).unwrap();
    let head = Linear { weights: head.weights.clone(), bias: head.bias.clone() };
    (SequenceClassifier { encoder, pooling, head }, tokens)
}

fn model(folder: &Path, head: &Head, pooling: Pooling) -> Model {
    let (classifier, tokens) = classifier(folder, head, pooling);
    let labels = (0..head.bias.len()).map(|label| label.to_string()).collect();
    to_model(classifier, tokens, Decision::of_classes(labels, None)).unwrap()
}

/// Logits of a batch of token ids, filled up to the longest.
fn logits(model: &Model, rows: &[Vec<u32>]) -> Vec<f32> {
    let Preprocess::Tokens(tokens) = &model.preprocess else { panic!("a model of tokens") };
    let mut graph = model.graph.clone();
    let shape = vec![Dim::Named("batch".into()), Dim::Named("classes".into())];
    graph.outputs.push(TensorInfo { name: "logits".into(), dtype: DType::F32, shape });
    let session = Session::load(graph.to_onnx(), &Threads::new(1)).unwrap();
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

/// Both ways to pool, with what PyTorch answers.
fn poolings(expected: &Expected) -> [(Pooling, &[f32]); 2] {
    [(Pooling::First, &expected.first), (Pooling::Mean, &expected.mean)]
}

#[test]
fn every_layout_answers_as_pytorch_does() {
    for layout in LAYOUTS {
        let (folder, expected) = fixture(layout);
        for (pooling, answers) in poolings(&expected) {
            let model = model(&folder, &expected.head, pooling);
            model.graph.check().unwrap();
            let what = format!("{layout}, {pooling:?}");
            assert_logits(&logits(&model, &expected.ids), answers, &what);
            let single = logits(&model, &expected.ids[..1]);
            assert_logits(&single, &answers[..single.len()], &what);
        }
    }
}

#[test]
fn networks_in_memory_answer_alike() {
    for layout in LAYOUTS {
        let (folder, expected) = fixture(layout);
        let mut batch = Batch::new();
        expected.ids.iter().for_each(|ids| batch.push(ids));
        for (pooling, answers) in poolings(&expected) {
            let (classifier, _) = classifier(&folder, &expected.head, pooling);
            let found = classifier.logits(&batch, &mut Workspace::new()).unwrap();
            assert_logits(&found, answers, &format!("{layout}, {pooling:?}"));
        }
    }
}

#[test]
fn texts_become_the_tokens_of_the_original() {
    for layout in LAYOUTS {
        let (folder, expected) = fixture(layout);
        let tokens = Pretrained::open(&folder).unwrap().tokens;
        for (text, ids) in expected.texts.iter().zip(&expected.ids) {
            assert_eq!(self::ids(&tokens, text), *ids, "{layout}: {text:?}");
        }
    }
}

#[test]
fn a_text_without_tokens_gives_numbers() {
    let (folder, expected) = fixture("bert");
    for (pooling, _) in poolings(&expected) {
        let model = model(&folder, &expected.head, pooling);
        let found = logits(&model, &[expected.ids[0].clone(), Vec::new()]);
        assert!(found.iter().all(|logit| logit.is_finite()), "{pooling:?}: {found:?}");
    }
}

#[test]
fn eight_bits_answer_nearly_the_same() {
    for layout in LAYOUTS {
        let (folder, expected) = fixture(layout);
        let model = model(&folder, &expected.head, Pooling::Mean);
        let small = Recipe(vec![Step::Int8]).apply(&model, &[]).unwrap();
        small.graph.check().unwrap();
        small.preprocess.check(&small.graph).unwrap();
        // All other matrices are too small here to gain by it.
        let words = small.graph.tensor("embeddings.word_embeddings.weight").unwrap();
        assert!(matches!(words.data, TensorData::I8(_)), "{layout}");
        for (found, expected) in logits(&small, &expected.ids).iter().zip(&expected.mean) {
            assert_close((*found).into(), (*expected).into(), 0.05, layout);
        }
    }
}

#[test]
fn calibration_folds_in() {
    let (folder, expected) = fixture("bert");
    let mut model = model(&folder, &expected.head, Pooling::First);
    assert!(model.set_temperature(2.0));
    assert_close(model.temperature(), 2.0, 1e-6, "temperature");
    model.graph.check().unwrap();
    assert_logits(&logits(&model, &expected.ids), &expected.first, "before the temperature");
}
