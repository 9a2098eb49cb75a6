//! Routes, bodies, answers and errors.

use std::process::Command;

use crate::client::{Client, request};
use crate::stage::Stage;

/// Asks a stage; answers are compared as text.
struct Asker {
    client: Client,
}

impl Asker {
    #[track_caller]
    fn check(&mut self, method: &str, path: &str, body: &str, status: u16, expected: &str) {
        let response = self.client.ask(method, path, body);
        let found = (response.status, response.body.as_str());
        assert_eq!(found, (status, expected), "{method} {path} {body}");
        assert_eq!(response.header("content-type"), "application/json", "{method} {path}");
    }

    #[track_caller]
    fn check_error(&mut self, method: &str, path: &str, body: &str, status: u16, message: &str) {
        let message = serde_json::to_string(message).unwrap();
        self.check(method, path, body, status, &format!("{{\"error\": {message}}}"));
    }
}

const TEXTS: [&str; 3] = ["a warm thing", "难吃", "a \"cold\"\n\u{1f600} thing"];

/// The texts as JSON, separated by commas.
fn quoted(texts: &[&str], wrap: impl Fn(String) -> String) -> String {
    let quoted = texts.iter().map(|text| wrap(serde_json::to_string(text).unwrap()));
    quoted.collect::<Vec<_>>().join(", ")
}

fn scores(row: &[f32]) -> String {
    let scores = row.iter().map(|score| serde_json::to_string(score).unwrap());
    format!("[{}]", scores.collect::<Vec<_>>().join(", "))
}

#[test]
fn predictions_in_every_form() {
    let stage = Stage::new();
    let mut asker = Asker { client: stage.client() };
    let positive: Vec<f32> = stage.expected("mood", &TEXTS).chunks(2).map(|row| row[1]).collect();
    assert!(positive[0] > 0.6 && positive[1] < 0.4, "the model has learned: {positive:?}");
    let predictions = format!("{{\"predictions\": {}}}", scores(&positive));
    let outputs = format!("{{\"outputs\": {}}}", scores(&positive));
    let one = format!("{{\"outputs\": {}}}", scores(&positive[..1]));
    let bare = quoted(&TEXTS, |text| text);
    let named = quoted(&TEXTS, |text| format!("{{\"text\": {text}}}"));
    let path = "/v1/models/mood:predict";
    asker.check("POST", path, &format!("{{\"instances\": [{bare}]}}"), 200, &predictions);
    asker.check("POST", path, &format!("{{\"instances\": [{named}]}}"), 200, &predictions);
    asker.check("POST", path, &format!("{{\"inputs\": [{bare}]}}"), 200, &outputs);
    asker.check("POST", path, &format!("{{\"inputs\": {{\"text\": [{bare}]}}}}"), 200, &outputs);
    asker.check("POST", path, r#"{"inputs": "a warm thing"}"#, 200, &one);
    asker.check("POST", path, r#"{"inputs": {"text": "a warm thing"}}"#, 200, &one);
    asker.check("POST", path, r#"{"inputs": {"b64": "YSB3YXJtIHRoaW5n"}}"#, 200, &one);
    asker.check("POST", path, r#"{"inputs": []}"#, 200, r#"{"outputs": []}"#);
    let mixed = r#"{"more": [1e9, null], "instances": [{"b64": "YSB3YXJtIHRoaW5n"},
        {"text": {"b64": "6Zq+5ZCD"}}, "a \"cold\"\n\ud83d\ude00 thing"],
        "signature_name": "serving_default"}"#;
    asker.check("POST", path, mixed, 200, &predictions);
    for path in ["/v1/models/mood/versions/1:predict", "/V1/Models/mood/Versions/3:predict"] {
        asker.check("POST", path, &format!("{{\"instances\": [{bare}]}}"), 200, &predictions);
    }
    let rows = stage.expected("topic", &TEXTS);
    let rows: Vec<String> = rows.chunks(3).map(scores).collect();
    let expected = format!("{{\"predictions\": [{}]}}", rows.join(", "));
    let body = format!("{{\"instances\": [{bare}], \"signature_name\": \"\"}}");
    asker.check("POST", "/v1/models/%74opic:predict", &body, 200, &expected);
}

#[test]
fn classes_and_aliases() {
    let stage = Stage::new();
    let mut asker = Asker { client: stage.client() };
    let mood = stage.expected("mood", &TEXTS[..1]);
    let row = format!("[[\"bad\", {:?}], [\"good\", {:?}]]", mood[0], mood[1]);
    let classify = "/v1/models/mood:classify";
    let check = |asker: &mut Asker, body: &str, rows: usize| {
        let expected = format!("{{\"results\": [{}]}}", vec![row.clone(); rows].join(", "));
        asker.check("POST", classify, body, 200, &expected);
    };
    check(&mut asker, r#"{"examples": [{"text": "a warm thing"}]}"#, 1);
    check(&mut asker, r#"{"examples": [{"text": ["a warm thing"], "x": [1, 2]}]}"#, 1);
    check(&mut asker, r#"{"context": {"text": "a warm thing"}, "examples": [{}, {"y": 1}]}"#, 2);
    let topic = stage.expected("topic", &TEXTS[..1]);
    let expected = format!(
        "{{\"results\": [[[\"bad\", {:?}], [\"good\", {:?}], [\"colour \\\"c\\\"\", {:?}]]]}}",
        topic[0], topic[1], topic[2]
    );
    let body = r#"{"examples": [{"text": "a warm thing"}]}"#;
    asker.check("POST", "/v1/models/topic/versions/1:classify", body, 200, &expected);

    let score = format!("{{\"score\": {:?}}}", mood[1]);
    asker.check("POST", "/sentiment", r#"{"text": "a warm thing"}"#, 200, &score);
    let list = format!("{{\"score\": [{0:?}, {0:?}]}}", mood[1]);
    asker.check("POST", "/sentiment", r#"{"text": ["a warm thing", "a warm thing"]}"#, 200, &list);
    asker.check("POST", "/sentiment", r#"{"text": []}"#, 200, r#"{"score": []}"#);
    let topics = format!("{{\"to\\\"pics\": {}}}", scores(&topic));
    asker.check("POST", "/topics", r#"{"text": "a warm thing"}"#, 200, &topics);
}

#[test]
fn errors_of_bodies_say_what_and_where() {
    let stage = Stage::new();
    let mut asker = Asker { client: stage.client() };
    let mut predict = |body: &str, message: &str| {
        asker.check_error("POST", "/v1/models/mood:predict", body, 400, message);
    };
    predict("", "JSON Parse error: EOF while parsing a value at line 1 column 0");
    predict("{\"instances\":\n [1,}", "JSON Parse error: expected value at line 2 column 5");
    predict("{} {}", "JSON Parse error: trailing characters at line 1 column 4");
    predict("[\"a\"]", "JSON Value: a list Is not object");
    predict("{}", "Missing 'inputs' or 'instances' key");
    predict(
        r#"{"inputs": ["a"], "instances": ["a"]}"#,
        "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist",
    );
    predict(r#"{"instances": "a"}"#, "Excepting 'instances' to be an list/array");
    predict(r#"{"instances": []}"#, "No values in 'instances' array");
    predict(
        r#"{"instances": ["a", "b", {"text": "c"}, 4]}"#,
        "instances[3]: expected a string, found a number",
    );
    predict(r#"{"instances": [null]}"#, "instances[0]: expected a string, found null");
    predict(r#"{"instances": [["a"]]}"#, "instances[0]: expected a string, found a list");
    predict(r#"{"instances": [{}]}"#, "instances[0]: missing input \"text\"");
    predict(
        r#"{"instances": [{"text": "a", "txt": "b"}]}"#,
        "instances[0]: does not have named input: txt, expected \"text\"",
    );
    predict(
        r#"{"instances": [{"text": {"text": "a"}}]}"#,
        "instances[0]: expected a string, found an object",
    );
    predict(r#"{"instances": [{"b64": "!"}]}"#, "instances[0]: Unable to base64 decode");
    predict(r#"{"instances": [{"b64": "/w=="}]}"#, "instances[0]: the decoded bytes are not UTF-8");
    predict(r#"{"inputs": {"txt": ["a"]}}"#, "Missing named input: text in 'inputs' object.");
    predict(r#"{"inputs": ["a", true]}"#, "inputs[1]: expected a string, found a boolean");
    predict(
        r#"{"instances": ["a"], "signature_name": 1}"#,
        "Not formatted correctly. 'signature_name' key must be a string value.",
    );
    predict(
        r#"{"instances": ["a"], "signature_name": "x"}"#,
        "Serving signature name: \"x\" not found in signature def",
    );
    let deep = format!("{{\"instances\": {}1{}}}", "[".repeat(200), "]".repeat(200));
    predict(&deep, "JSON Parse error: recursion limit exceeded at line 1 column 141");

    let mut classify = |body: &str, message: &str| {
        asker.check_error("POST", "/v1/models/mood:classify", body, 400, message);
    };
    classify("{}", "When method is classify, key 'examples' is expected and was not found");
    classify(r#"{"examples": {}}"#, "Expecting 'examples' value to be an list/array");
    classify(r#"{"examples": []}"#, "'examples' value is an empty array");
    classify(r#"{"examples": ["a"]}"#, "examples[0]: expected an object, found a string");
    classify(r#"{"examples": [{"a": "b"}]}"#, "examples[0]: missing input \"text\"");
    classify(r#"{"examples": [{"text": []}]}"#, "examples[0]: expected one value, found 0");
    classify(r#"{"context": 1, "examples": [{}]}"#, "context: expected an object, found a number");
    classify(
        r#"{"examples": [{"text": "a"}], "signature_name": "x"}"#,
        "No signature was found with the name: x",
    );

    let mut sentiment = |body: &str, message: &str| {
        asker.check_error("POST", "/sentiment", body, 400, message);
    };
    sentiment("{}", "expected the field \"text\"");
    sentiment(r#"{"txt": "a"}"#, "unknown field \"txt\", expected \"text\"");
    sentiment(r#"{"text": "a", "lang": "en"}"#, "unknown field \"lang\", expected \"text\"");
    sentiment(r#"{"text": 3}"#, "text: expected a string, found a number");
    sentiment(r#"{"text": ["a", null]}"#, "text[1]: expected a string, found null");

    asker.check_error(
        "POST",
        "/v1/models/mood:regress",
        r#"{"examples": [{"text": "a"}]}"#,
        400,
        "Expected regression signature method_name to be tensorflow/serving/regress. \
         Was: tensorflow/serving/predict",
    );
}

#[test]
fn errors_of_paths() {
    let stage = Stage::new();
    let mut asker = Asker { client: stage.client() };
    let body = r#"{"instances": ["a"]}"#;
    let mut check = |method: &str, path: &str, status, message: &str| {
        asker.check_error(method, path, body, status, message);
    };
    check("POST", "/v1/models/no:predict", 404, "Servable not found for request: Latest(no)");
    check(
        "POST",
        "/v1/models/mood/versions/7:predict",
        404,
        "Servable not found for request: Specific(mood, 7)",
    );
    check(
        "POST",
        "/v1/models/mood/labels/stable:predict",
        400,
        "Unrecognized servable version label: stable",
    );
    check(
        "POST",
        "/v1/models/mood/versions/99999999999999999999:predict",
        400,
        "Failed to convert version: 99999999999999999999 to numeric.",
    );
    check("GET", "/v1/models/no", 404, "Could not find any versions of model no");
    check("GET", "/v1/models/mood/versions/7", 404, "Could not find version 7 of model mood");
    check("GET", "/v1/models/no/metadata", 404, "Servable not found for request: Latest(no)");
    check("GET", "/v1/models/mood/labels/a", 400, "Unrecognized servable version label: a");
    check(
        "GET",
        "/v1/models/mood/labels/metadata",
        400,
        "Unrecognized servable version label: metadata",
    );
    check("GET", "/v1/models/metadata", 404, "Could not find any versions of model metadata");
    check("GET", "/v1/models", 400, "Missing model name in request.");
    for (method, path) in [
        ("GET", "/v1/models/mood:predict"),
        ("POST", "/v1/models/mood"),
        ("POST", "/v1/models/mood:explain"),
        ("POST", "/v1/models/mood:Predict"),
        ("POST", "/v1/models/mood/versions/x:predict"),
        ("POST", "/v1/models/mood/metadata:predict"),
        ("POST", "/v1/models/:predict"),
        ("POST", "/v1/models/a:b:predict"),
        ("POST", "/v1/models/%ff:predict"),
        ("PUT", "/v1/models/mood:predict"),
        ("DELETE", "/v1/models/mood"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/mood/"),
        ("GET", "/v1/models/mood/versions/1/"),
        ("GET", "/v1/models/mood/labels/a:b"),
        ("POST", "/v1/models/mood/:predict"),
        ("POST", "/v1/models/mood/versions/1/metadata:"),
        ("GET", "/v1/models/mood/versions"),
        ("GET", "/v1/models/mood/versions/1/metadata/more"),
        ("GET", "/v1/modelsx"),
        ("GET", "/v1/"),
    ] {
        check(method, path, 400, &format!("Malformed request: {method} {path}"));
    }
    check("GET", "/nothing", 404, "Not found: /nothing");
    check("GET", "/sentiment", 405, "Method not allowed, use POST");
    check("POST", "/healthz", 405, "Method not allowed, use GET, HEAD");
    let response = stage.client().ask("GET", "/sentiment", "");
    assert_eq!(response.header("allow"), "POST");
}

#[test]
fn status_and_metadata_are_tensorflow_servings() {
    let stage = Stage::new();
    let mut asker = Asker { client: stage.client() };
    let state = |version: i64| {
        format!(
            "{{\"version\":\"{version}\",\"state\":\"AVAILABLE\",\
             \"status\":{{\"error_code\":\"OK\",\"error_message\":\"\"}}}}"
        )
    };
    let one = format!("{{\"model_version_status\":[{}]}}", state(1));
    let both = format!("{{\"model_version_status\":[{},{}]}}", state(3), state(1));
    asker.check("GET", "/v1/models/mood", "", 200, &both);
    asker.check("GET", "/v1/models/mood/versions/1", "", 200, &one);
    let metadata = |name: &str, version: u32, sizes: &str| {
        format!(
            "{{\"model_spec\":{{\"name\":\"{name}\",\"signature_name\":\"\",\
             \"version\":\"{version}\"}},\"metadata\":{{\"signature_def\":{{\"signature_def\":\
             {{\"serving_default\":{{\"inputs\":{{\"text\":{{\"dtype\":\"DT_STRING\",\
             \"tensor_shape\":{{\"dim\":[{{\"size\":\"-1\",\"name\":\"\"}}],\
             \"unknown_rank\":false}},\"name\":\"text\"}}}},\"outputs\":{{\"scores\":\
             {{\"dtype\":\"DT_FLOAT\",\"tensor_shape\":{{\"dim\":[{sizes}],\
             \"unknown_rank\":false}},\"name\":\"scores\"}}}},\
             \"method_name\":\"tensorflow/serving/predict\",\"defaults\":{{}}}}}}}}}}}}"
        )
    };
    let batch = r#"{"size":"-1","name":""}"#;
    let classes = format!("{batch},{{\"size\":\"3\",\"name\":\"\"}}");
    asker.check("GET", "/v1/models/mood/metadata", "", 200, &metadata("mood", 3, batch));
    let path = "/v1/models/mood/versions/1/Metadata";
    asker.check("GET", path, "", 200, &metadata("mood", 1, batch));
    asker.check("GET", "/v1/models/topic/metadata", "", 200, &metadata("topic", 1, &classes));
}

#[test]
fn health_readiness_and_index() {
    let stage = Stage::new();
    let mut asker = Asker { client: stage.client() };
    asker.check("GET", "/healthz", "", 200, r#"{"status": "ok"}"#);
    let model = |name: &str, version: &str| {
        format!("{{\"name\":\"{name}\",\"version\":\"{version}\",\"state\":\"AVAILABLE\"}}")
    };
    let models = [model("mood", "3"), model("mood", "1"), model("topic", "1")].join(",");
    let ready = format!("{{\"ready\":true,\"models\":[{models}]}}");
    asker.check("GET", "/readyz", "", 200, &ready);
    let index = stage.client().ask("GET", "/", "").body;
    for route in ["POST /sentiment", "GET /metrics", "POST /v1/models/mood/versions/3:predict"] {
        assert!(index.contains(&format!("\"{route}\"")), "{route} in {index}");
    }
    let mut client = stage.client();
    client.send(b"HEAD /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    let everything = client.receive_all();
    assert!(everything.starts_with("HTTP/1.1 200 OK\r\n"), "{everything}");
    assert!(everything.contains("content-length: 16\r\n") && everything.ends_with("\r\n\r\n"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let stage = Stage::new();
    let positive = |text: &str| stage.expected("mood", &[text])[1];
    let texts = ["warm", "cold", "lovely", "dull"];
    let mut all = String::new();
    for text in texts {
        all += &request("POST", "/sentiment", &format!("{{\"text\": \"{text}\"}}"));
    }
    let mut client = stage.client();
    assert!(client.send(all.as_bytes()));
    for text in texts {
        let response = client.receive().unwrap();
        let expected = format!("{{\"score\": {:?}}}", positive(text));
        assert_eq!((response.status, response.body), (200, expected), "{text}");
    }
}

#[test]
fn bodies_may_come_in_chunks_and_pieces() {
    let stage = Stage::new();
    let expected = format!("{{\"score\": {:?}}}", stage.expected("mood", &["warm"])[1]);
    let mut client = stage.client();
    assert!(client.send(
        b"POST /sentiment HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
          5\r\n{\"tex\r\n"
    ));
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(client.send(b"b\r\nt\": \"warm\"}\r\n0\r\n\r\n"));
    let response = client.receive().unwrap();
    assert_eq!((response.status, response.body.as_str()), (200, expected.as_str()));
    for byte in request("POST", "/sentiment", r#"{"text": "warm"}"#).as_bytes() {
        assert!(client.send(&[*byte]));
    }
    assert_eq!(client.receive().unwrap().body, expected);
}

#[test]
fn curl_is_answered() {
    let stage = Stage::new();
    let url = format!("http://{}/sentiment", stage.addr);
    let expected = format!("{{\"score\": {:?}}}", stage.expected("mood", &["warm"])[1]);
    let plain = ["-sS", &url, "-d", r#"{"text": "warm"}"#];
    let chunked = [&plain[..], &["-H", "Transfer-Encoding: chunked"]].concat();
    let expecting = [&plain[..], &["-H", "Expect: 100-continue"]].concat();
    for arguments in [plain.to_vec(), chunked, expecting] {
        let Ok(output) = Command::new("curl").args(&arguments).output() else { return };
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{arguments:?}");
    }
}
