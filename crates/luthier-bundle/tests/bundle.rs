//! Bundles are written whole, read back equal, and refused when anything in them is wrong.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

use luthier_bundle::{
    Bundle, BundleError, Draft, Lineage, PredictScratch, Probe, Published, Score,
};
use luthier_engine::Threads;
use luthier_model::Decision;
use luthier_space::{Distribution, Value};
use luthier_test::{Scratch, assert_close};
use luthier_train::{Data, Embedding, Inputs, Job, Learner, Linear, Row, TextData};

fn rows() -> Vec<(String, u32)> {
    let words = [["warm", "lovely", "好吃"], ["cold", "dull", "难吃"]];
    let row =
        |i: usize| (format!("a {} thing, number {i}", words[i % 2][i / 2 % 3]), (i % 2) as u32);
    (0..60).map(row).collect()
}

const LEARNERS: [&dyn Learner; 2] = [&Linear, &Embedding];

/// A draft by the learner at `position`.
fn draft(position: usize) -> Draft {
    let data = TextData::new(2, |_, visit| {
        rows().iter().for_each(|(text, label)| visit(Row::labelled(text, *label)));
        Ok(())
    })
    .unwrap();
    let data = Data::from(data);
    let learner = LEARNERS[position];
    let values = learner.space().pick(|_, dimension| match &dimension.distribution {
        Distribution::Float { high, .. } => Value::Float(*high / 2.0),
        Distribution::Int { high, .. } => Value::Int(*high),
        other => other.options().last().unwrap().clone(),
    });
    let job = Job::new(&data, &values, 1);
    let fitted = learner.fit(&job, &mut |_| ControlFlow::Continue(())).unwrap().network();
    let texts: Vec<String> = rows().into_iter().step_by(8).map(|(text, _)| text).collect();
    let answers = fitted.answer(Inputs::Texts(&texts)).unwrap();
    let probes = texts.into_iter().zip(answers.chunks(2));
    let decision = Decision::of_classes(vec!["bad".into(), "good".into()], Some(0));
    Draft {
        model: fitted.to_model(decision, None).unwrap(),
        probes: probes.map(|(text, row)| Probe::of_text(text, row.to_vec())).collect(),
        name: "sample".into(),
        task: "text-classification".into(),
        route: None,
        scores: vec![Score {
            part: "valid".into(),
            metric: "f1".into(),
            value: 0.1 + 0.2,
            low: Some(0.25),
            high: None,
            rows: 60,
            higher_is_better: true,
        }],
        lineage: Lineage::default(),
        test_openings: 0,
        documents: vec![("profile.json".into(), b"{}\n".to_vec())],
    }
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn written_bundles_answer_as_the_model_in_memory() {
    for position in 0..LEARNERS.len() {
        let scratch = Scratch::new();
        let draft = draft(position);
        let bundle = draft.write(&scratch.path().join("bundle")).unwrap();
        let predictor = bundle.predictor(&Threads::new(1)).unwrap();
        let texts: Vec<String> = rows().into_iter().map(|(text, _)| text).collect();
        let all = predictor.predict(&texts, &mut PredictScratch::default()).unwrap();
        for (text, expected) in texts.iter().zip(all.chunks(2)) {
            let alone = predictor.predict(&[text], &mut PredictScratch::default()).unwrap();
            for (a, b) in alone.iter().zip(expected) {
                assert_close((*a).into(), (*b).into(), 1e-6, "alone and in a batch");
            }
        }
        let empty = predictor.predict(&["", "\u{0}"], &mut PredictScratch::default()).unwrap();
        assert_close(f64::from(empty[0] + empty[1]), 1.0, 1e-6, "no features at all");
        assert!(predictor.predict::<&str>(&[], &mut PredictScratch::default()).unwrap().is_empty());
    }
}

#[test]
fn equal_drafts_give_equal_bytes_in_both_forms() {
    let scratch = Scratch::new();
    let (a, b) = (scratch.path().join("a"), scratch.path().join("b"));
    let first = draft(0).write(&a).unwrap();
    draft(0).write(&b).unwrap();
    assert_eq!(contents(&a), contents(&b));
    let packed = [scratch.path().join("a.luthier"), scratch.path().join("b.luthier")];
    for (folder, file) in [&a, &b].into_iter().zip(&packed) {
        let size = Bundle::open(folder).unwrap().pack(file).unwrap();
        assert_eq!(size, fs::metadata(file).unwrap().len());
    }
    assert_eq!(fs::read(&packed[0]).unwrap(), fs::read(&packed[1]).unwrap());
    let opened = Bundle::open(&packed[0]).unwrap();
    assert_eq!(opened.manifest(), first.manifest());
    let again = scratch.path().join("again");
    opened.to_draft().unwrap().write(&again).unwrap();
    assert_eq!(contents(&a), contents(&again));
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_named() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("bundle");
    draft(0).write(&folder).unwrap();
    for (name, bytes) in contents(&folder) {
        let stride = (bytes.len() / 40).max(1);
        for position in (0..bytes.len()).step_by(stride) {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1 << (position % 8);
            fs::write(folder.join(&name), &flipped).unwrap();
            let error = Bundle::open(&folder).expect_err("the damage is noticed");
            assert!(error.to_string().contains(&name), "{name} at {position}: {error}");
        }
        for length in [0, bytes.len() / 2, bytes.len() - 1] {
            fs::write(folder.join(&name), &bytes[..length]).unwrap();
            let error = Bundle::open(&folder).expect_err("the cut is noticed");
            assert!(error.to_string().contains(&name), "{name} cut to {length}: {error}");
        }
        fs::remove_file(folder.join(&name)).unwrap();
        assert!(Bundle::open(&folder).unwrap_err().to_string().contains(&name));
        fs::write(folder.join(&name), &bytes).unwrap();
    }
    Bundle::open(&folder).unwrap();
}

#[test]
fn damaged_packs_are_errors() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("bundle");
    let packed = scratch.path().join("bundle.luthier");
    draft(0).write(&folder).unwrap().pack(&packed).unwrap();
    let bytes = fs::read(&packed).unwrap();
    for position in (0..bytes.len()).step_by(bytes.len() / 60) {
        let mut flipped = bytes.clone();
        flipped[position] ^= 0x10;
        fs::write(&packed, &flipped).unwrap();
        // A flip in unused header bits may leave every file whole; it must never panic.
        let _ = Bundle::open(&packed);
        fs::write(&packed, &bytes[..position]).unwrap();
        assert!(Bundle::open(&packed).is_err(), "cut at {position}");
    }
    let nothing = Bundle::open(&scratch.path().join("nothing")).unwrap_err();
    assert!(matches!(nothing, BundleError::NotABundle { .. }));
}

#[test]
fn a_model_that_answers_otherwise_is_refused_and_the_old_bundle_stays() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("bundle");
    let mut draft = draft(0);
    draft.write(&folder).unwrap();
    let before = contents(&folder);
    draft.probes[3].outputs[1] += 1e-3;
    assert!(matches!(draft.write(&folder), Err(BundleError::Probe { probe: 3, .. })));
    assert_eq!(contents(&folder), before);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn newer_formats_say_so() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("bundle");
    draft(0).write(&folder).unwrap();
    let manifest = fs::read_to_string(folder.join("manifest.json")).unwrap();
    let newer = manifest.replace("\"format\": 1,\n  \"name\"", "\"format\": 2,\n  \"name\"");
    assert_ne!(manifest, newer);
    fs::write(folder.join("manifest.json"), newer).unwrap();
    assert!(matches!(Bundle::open(&folder), Err(BundleError::Newer { found: 2, .. })));
}

#[test]
fn published_bundles_get_the_next_number() {
    let scratch = Scratch::new();
    let (folder, packed) = (scratch.path().join("bundle"), scratch.path().join("packed"));
    let bundle = draft(0).write(&folder).unwrap();
    bundle.pack(&packed).unwrap();
    let model = scratch.path().join("base").join("sample");
    let check = |bundle: &Bundle, version, expected: i64| {
        let published = bundle.publish(&model, version).unwrap();
        let path = model.join(expected.to_string());
        assert_eq!(published, Published { version: expected, path: path.clone() });
        assert_eq!(contents(&path), contents(&folder), "version {expected}");
    };
    check(&bundle, None, 1);
    check(&Bundle::open(&packed).unwrap(), None, 2);
    check(&bundle, Some(7), 7);
    check(&bundle, None, 8);
    check(&bundle, Some(0), 0);
    fs::create_dir(model.join("9")).unwrap();
    fs::write(model.join("10"), "a file").unwrap();
    check(&bundle, None, 11);
    for taken in [7, 9, 10] {
        let error = bundle.publish(&model, Some(taken)).unwrap_err();
        assert!(matches!(error, BundleError::VersionTaken { version, .. } if version == taken));
    }
    let inside = bundle.publish(&folder, None);
    assert!(matches!(inside, Err(BundleError::NotAModel { path }) if path == folder));
    assert_eq!(fs::read_dir(&model).unwrap().count(), 8, "nothing is left beside the versions");
}

#[test]
fn what_answers_otherwise_is_not_published() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("bundle");
    draft(0).write(&folder).unwrap();
    let path = folder.join("manifest.json");
    let mut manifest = Bundle::open(&folder).unwrap().manifest().clone();
    manifest.probes[0].outputs[0] += 1e-3;
    let written = serde_json::to_string(&manifest).unwrap();
    let zeros = written.replace(&manifest.digest, &"0".repeat(64));
    let digest = luthier_bundle::sha256_hex(zeros.as_bytes());
    fs::write(&path, zeros.replace(&"0".repeat(64), &digest)).unwrap();
    let bundle = Bundle::open(&folder).unwrap();
    let model = scratch.path().join("model");
    assert!(matches!(bundle.publish(&model, None), Err(BundleError::Probe { probe: 0, .. })));
    assert!(!model.exists());
}

#[test]
fn publishers_at_once_get_numbers_of_their_own() {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 5;
    let scratch = Scratch::new();
    let folder = scratch.path().join("bundle");
    let bundle = draft(0).write(&folder).unwrap();
    let model = scratch.path().join("model");
    let publish = || -> Vec<i64> {
        (0..EACH).map(|_| bundle.publish(&model, None).unwrap().version).collect()
    };
    let mut versions: Vec<i64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..PUBLISHERS).map(|_| scope.spawn(publish)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    versions.sort_unstable();
    let expected: Vec<i64> = (1..=(PUBLISHERS * EACH) as i64).collect();
    assert_eq!(versions, expected);
    for version in versions {
        assert_eq!(contents(&model.join(version.to_string())), contents(&folder));
    }
    let chosen = || bundle.publish(&model, Some(100)).is_ok();
    let won = thread::scope(|scope| {
        let threads: Vec<_> = (0..PUBLISHERS).map(|_| scope.spawn(chosen)).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
    });
    assert_eq!(won, 1, "a number that is chosen goes to one of them");
}
