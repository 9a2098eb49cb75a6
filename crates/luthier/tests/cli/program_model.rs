//! What a program leaves as ONNX, on its way to a served bundle.

use std::path::Path;

use luthier_test::assert_close;
use serde_json::{Value, json};

use crate::serve::Served;
use crate::{Desk, MOODS, Outcome, csv, rows};

const PROGRAM: &str = include_str!("programs/embed.py");

/// A desk whose job tunes [`PROGRAM`] behind `before`, and then does `after` in the trial's folder.
/// One label in ten is wrong.
fn desk(before: &str, after: &str) -> Desk {
    let desk = Desk::with_job();
    desk.edit(
        "[tune]",
        r#"[tune]
learners = ["command"]
command = { run = ["sh", "train.sh"] }
space.command.learning_rate = { float = [0.05, 0.5], log = true }
"#,
    );
    for (part, count, seed) in [("train", 240, 1), ("valid", 80, 2), ("test", 80, 3)] {
        let mut rows = rows(&MOODS, count, seed);
        for (row, noisy) in rows.iter_mut().enumerate() {
            let is_good = (noisy.1 == "good") != (row % 10 == 0);
            noisy.1 = if is_good { "1" } else { "0" };
        }
        desk.write(&format!("job/{part}.csv"), csv(&rows));
    }
    desk.write("job/train.py", PROGRAM);
    let script = format!("set -e\n{before} python3 train.py\ncd \"$LUTHIER_FOLDER\"\n{after}\n");
    desk.write("job/train.sh", script);
    desk
}

impl Desk {
    fn run(&self, trials: &str) -> Outcome {
        self.luthier(&["run", "job", "--trials", trials])
    }
}

/// The signature that the guide shows.
fn of_the_guide() -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/command.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let blocks = guide.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.contains("tokenizer")).collect()
}

#[test]
fn a_model_is_finished_and_answers_as_its_program() {
    let desk = desk("", &format!("cat > model.json <<'END'\n{}END\n", of_the_guide()));
    desk.edit("[tune]", "[compress]\nenabled = false\n\n[tune]");
    desk.edit("label = \"label\"", "label = \"label\"\npositive = \"1\"");
    let outcome = desk.run("3");
    assert!(!outcome.err.contains("predictions.csv"), "{}", outcome.err);
    outcome.ok();
    let report = desk.json("job/run/report.json");
    let best = report["tuning"]["best"].as_u64().unwrap();
    assert_eq!(report["headline"]["test_openings"], json!(1));
    assert!(report["headline"]["score"]["value"].as_f64().unwrap() > 0.8, "{report}");
    let files = desk.names("job/run/bundle");
    let expected = "baseline.json calibration.json manifest.json model.onnx profile.json report.json \
                    tokenizer.json";
    assert_eq!(files.join(" "), expected);
    let manifest = desk.json("job/run/bundle/manifest.json");
    assert_eq!(manifest["decision"], json!({ "labels": ["0", "1"], "positive": 1 }));
    assert_eq!(manifest["lineage"]["trial"]["number"], json!(best));

    // Answers are those of the program, but for one temperature.
    let table = desk.read(&format!("job/run/trials/{best}/predictions.csv"));
    let own: Vec<f64> = String::from_utf8(table)
        .unwrap()
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(1).unwrap().trim().parse().unwrap())
        .collect();
    let texts: Vec<String> = rows(&MOODS, 80, 2).into_iter().map(|(text, _)| text).collect();
    let bundle = desk.path("job/run/bundle").display().to_string();
    let served = Served::start(&desk, &[&bundle, "--rest-port", "0", "--grpc-port", "0"]);
    let body = json!({ "instances": texts }).to_string();
    let (status, answer) = served.ask("POST", "/v1/models/mood:predict", &body);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let found: Vec<f64> =
        answer["predictions"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
    assert_eq!((own.len(), found.len()), (80, 80));
    let logit = |p: &f64| (p / (1.0 - p)).ln();
    let mean = |of: &[f64]| of.iter().map(logit).sum::<f64>() / of.len() as f64;
    let (own_mean, found_mean) = (mean(&own), mean(&found));
    let moment = |a: &[f64], b: &[f64], (mean_a, mean_b): (f64, f64)| {
        a.iter().zip(b).map(|(a, b)| (logit(a) - mean_a) * (logit(b) - mean_b)).sum::<f64>()
    };
    let factor =
        moment(&own, &found, (own_mean, found_mean)) / moment(&own, &own, (own_mean, own_mean));
    for (own, found) in own.iter().zip(&found) {
        let logit = found_mean + factor * (logit(own) - own_mean);
        let expected = 1.0 / (1.0 + (-logit).exp());
        assert_close(*found, expected, 1e-4, "the program's answer");
    }

    // The same files give the same model; the program is not asked again.
    std::fs::remove_file(desk.path("job/train.py")).unwrap();
    let again = desk.run("3");
    assert!(!again.err.contains("model.onnx of trial"), "{}", again.err);
    assert_eq!(desk.json("job/run/bundle/manifest.json"), manifest);
    again.ok();
}

#[test]
fn weights_may_lie_beside_the_graph() {
    let desk = desk("WEIGHTS=table.bin", "");
    desk.run("1").ok();
    let manifest = desk.json("job/run/bundle/manifest.json");
    assert_eq!(manifest["lineage"]["compression"], json!("int8"));
    desk.luthier(&["predict", "job/run/bundle", "lovely", "", "never \u{202e}好"]).ok();
}

#[test]
fn other_answers_than_the_programs_are_told_of() {
    let desk = desk("", "sed -i '5s/.*/0.5,0.5/' predictions.csv");
    let outcome = desk.run("1");
    let told = "/predictions.csv: the probabilities of model.onnx are up to 0.";
    assert!(outcome.err.contains(told), "{}", outcome.err);
    assert!(outcome.err.contains("from these, most in validation row 4\n"), "{}", outcome.err);
    outcome.ok();
}

#[test]
fn what_is_wrong_with_a_model_is_said_when_tuning_is_done() {
    let check = |before: &str, after: &str, file: &str, what: &str| {
        let desk = desk(before, after);
        let outcome = desk.run("1");
        let error = format!("error: job/run/trials/0/{file}: {what}");
        assert!(outcome.err.contains(&error), "{error:?} is not in {}", outcome.err);
        assert_eq!(outcome.code, Some(2), "{what}");
        let names = desk.names("job/run");
        assert!(names.contains(&"tuning.json".to_owned()), "{names:?}");
        assert!(!names.iter().any(|name| name == "model/" || name == "bundle/"), "{names:?}");
    };
    let cut = "head -c 900 model.onnx > cut && mv cut model.onnx";
    check("", cut, "model.onnx", "not an ONNX model: ");
    check("", "rm model.json", "model.json", "it cannot be read");
    check("", "ln -sf /etc/passwd model.json", "model.json", "it cannot be read from `model.json`");
    let named = |from: &str, to: &str| format!("sed -i 's/{from}/{to}/' model.json");
    check(
        "",
        &named("attention_mask", "mask"),
        "model.onnx",
        "the graph's `mask` is none of its inputs, which are `input_ids`, `attention_mask`",
    );
    check(
        "",
        &named("\"logits\",", "\"answer\","),
        "model.onnx",
        "the graph has no output `answer`; it has `logits`",
    );
    check(
        "",
        &named("\"1\", ", "\"1\", \"2\", "),
        "model.onnx",
        "the model's classes are `1`, `2`, `0`, and not `0`, `1`",
    );
    check(
        "",
        &named("\"logits\"}", "\"probabilities\"}"),
        "model.onnx",
        "it does not give probabilities for validation row 1",
    );
    check("", &named(": 32", ": 1"), "model.json", "preprocessing field `max_length` is out of");
    check(
        "",
        &named("tokenizer.json", "..\\/..\\/..\\/luthier.toml"),
        "../../../luthier.toml",
        "it leads out of the trial's folder: `../../../luthier.toml`",
    );
    let token = |from: &str, to: &str| format!("sed -i 's/{from}/{to}/' tokenizer.json");
    check("", &token(": 5,", ": 999,"), "model.onnx", "`table` has ");
    check("", &token("WordLevel", "WordSalad"), "tokenizer.json", "the tokenizer cannot be used: ");
    check(
        "WEIGHTS=../../../train.csv",
        "",
        "model.onnx",
        "the external data of tensor `table` leads out of the trial's folder: `../../../train.csv`",
    );
    let unknown = "LC_ALL=C sed -i s/ReduceSum/Summarize/g model.onnx";
    check("", unknown, "model.onnx", "the engine cannot load the graph: ");
}
