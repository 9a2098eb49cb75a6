//! Which question a method and a path ask.
//!
//! TensorFlow Serving's paths end in `:predict` and match without regard to case in their fixed
//! parts, which no path router expresses; they are matched by hand, as its two regular expressions
//! (`http_rest_api_util.cc`) do.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use hyper::Method;
use luthier_model::Decision;

use super::Fault;
use crate::metrics::Operation;
use crate::service::{Task, Version};
use crate::{Route, RouteProblem};

/// A question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'p> {
    /// Something about the server itself.
    Own(Own),
    /// An alias route, by position.
    Alias(usize),
    /// Something about a model.
    Model { name: Cow<'p, str>, version: Spec<'p>, api: Api },
}

/// What is asked of the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
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
    /// All routes as an OpenAPI document.
    Document,
    /// A file of the page that shows the document.
    Page(PageFile),
}

/// The files of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageFile {
    Html,
    Style,
    Script,
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

/// Methods of the server's own routes.
const OWN_METHODS: &str = "GET, HEAD";
/// Method of an alias route.
const ALIAS_METHODS: &str = "POST";
/// Where the name of the model is in a template.
const MODEL: &str = "{model}";

impl Target<'_> {
    /// The path, without what varies, for logs.
    pub(super) fn template<'r>(&self, routes: &'r [Arc<Route>]) -> &'r str {
        match self {
            Self::Own(own) => own.path(),
            Self::Alias(route) => &routes[*route].path,
            Self::Model { api, .. } => api.template(),
        }
    }

    /// Whether it is asked of a model.
    pub(super) fn of_model(&self) -> bool {
        matches!(self, Self::Model { .. } | Self::Alias(_))
    }

    /// What it is, as metrics and logs call it.
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Own(own) => own.operation(),
            Self::Alias(_) => Operation::Alias,
            Self::Model { api, .. } => api.operation(),
        }
    }
}

impl Own {
    /// All of them.
    pub(super) const ALL: [Self; 9] = [
        Self::Index,
        Self::Health,
        Self::Ready,
        Self::Metrics,
        Self::TensorflowMetrics,
        Self::Document,
        Self::Page(PageFile::Html),
        Self::Page(PageFile::Style),
        Self::Page(PageFile::Script),
    ];

    /// Its path.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Index => "/",
            Self::Health => "/healthz",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            // As `prometheus_exporter.cc` has it.
            Self::TensorflowMetrics => "/monitoring/prometheus/metrics",
            Self::Document => "/openapi.json",
            Self::Page(PageFile::Html) => "/docs",
            Self::Page(PageFile::Style) => "/docs/page.css",
            Self::Page(PageFile::Script) => "/docs/page.js",
        }
    }

    /// What it is, as metrics and logs call it.
    fn operation(self) -> Operation {
        match self {
            Self::Index => Operation::Index,
            Self::Health => Operation::Health,
            Self::Ready => Operation::Ready,
            Self::Metrics | Self::TensorflowMetrics => Operation::Metrics,
            Self::Document => Operation::OpenApi,
            Self::Page(_) => Operation::Docs,
        }
    }
}

impl Api {
    /// All of them.
    pub(super) const ALL: [Self; 6] = [
        Self::Run(Task::Predict),
        Self::Run(Task::Classify),
        Self::Run(Task::Regress),
        Self::Feedback,
        Self::Status,
        Self::Metadata,
    ];

    /// The path of the latest version of a model, whose name stands in the place of [`MODEL`].
    pub(super) fn template(self) -> &'static str {
        match self {
            Self::Run(Task::Predict) => "/v1/models/{model}:predict",
            Self::Run(Task::Classify) => "/v1/models/{model}:classify",
            Self::Run(Task::Regress) => "/v1/models/{model}:regress",
            Self::Status => "/v1/models/{model}",
            Self::Metadata => "/v1/models/{model}/metadata",
            Self::Feedback => "/v1/models/{model}:feedback",
        }
    }

    /// What it is, as metrics and logs call it.
    pub(super) fn operation(self) -> Operation {
        match self {
            Self::Run(task) => Operation::from(task),
            Self::Status => Operation::Status,
            Self::Metadata => Operation::Metadata,
            Self::Feedback => Operation::Feedback,
        }
    }

    /// Whether it is asked with a body.
    pub(super) fn is_post(self) -> bool {
        matches!(self, Self::Run(_) | Self::Feedback)
    }

    /// Whether a model that decides as `decision` has an answer to it.
    pub(super) fn is_answered_by(self, decision: &Decision) -> bool {
        match self {
            Self::Run(task) => task.is_done_by(decision),
            Self::Feedback => decision.class().is_some(),
            Self::Status | Self::Metadata => true,
        }
    }

    /// The path that asks this of `model`; `place` is what follows the name, such as
    /// `/versions/3`, and stays as it is.
    pub(super) fn path(self, model: &str, place: &str) -> String {
        self.template().replace(MODEL, &format!("{}{place}", encoded(model)))
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
            _ => Err(Fault::Method { allow: ALIAS_METHODS }),
        };
    }
    if let Some(own) = Own::ALL.into_iter().find(|own| own.path() == path) {
        return match *method {
            Method::GET | Method::HEAD => Ok(Target::Own(own)),
            _ => Err(Fault::Method { allow: OWN_METHODS }),
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
    let own = Own::ALL.into_iter().any(|own| own.path() == path);
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

/// `text` as part of a path, so that [`decoded`] gives it back and no template sees braces in it.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            // What RFC 3986 (section 2.3) never needs encoded.
            b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{Api, Method, Own, Spec, Target, target};

    #[test]
    fn every_path_that_is_shown_asks_what_it_shows() {
        let check = |model: &str, place: &str, version: Spec<'_>, api: Api| {
            let path = api.path(model, place);
            let method = if api.is_post() { Method::POST } else { Method::GET };
            let expected = Target::Model { name: model.into(), version, api };
            assert_eq!(target(&method, &path, &[]).unwrap(), expected, "{path}");
        };
        for api in Api::ALL {
            for model in ["mood", "a b", "100%", "好 {x}", "<script>", "what?#"] {
                check(model, "", Spec::Latest, api);
                check(model, "/versions/3", Spec::Version(3), api);
                check(model, "/labels/stable", Spec::Label("stable".into()), api);
            }
        }
        for own in Own::ALL {
            assert_eq!(target(&Method::HEAD, own.path(), &[]).unwrap(), Target::Own(own));
        }
    }
}
