#!/usr/bin/env python3
"""Checks a served bundle with TensorFlow Serving's own client; see `run`."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import messages as tf
from server import Server

TEXTS = ["a lovely film, warm and funny", "rude staff and cold food", "味道很好"]
MAX_BODY = 1_000_000
passed = 0


def main():
    luthier, *bundles = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for bundle in bundles:
            check_bundle(luthier, Path(bundle), Path(folder))
    print(f"{passed} passed, 0 failed")


def check_bundle(luthier, bundle, folder):
    name = json.loads((bundle / "manifest.json").read_text())["name"]
    model = Path(tempfile.mkdtemp(dir=folder)) / "models" / name
    for _ in range(2):
        subprocess.run([luthier, "bundle", "publish", bundle, model], check=True, capture_output=True)
    (model / "labels.json").write_text('{"stable": 1}')
    options = ["--version-policy", "all", "--feedback-store", model.parents[1] / "feedback.db"]
    options += ["--max-body-bytes", MAX_BODY, "--workers", 1]
    with Server(luthier, model.parent, *options) as server:
        for address in [server.grpc, server.rest]:
            with grpc.insecure_channel(address) as channel:
                client = Client(channel, name)
                check_predict(client, server)
                check_classify(client, server)
                check_model(client, server)
                check_health(channel)
                check_feedback(client, server)
                check_deadlines(client)
                check_faults(client, channel)
        check_curl(server, name)
        check_metrics(server, name)
    expect(server.code == 0, "SIGTERM is no failure")


def expect(condition, what):
    """Counts a check, or ends the run."""
    global passed
    if not condition:
        raise SystemExit(f"FAILED: {what}")
    passed += 1


def equal(found, expected, what):
    expect(found == expected, f"{what}: {found!r} instead of {expected!r}")


class Client:
    """Requests for one model."""

    def __init__(self, channel, name):
        self.name = name
        self.predictions = tf.prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.models = tf.model_service_pb2_grpc.ModelServiceStub(channel)

    def spec(self, name=None, version=None, label=None, signature=""):
        spec = tf.model_pb2.ModelSpec(name=self.name if name is None else name, signature_name=signature)
        if version is not None:
            spec.version.value = version
        if label is not None:
            spec.version_label = label
        return spec

    def request(self, tensor=None, outputs=(), **spec):
        request = tf.predict_pb2.PredictRequest(model_spec=self.spec(**spec), output_filter=outputs)
        request.inputs["text"].CopyFrom(strings(TEXTS) if tensor is None else tensor)
        return request

    def predict(self, *arguments, **options):
        return self.predictions.Predict(self.request(*arguments, **options), timeout=30)


def strings(texts, sizes=None):
    """A tensor of strings, as `tf.make_tensor_proto` makes it."""
    tensor = tf.tensor_pb2.TensorProto(dtype=tf.types_pb2.DT_STRING)
    for size in [len(texts)] if sizes is None else sizes:
        tensor.tensor_shape.dim.add(size=size)
    tensor.string_val.extend(text.encode() for text in texts)
    return tensor


def check_predict(client, server):
    """The answers of REST, to the last bit, whichever way the model is named."""
    _, _, document = server.post(f"/v1/models/{client.name}:predict", {"instances": TEXTS})
    scores = [single(score) for score in document["predictions"]]
    for options, version in [
        ({}, 2),
        ({"signature": "serving_default"}, 2),
        ({"version": 1}, 1),
        ({"label": "stable"}, 1),
        ({"outputs": ["scores"]}, 2),
    ]:
        answer = client.predict(**options)
        tensor = answer.outputs["scores"]
        equal(list(answer.outputs), ["scores"], f"outputs of {options}")
        equal(list(tensor.float_val), scores, f"scores of {options}")
        equal((tensor.dtype, [dim.size for dim in tensor.tensor_shape.dim]), (1, [3]), f"{options}")
        found = answer.model_spec
        equal((found.name, found.version.value), (client.name, version), f"version of {options}")
        equal(found.signature_name, "serving_default", f"signature of {options}")
    one = client.predict(strings(TEXTS[:1])).outputs["scores"]
    equal(list(one.float_val), scores[:1], "one row")
    none = client.predict(strings([])).outputs["scores"]
    equal(([dim.size for dim in none.tensor_shape.dim], list(none.float_val)), ([0], []), "no row")
    many = client.predict(strings(TEXTS * 300)).outputs["scores"]
    equal(list(many.float_val), scores * 300, "900 rows")


def single(number):
    """A number as float32 has it."""
    return tf.tensor_pb2.TensorProto(float_val=[number]).float_val[0]


def examples(texts):
    made = tf.classification_pb2.ClassificationRequest()
    for text in texts:
        example = tf.example_pb2.Example()
        example.features.feature["text"].bytes_list.value.append(text.encode())
        made.input.example_list.examples.append(example)
    return made


def check_classify(client, server):
    request = examples(TEXTS)
    request.model_spec.CopyFrom(client.spec(version=1))
    answer = client.predictions.Classify(request, timeout=30)
    rows = [[(c.label, c.score) for c in row.classes] for row in answer.result.classifications]
    path = f"/v1/models/{client.name}/versions/1:classify"
    _, _, document = server.post(path, {"examples": [{"text": text} for text in TEXTS]})
    expected = [[(label, single(score)) for label, score in row] for row in document["results"]]
    equal(rows, expected, "classes")
    equal(answer.model_spec.version.value, 1, "the version that classifies")


def check_model(client, server):
    """Metadata and status."""
    request = tf.get_model_metadata_pb2.GetModelMetadataRequest(model_spec=client.spec())
    request.metadata_field.append("signature_def")
    answer = client.predictions.GetModelMetadata(request, timeout=30)
    signatures = tf.get_model_metadata_pb2.SignatureDefMap()
    expect(answer.metadata["signature_def"].Unpack(signatures), "metadata is a map of signatures")
    signature = signatures.signature_def["serving_default"]
    told = lambda info: (info.dtype, [dim.size for dim in info.tensor_shape.dim])
    equal({name: told(info) for name, info in signature.inputs.items()}, {"text": (7, [-1])}, "inputs")
    equal({name: told(info) for name, info in signature.outputs.items()}, {"scores": (1, [-1])}, "outputs")
    equal(signature.method_name, "tensorflow/serving/predict", "the method")
    document = json.loads(server.get(f"/v1/models/{client.name}/metadata"))
    rest = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    equal(rest["method_name"], signature.method_name, "REST says the same")
    status = lambda **spec: [
        (found.version, found.state, found.status.error_code, found.status.error_message)
        for found in client.models.GetModelStatus(
            tf.get_model_status_pb2.GetModelStatusRequest(model_spec=client.spec(**spec)), timeout=30
        ).model_version_status
    ]
    available = tf.get_model_status_pb2.ModelVersionStatus.AVAILABLE
    equal(status(), [(2, available, 0, ""), (1, available, 0, "")], "status")
    equal(status(version=1), [(1, available, 0, "")], "status of a version")
    equal(status(label="stable"), [(1, available, 0, "")], "status of a label")


def check_health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ["", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"]:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
        equal(answer.status, health_pb2.HealthCheckResponse.SERVING, f"health of {service!r}")
    unknown = health_pb2.HealthCheckRequest(service="other")
    refused(lambda: stub.Check(unknown, timeout=30), "NOT_FOUND", "unknown service other")


def check_feedback(client, server):
    """A label finds the prediction by the id in its trailing metadata, once."""
    answer, call = client.predictions.Predict.with_call(client.request(), timeout=30)
    ids = [value for key, value in call.trailing_metadata() if key == "x-prediction-id"]
    expect(len(ids) == 1 and len(ids[0]) == 32, f"one id: {ids}")
    path = f"/v1/models/{client.name}:feedback"
    predicted = str(int(answer.outputs["scores"].float_val[1] >= 0.5))
    label = {"id": ids[0], "row": 1, "label": predicted}
    for accepted, duplicates in [(1, 0), (0, 1)]:
        status, _, document = server.post(path, {"labels": [label]})
        expected = {"accepted": accepted, "duplicates": duplicates, "unknown": 0}
        equal((status, document), (200, expected), "a label over REST")
    status, _, document = server.post(path, {"labels": [{"id": "0" * 32, "label": predicted}]})
    equal((status, document["unknown"]), (200, 1), "a label of no prediction")


def check_deadlines(client):
    """A call whose time is up ends then, and those after it are answered."""
    words = [f"word{number}" for number in range(MAX_BODY // 12)]
    heavy = client.request(strings([" ".join(words)]))
    start = time.monotonic()
    refused(lambda: client.predictions.Predict(heavy, timeout=0.001), "DEADLINE_EXCEEDED", None)
    expect(time.monotonic() - start < 5, "it ends in time")
    expect(client.predict().outputs["scores"].float_val, "the next is answered")


def check_faults(client, channel):
    """Codes and messages of TensorFlow Serving."""
    spec, request = client.spec, client.request
    predict = client.predictions.Predict
    name = client.name
    floats = tf.tensor_pb2.TensorProto(dtype=tf.types_pb2.DT_FLOAT, float_val=[1.0])
    floats.tensor_shape.dim.add(size=1)
    two_inputs = request()
    two_inputs.inputs["more"].CopyFrom(strings(["a"]))
    other_input = tf.predict_pb2.PredictRequest(model_spec=spec())
    other_input.inputs["txt"].CopyFrom(strings(["a"]))
    nameless = tf.predict_pb2.PredictRequest(model_spec=tf.model_pb2.ModelSpec())
    bytes_of_none = strings(["a"])
    bytes_of_none.string_val[:] = [b"\xff"]
    size = "input size does not match signature"
    for message, code, says in [
        (request(floats), "INVALID_ARGUMENT", "Expected input text to be string but get float."),
        (request(strings(["a", "b"], [1, 2])), "INVALID_ARGUMENT",
         "Expected input text to have the shape [-1] but get [1, 2]."),
        (request(strings(["a"], [])), "INVALID_ARGUMENT",
         "Expected input text to have the shape [-1] but get []."),
        (request(strings(["a"] * 5, [3])), "INVALID_ARGUMENT",
         "tensor parsing error: text: 5 values for 3 rows"),
        (request(bytes_of_none), "INVALID_ARGUMENT", "text[0]: the bytes are not UTF-8"),
        (tf.predict_pb2.PredictRequest(model_spec=spec()), "INVALID_ARGUMENT",
         f"{size}: 0!=1 len({{}}) != len({{text}}). Sent extra: {{}}. Missing but required: {{text}}."),
        (two_inputs, "INVALID_ARGUMENT",
         f"{size}: 2!=1 len({{more,text}}) != len({{text}}). Sent extra: {{more}}. "
         "Missing but required: {}."),
        (other_input, "INVALID_ARGUMENT",
         "input tensor alias not found in signature: txt. Inputs expected to be in the set {text}."),
        (request(outputs=["probability"]), "INVALID_ARGUMENT",
         "output tensor alias not found in signature: probability "
         "Outputs expected to be in the set {scores}."),
        (request(signature="other"), "FAILED_PRECONDITION", 'Serving signature key "other" not found.'),
        (request(name="nobody"), "NOT_FOUND", "Servable not found for request: Latest(nobody)"),
        (request(version=7), "NOT_FOUND", f"Servable not found for request: Specific({name}, 7)"),
        (request(label="other"), "INVALID_ARGUMENT", "Unrecognized servable version label: other"),
        (tf.predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (nameless, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (request(strings(["x" * MAX_BODY])), "RESOURCE_EXHAUSTED",
         f"Received message larger than max ({MAX_BODY} bytes)"),
    ]:
        refused(lambda: predict(message, timeout=30), code, says)
    regression = tf.regression_pb2.RegressionRequest(model_spec=spec())
    refused(lambda: client.predictions.Regress(regression, timeout=30), "INVALID_ARGUMENT",
            "Expected regression signature method_name to be tensorflow/serving/regress. "
            "Was: tensorflow/serving/predict")
    empty = tf.classification_pb2.ClassificationRequest(model_spec=spec())
    refused(lambda: client.predictions.Classify(empty, timeout=30), "INVALID_ARGUMENT", "Input is empty.")
    fieldless = tf.get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec())
    refused(lambda: client.predictions.GetModelMetadata(fieldless, timeout=30), "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field")
    nobody = tf.get_model_status_pb2.GetModelStatusRequest(model_spec=spec(name="nobody"))
    refused(lambda: client.models.GetModelStatus(nobody, timeout=30), "NOT_FOUND",
            "Could not find any versions of model nobody")
    several = tf.inference_pb2.MultiInferenceRequest()
    refused(lambda: client.predictions.MultiInference(several, timeout=30), "UNIMPLEMENTED",
            "MultiInference is not supported, send a Classify or a Regress for each task")
    reload = tf.model_management_pb2.ReloadConfigRequest()
    refused(lambda: client.models.HandleReloadConfigRequest(reload, timeout=30), "UNIMPLEMENTED",
            "HandleReloadConfigRequest is not supported, what is new in a base path is taken up by itself")
    for method in ["/tensorflow.serving.PredictionService/Guess", "/a.B/C"]:
        unknown = channel.unary_unary(method, request_serializer=bytes)
        refused(lambda: unknown(b"", timeout=30), "UNIMPLEMENTED", f"unknown method {method}")
    garbled = channel.unary_unary("/tensorflow.serving.PredictionService/Predict", request_serializer=bytes)
    refused(lambda: garbled(b"\xff\xff", timeout=30), "INTERNAL", None)
    compressed = predict(request(), timeout=30, compression=grpc.Compression.Gzip)
    expect(len(compressed.outputs["scores"].float_val) == len(TEXTS), "a compressed message")


def refused(call, code, says):
    """A call that fails with this code and, unless `None`, this message."""
    try:
        call()
    except grpc.RpcError as error:
        found = (error.code().name, error.details() if says is not None else None)
        equal(found, (code, says), "a refused call")
    else:
        expect(False, f"it is answered, where {code} {says!r} is expected")


def check_curl(server, name):
    """REST over HTTP/1.1 and HTTP/2 without asking first, on both ports."""
    for address in [server.rest, server.grpc]:
        url = f"http://{address}/v1/models/{name}"
        for version, option in [("1.1", "--http1.1"), ("2", "--http2-prior-knowledge")]:
            show = ["--write-out", "\n%{http_code} %{http_version}"]
            curl = ["curl", "--silent", "--show-error", option, *show]
            done = subprocess.run([*curl, url], capture_output=True, text=True, check=True)
            document, told = done.stdout.rsplit("\n", 1)
            equal(told, f"200 {version}", f"curl {option}")
            equal(json.loads(document)["model_version_status"][0]["state"], "AVAILABLE", "its answer")
            body = json.dumps({"instances": TEXTS})
            done = subprocess.run([*curl, f"{url}:predict", "--data", body], capture_output=True, text=True)
            document, told = done.stdout.rsplit("\n", 1)
            equal((told, len(json.loads(document)["predictions"])), (f"200 {version}", 3), "a prediction")


def check_metrics(server, name):
    """What was asked over gRPC is counted as such, under our names and TensorFlow Serving's."""
    own = server.get("/metrics")
    series = f'luthier_requests_total{{model="{name}",version="2",protocol="grpc",api="predict",status="200"}}'
    expect(value(own, series) > 10, "our own counter")
    accepted = f'luthier_feedback_labels_total{{model="{name}",version="2",result="accepted"}}'
    equal(value(own, accepted), 2, "labels")
    theirs = server.get("/monitoring/prometheus/metrics")
    prefix = ":tensorflow:serving:"
    grpc_labels = f'model_name="{name}",API="Predict",entrypoint="GRPC"'
    rest_labels = f'model_name="{name}",API="predict",entrypoint="REST"'
    ok = value(theirs, f'{prefix}request_count{{model_name="{name}",status="OK"}}')
    parts = [value(theirs, f"{prefix}request_latency_count{{{labels}}}") for labels in [grpc_labels, rest_labels]]
    expect(all(parts) and ok > sum(parts), f"{ok} requests, latencies of {parts}")
    refused_calls = value(theirs, f'{prefix}request_count{{model_name="{name}",status="FAILED_PRECONDITION"}}')
    equal(refused_calls, 2, "one unknown signature on each port")


def value(text, series):
    """The value of a series, 0 where it is absent."""
    found = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.rsplit(" ", 1)[0] == series]
    return float(found[0]) if found else 0


if __name__ == "__main__":
    main()
