//! Paths and JSON.

use luthier_serve::{Answer, Call, Method, StatusCode};
use luthier_study::{Asked, Attributes};
use luthier_tune::Step;
use serde_json::{Value, json};

use super::form::{Enqueue, Heartbeat, Report, Results, Setup, Suggest, Tell, read};
use super::studies::{Fault, Studies};
use crate::commands::study::{export, show};

/// The path of the check whether the server is there.
pub(super) const HEALTH: &str = "/healthz";
/// Seconds after which a client that got no trial should ask again.
const RETRY_SECONDS: u32 = 1;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'p> {
    List,
    Study(&'p str),
    Ask(&'p str),
    Enqueue(&'p str),
    Attributes(&'p str, Option<u64>),
    Best(&'p str),
    Trials(&'p str),
    Trial(&'p str, u64),
    Suggest(&'p str, u64),
    Report(&'p str, u64),
    Tell(&'p str, u64),
    Heartbeat(&'p str, u64),
}

impl<'p> Route<'p> {
    fn of(path: &'p str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let ["", "v1", "studies", parts @ ..] = parts.as_slice() else { return None };
        let number = |text: &str| text.parse().ok();
        Some(match parts {
            [] => Self::List,
            [study] => Self::Study(study),
            [study, "ask"] => Self::Ask(study),
            [study, "enqueue"] => Self::Enqueue(study),
            [study, "attributes"] => Self::Attributes(study, None),
            [study, "trials", trial, "attributes"] => Self::Attributes(study, Some(number(trial)?)),
            [study, "best"] => Self::Best(study),
            [study, "trials"] => Self::Trials(study),
            [study, "trials", trial] => Self::Trial(study, number(trial)?),
            [study, "trials", trial, "suggest"] => Self::Suggest(study, number(trial)?),
            [study, "trials", trial, "report"] => Self::Report(study, number(trial)?),
            [study, "trials", trial, "tell"] => Self::Tell(study, number(trial)?),
            [study, "trials", trial, "heartbeat"] => Self::Heartbeat(study, number(trial)?),
            _ => return None,
        })
    }

    /// The methods that it has.
    fn allow(self) -> &'static str {
        match self {
            Self::List | Self::Best(_) | Self::Trial(..) => "GET",
            Self::Study(_) => "GET, PUT",
            Self::Trials(_) => "GET, POST",
            Self::Attributes(..) => "GET, PATCH",
            Self::Ask(_)
            | Self::Enqueue(_)
            | Self::Suggest(..)
            | Self::Report(..)
            | Self::Tell(..)
            | Self::Heartbeat(..) => "POST",
        }
    }
}

/// Answers one request.
pub(super) fn answer(studies: Option<&Studies>, call: &Call) -> Answer {
    match document(studies, call) {
        Ok(document) => {
            Answer { status: StatusCode::OK, json: document.to_string().into_bytes(), allow: None }
        }
        Err(Fault { status, message, field, hint, allow }) => {
            let mut document = json!({ "error": message });
            if let Some(field) = field {
                document["field"] = field.into();
            }
            if let Some(hint) = hint {
                document["hint"] = hint.into();
            }
            Answer { status, json: document.to_string().into_bytes(), allow }
        }
    }
}

fn document(studies: Option<&Studies>, call: &Call) -> Result<Value, Fault> {
    let Call { method, path, .. } = call;
    // A port that is Katib's alone has no studies.
    let route = if path == HEALTH { None } else { Route::of(path).zip(studies) };
    let allow = match route {
        Some((route, _)) => route.allow(),
        None if path == HEALTH => "GET",
        None => {
            let message = format!("there is nothing at {path}");
            return Err(Fault::new(StatusCode::NOT_FOUND, message));
        }
    };
    if !allow.split(", ").any(|allowed| allowed == method.as_str()) {
        let fault = Fault::new(StatusCode::METHOD_NOT_ALLOWED, format!("use {allow}"));
        return Err(Fault { allow: Some(allow), ..fault });
    }
    match route {
        Some((route, studies)) => of_studies(studies, route, call),
        None => Ok(json!({ "status": "ok" })),
    }
}

fn of_studies(
    studies: &Studies,
    route: Route<'_>,
    Call { method, body, .. }: &Call,
) -> Result<Value, Fault> {
    match route {
        Route::List => Ok(studies.all()?.iter().map(show::summary).collect()),
        Route::Study(name) => {
            if *method == Method::PUT {
                set_up(studies, name, read(body)?)?;
            }
            let study = studies.read(name)?;
            let mut document = show::summary(&study);
            document["setup"] = json!(study.records.spec);
            Ok(document)
        }
        Route::Ask(name) => Ok(asked(studies.find(name)?.ask()?)),
        Route::Enqueue(name) => {
            let Enqueue { values } = read(body)?;
            Ok(json!({ "number": studies.find(name)?.study().enqueue(&values)? }))
        }
        Route::Attributes(name, number) => {
            if *method == Method::PATCH {
                note(studies, name, number, &read(body)?)?;
            }
            let study = studies.read(name)?;
            Ok(match number {
                None => json!(study.records.attributes),
                Some(number) => json!(study.trial(number)?.attributes),
            })
        }
        Route::Best(name) => {
            let study = studies.read(name)?;
            let spec = &study.records.spec;
            Ok(study.best().into_iter().map(|record| export::trial(record, spec)).collect())
        }
        Route::Trials(name) if *method == Method::POST => {
            let study = studies.find(name)?;
            let records = read::<Results>(body)?.into_records(study.study().spec())?;
            let count = records.len();
            Ok(json!({ "first": study.study().import(records)?, "count": count }))
        }
        Route::Trials(name) => {
            let study = studies.read(name)?;
            let spec = &study.records.spec;
            Ok(study.records.trials.iter().map(|record| export::trial(record, spec)).collect())
        }
        Route::Trial(name, number) => {
            let study = studies.read(name)?;
            Ok(export::trial(study.trial(number)?, &study.records.spec))
        }
        Route::Suggest(name, number) => {
            let suggest: Suggest = read(body)?;
            let (lease, form) = (suggest.lease(number), suggest.distribution()?);
            let value = studies.find(name)?.suggest(lease, &suggest.name, &form)?;
            Ok(json!({ "value": value }))
        }
        Route::Report(name, number) => {
            let report: Report = read(body)?;
            let study = studies.find(name)?;
            let verdict = study.report(report.lease(number), report.step, report.scores())?;
            Ok(json!({ "stop": verdict.is_break() }))
        }
        Route::Tell(name, number) => {
            let tell: Tell = read(body)?;
            let study = studies.find(name)?;
            let trial = study.tell(tell.lease(number), tell.end()?)?;
            Ok(json!({ "number": number, "state": export::state_name(trial.state) }))
        }
        Route::Heartbeat(name, number) => {
            let heartbeat: Heartbeat = read(body)?;
            studies.find(name)?.keep_alive(heartbeat.lease(number))?;
            Ok(json!({}))
        }
    }
}

/// Sets a study up under the name that the path gives it.
fn set_up(studies: &Studies, name: &str, mut setup: Setup) -> Result<(), Fault> {
    if !setup.name.is_empty() && setup.name != name {
        return Err(Fault::field("name", format!("the path says `{name}`")));
    }
    name.clone_into(&mut setup.name);
    studies.set_up(setup).map(drop)
}

/// Changes attributes of a trial or of the study.
fn note(
    studies: &Studies,
    name: &str,
    number: Option<u64>,
    changes: &Attributes,
) -> Result<(), Fault> {
    let study = studies.find(name)?;
    for (key, value) in changes {
        study.study().set_attribute(number, key, value)?;
    }
    Ok(())
}

fn asked(asked: Asked) -> Value {
    match asked {
        Asked::Trial { lease, values, seed, steps } => json!({
            "status": "trial",
            "number": lease.number,
            "attempt": lease.attempt,
            "values": values,
            "seed": seed,
            "steps": steps
                .iter()
                .map(|Step { step, scores }| json!({ "step": step, "scores": scores }))
                .collect::<Value>(),
        }),
        Asked::Later => json!({ "status": "later", "retry_after_seconds": RETRY_SECONDS }),
        Asked::Enough => json!({ "status": "enough" }),
        Asked::Exhausted => json!({ "status": "exhausted" }),
    }
}

#[cfg(test)]
mod tests {
    use super::Route;

    #[test]
    fn paths() {
        let check = |path, expected| assert_eq!(Route::of(path), expected, "{path}");
        check("/v1/studies", Some(Route::List));
        check("/v1/studies/a", Some(Route::Study("a")));
        check("/v1/studies/a/ask", Some(Route::Ask("a")));
        check("/v1/studies/a/trials/7/suggest", Some(Route::Suggest("a", 7)));
        check("/v1/studies/a/trials/7/tell", Some(Route::Tell("a", 7)));
        check("/v1/studies/a/attributes", Some(Route::Attributes("a", None)));
        check("/v1/studies/a/trials/7/attributes", Some(Route::Attributes("a", Some(7))));
        for wrong in ["/", "/v1", "/v1/studiesa", "/v1/studies/a/asks", "/v1/studies/a/trials/x"] {
            check(wrong, None);
        }
        check("/v1/studies/", Some(Route::Study("")));
        check("/v1/studies/a/trials/-1", None);
    }
}
