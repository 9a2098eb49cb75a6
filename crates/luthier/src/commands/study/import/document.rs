//! Trials as JSON: what `luthier study export` writes, and what clients send.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::UNIX_EPOCH;

use luthier_space::Values;
use luthier_study::{Attributes, Record, StudySpec};
use luthier_tune::{State, Step, Tiebreak, Trial};
use serde::Deserialize;

use super::{Candidate, Incoming, LeftOut, trial};
use crate::commands::study::export::{WAITING, state_name};
use crate::commands::study::serve::read_json;
use crate::failure::Failure;

/// All of a study, or its trials alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    setup: Option<StudySpec>,
    #[serde(default)]
    attributes: Attributes,
    trials: Vec<Written>,
}

pub(super) fn read(path: &Path) -> Result<Document, Failure> {
    let text = std::fs::read(path).map_err(Failure::io(path))?;
    read_json(&text).map_err(|fault| {
        let field = fault.field.as_ref().map_or(String::new(), |field| format!(", {field}"));
        let place = format!("{}{field}", path.display());
        fault.into_failure().within(place)
    })
}

impl Document {
    /// The study, set up as is `given`, as the document says, or else as `otherwise` says.
    pub(super) fn into_study(
        self,
        given: Option<StudySpec>,
        otherwise: impl FnOnce() -> Result<StudySpec, Failure>,
    ) -> Result<Incoming, Failure> {
        let Self { setup, attributes, trials: all } = self;
        let spec = given.or(setup).map_or_else(otherwise, Ok)?;
        let (mut trials, mut left_out) = (Vec::new(), Vec::new());
        for (place, written) in (0..).zip(all) {
            let label = trial(written.number.unwrap_or(place));
            match written.into_record(&spec) {
                Ok(record) => trials.push(Candidate { label, record }),
                Err(reason) => left_out.push(LeftOut { label, reason }),
            }
        }
        Ok(Incoming { spec, trials, attributes, left_out })
    }
}

/// A trial in the form of an export. Only the values are needed; one that does not say its state is
/// complete.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::commands::study) struct Written {
    number: Option<u64>,
    state: Option<String>,
    values: Values,
    #[serde(default)]
    scores: Named,
    #[serde(default)]
    violations: Named,
    tiebreak: Option<Tiebreak>,
    #[serde(default)]
    steps: Vec<WrittenStep>,
    seconds: Option<f64>,
    started: Option<String>,
    ended: Option<String>,
    attempts: Option<u32>,
    origin: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    step: u64,
    scores: Named,
}

/// Numbers by name; none where it is not finite or not known.
type Named = BTreeMap<String, Option<f64>>;

impl Written {
    /// The trial in a study, or what is wrong with it.
    pub(in crate::commands::study) fn into_record(
        self,
        spec: &StudySpec,
    ) -> Result<Record, String> {
        let metrics = || spec.objectives.iter().map(|objective| objective.metric.as_str());
        let state = self.state.as_deref().map_or(Ok(State::Complete), state_of)?;
        let mut trial = Trial {
            state,
            tiebreak: self.tiebreak,
            reason: self.reason,
            seconds: self.seconds,
            ..Trial::running(0, self.values)
        };
        for WrittenStep { step, scores } in self.steps {
            trial.steps.push(Step { step, scores: in_order(metrics(), &scores, "objective")? });
        }
        trial.steps.sort_by_key(|step| step.step);
        let scores = in_order(metrics(), &self.scores, "objective")?;
        let constraints = spec.constraints.iter().map(String::as_str);
        let violations = in_order(constraints, &self.violations, "constraint")?;
        if state == State::Complete {
            (trial.scores, trial.violations) = (scores, violations);
        } else if scores.iter().any(|score| !score.is_nan()) {
            return Err("only a trial that is complete has scores".to_owned());
        }
        let time = |text: Option<String>| text.as_deref().map(time_of).transpose();
        Ok(Record {
            attempts: self.attempts.unwrap_or(1),
            started: time(self.started)?,
            ended: time(self.ended)?,
            attributes: self.attributes,
            ..match self.origin {
                Some(origin) => Record { origin, ..Record::imported(trial) },
                None => Record::imported(trial),
            }
        })
    }
}

/// The numbers of these names; NaN where there is none.
fn in_order<'n>(
    names: impl Iterator<Item = &'n str> + Clone,
    numbers: &Named,
    what: &str,
) -> Result<Vec<f64>, String> {
    if let Some(unknown) = numbers.keys().find(|key| !names.clone().any(|name| name == *key)) {
        return Err(format!("there is no {what} `{unknown}`"));
    }
    Ok(names.map(|name| numbers.get(name).copied().flatten().unwrap_or(f64::NAN)).collect())
}

/// The state of this name, in any case.
pub(super) fn state_of(word: &str) -> Result<State, String> {
    let states = [State::Complete, State::Pruned, State::Failed, State::Paused, State::Running];
    let names = states.into_iter().map(|state| (state_name(state), state));
    let mut names = names.chain([(WAITING, State::Running)]);
    let found = names.find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, state)| state);
    found.ok_or_else(|| format!("its state is `{word}`, expected complete, pruned or failed"))
}

/// A time in milliseconds since 1970.
pub(super) fn time_of(text: &str) -> Result<u64, String> {
    let time = humantime::parse_rfc3339_weak(text).ok();
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let millis = since.and_then(|since| u64::try_from(since.as_millis()).ok());
    millis.ok_or_else(|| format!("`{text}` is no time, expected one as 2026-01-31T12:00:00Z"))
}
