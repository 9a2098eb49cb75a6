//! Metrics, logs and request ids.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use luthier_serve::{ModelSource, Models, Route, ServeConfig, ServeError, Server};
use luthier_test::{Scratch, wait_for};
use serde_json::Value;

use crate::caller::Caller;
use crate::client::Client;
use crate::proto::proto;
use crate::stage::{Stage, draft, free_ports, runtime};

#[test]
fn requests_are_counted_by_model_and_status() {
    let stage = Stage::new();
    let mut client = stage.client();
    for _ in 0..3 {
        client.ask("POST", "/v1/models/mood:predict", r#"{"instances": ["a", "b"]}"#);
    }
    client.ask("POST", "/v1/models/mood/versions/1:classify", "{}");
    client.ask("POST", "/sentiment", r#"{"text": "a"}"#);
    client.ask("POST", "/v1/models/x1:predict", "{}");
    client.ask("POST", "/v1/models/x2:predict", "{}");
    let check = |series: &str, value: f64| assert_eq!(stage.metric(series), value, "{series}");
    let requests = |labels: &str| format!("luthier_requests_total{{{labels}}}");
    check(&requests(r#"model="mood",version="3",protocol="rest",api="predict",status="200""#), 3.0);
    check(
        &requests(r#"model="mood",version="1",protocol="rest",api="classify",status="400""#),
        1.0,
    );
    check(&requests(r#"model="mood",version="3",protocol="rest",api="alias",status="200""#), 1.0);
    check(
        &requests(r#"model="unknown",version="",protocol="rest",api="predict",status="404""#),
        2.0,
    );
    let labels = r#"model="mood",version="3",protocol="rest",api="predict""#;
    check(&format!("luthier_request_duration_seconds_count{{{labels}}}"), 3.0);
    for stage in ["queue", "preprocess", "inference", "postprocess"] {
        // Three predictions and one alias.
        let labels = format!(r#"model="mood",version="3",stage="{stage}""#);
        check(&format!("luthier_stage_duration_seconds_count{{{labels}}}"), 4.0);
    }
    check(r#"luthier_model_state{model="topic",version="1",state="AVAILABLE"}"#, 1.0);
    check(r#"luthier_model_state{model="topic",version="1",state="LOADING"}"#, 0.0);
    check(&format!("luthier_build_info{{release=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0);
}

#[test]
fn metrics_are_clean_in_both_formats() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.ask("POST", "/sentiment", r#"{"text": "a"}"#);
    client.send(
        b"GET /metrics HTTP/1.1\r\nHost: t\r\n\
          Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n",
    );
    let open = client.receive().unwrap();
    assert!(open.header("content-type").starts_with("application/openmetrics-text"));
    assert!(open.body.contains("# TYPE luthier_requests counter\n"));
    assert!(open.body.ends_with("\n# EOF\n"));
    let plain = client.ask("GET", "/metrics", "");
    assert!(plain.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert!(plain.body.contains("# TYPE luthier_requests_total counter\n"));
    let Some((code, said)) = promtool(&plain.body) else { return };
    assert!(code == Some(0) && said.is_empty(), "promtool says: {said}");
}

/// What promtool thinks of metrics, where it is.
fn promtool(metrics: &str) -> Option<(Option<i32>, String)> {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut tool = tool.ok()?;
    tool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Some((output.status.code(), said))
}

#[test]
fn tensorflow_servings_metrics_are_at_their_place() {
    const PATH: &str = "/monitoring/prometheus/metrics";
    let stage = Stage::new();
    let mut client = stage.client();
    client.ask("POST", "/v1/models/mood:predict", r#"{"instances": ["a", "b"]}"#);
    client.ask("POST", "/v1/models/mood/versions/1:predict", r#"{"instances": ["a"]}"#);
    client.ask("POST", "/v1/models/mood:predict", "{}");
    client.ask("POST", "/v1/models/mood:regress", r#"{"examples": [{"text": "a"}]}"#);
    let examples = r#"{"examples": [{"text": "a"}, {"text": "b"}, {"text": "c"}]}"#;
    client.ask("POST", "/v1/models/topic:classify", examples);
    client.ask("POST", "/v1/models/x1:predict", "{}");
    client.ask("POST", "/sentiment", r#"{"text": "a"}"#);
    client.ask("GET", "/v1/models/mood", "");
    let caller = Caller::connect(stage.grpc);
    let tensor = proto().number(1, 7).bytes(2, proto().bytes(2, proto().number(1, 1)));
    let message =
        proto().bytes(1, proto().bytes(1, "mood")).entry(2, "text", &tensor.bytes(8, "a"));
    caller.call("/tensorflow.serving.PredictionService/Predict", &message);
    let unnamed = proto().bytes(1, proto().bytes(1, "mood").bytes(3, "x"));
    caller.call("/tensorflow.serving.PredictionService/Predict", &unnamed);
    let page = client.ask("GET", PATH, "");
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"));
    let check = |series: &str, value: &str| {
        let line = format!(":tensorflow:serving:{series} {value}\n");
        assert!(page.body.contains(&line), "{line} in {}", page.body);
    };
    check(r#"request_count{model_name="mood",status="OK"}"#, "3");
    check(r#"request_count{model_name="mood",status="INVALID_ARGUMENT"}"#, "2");
    check(r#"request_count{model_name="mood",status="FAILED_PRECONDITION"}"#, "1");
    check(r#"request_count{model_name="topic",status="OK"}"#, "1");
    check(r#"request_count{model_name="unknown",status="NOT_FOUND"}"#, "1");
    let labels = r#"model_name="mood",API="predict",entrypoint="REST""#;
    check(&format!("request_latency_count{{{labels}}}"), "2");
    check(&format!(r#"request_latency_bucket{{{labels},le="1.47476e+09"}}"#), "2");
    check(&format!(r#"request_latency_bucket{{{labels},le="+Inf"}}"#), "2");
    let labels = r#"model_name="mood",API="Predict",entrypoint="GRPC""#;
    check(&format!("request_latency_count{{{labels}}}"), "1");
    let labels = r#"model_name="mood",API="Predict",runtime="luthier""#;
    check(&format!("runtime_latency_count{{{labels}}}"), "3");
    check(r#"request_example_counts_bucket{model="topic",le="4"}"#, "1");
    check(r#"request_example_counts_sum{model="topic"}"#, "3");
    check(r#"request_example_count_total{model="topic"}"#, "3");
    assert!(
        !page.body.contains("luthier_") && !client.ask("GET", "/metrics", "").body.contains(':')
    );
    // It can be read; that its names are not those of today is said of each.
    let Some((code, said)) = promtool(&page.body) else { return };
    assert!(code == Some(3) && !said.contains("error while"), "promtool says: {said}");
}

#[test]
fn request_ids_are_taken_over_or_made() {
    let stage = Stage::new();
    let mut client = stage.client();
    let mut ask = |id: &str| {
        client.send(format!("GET /healthz HTTP/1.1\r\nHost: t\r\n{id}\r\n").as_bytes());
        client.receive().unwrap().header("x-request-id").to_owned()
    };
    assert_eq!(ask("X-Request-Id: trace-1.2:3_4\r\n"), "trace-1.2:3_4");
    let made = ask("");
    assert!(made.len() > 16 && made != ask(""), "{made}");
    assert_ne!(ask("X-Request-Id: a b\r\n"), "a b");
    let long = "x".repeat(200);
    assert_ne!(ask(&format!("X-Request-Id: {long}\r\n")), long);
}

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_request_is_logged_without_its_text() {
    let scratch = Scratch::new();
    let path = scratch.path().join("bundle");
    draft("mood", 2).write(&path).unwrap();
    let models = Models::find(&[path]).unwrap();
    let routes = vec![Route::new("/sentiment", "mood")];
    let config = ServeConfig { workers: 1, routes, ..free_ports() };
    let server = Server::bind(&config, models).unwrap();
    let addr = server.local_addr();
    let log = Log::default();
    let writer = log.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = thread::spawn(move || {
        let make = move || writer.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(make).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        runtime().block_on(server.run(async { drop(stopped.await) })).unwrap()
    });
    let mut client = Client::connect(addr);
    wait_for(Duration::from_secs(20), || {
        (client.ask("GET", "/readyz", "").status == 200).then_some(())
    })
    .unwrap();
    let response = client.ask("POST", "/sentiment?q=hush", r#"{"text": "a secret thing"}"#);
    client.ask("POST", "/v1/models/hidden:predict", "{}");
    stop.send(()).unwrap();
    thread.join().unwrap();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("secret") && !text.contains("hush"), "{text}");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |route: &str| {
        let found = events.iter().find(|event| event["fields"]["route"] == route);
        found.unwrap_or_else(|| panic!("no event for {route} in {text}"))["fields"].clone()
    };
    let fields = of("/sentiment");
    assert_eq!(fields["http.request.method"], "POST");
    assert_eq!((&fields["model"], &fields["version"]), (&"mood".into(), &1.into()));
    assert_eq!(fields["http.response.status_code"], 200);
    assert_eq!(fields["http.response.body.bytes"], response.body.len());
    assert_eq!(fields["http.request.id"], response.header("x-request-id"));
    assert_eq!(fields["http.version"], "1.1");
    assert_eq!(fields["url.path"], "/sentiment");
    assert_eq!(
        (&fields["event.action"], &fields["event.outcome"]),
        (&"alias".into(), &"success".into())
    );
    assert!(fields["event.duration"].as_u64().unwrap() > 0);
    assert_eq!(fields["trace.id"], Value::Null);
    let fields = of("/v1/models/{model}:predict");
    assert_eq!(fields["model"], Value::Null);
    assert_eq!(fields["http.response.status_code"], 404);
    assert_eq!(fields["event.outcome"], "failure");
}

#[test]
fn what_cannot_be_served_is_an_error_at_once() {
    let stage = Stage::new();
    let folder = stage.scratch.path();
    let models = || Models::find(&[folder.to_owned()]).unwrap();
    assert_eq!(models().names().collect::<Vec<_>>(), ["mood", "topic"]);
    let config = ServeConfig { rest_port: stage.addr.port(), ..ServeConfig::default() };
    let error = Server::bind(&config, models()).err().unwrap();
    assert!(matches!(error, ServeError::Bind { addr, .. } if addr == stage.addr), "{error}");
    let path = folder.join("mood").join("3");
    let source = ModelSource { name: "mood".to_owned(), version: 3, path: path.clone() };
    let twice = [source.clone(), source.clone()];
    assert!(matches!(Models::load(&twice), Err(ServeError::Duplicate { version: 3, .. })));
    let named = [ModelSource { name: "a/b".to_owned(), ..source.clone() }];
    assert!(matches!(Models::load(&named), Err(ServeError::Name { .. })));
    let negative = [ModelSource { version: -1, ..source }];
    assert!(matches!(Models::load(&negative), Err(ServeError::Version { version: -1, .. })));
    assert!(matches!(Models::load(&[]), Err(ServeError::NoModel)));
    for both in [[folder, &path], [&path, folder], [folder, folder]] {
        let both = Models::find(&both.map(Path::to_owned));
        assert!(matches!(&both, Err(ServeError::TwoPlaces { name, .. }) if name == "mood"));
    }
    let empty = Scratch::new();
    let nothing = Models::find(&[empty.path().to_owned()]);
    assert!(matches!(nothing, Err(ServeError::NoBundle { .. })));
    let absent = Models::find(&[empty.path().join("absent")]);
    assert!(matches!(absent, Err(ServeError::Io { .. })));
    for path in ["sentiment", "/healthz", "/v1/models", "/a b", "/sentiment?x"] {
        let routes = vec![Route::new(path, "mood")];
        let config = ServeConfig { routes, ..free_ports() };
        let error = Server::bind(&config, models()).err();
        assert!(matches!(error, Some(ServeError::Route { .. })), "{path}: {error:?}");
    }
    let routes = vec![Route::new("/a", "mod")];
    let config = ServeConfig { routes, ..free_ports() };
    let error = Server::bind(&config, models()).err().unwrap();
    assert_eq!(error.to_string(), "route /a: there is no model `mod`");
}
