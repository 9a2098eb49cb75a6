//! All routes as an OpenAPI 3.1 document (<https://spec.openapis.org/oas/v3.1.0>).
//!
//! It says what answers at one moment, of each model by its name, so that its schemas and examples
//! are exact. What it says comes from what does it: paths from [`super::path`], statuses and texts
//! of errors from the errors, examples from the functions that write answers.

mod operation;
mod schema;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use luthier_model::Decision;
use serde_json::{Map, Value, json};

use super::body::{BodyError, Form, RowProblem};
use super::docs::{HTML, SCRIPT, STYLE};
use super::feedback::LabelsError;
use super::path::{Api, Own, PageFile};
use super::{Fault, OPEN_METRICS, PROMETHEUS, feedback, render};
use crate::Route;
use crate::example::Example;
use crate::feedback::{FeedbackError, Joined, PredictionId};
use crate::models::{ModelState, ServedModel};
use crate::rows::Takes;
use crate::service::{MAX_ROWS, ServiceError, Task};
use crate::upload::UploadError;
use crate::versions::{VersionStatus, Versions};

use operation::{Answer, Components, Media, Operation};

/// Name of the group of the server's own routes. A model's begins with another word.
const SERVER: &str = "Server";

/// What the server was told that a client meets.
pub(super) struct Limits {
    pub(super) max_body_bytes: usize,
    pub(super) queue_requests: usize,
    pub(super) request_timeout: Duration,
    /// Whether there is a store for labels.
    pub(super) takes_labels: bool,
}

/// The document that describes `versions`.
pub(super) fn document(versions: &Versions, limits: &Limits) -> Value {
    let mut writer = Writer {
        versions,
        limits,
        tags: Vec::new(),
        paths: Map::new(),
        components: Components::default(),
    };
    let names: BTreeSet<&Arc<str>> = versions.statuses.iter().map(|status| &status.name).collect();
    for name in names {
        writer.model(&Model::of(versions, name));
    }
    writer.server();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Luthier",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Models that answer over HTTP, in TensorFlow Serving's REST protocol.",
            "description": about(limits),
        },
        "tags": writer.tags,
        "paths": writer.paths,
        "components": writer.components.into_value(),
    })
}

/// What is so of all routes.
fn about(limits: &Limits) -> String {
    let Limits { max_body_bytes, request_timeout, takes_labels, .. } = limits;
    let labels = match takes_labels {
        true => "Labels are taken.",
        false => "Labels are not taken, since the server has no feedback store.",
    };
    format!(
        "This document shows what answers now, and changes when versions do.\n\n\
         Bodies are JSON, of at most {max_body_bytes} bytes and {MAX_ROWS} rows, whatever their \
         content type says; an answer takes at most {} s. Every error is `{{\"error\": \"…\"}}`, \
         and says what is wrong and where. Every answer carries `x-request-id`, which is in the \
         log, too. {labels}\n\n\
         A wrong method gets 405 and `allow`, below `/v1/` 400, as from TensorFlow Serving; a head \
         that is too large gets 431, and no body.",
        request_timeout.as_secs_f64()
    )
}

/// A model and what is known of it.
struct Model<'a> {
    name: &'a str,
    tag: String,
    /// By falling version.
    statuses: Vec<&'a VersionStatus>,
    /// Those of its versions that answer, falling.
    served: Vec<&'a Arc<ServedModel>>,
    /// Labels, and the versions that they name.
    labels: Vec<(&'a str, i64)>,
}

/// How a path names a version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Latest,
    Version,
    Label,
}

impl<'a> Model<'a> {
    fn of(versions: &'a Versions, name: &'a str) -> Self {
        let of_name = versions.statuses.iter().filter(|status| &*status.name == name);
        let statuses: Vec<_> = of_name.collect();
        let served = statuses.iter().filter_map(|status| status.model.as_ref()).collect();
        let labels = versions.labels.get(name).into_iter().flatten();
        let labels = labels.map(|(label, version)| (label.as_str(), *version)).collect();
        Self { name, tag: format!("Model {name}"), statuses, served, labels }
    }

    /// The versions that a path may mean for which `api` has an answer.
    fn versions(&self, api: Api) -> Vec<i64> {
        match api {
            Api::Status | Api::Feedback => self.statuses.iter().map(|s| s.version).collect(),
            Api::Run(_) | Api::Metadata => self.served.iter().map(|model| model.version).collect(),
        }
    }

    /// The labels of `versions`, where it has any.
    fn labels(&self, versions: &[i64]) -> Vec<&'a str> {
        let named = self.labels.iter().filter(|(_, version)| versions.contains(version));
        named.map(|(label, _)| *label).collect()
    }

    /// The versions that answer a path, the one of the example first.
    fn answering(&self, place: Place) -> Vec<&'a ServedModel> {
        let labelled = |model: &&&Arc<ServedModel>| {
            self.labels.iter().any(|(_, version)| *version == model.version)
        };
        match place {
            Place::Latest => self.served.iter().take(1).map(|model| &***model).collect(),
            Place::Version => self.served.iter().map(|model| &***model).collect(),
            Place::Label => self.served.iter().filter(labelled).map(|model| &***model).collect(),
        }
    }

    /// What its group says of it.
    fn summary(&self) -> String {
        let mut summary = match self.served.first() {
            None => "No version answers yet.".to_owned(),
            Some(latest) => {
                let version = latest.version;
                format!("Version {version} answers. {}", gives(&latest.decision))
            }
        };
        for (label, version) in &self.labels {
            summary += &format!(" Label {} is version {version}.", code(label));
        }
        summary
    }
}

impl Place {
    const ALL: [Self; 3] = [Self::Latest, Self::Version, Self::Label];

    /// What follows the model's name in a path.
    fn path(self) -> &'static str {
        match self {
            Self::Latest => "",
            Self::Version => "/versions/{version}",
            Self::Label => "/labels/{label}",
        }
    }

    /// What sets an operation's id apart; no name of a model has a colon.
    fn id(self) -> &'static str {
        match self {
            Self::Latest => "",
            Self::Version => ":version",
            Self::Label => ":label",
        }
    }

    /// In words.
    fn of(self) -> &'static str {
        match self {
            Self::Latest => "the highest version that answers",
            Self::Version => "a version",
            Self::Label => "the version with a label",
        }
    }
}

/// A document in the making.
struct Writer<'a> {
    versions: &'a Versions,
    limits: &'a Limits,
    tags: Vec<Value>,
    paths: Map<String, Value>,
    components: Components,
}

impl Writer<'_> {
    fn model(&mut self, model: &Model<'_>) {
        self.tags.push(json!({ "name": model.tag, "description": model.summary() }));
        let versions = self.versions;
        for route in versions.routes.iter().filter(|route| route.model == model.name) {
            self.alias(model, route);
        }
        for place in Place::ALL {
            for api in Api::ALL {
                self.about_model(model, place, api);
            }
        }
    }

    fn alias(&mut self, model: &Model<'_>, route: &Route) {
        let Some(served) = model.served.first() else { return };
        let Example { rows, outputs } = &served.example;
        let one = render::alias(&route.output, false, &served.decision, first_row(served));
        let list = render::alias(&route.output, true, &served.decision, outputs);
        let mut faults = self.run_faults();
        let (what, requests) = match served.takes() {
            Takes::Texts(_) => {
                faults.push(BodyError::NoField { field: route.input.clone() }.into());
                ("text", [json!({ &route.input: rows.first() }), json!({ &route.input: rows })])
            }
            Takes::Table(_) => {
                faults.push(BodyError::NotObject { found: "a string" }.into());
                ("row", [json!(rows.first()), json!(rows)])
            }
        };
        let [request_of_one, request_of_list] = requests;
        let requests = [(what, request_of_one), ("list", request_of_list)];
        faults.push(ServiceError::NoModel { name: route.model.clone() }.into());
        faults.push(not_available(served));
        let request = schema::alias_request(&mut self.components, &route.input, served);
        let operation = Operation {
            id: format!("alias:{}", route.path),
            tag: &model.tag,
            summary: asks(Task::Predict, Some(served)),
            description: format!(
                "One {what} gets one {}, a list of {what}s a list. {}",
                code(&route.output),
                asks_for(served)
            ),
            parameters: Vec::new(),
            request: Some(Media::json(request, requests)),
            answers: vec![Answer {
                names_rows: true,
                ..Answer::ok(Media::json(
                    schema::alias_answer(&route.output, served),
                    [(what, parsed(&one)), ("list", parsed(&list))],
                ))
            }],
            faults,
        };
        self.add(&route.path, &Method::POST, operation);
    }

    /// What `api` answers of the versions that `place` may name, where it has an answer.
    fn about_model(&mut self, model: &Model<'_>, place: Place, api: Api) {
        let versions = model.versions(api);
        let labels = model.labels(&versions);
        let parameters = match place {
            _ if versions.is_empty() => return,
            Place::Label if labels.is_empty() => return,
            Place::Latest => Vec::new(),
            Place::Version => vec![schema::version_parameter(&versions)],
            Place::Label => vec![schema::label_parameter(&labels)],
        };
        let answering = model.answering(place);
        let is_joined = answering.first().is_none_or(|model| api.is_answered_by(&model.decision));
        if api == Api::Feedback && !(self.limits.takes_labels && is_joined) {
            return;
        }
        let (summary, description) = words(api, place, answering.first().copied());
        let mut faults = place_faults(model, place, api);
        let (request, answers) = match api {
            Api::Status => (None, vec![Answer::ok(self.status(model, place))]),
            Api::Metadata => (None, vec![Answer::ok(self.metadata(&answering))]),
            Api::Feedback => {
                faults.extend(self.feedback_faults());
                (Some(self.labels(model)), vec![Answer::ok(self.joined())])
            }
            Api::Run(task) => {
                faults.extend(self.run_faults());
                faults.extend(answering.first().iter().flat_map(|m| task_faults(task, m)));
                faults.extend(answering.first().copied().map(not_available));
                self.task(model, &answering, task)
            }
        };
        let operation = Operation {
            id: format!("{}:{}{}", api.operation().name(), model.name, place.id()),
            tag: &model.tag,
            summary,
            description,
            parameters,
            request,
            answers,
            faults,
        };
        let method = if api.is_post() { Method::POST } else { Method::GET };
        self.add(&api.path(model.name, place.path()), &method, operation);
    }

    /// Requests and answers of a task.
    fn task(
        &mut self,
        model: &Model<'_>,
        answering: &[&ServedModel],
        task: Task,
    ) -> (Option<Media>, Vec<Answer>) {
        let Some(first) = answering.first() else { return (None, Vec::new()) };
        let decision = &first.decision;
        let Example { rows, outputs } = &first.example;
        let components = &mut self.components;
        let (named, columns) = match first.takes() {
            Takes::Texts(input) => {
                let named: Vec<Value> = rows.iter().map(|text| json!({ input: text })).collect();
                (named, json!({ input: rows }))
            }
            Takes::Table(table) => {
                let column = |name: &String| {
                    let cells: Vec<&Value> = rows.iter().map(|row| &row[name]).collect();
                    (name.clone(), json!(cells))
                };
                let names = table.columns().iter().map(|column| &column.name);
                (rows.clone(), names.map(column).collect::<Map<_, _>>().into())
            }
        };
        if task != Task::Predict {
            let request =
                components.any_of(model.name, "ExampleRequest", answering, schema::example_request);
            let request = Media::json(request, [("examples", json!({ "examples": named }))]);
            let (answer, example) = match task {
                Task::Regress => {
                    let answer =
                        components.any_of(model.name, "Numbers", answering, schema::numbers);
                    (answer, render::numbers(outputs))
                }
                _ => {
                    let answer =
                        components.any_of(model.name, "Classes", answering, schema::classes);
                    (answer, render::classes(decision, outputs))
                }
            };
            let answer = Answer {
                names_rows: true,
                ..Answer::ok(Media::json(answer, [("examples", parsed(&example))]))
            };
            // Of a model that does not do it no body gets an answer.
            let answers = if task.is_done_by(decision) { vec![answer] } else { Vec::new() };
            return (Some(request), answers);
        }
        let request =
            components.any_of(model.name, "PredictRequest", answering, schema::predict_request);
        let mut requests = vec![
            ("rows", json!({ "instances": rows })),
            ("named rows", json!({ "instances": named })),
            ("columns", json!({ "inputs": columns })),
        ];
        if let Some(Value::String(text)) = rows.first() {
            requests.push(("base64", json!({ "instances": [schema::base64_example(text)] })));
        }
        let answer = components.any_of(model.name, "Scores", answering, schema::scores);
        let scores = |form, scores: &[f32]| parsed(&render::predictions(form, decision, scores));
        let answers = requests.iter().map(|(name, _)| match *name {
            "columns" => ("columns", scores(Form::Columnar, outputs)),
            "base64" => ("base64", scores(Form::Row, first_row(first))),
            name => (name, scores(Form::Row, outputs)),
        });
        let answers: Vec<_> = answers.collect();
        let answer = Answer { names_rows: true, ..Answer::ok(Media::json(answer, answers)) };
        (Some(Media::json(request, requests)), vec![answer])
    }

    fn status(&mut self, model: &Model<'_>, place: Place) -> Media {
        let shown = if place == Place::Latest { model.statuses.len() } else { 1 };
        let statuses = model.statuses.iter().take(shown).map(|status| (*status).clone());
        let example = parsed(&render::status(&statuses.collect::<Vec<_>>()));
        Media::json(schema::status(&mut self.components), [("versions", example)])
    }

    fn metadata(&mut self, answering: &[&ServedModel]) -> Media {
        let examples =
            answering.iter().take(1).map(|m| ("signature", parsed(&render::metadata(m))));
        Media::json(schema::metadata(&mut self.components), examples)
    }

    fn labels(&mut self, model: &Model<'_>) -> Media {
        let labels = model.served.first().map(|model| model.decision.labels());
        let label = labels.and_then(|labels| labels.first()).map_or("a class", String::as_str);
        let id = PredictionId::EXAMPLE.to_string();
        let example = json!({ "labels": [{ "id": id, "row": 0, "label": label }] });
        Media::json(schema::feedback(&mut self.components), [("one row", example)])
    }

    fn joined(&mut self) -> Media {
        let unknown_rows = vec![(PredictionId::EXAMPLE, 0)];
        let known = Joined { accepted: 1, duplicates: 0, unknown: 0, unknown_rows: Vec::new() };
        let unknown = Joined { accepted: 0, unknown: 1, unknown_rows, ..known.clone() };
        let examples = [("known", &known), ("unknown", &unknown)];
        let examples = examples.map(|(name, joined)| (name, parsed(&feedback::joined(joined))));
        Media::json(schema::joined(&mut self.components), examples)
    }

    /// Why a body may not be read.
    fn read_faults(&self) -> Vec<Fault> {
        let limit = self.limits.max_body_bytes;
        vec![
            BodyError::Json("EOF while parsing a value at line 1 column 0".to_owned()).into(),
            UploadError::Broken.into(),
            UploadError::Slow.into(),
            UploadError::TooLarge { limit }.into(),
            Fault::Encoding,
            ServiceError::Deadline.into(),
        ]
    }

    /// Why rows may have no answer.
    fn run_faults(&self) -> Vec<Fault> {
        let limit = self.limits.queue_requests;
        let mut faults = self.read_faults();
        faults.extend([
            ServiceError::TooManyRows { found: MAX_ROWS + 1 }.into(),
            ServiceError::QueueFull { limit }.into(),
            ServiceError::Failed.into(),
        ]);
        faults
    }

    fn feedback_faults(&self) -> Vec<Fault> {
        let mut faults = self.read_faults();
        let reason = "the disk is full".to_owned();
        faults.extend([
            LabelsError::Fields.into(),
            LabelsError::TooMany { found: MAX_ROWS + 1 }.into(),
            FeedbackError::Busy.into(),
            FeedbackError::Store { reason }.into(),
            ServiceError::Failed.into(),
        ]);
        faults
    }

    /// What is asked of the server itself.
    fn server(&mut self) {
        let description = "Health, counters, and what the server says about itself.";
        self.tags.push(json!({ "name": SERVER, "description": description }));
        for own in Own::ALL {
            let (id, summary, media) = self.own(own);
            let operation = |id| Operation {
                id,
                tag: SERVER,
                summary: summary.to_owned(),
                description: String::new(),
                parameters: Vec::new(),
                request: None,
                answers: self.own_answers(own, media.clone()),
                faults: Vec::new(),
            };
            let (get, head) = (operation(format!("server:{id}")), operation(format!("head:{id}")));
            self.add(own.path(), &Method::GET, get);
            self.add(own.path(), &Method::HEAD, head);
        }
    }

    fn own(&mut self, own: Own) -> (&'static str, &'static str, Vec<Media>) {
        let components = &mut self.components;
        match own {
            Own::Index => {
                let example = parsed(&render::index(self.versions));
                let media = Media::json(schema::index(components), [("routes", example)]);
                ("index", "List the routes", vec![media])
            }
            Own::Health => {
                let example = parsed(&render::health());
                let media = Media::json(schema::health(components), [("alive", example)]);
                ("health", "Is the process alive?", vec![media])
            }
            Own::Ready => {
                let example = parsed(&render::readiness(true, &self.versions.statuses));
                let media = Media::json(schema::readiness(components), [("ready", example)]);
                ("ready", "Does every model answer?", vec![media])
            }
            Own::Metrics => {
                let media = [PROMETHEUS, OPEN_METRICS].map(Media::text).into();
                ("metrics", "Counters for Prometheus, by `accept` in the OpenMetrics format", media)
            }
            Own::TensorflowMetrics => {
                let media = vec![Media::text(PROMETHEUS)];
                ("tensorflow-metrics", "Counters under TensorFlow Serving's names", media)
            }
            Own::Document => {
                let media = Media::json(schema::document(), []);
                ("openapi", "This document", vec![media])
            }
            Own::Page(PageFile::Html) => {
                ("docs", "A page that shows this document", vec![Media::text(HTML)])
            }
            Own::Page(PageFile::Style) => ("style", "Style of the page", vec![Media::text(STYLE)]),
            Own::Page(PageFile::Script) => {
                ("script", "Script of the page", vec![Media::text(SCRIPT)])
            }
        }
    }

    fn own_answers(&self, own: Own, media: Vec<Media>) -> Vec<Answer> {
        let ok = Answer::ok_of(media.clone());
        match own {
            Own::Index | Own::Health | Own::Metrics | Own::TensorflowMetrics => vec![ok],
            Own::Ready => {
                let not_ready = parsed(&render::readiness(false, &self.versions.statuses));
                let schema = media.into_iter().map(|media| media.schema).next().unwrap_or_default();
                let media = vec![Media::json(schema, [("not ready", not_ready)])];
                let status = StatusCode::SERVICE_UNAVAILABLE;
                vec![ok, Answer { status, ..Answer::ok_of(media) }]
            }
            Own::Document | Own::Page(_) => {
                let unchanged =
                    Answer { status: StatusCode::NOT_MODIFIED, ..Answer::ok_of(vec![]) };
                [ok, unchanged].map(|answer| Answer { is_kept: true, ..answer }).into()
            }
        }
    }

    fn add(&mut self, path: &str, method: &Method, operation: Operation<'_>) {
        let value = operation.into_value(method, &mut self.components);
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        item[method.as_str().to_ascii_lowercase()] = value;
    }
}

/// Summary and description of what `api` does.
fn words(api: Api, place: Place, model: Option<&ServedModel>) -> (String, String) {
    let of = place.of();
    let summary = match api {
        Api::Run(task) => asks(task, model),
        _ => String::new(),
    };
    let (summary, description) = match api {
        Api::Run(Task::Predict) => {
            let asks = model.map_or_else(String::new, asks_for);
            let forms = "`instances` are answered as `predictions`, `inputs` as `outputs`.";
            (&*summary, format!("What {of} gives. {forms} {asks}"))
        }
        Api::Run(task) if !model.is_none_or(|model| task.is_done_by(&model.decision)) => {
            let why = match task {
                Task::Regress => "A classifier gives no numbers: every body gets 400.",
                _ => "A model of numbers has no classes: every body gets 400.",
            };
            (&*summary, format!("{why} The route is there for TensorFlow's clients."))
        }
        Api::Run(Task::Regress) => (&*summary, format!("A number for each example, by {of}.")),
        Api::Run(Task::Classify) => {
            (&*summary, format!("Every class and its score, by {of}, in the model's order."))
        }
        Api::Status => (
            "States of versions",
            match place {
                Place::Latest => "Every version, the highest first.".to_owned(),
                _ => format!("The state of {of}."),
            },
        ),
        Api::Metadata => ("Inputs and outputs", format!("The signature of {of}.")),
        Api::Feedback => {
            let which = match place {
                Place::Latest => "any version".to_owned(),
                _ => of.to_owned(),
            };
            let what = "The true classes of rows that have been answered";
            let rows = "A row is named by the `x-prediction-id` of its answer and its place there.";
            let twice = "A label that is sent twice counts once.";
            ("Send true labels", format!("{what} by {which}. {rows} {twice}"))
        }
    };
    (summary.to_owned(), description)
}

/// What a task does, in short.
fn asks(task: Task, model: Option<&ServedModel>) -> String {
    let rows = match model.map(ServedModel::takes) {
        Some(Takes::Table(_)) => "rows",
        _ => "texts",
    };
    let is_number = model.is_some_and(|model| model.decision.class().is_none());
    match task {
        Task::Predict if is_number => format!("Predict a number for {rows}"),
        Task::Predict => format!("Score {rows}"),
        Task::Classify => format!("Label {rows}"),
        Task::Regress => "Ask for numbers".to_owned(),
    }
}

/// What a model that decides so gives for a row.
fn gives(decision: &Decision) -> String {
    let decision = match decision {
        Decision::Number(decision) => return format!("It gives {}.", code(&decision.number)),
        Decision::Class(decision) => decision,
    };
    let labels: Vec<String> = decision.labels.iter().map(|label| code(label)).collect();
    let positive = decision.positive.and_then(|positive| labels.get(positive));
    let score = positive.map_or_else(
        || "A row's scores are those of all classes, in this order.".to_owned(),
        |positive| format!("A row's score is that of {positive}."),
    );
    format!("Classes: {}. {score}", labels.join(", "))
}

/// What an answer of `model` is.
fn asks_for(model: &ServedModel) -> String {
    let labels = model.decision.labels();
    match (&model.decision, model.decision.positive().and_then(|positive| labels.get(positive))) {
        (Decision::Number(decision), _) => format!("A number is {}.", code(&decision.number)),
        (_, Some(label)) => format!("A score is the probability of {}.", code(label)),
        (_, None) => format!("Scores are the probabilities of the {} classes.", labels.len()),
    }
}

/// Why a path may name nothing.
fn place_faults(model: &Model<'_>, place: Place, api: Api) -> Vec<Fault> {
    let name = model.name.to_owned();
    let version = model.statuses.first().map_or(1, |status| status.version.saturating_add(1));
    let is_status = matches!(api, Api::Status | Api::Feedback);
    let fault = match (place, is_status) {
        (Place::Latest, false) => ServiceError::NoModel { name },
        (Place::Latest, true) => ServiceError::NoStatus { name },
        (_, false) => ServiceError::NoVersion { name, version },
        (_, true) => ServiceError::NoVersionStatus { name, version },
    };
    let mut faults = vec![fault.into()];
    match place {
        Place::Latest => {}
        Place::Version => {
            faults.push(Fault::VersionNumber { text: "99999999999999999999".to_owned() });
        }
        Place::Label => faults.push(ServiceError::NoLabel { label: "nightly".to_owned() }.into()),
    }
    if api == Api::Metadata {
        faults.extend(model.served.first().map(|model| not_available(model)));
    }
    faults
}

/// What may be wrong with a body that asks `task` of `model`.
fn task_faults(task: Task, model: &ServedModel) -> Vec<Fault> {
    let name = "other".to_owned();
    match task {
        Task::Predict => {
            let problem = match model.takes() {
                Takes::Texts(_) => RowProblem::Kind { expected: "a string", found: "a number" },
                Takes::Table(_) => RowProblem::Kind { expected: "an object", found: "a string" },
            };
            let place = "instances[0]".to_owned();
            let row = BodyError::Row { place, problem };
            vec![row.into(), BodyError::NoForm.into(), ServiceError::NoSignature { name }.into()]
        }
        Task::Classify if !task.is_done_by(&model.decision) => {
            vec![ServiceError::NotClassification.into()]
        }
        Task::Regress if !task.is_done_by(&model.decision) => {
            vec![ServiceError::NotRegression.into()]
        }
        Task::Classify | Task::Regress => {
            let no_signature = ServiceError::NoMethodSignature { name };
            vec![BodyError::NoExamplesKey.into(), no_signature.into()]
        }
    }
}

fn not_available(model: &ServedModel) -> Fault {
    let (name, version) = (Arc::clone(&model.name), model.version);
    let state = ModelState::Loading.name();
    ServiceError::NotAvailable { name, version, state }.into()
}

/// What the first row of the model's example is answered.
fn first_row(model: &ServedModel) -> &[f32] {
    let outputs = &model.example.outputs;
    &outputs[..model.decision.outputs().min(outputs.len())]
}

/// `text` as code in CommonMark (section 6.1), whatever it holds.
fn code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    match longest {
        0 => format!("{fence}{text}{fence}"),
        // Blanks keep the marks of the text and those around it apart, and are not shown.
        _ => format!("{fence} {text} {fence}"),
    }
}

/// An answer, as it is written, as a value.
fn parsed(answer: &str) -> Value {
    serde_json::from_str(answer).unwrap_or_default()
}
