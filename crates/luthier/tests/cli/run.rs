//! `luthier run`: what it leaves, what it says, and what a changed setting redoes.

use luthier_test::real_data;
use serde_json::Value;

use crate::{Desk, JOB, Outcome, TOPICS, json_lines, masked, rows, text};

#[test]
fn a_job_ends_as_a_bundle() {
    let desk = Desk::with_job();
    // What a run says shall not hang on which trial or which recipe wins.
    desk.edit("trials = 6", "trials = 1\nlearners = [\"linear\"]");
    desk.edit("[tune]", "[compress]\nmax_drop = 1.0\n\n[tune]");
    let outcome = desk.luthier(&["run", "job"]);
    assert_eq!(masked(&outcome.err), STAGES);
    // Whether so small a model shrinks as a whole is not the point here.
    let out = masked(&outcome.ok()).replace(" (#x smaller than as trained)", "");
    assert_eq!(out, CLOSING);
    let files = [
        ".lock",
        "bundle/",
        "compressed/",
        "compression.json",
        "findings.json",
        "model/",
        "profile.json",
        "report.html",
        "report.json",
        "stages.json",
        "study.db",
        "study.db.lock",
    ];
    assert_eq!(desk.names("job/run"), files);
    let files = [
        "baseline.json",
        "calibration.json",
        "features.idx",
        "manifest.json",
        "model.onnx",
        "profile.json",
        "report.json",
    ];
    assert_eq!(desk.names("job/run/bundle"), files);
    assert_eq!(desk.json("job/run/bundle/manifest.json")["test_openings"], 1);
    let page = String::from_utf8(desk.read("job/run/report.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("luthier serve job/run/bundle"));
}

const STAGES: &str = "\
data  240 train, 80 valid, 80 test rows, 2 classes
  warning: valid has 80 rows; differences of a few points are chance
  warning: test has 80 rows; differences of a few points are chance
tune  1/1 trial 0 f1 #, best f1 # (trial 0)
tune  1 trials (0 pruned, 0 failed), best valid f1 #, trial 0: linear
train  trial 0: valid f1 #, # kB
compress  # kB to # kB (#x smaller): even lengths, 1% of rows, int8, score #, one row # ms
finish  test f1 # (95 % # to #) on 80 rows, opened once
";

const CLOSING: &str = "
mood
  score  test f1 # (80 rows, 95 % # to #, opened once)
  size  # kB
  one row  # ms median, # ms at the 99th percentile
  yes  compression changes valid f1 by #, within 1
  bundle  job/run/bundle
  report  job/run/report.html

Serve it:  luthier serve job/run/bundle
Ask it:  curl -s http://localhost:8501/v1/models/mood:predict -d '{\"instances\": [\"your text\"]}'
";

#[test]
fn json_output_is_the_report() {
    let desk = Desk::with_job();
    let printed = desk.luthier(&["run", "job", "--format", "json"]).json();
    assert_eq!(printed, desk.json("job/run/report.json"));
    assert_eq!(printed["tuning"]["trials"].as_array().unwrap().len(), 6);
}

#[test]
fn a_second_call_does_nothing_again() {
    let desk = Desk::with_bundle();
    let bundle = desk.folder("job/run/bundle");
    let outcome = desk.luthier(&["run", "job"]);
    assert_eq!(stages(&outcome.err), ["data", "tune"]);
    assert_eq!(trial_lines(&outcome.err), 0);
    assert!(outcome.ok().contains("opened once"));
    assert_eq!(desk.folder("job/run/bundle"), bundle);
    assert_eq!(desk.json("job/run/stages.json")["test_openings"], 1);
}

#[test]
fn more_trials_continue_the_study() {
    let desk = Desk::with_bundle();
    let before = desk.json("job/run/report.json")["tuning"]["trials"].clone();
    let outcome = desk.luthier(&["run", "job", "--trials", "9"]);
    assert_eq!(trial_lines(&outcome.err), 3);
    outcome.ok();
    let after = desk.json("job/run/report.json")["tuning"]["trials"].clone();
    let after = after.as_array().unwrap();
    // Times of evaluation are part of it: had a trial been repeated, it would have another.
    assert_eq!(after[..6], before.as_array().unwrap()[..]);
    let numbers: Vec<&Value> = after.iter().map(|trial| &trial["number"]).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_changed_max_drop_redoes_only_what_follows() {
    let desk = Desk::with_bundle();
    let (study, model) = (desk.read("job/run/study.db"), desk.folder("job/run/model"));
    desk.edit("[tune]", "[compress]\nmax_drop = 0.5\n\n[tune]");
    let outcome = desk.luthier(&["run", "job"]);
    assert_eq!(stages(&outcome.err), ["data", "tune", "compress", "finish"]);
    assert!(outcome.ok().contains("opened 2 times"));
    assert_eq!(desk.read("job/run/study.db"), study);
    assert_eq!(desk.folder("job/run/model"), model);
    assert_eq!(desk.json("job/run/bundle/manifest.json")["test_openings"], 2);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let bundle = |args: &[&str]| {
        let desk = Desk::with_job();
        desk.luthier(&[&["run", "job"], args].concat()).ok();
        desk.folder("job/run/bundle")
    };
    let alone = bundle(&["--workers", "1", "--trials", "12"]);
    assert!(alone == bundle(&["--workers", "3", "--trials", "12"]), "three workers");
    assert!(alone == bundle(&["--workers", "1", "--trials", "12"]), "once more");
    assert!(alone != bundle(&["--workers", "1", "--trials", "12", "--seed", "1"]), "another seed");
}

#[test]
fn a_study_of_another_seed_or_lag_is_set_aside() {
    for (setting, more) in [("", &["--seed", "5"][..]), ("lag = 2\n", &[])] {
        let desk = Desk::with_bundle();
        let first = desk.read("job/run/study.db");
        desk.edit("[tune]\n", &format!("[tune]\n{setting}"));
        desk.luthier(&[&["run", "job"], more].concat()).ok();
        let aside = desk.names("job/run").into_iter().find(|name| name.starts_with("study.db."));
        let aside = aside.filter(|name| name != "study.db.lock").expect("the first study");
        assert_eq!(desk.read(&format!("job/run/{aside}")), first);
    }
}

#[test]
fn a_missed_demand_is_a_no_with_a_bundle() {
    let hint = " hint: raise `tune.trials`, widen `tune.space`, or move the target or limit";
    let check = |objective: &str, reason: &str| {
        let desk = Desk::with_job();
        desk.edit("[tune]", &format!("[objective]\n{objective}\n\n[tune]"));
        let outcome = desk.luthier(&["run", "job"]);
        let err = masked(&outcome.err);
        let complaint = format!("the model is finished, but {reason}\n{hint}");
        Outcome { err, ..outcome }.fails(1, &complaint);
        desk.luthier(&["bundle", "verify", "job/run/bundle"]).ok();
    };
    check("target = 0.999", "f1 # is short of the target #");
    check(
        "metric = \"log_loss\"\ntarget = 0.0001\nlimits = { size_mb = 0.0001 }",
        "log_loss # is short of the target #; the bundle has # kB, the limit is # MB",
    );
}

#[test]
fn compression_can_be_left_out() {
    let desk = Desk::with_job();
    desk.edit("[tune]", "[compress]\nenabled = false\n\n[tune]");
    let out = desk.luthier(&["run", "job"]).ok();
    assert!(!out.contains("compress") && !out.contains("smaller"), "{out}");
    let candidates = desk.json("job/run/report.json")["compression"]["candidates"].clone();
    assert_eq!(candidates.as_array().unwrap().len(), 1);
    assert_eq!(desk.read("job/run/bundle/model.onnx"), desk.read("job/run/model/model.onnx"));
}

#[test]
fn json_lines_with_three_classes_are_split_and_learnt() {
    let desk = Desk::with_job();
    desk.write("job/topics.jsonl", json_lines(&rows(&TOPICS, 300, 4)));
    desk.edit("train = \"train.csv\"\nvalid = \"valid.csv\"\ntest = \"test.csv\"", SPLIT);
    let out = desk.luthier(&["run", "job"]).ok();
    assert!(out.contains("score     test f1"), "{out}");
    let report = desk.json("job/run/report.json");
    assert_eq!(report["labels"], serde_json::json!(["food", "sport", "work"]));
    assert_eq!(report["positive"], Value::Null);
    let rows: Vec<&Value> =
        report["data"]["parts"].as_array().unwrap().iter().map(|part| &part["rows"]).collect();
    assert_eq!(rows, [180, 60, 60]);
}

const SPLIT: &str = "train = \"topics.jsonl\"\nsplit = { valid = 0.2, test = 0.2, seed = 7 }";

#[test]
fn real_reviews_are_learnt() {
    let Some(folder) = real_data("sst2") else { return };
    let desk = Desk::empty();
    let file = |part: &str| format!("{:?}", text(&folder.join(part)));
    let toml = ["train.csv", "valid.csv", "test.csv"]
        .iter()
        .fold(JOB.to_owned(), |toml, part| toml.replace(&format!("\"{part}\""), &file(part)));
    desk.write("job/luthier.toml", toml);
    desk.luthier(&["run", "job"]).ok();
    let report = desk.json("job/run/report.json");
    let f1 = report["headline"]["score"]["value"].as_f64().unwrap();
    assert!(f1 > 0.75, "test f1 {f1}: always saying yes gives 0.67");
    let size = |bundle: &str| -> usize { desk.folder(bundle).values().map(Vec::len).sum() };
    let (trained, compressed) = (size("job/run/model"), size("job/run/compressed"));
    assert!(compressed * 2 < trained, "{trained} to {compressed} bytes");
}

/// The stages that told of themselves, each once, in order.
fn stages(err: &str) -> Vec<&str> {
    let mut stages: Vec<&str> = err.lines().filter_map(|line| line.split(' ').next()).collect();
    stages.retain(|stage| !stage.is_empty());
    stages.dedup();
    stages
}

/// How many trials were evaluated: each has a line such as `tune 3/6 trial 2 …`.
fn trial_lines(err: &str) -> usize {
    let count = |line: &&str| line.split_whitespace().nth(1).is_some_and(|word| word.contains('/'));
    err.lines().filter(|line| line.starts_with("tune")).filter(count).count()
}
