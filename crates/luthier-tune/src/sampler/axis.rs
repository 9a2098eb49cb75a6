//! A dimension as a line of numbers: the coordinates in which samplers think.

use luthier_space::{Distribution, Value};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// One dimension's values as coordinates. Options of a choice are their indices; numbers are
/// themselves, or their logarithms on a logarithmic scale.
pub(super) enum Axis {
    /// The only value, at coordinate 0.
    Fixed(Value),
    /// Unordered options.
    Choice(Vec<Value>),
    /// Numbers.
    Range(Range),
}

/// Numbers between two bounds, all of them or at a fixed distance from each other.
pub(super) struct Range {
    kind: Kind,
    log: bool,
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
}

impl Axis {
    pub(super) fn of(distribution: &Distribution) -> Self {
        let (kind, log) = match *distribution {
            Distribution::Choice { ref options } => return Self::Choice(options.clone()),
            Distribution::Float { low, high, log, step: None } => (Kind::Real { low, high }, log),
            Distribution::Float { low, high, log, step: Some(step) } => {
                let levels = distribution.cardinality().unwrap_or(1);
                (Kind::Stepped { low, high, step, levels }, log)
            }
            Distribution::Int { low, high, log, step } => {
                let gaps = low.abs_diff(high) / step.unsigned_abs();
                (Kind::Integer { low, step, levels: gaps.saturating_add(1) }, log)
            }
        };
        if kind.levels() == Some(1) {
            return Self::Fixed(kind.value(0));
        }
        let (low, high) = match kind {
            Kind::Real { low, high } => (low, high),
            Kind::Stepped { .. } | Kind::Integer { .. } => {
                let last = kind.levels().map_or(0, |levels| levels - 1);
                (kind.number(0) - kind.step() / 2.0, kind.number(last) + kind.step() / 2.0)
            }
        };
        let (low, high) = if log { (low.ln(), high.ln()) } else { (low, high) };
        if high > low && (high - low).is_finite() {
            return Self::Range(Range { kind, log, low, high });
        }
        // Too narrow to tell its ends apart in logarithms, or too wide for a width.
        Self::Fixed(kind.value(0))
    }

    /// The coordinate of `value`, if it is one of the dimension's values.
    pub(super) fn coordinate(&self, value: &Value) -> Option<f64> {
        match self {
            Self::Fixed(only) => (only == value).then_some(0.0),
            Self::Choice(options) => Some(options.iter().position(|o| o == value)? as f64),
            Self::Range(range) => range.coordinate(value),
        }
    }

    /// The value at a coordinate.
    pub(super) fn value(&self, coordinate: f64) -> Value {
        match self {
            Self::Fixed(only) => only.clone(),
            Self::Choice(options) => options[coordinate as usize].clone(),
            Self::Range(range) => range.value(coordinate),
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
            Self::Range(range) => range.snap(range.low + share * (range.high - range.low)),
        }
    }

    /// Number of distinct coordinates; `None` for a continuous range.
    pub(super) fn levels(&self) -> Option<u64> {
        match self {
            Self::Fixed(_) => Some(1),
            Self::Choice(options) => Some(options.len() as u64),
            Self::Range(range) => range.kind.levels(),
        }
    }

    /// The coordinate of the `level`-th value, in ascending order.
    pub(super) fn at_level(&self, level: u64) -> f64 {
        match self {
            Self::Fixed(_) => 0.0,
            Self::Choice(_) => level as f64,
            Self::Range(range) => range.scale(range.kind.number(level)),
        }
    }

    /// The inverse of [`Axis::at_level`].
    pub(super) fn level(&self, coordinate: f64) -> u64 {
        match self {
            Self::Fixed(_) => 0,
            Self::Choice(_) => coordinate as u64,
            Self::Range(range) => range.kind.nearest(range.unscale(coordinate)),
        }
    }
}

impl Range {
    fn coordinate(&self, value: &Value) -> Option<f64> {
        let number = match (&self.kind, value) {
            (Kind::Integer { low, step, levels }, &Value::Int(x)) => {
                let offset = i128::from(x) - i128::from(*low);
                let step = i128::from(*step);
                let inside = (0..i128::from(*levels)).contains(&(offset / step));
                (inside && offset % step == 0).then_some(x as f64)?
            }
            (&Kind::Real { low, high }, &Value::Float(x)) => {
                (low..=high).contains(&x).then_some(x)?
            }
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

    /// Coordinates of the lowest and the highest value.
    pub(super) fn ends(&self) -> (f64, f64) {
        (self.snap(self.low), self.snap(self.high))
    }

    /// Whether coordinates are logarithms.
    pub(super) fn is_log(&self) -> bool {
        self.log
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
        if self.log { number.ln() } else { number }
    }

    fn unscale(&self, coordinate: f64) -> f64 {
        if self.log { coordinate.exp() } else { coordinate }
    }
}

impl Kind {
    fn levels(&self) -> Option<u64> {
        match *self {
            Self::Real { .. } => None,
            Self::Stepped { levels, .. } | Self::Integer { levels, .. } => Some(levels),
        }
    }

    fn step(&self) -> f64 {
        match *self {
            Self::Real { .. } => 0.0,
            Self::Stepped { step, .. } => step,
            Self::Integer { step, .. } => step as f64,
        }
    }

    /// The number at `level`, as far as a float can tell.
    fn number(&self, level: u64) -> f64 {
        match *self {
            Self::Real { low, .. } => low,
            Self::Stepped { low, high, step, .. } => (low + level as f64 * step).min(high),
            Self::Integer { .. } => self.integer(level) as f64,
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
        };
        // The cast saturates, which also sends a NaN to the first level.
        (((number - low) / self.step()).round() as u64).min(levels - 1)
    }

    fn value(&self, level: u64) -> Value {
        match self {
            Self::Integer { .. } => Value::Int(self.integer(level)),
            _ => Value::Float(self.number(level)),
        }
    }
}
