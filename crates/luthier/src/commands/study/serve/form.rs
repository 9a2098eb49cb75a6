//! What clients send, and what files say, checked.

use std::collections::BTreeMap;

use std::path::Path;

use luthier_space::{Distribution, FormError, Space, Values};
use luthier_study::{Failure as End, Lease, Measured, Objective, Record, StudySpec};
use luthier_tune::PrunerSpec;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Table;

use super::studies::Fault;
use crate::commands::study::import::Written;
use crate::failure::Failure;

/// A study to set up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::commands::study) struct Setup {
    /// What the study is called; over HTTP the path says it.
    #[serde(default)]
    pub(super) name: String,
    space: SpaceForm,
    objectives: Vec<Objective>,
    #[serde(default)]
    constraints: Vec<String>,
    sampler: Option<String>,
    pruner: Option<PrunerSpec>,
    #[serde(default)]
    seed: u64,
    lag: Option<u64>,
}

/// Where to search.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a table of parameters, or \"open\" for what trials ask for")]
enum SpaceForm {
    Open(Open),
    /// In the form that it has under `[tune.space]` of a job.
    Given(Table),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Open {
    Open,
}

impl SpaceForm {
    fn into_space(self) -> Result<Space, FormError> {
        match self {
            Self::Open(Open::Open) => Ok(Space::open(Vec::new())),
            Self::Given(table) => Space::from_toml(&table),
        }
    }
}

impl Setup {
    pub(super) fn from_file(file: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file).map_err(Failure::io(file))?;
        let setup: Self = toml::from_str(&text).map_err(|error| {
            Failure::input(format!("{}: {}", file.display(), error.to_string().trim_end()))
        })?;
        match setup.name.as_str() {
            "" => Err(Failure::input(format!("{}: `name` is missing", file.display()))),
            _ => Ok(setup),
        }
    }

    /// The study that a file describes.
    pub(in crate::commands::study) fn spec_of(file: &Path) -> Result<StudySpec, Failure> {
        let spec = Self::from_file(file)?.into_spec();
        spec.map_err(|fault| fault.into_failure().within(file.display()))
    }

    /// The setup of the study, named in the form or by the path, which agree where both are there.
    pub(super) fn into_spec(self) -> Result<StudySpec, Fault> {
        let Self { name, space, objectives, constraints, sampler, pruner, seed, lag } = self;
        if objectives.is_empty() {
            return Err(Fault::field("objectives", "there is nothing to score"));
        }
        let metrics = objectives.iter().map(|objective| &objective.metric);
        if let Some(name) = twice(metrics.chain(&constraints)) {
            return Err(Fault::field("objectives", format!("`{name}` is there twice")));
        }
        let space = space.into_space().map_err(|error| {
            let place = match &error {
                FormError::Parameter { name, .. } => format!("space.{name}"),
                _ => "space".to_owned(),
            };
            let Failure { message, hint, .. } = error.into();
            Fault { hint, ..Fault::field(place, message) }
        })?;
        Ok(StudySpec {
            name,
            space,
            objectives,
            constraints,
            seed,
            sampler: sampler.unwrap_or_else(|| "auto".to_owned()),
            pruner: pruner.unwrap_or_default(),
            lag,
            context: BTreeMap::new(),
        })
    }
}

/// A name that is there more than once.
fn twice<'n>(names: impl Iterator<Item = &'n String>) -> Option<&'n String> {
    let mut seen = std::collections::BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

/// A configuration to try next.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Enqueue {
    pub(super) values: Values,
}

/// Trials that were evaluated elsewhere.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Results {
    trials: Vec<Written>,
}

impl Results {
    pub(super) fn into_records(self, spec: &StudySpec) -> Result<Vec<Record>, Fault> {
        let record = |(place, written): (usize, Written)| {
            written
                .into_record(spec)
                .map_err(|fault| Fault::field(format!("trials[{place}]"), fault))
        };
        self.trials.into_iter().enumerate().map(record).collect()
    }
}

/// A word from the client of a trial.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heartbeat {
    attempt: u32,
}

/// A parameter that a trial asks for, in the form that it has under `[tune.space]` of a job.
#[derive(Deserialize)]
pub(super) struct Suggest {
    attempt: u32,
    pub(super) name: String,
    #[serde(flatten)]
    form: Table,
}

/// Scores on the way; `null` for one that is not known yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    attempt: u32,
    pub(super) step: u64,
    scores: Vec<Option<f64>>,
}

/// How an evaluation ended.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tell {
    attempt: u32,
    state: Told,
    #[serde(default)]
    scores: Vec<f64>,
    #[serde(default)]
    violations: Vec<f64>,
    reason: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Told {
    Complete,
    Pruned,
    Failed,
}

impl Heartbeat {
    pub(super) fn lease(&self, number: u64) -> Lease {
        Lease { number, attempt: self.attempt }
    }
}

impl Suggest {
    pub(super) fn lease(&self, number: u64) -> Lease {
        Lease { number, attempt: self.attempt }
    }

    pub(super) fn distribution(&self) -> Result<Distribution, Fault> {
        let name = &self.name;
        if name.is_empty() {
            return Err(Fault::field("name", "a parameter has a name"));
        }
        if self.form.contains_key("when") {
            let message = "a parameter that is asked for has no `when`: ask where it is needed";
            return Err(Fault::field("when", message));
        }
        Distribution::from_toml(name, &self.form).map_err(|error| {
            let Failure { message, hint, .. } = error.into();
            Fault { hint, ..Fault::bad(message) }
        })
    }
}

impl Report {
    pub(super) fn lease(&self, number: u64) -> Lease {
        Lease { number, attempt: self.attempt }
    }

    pub(super) fn scores(&self) -> Vec<f64> {
        self.scores.iter().map(|score| score.unwrap_or(f64::NAN)).collect()
    }
}

impl Tell {
    pub(super) fn lease(&self, number: u64) -> Lease {
        Lease { number, attempt: self.attempt }
    }

    pub(super) fn end(self) -> Result<Result<Measured, End>, Fault> {
        let Self { state, scores, violations, reason, .. } = self;
        if state != Told::Complete && !(scores.is_empty() && violations.is_empty()) {
            return Err(Fault::field("scores", "only a trial that is complete has scores"));
        }
        if state != Told::Failed && reason.is_some() {
            return Err(Fault::field("reason", "only a trial that failed has a reason"));
        }
        Ok(match state {
            Told::Complete => Ok(Measured { violations, ..scores.into() }),
            Told::Pruned => Err(End::Pruned),
            Told::Failed => {
                Err(End::Error(reason.unwrap_or_else(|| "the client gave no reason".to_owned())))
            }
        })
    }
}

/// Reads a body, and says which of its fields is wrong.
pub(in crate::commands::study) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let fault = Fault::bad(error.into_inner().to_string());
        Fault { field: (path != ".").then_some(path), ..fault }
    })?;
    json.end().map_err(|error| Fault::bad(error.to_string()))?;
    Ok(read)
}
