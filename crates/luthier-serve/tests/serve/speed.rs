//! How long one row takes over a kept-alive connection, server and client on a core each:
//! `taskset -c 1 cargo test --release -p luthier-serve -- --ignored --nocapture one_row`.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use luthier_serve::{ModelSource, Models, Route, ServeConfig, Server};
use luthier_test::{Process, Scratch, wait_for};

use crate::client::{Client, request};
use crate::stage::{draft, runtime};

/// Folder with the bundle; the server writes its port beside it.
const FOLDER: &str = "LUTHIER_SERVE_SPEED";
const REQUESTS: usize = 20_000;
const BODY: &str =
    r#"{"text": "a warm thing and a cold one, number 17, and then some words about it"}"#;

#[test]
#[ignore = "a measurement"]
fn one_row_takes_a_fraction_of_a_millisecond() {
    let scratch = Scratch::new();
    draft("mood", 2).write(&scratch.path().join("bundle")).unwrap();
    let start = Instant::now();
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "speed::serve_for_a_measurement"]);
    command.env(FOLDER, scratch.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Process::start(&mut command);
    let port = || fs::read_to_string(scratch.path().join("port")).ok()?.trim().parse::<u16>().ok();
    let port = wait_for(Duration::from_secs(30), port).expect("the server says its port");
    let mut client = Client::connect(([127, 0, 0, 1], port).into());
    let request = request("POST", "/sentiment", BODY);
    let mut ask = || {
        let start = Instant::now();
        client.send(request.as_bytes());
        (client.receive().unwrap().status, start.elapsed())
    };
    wait_for(Duration::from_secs(30), || (ask().0 == 200).then_some(())).unwrap();
    let first = start.elapsed();
    let mut times: Vec<Duration> = (0..REQUESTS).map(|_| ask().1).collect();
    times.sort_unstable();
    let quantile = |q: f64| times[((REQUESTS - 1) as f64 * q) as usize];
    let (p50, p99, p999) = (quantile(0.5), quantile(0.99), quantile(0.999));
    let line = format!("first answer {first:?}, p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}\n");
    io::stdout().write_all(line.as_bytes()).unwrap();
    assert!(p50 < Duration::from_micros(300) && p99 < Duration::from_millis(1));
}

/// The server of the measurement, in a process of its own.
#[test]
#[ignore = "runs until it is killed"]
fn serve_for_a_measurement() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let models = Models::load(&ModelSource::discover(&folder.join("bundle")).unwrap()).unwrap();
    let config = ServeConfig {
        rest_port: 0,
        routes: vec![Route::new("/sentiment", "mood")],
        workers: 1,
        ..ServeConfig::default()
    };
    let server = Server::bind(config, models).unwrap();
    let port = server.local_addr().port();
    fs::write(folder.join("part"), port.to_string()).unwrap();
    fs::rename(folder.join("part"), folder.join("port")).unwrap();
    runtime().block_on(server.run(std::future::pending())).unwrap();
}
