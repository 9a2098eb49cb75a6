//! How fast labels are joined, and what an answer costs:
//! `cargo test --release -p luthier-serve -- --ignored --nocapture feedback::tests::speed`.

use std::io::{self, Write};
use std::time::Instant;

use super::{Feedback, Labelled, Limits, PredictionId, Stage, Store, block_on, check, decision};
use crate::texts::Texts;

#[test]
#[ignore = "a measurement"]
fn labels_and_answers() {
    let stage = Stage::new();
    let ids: Vec<PredictionId> = (0..100_000).map(|_| PredictionId::random()).collect();
    let mut said = String::new();
    let mut time = |what: &str, count: u32, work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        let took = start.elapsed();
        let rate = f64::from(count) / took.as_secs_f64();
        said += &format!("{what}: {:?} each, {rate:.0} per second\n", took / count);
    };
    let (decision, scores) = (decision(), [0.2, 0.8]);
    // As many as wait at a time, in a pace that the thread keeps.
    for part in 0..10 {
        time("one-row answer", 10_000, &mut || {
            for number in part * 10_000..(part + 1) * 10_000 {
                let texts = Texts::default();
                let id = ids[number as usize];
                stage.tracker.answered(id, &stage.mood, &decision, texts, &scores);
            }
        });
        time("row written", 10_000, &mut || block_on(stage.tracker.flush()));
    }
    for (first, size, calls) in [(0, 1_000, 50), (50_000, 100, 400), (90_000, 1, 10_000)] {
        let labels = |call: u32| -> Feedback {
            let of = first + call * size..first + (call + 1) * size;
            let labelled = |n: u32| Labelled { id: ids[n as usize], row: 0, label: "yes".into() };
            Feedback { model: "mood".into(), version: None, labels: of.map(labelled).collect() }
        };
        let calls: Vec<_> = (0..calls).map(labels).collect();
        time(&format!("label in calls of {size}"), size * calls.len() as u32, &mut || {
            for labels in &calls {
                let joined = block_on(stage.tracker.join(labels.clone()));
                check(joined, size as usize, 0, 0);
            }
        });
    }
    let path = stage.scratch.path().join("feedback.db");
    time("row read at the start", 100_000, &mut || {
        drop(Store::open(&path, Limits::default()).unwrap());
    });
    io::stdout().write_all(said.as_bytes()).unwrap();
}
