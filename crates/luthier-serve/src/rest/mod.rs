//! REST over the service: paths and JSON in, JSON out.

mod body;
mod docs;
mod feedback;
mod json;
mod openapi;
mod path;
mod render;

use std::sync::Arc;
use std::time::Instant;

use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
};
use hyper::{Method, Request, Response, StatusCode, Version as Http};

use crate::access::{Access, REQUEST_ID};
use crate::feedback::{FeedbackError, PredictionId};
use crate::front::{Front, INLINE_BYTES, INLINE_ROWS, PREDICTION_ID, beside, http_status};
use crate::metrics::{Operation, Protocol, Stage, to_prometheus};
use crate::models::ServedModel;
use crate::rows::Rows;
use crate::service::{PredictCall, ServiceError, Task, Version};
use crate::upload::UploadError;
use crate::{Models, Route, RouteProblem, ServeError};

use body::{Body, BodyError, Form};
pub(crate) use docs::Docs;
use feedback::LabelsError;
pub(crate) use path::check_alias;
use path::{Api, Own, Spec, Target};

const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Seconds after which a refused client may try again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An answer before it becomes a response.
struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    /// Those that this answer alone has.
    headers: HeaderMap,
    allow: Option<&'static str>,
    /// Whether the connection cannot go on, because the request has not been read to its end.
    ends_connection: bool,
    /// What labels name the answered rows by.
    prediction: Option<PredictionId>,
}

/// What a body is to be read as.
enum Call {
    /// As TensorFlow Serving's API says.
    Task(Task),
    /// As an alias route says.
    Alias(Arc<Route>),
}

/// The shape of an answer.
enum Shape {
    /// `predictions` or `outputs`.
    Rows(Form),
    /// `results` with labels.
    Classes,
    /// `results` that are numbers.
    Numbers,
    /// The output field of an alias route.
    Field { route: Arc<Route>, is_list: bool },
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Labels(#[from] LabelsError),
    #[error(transparent)]
    Feedback(#[from] FeedbackError),
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
    #[error("Content-Encoding is not supported, send the body as it is")]
    Encoding,
    #[error(transparent)]
    Upload(#[from] UploadError),
}

/// Answers one request.
pub(crate) async fn respond(front: &Front, request: Request<Incoming>) -> Response<Bytes> {
    let routes = Arc::clone(&front.service.versions().routes);
    let mut access = Access::begin(front, Protocol::Rest, &request);
    // HTTP/2 has frames of its own to end a connection.
    let has_connection_header = request.version() < Http::HTTP_2;
    let reply = match answer(front, request, &routes, &mut access).await {
        Ok(reply) => reply,
        Err(fault) => Reply::fault(&fault),
    };
    let id = access.finish(reply.status, reply.body.len());
    let mut response = Response::new(reply.body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    if reply.status != StatusCode::NOT_MODIFIED {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    }
    headers.extend(reply.headers);
    headers.insert(REQUEST_ID, id);
    if let Some(id) = reply.prediction
        && let Ok(id) = HeaderValue::from_str(&id.to_string())
    {
        headers.insert(PREDICTION_ID, id);
    }
    if let Some(allow) = reply.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if says_when(reply.status) {
        headers.insert(RETRY_AFTER, RETRY_SECONDS);
    }
    if has_connection_header && (reply.ends_connection || front.is_closing()) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn answer<'a>(
    front: &Front,
    request: Request<Incoming>,
    routes: &'a [Arc<Route>],
    access: &mut Access<'a>,
) -> Result<Reply, Fault> {
    let deadline = access.started + front.request_timeout;
    let (head, body) = request.into_parts();
    let target = path::target(&head.method, head.uri.path(), routes)?;
    access.asks(target.template(routes), target.operation(), target.of_model());
    match target {
        Target::Own(own) => about_server(front, own, &head.headers).await,
        Target::Alias(route) => {
            let route = &routes[route];
            let model = front.service.find(&route.model, Version::Latest)?;
            access.model(&model);
            let body = read(front, &head.headers, body, deadline).await?;
            run(front, &model, Call::Alias(Arc::clone(route)), body, deadline).await
        }
        Target::Model { name, version, api: Api::Status } => {
            let found = front.service.status(&name, version.version())?;
            if let Some(model) = found.iter().find_map(|status| status.model.as_ref()) {
                access.model(model);
            }
            Ok(Reply::ok(render::status(&found)))
        }
        Target::Model { name, version, api: Api::Feedback } => {
            let found = front.service.status(&name, version.version())?;
            if let Some(model) = found.iter().find_map(|status| status.model.as_ref()) {
                access.model(model);
            }
            let models = found.iter().filter_map(|status| status.model.as_ref());
            if models.clone().next().is_some_and(|model| model.decision.class().is_none()) {
                return Err(FeedbackError::Numbers { model: name.into_owned() }.into());
            }
            let number = found.first().map(|status| status.version);
            let version = number.filter(|_| version != Spec::Latest);
            let body = read(front, &head.headers, body, deadline).await?;
            join(front, name.into_owned(), version, body, deadline).await
        }
        Target::Model { name, version, api } => {
            let model = front.service.find(&name, version.version())?;
            access.model(&model);
            let Api::Run(task) = api else { return Ok(Reply::ok(render::metadata(&model))) };
            let body = read(front, &head.headers, body, deadline).await?;
            run(front, &model, Call::Task(task), body, deadline).await
        }
    }
}

/// Answers what is asked of the server itself.
async fn about_server(front: &Front, own: Own, headers: &HeaderMap) -> Result<Reply, Fault> {
    Ok(match own {
        Own::Index => Reply::ok(render::index(&front.service.versions())),
        Own::Health => Reply::ok(render::health()),
        Own::Ready => readiness(front),
        Own::Metrics => metrics(front, headers),
        Own::TensorflowMetrics => Reply {
            content_type: PROMETHEUS,
            ..Reply::ok(front.service.metrics().render_tensorflow())
        },
        Own::Page(file) => front.docs.page(file).reply(headers),
        Own::Document => {
            let (docs, versions) = (Arc::clone(&front.docs), front.service.versions());
            let is_stale = !docs.is_of(&versions);
            beside(is_stale, move || docs.document(&versions)).await?.reply(headers)
        }
    })
}

/// Whether an answer says when to try again.
fn says_when(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

async fn run(
    front: &Front,
    model: &Arc<ServedModel>,
    call: Call,
    body: Bytes,
    deadline: Instant,
) -> Result<Reply, Fault> {
    let (length, limit, served) = (body.len(), front.max_body_bytes, Arc::clone(model));
    let operation = call.operation();
    let parse = move || parse(&body, call, &served, limit);
    let (shape, rows) = beside(length > INLINE_BYTES, parse).await??;
    let count = rows.len();
    let id = PredictionId::random();
    let found = front.service.predict(PredictCall { model, operation, rows, id, deadline }).await?;
    let scored = Instant::now();
    let served = Arc::clone(model);
    let render = move || match shape {
        Shape::Rows(form) => render::predictions(form, &served.decision, &found),
        Shape::Classes => render::classes(&served.decision, &found),
        Shape::Numbers => render::numbers(&found),
        Shape::Field { route, is_list } => {
            render::alias(&route.output, is_list, &served.decision, &found)
        }
    };
    let rendered = beside(count > INLINE_ROWS, render).await?;
    front.service.metrics().spent(model, Stage::Postprocess, scored.elapsed());
    Ok(Reply { prediction: Some(id), ..Reply::ok(rendered) })
}

/// Joins the labels in `body` with predictions of a model.
async fn join(
    front: &Front,
    model: String,
    version: Option<i64>,
    body: Bytes,
    deadline: Instant,
) -> Result<Reply, Fault> {
    let is_long = body.len() > INLINE_BYTES;
    let parse = move || feedback::parse(&body, &model, version);
    let labels = beside(is_long, parse).await??;
    let joined = front.service.tracker().join(labels);
    match tokio::time::timeout_at(deadline.into(), joined).await {
        Ok(joined) => Ok(Reply::ok(feedback::joined(&joined?))),
        Err(_) => Err(ServiceError::Deadline.into()),
    }
}

fn readiness(front: &Front) -> Reply {
    let ready = front.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply { status, ..Reply::ok(render::readiness(ready, &front.service.versions().statuses)) }
}

fn metrics(front: &Front, headers: &HeaderMap) -> Reply {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let rendered = front.service.render_metrics();
    match accept.contains("application/openmetrics-text") {
        true => Reply { content_type: OPEN_METRICS, ..Reply::ok(rendered) },
        false => Reply { content_type: PROMETHEUS, ..Reply::ok(to_prometheus(&rendered)) },
    }
}

async fn read(
    front: &Front,
    headers: &HeaderMap,
    body: Incoming,
    deadline: Instant,
) -> Result<Bytes, Fault> {
    if headers.get(CONTENT_ENCODING).is_some_and(|value| value != "identity") {
        return Err(Fault::Encoding);
    }
    Ok(front.read(headers, body, front.max_body_bytes, deadline).await?)
}

/// Checks the configured routes, and those of bundles that are served as they are.
pub(crate) fn check_routes(routes: &[Route], models: &Models) -> Result<(), ServeError> {
    let of_bundles = models.bundles.iter().filter_map(|(_, bundle)| {
        let route = bundle.manifest().route.as_ref()?;
        Some((route.path.as_str(), None))
    });
    let configured = routes.iter().map(|route| (route.path.as_str(), Some(route)));
    let mut known: Vec<&str> = Vec::new();
    for (path, route) in configured.chain(of_bundles) {
        let mut check = || {
            check_alias(path)?;
            if known.contains(&path) {
                return Err(RouteProblem::Duplicate);
            }
            known.push(path);
            let Some(route) = route else { return Ok(()) };
            if route.input.is_empty() || route.output.is_empty() {
                return Err(RouteProblem::Field);
            }
            match models.names().any(|name| name == route.model) {
                true => Ok(()),
                false => Err(RouteProblem::Model(route.model.clone())),
            }
        };
        check().map_err(|problem| ServeError::Route { path: path.to_owned(), problem })?;
    }
    Ok(())
}

/// The rows that a body asks about; those that share a text take at most `limit` bytes, and those of
/// a table have at most `limit` cells.
fn parse(
    body: &[u8],
    call: Call,
    model: &ServedModel,
    limit: usize,
) -> Result<(Shape, Rows), Fault> {
    let (body, takes) = (Body::parse(body)?, model.takes());
    let task = match call {
        Call::Task(task) => task,
        Call::Alias(route) => {
            let (rows, is_list) = body.alias(takes, &route.input, limit)?;
            return Ok((Shape::Field { route, is_list }, rows));
        }
    };
    let body = body.object()?;
    task.check(&model.decision, body.signature()?)?;
    Ok(match task {
        Task::Predict => {
            let (form, rows) = body.rows(takes, limit)?;
            (Shape::Rows(form), rows)
        }
        Task::Classify => (Shape::Classes, body.examples(takes, limit)?),
        Task::Regress => (Shape::Numbers, body.examples(takes, limit)?),
    })
}

impl Call {
    fn operation(&self) -> Operation {
        match self {
            Self::Task(task) => Operation::from(*task),
            Self::Alias(_) => Operation::Alias,
        }
    }
}

impl Reply {
    fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: JSON,
            body: body.into(),
            headers: HeaderMap::new(),
            allow: None,
            ends_connection: false,
            prediction: None,
        }
    }

    fn fault(fault: &Fault) -> Self {
        Self {
            status: fault.status(),
            allow: match fault {
                Fault::Method { allow } => Some(allow),
                _ => None,
            },
            ends_connection: matches!(fault, Fault::Encoding | Fault::Upload(_)),
            ..Self::ok(render::error(&fault.to_string()))
        }
    }
}

impl Fault {
    fn status(&self) -> StatusCode {
        match self {
            Self::Service(error) => http_status(error.code()),
            Self::NoRoute { .. } => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Upload(error) => match error {
                UploadError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                UploadError::Slow => StatusCode::REQUEST_TIMEOUT,
                UploadError::Broken => StatusCode::BAD_REQUEST,
            },
            Self::Feedback(error) => match error {
                FeedbackError::Off | FeedbackError::Numbers { .. } => StatusCode::NOT_IMPLEMENTED,
                FeedbackError::NoClass { .. } => StatusCode::BAD_REQUEST,
                FeedbackError::Store { .. } => StatusCode::SERVICE_UNAVAILABLE,
                FeedbackError::Busy => StatusCode::TOO_MANY_REQUESTS,
            },
            Self::Labels(_)
            | Self::Body(_)
            | Self::Malformed { .. }
            | Self::MissingName
            | Self::VersionNumber { .. } => StatusCode::BAD_REQUEST,
        }
    }
}
