//! From class probabilities to an answer.

use serde::{Deserialize, Serialize};

/// How the probabilities of the classes become one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Class names in the order of the graph's output, at least two.
    pub labels: Vec<String>,
    /// Binary tasks: the class that scores and thresholds speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<usize>,
    /// Binary tasks: the positive class is answered from this probability on; 0.5 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

/// What is wrong with a decision.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecisionError {
    /// Fewer than two labels.
    #[error("a decision needs at least two labels, found {0}")]
    Labels(usize),
    /// The positive class is no label, or the task has more than two classes.
    #[error("positive class {0} does not fit the labels")]
    Positive(usize),
    /// The threshold is not a probability.
    #[error("threshold {0} is not between 0 and 1")]
    Threshold(f64),
}

/// An answer about one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// Position of the label.
    pub label: usize,
    /// Probability of the positive class in binary tasks, of the answered class otherwise.
    pub score: f64,
}

impl Decision {
    /// Checks the fields against each other.
    pub fn check(&self) -> Result<(), DecisionError> {
        if self.labels.len() < 2 {
            return Err(DecisionError::Labels(self.labels.len()));
        }
        match self.positive {
            Some(p) if p > 1 || self.labels.len() != 2 => return Err(DecisionError::Positive(p)),
            _ => {}
        }
        match self.threshold {
            Some(t) if !(0.0..=1.0).contains(&t) => Err(DecisionError::Threshold(t)),
            _ => Ok(()),
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.labels.len()
    }

    /// The answer for one row of class probabilities.
    pub fn answer(&self, probabilities: &[f32]) -> Answer {
        if let Some(positive) = self.positive {
            let score = f64::from(probabilities[positive]);
            let is_positive = score >= self.threshold.unwrap_or(0.5);
            return Answer { label: if is_positive { positive } else { 1 - positive }, score };
        }
        let mut label = 0;
        for (class, probability) in probabilities.iter().enumerate() {
            if *probability > probabilities[label] {
                label = class;
            }
        }
        Answer { label, score: f64::from(probabilities[label]) }
    }
}
