//! `luthier study serve` as a process, and a client of it.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use luthier_test::Postgres;
use serde_json::{Value, json};

use crate::Desk;
use crate::serve::{Served, answer};

fn start(desk: &Desk, args: &[&str]) -> Served {
    // Nobody reads the log of many requests.
    let rest = ["--port", "0", "--log", "info,luthier_serve=warn"];
    Served::listening(desk, &[&["study", "serve"], args, &rest].concat())
}

fn setup() -> Value {
    json!({
        "space": { "x": { "float": [0, 1] }, "kind": { "choice": ["a", "b"] } },
        "objectives": [{ "metric": "loss", "direction": "minimize" }],
        "sampler": "random",
        "pruner": { "kind": "threshold", "upper": 0.5 },
    })
}

/// The status, and the document.
fn send(served: &Served, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let (status, text) = served.ask(method, path, &body.to_string());
    let document = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (status, document)
}

#[track_caller]
fn check_refused(served: &Served, at: (&str, &str), body: &str, status: u16, expected: &Value) {
    let (found, text) = served.ask(at.0, at.1, body);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((found, &document), (status, expected), "{at:?} {body}");
}

#[test]
fn trials_are_asked_and_told() {
    let desk = Desk::empty();
    std::fs::create_dir(desk.path("studies")).unwrap();
    let served = start(&desk, &["studies"]);
    let (status, made) = send(&served, "PUT", "/v1/studies/tiny", &setup());
    assert_eq!((status, &made["name"], &made["trials"]), (200, &json!("tiny"), &json!(0)));
    assert_eq!(send(&served, "PUT", "/v1/studies/tiny", &setup()).0, 200, "it is set up so");

    let post =
        |path: &str, body: Value| send(&served, "POST", &format!("/v1/studies/tiny{path}"), &body);
    let (_, asked) = post("/ask", json!({}));
    assert_eq!((&asked["status"], &asked["attempt"]), (&json!("trial"), &json!(1)));
    assert!(asked["values"]["x"].is_number() && asked["seed"].is_u64(), "{asked}");
    let report = |step: u64, loss: f64| {
        post("/trials/0/report", json!({ "attempt": 1, "step": step, "scores": [loss] }))
    };
    assert_eq!(report(1, 0.25), (200, json!({ "stop": false })));
    assert_eq!(post("/trials/0/heartbeat", json!({ "attempt": 1 })), (200, json!({})));
    let told = json!({ "attempt": 1, "state": "complete", "scores": [0.125] });
    let complete = (200, json!({ "number": 0, "state": "complete" }));
    assert_eq!(post("/trials/0/tell", told.clone()), complete);
    assert_eq!(post("/trials/0/tell", told), complete, "an answer may get lost");
    let other = json!({ "attempt": 1, "state": "failed", "reason": "none" });
    let over = (409, json!({ "error": "trial 0 is over" }));
    assert_eq!(post("/trials/0/tell", other), over);

    post("/ask", json!({}));
    let stop = post("/trials/1/report", json!({ "attempt": 1, "step": 1, "scores": [0.75] }));
    assert_eq!(stop, (200, json!({ "stop": true })));
    let pruned = post("/trials/1/tell", json!({ "attempt": 1, "state": "pruned" }));
    assert_eq!(pruned, (200, json!({ "number": 1, "state": "pruned" })));

    let best = served.json("GET", "/v1/studies/tiny/best", "");
    assert_eq!((&best[0]["number"], &best[0]["scores"]["loss"]), (&json!(0), &json!(0.125)));
    let trials = served.json("GET", "/v1/studies/tiny/trials", "");
    assert_eq!(trials[0]["steps"], json!([{ "step": 1, "scores": { "loss": 0.25 } }]));
    assert_eq!(served.json("GET", "/v1/studies/tiny/trials/1", ""), trials[1]);
    assert_eq!(served.json("GET", "/v1/studies", "")[0]["trials"], 2);

    // The trial that is asked outlives the server.
    post("/ask", json!({}));
    served.process.signal("TERM");
    served.end();
    let served = start(&desk, &["studies"]);
    let late = json!({ "attempt": 1, "state": "complete", "scores": [0.0] });
    let (status, _) = send(&served, "POST", "/v1/studies/tiny/trials/2/tell", &late);
    assert_eq!(status, 200);
    served.process.signal("INT");
    served.end();
    let shown = desk.luthier(&["study", "best", "studies/tiny.db", "--format", "json"]).json();
    assert_eq!(shown[0]["number"], 2);
}

#[test]
fn notes_configurations_and_results_are_taken() {
    let desk = Desk::empty();
    let served = start(&desk, &["study.db"]);
    assert_eq!(send(&served, "PUT", "/v1/studies/tiny", &setup()).0, 200);
    let at = |path: &str| format!("/v1/studies/tiny{path}");
    let post = |path: &str, body: Value| send(&served, "POST", &at(path), &body);

    let results = json!({ "trials": [
        { "values": { "kind": "a", "x": 1 }, "scores": { "loss": 0.25 }, "attributes": { "run": 7 } },
        { "values": { "x": 0.5, "kind": "b" }, "state": "failed", "reason": "no luck" },
    ] });
    assert_eq!(post("/trials", results), (200, json!({ "first": 0, "count": 2 })));
    let next = json!({ "values": { "x": 0, "kind": "b" } });
    assert_eq!(post("/enqueue", next), (200, json!({ "number": 2 })));
    let trials = served.json("GET", &at("/trials"), "");
    assert_eq!((&trials[0]["values"]["x"], &trials[2]["state"]), (&json!(1.0), &json!("waiting")));
    let asked = served.json("POST", &at("/ask"), "");
    assert_eq!(
        (&asked["number"], &asked["values"]),
        (&json!(2), &json!({ "x": 0.0, "kind": "b" }))
    );

    let noted = json!({ "tags": ["good"], "run": null });
    let patched = send(&served, "PATCH", &at("/trials/0/attributes"), &noted);
    assert_eq!(patched, (200, json!({ "tags": ["good"] })));
    let noted = json!({ "note": "first" });
    assert_eq!(send(&served, "PATCH", &at("/attributes"), &noted), (200, noted.clone()));
    assert_eq!(served.json("GET", &at("/attributes"), ""), noted);

    let refused = |path: &str, body: Value, status: u16, expected: Value| {
        check_refused(&served, ("POST", &at(path)), &body.to_string(), status, &expected);
    };
    let values = |x: f64| json!({ "values": { "x": x, "kind": "a" } });
    let outside = "parameter `x` is 2, expected a number from 0 to 1";
    refused("/enqueue", values(2.0), 400, json!({ "error": outside, "field": "values" }));
    let unknown = json!({ "trials": [{ "values": {}, "scores": { "f1": 1 } }] });
    let fault = json!({ "error": "there is no objective `f1`", "field": "trials[0]" });
    refused("/trials", unknown, 400, fault);
    let half = json!({ "trials": [
        { "values": { "x": 1, "kind": "a" }, "scores": { "loss": 1 } },
        { "values": { "x": 1, "kind": "a" } },
    ] });
    let fault = "trial 1 of those to import: the score is NaN";
    refused("/trials", half, 400, json!({ "error": fault, "field": "trials[1]" }));
    let absent = json!({ "error": "there is no trial 9" });
    let patch = ("PATCH", &*at("/trials/9/attributes"));
    check_refused(&served, patch, &noted.to_string(), 404, &absent);
    assert_eq!(served.json("GET", &at("/trials"), "").as_array().map(Vec::len), Some(3));
}

#[test]
fn what_is_wrong_is_said_with_its_field() {
    let desk = Desk::empty();
    let served = start(&desk, &["study.db"]);
    let put = ("PUT", "/v1/studies/tiny");
    let changed = |key: &str, value: Value| {
        let mut setup = setup();
        setup[key] = value;
        setup.to_string()
    };
    let fault = |field: &str, error: &str| json!({ "error": error, "field": field });
    let x = |form: Value| changed("space", json!({ "x": form }));
    let upside = x(json!({ "float": [1, 0] }));
    let (status, document) = send(&served, put.0, put.1, &serde_json::from_str(&upside).unwrap());
    assert_eq!((status, &document["field"]), (400, &json!("space.x")));
    let way = json!([{ "metric": "loss", "direction": "up" }]);
    let (status, text) = served.ask(put.0, put.1, &changed("objectives", way));
    assert!(status == 400 && text.contains(r#""field":"objectives[0].direction""#), "{text}");
    let nothing = fault("objectives", "there is nothing to score");
    check_refused(&served, put, &changed("objectives", json!([])), 400, &nothing);
    let sampler = json!({
        "error": "there is no sampler `tpee`", "field": "sampler",
    });
    check_refused(&served, put, &changed("sampler", json!("tpee")), 400, &sampler);
    let seed = served.ask(put.0, put.1, &changed("seed", json!("x"))).1;
    assert!(seed.contains(r#""field":"seed""#), "{seed}");
    let name = ("PUT", "/v1/studies/..%2Fup");
    assert_eq!(served.ask(name.0, name.1, &setup().to_string()).0, 400);

    assert_eq!(send(&served, put.0, put.1, &setup()).0, 200);
    let other = served.ask(put.0, put.1, &changed("seed", json!(8)));
    assert!(other.0 == 409 && other.1.contains("seed was 0, is now 8"), "{other:?}");
    let absent = json!({ "error": "there is no study `none`" });
    check_refused(&served, ("POST", "/v1/studies/none/ask"), "", 404, &absent);
    let trial = json!({ "error": "there is no trial 5" });
    let tell = ("POST", "/v1/studies/tiny/trials/5/tell");
    check_refused(&served, tell, r#"{"attempt":1,"state":"pruned"}"#, 404, &trial);
    let missing = served.ask(tell.0, tell.1, r#"{"state":"pruned"}"#);
    assert!(missing.0 == 400 && missing.1.contains("missing field `attempt`"), "{missing:?}");
    let scores = fault("scores", "only a trial that is complete has scores");
    let body = r#"{"attempt":1,"state":"pruned","scores":[1]}"#;
    check_refused(&served, tell, body, 400, &scores);
    served.ask("POST", "/v1/studies/tiny/ask", "");
    let count = fault("scores", "2 scores for 1 objectives");
    let report = ("POST", "/v1/studies/tiny/trials/0/report");
    let body = r#"{"attempt":1,"step":1,"scores":[1,2]}"#;
    check_refused(&served, report, body, 400, &count);
    let nowhere = json!({ "error": "there is nothing at /v2" });
    check_refused(&served, ("GET", "/v2"), "", 404, &nowhere);
    let method = json!({ "error": "use POST" });
    check_refused(&served, ("GET", "/v1/studies/tiny/ask"), "", 405, &method);
}

#[test]
fn a_token_opens_it() {
    const TOKEN: &str = "0123456789abcdef";
    let desk = Desk::empty();
    let outcome = desk.luthier(&["study", "serve", "study.db", "--host", "0.0.0.0"]);
    assert!(outcome.code == Some(2) && outcome.err.contains("--token-file"), "{outcome:?}");
    desk.write("token", "short");
    let args = ["study.db", "--host", "0.0.0.0", "--token-file", "token"];
    let outcome = desk.luthier(&[&["study", "serve"], &args[..]].concat());
    assert!(outcome.code == Some(2) && outcome.err.contains("16"), "{outcome:?}");
    desk.write("token", format!("{TOKEN}\n"));
    let served = start(&desk, &["study.db", "--token-file", "token"]);
    assert_eq!(served.ask("GET", "/healthz", ""), (200, r#"{"status":"ok"}"#.to_owned()));
    let ask = |token: &str| {
        let mut stream = served.connect();
        let head = "GET /v1/studies HTTP/1.1\r\nHost: test\r\nConnection: close\r\n";
        write!(stream, "{head}Authorization: Bearer {token}\r\n\r\n").unwrap();
        answer(&mut stream)
    };
    assert_eq!(ask(TOKEN), (200, "[]".to_owned()));
    assert_eq!(ask(&TOKEN.to_uppercase()).0, 401);
    assert_eq!(served.ask("GET", "/v1/studies", "").0, 401);
}

#[test]
fn bodies_are_bounded() {
    let desk = Desk::empty();
    let served = start(&desk, &["study.db", "--max-body-bytes", "1000"]);
    let (status, text) = served.ask("PUT", "/v1/studies/tiny", &" ".repeat(1001));
    assert!(status == 413 && text.contains("larger than 1000 bytes"), "{text}");
}

#[test]
fn a_database_holds_many() {
    let Some(server) = Postgres::start() else { return };
    let desk = Desk::empty();
    desk.write(
        "setup.toml",
        "name = \"b\"\nobjectives = [{ metric = \"f1\", direction = \
                              \"maximize\" }]\n[space]\nx = { int = [1, 2] }\n",
    );
    let url = server.url().to_owned();
    let served = start(&desk, &[&url, "--setup", "setup.toml", "--trials", "1"]);
    assert_eq!(send(&served, "PUT", "/v1/studies/a", &setup()).0, 200);
    let names: Vec<Value> = served.json("GET", "/v1/studies", "").as_array().unwrap().to_vec();
    let names: Vec<&str> = names.iter().map(|study| study["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    let ask = || served.json("POST", "/v1/studies/b/ask", "");
    assert_eq!((&ask()["number"], &ask()["status"]), (&json!(0), &json!("later")));
    let told = json!({ "attempt": 1, "state": "complete", "scores": [1] });
    assert_eq!(send(&served, "POST", "/v1/studies/b/trials/0/tell", &told).0, 200);
    assert_eq!(ask()["status"], "enough");
    served.process.signal("TERM");
    served.end();
}

#[test]
fn a_study_without_a_space_takes_what_trials_ask_for() {
    let desk = Desk::empty();
    let served = start(&desk, &["study.db"]);
    let open = json!({
        "space": "open",
        "objectives": [{ "metric": "loss", "direction": "minimize" }],
        "sampler": "tpe",
    });
    let (status, text) = send(&served, "PUT", "/v1/studies/asks", &open);
    assert_eq!(status, 200, "{text}");
    let other = json!({ "space": "opened", "objectives": open["objectives"] });
    let (status, text) = send(&served, "PUT", "/v1/studies/asks", &other);
    assert_eq!((status, &text["field"]), (400, &json!("space")), "{text}");
    let suggest = |number: u64, form: Value| {
        let path = format!("/v1/studies/asks/trials/{number}/suggest");
        let mut body = json!({ "attempt": 1 });
        body.as_object_mut().unwrap().extend(form.as_object().unwrap().clone());
        send(&served, "POST", &path, &body)
    };
    for number in 0..12 {
        let asked = served.json("POST", "/v1/studies/asks/ask", "");
        assert_eq!((&asked["number"], &asked["values"]), (&json!(number), &json!({})));
        let rate = json!({ "name": "rate", "float": [1e-4, 1], "log": true });
        let (status, first) = suggest(number, rate.clone());
        assert_eq!((status, &suggest(number, rate).1), (200, &first));
        let features = ["age", "income", "region"];
        let (_, some) =
            suggest(number, json!({ "name": "some", "subset": features, "size": [1, 2] }));
        assert!((1..=2).contains(&some["value"].as_array().unwrap().len()));
        let told = json!({ "attempt": 1, "state": "complete", "scores": [first["value"]] });
        let path = format!("/v1/studies/asks/trials/{number}/tell");
        assert_eq!(send(&served, "POST", &path, &told).0, 200);
    }
    // Saying once more what the study is changes nothing.
    served.json("POST", "/v1/studies/asks/ask", "");
    assert_eq!(send(&served, "PUT", "/v1/studies/asks", &open).0, 200);
    let check = |form: Value, expected: u16, said: &str| {
        let (status, answer) = suggest(12, form);
        assert_eq!((status, answer["error"].as_str().unwrap()), (expected, said));
    };
    check(
        json!({ "name": "rate", "float": [1e-4, 2], "log": true }),
        409,
        "the study was started with another setup: parameter `rate` was a number from 0.0001 to 1 \
         (log), is now a number from 0.0001 to 2 (log)",
    );
    check(
        json!({ "name": "x", "float": [1, 0] }),
        400,
        "parameter `x`: the first bound is above the second",
    );
    let unknown = "parameter `x`: unknown key `flout`, known are float, int, ordinal, choice, permutation, \
                   subset, log, scale, step, size, when";
    check(json!({ "name": "x", "flout": [0, 1] }), 400, unknown);
    let nested = json!({ "name": "x", "choice": [1, 2], "when": { "1": {} } });
    check(nested, 400, "a parameter that is asked for has no `when`: ask where it is needed");
    served.process.signal("TERM");
    served.end();
    // All that looks at studies looks at this one.
    let shown = desk.luthier(&["study", "show", "study.db"]);
    assert!(shown.out.contains("2 parameters, as trials ask for them: rate, some"), "{shown:?}");
    for command in [&["best"][..], &["importance"], &["export"], &["plot", "-o", "study.html"]] {
        let outcome = desk.luthier(&[&["study", command[0], "study.db"], &command[1..]].concat());
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
    let best = desk.luthier(&["study", "best", "study.db"]);
    assert!(best.out.contains("rate") && best.out.contains("some"), "{best:?}");
}

#[test]
fn the_client_of_the_guide_finds_the_optimum() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/ask-tell.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let blocks = |language: &str| -> String {
        let begin = format!("```{language}\n");
        let blocks = guide.split(&begin).skip(1);
        blocks.map(|block| block.split_once("```").unwrap().0).collect()
    };
    let desk = Desk::empty();
    std::fs::create_dir(desk.path("studies")).unwrap();
    let served = start(&desk, &["studies"]);
    let client = blocks("python").replace("127.0.0.1:8470", &served.address);
    let output = Command::new("python3").args(["-c", &client]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let best = &served.json("GET", "/v1/studies/parabola/best", "")[0];
    assert!(best["scores"]["loss"].as_f64().unwrap() < 1.0, "{best}");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.starts_with(&best["number"].to_string()), "{printed}");
    let best = &served.json("GET", "/v1/studies/branches/best", "")[0];
    assert!(best["scores"]["loss"].as_f64().unwrap() < 0.3, "{best}");
    assert_eq!(best["values"]["optimizer"], "sgd");

    // What is known from elsewhere.
    let results = served.json("POST", "/v1/studies/parabola/trials", &blocks("json"));
    assert_eq!(results, json!({ "first": 40, "count": 2 }));
    let studies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/studies.md");
    let studies = std::fs::read_to_string(studies).unwrap();
    let enqueue = studies.lines().find_map(|line| line.strip_prefix("luthier study enqueue "));
    let words = ["study", "enqueue"].into_iter().chain(enqueue.unwrap().split(' '));
    let told = desk.luthier(&words.collect::<Vec<_>>()).ok();
    assert_eq!(told, "trial 42 of study `parabola` waits: x=2.5, y=4\n");

    // The setup in TOML, which another place takes.
    desk.write("setup.toml", blocks("toml"));
    let served = start(&desk, &["other.db", "--setup", "setup.toml"]);
    assert_eq!(served.json("GET", "/v1/studies/parabola", "")["setup"]["seed"], 7);
}
