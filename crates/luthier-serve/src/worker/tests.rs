use std::sync::Arc;
use std::time::{Duration, Instant};

use luthier_engine::Threads;
use tokio::sync::oneshot::{self, Receiver};

use super::{Job, Worker};
use crate::metrics::{Metrics, Operation};
use crate::rows::Rows;
use crate::service::ServiceError;
use crate::service::tests::{model, texts};
use crate::texts::Texts;

fn job(rows: Rows, left: Duration) -> (Job, Receiver<Result<Vec<f32>, ServiceError>>) {
    let now = Instant::now();
    let (reply, answer) = oneshot::channel();
    (
        Job {
            model: model("a", 1),
            operation: Operation::Predict,
            rows,
            queued: now,
            deadline: now + left,
            remember: None,
            reply,
        },
        answer,
    )
}

#[test]
fn a_panic_fails_one_request_and_expired_ones_do_not_run() {
    const MINUTE: Duration = Duration::from_secs(60);
    let (jobs, waiting) = crossbeam_channel::unbounded();
    let (broken, mut broken_answer) = job(Rows::Texts(Texts::broken()), MINUTE);
    let (late, mut late_answer) = job(texts(1), Duration::ZERO);
    let (abandoned, abandoned_answer) = job(texts(1), MINUTE);
    let (last, mut last_answer) = job(texts(2), MINUTE);
    drop(abandoned_answer);
    for job in [broken, late, abandoned, last] {
        jobs.send(job).unwrap();
    }
    drop(jobs);
    let metrics = Arc::new(Metrics::new());
    Worker::new(Threads::new(1), Arc::clone(&metrics)).run(&waiting);
    assert_eq!(broken_answer.try_recv(), Ok(Err(ServiceError::Failed)));
    assert_eq!(late_answer.try_recv(), Ok(Err(ServiceError::Deadline)));
    assert_eq!(last_answer.try_recv().map(|answer| answer.map(|scores| scores.len())), Ok(Ok(4)));
    let counted = metrics.render(0, &[]);
    assert!(counted.contains("luthier_rejected_requests_total{reason=\"expired\"} 2\n"));
}
