//! Trials as rows of a table. What is found under the names that an export gives to columns may as well
//! stand under those of the parameters, metrics and constraints alone.

use std::str::FromStr;

use luthier_data::{DataError, Row, Source};
use luthier_space::Values;
use luthier_study::{Attributes, Record, StudySpec};
use luthier_tune::{State, Tiebreak, Trial};

use super::document::{state_of, time_of};
use super::{Candidate, Incoming, LeftOut};
use crate::failure::{Failure, meant_or_known, nearest};

pub(super) fn read(source: &Source, spec: StudySpec) -> Result<Incoming, Failure> {
    let table = Table::of(source, &spec)?;
    let (mut trials, mut left_out) = (Vec::new(), Vec::new());
    for row in source.rows(source.columns())? {
        let row: Row = row.map_err(|error: DataError| Failure::from(error))?;
        let label = format!("line {}", row.line);
        match table.record(&row.cells, &spec) {
            Ok(record) => trials.push(Candidate { label, record }),
            Err(reason) => left_out.push(LeftOut { label, reason }),
        }
    }
    Ok(Incoming { spec, trials, attributes: Attributes::new(), left_out })
}

/// Where in a row things are.
struct Table<'s> {
    columns: &'s [String],
    /// By dimension; a parameter that hangs on another may have none.
    values: Vec<Option<usize>>,
    scores: Vec<usize>,
    violations: Vec<usize>,
}

/// The cells of a row.
type Cells = [Option<String>];

impl<'s> Table<'s> {
    fn of(source: &'s Source, spec: &StudySpec) -> Result<Self, Failure> {
        let columns = source.columns();
        let find = |kind: &str, name: &str| {
            let full = format!("{kind}.{name}");
            let position = |name: &str| columns.iter().position(|column| column == name);
            position(&full).or_else(|| position(name))
        };
        let need = |kind: &str, name: &str| {
            find(kind, name).ok_or_else(|| {
                let known: Vec<&str> = columns.iter().map(String::as_str).collect();
                let message = format!("there is no column `{kind}.{name}` or `{name}`");
                Failure::input(format!("{}: {message}", source.path().display()))
                    .hint(meant_or_known(nearest(name, known.iter().copied()), &known))
            })
        };
        let value = |dimension: &luthier_space::Dimension| match dimension.condition {
            Some(_) => Ok(find("value", &dimension.name)),
            None => need("value", &dimension.name).map(Some),
        };
        let metrics = spec.objectives.iter().map(|objective| &objective.metric);
        Ok(Self {
            columns,
            values: spec.space.dimensions().iter().map(value).collect::<Result<_, _>>()?,
            scores: metrics.map(|metric| need("score", metric)).collect::<Result<_, _>>()?,
            violations: spec
                .constraints
                .iter()
                .map(|constraint| need("violation", constraint))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The trial of a row, or what is wrong with it.
    fn record(&self, cells: &Cells, spec: &StudySpec) -> Result<Record, String> {
        let numbers = |places: &[usize]| -> Result<Vec<f64>, String> {
            let number = |place: &usize| Ok(self.parse(cells, *place)?.unwrap_or(f64::NAN));
            places.iter().map(number).collect()
        };
        let (scores, violations) = (numbers(&self.scores)?, numbers(&self.violations)?);
        let mut trial = Trial::running(0, self.values(cells, spec)?);
        trial.reason = self.cell(cells, "reason").map(str::to_owned);
        trial.state = match self.cell(cells, "state") {
            Some(state) => state_of(state)?,
            None if scores.iter().all(|score| score.is_finite()) => State::Complete,
            None => {
                trial.reason.get_or_insert_with(|| "it has no score".to_owned());
                State::Failed
            }
        };
        // Of a trial that ended early, other programs give the last score as its own.
        if trial.state == State::Complete {
            (trial.scores, trial.violations) = (scores, violations);
        }
        let tiebreak = (self.named(cells, "tiebreak.margin")?, self.named(cells, "tiebreak.loss")?);
        trial.tiebreak = tiebreak.0.zip(tiebreak.1).map(|(margin, loss)| Tiebreak { margin, loss });
        trial.seconds = self.named(cells, "seconds")?;
        let time = |name: &str| self.cell(cells, name).map(time_of).transpose();
        let (started, ended) = (time("started")?, time("ended")?);
        let attempts = self.named(cells, "attempts")?.unwrap_or(1);
        let attributes = self.attributes(cells);
        let record = Record::imported(trial);
        let origin = self.cell(cells, "origin").map_or(record.origin.clone(), str::to_owned);
        Ok(Record { attempts, origin, started, ended, attributes, ..record })
    }

    fn values(&self, cells: &Cells, spec: &StudySpec) -> Result<Values, String> {
        let mut values = Values::default();
        for (index, dimension) in spec.space.dimensions().iter().enumerate() {
            let (name, distribution) = (&dimension.name, &dimension.distribution);
            let cell = self.values[index].and_then(|place| cells.get(place)?.as_deref());
            let value = match cell {
                Some(text) => Some(distribution.parse(text).ok_or_else(|| {
                    format!("parameter `{name}` is {text}, expected {distribution}")
                })?),
                // An empty text looks as nothing does.
                None if spec.space.is_active(index, &values) => distribution.parse(""),
                None => None,
            };
            value.into_iter().for_each(|value| values.insert(name, value));
        }
        Ok(values)
    }

    /// What was noted: JSON, or a text that is none.
    fn attributes(&self, cells: &Cells) -> Attributes {
        let columns = self.columns.iter().zip(cells);
        let notes = columns.filter_map(|(column, cell)| {
            let (key, text) = (column.strip_prefix("attribute.")?, cell.as_ref()?);
            let value = serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into());
            Some((key.to_owned(), value))
        });
        notes.collect()
    }

    fn cell<'c>(&self, cells: &'c Cells, name: &str) -> Option<&'c str> {
        let place = self.columns.iter().position(|column| column == name)?;
        cells.get(place)?.as_deref()
    }

    /// The number in the column of this name.
    fn named<T: FromStr>(&self, cells: &Cells, name: &str) -> Result<Option<T>, String> {
        let place = self.columns.iter().position(|column| column == name);
        place.map_or(Ok(None), |place| self.parse(cells, place))
    }

    fn parse<T: FromStr>(&self, cells: &Cells, place: usize) -> Result<Option<T>, String> {
        let Some(text) = cells.get(place).and_then(Option::as_deref) else { return Ok(None) };
        let wrong = || format!("`{}` is {text}, expected a number", self.columns[place]);
        text.parse().map(Some).map_err(|_| wrong())
    }
}
