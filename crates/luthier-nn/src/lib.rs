//! Neural networks that can be trained: layers with forward and backward passes, losses, AdamW.
//!
//! Start from [`Trainer`]: a [`SequenceClassifier`] and [`TrainOptions`] in, steps by [`Batch`]es and
//! [`Targets`], better weights out. The crate knows nothing of texts, learners or files: it is given
//! token ids and targets, and gives logits and gradients.
//!
//! [`MlpTrainer`] does the same for [`Mlp`], a small network over numbers and codes.
//!
//! There is no graph of operations. Each layer has a forward pass and a backward pass written by hand,
//! which share buffers that live as long as the trainer, so a step takes no memory of size. Sequences
//! are packed without padding, and of the last layer only those rows are worked out that are pooled.
//! Work is cut among the threads of the rayon pool that the caller is in; the number of threads does
//! not change a bit of the result.

mod attention;
mod batch;
mod checkpoint;
mod encoder;
mod error;
mod kernels;
mod layer;
mod linear;
mod lora;
mod loss;
mod matmul;
mod memory;
mod mlp;
mod noise;
mod optimizer;
mod pass;
mod trainer;
mod weights;

pub use batch::Batch;
pub use checkpoint::{CheckpointError, Resumed};
pub use encoder::{
    Activation, Encoder, EncoderConfig, EncoderLayer, Norm, Pooling, SequenceClassifier,
};
pub use error::{BatchError, TrainError};
pub use kernels::exp;
pub use linear::Linear;
pub use lora::{LoraMatrices, LoraOptions};
pub use loss::{Distance, HiddenLoss, Loss, SoftLoss, Targets};
pub use memory::BatchSize;
pub use mlp::{MLP_EPSILON, Mlp, MlpConfig, MlpLayer, MlpRows, MlpTable, MlpTrainer};
pub use optimizer::AdamW;
pub use pass::Workspace;
pub use trainer::{Decay, Schedule, Snapshot, Step, StepPart, TrainOptions, Trainer};

#[cfg(test)]
mod tests;
