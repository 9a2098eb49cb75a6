//! Two models on the same rows.

use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};

use crate::bootstrap::Sample;
use crate::halves::{self, Bound};
use crate::predictions::{Answers, check_length};
use crate::scorer::Scorer;
use crate::{Bootstrap, Costs, EvalError, Interval, Metric, Predictions, Score};

/// How a candidate compares with a baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What is compared.
    pub metric: Metric,
    /// Rows that both were scored on.
    pub rows: usize,
    /// Score of the candidate.
    pub candidate: f64,
    /// Score of the baseline.
    pub baseline: f64,
    /// Candidate minus baseline, with the sign turned where lower is better: positive is better.
    pub difference: f64,
    /// Percentile interval of `difference` over resamples that both share, at the bootstrap's
    /// confidence.
    pub interval: Interval,
    /// Test of the decisions, whatever the metric; `None` of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcnemar: Option<McNemar>,
    /// Test of the errors, whatever the metric; `None` of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_test: Option<SignTest>,
    /// What may be claimed.
    pub verdict: Verdict,
}

/// What a comparison allows to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval lies above 0.
    Better,
    /// The whole interval lies below 0.
    Worse,
    /// Neither, or too few rows to tell.
    Undecided,
}

/// McNemar's test of equal accuracy: among the rows that exactly one model decides rightly, each
/// model should have half. P-values are two-sided.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Rows that only the candidate decides rightly.
    pub only_candidate: u64,
    /// Rows that only the baseline decides rightly.
    pub only_baseline: u64,
    /// P-value of the exact binomial test.
    pub exact: f64,
    /// Its mid-p variant, nearer to the nominal level (Fagerland, Lydersen and Laake 2013).
    pub mid: f64,
}

/// The sign test of equal errors: among the rows where one model's number is nearer to the truth
/// than the other's, each model should have half. P-values are two-sided.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SignTest {
    /// Rows where the candidate's number is the nearer.
    pub candidate_nearer: u64,
    /// Rows where the baseline's is.
    pub baseline_nearer: u64,
    /// P-value of the exact binomial test.
    pub exact: f64,
    /// Its mid-p variant, nearer to the nominal level.
    pub mid: f64,
}

/// Whether a candidate is worse than a baseline by less than a margin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NonInferiority {
    /// What is compared.
    pub metric: Metric,
    /// Rows that both were scored on.
    pub rows: usize,
    /// Candidate minus baseline, with the sign turned where lower is better: positive is better. Of
    /// calibration errors without what few rows add to them.
    pub difference: f64,
    /// One-sided lower bound of `difference`.
    pub lower_bound: f64,
    /// Confidence of the bound.
    pub confidence: f64,
    /// The margin, in units of the metric.
    pub max_drop: f64,
    /// What the bound allows to say.
    pub verdict: NonInferiorityVerdict,
}

/// What a bound on a difference allows to say about a margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonInferiorityVerdict {
    /// The bound is not below `-max_drop`.
    Holds,
    /// The difference itself is below `-max_drop`, of calibration errors with what few rows add to
    /// them as without.
    Fails,
    /// The difference is within the margin and its bound is not: there are too few rows.
    Undecidable {
        /// Rows that were there.
        rows: usize,
        /// Rows that would do if difference and spread stayed as they are; `None` where the
        /// difference equals `-max_drop`, or the number is beyond reason (10¹²).
        needed: Option<usize>,
    },
}

/// Compares `candidate` with `baseline` on the same rows by a paired bootstrap.
///
/// The verdict follows the interval, with one exception. However many rows there are, only those
/// on which the two models differ inform a paired test, and *m* of them cannot give a two-sided
/// p-value below 2¹⁻ᵐ; with fewer than it takes to reach the confidence (6 at 95 %), the verdict is
/// `Undecided`, although a bootstrap of so few may well exclude 0.
///
/// # Errors
/// The two differ in rows, classes, truth, weights or costs; `positive` or `bootstrap` is out of
/// range; the metric is for the other kind of predictions, or undefined on the rows or on at least
/// half of the resamples.
pub fn compare(
    candidate: &Predictions,
    baseline: &Predictions,
    metric: Metric,
    positive: Option<usize>,
    bootstrap: &Bootstrap,
) -> Result<Comparison, EvalError> {
    let pair = Pair::new(candidate, baseline, metric, positive)?;
    bootstrap.check()?;
    let (candidate_score, baseline_score) =
        pair.scores(candidate.weights()).ok_or(pair.undefined())?;
    let interval =
        pair.resample(bootstrap).interval(bootstrap.confidence).ok_or(pair.undefined())?;
    let informed = 2f64.powf(1.0 - pair.differing_rows() as f64) <= 1.0 - bootstrap.confidence;
    let verdict = match interval {
        Interval { low, .. } if informed && low > 0.0 => Verdict::Better,
        Interval { high, .. } if informed && high < 0.0 => Verdict::Worse,
        _ => Verdict::Undecided,
    };
    Ok(Comparison {
        metric,
        rows: candidate.len(),
        candidate: candidate_score,
        baseline: baseline_score,
        difference: pair.difference(candidate_score, baseline_score),
        interval,
        mcnemar: McNemar::of(candidate, baseline),
        sign_test: SignTest::of(candidate, baseline),
        verdict,
    })
}

/// Tests that `candidate` is worse than `baseline` by no more than `max_drop` (in units of the
/// metric, at least 0), one-sided at the bootstrap's confidence.
///
/// The lower bound is the paired bootstrap's quantile, but never nearer to the difference than
/// 1 − (1 − confidence)^(1 / rows), about 3 / rows at 95 %: a kind of row that is rarer than that
/// may be missing from the data altogether (the rule of three), and a model may fail on every
/// such row. Two models that agree everywhere on 100 rows thus have a bound of −0.03, not 0. This is
/// for scores between 0 and 1. Costs differ by more, as far as two decisions for one row may; and of
/// numbers, whose errors know no bound, such rows are taken to be as bad as the candidate's worst.
///
/// A calibration error is a sum of absolute values, which few rows inflate, and the more the smaller
/// it is: resampled as it stands, a difference at the margin would pass in half of all cases. Its
/// bias falls with the square root of the rows, so what halves of the rows show beyond the whole is
/// taken off (Quenouille 1956), and the bound is that of the corrected difference. The correction is
/// itself uncertain, so it alone never makes a candidate fail: the measured difference must be below
/// the margin, too.
///
/// # Errors
/// As [`compare`], or `max_drop` is negative or not finite.
pub fn non_inferiority(
    candidate: &Predictions,
    baseline: &Predictions,
    metric: Metric,
    positive: Option<usize>,
    max_drop: f64,
    bootstrap: &Bootstrap,
) -> Result<NonInferiority, EvalError> {
    if !(0.0..f64::INFINITY).contains(&max_drop) {
        return Err(EvalError::Setting { name: "max_drop", value: max_drop });
    }
    let pair = Pair::new(candidate, baseline, metric, positive)?;
    bootstrap.check()?;
    let confidence = bootstrap.confidence;
    let rows = candidate.len();
    let Bound { measured, difference, lower: resampled } = match metric {
        Metric::Ece => halves::bound(|mass| pair.score(mass), candidate.weights(), bootstrap),
        _ => pair.bound(bootstrap),
    }
    .ok_or(pair.undefined())?;
    let unseen = 1.0 - (1.0 - confidence).powf(1.0 / rows as f64);
    let unit = pair.failure(unseen);
    let lower_bound = resampled.min(difference - unseen * unit);
    let verdict = if lower_bound >= -max_drop {
        NonInferiorityVerdict::Holds
    } else if difference.max(measured) < -max_drop {
        NonInferiorityVerdict::Fails
    } else {
        let margin = difference + max_drop;
        let needed = rows_needed(rows, difference - resampled, margin, unit, confidence);
        NonInferiorityVerdict::Undecidable { rows, needed }
    };
    Ok(NonInferiority { metric, rows, difference, lower_bound, confidence, max_drop, verdict })
}

/// Rows at which a bound, now `reach` below the difference, is only `margin` below it. The
/// bootstrap's part shrinks with the square root of the rows, the unseen part, in which a row lowers
/// the score by `unit`, as 1 / rows.
fn rows_needed(rows: usize, reach: f64, margin: f64, unit: f64, confidence: f64) -> Option<usize> {
    if margin <= 0.0 {
        return None;
    }
    let spread = rows as f64 * (reach / margin).powi(2);
    let unseen =
        if margin < unit { (1.0 - confidence).ln() / (-margin / unit).ln_1p() } else { 1.0 };
    let needed = spread.max(unseen).ceil();
    (needed <= 1e12).then_some(needed as usize)
}

/// Two sets of predictions about the same rows, prepared for one metric.
struct Pair<'a> {
    candidate: Scorer<'a, 1>,
    baseline: Scorer<'a, 1>,
    predictions: [&'a Predictions; 2],
    metric: Metric,
}

impl<'a> Pair<'a> {
    fn new(
        candidate: &'a Predictions,
        baseline: &'a Predictions,
        metric: Metric,
        positive: Option<usize>,
    ) -> Result<Self, EvalError> {
        check_length("baseline", baseline.len(), candidate.len())?;
        check_length("baseline classes", baseline.classes(), candidate.classes())?;
        if let Some(row) = (0..candidate.len()).find(|row| !same_row(candidate, baseline, *row)) {
            return Err(EvalError::Unpaired { row });
        }
        if candidate.costs() != baseline.costs() {
            return Err(EvalError::UnpairedCosts);
        }
        Ok(Self {
            candidate: Scorer::new(candidate, positive, [metric])?,
            baseline: Scorer::new(baseline, positive, [metric])?,
            predictions: [candidate, baseline],
            metric,
        })
    }

    fn scores(&self, mass: &[f64]) -> Option<(f64, f64)> {
        let ([candidate], [baseline]) = (self.candidate.scores(mass), self.baseline.scores(mass));
        candidate.zip(baseline)
    }

    /// How much better the candidate is on rows of the masses `mass`.
    fn score(&self, mass: &[f64]) -> Score {
        self.scores(mass).map(|(candidate, baseline)| self.difference(candidate, baseline))
    }

    /// The difference with the bootstrap's quantile of it.
    fn bound(&self, bootstrap: &Bootstrap) -> Option<Bound> {
        let difference = self.score(self.predictions[0].weights())?;
        let lower = self.resample(bootstrap).quantile(1.0 - bootstrap.confidence)?;
        Some(Bound { measured: difference, difference, lower })
    }

    fn difference(&self, candidate: f64, baseline: f64) -> f64 {
        if self.metric.higher_is_better() { candidate - baseline } else { baseline - candidate }
    }

    fn resample(&self, bootstrap: &Bootstrap) -> Sample {
        let weights = self.predictions[0].weights();
        let [sample] = bootstrap.samples(weights, |mass| [self.score(mass)]);
        sample
    }

    /// Rows on which the two differ in what the metric reads.
    fn differing_rows(&self) -> usize {
        let [candidate, baseline] = self.predictions.map(Predictions::answers);
        match (candidate, baseline) {
            (Answers::Classes(candidate), Answers::Classes(baseline)) => {
                if self.metric.reads_decisions() {
                    differing(candidate.predicted().iter(), baseline.predicted().iter())
                } else {
                    differing(candidate.rows(), baseline.rows())
                }
            }
            (Answers::Numbers(candidate), Answers::Numbers(baseline)) => {
                differing(candidate.predicted.iter(), baseline.predicted.iter())
            }
            _ => 0,
        }
    }

    /// By how much a row that the candidate fails on lowers its score at most, or, of numbers, as
    /// much as on its worst row, if `share` of all rows were like that.
    fn failure(&self, share: f64) -> f64 {
        let [candidate, _] = self.predictions;
        let Some((truth, predicted)) = candidate.numbers() else {
            let costs = candidate.costs().filter(|_| self.metric == Metric::Cost);
            return costs.map_or(1.0, Costs::spread);
        };
        let mut mass = candidate.weights().to_vec();
        let seen = self.candidate.scores(&mass)[0];
        let error =
            |row: usize| if mass[row] > 0.0 { (truth[row] - predicted[row]).abs() } else { 0.0 };
        let worst = (0..truth.len()).max_by(|a, b| error(*a).total_cmp(&error(*b)));
        if let Some(worst) = worst {
            mass[worst] += share / (1.0 - share) * mass.iter().sum::<f64>();
        }
        let with_unseen = self.candidate.scores(&mass)[0];
        let drop = seen.zip(with_unseen).map(|(seen, unseen)| self.difference(seen, unseen));
        drop.unwrap_or(0.0).max(0.0) / share
    }

    fn undefined(&self) -> EvalError {
        EvalError::Undefined { metric: self.metric }
    }
}

/// Whether both are about the same row.
fn same_row(candidate: &Predictions, baseline: &Predictions, row: usize) -> bool {
    let number = |predictions: &Predictions| predictions.numbers().map(|(truth, _)| truth[row]);
    candidate.truth().get(row) == baseline.truth().get(row)
        && number(candidate) == number(baseline)
        && candidate.weights()[row] == baseline.weights()[row]
}

fn differing<T: PartialEq>(
    candidate: impl Iterator<Item = T>,
    baseline: impl Iterator<Item = T>,
) -> usize {
    candidate.zip(baseline).filter(|(candidate, baseline)| candidate != baseline).count()
}

impl SignTest {
    fn of(candidate: &Predictions, baseline: &Predictions) -> Option<Self> {
        let ((truth, candidate), (_, baseline)) = candidate.numbers().zip(baseline.numbers())?;
        let (mut candidate_nearer, mut baseline_nearer) = (0, 0);
        for ((truth, candidate), baseline) in truth.iter().zip(candidate).zip(baseline) {
            let [candidate, baseline] = [candidate, baseline].map(|number| (truth - number).abs());
            candidate_nearer += u64::from(candidate < baseline);
            baseline_nearer += u64::from(baseline < candidate);
        }
        let (exact, mid) = sign_test(candidate_nearer, baseline_nearer);
        Some(Self { candidate_nearer, baseline_nearer, exact, mid })
    }
}

impl McNemar {
    fn of(candidate: &Predictions, baseline: &Predictions) -> Option<Self> {
        let (candidate, baseline) = candidate.as_classes().zip(baseline.as_classes())?;
        let (mut only_candidate, mut only_baseline) = (0, 0);
        let decided = candidate.predicted().iter().zip(baseline.predicted());
        for ((candidate, baseline), truth) in decided.zip(candidate.truth()) {
            match (candidate == truth, baseline == truth) {
                (true, false) => only_candidate += 1,
                (false, true) => only_baseline += 1,
                _ => {}
            }
        }
        let (exact, mid) = sign_test(only_candidate, only_baseline);
        Some(Self { only_candidate, only_baseline, exact, mid })
    }
}

/// Two-sided p-values, exact and mid-p, of `a` heads and `b` tails from a fair coin.
fn sign_test(a: u64, b: u64) -> (f64, f64) {
    let (few, tosses) = (a.min(b), a + b);
    // The logarithm of the probability of exactly `few` heads; its terms stay small where
    // factorials would overflow.
    let ways: f64 = (1..=few).map(|i| ((tosses - few + i) as f64 / i as f64).ln()).sum();
    let exactly = (ways - tosses as f64 * LN_2).exp();
    let (mut term, mut at_most) = (exactly, exactly);
    for heads in (1..=few).rev() {
        term *= heads as f64 / (tosses - heads + 1) as f64;
        at_most += term;
    }
    if a == b {
        return (1.0, 1.0 - 0.5 * exactly);
    }
    let exact = (2.0 * at_most).min(1.0);
    (exact, exact - exactly)
}
