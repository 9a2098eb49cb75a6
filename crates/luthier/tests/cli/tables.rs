//! Jobs whose rows are those of a table.

use std::fmt::Write;
use std::{fs, path::Path};

use serde_json::json;

use crate::Desk;

const CLASSES: &str = r#"name = "risk"
task = "tabular-classification"

[data]
train = "train.csv"
split = { valid = 0.2, test = 0.2 }
label = "default"

[objective]
metric = "roc_auc"

[tune]
trials = 4
workers = 2

[serve]
route = { path = "/risk" }
"#;

const NUMBERS: &str = r#"name = "price"
task = "tabular-regression"

[data]
train = "train.csv"
split = { valid = 0.2, test = 0.2 }
label = "price"

[tune]
trials = 3
"#;

/// A desk with a job over a table, of which a column of numbers and one of categories matter; some cells are
/// missing.
fn desk(job: &str) -> Desk {
    let desk = Desk::empty();
    desk.write("job/luthier.toml", job);
    let mut text = "debt,home,note,default,price\n".to_owned();
    for row in 0..600u64 {
        let noise = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let (debt, home) = (noise % 1000, ["rent", "own", "loan"][(row % 3) as usize]);
        let default = u64::from(debt > 600) ^ u64::from(home == "rent" && debt % 7 == 0);
        let price = 2 * debt + if home == "own" { 500 } else { 0 };
        let debt = if row % 11 == 0 { String::new() } else { debt.to_string() };
        writeln!(text, "{debt},{home},free text number {noise} of {row},{default},{price}")
            .unwrap();
    }
    desk.write("job/train.csv", text);
    desk
}

fn without(job: &str, column: &str) -> String {
    job.replace("label =", &format!("ignore = [\"{column}\"]\nlabel ="))
}

#[test]
fn the_example_of_loan_applications_beats_a_guess() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/risk");
    let desk = Desk::empty();
    for name in ["luthier.toml", "data/train.csv", "data/valid.csv", "data/test.csv"] {
        desk.write(&format!("job/{name}"), fs::read(example.join(name)).unwrap());
    }
    // Tests beside this one take the processors that the limit counts on.
    desk.edit("p99_latency_ms = 1.0", "p99_latency_ms = 1000.0");
    desk.luthier(&["run", "job", "--trials", "3"]).ok();
    let manifest = desk.json("job/run/bundle/manifest.json");
    let auc = manifest["scores"].as_array().unwrap().iter().find(|score| score["part"] == "test");
    // The chances by which the rows were drawn reach 0.86.
    let auc = auc.unwrap()["value"].as_f64().unwrap();
    assert!(auc > 0.75, "{auc}");
}

#[test]
fn a_table_becomes_a_bundle_that_answers_raw_rows() {
    let desk = desk(&without(CLASSES, "price"));
    let outcome = desk.luthier(&["run", "job"]);
    assert!(outcome.err.contains("2 columns, 2 classes"), "{}", outcome.err);
    outcome.ok();
    let manifest = desk.json("job/run/bundle/manifest.json");
    let auc = manifest["scores"].as_array().unwrap().iter().find(|score| score["part"] == "test");
    assert!(auc.unwrap()["value"].as_f64().unwrap() > 0.85, "{manifest}");
    assert!(manifest["probes"][0]["cells"].as_object().unwrap().contains_key("home"));
    desk.luthier(&["bundle", "verify", "job/run/bundle"]).ok();

    let score = |row: serde_json::Value| {
        let row = row.to_string();
        let said = desk.luthier(&["--format", "json", "predict", "job/run/bundle", &row]).json();
        said[0]["score"].as_f64().unwrap()
    };
    assert!(
        score(json!({"debt": 900, "home": "own"})) > score(json!({"debt": 100, "home": "own"}))
    );
    // Numbers may be texts; what is missing or unknown is missing.
    assert_eq!(
        score(json!({"debt": "900", "home": "own"})),
        score(json!({"debt": 900, "home": "own"}))
    );
    assert_eq!(score(json!({"debt": 900})), score(json!({"debt": 900, "home": null})));
    assert_eq!(score(json!({"debt": 900})), score(json!({"debt": 900, "home": "boat"})));
    for (row, said) in [
        ("{\"dept\": 1}", "there is no column `dept`"),
        ("{\"debt\": \"much\"}", "`much` in column `debt` is not a number"),
        ("much", "is no JSON object"),
    ] {
        let outcome = desk.luthier(&["predict", "job/run/bundle", row]);
        assert_eq!((outcome.code, outcome.err.contains(said)), (Some(2), true), "{}", outcome.err);
    }
    let lines = desk.luthier(&["predict", "job/run/bundle", "--input", "job/train.csv"]).ok();
    assert_eq!(lines.lines().count(), 601);
    let report =
        desk.luthier(&["eval", "job/run/bundle", "--input", "job/train.csv", "--label", "default"]);
    assert!(report.ok().contains("roc_auc"));
}

#[test]
fn numbers_are_learnt_and_scored() {
    let desk = desk(&without(NUMBERS, "default"));
    desk.luthier(&["run", "job"]).ok();
    let manifest = desk.json("job/run/bundle/manifest.json");
    assert_eq!(manifest["decision"], json!({"number": "price"}));
    let scores = manifest["scores"].as_array().unwrap();
    let r2 =
        scores.iter().find(|score| score["part"] == "test" && score["metric"] == "r2").unwrap();
    assert!(r2["value"].as_f64().unwrap() > 0.7, "{r2}");
    let row = json!({"debt": 500, "home": "own"}).to_string();
    let said = desk.luthier(&["--format", "json", "predict", "job/run/bundle", &row]).json();
    let number = said[0]["number"].as_f64().unwrap();
    assert!((1000.0..2000.0).contains(&number), "{number}");
    let report = desk
        .luthier(&["eval", "job/run/bundle", "--input", "job/train.csv", "--label", "price"])
        .ok();
    assert!(report.contains("rmse") && !report.contains("precision"), "{report}");
}

#[test]
fn folds_and_any_number_of_workers_give_the_same_bundle() {
    let job = without(CLASSES, "price")
        .replace("{ valid = 0.2, test = 0.2 }", "{ test = 0.2 }\nfolds = 3");
    let bundles = ["1", "3"].map(|workers| {
        let desk = desk(&job.replace("workers = 2", &format!("workers = {workers}")));
        desk.luthier(&["run", "job"]).ok();
        desk.folder("job/run/bundle")
    });
    assert!(bundles[0] == bundles[1]);
}

#[test]
fn what_does_not_fit_a_table_is_told() {
    for (from, to, said) in [
        ("metric = \"roc_auc\"", "metric = \"rmse\"", "`rmse` is a metric of numbers"),
        (
            "metric = \"roc_auc\"",
            "metric = \"cost\"",
            "`cost` needs to know what wrong decisions cost",
        ),
        ("label = \"default\"", "label = \"default\"\ntext = \"note\"", "`data.text` is given"),
        (
            "label = \"default\"",
            "label = \"default\"\nkinds = { note = \"word\" }",
            "unknown variant `word`",
        ),
        ("label = \"default\"", "label = \"home\"\npositive = \"boat\"", "boat"),
        (
            "path = \"/risk\"",
            "path = \"/risk\", input = \"text\"",
            "`serve.route.input` is \"text\"",
        ),
        ("trials = 4", "trials = 4\nlearners = [\"linaer\"]", "there is no learner `linaer`"),
    ] {
        let desk = desk(&without(CLASSES, "price"));
        desk.edit(from, to);
        let outcome = desk.luthier(&["run", "job"]);
        assert_eq!(
            (outcome.code, outcome.err.contains(said)),
            (Some(2), true),
            "{to}: {}",
            outcome.err
        );
    }
    let desk = desk(NUMBERS);
    desk.edit("label = \"price\"", "label = \"home\"");
    let outcome = desk.luthier(&["run", "job"]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.err.contains("`rent`") && outcome.err.contains("home"), "{}", outcome.err);
}
