//! Prediction ids, labels that come back, live accuracy and drift.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use luthier_bundle::{Draft, PredictScratch};
use luthier_engine::Threads;
use luthier_monitor::Baseline;
use luthier_serve::{Models, ServeConfig, Server, observe};
use luthier_test::{Process, Scratch, wait_for};
use serde_json::{Value, json};

use crate::client::{Client, Response};
use crate::stage::{Stage, draft, runtime};

const PREDICT: &str = "/v1/models/mood:predict";
const FEEDBACK: &str = "/v1/models/mood:feedback";

/// A server with a store, and the folder that the store is in.
fn stage() -> (Stage, Scratch) {
    let folder = Scratch::new();
    let path = folder.path().join("feedback.db");
    (Stage::with(|config| config.feedback_store = Some(path)), folder)
}

/// Asks for predictions; their id and the answered classes, `good` from one half on.
fn predict(client: &mut Client, texts: &[&str]) -> (String, Vec<&'static str>) {
    let answer = client.ask("POST", PREDICT, &json!({ "instances": texts }).to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let class = |score: &Value| if score.as_f64().unwrap() >= 0.5 { "good" } else { "bad" };
    let classes = body["predictions"].as_array().unwrap().iter().map(class).collect();
    (answer.header("x-prediction-id").to_owned(), classes)
}

fn send(client: &mut Client, path: &str, labels: &Value) -> Response {
    client.ask("POST", path, &json!({ "labels": labels }).to_string())
}

#[track_caller]
fn check(response: &Response, accepted: u64, duplicates: u64, unknown: u64) {
    assert_eq!(response.status, 200, "{}", response.body);
    let body: Value = serde_json::from_str(&response.body).unwrap();
    let found = ["accepted", "duplicates", "unknown"].map(|name| body[name].as_u64().unwrap());
    assert_eq!(found, [accepted, duplicates, unknown]);
}

#[test]
fn every_answer_has_an_id_of_its_own() {
    let stage = Stage::new();
    let mut client = stage.client();
    let mut ids = Vec::new();
    let mut check = |path: &str, body: &str, has_id: bool| {
        let response = client.ask("POST", path, body);
        let id = response.header("x-prediction-id").to_owned();
        let digits = id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        assert_eq!(digits, has_id, "{path} {id:?}");
        assert!(has_id || id.is_empty(), "{path} {id:?}");
        ids.extend(Some(id).filter(|id| !id.is_empty()));
    };
    check(PREDICT, r#"{"instances": ["a"]}"#, true);
    check(PREDICT, r#"{"instances": ["a"]}"#, true);
    check("/v1/models/mood/versions/1:classify", r#"{"examples": [{"text": "a"}]}"#, true);
    check("/sentiment", r#"{"text": "a"}"#, true);
    check("/topics", r#"{"text": ["a", "b"]}"#, true);
    check(PREDICT, "{}", false);
    check("/v1/models/absent:predict", r#"{"instances": ["a"]}"#, false);
    check(FEEDBACK, r#"{"labels": []}"#, false);
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((count, ids.len()), (5, 5));
}

#[test]
fn labels_become_live_accuracy() {
    let (stage, _folder) = stage();
    let mut client = stage.client();
    let texts = ["a cold thing", "a warm thing", "a lovely thing", "a dull thing"];
    let (id, predicted) = predict(&mut client, &texts);
    let metrics = stage.client().ask("GET", "/metrics", "").body;
    assert!(!metrics.contains("luthier_live"), "nothing is live before a label");
    let other = |class: &str| if class == "good" { "bad" } else { "good" };
    // The first two as predicted, the third not; the row is 0 where it is left out.
    let labels = json!([
        { "id": id, "label": predicted[0] },
        { "id": id, "row": 1, "label": predicted[1] },
        { "id": id, "row": 2, "label": other(predicted[2]) },
        { "id": id, "row": 4, "label": "good" },
        { "id": "0".repeat(32), "label": "good" },
    ]);
    let response = send(&mut client, FEEDBACK, &labels);
    check(&response, 3, 0, 2);
    let body: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(
        body["unknown_rows"],
        json!([
            { "id": id, "row": 4 },
            { "id": "0".repeat(32), "row": 0 },
        ])
    );
    check(&send(&mut client, FEEDBACK, &labels), 0, 3, 2);
    let of = |name: &str| stage.metric(&format!("luthier_{name}{{model=\"mood\",version=\"3\"}}"));
    assert!((of("live_accuracy") - 2.0 / 3.0).abs() < 1e-9);
    // Wilson's interval of 2 of 3.
    assert!((of("live_accuracy_low") - 0.207_655).abs() < 1e-5, "{}", of("live_accuracy_low"));
    assert!((of("live_accuracy_high") - 0.938_507).abs() < 1e-5, "{}", of("live_accuracy_high"));
    assert!(of("live_f1") > 0.0);
    let labels = |version: &str, result: &str| {
        let of = format!("model=\"mood\",version=\"{version}\",result=\"{result}\"");
        stage.metric(&format!("luthier_feedback_labels_total{{{of}}}"))
    };
    assert_eq!((labels("3", "accepted"), labels("3", "duplicate")), (3.0, 3.0));
    assert_eq!(labels("", "unknown"), 4.0);
    let requests = r#"model="mood",version="3",protocol="rest",api="feedback",status="200""#;
    assert_eq!(stage.metric(&format!("luthier_requests_total{{{requests}}}")), 2.0);
}

#[test]
fn ids_of_every_route_take_labels() {
    let (stage, _folder) = stage();
    let mut client = stage.client();
    let mut check_route = |path: &str, body: &str, labels: &str, label: &str| {
        let id = client.ask("POST", path, body).header("x-prediction-id").to_owned();
        let other = if labels.contains("mood") { "/v1/models/topic:feedback" } else { FEEDBACK };
        let label = json!([{ "id": id, "label": label }]);
        check(&send(&mut client, other, &label), 0, 0, 1);
        check(&send(&mut client, labels, &label), 1, 0, 0);
    };
    check_route("/sentiment", r#"{"text": "a"}"#, FEEDBACK, "bad");
    let classify = r#"{"examples": [{"text": "a"}]}"#;
    check_route("/v1/models/mood/versions/1:classify", classify, FEEDBACK, "good");
    check_route("/topics", r#"{"text": "a"}"#, "/v1/models/topic:feedback", "colour \"c\"");
    let (id, _) = predict(&mut client, &["a"]);
    let label = json!([{ "id": id, "label": "bad" }]);
    check(&send(&mut client, "/v1/models/mood/versions/1:feedback", &label), 0, 0, 1);
    check(&send(&mut client, "/v1/models/mood/versions/3:feedback", &label), 1, 0, 0);
}

#[test]
fn wrong_feedback_is_an_error_that_says_where() {
    let (stage, _folder) = stage();
    let mut client = stage.client();
    let (id, _) = predict(&mut client, &["a", "b"]);
    let mut check_error = |path: &str, body: &str, status: u16, message: &str| {
        let response = client.ask("POST", path, &body.replace("ID", &id));
        assert_eq!(
            (response.status, response.body),
            (status, json!({ "error": message }).to_string().replacen("\":", "\": ", 1)),
            "{path} {body}"
        );
    };
    let body =
        r#"{"labels": [{"id": "ID", "label": "good"}, {"id": "ID", "row": 1, "label": "so"}]}"#;
    let classes = "\"so\" is no class of model mood version 3, which has \"bad\", \"good\"";
    check_error(FEEDBACK, body, 400, &format!("labels[1]: {classes}"));
    let body = r#"{"labels": [{"id": "ID", "label": "good", "row": true}]}"#;
    check_error(FEEDBACK, body, 400, "labels[0]: \"row\" is not a whole number from 0");
    let fields = "expected an object with the field \"labels\" and no other";
    check_error(FEEDBACK, "[]", 400, fields);
    let body = r#"{"labels": []}"#;
    let none = "Could not find any versions of model absent";
    check_error("/v1/models/absent:feedback", body, 404, none);
    let none = "Could not find version 2 of model mood";
    check_error("/v1/models/mood/versions/2:feedback", body, 404, none);
    // The call with a wrong label had no effect.
    let labels = json!([{ "id": id, "label": "good" }]);
    check(&send(&mut client, FEEDBACK, &labels), 1, 0, 0);
}

#[test]
fn feedback_is_off_until_a_store_is_named() {
    let stage = Stage::new();
    let response = stage.client().ask("POST", FEEDBACK, r#"{"labels": []}"#);
    assert_eq!(response.status, 501);
    let expected = "Feedback is off: start the server with --feedback-store <file>";
    assert_eq!(response.body, format!("{{\"error\": \"{expected}\"}}"));
}

/// A bundle with a baseline of texts like those that the model was trained on.
fn watched(folder: &Path) -> PathBuf {
    let mut draft: Draft = draft("mood", 2);
    let words = ["cold", "warm", "dull", "lovely", "难吃", "好吃"];
    let texts: Vec<String> =
        (0..400).map(|n| format!("a {} thing, number {}", words[n % 6], n % 30)).collect();
    let plain = draft.write(&folder.join("plain")).unwrap();
    let predictor = plain.predictor(&Threads::new(1)).unwrap();
    let scores = predictor.predict(&texts, &mut PredictScratch::default()).unwrap();
    let mut reading = luthier_model::Scratch::default();
    let rows: Vec<_> = texts
        .iter()
        .zip(scores.chunks_exact(2))
        .map(|(text, scores)| {
            let class = predictor.decision().answer(scores).unwrap().label as u32;
            observe(text, class, &draft.model.preprocess, &mut reading)
        })
        .collect();
    let baseline = Baseline::new(2, &rows).unwrap().to_json();
    draft.documents.push((Baseline::DOCUMENT.to_owned(), baseline));
    let path = folder.join("bundle");
    draft.write(&path).unwrap();
    path
}

#[test]
fn texts_that_move_show_as_drift() {
    let scratch = Scratch::new();
    let bundle = watched(scratch.path());
    let stage = Stage::start(scratch, Models::find(&[bundle]).unwrap(), |_| {});
    stage.wait_until_ready();
    let mut client = stage.client();
    let drift = |feature: &str| {
        let labels = format!("model=\"mood\",version=\"1\",feature=\"{feature}\"");
        stage.metric(&format!("luthier_drift_psi{{{labels}}}"))
    };
    let words = ["cold", "warm", "dull", "lovely", "难吃", "好吃"];
    let texts = |from: usize, more: &str| -> Vec<String> {
        (from..from + 500)
            .map(|n| format!("a {} thing, number {}{more}", words[n % 6], n % 30))
            .collect()
    };
    let mut ask = |texts: Vec<String>| {
        let answer = client.ask("POST", PREDICT, &json!({ "instances": texts }).to_string());
        assert_eq!(answer.status, 200);
    };
    ask(texts(0, ""));
    ask(texts(500, ""));
    // Texts are measured once a second.
    let is_shown = || (drift("text_length") > 0.0).then_some(());
    wait_for(Duration::from_secs(20), is_shown).expect("drift shows");
    for feature in ["text_length", "unknown_share", "predicted_class"] {
        assert!(drift(feature) < 0.1, "{feature} {}", drift(feature));
    }
    ask(texts(0, ", zxqv jkwp und so weiter"));
    let has_moved = || (drift("text_length") > 0.5 && drift("unknown_share") > 0.5).then_some(());
    wait_for(Duration::from_secs(20), has_moved).expect("drift rises");
}

#[test]
fn a_broken_baseline_is_passed_over() {
    let scratch = Scratch::new();
    let mut draft = draft("mood", 2);
    draft.documents.push((Baseline::DOCUMENT.to_owned(), b"{\"format\": 9}".to_vec()));
    let path = scratch.path().join("bundle");
    draft.write(&path).unwrap();
    let stage = Stage::start(scratch, Models::find(&[path]).unwrap(), |_| {});
    stage.wait_until_ready();
    predict(&mut stage.client(), &["a"]);
}

/// Folder with a bundle `bundle`; the child writes its port beside it.
const FOLDER: &str = "LUTHIER_SERVE_FEEDBACK";

/// A server in a process of its own.
struct Child {
    process: Process,
    addr: SocketAddr,
}

impl Child {
    /// Starts one; `within` is a program, with arguments, that runs it.
    fn start(folder: &Path, within: &[&str]) -> Self {
        let _ = fs::remove_file(folder.join("port"));
        let this = env::current_exe().unwrap();
        let mut command = match within.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(this);
                command
            }
            None => Command::new(this),
        };
        command.args(["--ignored", "--exact", "feedback::serve_in_a_child"]);
        command.env(FOLDER, folder).stdout(Stdio::null());
        let process = Process::start(&mut command);
        let port = || fs::read_to_string(folder.join("port")).ok()?.trim().parse::<u16>().ok();
        let port = wait_for(Duration::from_secs(30), port).expect("the server says its port");
        let child = Self { process, addr: ([127, 0, 0, 1], port).into() };
        let ready = || (child.client().ask("GET", "/readyz", "").status == 200).then_some(());
        wait_for(Duration::from_secs(30), ready).expect("the server gets ready");
        child
    }

    fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// All series of live quality.
    fn live(&self) -> BTreeMap<String, String> {
        let text = self.client().ask("GET", "/metrics", "").body;
        let series = text.lines().filter(|line| line.starts_with("luthier_live"));
        series
            .map(|line| line.split_once(' ').unwrap())
            .map(|(k, v)| (k.into(), v.into()))
            .collect()
    }
}

#[test]
#[ignore = "the server of other tests"]
fn serve_in_a_child() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    let models = Models::find(&[folder.join("bundle")]).unwrap();
    let feedback_store = Some(folder.join("feedback.db"));
    let config = ServeConfig {
        rest_port: 0,
        grpc_port: 0,
        workers: 1,
        feedback_store,
        ..ServeConfig::default()
    };
    let server = Server::bind(&config, models).unwrap();
    let port = folder.join("port.new");
    fs::write(&port, server.local_addr().port().to_string()).unwrap();
    fs::rename(port, folder.join("port")).unwrap();
    runtime().block_on(server.run(std::future::pending())).unwrap();
}

#[test]
fn a_killed_server_finds_its_labels_again() {
    let scratch = Scratch::new();
    draft("mood", 2).write(&scratch.path().join("bundle")).unwrap();
    let mut child = Child::start(scratch.path(), &[]);
    let mut client = child.client();
    let mut labels = Vec::new();
    for _ in 0..20 {
        let (id, predicted) = predict(&mut client, &["a cold thing", "a warm thing"]);
        for (row, class) in predicted.iter().enumerate() {
            labels.push(json!({ "id": id, "row": row, "label": class }));
        }
        // With labels in between, so that all predictions are written.
        check(&send(&mut client, FEEDBACK, &json!([])), 0, 0, 0);
    }
    let (before, after) = labels.split_at(25);
    check(&send(&mut client, FEEDBACK, &json!(before)), 25, 0, 0);
    let live = child.live();
    assert_eq!(live.len(), 4);
    child.process.signal("KILL");
    child.process.child().wait().unwrap();
    let child = Child::start(scratch.path(), &[]);
    assert_eq!(child.live(), live);
    let mut client = child.client();
    check(&send(&mut client, FEEDBACK, &json!(labels)), 15, 25, 0);
    check(&send(&mut client, FEEDBACK, &json!(after)), 0, 15, 0);
    assert!(child.live().values().any(|accuracy| accuracy == "1.0"));
}

/// The store's files may not grow, as on a full disk; then they may again.
#[test]
fn a_full_disk_stops_feedback_and_no_answer() {
    let scratch = Scratch::new();
    draft("mood", 2).write(&scratch.path().join("bundle")).unwrap();
    let limit = "trap '' XFSZ; exec prlimit --fsize=200000:unlimited \"$0\" \"$@\"";
    let mut child = Child::start(scratch.path(), &["sh", "-c", limit]);
    let mut client = child.client();
    let texts = vec!["a warm thing"; 500];
    let refused = (0..200).find_map(|_| {
        let (id, _) = predict(&mut client, &texts);
        let response = send(&mut client, FEEDBACK, &json!([{ "id": id, "label": "good" }]));
        (response.status != 200).then_some((id, response))
    });
    let (id, response) = refused.expect("the disk gets full");
    assert_eq!((response.status, response.header("retry-after")), (503, "1"));
    assert!(response.body.starts_with(r#"{"error": "Feedback cannot be stored: "#), "{response:?}");
    for _ in 0..20 {
        predict(&mut client, &texts);
    }
    let pid = child.process.child().id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
    assert!(raised.unwrap().success());
    let labels = json!([{ "id": id, "row": 499, "label": "good" }]);
    check(&send(&mut client, FEEDBACK, &labels), 1, 0, 0);
    let dropped = child.client().ask("GET", "/metrics", "").body;
    assert!(dropped.contains("luthier_feedback_dropped_total 0\n"), "what waited was kept");
}
