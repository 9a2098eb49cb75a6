//! Which question a method and a path ask.
//!
//! TensorFlow Serving's paths end in `:predict` and match without regard to case in their fixed
//! parts, which no path router expresses; they are matched by hand, as its two regular expressions
//! (`http_rest_api_util.cc`) do.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::Method;

use super::Fault;
use crate::metrics::Operation;
use crate::service::{Task, Version};
use crate::{Route, RouteProblem};

/// A question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'p> {
    /// Which routes there are.
    Index,
    /// Whether the process lives.
    Health,
    /// Whether the models answer.
    Ready,
    /// The counters.
    Metrics,
    /// Those that TensorFlow Serving has, under its names.
    TensorflowMetrics,
    /// An alias route, by position.
    Alias(usize),
    /// Something about a model.
    Model { name: Cow<'p, str>, version: Spec<'p>, api: Api },
}

/// Which version a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spec<'p> {
    Latest,
    Version(i64),
    Label(Cow<'p, str>),
}

/// What is asked about a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Run(Task),
    Status,
    Metadata,
    Feedback,
}

/// Where TensorFlow Serving shows its counters (`prometheus_exporter.cc`).
const TENSORFLOW_METRICS: &str = "/monitoring/prometheus/metrics";

/// The paths of the server itself.
const OWN: [(&str, Target<'static>); 5] = [
    ("/", Target::Index),
    ("/healthz", Target::Health),
    ("/readyz", Target::Ready),
    ("/metrics", Target::Metrics),
    (TENSORFLOW_METRICS, Target::TensorflowMetrics),
];

impl Target<'_> {
    /// The path, without what varies, for logs.
    pub(super) fn template<'r>(&self, routes: &'r [Arc<Route>]) -> &'r str {
        match self {
            Self::Index => "/",
            Self::Health => "/healthz",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::TensorflowMetrics => TENSORFLOW_METRICS,
            Self::Alias(route) => &routes[*route].path,
            Self::Model { api: Api::Run(Task::Predict), .. } => "/v1/models/{model}:predict",
            Self::Model { api: Api::Run(Task::Classify), .. } => "/v1/models/{model}:classify",
            Self::Model { api: Api::Run(Task::Regress), .. } => "/v1/models/{model}:regress",
            Self::Model { api: Api::Status, .. } => "/v1/models/{model}",
            Self::Model { api: Api::Metadata, .. } => "/v1/models/{model}/metadata",
            Self::Model { api: Api::Feedback, .. } => "/v1/models/{model}:feedback",
        }
    }

    /// Whether it is asked of a model.
    pub(super) fn of_model(&self) -> bool {
        matches!(self, Self::Model { .. } | Self::Alias(_))
    }

    /// What it is, as metrics and logs call it.
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Index => Operation::Index,
            Self::Health => Operation::Health,
            Self::Ready => Operation::Ready,
            Self::Metrics | Self::TensorflowMetrics => Operation::Metrics,
            Self::Alias(_) => Operation::Alias,
            Self::Model { api: Api::Run(task), .. } => Operation::from(*task),
            Self::Model { api: Api::Status, .. } => Operation::Status,
            Self::Model { api: Api::Metadata, .. } => Operation::Metadata,
            Self::Model { api: Api::Feedback, .. } => Operation::Feedback,
        }
    }
}

impl Spec<'_> {
    /// As the service takes it.
    pub(super) fn version(&self) -> Version<'_> {
        match self {
            Self::Latest => Version::Latest,
            Self::Version(version) => Version::Specific(*version),
            Self::Label(label) => Version::Label(label),
        }
    }
}

/// The question that `method` and `path` ask.
pub(super) fn target<'p>(
    method: &Method,
    path: &'p str,
    routes: &[Arc<Route>],
) -> Result<Target<'p>, Fault> {
    if let Some(route) = routes.iter().position(|route| route.path == path) {
        return match *method {
            Method::POST => Ok(Target::Alias(route)),
            _ => Err(Fault::Method { allow: "POST" }),
        };
    }
    if let Some((_, own)) = OWN.into_iter().find(|(own, _)| *own == path) {
        return match *method {
            Method::GET | Method::HEAD => Ok(own),
            _ => Err(Fault::Method { allow: "GET, HEAD" }),
        };
    }
    match strip_prefix_ignoring_case(path, "/v1/") {
        Some(_) => model(method, path),
        None => Err(Fault::NoRoute { path: path.to_owned() }),
    }
}

/// Checks that the server has no route `path` of its own.
pub(crate) fn check_alias(path: &str) -> Result<(), RouteProblem> {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'%');
    if !path.starts_with('/') || !path.bytes().all(plain) {
        return Err(RouteProblem::Path);
    }
    let own = OWN.iter().any(|(own, _)| *own == path);
    match own || strip_prefix_ignoring_case(path, "/v1/").is_some() {
        true => Err(RouteProblem::Reserved),
        false => Ok(()),
    }
}

fn model<'p>(method: &Method, path: &'p str) -> Result<Target<'p>, Fault> {
    let malformed = || Fault::Malformed { method: method.clone(), path: path.to_owned() };
    let rest = strip_prefix_ignoring_case(path, "/v1/models").ok_or_else(malformed)?;
    let (place, verb) = match *method {
        Method::POST => rest.rsplit_once(':').ok_or_else(malformed)?,
        Method::GET if rest.is_empty() => return Err(Fault::MissingName),
        Method::GET => (rest, ""),
        _ => return Err(malformed()),
    };
    let parts: Vec<&str> = place.strip_prefix('/').ok_or_else(malformed)?.splitn(5, '/').collect();
    let (name, version, tail) = match *parts.as_slice() {
        [name] => (name, Some(Spec::Latest), None),
        [name, tail] => (name, Some(Spec::Latest), Some(tail)),
        [name, word, value] => (name, spec(word, value)?, None),
        [name, word, value, tail] => (name, spec(word, value)?, Some(tail)),
        _ => return Err(malformed()),
    };
    let api = match (verb, tail) {
        ("predict", None) => Api::Run(Task::Predict),
        ("classify", None) => Api::Run(Task::Classify),
        ("regress", None) => Api::Run(Task::Regress),
        ("feedback", None) => Api::Feedback,
        ("", None) if *method == Method::GET => Api::Status,
        ("", Some(tail)) if *method == Method::GET && tail.eq_ignore_ascii_case("metadata") => {
            Api::Metadata
        }
        _ => return Err(malformed()),
    };
    let name = part(name).ok_or_else(malformed)?;
    Ok(Target::Model { name, version: version.ok_or_else(malformed)?, api })
}

/// `versions/3` or `labels/stable`; `None` for anything else.
fn spec<'p>(word: &str, value: &'p str) -> Result<Option<Spec<'p>>, Fault> {
    if word.eq_ignore_ascii_case("labels") {
        return Ok(part(value).map(Spec::Label));
    }
    let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    if !word.eq_ignore_ascii_case("versions") || !is_number {
        return Ok(None);
    }
    let unreadable = |_| Fault::VersionNumber { text: value.to_owned() };
    value.parse().map(|version| Some(Spec::Version(version))).map_err(unreadable)
}

/// A name or label in a path; `None` where it cannot be one.
fn part(text: &str) -> Option<Cow<'_, str>> {
    if text.is_empty() || text.contains(':') { None } else { decoded(text) }
}

fn strip_prefix_ignoring_case<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let (head, rest) = path.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// `text` with `%41` turned to `A`; a `%` without two digits stands for itself. `None` where the
/// result is not UTF-8.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => {
                    decoded.push((high * 16 + low) as u8);
                    rest = tail;
                }
                _ => decoded.push(b'%'),
            },
            _ => decoded.push(*first),
        }
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}
