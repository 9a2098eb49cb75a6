//! One log event and one count per request, also for those whose client leaves.
//!
//! Names of fields with dots are those of Elastic Common Schema 9; the others are our own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Version};

use crate::front::Front;
use crate::metrics::{Answered, Operation, Protocol, Subject};
use crate::models::ServedModel;
use crate::service::{CODES, Code};

/// Name of the header that carries a request's id.
pub(crate) const REQUEST_ID: &str = "x-request-id";
/// Longest id that is taken over from a client.
const MAX_ID: usize = 128;
/// Longest part of a path that is logged, in bytes.
const MAX_PATH: usize = 512;
/// Status of a request whose client left before the answer, as nginx counts it.
const CLIENT_LEFT: u16 = 499;

/// A request in flight; counted and logged when dropped.
pub(crate) struct Access<'r> {
    front: &'r Front,
    protocol: Protocol,
    pub(crate) started: Instant,
    method: Method,
    http: Version,
    path: String,
    trace: Option<String>,
    template: &'r str,
    operation: Operation,
    of_model: bool,
    model: Option<Arc<ServedModel>>,
    id: HeaderValue,
    status: u16,
    /// Number of gRPC's status, once it is known.
    code: Option<usize>,
    bytes: usize,
}

impl<'r> Access<'r> {
    pub(crate) fn begin<B>(front: &'r Front, protocol: Protocol, request: &Request<B>) -> Self {
        front.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            front,
            protocol,
            started: Instant::now(),
            method: request.method().clone(),
            http: request.version(),
            path: cut(request.uri().path()).to_owned(),
            trace: trace_id(request.headers()).map(str::to_owned),
            template: "",
            operation: Operation::None,
            of_model: false,
            model: None,
            id: request_id(request.headers()).unwrap_or_else(|| front.new_id()),
            status: CLIENT_LEFT,
            code: None,
            bytes: 0,
        }
    }

    /// Notes what is asked, the path without what varies, and whether it is asked of a model.
    pub(crate) fn asks(&mut self, template: &'r str, operation: Operation, of_model: bool) {
        self.template = template;
        self.operation = operation;
        self.of_model = of_model;
    }

    /// Notes which model answers.
    pub(crate) fn model(&mut self, model: &Arc<ServedModel>) {
        self.model = Some(Arc::clone(model));
    }

    /// Notes an answer over gRPC, `None` where it is no failure. HTTP's status for it says nothing;
    /// the one that REST would have is counted.
    pub(crate) fn grpc(&mut self, code: Option<Code>) {
        self.code = Some(code.map_or(0, |code| code as usize));
    }

    /// Notes the answer, and gives the request's id.
    pub(crate) fn finish(mut self, status: StatusCode, bytes: usize) -> HeaderValue {
        self.status = status.as_u16();
        self.bytes = bytes;
        self.front.answered.fetch_add(1, Ordering::Relaxed);
        self.id.clone()
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let subject = match &self.model {
            Some(model) => Subject::Model(model),
            None if self.of_model => Subject::Unknown,
            None => Subject::Server,
        };
        let answered = Answered {
            protocol: self.protocol,
            operation: self.operation,
            status: self.status,
            code: self.code.unwrap_or_else(|| code(self.status)),
            took,
        };
        self.front.service.metrics().answered(subject, &answered);
        self.front.in_flight.fetch_sub(1, Ordering::Relaxed);
        tracing::info!(
            target: "luthier_serve::access",
            route = self.template,
            model = self.model.as_ref().map(|model| &*model.name),
            version = self.model.as_ref().map(|model| model.version),
            grpc_status = self.code.map(|code| CODES[code]),
            "event.action" = self.operation.name(),
            "event.outcome" = if self.status < 400 { "success" } else { "failure" },
            "event.duration" = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            "http.request.id" = self.id.to_str().unwrap_or_default(),
            "http.request.method" = self.method.as_str(),
            "http.response.body.bytes" = self.bytes,
            "http.response.status_code" = match self.code {
                Some(_) => StatusCode::OK.as_u16(),
                None => self.status,
            },
            "http.version" = number(self.http),
            "trace.id" = self.trace,
            "url.path" = self.path,
            "request"
        );
    }
}

/// Number of gRPC's status for one of HTTP, the inverse of `front::http_status` where that has one.
fn code(status: u16) -> usize {
    const CANCELLED: usize = 1;
    const UNKNOWN: usize = 2;
    let code = match status {
        ..400 => return 0,
        404 => Code::NotFound,
        408 | 504 => Code::DeadlineExceeded,
        413 | 429 => Code::ResourceExhausted,
        400..CLIENT_LEFT => Code::InvalidArgument,
        CLIENT_LEFT => return CANCELLED,
        500 => Code::Internal,
        501 => Code::Unimplemented,
        503 => Code::Unavailable,
        _ => return UNKNOWN,
    };
    code as usize
}

/// The start of a path, of at most [`MAX_PATH`] bytes.
fn cut(path: &str) -> &str {
    &path[..path.floor_char_boundary(MAX_PATH)]
}

/// The version of HTTP as Elastic Common Schema has it.
fn number(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// The trace that a request belongs to, by its `traceparent` header (W3C Trace Context, section
/// 3.2: version, 32 hexadecimal digits that are not all zero, span, flags).
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (_version, id) = (parts.next()?, parts.next()?);
    let digit = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
    let sound = id.len() == 32 && id.bytes().all(digit) && id.bytes().any(|b| b != b'0');
    sound.then_some(id)
}

/// The client's id, where it is short and of harmless characters.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    ((1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(plain)).then(|| id.clone())
}
