//! What the server tells of its models.

use luthier_model::{Field, Kind};
use prost::Message;

use super::wire::{
    Any, DT_FLOAT, DT_STRING, Dim, GetModelMetadataResponse, GetModelStatusResponse,
    HealthCheckResponse, Int64Value, ModelSpec, ModelVersionStatus, SignatureDef, SignatureDefMap,
    StatusProto, TensorInfo, TensorShapeProto, VersionChoice,
};
use crate::models::{ModelState, ServedModel};
use crate::service::SIGNATURE;
use crate::versions::VersionStatus;

/// The one field of metadata.
pub(super) const SIGNATURES: &str = "signature_def";
/// `ServingStatus` of a server that requests should come to.
const SERVING: i32 = 1;
/// `ServingStatus` of one that they should not come to.
const NOT_SERVING: i32 = 2;

/// Which version answers.
pub(super) fn spec(model: &ServedModel, signature_name: &str) -> ModelSpec {
    ModelSpec {
        name: model.name.to_string(),
        version_choice: Some(VersionChoice::Version(Int64Value { value: model.version })),
        signature_name: signature_name.to_owned(),
    }
}

/// Inputs and outputs of a model.
pub(super) fn metadata(model: &ServedModel) -> GetModelMetadataResponse {
    let tensors = |fields: &[Field]| fields.iter().map(tensor).collect();
    let signature = SignatureDef {
        inputs: tensors(&model.signature.inputs),
        outputs: tensors(&model.signature.outputs),
        method_name: "tensorflow/serving/predict".to_owned(),
    };
    let map = SignatureDefMap { signature_def: [(SIGNATURE.to_owned(), signature)].into() };
    let any = Any {
        type_url: "type.googleapis.com/tensorflow.serving.SignatureDefMap".to_owned(),
        value: map.encode_to_vec(),
    };
    GetModelMetadataResponse {
        model_spec: Some(spec(model, "")),
        metadata: [(SIGNATURES.to_owned(), any)].into(),
    }
}

fn tensor(field: &Field) -> (String, TensorInfo) {
    let dtype = match field.kind {
        Kind::String => DT_STRING,
        Kind::Float32 => DT_FLOAT,
    };
    let dim = field.shape.iter().map(|size| Dim { size: *size }).collect();
    let tensor_shape = Some(TensorShapeProto { dim, unknown_rank: false });
    (field.name.clone(), TensorInfo { name: field.name.clone(), dtype, tensor_shape })
}

/// States of versions.
pub(super) fn status(versions: &[VersionStatus]) -> GetModelStatusResponse {
    let status = |status: &VersionStatus| {
        let error = status.error.as_deref();
        ModelVersionStatus {
            version: status.version,
            state: match status.state {
                ModelState::Start => 10,
                ModelState::Loading => 20,
                ModelState::Available => 30,
                ModelState::Unloading => 40,
                ModelState::End => 50,
            },
            status: Some(StatusProto {
                error_code: error.map_or(0, |error| error.code as i32),
                error_message: error.map_or_else(String::new, |error| error.message.clone()),
            }),
        }
    };
    GetModelStatusResponse { model_version_status: versions.iter().map(status).collect() }
}

/// Whether requests should come here.
pub(super) fn health(is_ready: bool) -> HealthCheckResponse {
    HealthCheckResponse { status: if is_ready { SERVING } else { NOT_SERVING } }
}
