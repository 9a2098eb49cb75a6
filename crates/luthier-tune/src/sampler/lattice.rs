//! Counting the configurations of a finite space.

use super::axis::Axis;
use super::frame::{Frame, Point};

/// Coordinates that are looked at in search of all configurations that keep the constraints. Spaces
/// for which these are not enough count as infinite.
const LOOKED_AT: usize = 1 << 14;

/// A one-to-one map between the configurations of a finite space, conditional branches included, and
/// the integers below [`Lattice::size`]: a mixed-radix number whose digits are the dimensions of one
/// branch, each digit of a choice running through the numbers of all its branches in turn. In a space
/// with constraints the numbers that keep them are counted through.
pub(super) struct Lattice<'a> {
    frame: &'a Frame<'a>,
    levels: Vec<Levels>,
    /// Dimensions without a condition.
    roots: Vec<usize>,
    /// Dimensions that hang on each option of each dimension; one that hangs on several options is
    /// there under each.
    children: Vec<Vec<Vec<usize>>>,
    /// Number of configurations of each dimension with all that hangs on it.
    sizes: Vec<u64>,
    /// Number of configurations, constraints not considered.
    full: u64,
    /// Those of them that keep the constraints, ascending, if these were looked at.
    kept: Option<Vec<u64>>,
}

/// The coordinates that a dimension takes on the lattice.
enum Levels {
    /// All it has.
    All(u64),
    /// A selection, ascending.
    Points(Vec<f64>),
}

impl<'a> Lattice<'a> {
    /// All configurations that keep the constraints; `None` if there are infinitely many or more
    /// than 2⁶⁴, or too many to tell which these are.
    pub(super) fn all(frame: &'a Frame<'a>) -> Option<Self> {
        let levels = frame.axes.iter().map(|axis| axis.levels().map(Levels::All));
        let lattice = Self::new(frame, levels.collect::<Option<_>>()?)?;
        (lattice.kept.is_some() || frame.space.constraints().is_empty()).then_some(lattice)
    }

    /// A grid with `points` evenly spaced coordinates on every range that is continuous
    /// or has a curved scale, and all values of the others; `None` if it has more than 2⁶⁴ points.
    /// If they are too many to tell which keep the constraints, those that do not are among them.
    pub(super) fn grid(frame: &'a Frame<'a>, points: u64) -> Option<Self> {
        let levels = frame.axes.iter().map(|axis| match (axis, axis.levels()) {
            (Axis::Range(range), levels)
                if levels.is_none_or(|n| range.is_curved() && n > points) =>
            {
                let (first, last) = range.ends();
                let gap = (last - first) / points.saturating_sub(1).max(1) as f64;
                let start = if points == 1 { first + (last - first) / 2.0 } else { first };
                let mut points: Vec<f64> =
                    (0..points).map(|i| range.snap(start + i as f64 * gap)).collect();
                points.dedup();
                Levels::Points(points)
            }
            (_, levels) => Levels::All(levels.unwrap_or(0)),
        });
        Self::new(frame, levels.collect())
    }

    fn new(frame: &'a Frame<'a>, levels: Vec<Levels>) -> Option<Self> {
        let count = |axis: &Axis| match axis {
            Axis::Choice(options) => options.len(),
            _ => 1,
        };
        let mut roots = Vec::new();
        let mut children: Vec<Vec<Vec<usize>>> =
            frame.axes.iter().map(|axis| vec![Vec::new(); count(axis)]).collect();
        for (index, dimension) in frame.space.dimensions().iter().enumerate() {
            let Some(condition) = &dimension.condition else {
                roots.push(index);
                continue;
            };
            for option in condition.options() {
                children[condition.parent()].get_mut(*option)?.push(index);
            }
        }
        let sizes = vec![0; frame.axes.len()];
        let mut lattice = Self { frame, levels, roots, children, sizes, full: 0, kept: None };
        for index in (0..lattice.sizes.len()).rev() {
            lattice.sizes[index] = lattice.size_of(index)?;
        }
        lattice.full = lattice.product(&lattice.roots)?;
        if !frame.space.constraints().is_empty() {
            lattice.kept = lattice.keeping();
        }
        Some(lattice)
    }

    /// The numbers of all configurations that keep the constraints, ascending; `None` if that is too
    /// much to look at. Dimensions are set front to back, and constraints are checked on the way.
    fn keeping(&self) -> Option<Vec<u64>> {
        let end = self.sizes.len();
        let mut point = vec![f64::NAN; end];
        // The level that is next in each dimension.
        let mut next = vec![0u64; end];
        let (mut index, mut looked_at, mut kept) = (0, 0, Vec::new());
        while looked_at < LOOKED_AT {
            if index == end {
                kept.extend(self.rank_of(&self.roots, &point));
            } else {
                let active = self.frame.is_active(index, &point);
                let level = next[index];
                if level < if active { self.levels(index) } else { 1 } {
                    point[index] = if active { self.coordinate(index, level) } else { f64::NAN };
                    next[index] += 1;
                    looked_at += 1;
                    index += usize::from(self.frame.may_allow(&point, index));
                    continue;
                }
                next[index] = 0;
            }
            match index.checked_sub(1) {
                Some(before) => index = before,
                None => {
                    kept.sort_unstable();
                    return Some(kept);
                }
            }
        }
        None
    }

    /// Number of configurations.
    pub(super) fn size(&self) -> u64 {
        self.kept.as_ref().map_or(self.full, |kept| kept.len() as u64)
    }

    /// The configuration with this number, which is below [`Lattice::size`].
    pub(super) fn point(&self, rank: u64) -> Point {
        let rank = self.kept.as_ref().map_or(rank, |kept| kept[rank as usize]);
        let mut point = vec![f64::NAN; self.sizes.len()];
        self.place(&self.roots, rank, &mut point);
        point
    }

    /// The number of a configuration; `None` if it is not on the lattice.
    pub(super) fn rank(&self, point: &[f64]) -> Option<u64> {
        let rank = self.rank_of(&self.roots, point)?;
        match &self.kept {
            Some(kept) => kept.binary_search(&rank).ok().map(|place| place as u64),
            None => Some(rank),
        }
    }

    /// Number of coordinates of a dimension on its own.
    fn levels(&self, index: usize) -> u64 {
        match &self.levels[index] {
            Levels::All(count) => *count,
            Levels::Points(points) => points.len() as u64,
        }
    }

    fn coordinate(&self, index: usize, level: u64) -> f64 {
        match &self.levels[index] {
            Levels::All(_) => self.frame.axes[index].at_level(level),
            Levels::Points(points) => points[level as usize],
        }
    }

    fn size_of(&self, index: usize) -> Option<u64> {
        match &self.frame.axes[index] {
            Axis::Choice(_) => {
                let branches = self.children[index].iter();
                branches
                    .map(|branch| self.product(branch))
                    .try_fold(0, |sum: u64, size| sum.checked_add(size?))
            }
            _ => Some(self.levels(index)),
        }
    }

    /// Number of configurations of dimensions that are active together.
    fn product(&self, dimensions: &[usize]) -> Option<u64> {
        dimensions.iter().try_fold(1u64, |product, &index| product.checked_mul(self.sizes[index]))
    }

    fn place(&self, dimensions: &[usize], mut rank: u64, point: &mut Point) {
        for &index in dimensions {
            let mut digit = rank % self.sizes[index].max(1);
            rank /= self.sizes[index].max(1);
            if !matches!(self.frame.axes[index], Axis::Choice(_)) {
                point[index] = self.coordinate(index, digit);
                continue;
            }
            for (option, branch) in self.children[index].iter().enumerate() {
                let size = self.product(branch).unwrap_or(0);
                if digit < size {
                    point[index] = option as f64;
                    self.place(branch, digit, point);
                    break;
                }
                digit -= size;
            }
        }
    }

    fn rank_of(&self, dimensions: &[usize], point: &[f64]) -> Option<u64> {
        let (mut rank, mut scale) = (0u64, 1u64);
        for &index in dimensions {
            let digit = match (&self.frame.axes[index], &self.levels[index]) {
                // An open space has configurations without it, which are not on the lattice.
                _ if point[index].is_nan() => return None,
                (Axis::Choice(_), _) => {
                    let option = point[index] as usize;
                    let before = self.children[index].get(..option)?.iter();
                    let skipped: u64 = before.filter_map(|branch| self.product(branch)).sum();
                    skipped + self.rank_of(&self.children[index][option], point)?
                }
                (axis, Levels::All(_)) => axis.level(point[index]),
                (_, Levels::Points(points)) => nearest(points, point[index])?,
            };
            rank += digit * scale;
            scale = scale.saturating_mul(self.sizes[index]);
        }
        Some(rank)
    }
}

/// Index of the point at `coordinate`, which may be off by rounding.
fn nearest(points: &[f64], coordinate: f64) -> Option<u64> {
    let width = points.last()? - points.first()?;
    let tolerance = 1e-9 * width.max(coordinate.abs());
    let after = points.partition_point(|&point| point < coordinate - tolerance);
    let found = points.get(after).is_some_and(|&point| point <= coordinate + tolerance);
    found.then_some(after as u64)
}
