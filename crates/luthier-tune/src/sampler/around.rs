//! The part of a space that is worth another search.

use luthier_space::{Dimension, Distribution, Space, Value};

use super::Request;
use super::axis::{Axis, Range};
use super::frame::Frame;
use super::history::{History, Observation};
use super::points::Points;

/// Of the trials with scores, the best: a fifth, but at least so many.
const FEWEST: usize = 4;
/// How far the part goes beyond the best trials, and how wide it is at least, in shares of a range on
/// its scale.
const BEYOND: f64 = 0.1;
const NARROWEST: f64 = 0.2;
/// Names of the size of a training's steps.
const STEP_SIZES: [&str; 5] = ["learning_rate", "lr", "eta", "eta0", "step_size"];
/// How many times smaller than that of the best trial a step size may become.
const SMALLER: f64 = 10.0;

/// The part of the space around the best of the trials: numbers from a little below to a little above
/// those of the best trials, and the options that these have. Where a best one is at an end of a
/// range, so is the part. Step sizes go down to a tenth of that of the best trial and not beyond the
/// largest of the best trials, to settle more finely where the rough search has led: those of
/// parameters whose name, or its last part after a dot, is `learning_rate`, `lr`, `eta`, `eta0` or
/// `step_size`.
///
/// `None` where no trial has a score, or the space is faulty.
pub fn around_best(request: &Request<'_>) -> Option<Space> {
    let frame = Frame::new(request.space)?;
    let points = Points::of(&frame, request.trials.iter().map(|trial| &trial.values));
    let history = History::new(&points, request);
    let count = history.complete.len().div_ceil(5).max(FEWEST);
    let best: Vec<&Observation<'_>> = history.best_first(count).into_iter().take(count).collect();
    best.first()?;
    let around = |index: usize, dimension: &Dimension| {
        let coordinates = best.iter().map(|seen| seen.point[index]).filter(|x| !x.is_nan());
        let coordinates: Vec<f64> = coordinates.collect();
        let (axis, whole) = (&frame.axes[index], &dimension.distribution);
        match (axis, coordinates.first()) {
            (_, None) | (Axis::Fixed(_) | Axis::Lists(_), _) => whole.clone(),
            (Axis::Choice(options), _) => chosen(options, &coordinates),
            (Axis::Range(range), Some(_)) => {
                let (low, high) = ends(range, &coordinates);
                let [low, high] = [(low, 0.0), (high, 1.0)].map(|(share, end)| {
                    // At an end of the range rounding must not lose the last value.
                    (share != end).then(|| axis.value(range.snap(range.at(share))).into_owned())
                });
                let part = between(whole, low, high);
                let values = best.iter().filter_map(|seen| seen.trial.values.get(&dimension.name));
                match is_step_size(&dimension.name) {
                    true => with_smaller(part, whole, values.filter_map(Value::as_f64)),
                    false => part,
                }
            }
        }
    };
    let narrowed: Vec<Distribution> =
        request.space.dimensions().iter().enumerate().map(|(at, d)| around(at, d)).collect();
    let place = |dimension: &Dimension| request.space.position(&dimension.name);
    Some(request.space.part(|dimension| {
        place(dimension).map_or(dimension.distribution.clone(), |at| narrowed[at].clone())
    }))
}

fn is_step_size(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| STEP_SIZES.contains(&last))
}

fn chosen(options: &[Value], coordinates: &[f64]) -> Distribution {
    let seen = |index: usize| coordinates.contains(&(index as f64));
    let kept = options.iter().enumerate().filter(|(index, _)| seen(*index));
    Distribution::Choice { options: kept.map(|(_, option)| option.clone()).collect() }
}

/// Where the part begins and ends along the range, in shares of it.
fn ends(range: &Range, coordinates: &[f64]) -> (f64, f64) {
    let shares = coordinates.iter().map(|x| range.share(*x));
    let low = shares.clone().fold(f64::INFINITY, f64::min) - BEYOND;
    let high = shares.fold(f64::NEG_INFINITY, f64::max) + BEYOND;
    let short = (NARROWEST - (high.min(1.0) - low.max(0.0))).max(0.0);
    ((low - short / 2.0).max(0.0), (high + short / 2.0).min(1.0))
}

/// The values of a range from `low` to `high`, or from or to its own end.
fn between(whole: &Distribution, from: Option<Value>, to: Option<Value>) -> Distribution {
    let mut part = whole.clone();
    match &mut part {
        Distribution::Float { low, high, .. } => {
            *low = from.and_then(|value| value.as_f64()).unwrap_or(*low);
            *high = to.and_then(|value| value.as_f64()).unwrap_or(*high);
        }
        Distribution::Int { low, high, .. } => {
            let whole = |value: Value| if let Value::Int(x) = value { Some(x) } else { None };
            *low = from.and_then(whole).unwrap_or(*low);
            *high = to.and_then(whole).unwrap_or(*high);
        }
        Distribution::Ordinal { options } => {
            let place = |value: Value| options.iter().position(|option| *option == value);
            let first = from.and_then(place).unwrap_or(0);
            let last = to.and_then(place).unwrap_or(options.len() - 1);
            *options = options[first..=last].to_vec();
        }
        _ => {}
    }
    part
}

/// The same for a step size, with the values of the best trials, the best of all first.
fn with_smaller(
    mut part: Distribution,
    whole: &Distribution,
    mut values: impl Iterator<Item = f64>,
) -> Distribution {
    if let (
        Distribution::Float { low, high, step: None, .. },
        Distribution::Float { low: least, .. },
        Some(best),
    ) = (&mut part, whole, values.next())
    {
        *high = values.fold(best, f64::max);
        *low = (best / SMALLER).max(*least).min(*high);
    }
    part
}

#[cfg(test)]
mod tests;
