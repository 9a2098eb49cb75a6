//! Counters, in the OpenMetrics text format and in Prometheus's older one.
//!
//! A request counts without locks: each version of a model has counters of its own, which it finds
//! by indexing. They outlive the version, so that the sums over versions do not fall.
//!
//! Labels take a bounded number of values: models are those served (others count as `unknown`),
//! APIs, states and reasons are fixed, statuses are those that the server sends.

mod histogram;
mod meters;
mod tensorflow;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use luthier_bundle::Took;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::models::{ModelState, ServedModel};
use crate::service::Task;
use crate::versions::VersionStatus;

pub(crate) use meters::Meters;

/// All counters of a server.
pub(crate) struct Metrics {
    registry: Registry,
    counted: Arc<Counted>,
    rejected: [Counter; Rejection::ALL.len()],
    queue_length: Gauge,
    states: Family<StateLabels, Gauge>,
    /// Held while the gauges are brought up to date and read.
    rendering: Mutex<()>,
}

/// What is counted of requests.
#[derive(Debug)]
struct Counted {
    /// For the server itself.
    server: Meters,
    /// For models that are not served.
    unknown: Meters,
    /// For each version that has had a request, by name and version.
    versions: Mutex<BTreeMap<Key, Arc<Meters>>>,
}

/// Name and version of a model.
type Key = (Arc<str>, Arc<str>);

/// Whom a request was for.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// The server itself.
    Server,
    /// A model that is not served.
    Unknown,
    /// A served model.
    Model(&'a ServedModel),
}

/// A finished request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) protocol: Protocol,
    pub(crate) operation: Operation,
    /// Status of HTTP; over gRPC the one that REST would have.
    pub(crate) status: u16,
    /// Number of gRPC's status; over REST the one that gRPC would have.
    pub(crate) code: usize,
    /// From its head to its answer.
    pub(crate) took: Duration,
}

/// What a request is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Rest,
    Grpc,
}

/// What is asked, as metrics and logs call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Nothing that there is.
    None,
    Index,
    Health,
    Ready,
    Metrics,
    OpenApi,
    Docs,
    Alias,
    Predict,
    Classify,
    Regress,
    Status,
    Metadata,
    Feedback,
}

/// Why a request did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// Too many requests were waiting.
    QueueFull,
    /// Its client had gone, or its time was up.
    Expired,
    /// Its body was larger than allowed.
    BodyTooLarge,
    /// It had more rows than allowed.
    TooManyRows,
}

/// A part of a request's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waiting for a worker.
    Queue,
    /// Texts to features.
    Preprocess,
    /// The graph.
    Inference,
    /// Scores to an answer.
    Postprocess,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    model: Arc<str>,
    version: Arc<str>,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    release: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("luthier");
        let counted = Arc::new(Counted::new());
        registry.register_collector(Box::new(Arc::clone(&counted)));
        let rejected: Family<RejectionLabels, Counter> = Family::default();
        let of = |reason: Rejection| {
            rejected.get_or_create(&RejectionLabels { reason: reason.name() }).clone()
        };
        let metrics = Self {
            counted,
            rejected: Rejection::ALL.map(of),
            queue_length: Gauge::default(),
            states: Family::default(),
            rendering: Mutex::new(()),
            registry,
        };
        metrics.registered(rejected)
    }

    /// Shows what `collector` has to show, too.
    pub(crate) fn with_collector(mut self, collector: impl Collector) -> Self {
        self.registry.register_collector(Box::new(collector));
        self
    }

    fn registered(mut self, rejected: Family<RejectionLabels, Counter>) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "rejected_requests",
            "Requests that were refused or dropped before a model ran",
            rejected,
        );
        registry.register(
            "queue_length",
            "Requests that wait for a worker",
            self.queue_length.clone(),
        );
        registry.register(
            "model_state",
            "1 for the state a version is in, 0 for the others",
            self.states.clone(),
        );
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { release: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "The release that runs", build);
        self
    }

    /// Counts a finished request.
    pub(crate) fn answered(&self, subject: Subject<'_>, answered: &Answered) {
        match subject {
            Subject::Server => self.counted.server.answered(answered),
            Subject::Unknown => self.counted.unknown.answered(answered),
            Subject::Model(model) => self.of(model).answered(answered),
        }
    }

    /// Notes how long a request spent in `stage`.
    pub(crate) fn spent(&self, model: &ServedModel, stage: Stage, took: Duration) {
        self.of(model).spent(stage, took);
    }

    /// Notes that `model` ran on so many rows, for `operation`, and how long that took.
    pub(crate) fn ran(&self, model: &ServedModel, operation: Operation, rows: usize, took: Took) {
        self.of(model).ran(operation, rows, took);
    }

    /// Counts a request that does not run.
    pub(crate) fn rejected(&self, reason: Rejection) {
        self.rejected[reason as usize].inc();
    }

    /// Everything in OpenMetrics 1.0 text.
    pub(crate) fn render(&self, queue_length: usize, versions: &[VersionStatus]) -> String {
        let _one_at_a_time = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        self.queue_length.set(i64::try_from(queue_length).unwrap_or(i64::MAX));
        // Versions that are known no more have no state.
        self.states.clear();
        for version in versions {
            for state in ModelState::ALL {
                let labels = StateLabels {
                    model: Arc::clone(&version.name),
                    version: Arc::clone(&version.version_label),
                    state: state.name(),
                };
                self.states.get_or_create(&labels).set(i64::from(version.state == state));
            }
        }
        let mut rendered = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut rendered, &self.registry);
        rendered
    }

    /// What TensorFlow Serving would show of the same requests, in Prometheus's text format.
    pub(crate) fn render_tensorflow(&self) -> String {
        tensorflow::render(&self.counted.unknown, &self.counted.versions())
    }

    /// The counters of a version; those of an earlier one of the same name and number go on.
    fn of<'m>(&self, model: &'m ServedModel) -> &'m Meters {
        model.meters.get_or_init(|| {
            let key = (Arc::clone(&model.name), Arc::clone(&model.version_label));
            let mut versions = self.counted.versions.lock().unwrap_or_else(PoisonError::into_inner);
            let (name, version) = key.clone();
            Arc::clone(versions.entry(key).or_insert_with(|| Arc::new(Meters::new(name, version))))
        })
    }
}

impl Counted {
    fn new() -> Self {
        let none: Arc<str> = "".into();
        Self {
            server: Meters::new(Arc::clone(&none), Arc::clone(&none)),
            unknown: Meters::new("unknown".into(), none),
            versions: Mutex::default(),
        }
    }

    /// Counters of the versions that have had a request.
    fn versions(&self) -> Vec<Arc<Meters>> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.values().map(Arc::clone).collect()
    }
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let versions = self.versions();
        let all = || [&self.server, &self.unknown].into_iter().chain(versions.iter().map(|v| &**v));
        let requests = all().flat_map(|meters| {
            meters.calls().flat_map(move |(protocol, operation, calls)| {
                calls.statuses().map(move |(status, count)| {
                    let [model, version, protocol, api] = call_labels(meters, protocol, operation);
                    let status = ("status", Cow::from(status.to_string()));
                    ([model, version, protocol, api, status], ConstCounter::new(count))
                })
            })
        });
        let described = Described::new("requests", "Requests answered", MetricType::Counter);
        encode_family(&mut encoder, &described, requests)?;
        let durations = versions.iter().flat_map(|meters| {
            meters.calls().map(|(protocol, operation, calls)| {
                (call_labels(meters, protocol, operation), &calls.durations)
            })
        });
        let help = "Time from the head of a request to its answer";
        encode_family(&mut encoder, &Described::seconds("request_duration", help), durations)?;
        let stages = versions.iter().flat_map(|meters| {
            meters.stages().map(|(stage, times)| {
                let [model, version] = version_labels(meters);
                ([model, version, ("stage", Cow::from(stage.name()))], times)
            })
        });
        let help = "Time in the queue, in preprocessing, in the graph and in postprocessing";
        encode_family(&mut encoder, &Described::seconds("stage_duration", help), stages)
    }
}

/// A label and its value.
pub(crate) type Label<'a> = (&'static str, Cow<'a, str>);

fn version_labels(meters: &Meters) -> [Label<'_>; 2] {
    [("model", Cow::from(&*meters.model)), ("version", Cow::from(&*meters.version))]
}

fn call_labels(meters: &Meters, protocol: Protocol, operation: Operation) -> [Label<'_>; 4] {
    let [model, version] = version_labels(meters);
    [model, version, ("protocol", protocol.name().into()), ("api", operation.name().into())]
}

/// What a family of series is.
pub(crate) struct Described {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
}

impl Described {
    pub(crate) fn new(name: &'static str, help: &'static str, kind: MetricType) -> Self {
        Self { name, help, unit: None, kind }
    }

    fn seconds(name: &'static str, help: &'static str) -> Self {
        Self { unit: Some(Unit::Seconds), ..Self::new(name, help, MetricType::Histogram) }
    }
}

/// Writes a family, unless it has no series.
pub(crate) fn encode_family<'a, V: EncodeMetric, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    described: &Described,
    series: impl Iterator<Item = ([Label<'a>; N], V)>,
) -> fmt::Result {
    let mut series = series.peekable();
    if series.peek().is_none() {
        return Ok(());
    }
    let Described { name, help, unit, kind } = described;
    let mut encoder = encoder.encode_descriptor(name, help, unit.as_ref(), *kind)?;
    for (labels, value) in series {
        value.encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}

impl Protocol {
    const ALL: [Self; 2] = [Self::Rest, Self::Grpc];

    fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Grpc => "grpc",
        }
    }
}

impl Operation {
    const ALL: [Self; 14] = [
        Self::None,
        Self::Index,
        Self::Health,
        Self::Ready,
        Self::Metrics,
        Self::OpenApi,
        Self::Docs,
        Self::Alias,
        Self::Predict,
        Self::Classify,
        Self::Regress,
        Self::Status,
        Self::Metadata,
        Self::Feedback,
    ];

    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Index => "index",
            Self::Health => "health",
            Self::Ready => "ready",
            Self::Metrics => "metrics",
            Self::OpenApi => "openapi",
            Self::Docs => "docs",
            Self::Alias => "alias",
            Self::Predict => "predict",
            Self::Classify => "classify",
            Self::Regress => "regress",
            Self::Status => "status",
            Self::Metadata => "metadata",
            Self::Feedback => "feedback",
        }
    }

    /// Whether TensorFlow Serving counts it.
    fn of_tensorflow(self) -> bool {
        matches!(self, Self::Predict | Self::Classify | Self::Regress)
    }
}

impl From<Task> for Operation {
    fn from(task: Task) -> Self {
        match task {
            Task::Predict => Self::Predict,
            Task::Classify => Self::Classify,
            Task::Regress => Self::Regress,
        }
    }
}

impl Stage {
    const ALL: [Self; 4] = [Self::Queue, Self::Preprocess, Self::Inference, Self::Postprocess];

    fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Preprocess => "preprocess",
            Self::Inference => "inference",
            Self::Postprocess => "postprocess",
        }
    }
}

impl Rejection {
    const ALL: [Self; 4] = [Self::QueueFull, Self::Expired, Self::BodyTooLarge, Self::TooManyRows];

    fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Expired => "expired",
            Self::BodyTooLarge => "body_too_large",
            Self::TooManyRows => "too_many_rows",
        }
    }
}

/// OpenMetrics text as Prometheus text 0.0.4: there a counter is called as its sample is, with
/// `_total`, and neither units nor the end are marked.
pub(crate) fn to_prometheus(open_metrics: &str) -> String {
    let mut converted = String::with_capacity(open_metrics.len());
    let mut help: Option<&str> = None;
    for line in open_metrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest);
            continue;
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        else {
            converted.push_str(line);
            converted.push('\n');
            continue;
        };
        let suffix = if kind == "counter" { "_total" } else { "" };
        if let Some((_, help)) = help.take().and_then(|help| help.split_once(' ')) {
            let _ = writeln!(converted, "# HELP {name}{suffix} {help}");
        }
        let _ = writeln!(converted, "# TYPE {name}{suffix} {kind}");
    }
    converted
}

#[cfg(test)]
mod tests;
