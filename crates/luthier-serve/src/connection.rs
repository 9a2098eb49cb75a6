//! One connection, from its first bytes to its end: HTTP/1.1 or HTTP/2, as the client speaks.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::outgoing::Outgoing;

/// Largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Most requests at a time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 256;
/// Time between two questions whether the other side of a connection of HTTP/2 is still there, and
/// longest time for an answer. Without them, a request whose client lost its network would wait
/// until its time is up, and the connection for as long as the system keeps it.
const PING: Duration = Duration::from_secs(20);
/// How long an idle connection is kept at shutdown. A request that was sent before its client knew
/// arrives within this time, and is answered.
const IDLE_GRACE: Duration = Duration::from_secs(1);
/// First bytes of HTTP/2 (RFC 9113, section 3.4); no method of HTTP/1.1 begins with them.
const HTTP2: &[u8; 3] = b"PRI";
/// Pause before another look at a connection whose first bytes have come one by one.
const PEEK_PAUSE: Duration = Duration::from_millis(1);

/// What answers the requests of all connections.
pub(crate) trait Responder: Send + Sync + 'static {
    /// Answers one request, in the protocol that it is in.
    fn respond(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Outgoing>> + Send;

    /// Says that the server goes away. Connections end once they are idle.
    fn close(&self);

    /// Requests that have been answered.
    fn answered(&self) -> u64;

    /// Requests that have not been answered yet.
    fn in_flight(&self) -> usize;
}

/// How connections are served.
#[derive(Clone)]
pub(crate) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    idle_timeout: Duration,
    request_timeout: Duration,
}

impl Protocols {
    /// Connections that may be idle, and requests that may take, for so long.
    pub(crate) fn new(idle_timeout: Duration, request_timeout: Duration) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(idle_timeout)
            .max_header_size(MAX_HEAD_BYTES);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        Self { http1, http2, idle_timeout, request_timeout }
    }

    /// Answers the requests of one connection until either side ends it. After `closing` has become
    /// true, no further request is waited for.
    pub(crate) async fn serve(
        self,
        stream: TcpStream,
        responder: Arc<impl Responder>,
        mut closing: watch::Receiver<bool>,
    ) {
        let is_http2 = tokio::select! {
            is_http2 = timeout(self.idle_timeout, is_http2(&stream)) => is_http2,
            () = closed(&mut closing) => return,
        };
        let Ok(Ok(is_http2)) = is_http2 else { return };
        let begun = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&begun);
        let answer = service_fn(move |request| {
            let (responder, in_flight) = (Arc::clone(&responder), Arc::clone(&counter));
            in_flight.fetch_add(1, Ordering::Relaxed);
            async move {
                let response = responder.respond(request).await;
                drop(in_flight);
                Ok::<_, Infallible>(response)
            }
        });
        let io = TokioIo::new(stream);
        let ended = if is_http2 {
            let end = async {
                tokio::select! {
                    () = closed(&mut closing) => None,
                    () = unused(&begun, self.idle_timeout) => Some(self.request_timeout),
                }
            };
            until(self.http2.serve_connection(io, answer), end).await
        } else {
            // One that is unused ends itself.
            let end = async {
                closed(&mut closing).await;
                None
            };
            until(self.http1.serve_connection(io, answer), end).await
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Whether a connection begins as HTTP/2 does. Waits for its first bytes, and takes none.
async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; HTTP2.len()];
    loop {
        let count = stream.peek(&mut start).await?;
        if count == 0 || start[..count] != HTTP2[..count] {
            return Ok(false);
        }
        if count == start.len() {
            return Ok(true);
        }
        // Bytes that are there already are no reason to wait.
        sleep(PEEK_PAUSE).await;
    }
}

/// Drives a connection. After `end`, its requests in flight are answered, within the time that it
/// gives, and no further one.
async fn until<C: GracefulConnection>(
    connection: C,
    end: impl Future<Output = Option<Duration>>,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    let limit = tokio::select! {
        ended = connection.as_mut() => return ended,
        limit = end => limit,
    };
    connection.as_mut().graceful_shutdown();
    match limit {
        None => connection.await,
        Some(limit) => timeout(limit, connection).await.unwrap_or(Ok(())),
    }
}

/// Completes a while after `closing` has become true.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // No sender is as good as one that says so.
    let _ = closing.wait_for(|closing| *closing).await;
    sleep(IDLE_GRACE).await;
}

/// Completes once no request has begun for `time`, or up to twice that, and none is in flight. Each
/// of these holds `begun`, which counts them all.
async fn unused(begun: &Arc<AtomicU64>, time: Duration) {
    /// Who else holds it: the caller, and the one that counts.
    const HOLDERS: usize = 2;
    let mut before = begun.load(Ordering::Relaxed);
    loop {
        sleep(time).await;
        let now = begun.load(Ordering::Relaxed);
        if now == before && Arc::strong_count(begun) == HOLDERS {
            return;
        }
        before = now;
    }
}
