//! What is refused: too much, too slow, too many, and nonsense.

use std::time::{Duration, Instant};

use crate::client::request;
use crate::stage::{STARTED, Stage, heavy_body};

const PREDICT: &str = "/v1/models/mood:predict";
const SMALL: &str = r#"{"instances": ["warm"]}"#;

#[test]
fn bodies_over_the_limit_are_refused_however_they_come() {
    let stage = Stage::with(|config| config.max_body_bytes = 1000);
    let check = |bytes: &[u8]| {
        let mut client = stage.client();
        client.send(bytes);
        let response = client.receive().unwrap();
        let error = "{\"error\": \"Request body is larger than 1000 bytes\"}";
        assert_eq!((response.status, response.body.as_str()), (413, error));
        assert_eq!(response.header("connection"), "close");
        assert!(client.is_closed());
    };
    let text = "x".repeat(1500);
    check(request("POST", PREDICT, &format!("{{\"instances\": [\"{text}\"]}}")).as_bytes());
    let head = format!("POST {PREDICT} HTTP/1.1\r\nHost: t\r\n");
    let chunk = format!("258\r\n{}\r\n", "x".repeat(600));
    check(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n").as_bytes());
    check(format!("{head}Content-Length: 9000000\r\nExpect: 100-continue\r\n\r\n").as_bytes());
    let fits = format!("{{\"instances\": [\"{}\"]}}", "x".repeat(1000 - 19));
    assert_eq!(fits.len(), 1000);
    assert_eq!(stage.client().ask("POST", PREDICT, &fits).status, 200);
    assert_eq!(stage.metric("luthier_rejected_requests_total{reason=\"body_too_large\"}"), 3.0);
}

#[test]
fn rows_are_limited() {
    let stage = Stage::new();
    let rows = |count: usize| format!("{{\"instances\": [{}]}}", vec!["\"\""; count].join(","));
    let response = stage.client().ask("POST", PREDICT, &rows(65_537));
    let error = "{\"error\": \"65537 rows in one request, the limit is 65536\"}";
    assert_eq!((response.status, response.body.as_str()), (400, error));
    assert_eq!(stage.client().ask("POST", PREDICT, &rows(65_536)).status, 200);
}

#[test]
fn a_context_cannot_be_repeated_beyond_the_limit() {
    let stage = Stage::with(|config| config.max_body_bytes = 2000);
    let body = |examples: usize| {
        let text = "x".repeat(400);
        let examples = vec!["{}"; examples].join(",");
        format!("{{\"context\": {{\"text\": \"{text}\"}}, \"examples\": [{examples}]}}")
    };
    let classify = "/v1/models/mood:classify";
    assert_eq!(stage.client().ask("POST", classify, &body(5)).status, 200);
    let response = stage.client().ask("POST", classify, &body(6));
    let problem = "the texts of all examples, with those of the context, take more than 2000 bytes";
    let error = format!("{{\"error\": \"{problem}\"}}");
    assert_eq!((response.status, response.body), (400, error));
}

#[test]
fn encoded_bodies_are_refused() {
    let stage = Stage::new();
    let mut client = stage.client();
    let head = format!("POST {PREDICT} HTTP/1.1\r\nHost: t\r\nContent-Encoding: gzip\r\n");
    assert!(client.send(format!("{head}Content-Length: 2\r\n\r\n{{}}").as_bytes()));
    assert_eq!(client.receive().unwrap().status, 415);
}

#[test]
fn a_full_queue_refuses_at_once_and_clients_that_left_are_skipped() {
    let stage = Stage::with(|config| {
        config.queue_requests = 1;
        config.max_body_bytes = 64 << 20;
    });
    let mut blocking = stage.client();
    assert!(blocking.send(request("POST", PREDICT, &heavy_body()).as_bytes()));
    stage.wait_for_metric(STARTED, 1.0);
    let mut waiting = stage.client();
    waiting.send(request("POST", PREDICT, SMALL).as_bytes());
    stage.wait_for_metric("luthier_queue_length", 1.0);
    let start = Instant::now();
    let refused = stage.client().ask("POST", PREDICT, SMALL);
    let took = start.elapsed();
    let error = "{\"error\": \"1 requests are waiting already\"}";
    assert_eq!((refused.status, refused.body.as_str()), (429, error));
    assert_eq!(refused.header("retry-after"), "1");
    assert!(took < Duration::from_millis(500), "refused after {took:?}");
    drop(blocking);
    assert_eq!(waiting.receive().unwrap().status, 200, "what waited is answered");
    assert_eq!(stage.metric("luthier_rejected_requests_total{reason=\"expired\"}"), 1.0);
    assert!(stage.metric("luthier_rejected_requests_total{reason=\"queue_full\"}") >= 1.0);
    let gone = r#"model="mood",version="3",protocol="rest",api="predict",status="499""#;
    assert_eq!(stage.metric(&format!("luthier_requests_total{{{gone}}}")), 1.0);
}

#[test]
fn answers_that_take_too_long_are_given_up() {
    let stage = Stage::with(|config| {
        config.request_timeout = Duration::from_millis(400);
        config.max_body_bytes = 64 << 20;
    });
    let response = stage.client().ask("POST", PREDICT, &heavy_body());
    assert_eq!(
        (response.status, response.body.as_str()),
        (504, "{\"error\": \"Deadline exceeded\"}")
    );
    let answered = luthier_test::wait_for(Duration::from_secs(30), || {
        let response = stage.client().ask("POST", PREDICT, SMALL);
        (response.status == 200).then_some(())
    });
    assert!(answered.is_some(), "the worker goes on");
}

#[test]
fn slow_clients_are_let_go() {
    let stage = Stage::with(|config| {
        config.request_timeout = Duration::from_millis(300);
        config.idle_timeout = Duration::from_millis(300);
    });
    let mut slow_body = stage.client();
    slow_body.send(b"POST /sentiment HTTP/1.1\r\nHost: t\r\nContent-Length: 16\r\n\r\n{\"te");
    let response = slow_body.receive().unwrap();
    let error = "{\"error\": \"Request body did not arrive in time\"}";
    assert_eq!((response.status, response.body.as_str()), (408, error));
    assert!(slow_body.is_closed());
    let start = Instant::now();
    let mut slow_head = stage.client();
    slow_head.send(b"POST /sentiment HTTP/1.1\r\nHo");
    assert!(slow_head.is_closed());
    let mut idle = stage.client();
    assert_eq!(idle.ask("GET", "/healthz", "").status, 200);
    assert!(idle.is_closed());
    let took = start.elapsed();
    assert!((Duration::from_millis(550)..Duration::from_secs(10)).contains(&took), "{took:?}");
}

#[test]
fn connections_are_limited_and_the_next_waits() {
    let stage = Stage::with(|config| config.max_connections = 2);
    let mut first = stage.client();
    let mut second = stage.client();
    assert_eq!(first.ask("GET", "/healthz", "").status, 200);
    assert_eq!(second.ask("GET", "/healthz", "").status, 200);
    let mut third = stage.client();
    third.send(request("GET", "/healthz", "").as_bytes());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(first.ask("GET", "/healthz", "").status, 200);
    drop(second);
    assert_eq!(third.receive().unwrap().status, 200);
}

#[test]
fn mutated_bodies_never_hurt() {
    let stage = Stage::new();
    let seeds = [
        r#"{"signature_name": "serving_default", "instances": ["a \u00e9 warm", {"text": "b"}]}"#,
        r#"{"inputs": {"text": ["a", {"b64": "YWI="}]}, "other": [1.5e3, true, null, {}]}"#,
        r#"{"context": {"text": "c"}, "examples": [{"text": ["x"]}, {}]}"#,
        r#"{"text": ["warm", "cold"]}"#,
    ];
    let paths = [PREDICT, PREDICT, "/v1/models/topic:classify", "/sentiment"];
    let mut random = Random(0x9e37_79b9);
    let mut client = stage.client();
    let mut answered = [0; 2];
    for round in 0..4000 {
        let mut bytes = seeds[round % 4].as_bytes().to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, &mut random);
        }
        let mut whole = request("POST", paths[round % 4], "").into_bytes();
        let length = format!("Content-Length: {}\r\n\r\n", bytes.len());
        whole.truncate(whole.len() - "Content-Length: 0\r\n\r\n".len());
        whole.extend_from_slice(length.as_bytes());
        whole.extend_from_slice(&bytes);
        assert!(client.send(&whole));
        let response = client.receive().unwrap();
        let shown = String::from_utf8_lossy(&bytes);
        assert!([200, 400].contains(&response.status), "{} for {shown}", response.status);
        serde_json::from_str::<serde_json::Value>(&response.body).expect("answers are JSON");
        answered[usize::from(response.status == 400)] += 1;
    }
    assert!(answered.iter().all(|count| *count > 100), "both kinds of answers: {answered:?}");
}

#[test]
fn mutated_heads_never_hurt() {
    let stage = Stage::new();
    let seed = request("POST", "/v1/models/mood/versions/1:predict", SMALL);
    let mut random = Random(7);
    for _ in 0..500 {
        let mut bytes = seed.as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            let head = bytes.len() - SMALL.len().min(bytes.len());
            let at = random.below(head.max(1)).min(bytes.len() - 1);
            bytes[at] = random.below(256) as u8;
        }
        let mut client = stage.client();
        client.send(&bytes);
        client.send(b"\r\n\r\n");
        client.finish();
        while let Some(response) = client.receive() {
            assert!(response.status < 500, "{}", String::from_utf8_lossy(&bytes));
        }
    }
    assert_eq!(stage.client().ask("POST", PREDICT, SMALL).status, 200);
}

/// Marsaglia's xorshift; the same numbers on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    const TOKENS: [&str; 12] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        ":",
        "null",
        "1e999",
        "\\ud800",
        "{\"b64\":\"/w\"}",
        "\u{0}",
    ];
    let at = random.below(bytes.len());
    match random.below(4) {
        0 => bytes[at] = random.below(256) as u8,
        1 => drop(bytes.drain(at..(at + 1 + random.below(8)).min(bytes.len()))),
        2 => bytes.truncate(at.max(1)),
        _ => drop(bytes.splice(at..at, TOKENS[random.below(12)].bytes())),
    }
    if bytes.is_empty() {
        bytes.push(b'{');
    }
}
