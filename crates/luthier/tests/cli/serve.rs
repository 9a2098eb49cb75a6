//! `luthier serve` as a process: its address, its answers, its end. What the protocol says in
//! every corner is tested where it is written, in `luthier-serve`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{ChildStderr, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use luthier_test::{Process, wait_for};
use serde_json::{Value, json};

use crate::{Desk, TOPICS, csv, rows};

/// A running server.
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) address: String,
    log: BufReader<ChildStderr>,
}

impl Served {
    /// Starts the command, whose arguments choose port 0, and waits until its models answer.
    pub(crate) fn start(desk: &Desk, args: &[&str]) -> Self {
        let mut served = Self::listening(desk, &[&["serve"], args].concat());
        served.event("every model answers");
        served
    }

    /// Starts a command, which chooses port 0, and waits until it listens.
    pub(crate) fn listening(desk: &Desk, args: &[&str]) -> Self {
        let mut command = desk.command(args);
        let mut process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
        let log = BufReader::new(process.child().stderr.take().unwrap());
        let mut served = Self { process, address: String::new(), log };
        served.address = served.event("listening")["luthier.address"].as_str().unwrap().to_owned();
        served
    }

    /// Reads the log to the event of that name.
    fn event(&mut self, message: &str) -> Value {
        loop {
            let mut line = String::new();
            self.log.read_line(&mut line).unwrap();
            let event: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
            if event["message"] == message {
                return event;
            }
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).expect("the server accepts")
    }

    /// Status and body of an answer.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = self.connect();
        write!(stream, "{}{body}", head(method, path, body.len())).unwrap();
        answer(&mut stream)
    }

    #[track_caller]
    fn check(&self, method: &str, path: &str, body: &str, status: u16, answer: &str) {
        assert_eq!(self.ask(method, path, body), (status, answer.to_owned()), "{method} {path}");
    }

    /// The answer to a question that has one, as JSON.
    #[track_caller]
    pub(crate) fn json(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, answer) = self.ask(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// Waits for the end, which is a success, and gives its last event.
    pub(crate) fn end(mut self) -> Value {
        let stopped = self.event("stopped");
        let status = wait_for(Duration::from_secs(20), || self.process.child().try_wait().unwrap());
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
        stopped
    }
}

fn head(method: &str, path: &str, length: usize) -> String {
    let close = "Connection: close\r\n";
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{close}Content-Length: {length}\r\n\r\n")
}

pub(crate) fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A finished job with a short route.
fn desk() -> Desk {
    let desk = Desk::with_job();
    desk.edit("[tune]", "[serve]\nroute = { path = \"/mood\", output = \"joy\" }\n\n[tune]");
    desk.luthier(&["run", "job"]).ok();
    desk
}

const BUNDLE: &[&str] = &["job/run/bundle", "--rest-port", "0", "--grpc-port", "0"];
const PREDICT: &str = "/v1/models/mood:predict";

#[test]
fn it_answers_as_the_bundle_does() {
    let desk = desk();
    let (good, bad) = ("lovely warm quick again", "dull broken rude never");
    let scores = desk.luthier(&["predict", "job/run/bundle", good, bad, "--format", "json"]).json();
    let scores = json!([scores[0]["score"], scores[1]["score"]]);
    let served = Served::start(&desk, BUNDLE);
    let asked = |body: Value| served.json("POST", PREDICT, &body.to_string());
    assert_eq!(asked(json!({ "instances": [good, bad] })), json!({ "predictions": scores }));
    let instances = json!([{ "text": good }, { "text": bad }]);
    assert_eq!(asked(json!({ "instances": instances })), json!({ "predictions": scores }));
    assert_eq!(asked(json!({ "inputs": [good, bad] })), json!({ "outputs": scores }));
    let columns = json!({ "inputs": { "text": [good, bad] } });
    assert_eq!(asked(columns), json!({ "outputs": scores }));
    let alias = served.json("POST", "/mood", &json!({ "text": good }).to_string());
    assert_eq!(alias, json!({ "joy": scores[0] }));
}

#[test]
fn it_takes_up_what_is_published() {
    const MODELS: [&str; 3] = ["models", "--rest-port=0", "--grpc-port=0"];
    let desk = desk();
    let publish = || desk.luthier(&["bundle", "publish", "job/run/bundle", "models/mood"]).ok();
    publish();
    let served = Served::start(&desk, &[&MODELS[..], &["--poll", "0.01"]].concat());
    served.json("POST", "/mood", r#"{"text": "warm"}"#);
    publish();
    let state = |version: &str| {
        let (status, answer) =
            served.ask("GET", &format!("/v1/models/mood/versions/{version}"), "");
        let found: Value = serde_json::from_str(&answer).unwrap();
        let state = &found["model_version_status"][0]["state"];
        (status == 200).then(|| state.as_str().unwrap().to_owned())
    };
    let swapped = || (state("2")? == "AVAILABLE" && state("1")? == "END").then_some(());
    wait_for(Duration::from_secs(20), swapped).expect("version 2 takes over");
    served.json("POST", "/mood", r#"{"text": "warm"}"#);
    let policies = [("latest:2", 2), ("specific:1", 1), ("all", 2)];
    for (policy, count) in policies {
        let policy = format!("--version-policy={policy}");
        let once = ["--file_system_poll_wait_seconds=0", &policy];
        let served = Served::start(&desk, &[&MODELS[..], &once].concat());
        let status = served.json("GET", "/v1/models/mood", "");
        assert_eq!(status["model_version_status"].as_array().unwrap().len(), count, "{policy}");
    }
}

#[test]
fn it_tells_of_itself() {
    let desk = desk();
    let served = Served::start(&desk, BUNDLE);
    let get = |path| served.json("GET", path, "");
    let status = &get("/v1/models/mood")["model_version_status"][0];
    assert_eq!((&status["version"], &status["state"]), (&json!("1"), &json!("AVAILABLE")));
    let metadata = get("/v1/models/mood/metadata");
    let signature = &metadata["metadata"]["signature_def"]["signature_def"]["serving_default"];
    assert_eq!(signature["inputs"]["text"]["dtype"], "DT_STRING");
    assert_eq!(get("/healthz"), json!({ "status": "ok" }));
    assert_eq!(get("/readyz")["ready"], true);
    served.json("POST", PREDICT, r#"{"instances": ["warm"]}"#);
    let (status, metrics) = served.ask("GET", "/metrics", "");
    let counted = r#"model="mood",version="1",protocol="rest",api="predict",status="200""#;
    let counted = format!("luthier_requests_total{{{counted}}} 1\n");
    assert!(status == 200 && metrics.contains(&counted), "{metrics}");
}

#[test]
fn it_says_what_is_wrong_with_a_request() {
    let desk = desk();
    let served = Served::start(&desk, &[BUNDLE, &["--max-body-bytes", "1000"]].concat());
    let check = |path, body: &str, status, error: &str| {
        served.check(
            "POST",
            path,
            body,
            status,
            &json!({ "error": error }).to_string().replace("\":\"", "\": \""),
        );
    };
    let number = "instances[1]: expected a string, found a number";
    check(PREDICT, r#"{"instances": ["a", 3]}"#, 400, number);
    let broken = "JSON Parse error: EOF while parsing a value at line 1 column 14";
    check(PREDICT, r#"{"instances": "#, 400, broken);
    check("/mood", r#"{"txt": "a"}"#, 400, "unknown field \"txt\", expected \"text\"");
    let unknown = "Servable not found for request: Latest(moods)";
    check("/v1/models/moods:predict", "{}", 404, unknown);
    let version = "Servable not found for request: Specific(mood, 7)";
    check("/v1/models/mood/versions/7:predict", "{}", 404, version);
    check("/v2", "{}", 404, "Not found: /v2");
    check(PREDICT, &" ".repeat(1001), 413, "Request body is larger than 1000 bytes");
}

#[test]
fn three_classes_are_answered_with_lists() {
    let desk = Desk::with_job();
    for (part, seed) in [("train", 1), ("valid", 2), ("test", 3)] {
        desk.write(&format!("job/{part}.csv"), csv(&rows(&TOPICS, 120, seed)));
    }
    desk.luthier(&["run", "job"]).ok();
    let served = Served::start(&desk, BUNDLE);
    let answer = served.json("POST", PREDICT, r#"{"instances": ["goal team race score", ""]}"#);
    let rows = answer["predictions"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let scores: Vec<f64> =
            row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(scores.len(), 3);
        assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{scores:?}");
    }
    assert!(rows[0][1].as_f64().unwrap() > 0.5, "{answer}: the second class is `sport`");
}

#[test]
fn it_drains_on_sigterm() {
    let desk = desk();
    let mut served = Served::start(&desk, BUNDLE);
    let body = r#"{"instances": ["warm"]}"#;
    let mut stream = served.connect();
    write!(stream, "{}{}", head("POST", PREDICT, body.len()), &body[..5]).unwrap();
    // Connections are taken in order: once the next is answered, the first one is held.
    served.check("GET", "/healthz", "", 200, "{\"status\": \"ok\"}");
    served.process.signal("TERM");
    let refused = || TcpStream::connect(&served.address).err();
    assert!(wait_for(Duration::from_secs(10), refused).is_some(), "it accepts no more");
    assert!(served.process.child().try_wait().unwrap().is_none(), "it waits for the request");
    stream.write_all(&body.as_bytes()[5..]).unwrap();
    assert_eq!(answer(&mut stream).0, 200);
    let stopped = served.end();
    assert_eq!((&stopped["luthier.finished"], &stopped["luthier.aborted"]), (&json!(1), &json!(0)));
}

#[test]
fn ctrl_c_ends_it_well() {
    let desk = desk();
    let served = Served::start(&desk, BUNDLE);
    served.process.signal("INT");
    served.end();
}

#[test]
fn flags_may_be_spelt_as_for_tensorflow_serving() {
    let desk = desk();
    desk.luthier(&["bundle", "pack", "job/run/bundle", "-o", "mood.luthier"]).ok();
    for flags in [&["--rest_api_port=0", "--port=0"][..], &["--rest_api_port", "0", "--port", "0"]]
    {
        let served = Served::start(&desk, &[&["mood.luthier"], flags].concat());
        served.json("POST", "/mood", r#"{"text": "warm"}"#);
    }
}

#[test]
fn a_path_that_is_not_there_is_a_mistake_of_the_user() {
    let outcome = Desk::empty().luthier(&["serve", "nowhere"]);
    assert!(outcome.code == Some(2) && outcome.err.starts_with("error: nowhere"), "{outcome:?}");
}

#[test]
fn settings_that_cannot_be() {
    let desk = Desk::with_bundle();
    let check = |args: &[&str], complaint: &str| {
        desk.luthier(&[&["serve"], args].concat()).fails(2, complaint);
    };
    check(&["job"], "error: job is no bundle and holds none as <model>/<version>/");
    check(
        &["job/run/bundle", "--timeout", "0"],
        "error: --timeout is 0\n hint: give seconds above 0",
    );
    check(&["job/run/bundle", "--poll=-1"], "error: --poll is -1\n hint: give seconds above 0");
    let outcome = desk.luthier(&["serve", "job/run/bundle", "--version-policy", "newest"]);
    let said = outcome.err.contains(": expected `latest`, `latest:2`, `all` or `specific:1,2`");
    assert!(outcome.code == Some(2) && said, "{outcome:?}");
    check(
        &["job/run/bundle", "--log", "=["],
        "error: --log: invalid filter directive\n hint: use a level such as `info` or `warn`",
    );
    check(&["job/run/bundle", "job/run/bundle"], "error: model mood version 1 is given twice");
}

#[test]
fn a_probe_says_what_a_server_says() {
    let desk = desk();
    let served = Served::start(&desk, BUNDLE);
    let url = |path: &str| format!("http://{}{path}", served.address);
    let probe = |args: &[&str]| desk.luthier(&[&["probe"], args].concat());
    let ready = probe(&[&url("/readyz")]).ok();
    assert!(ready.starts_with("{\"ready\":true"), "{ready}");
    let data = r#"{"instances": ["warm"]}"#;
    let answer = probe(&[&url(PREDICT), "--data", data]).json();
    assert_eq!(answer["predictions"].as_array().map(Vec::len), Some(1));
    let missing = url("/missing");
    let said = format!("{missing}: 404 {{\"error\": \"Not found: /missing\"}}");
    probe(&[&missing]).fails(1, &said);
    probe(&["ftp://a"]).fails(
        2,
        "error: `ftp://a` is no address\n hint: give one such as http://127.0.0.1:8501/readyz",
    );
    let closed = url("/readyz");
    served.process.signal("KILL");
    drop(served);
    probe(&[&closed]).fails(1, &format!("{closed}: Connection refused (os error 111)"));
}

#[test]
fn a_probe_waits_until_there_is_a_success() {
    let desk = desk();
    let served = Served::start(&desk, BUNDLE);
    let url = |path: &str| format!("http://{}{path}", served.address);
    let probe = |args: &[&str]| desk.luthier(&[&["probe"], args].concat());
    assert!(probe(&[&url("/readyz"), "--retry", "30"]).ok().starts_with("{\"ready\":true"));
    // What no time helps is not asked for again; what it may help is, and then told.
    let start = Instant::now();
    let wrong = probe(&[&url(PREDICT), "--data", "{}", "--retry", "60"]);
    assert!(wrong.code == Some(1) && wrong.err.contains(": 400 "), "{wrong:?}");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let start = Instant::now();
    let absent = probe(&[&url("/v1/models/none"), "--retry", "1"]);
    assert!(absent.code == Some(1) && absent.err.contains(": 404 "), "{absent:?}");
    let took = start.elapsed();
    assert!(took > Duration::from_millis(700) && took < Duration::from_secs(10), "{took:?}");
    for retry in ["0", "-1", "nan", "1e9"] {
        let refused = probe(&[&url("/readyz"), &format!("--retry={retry}")]);
        assert!(refused.code == Some(2) && refused.err.contains("--retry is"), "{refused:?}");
    }
}

#[test]
fn a_probe_waits_for_a_server_that_is_not_there_yet() {
    let desk = desk();
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/readyz");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| desk.luthier(&["probe", &url, "--retry", "60"]));
        thread::sleep(Duration::from_millis(500));
        assert!(!waiting.is_finished(), "it waits");
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        for answer in ["HTTP/1.1 503 Busy\r\n\r\nno", "HTTP/1.1 200 OK\r\n\r\nyes"] {
            let (mut connection, _) = listener.accept().unwrap();
            // The head ends with an empty line, and nothing follows it.
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            connection.write_all(answer.as_bytes()).unwrap();
        }
        assert_eq!(waiting.join().unwrap().ok(), "yes\n");
    });
}
