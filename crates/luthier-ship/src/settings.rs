//! What may be chosen, and what is allowed there.

use luthier_bundle::Manifest;

use crate::{Setting, ShipError};

/// Above this, a population stability index is by common use that of a large shift.
const LARGE_SHIFT: f64 = 0.25;

/// What may be chosen; what is left out has a default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Name of the image, with or without a tag; `localhost/<model>`, tagged with the start of the
    /// bundle's digest.
    pub image: Option<String>,
    /// Namespace in the cluster; the model's name.
    pub namespace: Option<String>,
    /// Address that alerts are posted to; none, so that they are seen in Alertmanager alone.
    pub webhook: Option<String>,
    /// Folder of the job in its repository; the repository itself.
    pub job: Option<String>,
    /// Rows that a candidate is measured on before a release, as a path in the repository;
    /// `data/test.csv` in the job's folder.
    pub gate_data: Option<String>,
    /// Text columns of these rows, separated by commas; `text`.
    pub gate_text: Option<String>,
    /// Label column of these rows; `label`.
    pub gate_label: Option<String>,
    /// Whether a release goes on where these rows are too few for the gate to tell.
    pub allow_undecidable: bool,
    /// Highest 99th percentile of a request, in milliseconds; 50.
    pub target_p99_ms: Option<f64>,
    /// Highest share of requests that fail; 0.01.
    pub error_rate: Option<f64>,
    /// Lowest live accuracy; the lower end of the interval in the manifest.
    pub min_accuracy: Option<f64>,
    /// Highest population stability index; 0.25, by common use the start of a large shift, or more
    /// where few validation rows make that one by chance.
    pub max_psi: Option<f64>,
}

/// When an alert is raised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Highest 99th percentile of a request, in milliseconds.
    pub target_p99_ms: f64,
    /// Highest share of requests that fail.
    pub error_rate: f64,
    /// Lowest live accuracy.
    pub min_accuracy: f64,
    /// Highest population stability index.
    pub max_psi: f64,
}

impl Thresholds {
    /// The chosen ones within their ranges, and defaults.
    pub(crate) fn new(manifest: &Manifest, settings: &Settings) -> Result<Self, ShipError> {
        let min_accuracy = settings.min_accuracy.or_else(|| proven_accuracy(manifest));
        Ok(Self {
            target_p99_ms: within(
                Setting::TargetP99,
                settings.target_p99_ms.unwrap_or(50.0),
                0.1..=5000.0,
                "between 0.1 and 5000 milliseconds, which the server's histogram can tell apart",
            )?,
            error_rate: within(
                Setting::ErrorRate,
                settings.error_rate.unwrap_or(0.01),
                1e-5..=0.4,
                "a share between 0.00001 and 0.4",
            )?,
            min_accuracy: within(
                Setting::MinAccuracy,
                min_accuracy.ok_or(ShipError::NoAccuracy)?,
                0.01..=0.999,
                "between 0.01 and 0.999",
            )?,
            max_psi: within(
                Setting::MaxPsi,
                settings.max_psi.unwrap_or_else(|| drift_limit(manifest)),
                LARGE_SHIFT..=10.0,
                "between 0.25 and 10; below, it would be raised by chance",
            )?,
        })
    }
}

/// The least index that says something for sure: 0.25, and where the baseline has few rows what chance
/// alone exceeds once in a thousand. Without drift the index is near chi-squared with nine degrees of
/// freedom, times 1/n + 1/m for n predictions and m rows (Yurdakul and Naranjo 2020).
fn drift_limit(manifest: &Manifest) -> f64 {
    /// 99.9th percentile of that chi-squared.
    const RARE: f64 = 27.88;
    /// Predictions that the server looks back on.
    const PREDICTIONS: f64 = 1000.0;
    let rows = manifest.scores.iter().find(|score| score.part == "valid").map(|score| score.rows);
    let Some(rows) = rows.filter(|rows| *rows > 0) else { return LARGE_SHIFT };
    let by_chance = RARE * (1.0 / PREDICTIONS + 1.0 / rows as f64);
    ((by_chance * 100.0).ceil() / 100.0).clamp(LARGE_SHIFT, 10.0)
}

fn within(
    setting: Setting,
    value: f64,
    range: std::ops::RangeInclusive<f64>,
    must: &'static str,
) -> Result<f64, ShipError> {
    match range.contains(&value) {
        true => Ok(value),
        false => Err(ShipError::Setting { setting, value: value.to_string(), must }),
    }
}

/// The lower end of the interval of the accuracy, of the test split where it has been opened.
fn proven_accuracy(manifest: &Manifest) -> Option<f64> {
    let of = |part: &str| {
        let scores = manifest.scores.iter().filter(|score| score.metric == "accuracy");
        scores.filter(|score| score.part == part).find_map(|score| score.low)
    };
    let low = of("test").or_else(|| of("valid"))?;
    Some(((low * 1000.0).floor() / 1000.0).clamp(0.01, 0.999))
}

/// A name that a Service, and so a host, may have (RFC 1035).
pub(crate) fn is_service_name(name: &str) -> bool {
    name.len() <= crate::MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && is_label(name)
}

/// A label of a host name (RFC 1123).
pub(crate) fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// A tag that can be a label of an object in a cluster, too.
fn is_tag(tag: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    (1..=63).contains(&tag.len())
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && ends(tag.chars().next())
        && ends(tag.chars().next_back())
}

/// Repository and tag of an image's name, `[host[:port]/]path[:tag]`.
pub(crate) fn image_parts(image: &str) -> Option<(&str, Option<&str>)> {
    let path = image.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match image[path..].split_once(':') {
        Some((last, tag)) => (&image[..path + last.len()], Some(tag)),
        None => (image, None),
    };
    let component = |text: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        text.bytes().all(inner) && ends(text.bytes().next()) && ends(text.bytes().next_back())
    };
    let mut components = repository.split('/');
    let host = components.next()?;
    let host = match host.split_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        Some(_) => return None,
        None => host,
    };
    let sound = component(host) && components.all(component) && repository.len() <= 255;
    (sound && tag.is_none_or(is_tag)).then_some((repository, tag))
}

/// A path inside a repository that needs no quotes in a shell: plain characters, no way out.
pub(crate) fn is_plain_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    !path.is_empty()
        && path.bytes().all(plain)
        && !path.starts_with(['-', '/'])
        && path.split('/').all(|part| part != ".." && !part.is_empty())
}

/// Names of columns, in any language, that cannot leave the quotes of a shell.
pub(crate) fn is_plain_column(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || " ._-,:/()".contains(c);
    !name.trim().is_empty() && name.chars().all(plain) && !name.starts_with('-')
}

/// An address that cannot leave the quotes of a shell or of YAML.
pub(crate) fn is_plain_url(url: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?=&%+,@".contains(&b);
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain))
}
