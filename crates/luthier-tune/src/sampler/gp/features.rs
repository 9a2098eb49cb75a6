//! Configurations as a Gaussian process sees them.

use super::super::axis::Axis;
use super::super::frame::Frame;

/// What one dimension contributes to the distance between two configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The square of the difference, on a scale on which the range is 1 wide.
    Number,
    /// 1 where the options differ.
    Option,
}

/// A dimension that is not active in a configuration is there all the same: a number at the middle
/// of its range, a choice at an option of its own. So a distance is one between points of one space,
/// whatever branches they are on, and what tells branches apart is the choice above them.
const MIDDLE: f64 = 0.5;
const NO_OPTION: f64 = -1.0;

/// The kinds of all dimensions.
pub(super) fn kinds(frame: &Frame<'_>) -> Vec<Kind> {
    let kind =
        |axis: &Axis| if matches!(axis, Axis::Choice(_)) { Kind::Option } else { Kind::Number };
    frame.axes.iter().map(kind).collect()
}

/// The features of a point, one per dimension.
pub(super) fn features(frame: &Frame<'_>, point: &[f64]) -> Vec<f64> {
    frame.axes.iter().zip(point).map(|(axis, &x)| feature(axis, x)).collect()
}

fn feature(axis: &Axis, coordinate: f64) -> f64 {
    match axis {
        Axis::Fixed(_) => MIDDLE,
        Axis::Choice(_) if coordinate.is_nan() => NO_OPTION,
        Axis::Choice(_) => coordinate,
        Axis::Range(_) if coordinate.is_nan() => MIDDLE,
        Axis::Range(range) => range.share(coordinate),
    }
}

impl Kind {
    /// The contribution of two features.
    #[inline(always)]
    pub(super) fn distance(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Number => (a - b) * (a - b),
            Self::Option => f64::from(u8::from(a != b)),
        }
    }
}
