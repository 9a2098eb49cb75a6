//! The threads that run models.
//!
//! Each worker has predictors and buffers of its own and takes one request at a time from the
//! queue that all share. It lives inside an engine pool of one thread, so that running a graph,
//! a matter of microseconds, starts without waking another thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::Receiver;
use luthier_bundle::{Bundle, PredictScratch, Predictor};
use luthier_engine::Threads;
use tokio::sync::{mpsc, oneshot};

use crate::ServeError;
use crate::metrics::{Metrics, Rejection, Stage};
use crate::models::ServedModel;
use crate::service::ServiceError;
use crate::texts::Texts;

/// Rows between two looks at the deadline.
const CHUNK_ROWS: usize = 256;

/// A request on its way through the queue.
pub(crate) struct Job {
    /// Position of the model.
    pub(crate) model: usize,
    /// Its rows, at least one.
    pub(crate) texts: Texts,
    /// When it was queued.
    pub(crate) queued: Instant,
    /// When it is no longer worth running.
    pub(crate) deadline: Instant,
    /// Where the answer goes; closed when nobody waits any more.
    pub(crate) reply: oneshot::Sender<Result<Vec<f32>, ServiceError>>,
}

/// What a worker is started with.
pub(crate) struct Setup {
    pub(crate) models: Vec<Arc<ServedModel>>,
    pub(crate) bundles: Arc<[Bundle]>,
    pub(crate) jobs: Receiver<Job>,
    pub(crate) metrics: Arc<Metrics>,
    /// Gets one value: whether the models could be loaded.
    pub(crate) report: mpsc::UnboundedSender<Result<(), ServeError>>,
}

/// The state of a running worker.
struct Worker {
    /// In the order of the bundles.
    models: Vec<Arc<ServedModel>>,
    predictors: Vec<Predictor>,
    scratch: PredictScratch,
    metrics: Arc<Metrics>,
}

/// Starts a worker, which loads the models, reports, and answers until the queue is closed.
pub(crate) fn start(setup: Setup) -> Result<(), ServeError> {
    let work = || {
        let Setup { mut models, bundles, jobs, metrics, report } = setup;
        models.sort_by_key(|model| model.index);
        let threads = Threads::new(1);
        threads.run(|| {
            let loaded = load(&models, &bundles, &threads);
            drop(bundles);
            match loaded {
                Ok(predictors) => {
                    let scratch = PredictScratch::default();
                    let _ = report.send(Ok(()));
                    Worker { models, predictors, scratch, metrics }.run(&jobs);
                }
                Err(error) => drop(report.send(Err(error))),
            }
        });
    };
    let thread = thread::Builder::new().name("luthier-worker".to_owned());
    thread.spawn(work).map(drop).map_err(ServeError::System)
}

/// Loads each bundle, which includes checking its probes.
fn load(
    models: &[Arc<ServedModel>],
    bundles: &[Bundle],
    threads: &Threads,
) -> Result<Vec<Predictor>, ServeError> {
    let load = |(model, bundle): (&Arc<ServedModel>, &Bundle)| {
        bundle.predictor(threads).map_err(|source| ServeError::Model {
            name: model.name.to_string(),
            version: model.version,
            source,
        })
    };
    models.iter().zip(bundles).map(load).collect()
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let started = Instant::now();
            if job.is_expired(started) {
                self.metrics.rejected(Rejection::Expired);
                continue;
            }
            let model = Arc::clone(&self.models[job.model]);
            self.metrics.spent(&model, Stage::Queue, started - job.queued);
            let answer = guarded(|| self.answer(&job));
            if matches!(answer, Err(ServiceError::Failed)) {
                // A panic may have left the buffers half written.
                self.scratch = PredictScratch::default();
            }
            self.metrics.spent(&model, Stage::Inference, started.elapsed());
            let _ = job.reply.send(answer);
        }
    }

    fn answer(&mut self, job: &Job) -> Result<Vec<f32>, ServiceError> {
        let predictor = &self.predictors[job.model];
        let texts: Vec<&str> = job.texts.iter().collect();
        let mut scores = Vec::new();
        for chunk in texts.chunks(CHUNK_ROWS) {
            if !scores.is_empty() && job.is_expired(Instant::now()) {
                self.metrics.rejected(Rejection::Expired);
                return Err(ServiceError::Deadline);
            }
            let found = predictor.predict(chunk, &mut self.scratch).map_err(|error| {
                tracing::error!(model = %self.models[job.model].name, %error, "prediction failed");
                ServiceError::Failed
            })?;
            // The first chunk is mostly the only one, and then needs no copy.
            if scores.is_empty() { scores = found } else { scores.extend(found) }
        }
        let whole = scores.len() == texts.len() * predictor.decision().classes();
        match whole && scores.iter().all(|score| score.is_finite()) {
            true => Ok(scores),
            false => {
                let name = &self.models[job.model].name;
                tracing::error!(model = %name, "the model gave no finite score for every class");
                Err(ServiceError::Failed)
            }
        }
    }
}

impl Job {
    fn is_expired(&self, now: Instant) -> bool {
        now >= self.deadline || self.reply.is_closed()
    }
}

/// Runs `work`; a panic in it is a failure of this request and of no other.
fn guarded<T>(work: impl FnOnce() -> Result<T, ServiceError>) -> Result<T, ServiceError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("a worker panicked on a request and goes on");
        Err(ServiceError::Failed)
    })
}

#[cfg(test)]
mod tests;
