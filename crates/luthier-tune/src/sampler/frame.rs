//! A whole space in coordinates.

use luthier_space::{Space, Value, Values};
use rand_chacha::ChaCha8Rng;

use super::axis::Axis;

/// Coordinates of one configuration, one per dimension of the space; NaN where a dimension is not
/// active.
pub(super) type Point = Vec<f64>;

/// A space with the axes of its dimensions.
pub(super) struct Frame<'a> {
    pub(super) space: &'a Space,
    pub(super) axes: Vec<Axis>,
}

impl<'a> Frame<'a> {
    /// `None` if a distribution or a condition of the space is faulty, so that it has no values to
    /// speak of.
    pub(super) fn new(space: &'a Space) -> Option<Self> {
        let mut axes: Vec<Axis> = Vec::with_capacity(space.len());
        for dimension in space.dimensions() {
            if dimension.distribution.fault().is_some() {
                return None;
            }
            if let Some(condition) = dimension.condition {
                match axes.get(condition.parent)? {
                    Axis::Choice(options) if condition.option < options.len() => {}
                    _ => return None,
                }
            }
            axes.push(Axis::of(&dimension.distribution));
        }
        Some(Self { space, axes })
    }

    /// Walks the space front to back, asking for the coordinate of each dimension that is active
    /// given those before it; stops at the first `None`.
    pub(super) fn walk(&self, mut pick: impl FnMut(usize, &Axis) -> Option<f64>) -> Option<Point> {
        let mut point = vec![f64::NAN; self.axes.len()];
        for (index, dimension) in self.space.dimensions().iter().enumerate() {
            let active = dimension
                .condition
                .is_none_or(|condition| point[condition.parent] == condition.option as f64);
            if active {
                point[index] = pick(index, &self.axes[index])?;
            }
        }
        Some(point)
    }

    /// A point drawn uniformly, option by option.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> Point {
        self.walk(|_, axis| Some(axis.draw(rng))).unwrap_or_default()
    }

    /// The point of `values`; `None` if they do not fit the space.
    pub(super) fn encode(&self, values: &Values) -> Option<Point> {
        // Values stand in the order of the space, so the next one is nearly always the right one.
        let mut rest = values.iter();
        let mut find = |name: &str| -> Option<&Value> {
            match rest.next() {
                Some((next, value)) if next == name => Some(value),
                _ => values.get(name),
            }
        };
        let dimensions = self.space.dimensions();
        self.walk(|index, axis| axis.coordinate(find(&dimensions[index].name)?))
    }

    /// Whether a continuous dimension is active.
    pub(super) fn is_continuous(&self, point: &[f64]) -> bool {
        self.axes.iter().zip(point).any(|(axis, x)| !x.is_nan() && axis.levels().is_none())
    }

    /// The values of `point`.
    pub(super) fn decode(&self, point: &[f64]) -> Values {
        let named = self.space.dimensions().iter().zip(&self.axes).zip(point);
        let active = named.filter(|(_, coordinate)| !coordinate.is_nan());
        active.map(|((dimension, axis), &x)| (dimension.name.clone(), axis.value(x))).collect()
    }
}
