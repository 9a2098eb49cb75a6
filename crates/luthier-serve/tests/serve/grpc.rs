//! gRPC, and both protocols on both sockets.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hyper::Method;
use luthier_serve::{Drained, Models, ServeConfig, ServeError, Server};
use luthier_test::wait_for;

use crate::caller::{Asked, Caller, Outcome, frame};
use crate::client::{Client, request};
use crate::proto::{Proto, proto};
use crate::stage::{STARTED, Stage};

const PREDICT: &str = "/tensorflow.serving.PredictionService/Predict";
const CLASSIFY: &str = "/tensorflow.serving.PredictionService/Classify";
const REGRESS: &str = "/tensorflow.serving.PredictionService/Regress";
const METADATA: &str = "/tensorflow.serving.PredictionService/GetModelMetadata";
const STATUS: &str = "/tensorflow.serving.ModelService/GetModelStatus";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

const INVALID_ARGUMENT: u16 = 3;
const DEADLINE_EXCEEDED: u16 = 4;
const NOT_FOUND: u16 = 5;
const RESOURCE_EXHAUSTED: u16 = 8;
const FAILED_PRECONDITION: u16 = 9;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;

const TEXTS: [&str; 3] = ["a warm thing", "难吃", "a \"cold\"\n\u{1f600} thing"];

/// A `ModelSpec` that names the latest version.
fn spec(name: &str) -> Proto {
    proto().bytes(1, name)
}

/// The `ModelSpec` of an answer.
fn answered(name: &str, version: i64, signature: &str) -> Proto {
    let spec = spec(name).bytes(2, proto().number(1, version));
    if signature.is_empty() { spec } else { spec.bytes(3, signature) }
}

/// A `TensorProto` of strings.
fn tensor(texts: &[&str]) -> Proto {
    strings(&[texts.len() as i64], texts)
}

fn strings(sizes: &[i64], texts: &[&str]) -> Proto {
    let tensor = proto().number(1, 7).bytes(2, shape(sizes));
    texts.iter().fold(tensor, |tensor, text| tensor.bytes(8, text))
}

fn shape(sizes: &[i64]) -> Proto {
    let dim = |size: &i64| if *size == 0 { proto() } else { proto().number(1, *size) };
    sizes.iter().fold(proto(), |shape, size| shape.bytes(2, dim(size)))
}

/// A `PredictRequest`.
fn predict(spec: &Proto, texts: &[&str]) -> Proto {
    proto().bytes(1, spec).entry(2, "text", &tensor(texts))
}

/// A `PredictResponse`.
fn predictions(spec: &Proto, sizes: &[i64], scores: &[f32]) -> Proto {
    let tensor = proto().number(1, 1).bytes(2, shape(sizes)).floats(5, scores);
    proto().entry(1, "scores", &tensor).bytes(2, spec)
}

fn positive(stage: &Stage, texts: &[&str]) -> Vec<f32> {
    stage.expected("mood", texts).chunks(2).map(|row| row[1]).collect()
}

/// A request whose running takes seconds.
fn heavy() -> Proto {
    let text = "a warm thing and a cold one, 好吃 or not, told at length; ".repeat(40);
    predict(&spec("mood"), &vec![text.as_str(); 12_000])
}

fn asked<'a>(path: &'a str, message: &Proto, headers: &'a [(&'a str, &'a str)]) -> Asked<'a> {
    Asked { method: Method::POST, path, headers, body: frame(0, message.as_ref()) }
}

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

#[test]
fn predictions_of_every_version_on_both_ports() {
    let stage = Stage::new();
    let scores = positive(&stage, &TEXTS);
    for addr in [stage.grpc, stage.addr] {
        let caller = Caller::connect(addr);
        let check = |request: Proto, expected: Proto| {
            assert_eq!(caller.call(PREDICT, request).message(), expected.as_ref());
        };
        let latest = predictions(&answered("mood", 3, "serving_default"), &[3], &scores);
        check(predict(&spec("mood"), &TEXTS), latest.clone());
        let named = spec("mood").bytes(3, "serving_default");
        check(predict(&named, &TEXTS).bytes(3, "scores"), latest);
        let first = spec("mood").bytes(2, proto().number(1, 1));
        let spec_of_first = answered("mood", 1, "serving_default");
        check(predict(&first, &TEXTS), predictions(&spec_of_first, &[3], &scores));
        check(predict(&first, &[]), predictions(&spec_of_first, &[0], &[]));
        let rows = stage.expected("topic", &TEXTS);
        let topic = answered("topic", 1, "serving_default");
        check(predict(&spec("topic"), &TEXTS), predictions(&topic, &[3, 3], &rows));
    }
}

#[test]
fn tensors_as_clients_write_them() {
    let stage = Stage::new();
    let caller = Caller::connect(stage.grpc);
    let spec_of_answer = answered("mood", 3, "serving_default");
    let check = |tensor: &Proto, texts: &[&str]| {
        let request = proto().bytes(1, spec("mood")).entry(2, "text", tensor);
        let expected =
            predictions(&spec_of_answer, &[texts.len() as i64], &positive(&stage, texts));
        assert_eq!(caller.call(PREDICT, request).message(), expected.as_ref());
    };
    // Repeated values are left out, strings may be packed, and what is not known is skipped.
    check(&strings(&[3], &["warm", "cold"]), &["warm", "cold", "cold"]);
    let packed = proto().number(1, 7).bytes(2, shape(&[2])).bytes(4, b"\x04\x00warm");
    check(&packed, &["warm", ""]);
    let named = proto().bytes(2, proto().number(1, 1).bytes(2, "batch"));
    let more = proto().number(1, 7).bytes(2, named).bytes(8, "warm").number(3, 9).bytes(99, "?");
    check(&more, &["warm"]);
}

#[test]
fn answers_carry_their_ids() {
    let stage = Stage::new();
    let caller = Caller::connect(stage.grpc);
    let message = predict(&spec("mood"), &["warm"]);
    let ask =
        |headers: &[(&str, &str)]| caller.call_with(PREDICT, headers, frame(0, message.as_ref()));
    let (first, second) = (ask(&[]), ask(&[("x-request-id", "mine-1")]));
    assert_eq!(first.status, 200);
    assert_eq!(first.header("content-type"), "application/grpc");
    assert_eq!(first.header("grpc-accept-encoding"), "identity,deflate,gzip");
    assert_eq!(second.header("x-request-id"), "mine-1");
    let id = |outcome: &Outcome| outcome.trailers["x-prediction-id"].to_str().unwrap().to_owned();
    let (first, second) = (id(&first), id(&second));
    let digit = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
    assert!(first.len() == 32 && first.bytes().all(digit) && first != second, "{first} {second}");
    assert_eq!(caller.call(HEALTH, proto()).header("x-prediction-id"), "");
}

#[test]
fn classes() {
    let stage = Stage::new();
    let caller = Caller::connect(stage.grpc);
    let feature = |text: &str| proto().bytes(1, proto().bytes(1, text));
    let example = |text: &str| proto().bytes(1, proto().entry(1, "text", &feature(text)));
    let class = |label: &str, score: f32| proto().bytes(1, label).float(2, score);
    let scores = stage.expected("mood", &["warm", "cold"]);
    let rows = scores.chunks(2).fold(proto(), |rows, row| {
        rows.bytes(1, proto().bytes(1, class("bad", row[0])).bytes(1, class("good", row[1])))
    });
    let expected = proto().bytes(1, rows).bytes(2, answered("mood", 3, "serving_default"));
    let list = proto().bytes(1, example("warm")).bytes(1, example("cold"));
    let request = proto().bytes(1, spec("mood")).bytes(2, proto().bytes(1, list));
    let outcome = caller.call(CLASSIFY, request);
    assert_eq!(outcome.message(), expected.as_ref());
    assert_eq!(outcome.header("x-prediction-id").len(), 32);
    let list = proto().bytes(1, example("warm")).bytes(1, proto()).bytes(2, example("cold"));
    let request = proto().bytes(1, spec("mood")).bytes(2, proto().bytes(2, list));
    assert_eq!(caller.call(CLASSIFY, request).message(), expected.as_ref());
    let check = |input: Option<Proto>, signature: &str, message: &str| {
        let mut request = proto().bytes(1, spec("mood").bytes(3, signature));
        request = input.into_iter().fold(request, |request, input| request.bytes(2, input));
        assert_eq!(caller.call(CLASSIFY, request).result(), (INVALID_ARGUMENT, message));
    };
    check(None, "", "Input is empty.");
    check(Some(proto().bytes(1, proto())), "", "Input is empty.");
    let empty = proto().bytes(1, proto().bytes(1, proto()));
    check(Some(empty), "", "examples[0]: missing input \"text\"");
    check(None, "x", "No signature was found with the name: x");
}

#[test]
fn status_and_metadata_are_tensorflow_servings() {
    let stage = Stage::new();
    let caller = Caller::connect(stage.grpc);
    let state = |version: i64| proto().number(1, version).number(2, 30).bytes(3, proto());
    let check = |path: &str, request: Proto, expected: Proto| {
        assert_eq!(caller.call(path, request).message(), expected.as_ref(), "{path}");
    };
    let both = proto().bytes(1, state(3)).bytes(1, state(1));
    check(STATUS, proto().bytes(1, spec("mood")), both);
    let first = spec("mood").bytes(2, proto().number(1, 1));
    check(STATUS, proto().bytes(1, &first), proto().bytes(1, state(1)));
    let info = |name: &str, dtype: i64, sizes: &[i64]| {
        proto().bytes(1, name).number(2, dtype).bytes(3, shape(sizes))
    };
    for (spec, name, version, sizes) in
        [(spec("mood"), "mood", 3, &[-1][..]), (spec("topic"), "topic", 1, &[-1, 3])]
    {
        let signature = proto()
            .entry(1, "text", &info("text", 7, &[-1]))
            .entry(2, "scores", &info("scores", 1, sizes))
            .bytes(3, "tensorflow/serving/predict");
        let any = proto()
            .bytes(1, "type.googleapis.com/tensorflow.serving.SignatureDefMap")
            .bytes(2, proto().entry(1, "serving_default", &signature));
        let expected =
            proto().bytes(1, answered(name, version, "")).entry(2, "signature_def", &any);
        check(METADATA, proto().bytes(1, spec).bytes(2, "signature_def"), expected);
    }
}

#[test]
fn errors_are_tensorflow_servings() {
    let stage = Stage::new();
    let caller = Caller::connect(stage.grpc);
    let check = |path: &str, request: Proto, code: u16, message: &str| {
        let outcome = caller.call(path, request);
        assert_eq!(outcome.result(), (code, message), "{path}");
        assert!(outcome.body.is_empty() && outcome.trailers.is_empty(), "the status comes at once");
        assert_eq!((outcome.status, outcome.header("content-type")), (200, "application/grpc"));
    };
    let texts = proto().entry(2, "text", &tensor(&["a"]));
    let missing = "Missing ModelSpec";
    check(PREDICT, texts, INVALID_ARGUMENT, missing);
    for path in [PREDICT, CLASSIFY, REGRESS, METADATA, STATUS] {
        check(path, proto(), INVALID_ARGUMENT, missing);
        let unnamed = "ModelSpec has no name specified.";
        check(path, proto().bytes(1, proto()), INVALID_ARGUMENT, unnamed);
    }
    let label = spec("mood").bytes(4, "stable");
    let unknown_label = "Unrecognized servable version label: stable";
    let seven = spec("mood").bytes(2, proto().number(1, 7));
    let negative = spec("mood").bytes(2, proto().number(1, -1));
    for path in [PREDICT, CLASSIFY, REGRESS, METADATA] {
        let request = |spec: &Proto| proto().bytes(1, spec).bytes(2, "");
        let request = |spec: &Proto| match path {
            METADATA => proto().bytes(1, spec).bytes(2, "signature_def"),
            REGRESS => proto().bytes(1, spec),
            CLASSIFY => request(spec),
            _ => predict(spec, &["a"]),
        };
        let no_model = "Servable not found for request: Latest(no)";
        check(path, request(&spec("no")), NOT_FOUND, no_model);
        let no_version = "Servable not found for request: Specific(mood, 7)";
        check(path, request(&seven), NOT_FOUND, no_version);
        let below = "Servable not found for request: Specific(mood, -1)";
        check(path, request(&negative), NOT_FOUND, below);
        check(path, request(&label), INVALID_ARGUMENT, unknown_label);
    }
    let status = |spec: &Proto| proto().bytes(1, spec);
    let none = "Could not find any versions of model no";
    check(STATUS, status(&spec("no")), NOT_FOUND, none);
    let none = "Could not find version 7 of model mood";
    check(STATUS, status(&seven), NOT_FOUND, none);
    check(STATUS, status(&label), INVALID_ARGUMENT, unknown_label);
    let field = "GetModelMetadataRequest must specify at least one metadata_field";
    check(METADATA, status(&spec("mood")), INVALID_ARGUMENT, field);
    let field = status(&spec("mood")).bytes(2, "signature_def").bytes(2, "é");
    check(METADATA, field, INVALID_ARGUMENT, "Metadata field %C3%A9 is not supported");
    let regression = "Expected regression signature method_name to be \
                      tensorflow/serving/regress. Was: tensorflow/serving/predict";
    check(REGRESS, status(&spec("mood")), INVALID_ARGUMENT, regression);
}

#[test]
fn errors_of_tensors_say_what_and_where() {
    let stage = Stage::new();
    let caller = Caller::connect(stage.grpc);
    let check = |request: Proto, code: u16, message: &str| {
        let request = request.bytes(1, spec("mood"));
        assert_eq!(caller.call(PREDICT, request).result(), (code, message));
    };
    let of = |tensor: &Proto| proto().entry(2, "text", tensor);
    let good = tensor(&["a"]);
    let signature = of(&good).bytes(1, spec("mood").bytes(3, "x"));
    let key = "Serving signature key \"x\" not found.";
    assert_eq!(caller.call(PREDICT, signature).result(), (FAILED_PRECONDITION, key));
    let invalid = |request: Proto, message: &str| check(request, INVALID_ARGUMENT, message);
    invalid(
        proto(),
        "input size does not match signature: 0!=1 len({}) != len({text}). \
         Sent extra: {}. Missing but required: {text}.",
    );
    invalid(
        of(&good).entry(2, "more", &good),
        "input size does not match signature: 2!=1 len({more,text}) != len({text}). \
         Sent extra: {more}. Missing but required: {}.",
    );
    invalid(
        proto().entry(2, "txt", &good),
        "input tensor alias not found in signature: txt. \
         Inputs expected to be in the set {text}.",
    );
    let floats = proto().number(1, 1).bytes(2, shape(&[1])).floats(5, &[1.0]);
    invalid(of(&floats), "Expected input text to be string but get float.");
    invalid(of(&proto()), "tensor parsing error: text");
    let scalar = proto().number(1, 7).bytes(8, "a");
    invalid(of(&scalar), "Expected input text to have the shape [-1] but get [].");
    let table = strings(&[1, 2], &["a", "b"]);
    invalid(of(&table), "Expected input text to have the shape [-1] but get [1, 2].");
    let utf8 = proto().number(1, 7).bytes(2, shape(&[2])).bytes(8, "a").bytes(8, b"\xff");
    invalid(of(&utf8), "text[1]: the bytes are not UTF-8");
    invalid(
        of(&good).bytes(3, "x"),
        "output tensor alias not found in signature: x \
         Outputs expected to be in the set {scores}.",
    );
    let twice = of(&good).bytes(3, "scores").bytes(3, "scores");
    invalid(twice, "duplicate output tensor alias: scores");
    let rows = "65537 rows in one request, the limit is 65536";
    invalid(of(&strings(&[65_537], &["a"])), rows);
    invalid(of(&strings(&[i64::MAX], &["a"])), &rows.replace("65537", &i64::MAX.to_string()));
    let long = "x".repeat(100);
    let repeated = "text: a value repeated for all rows takes more than 4194304 bytes";
    invalid(of(&strings(&[65_536], &[&long])), repeated);
    check(of(&strings(&[3], &["a"; 5])), INVALID_ARGUMENT, {
        "tensor parsing error: text: 5 values for 3 rows"
    });
}

#[test]
fn what_is_no_call() {
    let stage = Stage::new();
    let caller = Caller::connect(stage.grpc);
    let check = |path: &str, headers: &[(&str, &str)], body: Vec<u8>, code: u16, text: &str| {
        let outcome = caller.call_with(path, headers, body);
        let (found, message) = outcome.result();
        assert!(found == code && message.contains(text), "{found} {message}");
    };
    let good = || frame(0, predict(&spec("mood"), &["warm"]).as_ref());
    for path in ["/", "/tensorflow.serving.PredictionService/", "/a/B", "/v1/models/mood"] {
        check(path, &[], good(), UNIMPLEMENTED, &format!("unknown method {path}"));
    }
    let multi = "/tensorflow.serving.PredictionService/MultiInference";
    check(multi, &[], frame(0, b""), UNIMPLEMENTED, "MultiInference is not supported");
    let reload = "/tensorflow.serving.ModelService/HandleReloadConfigRequest";
    check(reload, &[], frame(0, b""), UNIMPLEMENTED, "taken up by itself");
    check(PREDICT, &[], Vec::new(), UNIMPLEMENTED, "expected one message, found none");
    check(PREDICT, &[], [good(), good()].concat(), UNIMPLEMENTED, "found more");
    check(PREDICT, &[], good()[..9].to_vec(), INTERNAL, "the message ends early");
    check(PREDICT, &[], frame(0, b"\xff\xff"), INTERNAL, "the message is not of the call's type");
    check(PREDICT, &[], frame(1, b"ab"), INTERNAL, "does not say how");
    let snappy = [("grpc-encoding", "snappy")];
    check(PREDICT, &snappy, frame(1, b"ab"), UNIMPLEMENTED, "send one of identity,deflate,gzip");
    // `gzip` of an empty message.
    let empty = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0";
    let gzip = [("grpc-encoding", "gzip")];
    check(PREDICT, &gzip, frame(1, empty), INVALID_ARGUMENT, "Missing ModelSpec");
    let long = format!("/{}", "x".repeat(5000));
    let outcome = caller.call(&long, proto());
    assert_eq!(outcome.result().1.len(), 1024, "messages are cut");
}

#[test]
fn messages_over_the_limit_are_refused() {
    let stage = Stage::with(|config| config.max_body_bytes = 1000);
    let caller = Caller::connect(stage.grpc);
    let of = |length: usize| predict(&spec("mood"), &[&"x".repeat(length)]);
    let around = of(900).as_ref().len() - 900;
    assert_eq!(caller.call(PREDICT, of(1000 - around)).result(), (0, ""));
    let refused = (RESOURCE_EXHAUSTED, "Received message larger than max (1000 bytes)");
    assert_eq!(caller.call(PREDICT, of(1001 - around)).result(), refused);
    let mut endless = frame(0, &[b' '; 300_000]);
    endless[1] = 255;
    assert_eq!(caller.call_with(PREDICT, &[], endless).result(), refused);
    assert_eq!(stage.metric("luthier_rejected_requests_total{reason=\"body_too_large\"}"), 2.0);
    assert_eq!(caller.call(PREDICT, of(3)).result(), (0, ""), "the connection goes on");
}

#[test]
fn health_follows_readiness() {
    let mut stage = Stage::with(|config| config.max_body_bytes = 64 << 20);
    let caller = Caller::connect(stage.grpc);
    let status = |service: &str| {
        let request = if service.is_empty() { proto() } else { proto().bytes(1, service) };
        caller.call(HEALTH, request)
    };
    let (serving, not_serving) = (proto().number(1, 1), proto().number(1, 2));
    assert_eq!(status("").message(), serving.as_ref());
    let service = "tensorflow.serving.PredictionService";
    assert_eq!(status(service).message(), serving.as_ref());
    assert_eq!(status("other").result(), (NOT_FOUND, "unknown service other"));
    let busy = caller.send(asked(PREDICT, &heavy(), GRPC)).unwrap();
    stage.wait_for_metric(STARTED, 1.0);
    stage.stop();
    let closing = || (status("").message() == not_serving.as_ref()).then_some(());
    wait_for(Duration::from_secs(10), closing).expect("it is not ready any more");
    // The connection ends a while later, with what is in flight; to write to it then fails.
    assert_eq!(caller.receive(busy).unwrap().result(), (0, ""));
    if let Err(error) = caller.ended() {
        assert!(error.is_io(), "{error}");
    }
    assert_eq!(stage.drained().aborted, 0);
}

#[test]
fn calls_end_in_time() {
    let stage = Stage::with(|config| config.max_body_bytes = 64 << 20);
    let caller = Caller::connect(stage.grpc);
    let start = Instant::now();
    let heavy = frame(0, heavy().as_ref());
    let outcome = caller.call_with(PREDICT, &[("grpc-timeout", "300m")], heavy);
    assert_eq!(outcome.result(), (DEADLINE_EXCEEDED, "Deadline exceeded"));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let soon = predict(&spec("mood"), &["warm"]);
    for patience in ["30S", "99999999H", "soon"] {
        let headers = [("grpc-timeout", patience)];
        let body = frame(0, soon.as_ref());
        assert_eq!(caller.call_with(PREDICT, &headers, body).result(), (0, ""), "{patience}");
    }
}

#[test]
fn a_full_queue_refuses_at_once_and_cancelled_calls_are_skipped() {
    let stage = Stage::with(|config| {
        config.queue_requests = 1;
        config.max_body_bytes = 64 << 20;
    });
    let caller = Caller::connect(stage.grpc);
    let running = caller.send(asked(PREDICT, &heavy(), GRPC)).unwrap();
    stage.wait_for_metric(STARTED, 1.0);
    let small = predict(&spec("mood"), &["warm"]);
    let waiting = caller.send(asked(PREDICT, &small, GRPC)).unwrap();
    stage.wait_for_metric("luthier_queue_length", 1.0);
    let refused = caller.call(PREDICT, &small);
    assert_eq!(refused.result(), (RESOURCE_EXHAUSTED, "1 requests are waiting already"));
    drop(running);
    assert_eq!(caller.receive(waiting).unwrap().result(), (0, ""), "what waited is answered");
    assert_eq!(stage.metric("luthier_rejected_requests_total{reason=\"expired\"}"), 1.0);
    let counted = |status: u16| {
        let labels = r#"model="mood",version="3",protocol="grpc",api="predict""#;
        stage.metric(&format!("luthier_requests_total{{{labels},status=\"{status}\"}}"))
    };
    assert_eq!((counted(499), counted(429), counted(200)), (1.0, 1.0, 1.0));
}

#[test]
fn calls_are_counted_as_requests_are() {
    let stage = Stage::new();
    let caller = Caller::connect(stage.grpc);
    caller.call(PREDICT, predict(&spec("mood"), &["warm"]));
    caller.call(PREDICT, predict(&spec("mood").bytes(3, "x"), &["warm"]));
    caller.call(PREDICT, predict(&spec("x1"), &["warm"]));
    caller.call(STATUS, proto().bytes(1, spec("topic")));
    caller.call(HEALTH, proto());
    caller.call("/a/B", proto());
    caller.call_with(PREDICT, &[], frame(0, b"\xff"));
    let check = |labels: &str, count: f64| {
        let series = format!("luthier_requests_total{{{labels}}}");
        assert_eq!(stage.metric(&series), count, "{series}");
    };
    check(r#"model="mood",version="3",protocol="grpc",api="predict",status="200""#, 1.0);
    check(r#"model="mood",version="3",protocol="grpc",api="predict",status="400""#, 1.0);
    check(r#"model="unknown",version="",protocol="grpc",api="predict",status="404""#, 1.0);
    check(r#"model="unknown",version="",protocol="grpc",api="predict",status="400""#, 1.0);
    check(r#"model="topic",version="1",protocol="grpc",api="status",status="200""#, 1.0);
    check(r#"model="",version="",protocol="grpc",api="health",status="200""#, 1.0);
    check(r#"model="",version="",protocol="grpc",api="none",status="501""#, 1.0);
}

#[test]
fn rest_is_answered_over_every_http_on_both_ports() {
    let stage = Stage::new();
    let score = positive(&stage, &["warm"])[0];
    let expected = format!("{{\"score\": {score:?}}}");
    let json = [("content-type", "application/json")];
    for addr in [stage.addr, stage.grpc] {
        let mut client = Client::connect(addr);
        let answer = client.ask("POST", "/sentiment", r#"{"text": "warm"}"#);
        assert_eq!((answer.status, answer.body.as_str()), (200, expected.as_str()));
        let caller = Caller::connect(addr);
        let ask = |method: Method, path: &str, body: &str| {
            let asked = Asked { method, path, headers: &json, body: body.as_bytes().to_vec() };
            caller.ask(asked).unwrap()
        };
        let answer = ask(Method::POST, "/sentiment", r#"{"text": "warm"}"#);
        assert_eq!((answer.status, answer.text()), (200, expected.as_str()));
        assert_eq!(answer.header("content-length"), expected.len().to_string());
        assert_eq!(answer.header("x-prediction-id").len(), 32);
        let health = ask(Method::HEAD, "/healthz", "");
        assert_eq!(
            (health.status, health.text(), health.header("content-length")),
            (200, "", "16")
        );
        assert_eq!(ask(Method::GET, "/nothing", "").status, 404);
        let over_http1 = "Content-Type: application/grpc\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0";
        client.send(format!("POST {PREDICT} HTTP/1.1\r\nHost: t\r\n{over_http1}").as_bytes());
        assert_eq!(client.receive().unwrap().status, 404, "gRPC is only on HTTP/2");
    }
}

#[test]
fn curl_is_answered_over_http2() {
    let stage = Stage::new();
    let expected = format!("{{\"score\": {:?}}}", positive(&stage, &["warm"])[0]);
    for addr in [stage.addr, stage.grpc] {
        let url = format!("http://{addr}/sentiment");
        let arguments = ["-sS", "--http2-prior-knowledge", &url, "-d", r#"{"text": "warm"}"#];
        let Ok(output) = Command::new("curl").args(arguments).output() else { return };
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{arguments:?}");
    }
}

#[test]
fn streams_and_heads_are_bounded() {
    let stage = Stage::new();
    let caller = Caller::connect(stage.grpc);
    assert_eq!(caller.call(HEALTH, proto()).status, 200);
    assert_eq!(caller.max_streams(), 256);
    let long = "x".repeat(80 << 10);
    let headers = [GRPC, &[("x-long", long.as_str())]].concat();
    let answer = caller.ask(asked(HEALTH, &proto(), &headers));
    assert!(answer.as_ref().map_or(true, |answer| answer.status == 431), "{answer:?}");
    let small = predict(&spec("mood"), &["warm"]);
    // At the same time, on one connection.
    let all: Vec<_> = (0..50).map(|_| caller.send(asked(PREDICT, &small, GRPC)).unwrap()).collect();
    for response in all {
        assert_eq!(caller.receive(response).unwrap().result(), (0, ""));
    }
}

#[test]
fn unused_connections_are_closed() {
    let stage = Stage::with(|config| {
        config.idle_timeout = Duration::from_millis(300);
        config.request_timeout = Duration::from_millis(300);
    });
    let start = Instant::now();
    let caller = Caller::connect(stage.grpc);
    for _ in 0..5 {
        assert_eq!(caller.call(HEALTH, proto()).status, 200);
        thread::sleep(Duration::from_millis(150));
    }
    caller.ended().unwrap();
    assert!(start.elapsed() > Duration::from_millis(900), "{:?}", start.elapsed());
    let beginnings: [&[u8]; 5] =
        [b"", b"P", b"PR", b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    for beginning in beginnings {
        let mut silent = Client::connect(stage.grpc);
        silent.send(beginning);
        let start = Instant::now();
        silent.drained();
        assert!(start.elapsed() < Duration::from_secs(5), "{beginning:?}");
    }
}

#[test]
fn slow_and_odd_beginnings_are_understood() {
    let stage = Stage::new();
    for method in ["PUT", "PRI", "PROPFIND", "P"] {
        let mut client = stage.client();
        for byte in request(method, "/v1/x", "").as_bytes().chunks(1) {
            client.send(byte);
            thread::sleep(Duration::from_micros(200));
        }
        // Half of the preface of HTTP/2, which gets no answer.
        if method == "PRI" {
            client.finish();
            client.drained();
            continue;
        }
        // A client that closes its half would be taken for one that has gone.
        assert_eq!(client.receive().map(|answer| answer.status), Some(400), "{method}");
    }
}

#[test]
fn both_ports_are_drained() {
    let mut stage = Stage::with(|config| config.max_body_bytes = 64 << 20);
    let callers = [stage.addr, stage.grpc].map(Caller::connect);
    let busy = callers[1].send(asked(PREDICT, &heavy(), GRPC)).unwrap();
    stage.wait_for_metric(STARTED, 1.0);
    stage.stop();
    for addr in [stage.addr, stage.grpc] {
        let refused = || TcpStream::connect(addr).is_err().then_some(());
        wait_for(Duration::from_secs(10), refused).expect("it listens no more");
    }
    let [idle, caller] = callers;
    idle.ended().unwrap();
    assert_eq!(caller.receive(busy).unwrap().result(), (0, ""));
    caller.ended().unwrap();
    assert_eq!(stage.drained(), Drained { finished: 1, aborted: 0 });
}

#[test]
fn mutated_messages_never_hurt() {
    let stage = Stage::new();
    let caller = Caller::connect(stage.grpc);
    let feature = proto().bytes(1, proto().bytes(1, "warm"));
    let example = proto().bytes(1, proto().entry(1, "text", &feature));
    let list = proto().bytes(1, &example).bytes(2, &example);
    let version = spec("mood").bytes(2, proto().number(1, 1));
    let seeds = [
        (PREDICT, predict(&version, &["a é warm", "b"]).bytes(3, "scores")),
        (CLASSIFY, proto().bytes(1, spec("topic")).bytes(2, proto().bytes(2, list))),
        (METADATA, proto().bytes(1, &version).bytes(2, "signature_def")),
        (STATUS, proto().bytes(1, spec("mood").bytes(4, "stable"))),
    ];
    let mut random = 0x9e37_79b9_u64;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as usize % limit
    };
    let mut answered = [0; 2];
    for round in 0..4000 {
        let (path, seed) = &seeds[round % 4];
        let mut body = frame(0, seed.as_ref());
        // Mostly the message, at times its prefix.
        let start = if round % 10 == 0 { 0 } else { 5 };
        for _ in 0..=below(3) {
            let at = start + below(body.len() - start);
            match below(3) {
                0 => body[at] = below(256) as u8,
                1 => body[at] ^= 1 << below(8),
                _ => drop(body.splice(at..at, [below(256) as u8])),
            }
        }
        if start == 5 {
            let length = body.len() as u32 - 5;
            body[1..5].copy_from_slice(&length.to_be_bytes());
        }
        let outcome = caller.call_with(path, &[], body);
        let (code, message) = outcome.result();
        let known = [0, INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL];
        assert!(known.contains(&code), "{code} {message}");
        assert_ne!(message, "the model failed on this request");
        answered[usize::from(code != 0)] += 1;
    }
    assert!(answered.iter().all(|count| *count > 100), "both kinds of answers: {answered:?}");
}

#[test]
fn mutated_frames_of_http2_never_hurt() {
    let stage = Stage::new();
    let seed: Vec<u8> = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
        // HEADERS that end a stream: GET / on http.
        &[0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84],
        &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
    ]
    .concat();
    for at in 0..seed.len() {
        for change in [0x01, 0x10, 0xff] {
            let mut bytes = seed.clone();
            bytes[at] ^= change;
            let mut client = Client::connect(stage.grpc);
            client.send(&bytes);
            client.finish();
            client.drained();
        }
    }
    assert_eq!(Caller::connect(stage.grpc).call(HEALTH, proto()).result(), (0, ""));
}

#[test]
fn ports_in_use_are_told() {
    let stage = Stage::new();
    let check = |rest: SocketAddr, grpc: SocketAddr, used: SocketAddr| {
        let models = Models::find(&[stage.scratch.path().to_owned()]).unwrap();
        let (rest_port, grpc_port) = (rest.port(), grpc.port());
        let config = ServeConfig { rest_port, grpc_port, ..ServeConfig::default() };
        let error = Server::bind(&config, models).err().unwrap();
        assert!(matches!(error, ServeError::Bind { addr, .. } if addr == used), "{error}");
    };
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    check(stage.addr, free, stage.addr);
    check(free, stage.grpc, stage.grpc);
}
