//! Which parameters matter.

use luthier_report::{Importance, Placed};
use luthier_space::{Dimension, Distribution, Scale, Value};
use luthier_tune::{Direction, State, Trial, front};
use serde_json::json;

use super::Found;
use crate::cli::Format;
use crate::commands::{print, print_json};
use crate::failure::Failure;
use crate::term::table;

pub(super) fn importance(study: &Found, format: Format) -> Result<(), Failure> {
    let found = of(study);
    if format == Format::Json {
        let shares = found.shares.iter().map(|(name, share)| (name.clone(), json!(share)));
        return print_json(&json!({
            "importance": shares.collect::<serde_json::Map<_, _>>(),
            "certain": found.is_certain(),
            "good": found.good,
            "trials": found.trials,
        }));
    }
    let bar = |share: f64| "━".repeat((share * 40.0).round() as usize);
    let head = vec!["parameter".to_owned(), "share".to_owned(), String::new()];
    let lines = found.shares.iter();
    let lines = lines.map(|(name, share)| vec![name.clone(), format!("{share:.3}"), bar(*share)]);
    let shares = table(&std::iter::once(head).chain(lines).collect::<Vec<_>>());
    print(&format!("{shares}\n{}\n", sentence(&found)))
}

/// What the shares say, and whether they can.
pub(super) fn sentence(found: &Importance) -> String {
    let Importance { good, trials, .. } = found;
    match found.is_certain() {
        true => format!("The shares tell the best {good} of {trials} complete trials from all."),
        false => format!(
            "The best {good} of {trials} complete trials are too few to be sure; about 50 trials are \
             needed."
        ),
    }
}

pub(super) fn of(study: &Found) -> Importance {
    let spec = &study.records.spec;
    of_trials(spec.space.dimensions(), &spec.directions(), &study.trials)
}

/// The importance of parameters for being among the best tenth of the complete trials.
fn of_trials(space: &[Dimension], directions: &[Direction], trials: &[Trial]) -> Importance {
    let whole = |trial: &&Trial| {
        trial.state == State::Complete && trial.scores.iter().all(|score| score.is_finite())
    };
    let trials: Vec<Trial> = trials.iter().filter(whole).cloned().collect();
    let placed: Vec<Placed> =
        space.iter().flat_map(|dimension| places(dimension, &trials)).collect();
    luthier_report::importance(&good_ones(&trials, directions), &placed)
}

/// Which of the trials are the best tenth, front by front, all of the last front included. With one
/// objective a front is a score.
fn good_ones(trials: &[Trial], directions: &[Direction]) -> Vec<bool> {
    let wanted = trials.len().div_ceil(10);
    let mut left = trials.to_vec();
    let mut good: Vec<u64> = Vec::new();
    while good.len() < wanted {
        let best: Vec<u64> = front(&left, directions).iter().map(|trial| trial.number).collect();
        if best.is_empty() {
            break;
        }
        left.retain(|trial| best.binary_search(&trial.number).is_err());
        good.extend(best);
    }
    trials.iter().map(|trial| good.contains(&trial.number)).collect()
}

/// Where the trials are along a dimension, in cells as Optuna has them. Of a permutation the order of
/// each two items is a place, and of a subset the presence of each item.
fn places(dimension: &Dimension, trials: &[Trial]) -> Vec<Placed> {
    let placed = |cells: usize, ordered: bool, place: &dyn Fn(&Value) -> Option<usize>| Placed {
        name: dimension.name.clone(),
        cells,
        ordered,
        places: trials.iter().map(|trial| place(trial.values.get(&dimension.name)?)).collect(),
    };
    let place_in = |list: &[Value], item: &Value| list.iter().position(|other| other == item);
    let listed = |list: &Value, item: &Value| match list {
        Value::List(items) => place_in(items, item),
        _ => None,
    };
    match &dimension.distribution {
        Distribution::Choice { options } => {
            vec![placed(options.len(), false, &|value| place_in(options, value))]
        }
        Distribution::Ordinal { options } => {
            vec![placed(options.len(), true, &|value| place_in(options, value))]
        }
        Distribution::Subset { items, .. } => items
            .iter()
            .map(|item| placed(2, false, &|list| Some(listed(list, item).is_some().into())))
            .collect(),
        Distribution::Permutation { items } => {
            let rest = |at: usize| items[at + 1..].iter();
            let pairs = items.iter().enumerate().flat_map(|(at, a)| rest(at).map(move |b| (a, b)));
            pairs
                .map(|(a, b)| {
                    placed(2, false, &|list| Some((listed(list, a) < listed(list, b)).into()))
                })
                .collect()
        }
        &Distribution::Float { low, high, scale, .. } => {
            let cells = cells(&dimension.distribution);
            vec![placed(cells, true, &|value| cell(value.as_f64()?, low, high, scale, cells))]
        }
        &Distribution::Int { low, high, scale, .. } => {
            let cells = cells(&dimension.distribution);
            let (low, high) = (low as f64, high as f64);
            vec![placed(cells, true, &|value| cell(value.as_f64()?, low, high, scale, cells))]
        }
    }
}

/// Into how many cells a range is cut.
fn cells(distribution: &Distribution) -> usize {
    let levels = distribution.cardinality().unwrap_or(u64::MAX);
    let cells = match distribution {
        // On a curved scale small integers are further apart than large ones.
        Distribution::Int { scale, .. } if *scale != Scale::Linear && levels > 1 => {
            u64::from((levels - 1).ilog2()) + 2
        }
        _ => levels,
    };
    cells.min(50) as usize
}

/// The cell of a number; halfway between two the lower one.
fn cell(number: f64, low: f64, high: f64, scale: Scale, cells: usize) -> Option<usize> {
    let on_scale = |number: f64| match scale {
        Scale::Linear => number,
        Scale::Log => number.ln(),
        Scale::ReverseLog => -(low + high - number).ln(),
        Scale::Logit => (number / (1.0 - number)).ln(),
    };
    let width = (on_scale(high) - on_scale(low)) / cells.saturating_sub(1) as f64;
    let place = ((on_scale(number) - on_scale(low)) / width - 0.5).ceil();
    place.is_finite().then(|| place.clamp(0.0, cells.saturating_sub(1) as f64) as usize)
}

#[cfg(test)]
mod tests;
