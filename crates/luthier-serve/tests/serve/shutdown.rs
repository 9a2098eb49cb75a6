//! The end of a server loses nothing that it could have answered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use luthier_serve::Drained;
use luthier_test::wait_for;

use crate::client::request;
use crate::stage::{STARTED, Stage, heavy_body};

const PREDICT: &str = "/v1/models/mood:predict";

#[test]
fn no_request_is_lost_under_load() {
    let mut stage = Stage::with(|config| config.workers = 2);
    let expected = format!("{{\"score\": {:?}}}", stage.expected("mood", &["warm"])[1]);
    let (sent, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    let addr = stage.addr;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = crate::client::Client::connect(addr);
                loop {
                    sent.fetch_add(1, Ordering::Relaxed);
                    let response = client.ask("POST", "/sentiment", r#"{"text": "warm"}"#);
                    assert_eq!((response.status, response.body.as_str()), (200, &*expected));
                    answered.fetch_add(1, Ordering::Relaxed);
                    if response.header("connection") == "close" {
                        return assert!(client.is_closed());
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(300));
        stage.stop();
    });
    let drained = stage.drained();
    assert_eq!(sent.load(Ordering::Relaxed), answered.load(Ordering::Relaxed));
    assert_eq!(drained.aborted, 0);
    assert!(drained.finished >= 8, "each connection got a last answer: {drained:?}");
}

#[test]
fn requests_in_flight_are_finished_and_new_ones_told_no() {
    let mut stage = Stage::with(|config| config.max_body_bytes = 64 << 20);
    let mut busy = stage.client();
    let mut idle = stage.client();
    assert_eq!(idle.ask("GET", "/readyz", "").status, 200);
    assert!(busy.send(request("POST", PREDICT, &heavy_body()).as_bytes()));
    stage.wait_for_metric(STARTED, 1.0);
    stage.stop();
    let refused = || std::net::TcpStream::connect(stage.addr).is_err().then_some(());
    wait_for(Duration::from_secs(10), refused).expect("it listens no more");
    let ready = idle.ask("GET", "/readyz", "");
    assert_eq!(ready.status, 503);
    assert!(ready.body.starts_with("{\"ready\":false,"), "{}", ready.body);
    assert_eq!(ready.header("connection"), "close");
    let response = busy.receive().unwrap();
    assert_eq!((response.status, response.header("connection")), (200, "close"));
    assert_eq!(stage.drained(), Drained { finished: 2, aborted: 0 });
}

#[test]
fn draining_ends_in_time() {
    let mut stage = Stage::with(|config| {
        config.max_body_bytes = 64 << 20;
        config.drain_timeout = Duration::from_millis(100);
    });
    let mut busy = stage.client();
    assert!(busy.send(request("POST", PREDICT, &heavy_body()).as_bytes()));
    stage.wait_for_metric(STARTED, 1.0);
    let start = Instant::now();
    stage.stop();
    assert_eq!(stage.drained(), Drained { finished: 0, aborted: 1 });
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(busy.is_closed());
}

#[test]
fn idle_connections_are_closed() {
    let mut stage = Stage::new();
    let mut idle = stage.client();
    let closed = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| closed.store(idle.is_closed(), Ordering::Relaxed));
        stage.stop();
    });
    assert!(closed.into_inner());
    assert_eq!(stage.drained(), Drained { finished: 0, aborted: 0 });
}
