//! The service without a network; `tests/katib/run` calls it with Katib's own client.

use luthier_tune::{State, Step};

use super::wire::{
    self, AlgorithmSetting, AlgorithmSpec, Condition, Distribution, ExperimentSpec, FeasibleSpace,
    GetSuggestionsReply, GetSuggestionsRequest, Metric, ObjectiveSpec, ObjectiveType, Observation,
    ParameterAssignments, ParameterSpec, ParameterSpecs, ParameterType, TrialSpec, TrialStatus,
    ValidateAlgorithmSettingsRequest,
};
use super::{Code, Message, SUGGEST, Status, VALIDATE, answer};

fn parameter(name: &str, kind: ParameterType, space: FeasibleSpace) -> ParameterSpec {
    ParameterSpec { name: name.into(), parameter_type: kind.into(), feasible_space: Some(space) }
}

fn range(min: &str, max: &str, step: &str) -> FeasibleSpace {
    FeasibleSpace {
        min: min.into(),
        max: max.into(),
        step: step.into(),
        ..FeasibleSpace::default()
    }
}

fn list(options: &[&str]) -> FeasibleSpace {
    let list = options.iter().map(|option| option.to_string()).collect();
    FeasibleSpace { list, ..FeasibleSpace::default() }
}

fn log(min: &str, max: &str) -> FeasibleSpace {
    FeasibleSpace { distribution: Distribution::LogUniform.into(), ..range(min, max, "") }
}

fn experiment(algorithm: &str, settings: &[(&str, &str)]) -> wire::Experiment {
    let settings = settings
        .iter()
        .map(|(name, value)| AlgorithmSetting { name: name.to_string(), value: value.to_string() });
    let parameters = vec![
        parameter("rate", ParameterType::Double, log("0.0001", "1")),
        parameter("share", ParameterType::Double, range("0", "1", "0.25")),
        parameter("layers", ParameterType::Int, range("1", "9", "2")),
        parameter("batch", ParameterType::Discrete, list(&["128", "16", "64.0"])),
        parameter("optimizer", ParameterType::Categorical, list(&["sgd", "adam"])),
    ];
    wire::Experiment {
        name: "test".into(),
        spec: Some(ExperimentSpec {
            parameter_specs: Some(ParameterSpecs { parameters }),
            objective: Some(ObjectiveSpec {
                r#type: ObjectiveType::Minimize.into(),
                objective_metric_name: "loss".into(),
            }),
            algorithm: Some(AlgorithmSpec {
                algorithm_name: algorithm.into(),
                algorithm_settings: settings.collect(),
            }),
        }),
    }
}

fn ask(
    experiment: &wire::Experiment,
    trials: &[wire::Trial],
    count: i32,
    total: i32,
) -> Result<Vec<ParameterAssignments>, Status> {
    let request = GetSuggestionsRequest {
        experiment: Some(experiment.clone()),
        trials: trials.to_vec(),
        current_request_number: count,
        total_request_number: total,
    };
    let reply = answer(SUGGEST, &request.encode_to_vec())?;
    Ok(GetSuggestionsReply::decode(reply.as_slice()).unwrap().parameter_assignments)
}

fn value<'a>(assignments: &'a ParameterAssignments, name: &str) -> &'a str {
    let found = assignments.assignments.iter().find(|assignment| assignment.name == name);
    &found.unwrap().value
}

fn trial(assignments: &ParameterAssignments, condition: Condition, loss: &str) -> wire::Trial {
    let metrics = vec![Metric { name: "loss".into(), value: loss.into() }];
    wire::Trial {
        name: String::new(),
        spec: Some(TrialSpec { parameter_assignments: Some(assignments.clone()) }),
        status: Some(TrialStatus {
            condition: condition.into(),
            observation: Some(Observation { metrics }),
        }),
    }
}

#[test]
fn every_algorithm_suggests_what_the_experiment_has() {
    let algorithms =
        "auto luthier tpe multivariate-tpe bayesianoptimization cmaes sobol random grid";
    for algorithm in algorithms.split(' ') {
        let experiment = experiment(algorithm, &[]);
        let mut trials = Vec::new();
        for round in 0..8 {
            let found = ask(&experiment, &trials, 3, 3 * (round + 1)).unwrap();
            assert_eq!(found.len(), 3, "{algorithm}");
            for assignments in &found {
                let number = |name: &str| value(assignments, name).parse::<f64>().unwrap();
                assert!((1e-4..=1.0).contains(&number("rate")), "{algorithm}");
                assert!((number("share") * 4.0).fract() == 0.0, "{algorithm}");
                assert!(number("layers") % 2.0 == 1.0, "{algorithm}");
                assert!(["16", "64.0", "128"].contains(&value(assignments, "batch")));
                let loss = (number("rate").log10() + 2.0).powi(2) + number("layers");
                trials.push(trial(assignments, Condition::Succeeded, &loss.to_string()));
            }
        }
        let mut all: Vec<_> = trials.iter().map(|trial| format!("{:?}", trial.spec)).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), trials.len(), "{algorithm} repeats itself");
    }
}

#[test]
fn what_has_not_begun_is_not_suggested_again() {
    let experiment = experiment("random", &[("random_state", "7")]);
    let first = ask(&experiment, &[], 2, 2).unwrap();
    assert_eq!(ask(&experiment, &[], 2, 2).unwrap(), first, "the same request");
    let second = ask(&experiment, &[], 2, 4).unwrap();
    assert!(second.iter().all(|assignments| !first.contains(assignments)));
}

#[test]
fn a_space_comes_to_its_end() {
    let mut small = experiment("grid", &[]);
    let spec = small.spec.as_mut().unwrap();
    let two = parameter("x", ParameterType::Categorical, list(&["a", "b"]));
    spec.parameter_specs = Some(ParameterSpecs { parameters: vec![two] });
    let found = ask(&small, &[], 5, 5).unwrap();
    assert_eq!(found.len(), 2);
    let trials: Vec<_> =
        found.iter().map(|assignments| trial(assignments, Condition::Running, "")).collect();
    let status = ask(&small, &trials, 1, 6).unwrap_err();
    assert_eq!(status.code, Code::FailedPrecondition);
}

#[test]
fn trials_keep_their_fate() {
    let wired = experiment("tpe", &[]);
    let one = &ask(&wired, &[], 1, 1).unwrap()[0];
    let experiment = super::Experiment::new(wired.spec.unwrap()).unwrap();
    let check = |condition: Condition, loss: &str, state: State, score: Option<f64>| {
        let found = experiment.trials(&[trial(one, condition, loss)]).remove(0);
        let step = found.steps.first().map(Step::score);
        assert_eq!((found.state, found.score().or(step)), (state, score), "{condition:?} {loss}");
    };
    check(Condition::Succeeded, "0.5", State::Complete, Some(0.5));
    check(Condition::Succeeded, "nan", State::Failed, None);
    check(Condition::Succeeded, "", State::Failed, None);
    check(Condition::EarlyStopped, "0.5", State::Pruned, Some(0.5));
    check(Condition::Failed, "0.5", State::Failed, None);
    check(Condition::Killed, "", State::Failed, None);
    check(Condition::MetricsUnavailable, "", State::Failed, None);
    check(Condition::Created, "", State::Running, None);
    check(Condition::Running, "0.5", State::Running, None);
}

#[test]
fn what_is_wrong_is_said() {
    let check = |experiment: &wire::Experiment, expected: &str| {
        let request = ValidateAlgorithmSettingsRequest { experiment: Some(experiment.clone()) };
        let status = answer(VALIDATE, &request.encode_to_vec()).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (Code::InvalidArgument, expected));
        assert_eq!(ask(experiment, &[], 1, 1).unwrap_err(), status);
    };
    let known =
        "auto, luthier, tpe, multivariate-tpe, bayesianoptimization, cmaes, sobol, random, grid";
    check(&experiment("pbt", &[]), &format!("unknown algorithm name `pbt`, known are {known}"));
    check(
        &experiment("random", &[("sigma", "1")]),
        "unknown setting `sigma` for algorithm random, known are random_state",
    );
    check(
        &experiment("tpe", &[("n_startup_trials", "-1")]),
        "setting `n_startup_trials` is `-1`, expected 0 to 1000000",
    );
    check(
        &experiment("bayesianoptimization", &[("base_estimator", "RF")]),
        "setting `base_estimator` is `RF`, expected GP",
    );
    let with = |parameter: ParameterSpec| {
        let mut experiment = experiment("tpe", &[]);
        let spec = experiment.spec.as_mut().unwrap();
        spec.parameter_specs = Some(ParameterSpecs { parameters: vec![parameter] });
        experiment
    };
    let x = |kind, space| with(self::parameter("x", kind, space));
    check(
        &x(ParameterType::Double, range("a", "1", "")),
        "parameter `x`: `min` is `a`, expected a number",
    );
    check(
        &x(ParameterType::Int, range("3", "1", "")),
        "parameter `x`: the first bound is above the second",
    );
    check(
        &x(ParameterType::Discrete, list(&["1", "b"])),
        "parameter `x`: `list` is `b`, expected a number",
    );
    check(
        &x(ParameterType::Categorical, list(&[])),
        "parameter `x`: there must be at least one option",
    );
    check(&x(ParameterType::UnknownType, list(&[])), "parameter `x`: it has no type");
    let valid = ValidateAlgorithmSettingsRequest { experiment: Some(experiment("tpe", &[])) };
    assert_eq!(answer(VALIDATE, &valid.encode_to_vec()), Ok(Vec::new()));
    let many = ask(&experiment("random", &[]), &[], 1001, 1001).unwrap_err();
    assert_eq!(many.code, Code::InvalidArgument);
    assert_eq!(answer(SUGGEST, &[255]).unwrap_err().code, Code::Internal);
    assert_eq!(answer("/x/Y", &[]).unwrap_err().code, Code::Unimplemented);
}
