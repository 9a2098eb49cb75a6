//! What a program says on standard output: one JSON object a line.

use serde_json::{Map, Value};

/// A line that is a JSON object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Report {
    /// Some of what was asked for, on the way where it has a step, else at the end.
    Values {
        /// Where on the way.
        step: Option<u64>,
        /// What it says under each name that was asked for.
        values: Vec<Option<f64>>,
    },
    /// An object with none of these names; its keys, in their order.
    Other(Vec<String>),
}

impl Report {
    /// Reads a line; `None` where it is no JSON object, an error where it is a report that cannot be
    /// meant. Python's `NaN`, `Infinity` and `-Infinity` are numbers here.
    pub(super) fn read(line: &[u8], names: &[String]) -> Option<Result<Self, String>> {
        let object = object(line)?;
        if !names.iter().any(|name| object.contains_key(name)) {
            return Some(Ok(Self::Other(object.into_iter().map(|(key, _)| key).collect())));
        }
        Some(Self::of(&object, names))
    }

    fn of(object: &Map<String, Value>, names: &[String]) -> Result<Self, String> {
        let value = |name: &String| {
            let Some(value) = object.get(name) else { return Ok(None) };
            let wrong = || format!("it reported `{name}` as {value}, which is no number");
            number(value).map(Some).ok_or_else(wrong)
        };
        let values = names.iter().map(value).collect::<Result<_, String>>()?;
        let whole = |step| {
            whole(step).ok_or_else(|| format!("it reported step {step}; steps are 0, 1, 2, …"))
        };
        Ok(Self::Values { step: object.get("step").map(whole).transpose()?, values })
    }
}

fn object(line: &[u8]) -> Option<Map<String, Value>> {
    let text = str::from_utf8(line).ok()?;
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&quoted(text))).ok()
}

/// What Python and others write for numbers that JSON does not have.
const NOT_FINITE: [(&str, f64); 3] =
    [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];

/// `text` with quotes around [`NOT_FINITE`], which makes it JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = NOT_FINITE.iter().find(|(word, _)| rest.starts_with(word));
        let length = match word {
            Some((word, _)) => {
                quoted += &format!("\"{word}\"");
                word.len()
            }
            None => {
                let length = if first == '"' { string_length(rest) } else { first.len_utf8() };
                quoted += &rest[..length];
                length
            }
        };
        rest = &rest[length..];
    }
    quoted
}

/// Bytes of the JSON string that `text` begins with, its quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    end.map_or(text.len(), |end| end + 2)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => {
            NOT_FINITE.iter().find(|(word, _)| word == text).map(|(_, number)| *number)
        }
        other => other.as_f64(),
    }
}

/// Some languages have but one kind of number and write 3 as `3.0`.
fn whole(value: &Value) -> Option<u64> {
    let exact = |x: &f64| x.fract() == 0.0 && (0.0..9e15).contains(x);
    value.as_u64().or_else(|| value.as_f64().filter(exact).map(|x| x as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<Result<Report, &str>>) {
        let expected = expected.map(|result| result.map_err(str::to_owned));
        // Debug texts, because NaN is not equal to itself.
        let found = Report::read(line.as_bytes(), &["f1".to_owned(), "ms".to_owned()]);
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{line}");
    }

    fn values(
        step: Option<u64>,
        f1: Option<f64>,
        ms: Option<f64>,
    ) -> Option<Result<Report, &'static str>> {
        Some(Ok(Report::Values { step, values: vec![f1, ms] }))
    }

    #[test]
    fn reports_are_read() {
        let step = |step, score| values(Some(step), Some(score), None);
        check(r#"{"step": 3, "f1": 0.81}"#, step(3, 0.81));
        check(r#"{"f1": 1, "step": 0, "loss": 0.4, "lr": [1, 2]}"#, step(0, 1.0));
        check(r#"  {"step": 12.0, "f1": -2e-3}  "#, step(12, -0.002));
        check(r#"{"f1": 0.5}"#, values(None, Some(0.5), None));
        check(r#"{"ms": 20, "f1": 0.5}"#, values(None, Some(0.5), Some(20.0)));
        check(r#"{"step": 2, "ms": 20}"#, values(Some(2), None, Some(20.0)));
        check("{\"step\": 1, \"f1\": 0.5}\r", step(1, 0.5));
        let other = |keys: &[&str]| {
            Some(Ok(Report::Other(keys.iter().map(|key| (*key).to_owned()).collect())))
        };
        check(r#"{"step": 3, "F1": 0.81}"#, other(&["step", "F1"]));
        check("{}", other(&[]));
    }

    #[test]
    fn numbers_that_json_does_not_have_are_numbers() {
        check(r#"{"step": 3, "f1": NaN}"#, values(Some(3), Some(f64::NAN), None));
        check(r#"{"f1": Infinity}"#, values(None, Some(f64::INFINITY), None));
        check(r#"{"f1":-Infinity}"#, values(None, Some(f64::NEG_INFINITY), None));
        check(r#"{"f1": 1, "loss": NaN}"#, values(None, Some(1.0), None));
        check(r#"{"note": "NaN \" NaN", "f1": NaN}"#, values(None, Some(f64::NAN), None));
    }

    #[test]
    fn what_is_no_report_is_passed_over() {
        for line in
            ["", "epoch 3", "{", "{'f1': 0.5}", "[0.5]", r#"{"f1": 0.5"#, r#"{"a": N"#, "{\"é"]
        {
            check(line, None);
        }
        assert_eq!(Report::read(b"{\"f1\": 0.5, \"x\": \"\xff\"}", &["f1".to_owned()]), None);
        let deep = "{\"f1\": 0.5, \"x\": ".to_owned() + &"[".repeat(60_000);
        check(&deep, None);
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        let wrong = |text| Some(Err(text));
        check(r#"{"f1": "0.5"}"#, wrong("it reported `f1` as \"0.5\", which is no number"));
        check(r#"{"f1": 1, "ms": true}"#, wrong("it reported `ms` as true, which is no number"));
        check(r#"{"f1": null}"#, wrong("it reported `f1` as null, which is no number"));
        check(r#"{"step": -1, "f1": 0}"#, wrong("it reported step -1; steps are 0, 1, 2, …"));
        check(r#"{"step": 1.5, "f1": 0}"#, wrong("it reported step 1.5; steps are 0, 1, 2, …"));
        check(r#"{"step": "1", "f1": 0}"#, wrong("it reported step \"1\"; steps are 0, 1, 2, …"));
    }
}
