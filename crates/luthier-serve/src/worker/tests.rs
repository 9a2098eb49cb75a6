use std::sync::Arc;
use std::time::{Duration, Instant};

use luthier_bundle::PredictScratch;
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};

use super::{Job, Worker};
use crate::metrics::Metrics;
use crate::service::ServiceError;
use crate::service::tests::{model, texts};

fn job(left: Duration) -> (Job, Receiver<Result<Vec<f32>, ServiceError>>) {
    let now = Instant::now();
    let (reply, answer) = oneshot::channel();
    (Job { model: 0, texts: texts(1), queued: now, deadline: now + left, reply }, answer)
}

#[test]
fn a_panic_fails_one_request_and_expired_ones_do_not_run() {
    let (jobs, waiting) = crossbeam_channel::unbounded();
    let (first, mut first_answer) = job(Duration::from_secs(60));
    let (late, mut late_answer) = job(Duration::ZERO);
    let (abandoned, abandoned_answer) = job(Duration::from_secs(60));
    let (last, mut last_answer) = job(Duration::from_secs(60));
    drop(abandoned_answer);
    for job in [first, late, abandoned, last] {
        jobs.send(job).unwrap();
    }
    drop(jobs);
    let metrics = Arc::new(Metrics::new());
    // Without predictors, every request that runs panics.
    let worker = Worker {
        models: vec![model("a", 1)],
        predictors: Vec::new(),
        scratch: PredictScratch::default(),
        metrics: Arc::clone(&metrics),
    };
    worker.run(&waiting);
    assert_eq!(first_answer.try_recv(), Ok(Err(ServiceError::Failed)));
    assert_eq!(late_answer.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(last_answer.try_recv(), Ok(Err(ServiceError::Failed)));
    let counted = metrics.render(0, &[]);
    assert!(counted.contains("luthier_rejected_requests_total{reason=\"expired\"} 2\n"));
}
