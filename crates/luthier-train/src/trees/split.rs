//! The best split of a leaf.

use multiversion::multiversion;

use super::bins::{BinnedColumn, Content};
use super::histogram::Sums;
use super::{CategoryRules, LeafRules};

/// A way to part the rows of a leaf.
#[derive(Debug, Clone)]
pub(crate) struct Split {
    /// By how much the loss falls, beyond the least that it must.
    pub(crate) gain: f64,
    /// Place of the column among the binned ones.
    pub(crate) column: usize,
    /// Which bins go left.
    pub(crate) test: Test,
    /// Sums of what goes left.
    pub(crate) left: Sums,
    /// Values of the two leaves, before the learning rate.
    pub(crate) values: [f64; 2],
}

/// Which bins go left.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    /// Those up to and with `bin`, and missing cells where `missing` is set.
    UpTo { bin: usize, missing: bool },
    /// These.
    Among(Vec<usize>),
}

/// What a search has to know of a leaf.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeafState {
    /// Sums over its rows.
    pub(crate) sums: Sums,
    /// Number of its rows.
    pub(crate) rows: usize,
    /// What its value may be.
    pub(crate) bounds: [f64; 2],
}

impl LeafState {
    /// The least sum of hessians of a child. Histograms have no counts of rows: how many there are is
    /// told from their share of the hessian, as LightGBM does.
    fn floor(&self, rules: &LeafRules) -> f64 {
        let rows = (rules.min_rows as f64 - 0.5).max(0.5);
        rules.min_weight.max(rows * self.sums[1] / self.rows as f64)
    }

    fn bounded(&self) -> bool {
        self.bounds != UNBOUNDED
    }
}

/// Any value.
pub(crate) const UNBOUNDED: [f64; 2] = [f64::NEG_INFINITY, f64::INFINITY];

/// The value of a leaf of such `sums`.
pub(crate) fn value([gradient, hessian]: Sums, l1: f64, l2: f64, bounds: [f64; 2]) -> f64 {
    let value = -shrunk(gradient, l1) / (hessian + l2);
    let value = if value.is_nan() { 0.0 } else { value };
    value.max(bounds[0]).min(bounds[1])
}

/// By how much a leaf of such sums and value lowers the loss, twice.
fn gain_of([gradient, hessian]: Sums, value: f64, l1: f64, l2: f64) -> f64 {
    -(2.0 * shrunk(gradient, l1) * value + (hessian + l2) * value * value)
}

#[inline(always)]
fn shrunk(gradient: f64, l1: f64) -> f64 {
    (gradient.abs() - l1).max(0.0).copysign(gradient)
}

fn rest(total: Sums, part: Sums) -> Sums {
    [total[0] - part[0], total[1] - part[1]]
}

/// The best split by the column at `place`, of which `bins` are the sums.
pub(crate) fn best(
    place: usize,
    column: &BinnedColumn,
    bins: &[Sums],
    leaf: &LeafState,
    rules: &LeafRules,
    monotone: i8,
) -> Option<Split> {
    let own = value(leaf.sums, rules.l1, rules.l2, leaf.bounds);
    let search = Search {
        place,
        column,
        bins,
        leaf,
        rules,
        monotone,
        floor: leaf.floor(rules),
        base: gain_of(leaf.sums, own, rules.l1, rules.l2) + rules.min_gain,
    };
    match &column.content {
        Content::Numbers(_) => search.numbers(),
        Content::Categories { rare, .. } => search.categories(*rare, &rules.categories),
    }
}

struct Search<'a> {
    place: usize,
    column: &'a BinnedColumn,
    bins: &'a [Sums],
    leaf: &'a LeafState,
    rules: &'a LeafRules,
    monotone: i8,
    /// The least sum of hessians of a child.
    floor: f64,
    /// What the children's gains must be above.
    base: f64,
}

impl Search<'_> {
    fn numbers(&self) -> Option<Split> {
        let present = &self.bins[..self.column.present()];
        let missing = self.column.missing.map_or([0.0; 2], |bin| self.bins[bin]);
        let any_missing = missing[1] > 0.0;
        // Without missing rows at the end of the scan, nothing would be left for the right.
        let ends = if any_missing { present.len() } else { present.len() - 1 };
        let right = self.scan(&present[..ends], [0.0; 2]);
        let left = if any_missing {
            self.scan(&present[..present.len() - 1], missing)
        } else {
            (f64::NEG_INFINITY, 0)
        };
        let missing_left = left.0 > right.0;
        let (gain, bin) = if missing_left { left } else { right };
        if gain.is_nan() || gain <= self.base {
            return None;
        }
        let mut sums = if missing_left { missing } else { [0.0; 2] };
        for bin in &present[..=bin] {
            sums = [sums[0] + bin[0], sums[1] + bin[1]];
        }
        // What the leaf does not know goes with the greater part.
        let greater = sums[1] * 2.0 > self.leaf.sums[1];
        let missing = if any_missing { missing_left } else { greater };
        Some(self.split(gain, Test::UpTo { bin, missing }, sums, self.rules.l2))
    }

    /// The greatest gain of a split after one of `bins`, and after which.
    fn scan(&self, bins: &[Sums], start: Sums) -> (f64, usize) {
        if self.monotone == 0 && !self.leaf.bounded() {
            let LeafRules { l1, l2, .. } = *self.rules;
            return best_prefix(bins, start, self.leaf.sums, [l1, l2, self.floor]);
        }
        let (mut left, mut best) = (start, (f64::NEG_INFINITY, 0));
        for (at, bin) in bins.iter().enumerate() {
            left = [left[0] + bin[0], left[1] + bin[1]];
            let gain = self.gain(left, self.rules.l2);
            if gain > best.0 {
                best = (gain, at);
            }
        }
        best
    }

    /// The gain of the children where `left` goes left, −∞ where that must not be.
    fn gain(&self, left: Sums, l2: f64) -> f64 {
        let right = rest(self.leaf.sums, left);
        if left[1] < self.floor || right[1] < self.floor {
            return f64::NEG_INFINITY;
        }
        let [low, high] = self.values(left, l2);
        if f64::from(self.monotone) * (high - low) < 0.0 {
            return f64::NEG_INFINITY;
        }
        gain_of(left, low, self.rules.l1, l2) + gain_of(right, high, self.rules.l1, l2)
    }

    fn values(&self, left: Sums, l2: f64) -> [f64; 2] {
        [left, rest(self.leaf.sums, left)]
            .map(|sums| value(sums, self.rules.l1, l2, self.leaf.bounds))
    }

    fn split(&self, gain: f64, test: Test, left: Sums, l2: f64) -> Split {
        let values = self.values(left, l2);
        Split { gain: gain - self.base, column: self.place, test, left, values }
    }

    fn categories(&self, rare: Option<usize>, rules: &CategoryRules) -> Option<Split> {
        // Rows of rare categories are never told apart from what training has not seen: they go right.
        let bins = (0..self.column.bins).filter(|bin| Some(*bin) != rare);
        if self.column.bins <= rules.one_versus_rest {
            self.one_versus_rest(bins)
        } else {
            self.many_versus_many(bins, rules)
        }
    }

    fn one_versus_rest(&self, bins: impl Iterator<Item = usize>) -> Option<Split> {
        let l2 = self.rules.l2;
        let gains = bins.map(|bin| (self.gain(self.bins[bin], l2), bin));
        let (gain, bin) =
            gains.fold(
                (self.base, None),
                |best, (gain, bin)| {
                    if gain > best.0 { (gain, Some(bin)) } else { best }
                },
            );
        let bin = bin?;
        Some(self.split(gain, Test::Among(vec![bin]), self.bins[bin], l2))
    }

    /// Categories sorted by their mean gradient: one of the best two-way partitions is a prefix
    /// (Fisher 1958). Small categories are left out, means are smoothed, prefixes are not long and
    /// grow by groups of rows, all as in LightGBM, since partitions of many categories overfit.
    fn many_versus_many(
        &self,
        bins: impl Iterator<Item = usize>,
        rules: &CategoryRules,
    ) -> Option<Split> {
        let l2 = self.rules.l2 + rules.l2;
        let per_row = self.leaf.rows as f64 / self.leaf.sums[1];
        let rows = |sums: Sums| sums[1] * per_row;
        let mut order: Vec<usize> =
            bins.filter(|bin| rows(self.bins[*bin]).round() >= rules.smoothing).collect();
        let mean = |bin: usize| self.bins[bin][0] / (self.bins[bin][1] + rules.smoothing);
        order.sort_by(|a, b| mean(*a).total_cmp(&mean(*b)));
        let longest = rules.most.min(order.len().div_ceil(2));
        let mut best: Option<(f64, Sums, Vec<usize>)> = None;
        for backward in [false, true] {
            if backward {
                order.reverse();
            }
            let (mut left, mut group) = ([0.0; 2], 0.0);
            for (at, bin) in order.iter().enumerate().take(longest) {
                let sums = self.bins[*bin];
                left = [left[0] + sums[0], left[1] + sums[1]];
                group += rows(sums);
                if rows(rest(self.leaf.sums, left)) < rules.group_rows {
                    break;
                }
                if group < rules.group_rows {
                    continue;
                }
                let gain = self.gain(left, l2);
                if gain > best.as_ref().map_or(self.base, |best| best.0) {
                    best = Some((gain, left, order[..=at].to_vec()));
                }
                if gain > f64::NEG_INFINITY {
                    group = 0.0;
                }
            }
        }
        let (gain, left, mut members) = best?;
        members.sort_unstable();
        Some(self.split(gain, Test::Among(members), left, l2))
    }
}

/// Bins that are worked on at a time.
const LANES: usize = 32;
/// Greatest gains that are kept side by side.
const WIDE: usize = 8;

/// The greatest gain of a split after one of `bins`, to the left of which there is `start` too, and
/// after which bin. Gains are those of children without bounds, at least `floor` of hessian each.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn best_prefix(bins: &[Sums], start: Sums, total: Sums, [l1, l2, floor]: [f64; 3]) -> (f64, usize) {
    let mut best = (f64::NEG_INFINITY, 0);
    let mut sums = start;
    let (mut gradients, mut hessians) = ([0.0; LANES], [0.0; LANES]);
    for (block, bins) in bins.chunks(LANES).enumerate() {
        hessians[bins.len()..].fill(0.0);
        for (bin, (gradient, hessian)) in bins.iter().zip(gradients.iter_mut().zip(&mut hessians)) {
            sums = [sums[0] + bin[0], sums[1] + bin[1]];
            (*gradient, *hessian) = (sums[0], sums[1]);
        }
        let mut gains = [0.0; LANES];
        let mut greatest = [f64::NEG_INFINITY; WIDE];
        for at in 0..LANES {
            let (left, right) = (gradients[at], total[0] - gradients[at]);
            let (left_weight, right_weight) = (hessians[at], total[1] - hessians[at]);
            let left = (left.abs() - l1).max(0.0);
            let right = (right.abs() - l1).max(0.0);
            let (a, b) = (left_weight + l2, right_weight + l2);
            let gain = (left * left * b + right * right * a) / (a * b);
            let allowed = (left_weight >= floor) & (right_weight >= floor);
            gains[at] = if allowed { gain } else { f64::NEG_INFINITY };
        }
        for gains in gains.chunks_exact(WIDE) {
            for (greatest, gain) in greatest.iter_mut().zip(gains) {
                *greatest = if *gain > *greatest { *gain } else { *greatest };
            }
        }
        let greatest = greatest.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if greatest > best.0 {
            let at = gains.iter().position(|gain| *gain == greatest).unwrap_or(0);
            best = (greatest, block * LANES + at);
        }
    }
    best
}
