//! A whole space in coordinates.

use luthier_space::{Constraint, Dimension, Known, Space, Value, Values};
use rand_chacha::ChaCha8Rng;

use super::axis::Axis;

/// Coordinates of one configuration, one per dimension of the space; NaN where a dimension is not
/// active.
pub(super) type Point = Vec<f64>;

/// Draws of whole points until one keeps the constraints, after which the dimensions are drawn in
/// turn: so often each, and so often all of them.
const DRAWS: usize = 64;
const DRAWS_EACH: usize = 64;
const DRAWS_IN_TURN: usize = 1000;

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
            if let Some(condition) = &dimension.condition {
                let Axis::Choice(options) = axes.get(condition.parent())? else { return None };
                if condition.options().iter().any(|option| *option >= options.len()) {
                    return None;
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
        for (index, (dimension, axis)) in self.space.dimensions().iter().zip(&self.axes).enumerate()
        {
            if is_active(dimension, &point) {
                point[index] = pick(index, axis)?;
            }
        }
        Some(point)
    }

    /// Whether a dimension is active, given those before it.
    pub(super) fn is_active(&self, index: usize, point: &[f64]) -> bool {
        is_active(&self.space.dimensions()[index], point)
    }

    /// A point drawn uniformly, option by option, from those that keep the constraints. Where these
    /// are a small part of all, each dimension is drawn so that it goes with those before it, which
    /// is not uniform any more. `None` if none was found: there are no such points, or they are less
    /// than about a ten-thousandth of what single dimensions may be, given the others.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> Option<Point> {
        let mut whole = (0..DRAWS).filter_map(|_| self.walk(|_, axis| Some(axis.draw(rng))));
        if let Some(point) = whole.find(|point| self.allows(point)) {
            return Some(point);
        }
        (0..DRAWS_IN_TURN).find_map(|_| self.draw_in_turn(|_, axis| axis.draw(rng)))
    }

    /// A walk on which each dimension is drawn until it goes with those before it; `None` if that
    /// takes too long. Without constraints it is a walk.
    pub(super) fn draw_in_turn(&self, mut draw: impl FnMut(usize, &Axis) -> f64) -> Option<Point> {
        let mut point = vec![f64::NAN; self.axes.len()];
        for (index, axis) in self.axes.iter().enumerate() {
            if self.is_active(index, &point) {
                let mut draws = (0..DRAWS_EACH).map(|_| {
                    point[index] = draw(index, axis);
                    self.may_allow(&point, index)
                });
                draws.find(|fits| *fits)?;
            }
        }
        Some(point)
    }

    /// Whether a point keeps the constraints of the space.
    pub(super) fn allows(&self, point: &[f64]) -> bool {
        let mut constraints = self.space.constraints().iter();
        constraints.all(|constraint| {
            constraint.judge(|dimension| self.known(dimension, point)) == Some(true)
        })
    }

    /// Whether a point that is known up to dimension `last` may still become one that keeps the
    /// constraints, as far as those on this dimension tell.
    pub(super) fn may_allow(&self, point: &[f64], last: usize) -> bool {
        let constraints = self.space.constraints().iter();
        let mut on_last = constraints.filter(|c| c.dimensions().any(|dimension| dimension == last));
        on_last.all(|constraint| self.may_keep(constraint, point, last))
    }

    fn may_keep(&self, constraint: &Constraint, point: &[f64], last: usize) -> bool {
        let open = |dimension: usize| dimension > last;
        let conditions = |dimension: usize| self.space.dimensions()[dimension].condition.is_some();
        if constraint.dimensions().any(|dimension| open(dimension) && conditions(dimension)) {
            // It does not apply if the dimension is not active in the end.
            return true;
        }
        let judged = constraint.judge(|dimension| match open(dimension) {
            true => Known::Open,
            false => self.known(dimension, point),
        });
        judged.unwrap_or_else(|| constraint.dimensions().any(open))
    }

    fn known(&self, dimension: usize, point: &[f64]) -> Known<'_> {
        match point[dimension] {
            coordinate if coordinate.is_nan() => Known::Inactive,
            coordinate => Known::Value(self.axes[dimension].value(coordinate)),
        }
    }

    /// The point of `values`; `None` if they do not fit the space. What they lack of an open space is
    /// not active.
    pub(super) fn encode(&self, values: &Values) -> Option<Point> {
        // Values stand in the order of the space, so the next one is nearly always the right one.
        let mut rest = values.iter();
        let mut find = |name: &str| -> Option<&Value> {
            match rest.next() {
                Some((next, value)) if next == name => Some(value),
                _ => values.get(name),
            }
        };
        let (dimensions, open) = (self.space.dimensions(), self.space.is_open());
        self.walk(|index, axis| match find(&dimensions[index].name) {
            None => open.then_some(f64::NAN),
            Some(value) => axis.coordinate(value),
        })
    }

    /// Whether there is a continuous dimension.
    pub(super) fn is_infinite(&self) -> bool {
        self.axes.iter().any(|axis| axis.levels().is_none())
    }

    /// Whether a continuous dimension is active.
    pub(super) fn is_continuous(&self, point: &[f64]) -> bool {
        self.axes.iter().zip(point).any(|(axis, x)| !x.is_nan() && axis.levels().is_none())
    }

    /// The values of `point`.
    pub(super) fn decode(&self, point: &[f64]) -> Values {
        let named = self.space.dimensions().iter().zip(&self.axes).zip(point);
        let active = named.filter(|(_, coordinate)| !coordinate.is_nan());
        active
            .map(|((dimension, axis), &x)| (dimension.name.clone(), axis.value(x).into_owned()))
            .collect()
    }
}

fn is_active(dimension: &Dimension, point: &[f64]) -> bool {
    dimension.condition.as_ref().is_none_or(|condition| {
        let parent = point[condition.parent()];
        !parent.is_nan() && condition.has(parent as usize)
    })
}
