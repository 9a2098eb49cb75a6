//! From the numbers that a graph gives to an answer.

use serde::{Deserialize, Serialize};

/// How the numbers that a graph gives for a row become one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Decision {
    /// Probabilities of classes, of which one is answered.
    Class(ClassDecision),
    /// One number, which is the answer.
    Number(NumberDecision),
}

/// How the probabilities of the classes become one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassDecision {
    /// Class names in the order of the graph's output, at least two.
    pub labels: Vec<String>,
    /// Binary tasks: the class that scores and thresholds speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<usize>,
    /// Binary tasks: the positive class is answered from this probability on; 0.5 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

/// What the number is that is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberDecision {
    /// Its name, such as that of the label column.
    pub number: String,
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

/// An answer about one row: a class.
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
        match self {
            Self::Class(decision) => decision.check(),
            Self::Number(_) => Ok(()),
        }
    }

    /// The most probable class, or the positive one where it is at least as probable as not.
    pub fn of_classes(labels: Vec<String>, positive: Option<usize>) -> Self {
        Self::Class(ClassDecision { labels, positive, threshold: None })
    }

    /// The number that is called `number`.
    pub fn of_number(number: &str) -> Self {
        Self::Number(NumberDecision { number: number.to_owned() })
    }

    /// How one of the classes is chosen; `None` where the answer is a number.
    pub fn class(&self) -> Option<&ClassDecision> {
        match self {
            Self::Class(decision) => Some(decision),
            Self::Number(_) => None,
        }
    }

    /// Names of the classes, none where the answer is a number.
    pub fn labels(&self) -> &[String] {
        self.class().map_or(&[], |decision| &decision.labels)
    }

    /// The class that scores of binary tasks speak of.
    pub fn positive(&self) -> Option<usize> {
        self.class().and_then(|decision| decision.positive)
    }

    /// How many numbers the graph gives for a row: one for each class, or one.
    pub fn outputs(&self) -> usize {
        self.class().map_or(1, ClassDecision::classes)
    }

    /// Position among the outputs of the one that callers are given: the score of the positive class,
    /// or the number; `None` where they are given the scores of all classes.
    pub fn given_output(&self) -> Option<usize> {
        match self {
            Self::Class(decision) => decision.positive,
            Self::Number(_) => Some(0),
        }
    }

    /// The class for one row of outputs; `None` where the answer is the number itself.
    pub fn answer(&self, outputs: &[f32]) -> Option<Answer> {
        self.class().map(|decision| decision.answer(outputs))
    }
}

impl ClassDecision {
    fn check(&self) -> Result<(), DecisionError> {
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

impl From<ClassDecision> for Decision {
    fn from(decision: ClassDecision) -> Self {
        Self::Class(decision)
    }
}
