//! What every protocol needs beside the service: bounds, ids, and what is in flight.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::connection::Responder;
use crate::metrics::Rejection;
use crate::outgoing::Outgoing;
use crate::service::{Code, Service, ServiceError};
use crate::upload::{self, UploadError};
use crate::{ServeConfig, grpc, rest};

/// Name of the header, over gRPC the trailing metadata, that carries the id of answered rows.
pub(crate) const PREDICTION_ID: &str = "x-prediction-id";
/// Largest body that is parsed between other requests; larger ones would hold them up.
pub(crate) const INLINE_BYTES: usize = 64 << 10;
/// Most rows that are written out between other requests.
pub(crate) const INLINE_ROWS: usize = 1024;

/// A service as the protocols see it.
pub(crate) struct Front {
    pub(crate) service: Service,
    pub(crate) max_body_bytes: usize,
    pub(crate) request_timeout: Duration,
    /// What REST says about itself.
    pub(crate) docs: Arc<rest::Docs>,
    /// Whether the server is going away: not ready, and connections end with their answer.
    closing: AtomicBool,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) answered: AtomicU64,
    ids: AtomicU64,
    /// Sets the ids of this process apart from those of others.
    id_prefix: u64,
}

impl Front {
    /// A front for `service`.
    pub(crate) fn new(service: Service, config: &ServeConfig) -> Self {
        let docs = rest::Docs::new(config, service.tracker().has_store());
        Self {
            service,
            max_body_bytes: config.max_body_bytes,
            request_timeout: config.request_timeout,
            docs: Arc::new(docs),
            closing: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            ids: AtomicU64::new(0),
            id_prefix: RandomState::new().hash_one(()),
        }
    }

    /// Whether the server is going away.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Whether requests should come here: every model answers, and the server stays.
    pub(crate) fn is_ready(&self) -> bool {
        self.service.is_ready() && !self.is_closing()
    }

    /// A new id of a request.
    pub(crate) fn new_id(&self) -> HeaderValue {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{number:x}", self.id_prefix);
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    }

    /// The body of a request, of at most `limit` bytes; a larger one is counted.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        limit: usize,
        deadline: Instant,
    ) -> Result<Bytes, UploadError> {
        let read = upload::read(headers, body, limit, deadline).await;
        if matches!(read, Err(UploadError::TooLarge { .. })) {
            self.service.metrics().rejected(Rejection::BodyTooLarge);
        }
        read
    }
}

impl Responder for Front {
    async fn respond(&self, request: Request<Incoming>) -> Response<Outgoing> {
        if grpc::is_call(&request) {
            return grpc::respond(self, request).await;
        }
        let is_head = request.method() == Method::HEAD;
        let mut response = rest::respond(self, request).await.map(Outgoing::from);
        if is_head && response.status() != StatusCode::NOT_MODIFIED {
            // Over HTTP/2, nobody below takes the body away.
            let length = response.body().len().into();
            response.headers_mut().insert(CONTENT_LENGTH, length);
            *response.body_mut() = Outgoing::default();
        }
        response
    }

    /// From now on the server is not ready, and answers end their connections.
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

/// Runs `work`, on a thread of its own where it `is_long`, since it would hold up all requests of
/// this thread.
pub(crate) async fn beside<T: Send + 'static>(
    is_long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServiceError> {
    if !is_long {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| ServiceError::Failed)
}

/// The status of HTTP for a kind of failure, as TensorFlow Serving has it.
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}
