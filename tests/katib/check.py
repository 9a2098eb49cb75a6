"""Runs an experiment against the service with Katib's own messages and stubs."""

import importlib.util
import json
import math
import subprocess
import sys
import types

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def katib():
    """Katib's messages and stubs, without the rest of its package, which needs Kubernetes."""
    root = list(importlib.util.find_spec("kubeflow").submodule_search_locations)[0]
    for name, folder in (("kubeflow", root), ("kubeflow.katib", f"{root}/katib")):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [folder]
    from kubeflow.katib import katib_api_pb2, katib_api_pb2_grpc

    return katib_api_pb2, katib_api_pb2_grpc


api, stubs = katib()


def experiment(algorithm, **settings):
    space = api.FeasibleSpace
    parameters = [
        api.ParameterSpec(name="rate", parameter_type=api.DOUBLE,
                          feasible_space=space(min="0.0001", max="1", distribution=api.LOG_UNIFORM)),
        api.ParameterSpec(name="layers", parameter_type=api.INT,
                          feasible_space=space(min="1", max="9", step="2")),
        api.ParameterSpec(name="batch", parameter_type=api.DISCRETE,
                          feasible_space=space(list=["128", "16", "64"])),
        api.ParameterSpec(name="optimizer", parameter_type=api.CATEGORICAL,
                          feasible_space=space(list=["sgd", "adam"])),
    ]
    return api.Experiment(name="test", spec=api.ExperimentSpec(
        parameter_specs=api.ExperimentSpec.ParameterSpecs(parameters=parameters),
        objective=api.ObjectiveSpec(type=api.MINIMIZE, objective_metric_name="loss"),
        algorithm=api.AlgorithmSpec(algorithm_name=algorithm, algorithm_settings=[
            api.AlgorithmSetting(name=name, value=str(value)) for name, value in settings.items()
        ]),
        parallel_trial_count=3,
        max_trial_count=60,
    ))


def loss(values):
    rate = math.log10(float(values["rate"]))
    return (rate + 2) ** 2 + int(values["layers"]) / 9 + (values["optimizer"] == "sgd")


def best(suggestion, algorithm, rounds=20, **settings):
    """The lowest loss of an experiment, three trials at a time, of which some fail."""
    wanted, trials, losses = experiment(algorithm, **settings), [], []
    for turn in range(rounds):
        reply = suggestion.GetSuggestions(api.GetSuggestionsRequest(
            experiment=wanted, trials=trials, current_request_number=3,
            total_request_number=3 * (turn + 1)))
        assert len(reply.parameter_assignments) == 3, reply
        for place, found in enumerate(reply.parameter_assignments):
            values = {one.name: one.value for one in found.assignments}
            assert set(values) == {"rate", "layers", "batch", "optimizer"}, values
            assert 1e-4 <= float(values["rate"]) <= 1 and int(values["layers"]) % 2 == 1, values
            assert values["batch"] in ("16", "64", "128"), values
            failed = (turn + place) % 7 == 6
            condition = api.TrialStatus.FAILED if failed else api.TrialStatus.SUCCEEDED
            metrics = [] if failed else [api.Metric(name="loss", value=str(loss(values)))]
            trials.append(api.Trial(
                name=f"test-{len(trials)}",
                spec=api.TrialSpec(
                    objective=wanted.spec.objective,
                    parameter_assignments=api.TrialSpec.ParameterAssignments(
                        assignments=found.assignments)),
                status=api.TrialStatus(condition=condition,
                                       observation=api.Observation(metrics=metrics))))
            losses += [] if failed else [loss(values)]
    return min(losses)


def refused(call, request, code):
    try:
        call(request)
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error.details()
    raise AssertionError("it was not refused")


def check(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "manager.v1beta1.Suggestion"):
        status = health.Check(health_pb2.HealthCheckRequest(service=service)).status
        assert status == health_pb2.HealthCheckResponse.SERVING, status
    refused(health.Check, health_pb2.HealthCheckRequest(service="x"), grpc.StatusCode.NOT_FOUND)
    suggestion = stubs.SuggestionStub(channel)
    validate = suggestion.ValidateAlgorithmSettings
    request = api.ValidateAlgorithmSettingsRequest
    validate(request(experiment=experiment("tpe", random_state=1, n_startup_trials=5)))
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    details = refused(validate, request(experiment=experiment("enas")), invalid)
    assert "unknown algorithm name `enas`" in details, details
    details = refused(validate, request(experiment=experiment("cmaes", tempo=1)), invalid)
    assert "unknown setting `tempo`" in details, details
    rules = stubs.EarlyStoppingStub(channel).GetEarlyStoppingRules
    refused(rules, api.GetEarlyStoppingRulesRequest(), grpc.StatusCode.UNIMPLEMENTED)

    found = {name: best(suggestion, name) for name in
             ("random", "sobol", "tpe", "multivariate-tpe", "bayesianoptimization", "cmaes", "auto")}
    for name in ("tpe", "bayesianoptimization", "auto"):
        assert found[name] < 0.25, found
    print("lowest loss of 60 trials:", ", ".join(f"{n} {v:.3f}" for n, v in found.items()))


def main(luthier):
    command = [luthier, "study", "serve", "--grpc-port", "0", "--format", "json", "--log", "warn"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        document = ""
        while not document.endswith("}\n"):
            document += server.stdout.readline()
        with grpc.insecure_channel(json.loads(document)["grpc_address"]) as channel:
            check(channel)
        server.terminate()
        assert server.wait(timeout=30) == 0, server.returncode
    finally:
        server.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
