use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use luthier_model::{Decision, Signature};

use super::{Code, MAX_ROWS, PredictCall, Service, ServiceError, Task, Version};
use crate::metrics::Metrics;
use crate::models::ServedModel;
use crate::texts::Texts;
use crate::worker::Job;

pub(crate) fn model(name: &str, version: i64) -> Arc<ServedModel> {
    let labels = vec!["no".to_owned(), "yes".to_owned()];
    let decision = Decision { labels, positive: Some(1), threshold: None };
    let signature = Signature::text_classifier(2, true);
    Arc::new(ServedModel::new(name, version, 0, decision, signature))
}

pub(crate) fn texts(count: usize) -> Texts {
    let mut texts = Texts::with_capacity(count);
    (0..count).for_each(|_| texts.push("é"));
    texts
}

/// A service whose queue takes one request, and the worker's end of the queue.
fn service() -> (Service, Receiver<Job>) {
    let (jobs, waiting) = crossbeam_channel::bounded(1);
    let models = vec![model("a", 3), model("a", 1), model("b", 2)];
    let metrics = Arc::new(Metrics::new());
    (Service { models, jobs, queue_requests: 1, metrics }, waiting)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

#[test]
fn models_are_found_once_they_are_available() {
    let (service, _) = service();
    let check = |name, version, expected: Result<i64, Code>| {
        let found = service.find(name, version).map(|model| model.version);
        assert_eq!(found.map_err(|error| error.code()), expected, "{name} {version:?}");
    };
    check("a", Version::Latest, Err(Code::Unavailable));
    service.models().iter().for_each(|model| model.set_available());
    assert!(service.is_ready());
    check("a", Version::Latest, Ok(3));
    check("a", Version::Specific(1), Ok(1));
    check("a", Version::Specific(2), Err(Code::NotFound));
    check("b", Version::Latest, Ok(2));
    check("c", Version::Latest, Err(Code::NotFound));
    check("a", Version::Label("stable"), Err(Code::InvalidArgument));
    assert_eq!(service.status("a", Version::Latest).unwrap().len(), 2);
}

#[test]
fn one_waits_and_the_next_is_refused() {
    let (service, waiting) = service();
    let model = model("a", 1);
    let call = |texts| PredictCall {
        model: &model,
        texts,
        deadline: Instant::now() + Duration::from_millis(50),
    };
    block_on(async {
        assert_eq!(service.predict(call(texts(0))).await, Ok(Vec::new()));
        let found = MAX_ROWS + 1;
        let refused = service.predict(call(texts(found))).await;
        assert_eq!(refused, Err(ServiceError::TooManyRows { found }));
        let (first, second) =
            tokio::join!(service.predict(call(texts(2))), service.predict(call(texts(1))));
        assert_eq!(first, Err(ServiceError::Deadline), "no worker answers");
        assert_eq!(second, Err(ServiceError::QueueFull { limit: 1 }));
    });
    let job = waiting.try_recv().unwrap();
    assert_eq!(job.texts.iter().collect::<Vec<_>>(), ["é", "é"]);
    assert!(job.reply.is_closed(), "a worker sees that nobody waits");
    drop(waiting);
    let call = call(texts(1));
    assert_eq!(block_on(service.predict(call)), Err(ServiceError::Failed), "no worker lives");
}

#[test]
fn signatures() {
    let check = |task: Task, name, is_fine| {
        assert_eq!(task.check_signature(name).is_ok(), is_fine, "{task:?} {name}");
    };
    check(Task::Predict, "", true);
    check(Task::Predict, "serving_default", true);
    check(Task::Predict, "x", false);
    check(Task::Classify, "x", false);
    check(Task::Regress, "", false);
}
