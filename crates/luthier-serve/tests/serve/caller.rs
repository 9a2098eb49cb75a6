//! A client of HTTP/2 and gRPC that shows exactly what came over the wire.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use h2::client::{ResponseFuture, SendRequest};
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub(crate) struct Caller {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

/// A request, ready to be sent.
pub(crate) struct Asked<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Vec<u8>,
}

impl Caller {
    /// A connection that lives on a thread of its own.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let mut builder = Builder::new_multi_thread();
        Self::on(builder.worker_threads(1).enable_all().build().unwrap(), addr)
    }

    /// A connection that lives where `runtime` does.
    pub(crate) fn on(runtime: Runtime, addr: SocketAddr) -> Self {
        let (sender, connection) = runtime.block_on(async {
            let stream = TcpStream::connect(addr).await.expect("the server accepts");
            stream.set_nodelay(true).unwrap();
            let (sender, connection) = h2::client::handshake(stream).await.unwrap();
            (sender, tokio::spawn(connection))
        });
        Self { runtime, sender, connection }
    }

    /// Calls a method with one message.
    pub(crate) fn call(&self, path: &str, message: impl AsRef<[u8]>) -> Outcome {
        self.call_with(path, &[], frame(0, message.as_ref()))
    }

    /// Calls a method with headers and a body of the caller's own.
    pub(crate) fn call_with(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Outcome {
        let headers = [GRPC_HEADERS, headers].concat();
        let asked = Asked { method: Method::POST, path, headers: &headers, body };
        self.ask(asked).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Sends a request and waits for the answer.
    pub(crate) fn ask(&self, asked: Asked<'_>) -> Result<Outcome, h2::Error> {
        let response = self.send(asked)?;
        self.receive(response)
    }

    /// Sends a request. Dropping what this gives cancels it.
    pub(crate) fn send(&self, asked: Asked<'_>) -> Result<ResponseFuture, h2::Error> {
        let mut request =
            Request::builder().method(asked.method).uri(format!("http://test{}", asked.path));
        for (name, value) in asked.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        self.runtime.block_on(async {
            let mut sender = self.sender.clone().ready().await?;
            let is_empty = asked.body.is_empty();
            let (response, mut body) = sender.send_request(request, is_empty)?;
            if !is_empty {
                // The server may have had enough before the end.
                let _ = body.send_data(asked.body.into(), true);
            }
            Ok(response)
        })
    }

    /// Waits for an answer.
    pub(crate) fn receive(&self, response: ResponseFuture) -> Result<Outcome, h2::Error> {
        let read = async {
            let (head, mut stream) = response.await?.into_parts();
            let mut body = Vec::new();
            while let Some(data) = stream.data().await {
                let data = data?;
                stream.flow_control().release_capacity(data.len())?;
                body.extend_from_slice(&data);
            }
            let trailers = stream.trailers().await?.unwrap_or_default();
            Ok(Outcome { status: head.status.as_u16(), headers: head.headers, body, trailers })
        };
        self.runtime.block_on(async { timeout(PATIENCE, read).await.expect("an answer in time") })
    }

    /// Most requests at a time that the server allows.
    pub(crate) fn max_streams(&self) -> usize {
        self.sender.current_max_send_streams()
    }

    /// Waits for the end of the connection. Nothing is read between calls, so that the server may
    /// be gone by the time that what it said last is acknowledged: an end as good as any.
    pub(crate) fn ended(self) -> Result<(), h2::Error> {
        let connection = self.connection;
        let ended = self.runtime.block_on(async { timeout(PATIENCE, connection).await });
        match ended.expect("an end in time").unwrap() {
            Err(error) if error.get_io().is_some_and(|io| io.kind() == ErrorKind::BrokenPipe) => {
                Ok(())
            }
            ended => ended,
        }
    }
}

const GRPC_HEADERS: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

/// A message with its prefix.
pub(crate) fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag], &(message.len() as u32).to_be_bytes()[..], message].concat()
}

impl Outcome {
    /// A header of the answer or of what follows it, empty where absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.trailers.get(name).or_else(|| self.headers.get(name));
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// Status and message of gRPC.
    pub(crate) fn result(&self) -> (u16, &str) {
        (self.header("grpc-status").parse().unwrap(), self.header("grpc-message"))
    }

    /// The message of a call that went well.
    #[track_caller]
    pub(crate) fn message(&self) -> &[u8] {
        assert_eq!(self.result(), (0, ""));
        let (prefix, message) = self.body.split_at(5);
        assert_eq!(prefix, &frame(0, message)[..5]);
        message
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
