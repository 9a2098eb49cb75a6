//! Densities on a few cells from counts, and how far two of them are apart.
//!
//! Constants and bandwidths are those of Optuna 5.

/// The divergence between the densities of two counts in cells that stand in an order.
pub(super) fn of_cells(good: &[usize], all: &[usize]) -> f64 {
    divergence(&smoothed(good), &smoothed(all))
}

/// The divergence between the densities of two counts of options without an order.
pub(super) fn of_options(good: &[usize], all: &[usize]) -> f64 {
    divergence(&levelled(good), &levelled(all))
}

/// Pearson's χ² of one density from another.
fn divergence(good: &[f64], all: &[f64]) -> f64 {
    // Keeps what is next to nothing from being divided by.
    const FLOOR: f64 = 1e-12;
    let pairs = good.iter().zip(all).map(|(good, all)| (good + FLOOR, all + FLOOR));
    pairs.map(|(good, all)| all * (good / all - 1.0).powi(2)).sum()
}

/// The density of counts: a normal kernel at each occupied cell, and one over all of them.
fn smoothed(counts: &[usize]) -> Vec<f64> {
    let last = (counts.len() - 1) as f64;
    let occupied = || counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let total: usize = counts.iter().sum();
    let deviation = bandwidth(counts, total);
    let kernels = occupied().map(|(cell, count)| (cell as f64, deviation, *count as f64));
    let prior = (last / 2.0, last + 1.0, 1.0);
    let mut density = vec![0.0; counts.len()];
    for (mean, deviation, weight) in kernels.chain([prior]) {
        let below = |edge: f64| probability_below((edge - mean) / deviation);
        let inside = below(last + 0.5) - below(-0.5);
        for (cell, density) in density.iter_mut().enumerate() {
            let mass = below(cell as f64 + 0.5) - below(cell as f64 - 0.5);
            *density += weight / (total + 1) as f64 * mass / inside;
        }
    }
    density
}

/// Scott's rule with the quartiles of the counts, at least such that nine tenths of a kernel are in
/// its cell.
fn bandwidth(counts: &[usize], total: usize) -> f64 {
    let sum = total as f64;
    let mean = counts.iter().enumerate().map(|(c, n)| c as f64 * *n as f64).sum::<f64>() / sum;
    let squares: f64 =
        counts.iter().enumerate().map(|(c, n)| (c as f64 - mean).powi(2) * *n as f64).sum();
    let deviation = (squares / (sum - 1.0).max(1.0)).sqrt();
    // The first cell up to which there are so many.
    let cell = |reached: &dyn Fn(usize) -> bool| {
        let mut up_to = 0;
        let first = counts.iter().position(|count| {
            up_to += count;
            *count > 0 && reached(up_to)
        });
        first.or_else(|| counts.iter().rposition(|count| *count > 0)).unwrap_or(0) as f64
    };
    let (quarter, three_quarters) = (total / 4, total * 3 / 4);
    let width = cell(&|up_to| up_to > three_quarters) - cell(&|up_to| up_to >= quarter);
    (1.059 * deviation.min(width / 1.34) * sum.powf(-0.2)).max(0.5 / 1.64)
}

/// The density of counts without an order: a kernel at each option that occurs, which leaves a
/// little for the others, and one over all.
fn levelled(counts: &[usize]) -> Vec<f64> {
    let options = counts.len() as f64;
    let kernels = counts.iter().filter(|count| **count > 0).count() as f64 + 1.0;
    let total: usize = counts.iter().sum();
    let rest = 1.0 / kernels;
    let spread = 1.0 + options * rest;
    let density = |count: &usize| {
        let own = *count as f64;
        (total as f64 * rest / spread + own / spread + 1.0 / options) / (total + 1) as f64
    };
    counts.iter().map(density).collect()
}

/// The standard normal's probability below `x`.
fn probability_below(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}
