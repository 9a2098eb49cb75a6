//! A server whose calls are answered by closures: sockets, bounds, token and end are here, and what
//! is asked is of no interest.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ctutils::CtEq;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
    WWW_AUTHENTICATE,
};
pub use hyper::{Method, StatusCode};
use hyper::{Request, Response, Version};
use tokio::time::timeout_at;

use crate::connection::{Protocols, Responder};
use crate::front::http_status;
use crate::grpc;
use crate::listening::{Drained, Listening, Socket};
use crate::outgoing::Outgoing;
use crate::service::Code;
use crate::upload::{self, UploadError};
use crate::{ServeConfig, ServeError};

/// Most requests at a time; one more is refused at once.
const MAX_IN_FLIGHT: usize = 256;

/// Settings of a [`CallServer`].
#[derive(Debug, Clone)]
pub struct CallConfig {
    /// Where to listen; with port 0 on any that is free. The port speaks HTTP/1.1, HTTP/2 and gRPC.
    pub addr: SocketAddr,
    /// What `Authorization: Bearer` must bring, if anything.
    pub token: Option<String>,
    /// Largest body of a request, over gRPC the largest message.
    pub max_body_bytes: usize,
    /// Longest time from the head of a request to its answer.
    pub request_timeout: Duration,
    /// Longest time for requests in flight at shutdown.
    pub drain_timeout: Duration,
    /// Paths that need no token, as gRPC's health check does not.
    pub open_paths: &'static [&'static str],
    /// gRPC's services, for the health check; the empty name is the server's.
    pub services: &'static [&'static str],
}

/// A request of HTTP, whole.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Its path, as it was sent.
    pub path: String,
    /// Its body.
    pub body: Bytes,
}

/// The answer to a request of HTTP, in JSON.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The document.
    pub json: Vec<u8>,
    /// The methods that the path has, where the request's is none of them.
    pub allow: Option<&'static str>,
}

/// Why a call of gRPC has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The kind of failure.
    pub code: Code,
    /// What went wrong.
    pub message: String,
}

/// Answers a request of HTTP. It is called on threads that may block.
pub type HttpHandler = Box<dyn Fn(&Call) -> Answer + Send + Sync>;

/// Answers a call of gRPC, by its path and the bytes of its message, with the bytes of another. It is
/// called on threads that may block.
pub type GrpcHandler = Box<dyn Fn(&str, Bytes) -> Result<Vec<u8>, Status> + Send + Sync>;

/// What answers.
pub struct Handlers {
    /// Requests of HTTP.
    pub http: HttpHandler,
    /// Calls of gRPC.
    pub grpc: GrpcHandler,
}

/// A server that listens.
pub struct CallServer {
    socket: Socket,
    desk: Arc<Desk>,
    listening: Listening,
}

impl CallServer {
    /// Listens at once. Connections are answered by [`CallServer::run`].
    pub fn bind(config: CallConfig, handlers: Handlers) -> Result<Self, ServeError> {
        let default = ServeConfig::default();
        Ok(Self {
            socket: Socket::bind(config.addr)?,
            listening: Listening {
                protocols: Protocols::new(default.idle_timeout, config.request_timeout),
                max_connections: default.max_connections,
                drain_timeout: config.drain_timeout,
            },
            desk: Arc::new(Desk {
                config,
                handlers: Arc::new(handlers),
                closing: AtomicBool::new(false),
                in_flight: AtomicUsize::new(0),
                answered: AtomicU64::new(0),
            }),
        })
    }

    /// The address, with the port that was chosen.
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr
    }

    /// Serves until `shutdown` completes; then stops to accept, and waits for the requests in
    /// flight. Runs inside a tokio runtime with time and I/O enabled.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Drained, ServeError> {
        let Self { socket, desk, listening } = self;
        listening.run(vec![socket], &desk, std::future::ready(Ok(())), shutdown).await
    }
}

struct Desk {
    config: CallConfig,
    handlers: Arc<Handlers>,
    closing: AtomicBool,
    in_flight: AtomicUsize,
    answered: AtomicU64,
}

/// Counts a request as in flight until it is dropped.
struct InFlight<'d>(&'d Desk);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Responder for Desk {
    async fn respond(&self, request: Request<Incoming>) -> Response<Outgoing> {
        let others = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let _in_flight = InFlight(self);
        let started = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let has_connection_header = request.version() < Version::HTTP_2;
        let mut response = if grpc::is_call(&request) {
            match self.grpc(request, &path, others, started).await {
                Ok(message) => {
                    let mut frame = grpc::frame::prefix(message.len());
                    frame.extend(message);
                    grpc::answered(frame, grpc::trailers(None))
                }
                Err(Status { code, message }) => grpc::failed(code, &message),
            }
        } else {
            let answer = self.http(request, &path, others, started).await;
            into_response(answer.unwrap_or_else(|refusal| refusal.answer()))
        };
        if has_connection_header && self.closing.load(Ordering::Acquire) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        let grpc_status = response.headers().get("grpc-status").and_then(|code| code.to_str().ok());
        tracing::info!(
            target: "luthier_serve::access",
            grpc_status,
            "event.duration" = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            "http.request.method" = method.as_str(),
            "http.response.body.bytes" = response.body().len(),
            "http.response.status_code" = response.status().as_u16(),
            "url.path" = path,
            "request"
        );
        response
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Desk {
    async fn http(
        &self,
        request: Request<Incoming>,
        path: &str,
        others: usize,
        started: Instant,
    ) -> Result<Answer, Refusal> {
        self.admit(request.headers(), self.config.open_paths.contains(&path), others)?;
        let (head, body) = request.into_parts();
        if head.headers.get(CONTENT_ENCODING).is_some_and(|value| value != "identity") {
            return Err(Refusal::Encoding);
        }
        let deadline = started + self.config.request_timeout;
        let body = upload::read(&head.headers, body, self.config.max_body_bytes, deadline).await?;
        let call = Call { method: head.method, path: path.to_owned(), body };
        let handlers = Arc::clone(&self.handlers);
        beside(deadline, move || (handlers.http)(&call)).await
    }

    async fn grpc(
        &self,
        request: Request<Incoming>,
        path: &str,
        others: usize,
        started: Instant,
    ) -> Result<Vec<u8>, Status> {
        let is_health = path == grpc::HEALTH;
        self.admit(request.headers(), is_health, others)?;
        let (head, body) = request.into_parts();
        let CallConfig { max_body_bytes, request_timeout, services, .. } = self.config;
        let timeout = grpc::timeout::timeout(&head.headers).unwrap_or(request_timeout);
        let deadline = started + timeout.min(request_timeout);
        let limit = max_body_bytes.saturating_add(grpc::frame::PREFIX);
        let body = upload::read(&head.headers, body, limit, deadline).await;
        let body = body.map_err(Refusal::from)?;
        let (handlers, path) = (Arc::clone(&self.handlers), path.to_owned());
        let answer = beside(deadline, move || {
            let message = grpc::frame::message(&head.headers, &body, max_body_bytes)
                .map_err(|error| Status { code: error.code(), message: error.to_string() })?;
            if is_health {
                let unknown =
                    || Status { code: Code::NotFound, message: "unknown service".to_owned() };
                return grpc::health_check(message, services).ok_or_else(unknown);
            }
            (handlers.grpc)(&path, message)
        });
        answer.await?
    }

    /// Refuses who brings no token, and what is too much at once.
    fn admit(&self, headers: &HeaderMap, is_open: bool, others: usize) -> Result<(), Refusal> {
        if let Some(token) = self.config.token.as_deref().filter(|_| !is_open)
            && !has_token(headers, token)
        {
            return Err(Refusal::Token);
        }
        if others >= MAX_IN_FLIGHT { Err(Refusal::Busy) } else { Ok(()) }
    }
}

/// Runs what may block on a thread of its own.
async fn beside<T: Send + 'static>(
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    match timeout_at(deadline.into(), tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(Refusal::Panicked),
        Err(_) => Err(Refusal::Late),
    }
}

/// Whether a request brings the token. How long that takes tells nothing but its length.
fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let brought = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked("bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
    });
    brought.is_some_and(|brought| brought.ct_eq(token.as_bytes()).to_bool())
}

fn into_response(Answer { status, json, allow }: Answer) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::from(Bytes::from(json)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(allow) = allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Why a request does not come before a handler, or gets no answer from it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("a token is needed, as in `Authorization: Bearer <token>`")]
    Token,
    #[error("{MAX_IN_FLIGHT} requests are being answered already")]
    Busy,
    #[error("Content-Encoding is not supported, send the body as it is")]
    Encoding,
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error("there was no answer in time")]
    Late,
    #[error("the server failed")]
    Panicked,
}

impl Refusal {
    fn code(&self) -> Code {
        match self {
            Self::Token => Code::Unauthenticated,
            Self::Busy | Self::Upload(UploadError::TooLarge { .. }) => Code::ResourceExhausted,
            Self::Encoding | Self::Upload(UploadError::Broken) => Code::InvalidArgument,
            Self::Late | Self::Upload(UploadError::Slow) => Code::DeadlineExceeded,
            Self::Panicked => Code::Internal,
        }
    }

    fn answer(&self) -> Answer {
        let status = match self {
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Upload(UploadError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Upload(UploadError::Slow) => StatusCode::REQUEST_TIMEOUT,
            _ => http_status(self.code()),
        };
        let json = serde_json::json!({ "error": self.to_string() }).to_string().into_bytes();
        Answer { status, json, allow: None }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code(), message: refusal.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens() {
        let check = |brought: &str, expected: bool| {
            let value = HeaderValue::from_str(brought).unwrap();
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
            assert_eq!(has_token(&headers, "s3cret"), expected, "{brought}");
        };
        check("Bearer s3cret", true);
        check("bearer s3cret", true);
        for wrong in ["", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cret ", "Bearer S3cret"] {
            check(wrong, false);
        }
        check("Basic s3cret", false);
        check("s3cret", false);
        assert!(!has_token(&HeaderMap::new(), "s3cret"));
    }
}
