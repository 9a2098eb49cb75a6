//! The API document, and the page that shows it.

use std::collections::BTreeSet;
use std::fs;

use luthier_model::Decision;
use luthier_serve::{Models, Route, ServeConfig};
use luthier_test::{Scratch, wait_for};
use serde_json::{Value, json};

use crate::client::{Client, Response};
use crate::stage::{Stage, draft, draft_of};

const DOCUMENT: &str = "/openapi.json";
/// Routes of the server itself.
const OWN: [&str; 9] = [
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/monitoring/prometheus/metrics",
    DOCUMENT,
    "/docs",
    "/docs/page.css",
    "/docs/page.js",
];

fn parsed(response: &Response) -> Value {
    serde_json::from_str(&response.body).unwrap()
}

fn document(stage: &Stage) -> Value {
    let response = stage.client().ask("GET", DOCUMENT, "");
    assert_eq!((response.status, response.header("content-type")), (200, "application/json"));
    parsed(&response)
}

/// `POST /path` and so on, of every operation.
fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap().iter();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
    };
    paths.flat_map(of_path).collect()
}

/// What a reference names, or `part` itself.
fn resolved<'d>(document: &'d Value, part: &'d Value) -> &'d Value {
    let Some(reference) = part["$ref"].as_str() else { return part };
    let found = document.pointer(reference.strip_prefix('#').unwrap());
    found.unwrap_or_else(|| panic!("{reference}"))
}

#[test]
fn every_route_is_in_the_document() {
    let folder = Scratch::new();
    let stage =
        Stage::with(|config| config.feedback_store = Some(folder.path().join("feedback.db")));
    let document = document(&stage);
    assert_eq!(document["openapi"], "3.1.0");
    let mut expected = BTreeSet::from(["POST /sentiment".to_owned(), "POST /topics".to_owned()]);
    for place in ["mood", "mood/versions/{version}", "topic", "topic/versions/{version}"] {
        for route in ["GET *", "GET */metadata"] {
            expected.insert(route.replace('*', &format!("/v1/models/{place}")));
        }
        for verb in ["predict", "classify", "regress", "feedback"] {
            expected.insert(format!("POST /v1/models/{place}:{verb}"));
        }
    }
    for path in OWN {
        expected.extend([format!("GET {path}"), format!("HEAD {path}")]);
    }
    assert_eq!(operations(&document), expected);
    let parameter = "/paths/~1v1~1models~1mood~1versions~1{version}/get/parameters/0/schema/enum";
    assert_eq!(document.pointer(parameter), Some(&json!([3, 1])));
}

#[test]
fn without_a_store_no_label_is_asked_for() {
    let stage = Stage::new();
    let found = operations(&document(&stage));
    assert!(found.iter().all(|route| !route.contains(":feedback")), "{found:?}");
}

#[test]
fn examples_are_answered_as_shown() {
    let asked = check_examples(&Stage::new());
    assert_eq!(asked, 2 * 2 + 4 * (4 + 1 + 1), "two aliases, and two models at two places");
}

/// Sends every example as it stands, which gets the answer that stands beside it, or is refused where
/// none does; gives how many there are.
pub(crate) fn check_examples(stage: &Stage) -> usize {
    let document = document(stage);
    let mut client = stage.client();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let examples = &item["post"]["requestBody"]["content"]["application/json"]["examples"];
        for (name, example) in examples.as_object().into_iter().flatten() {
            let response = client.ask("POST", &at(path, item), &example["value"].to_string());
            let responses = &item["post"]["responses"];
            let shown = &responses["200"]["content"]["application/json"]["examples"][name]["value"];
            match responses["200"].is_null() {
                true => assert_eq!(response.status, 400, "{path} {name}"),
                false => assert!(is_close(&parsed(&response), shown), "{path} {name}"),
            }
            let status = &responses[response.status.to_string()];
            let headers = resolved(&document, status)["headers"].as_object().unwrap();
            for header in headers.keys() {
                assert!(!response.header(header).is_empty(), "{path} {header}");
            }
            asked += 1;
        }
    }
    asked
}

/// Whether two answers are equal, scores up to what a sum in another order changes.
pub(crate) fn is_close(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() < 1e-6 * one.abs().max(1.0)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_close(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_in_other =
                |(k, v): (&String, &Value)| other.get(k).is_some_and(|o| is_close(v, o));
            one.len() == other.len() && one.iter().all(is_in_other)
        }
        _ => one == other,
    }
}

/// The path with its parameters filled in.
fn at(path: &str, item: &Value) -> String {
    let parameters = item["post"]["parameters"].as_array().unwrap().iter();
    parameters.fold(path.to_owned(), |path, parameter| {
        let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
        path.replace(&name, &parameter["example"].to_string())
    })
}

/// The errors that clients meet are those that the document shows.
#[test]
fn errors_are_shown_as_they_come() {
    let stage = Stage::with(|config| config.max_body_bytes = 1000);
    let document = document(&stage);
    let mut client = stage.client();
    let mut check = |path: &str, body: &str, status: u16| {
        let response = client.ask("POST", path, body);
        assert_eq!(response.status, status, "{body}");
        let pointer = format!("/paths/{}/post/responses/{status}", path.replace('/', "~1"));
        let shown = resolved(&document, document.pointer(&pointer).expect(&pointer));
        let examples = &shown["content"]["application/json"]["examples"];
        let examples: Vec<_> = examples.as_object().unwrap().values().collect();
        let example = json!({ "value": parsed(&response) });
        assert!(examples.contains(&&example), "{example} is not in {examples:?}");
    };
    let predict = "/v1/models/mood:predict";
    check(predict, "", 400);
    check(predict, "{}", 400);
    check(predict, r#"{"instances": [1]}"#, 400);
    check(predict, r#"{"instances": ["a"], "signature_name": "other"}"#, 400);
    check("/v1/models/mood:classify", "{}", 400);
    check("/v1/models/mood:regress", r#"{"examples": [{"text": "a"}]}"#, 400);
    check("/sentiment", "{}", 400);
    let large = format!(r#"{{"instances": ["{}"]}}"#, "a".repeat(1000));
    check(predict, &large, 413);
}

#[test]
fn schemas_fit_the_model() {
    let stage = Stage::new();
    let document = document(&stage);
    let schema = |name: &str| &document["components"]["schemas"][name];
    let score = json!({ "type": "number", "minimum": 0, "maximum": 1 });
    let scores = |name: &str| &schema(name)["oneOf"][0]["properties"]["predictions"]["items"];
    assert_eq!(*scores("mood.Scores"), score);
    let three = json!({ "type": "array", "items": score, "minItems": 3, "maxItems": 3 });
    assert_eq!(*scores("topic.Scores"), three);
    let row = &schema("topic.Classes")["properties"]["results"]["items"];
    let labels = &row["items"]["items"]["anyOf"][0]["enum"];
    assert_eq!(*labels, json!(["bad", "good", "colour \"c\""]));
    let alias = document.pointer("/paths/~1topics/post/responses/200/content").unwrap();
    let properties = &alias["application/json"]["schema"]["properties"];
    assert!(properties["to\"pics"].is_object(), "{properties}");
}

/// Asks for a path with a header more.
fn ask_with(client: &mut Client, method: &str, path: &str, header: &str) -> String {
    let close = "Connection: close\r\n";
    let request = format!("{method} {path} HTTP/1.1\r\nHost: t\r\n{header}\r\n{close}\r\n");
    assert!(client.send(request.as_bytes()));
    client.receive_all()
}

#[test]
fn what_a_client_has_is_not_sent_again() {
    let stage = Stage::new();
    for path in [DOCUMENT, "/docs", "/docs/page.css", "/docs/page.js"] {
        let whole = stage.client().ask("GET", path, "");
        let tag = whole.header("etag");
        assert!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "{path} {tag}");
        assert_eq!(whole.header("cache-control"), "no-cache");
        assert_eq!(whole.header("x-content-type-options"), "nosniff");
        let ask = |method: &str, tags: &str| {
            ask_with(&mut stage.client(), method, path, &format!("If-None-Match: {tags}"))
        };
        for tags in [tag, &format!("\"other\", W/{tag}"), "*"] {
            for method in ["GET", "HEAD"] {
                let kept = ask(method, tags);
                assert!(kept.starts_with("HTTP/1.1 304 "), "{path} {tags} {kept}");
                assert!(kept.contains(&format!("etag: {tag}\r\n")), "{kept}");
                assert!(kept.ends_with("\r\n\r\n") && !kept.contains("\ncontent-type"), "{kept}");
            }
        }
        assert!(ask("GET", "\"other\"").ends_with(&whole.body));
        let head = ask("HEAD", "\"other\"");
        assert!(head.contains(&format!("content-length: {}\r\n", whole.body.len())), "{head}");
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        let refused = stage.client().ask("POST", path, "");
        assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD"));
    }
    stage.wait_for_metric(
        "luthier_requests_total{model=\"\",version=\"\",protocol=\"rest\",api=\"openapi\",status=\"304\"}",
        6.0,
    );
}

#[test]
fn the_document_follows_the_versions() {
    let scratch = Scratch::new();
    let base = scratch.path().join("base");
    let write = |rows| {
        let folder = scratch.path().join(format!("bundle-{rows}"));
        draft_of("mood", 2, rows).write(&folder).unwrap()
    };
    let (first, second) = (write(30), write(42));
    fs::create_dir(&base).unwrap();
    first.publish(&base.join("mood"), None).unwrap();
    let models = Models::find(std::slice::from_ref(&base)).unwrap();
    let stage = Stage::start(Scratch::new(), models, |config: &mut ServeConfig| {
        config.routes = vec![Route::new("/sentiment", "mood")];
        config.version_policy = "all".parse().unwrap();
        config.poll = Some(std::time::Duration::from_millis(10));
    });
    stage.wait_until_ready();
    let tag = || stage.client().ask("GET", DOCUMENT, "").header("etag").to_owned();
    let before = tag();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(tag(), before, "looking at the base path changes nothing");
    fs::write(base.join("mood/labels.json"), r#"{"stable": 2}"#).unwrap();
    second.publish(&base.join("mood"), None).unwrap();
    let label = "/paths/~1v1~1models~1mood~1labels~1{label}:predict/post/parameters/0/schema/enum";
    let found = || document(&stage).pointer(label).cloned();
    let shown = wait_for(std::time::Duration::from_secs(20), found);
    assert_eq!(shown, Some(json!(["stable"])));
    let versions = "/paths/~1v1~1models~1mood~1versions~1{version}:predict/post/parameters/0";
    assert_eq!(document(&stage).pointer(versions).unwrap()["schema"]["enum"], json!([2, 1]));
    assert_ne!(tag(), before);
}

/// Names reach the document as texts and the page not at all, whatever they are.
#[test]
fn hostile_names_are_harmless() {
    const NAME: &str = "<img src=x onerror=alert(1)> {x} 100% 好 `a`";
    let scratch = Scratch::new();
    let folder = scratch.path().join("bundle");
    let mut draft = draft(NAME, 3);
    let Decision::Class(decision) = &mut draft.model.decision else { panic!("classes") };
    decision.labels[0] = "<script>alert(1)</script> ``".to_owned();
    draft.write(&folder).unwrap();
    let models = Models::find(&[folder]).unwrap();
    let stage = Stage::start(scratch, models, |_| {});
    stage.wait_until_ready();
    let document = document(&stage);
    let tag = &document["tags"][0];
    assert_eq!(tag["name"], format!("Model {NAME}"));
    let description = tag["description"].as_str().unwrap();
    assert!(description.contains("``` <script>alert(1)</script> `` ```"), "{description}");
    let (path, item) = document["paths"].as_object().unwrap().iter().next().unwrap();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/:%-._~".contains(&b);
    assert!(path.ends_with(":predict") && path.bytes().all(plain), "{path}");
    let examples = &item["post"]["requestBody"]["content"]["application/json"]["examples"];
    let response = stage.client().ask("POST", path, &examples["rows"]["value"].to_string());
    assert_eq!(response.status, 200, "{}", response.body);
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)), "{name}");
    }
    let page = stage.client().ask("GET", "/docs", "");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    let script = stage.client().ask("GET", "/docs/page.js", "").body;
    for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!page.body.contains(markup) && !script.contains(markup), "{markup}");
    }
    let style = stage.client().ask("GET", "/docs/page.css", "").body;
    let all = [page.body, script, style].concat();
    assert!(!all.contains("http:") && !all.contains("https:"), "no other host is asked");
    assert!(all.len() < 40_000, "{}", all.len());
}
