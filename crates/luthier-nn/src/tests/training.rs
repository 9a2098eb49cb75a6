//! What holds of training whatever the network.

use super::{assert_close, batch, config, model, options};
use crate::{
    Batch, BatchError, CheckpointError, LoraMatrices, LoraOptions, Pooling, Resumed, StepPart,
    Targets, TrainError, TrainOptions, Trainer, Workspace,
};

const LABELS: [Option<u32>; 4] = [Some(0), Some(2), Some(1), None];

fn rows() -> Batch {
    batch(&config(), &[1, 2, 9, 4])
}

fn part(batch: &Batch) -> StepPart<'_> {
    StepPart { batch, targets: Targets { labels: &LABELS, ..Targets::default() } }
}

fn trainer(options: TrainOptions) -> Trainer {
    Trainer::new(model(config(), Pooling::First, 3), options).unwrap()
}

fn lora() -> TrainOptions {
    let lora = LoraOptions { rank: 2, alpha: 4.0, dropout: 0.1, matrices: LoraMatrices::All };
    TrainOptions { lora: Some(lora), schedule: fast(), ..noisy() }
}

fn noisy() -> TrainOptions {
    TrainOptions { dropout: 0.1, attention_dropout: 0.1, ..options() }
}

fn fast() -> crate::Schedule {
    crate::Schedule { rate: 0.05, ..options().schedule }
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let config = crate::EncoderConfig { positions: 200, hidden: 32, intermediate: 48, ..config() };
    let rows = batch(&config, &[1, 150, 34, 64]);
    let trained = |threads, pooling| {
        pool(threads).install(|| {
            let mut trainer = Trainer::new(model(config.clone(), pooling, 3), noisy()).unwrap();
            let steps = (0..3).map(|_| trainer.step(&[part(&rows)]).unwrap()).collect::<Vec<_>>();
            (steps, trainer.logits(&rows).unwrap(), trainer.snapshot())
        })
    };
    for pooling in [Pooling::First, Pooling::Mean] {
        let one = trained(1, pooling);
        for threads in [2, 3, 5] {
            assert!(trained(threads, pooling) == one, "{threads} threads differ from one");
        }
    }
}

#[test]
fn parts_of_a_step_are_one_batch() {
    let whole = rows();
    let mut once = trainer(options());
    let loss = once.take_gradients(&[part(&whole)]).unwrap();
    let halves = [batch(&config(), &[1, 2]), Batch::new()];
    let mut second = Batch::new();
    let starts: Vec<_> = whole.sequences().collect();
    for tokens in &starts[2..] {
        second.push_with_types(&whole.ids()[tokens.clone()], &whole.types()[tokens.clone()]);
    }
    let split = [(&halves[0], &LABELS[..2]), (&second, &LABELS[2..])];
    let parts = split.map(|(batch, labels)| StepPart {
        batch,
        targets: Targets { labels, ..Targets::default() },
    });
    let mut twice = trainer(options());
    let sum = twice.take_gradients(&parts).unwrap();
    assert!((loss - sum).abs() < 1e-6, "{loss} and {sum}");
    let gradients = once.gradients.tensors().into_iter().zip(twice.gradients.tensors());
    for ((place, a), (_, b)) in gradients {
        assert_close(&place.to_string(), b, a, 1e-5);
    }
}

#[test]
fn what_is_frozen_stays_and_the_rest_moves() {
    let mut trainer = trainer(TrainOptions { freeze_layers: 1, ..options() });
    let before = trainer.weights.clone();
    trainer.step(&[part(&rows())]).unwrap();
    for ((place, a), (_, b)) in before.tensors().into_iter().zip(trainer.weights.tensors()) {
        let name = place.to_string();
        let frozen = name.starts_with("embeddings.") || name.starts_with("layers.0.");
        assert_eq!(a == b, frozen, "{name}");
    }
}

#[test]
fn new_adapters_change_nothing_and_trained_ones_merge() {
    let rows = rows();
    let plain = model(config(), Pooling::First, 3);
    let logits = plain.logits(&rows, &mut Workspace::new()).unwrap();
    let mut trainer = trainer(lora());
    assert_eq!(trainer.logits(&rows).unwrap(), logits);
    for _ in 0..20 {
        trainer.step(&[part(&rows)]).unwrap();
    }
    let trained = trainer.logits(&rows).unwrap();
    assert!(trained.iter().zip(&logits).any(|(a, b)| (a - b).abs() > 0.1));
    let merged = trainer.into_merged();
    assert_eq!(merged.encoder.words, plain.encoder.words);
    let logits = merged.logits(&rows, &mut Workspace::new()).unwrap();
    assert_close("merged logits", &logits, &trained, 1e-5);
}

#[test]
fn a_resumed_training_goes_on_with_the_same_bits() {
    let rows = rows();
    let fresh = || model(config(), Pooling::First, 3);
    for options in [noisy(), lora(), TrainOptions { freeze_layers: 1, ..noisy() }] {
        let mut straight = trainer(options.clone());
        let (mut bytes, mut early) = (Vec::new(), None);
        for step in 0..6 {
            match step {
                1 => early = Some(straight.snapshot()),
                3 => straight.save(b"after three", early.as_ref(), &mut bytes).unwrap(),
                _ => {}
            }
            straight.step(&[part(&rows)]).unwrap();
        }
        let Resumed { trainer: mut resumed, note, kept } =
            Trainer::resume(fresh(), options.clone(), &*bytes).unwrap();
        assert_eq!((resumed.steps(), note.as_slice(), &kept), (3, &b"after three"[..], &early));
        for _ in 3..6 {
            resumed.step(&[part(&rows)]).unwrap();
        }
        assert!(resumed.weights == straight.weights && resumed.moments == straight.moments);
        let mut later = Vec::new();
        resumed.save(b"", None, &mut later).unwrap();
        let again = Trainer::resume(fresh(), options.clone(), &*later).unwrap();
        assert_eq!((again.trainer.steps(), again.kept), (6, None));
        let mut other = fresh();
        other.head.bias[0] += 1.0;
        let error = Trainer::resume(other, options.clone(), &*later).unwrap_err();
        assert!(matches!(error, CheckpointError::Network), "{error}");

        let refused = |bytes: &[u8]| Trainer::resume(fresh(), options.clone(), bytes).unwrap_err();
        assert!(matches!(refused(&bytes[..bytes.len() - 1]), CheckpointError::Read(_)));
        let damaged = |place: usize| {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1;
            refused(&bytes)
        };
        assert!(matches!(damaged(0), CheckpointError::Magic));
        assert!(matches!(damaged(8), CheckpointError::Version { found: 3 }));
        assert!(matches!(damaged(24), CheckpointError::Network));
        assert!(matches!(damaged(bytes.len() / 2), CheckpointError::Checksum));
    }
}

#[test]
fn a_snapshot_brings_weights_back() {
    let rows = rows();
    let mut trainer = trainer(options());
    let (logits, snapshot) = (trainer.logits(&rows).unwrap(), trainer.snapshot());
    trainer.step(&[part(&rows)]).unwrap();
    assert_ne!(trainer.logits(&rows).unwrap(), logits);
    let earlier = trainer.merged_at(&snapshot).logits(&rows, &mut Workspace::new()).unwrap();
    assert_eq!(earlier, logits);
    trainer.restore(&snapshot);
    assert_eq!(trainer.logits(&rows).unwrap(), logits);
}

#[test]
fn hidden_states_are_shown_and_do_not_change_logits() {
    let (rows, network) = (rows(), model(config(), Pooling::First, 3));
    let mut workspace = Workspace::new();
    let logits = network.logits(&rows, &mut workspace).unwrap();
    let mut levels = Vec::new();
    let shown = network.outputs(&rows, &[0, 2], &mut workspace, &mut |level, states| {
        levels.push(level);
        assert_eq!(states.len(), rows.tokens() * 8);
    });
    assert_close("logits", &shown.unwrap(), &logits, 1e-6);
    assert_eq!(levels, [0, 2]);
}

#[test]
fn an_infinite_loss_is_told_and_takes_no_step() {
    let mut trainer = trainer(options());
    trainer.weights.model.head.bias[0] = f32::INFINITY;
    let before = trainer.weights.clone();
    let error = trainer.step(&[part(&rows())]).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { step: 1, .. }), "{error}");
    assert!(trainer.weights == before && trainer.steps() == 0);
}

#[test]
fn what_does_not_fit_is_told() {
    let mut trainer = trainer(options());
    let mut refused = |batch: &Batch| trainer.step(&[part(batch)]).unwrap_err();
    let length = BatchError::Length { sequence: 1, tokens: 10, longest: 9 };
    assert_eq!(refused(&batch(&config(), &[1, 10])), length.into());
    assert_eq!(refused(&Batch::new()), BatchError::Empty.into());
    let mut unknown = Batch::new();
    unknown.push(&[13]);
    let id = BatchError::Id { table: "the table of words", id: 13, rows: 13 };
    assert_eq!(refused(&unknown), id.into());
    let targets = TrainError::Targets { targets: "labels", expected: 2, found: 4 };
    assert_eq!(refused(&batch(&config(), &[1, 2])), targets);

    assert_eq!(trainer.step(&[]).unwrap_err(), BatchError::Empty.into());

    let rows = rows();
    let labels = [Some(3), None, None, None];
    let wrong =
        StepPart { targets: Targets { labels: &labels, ..Targets::default() }, batch: &rows };
    let label = TrainError::Label { sequence: 0, label: 3, classes: 3 };
    assert_eq!(trainer.step(&[wrong]).unwrap_err(), label);

    let mut short = model(config(), Pooling::First, 3);
    short.encoder.layers[1].up.weights.pop();
    let error = Trainer::new(short, options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor `layers.1.up.weights` has 95 numbers, its shape needs 96"
    );
    let whole = || model(config(), Pooling::First, 3);
    let error = Trainer::new(whole(), TrainOptions { dropout: 1.0, ..options() }).unwrap_err();
    assert_eq!(error.to_string(), "`dropout` must be from 0 to less than 1");
    let loss = crate::Loss { class_weights: vec![1.0; 2], ..crate::Loss::default() };
    let error = Trainer::new(whole(), TrainOptions { loss, ..options() }).unwrap_err();
    assert_eq!(error.to_string(), "`class_weights` must be one for each class, or none");
    let error = Trainer::new(whole(), TrainOptions { freeze_layers: 3, ..options() }).unwrap_err();
    assert_eq!(error.to_string(), "`freeze_layers` must be at most the number of layers");
}

#[test]
fn schedules_rise_and_fall() {
    let rates = |warmup, decay| {
        let schedule = crate::Schedule { rate: 1.0, steps: 4, warmup, decay };
        [1, 2, 3, 4, 5].map(|step| schedule.at(step))
    };
    use crate::Decay::{Constant, Cosine, Linear};
    assert_eq!(rates(0.0, Constant), [1.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(rates(0.5, Linear), [0.5, 1.0, 1.0, 0.5, 0.0]);
    assert_eq!(rates(1.0, Linear), [0.25, 0.5, 0.75, 1.0, 1.0]);
    assert_close("cosine", &rates(0.0, Cosine), &[1.0, 0.853_553, 0.5, 0.146_447, 0.0], 1e-6);
}
