//! gRPC over the service: TensorFlow Serving's `PredictionService` and `ModelService`, and gRPC's
//! own health check.
//!
//! Every call is one message each way on a stream of HTTP/2 (gRPC's `doc/PROTOCOL-HTTP2.md`), which
//! is little enough to be written down here. What a library offers for such calls has no place for
//! metadata behind a message, and bounds of its own.

mod columns;
mod describe;
mod example;
pub(crate) mod frame;
mod tensor;
pub(crate) mod timeout;
mod wire;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version as Http};
use prost::Message;

use crate::access::{Access, REQUEST_ID};
use crate::feedback::PredictionId;
use crate::front::{Front, INLINE_BYTES, INLINE_ROWS, PREDICTION_ID, beside, http_status};
use crate::metrics::{Operation, Protocol, Rejection, Stage};
use crate::models::ServedModel;
use crate::outgoing::Outgoing;
use crate::rows::Rows;
use crate::service::{Code, PredictCall, SIGNATURE, ServiceError, Task, Version};
use crate::upload::UploadError;

use example::ExampleError;
use frame::FrameError;
use tensor::TensorError;
use wire::{ModelSpec, VersionChoice};

const GRPC: &str = "application/grpc";
const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
/// Longest message of a failure, in bytes; clients take only so much beside an answer.
const MAX_MESSAGE: usize = 1024;

/// What can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Predict,
    Classify,
    Regress,
    Metadata,
    Status,
    Health,
    /// A call that TensorFlow Serving has and we have not.
    Unsupported(&'static str),
}

/// Path of gRPC's health check.
pub(crate) const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// Path of each call, what metrics call it, and what it is.
const CALLS: [(&str, Operation, Call); 8] = [
    ("/tensorflow.serving.PredictionService/Predict", Operation::Predict, Call::Predict),
    ("/tensorflow.serving.PredictionService/Classify", Operation::Classify, Call::Classify),
    ("/tensorflow.serving.PredictionService/Regress", Operation::Regress, Call::Regress),
    ("/tensorflow.serving.PredictionService/GetModelMetadata", Operation::Metadata, Call::Metadata),
    ("/tensorflow.serving.ModelService/GetModelStatus", Operation::Status, Call::Status),
    (HEALTH, Operation::Health, Call::Health),
    (
        "/tensorflow.serving.PredictionService/MultiInference",
        Operation::None,
        Call::Unsupported(
            "MultiInference is not supported, send a Classify or a Regress for each task",
        ),
    ),
    (
        "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
        Operation::None,
        Call::Unsupported(
            "HandleReloadConfigRequest is not supported, what is new in a base path is taken up \
             by itself",
        ),
    ),
];

/// Services whose health can be asked for; the empty name is the server's.
const SERVICES: [&str; 3] =
    ["", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"];

/// An answer before it becomes a response.
struct Reply {
    /// The message with its prefix.
    frame: Vec<u8>,
    /// What labels name the answered rows by.
    prediction: Option<PredictionId>,
}

/// Why a call has no answer. Messages are TensorFlow Serving's where it has one.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Service(ServiceError),
    #[error("Serving signature key \"{name}\" not found.")]
    NoSignature { name: String },
    #[error("Missing ModelSpec")]
    NoSpec,
    #[error("ModelSpec has no name specified.")]
    NoName,
    #[error("GetModelMetadataRequest must specify at least one metadata_field")]
    NoField,
    #[error("Metadata field {field} is not supported")]
    Field { field: String },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Example(#[from] ExampleError),
    #[error("unknown service {name}")]
    NoService { name: String },
    #[error("{0}")]
    Unsupported(&'static str),
    #[error("unknown method {path}")]
    NoMethod { path: String },
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the message is not of the call's type: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error(transparent)]
    Upload(UploadError),
}

/// Whether a request is a call. gRPC lives on HTTP/2 only.
pub(crate) fn is_call<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let suffix = kind.and_then(|kind| kind.strip_prefix(GRPC));
    let is_grpc = suffix.is_some_and(|suffix| {
        let suffix = suffix.strip_prefix("+proto").unwrap_or(suffix);
        suffix.is_empty() || suffix.starts_with(';')
    });
    is_grpc && request.version() == Http::HTTP_2 && request.method() == Method::POST
}

/// Answers one call.
pub(crate) async fn respond(front: &Front, request: Request<Incoming>) -> Response<Outgoing> {
    let mut access = Access::begin(front, Protocol::Grpc, &request);
    let reply = answer(front, request, &mut access).await;
    let fault = reply.as_ref().err();
    access.grpc(fault.map(Fault::code));
    let status = fault.map_or(StatusCode::OK, Fault::http_status);
    let length = reply.as_ref().map_or(0, |reply| reply.frame.len());
    let id = access.finish(status, length);
    let mut response = match reply {
        Ok(Reply { frame, prediction }) => answered(frame, trailers(prediction)),
        Err(fault) => failed(fault.code(), &fault.to_string()),
    };
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The response of a call that went well.
pub(crate) fn answered(frame: Vec<u8>, trailers: HeaderMap) -> Response<Outgoing> {
    with_headers(Response::new(Outgoing::with_trailers(frame.into(), trailers)))
}

/// The response of a call that has no answer. Without a message, the status comes at once.
pub(crate) fn failed(code: Code, message: &str) -> Response<Outgoing> {
    let mut response = Response::default();
    fail(response.headers_mut(), code, message);
    with_headers(response)
}

fn with_headers(mut response: Response<Outgoing>) -> Response<Outgoing> {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    headers.insert("grpc-accept-encoding", HeaderValue::from_static(frame::ENCODINGS));
    response
}

async fn answer(
    front: &Front,
    request: Request<Incoming>,
    access: &mut Access<'_>,
) -> Result<Reply, Fault> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let Some((path, operation, call)) = CALLS.into_iter().find(|(known, ..)| *known == path) else {
        return Err(Fault::NoMethod { path: path.to_owned() });
    };
    access.asks(path, operation, !matches!(call, Call::Health | Call::Unsupported(_)));
    let timeout = timeout::timeout(&head.headers).unwrap_or(front.request_timeout);
    let deadline = access.started + timeout.min(front.request_timeout);
    let limit = front.max_body_bytes.saturating_add(frame::PREFIX);
    let body = front.read(&head.headers, body, limit, deadline).await?;
    let upload = (head.headers, body);
    match call {
        Call::Predict => predict(front, decode(front, upload).await?, access, deadline).await,
        Call::Classify => classify(front, decode(front, upload).await?, access, deadline).await,
        Call::Regress => regress(front, decode(front, upload).await?, access, deadline).await,
        Call::Metadata => metadata(front, decode(front, upload).await?, access),
        Call::Status => status(front, decode(front, upload).await?, access),
        Call::Health => health(front, &decode(front, upload).await?),
        Call::Unsupported(message) => Err(Fault::Unsupported(message)),
    }
}

/// The message in a body.
async fn decode<M: Message + Default + 'static>(
    front: &Front,
    (headers, body): (HeaderMap, Bytes),
) -> Result<M, Fault> {
    let limit = front.max_body_bytes;
    let is_long = body.len() > INLINE_BYTES || frame::is_compressed(&body);
    let message = beside(is_long, move || {
        let message = frame::message(&headers, &body, limit)?;
        M::decode(message).map_err(Fault::from)
    });
    let message = message.await?;
    if matches!(message, Err(Fault::Frame(FrameError::TooLarge { .. }))) {
        front.service.metrics().rejected(Rejection::BodyTooLarge);
    }
    message
}

async fn predict(
    front: &Front,
    request: wire::PredictRequest,
    access: &mut Access<'_>,
    deadline: Instant,
) -> Result<Reply, Fault> {
    let spec = named(request.model_spec)?;
    let model = find(front, &spec)?;
    access.model(&model);
    Task::Predict.check(&model.decision, &spec.signature_name)?;
    let inputs = tensor::inputs(request.inputs, model.takes())?;
    tensor::check_outputs(&request.output_filter, model.output())?;
    front.service.check_rows(inputs.len())?;
    let (served, limit) = (Arc::clone(&model), front.max_body_bytes);
    let is_long = inputs.bytes() > INLINE_BYTES;
    let rows = beside(is_long, move || inputs.rows(served.takes(), limit)).await??;
    let asked = Asked { operation: Operation::Predict, rows, deadline };
    run(front, &model, asked, |model, scores| {
        frame::framed(&wire::PredictResponse {
            outputs: tensor::outputs(model, scores),
            model_spec: Some(describe::spec(model, SIGNATURE)),
        })
    })
    .await
}

async fn classify(
    front: &Front,
    request: wire::ClassificationRequest,
    access: &mut Access<'_>,
    deadline: Instant,
) -> Result<Reply, Fault> {
    let spec = named(request.model_spec)?;
    let model = find(front, &spec)?;
    access.model(&model);
    Task::Classify.check(&model.decision, &spec.signature_name)?;
    let rows = examples(front, &model, request.input).await?;
    let asked = Asked { operation: Operation::Classify, rows, deadline };
    run(front, &model, asked, |model, scores| {
        frame::framed(&wire::ClassificationResponse {
            result: Some(example::classes(&model.decision, &scores)),
            model_spec: Some(describe::spec(model, SIGNATURE)),
        })
    })
    .await
}

/// The rows of a call with examples.
async fn examples(
    front: &Front,
    model: &Arc<ServedModel>,
    input: Option<wire::Input>,
) -> Result<Rows, Fault> {
    let examples = example::examples(input)?;
    let count = examples.examples.len();
    front.service.check_rows(count)?;
    let (served, limit) = (Arc::clone(model), front.max_body_bytes);
    let rows = move || example::rows(&examples, served.takes(), limit);
    Ok(beside(count > INLINE_ROWS, rows).await??)
}

/// What a model is asked.
struct Asked {
    operation: Operation,
    rows: Rows,
    deadline: Instant,
}

/// What the model gives for the rows, made a message by `render`.
async fn run(
    front: &Front,
    model: &Arc<ServedModel>,
    Asked { operation, rows, deadline }: Asked,
    render: impl FnOnce(&ServedModel, Vec<f32>) -> Vec<u8> + Send + 'static,
) -> Result<Reply, Fault> {
    let count = rows.len();
    let id = PredictionId::random();
    let scores =
        front.service.predict(PredictCall { model, operation, rows, id, deadline }).await?;
    let scored = Instant::now();
    let served = Arc::clone(model);
    let frame = beside(count > INLINE_ROWS, move || render(&served, scores)).await?;
    front.service.metrics().spent(model, Stage::Postprocess, scored.elapsed());
    Ok(Reply { frame, prediction: Some(id) })
}

async fn regress(
    front: &Front,
    request: wire::RegressionRequest,
    access: &mut Access<'_>,
    deadline: Instant,
) -> Result<Reply, Fault> {
    let spec = named(request.model_spec)?;
    let model = find(front, &spec)?;
    access.model(&model);
    Task::Regress.check(&model.decision, &spec.signature_name)?;
    let rows = examples(front, &model, request.input).await?;
    let asked = Asked { operation: Operation::Regress, rows, deadline };
    run(front, &model, asked, |model, numbers| {
        frame::framed(&wire::RegressionResponse {
            result: Some(example::numbers(&numbers)),
            model_spec: Some(describe::spec(model, SIGNATURE)),
        })
    })
    .await
}

fn metadata(
    front: &Front,
    request: wire::GetModelMetadataRequest,
    access: &mut Access<'_>,
) -> Result<Reply, Fault> {
    let spec = named(request.model_spec)?;
    if request.metadata_field.is_empty() {
        return Err(Fault::NoField);
    }
    let unknown = |field: &String| field != describe::SIGNATURES;
    if let Some(field) = request.metadata_field.into_iter().find(unknown) {
        return Err(Fault::Field { field });
    }
    let model = find(front, &spec)?;
    access.model(&model);
    Ok(Reply::of(&describe::metadata(&model)))
}

fn status(
    front: &Front,
    request: wire::GetModelStatusRequest,
    access: &mut Access<'_>,
) -> Result<Reply, Fault> {
    let spec = named(request.model_spec)?;
    let found = front.service.status(&spec.name, version(&spec))?;
    if let Some(model) = found.iter().find_map(|status| status.model.as_ref()) {
        access.model(model);
    }
    Ok(Reply::of(&describe::status(&found)))
}

fn health(front: &Front, request: &wire::HealthCheckRequest) -> Result<Reply, Fault> {
    if !SERVICES.contains(&&*request.service) {
        return Err(Fault::NoService { name: request.service.clone() });
    }
    Ok(Reply::of(&describe::health(front.is_ready())))
}

/// Answers the health check of a server that is ready from the start; `None` for a service that is
/// not among `services`.
pub(crate) fn health_check(message: Bytes, services: &[&str]) -> Option<Vec<u8>> {
    let request = wire::HealthCheckRequest::decode(message).ok()?;
    services.contains(&&*request.service).then(|| describe::health(true).encode_to_vec())
}

/// A specification that is there and names a model.
fn named(spec: Option<ModelSpec>) -> Result<ModelSpec, Fault> {
    let spec = spec.ok_or(Fault::NoSpec)?;
    if spec.name.is_empty() { Err(Fault::NoName) } else { Ok(spec) }
}

fn find(front: &Front, spec: &ModelSpec) -> Result<Arc<ServedModel>, Fault> {
    Ok(front.service.find(&spec.name, version(spec))?)
}

fn version(spec: &ModelSpec) -> Version<'_> {
    match &spec.version_choice {
        None => Version::Latest,
        Some(VersionChoice::Version(version)) => Version::Specific(version.value),
        Some(VersionChoice::VersionLabel(label)) => Version::Label(label),
    }
}

/// What follows the message of a call that went well.
pub(crate) fn trailers(prediction: Option<PredictionId>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    if let Some(id) = prediction
        && let Ok(id) = HeaderValue::from_str(&id.to_string())
    {
        trailers.insert(PREDICTION_ID, id);
    }
    trailers
}

/// Writes a failure into headers.
fn fail(headers: &mut HeaderMap, code: Code, message: &str) {
    headers.insert(STATUS, HeaderValue::from(code as u16));
    if let Ok(message) = HeaderValue::from_str(&escaped(message)) {
        headers.insert(MESSAGE, message);
    }
}

/// The start of `message` as `grpc-message` has it: UTF-8 with `%` and all that is not printable
/// ASCII as `%41`.
fn escaped(message: &str) -> String {
    let message = &message[..message.floor_char_boundary(MAX_MESSAGE)];
    let mut escaped = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => escaped.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

impl Reply {
    fn of(message: &impl Message) -> Self {
        Self { frame: frame::framed(message), prediction: None }
    }
}

impl Fault {
    fn code(&self) -> Code {
        match self {
            Self::Service(error) => error.code(),
            Self::NoSignature { .. } => Code::FailedPrecondition,
            Self::NoSpec
            | Self::NoName
            | Self::NoField
            | Self::Field { .. }
            | Self::Tensor(_)
            | Self::Example(_) => Code::InvalidArgument,
            Self::NoService { .. } => Code::NotFound,
            Self::Unsupported(_) | Self::NoMethod { .. } => Code::Unimplemented,
            Self::Frame(error) => error.code(),
            Self::Decode(_) | Self::Upload(_) => Code::Internal,
        }
    }

    /// The status that counts for it: not ours is the fault where a client speaks no gRPC, though
    /// gRPC's libraries call that an internal one.
    fn http_status(&self) -> StatusCode {
        match self {
            Self::Frame(error) if error.code() == Code::Internal => StatusCode::BAD_REQUEST,
            Self::Decode(_) | Self::Upload(_) => StatusCode::BAD_REQUEST,
            _ => http_status(self.code()),
        }
    }
}

impl From<ServiceError> for Fault {
    fn from(error: ServiceError) -> Self {
        match error {
            // Over gRPC, TensorFlow Serving words it in another way.
            ServiceError::NoSignature { name } => Self::NoSignature { name },
            error => Self::Service(error),
        }
    }
}

impl From<UploadError> for Fault {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::TooLarge { limit } => {
                Self::Frame(FrameError::TooLarge { limit: limit.saturating_sub(frame::PREFIX) })
            }
            UploadError::Slow => Self::Service(ServiceError::Deadline),
            UploadError::Broken => Self::Upload(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn calls_are_told_from_other_requests() {
        let check = |kind: &str, version: Http, method: Method, expected: bool| {
            let request = Request::builder().version(version).method(method);
            let request = request.header(CONTENT_TYPE, kind).body(()).unwrap();
            assert_eq!(is_call(&request), expected, "{request:?}");
        };
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc;a=b"] {
            check(kind, Http::HTTP_2, Method::POST, true);
            check(kind, Http::HTTP_11, Method::POST, false);
            check(kind, Http::HTTP_2, Method::GET, false);
        }
        for kind in ["application/grpc-web", "application/grpc+json", "application/json", ""] {
            check(kind, Http::HTTP_2, Method::POST, false);
        }
        assert!(!is_call(&Request::builder().version(Http::HTTP_2).body(()).unwrap()));
    }

    #[test]
    fn messages_are_escaped_and_cut() {
        assert_eq!(escaped("a \"b\" ~/{}"), "a \"b\" ~/{}");
        assert_eq!(escaped("5% é\n\u{7f}"), "5%25 %C3%A9%0A%7F");
        assert_eq!(escaped(&"é".repeat(2000)), "%C3%A9".repeat(MAX_MESSAGE / 2));
        let odd = format!("a{}", "é".repeat(2000));
        assert_eq!(escaped(&odd).len(), 1 + 6 * (MAX_MESSAGE / 2 - 1));
    }
}
