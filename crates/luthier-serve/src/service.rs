//! What every protocol sits on: which model a call means, what it may cost, and its answer.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Sender, TrySendError};
use luthier_bundle::Bundle;
use tokio::sync::{mpsc, oneshot};

use crate::metrics::{Metrics, Rejection};
use crate::models::{ModelState, ServedModel};
use crate::texts::Texts;
use crate::worker::{self, Job};
use crate::{Models, ServeConfig, ServeError};

/// Most rows of one call.
pub(crate) const MAX_ROWS: usize = 65_536;
/// The one signature of every model.
pub(crate) const SIGNATURE: &str = "serving_default";

/// Models, the queue to the workers, and the counters. The workers end when it is dropped.
pub(crate) struct Service {
    models: Vec<Arc<ServedModel>>,
    jobs: Sender<Job>,
    queue_requests: usize,
    metrics: Arc<Metrics>,
}

/// Workers that are loading their models.
pub(crate) struct Loading {
    workers: usize,
    reports: mpsc::UnboundedReceiver<Result<(), ServeError>>,
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
    pub(crate) model: &'a ServedModel,
    /// One text per row.
    pub(crate) texts: Texts,
    /// When nobody will wait for the answer any more.
    pub(crate) deadline: Instant,
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Scores.
    Predict,
    /// Labels with scores.
    Classify,
    /// A number, which no classifier gives.
    Regress,
}

/// Kinds of failure, the part of gRPC's status codes that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    ResourceExhausted,
    Internal,
    Unavailable,
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
    NoClassifySignature { name: String },
    #[error(
        "Expected regression signature method_name to be tensorflow/serving/regress. \
         Was: tensorflow/serving/predict"
    )]
    NotRegression,
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
    /// Starts the workers, which begin to load `models`.
    pub(crate) fn start(
        models: Models,
        config: &ServeConfig,
    ) -> Result<(Self, Loading), ServeError> {
        let (models, bundles) = models.into_served();
        let bundles: Arc<[Bundle]> = bundles.into();
        let metrics = Arc::new(Metrics::new());
        let (jobs, waiting) = crossbeam_channel::bounded(config.queue_requests);
        let (report, reports) = mpsc::unbounded_channel();
        let workers = config.workers.max(1);
        for _ in 0..workers {
            worker::start(worker::Setup {
                models: models.clone(),
                bundles: Arc::clone(&bundles),
                jobs: waiting.clone(),
                metrics: Arc::clone(&metrics),
                report: report.clone(),
            })?;
        }
        let service = Self { models, jobs, queue_requests: config.queue_requests, metrics };
        Ok((service, Loading { workers, reports }))
    }

    /// All models, by name and falling version.
    pub(crate) fn models(&self) -> &[Arc<ServedModel>] {
        &self.models
    }

    /// The counters.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The counters as text, with gauges brought up to date.
    pub(crate) fn render_metrics(&self) -> String {
        self.metrics.render(self.jobs.len(), &self.models)
    }

    /// Whether every model answers.
    pub(crate) fn is_ready(&self) -> bool {
        self.models.iter().all(|model| model.state() == ModelState::Available)
    }

    /// The model that a call means, ready to answer.
    pub(crate) fn find(
        &self,
        name: &str,
        version: Version<'_>,
    ) -> Result<&Arc<ServedModel>, ServiceError> {
        let of_name = |model: &&Arc<ServedModel>| &*model.name == name;
        let mut models = self.models.iter().filter(of_name);
        let found = match version {
            Version::Latest => {
                models.next().ok_or_else(|| ServiceError::NoModel { name: name.to_owned() })?
            }
            Version::Specific(version) => models
                .find(|model| model.version == version)
                .ok_or_else(|| ServiceError::NoVersion { name: name.to_owned(), version })?,
            Version::Label(label) => return Err(ServiceError::NoLabel { label: label.to_owned() }),
        };
        match found.state() {
            ModelState::Available => Ok(found),
            state => Err(ServiceError::NotAvailable {
                name: Arc::clone(&found.name),
                version: found.version,
                state: state.name(),
            }),
        }
    }

    /// The models that a question about status means, at least one, whatever their state.
    pub(crate) fn status(
        &self,
        name: &str,
        version: Version<'_>,
    ) -> Result<Vec<&Arc<ServedModel>>, ServiceError> {
        let of_name = self.models.iter().filter(|model| &*model.name == name);
        let found: Vec<_> = match version {
            Version::Latest => of_name.collect(),
            Version::Specific(version) => of_name.filter(|m| m.version == version).collect(),
            Version::Label(label) => return Err(ServiceError::NoLabel { label: label.to_owned() }),
        };
        match (found.is_empty(), version) {
            (false, _) => Ok(found),
            (true, Version::Specific(version)) => {
                Err(ServiceError::NoVersionStatus { name: name.to_owned(), version })
            }
            (true, _) => Err(ServiceError::NoStatus { name: name.to_owned() }),
        }
    }

    /// Probabilities, row-major `[texts, classes]`, all finite. A call whose future is dropped is
    /// taken out of the queue before it runs.
    pub(crate) async fn predict(&self, call: PredictCall<'_>) -> Result<Vec<f32>, ServiceError> {
        let PredictCall { model, texts, deadline } = call;
        if texts.len() > MAX_ROWS {
            self.metrics.rejected(Rejection::TooManyRows);
            return Err(ServiceError::TooManyRows { found: texts.len() });
        }
        if texts.len() == 0 {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        let job = Job { model: model.index, texts, queued: Instant::now(), deadline, reply };
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
    /// Checks that every model does this under the signature called `name`, empty for the default.
    pub(crate) fn check_signature(self, name: &str) -> Result<(), ServiceError> {
        let is_known = matches!(name, "" | SIGNATURE);
        match self {
            Self::Regress => Err(ServiceError::NotRegression),
            _ if is_known => Ok(()),
            Self::Predict => Err(ServiceError::NoSignature { name: name.to_owned() }),
            Self::Classify => Err(ServiceError::NoClassifySignature { name: name.to_owned() }),
        }
    }
}

impl Loading {
    /// Waits until every worker has loaded every model; the first failure ends the wait.
    pub(crate) async fn finished(mut self) -> Result<(), ServeError> {
        for _ in 0..self.workers {
            match self.reports.recv().await {
                Some(report) => report?,
                None => return Err(ServeError::Worker),
            }
        }
        Ok(())
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
            | Self::NoClassifySignature { .. }
            | Self::NotRegression
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
