//! Studies that Optuna has kept in an SQLite file.
//!
//! Optuna has no declared space: a trial asks for parameters while it runs, and each is stored with
//! the distribution it was asked for with. The space is made from all of them. A range that changed
//! is as wide as all of its forms together, and a parameter that not every trial has hangs on the
//! option of an earlier choice that it goes with, where there is one.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use luthier_space::{Condition, Dimension, Distribution, Scale, Space, Value, ValueError, Values};
use luthier_tune::{PrunerSpec, State, Step, Trial};
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;

use crate::{Attributes, Locator, Measured, Objective, Record, Records, StudyError, StudySpec};

/// The only form of Optuna's tables that is read, that of its releases from 3.2 on.
const SCHEMA: &str = "v3.2.0.a";

/// A study of another program.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// What has a place in a study of Luthier: the trials that have ended, numbered anew.
    pub records: Records,
    /// What has none, by the other program's number.
    pub left_out: Vec<(u64, LeftOut)>,
}

/// Why a trial was not imported.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LeftOut {
    /// It waits or runs.
    #[error("it is not over")]
    Unfinished,
    /// Its values do not fit the space that was made from all trials.
    #[error(transparent)]
    Values(#[from] ValueError),
}

/// Reads a study from a file of Optuna: the one called `name`, or the only one there is.
///
/// Its setup has the objectives and constraints under the names they have there (`value`, or
/// `value 0`, `value 1` and so on without one), and sampler and pruner that may be replaced. Python's
/// `None` becomes the option `None`.
/// A trial whose scores are not finite has failed.
pub fn read_optuna(path: &Path, name: Option<&str>) -> Result<Imported, StudyError> {
    std::fs::metadata(path).map_err(|error| StudyError::io(path, error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read = || -> rusqlite::Result<_> {
        let mut connection = Connection::open_with_flags(path, flags)?;
        // One transaction, so that all tables are of the same moment.
        let connection = connection.transaction()?;
        let select = "SELECT version_num FROM alembic_version";
        let schema: String = connection.query_row(select, [], |row| row.get(0))?;
        let studies = pairs(&connection, "SELECT study_name, study_id FROM studies ORDER BY 1")?;
        let fits = |(found, _): &&(String, i64)| name.is_none_or(|name| name == found);
        let tables = match studies.iter().filter(fits).collect::<Vec<_>>()[..] {
            [(name, id)] if schema == SCHEMA => Some(Tables::read(&connection, name, *id)?),
            _ => None,
        };
        Ok((schema, studies, tables))
    };
    let (schema, studies, tables) = read().map_err(|error| StudyError::sqlite(path, error))?;
    let corrupt = |detail| StudyError::Corrupt { storage: path.into(), detail };
    if schema != SCHEMA {
        let advice = "`optuna storage upgrade` of Optuna 3.2 or later brings it up to date";
        return Err(corrupt(format!("its tables are of Optuna's schema {schema}; {advice}")));
    }
    let Some(tables) = tables else {
        return Err(StudyError::Absent {
            storage: Locator::from(path),
            name: name.map(str::to_owned),
            known: studies.into_iter().map(|(name, _)| name).collect(),
        });
    };
    let spec = tables.spec().map_err(corrupt)?;
    if let Some((parameter, fault)) = spec.fault() {
        return Err(StudyError::Space { parameter: parameter.to_owned(), fault });
    }
    tables.import(spec).map_err(corrupt)
}

/// The rows of one study.
struct Tables {
    name: String,
    directions: Vec<String>,
    metrics: Option<String>,
    attributes: Attributes,
    /// By Optuna's number.
    trials: BTreeMap<u64, Row>,
}

/// A trial as the tables have it.
#[derive(Default)]
struct Row {
    state: String,
    started: Option<u64>,
    ended: Option<u64>,
    /// Name, value in Optuna's own terms and distribution, in the order they were asked for.
    params: Vec<(String, f64, String)>,
    scores: Vec<f64>,
    steps: Vec<Step>,
    attributes: Attributes,
    /// What Optuna and its samplers have noted for themselves.
    system: Attributes,
}

/// A column of numbers whose kind another column tells: only the finite ones are in the first.
fn number(column: &str) -> String {
    format!(
        "CASE {column}_type WHEN 'INF_POS' THEN 9e999 WHEN 'INF_NEG' THEN -9e999 ELSE {column} END"
    )
}

impl Tables {
    fn read(connection: &Connection, name: &str, id: i64) -> rusqlite::Result<Self> {
        let select = format!(
            "SELECT objective, direction FROM study_directions WHERE study_id = {id} ORDER BY 1"
        );
        let directions = pairs::<i64, _>(connection, &select)?.into_iter().map(|(_, way)| way);
        let of_study = |table: &str| -> rusqlite::Result<Vec<(String, String)>> {
            let select = format!("SELECT key, value_json FROM {table} WHERE study_id = {id}");
            pairs(connection, &select)
        };
        let system = of_study("study_system_attributes")?;
        let metrics = system.into_iter().find(|(key, _)| key == "study:metric_names");
        let attributes = of_study("study_user_attributes")?.into_iter().map(attribute);
        Ok(Self {
            name: name.to_owned(),
            directions: directions.collect(),
            metrics: metrics.map(|(_, names)| names),
            attributes: attributes.collect(),
            trials: read_trials(connection, id)?,
        })
    }

    fn spec(&self) -> Result<StudySpec, String> {
        let metrics: Vec<String> = match &self.metrics {
            Some(names) => serde_json::from_str(names).map_err(|error| error.to_string())?,
            None if self.directions.len() == 1 => vec!["value".to_owned()],
            None => (0..self.directions.len()).map(|index| format!("value {index}")).collect(),
        };
        let objectives = self.directions.iter().zip(metrics).map(|(way, metric)| match &**way {
            "MAXIMIZE" => Objective::maximize(metric),
            // A study without a direction minimises.
            _ => Objective::minimize(metric),
        });
        let mut constraints: Vec<String> = Vec::new();
        for (name, _) in self.trials.values().flat_map(Row::constraints) {
            if !constraints.contains(&name) {
                constraints.push(name);
            }
        }
        Ok(StudySpec {
            name: self.name.clone(),
            space: space_of(&self.trials)?,
            objectives: objectives.collect(),
            constraints,
            seed: 0,
            sampler: "auto".into(),
            pruner: PrunerSpec::None,
            lag: None,
            context: BTreeMap::new(),
        })
    }

    fn import(self, spec: StudySpec) -> Result<Imported, String> {
        let (mut trials, mut left_out) = (Vec::new(), Vec::new());
        for (number, row) in self.trials {
            match row.import(trials.len() as u64, &spec)? {
                Ok(record) => trials.push(record),
                Err(why) => left_out.push((number, why)),
            }
        }
        let records = Records { spec, trials, attributes: self.attributes };
        Ok(Imported { records, left_out })
    }
}

fn read_trials(connection: &Connection, study: i64) -> rusqlite::Result<BTreeMap<u64, Row>> {
    let mut trials = BTreeMap::new();
    let mut numbers = HashMap::new();
    let mut select = connection.prepare(
        "SELECT trial_id, number, state, unixepoch(datetime_start, 'subsec'),
         unixepoch(datetime_complete, 'subsec') FROM trials WHERE study_id = ?1",
    )?;
    let mut rows = select.query([study])?;
    while let Some(row) = rows.next()? {
        let time = |seconds: Option<f64>| seconds.map(|seconds| (seconds * 1e3).round() as u64);
        let (started, ended) = (time(row.get(3)?), time(row.get(4)?));
        let number: u64 = row.get(1)?;
        numbers.insert(row.get::<_, i64>(0)?, number);
        trials.insert(number, Row { state: row.get(2)?, started, ended, ..Row::default() });
    }
    let mut each = |table: &str, columns: &str, order: &str, add: &mut Add<'_>| {
        let query = format!(
            "SELECT trial_id, {columns} FROM {table}
             WHERE trial_id IN (SELECT trial_id FROM trials WHERE study_id = ?1) ORDER BY {order}"
        );
        let mut select = connection.prepare(&query)?;
        let mut rows = select.query([study])?;
        while let Some(row) = rows.next()? {
            let number = numbers.get(&row.get(0)?);
            if let Some(trial) = number.and_then(|number| trials.get_mut(number)) {
                add(trial, row)?;
            }
        }
        Ok::<_, rusqlite::Error>(())
    };
    let columns = "param_name, param_value, distribution_json";
    each("trial_params", columns, "param_id", &mut |trial, row| {
        trial.params.push((row.get(1)?, row.get(2)?, row.get(3)?));
        Ok(())
    })?;
    each("trial_values", &number("value"), "objective", &mut |trial, row| {
        trial.scores.push(row.get::<_, Option<f64>>(1)?.unwrap_or(f64::NAN));
        Ok(())
    })?;
    let columns = format!("step, {}", number("intermediate_value"));
    // Steps are counted from 0 or 1; Optuna takes negative ones too, which have no meaning here.
    each("trial_intermediate_values", &columns, "step", &mut |trial, row| {
        if let Ok(step) = u64::try_from(row.get::<_, i64>(1)?) {
            let score = row.get::<_, Option<f64>>(2)?.unwrap_or(f64::NAN);
            trial.steps.push(Step { step, scores: vec![score] });
        }
        Ok(())
    })?;
    each("trial_user_attributes", "key, value_json", "1, 2", &mut |trial, row| {
        trial.attributes.extend([attribute((row.get(1)?, row.get(2)?))]);
        Ok(())
    })?;
    each("trial_system_attributes", "key, value_json", "1, 2", &mut |trial, row| {
        trial.system.extend([attribute((row.get(1)?, row.get(2)?))]);
        Ok(())
    })?;
    Ok(trials)
}

/// Adds what a row of another table says of a trial.
type Add<'a> = dyn FnMut(&mut Row, &rusqlite::Row<'_>) -> rusqlite::Result<()> + 'a;

impl Row {
    fn state(&self) -> Option<State> {
        match &*self.state {
            "COMPLETE" => Some(State::Complete),
            "PRUNED" => Some(State::Pruned),
            "FAIL" => Some(State::Failed),
            _ => None,
        }
    }

    /// What was measured against limits; kept at 0 and below, as here.
    fn constraints(&self) -> Vec<(String, f64)> {
        // Optuna has kept them in a list, later each under its name.
        let listed = self.system.get("constraints").and_then(|list| list.as_array());
        let listed = listed.into_iter().flatten().enumerate();
        let listed = listed.map(|(index, value)| (index.to_string(), value));
        let named = self
            .system
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("constraints:")?.to_owned(), value)));
        let number = |(name, value): (String, &serde_json::Value)| Some((name, value.as_f64()?));
        listed.chain(named).filter_map(number).collect()
    }

    /// The value of each parameter.
    fn values(&self) -> Result<Values, String> {
        let value = |(name, inner, distribution): &(String, f64, String)| {
            Ok((name.clone(), value_of(*inner, &distribution_of(name, distribution)?)))
        };
        self.params.iter().map(value).collect()
    }

    fn import(self, number: u64, spec: &StudySpec) -> Result<Result<Record, LeftOut>, String> {
        let Some(state) = self.state() else { return Ok(Err(LeftOut::Unfinished)) };
        let asked = self.values()?;
        let in_order = spec.space.dimensions().iter().filter_map(|dimension| {
            Some((dimension.name.clone(), asked.get(&dimension.name)?.clone()))
        });
        let values: Values = in_order.collect();
        if let Err(error) = spec.space.check(&values) {
            return Ok(Err(error.into()));
        }
        let constraints: HashMap<String, f64> = self.constraints().into_iter().collect();
        let violation = |name: &String| constraints.get(name).copied().unwrap_or(f64::NAN);
        let measured = Measured {
            scores: self.scores,
            violations: spec.constraints.iter().map(violation).collect(),
            tiebreak: None,
        };
        let seconds = |(start, end): (u64, u64)| end.saturating_sub(start) as f64 / 1e3;
        let mut trial = Trial {
            state,
            steps: self.steps,
            seconds: self.started.zip(self.ended).map(seconds),
            ..Trial::running(number, values)
        };
        match (state, spec.fault_of(&measured)) {
            (State::Complete, None) => {
                trial.scores = measured.scores;
                trial.violations = measured.violations;
            }
            (State::Complete, Some(fault)) => {
                trial.state = State::Failed;
                trial.reason = Some(fault);
            }
            (State::Failed, _) => trial.reason = Some("it failed; Optuna does not keep why".into()),
            _ => {}
        }
        let Self { started, ended, attributes, .. } = self;
        Ok(Ok(Record { started, ended, attributes, ..Record::imported(trial) }))
    }
}

/// A distribution as Optuna writes it.
#[derive(Deserialize)]
#[serde(tag = "name", content = "attributes")]
enum Stored {
    #[serde(rename = "FloatDistribution")]
    Float { low: f64, high: f64, log: bool, step: Option<f64> },
    #[serde(rename = "IntDistribution")]
    Int { low: i64, high: i64, log: bool, step: i64 },
    #[serde(rename = "CategoricalDistribution")]
    Categorical { choices: Vec<Option<Value>> },
}

fn distribution_of(name: &str, json: &str) -> Result<Distribution, String> {
    let stored = serde_json::from_str(json);
    let stored = stored.map_err(|error| format!("parameter `{name}`, {json}: {error}"))?;
    let scale = |log| if log { Scale::Log } else { Scale::Linear };
    Ok(match stored {
        Stored::Float { low, high, log, step } => {
            Distribution::Float { low, high, scale: scale(log), step }
        }
        Stored::Int { low, high, log, step } => {
            Distribution::Int { low, high, scale: scale(log), step }
        }
        Stored::Categorical { choices } => {
            let option = |choice: Option<Value>| choice.unwrap_or_else(|| "None".into());
            Distribution::Choice { options: choices.into_iter().map(option).collect() }
        }
    })
}

/// The value that Optuna means by a number; an option by its position.
fn value_of(inner: f64, distribution: &Distribution) -> Value {
    match distribution {
        Distribution::Int { .. } => Value::Int(inner as i64),
        Distribution::Choice { options } => {
            options.get(inner as usize).cloned().unwrap_or(Value::Float(inner))
        }
        _ => Value::Float(inner),
    }
}

/// What all trials have asked for together.
fn space_of(trials: &BTreeMap<u64, Row>) -> Result<Space, String> {
    let mut dimensions: Vec<Dimension> = Vec::new();
    for (name, _, json) in trials.values().flat_map(|row| &row.params) {
        let distribution = distribution_of(name, json)?;
        match dimensions.iter_mut().find(|dimension| dimension.name == *name) {
            Some(known) => {
                let wider = union(&known.distribution, &distribution);
                let clash = || format!("parameter `{name}` was asked for in two ways");
                known.distribution = wider.ok_or_else(clash)?;
            }
            None => {
                dimensions.push(Dimension { name: name.clone(), distribution, condition: None });
            }
        }
    }
    // Those that ended early may not have come to their last parameters.
    let (complete, early): (Vec<&Row>, Vec<&Row>) =
        trials.values().partition(|row| row.state() == Some(State::Complete));
    let values = |rows: Vec<&Row>| rows.into_iter().map(Row::values).collect::<Result<Vec<_>, _>>();
    let trials = [values(complete)?, values(early)?];
    for index in 0..dimensions.len() {
        dimensions[index].condition = condition_of(index, &dimensions, &trials);
    }
    Ok(Space::new(dimensions))
}

/// The options of an earlier choice that a dimension goes with: it is there where one of them was
/// taken and nowhere else, in as many trials as possible, of which the first list counts before the
/// second. `None` if it does better to be always there.
fn condition_of(
    index: usize,
    dimensions: &[Dimension],
    trials: &[Vec<Values>; 2],
) -> Option<Condition> {
    let is_there = |values: &Values| values.get(&dimensions[index].name).is_some();
    if trials[0].iter().all(is_there) {
        return None;
    }
    let count = |among: &dyn Fn(&Values) -> bool| {
        trials.each_ref().map(|trials| trials.iter().filter(|values| among(values)).count())
    };
    let (mut best, mut most) = (None, count(&is_there));
    for (parent, dimension) in dimensions[..index].iter().enumerate() {
        let Distribution::Choice { options } = &dimension.distribution else { continue };
        let took = |values: &Values, option: &Value| values.get(&dimension.name) == Some(option);
        let goes: Vec<usize> = (0..options.len())
            .filter(|option| {
                let there = count(&|values| took(values, &options[*option]) && is_there(values));
                there > count(&|values| took(values, &options[*option]) && !is_there(values))
            })
            .collect();
        let fits = count(&|values| {
            goes.iter().any(|option| took(values, &options[*option])) == is_there(values)
        });
        if fits > most && !goes.is_empty() {
            (best, most) = (Some(Condition::new(parent, goes)), fits);
        }
    }
    best
}

/// The narrowest distribution that has the values of both; `None` for two that are not of one kind,
/// which Optuna does not allow.
fn union(a: &Distribution, b: &Distribution) -> Option<Distribution> {
    let is_whole = |steps: f64| (steps - steps.round()).abs() < 1e-6;
    match (a, b) {
        (
            &Distribution::Float { low, high, scale, step },
            &Distribution::Float { low: low_b, high: high_b, scale: scale_b, step: step_b },
        ) if scale == scale_b => {
            // The values of two grids may lie on no common one.
            let step = step.filter(|width| step == step_b && is_whole((low - low_b) / width));
            Some(Distribution::Float { low: low.min(low_b), high: high.max(high_b), scale, step })
        }
        (
            &Distribution::Int { low, high, scale, step },
            &Distribution::Int { low: low_b, high: high_b, scale: scale_b, step: step_b },
        ) if scale == scale_b => {
            let is_grid =
                step == step_b && low.abs_diff(low_b).checked_rem(step.unsigned_abs()) == Some(0);
            let step = if is_grid { step } else { 1 };
            Some(Distribution::Int { low: low.min(low_b), high: high.max(high_b), scale, step })
        }
        _ => (a == b).then(|| a.clone()),
    }
}

fn pairs<A: rusqlite::types::FromSql, B: rusqlite::types::FromSql>(
    connection: &Connection,
    query: &str,
) -> rusqlite::Result<Vec<(A, B)>> {
    let mut select = connection.prepare(query)?;
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// An attribute, which Python writes as JSON, or as something near to it (`NaN`).
fn attribute((key, json): (String, String)) -> (String, serde_json::Value) {
    let value = serde_json::from_str(&json);
    (key, value.unwrap_or(serde_json::Value::String(json)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_goes_with_all_options_that_it_was_asked_for_beside() {
        let of = |name: &str, distribution| Dimension {
            name: name.to_owned(),
            distribution,
            condition: None,
        };
        let dimensions = [
            of("side", Distribution::choice(["left", "right"])),
            of("optimizer", Distribution::choice(["adam", "sgd", "nesterov"])),
            of("momentum", Distribution::float(0.0, 1.0)),
        ];
        let trial = |(side, optimizer, has): (&str, &str, bool)| {
            let mut values: Values =
                [("side", side), ("optimizer", optimizer)].into_iter().collect();
            if has {
                values.insert("momentum", 0.5);
            }
            values
        };
        let complete = [
            ("left", "adam", false),
            ("left", "sgd", true),
            ("right", "nesterov", true),
            ("right", "sgd", true),
            ("right", "adam", false),
        ];
        let complete: Vec<Values> = complete.into_iter().map(trial).collect();
        // Broken off before it came to its momentum.
        let early = vec![trial(("left", "nesterov", false))];
        let found = condition_of(2, &dimensions, &[complete, early]);
        assert_eq!(found, Some(Condition::new(1, [1, 2])));
    }
}
