//! The threads that run models.
//!
//! Each worker takes one request at a time from the queue that all share, with the version that is
//! to answer it, and owns nothing but buffers. It lives inside an engine pool of one thread, so
//! that running a graph, a matter of microseconds, starts without waking another thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::Receiver;
use luthier_bundle::{PredictScratch, Took};
use luthier_engine::Threads;
use tokio::sync::oneshot;

use crate::ServeError;
use crate::feedback::{PredictionId, Tracker};
use crate::metrics::{Metrics, Operation, Rejection, Stage};
use crate::models::ServedModel;
use crate::rows::Rows;
use crate::service::ServiceError;

/// Rows between two looks at the deadline.
const CHUNK_ROWS: usize = 256;

/// A request on its way through the queue.
pub(crate) struct Job {
    /// What answers it; kept from leaving until then.
    pub(crate) model: Arc<ServedModel>,
    /// What it is asked for.
    pub(crate) operation: Operation,
    /// Its rows, at least one.
    pub(crate) rows: Rows,
    /// When it was queued.
    pub(crate) queued: Instant,
    /// When it is no longer worth running.
    pub(crate) deadline: Instant,
    /// Who remembers the answer, and as what.
    pub(crate) remember: Option<(Arc<Tracker>, PredictionId)>,
    /// Where the answer goes; closed when nobody waits any more.
    pub(crate) reply: oneshot::Sender<Result<Vec<f32>, ServiceError>>,
}

/// The state of a running worker.
struct Worker {
    threads: Threads,
    scratch: PredictScratch,
    metrics: Arc<Metrics>,
}

/// Starts a worker, which answers until the queue is closed.
pub(crate) fn start(jobs: Receiver<Job>, metrics: Arc<Metrics>) -> Result<(), ServeError> {
    let work = move || {
        let threads = Threads::new(1);
        let worker = Worker::new(threads.clone(), metrics);
        threads.run(|| worker.run(&jobs));
    };
    let thread = thread::Builder::new().name("luthier-worker".to_owned());
    thread.spawn(work).map(drop).map_err(ServeError::System)
}

impl Worker {
    fn new(threads: Threads, metrics: Arc<Metrics>) -> Self {
        let scratch = PredictScratch::on(threads.clone());
        Self { threads, scratch, metrics }
    }

    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(mut job) = jobs.recv() {
            let started = Instant::now();
            if job.is_expired(started) {
                self.metrics.rejected(Rejection::Expired);
                let _ = job.reply.send(Err(ServiceError::Deadline));
                continue;
            }
            self.metrics.spent(&job.model, Stage::Queue, started - job.queued);
            let answer = guarded(|| self.answer(&job));
            if matches!(answer, Err(ServiceError::Failed)) {
                // A panic may have left the buffers half written.
                self.scratch = PredictScratch::on(self.threads.clone());
            }
            if let (Some((tracker, id)), Ok(scores)) = (&job.remember, &answer) {
                // Before the client has the id, so that no label comes too early.
                let ServedModel { tracked, decision, .. } = &*job.model;
                tracker.answered(*id, tracked, decision, job.rows.take_texts(), scores);
            }
            let _ = job.reply.send(answer);
        }
    }

    fn answer(&mut self, job: &Job) -> Result<Vec<f32>, ServiceError> {
        let rows = job.rows.len();
        let mut scores = Vec::new();
        let mut took = Took::default();
        for start in (0..rows).step_by(CHUNK_ROWS) {
            let chunk = start..rows.min(start + CHUNK_ROWS);
            if !scores.is_empty() && job.is_expired(Instant::now()) {
                self.metrics.rejected(Rejection::Expired);
                return Err(ServiceError::Deadline);
            }
            let found =
                job.model.predict(&job.rows, chunk, &mut self.scratch).map_err(|error| {
                    let ServedModel { name, version, .. } = &*job.model;
                    tracing::error!(model = %name, version, %error, "prediction failed");
                    ServiceError::Failed
                })?;
            took += self.scratch.took();
            // The first chunk is mostly the only one, and then needs no copy.
            if scores.is_empty() { scores = found } else { scores.extend(found) }
        }
        self.metrics.ran(&job.model, job.operation, rows, took);
        Ok(scores)
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
