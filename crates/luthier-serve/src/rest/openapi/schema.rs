//! What bodies, parameters and headers look like, as JSON Schema.
//!
//! A schema says exactly what is accepted, as far as it can: what it cannot say is that the bytes
//! behind base64 are UTF-8, that a text is a number, and that texts of many rows stay within a size.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use luthier_model::{ColumnKind, Decision, Table, TableColumn};
use serde::Serialize;
use serde_json::{Value, json};

use super::operation::Components;
use crate::models::{ModelState, ServedModel};
use crate::rows::Takes;
use crate::service::{MAX_ROWS, SIGNATURE};

/// An error.
pub(super) fn error(components: &mut Components) -> Value {
    let text = json!({ "type": "string", "description": "What is wrong, and where." });
    components.schema("Error", object(&[("error", text)]))
}

/// `text` as base64.
pub(super) fn base64_example(text: &str) -> Value {
    json!({ "b64": BASE64.encode(text) })
}

/// A text, as it is or as base64.
fn text(components: &mut Components) -> Value {
    let base64 = object(&[(
        "b64",
        json!({
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": "text/plain; charset=utf-8",
            "format": "base64-utf8",
            "description": "A text in UTF-8 as base64.",
        }),
    )]);
    let base64 = components.schema("Base64", base64);
    components.schema("Text", json!({ "anyOf": [{ "type": "string" }, base64] }))
}

/// A text or a list of them.
fn texts(components: &mut Components) -> Value {
    let text = text(components);
    let list = json!({ "type": "array", "items": text, "maxItems": MAX_ROWS });
    components.schema("Texts", json!({ "anyOf": [text, list] }))
}

/// The body of a call for scores or numbers.
pub(super) fn predict_request(components: &mut Components, model: &ServedModel) -> Value {
    let (row, columns) = match model.takes() {
        Takes::Texts(input) => {
            let (text, texts) = (text(components), texts(components));
            let named = json!({
                "type": "object",
                "properties": { input: texts },
                "required": [input],
            });
            let row = json!({ "anyOf": [text, object(&[(input, text)])] });
            (row, json!({ "anyOf": [texts, named] }))
        }
        Takes::Table(table) => (table_row(components, table), columns(components, table)),
    };
    let rows = json!({ "type": "array", "items": row, "minItems": 1, "maxItems": MAX_ROWS });
    let form = |title: &str, name: &str, values: Value, other: &str| {
        json!({
            "title": title,
            "type": "object",
            "properties": { "signature_name": signature(), name: values, other: false },
            "required": [name],
        })
    };
    json!({ "oneOf": [
        form("Rows", "instances", rows, "inputs"),
        form("Columns", "inputs", columns, "instances"),
    ] })
}

/// A row of a table; a cell that is not there is missing.
fn table_row(components: &mut Components, table: &Table) -> Value {
    let mut row = table_features(components, table);
    if let [column] = table.columns() {
        row = json!({ "anyOf": [cell(components, column), row] });
    }
    components.schema("Row", row)
}

fn table_features(components: &mut Components, table: &Table) -> Value {
    let cells =
        table.columns().iter().map(|column| (column.name.clone(), cell(components, column)));
    let mut cells: serde_json::Map<String, Value> = cells.collect();
    let scalar = cell_of(&json!({ "type": ["string", "number", "boolean", "null"] }));
    cells.extend(table.ignored().iter().map(|name| (name.clone(), scalar.clone())));
    json!({ "type": "object", "properties": cells, "additionalProperties": false })
}

/// A cell of a column.
fn cell(components: &mut Components, column: &TableColumn) -> Value {
    match &column.kind {
        ColumnKind::Number => {
            let text = json!({ "type": "string", "format": "number", "description": "A number." });
            let plain = json!({ "type": ["number", "boolean", "null"] });
            components.schema("Number", cell_of(&json!({ "anyOf": [plain, text] })))
        }
        ColumnKind::Time => {
            let time = json!({
                "type": ["string", "null"],
                "format": "date-or-time",
                "description": "A date or time as RFC 3339 writes it.",
            });
            components.schema("Time", cell_of(&time))
        }
        ColumnKind::Category(categories) => {
            const SHOWN: usize = 20;
            let known: Vec<&String> = categories.values().iter().take(SHOWN).collect();
            let category = json!({
                "type": ["string", "number", "boolean", "null"],
                "description": "A category; those that are not known are taken for missing.",
                "examples": known,
            });
            components.schema("Category", cell_of(&category))
        }
    }
}

/// A value, or a list with nothing else.
fn cell_of(value: &Value) -> Value {
    json!({ "anyOf": [
        value,
        { "type": "array", "items": value, "minItems": 1, "maxItems": 1 },
    ] })
}

/// The columns of a table, at least one, each with as many cells.
fn columns(components: &mut Components, table: &Table) -> Value {
    let column = |column: &TableColumn| {
        let cell = cell(components, column);
        let cells = json!({ "type": "array", "items": cell, "maxItems": MAX_ROWS });
        (column.name.clone(), json!({ "anyOf": [cell, cells] }))
    };
    let columns: serde_json::Map<String, Value> = table.columns().iter().map(column).collect();
    let only = columns.values().next().filter(|_| columns.len() == 1).cloned();
    let named = json!({
        "type": "object",
        "properties": columns,
        "minProperties": 1,
    });
    only.map_or_else(|| named.clone(), |column| json!({ "anyOf": [column, named] }))
}

/// The body of a call for classes or numbers. What an example does not have is in the context.
pub(super) fn example_request(components: &mut Components, model: &ServedModel) -> Value {
    let form = |title: &str, context: Value, example: Value, required: &[&str]| {
        let examples =
            json!({ "type": "array", "items": example, "minItems": 1, "maxItems": MAX_ROWS });
        json!({
            "title": title,
            "type": "object",
            "properties": {
                "signature_name": signature(),
                "context": context,
                "examples": examples,
            },
            "required": required,
        })
    };
    let input = match model.takes() {
        Takes::Texts(input) => input,
        Takes::Table(table) => {
            let features = table_features(components, table);
            let features = components.schema("Features", features);
            return form("Examples", features.clone(), features, &["examples"]);
        }
    };
    let text = text(components);
    let one = json!({ "type": "array", "items": text, "minItems": 1, "maxItems": 1 });
    let feature = components.schema("Feature", json!({ "anyOf": [text, one] }));
    let features = |required: &[&str]| json!({ "type": "object", "properties": { input: feature }, "required": required });
    let any = json!({ "type": "object" });
    json!({ "anyOf": [
        form("Examples", any, features(&[input]), &["examples"]),
        form("With a context", features(&[input]), features(&[]), &["context", "examples"]),
    ] })
}

/// The body of an alias route.
pub(super) fn alias_request(
    components: &mut Components,
    input: &str,
    model: &ServedModel,
) -> Value {
    match model.takes() {
        Takes::Texts(_) => {
            let texts = texts(components);
            object(&[(input, texts)])
        }
        Takes::Table(table) => {
            let row = table_features(components, table);
            let row = components.schema("Features", row);
            let items = table_row(components, table);
            json!({ "anyOf": [
                row,
                { "type": "array", "items": items, "maxItems": MAX_ROWS },
            ] })
        }
    }
}

/// The answer of an alias route.
pub(super) fn alias_answer(output: &str, model: &ServedModel) -> Value {
    let row = row(model);
    let rows = json!({ "type": "array", "items": row });
    object(&[(output, json!({ "anyOf": [row, rows] }))])
}

/// The scores of rows.
pub(super) fn scores(_: &mut Components, model: &ServedModel) -> Value {
    let rows = json!({ "type": "array", "items": row(model) });
    let form = |title: &str, name: &str| {
        let mut form = object(&[(name, rows.clone())]);
        form["title"] = title.into();
        form
    };
    json!({ "oneOf": [form("Rows", "predictions"), form("Columns", "outputs")] })
}

/// Labels with their scores.
pub(super) fn classes(_: &mut Components, model: &ServedModel) -> Value {
    let labels = model.decision.labels();
    let pair = json!({
        "type": "array",
        // `prefixItems` would say which comes first, but not all tools read it.
        "items": { "anyOf": [{ "enum": labels }, score(model)] },
        "minItems": 2,
        "maxItems": 2,
        "description": "A class, then its score.",
    });
    let count = labels.len();
    let row = json!({ "type": "array", "items": pair, "minItems": count, "maxItems": count });
    object(&[("results", json!({ "type": "array", "items": row }))])
}

/// The numbers of rows.
pub(super) fn numbers(_: &mut Components, model: &ServedModel) -> Value {
    object(&[("results", json!({ "type": "array", "items": score(model) }))])
}

/// States of versions.
pub(super) fn status(components: &mut Components) -> Value {
    let text = json!({ "type": "string" });
    let reason = object(&[("error_code", text.clone()), ("error_message", text)]);
    let version = object(&[("version", number()), ("state", state()), ("status", reason)]);
    let versions = json!({ "type": "array", "items": version, "minItems": 1 });
    components.schema("Status", object(&[("model_version_status", versions)]))
}

/// Inputs and outputs of a model.
pub(super) fn metadata(components: &mut Components) -> Value {
    let text = || json!({ "type": "string" });
    let size =
        object(&[("size", json!({ "type": "string", "pattern": "^-?[0-9]+$" })), ("name", text())]);
    let sizes = json!({ "type": "array", "items": size });
    let shape = object(&[("dim", sizes), ("unknown_rank", json!({ "type": "boolean" }))]);
    let tensor = object(&[
        ("dtype", json!({ "enum": ["DT_STRING", "DT_FLOAT"] })),
        ("tensor_shape", shape),
        ("name", text()),
    ]);
    let tensor = components.schema("Tensor", tensor);
    let tensors = json!({ "type": "object", "additionalProperties": tensor });
    let signature = object(&[
        ("inputs", tensors.clone()),
        ("outputs", tensors),
        ("method_name", text()),
        ("defaults", json!({ "type": "object" })),
    ]);
    let signatures = object(&[("signature_def", object(&[(SIGNATURE, signature)]))]);
    let model = object(&[("name", text()), ("signature_name", text()), ("version", number())]);
    let metadata = object(&[("signature_def", signatures)]);
    components.schema("Metadata", object(&[("model_spec", model), ("metadata", metadata)]))
}

/// The true classes of rows.
pub(super) fn feedback(components: &mut Components) -> Value {
    let row = json!({
        "type": "integer",
        "minimum": 0,
        "maximum": u32::MAX,
        "default": 0,
        "description": "Place of the row in its request, from 0.",
    });
    let label = json!({ "type": "string", "description": "A class of the model, by its name." });
    let entry = json!({
        "type": "object",
        "properties": { "id": prediction_id(), "row": row, "label": label },
        "required": ["id", "label"],
        "additionalProperties": false,
    });
    let labels = json!({ "type": "array", "items": entry, "maxItems": MAX_ROWS });
    components.schema("Feedback", object(&[("labels", labels)]))
}

/// What became of labels.
pub(super) fn joined(components: &mut Components) -> Value {
    let count = |what: &str| json!({ "type": "integer", "minimum": 0, "description": what });
    let row =
        object(&[("id", prediction_id()), ("row", json!({ "type": "integer", "minimum": 0 }))]);
    let joined = json!({
        "type": "object",
        "properties": {
            "accepted": count("Labels that were joined with their predictions."),
            "duplicates": count("Labels that had been sent before."),
            "unknown": count("Labels of rows that are not remembered."),
            "unknown_rows": {
                "type": "array",
                "items": row,
                "description": "The first of the rows that are not remembered.",
            },
        },
        "required": ["accepted", "duplicates", "unknown"],
        "additionalProperties": false,
    });
    components.schema("Joined", joined)
}

/// What can be asked.
pub(super) fn index(components: &mut Components) -> Value {
    let routes = json!({ "type": "array", "items": { "type": "string" } });
    let index = object(&[("release", json!({ "type": "string" })), ("routes", routes)]);
    components.schema("Index", index)
}

/// That the process lives.
pub(super) fn health(components: &mut Components) -> Value {
    components.schema("Health", object(&[("status", json!({ "const": "ok" }))]))
}

/// Whether every model answers.
pub(super) fn readiness(components: &mut Components) -> Value {
    let name = json!({ "type": "string" });
    let model = object(&[("name", name), ("version", number()), ("state", state())]);
    let models = json!({ "type": "array", "items": model });
    let readiness = object(&[("ready", json!({ "type": "boolean" })), ("models", models)]);
    components.schema("Readiness", readiness)
}

/// A document such as this.
pub(super) fn document() -> Value {
    json!({ "type": "object", "required": ["openapi", "info", "paths"] })
}

/// The version in a path.
pub(super) fn version_parameter(versions: &[i64]) -> Value {
    let schema = json!({ "type": "integer", "format": "int64", "enum": versions });
    path_parameter("version", &schema, versions.first())
}

/// The label in a path.
pub(super) fn label_parameter(labels: &[&str]) -> Value {
    let schema = json!({ "type": "string", "enum": labels });
    path_parameter("label", &schema, labels.first())
}

fn path_parameter(name: &str, schema: &Value, example: Option<&impl Serialize>) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": schema, "example": example })
}

/// The id that a client may give its request.
pub(super) fn request_id() -> Value {
    json!({
        "name": crate::access::REQUEST_ID,
        "in": "header",
        "description": "Id of the request, taken over where it is short and plain.",
        "schema": { "type": "string" },
    })
}

/// What a client has already.
pub(super) fn if_none_match() -> Value {
    json!({
        "name": "if-none-match",
        "in": "header",
        "description": "The `etag` of what the client has.",
        "schema": { "type": "string" },
    })
}

/// A header of any text.
pub(super) fn text_header(description: &str) -> Value {
    json!({ "description": description, "required": true, "schema": { "type": "string" } })
}

/// What labels name the answered rows by.
pub(super) fn prediction_id_header() -> Value {
    let description = "What labels name the answered rows by.";
    json!({ "description": description, "required": true, "schema": prediction_id() })
}

fn prediction_id() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-fA-F]{32}$" })
}

/// The one signature.
fn signature() -> Value {
    json!({ "enum": ["", SIGNATURE], "description": "The one signature, mostly left out." })
}

/// The number, the score of the positive class, or those of all classes where none is.
fn row(model: &ServedModel) -> Value {
    let classes = model.decision.outputs();
    match model.decision.given_output() {
        Some(_) => score(model),
        None => json!({
            "type": "array",
            "items": score(model),
            "minItems": classes,
            "maxItems": classes,
        }),
    }
}

/// What the model gives for an output: a probability or a number.
fn score(model: &ServedModel) -> Value {
    match model.decision {
        Decision::Class(_) => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Decision::Number(_) => json!({ "type": "number" }),
    }
}

/// A version, which JSON has as text, as all 64-bit numbers of protocol buffers.
fn number() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+$" })
}

fn state() -> Value {
    json!({ "enum": ModelState::ALL.map(ModelState::name) })
}

/// An object of these members and no others.
fn object(members: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let properties = members.iter().map(|(name, schema)| (String::from(*name), schema.clone()));
    json!({
        "type": "object",
        "properties": properties.collect::<serde_json::Map<_, _>>(),
        "required": names,
        "additionalProperties": false,
    })
}
