//! Losses of networks on tables.

use luthier_space::Values;

use super::{TableTargets, TableTask};
use crate::TrainError;
use crate::bag::softmax;
use crate::trees::Link;

/// What is made small, by row. Numbers are compared as they are scaled by [`Loss::scale`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Loss {
    /// Cross-entropy of classes, of which each gets its part of `smoothing`.
    Classes { smoothing: f32 },
    /// Half of the squared error.
    Squared,
    /// The absolute error.
    Absolute,
    /// Half of the squared error up to a standard deviation, straight beyond (Huber 1964).
    Huber,
    /// Pinball loss of this quantile.
    Quantile(f32),
    /// Deviance of counts, whose logarithm comes out.
    Poisson,
}

impl Loss {
    pub(crate) fn read(values: &Values, task: TableTask) -> Result<Self, TrainError> {
        if let TableTask::Classes(_) = task {
            return Ok(Self::Classes { smoothing: values.float("smoothing")? as f32 });
        }
        Ok(match values.text("loss")? {
            "absolute" => Self::Absolute,
            "huber" => Self::Huber,
            "quantile" => match values.float("quantile")? {
                share if share > 0.0 && share < 1.0 => Self::Quantile(share as f32),
                _ => return Err(TrainError::Option { name: "quantile" }),
            },
            "poisson" => Self::Poisson,
            _ => Self::Squared,
        })
    }

    /// Whether the loss is made for a target.
    pub(crate) fn takes(self, target: f32) -> bool {
        self != Self::Poisson || target >= 0.0
    }

    pub(crate) fn link(self) -> Link {
        match self {
            Self::Classes { .. } => Link::Softmax,
            Self::Poisson => Link::Exp,
            _ => Link::Identity,
        }
    }

    /// What is taken away from targets, and what they are then divided by.
    pub(crate) fn scale(self, targets: &TableTargets) -> (f32, f32) {
        let (mean, deviation) = targets.moments();
        match self {
            Self::Classes { .. } => (0.0, 1.0),
            Self::Poisson => (0.0, if mean > 0.0 { mean as f32 } else { 1.0 }),
            _ => (mean as f32, deviation as f32),
        }
    }

    /// The loss of a row; classes are not smoothed.
    pub(crate) fn value(self, target: f32, outputs: &[f32]) -> f64 {
        let (output, target) = (f64::from(outputs[0]), f64::from(target));
        let error = output - target;
        match self {
            Self::Classes { .. } => {
                let outputs = || outputs.iter().map(|output| f64::from(*output));
                let largest = outputs().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = outputs().map(|output| (output - largest).exp()).sum();
                largest + sum.ln() - outputs().nth(target as usize).unwrap_or(largest)
            }
            Self::Squared => error * error / 2.0,
            Self::Absolute => error.abs(),
            Self::Huber if error.abs() <= 1.0 => error * error / 2.0,
            Self::Huber => error.abs() - 0.5,
            Self::Quantile(share) => error.max(0.0) - f64::from(share) * error,
            Self::Poisson => output.exp() - target * output,
        }
    }

    /// Puts the gradient by a row's outputs in their place.
    pub(crate) fn gradient(self, target: f32, outputs: &mut [f32]) {
        let error = outputs[0] - target;
        outputs[0] = match self {
            Self::Classes { smoothing } => {
                softmax(outputs);
                let spread = smoothing / outputs.len() as f32;
                outputs.iter_mut().for_each(|p| *p -= spread);
                outputs[target as usize] -= 1.0 - smoothing;
                return;
            }
            Self::Squared => error,
            Self::Absolute => error.signum(),
            Self::Huber => error.clamp(-1.0, 1.0),
            Self::Quantile(share) => f32::from(error > 0.0) - share,
            Self::Poisson => outputs[0].exp() - target,
        };
    }

    /// The gradient of the cross-entropy against a teacher's probabilities in the place of the outputs.
    pub(crate) fn follow(probabilities: &[f32], outputs: &mut [f32]) {
        softmax(outputs);
        outputs.iter_mut().zip(probabilities).for_each(|(p, taught)| *p -= taught);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let numbers =
            [Loss::Squared, Loss::Absolute, Loss::Huber, Loss::Quantile(0.8), Loss::Poisson];
        let classes = [(Loss::Classes { smoothing: 0.0 }, 1.0)];
        let numbers = numbers.into_iter().flat_map(|loss| [-3.0, 0.3, 2.5].map(|y| (loss, y)));
        for (loss, target) in classes.into_iter().chain(numbers) {
            let outputs = [0.7, -0.4, 1.3];
            let mut gradient = outputs;
            loss.gradient(target, &mut gradient);
            let places = if let Loss::Classes { .. } = loss { 3 } else { 1 };
            for place in 0..places {
                let at = |change: f32| {
                    let mut outputs = outputs;
                    outputs[place] += change;
                    loss.value(target, &outputs)
                };
                let difference = (at(1e-3) - at(-1e-3)) / 2e-3;
                luthier_test::assert_close(gradient[place].into(), difference, 1e-3, "gradient");
            }
        }
    }

    #[test]
    fn smoothing_gives_every_class_its_part() {
        let mut outputs = [0.2, 1.0, -1.0, 0.0];
        let mut probabilities = outputs;
        softmax(&mut probabilities);
        Loss::Classes { smoothing: 0.2 }.gradient(1.0, &mut outputs);
        let expected = [0.05, 0.85, 0.05, 0.05];
        for ((gradient, p), target) in outputs.iter().zip(probabilities).zip(expected) {
            luthier_test::assert_close((p - gradient).into(), target, 1e-6, "target");
        }
    }
}
