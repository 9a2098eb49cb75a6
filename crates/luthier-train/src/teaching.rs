//! Learning from what another model answers (Hinton et al. 2015).

use luthier_space::{Distribution, Space, Values};

use crate::TrainError;
use crate::data::Targets;

/// How much a teacher's answers count, and how soft they are made.
///
/// A row is trained towards a mixture of its label and of what the teacher answers, whose probabilities are
/// taken to the power of one over the temperature. The student itself has no temperature: it comes to
/// logits that are smaller by that factor, which calibration takes back. Encoders are trained by two losses
/// instead, of which the second divides the student's logits too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Teaching {
    /// What the teacher's answer counts for a row that has a label too, from 0 to 1.
    share: f32,
    /// At least 1; more lets classes that the teacher finds unlikely speak.
    temperature: f32,
}

/// What a row is trained towards.
#[derive(Clone, Copy)]
pub(crate) enum Goal<'a> {
    /// A class.
    Class(usize),
    /// A share of each class; they sum to 1.
    Shares(&'a [f32]),
}

/// What all rows are trained towards.
pub(crate) struct Goals<'a> {
    labels: &'a [Option<u32>],
    /// Row-major, where there is a teacher.
    shares: Option<Vec<f32>>,
    classes: usize,
}

impl Teaching {
    /// The parameters that a student has beside its learner's own, and what does well on most tasks.
    pub(crate) fn parameters() -> (Space, Values) {
        let space = Space::of([
            ("teacher_share", Distribution::float(0.3, 1.0)),
            ("teacher_temperature", Distribution::log_float(1.0, 4.0)),
        ]);
        let mut values = Values::default();
        values.insert("teacher_share", 0.9);
        values.insert("teacher_temperature", 1.0);
        (space, values)
    }

    pub(crate) fn read(values: &Values) -> Result<Self, TrainError> {
        let share = values.float("teacher_share")?.clamp(0.0, 1.0) as f32;
        let temperature = values.float("teacher_temperature")?.max(1.0) as f32;
        Ok(Self { share, temperature })
    }

    /// The same for rows that may be `taught`; there is none where they are not.
    pub(crate) fn of(values: &Values, taught: &[f32]) -> Result<Option<Self>, TrainError> {
        if taught.is_empty() { Ok(None) } else { Self::read(values).map(Some) }
    }

    /// What the teacher's answer counts for a row with a label.
    pub(crate) fn share(&self) -> f32 {
        self.share
    }

    /// By which its answers are made soft.
    pub(crate) fn temperature(&self) -> f32 {
        self.temperature
    }

    /// Makes the probabilities of one row soft.
    pub(crate) fn soften(&self, probabilities: &mut [f32]) {
        if self.temperature != 1.0 {
            let power = self.temperature.recip();
            probabilities.iter_mut().for_each(|p| *p = p.max(0.0).powf(power));
        }
        let sum: f32 = probabilities.iter().sum();
        if sum > 0.0 {
            probabilities.iter_mut().for_each(|p| *p /= sum);
        }
    }

    /// What each row is trained towards, row-major.
    fn shares(&self, targets: &Targets, classes: usize) -> Vec<f32> {
        let mut shares = targets.taught.clone();
        for (row, label) in shares.chunks_exact_mut(classes).zip(&targets.labels) {
            self.soften(row);
            if let Some(label) = label {
                row.iter_mut().for_each(|share| *share *= self.share);
                row[*label as usize] += 1.0 - self.share;
            }
        }
        shares
    }
}

impl<'a> Goals<'a> {
    /// Towards labels or, where rows are taught, as `values` say.
    pub(crate) fn of(
        targets: &'a Targets,
        classes: usize,
        values: &Values,
    ) -> Result<Self, TrainError> {
        let teaching = Teaching::of(values, &targets.taught)?;
        let shares = teaching.map(|teaching| teaching.shares(targets, classes));
        Ok(Self { labels: &targets.labels, shares, classes })
    }

    /// What a row is trained towards.
    #[inline(always)]
    pub(crate) fn of_row(&self, row: usize) -> Goal<'_> {
        match &self.shares {
            None => Goal::Class(self.labels[row].unwrap_or_default() as usize),
            Some(shares) => Goal::Shares(&shares[row * self.classes..][..self.classes]),
        }
    }
}

impl Goal<'_> {
    /// Probabilities of the classes to the gradient of the cross-entropy by their logits.
    #[inline(always)]
    pub(crate) fn subtract_from(self, probabilities: &mut [f32]) {
        match self {
            Self::Class(class) => probabilities[class] -= 1.0,
            Self::Shares(shares) => {
                probabilities.iter_mut().zip(shares).for_each(|(p, share)| *p -= share);
            }
        }
    }

    /// The share of one class.
    #[inline(always)]
    pub(crate) fn share(self, class: usize) -> f32 {
        match self {
            Self::Class(label) => f32::from(label == class),
            Self::Shares(shares) => shares[class],
        }
    }
}

#[cfg(test)]
mod tests {
    use luthier_test::assert_close;

    use super::*;

    #[test]
    fn labels_and_answers_are_mixed_by_share() {
        let targets = Targets {
            labels: vec![Some(2), None],
            weights: vec![1.0; 2],
            taught: vec![0.64, 0.32, 0.04, 0.25, 0.25, 0.5],
        };
        let teaching = Teaching { share: 0.5, temperature: 2.0 };
        let roots = [0.8f64, 0.32f64.sqrt(), 0.2];
        let sum: f64 = roots.iter().sum();
        let shares = teaching.shares(&targets, 3);
        for (class, root) in roots.iter().enumerate() {
            let label = if class == 2 { 0.5 } else { 0.0 };
            assert_close(shares[class].into(), 0.5 * root / sum + label, 1e-6, "with a label");
        }
        let alone = 1.0 / (2.0 + 2.0f64.sqrt());
        assert_close(shares[3].into(), alone, 1e-6, "without");
        assert_close(shares[3..].iter().sum::<f32>().into(), 1.0, 1e-6, "sum");
    }
}
