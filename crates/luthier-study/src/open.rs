//! What trials of an open study have asked for.

use std::collections::BTreeMap;

use luthier_space::{Condition, Dimension, Distribution, Space};
use luthier_tune::{State, Trial};

/// The parameters that finished trials have asked for, and beside which options they did.
///
/// A program that asks for a parameter only on one of its branches says nothing of branches. They
/// show in what it asks for: a parameter that every complete trial has beside some options of an
/// earlier choice, and none has beside the others, is searched as one that hangs on these.
#[derive(Default)]
pub(crate) struct Asked {
    /// Whether trial *n* is counted.
    counted: Vec<bool>,
    parameters: Vec<Parameter>,
}

struct Parameter {
    name: String,
    /// The first trial that has it, and its place there.
    first: (u64, usize),
    /// Number of complete trials that have it.
    complete: u64,
    /// Number of these by a choice, as its place among the parameters, and the option that it took.
    beside: BTreeMap<(usize, usize), u64>,
}

impl Asked {
    /// Counts the trials that have finished since the last call.
    pub(crate) fn count(&mut self, trials: &[Trial], known: &Space) {
        self.counted.resize(trials.len().max(self.counted.len()), false);
        for (place, trial) in trials.iter().enumerate() {
            if trial.state.is_finished() && !std::mem::replace(&mut self.counted[place], true) {
                self.add(trial, known);
            }
        }
    }

    fn add(&mut self, trial: &Trial, known: &Space) {
        let names = trial.values.iter().enumerate();
        let places: Vec<usize> =
            names.map(|(at, (name, _))| self.place(name, (trial.number, at))).collect();
        if trial.state != State::Complete {
            // It may have ended before it asked for the rest.
            return;
        }
        let option = |name: &str, value| match &known.get(name)?.distribution {
            choice @ Distribution::Choice { .. } => choice.option_index(value),
            _ => None,
        };
        let taken = places.iter().zip(trial.values.iter());
        let taken: Vec<(usize, usize)> = taken
            .filter_map(|(place, (name, value))| Some((*place, option(name, value)?)))
            .collect();
        for place in places {
            let parameter = &mut self.parameters[place];
            parameter.complete += 1;
            taken.iter().for_each(|key| *parameter.beside.entry(*key).or_default() += 1);
        }
    }

    /// The place of a parameter that stands at `at` in a trial.
    fn place(&mut self, name: &str, at: (u64, usize)) -> usize {
        let place = self.parameters.iter().position(|parameter| parameter.name == name);
        let place = place.unwrap_or_else(|| {
            let (name, beside) = (name.to_owned(), BTreeMap::new());
            self.parameters.push(Parameter { name, first: at, complete: 0, beside });
            self.parameters.len() - 1
        });
        let first = &mut self.parameters[place].first;
        *first = at.min(*first);
        place
    }

    /// The space of what has been asked for, in the order in which it was by the first trials that
    /// did. It follows from the counted trials, in whichever order they were counted.
    pub(crate) fn space(&self, known: &Space) -> Space {
        let mut order: Vec<usize> = (0..self.parameters.len()).collect();
        order.sort_by_key(|place| self.parameters[*place].first);
        let mut dimensions: Vec<Dimension> = Vec::with_capacity(order.len());
        let mut kept: Vec<usize> = Vec::with_capacity(order.len());
        for place in order {
            let name = &self.parameters[place].name;
            let Some(Dimension { distribution, .. }) = known.get(name) else { continue };
            // The nearest choice that explains it.
            let parents = kept.iter().zip(&dimensions).enumerate().rev();
            let condition = parents.filter_map(|(at, (parent, dimension))| {
                let options = self.explains(place, *parent, &dimension.distribution)?;
                Some(Condition::new(at, options))
            });
            let condition = { condition }.next();
            let (name, distribution) = (name.clone(), distribution.clone());
            dimensions.push(Dimension { name, distribution, condition });
            kept.push(place);
        }
        Space::open(dimensions)
    }

    /// The options of a choice that complete trials have a parameter beside, with those that none has
    /// taken; `None` if they do not tell whether a trial has it, or all have it.
    fn explains(&self, place: usize, parent: usize, choice: &Distribution) -> Option<Vec<usize>> {
        let Distribution::Choice { options } = choice else { return None };
        let (parameter, parent_of) = (&self.parameters[place], &self.parameters[parent]);
        let count = |parameter: &Parameter, option: usize| {
            parameter.beside.get(&(parent, option)).copied().unwrap_or(0)
        };
        let (mut beside, mut with) = (Vec::new(), 0);
        for option in 0..options.len() {
            let (having, all) = (count(parameter, option), count(parent_of, option));
            if having != 0 && having != all {
                return None;
            }
            if having == all {
                beside.push(option);
            }
            with += having;
        }
        (with == parameter.complete && with > 0 && beside.len() < options.len()).then_some(beside)
    }
}

#[cfg(test)]
mod tests {
    use luthier_space::{Value, Values};

    use super::*;

    fn known() -> Space {
        let mut known = Space::open(Vec::new());
        known.add("depth", Distribution::int(1, 9));
        known.add("kind", Distribution::choice(["a", "b", "c"]));
        known.add("rate", Distribution::float(0.0, 1.0));
        known.add("late", Distribution::choice([false, true]));
        known
    }

    fn trial(number: u64, values: &[(&str, Value)]) -> Trial {
        let values: Values = values.iter().cloned().collect();
        let (state, scores) = (State::Complete, vec![0.0]);
        Trial { state, scores, ..Trial::running(number, values) }
    }

    fn trials() -> Vec<Trial> {
        let kind = |kind: &str| ("kind", Value::from(kind));
        let (rate, depth) = (("rate", Value::from(0.5)), ("depth", Value::from(3)));
        vec![
            trial(0, &[kind("a"), rate.clone()]),
            trial(1, &[kind("b"), depth.clone()]),
            trial(2, &[kind("a"), rate, depth]),
        ]
    }

    fn space(trials: &[Trial]) -> Space {
        let mut asked = Asked::default();
        asked.count(trials, &known());
        asked.space(&known())
    }

    #[test]
    fn branches_are_found_and_given_up() {
        let names =
            |space: &Space| space.dimensions().iter().map(|d| d.name.clone()).collect::<Vec<_>>();
        let condition = |space: &Space, name: &str| space.get(name).unwrap().condition.clone();
        let found = space(&trials());
        assert_eq!(names(&found), ["kind", "rate", "depth"]);
        // What nobody has taken may have it.
        assert_eq!(condition(&found, "rate"), Some(Condition::new(0, [0, 2])));
        assert_eq!(condition(&found, "depth"), None, "one `a` has it and the other has not");
        let mut more = trials();
        more.push(trial(3, &[("kind", "b".into()), ("rate", 0.1.into())]));
        assert_eq!(condition(&space(&more), "rate"), None);
        let failed = Trial { state: State::Failed, scores: vec![], ..more.remove(3) };
        more.push(failed);
        assert_eq!(condition(&space(&more), "rate"), Some(Condition::new(0, [0, 2])));
    }

    #[test]
    fn the_order_of_counting_does_not_matter() {
        let mut all = trials();
        let mut asked = Asked::default();
        let running = Trial { state: State::Running, ..all[0].clone() };
        let first = std::mem::replace(&mut all[0], running);
        asked.count(&all, &known());
        all[0] = first;
        asked.count(&all, &known());
        asked.count(&all, &known());
        assert_eq!(asked.space(&known()), space(&all));
    }
}
