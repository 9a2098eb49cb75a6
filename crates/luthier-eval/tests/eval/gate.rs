//! How often the gate of `luthier gate` errs: its two checks on simulated pairs of models.

use luthier_eval::{Bootstrap, Metric, NonInferiorityVerdict, Predictions, non_inferiority};
use luthier_test::assert_close;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What the checks allow by default.
const LIMITS: [(Metric, f64); 2] = [(Metric::Accuracy, 0.01), (Metric::Ece, 0.03)];
/// As many as the test split of `examples/sentiment` has.
const ROWS: usize = 433;
const STUDIES: u64 = 300;

/// How far a class stands out in the evidence of its own rows, in standard deviations.
const SIGNAL: f64 = 1.6;
/// Variance of what each model adds to the evidence on its own account.
const NOISE: f64 = 0.04;

/// A candidate as it differs from its baseline.
#[derive(Clone, Copy)]
struct Candidate {
    classes: usize,
    /// Variance beyond [`NOISE`]: it decides worse, and knows it.
    noise: f64,
    /// Factor of its logits: it is too sure, and decides the same.
    sureness: f64,
}

/// Equally good, decided apart on the rows that are hard.
const fn equal(classes: usize) -> Candidate {
    Candidate { classes, noise: 0.0, sureness: 1.0 }
}

/// At the limit of the accuracy and of the calibration error, for two and five classes, by the mean
/// posterior of six and four million rows.
const LESS_RIGHT: [Candidate; 2] =
    [Candidate { noise: 0.0903, ..equal(2) }, Candidate { noise: 0.0463, ..equal(5) }];
const TOO_SURE: [Candidate; 2] =
    [Candidate { sureness: 1.3056, ..equal(2) }, Candidate { sureness: 1.1204, ..equal(5) }];

impl Candidate {
    /// Answers of the candidate and of its baseline, which both see the same evidence.
    fn study(self, rows: usize, seed: u64) -> [Predictions; 2] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut truth = Vec::with_capacity(rows);
        let mut answers = [Vec::new(), Vec::new()];
        for _ in 0..rows {
            let class = rng.random_range(0..self.classes);
            let evidence: Vec<f64> = (0..self.classes)
                .map(|own| if own == class { SIGNAL } else { 0.0 } + normal(&mut rng))
                .collect();
            truth.push(class as u32);
            let models = [(NOISE + self.noise, self.sureness), (NOISE, 1.0)];
            for (answers, (noise, sureness)) in answers.iter_mut().zip(models) {
                // The posterior of normal evidence of that variance, when `sureness` is 1.
                let scale = sureness * SIGNAL / (1.0 + noise);
                let odds = evidence
                    .iter()
                    .map(|x| (scale * (x + noise.sqrt() * normal(&mut rng))).exp())
                    .collect::<Vec<_>>();
                let sum: f64 = odds.iter().sum();
                answers.extend(odds.iter().map(|odds| odds / sum));
            }
        }
        answers.map(|answers| {
            Predictions::new(self.classes, truth.clone(), answers, None, None).unwrap()
        })
    }

    /// Shares of studies whose check of the metric passes and fails.
    fn verdicts(self, metric: Metric, limit: f64) -> [f64; 2] {
        let mut counts = [0.0; 2];
        for seed in 0..STUDIES {
            let [candidate, baseline] = self.study(ROWS, seed);
            let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
            let found = non_inferiority(&candidate, &baseline, metric, None, limit, &bootstrap);
            match found.unwrap().verdict {
                NonInferiorityVerdict::Holds => counts[0] += 1.0,
                NonInferiorityVerdict::Fails => counts[1] += 1.0,
                NonInferiorityVerdict::Undecidable { .. } => {}
            }
        }
        counts.map(|count| count / STUDIES as f64)
    }
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (radius, turn): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
}

#[test]
fn the_simulated_candidates_are_at_the_limits() {
    for ((metric, limit), candidates) in LIMITS.into_iter().zip([LESS_RIGHT, TOO_SURE]) {
        for candidate in candidates {
            let [ours, theirs] = candidate.study(400_000, 1).map(|p| metric.score(&p, None));
            let worse = (ours.unwrap() - theirs.unwrap()).abs();
            // Rows inflate the baseline's calibration error, which is 0: by 0.002, as many as they are.
            assert_close(worse, limit, 3e-3, &format!("{metric}, {} classes", candidate.classes));
        }
    }
}

/// Of candidates that are worse by exactly the limit, about one in twenty passes the check, and so
/// no more pass the gate. (In 2,000 other studies of 433 rows 4.6 to 6.6 %,
/// in 2,000 of 1,500 rows 4.7 to 5.3 %.)
#[test]
fn what_is_at_the_limit_rarely_passes() {
    for ((metric, limit), candidates) in LIMITS.into_iter().zip([LESS_RIGHT, TOO_SURE]) {
        for candidate in candidates {
            let [passed, _] = candidate.verdicts(metric, limit);
            // 5 % and three standard errors of 300 studies.
            assert!(passed <= 0.088, "{metric}, {} classes: {passed}", candidate.classes);
        }
    }
}

/// What an equally good candidate has to fear on few rows, as the guide says.
#[test]
fn what_is_equally_good_is_seldom_said_to_be_worse() {
    for candidate in [equal(2), equal(5)] {
        for ((metric, limit), most) in LIMITS.into_iter().zip([0.25, 0.05]) {
            let [_, failed] = candidate.verdicts(metric, limit);
            assert!(failed <= most, "{metric}, {} classes: {failed}", candidate.classes);
        }
    }
}
