//! Answers as JSON text.
//!
//! Scores and numbers are written as the shortest decimal that reads back as the same `f32`, and always with
//! a point or an exponent, so that clients see one number type (as TensorFlow Serving does).

use std::fmt::Write;

use luthier_model::{Decision, Field, Kind};
use serde_json::{Map, Value, json};

use super::body::Form;
use super::path::{Api, Own};
use crate::models::ServedModel;
use crate::service::SIGNATURE;
use crate::versions::{VersionStatus, Versions};

/// `{"predictions": […]}` or `{"outputs": […]}`.
pub(super) fn predictions(form: Form, decision: &Decision, probabilities: &[f32]) -> String {
    let mut json = String::with_capacity(32 + 14 * probabilities.len());
    json.push_str(match form {
        Form::Row => "{\"predictions\": ",
        Form::Columnar => "{\"outputs\": ",
    });
    push_scores(&mut json, decision, probabilities);
    json.push('}');
    json
}

/// `{"<output>": score}`, or a list of scores where the request had a list.
pub(super) fn alias(
    output: &str,
    is_list: bool,
    decision: &Decision,
    probabilities: &[f32],
) -> String {
    let mut json = String::from("{");
    push_text(&mut json, output);
    json.push_str(": ");
    match is_list {
        true => push_scores(&mut json, decision, probabilities),
        false => push_row(&mut json, decision, probabilities),
    }
    json.push('}');
    json
}

/// `{"results": [[["label", score], …], …]}`, labels in the model's order.
pub(super) fn classes(decision: &Decision, probabilities: &[f32]) -> String {
    let mut json = String::from("{\"results\": ");
    push_list(&mut json, probabilities.chunks_exact(decision.outputs()), |json, row| {
        push_list(json, decision.labels().iter().zip(row), |json, (label, score)| {
            json.push('[');
            push_text(json, label);
            json.push_str(", ");
            push_score(json, *score);
            json.push(']');
        });
    });
    json.push('}');
    json
}

/// `{"results": [number, …]}`, of a model that gives one for each row.
pub(super) fn numbers(numbers: &[f32]) -> String {
    let mut json = String::with_capacity(32 + 14 * numbers.len());
    json.push_str("{\"results\": ");
    push_list(&mut json, numbers, |json, number| push_score(json, *number));
    json.push('}');
    json
}

/// `{"error": "…"}`.
pub(super) fn error(message: &str) -> String {
    let mut json = String::from("{\"error\": ");
    push_text(&mut json, message);
    json.push('}');
    json
}

/// States of versions, as TensorFlow Serving's `GetModelStatusResponse`.
pub(super) fn status(versions: &[VersionStatus]) -> String {
    let status = |status: &VersionStatus| {
        let error = status.error.as_deref();
        json!({
            "version": status.version.to_string(),
            "state": status.state.name(),
            "status": {
                "error_code": error.map_or("OK", |error| error.code.name()),
                "error_message": error.map_or("", |error| &error.message),
            },
        })
    };
    let all: Vec<Value> = versions.iter().map(status).collect();
    json!({ "model_version_status": all }).to_string()
}

/// Inputs and outputs of a model, as TensorFlow Serving's `GetModelMetadataResponse`.
pub(super) fn metadata(model: &ServedModel) -> String {
    let tensors = |fields: &[Field]| -> Value {
        fields.iter().map(|field| (field.name.clone(), tensor(field))).collect::<Map<_, _>>().into()
    };
    let signature = json!({
        "inputs": tensors(&model.signature.inputs),
        "outputs": tensors(&model.signature.outputs),
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    });
    json!({
        "model_spec": {
            "name": &*model.name,
            "signature_name": "",
            "version": model.version.to_string(),
        },
        "metadata": { "signature_def": { "signature_def": { SIGNATURE: signature } } },
    })
    .to_string()
}

fn tensor(field: &Field) -> Value {
    let kind = match field.kind {
        Kind::String => "DT_STRING",
        Kind::Float32 => "DT_FLOAT",
    };
    let sizes = field.shape.iter().map(|size| json!({ "size": size.to_string(), "name": "" }));
    json!({
        "dtype": kind,
        "tensor_shape": { "dim": sizes.collect::<Vec<_>>(), "unknown_rank": false },
        "name": field.name,
    })
}

/// That the process lives.
pub(super) fn health() -> String {
    r#"{"status": "ok"}"#.to_owned()
}

/// Whether the server is ready, and the state of each version.
pub(super) fn readiness(ready: bool, versions: &[VersionStatus]) -> String {
    let status = |status: &VersionStatus| {
        let (version, state) = (status.version.to_string(), status.state.name());
        json!({ "name": &*status.name, "version": version, "state": state })
    };
    let models: Vec<Value> = versions.iter().map(status).collect();
    json!({ "ready": ready, "models": models }).to_string()
}

/// What can be asked.
pub(super) fn index(versions: &Versions) -> String {
    let aliases = versions.routes.iter();
    let mut routes: Vec<String> = aliases.map(|r| format!("POST {}", r.path)).collect();
    for model in versions.statuses.iter().filter_map(|status| status.model.as_ref()) {
        let place = format!("/versions/{}", model.version);
        for api in Api::ALL.into_iter().filter(|api| api.is_answered_by(&model.decision)) {
            let method = if api.is_post() { "POST" } else { "GET" };
            routes.push(format!("{method} {}", api.path(&model.name, &place)));
        }
    }
    routes.extend(Own::ALL.map(|own| format!("GET {}", own.path())));
    json!({ "release": env!("CARGO_PKG_VERSION"), "routes": routes }).to_string()
}

fn push_scores(json: &mut String, decision: &Decision, probabilities: &[f32]) {
    let rows = probabilities.chunks_exact(decision.outputs());
    push_list(json, rows, |json, row| push_row(json, decision, row));
}

/// The score of the positive class or the number, or the scores of all classes where none is positive.
fn push_row(json: &mut String, decision: &Decision, row: &[f32]) {
    match decision.given_output().and_then(|given| row.get(given)) {
        Some(score) => push_score(json, *score),
        None => push_list(json, row, |json, score| push_score(json, *score)),
    }
}

fn push_list<T>(
    json: &mut String,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut String, T),
) {
    json.push('[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            json.push_str(", ");
        }
        push(json, item);
    }
    json.push(']');
}

fn push_score(json: &mut String, score: f32) {
    // Writing to a string does not fail.
    let _ = write!(json, "{score:?}");
}

fn push_text(json: &mut String, text: &str) {
    json.push_str(&Value::from(text).to_string());
}
