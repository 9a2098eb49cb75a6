use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use luthier_compress::{Recipe, Step as Pass};
use luthier_graph::TensorData;
use luthier_model::{Decision, Model};
use luthier_nn::{Batch, Pooling, Workspace};
use luthier_pretrained::Pretrained;
use luthier_space::Values;
use luthier_test::{Scratch, assert_close};

use super::{EncoderNetwork, ImportError, TEACHER, TeacherSource, Transformer};
use crate::{Data, Fitted, Host, Inputs, Job, Learner, Network, Row, Subset, TextData, TrainError};

const LAYOUTS: [&str; 4] = ["bert", "distilbert", "roberta", "xlm-roberta"];
const WORDS: [[&str; 3]; 2] = [["lovely", "warm", "fine"], ["dull", "cold", "rude"]];

fn fixtures(name: &str) -> PathBuf {
    Path::new("../luthier-pretrained/tests/fixtures").join(name)
}

/// Learns from the folders of the fixtures.
fn transformer(teacher: Option<TeacherSource>) -> Transformer {
    Transformer { locate: Arc::new(|name| Ok(fixtures(name))), teacher }
}

fn text(row: usize) -> String {
    let words = WORDS[row % 2];
    format!("it is {} and {} here", words[row / 2 % 3], words[row / 6 % 3])
}

/// Two classes that two words tell apart. Rows whose number is odd by twos have no label where a
/// teacher answers.
fn data(taught: bool) -> Data<'static> {
    let source = move |subset, visit: &mut dyn FnMut(Row<'_>)| {
        let rows = if subset == Subset::Train { 0..96 } else { 100..124 };
        for row in rows {
            let (text, label) = (text(row), (row % 2) as u32);
            let answers = if label == 0 { [0.95, 0.05] } else { [0.05, 0.95] };
            match taught && subset == Subset::Train {
                true => {
                    let label = (row % 4 < 2).then_some(label);
                    visit(Row { text: &text, label, weight: 1.0, taught: &answers });
                }
                false => visit(Row::labelled(&text, label)),
            }
        }
        Ok(())
    };
    TextData::new(2, source).unwrap().into()
}

/// The proposal for the fixture `bert`, with some other values.
fn values(learner: &Transformer, other: &[(&str, f64)]) -> Values {
    let mut values = learner.proposal();
    let (_, student) = learner.student().unwrap();
    student.iter().for_each(|(name, value)| values.insert(name, value.clone()));
    values.insert("checkpoint", "bert");
    values.insert("learning_rate", 5e-3);
    values.insert("batch", 16);
    values.insert("max_length", 16);
    for (name, value) in other {
        match values.get(name) {
            Some(luthier_space::Value::Int(_)) => values.insert(*name, *value as i64),
            _ => values.insert(*name, *value),
        }
    }
    values
}

fn fit(learner: &Transformer, data: &Data<'_>, values: &Values) -> Result<Fitted, TrainError> {
    learner.fit(&Job::new(data, values, 1), &mut |_| ControlFlow::Continue(()))
}

fn encoder(fitted: &Fitted) -> EncoderNetwork {
    match fitted.network() {
        Network::Encoder(network) => *network,
        _ => panic!("an encoder"),
    }
}

fn accuracy(valid: &[f32]) -> f64 {
    let right = valid.chunks(2).enumerate().filter(|(row, p)| (p[1] > p[0]) == (row % 2 == 1));
    right.count() as f64 / (valid.len() / 2) as f64
}

#[test]
fn the_best_epoch_is_reported_and_returned() {
    let learner = transformer(None);
    // So fast that later epochs spoil what earlier ones have learnt.
    let values = values(&learner, &[("learning_rate", 0.05), ("epochs", 12.0), ("warmup", 0.0)]);
    let (data, mut reported) = (data(false), Vec::new());
    let fitted = learner
        .fit(&Job::new(&data, &values, 3), &mut |step| {
            reported.push(step.valid.to_vec());
            let texts: Vec<String> = (100..124).map(text).collect();
            let answers = (step.network)().answer(Inputs::Texts(&texts)).unwrap();
            for (a, b) in answers.iter().zip(step.valid) {
                assert_close((*a).into(), (*b).into(), 1e-5, "the reported network");
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(reported.last(), Some(&fitted.valid));
    assert!(reported.len() < 12, "it ended before its time");
    let end = reported.len();
    assert!(reported[end - 3..].windows(2).all(|pair| pair[0] == pair[1]), "the best is kept");
}

#[test]
fn a_fit_that_was_stopped_anywhere_ends_as_if_it_had_not_been() {
    for (name, epochs) in [("all", 3.0), ("lora", 3.0), ("all", 1.0)] {
        let learner = transformer(None);
        let mut values = values(&learner, &[("epochs", epochs)]);
        values.insert("train", name);
        let lora = [("rank", 4.0), ("alpha", 8.0), ("lora_dropout", 0.1)];
        lora.into_iter().for_each(|(name, value)| values.insert(name, value));
        values.insert("rank", 4);
        let (data, scratch) = (data(false), Scratch::new());
        let reports = |host: Host<'_>, reports: &mut Vec<Vec<f32>>| {
            let job = Job { host, ..Job::new(&data, &values, 1) };
            learner.fit(&job, &mut |step| {
                reports.push(step.valid.to_vec());
                ControlFlow::Continue(())
            })
        };
        let mut whole = Vec::new();
        let undisturbed = reports(Host::default(), &mut whole).unwrap();
        let folder = scratch.path().join("fit");
        let mut stopped = 0;
        // Each time a few looks later, so that it is stopped in and between all epochs.
        let fitted = loop {
            let (looks, limit) = (AtomicU32::new(0), 122 + 5 * stopped);
            let stop = || looks.fetch_add(1, Ordering::Relaxed) >= limit;
            let host = Host { stop: Some(&stop), state: Some(&folder), ..Host::default() };
            let mut again = Vec::new();
            match reports(host, &mut again) {
                Ok(fitted) => {
                    assert_eq!(again, whole, "{name}");
                    break fitted;
                }
                Err(TrainError::Stopped) => assert_eq!(again, whole[..again.len()], "{name}"),
                Err(error) => panic!("{error}"),
            }
            stopped += 1;
        };
        assert!(stopped > 0, "it was never stopped");
        assert_eq!(fitted.valid, undisturbed.valid);
        assert!(encoder(&fitted).classifier == encoder(&undisturbed).classifier, "{name}");
        // A fit that has ended gives the same once more, and looks at few rows for it.
        let (looks, mut again) = (AtomicU32::new(0), Vec::new());
        let stop = || looks.fetch_add(1, Ordering::Relaxed) >= 122;
        let host = Host { stop: Some(&stop), state: Some(&folder), ..Host::default() };
        let fitted = reports(host, &mut again).unwrap();
        assert!((again, &fitted.valid) == (whole, &undisturbed.valid), "{name}");
        assert!(encoder(&fitted).classifier == encoder(&undisturbed).classifier, "{name}");
    }
}

#[test]
fn a_state_of_another_fit_is_not_taken_up() {
    let learner = transformer(None);
    let (data, scratch) = (data(false), Scratch::new());
    let values = values(&learner, &[("epochs", 2.0)]);
    let until_the_first_epoch = |seed| {
        let host = Host { state: Some(scratch.path()), ..Host::default() };
        let job = Job { host, ..Job::new(&data, &values, seed) };
        let mut epochs = Vec::new();
        let fitted = learner.fit(&job, &mut |step| {
            epochs.push(step.valid.to_vec());
            ControlFlow::Break(())
        });
        assert!(matches!(fitted, Err(TrainError::Stopped)));
        (epochs, fs::read(scratch.path().join("state")).unwrap())
    };
    let first = until_the_first_epoch(1);
    assert_ne!(until_the_first_epoch(2), first);
    assert_eq!(until_the_first_epoch(1), first);
    let mut damaged = first.1.clone();
    damaged[first.1.len() / 2] ^= 1;
    fs::write(scratch.path().join("state"), damaged).unwrap();
    assert_eq!(until_the_first_epoch(1), first);
}

#[test]
fn a_loss_that_is_no_number_is_told_with_the_last_good_state() {
    let learner = transformer(None);
    let (data, scratch) = (data(false), Scratch::new());
    let error = |rate, warmup| {
        let values =
            values(&learner, &[("learning_rate", rate), ("warmup", warmup), ("epochs", 4.0)]);
        let host = Host { state: Some(scratch.path()), ..Host::default() };
        let job = Job { host, ..Job::new(&data, &values, 1) };
        learner.fit(&job, &mut |_| ControlFlow::Continue(())).err().expect("it diverges")
    };
    // At once.
    let TrainError::NotFinite { step, last_good: None } = error(1e38, 0.0) else { panic!() };
    assert!((2..=6).contains(&step), "step {step}");
    // The rate rises so slowly that an epoch goes well before it does not.
    let error = error(1e4, 1.0);
    let TrainError::NotFinite { step, last_good: Some(last) } = &error else { panic!("{error}") };
    assert!(*step > 6, "step {step}");
    assert!(last.path.exists());
    let said = error.to_string();
    let expected = format!(
        "the loss is no number in step {step}: a smaller learning_rate may help; the state after epoch {} \
         is in {}",
        last.epoch,
        last.path.display()
    );
    assert_eq!(said, expected);
}

#[test]
fn what_memory_does_not_hold_is_told_before() {
    let learner = transformer(None);
    let (data, values) = (data(false), values(&learner, &[]));
    let fit = |memory| {
        let host = Host { memory: Some(memory), ..Host::default() };
        let job = Job { host, ..Job::new(&data, &values, 1) };
        learner.fit(&job, &mut |_| ControlFlow::Break(()))
    };
    assert!(matches!(fit(1 << 30), Err(TrainError::Stopped)));
    let error = fit(1000).err().unwrap();
    assert!(matches!(error, TrainError::Memory { needed: 20_000.., available: 1000 }), "{error}");
    assert!(error.to_string().contains("fewer workers, `train = \"lora\"`"), "{error}");
}

#[test]
fn layers_are_left_out() {
    let learner = transformer(None);
    let layers = |layers: f64| {
        fit(&learner, &data(false), &values(&learner, &[("layers", layers), ("epochs", 1.0)]))
            .map(|fitted| encoder(&fitted).classifier.encoder.layers.len())
    };
    assert_eq!(layers(0.0).unwrap(), 2);
    assert_eq!(layers(1.0).unwrap(), 1);
    let error = layers(3.0).unwrap_err().to_string();
    assert_eq!(error, "checkpoint `bert`: `layers` asks for 3, and it has 2");
}

/// A fixture's encoder with a head of some numbers.
fn network(layout: &str, pooling: Pooling) -> EncoderNetwork {
    let Pretrained { encoder, tokens, .. } = Pretrained::open(&fixtures(layout)).unwrap();
    let head = luthier_nn::Linear::uniform(encoder.config.hidden, 3, 0.5, 9);
    let classifier = luthier_nn::SequenceClassifier { encoder, pooling, head };
    EncoderNetwork { classifier, tokens }
}

fn model(network: EncoderNetwork) -> Model {
    let labels = vec!["a".into(), "b".into(), "c".into()];
    Network::Encoder(Box::new(network)).to_model(Decision::of_classes(labels, None), None).unwrap()
}

#[test]
fn a_network_comes_back_from_its_model() {
    let texts: Vec<String> = (0..4).map(text).collect();
    for layout in LAYOUTS {
        for pooling in [Pooling::First, Pooling::Mean] {
            let network = network(layout, pooling);
            let exported = model(network.clone());
            let read = EncoderNetwork::from_model(&exported).unwrap();
            assert_eq!(read.answer(&texts).unwrap(), network.answer(&texts).unwrap(), "{layout}");
            assert_eq!(model(read).graph, exported.graph, "{layout}");
        }
    }
}

#[test]
fn calibration_comes_back_in_the_head() {
    let plain = network("bert", Pooling::Mean);
    let mut calibrated = model(plain.clone());
    assert!(calibrated.set_shifts(&[0.0, 0.5, -0.25]) && calibrated.set_temperature(2.0));
    let read = EncoderNetwork::from_model(&calibrated).unwrap();
    let texts: Vec<String> = (0..4).map(text).collect();
    let (found, before) = (read.answer(&texts).unwrap(), plain.answer(&texts).unwrap());
    for (found, before) in found.chunks(3).zip(before.chunks(3)) {
        let shifted = before.iter().zip([0.0, 0.5, -0.25]);
        let logits: Vec<f64> =
            shifted.map(|(p, shift)| (f64::from(*p).ln() + shift) / 2.0).collect();
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        for (p, logit) in found.iter().zip(logits) {
            assert_close((*p).into(), logit.exp() / sum, 1e-5, "calibrated");
        }
    }
}

#[test]
fn what_was_not_exported_here_is_told() {
    let exported = model(network("bert", Pooling::First));
    let refused = |model: &Model| EncoderNetwork::from_model(model).unwrap_err();
    let small = Recipe(vec![Pass::Int8]).apply(&exported, &[]).unwrap();
    assert!(matches!(refused(&small), ImportError::Compressed { .. }), "{}", refused(&small));
    let mut other = exported.clone();
    other.graph.nodes[9].op = "Sub".to_owned();
    assert!(matches!(refused(&other), ImportError::Changed { .. }), "{}", refused(&other));
    let mut short = exported.clone();
    let bias = short.graph.tensors.iter_mut().find(|t| t.name.ends_with("query.bias")).unwrap();
    bias.data = TensorData::F32(vec![0.0; 2]);
    assert!(matches!(refused(&short), ImportError::Weights(_)), "{}", refused(&short));
    let mut foreign = exported;
    foreign.graph.tensors.iter_mut().for_each(|tensor| tensor.name.insert(0, 'x'));
    assert_eq!(refused(&foreign), ImportError::Foreign);
}

#[test]
fn a_student_starts_from_its_teacher_and_follows_it() {
    let (taught, labelled) = (data(true), data(false));
    let alone = transformer(None);
    let teacher = encoder(&fit(&alone, &labelled, &values(&alone, &[])).unwrap());
    let shared = Arc::new(teacher.clone());
    let student = transformer(Some(Arc::new(move || Ok(Arc::clone(&shared)))));
    let with = |other: &[(&str, f64)]| {
        let mut values = values(&student, other);
        values.insert("checkpoint", TEACHER);
        values
    };
    let fitted = fit(&student, &taught, &with(&[("layers", 1.0), ("hidden_share", 1.0)])).unwrap();
    assert_eq!(encoder(&fitted).classifier.encoder.layers.len(), 1);
    assert!(accuracy(&fitted.valid) > 0.9, "{}", accuracy(&fitted.valid));

    // Who follows hidden states comes nearer to them, and who takes no step is the teacher.
    let states = |network: &EncoderNetwork| {
        let (mut batch, mut states) = (Batch::new(), Vec::new());
        batch.push(&[2, 11, 12, 13, 3]);
        let shown =
            network.classifier.outputs(&batch, &[2], &mut Workspace::new(), &mut |_, found| {
                states.extend_from_slice(found);
            });
        shown.unwrap();
        states
    };
    let distance = |share: f64| {
        let values = values(&student, &[("hidden_share", share), ("dropout", 0.0)]);
        let network = encoder(&fit(&student, &taught, &values).unwrap());
        let pairs = states(&network).into_iter().zip(states(&teacher));
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    let (near, far) = (distance(10.0), distance(0.0));
    assert!(near < 0.7 * far, "{near} and {far}");
    let frozen = with(&[("learning_rate", 0.0), ("epochs", 1.0)]);
    let frozen = encoder(&fit(&student, &taught, &frozen).unwrap());
    assert!(frozen.classifier.encoder == teacher.classifier.encoder);
}

#[test]
fn what_a_student_cannot_follow_is_told() {
    let taught = data(true);
    let said = |teacher: &'static str, checkpoint: &str| {
        let source: TeacherSource = match teacher {
            "" => Arc::new(|| Err("the model was compressed".to_owned())),
            layout => Arc::new(move || Ok(Arc::new(network(layout, Pooling::Mean)))),
        };
        let student = transformer(Some(source));
        let mut values = values(&student, &[("hidden_share", 1.0)]);
        values.insert("checkpoint", checkpoint);
        fit(&student, &taught, &values).err().unwrap().to_string()
    };
    assert_eq!(said("", TEACHER), "checkpoint `teacher`: the model was compressed");
    let other = said("roberta", "bert");
    assert!(other.contains("its hidden states cannot be followed (`hidden_share`): "), "{other}");
    let student = transformer(None);
    let mut values = values(&student, &[]);
    values.insert("checkpoint", TEACHER);
    let error = fit(&student, &taught, &values).err().unwrap();
    assert_eq!(error.to_string(), "checkpoint `teacher`: the job names no teacher");
}
