//! `POST /v1/models/{model}:feedback`: the true classes of rows that were answered.

use serde_json::{Map, Value, json};

use crate::feedback::{Feedback, Joined, Labelled, PredictionId};
use crate::service::MAX_ROWS;

/// What is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LabelsError {
    #[error("JSON Parse error: {0}")]
    Json(String),
    #[error("expected an object with the field \"labels\" and no other")]
    Fields,
    #[error("labels: expected a list, found {found}")]
    List { found: &'static str },
    #[error("{found} labels in one request, the limit is {MAX_ROWS}")]
    TooMany { found: usize },
    #[error("labels[{index}]: {problem}")]
    Entry { index: usize, problem: EntryProblem },
}

/// What is wrong with one label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EntryProblem {
    #[error("expected an object, found {found}")]
    Kind { found: &'static str },
    #[error("missing \"{field}\"")]
    Missing { field: &'static str },
    #[error("unknown field \"{field}\", expected \"id\", \"row\" and \"label\"")]
    Unknown { field: String },
    #[error("\"id\" is not the 32 hexadecimal digits of an x-prediction-id")]
    Id,
    #[error("\"row\" is not a whole number from 0")]
    Row,
    #[error("\"label\" is not a string")]
    Label,
}

/// The labels in a body, of predictions by `model`, of any of its versions where `version` is
/// absent.
pub(super) fn parse(
    body: &[u8],
    model: &str,
    version: Option<i64>,
) -> Result<Feedback, LabelsError> {
    let body: Value =
        serde_json::from_slice(body).map_err(|error| LabelsError::Json(error.to_string()))?;
    let Value::Object(mut members) = body else { return Err(LabelsError::Fields) };
    let entries = match members.remove("labels") {
        Some(labels) if members.is_empty() => labels,
        _ => return Err(LabelsError::Fields),
    };
    let Value::Array(entries) = entries else {
        return Err(LabelsError::List { found: kind(&entries) });
    };
    if entries.len() > MAX_ROWS {
        return Err(LabelsError::TooMany { found: entries.len() });
    }
    let labelled =
        |(index, entry)| labelled(entry).map_err(|problem| LabelsError::Entry { index, problem });
    let labels = entries.into_iter().enumerate().map(labelled).collect::<Result<_, _>>()?;
    Ok(Feedback { model: model.to_owned(), version, labels })
}

fn labelled(entry: Value) -> Result<Labelled, EntryProblem> {
    let Value::Object(mut members) = entry else {
        return Err(EntryProblem::Kind { found: kind(&entry) });
    };
    let id = match take(&mut members, "id")? {
        Value::String(id) => id.parse::<PredictionId>().map_err(|()| EntryProblem::Id)?,
        _ => return Err(EntryProblem::Id),
    };
    let row = match members.remove("row") {
        None => 0,
        Some(row) => whole(&row).ok_or(EntryProblem::Row)?,
    };
    let Value::String(label) = take(&mut members, "label")? else {
        return Err(EntryProblem::Label);
    };
    match members.into_iter().next() {
        Some((field, _)) => Err(EntryProblem::Unknown { field }),
        None => Ok(Labelled { id, row, label }),
    }
}

/// A whole number from 0, also as `3.0`, which is the same number to JSON.
fn whole(value: &Value) -> Option<u32> {
    if let Some(number) = value.as_u64() {
        return u32::try_from(number).ok();
    }
    let number = value.as_f64()?;
    let is_whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    is_whole.then_some(number as u32)
}

fn take(members: &mut Map<String, Value>, field: &'static str) -> Result<Value, EntryProblem> {
    members.remove(field).ok_or(EntryProblem::Missing { field })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// `{"accepted": 1, "duplicates": 0, "unknown": 1, "unknown_rows": [{"id": "…", "row": 0}]}`, the
/// last, with the first twenty, where there are any.
pub(super) fn joined(joined: &Joined) -> String {
    let Joined { accepted, duplicates, unknown, unknown_rows } = joined;
    let mut answer = json!({ "accepted": accepted, "duplicates": duplicates, "unknown": unknown });
    if !unknown_rows.is_empty() {
        let row = |(id, row): &(PredictionId, u32)| json!({ "id": id.to_string(), "row": row });
        answer["unknown_rows"] = unknown_rows.iter().map(row).collect();
    }
    answer.to_string()
}

#[cfg(test)]
mod tests {
    use super::{Joined, joined, parse};

    const ID: &str = "00112233445566778899aabbccddeeff";

    #[test]
    fn bodies() {
        let check = |body: &str, expected: Result<usize, &str>| {
            let found = parse(body.replace("ID", ID).as_bytes(), "mood", Some(3));
            let found = found.map(|feedback| feedback.labels.len()).map_err(|e| e.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{body}");
        };
        check(r#"{"labels": []}"#, Ok(0));
        check(r#"{"labels": [{"id": "ID", "label": "a"}]}"#, Ok(1));
        check(r#"{"labels": [{"row": 3.0, "id": "ID", "label": "a"}]}"#, Ok(1));
        check(r#"{"labels": [{"row": 4294967295, "id": "ID", "label": ""}]}"#, Ok(1));
        let fields = "expected an object with the field \"labels\" and no other";
        check("[]", Err(fields));
        check("{}", Err(fields));
        check(r#"{"labels": [], "more": 1}"#, Err(fields));
        check(r#"{"labels": {}}"#, Err("labels: expected a list, found an object"));
        check("{", Err("JSON Parse error: EOF while parsing an object at line 1 column 1"));
        check(r#"{"labels": [null]}"#, Err("labels[0]: expected an object, found null"));
        let entry = |entry: &str, expected: &str| {
            let body = format!(r#"{{"labels": [{{"id": "ID", "label": "a"}}, {{{entry}}}]}}"#);
            check(&body, Err(&format!("labels[1]: {expected}")));
        };
        entry(r#""label": "a""#, "missing \"id\"");
        entry(r#""id": "ID""#, "missing \"label\"");
        let id = "\"id\" is not the 32 hexadecimal digits of an x-prediction-id";
        entry(r#""id": "12", "label": "a""#, id);
        entry(r#""id": 12, "label": "a""#, id);
        for row in ["-1", "1.5", "\"0\"", "4294967296", "4294967296.0", "1e99", "null"] {
            let body = format!(r#""id": "ID", "row": {row}, "label": "a""#);
            entry(&body, "\"row\" is not a whole number from 0");
        }
        entry(r#""id": "ID", "label": 1"#, "\"label\" is not a string");
        let unknown = "unknown field \"rows\", expected \"id\", \"row\" and \"label\"";
        entry(r#""id": "ID", "rows": 1, "label": "a""#, unknown);
        let many = format!("{{\"labels\": [{}null]}}", "null,".repeat(65_536));
        check(&many, Err("65537 labels in one request, the limit is 65536"));
    }

    #[test]
    fn answers() {
        let mut some = Joined { accepted: 2, duplicates: 1, ..Joined::default() };
        assert_eq!(joined(&some), r#"{"accepted":2,"duplicates":1,"unknown":0}"#);
        (some.unknown, some.unknown_rows) = (1, vec![(ID.parse().unwrap(), 7)]);
        let rows = format!("[{{\"id\":\"{ID}\",\"row\":7}}]");
        let expected =
            format!("{{\"accepted\":2,\"duplicates\":1,\"unknown\":1,\"unknown_rows\":{rows}}}");
        assert_eq!(joined(&some), expected);
    }
}
