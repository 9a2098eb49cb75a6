//! Jobs whose training rows are dealt into folds.

use crate::{Desk, MOODS, csv, rows};

/// The job with folds in place of validation rows.
fn desk() -> Desk {
    let desk = Desk::with_job();
    desk.edit("valid = \"valid.csv\"", "folds = 4");
    desk
}

#[test]
fn the_choice_is_fitted_to_all_rows_and_judged_out_of_fold() {
    let desk = desk();
    let outcome = desk.luthier(&["run", "job"]);
    let lines: Vec<&str> = outcome.err.lines().collect();
    assert_eq!(lines[0], "data      240 train, 0 valid, 80 test rows, 2 classes, 4 folds");
    let chosen = lines.iter().find(|line| line.contains(" over 4 folds (95 % ")).unwrap();
    assert!(chosen.starts_with("tune      6 trials"), "{chosen}");
    assert!(lines.iter().any(|line| line.contains(" on all rows: f1 out of fold ")));
    outcome.ok();
    let manifest = desk.json("job/run/bundle/manifest.json");
    let valid = manifest["scores"].as_array().unwrap().iter().find(|s| s["part"] == "valid");
    assert_eq!(valid.unwrap()["rows"], 240);
    let trained = manifest["lineage"]["data"].as_array().unwrap();
    assert_eq!(trained[0]["rows"], 240, "{trained:?}");
    // Each model of a fold is a bundle too.
    assert_eq!(desk.names("job/run/compressed.folds"), ["0/", "1/", "2/", "3/"]);
    desk.luthier(&["bundle", "verify", "job/run/model.folds/2"]).ok();
}

#[test]
fn what_a_model_has_learned_by_heart_counts_for_nothing() {
    let desk = desk();
    // Every text has a word of its own, by which a model knows its own rows again, and labels are dealt
    // by chance.
    let mut rows = rows(&MOODS, 400, 1);
    let chance = |number: usize| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63;
    for (number, (text, label)) in rows.iter_mut().enumerate() {
        *text = format!("visit {:x}", number.wrapping_mul(0xd134_2543_de82_ef95));
        *label = MOODS[chance(number * number + 7)].0;
    }
    desk.write("job/train.csv", csv(&rows));
    desk.edit("[tune]", "[objective]\nmetric = \"accuracy\"\n\n[tune]");
    desk.luthier(&["run", "job"]).ok();
    let report = desk.json("job/run/report.json");
    let metrics = report["evaluation"]["metrics"].as_array().unwrap();
    let accuracy = metrics.iter().find(|metric| metric["name"] == "accuracy").unwrap();
    let valid = accuracy["valid"]["value"].as_f64().unwrap();
    assert!((0.35..0.65).contains(&valid), "{valid} of rows whose labels are chance");
    let trials = report["tuning"]["trials"].as_array().unwrap();
    for score in trials.iter().filter_map(|trial| trial["score"].as_f64()) {
        assert!((0.3..0.7).contains(&score), "{score}");
    }
}

#[test]
fn any_number_of_workers_ends_with_the_same_bundle() {
    let bundles = ["1", "3"].map(|workers| {
        let desk = desk();
        desk.edit("workers = 2", &format!("workers = {workers}\npruner = \"wilcoxon\""));
        desk.luthier(&["run", "job"]).ok();
        desk.folder("job/run/bundle")
    });
    assert!(bundles[0] == bundles[1]);
}

#[test]
fn a_trial_notes_what_each_fold_came_to() {
    let desk = desk();
    desk.edit("trials = 6", "trials = 3\npruner = \"none\"");
    desk.luthier(&["tune", "job"]).ok();
    let study = desk.luthier(&["study", "export", "--format", "json", "job/run/study.db"]).json();
    for trial in study["trials"].as_array().unwrap() {
        let folds = &trial["attributes"]["folds"];
        let scores: Vec<f64> =
            folds["scores"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let score = trial["scores"]["f1"].as_f64().unwrap();
        assert!(scores.len() == 4 && (mean - score).abs() < 1e-12, "{trial}");
        assert!(folds["low"].as_f64().unwrap() <= mean && folds["high"].as_f64().unwrap() >= mean);
        let steps = trial["steps"].as_array().unwrap();
        let last = steps.last().unwrap();
        assert!((last["scores"]["f1"].as_f64().unwrap() - score).abs() < 1e-12, "{last} {score}");
    }
}

#[test]
fn several_objectives_are_means_over_folds() {
    let desk = desk();
    desk.edit("trials = 6", "trials = 4\npruner = \"none\"\nreevaluate = 0");
    desk.edit(
        "[tune]",
        "[objective]\nmetric = \"accuracy\"\nalso = { log_loss = \"minimize\", size_mb = \"minimize\" }\n\
         limits = { ece = 0.5 }\n\n[tune]",
    );
    let report = desk.luthier(&["tune", "job", "--format", "json"]).json();
    let tuning = &report["tuning"];
    assert!(!tuning["front"].as_array().unwrap().is_empty(), "{tuning}");
    for trial in tuning["trials"].as_array().unwrap() {
        let [log_loss, size] = [0, 1].map(|also| trial["also"][also].as_f64().unwrap());
        assert!(log_loss > 0.0 && log_loss < 1.0 && size > 0.001 && size < 1.0, "{trial}");
        assert!(trial["violations"][0].as_f64().unwrap() < 0.0, "{trial}");
    }
}

#[test]
fn folds_that_make_no_sense_are_refused() {
    let check = |from: &str, to: &str, complaint: &str| {
        let desk = desk();
        desk.edit(from, to);
        desk.luthier(&["run", "job"]).fails(2, complaint);
    };
    check(
        "folds = 4",
        "folds = 4\nvalid = \"valid.csv\"",
        "error: folds take the place of validation rows, and a file of these is given too",
    );
    check(
        "folds = 4",
        "folds = 4\nsplit = { valid = 0.2 }",
        "error: job/luthier.toml: `data.folds` takes the place of `data.split.valid`, which is 0.2\n \
         hint: leave one of them out",
    );
    check("folds = 4", "folds = 1", "error: cannot deal 240 separable groups of rows into 1 folds");
    check(
        "folds = 4",
        "folds = 4\nsplit = { time = \"id\" }",
        "error: folds have no order, and the split is by time `id`",
    );
}
