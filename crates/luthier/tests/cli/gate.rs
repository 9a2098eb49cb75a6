//! `luthier gate`: a candidate against what is in production.

use serde_json::{Value, json};

use crate::{Desk, JOB, MOODS, Row, TOPICS, csv, masked, rows};

const BUNDLE: &str = "job/run/bundle";

/// A job beside the one of [`Desk::with_job`], done, with rows as `change` leaves them.
fn add_job(desk: &Desk, folder: &str, toml: &str, change: impl Fn(Row) -> Row) {
    for (part, count, seed) in [("train", 240, 1), ("valid", 80, 2), ("test", 80, 3)] {
        let rows: Vec<Row> = rows(&MOODS, count, seed).into_iter().map(&change).collect();
        desk.write(&format!("{folder}/{part}.csv"), csv(&rows));
    }
    desk.write(&format!("{folder}/luthier.toml"), toml);
    desk.luthier(&["run", folder]).ok();
}

/// Rows that no job has seen.
fn fresh(desk: &Desk, count: usize) {
    desk.write("fresh.csv", csv(&rows(&MOODS, count, 9)));
}

fn gate<'a>(candidate: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["gate", candidate, "--against", BUNDLE, "--data", "fresh.csv"], more].concat()
}

fn check<'a>(found: &'a Value, name: &str) -> &'a Value {
    found["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()
}

#[test]
fn a_bundle_may_replace_itself() {
    let desk = Desk::with_bundle();
    fresh(&desk, 400);
    let out = desk.luthier(&gate(BUNDLE, &[])).ok();
    let shown = masked(&out);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "check  candidate  production  change  at worst  limit  verdict");
    assert_eq!(lines[1], "f1  #  #  #  #  #  pass");
    assert_eq!(lines[2], "ece  #  #  #  #  #  pass");
    assert!(lines[3].starts_with("one row, median  # ms  # ms  #x"), "{out}");
    assert!(lines[5].starts_with("size  # kB  # kB  #x  –  #x  pass"), "{out}");
    assert_eq!(lines[7], "pass on 400 rows");
    let found = desk.luthier(&gate(BUNDLE, &["--format", "json"])).json();
    assert_eq!((&found["verdict"], &found["rows"]), (&json!("pass"), &json!(400)));
    let names: Vec<&Value> =
        found["checks"].as_array().unwrap().iter().map(|check| &check["name"]).collect();
    assert_eq!(names, ["f1", "ece", "p50_ms", "p99_ms", "size_bytes"]);
    assert_eq!(check(&found, "f1")["change"], 0.0);
    assert_eq!(check(&found, "size_bytes")["change"], 1.0);
}

#[test]
fn a_model_of_wrong_labels_is_refused_with_the_reason() {
    let desk = Desk::with_bundle();
    fresh(&desk, 400);
    let turned = |(text, label): Row| {
        let other = if label == "good" { "bad" } else { "good" };
        let is_turned = text.len() % 3 != 0;
        (text, if is_turned { other } else { label })
    };
    add_job(&desk, "worse", JOB, turned);
    let outcome = desk.luthier(&gate("worse/run/bundle", &["--junit", "gate.xml"]));
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let said = outcome.err.lines().last().unwrap();
    assert!(said.starts_with("the gate says no: f1 drops by 0."), "{said}");
    assert!(outcome.out.ends_with("\nfail on 400 rows\n"), "{}", outcome.out);
    let xml = String::from_utf8(desk.read("gate.xml")).unwrap();
    assert!(xml.contains("<testsuite name=\"luthier gate\" tests=\"5\" failures=\""), "{xml}");
    assert!(xml.contains("name=\"f1\"><failure type=\"fail\" message=\"f1 drops by"), "{xml}");
    assert!(!desk.path("gate.xml.partial").exists());
    let allowed = desk.luthier(&gate("worse/run/bundle", &["--allow-undecidable"]));
    assert_eq!(allowed.code, Some(1), "what fails is never allowed");
}

#[test]
fn few_rows_are_undecidable_and_say_how_many_would_do() {
    let desk = Desk::with_job();
    desk.edit("workers = 2", "workers = 2\nsampler = \"tpe\"");
    desk.luthier(&["run", "job"]).ok();
    add_job(&desk, "again", &format!("{JOB}sampler = \"tpe\"\nseed = 1\n"), |row| row);
    let again = "again/run/bundle";
    fresh(&desk, 60);
    let outcome = desk.luthier(&gate(again, &["--max-ece-rise", "0.05", "--format", "json"]));
    assert_eq!(outcome.code, Some(1));
    let said: Vec<&str> = outcome.err.lines().collect();
    let [reasons, hint] = said[..] else { panic!("{outcome:?}") };
    assert!(
        reasons.starts_with(
            "the gate says no: f1 may drop by 0.0487, more than 0.01: 60 rows are too few to tell, \
             about 299 rows would tell; ece may rise by 0."
        ),
        "{reasons}"
    );
    assert_eq!(hint, " hint: give more labelled rows, or --allow-undecidable to go on without");
    let found: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(found["verdict"], "undecidable");
    assert_eq!(check(&found, "f1")["rows_needed"], 299);
    let more = ["--max-ece-rise", "0.05", "--allow-undecidable", "--junit", "gate.xml"];
    let out = desk.luthier(&gate(again, &more)).ok();
    assert!(out.ends_with("\nundecidable on 60 rows\n"), "{out}");
    let xml = String::from_utf8(desk.read("gate.xml")).unwrap();
    assert!(xml.contains("failures=\"0\" errors=\"0\" skipped=\"2\""), "{xml}");
    assert!(xml.contains("<skipped message=\"f1 may drop by"), "{xml}");
}

/// A workflow whose stages come from a cache brings the bundle that is in production already.
#[test]
fn the_same_model_passes_on_any_rows() {
    let desk = Desk::with_bundle();
    fresh(&desk, 1);
    let found = desk.luthier(&gate(BUNDLE, &["--format", "json"])).json();
    assert_eq!((&found["verdict"], &found["rows"]), (&json!("pass"), &json!(1)));
    for name in ["f1", "ece"] {
        assert_eq!(check(&found, name)["at_worst"], 0.0);
    }
    // An opening of the test split is noted in the manifest, and so is in its digest.
    desk.luthier(&["bundle", "pack", BUNDLE, "-o", "packed.luthier"]).ok();
    desk.luthier(&["eval", BUNDLE, "--input", "job/test.csv"]).ok();
    desk.luthier(&gate("packed.luthier", &[])).ok();
}

#[test]
fn calibration_as_the_metric_keeps_its_own_limit() {
    let desk = Desk::with_bundle();
    fresh(&desk, 40);
    let found = desk.luthier(&gate(BUNDLE, &["--metric", "ece", "--format", "json"])).json();
    assert_eq!(check(&found, "ece")["limit"], 0.03);
    assert_eq!(found["checks"].as_array().unwrap().len(), 4);
}

#[test]
fn both_must_mean_the_same_label_by_positive() {
    let desk = Desk::with_job();
    let turned = JOB.replace("label = \"label\"", "label = \"label\"\npositive = \"bad\"");
    desk.edit("label = \"label\"", "label = \"label\"\npositive = \"good\"");
    desk.luthier(&["run", "job"]).ok();
    fresh(&desk, 400);
    add_job(&desk, "turned", &turned, |row| row);
    desk.luthier(&gate("turned/run/bundle", &[])).fails(
        2,
        "error: the positive label is `bad` here and `good` there\n \
         hint: set `data.positive` alike in both jobs",
    );
}

#[test]
fn what_cannot_be_compared_is_told() {
    let desk = Desk::with_bundle();
    fresh(&desk, 40);
    for (part, seed) in [("train", 1), ("valid", 2), ("test", 3)] {
        desk.write(&format!("topics/{part}.csv"), csv(&rows(&TOPICS, 90, seed)));
    }
    desk.write("topics/luthier.toml", JOB);
    desk.luthier(&["run", "topics"]).ok();
    desk.luthier(&gate("topics/run/bundle", &[])).fails(
        2,
        "error: the bundles have different labels: topics/run/bundle alone knows `food`, `sport`, \
         `work`; job/run/bundle alone knows `bad`, `good`\n \
         hint: only models of the same classes can be compared",
    );
    let check = |data: &str, complaint: &str| {
        desk.luthier(&["gate", BUNDLE, "--against", BUNDLE, "--data", data]).fails(2, complaint);
    };
    desk.write("odd.csv", "text,label\nlovely,good\nrude,meh\n");
    check(
        "odd.csv",
        "error: odd.csv:3: label `meh` is not one of the model's\n hint: the model knows bad, good",
    );
    desk.write("none.csv", "text,label\n");
    check("none.csv", "error: none.csv: no rows");
    desk.write("column.csv", "text,lable\nlovely,good\n");
    check(
        "column.csv",
        "error: column.csv: no column `label` among text, lable\n hint: did you mean `lable`?",
    );
    desk.luthier(&gate(BUNDLE, &["--metric", "f2"]))
        .fails(2, "error: there is no metric `f2`\n hint: did you mean `f1`?");
    desk.luthier(&gate(BUNDLE, &["--max-drop=-1"]))
        .fails(2, "error: --max-drop is -1, it must be at least 0");
    desk.luthier(&gate(BUNDLE, &["--max-slower", "0.5"]))
        .fails(2, "error: --max-slower is 0.5, it must be at least 1");
    let outcome = desk.luthier(&gate(BUNDLE, &["--junit", "no/such/folder.xml"]));
    assert!(outcome.code == Some(2) && outcome.err.contains("no/such/folder.xml: "), "{outcome:?}");
}

#[test]
fn rows_that_a_model_has_seen_are_told_of() {
    let desk = Desk::with_bundle();
    let args = ["gate", BUNDLE, "--against", BUNDLE, "--data", "job/train.csv"];
    let outcome = desk.luthier(&args);
    assert!(
        outcome
            .err
            .contains("job/train.csv is the train data of job/run/bundle, which it flatters"),
        "{outcome:?}"
    );
    let args = ["gate", BUNDLE, "--against", BUNDLE, "--data", "job/test.csv"];
    assert!(!desk.luthier(&args).err.contains("flatters"));
}
