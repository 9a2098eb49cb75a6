//! Jobs whose rows are those of a table.

use std::fmt::Write;
use std::{fs, path::Path};

use luthier_bundle::Bundle;
use luthier_train::Forest;
use serde_json::{Value, json};

use crate::Desk;
use crate::serve::Served;

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

fn text(desk: &Desk, name: &str) -> String {
    String::from_utf8(desk.read(name)).unwrap()
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

/// Chances of one in fifty up to a debt of 500, and of a half beyond it, which no line of log odds
/// comes near.
fn steps(job: &str) -> Desk {
    let desk = Desk::empty();
    desk.write("job/luthier.toml", job);
    let mut text = "debt,default\n".to_owned();
    for row in 0..6000u64 {
        let noise = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let (debt, chance) = (noise % 1000, (noise / 1000) % 50);
        let default = if debt > 500 { chance < 25 } else { chance == 0 };
        writeln!(text, "{debt},{}", u64::from(default)).unwrap();
    }
    desk.write("job/train.csv", text);
    desk
}

#[test]
fn calibrated_scores_are_the_same_wherever_they_are_asked_for() {
    let job = CLASSES
        .replace("trials = 4", "trials = 1\nlearners = [\"linear\"]")
        .replace("valid = 0.2", "valid = 0.4")
        .replace("roc_auc", "f1");
    let desk = steps(&job);
    let outcome = desk.luthier(&["run", "job"]);
    assert!(outcome.err.contains(", calibrated by isotonic"), "{}", outcome.err);
    outcome.ok();
    let manifest = desk.json("job/run/bundle/manifest.json");
    assert_eq!(manifest["decision"]["isotonic"].as_array().unwrap().len(), 1);
    let rows: Vec<Value> =
        [100, 300, 480, 520, 700, 900].map(|debt| json!({ "debt": debt })).to_vec();
    let texts: Vec<String> = rows.iter().map(Value::to_string).collect();
    let args = ["--format", "json", "predict", "job/run/bundle"].into_iter();
    let args: Vec<&str> = args.chain(texts.iter().map(String::as_str)).collect();
    let said = desk.luthier(&args).json();
    let scores: Vec<f64> =
        said.as_array().unwrap().iter().map(|said| said["score"].as_f64().unwrap()).collect();
    assert!(scores[..2].iter().all(|score| *score < 0.1), "{scores:?}");
    assert!(scores[4..].iter().all(|score| (0.4..0.6).contains(score)), "{scores:?}");

    let served = Served::start(&desk, &["job/run/bundle", "--rest-port", "0", "--grpc-port", "0"]);
    let body = json!({ "instances": rows }).to_string();
    let answer = served.json("POST", "/v1/models/risk:predict", &body);
    assert_eq!(answer["predictions"], json!(scores));
    for (row, score) in texts.iter().zip(&scores) {
        assert_eq!(served.json("POST", "/risk", row), json!({ "score": score }));
    }
    let body = json!({ "examples": rows }).to_string();
    let answer = served.json("POST", "/v1/models/risk:classify", &body);
    for (pairs, score) in answer["results"].as_array().unwrap().iter().zip(&scores) {
        let pairs = pairs.as_array().unwrap();
        assert!(pairs.iter().any(|pair| pair[0] == "1" && pair[1] == json!(score)), "{pairs:?}");
    }

    // A threshold of the job's own is kept.
    desk.edit("metric = \"f1\"", "metric = \"f1\"\nthreshold = 0.25");
    desk.luthier(&["run", "job"]).ok();
    let manifest = desk.json("job/run/bundle/manifest.json");
    assert_eq!(manifest["decision"]["threshold"], json!(0.25));
}

/// The example with costs: a loan that is not paid back costs five that were refused for nothing.
#[test]
fn what_wrong_decisions_cost_decides() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/risk");
    let desk = Desk::empty();
    for name in ["luthier.toml", "data/train.csv", "data/valid.csv", "data/test.csv"] {
        desk.write(&format!("job/{name}"), fs::read(example.join(name)).unwrap());
    }
    let costs = "costs = { 0 = { 1 = 1 }, 1 = { 0 = 5 } }";
    desk.edit("metric = \"roc_auc\"", &format!("metric = \"cost\"\n{costs}"));
    desk.edit("limits = { p99_latency_ms = 1.0 }", "");
    desk.edit("trials = 30", "trials = 2\nlearners = [\"linear\"]");
    let outcome = desk.luthier(&["run", "job"]);
    assert!(outcome.err.contains("valid cost 0."), "{}", outcome.err);
    outcome.ok();
    let manifest = desk.json("job/run/bundle/manifest.json");
    assert_eq!(manifest["decision"]["costs"], json!([[0.0, 1.0], [5.0, 0.0]]));
    let first = &manifest["scores"][0];
    assert_eq!((&first["metric"], &first["higher_is_better"]), (&json!("cost"), &json!(false)));
    let report = desk.json("job/run/report.json");
    assert_eq!(report["metric"]["higher_is_better"], json!(false));
    let facts = report["lineage"].as_array().unwrap();
    assert!(facts.iter().any(|fact| fact["key"] == "calibration"), "{facts:?}");

    let test = "job/data/test.csv";
    let eval = ["eval", "job/run/bundle", "--input", test, "--label", "default"];
    let said = desk.luthier(&[&["--format", "json"], &eval[..]].concat()).json();
    let metrics = said["report"]["metrics"].as_array().unwrap();
    let cost = metrics.iter().find(|metric| metric["name"] == "cost").unwrap()["value"].as_f64();
    let lines = desk.luthier(&["predict", "job/run/bundle", "--input", test]).ok();
    let truth = String::from_utf8(desk.read(test)).unwrap();
    let decided: Vec<(&str, &str, f64)> = (lines.lines().zip(truth.lines()).skip(1))
        .map(|(said, row)| {
            let said: Vec<&str> = said.split(',').collect();
            (row.rsplit(',').next().unwrap(), said[1], said[2].parse().unwrap())
        })
        .collect();
    let mean = |decide: &dyn Fn(&str, f64) -> bool| {
        let each =
            decided.iter().map(|(truth, said, score)| match (*truth, decide(said, *score)) {
                ("0", true) => 1.0,
                ("1", false) => 5.0,
                _ => 0.0,
            });
        each.sum::<f64>() / decided.len() as f64
    };
    let own = mean(&|said, _| said == "1");
    assert!((own - cost.unwrap()).abs() < 1e-9, "{own} {cost:?}");
    let at_half = mean(&|_, score| score >= 0.5);
    assert!(own < 0.8 * at_half, "{own} and {at_half} at one half");
    let gate = ["gate", "job/run/bundle", "--against", "job/run/bundle", "--data", test];
    let gate = desk.luthier(&[&gate[..], &["--label", "default"]].concat());
    assert!((gate.out.clone() + &gate.err).contains("cost"), "{} {}", gate.out, gate.err);

    desk.edit("1 = { 0 = 5 }", "one = { 0 = 5 }");
    desk.luthier(&["run", "job"])
        .fails(2, "error: `objective.costs`: there is no class `one`\n hint: known are 0, 1");
}

#[test]
fn thresholds_and_costs_that_do_not_fit_are_told() {
    for (job, more, said) in [
        (NUMBERS, "threshold = 0.3", "`objective.threshold` is given, and labels are numbers"),
        (NUMBERS, "costs.a.b = 1", "`objective.costs` is given, and labels are numbers"),
    ] {
        let desk = desk(&without(job, "default"));
        desk.edit("[tune]", &format!("[objective]\n{more}\n\n[tune]"));
        let outcome = desk.luthier(&["run", "job"]);
        assert_eq!((outcome.code, outcome.err.contains(said)), (Some(2), true), "{}", outcome.err);
    }
    let desk = desk(&without(CLASSES, "price").replace("label = \"default\"", "label = \"home\""));
    desk.edit("metric = \"roc_auc\"", "metric = \"f1\"\nthreshold = 0.3");
    desk.luthier(&["run", "job"]).fails(
        2,
        "error: `objective.threshold` is for two classes, and there are 3\n hint: leave it out, or say \
         in `objective.costs` what wrong decisions cost",
    );
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

/// The job of [`desk`] with boosted trees alone, of which one trial is made.
fn trees(job: &str, column: &str, space: &str) -> Desk {
    let job = without(job, column);
    let trials = if job.contains("trials = 4") { "trials = 4" } else { "trials = 3" };
    let tune = "trials = 1\nrefine = 0\nlearners = [\"boosted-trees\"]";
    let desk = desk(&job.replace(trials, tune));
    desk.edit("[tune]", &format!("[tune.space.boosted-trees]\n{space}\n\n[tune]"));
    desk
}

#[test]
fn what_columns_add_to_an_answer_is_told() {
    let desk = trees(CLASSES, "price", "rounds = 40");
    desk.luthier(&["run", "job"]).ok();
    let rows = ["{\"debt\": 900, \"home\": \"own\"}", "{\"debt\": 100}"];
    let explain = |more: &[&str]| {
        let command = [more, &["predict", "job/run/bundle", "--explain"], &rows].concat();
        desk.luthier(&command)
    };
    let said = explain(&["--format", "json"]).json();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let of = |row: usize| &said[row]["explanation"];
    for row in 0..2 {
        assert_eq!(
            (of(row)["of"].as_str(), of(row)["unit"].as_str()),
            (Some("1"), Some("log-odds"))
        );
        let columns = of(row)["columns"].as_object().unwrap();
        assert_eq!(columns.keys().collect::<Vec<_>>(), ["debt", "home"]);
        let sum = columns.values().map(number).sum::<f64>() + number(&of(row)["base"]);
        assert!((sum - number(&of(row)["margin"])).abs() < 1e-4, "{said}");
    }
    assert_eq!(of(0)["base"], of(1)["base"]);
    // Debts are what defaults come from, and the answer follows the margin.
    let debt = |row: usize| number(&of(row)["columns"]["debt"]);
    assert!(debt(0) > 0.5 && debt(1) < -0.5, "{said}");
    assert!(number(&said[0]["score"]) > number(&said[1]["score"]));
    let told = explain(&[]).ok();
    assert!(told.contains("log-odds of 1") && told.contains("  debt"), "{told}");

    let file = ["predict", "job/run/bundle", "--explain", "--input", "job/train.csv"];
    let lines = desk.luthier(&file).ok();
    assert!(lines.starts_with("row,label,score,base,debt,home\n1,"), "{lines:.80}");
    assert_eq!(lines.lines().nth(1).unwrap().split(',').count(), 6);

    // The report has what the columns do, the bundle too.
    let report = desk.json("job/run/report.json");
    let first = &report["importance"][0];
    assert_eq!(first["name"], "debt", "{}", report["importance"]);
    assert!(number(&first["gain"]) > 0.5 && number(&first["contribution"]) > 0.5, "{first}");
    let document = desk.json("job/run/bundle/importance.json");
    assert_eq!(document[0]["column"], "debt");
    assert_eq!(report["data"]["columns"][0]["name"], "debt");
    let page = text(&desk, "job/run/report.html");
    assert!(page.contains("What the columns do") && page.contains("Tells of the label"));
}

#[test]
fn models_without_trees_are_not_explained() {
    let desk = desk(
        &without(CLASSES, "price").replace("trials = 4", "trials = 1\nlearners = [\"linear\"]"),
    );
    desk.luthier(&["run", "job"]).ok();
    let outcome = desk.luthier(&["predict", "job/run/bundle", "--explain", "{}"]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.err.contains("cannot be explained"), "{}", outcome.err);
}

#[test]
fn trees_end_early_and_folds_say_when() {
    let space = "rounds = 400\nlearning_rate = 0.3";
    let trees_of = |bundle: &Path| {
        let model = Bundle::open(bundle).unwrap().model().unwrap();
        Forest::of_graph(&model.graph).unwrap().trees.len()
    };
    let alone = trees(CLASSES, "price", space);
    alone.luthier(&["run", "job"]).ok();
    assert!((1..300).contains(&trees_of(&alone.path("job/run/model"))));
    let folds = trees(CLASSES, "price", space);
    folds.edit("{ valid = 0.2, test = 0.2 }", "{ test = 0.2 }\nfolds = 3");
    folds.luthier(&["run", "job"]).ok();
    let of_fold = |fold| trees_of(&folds.path(&format!("job/run/model.folds/{fold}")));
    let mean = (of_fold(0) + of_fold(1) + of_fold(2)) / 3;
    // A round may find nothing to split.
    assert!(trees_of(&folds.path("job/run/model")).abs_diff(mean) < 10, "{mean}");
}

#[test]
fn answers_are_monotone_where_the_job_says_so() {
    for positive in ["0", "1"] {
        let desk = trees(CLASSES, "price", "rounds = 40\nsampling = \"goss\"");
        desk.edit(
            "label = \"default\"",
            &format!(
                "label = \"default\"\npositive = \"{positive}\"\nmonotone = {{ debt = \"rising\" }}"
            ),
        );
        desk.luthier(&["run", "job"]).ok();
        let rows: Vec<String> =
            (0..40).map(|step| format!("{{\"debt\": {}}}", step * 25)).collect();
        let mut command = vec!["--format", "json", "predict", "job/run/bundle"];
        command.extend(rows.iter().map(String::as_str));
        let said = desk.luthier(&command).json();
        let scores: Vec<f64> =
            said.as_array().unwrap().iter().map(|row| row["score"].as_f64().unwrap()).collect();
        assert!(scores.is_sorted(), "{positive}: {scores:?}");
    }
}

#[test]
fn class_weights_move_what_is_answered() {
    let share = |weights: &str| {
        let desk = trees(CLASSES, "price", "rounds = 20\nlearning_rate = 0.05");
        desk.edit("label = \"default\"", &format!("label = \"default\"\n{weights}"));
        desk.luthier(&["run", "job"]).ok();
        let said = desk
            .luthier(&["--format", "json", "predict", "job/run/bundle", "--explain", "{}"])
            .json();
        said[0]["explanation"]["base"].as_f64().unwrap()
    };
    let (plain, even) = (share(""), share("class_weights = \"balanced\""));
    let heavy = share("class_weights = { 1 = 50.0 }");
    assert!(plain < even && even.abs() < 0.5 && even < heavy, "{plain} {even} {heavy}");
}

#[test]
fn losses_of_numbers_can_be_named() {
    let number = |loss: &str| {
        let desk = trees(NUMBERS, "default", &format!("{loss}\nrounds = 60\nlearning_rate = 0.2"));
        desk.luthier(&["run", "job"]).ok();
        let said = desk.luthier(&[
            "--format",
            "json",
            "predict",
            "job/run/bundle",
            "{\"home\": \"rent\"}",
        ]);
        said.json()[0]["number"].as_f64().unwrap()
    };
    let (low, high) = (
        number("loss = \"quantile\"\nquantile = 0.1"),
        number("loss = \"quantile\"\nquantile = 0.9"),
    );
    let count = number("loss = \"poisson\"");
    assert!(low < count && count < high, "{low} {count} {high}");
}

#[test]
fn what_learners_cannot_do_is_told() {
    let monotone = |line: &str| format!("label = \"default\"\n{line}");
    for (learners, line, said) in [
        ("", "monotone = { debt = \"rising\" }", "`linear` and `mlp` would not keep to it"),
        ("boosted-trees", "monotone = { dept = \"rising\" }", "no column `dept` to learn from"),
        ("boosted-trees", "monotone = { dept = \"rising\" }", "did you mean `debt`?"),
        ("boosted-trees", "monotone = { home = \"rising\" }", "column `home` has categories"),
        ("boosted-trees", "monotone = { debt = \"up\" }", "unknown variant `up`"),
        ("boosted-trees", "class_weights = { 2 = 3.0 }", "no row is labelled `2`"),
        ("boosted-trees", "class_weights = { 1 = -3.0 }", "`data.class_weights.1` is -3"),
        ("boosted-trees", "class_weights = \"even\"", "\"balanced\" or a weight for each label"),
    ] {
        let desk = desk(&without(CLASSES, "price"));
        desk.edit("label = \"default\"", &monotone(line));
        if !learners.is_empty() {
            desk.edit("trials = 4", &format!("trials = 4\nlearners = [\"{learners}\"]"));
        }
        let outcome = desk.luthier(&["run", "job"]);
        let told = (outcome.code, outcome.err.contains(said));
        assert_eq!(told, (Some(2), true), "{line}: {}", outcome.err);
    }
    let desk = desk(&without(NUMBERS, "default"));
    desk.edit("label = \"price\"", "label = \"price\"\nclass_weights = \"balanced\"");
    let outcome = desk.luthier(&["run", "job"]);
    assert!(outcome.err.contains("`data.class_weights` is given"), "{}", outcome.err);
    let desk = trees(NUMBERS, "default", "loss = \"logistic\"");
    let outcome = desk.luthier(&["run", "job"]);
    assert!(outcome.err.contains("squared, absolute, quantile, poisson"), "{}", outcome.err);
}

#[test]
fn numbers_have_plots_of_their_own() {
    let desk = trees(NUMBERS, "default", "rounds = 60");
    desk.luthier(&["run", "job"]).ok();
    let report = desk.json("job/run/report.json");
    let fit = &report["evaluation"]["numbers"];
    assert!(fit["points"].as_array().unwrap().len() > 50, "{fit}");
    let rows: u64 =
        fit["residuals"].as_array().unwrap().iter().map(|bin| bin["count"].as_u64().unwrap()).sum();
    assert_eq!(rows, report["headline"]["rows"].as_u64().unwrap());
    assert!(report["mistakes"][0]["residual"].is_number());
    let page = text(&desk, "job/run/report.html");
    for words in ["True against predicted", "Residuals", "Largest errors", "Labels, by quantile"] {
        assert!(page.contains(words), "{words}");
    }
}

/// A desk with a column of one value and one without any, and a class with two training rows.
fn awkward() -> Desk {
    let desk = desk(&without(CLASSES, "price"));
    let mut text = "debt,same,none,default\n".to_owned();
    for row in 0..400u64 {
        let debt = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        let default = match row {
            17 | 203 => "maybe",
            _ if debt > 500 => "yes",
            _ => "no",
        };
        writeln!(text, "{debt},7,,{default}").unwrap();
    }
    desk.write("job/train.csv", text);
    desk.edit("ignore = [\"price\"]\n", "");
    desk.edit("metric = \"roc_auc\"", "metric = \"f1\"");
    desk
}

#[test]
fn awkward_columns_and_classes_are_told_and_do_no_harm() {
    for learner in ["linear", "mlp", "boosted-trees"] {
        let desk = awkward();
        desk.edit("trials = 4", &format!("trials = 2\nlearners = [\"{learner}\"]"));
        let outcome = desk.luthier(&["run", "job"]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
        let report = desk.json("job/run/report.json");
        let findings = report["data"]["findings"].to_string();
        for said in ["column `same` has one value", "column `none` is left out"] {
            assert!(findings.contains(said), "{findings}");
        }
        assert!(outcome.err.contains("`maybe`"), "{}", outcome.err);
    }
}

#[test]
fn labels_and_cells_that_do_not_parse_are_told_with_their_place() {
    let desk = desk(&without(NUMBERS, "default"));
    let train = text(&desk, "job/train.csv");
    let mut lines: Vec<&str> = train.lines().collect();
    let wrong = lines[41].rsplit_once(',').map(|(before, _)| format!("{before},much")).unwrap();
    lines[41] = &wrong;
    desk.write("job/train.csv", lines.join("\n"));
    let outcome = desk.luthier(&["run", "job"]);
    assert_eq!(outcome.code, Some(2));
    for said in ["train.csv:42", "`much`", "price"] {
        assert!(outcome.err.contains(said), "{said}: {}", outcome.err);
    }
}
