//! `luthier eval`.

use std::path::Path;

use luthier_bundle::{Bundle, sha256_hex};
use luthier_eval::{Bootstrap, Comparison, Metric, Report, Verdict, compare};
use luthier_model::Decision;
use serde::Serialize;

use super::labelled::{LabelledRows, beside};
use super::{print, print_json};
use crate::cli::{EvalArgs, Format};
use crate::failure::Failure;
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
    let bundle = Bundle::open(&args.bundle)?;
    let decision = &bundle.manifest().decision;
    let metric = match (&args.metric, decision) {
        (Some(name), _) => name.parse()?,
        (None, Decision::Class(_)) => Metric::F1,
        (None, Decision::Number(_)) => Metric::Rmse,
    };
    let rows = LabelledRows::read(&bundle, &args.input, &args.text, &args.label)?;
    // A bundle that cannot be compared with is told of before the test split is opened.
    let other = args.against.as_deref().map(|path| beside(&bundle, path)).transpose()?;
    let openings = count_opening(&bundle, &args.input)?;
    let scored = rows.score(&bundle, decision.labels())?;
    let positive = decision.positive();
    let report = Report::build(&scored, decision.labels(), positive, &Bootstrap::default())?;
    let comparison = match &other {
        None => None,
        Some(other) => {
            let baseline = rows.score(other, decision.labels())?;
            Some(compare(&scored, &baseline, metric, positive, &Bootstrap::default())?)
        }
    };
    let evaluated = Evaluated { report, comparison, test_openings: openings };
    match format {
        Format::Json => print_json(&evaluated),
        Format::Text => print(&render(&evaluated)),
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
    if !report.classes.is_empty() {
        text += &classes(report);
    }
    if let Some(comparison) = &evaluated.comparison {
        text += &format!("\n{}\n", sentence(comparison));
    }
    text
}

fn classes(report: &Report) -> String {
    let mut lines =
        vec![["class", "rows", "precision", "recall", "f1"].map(str::to_owned).to_vec()];
    for class in &report.classes {
        let scores = [class.precision, class.recall, class.f1].map(|x| format!("{x:.4}"));
        let mut line = vec![class.label.clone(), class.support.to_string()];
        line.extend(scores);
        lines.push(line);
    }
    table(&lines)
}

fn sentence(comparison: &Comparison) -> String {
    let verdict = match comparison.verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Undecided => "not told apart",
    };
    let mcnemar = comparison.mcnemar.map(|test| ("McNemar", test.exact));
    let test = mcnemar.or(comparison.sign_test.map(|test| ("sign test", test.exact)));
    let test = test.map_or(String::new(), |(name, p)| format!(", {name} p = {p:.3}"));
    format!(
        "against the other bundle: {} {:.4} and {:.4}, difference {:+.4} (95 % {:+.4} to {:+.4})\
         {test}: {verdict}",
        comparison.metric,
        comparison.candidate,
        comparison.baseline,
        comparison.difference,
        comparison.interval.low,
        comparison.interval.high,
    )
}
