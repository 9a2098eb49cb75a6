"""TensorFlow Serving's messages and stubs, imported without TensorFlow."""

import sys
import types

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool


def provide_error_codes():
    """TensorFlow's status codes, which no small package has in their place of today. They are
    gRPC's."""
    name = "tensorflow.core.protobuf.error_codes_pb2"
    file = descriptor_pb2.FileDescriptorProto(
        name="tensorflow/core/protobuf/error_codes.proto", package="tensorflow.error", syntax="proto3"
    )
    codes = file.enum_type.add(name="Code")
    for code in sorted(grpc.StatusCode, key=lambda code: code.value[0]):
        codes.value.add(name=code.name, number=code.value[0])
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    module = types.ModuleType(name)
    # The file that TensorFlow's own now passes on, by the name of its import.
    module.xla_dot_tsl_dot_protobuf_dot_error__codes__pb2 = module
    sys.modules[name] = module


provide_error_codes()

from tensorflow.core.example import example_pb2
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

# Of the two packages with files of this name, the official one is newer.
assert "client_id" in predict_pb2.PredictRequest.DESCRIPTOR.fields_by_name, predict_pb2.__file__
