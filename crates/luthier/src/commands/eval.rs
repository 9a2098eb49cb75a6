//! `luthier eval`.

use std::collections::HashMap;
use std::path::Path;

use luthier_bundle::{Bundle, sha256_hex};
use luthier_data::{DataError, Source};
use luthier_engine::Threads;
use luthier_eval::{Bootstrap, Comparison, Metric, Predictions, Report, Verdict, compare};
use serde::Serialize;

use super::{print, print_json};
use crate::cli::{EvalArgs, Format};
use crate::failure::Failure;
use crate::stages::predictions;
use crate::term::{Reporter, table, times};

/// All that the command says.
#[derive(Serialize)]
struct Evaluated {
    report: Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
    /// How often the test split has been opened for the bundle, where these rows are that split.
    #[serde(skip_serializing_if = "Option::is_none")]
    test_openings: Option<u32>,
}

pub(crate) fn eval(args: &EvalArgs, format: Format) -> Result<(), Failure> {
    let metric: Metric = args.metric.parse()?;
    let bundle = Bundle::open(&args.bundle)?;
    let decision = &bundle.manifest().decision;
    let rows = LabelledRows::read(args, &decision.labels)?;
    // A bundle that cannot be compared with is told of before the test split is opened.
    let other = args.against.as_deref().map(|path| with_labels(path, &decision.labels));
    let other = other.transpose()?;
    let openings = count_opening(&bundle, &args.input)?;
    let scored = rows.score(&bundle)?;
    let positive = decision.positive;
    let report = Report::build(&scored, &decision.labels, positive, &Bootstrap::default())?;
    let comparison = match &other {
        None => None,
        Some(other) => {
            let baseline = rows.score(other)?;
            Some(compare(&scored, &baseline, metric, positive, &Bootstrap::default())?)
        }
    };
    let evaluated = Evaluated { report, comparison, test_openings: openings };
    match format {
        Format::Json => print_json(&evaluated),
        Format::Text => print(&render(&evaluated)),
    }
}

/// Opens a bundle that must have these labels.
fn with_labels(path: &Path, labels: &[String]) -> Result<Bundle, Failure> {
    let bundle = Bundle::open(path)?;
    match bundle.manifest().decision.labels == labels {
        true => Ok(bundle),
        false => Err(Failure::input("the two bundles do not have the same labels")),
    }
}

/// Texts with the classes of their labels.
struct LabelledRows {
    texts: Vec<String>,
    truth: Vec<u32>,
}

impl LabelledRows {
    fn read(args: &EvalArgs, labels: &[String]) -> Result<Self, Failure> {
        let source = Source::open(&args.input)?;
        let columns: Vec<&String> = args.text.iter().chain([&args.label]).collect();
        let classes: HashMap<&str, u32> = labels.iter().map(String::as_str).zip(0..).collect();
        let mut rows = Self { texts: Vec::new(), truth: Vec::new() };
        for row in source.rows(&columns)? {
            let row = row?;
            let mut cells = row.cells.into_iter();
            let text: Vec<String> =
                cells.by_ref().take(args.text.len()).map(Option::unwrap_or_default).collect();
            let label = cells.next().flatten().unwrap_or_default();
            let label = label.trim();
            if label.is_empty() {
                let (path, column) = (args.input.clone(), args.label.clone());
                return Err(DataError::MissingLabel { path, line: row.line, column }.into());
            }
            let class = classes.get(label).copied().ok_or_else(|| {
                let place = format!("{}:{}", args.input.display(), row.line);
                Failure::input(format!("{place}: label `{label}` is not one of the model's"))
                    .hint(format!("the model knows {}", labels.join(", ")))
            })?;
            rows.texts.push(text.join("\n"));
            rows.truth.push(class);
        }
        if rows.texts.is_empty() {
            return Err(Failure::input(format!("{}: no rows", args.input.display())));
        }
        Ok(rows)
    }

    fn score(&self, bundle: &Bundle) -> Result<Predictions, Failure> {
        let predictor = bundle.predictor(&Threads::new(1))?;
        let classes = predictor.decision().classes();
        let mut scratch = luthier_bundle::PredictScratch::default();
        let probabilities = predictor.predict(&self.texts, &mut scratch)?;
        let label = |row: &[f32]| predictor.decision().answer(row).label as u32;
        let predicted = probabilities.chunks_exact(classes).map(label).collect();
        Ok(predictions(classes, self.truth.clone(), &probabilities, Some(predicted))?)
    }
}

/// Where the rows are the bundle's own test split, notes one more opening in the manifest.
fn count_opening(bundle: &Bundle, input: &Path) -> Result<Option<u32>, Failure> {
    let digest = sha256_hex(&std::fs::read(input).map_err(Failure::io(input))?);
    let parts = &bundle.manifest().lineage.data;
    let is_test = parts.iter().any(|data| data.part == "test" && data.sha256 == digest);
    let is_train = parts.iter().any(|data| data.part == "train" && data.sha256 == digest);
    if !is_test || is_train {
        return Ok(None);
    }
    let openings = bundle.manifest().test_openings + 1;
    let mut draft = bundle.to_draft()?;
    draft.test_openings = openings;
    let obstacle = match bundle.path().is_dir() {
        true => draft.write(bundle.path()).err().map(|_| "cannot be written"),
        false => Some("is packed"),
    };
    if let Some(obstacle) = obstacle {
        let note = format!("the bundle {obstacle}, so this opening is not counted in it");
        Reporter::new(false).line("note", &note);
    }
    Ok(Some(openings))
}

fn render(evaluated: &Evaluated) -> String {
    let report = &evaluated.report;
    let number = |x: Option<f64>| x.map_or("–".to_owned(), |x| format!("{x:.4}"));
    let mut lines = vec![["metric", "value", "95 %"].map(str::to_owned).to_vec()];
    for metric in &report.metrics {
        let interval = format!("{} to {}", number(metric.low), number(metric.high));
        lines.push(vec![metric.name.clone(), number(metric.value), interval]);
    }
    let mut text = format!("{} rows", report.rows);
    if let Some(openings) = evaluated.test_openings {
        text += &format!(", the test split of this bundle, opened {}", times(openings.into()));
    }
    text += &format!("\n\n{}\n", table(&lines));
    let mut lines =
        vec![["class", "rows", "precision", "recall", "f1"].map(str::to_owned).to_vec()];
    for class in &report.classes {
        let scores = [class.precision, class.recall, class.f1].map(|x| format!("{x:.4}"));
        let mut line = vec![class.label.clone(), class.support.to_string()];
        line.extend(scores);
        lines.push(line);
    }
    text += &table(&lines);
    if let Some(comparison) = &evaluated.comparison {
        text += &format!("\n{}\n", sentence(comparison));
    }
    text
}

fn sentence(comparison: &Comparison) -> String {
    let verdict = match comparison.verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Undecided => "not told apart",
    };
    format!(
        "against the other bundle: {} {:.4} and {:.4}, difference {:+.4} (95 % {:+.4} to {:+.4}), \
         McNemar p = {:.3}: {verdict}",
        comparison.metric,
        comparison.candidate,
        comparison.baseline,
        comparison.difference,
        comparison.interval.low,
        comparison.interval.high,
        comparison.mcnemar.exact,
    )
}
