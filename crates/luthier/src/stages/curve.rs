//! Whether more rows would help: one learner on growing parts of the training rows.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use luthier_data::{Dataset, Part};
use luthier_eval::{Bootstrap, Metric, Predictions, Verdict, compare, interval};
use luthier_report::{CurvePoint, LearningCurve};
use luthier_space::{Distribution, Scale, Value, Values};
use luthier_train::{Data, Job as Fit, Learner, Linear, Row, Subset, TextData};

use super::measure::{Truth, binary, decision};
use super::tune::interrupted;
use crate::failure::Failure;
use crate::job::Deciding;
use crate::term::Reporter;

/// Parts of the training rows, of which each holds the one before.
const SHARES: [f64; 4] = [0.125, 0.25, 0.5, 1.0];

/// Fits `linear`, with values in the middle of its space, on each part and scores it on the
/// validation rows.
pub(crate) fn learning_curve(
    dataset: &Dataset,
    deciding: &Deciding,
    metric: Metric,
    reporter: &Reporter,
    stop: &AtomicBool,
) -> Result<LearningCurve, Failure> {
    let truth = Truth::of(dataset, &decision(deciding, dataset)?, Part::Valid)?;
    let positive = binary(dataset);
    let bar = reporter.bar("curve", 0, SHARES.len() as u64);
    let mut points = Vec::new();
    let mut scored: Vec<Predictions> = Vec::new();
    for (done, share) in (0..).zip(SHARES) {
        bar.set(done, &format!("{:.1} % of the rows", share * 100.0));
        let Some((rows, valid)) = fit(dataset, share, stop)? else { continue };
        let predictions = truth.predictions(&valid, None)?;
        let bounds = interval(&predictions, metric, positive, &Bootstrap::default());
        points.push(CurvePoint {
            rows,
            score: metric.score(&predictions, positive),
            low: bounds.map(|bounds| bounds.low),
            high: bounds.map(|bounds| bounds.high),
        });
        scored.push(predictions);
    }
    drop(bar);
    let sentence = match scored.as_slice() {
        [.., half, all] => sentence(metric, all, half, positive)?,
        _ => "there are too few rows for a learning curve".to_owned(),
    };
    Ok(LearningCurve { points, sentence })
}

fn sentence(
    metric: Metric,
    all: &Predictions,
    half: &Predictions,
    positive: Option<usize>,
) -> Result<String, Failure> {
    let step = compare(all, half, metric, positive, &Bootstrap::default())?;
    let (low, high) = (step.interval.low, step.interval.high);
    let gain = format!("the last doubling of the rows changed {metric} by {:+.4}", step.difference);
    let bounds = format!("(95 % {low:+.4} to {high:+.4})");
    Ok(match step.verdict {
        Verdict::Better => format!("{gain} {bounds}: more rows would likely help"),
        Verdict::Worse => format!("{gain} {bounds}: more rows of this kind would not help"),
        Verdict::Undecided => {
            format!("{gain} {bounds}: no gain can be told from noise on {} rows", step.rows)
        }
    })
}

/// The number of training rows and the probabilities of the validation rows; `None` where a class
/// is missing from the part.
fn fit(
    dataset: &Dataset,
    share: f64,
    stop: &AtomicBool,
) -> Result<Option<(u64, Vec<f32>)>, Failure> {
    let source = move |subset, visit: &mut dyn FnMut(Row<'_>)| {
        let part = match subset {
            Subset::Train => Part::Train,
            Subset::Valid => Part::Valid,
        };
        for (index, example) in (0u64..).zip(dataset.examples(part)?) {
            let example = example?;
            if part == Part::Valid || is_in(index, share) {
                visit(Row {
                    text: example.content.text().unwrap_or_default(),
                    label: example.label.class(),
                    weight: example.weight,
                    taught: &[],
                });
            }
        }
        Ok(())
    };
    let classes = dataset.labels().len();
    let data = match TextData::new(classes, source) {
        Err(luthier_train::TrainError::NoRows) => return Ok(None),
        other => other?,
    };
    let labels = &data.train().labels;
    let (rows, absent) = (labels.len() as u64, |class| !labels.contains(&Some(class)));
    if data.valid().labels.is_empty() || (0..classes as u32).any(absent) {
        return Ok(None);
    }
    let data = Data::from(data);
    let values = middle_values();
    let fit = Fit::new(&data, &values, 0);
    let fitted = Linear.fit(&fit, &mut |_| match stop.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    match fitted {
        Ok(fitted) => Ok(Some((rows, fitted.valid))),
        Err(luthier_train::TrainError::Stopped) => Err(interrupted()),
        Err(luthier_train::TrainError::NoFeatures) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether row `index` belongs to the part of size `share`: the golden-ratio sequence spreads any
/// head of it evenly, and a larger part holds every smaller one.
fn is_in(index: u64, share: f64) -> bool {
    let turned = (index as f64 * 0.618_033_988_749_894_9).fract();
    turned < share
}

/// The middle of every range of `linear`, the first option of every choice but for characters.
fn middle_values() -> Values {
    Linear.space().pick(|_, dimension| match &dimension.distribution {
        Distribution::Float { low, high, scale: Scale::Log, .. } => {
            Value::Float((low * high).sqrt())
        }
        Distribution::Float { low, high, .. } => Value::Float((low + high) / 2.0),
        Distribution::Int { low, high, .. } => Value::Int(low.midpoint(*high)),
        Distribution::Ordinal { options } => options[options.len() / 2].clone(),
        Distribution::Choice { options } if dimension.name == "chars" => {
            options[options.len() / 2].clone()
        }
        other => other.options()[0].clone(),
    })
}
