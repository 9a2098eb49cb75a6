//! What every protocol sits on: which model a call means, what it may cost, and its answer.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Sender, TrySendError};
use luthier_model::Decision;
use tokio::sync::oneshot;

use crate::feedback::{PredictionId, Tracker};
use crate::metrics::{Metrics, Operation, Rejection};
use crate::models::ServedModel;
use crate::registry::{Loading, Registry, RouteCheck};
use crate::rows::Rows;
use crate::versions::{VersionStatus, Versions};
use crate::worker::{self, Job};
use crate::{Models, ServeConfig, ServeError};

/// Most rows of one call.
pub(crate) const MAX_ROWS: usize = 65_536;
/// The one signature of every model.
pub(crate) const SIGNATURE: &str = "serving_default";

/// Models, the queue to the workers, and the counters. The workers and the thread that loads models
/// end when it is dropped.
pub(crate) struct Service {
    registry: Registry,
    jobs: Sender<Job>,
    queue_requests: usize,
    metrics: Arc<Metrics>,
    tracker: Arc<Tracker>,
}

/// Which version of a model a call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version<'a> {
    /// The highest.
    Latest,
    /// This one.
    Specific(i64),
    /// The one that carries a label.
    Label(&'a str),
}

/// A call for scores.
pub(crate) struct PredictCall<'a> {
    /// The model.
    pub(crate) model: &'a Arc<ServedModel>,
    /// What it is asked for.
    pub(crate) operation: Operation,
    /// Rows as the model takes them.
    pub(crate) rows: Rows,
    /// What its rows are named by, for labels to come.
    pub(crate) id: PredictionId,
    /// When nobody will wait for the answer any more.
    pub(crate) deadline: Instant,
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Scores.
    Predict,
    /// Labels with scores, which a model of numbers has not.
    Classify,
    /// A number, which no classifier gives.
    Regress,
}

/// gRPC's names of its status codes, by number (`doc/statuscodes.md`).
pub(crate) const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Kinds of failure, with their numbers: the part of gRPC's status codes that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// What is asked makes no sense, whatever the state of the server.
    InvalidArgument = 3,
    /// There was no answer in time.
    DeadlineExceeded = 4,
    /// What is asked for is not there.
    NotFound = 5,
    /// Something is too large, or too much is asked at once.
    ResourceExhausted = 8,
    /// What is asked makes no sense now.
    FailedPrecondition = 9,
    /// There is no such call.
    Unimplemented = 12,
    /// The server is at fault.
    Internal = 13,
    /// Another time it may go well.
    Unavailable = 14,
    /// Something that was written cannot be read.
    DataLoss = 15,
    /// Who asks has not shown that they may.
    Unauthenticated = 16,
}

/// Why a call has no answer. Messages are TensorFlow Serving's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServiceError {
    #[error("Servable not found for request: Latest({name})")]
    NoModel { name: String },
    #[error("Servable not found for request: Specific({name}, {version})")]
    NoVersion { name: String, version: i64 },
    #[error("Could not find any versions of model {name}")]
    NoStatus { name: String },
    #[error("Could not find version {version} of model {name}")]
    NoVersionStatus { name: String, version: i64 },
    #[error("Unrecognized servable version label: {label}")]
    NoLabel { label: String },
    #[error("Servable {name} version {version} is not available: {state}")]
    NotAvailable { name: Arc<str>, version: i64, state: &'static str },
    #[error("Serving signature name: \"{name}\" not found in signature def")]
    NoSignature { name: String },
    #[error("No signature was found with the name: {name}")]
    NoMethodSignature { name: String },
    #[error(
        "Expected regression signature method_name to be tensorflow/serving/regress. \
         Was: tensorflow/serving/predict"
    )]
    NotRegression,
    #[error(
        "Expected classification signature method_name to be tensorflow/serving/classify. \
         Was: tensorflow/serving/predict"
    )]
    NotClassification,
    #[error("{found} rows in one request, the limit is {MAX_ROWS}")]
    TooManyRows { found: usize },
    #[error("{limit} requests are waiting already")]
    QueueFull { limit: usize },
    #[error("Deadline exceeded")]
    Deadline,
    #[error("the model failed on this request")]
    Failed,
}

impl Service {
    /// Starts the workers, and begins to load `models`.
    pub(crate) fn start(
        models: Models,
        config: &ServeConfig,
        route_check: RouteCheck,
    ) -> Result<(Self, Loading), ServeError> {
        let tracker = Tracker::start(config.feedback_store.as_deref())?;
        let metrics = Arc::new(Metrics::new().with_collector(Arc::clone(&tracker)));
        let (jobs, waiting) = crossbeam_channel::bounded(config.queue_requests);
        for _ in 0..config.workers.max(1) {
            worker::start(waiting.clone(), Arc::clone(&metrics))?;
        }
        let (registry, loading) = Registry::start(models, config, route_check)?;
        let queue_requests = config.queue_requests;
        let service = Self { registry, jobs, queue_requests, metrics, tracker };
        Ok((service, loading))
    }

    /// All versions as they are now.
    pub(crate) fn versions(&self) -> Arc<Versions> {
        self.registry.versions()
    }

    /// The counters.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What joins labels with predictions.
    pub(crate) fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// The counters as text, with gauges brought up to date.
    pub(crate) fn render_metrics(&self) -> String {
        self.metrics.render(self.jobs.len(), &self.versions().statuses)
    }

    /// Whether every model answers.
    pub(crate) fn is_ready(&self) -> bool {
        self.versions().is_ready
    }

    /// The model that a call means, ready to answer; it stays so while the caller holds it.
    pub(crate) fn find(
        &self,
        name: &str,
        version: Version<'_>,
    ) -> Result<Arc<ServedModel>, ServiceError> {
        self.versions().find(name, version).cloned()
    }

    /// The versions that a question about status means, at least one, whatever their state.
    pub(crate) fn status(
        &self,
        name: &str,
        version: Version<'_>,
    ) -> Result<Vec<VersionStatus>, ServiceError> {
        self.versions().status(name, version)
    }

    /// Refuses a call of too many rows.
    pub(crate) fn check_rows(&self, rows: usize) -> Result<(), ServiceError> {
        if rows <= MAX_ROWS {
            return Ok(());
        }
        self.metrics.rejected(Rejection::TooManyRows);
        Err(ServiceError::TooManyRows { found: rows })
    }

    /// What the model gives, row-major `[rows, outputs]`, all finite. A call whose future is dropped is
    /// taken out of the queue before it runs.
    pub(crate) async fn predict(&self, call: PredictCall<'_>) -> Result<Vec<f32>, ServiceError> {
        let PredictCall { model, operation, rows, id, deadline } = call;
        self.check_rows(rows.len())?;
        if rows.len() == 0 {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        let model = Arc::clone(model);
        let remember = Some((Arc::clone(&self.tracker), id));
        let queued = Instant::now();
        let job = Job { model, operation, rows, queued, deadline, remember, reply };
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.metrics.rejected(Rejection::QueueFull);
                return Err(ServiceError::QueueFull { limit: self.queue_requests });
            }
            Err(TrySendError::Disconnected(_)) => return Err(ServiceError::Failed),
        }
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ServiceError::Failed),
            Err(_) => Err(ServiceError::Deadline),
        }
    }
}

impl Task {
    /// Whether a model that decides as `decision` does this.
    pub(crate) fn is_done_by(self, decision: &Decision) -> bool {
        match self {
            Self::Predict => true,
            Self::Classify => matches!(decision, Decision::Class(_)),
            Self::Regress => matches!(decision, Decision::Number(_)),
        }
    }

    /// Checks that a model that decides as `decision` does this under the signature called `name`,
    /// empty for the default.
    pub(crate) fn check(self, decision: &Decision, name: &str) -> Result<(), ServiceError> {
        let is_known = matches!(name, "" | SIGNATURE);
        match self {
            Self::Regress if !self.is_done_by(decision) => Err(ServiceError::NotRegression),
            Self::Classify if !self.is_done_by(decision) => Err(ServiceError::NotClassification),
            _ if is_known => Ok(()),
            Self::Predict => Err(ServiceError::NoSignature { name: name.to_owned() }),
            Self::Classify | Self::Regress => {
                Err(ServiceError::NoMethodSignature { name: name.to_owned() })
            }
        }
    }
}

impl Code {
    /// Name on the wire.
    pub(crate) fn name(self) -> &'static str {
        CODES[self as usize]
    }
}

impl ServiceError {
    /// Its kind.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::NoModel { .. }
            | Self::NoVersion { .. }
            | Self::NoStatus { .. }
            | Self::NoVersionStatus { .. } => Code::NotFound,
            Self::NoLabel { .. }
            | Self::NoSignature { .. }
            | Self::NoMethodSignature { .. }
            | Self::NotRegression
            | Self::NotClassification
            | Self::TooManyRows { .. } => Code::InvalidArgument,
            Self::NotAvailable { .. } => Code::Unavailable,
            Self::QueueFull { .. } => Code::ResourceExhausted,
            Self::Deadline => Code::DeadlineExceeded,
            Self::Failed => Code::Internal,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
