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

/// Most points of a table, which bounds what a manifest can ask for.
pub const MAX_POINTS: usize = 1 << 16;
/// Costs beyond leave the range in which sums of their squares are finite.
const MAX_COST: f64 = 1e150;

/// How the probabilities of the classes become one of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassDecision {
    /// Class names in the order of the graph's output, at least two.
    pub labels: Vec<String>,
    /// Binary tasks: the class that scores and thresholds speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<usize>,
    /// Binary tasks: the positive class is answered from this probability on. Where absent, costs
    /// decide, and without those 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Tables that the graph's probabilities are looked up in before anything is answered, and what
    /// comes out divided by its sum: points, each a probability of the graph and an honest one, joined
    /// by straight lines and level at both ends. Of two classes there is one, for class 1, of more one
    /// for each; none where the graph's own are answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub isotonic: Vec<Vec<(f64, f64)>>,
    /// What it costs, in any unit, to answer a class (inner) for a row of another or the same (outer);
    /// none where that was not said. Without a threshold the least expected cost decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub costs: Vec<Vec<f64>>,
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
    /// There is not a table for each class, or for class 1 of two.
    #[error("{found} tables of probabilities for {classes} classes")]
    Tables {
        /// Tables given.
        found: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A table has no points, or more than [`MAX_POINTS`].
    #[error("a table of probabilities has {0} points")]
    Points(usize),
    /// Costs are no number for each pair of classes.
    #[error("the costs are not {0} × {0} numbers")]
    Costs(usize),
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
        Self::Class(ClassDecision { labels, positive, ..ClassDecision::default() })
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
        if let Some(threshold) = self.threshold.filter(|t| !(0.0..=1.0).contains(t)) {
            return Err(DecisionError::Threshold(threshold));
        }
        self.check_tables()?;
        let (costs, classes) = (&self.costs, self.classes());
        let is_row =
            |row: &Vec<f64>| row.len() == classes && row.iter().all(|cost| cost.abs() <= MAX_COST);
        match costs.is_empty() || (costs.len() == classes && costs.iter().all(is_row)) {
            true => Ok(()),
            false => Err(DecisionError::Costs(classes)),
        }
    }

    /// Whether their points rise is for who looks them up.
    fn check_tables(&self) -> Result<(), DecisionError> {
        let (found, classes) = (self.isotonic.len(), self.classes());
        if found > 0 && found != (if classes == 2 { 1 } else { classes }) {
            return Err(DecisionError::Tables { found, classes });
        }
        let mut points = self.isotonic.iter().map(Vec::len);
        match points.find(|points| !(1..=MAX_POINTS).contains(points)) {
            Some(points) => Err(DecisionError::Points(points)),
            None => Ok(()),
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.labels.len()
    }

    /// The answer for one row of class probabilities, as callers are given them.
    pub fn answer(&self, probabilities: &[f32]) -> Answer {
        let label = self.decide(probabilities);
        Answer { label, score: f64::from(probabilities[self.positive.unwrap_or(label)]) }
    }

    fn decide(&self, probabilities: &[f32]) -> usize {
        match (self.positive, self.threshold) {
            (Some(_), None) | (None, _) if !self.costs.is_empty() => {
                let expected = |class: usize| -> f64 {
                    let each = probabilities.iter().zip(&self.costs);
                    each.map(|(probability, costs)| f64::from(*probability) * costs[class]).sum()
                };
                first_max(probabilities.len(), |class| -expected(class))
            }
            (Some(positive), threshold) => {
                let score = f64::from(probabilities[positive]);
                if score >= threshold.unwrap_or(0.5) { positive } else { 1 - positive }
            }
            (None, _) => first_max(probabilities.len(), |class| f64::from(probabilities[class])),
        }
    }
}

/// The first of `count` positions whose value is largest.
fn first_max(count: usize, value: impl Fn(usize) -> f64) -> usize {
    let first = (0, value(0));
    let larger = |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
    (1..count).map(|place| (place, value(place))).fold(first, larger).0
}

impl From<ClassDecision> for Decision {
    fn from(decision: ClassDecision) -> Self {
        Self::Class(decision)
    }
}
