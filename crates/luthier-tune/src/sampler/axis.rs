//! A dimension as a line of numbers: the coordinates in which samplers think.

use std::borrow::Cow;

use luthier_space::{Distribution, Scale, Value};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::lists::Lists;

/// One dimension's values as coordinates. Options are their indices, lists their numbers; numbers are
/// themselves, or what their scale makes of them.
pub(super) enum Axis {
    /// The only value, at coordinate 0.
    Fixed(Value),
    /// Unordered options.
    Choice(Vec<Value>),
    /// Numbers, and options in an order.
    Range(Range),
    /// Permutations and subsets.
    Lists(Lists),
}

/// Numbers between two bounds, all of them or at a fixed distance from each other.
pub(super) struct Range {
    kind: Kind,
    scale: Scale,
    /// The lowest and the highest number together, about which the reversed scale is turned.
    ends: f64,
    /// Coordinates where the range begins and ends. Discrete values sit in the middle of cells one
    /// step wide, so the edges are half a step outside the outermost values.
    pub(super) low: f64,
    /// See `low`.
    pub(super) high: f64,
}

enum Kind {
    Real { low: f64, high: f64 },
    Stepped { low: f64, high: f64, step: f64, levels: u64 },
    Integer { low: i64, step: i64, levels: u64 },
    Options(Vec<Value>),
}

impl Axis {
    pub(super) fn of(distribution: &Distribution) -> Self {
        let (kind, scale) = match *distribution {
            Distribution::Choice { ref options } => return Self::Choice(options.clone()),
            Distribution::Ordinal { ref options } => {
                (Kind::Options(options.clone()), Scale::Linear)
            }
            Distribution::Float { low, high, scale, step: None } => {
                (Kind::Real { low, high }, scale)
            }
            Distribution::Float { low, high, scale, step: Some(step) } => {
                let levels = distribution.cardinality().unwrap_or(1);
                (Kind::Stepped { low, high, step, levels }, scale)
            }
            Distribution::Int { low, high, scale, step } => {
                let gaps = low.abs_diff(high) / step.unsigned_abs();
                (Kind::Integer { low, step, levels: gaps.saturating_add(1) }, scale)
            }
            Distribution::Permutation { ref items } => {
                return Self::of_lists(Lists::permutations(items));
            }
            Distribution::Subset { ref items, least, most } => {
                return Self::of_lists(Lists::subsets(items, least, most));
            }
        };
        if kind.levels() == Some(1) {
            return Self::Fixed(kind.value(0));
        }
        let (first, last) = match kind {
            Kind::Real { low, high } => (low, high),
            _ => (kind.number(0), kind.number(kind.levels().map_or(0, |levels| levels - 1))),
        };
        let ends = first + last;
        let half = kind.step() / 2.0;
        let [low, high] = [first - half, last + half].map(|number| scaled(number, scale, ends));
        if high > low && (high - low).is_finite() {
            return Self::Range(Range { kind, scale, ends, low, high });
        }
        // Too narrow to tell its ends apart on its scale, or too wide for a width.
        Self::Fixed(kind.value(0))
    }

    fn of_lists(lists: Lists) -> Self {
        match lists.count() {
            1 => Self::Fixed(lists.value(0)),
            _ => Self::Lists(lists),
        }
    }

    /// The coordinate of `value`, if it is one of the dimension's values.
    pub(super) fn coordinate(&self, value: &Value) -> Option<f64> {
        match self {
            Self::Fixed(only) => (only == value).then_some(0.0),
            Self::Choice(options) => Some(options.iter().position(|o| o == value)? as f64),
            Self::Range(range) => range.coordinate(value),
            Self::Lists(lists) => Some(lists.number(value)? as f64),
        }
    }

    /// The value at a coordinate.
    pub(super) fn value(&self, coordinate: f64) -> Cow<'_, Value> {
        match self {
            Self::Fixed(only) => Cow::Borrowed(only),
            Self::Choice(options) => Cow::Borrowed(&options[coordinate as usize]),
            Self::Range(range) => Cow::Owned(range.value(coordinate)),
            Self::Lists(lists) => Cow::Owned(lists.value(coordinate as u64)),
        }
    }

    /// A coordinate drawn uniformly.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> f64 {
        match self {
            Self::Fixed(_) => 0.0,
            _ => self.at_share(rng.random()),
        }
    }

    /// The coordinate that is so far along the axis, `share` in `[0, 1)`.
    pub(super) fn at_share(&self, share: f64) -> f64 {
        match self {
            Self::Fixed(_) => 0.0,
            Self::Choice(options) => (share * options.len() as f64).floor(),
            Self::Range(range) => range.snap(range.at(share)),
            Self::Lists(lists) => (share * lists.count() as f64).floor(),
        }
    }

    /// Number of distinct coordinates; `None` for a continuous range.
    pub(super) fn levels(&self) -> Option<u64> {
        match self {
            Self::Fixed(_) => Some(1),
            Self::Choice(options) => Some(options.len() as u64),
            Self::Range(range) => range.levels(),
            Self::Lists(lists) => Some(lists.count()),
        }
    }

    /// The coordinate of the `level`-th value, in ascending order.
    pub(super) fn at_level(&self, level: u64) -> f64 {
        match self {
            Self::Fixed(_) => 0.0,
            Self::Choice(_) | Self::Lists(_) => level as f64,
            Self::Range(range) => range.scale(range.kind.number(level)),
        }
    }

    /// The inverse of [`Axis::at_level`].
    pub(super) fn level(&self, coordinate: f64) -> u64 {
        match self {
            Self::Fixed(_) => 0,
            Self::Choice(_) | Self::Lists(_) => coordinate as u64,
            Self::Range(range) => range.level(coordinate),
        }
    }
}

impl Range {
    fn coordinate(&self, value: &Value) -> Option<f64> {
        let number = match (&self.kind, value) {
            (&Kind::Integer { low, step, levels }, &Value::Int(x)) => {
                let (offset, step) = (x.abs_diff(low), step.unsigned_abs());
                let inside = x >= low && offset / step < levels;
                (inside && offset.is_multiple_of(step)).then_some(x as f64)?
            }
            (&Kind::Real { low, high }, &Value::Float(x)) => {
                (low..=high).contains(&x).then_some(x)?
            }
            (Kind::Options(options), value) => options.iter().position(|o| o == value)? as f64,
            (&Kind::Stepped { low, high, .. }, &Value::Float(x)) => {
                let inside = (low..=high).contains(&x);
                inside.then(|| self.kind.number(self.kind.nearest(x)))?
            }
            _ => return None,
        };
        Some(self.scale(number))
    }

    fn value(&self, coordinate: f64) -> Value {
        let number = self.unscale(coordinate);
        match self.kind {
            Kind::Real { low, high } => Value::Float(number.clamp(low, high)),
            _ => self.kind.value(self.kind.nearest(number)),
        }
    }

    /// Number of distinct coordinates; `None` if the range is continuous.
    pub(super) fn levels(&self) -> Option<u64> {
        self.kind.levels()
    }

    /// The place of the value at a coordinate, in ascending order.
    pub(super) fn level(&self, coordinate: f64) -> u64 {
        self.kind.nearest(self.unscale(coordinate))
    }

    /// How far along the range a coordinate is, from 0 at its low end to 1 at its high one.
    pub(super) fn share(&self, coordinate: f64) -> f64 {
        (coordinate - self.low) / (self.high - self.low)
    }

    /// The inverse of [`Range::share`].
    pub(super) fn at(&self, share: f64) -> f64 {
        self.low + share * (self.high - self.low)
    }

    /// Coordinates of the lowest and the highest value.
    pub(super) fn ends(&self) -> (f64, f64) {
        (self.snap(self.low), self.snap(self.high))
    }

    /// Whether equal distances between coordinates are not so between values.
    pub(super) fn is_curved(&self) -> bool {
        self.scale != Scale::Linear
    }

    /// The coordinate nearest to `coordinate` that belongs to a value.
    pub(super) fn snap(&self, coordinate: f64) -> f64 {
        match self.kind {
            Kind::Real { .. } => coordinate.clamp(self.low, self.high),
            _ => self.scale(self.kind.number(self.kind.nearest(self.unscale(coordinate)))),
        }
    }

    /// Whether there is a distance between neighbouring values.
    pub(super) fn is_discrete(&self) -> bool {
        !matches!(self.kind, Kind::Real { .. })
    }

    /// Edges of the cell around a discrete value.
    pub(super) fn cell(&self, coordinate: f64) -> (f64, f64) {
        let (number, half) = (self.unscale(coordinate), self.kind.step() / 2.0);
        (self.scale(number - half), self.scale(number + half))
    }

    fn scale(&self, number: f64) -> f64 {
        scaled(number, self.scale, self.ends)
    }

    fn unscale(&self, coordinate: f64) -> f64 {
        match self.scale {
            Scale::Linear => coordinate,
            Scale::Log => coordinate.exp(),
            Scale::ReverseLog => self.ends - (-coordinate).exp(),
            Scale::Logit => 1.0 / (1.0 + (-coordinate).exp()),
        }
    }
}

/// The coordinate of a number of a range whose `ends` add up to so much.
fn scaled(number: f64, scale: Scale, ends: f64) -> f64 {
    match scale {
        Scale::Linear => number,
        Scale::Log => number.ln(),
        Scale::ReverseLog => -(ends - number).ln(),
        Scale::Logit => (number / (1.0 - number)).ln(),
    }
}

impl Kind {
    fn levels(&self) -> Option<u64> {
        match *self {
            Self::Real { .. } => None,
            Self::Stepped { levels, .. } | Self::Integer { levels, .. } => Some(levels),
            Self::Options(ref options) => Some(options.len() as u64),
        }
    }

    fn step(&self) -> f64 {
        match *self {
            Self::Real { .. } => 0.0,
            Self::Stepped { step, .. } => step,
            Self::Integer { step, .. } => step as f64,
            Self::Options(_) => 1.0,
        }
    }

    /// The number at `level`, as far as a float can tell.
    fn number(&self, level: u64) -> f64 {
        match *self {
            Self::Real { low, .. } => low,
            Self::Stepped { low, high, step, .. } => (low + level as f64 * step).min(high),
            Self::Integer { .. } => self.integer(level) as f64,
            Self::Options(_) => level as f64,
        }
    }

    fn integer(&self, level: u64) -> i64 {
        let Self::Integer { low, step, .. } = *self else { return 0 };
        let exact = i128::from(low) + i128::from(level) * i128::from(step);
        i64::try_from(exact).unwrap_or(i64::MAX)
    }

    /// The level whose number is nearest.
    fn nearest(&self, number: f64) -> u64 {
        let (low, levels) = match *self {
            Self::Real { .. } => return 0,
            Self::Stepped { low, levels, .. } => (low, levels),
            Self::Integer { low, levels, .. } => (low as f64, levels),
            Self::Options(ref options) => (0.0, options.len() as u64),
        };
        // The cast saturates, which also sends a NaN to the first level.
        (((number - low) / self.step()).round() as u64).min(levels - 1)
    }

    fn value(&self, level: u64) -> Value {
        match self {
            Self::Integer { .. } => Value::Int(self.integer(level)),
            Self::Options(options) => options[level as usize].clone(),
            _ => Value::Float(self.number(level)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_range_is_that_of_its_scale() {
        let check = |low: f64, high: f64, scale: Scale, expected: f64| {
            let axis = Axis::of(&Distribution::Float { low, high, scale, step: None });
            let middle = axis.value(axis.at_share(0.5)).as_f64().unwrap();
            assert!((middle - expected).abs() < 1e-9, "{scale:?}: {middle}");
        };
        check(1.0, 100.0, Scale::Linear, 50.5);
        check(1.0, 100.0, Scale::Log, 10.0);
        check(1.0, 100.0, Scale::ReverseLog, 91.0);
        check(0.1, 0.9, Scale::Logit, 0.5);
        check(0.9, 0.9999, Scale::Logit, 1.0 / (1.0 + (9.0f64 * 9999.0).powf(-0.5)));
    }

    #[test]
    fn an_ordinal_is_a_line_of_its_options() {
        let axis = Axis::of(&Distribution::ordinal(["s", "m", "l"]));
        assert_eq!(axis.levels(), Some(3));
        for (level, option) in (0..).zip(["s", "m", "l"]) {
            let coordinate = axis.at_level(level);
            assert_eq!(axis.coordinate(&option.into()), Some(coordinate));
            assert_eq!(*axis.value(coordinate), option.into());
            assert_eq!(axis.level(coordinate), level);
        }
        assert_eq!(axis.coordinate(&"xl".into()), None);
        assert!(matches!(Axis::of(&Distribution::ordinal(["s"])), Axis::Fixed(_)));
    }
}
