//! `[objective]`: what trials are scored by, and what they are held to.

use std::collections::BTreeMap;
use std::fmt;

use luthier_data::Target;
use luthier_eval::Metric;
use luthier_study::Measured;
use luthier_tune::{Direction, Trial};
use serde::Deserialize;

use super::Task;
use crate::failure::{Failure, meant_or_known, nearest};

/// Key of what trials and models are held to.
const LIMITS: &str = "objective.limits";
/// Name of the size of a model.
const SIZE: &str = "size_mb";
/// Name of the time that one row takes.
const LATENCY: &str = "p99_latency_ms";
/// Beyond it sums of squares of costs are not finite.
const MAX_COST: f64 = 1e150;
/// What programs number their reports with.
const STEP: &str = "step";

/// What a search is for.
pub(crate) struct Objective {
    /// What trials are scored by, at least one thing; the first decides between them at the end.
    pub(crate) goals: Vec<Goal>,
    /// What trials are held to.
    pub(crate) constraints: Vec<Constraint>,
    /// The score of the first goal that is enough.
    pub(crate) target: Option<f64>,
    /// What the finished model is held to.
    pub(crate) limits: Limits,
    /// How classes are decided for, where rows have some.
    pub(crate) deciding: Deciding,
}

/// One thing that trials are scored by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    pub(crate) measure: Measure,
    pub(crate) direction: Direction,
}

/// A limit that a trial must keep: at most so much, or at least so much where more is better.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Constraint {
    pub(crate) goal: Goal,
    pub(crate) limit: f64,
}

/// Something that is measured of a trial. A program may say any of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Measure {
    /// A score of its predictions on the validation rows.
    Metric(Metric),
    /// Megabytes (10⁶ bytes) of its model, before compression.
    Size,
    /// What its program says under this name.
    Reported(String),
}

/// What the finished model may cost.
#[derive(Default, Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Milliseconds for one raw row, one thread, 99th percentile.
    pub(crate) p99_latency_ms: Option<f64>,
    /// Megabytes (10⁶ bytes) of the whole bundle.
    pub(crate) size_mb: Option<f64>,
}

/// `[objective]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct ObjectiveForm {
    metric: Option<String>,
    direction: Option<Direction>,
    #[serde(default)]
    also: BTreeMap<String, Direction>,
    target: Option<f64>,
    #[serde(default)]
    limits: BTreeMap<String, f64>,
    #[serde(default)]
    costs: Costs,
    threshold: Option<Threshold>,
}

/// What it costs to decide a class (inner) for a row of another or the same (outer), by their labels;
/// 0 where that is not said.
pub(crate) type Costs = BTreeMap<String, BTreeMap<String, f64>>;

/// From which probability on the positive one of two classes is answered.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a threshold: \"tuned\", or a probability such as 0.5")]
pub(crate) enum Threshold {
    /// From this.
    At(f64),
    /// From what held-out rows show to be best.
    Tuned(Tuned),
}

/// The word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tuned {
    Tuned,
}

/// How classes are decided for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deciding {
    pub(crate) costs: Costs,
    /// Where the job says so.
    pub(crate) threshold: Option<Threshold>,
}

impl Deciding {
    /// The metric that a threshold is tuned for, `decides` if that reads decisions: where decisions
    /// have costs, they are for these.
    pub(crate) fn tuned_for(&self, decides: Metric) -> Option<Metric> {
        let metric = if self.costs.is_empty() { decides } else { Metric::Cost };
        let fixed = matches!(self.threshold, Some(Threshold::At(_)));
        (metric.reads_decisions() && !fixed).then_some(metric)
    }
}

/// Who can tell what of a trial.
pub(super) struct Tellers<'a> {
    /// What is learnt of rows that predictions are scored on, if there are any.
    pub(super) task: Option<Task>,
    /// Names of learners that are part of this program.
    pub(super) learners: Vec<&'a str>,
    /// Whether a finished model is as large as its trial was.
    pub(super) as_large: bool,
    /// Whether the job says what decisions cost.
    pub(super) costs: bool,
}

impl Objective {
    /// What decides between trials at the end.
    pub(crate) fn first(&self) -> &Goal {
        &self.goals[0]
    }

    /// The trials between which nothing but a preference among several goals decides.
    pub(crate) fn front<'t>(&self, trials: &'t [Trial]) -> Vec<&'t Trial> {
        let directions: Vec<Direction> = self.goals.iter().map(|goal| goal.direction).collect();
        if directions.len() > 1 { luthier_tune::front(trials, &directions) } else { Vec::new() }
    }

    /// The metric that decides, where it is computed from predictions.
    pub(super) fn metric(&self) -> Option<Metric> {
        match self.first().measure {
            Measure::Metric(metric) => Some(metric),
            _ => None,
        }
    }

    /// All measures that a trial must have.
    pub(crate) fn measures(&self) -> impl Iterator<Item = &Measure> {
        let held_to = self.constraints.iter().map(|constraint| &constraint.goal.measure);
        self.goals.iter().map(|goal| &goal.measure).chain(held_to)
    }

    /// What a trial comes to, from the `value` of each measure.
    pub(crate) fn measured<E>(
        &self,
        mut value: impl FnMut(&Measure) -> Result<f64, E>,
    ) -> Result<Measured, E> {
        let scores =
            self.goals.iter().map(|goal| value(&goal.measure)).collect::<Result<_, E>>()?;
        let beyond = |constraint: &Constraint| {
            let value = value(&constraint.goal.measure)?;
            Ok(match constraint.goal.direction {
                Direction::Minimize => value - constraint.limit,
                Direction::Maximize => constraint.limit - value,
            })
        };
        let violations = self.constraints.iter().map(beyond).collect::<Result<_, E>>()?;
        Ok(Measured { scores, violations, tiebreak: None })
    }
}

impl Goal {
    /// Whether a score is as good as the target.
    pub(crate) fn reaches(&self, score: f64, target: f64) -> bool {
        !self.direction.better(target, score)
    }

    pub(crate) fn higher_is_better(&self) -> bool {
        self.direction == Direction::Maximize
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metric(metric) => metric.fmt(f),
            Self::Size => f.write_str(SIZE),
            Self::Reported(name) => f.write_str(name),
        }
    }
}

impl Deciding {
    fn check(&self, task: Option<Task>, first: &Goal) -> Result<(), Failure> {
        let refused = |key: &str, reason: &str| {
            Err(Failure::input(format!("`objective.{key}` is given, and {reason}")))
        };
        let of_classes = match task.map(Task::target) {
            Some(Target::Class) => Ok(()),
            Some(Target::Number) => Err("labels are numbers"),
            None => Err("there are no rows to decide about"),
        };
        match (of_classes, self.costs.is_empty(), self.threshold) {
            (Err(reason), false, _) => return refused("costs", reason),
            (Err(reason), _, Some(_)) => return refused("threshold", reason),
            _ => {}
        }
        let costs = || self.costs.values().flat_map(BTreeMap::values);
        if costs().any(|cost| cost.is_nan() || cost.abs() > MAX_COST) {
            return Err(Failure::input("`objective.costs` must be numbers"));
        }
        if !self.costs.is_empty() && costs().all(|cost| *cost == 0.0) {
            return refused("costs", "nothing in it costs anything");
        }
        match (self.threshold, &first.measure) {
            (Some(Threshold::At(threshold)), _) if !(0.0..=1.0).contains(&threshold) => {
                Err(Failure::input("`objective.threshold` must be between 0 and 1")
                    .hint("or \"tuned\", to be found on rows that were held out"))
            }
            (Some(Threshold::Tuned(_)), Measure::Metric(metric))
                if self.tuned_for(*metric).is_none() =>
            {
                let message = format!(
                    "`objective.threshold` is \"tuned\", and `{metric}` is the same at any threshold"
                );
                Err(Failure::input(message)
                    .hint("give `objective.costs`, or a metric of decisions such as f1"))
            }
            _ => Ok(()),
        }
    }
}

impl ObjectiveForm {
    /// Whether it says what decisions cost.
    pub(super) fn has_costs(&self) -> bool {
        !self.costs.is_empty()
    }

    pub(super) fn check(self, tellers: &Tellers<'_>) -> Result<Objective, Failure> {
        let first = self.first(tellers)?;
        let deciding = Deciding { costs: self.costs.clone(), threshold: self.threshold };
        deciding.check(tellers.task, &first)?;
        let also = self.also.iter().map(|(name, direction)| {
            let goal = tellers.goal("objective.also", name, Some(*direction))?;
            match goal.measure == first.measure {
                false => Ok(goal),
                true => Err(Failure::input(format!(
                    "`objective.also` names `{name}`, which is the metric itself"
                ))),
            }
        });
        let also = also.collect::<Result<Vec<_>, Failure>>()?;
        let goals: Vec<Goal> = std::iter::once(first).chain(also).collect();
        let (mut limits, mut constraints) = (Limits::default(), Vec::new());
        for (name, limit) in self.limits {
            let is_of_model = [SIZE, LATENCY].contains(&name.as_str());
            if !limit.is_finite() || (is_of_model && limit <= 0.0) {
                let what = if is_of_model { "above 0" } else { "a number" };
                return Err(Failure::input(format!("`{LIMITS}.{name}` must be {what}")));
            }
            match name.as_str() {
                SIZE => limits.size_mb = Some(limit),
                LATENCY => limits.p99_latency_ms = Some(limit),
                _ => {}
            }
            if tellers.leave_to_the_end(&name) {
                continue;
            }
            let known = goals.iter().find(|goal| goal.measure.to_string() == name).cloned();
            let goal = known.map_or_else(|| tellers.goal(LIMITS, &name, None), Ok)?;
            constraints.push(Constraint { goal, limit });
        }
        Ok(Objective { goals, constraints, target: self.target, limits, deciding })
    }

    fn first(&self, tellers: &Tellers<'_>) -> Result<Goal, Failure> {
        let name = match (&self.metric, tellers.task.map(Task::target)) {
            (Some(name), _) => name.clone(),
            (None, Some(Target::Class)) => Metric::F1.to_string(),
            (None, Some(Target::Number)) => Metric::Rmse.to_string(),
            (None, None) => {
                return Err(Failure::input("`objective.metric` is missing").hint(
                    "name what the program reports, as metric = \"loss\" and direction = \"minimize\"",
                ));
            }
        };
        if tellers.task.is_some() {
            // What decides is computed from predictions where there are any.
            name.parse::<Metric>()?;
        } else if self.direction.is_none() && known_direction(&name).is_none() {
            let message =
                format!("`objective.metric` is `{name}`, and nothing says what is better");
            return Err(Failure::input(message)
                .hint("write direction = \"minimize\" or direction = \"maximize\" below it"));
        }
        tellers.goal("objective.metric", &name, self.direction)
    }
}

impl Tellers<'_> {
    /// Something that trials are scored by or held to, as `key` of the job names it.
    fn goal(&self, key: &str, name: &str, direction: Option<Direction>) -> Result<Goal, Failure> {
        if name.is_empty() || name == STEP {
            return Err(Failure::input(format!("`{key}`: `{name}` is no name for a score")));
        }
        let measure = match name.parse::<Metric>() {
            Ok(metric) if self.task.is_some() => self.metric(key, metric)?,
            _ if name == SIZE => Measure::Size,
            _ if self.learners.is_empty() => Measure::Reported(name.to_owned()),
            _ => return Err(self.unknown(key, name)),
        };
        let known = known_direction(name);
        match (direction, known) {
            (Some(direction), Some(known)) if direction != known => {
                let which = if known == Direction::Maximize { "higher" } else { "lower" };
                Err(Failure::input(format!("`{key}`: of `{name}`, {which} is better")))
            }
            _ => {
                let direction = direction.or(known).unwrap_or(Direction::Minimize);
                Ok(Goal { measure, direction })
            }
        }
    }

    /// A metric of what the rows are labelled with.
    fn metric(&self, key: &str, metric: Metric) -> Result<Measure, Failure> {
        let Some((what, hint)) = self.refusal(metric) else { return Ok(Measure::Metric(metric)) };
        Err(Failure::input(format!("`{key}`: `{metric}` {what}")).hint(hint))
    }

    /// Why rows cannot be scored by a metric, and what to do instead.
    fn refusal(&self, metric: Metric) -> Option<(&'static str, String)> {
        let names = |metrics: &[Metric]| {
            let names: Vec<_> = metrics.iter().map(|metric| metric.name()).collect();
            format!("use one of {}", names.join(", "))
        };
        match (self.task?.target(), metric.of_numbers()) {
            (Target::Number, false) => {
                Some(("is a metric of classes, and labels are numbers", names(&Metric::NUMBERS)))
            }
            (Target::Class, true) => {
                Some(("is a metric of numbers, and labels are classes", names(&Metric::CLASSES)))
            }
            _ if metric == Metric::Cost && !self.costs => Some((
                "needs to know what wrong decisions cost",
                "say so in `objective.costs`, by true and decided class, as \
                 costs = { good = { bad = 1 }, bad = { good = 5 } }"
                    .to_owned(),
            )),
            _ => None,
        }
    }

    /// Whether a limit is for the finished model alone.
    fn leave_to_the_end(&self, name: &str) -> bool {
        let finishes = !self.learners.is_empty();
        finishes && (name == LATENCY || (name == SIZE && !self.as_large))
    }

    fn unknown(&self, key: &str, name: &str) -> Failure {
        let of_model = if key == LIMITS { vec![SIZE, LATENCY] } else { vec![SIZE] };
        let all = Metric::CLASSES.into_iter().chain(Metric::NUMBERS);
        let metrics = all.filter(|metric| self.refusal(*metric).is_none());
        let metrics: Vec<String> = metrics.map(|metric| metric.to_string()).collect();
        let known = || of_model.iter().copied().chain(metrics.iter().map(String::as_str));
        let learners = self.learners.join(" and ");
        Failure::input(format!("`{key}`: {learners} cannot tell `{name}` of a trial"))
            .hint(meant_or_known(nearest(name, known()), &known().collect::<Vec<_>>()))
    }
}

/// Which values are better of what has a meaning of its own.
fn known_direction(name: &str) -> Option<Direction> {
    match name.parse::<Metric>() {
        Ok(metric) if metric.higher_is_better() => Some(Direction::Maximize),
        Ok(_) => Some(Direction::Minimize),
        Err(_) => [SIZE, LATENCY].contains(&name).then_some(Direction::Minimize),
    }
}
