//! Numbers as people read them. What is not a finite number is an en dash.

use serde_json::Value;

/// Shown where there is no number.
pub(crate) const NONE: &str = "–";

/// A whole number with separators: `12,345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A score: four decimals below 10, fewer above, powers of ten at the extremes.
pub(crate) fn score(number: Option<f64>) -> String {
    let Some(number) = finite(number) else {
        return NONE.to_owned();
    };
    minus(match number.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-4..1e7).contains(&size) => format!("{number:.2e}"),
        size if size < 10.0 => format!("{number:.4}"),
        size if size < 1000.0 => format!("{number:.2}"),
        _ => format!("{number:.0}"),
    })
}

/// A number that a person chose, such as a target: as it was written, to four significant digits.
pub(crate) fn chosen(number: f64) -> String {
    if number.is_finite() { significant(number, 4) } else { NONE.to_owned() }
}

/// A number where only its size matters, to two significant digits.
pub(crate) fn rounded(number: f64) -> String {
    if number.is_finite() { significant(number, 2) } else { NONE.to_owned() }
}

/// A difference of scores, always with its sign.
pub(crate) fn difference(number: Option<f64>) -> String {
    let text = score(number);
    if finite(number).is_some_and(|number| number > 0.0) { format!("+{text}") } else { text }
}

/// A 95 % interval, `0.8441 – 0.8776`; `None` unless both ends are known.
pub(crate) fn interval(low: Option<f64>, high: Option<f64>) -> Option<String> {
    let (low, high) = (finite(low)?, finite(high)?);
    Some(format!("{} – {}", score(Some(low)), score(Some(high))))
}

/// A share of 1 in per cent.
pub(crate) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", share * 100.0) } else { NONE.to_owned() }
}

/// A size in decimal units: `812 B`, `12.3 kB`, `4.56 MB`.
pub(crate) fn bytes(size: u64) -> String {
    let mut number = size as f64;
    for unit in ["B", "kB", "MB"] {
        // 999.5 would round up to four digits.
        if number < 999.5 {
            return format!("{} {unit}", significant(number, 3));
        }
        number /= 1000.0;
    }
    format!("{} GB", significant(number, 3))
}

/// A latency, from milliseconds: `0.042 ms`, `12.3 ms`.
pub(crate) fn milliseconds(time: Option<f64>) -> String {
    match finite(time) {
        Some(time) => format!("{} ms", significant(time, 3)),
        None => NONE.to_owned(),
    }
}

/// A span of time, from seconds: `8.2 s`, `4 min 12 s`, `1 h 04 min`.
pub(crate) fn duration(seconds: Option<f64>) -> String {
    let Some(seconds) = finite(seconds).filter(|seconds| *seconds >= 0.0) else {
        return NONE.to_owned();
    };
    if seconds < 59.95 {
        return format!("{} s", significant(seconds, if seconds < 1.0 { 2 } else { 3 }));
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        return format!("{} min {:02} s", whole / 60, whole % 60);
    }
    let minutes = whole / 60 + u64::from(whole % 60 >= 30);
    format!("{} h {:02} min", count(minutes / 60), minutes % 60)
}

/// A value of a parameter: four significant digits for real numbers, texts as they are.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => NONE.to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => chosen(number.as_f64().unwrap_or(f64::NAN)),
        other => other.to_string(),
    }
}

/// `number` if it is one.
pub(crate) fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}

/// `number` to `digits` significant digits without trailing zeros after the point, as a power of
/// ten below 10⁻⁴ and from 10⁷ up.
fn significant(number: f64, digits: i32) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e7).contains(&number.abs()) {
        return minus(format!("{number:.2e}"));
    }
    let decimals = (digits - 1 - number.abs().log10().floor() as i32).max(0) as usize;
    let text = format!("{number:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    minus(text)
}

/// `text` with the typographic minus sign.
fn minus(text: String) -> String {
    if text.contains('-') { text.replace('-', "−") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check<T>(format: impl Fn(T) -> String, cases: impl IntoIterator<Item = (T, &'static str)>) {
        for (input, expected) in cases {
            assert_eq!(format(input), expected);
        }
    }

    #[test]
    fn counts_and_sizes() {
        check(count, [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")]);
        check(
            bytes,
            [
                (0, "0 B"),
                (812, "812 B"),
                (999, "999 B"),
                (1000, "1 kB"),
                (12_345, "12.3 kB"),
                (999_499, "999 kB"),
                (999_500, "1 MB"),
                (4_560_000, "4.56 MB"),
                (7_000_000_000, "7 GB"),
            ],
        );
    }

    #[test]
    fn scores() {
        check(
            score,
            [
                (Some(0.86123), "0.8612"),
                (Some(-0.00419), "−0.0042"),
                (Some(0.0), "0"),
                (Some(1.0), "1.0000"),
                (Some(123.456), "123.46"),
                (Some(54_321.9), "54322"),
                (Some(1.5e-7), "1.50e−7"),
                (Some(f64::NAN), "–"),
                (Some(f64::INFINITY), "–"),
                (None, "–"),
            ],
        );
        check(difference, [(Some(0.0011), "+0.0011"), (Some(-0.5), "−0.5000"), (None, "–")]);
        check(chosen, [(0.85, "0.85"), (5.0, "5"), (0.46371, "0.4637"), (f64::NAN, "–")]);
        assert_eq!(interval(Some(0.1), Some(0.25)).as_deref(), Some("0.1000 – 0.2500"));
        assert_eq!(interval(Some(0.1), Some(f64::NAN)), None);
    }

    #[test]
    fn times() {
        let cases = [
            (Some(0.0412), "0.0412 ms"),
            (Some(12.34), "12.3 ms"),
            (Some(1234.5), "1234 ms"),
            (None, "–"),
        ];
        check(milliseconds, cases);
        check(
            duration,
            [
                (Some(0.25), "0.25 s"),
                (Some(8.24), "8.24 s"),
                (Some(59.97), "1 min 00 s"),
                (Some(252.0), "4 min 12 s"),
                (Some(3599.6), "1 h 00 min"),
                (Some(3840.0), "1 h 04 min"),
                (Some(-1.0), "–"),
                (None, "–"),
            ],
        );
    }

    #[test]
    fn values() {
        check(
            |value_: Value| value(&value_),
            [
                (json!(0.0123456), "0.01235"),
                (json!(0.00001234), "1.23e−5"),
                (json!(64), "64"),
                (json!("l2"), "l2"),
                (json!(true), "true"),
                (json!([1, 2]), "[1,2]"),
                (json!(null), "–"),
            ],
        );
    }
}
