//! An experiment as a space and trials.

use luthier_space::{Dimension, Distribution, Scale, Space, Value, Values};
use luthier_tune::{Direction, State, Step, Trial};

use super::wire::{Condition, ObjectiveType, ParameterType};
use super::{Fault, wire};

/// What an experiment searches for, and where.
pub(super) struct Experiment {
    pub(super) space: Space,
    pub(super) directions: [Direction; 1],
    metric: String,
}

impl Experiment {
    pub(super) fn new(spec: wire::ExperimentSpec) -> Result<Self, Fault> {
        let objective = spec.objective.unwrap_or_default();
        let direction = match objective.r#type() {
            ObjectiveType::Minimize => Direction::Minimize,
            ObjectiveType::Maximize => Direction::Maximize,
            ObjectiveType::Unknown => return Err("the objective has no type".to_owned()),
        };
        let mut dimensions: Vec<Dimension> = Vec::new();
        for parameter in spec.parameter_specs.unwrap_or_default().parameters {
            let name = &parameter.name;
            if dimensions.iter().any(|dimension| dimension.name == *name) {
                return Err(format!("parameter `{name}` is there twice"));
            }
            let distribution = distribution(&parameter)
                .and_then(|found| found.fault().map_or(Ok(found), Err))
                .map_err(|fault| format!("parameter `{name}`: {fault}"))?;
            dimensions.push(Dimension { name: parameter.name, distribution, condition: None });
        }
        if dimensions.is_empty() {
            return Err("the experiment has no parameters".to_owned());
        }
        Ok(Self {
            space: Space::new(dimensions),
            directions: [direction],
            metric: objective.objective_metric_name,
        })
    }

    /// The trials that fit the space, numbered anew.
    pub(super) fn trials(&self, trials: &[wire::Trial]) -> Vec<Trial> {
        let fitting = trials.iter().filter_map(|trial| Some((self.values(trial)?, trial)));
        let numbered = (0..).zip(fitting);
        numbered.map(|(number, (values, trial))| self.trial(number, values, trial)).collect()
    }

    fn values(&self, trial: &wire::Trial) -> Option<Values> {
        let assignments = &trial.spec.as_ref()?.parameter_assignments.as_ref()?.assignments;
        let values: Option<Values> = assignments
            .iter()
            .map(|wire::ParameterAssignment { name, value }| {
                let value = match self.space.get(name)?.distribution {
                    Distribution::Float { .. } => Value::Float(value.parse().ok()?),
                    Distribution::Int { .. } => Value::Int(value.parse().ok()?),
                    _ => Value::Text(value.clone()),
                };
                Some((name.clone(), value))
            })
            .collect();
        values.filter(|values| self.space.check(values).is_ok())
    }

    /// A trial as its conditions and its metric tell it. Without the metric, or with one that is no
    /// number, it has failed.
    fn trial(&self, number: u64, values: Values, trial: &wire::Trial) -> Trial {
        let status = trial.status.clone().unwrap_or_default();
        let condition = status.condition();
        let metrics = status.observation.unwrap_or_default().metrics;
        let score = metrics.iter().find(|metric| metric.name == self.metric);
        let score =
            score.and_then(|metric| metric.value.parse().ok()).filter(|s: &f64| s.is_finite());
        let trial = Trial::running(number, values);
        match (condition, score) {
            (Condition::Created | Condition::Running | Condition::Unknown, _) => trial,
            (Condition::Succeeded, Some(score)) => {
                Trial { state: State::Complete, scores: vec![score], ..trial }
            }
            (Condition::EarlyStopped, Some(score)) => {
                Trial { state: State::Pruned, steps: vec![Step::from((1, score))], ..trial }
            }
            _ => Trial { state: State::Failed, ..trial },
        }
    }

    /// A configuration as Katib has it.
    pub(super) fn assignments(&self, values: &Values) -> wire::ParameterAssignments {
        let assignment = |(name, value): (&str, &Value)| wire::ParameterAssignment {
            name: name.to_owned(),
            value: value.to_string(),
        };
        wire::ParameterAssignments { assignments: values.iter().map(assignment).collect() }
    }
}

/// Where a parameter is searched. Of a normal distribution the range is what counts: it is searched as
/// a uniform one, which models learn their way in.
fn distribution(parameter: &wire::ParameterSpec) -> Result<Distribution, Fault> {
    let feasible = parameter.feasible_space.clone().unwrap_or_default();
    let scale = match feasible.distribution() {
        wire::Distribution::LogUniform | wire::Distribution::LogNormal => Scale::Log,
        _ => Scale::Linear,
    };
    let wire::FeasibleSpace { min, max, list, step, .. } = &feasible;
    let step = Some(step).filter(|step| !step.is_empty());
    match parameter.parameter_type() {
        ParameterType::Double => {
            let step = step.map(|step| number("step", step)).transpose()?;
            Ok(Distribution::Float {
                low: number("min", min)?,
                high: number("max", max)?,
                scale,
                step,
            })
        }
        ParameterType::Int => {
            let step = step.map(|step| number("step", step)).transpose()?.unwrap_or(1);
            Ok(Distribution::Int {
                low: number("min", min)?,
                high: number("max", max)?,
                scale,
                step,
            })
        }
        ParameterType::Discrete => {
            let numbers = list.iter().map(|text| Ok((number::<f64>("list", text)?, text)));
            let mut numbers = numbers.collect::<Result<Vec<_>, Fault>>()?;
            numbers.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            Ok(Distribution::Ordinal {
                options: numbers.into_iter().map(|(_, text)| text.as_str().into()).collect(),
            })
        }
        ParameterType::Categorical => Ok(Distribution::Choice {
            options: list.iter().map(|text| text.as_str().into()).collect(),
        }),
        ParameterType::UnknownType => Err("it has no type".to_owned()),
    }
}

fn number<N: std::str::FromStr>(what: &str, text: &str) -> Result<N, Fault> {
    text.parse().map_err(|_| format!("`{what}` is `{text}`, expected a number"))
}
