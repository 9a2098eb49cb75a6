//! Versions come and go while requests are answered.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use luthier_bundle::{Bundle, PredictScratch};
use luthier_engine::Threads;
use luthier_serve::{Models, Route, ServeConfig};
use luthier_test::{Scratch, wait_for};
use serde_json::{Value, json};

use crate::client::request;
use crate::stage::{Stage, draft_of, heavy_body};

const ALIAS: &str = "/sentiment";
const BODY: &str = r#"{"text": "a warm thing"}"#;
const POLL: Duration = Duration::from_millis(10);

/// A base path with the model `mood`, and bundles that answer differently.
struct Shelf {
    scratch: Scratch,
    bundles: Vec<Bundle>,
    /// The answer of each bundle to [`BODY`].
    answers: Vec<String>,
}

impl Shelf {
    /// A shelf of that many bundles, none of them published.
    fn new(count: u32) -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("base")).unwrap();
        let write = |i: u32| {
            let folder = scratch.path().join(format!("bundle-{i}"));
            draft_of("mood", 2, 30 + 12 * i).write(&folder).unwrap()
        };
        let bundles: Vec<Bundle> = (0..count).map(write).collect();
        let answer = |bundle: &Bundle| {
            let predictor = bundle.predictor(&Threads::new(1)).unwrap();
            let scores = predictor.predict(&["a warm thing"], &mut PredictScratch::default());
            format!("{{\"score\": {:?}}}", scores.unwrap()[1])
        };
        let answers: Vec<String> = bundles.iter().map(answer).collect();
        for (i, answer) in answers.iter().enumerate() {
            assert!(!answers[..i].contains(answer), "{answers:?}");
        }
        Self { scratch, bundles, answers }
    }

    fn model(base: &Path) -> PathBuf {
        base.join("base").join("mood")
    }

    /// A server over the base path.
    fn serve(&self, change: impl FnOnce(&mut ServeConfig)) -> Stage {
        let models = Models::find(&[self.scratch.path().join("base")]).unwrap();
        Stage::start(Scratch::new(), models, |config| {
            config.routes = vec![Route::new(ALIAS, "mood")];
            config.poll = Some(POLL);
            change(config);
        })
    }

    /// Publishes the bundle at `position` as the next version.
    fn publish(&self, position: usize) -> i64 {
        let model = Self::model(self.scratch.path());
        self.bundles[position].publish(&model, None).unwrap().version
    }

    fn folder(&self, version: i64) -> PathBuf {
        Self::model(self.scratch.path()).join(version.to_string())
    }
}

/// State, error code and error message of a version.
fn status(stage: &Stage, version: i64) -> Option<[String; 3]> {
    let path = format!("/v1/models/mood/versions/{version}");
    let response = stage.client().ask("GET", &path, "");
    if response.status == 404 {
        return None;
    }
    let found: Value = serde_json::from_str(&response.body).unwrap();
    let status = &found["model_version_status"][0];
    assert_eq!(status["version"], json!(version.to_string()));
    let error = &status["status"];
    let parts = [&status["state"], &error["error_code"], &error["error_message"]];
    Some(parts.map(|part| part.as_str().unwrap().to_owned()))
}

#[track_caller]
fn wait_for_state(stage: &Stage, version: i64, state: &str, code: &str) -> String {
    let reached =
        || status(stage, version).filter(|[found, error, _]| found == state && error == code);
    let found = wait_for(Duration::from_secs(20), reached);
    let [.., message] = found.unwrap_or_else(|| {
        panic!("version {version} is {:?} and not {state} {code}", status(stage, version))
    });
    message
}

#[test]
fn versions_are_swapped_under_load_and_no_request_fails() {
    const VERSIONS: usize = 8;
    const CLIENTS: usize = 6;
    let shelf = Shelf::new(VERSIONS as u32);
    shelf.publish(0);
    let stage = shelf.serve(|config| config.workers = 2);
    stage.wait_until_ready();
    let (answered, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let load = || {
        let mut client = stage.client();
        let mut seen = vec![0_u64; VERSIONS];
        let mut newest = 0;
        while !is_over.load(Ordering::Relaxed) {
            let response = client.ask("POST", ALIAS, BODY);
            assert_eq!(response.status, 200, "{}", response.body);
            let version = shelf.answers.iter().position(|answer| *answer == response.body);
            let version = version.unwrap_or_else(|| panic!("nobody answers {}", response.body));
            assert!(version >= newest, "version {version} answers after {newest}");
            newest = version;
            seen[version] += 1;
            answered.fetch_add(1, Ordering::Relaxed);
        }
        seen
    };
    let seen: Vec<Vec<u64>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(load)).collect();
        for position in 1..VERSIONS {
            let before = answered.load(Ordering::Relaxed);
            let more = || (answered.load(Ordering::Relaxed) > before + 200).then_some(());
            wait_for(Duration::from_secs(20), more).expect("requests are answered");
            let version = shelf.publish(position);
            wait_for_state(&stage, version, "AVAILABLE", "OK");
            wait_for_state(&stage, version - 1, "END", "OK");
        }
        thread::sleep(Duration::from_millis(100));
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for version in 0..VERSIONS {
        let count: u64 = seen.iter().map(|seen| seen[version]).sum();
        assert!(count > 0, "version {} has answered", version + 1);
        let labels = format!("model=\"mood\",version=\"{}\"", version + 1);
        let counted = r#"protocol="rest",api="alias",status="200""#;
        let counted = format!("luthier_requests_total{{{labels},{counted}}}");
        assert_eq!(stage.metric(&counted), count as f64);
        let ended = format!("luthier_model_state{{{labels},state=\"END\"}}");
        assert_eq!(stage.metric(&ended), f64::from(u8::from(version + 1 < VERSIONS)));
    }
    let rejected = stage.client().ask("GET", "/metrics", "").body;
    let rejected = rejected.lines().filter(|line| line.starts_with("luthier_rejected"));
    assert!(rejected.clone().count() > 0 && rejected.into_iter().all(|line| line.ends_with(" 0")));
}

#[test]
fn a_server_is_ready_once_a_version_is_whole() {
    let shelf = Shelf::new(1);
    let folder = shelf.folder(1);
    fs::create_dir_all(&folder).unwrap();
    let stage = shelf.serve(|_| {});
    let message = wait_for_state(&stage, 1, "START", "FAILED_PRECONDITION");
    assert!(message.ends_with("is no bundle: it has no manifest.json"), "{message}");
    assert_eq!(stage.client().ask("GET", "/healthz", "").status, 200);
    let ready = stage.client().ask("GET", "/readyz", "");
    let models = r#"[{"name":"mood","version":"1","state":"START"}]"#;
    let expected = format!("{{\"ready\":false,\"models\":{models}}}");
    assert_eq!((ready.status, ready.body), (503, expected));
    let refused = stage.client().ask("POST", ALIAS, BODY);
    let error = "{\"error\": \"Servable mood version 1 is not available: START\"}";
    assert_eq!((refused.status, refused.body.as_str()), (503, error));
    assert_eq!(refused.header("retry-after"), "1");
    for name in ["features.idx", "manifest.json", "model.onnx"] {
        fs::copy(shelf.bundles[0].path().join(name), folder.join(name)).unwrap();
    }
    let answers = || {
        let is_ready = stage.client().ask("GET", "/readyz", "").status == 200;
        let answer = stage.client().ask("POST", ALIAS, BODY);
        assert!(!is_ready || answer.status == 200, "ready means that it answers");
        (answer.status == 200).then_some(answer.body)
    };
    let answer = wait_for(Duration::from_secs(20), answers);
    assert_eq!(answer.as_deref(), Some(&*shelf.answers[0]));
    stage.wait_until_ready();
}

#[test]
fn broken_versions_are_reported_and_the_one_before_answers() {
    let shelf = Shelf::new(2);
    shelf.publish(0);
    let stage = shelf.serve(|_| {});
    stage.wait_until_ready();
    let answer = || stage.client().ask("POST", ALIAS, BODY).body;
    let broken = shelf.scratch.path().join("broken");
    shelf.bundles[1].publish(&broken, Some(2)).unwrap();
    let model = broken.join("2").join("model.onnx");
    let whole = fs::read(&model).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&model, &damaged).unwrap();
    fs::rename(broken.join("2"), shelf.folder(2)).unwrap();
    let message = wait_for_state(&stage, 2, "END", "DATA_LOSS");
    let reason = "is damaged: its SHA-256 is not the one in the manifest";
    assert!(message.contains("model.onnx") && message.ends_with(reason), "{message}");
    assert_eq!(answer(), shelf.answers[0]);
    assert_eq!(stage.client().ask("GET", "/readyz", "").status, 200);
    let chosen = stage.client().ask("POST", "/v1/models/mood/versions/2:predict", "{}");
    assert_eq!(chosen.status, 404, "{}", chosen.body);
    fs::write(shelf.folder(2).join("model.onnx"), &whole).unwrap();
    wait_for_state(&stage, 2, "AVAILABLE", "OK");
    assert_eq!(answer(), shelf.answers[1]);
    wait_for_state(&stage, 1, "END", "OK");
}

#[test]
fn the_next_version_takes_over_from_one_that_vanishes_and_the_last_one_stays() {
    let shelf = Shelf::new(2);
    shelf.publish(0);
    shelf.publish(1);
    let stage = shelf.serve(|_| {});
    stage.wait_until_ready();
    let answer = || stage.client().ask("POST", ALIAS, BODY).body;
    assert_eq!(answer(), shelf.answers[1]);
    fs::remove_dir_all(shelf.folder(2)).unwrap();
    wait_for_state(&stage, 1, "AVAILABLE", "OK");
    let forgotten = || status(&stage, 2).is_none().then_some(());
    wait_for(Duration::from_secs(20), forgotten).expect("version 2 leaves");
    assert_eq!(answer(), shelf.answers[0]);
    fs::remove_dir_all(shelf.folder(1).parent().unwrap()).unwrap();
    thread::sleep(POLL * 10);
    assert_eq!(answer(), shelf.answers[0]);
    wait_for_state(&stage, 1, "AVAILABLE", "OK");
    assert_eq!(stage.client().ask("GET", "/readyz", "").status, 200);
}

#[test]
fn a_version_leaves_after_its_last_request() {
    let shelf = Shelf::new(2);
    shelf.publish(0);
    let stage = shelf.serve(|config| config.max_body_bytes = 64 << 20);
    stage.wait_until_ready();
    let mut busy = stage.client();
    let path = "/v1/models/mood/versions/1:predict";
    assert!(busy.send(request("POST", path, &heavy_body()).as_bytes()));
    let started =
        "luthier_stage_duration_seconds_count{model=\"mood\",version=\"1\",stage=\"queue\"}";
    stage.wait_for_metric(started, 1.0);
    shelf.publish(1);
    wait_for_state(&stage, 1, "UNLOADING", "OK");
    wait_for_state(&stage, 2, "AVAILABLE", "OK");
    let gone = stage.client().ask("POST", path, BODY);
    let error = "{\"error\": \"Servable not found for request: Specific(mood, 1)\"}";
    assert_eq!((gone.status, gone.body.as_str()), (404, error));
    let response = busy.receive().unwrap();
    assert_eq!(response.status, 200);
    wait_for_state(&stage, 1, "END", "OK");
}

#[test]
fn labels_name_versions() {
    let shelf = Shelf::new(2);
    shelf.publish(0);
    shelf.publish(1);
    let labels = shelf.folder(1).with_file_name("labels.json");
    fs::write(&labels, r#"{"stable": 1, "canary": 2}"#).unwrap();
    let stage = shelf.serve(|_| {});
    stage.wait_until_ready();
    wait_for_state(&stage, 1, "AVAILABLE", "OK");
    let score = |answer: &str| answer.split(' ').nth(1).unwrap().trim_end_matches('}').to_owned();
    let check = |label: &str, version: usize| {
        let path = format!("/v1/models/mood/labels/{label}:predict");
        let response = stage.client().ask("POST", &path, r#"{"instances": ["a warm thing"]}"#);
        let expected = format!("{{\"predictions\": [{}]}}", score(&shelf.answers[version]));
        assert_eq!((response.status, response.body), (200, expected), "{label}");
        let metadata = stage.client().ask("GET", &format!("/v1/models/mood/labels/{label}"), "");
        assert!(metadata.body.contains(&format!("\"version\":\"{}\"", version + 1)));
    };
    check("stable", 0);
    check("canary", 1);
    let unknown = stage.client().ask("POST", "/v1/models/mood/labels/beta:predict", "{}");
    assert_eq!(unknown.status, 400);
    fs::write(&labels, r#"{"stable": 2}"#).unwrap();
    wait_for_state(&stage, 1, "END", "OK");
    check("stable", 1);
}

#[test]
fn without_polling_the_first_look_is_the_last() {
    let shelf = Shelf::new(2);
    shelf.publish(0);
    let stage = shelf.serve(|config| config.poll = None);
    stage.wait_until_ready();
    shelf.publish(1);
    thread::sleep(POLL * 10);
    assert_eq!(stage.client().ask("POST", ALIAS, BODY).body, shelf.answers[0]);
    assert_eq!(status(&stage, 2), None);
}
