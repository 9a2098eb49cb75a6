//! Searches for several things at once, within limits, and without rows.

use std::path::Path;
use std::process::Stdio;

use luthier_study::{Locator, Study};
use luthier_test::{Postgres, Process, assert_close};
use serde_json::{Value, json};

use crate::{Desk, Outcome};

/// A job without rows.
const BARE: &str = r#"name = "valley"

[objective]
metric = "loss"
direction = "minimize"

[tune]
command = { run = ["sh", "measure.sh"], pass = "environment" }
space.command = { x = { float = [0.0, 1.0] }, y = { float = [0.0, 1.0] } }
workers = 2
"#;

/// Loss and cost pull `x` apart; `y` is of no use to either of them.
const VALLEY: &str = r#"
awk "BEGIN { x = $LUTHIER_VALUE_X; y = $LUTHIER_VALUE_Y
    printf \"{\\\"loss\\\": %.12f, \\\"cost\\\": %.12f}\\n\", (x - 0.8) ^ 2 + y / 10, x * 10 + y }"
"#;

fn bare(program: &str) -> Desk {
    let desk = Desk::empty();
    desk.write("job/luthier.toml", BARE);
    desk.write("job/measure.sh", program);
    desk
}

fn tune(desk: &Desk, more: &[&str]) -> Value {
    desk.luthier(&[&["tune", "job", "--format", "json"], more].concat()).json()
}

fn trials(report: &Value) -> &Vec<Value> {
    report["tuning"]["trials"].as_array().unwrap()
}

fn best(report: &Value) -> &Value {
    &trials(report)[report["tuning"]["best"].as_u64().unwrap() as usize]
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_program_needs_no_rows() {
    let desk = bare(VALLEY);
    let report = tune(&desk, &["--trials", "25"]);
    assert_eq!(report, desk.json("job/run/tuning.json"));
    let nothing = (&Value::Null, &Value::Null, &json!([]));
    assert_eq!((&report["task"], &report["data"], &report["labels"]), nothing);
    let metric = json!({ "name": "loss", "higher_is_better": false, "target": null });
    assert_eq!(report["metric"], metric);
    for trial in trials(&report) {
        let [x, y] = ["command.x", "command.y"].map(|name| number(&trial["values"][name]));
        assert_close(number(&trial["score"]), (x - 0.8).powi(2) + y / 10.0, 1e-9, "loss");
        assert_eq!(trial["reported"], true);
    }
    assert!(number(&best(&report)["score"]) < 0.005, "{}", best(&report));
    let told = desk.json("job/run/trials/0/trial.json");
    assert_eq!(told["objective"], json!({ "metric": "loss", "direction": "minimize" }));
    assert_eq!(told.get("data"), None);

    let outcome = desk.luthier(&["run", "job", "--trials", "26"]);
    assert!(outcome.err.contains("26/26 trial 25 loss 0."), "{}", outcome.err);
    assert!(!outcome.err.contains("valid") && !outcome.err.contains("data "), "{}", outcome.err);
    let out = outcome.ok();
    assert!(out.contains(" (reported by the program)\n") && !out.contains(" rows, "), "{out}");
    assert!(
        out.ends_with("\nThe run ends here: without rows there is no model to finish.\n"),
        "{out}"
    );
    let page = String::from_utf8(desk.read("job/run/tuning.html")).unwrap();
    assert!(!page.contains("Test split opened") && !page.contains("Validation <"), "a page");
    let shown = desk.luthier(&["study", "show", "job"]).ok();
    assert!(shown.contains("minimize loss"), "{shown}");
    // Another study is begun where the direction is another.
    desk.edit("minimize", "maximize");
    assert!(number(&best(&tune(&desk, &["--trials", "25"]))["score"]) > 0.6);
}

#[test]
fn the_example_of_the_guide_finds_its_minimum() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/command.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, guide) = guide.split_once("## Without rows").unwrap();
    let block = |language: &str| {
        let (_, rest) = guide.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    let desk = Desk::empty();
    desk.write("job/luthier.toml", block("toml"));
    desk.write("job/valley.py", block("python"));
    let report = tune(&desk, &["--trials", "40"]);
    assert!(number(&best(&report)["score"]) < 1.0, "{}", best(&report));
}

#[test]
fn a_search_without_rows_reaches_its_target_in_rounds() {
    let desk = bare(VALLEY);
    desk.edit("[tune]", "target = 1e-9\n\n[tune]\nrefine = 2");
    let outcome = desk.luthier(&["tune", "job", "--trials", "12"]);
    assert_eq!(outcome.err.matches("short of the target 0.000000001; searching again").count(), 2);
    assert!(outcome.ok().contains("\n  NO        loss 0.0"), "a verdict");
    desk.edit("1e-9", "0.5");
    let report = tune(&desk, &["--trials", "12"]);
    assert_eq!(report["headline"]["verdicts"][0]["outcome"], "holds");
}

#[test]
fn workers_share_a_search_without_rows() {
    let Some(server) = Postgres::start() else { return };
    let url = server.url();
    let desk = bare(VALLEY);
    let other = bare(VALLEY);
    let common = ["job", "--storage", &url, "--trials", "16"];
    let mut command = other.command(&[&["worker"], &common[..]].concat());
    let mut worker = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let report = tune(&desk, &common[1..]);
    assert!(worker.child().wait().unwrap().success());
    let locator: Locator = url.parse().unwrap();
    let shared = Study::load(&locator, Some("valley")).unwrap().into_trials();
    assert_eq!(shared.len(), 16);
    let alone = tune(&bare(VALLEY), &["--trials", "16"]);
    let values = |report: &Value| trials(report).iter().map(|t| t["values"].clone()).collect();
    let (shared, alone): (Vec<Value>, Vec<Value>) = (values(&report), values(&alone));
    assert_eq!(shared, alone);
}

#[test]
fn several_objectives_give_a_front_and_the_first_decides() {
    let desk = bare(VALLEY);
    desk.edit("[tune]", "also = { cost = \"minimize\" }\n\n[tune]");
    let report = tune(&desk, &["--trials", "30"]);
    let tuning = &report["tuning"];
    let cost = json!([{ "name": "cost", "higher_is_better": false, "target": null }]);
    assert_eq!(tuning["also"], cost);
    let scores: Vec<[f64; 2]> =
        trials(&report).iter().map(|t| [number(&t["score"]), number(&t["also"][0])]).collect();
    let is_on_front = |own: &[f64; 2]| {
        let dominates = |other: &[f64; 2]| {
            other != own && other.iter().zip(own).all(|(other, own)| other <= own)
        };
        !scores.iter().any(dominates)
    };
    let front: Vec<u64> =
        (0..).zip(&scores).filter(|(_, s)| is_on_front(s)).map(|(n, _)| n).collect();
    assert_eq!(tuning["front"], json!(front));
    assert!(front.len() > 5, "{front:?}");
    // Both ends of the front are looked for, and its middle.
    let (least_loss, least_cost) =
        scores.iter().fold((1.0_f64, 11.0_f64), |(loss, cost), s| (loss.min(s[0]), cost.min(s[1])));
    assert!(least_loss < 0.02 && least_cost < 1.0, "{least_loss} {least_cost}");
    let told = desk.json("job/run/trials/0/trial.json");
    let aim = json!({ "metric": "loss", "direction": "minimize", "also": { "cost": "minimize" } });
    assert_eq!(told["objective"], aim);
    // The chosen one is among the best by loss, which the second evaluation confirms.
    let mut losses: Vec<f64> = scores.iter().map(|scores| scores[0]).collect();
    losses.sort_by(f64::total_cmp);
    assert!(number(&best(&report)["score"]) <= losses[2] && best(&report)["again"].is_number());

    let out = desk.luthier(&["tune", "job", "--trials", "30"]).ok();
    let (_, table) = out.split_once("\nPareto front\n").expect("a table of the front");
    assert_eq!(table.lines().count(), 1 + front.len(), "{table}");
    assert!(table.starts_with("trial    loss    cost"), "{table}");
    let page = String::from_utf8(desk.read("job/run/tuning.html")).unwrap();
    assert!(page.contains("Pareto front") && page.contains("cost against loss"), "a page");
    let front_of = |args: &[&str]| desk.luthier(args).json().as_array().unwrap().len();
    assert_eq!(front_of(&["study", "best", "job", "--format", "json"]), front.len());
    desk.luthier(&["study", "plot", "job", "-o", "plot.html"]).ok();
    // All of it follows from the seed, whoever is faster.
    std::fs::remove_dir_all(desk.path("job/run")).unwrap();
    let again = tune(&desk, &["--trials", "30", "--workers", "5"]);
    let without_time = |report: &Value| -> Vec<Value> {
        trials(report).iter().map(|t| json!([t["values"], t["score"], t["also"]])).collect()
    };
    assert_eq!(without_time(&again), without_time(&report));
}

#[test]
fn trials_are_sought_within_limits() {
    let desk = bare(VALLEY);
    desk.edit("[tune]", "limits = { cost = 3.0 }\n\n[tune]");
    let report = tune(&desk, &["--trials", "30"]);
    assert_eq!(report["tuning"]["limits"], json!(["cost"]));
    for trial in trials(&report) {
        let [x, y] = ["command.x", "command.y"].map(|name| number(&trial["values"][name]));
        assert_close(number(&trial["violations"][0]), x * 10.0 + y - 3.0, 1e-9, "beyond");
    }
    // The best within the limit is at x = 0.3, and most are worse only since they keep it.
    let chosen = best(&report);
    assert!(number(&chosen["violations"][0]) <= 0.0, "{chosen}");
    assert_close(number(&chosen["score"]), 0.25, 0.02, "loss");
    assert!(trials(&report).iter().any(|t| number(&t["score"]) < number(&chosen["score"])));
    let late = &trials(&report)[10..];
    let kept = late.iter().filter(|t| number(&t["violations"][0]) <= 0.0).count();
    assert!(kept * 2 > late.len(), "{kept} of {}", late.len());
    let told = desk.json("job/run/trials/0/trial.json");
    assert_eq!(told["objective"]["limits"], json!({ "cost": 3.0 }));
    let out = desk.luthier(&["tune", "job", "--trials", "30"]).ok();
    assert!(out.contains("\n  yes       cost keeps its limit\n"), "{out}");

    // What was measured against another limit is of another study.
    desk.edit("cost = 3.0", "cost = -1.0");
    let outcome = desk.luthier(&["tune", "job", "--trials", "12"]);
    assert!(outcome.err.contains("is set aside as study.db."), "{}", outcome.err);
    assert!(outcome.err.contains(", beyond its limits, as all are"), "{}", outcome.err);
    assert!(outcome.ok().contains("\n  NO        cost is "), "it is said that no trial keeps it");
    let report = desk.json("job/run/tuning.json");
    let beyond = |trial: &Value| number(&trial["violations"][0]);
    let least = trials(&report).iter().map(beyond).fold(f64::INFINITY, f64::min);
    assert_eq!(beyond(best(&report)), least);
}

#[test]
fn what_a_program_does_not_say_fails_its_trial() {
    let desk = bare("echo '{\"step\": 1, \"cost\": 2}'; echo '{\"loss\": 0.5, \"step\": 2}'");
    desk.edit("[tune]", "also = { size_mb = \"minimize\" }\nlimits = { cost = 3 }\n\n[tune]");
    desk.luthier(&["tune", "job", "--trials", "1"]).fails(
        2,
        "error: no trial completed; the last one failed with: it ended without `size_mb`: no line \
         such as {\"size_mb\": 0.5} on standard output\n \
         hint: raise `tune.timeout` or `tune.trials`, or widen `tune.space`",
    );
    desk.edit("size_mb = \"minimize\"", "step2 = \"maximize\"");
    desk.write(
        "job/measure.sh",
        "echo '{\"step\": 1, \"cost\": 2}'; echo '{\"loss\": 0.5, \"step\": 2}'
        echo '{\"step2\": 7}'",
    );
    let trial = &trials(&tune(&desk, &["--trials", "1"]))[0].clone();
    assert_eq!((&trial["score"], &trial["also"]), (&json!(0.5), &json!([7.0])));
    assert_eq!((&trial["violations"], &trial["steps"]), (&json!([-1.0]), &json!([[2, 0.5]])));
}

#[test]
fn learners_are_searched_for_small_models_too() {
    let search = |workers: &str, limits: &str| {
        let desk = Desk::with_job();
        let also = "also = { size_mb = \"minimize\", log_loss = \"minimize\" }";
        desk.edit(
            "[tune]",
            &format!("[compress]\nenabled = false\n[objective]\n{also}\n{limits}\n[tune]"),
        );
        let report = tune(&desk, &["--trials", "20", "--workers", workers]);
        (desk, report)
    };
    let (desk, report) = search("1", "");
    let names: Vec<&Value> =
        report["tuning"]["also"].as_array().unwrap().iter().map(|o| &o["name"]).collect();
    assert_eq!(names, ["log_loss", "size_mb"]);
    let complete = |report: &Value| -> Vec<Value> {
        let complete = trials(report).iter().filter(|trial| trial["state"] == "complete");
        complete.cloned().collect()
    };
    let sizes: Vec<f64> = complete(&report).iter().map(|t| number(&t["also"][1])).collect();
    let [smallest, largest] =
        [f64::min, f64::max].map(|f| sizes.iter().copied().reduce(f).unwrap());
    assert!(smallest * 4.0 < largest, "{sizes:?}");
    // Sizes and losses are the same each time, and those that the finished model has, but for how that
    // is calibrated.
    let (_, other) = search("3", "");
    let scores = |report: &Value| -> Vec<Value> {
        trials(report).iter().map(|t| json!([t["values"], t["score"], t["also"]])).collect()
    };
    assert_eq!(scores(&other), scores(&report));
    desk.luthier(&["run", "job", "--trials", "20"]).ok();
    let files =
        ["model.onnx", "features.idx"].map(|file| desk.read(&format!("job/run/model/{file}")));
    let own = files.concat().len();
    assert_close(number(&best(&report)["also"][1]), own as f64 / 1e6, 5e-4, "size");

    // Within a limit that most trials break.
    let limit = smallest * 1.5;
    let (_, report) = search("2", &format!("limits = {{ size_mb = {limit} }}"));
    let size = number(&best(&report)["also"][1]);
    assert!(size <= limit, "{size} {limit}");
    assert!(complete(&report).iter().any(|trial| number(&trial["also"][1]) > limit));
}

#[test]
fn what_cannot_be_searched_for_is_said() {
    let check = |from: &str, to: &str, complaint: &str| {
        let desk = bare(VALLEY);
        desk.edit(from, to);
        desk.luthier(&["tune", "job"]).fails(2, &format!("error: job/luthier.toml: {complaint}"));
    };
    check(
        "direction = \"minimize\"",
        "",
        "`objective.metric` is `loss`, and nothing says what is better\n \
         hint: write direction = \"minimize\" or direction = \"maximize\" below it",
    );
    check(
        "metric = \"loss\"",
        "",
        "`objective.metric` is missing\n hint: name what the program reports, as metric = \"loss\" \
         and direction = \"minimize\"",
    );
    check("\"loss\"", "\"f1\"", "`objective.metric`: of `f1`, higher is better");
    check("\"loss\"", "\"step\"", "`objective.metric`: `step` is no name for a score");
    check(
        "[tune]",
        "also = { loss = \"minimize\" }\n[tune]",
        "`objective.also` names `loss`, which is the metric itself",
    );
    check(
        "[tune]",
        "also = { size_mb = \"maximize\" }\n[tune]",
        "`objective.also`: of `size_mb`, lower is better",
    );
    check("[tune]", "limits = { cost = nan }\n[tune]", "`objective.limits.cost` must be a number");
    check(
        "name = \"valley\"",
        "name = \"valley\"\ntask = \"text-classification\"",
        "`task` is \"text-classification\", and there is no [data]\n hint: name the rows in [data], \
         or leave `task` out where a program has data of its own",
    );
    check(
        "[tune]",
        "[tune]\nlearners = [\"linear\", \"command\"]",
        "`tune.learners` names `linear`, and there is no [data]\n hint: name the rows in [data], or \
         have `command` alone, a program with data of its own",
    );
    check(
        "command = { run = [\"sh\", \"measure.sh\"], pass = \"environment\" }\n",
        "",
        "there is no [data] to learn from, and no `tune.command`\n \
         hint: name labelled rows in [data], or give a program that needs none",
    );
    let desk = bare(VALLEY);
    desk.luthier(&["data", "job"])
        .fails(2, "error: the job has no [data]\n hint: give the path of a file with rows");
    let rows = Desk::with_job();
    rows.edit("task = \"text-classification\"\n", "");
    let told: Outcome = rows.luthier(&["tune", "job"]);
    told.fails(
        2,
        "error: job/luthier.toml: `task` is missing\n \
         hint: say what is to be learnt: task is one of \"text-classification\", \
         \"tabular-classification\", \"tabular-regression\"",
    );
}

#[test]
fn metrics_of_a_program_come_from_its_predictions() {
    let desk = Desk::with_job();
    desk.edit(
        "[tune]",
        r#"[objective]
also = { log_loss = "minimize", watts = "minimize" }
limits = { recall = 0.9 }

[tune]
learners = ["command"]
command = { run = ["sh", "train.sh"], pass = "environment" }
space.command.p = { float = [0.6, 0.99] }
"#,
    );
    // It is right about each row, with the probability that it is given.
    desk.write(
        "job/train.sh",
        r#"echo '{"f1": 0.1, "log_loss": 9, "recall": 0, "watts": 40}'
tail -n +2 "$LUTHIER_VALID" | awk -F, -v p=$LUTHIER_VALUE_P 'BEGIN { print "bad,good" }
    { if ($NF == "good") print 1 - p "," p; else print p "," 1 - p }' > "$LUTHIER_FOLDER/predictions.csv""#,
    );
    let report = tune(&desk, &["--trials", "4"]);
    for trial in trials(&report) {
        assert_eq!((&trial["score"], &trial["reported"]), (&json!(1.0), &json!(false)), "{trial}");
        let p = number(&trial["values"]["command.p"]);
        assert_close(number(&trial["also"][0]), -p.ln(), 1e-4, "log loss");
        assert_eq!(trial["also"][1], 40.0);
        assert_close(number(&trial["violations"][0]), -0.1, 1e-9, "beyond");
    }
}
