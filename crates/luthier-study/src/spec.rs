//! What a study is set up to do.

use std::collections::BTreeMap;
use std::fmt;

use luthier_space::{Constraint, Dimension, Distribution, Space, Value, Values};
use luthier_tune::{Direction, PrunerSpec, State, Trial};
use serde::{Deserialize, Serialize};

use crate::Measured;

/// The setup of a study. All of it but `sampler` and `pruner` is fixed once the study exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudySpec {
    /// What the study is called.
    pub name: String,
    /// Where to search. An open space is part of the study as far as trials have asked for it.
    pub space: Space,
    /// What is scored, at least one thing; the first is what [`luthier_tune::best`] speaks of.
    pub objectives: Vec<Objective>,
    /// Names of what is measured against a limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// Seed of everything random.
    pub seed: u64,
    /// Name of the sampler ([`luthier_tune::SAMPLERS`]).
    pub sampler: String,
    /// When to give a trial up.
    pub pruner: PrunerSpec,
    /// With a lag of *l*, trial *n* is proposed from the results of trials below *n − l* and starts
    /// when these have finished; the trials are then the same for any number of workers, of which
    /// *l + 1* at most are busy. Without, it is proposed from all results there are.
    pub lag: Option<u64>,
    /// What results depend on besides, by name: a digest of the data, a release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
}

/// One thing to be scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// What its scores measure.
    pub metric: String,
    /// Which of them are better.
    pub direction: Direction,
}

impl Objective {
    /// A metric whose higher scores are better.
    pub fn maximize(metric: impl Into<String>) -> Self {
        Self { metric: metric.into(), direction: Direction::Maximize }
    }

    /// A metric whose lower scores are better.
    pub fn minimize(metric: impl Into<String>) -> Self {
        Self { metric: metric.into(), direction: Direction::Minimize }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.direction {
            Direction::Maximize => "maximize",
            Direction::Minimize => "minimize",
        };
        write!(f, "{verb} {}", self.metric)
    }
}

/// A difference between the setup of a study on disk and the one asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What differs: `name`, `objective`, `constraint`, `seed`, `lag`, a name of the context,
    /// `space` (open or not), ``parameter `alpha` ``, `order of the parameters` or `constraints between
    /// parameters`.
    pub what: String,
    /// How it is in the study; `None` if it is absent.
    pub before: Option<String>,
    /// What was asked for; `None` if it is to be absent.
    pub now: Option<String>,
    /// Whether it is in the space, which [`Study::extend`](crate::Study::extend) lets grow.
    pub in_space: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.before.as_deref().unwrap_or("absent");
        let now = self.now.as_deref().unwrap_or("absent");
        write!(f, "{} was {before}, is now {now}", self.what)
    }
}

impl StudySpec {
    /// The setup in its stored form, checked; or what is wrong with it.
    pub(crate) fn from_json(json: &str) -> Result<Self, String> {
        let spec: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        match spec.fault() {
            Some((parameter, fault)) => Err(format!("parameter `{parameter}`: {fault}")),
            None => Ok(spec),
        }
    }

    /// Which scores of each objective are better.
    pub fn directions(&self) -> Vec<Direction> {
        self.objectives.iter().map(|objective| objective.direction).collect()
    }

    /// Why an evaluation that has found this cannot count as complete, if so.
    pub(crate) fn fault_of(&self, measured: &Measured) -> Option<String> {
        let (scores, violations) = (&measured.scores, &measured.violations);
        if scores.len() != self.objectives.len() {
            let (got, wanted) = (scores.len(), self.objectives.len());
            return Some(format!("{got} scores for {wanted} objectives"));
        }
        if violations.len() != self.constraints.len() {
            let (got, wanted) = (violations.len(), self.constraints.len());
            return Some(format!("{got} measurements for {wanted} constraints"));
        }
        let wrong = scores.iter().position(|score| !score.is_finite())?;
        let score = scores[wrong];
        Some(match self.objectives.len() {
            1 => format!("the score is {score}"),
            _ => format!("{} is {score}", self.objectives[wrong].metric),
        })
    }

    /// Makes a trial from elsewhere one of this study, which is over, with its values as `space`, which
    /// is that of the study as far as it has grown, has them; or says why it cannot be one.
    pub fn adopt(&self, trial: &mut Trial, space: &Space) -> Result<(), String> {
        trial.values = space.adopt(&trial.values).map_err(|error| error.to_string())?;
        let (scores, violations) = (trial.scores.clone(), trial.violations.clone());
        let fault = match trial.state {
            State::Complete => self.fault_of(&Measured { scores, violations, tiebreak: None }),
            State::Pruned | State::Failed => None,
            State::Running | State::Paused => Some("it is not over".to_owned()),
        };
        fault.map_or(Ok(()), Err)
    }

    /// The first parameter without sensible values, and what is wrong with it.
    pub(crate) fn fault(&self) -> Option<(&str, String)> {
        self.space.dimensions().iter().enumerate().find_map(|(index, dimension)| {
            // A space that was read from somewhere may be anything.
            let condition = dimension.condition.as_ref();
            let hangs = condition.is_some_and(|condition| condition.parent() >= index);
            let fault = match hangs {
                true => Some("it hangs on a parameter that does not come before it".to_owned()),
                false => dimension.distribution.fault(),
            };
            Some((dimension.name.as_str(), fault?))
        })
    }

    /// The first difference to `now` among what is fixed.
    pub(crate) fn change(&self, now: &Self) -> Option<Change> {
        let differs = |what: &str, before: String, now: String| {
            let (before, now) = (Some(before), Some(now));
            let change = Change { what: what.into(), before, now, in_space: false };
            (change.before != change.now).then_some(change)
        };
        let objectives = |spec: &Self| {
            spec.objectives.iter().map(Objective::to_string).collect::<Vec<_>>().join(", ")
        };
        let constraints = |spec: &Self| match spec.constraints.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        let lag = |spec: &Self| spec.lag.map_or_else(|| "none".to_owned(), |lag| lag.to_string());
        differs("name", self.name.clone(), now.name.clone())
            .or_else(|| differs("objective", objectives(self), objectives(now)))
            .or_else(|| differs("constraint", constraints(self), constraints(now)))
            .or_else(|| differs("seed", self.seed.to_string(), now.seed.to_string()))
            .or_else(|| differs("lag", lag(self), lag(now)))
            .or_else(|| context_change(&self.context, &now.context))
            .or_else(|| space_change(&self.space, &now.space))
    }
}

fn context_change(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Option<Change> {
    let what = before.keys().chain(now.keys()).find(|what| before.get(*what) != now.get(*what))?;
    let (before, now) = (before.get(what).cloned(), now.get(what).cloned());
    Some(Change { what: what.clone(), before, now, in_space: false })
}

fn space_change(before: &Space, now: &Space) -> Option<Change> {
    if before == now {
        return None;
    }
    if before.is_open() != now.is_open() {
        let form = |space: &Space| Some(if space.is_open() { "open" } else { "given" }.to_owned());
        let (before, now) = (form(before), form(now));
        return Some(Change { what: "space".into(), before, now, in_space: false });
    }
    if now.is_open() {
        // It is there as far as it was asked for.
        let mut dimensions = now.dimensions().iter();
        return dimensions.find_map(|d| distribution_change(before, &d.name, &d.distribution));
    }
    let names = |space: &Space| -> Vec<String> {
        space.dimensions().iter().map(|d| d.name.clone()).collect()
    };
    let both = names(before).into_iter().chain(names(now));
    let parameter = both.into_iter().find_map(|name| {
        let (old, new) = (before.get(&name), now.get(&name));
        let same = match (old, new) {
            (Some(old), Some(new)) => {
                old.distribution == new.distribution && hangs(before, old) == hangs(now, new)
            }
            _ => false,
        };
        (!same).then(|| Change {
            what: format!("parameter `{name}`"),
            before: old.map(|old| describe(before, old)),
            now: new.map(|new| describe(now, new)),
            in_space: true,
        })
    });
    let order = || {
        let (before, now) = (Some(names(before).join(", ")), Some(names(now).join(", ")));
        let what = "order of the parameters".into();
        (before != now).then_some(Change { what, before, now, in_space: true })
    };
    parameter.or_else(order).or_else(|| Some(constraints_change(before, now)))
}

/// How a parameter that is asked for differs from the one of the space, if it is there.
pub(crate) fn distribution_change(
    space: &Space,
    name: &str,
    distribution: &Distribution,
) -> Option<Change> {
    let known = space.get(name).map(|known| &known.distribution);
    (known != Some(distribution)).then(|| Change {
        what: format!("parameter `{name}`"),
        before: known.map(ToString::to_string),
        now: Some(distribution.to_string()),
        in_space: !space.is_open(),
    })
}

/// A difference in the constraints between parameters.
fn constraints_change(before: &Space, now: &Space) -> Change {
    let constraints = |space: &Space| {
        let texts: Vec<&str> = space.constraints().iter().map(Constraint::text).collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    };
    let (before, now) = (constraints(before), constraints(now));
    Change { what: "constraints between parameters".into(), before, now, in_space: true }
}

/// The first parameter of a space that does not have all its values in another space, or the
/// constraints if the other has new ones.
pub(crate) fn narrowed(before: &Space, now: &Space) -> Option<Change> {
    let parameter = before.dimensions().iter().find_map(|old| {
        let new = now.get(&old.name);
        let hangs_as_before = |new: &Dimension| match (hangs(before, old), hangs(now, new)) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some((old_parent, old)), Some((parent, new))) => {
                parent == old_parent && old.iter().all(|option| new.contains(option))
            }
        };
        let is_wider =
            |new: &&Dimension| new.distribution.includes(&old.distribution) && hangs_as_before(new);
        new.filter(is_wider).is_none().then(|| Change {
            what: format!("parameter `{}`", old.name),
            before: Some(describe(before, old)),
            now: new.map(|new| describe(now, new)),
            in_space: true,
        })
    });
    let is_old = |constraint: &Constraint| before.constraints().contains(constraint);
    let constraints =
        || (!now.constraints().iter().all(is_old)).then(|| constraints_change(before, now));
    parameter.or_else(constraints)
}

/// The values of a trial in a space that has grown since, with those of `added` for parameters that
/// are new; or the first one that is not known.
pub(crate) fn filled(values: &Values, space: &Space, added: &Values) -> Result<Values, Change> {
    let mut filled = Values::default();
    for (index, dimension) in space.dimensions().iter().enumerate() {
        if space.is_active(index, &filled) {
            let name = &dimension.name;
            let missing = || Change {
                what: format!("parameter `{name}`"),
                before: None,
                now: Some(describe(space, dimension)),
                in_space: true,
            };
            let value = values.get(name).or_else(|| added.get(name)).ok_or_else(missing)?;
            filled.insert(name.clone(), value.clone());
        }
    }
    Ok(filled)
}

/// What a dimension hangs on: the name of the parent and those of its options.
fn hangs<'a>(space: &'a Space, dimension: &Dimension) -> Option<(&'a str, Vec<&'a Value>)> {
    let condition = dimension.condition.as_ref()?;
    let parent = space.dimensions().get(condition.parent())?;
    let known = parent.distribution.options();
    let options = condition.options().iter().filter_map(|option| known.get(*option));
    Some((parent.name.as_str(), options.collect()))
}

/// A dimension in words, exact to the last digit.
fn describe(space: &Space, dimension: &Dimension) -> String {
    let distribution = &dimension.distribution;
    match hangs(space, dimension) {
        Some((parent, options)) => {
            let options: Vec<String> = options.iter().map(|option| option.to_string()).collect();
            format!("{distribution}, where `{parent}` is {}", options.join(" or "))
        }
        None => distribution.to_string(),
    }
}
