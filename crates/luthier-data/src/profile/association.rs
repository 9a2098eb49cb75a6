//! How much of the label a column alone tells.

use super::columns::{bin, ends};

/// Bins of numbers that are compared with labels.
const BINS: usize = 32;
/// Fewest rows for each bin or category; fewer would tell the label by chance.
const ROWS_PER_BIN: usize = 8;

/// What the rows of a sample are labelled with.
pub(super) enum Labels<'a> {
    Classes { of_row: &'a [f64], count: usize },
    Numbers { of_row: &'a [f64], ranks: Vec<f64> },
}

impl<'a> Labels<'a> {
    pub(super) fn classes(of_row: &'a [f64], count: usize) -> Self {
        Self::Classes { of_row, count }
    }

    pub(super) fn numbers(of_row: &'a [f64]) -> Self {
        Self::Numbers { of_row, ranks: ranks(of_row) }
    }
}

/// See [`super::ColumnProfile::association`]; `None` where rows are too few or labels all the same.
pub(super) fn association(values: &[f32], is_category: bool, labels: &Labels<'_>) -> Option<f64> {
    let (bins, count) = bins(values, is_category);
    if values.len() < count * ROWS_PER_BIN {
        return None;
    }
    let numbers = || values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
    match labels {
        Labels::Classes { of_row, count: classes } => {
            let saved = lambda(&bins, count, of_row, *classes)?;
            if is_category || *classes != 2 {
                return Some(saved);
            }
            Some(gini(&ranks(&numbers()), of_row)?.max(saved))
        }
        Labels::Numbers { of_row, ranks: of_labels } => {
            let explained = correlation_ratio(&bins, count, of_row)?;
            if is_category {
                return Some(explained);
            }
            let ranked = correlation(&ranks(&numbers()), of_labels).map_or(0.0, |r| r * r);
            Some(ranked.max(explained))
        }
    }
}

/// The bin of each value and how many bins there are. Categories and what is missing have their own.
fn bins(values: &[f32], is_category: bool) -> (Vec<usize>, usize) {
    let bins: Vec<usize> = match is_category {
        true => {
            let code = |value: &f32| if value.is_nan() { 0 } else { *value as usize + 1 };
            values.iter().map(code).collect()
        }
        false => {
            let ends = ends(values, (values.len() / ROWS_PER_BIN).clamp(1, BINS));
            values.iter().map(|value| bin(&ends, *value)).collect()
        }
    };
    let mut used = bins.clone();
    used.sort_unstable();
    used.dedup();
    let count = used.len();
    let place = |bin: &usize| used.binary_search(bin).unwrap_or_default();
    (bins.iter().map(place).collect(), count)
}

/// The share of the errors of the commonest class that the commonest class of each bin saves.
fn lambda(bins: &[usize], count: usize, labels: &[f64], classes: usize) -> Option<f64> {
    let mut cells = vec![0u32; count * classes];
    let mut totals = vec![0u32; classes];
    for (bin, label) in bins.iter().zip(labels) {
        cells[bin * classes + *label as usize] += 1;
        totals[*label as usize] += 1;
    }
    let most = |counts: &[u32]| u64::from(counts.iter().max().copied().unwrap_or(0));
    let errors = bins.len() as u64 - most(&totals);
    let left = bins.len() as u64 - cells.chunks_exact(classes).map(most).sum::<u64>();
    (errors > 0).then(|| 1.0 - left as f64 / errors as f64)
}

/// |2 AUC − 1| of the second class by ranks.
fn gini(ranks: &[f64], labels: &[f64]) -> Option<f64> {
    let positives = labels.iter().filter(|label| **label > 0.0).count() as f64;
    let negatives = labels.len() as f64 - positives;
    let of_positives = ranks.iter().zip(labels).filter(|(_, label)| **label > 0.0);
    let sum: f64 = of_positives.map(|(rank, _)| rank).sum();
    let auc = (sum - positives * (positives + 1.0) / 2.0) / (positives * negatives);
    auc.is_finite().then(|| (2.0 * auc - 1.0).abs())
}

/// The share of the labels' variance that lies between bins.
fn correlation_ratio(bins: &[usize], count: usize, labels: &[f64]) -> Option<f64> {
    let mean = labels.iter().sum::<f64>() / labels.len() as f64;
    let mut sums = vec![(0.0, 0.0); count];
    let mut all = 0.0;
    for (bin, label) in bins.iter().zip(labels) {
        sums[*bin].0 += 1.0;
        sums[*bin].1 += label - mean;
        all += (label - mean).powi(2);
    }
    let between: f64 = sums.iter().map(|(rows, sum)| sum * sum / rows).sum();
    (all > 0.0).then(|| (between / all).min(1.0))
}

/// Pearson's correlation.
fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (of_a, of_b) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| f(a - of_a, b - of_b)).sum()
    };
    let spread = (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
    (spread > 0.0).then(|| sum(&|a, b| a * b) / spread)
}

/// The rank of each value from 1, equal ones the mean of theirs; what is missing comes last.
fn ranks(values: &[f64]) -> Vec<f64> {
    let key = |row: &usize| if values[*row].is_nan() { f64::INFINITY } else { values[*row] + 0.0 };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let (mut ranks, mut before) = (vec![0.0; values.len()], 0);
    for equal in order.chunk_by(|a, b| key(a) == key(b)) {
        let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|row| ranks[*row] = rank);
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use luthier_test::assert_close;

    use super::{Labels, association, correlation, gini, lambda, ranks};

    /// `scipy.stats.rankdata`, `sklearn.metrics.roc_auc_score`, `scipy.stats.spearmanr`.
    #[test]
    fn ranks_and_what_follows_from_them() {
        let values = [3.0, 1.0, 3.0, -2.0, f64::NAN, 0.0];
        assert_eq!(ranks(&values), [4.5, 3.0, 4.5, 1.0, 6.0, 2.0]);
        let labels = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        assert_eq!(gini(&ranks(&values), &labels), Some(1.0));
        let labels = [1.0, 1.0, 0.0, 0.0, 1.0, 0.0];
        assert_close(gini(&ranks(&values), &labels).unwrap(), 2.0 * 0.833_333_333 - 1.0, 1e-8, "");
        assert_eq!(gini(&ranks(&values), &[1.0; 6]), None);
        let numbers = [1.0, 2.0, 2.0, 0.5, 9.0, 0.0];
        let spearman = correlation(&ranks(&values), &ranks(&numbers)).unwrap();
        assert_close(spearman, 0.808_823_529_411_764_7, 1e-12, "spearman");
    }

    #[test]
    fn lambda_is_the_share_of_errors_saved() {
        // The table of Goodman and Kruskal's definition: rows are bins.
        let bins = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2];
        let labels = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 2.0, 2.0, 0.0];
        assert_close(lambda(&bins, 3, &labels, 3).unwrap(), 0.5, 1e-12, "6 errors, then 3");
        assert_eq!(lambda(&bins, 3, &[1.0; 10], 2), None);
    }

    #[test]
    fn columns_that_tell_the_label_stand_out() {
        let rows = 2_000;
        let noise = |row: usize| ((row * 7919) % 1009) as f32;
        let classes: Vec<f64> = (0..rows).map(|row| f64::from(u8::from(row % 50 == 0))).collect();
        let numbers: Vec<f64> = (0..rows).map(|row| f64::from(noise(row) / 100.0).exp()).collect();
        let check =
            |value: &dyn Fn(usize) -> f32, is_category, labels: &Labels<'_>, found: bool| {
                let values: Vec<f32> = (0..rows).map(value).collect();
                let share = association(&values, is_category, labels).unwrap();
                assert_eq!(share > 0.98, found, "{share}");
                assert!((0.0..=1.0).contains(&share), "{share}");
            };
        let binary = Labels::classes(&classes, 2);
        let is_positive = |row: usize| classes[row] > 0.0;
        let of_class = |row: usize| noise(row) - if is_positive(row) { 2000.0 } else { 0.0 };
        check(&of_class, false, &binary, true);
        check(&noise, false, &binary, false);
        check(&|row| if is_positive(row) { f32::NAN } else { noise(row) }, false, &binary, true);
        check(&|row| classes[row] as f32, true, &binary, true);
        check(&|row| (row % 7) as f32, true, &binary, false);
        let regression = Labels::numbers(&numbers);
        check(&|row| numbers[row] as f32 * 3.0, false, &regression, true);
        check(&|row| -noise(row), false, &regression, true);
        check(&|row| (row % 97) as f32, false, &regression, false);
        assert_eq!(association(&[1.0; 4], false, &Labels::classes(&[0.0, 1.0, 0.0, 1.0], 2)), None);
    }
}
