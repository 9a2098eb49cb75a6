use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use luthier_bundle::{Draft, Lineage, Predictor};
use luthier_engine::Threads;
use luthier_model::Decision;
use luthier_space::{Distribution, Value};
use luthier_train::{Data, Learner, Linear, Row, TextData};

use super::{Code, MAX_ROWS, PredictCall, Service, ServiceError, Task, Version};
use crate::feedback::{PredictionId, Tracker};
use crate::metrics::{Metrics, Operation};
use crate::models::{ModelState, ServedModel};
use crate::registry::Registry;
use crate::rows::Rows;
use crate::texts::Texts;
use crate::versions::{VersionStatus, Versions};
use crate::worker::Job;

/// A loaded model of two classes.
pub(crate) fn model(name: &str, version: i64) -> Arc<ServedModel> {
    let predictor = Predictor::new(draft(name).model, &Threads::new(1)).unwrap();
    Arc::new(ServedModel::new(name, version, predictor, None))
}

/// A small model of two classes.
pub(crate) fn draft(name: &str) -> Draft {
    let data = TextData::new(2, |_, visit| {
        for label in [0, 1, 0, 1] {
            visit(Row::labelled(["cold", "warm"][label as usize], label));
        }
        Ok(())
    });
    let data = Data::from(data.unwrap());
    let learner = Linear;
    let values = learner.space().pick(|_, dimension| match &dimension.distribution {
        Distribution::Float { low, .. } => Value::Float(*low),
        Distribution::Int { low, .. } => Value::Int(*low),
        other => other.options()[0].clone(),
    });
    let job = luthier_train::Job::new(&data, &values, 1);
    let network = learner.fit(&job, &mut |_| ControlFlow::Continue(())).unwrap().network();
    let decision = Decision::of_classes(vec!["no".to_owned(), "yes".to_owned()], Some(1));
    Draft {
        model: network.to_model(decision, None).unwrap(),
        probes: Vec::new(),
        name: name.to_owned(),
        task: "text-classification".to_owned(),
        scores: Vec::new(),
        lineage: Lineage::default(),
        test_openings: 0,
        documents: Vec::new(),
        route: None,
    }
}

pub(crate) fn texts(count: usize) -> Rows {
    let mut texts = Texts::with_capacity(count);
    (0..count).for_each(|_| texts.push("é"));
    Rows::Texts(texts)
}

/// A version in `state`.
fn status(name: &str, version: i64, state: ModelState) -> VersionStatus {
    VersionStatus {
        name: name.into(),
        version,
        version_label: version.to_string().into(),
        state,
        error: None,
        model: (state == ModelState::Available).then(|| model(name, version)),
    }
}

/// A service whose queue takes one request, and the worker's end of the queue.
fn service(statuses: Vec<VersionStatus>) -> (Service, Receiver<Job>) {
    let (jobs, waiting) = crossbeam_channel::bounded(1);
    let labels = [("a".into(), [("stable".to_owned(), 1), ("next".to_owned(), 9)].into())].into();
    let registry = Registry::of(Versions { statuses, labels, ..Versions::default() });
    let metrics = Arc::new(Metrics::new());
    let tracker = Tracker::start(None).unwrap();
    (Service { registry, jobs, queue_requests: 1, metrics, tracker }, waiting)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

#[test]
fn versions_are_found_once_they_are_available() {
    use ModelState::{Available, End, Loading, Start, Unloading};
    let (service, _) = service(vec![
        status("a", 4, Loading),
        status("a", 3, Available),
        status("a", 2, Unloading),
        status("a", 1, Available),
        status("b", 2, End),
        status("b", 1, Start),
    ]);
    let check = |name, version, expected: Result<i64, (Code, &str)>| {
        let found = service.find(name, version).map(|model| model.version);
        let found = found.map_err(|error| (error.code(), error.to_string()));
        let expected = expected.map_err(|(code, message)| (code, message.to_owned()));
        assert_eq!(found, expected, "{name} {version:?}");
    };
    let none = |message| Err((Code::NotFound, message));
    let not_yet = |message| Err((Code::Unavailable, message));
    check("a", Version::Latest, Ok(3));
    check("a", Version::Specific(1), Ok(1));
    check("a", Version::Specific(4), not_yet("Servable a version 4 is not available: LOADING"));
    check("a", Version::Specific(2), none("Servable not found for request: Specific(a, 2)"));
    check("b", Version::Latest, not_yet("Servable b version 2 is not available: END"));
    check("b", Version::Specific(1), not_yet("Servable b version 1 is not available: START"));
    check("c", Version::Latest, none("Servable not found for request: Latest(c)"));
    check("a", Version::Label("stable"), Ok(1));
    let vanished = "Servable not found for request: Specific(a, 9)";
    check("a", Version::Label("next"), none(vanished));
    let unknown = "Unrecognized servable version label: stable";
    check("b", Version::Label("stable"), Err((Code::InvalidArgument, unknown)));
    let versions = |version| {
        let found = service.status("a", version).unwrap();
        found.iter().map(|status| status.version).collect::<Vec<_>>()
    };
    assert_eq!(versions(Version::Latest), [4, 3, 2, 1]);
    assert_eq!(versions(Version::Label("stable")), [1]);
}

#[test]
fn one_waits_and_the_next_is_refused() {
    let (service, waiting) = service(Vec::new());
    let model = model("a", 1);
    let call = |rows| PredictCall {
        model: &model,
        operation: Operation::Predict,
        rows,
        id: PredictionId::random(),
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
    let mut job = waiting.try_recv().unwrap();
    assert_eq!(job.rows.take_texts().iter().collect::<Vec<_>>(), ["é", "é"]);
    assert!(job.reply.is_closed(), "a worker sees that nobody waits");
    drop(waiting);
    let call = call(texts(1));
    assert_eq!(block_on(service.predict(call)), Err(ServiceError::Failed), "no worker lives");
}

#[test]
fn signatures() {
    let classes = Decision::of_classes(vec!["a".to_owned(), "b".to_owned()], None);
    let number = Decision::of_number("price");
    let check = |task: Task, name, of_classes, of_numbers| {
        let found = [&classes, &number].map(|decision| task.check(decision, name).is_ok());
        assert_eq!(found, [of_classes, of_numbers], "{task:?} {name}");
    };
    check(Task::Predict, "", true, true);
    check(Task::Predict, "serving_default", true, true);
    check(Task::Predict, "x", false, false);
    check(Task::Classify, "", true, false);
    check(Task::Classify, "x", false, false);
    check(Task::Regress, "serving_default", false, true);
    check(Task::Regress, "x", false, false);
}
