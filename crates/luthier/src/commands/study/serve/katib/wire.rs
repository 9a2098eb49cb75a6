//! The messages of Katib's API that are used, with their field numbers. Unknown fields are skipped
//! when reading. Source: `pkg/apis/manager/v1beta1/api.proto` of kubeflow/katib 0.19.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetSuggestionsRequest {
    #[prost(message, optional, tag = "1")]
    pub experiment: Option<Experiment>,
    #[prost(message, repeated, tag = "2")]
    pub trials: Vec<Trial>,
    #[prost(int32, tag = "4")]
    pub current_request_number: i32,
    #[prost(int32, tag = "5")]
    pub total_request_number: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetSuggestionsReply {
    #[prost(message, repeated, tag = "1")]
    pub parameter_assignments: Vec<ParameterAssignments>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ValidateAlgorithmSettingsRequest {
    #[prost(message, optional, tag = "1")]
    pub experiment: Option<Experiment>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ValidateAlgorithmSettingsReply {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Experiment {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub spec: Option<ExperimentSpec>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExperimentSpec {
    #[prost(message, optional, tag = "1")]
    pub parameter_specs: Option<ParameterSpecs>,
    #[prost(message, optional, tag = "2")]
    pub objective: Option<ObjectiveSpec>,
    #[prost(message, optional, tag = "3")]
    pub algorithm: Option<AlgorithmSpec>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ParameterSpecs {
    #[prost(message, repeated, tag = "1")]
    pub parameters: Vec<ParameterSpec>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ParameterSpec {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(enumeration = "ParameterType", tag = "2")]
    pub parameter_type: i32,
    #[prost(message, optional, tag = "3")]
    pub feasible_space: Option<FeasibleSpace>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum ParameterType {
    UnknownType = 0,
    Double = 1,
    Int = 2,
    Discrete = 3,
    Categorical = 4,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeasibleSpace {
    #[prost(string, tag = "1")]
    pub max: String,
    #[prost(string, tag = "2")]
    pub min: String,
    #[prost(string, repeated, tag = "3")]
    pub list: Vec<String>,
    #[prost(string, tag = "4")]
    pub step: String,
    #[prost(enumeration = "Distribution", tag = "5")]
    pub distribution: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Distribution {
    Unspecified = 0,
    Uniform = 1,
    LogUniform = 2,
    Normal = 3,
    LogNormal = 4,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ObjectiveSpec {
    #[prost(enumeration = "ObjectiveType", tag = "1")]
    pub r#type: i32,
    #[prost(string, tag = "3")]
    pub objective_metric_name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum ObjectiveType {
    Unknown = 0,
    Minimize = 1,
    Maximize = 2,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AlgorithmSpec {
    #[prost(string, tag = "1")]
    pub algorithm_name: String,
    #[prost(message, repeated, tag = "2")]
    pub algorithm_settings: Vec<AlgorithmSetting>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AlgorithmSetting {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Trial {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub spec: Option<TrialSpec>,
    #[prost(message, optional, tag = "3")]
    pub status: Option<TrialStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TrialSpec {
    #[prost(message, optional, tag = "3")]
    pub parameter_assignments: Option<ParameterAssignments>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ParameterAssignments {
    #[prost(message, repeated, tag = "1")]
    pub assignments: Vec<ParameterAssignment>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ParameterAssignment {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TrialStatus {
    #[prost(enumeration = "Condition", tag = "3")]
    pub condition: i32,
    #[prost(message, optional, tag = "4")]
    pub observation: Option<Observation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Condition {
    Created = 0,
    Running = 1,
    Succeeded = 2,
    Killed = 3,
    Failed = 4,
    MetricsUnavailable = 5,
    EarlyStopped = 6,
    Unknown = 7,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Observation {
    #[prost(message, repeated, tag = "1")]
    pub metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}
