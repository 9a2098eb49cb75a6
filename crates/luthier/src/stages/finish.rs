//! The finished model: the test split is opened, once, and the bundle is written, with the baseline
//! that drift is judged against.

use luthier_bundle::{Bundle, Score};
use luthier_data::{Cell, Content, Part, Table};
use luthier_engine::Threads;
use luthier_eval::{
    Bootstrap, Metric, Mistake, NumberError, Predictions, Report, Suspect, largest_errors,
    suspect_labels, worst_mistakes,
};
use luthier_model::Scratch;
use luthier_monitor::{Baseline, Observation};
use luthier_serve::observe;
use serde::{Deserialize, Serialize};

use super::compress::Compressed;
use super::distil::{Distillation, Distilled};
use super::folder::key;
use super::held_out::{self, HeldOut, answering};
use super::importance::{self, ColumnImportance};
use super::inputs::Inputs;
use super::measure::{Answers, TIMED_ROWS, Truth, answer, binary, latency, some_rows};
use super::{Prepared, RunFolder};
use crate::failure::Failure;
use crate::term::{Reporter, times};

/// Rows that the report shows of each kind.
const SHOWN: usize = 25;
/// Numbers that the report shows beside their predictions.
const PLOTTED: usize = 1000;

/// The finished bundle and all that the report says of it.
pub(super) struct Finished {
    pub(super) bundle: Bundle,
    pub(super) findings: Findings,
}

/// What was found on the validation and test rows; kept, so that a later run need not open the test
/// split again.
#[derive(Serialize, Deserialize)]
pub(super) struct Findings {
    pub(super) valid: Report,
    pub(super) test: Option<Report>,
    pub(super) mistakes: Vec<Shown<Mistake>>,
    pub(super) suspects: Vec<Shown<Suspect>>,
    /// The largest errors of numbers.
    #[serde(default)]
    pub(super) errors: Vec<Shown<NumberError>>,
    /// What a teacher was worth, if there is one.
    #[serde(default)]
    pub(super) distillation: Option<Distillation>,
    /// Some predicted numbers with the true ones, of test or else validation.
    #[serde(default)]
    pub(super) numbers: Vec<(f64, f64)>,
    /// What the columns of a table do in the model, the greatest first.
    #[serde(default)]
    pub(super) importance: Vec<ColumnImportance>,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// A finding about a row, with the row.
#[derive(Serialize, Deserialize)]
pub(super) struct Shown<T> {
    pub(super) finding: T,
    /// Row in its file, from 1.
    pub(super) row: u64,
    pub(super) id: Option<String>,
    pub(super) text: String,
}

/// Writes `bundle` and `findings.json`.
pub(super) fn finish(
    prepared: &Prepared<'_>,
    compressed: &Compressed,
    distilled: Option<&Distilled<'_>>,
    folder: &mut RunFolder,
    reporter: &Reporter,
) -> Result<Finished, Failure> {
    let untaught = distilled.map_or("", |distilled| &distilled.untaught.key);
    let key = key(&["bundle", &compressed.key, untaught]);
    let path = folder.join("bundle");
    if folder.finished("bundle", &key)
        && let (Ok(bundle), Ok(findings)) = (Bundle::open(&path), folder.read("findings.json"))
    {
        return Ok(Finished { bundle, findings });
    }
    let threads = Threads::new(1);
    let predictor = compressed.bundle.predictor(&threads)?;
    let scored = |truth: &Truth, Answers { outputs, decided }| truth.predictions(&outputs, decided);
    let held_out = HeldOut::of(prepared)?;
    let (names, positive) = (prepared.dataset.labels(), binary(&prepared.dataset));
    let report =
        |scored: &Predictions| Report::build(scored, names, positive, &Bootstrap::default());
    let of_folds = compressed.folds.iter().map(|bundle| bundle.predictor(&threads));
    let of_folds = of_folds.collect::<Result<Vec<_>, _>>()?;
    let answers = held_out.answer(answering(&predictor, &of_folds))?;
    let valid = scored(&held_out.truth, answers)?;
    let part = held_out::part(&prepared.dataset);
    let timed = some_rows(&prepared.dataset, part, TIMED_ROWS)?;
    let (p50_ms, p99_ms) = threads.run(|| latency(&predictor, &timed))?;
    let mut findings = Findings {
        valid: report(&valid)?,
        test: None,
        mistakes: Vec::new(),
        suspects: shown(prepared, part, suspect_labels(&valid, SHOWN), |s| s.row)?,
        errors: Vec::new(),
        distillation: None,
        numbers: numbers(&valid),
        importance: importance::with_contributions(&compressed.bundle, &prepared.dataset)?,
        p50_ms,
        p99_ms,
    };
    let compared = |part| distilled.map(|distilled| distilled.compared(prepared, part)).transpose();
    let mut openings = 0;
    if prepared.dataset.is_empty(Part::Test) {
        findings.distillation = compared(part)?;
    } else {
        openings = folder.open_test(&key)?;
        let answers = answer(&predictor, &Inputs::of(&prepared.dataset, Part::Test)?)?;
        let truth = Truth::of(&prepared.dataset, &prepared.decision, Part::Test)?;
        let test = scored(&truth, answers)?;
        findings.test = Some(report(&test)?);
        findings.distillation = compared(Part::Test)?;
        findings.mistakes = shown(prepared, Part::Test, worst_mistakes(&test, SHOWN), |m| m.row)?;
        findings.numbers = numbers(&test);
        findings.errors = shown(prepared, Part::Test, largest_errors(&test, SHOWN), |e| e.row)?;
    }
    let baseline = baseline(compressed, &held_out, valid.predicted())?;
    let bundle = write(prepared, compressed, &findings, baseline.as_ref(), openings, folder)?;
    folder.write("findings.json", &findings)?;
    folder.finish("bundle", &key)?;
    if let Some(test) = &findings.test {
        reporter.line("finish", &test_line(prepared.data.metric, test, openings));
    }
    if let Some(distillation) = &findings.distillation {
        reporter.line("distil", &distillation.line());
    }
    Ok(Finished { bundle, findings })
}

fn write(
    prepared: &Prepared<'_>,
    compressed: &Compressed,
    findings: &Findings,
    baseline: Option<&Baseline>,
    openings: u32,
    folder: &RunFolder,
) -> Result<Bundle, Failure> {
    let mut draft = compressed.bundle.to_draft()?;
    draft.scores.clear();
    let reports = [(Part::Valid, Some(&findings.valid)), (Part::Test, findings.test.as_ref())];
    for (part, report) in reports {
        let Some(report) = report else { continue };
        let chosen = report.metrics.iter().filter_map(|metric| {
            Some(Score {
                part: part.to_string(),
                metric: metric.name.clone(),
                value: metric.value?,
                low: metric.low,
                high: metric.high,
                rows: report.rows as u64,
                higher_is_better: metric.higher_is_better,
            })
        });
        let (mut first, rest): (Vec<_>, Vec<_>) =
            chosen.partition(|score| score.metric == prepared.data.metric.name());
        first.extend(rest);
        draft.scores.extend(first);
    }
    draft.test_openings = openings;
    let document = serde_json::json!({ "valid": findings.valid, "test": findings.test });
    let document = serde_json::to_vec(&document).unwrap_or_default();
    let mut documents = vec![("report.json".to_owned(), document)];
    if !findings.importance.is_empty() {
        let importance = serde_json::to_vec(&findings.importance).unwrap_or_default();
        documents.push((importance::DOCUMENT.to_owned(), importance));
    }
    documents.extend(baseline.map(|baseline| (Baseline::DOCUMENT.to_owned(), baseline.to_json())));
    draft.documents.retain(|(name, _)| documents.iter().all(|(new, _)| new != name));
    draft.documents.extend(documents);
    Ok(draft.write(&folder.join("bundle"))?)
}

/// What the texts that were held out and their answers are like; their models were not trained on
/// them, so that they meet as much unknown in them as in new ones.
fn baseline(
    compressed: &Compressed,
    held_out: &HeldOut,
    predicted: &[u32],
) -> Result<Option<Baseline>, Failure> {
    let bundles = answering(&compressed.bundle, &compressed.folds);
    let models = bundles.iter().map(Bundle::model).collect::<Result<Vec<_>, _>>()?;
    let mut scratch = Scratch::default();
    // Columns of tables are not watched yet.
    let Inputs::Texts(texts) = &held_out.inputs else { return Ok(None) };
    let rows = texts.iter().zip(predicted).enumerate();
    let rows: Vec<Observation> = rows
        .map(|(row, (text, class))| {
            observe(text, *class, &held_out.of_row(row, &models).preprocess, &mut scratch)
        })
        .collect();
    Ok(Baseline::new(models[0].decision.outputs(), &rows))
}

fn test_line(metric: Metric, test: &Report, openings: u32) -> String {
    let Some(found) = test.metric(metric) else { return String::new() };
    let value = found.value.map_or("undefined".to_owned(), |value| format!("{value:.4}"));
    let interval = match (found.low, found.high) {
        (Some(low), Some(high)) => format!(" (95 % {low:.4} to {high:.4})"),
        _ => String::new(),
    };
    let opened = times(openings.into());
    format!("test {metric} {value}{interval} on {} rows, opened {opened}", test.rows)
}

/// Predicted and true numbers of rows, spread evenly; none of classes.
fn numbers(scored: &Predictions) -> Vec<(f64, f64)> {
    let Some((truth, predicted)) = scored.numbers() else { return Vec::new() };
    let stride = truth.len().div_ceil(PLOTTED).max(1);
    predicted.iter().copied().zip(truth.iter().copied()).step_by(stride).collect()
}

/// Fetches the rows that findings speak of.
fn shown<T>(
    prepared: &Prepared<'_>,
    part: Part,
    findings: Vec<T>,
    position: impl Fn(&T) -> usize,
) -> Result<Vec<Shown<T>>, Failure> {
    let mut rows = std::collections::HashMap::new();
    let wanted: std::collections::HashSet<usize> = findings.iter().map(&position).collect();
    for (index, example) in prepared.dataset.examples(part)?.enumerate() {
        if wanted.contains(&index) {
            rows.insert(index, example?);
        }
    }
    let mut shown = Vec::with_capacity(findings.len());
    for finding in findings {
        if let Some(example) = rows.remove(&position(&finding)) {
            let text = written(prepared.dataset.table(), &example.content);
            shown.push(Shown { finding, row: example.row, id: example.id, text });
        }
    }
    Ok(shown)
}

/// A row as a reader is shown it.
fn written(table: Option<&Table>, content: &Content) -> String {
    let columns = table.into_iter().flat_map(Table::columns);
    let cells = columns.zip(content.cells()).filter(|(_, cell)| *cell != Cell::Missing);
    let cells: Vec<String> =
        cells.map(|(column, cell)| format!("{}: {cell}", column.name)).collect();
    content.text().map_or_else(|| cells.join(", "), str::to_owned)
}
