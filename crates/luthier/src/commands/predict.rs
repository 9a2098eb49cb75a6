//! `luthier predict`.

mod explain;

use std::path::Path;

use luthier_bundle::{Bundle, BundleError, PredictScratch, Predictor};
use luthier_data::Source;
use luthier_engine::Threads;
use luthier_model::Decision;
use serde::Serialize;

use super::{print, print_json};
use crate::cli::{Format, PredictArgs};
use crate::failure::Failure;
use crate::stages::{Inputs, columns, content};
use crate::term::table;
use explain::{Explainer, Explanation};

/// Rows of a file that are answered at a time.
const BATCH: usize = 1024;

/// The answer to one row.
#[derive(Serialize)]
struct Prediction {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(flatten)]
    answer: Answer,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
}

/// What a model says of a row.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Class { label: String, score: f32 },
    Number { number: f32 },
}

impl Answer {
    /// Names of its parts.
    fn names(decision: &Decision) -> &[&'static str] {
        match decision {
            Decision::Class(_) => &["label", "score"],
            Decision::Number(_) => &["number"],
        }
    }

    /// What `decision` makes of what the graph gives for a row.
    fn of(decision: &Decision, outputs: &[f32]) -> Self {
        match decision {
            Decision::Class(decision) => {
                let answer = decision.answer(outputs);
                let label = decision.labels.get(answer.label).cloned().unwrap_or_default();
                Self::Class { label, score: answer.score as f32 }
            }
            Decision::Number(_) => {
                Self::Number { number: outputs.first().copied().unwrap_or(f32::NAN) }
            }
        }
    }
}

pub(crate) fn predict(args: &PredictArgs, format: Format) -> Result<(), Failure> {
    let bundle = Bundle::open(&args.bundle)?;
    let predictor = bundle.predictor(&Threads::new(1))?;
    let explainer = match args.explain {
        true => Some(Explainer::of(&bundle, predictor.table())?),
        false => None,
    };
    let answering = Answering { predictor: &predictor, explainer: explainer.as_ref() };
    match &args.input {
        Some(input) => predict_file(args, input, &answering, format),
        None => predict_rows(args, &answering, format),
    }
}

/// What answers rows.
struct Answering<'a> {
    predictor: &'a Predictor,
    /// What explains the answers, if that is asked for.
    explainer: Option<&'a Explainer>,
}

fn predict_rows(
    args: &PredictArgs,
    answering: &Answering<'_>,
    format: Format,
) -> Result<(), Failure> {
    let predictor = answering.predictor;
    let mut inputs = Inputs::empty(predictor.table());
    for row in &args.rows {
        match (&mut inputs, predictor.table()) {
            (Inputs::Table(_, numbers), Some(table)) => {
                let cells = serde_json::from_str(row).map_err(|error| {
                    Failure::input(format!("{row:?} is no JSON object: {error}"))
                        .hint("give the columns of a row by name, as '{\"age\": 34}'")
                })?;
                table.encode_json(&cells, numbers).map_err(BundleError::from)?;
            }
            (Inputs::Texts(texts), _) => texts.push(row.clone()),
            (Inputs::Table(..), None) => {}
        }
    }
    let answers = answering.answers(&inputs, &mut PredictScratch::default())?;
    let predictions = args.rows.iter().zip(answers).map(|(row, (answer, explanation))| {
        Prediction { id: None, row: None, text: Some(row.clone()), answer, explanation }
    });
    if format == Format::Json {
        return print_json(&predictions.collect::<Vec<_>>());
    }
    let names = Answer::names(predictor.decision()).iter().copied();
    let given = if predictor.table().is_some() { "row" } else { "text" };
    let mut lines = vec![names.chain([given]).map(str::to_owned).collect::<Vec<_>>()];
    let mut explained = String::new();
    for prediction in predictions {
        let mut line = match prediction.answer {
            Answer::Class { label, score } => vec![label, format!("{score:.4}")],
            Answer::Number { number } => vec![number.to_string()],
        };
        line.push(prediction.text.unwrap_or_default().chars().take(60).collect());
        lines.push(line);
        if let Some(explanation) = prediction.explanation {
            explained += &format!("\n{}", table(&explanation.lines()));
        }
    }
    print(&(table(&lines) + &explained))
}

/// Streams a file: CSV with a header, or one JSON document per line.
fn predict_file(
    args: &PredictArgs,
    input: &Path,
    answering: &Answering<'_>,
    format: Format,
) -> Result<(), Failure> {
    let predictor = answering.predictor;
    let source = Source::open(input)?;
    let mut wanted = columns(predictor.table(), &args.text);
    wanted.extend(args.id.as_deref());
    let mut rows = source.rows(&wanted)?;
    let mut scratch = PredictScratch::default();
    let mut number = 0;
    if format == Format::Text {
        let key = if args.id.is_some() { "id" } else { "row" };
        let mut header = format!("{key},{}", Answer::names(predictor.decision()).join(","));
        if let Some(explainer) = answering.explainer {
            let columns = explainer.columns().iter().map(|column| format!(",{}", quoted(column)));
            header += &format!(",base{}", columns.collect::<String>());
        }
        print(&format!("{header}\n"))?;
    }
    loop {
        let batch = rows.by_ref().take(BATCH).collect::<Result<Vec<_>, _>>()?;
        if batch.is_empty() {
            return Ok(());
        }
        let (mut inputs, mut ids) = (Inputs::empty(predictor.table()), Vec::new());
        for mut row in batch {
            ids.push(args.id.as_ref().map(|_| row.cells.pop().flatten().unwrap_or_default()));
            let content = content(predictor.table(), row.cells);
            inputs.push(predictor.table(), &content).map_err(|error| {
                Failure::input(format!("{}:{}: {error}", input.display(), row.line))
            })?;
        }
        let mut out = String::new();
        let answers = answering.answers(&inputs, &mut scratch)?;
        for (id, (answer, explanation)) in ids.into_iter().zip(answers) {
            number += 1;
            let row = id.is_none().then_some(number);
            let prediction = Prediction { id, row, text: None, answer, explanation };
            out += &match format {
                Format::Json => serde_json::to_string(&prediction).unwrap_or_default(),
                Format::Text => csv_line(&prediction),
            };
            out.push('\n');
        }
        print(&out)?;
    }
}

/// A text as a field of CSV.
fn quoted(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn csv_line(prediction: &Prediction) -> String {
    let key = match (&prediction.id, prediction.row) {
        (Some(id), _) => quoted(id),
        (None, row) => row.unwrap_or_default().to_string(),
    };
    let answer = match &prediction.answer {
        Answer::Class { label, score } => format!("{key},{},{score}", quoted(label)),
        Answer::Number { number } => format!("{key},{number}"),
    };
    let explained = prediction.explanation.iter().flat_map(Explanation::fields);
    explained.fold(answer, |line, field| line + "," + &field)
}

impl Answering<'_> {
    /// The answers to rows, in their order, with explanations where these are asked for.
    fn answers(
        &self,
        inputs: &Inputs,
        scratch: &mut PredictScratch,
    ) -> Result<Vec<(Answer, Option<Explanation>)>, Failure> {
        let decision = self.predictor.decision();
        let outputs = inputs.answer(self.predictor, scratch)?;
        let rows = outputs.chunks_exact(decision.outputs());
        let answers = rows.clone().map(|row| Answer::of(decision, row));
        let Some(explainer) = self.explainer else {
            return Ok(answers.map(|answer| (answer, None)).collect());
        };
        let decided = rows.map(|row| decision.class().map(|class| class.answer(row).label));
        let explanations = explainer.explain(inputs, decided);
        Ok(answers.zip(explanations.into_iter().map(Some)).collect())
    }
}
