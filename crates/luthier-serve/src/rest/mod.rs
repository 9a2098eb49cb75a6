//! REST over the service: paths and JSON in, JSON out.

mod access;
mod body;
mod json;
mod path;
mod render;
mod upload;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};

use crate::metrics::{Rejection, to_prometheus};
use crate::models::ServedModel;
use crate::service::{Code, PredictCall, Service, ServiceError, Task, Version};
use crate::texts::Texts;
use crate::{Route, RouteProblem, ServeConfig, ServeError};

use access::{Access, REQUEST_ID};
use body::{Body, BodyError, Form};
use path::{Api, Target};

const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Seconds after which a refused client may try again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");
/// Largest body that is parsed between other requests; larger ones would hold them up.
const INLINE_BYTES: usize = 64 << 10;
/// Most rows that are written out between other requests.
const INLINE_ROWS: usize = 1024;

/// The REST interface of a service.
pub(crate) struct Rest {
    pub(crate) service: Service,
    routes: Arc<[Route]>,
    max_body_bytes: usize,
    request_timeout: Duration,
    /// Whether the server is going away: not ready, and connections end with their answer.
    closing: AtomicBool,
    in_flight: AtomicUsize,
    answered: AtomicU64,
    ids: AtomicU64,
    /// Sets the ids of this process apart from those of others.
    id_prefix: u64,
}

/// An answer before it becomes a response.
struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: String,
    allow: Option<&'static str>,
    /// Whether the connection cannot go on, because the request has not been read to its end.
    ends_connection: bool,
}

/// What a body is to be read as.
#[derive(Clone, Copy)]
enum Call {
    /// As TensorFlow Serving's API says.
    Task(Task),
    /// As the alias route at this position says.
    Alias(usize),
}

/// The shape of an answer.
enum Shape {
    /// `predictions` or `outputs`.
    Rows(Form),
    /// `results` with labels.
    Classes,
    /// The output field of an alias route.
    Field { route: usize, is_list: bool },
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("Malformed request: {method} {path}")]
    Malformed { method: Method, path: String },
    #[error("Missing model name in request.")]
    MissingName,
    #[error("Failed to convert version: {text} to numeric.")]
    VersionNumber { text: String },
    #[error("Not found: {path}")]
    NoRoute { path: String },
    #[error("Method not allowed, use {allow}")]
    Method { allow: &'static str },
    #[error("Request body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("Content-Encoding is not supported, send the body as it is")]
    Encoding,
    #[error("Request body did not arrive in time")]
    SlowBody,
    #[error("Request body could not be read")]
    BrokenBody,
}

impl Rest {
    /// An interface to `service`; alias routes are checked against its models.
    pub(crate) fn new(service: Service, config: ServeConfig) -> Result<Self, ServeError> {
        check_routes(&config.routes, &service)?;
        Ok(Self {
            service,
            routes: config.routes.into(),
            max_body_bytes: config.max_body_bytes,
            request_timeout: config.request_timeout,
            closing: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            ids: AtomicU64::new(0),
            id_prefix: RandomState::new().hash_one(()),
        })
    }

    /// From now on the server is not ready, and every answer ends its connection.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Requests that have been answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Requests that have not been answered yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Sends a first request through parsing, queue, worker and rendering, and lets `model` answer
    /// others if it is answered.
    pub(crate) async fn warm_up(&self, model: &Arc<ServedModel>) -> Result<(), ServeError> {
        let deadline = Instant::now() + self.request_timeout;
        let body = Bytes::from_static(br#"{"instances": ["warm-up"]}"#);
        self.run(model, Call::Task(Task::Predict), body, deadline).await.map_err(|fault| {
            ServeError::WarmUp {
                name: model.name.to_string(),
                version: model.version,
                reason: fault.to_string(),
            }
        })?;
        model.set_available();
        Ok(())
    }

    /// Answers one request.
    pub(crate) async fn respond(&self, request: Request<Incoming>) -> Response<String> {
        let mut access = Access::begin(self, &request);
        let reply = match self.answer(request, &mut access).await {
            Ok(reply) => reply,
            Err(fault) => Reply::fault(&fault),
        };
        let id = access.finish(&reply);
        let mut response = Response::new(reply.body);
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
        headers.insert(REQUEST_ID, id);
        if let Some(allow) = reply.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if matches!(reply.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        if reply.ends_connection || self.closing.load(Ordering::Acquire) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        access: &mut Access<'_>,
    ) -> Result<Reply, Fault> {
        let deadline = access.started + self.request_timeout;
        let (head, body) = request.into_parts();
        let target = path::target(&head.method, head.uri.path(), &self.routes)?;
        access.target(&target);
        match target {
            Target::Index => Ok(Reply::ok(render::index(self.service.models(), &self.routes))),
            Target::Health => Ok(Reply::ok(r#"{"status": "ok"}"#.to_owned())),
            Target::Ready => Ok(self.readiness()),
            Target::Metrics => Ok(self.metrics(&head.headers)),
            Target::Alias(route) => {
                let model = self.service.find(&self.routes[route].model, Version::Latest)?;
                access.model(model);
                let body = self.read(&head.headers, body, deadline).await?;
                self.run(model, Call::Alias(route), body, deadline).await
            }
            Target::Model { name, version, api: Api::Status } => {
                let found = self.service.status(&name, version.version())?;
                if let Some(model) = found.first() {
                    access.model(model);
                }
                Ok(Reply::ok(render::status(&found)))
            }
            Target::Model { name, version, api } => {
                let model = self.service.find(&name, version.version())?;
                access.model(model);
                let Api::Run(task) = api else { return Ok(Reply::ok(render::metadata(model))) };
                let body = self.read(&head.headers, body, deadline).await?;
                self.run(model, Call::Task(task), body, deadline).await
            }
        }
    }

    async fn run(
        &self,
        model: &Arc<ServedModel>,
        call: Call,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Reply, Fault> {
        let (length, served, routes) = (body.len(), Arc::clone(model), Arc::clone(&self.routes));
        let parse = move || parse(&body, call, &served, &routes);
        let (shape, texts) = beside(length > INLINE_BYTES, parse).await??;
        let rows = texts.len();
        let found = self.service.predict(PredictCall { model, texts, deadline }).await?;
        let (served, routes) = (Arc::clone(model), Arc::clone(&self.routes));
        let render = move || match shape {
            Shape::Rows(form) => render::predictions(form, &served.decision, &found),
            Shape::Classes => render::classes(&served.decision, &found),
            Shape::Field { route, is_list } => {
                render::alias(&routes[route].output, is_list, &served.decision, &found)
            }
        };
        Ok(Reply::ok(beside(rows > INLINE_ROWS, render).await?))
    }

    async fn read(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        deadline: Instant,
    ) -> Result<Bytes, Fault> {
        let read = upload::read(headers, body, self.max_body_bytes, deadline).await;
        if matches!(read, Err(Fault::TooLarge { .. })) {
            self.service.metrics().rejected(Rejection::BodyTooLarge);
        }
        read
    }

    fn readiness(&self) -> Reply {
        let ready = self.service.is_ready() && !self.closing.load(Ordering::Acquire);
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Reply { status, ..Reply::ok(render::readiness(ready, self.service.models())) }
    }

    fn metrics(&self, headers: &HeaderMap) -> Reply {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let rendered = self.service.render_metrics();
        match accept.contains("application/openmetrics-text") {
            true => Reply { content_type: OPEN_METRICS, ..Reply::ok(rendered) },
            false => Reply { content_type: PROMETHEUS, ..Reply::ok(to_prometheus(&rendered)) },
        }
    }

    fn new_id(&self) -> HeaderValue {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{number:x}", self.id_prefix);
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    }
}

fn check_routes(routes: &[Route], service: &Service) -> Result<(), ServeError> {
    for (index, route) in routes.iter().enumerate() {
        let check = || {
            path::check_alias(&route.path)?;
            if routes[..index].iter().any(|other| other.path == route.path) {
                return Err(RouteProblem::Duplicate);
            }
            if route.input.is_empty() || route.output.is_empty() {
                return Err(RouteProblem::Field);
            }
            match service.models().iter().any(|model| *model.name == *route.model) {
                true => Ok(()),
                false => Err(RouteProblem::Model(route.model.clone())),
            }
        };
        check().map_err(|problem| ServeError::Route { path: route.path.clone(), problem })?;
    }
    Ok(())
}

fn parse(
    body: &[u8],
    call: Call,
    model: &ServedModel,
    routes: &[Route],
) -> Result<(Shape, Texts), Fault> {
    let body = Body::parse(body)?;
    let task = match call {
        Call::Task(task) => task,
        Call::Alias(route) => {
            let (texts, is_list) = body.field(&routes[route].input)?;
            return Ok((Shape::Field { route, is_list }, texts));
        }
    };
    task.check_signature(body.signature()?)?;
    if task == Task::Classify {
        return Ok((Shape::Classes, body.examples(model.input())?));
    }
    let (form, texts) = body.rows(model.input())?;
    Ok((Shape::Rows(form), texts))
}

/// Runs `work`, on a thread of its own where it `is_long`, since it would hold up all requests of
/// this thread.
async fn beside<T: Send + 'static>(
    is_long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    if !is_long {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| ServiceError::Failed.into())
}

impl Reply {
    fn ok(body: String) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: JSON,
            body,
            allow: None,
            ends_connection: false,
        }
    }

    fn fault(fault: &Fault) -> Self {
        Self {
            status: fault.status(),
            allow: match fault {
                Fault::Method { allow } => Some(allow),
                _ => None,
            },
            ends_connection: matches!(
                fault,
                Fault::TooLarge { .. } | Fault::Encoding | Fault::SlowBody | Fault::BrokenBody
            ),
            ..Self::ok(render::error(&fault.to_string()))
        }
    }
}

impl Fault {
    fn status(&self) -> StatusCode {
        match self {
            Self::Service(error) => match error.code() {
                Code::InvalidArgument => StatusCode::BAD_REQUEST,
                Code::NotFound => StatusCode::NOT_FOUND,
                Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
                Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
                Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            },
            Self::NoRoute { .. } => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Body(_)
            | Self::Malformed { .. }
            | Self::MissingName
            | Self::VersionNumber { .. }
            | Self::BrokenBody => StatusCode::BAD_REQUEST,
        }
    }
}
