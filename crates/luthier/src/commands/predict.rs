//! `luthier predict`.

use luthier_bundle::{Bundle, PredictScratch, Predictor};
use luthier_data::Source;
use luthier_engine::Threads;
use serde::Serialize;

use super::{print, print_json};
use crate::cli::{Format, PredictArgs};
use crate::failure::Failure;
use crate::term::table;

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
    label: String,
    score: f32,
}

pub(crate) fn predict(args: &PredictArgs, format: Format) -> Result<(), Failure> {
    let bundle = Bundle::open(&args.bundle)?;
    let predictor = bundle.predictor(&Threads::new(1))?;
    match &args.input {
        Some(_) => predict_file(args, &predictor, format),
        None => predict_texts(args, &predictor, format),
    }
}

fn predict_texts(args: &PredictArgs, predictor: &Predictor, format: Format) -> Result<(), Failure> {
    let mut answers = Vec::new();
    answer(predictor, &args.texts, &mut PredictScratch::default(), |index, label, score| {
        let text = Some(args.texts[index].clone());
        answers.push(Prediction { id: None, row: None, text, label, score });
    })?;
    if format == Format::Json {
        return print_json(&answers);
    }
    let mut lines = vec![["label", "score", "text"].map(str::to_owned).to_vec()];
    for answer in answers {
        let text: String = answer.text.unwrap_or_default().chars().take(60).collect();
        lines.push(vec![answer.label, format!("{:.4}", answer.score), text]);
    }
    print(&table(&lines))
}

/// Streams a file: CSV with a header, or one JSON document per line.
fn predict_file(args: &PredictArgs, predictor: &Predictor, format: Format) -> Result<(), Failure> {
    let Some(input) = &args.input else { return Ok(()) };
    let source = Source::open(input)?;
    let columns: Vec<&String> = args.text.iter().chain(&args.id).collect();
    let mut rows = source.rows(&columns)?;
    let mut scratch = PredictScratch::default();
    let mut number = 0;
    if format == Format::Text {
        print(&format!("{},label,score\n", if args.id.is_some() { "id" } else { "row" }))?;
    }
    loop {
        let batch = rows.by_ref().take(BATCH).collect::<Result<Vec<_>, _>>()?;
        if batch.is_empty() {
            return Ok(());
        }
        let (mut texts, mut ids) = (Vec::with_capacity(batch.len()), Vec::new());
        for row in batch {
            let mut cells = row.cells.into_iter().map(Option::unwrap_or_default);
            let text: Vec<String> = cells.by_ref().take(args.text.len()).collect();
            texts.push(text.join("\n"));
            ids.push(args.id.as_ref().map(|_| cells.next().unwrap_or_default()));
        }
        let mut out = String::new();
        answer(predictor, &texts, &mut scratch, |index, label, score| {
            number += 1;
            let id = ids[index].clone();
            let row = id.is_none().then_some(number);
            let prediction = Prediction { id, row, text: None, label, score };
            out += &match format {
                Format::Json => serde_json::to_string(&prediction).unwrap_or_default(),
                Format::Text => csv_line(&prediction),
            };
            out.push('\n');
        })?;
        print(&out)?;
    }
}

fn csv_line(prediction: &Prediction) -> String {
    let quoted = |text: &str| match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let key = match (&prediction.id, prediction.row) {
        (Some(id), _) => quoted(id),
        (None, row) => row.unwrap_or_default().to_string(),
    };
    format!("{key},{},{}", quoted(&prediction.label), prediction.score)
}

/// Calls `each` with the position, label and score of every text.
fn answer(
    predictor: &Predictor,
    texts: &[String],
    scratch: &mut PredictScratch,
    mut each: impl FnMut(usize, String, f32),
) -> Result<(), Failure> {
    let decision = predictor.decision();
    let probabilities = predictor.predict(texts, scratch)?;
    for (index, row) in probabilities.chunks_exact(decision.classes()).enumerate() {
        let answer = decision.answer(row);
        each(index, decision.labels[answer.label].clone(), answer.score as f32);
    }
    Ok(())
}
