//! Katib's `Suggestion` service: the sampler behind an experiment in Kubernetes.
//!
//! A call brings all of an experiment, and nothing is kept between calls.

mod algorithm;
mod experiment;
mod wire;

use luthier_serve::{Code, Status};
use luthier_space::Values;
use luthier_tune::{Request, Trial};
use prost::Message;

use algorithm::Algorithm;
use experiment::Experiment;

/// Services that are asked for their health; Katib asks for the last.
pub(super) const SERVICES: &[&str] = &["", "api.v1.beta1.Suggestion", "manager.v1beta1.Suggestion"];

const SUGGEST: &str = "/api.v1.beta1.Suggestion/GetSuggestions";
const VALIDATE: &str = "/api.v1.beta1.Suggestion/ValidateAlgorithmSettings";
/// Most suggestions in one answer.
const MOST: usize = 1000;

/// What is wrong with an experiment, as part of a sentence.
type Fault = String;

/// Answers one call.
pub(super) fn answer(path: &str, message: &[u8]) -> Result<Vec<u8>, Status> {
    match path {
        SUGGEST => Ok(suggestions(read(message)?)?.encode_to_vec()),
        VALIDATE => {
            let request: wire::ValidateAlgorithmSettingsRequest = read(message)?;
            let experiment = request.experiment.unwrap_or_default().spec.unwrap_or_default();
            Algorithm::new(experiment.algorithm.as_ref()).map_err(invalid)?;
            // Katib asks before it has begun, when there is still time to say what is wrong.
            Experiment::new(experiment).map_err(invalid)?;
            Ok(wire::ValidateAlgorithmSettingsReply {}.encode_to_vec())
        }
        path => {
            let message = format!("unknown method {path}");
            Err(Status { code: Code::Unimplemented, message })
        }
    }
}

fn suggestions(request: wire::GetSuggestionsRequest) -> Result<wire::GetSuggestionsReply, Status> {
    let spec = request.experiment.unwrap_or_default().spec.unwrap_or_default();
    let algorithm = Algorithm::new(spec.algorithm.as_ref()).map_err(invalid)?;
    let experiment = Experiment::new(spec).map_err(invalid)?;
    let count = usize::try_from(request.current_request_number).ok().filter(|n| *n <= MOST);
    let count = count
        .ok_or_else(|| invalid(format!("`current_request_number` must be between 0 and {MOST}")))?;
    let mut trials = experiment.trials(&request.trials);
    // Trials that were suggested and have not begun are not among those that Katib tells of.
    let suggested =
        i64::from(request.total_request_number) - i64::from(request.current_request_number);
    let first = u64::try_from(suggested).unwrap_or(0).max(trials.len() as u64);
    let mut found: Vec<Values> = Vec::new();
    for number in (first..).take(count) {
        let proposed = algorithm.sampler.suggest(&Request {
            space: &experiment.space,
            directions: &experiment.directions,
            trials: &trials,
            number,
            seed: algorithm.seed,
        });
        let Some(values) = proposed else { break };
        trials.push(Trial::running(number, values.clone()));
        found.push(values);
    }
    if found.is_empty() && count > 0 {
        let message = "the search space has no configuration left".to_owned();
        return Err(Status { code: Code::FailedPrecondition, message });
    }
    let parameter_assignments = found.iter().map(|values| experiment.assignments(values)).collect();
    Ok(wire::GetSuggestionsReply { parameter_assignments })
}

fn read<M: Message + Default>(message: &[u8]) -> Result<M, Status> {
    M::decode(message).map_err(|error| {
        let message = format!("the message is not of the call's type: {error}");
        Status { code: Code::Internal, message }
    })
}

fn invalid(message: Fault) -> Status {
    Status { code: Code::InvalidArgument, message }
}

#[cfg(test)]
mod tests;
