//! Measurements, server and client on a core each. How long one row takes over a kept-alive
//! connection: `taskset -c 1 cargo test --release -p luthier-serve -- --ignored --nocapture one_row`.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use luthier_bundle::Bundle;
use luthier_serve::{Models, Route, ServeConfig, Server};
use luthier_test::{Process, Scratch, wait_for};

use crate::caller::Caller;
use crate::client::{Client, request};
use crate::proto::proto;
use crate::stage::{draft, runtime};

/// Folder with the bundle; the server writes its port beside it.
const FOLDER: &str = "LUTHIER_SERVE_SPEED";
const REQUESTS: usize = 20_000;
/// Connections that share the load of a swap.
const CONNECTIONS: u32 = 8;
/// Time between two requests of that load.
const PERIOD: Duration = Duration::from_millis(5);
const TEXT: &str = "a warm thing and a cold one, number 17, and then some words about it";

#[test]
#[ignore = "a measurement"]
fn one_row_takes_a_fraction_of_a_millisecond() {
    let scratch = Scratch::new();
    draft("mood", 2).write(&scratch.path().join("served")).unwrap();
    let start = Instant::now();
    let (_server, addr) = start_server(scratch.path());
    let mut client = Client::connect(addr);
    let request = request("POST", "/sentiment", &format!("{{\"text\": \"{TEXT}\"}}"));
    let mut ask = || {
        let start = Instant::now();
        client.send(request.as_bytes());
        (client.receive().unwrap().status, start.elapsed())
    };
    wait_for(Duration::from_secs(30), || (ask().0 == 200).then_some(())).unwrap();
    let first = start.elapsed();
    let p50 = report(&format!("first answer {first:?}"), || ask().1);
    assert!(p50 < Duration::from_micros(300));
}

/// The same over gRPC.
#[test]
#[ignore = "a measurement"]
fn one_row_over_grpc_takes_a_fraction_of_a_millisecond() {
    let scratch = Scratch::new();
    draft("mood", 2).write(&scratch.path().join("served")).unwrap();
    let (_server, addr) = start_server(scratch.path());
    let ready = || (Client::connect(addr).ask("GET", "/readyz", "").status == 200).then_some(());
    wait_for(Duration::from_secs(30), ready).unwrap();
    let caller = Caller::on(runtime(), addr);
    let shape = proto().bytes(2, proto().number(1, 1));
    let tensor = proto().number(1, 7).bytes(2, shape).bytes(8, TEXT);
    let message = proto().bytes(1, proto().bytes(1, "mood")).entry(2, "text", &tensor);
    let p50 = report("gRPC", || {
        let start = Instant::now();
        let outcome = caller.call("/tensorflow.serving.PredictionService/Predict", &message);
        let took = start.elapsed();
        assert_eq!(outcome.result(), (0, ""));
        took
    });
    assert!(p50 < Duration::from_micros(400));
}

/// Asks one request after another, says how long each took, and gives the median.
fn report(what: &str, mut ask: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..REQUESTS).map(|_| ask()).collect();
    times.sort_unstable();
    let quantile = |q: f64| times[((REQUESTS - 1) as f64 * q) as usize];
    let (p50, p99, p999) = (quantile(0.5), quantile(0.99), quantile(0.999));
    let line = format!("{what}, p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}\n");
    io::stdout().write_all(line.as_bytes()).unwrap();
    assert!(p99 < Duration::from_millis(1));
    p50
}

/// What a swap of versions costs the requests around it: `BUNDLE=<a bundle> taskset -c 1 cargo test
/// --release -p luthier-serve -- --ignored --nocapture swaps`; a small model without the variable.
#[test]
#[ignore = "a measurement"]
fn swaps_under_200_requests_per_second_fail_none() {
    const SWAPS: u32 = 10;
    const PAUSE: Duration = Duration::from_secs(2);
    let scratch = Scratch::new();
    let bundle = match env::var_os("BUNDLE") {
        Some(path) => Bundle::open(Path::new(&path)).unwrap(),
        None => draft("mood", 2).write(&scratch.path().join("bundle")).unwrap(),
    };
    let model = scratch.path().join("served").join("mood");
    bundle.publish(&model, None).unwrap();
    let (_server, addr) = start_server(scratch.path());
    let ready = || (Client::connect(addr).ask("GET", "/readyz", "").status == 200).then_some(());
    wait_for(Duration::from_secs(30), ready).unwrap();
    let load = Load { addr, start: Instant::now(), is_over: AtomicBool::new(false) };
    let times = thread::scope(|scope| {
        let run = |client| load.run(client);
        let clients: Vec<_> =
            (0..CONNECTIONS).map(|client| scope.spawn(move || run(client))).collect();
        for _ in 0..SWAPS {
            thread::sleep(PAUSE);
            bundle.publish(&model, None).unwrap();
        }
        thread::sleep(PAUSE);
        load.is_over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let metrics = Client::connect(addr).ask("GET", "/metrics", "").body;
    let answering = format!("version=\"{}\",state=\"AVAILABLE\"}} 1", SWAPS + 1);
    assert!(metrics.contains(&answering), "the last version answers");
    let failed = times.iter().filter(|(status, _)| *status != 200).count();
    let mut times: Vec<Duration> = times.into_iter().map(|(_, took)| took).collect();
    times.sort_unstable();
    let quantile = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
    let (p50, p99, most) = (quantile(0.5), quantile(0.99), quantile(1.0));
    let (count, size) = (times.len(), bundle.size_bytes());
    let line = format!(
        "{SWAPS} swaps of {size} bytes, {count} requests, {failed} failed; from the time a request \
         was due: p50 {p50:?}, p99 {p99:?}, longest {most:?}\n"
    );
    io::stdout().write_all(line.as_bytes()).unwrap();
    assert_eq!(failed, 0);
}

/// Requests at fixed times, whether or not those before have been answered.
struct Load {
    addr: SocketAddr,
    start: Instant,
    is_over: AtomicBool,
}

impl Load {
    /// The share of one connection: status of each answer, and its time since it was due.
    fn run(&self, connection: u32) -> Vec<(u16, Duration)> {
        let mut client = Client::connect(self.addr);
        let predict =
            request("POST", "/v1/models/mood:predict", r#"{"instances": ["a warm one"]}"#);
        let mut times = Vec::new();
        let mut due = self.start + PERIOD * connection;
        while !self.is_over.load(Ordering::Relaxed) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            client.send(predict.as_bytes());
            let status = client.receive().map_or(0, |response| response.status);
            times.push((status, due.elapsed()));
            due += PERIOD * CONNECTIONS;
        }
        times
    }
}

/// Starts the server of a measurement over `<folder>/served`, on core 0.
fn start_server(folder: &Path) -> (Process, SocketAddr) {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "speed::serve_for_a_measurement"]);
    command.env(FOLDER, folder).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Process::start(&mut command);
    let port = || fs::read_to_string(folder.join("port")).ok()?.trim().parse::<u16>().ok();
    let port = wait_for(Duration::from_secs(30), port).expect("the server says its port");
    (server, ([127, 0, 0, 1], port).into())
}

/// The server of a measurement, in a process of its own.
#[test]
#[ignore = "runs until it is killed"]
fn serve_for_a_measurement() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let models = Models::find(&[folder.join("served")]).unwrap();
    let config = ServeConfig {
        rest_port: 0,
        grpc_port: 0,
        routes: vec![Route::new("/sentiment", "mood")],
        workers: 1,
        ..ServeConfig::default()
    };
    let server = Server::bind(&config, models).unwrap();
    let port = server.local_addr().port();
    fs::write(folder.join("part"), port.to_string()).unwrap();
    fs::rename(folder.join("part"), folder.join("port")).unwrap();
    runtime().block_on(server.run(std::future::pending())).unwrap();
}
