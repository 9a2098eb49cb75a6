//! Predictions over gRPC on one connection, for the benches:
//!
//!     grpc_load <address> <model> <file of texts> <seconds> [requests per second]
//!
//! Each request asks for the next line of the file. Without a rate, one follows the answer of the
//! one before, and its time is that from sending to the end of the answer. With a rate, requests
//! are sent when they are due, whether or not those before have been answered, and times count from
//! then. Prints one JSON document with counts and times.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use h2::client::SendRequest;
use hyper::Request;
use hyper::body::Bytes;
use prost::Message;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

const METHOD: &str = "/tensorflow.serving.PredictionService/Predict";
/// `DataType.DT_STRING`.
const STRING: i32 = 7;
/// A request without an answer by then has failed.
const PATIENCE: Duration = Duration::from_secs(10);

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Clone, PartialEq, Message)]
struct PredictRequest {
    #[prost(message, optional, tag = "1")]
    spec: Option<ModelSpec>,
    #[prost(btree_map = "string, message", tag = "2")]
    inputs: BTreeMap<String, Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct ModelSpec {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    strings: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "2")]
    dims: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, model, texts, seconds, rate @ ..] = arguments.as_slice() else {
        return Err("usage: grpc_load <address> <model> <texts> <seconds> [rate]".into());
    };
    let texts = std::fs::read_to_string(texts)?;
    let bodies: Vec<Bytes> = texts.lines().map(|text| body(model, text)).collect();
    if bodies.is_empty() {
        return Err("the file has no texts".into());
    }
    let length = Duration::try_from_secs_f64(seconds.parse()?)?;
    let period = match rate {
        [] => None,
        [rate, ..] => Some(Duration::try_from_secs_f64(1.0 / rate.parse::<f64>()?)?),
    };
    // One thread, so that client and server take a core each.
    let times = Builder::new_current_thread().enable_all().build()?.block_on(async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        match period {
            None => in_turn(sender, &bodies, length).await,
            Some(period) => when_due(sender, &bodies, length, period).await,
        }
    })?;
    writeln!(std::io::stdout(), "{}", summary(times))?;
    Ok(())
}

/// A request for one text, with gRPC's prefix.
fn body(model: &str, text: &str) -> Bytes {
    let tensor = Tensor {
        dtype: STRING,
        shape: Some(Shape { dims: vec![Dim { size: 1 }] }),
        strings: vec![text.as_bytes().to_vec()],
    };
    let request = PredictRequest {
        spec: Some(ModelSpec { name: model.to_owned() }),
        inputs: [("text".to_owned(), tensor)].into(),
    };
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], &message].concat().into()
}

/// What became of each request: its time, where it was answered well.
type Times = Vec<Option<Duration>>;

async fn in_turn(
    mut sender: SendRequest<Bytes>,
    bodies: &[Bytes],
    length: Duration,
) -> Result<Times, Failure> {
    let end = Instant::now() + length;
    let mut times = Times::new();
    for body in bodies.iter().cycle() {
        let start = Instant::now();
        if start >= end {
            break;
        }
        sender = sender.ready().await?;
        let answered = timeout(PATIENCE, ask(&mut sender, body.clone())).await?;
        times.push(answered.is_ok().then(|| start.elapsed()));
    }
    Ok(times)
}

async fn when_due(
    sender: SendRequest<Bytes>,
    bodies: &[Bytes],
    length: Duration,
    period: Duration,
) -> Result<Times, Failure> {
    let start = Instant::now();
    let mut due = start;
    let mut running = JoinSet::new();
    for body in bodies.iter().cycle().cloned() {
        if due >= start + length {
            break;
        }
        sleep_until(due.into()).await;
        let sender = sender.clone();
        running.spawn(async move {
            let answered = timeout(PATIENCE, async { ask(&mut sender.ready().await?, body).await });
            matches!(answered.await, Ok(Ok(()))).then(|| due.elapsed())
        });
        due += period;
    }
    Ok(running.join_all().await)
}

/// Sends a request and takes the whole answer in; an error unless it went well.
async fn ask(sender: &mut SendRequest<Bytes>, body: Bytes) -> Result<(), Failure> {
    let request = Request::post(format!("http://server{METHOD}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut upload) = sender.send_request(request, false)?;
    upload.send_data(body, true)?;
    let (head, mut answer) = response.await?.into_parts();
    while let Some(data) = answer.data().await {
        let length = data?.len();
        answer.flow_control().release_capacity(length)?;
    }
    let trailers = answer.trailers().await?.unwrap_or_default();
    let status = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status"));
    match status {
        Some(status) if status == "0" => Ok(()),
        status => Err(format!("gRPC says {status:?}").into()),
    }
}

fn summary(times: Times) -> serde_json::Value {
    let requests = times.len();
    let mut times: Vec<Duration> = times.into_iter().flatten().collect();
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    let quantile = |q: f64| times.get((last as f64 * q) as usize).map(|t| t.as_secs_f64() * 1e3);
    serde_json::json!({
        "requests": requests,
        "failed": requests - times.len(),
        "p50_ms": quantile(0.5),
        "p99_ms": quantile(0.99),
        "longest_ms": quantile(1.0),
    })
}
