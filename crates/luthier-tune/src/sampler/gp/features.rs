//! Configurations as a Gaussian process sees them.

use super::super::axis::Axis;
use super::super::frame::Frame;
use super::super::lists::Lists;

/// What one dimension contributes to the distance between two configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The square of the difference, on a scale on which the range is 1 wide.
    Number,
    /// 1 where the options differ.
    Option,
    /// The share of a list's bits, so many, that differ.
    Bits(usize),
}

/// A dimension that is not active in a configuration is there all the same: a number at the middle
/// of its range, a choice at an option of its own, a list where none of its bits is any other's. So a
/// distance is one between points of one space, whatever branches they are on, and what tells branches
/// apart is the choice above them.
const MIDDLE: f64 = 0.5;
const NO_OPTION: f64 = -1.0;
const NO_BITS: f64 = -1.0;

/// The kinds of all features: one for each dimension, and behind these the words of long lists beyond
/// their first.
pub(super) fn kinds(frame: &Frame<'_>) -> Vec<Kind> {
    let first = |axis: &Axis| match axis {
        Axis::Choice(_) => Kind::Option,
        Axis::Lists(lists) => Kind::Bits(lists.words().next().unwrap_or(1)),
        _ => Kind::Number,
    };
    let more = lists(frame).flat_map(|(_, lists)| lists.words().skip(1).map(Kind::Bits));
    frame.axes.iter().map(first).chain(more).collect()
}

/// The features of a point.
pub(super) fn features(frame: &Frame<'_>, point: &[f64]) -> Vec<f64> {
    let mut features: Vec<f64> =
        frame.axes.iter().zip(point).map(|(axis, &x)| feature(axis, x)).collect();
    for (index, lists) in lists(frame) {
        if point[index].is_nan() {
            features[index] = NO_BITS;
            features.extend(lists.words().skip(1).map(|_| NO_BITS));
        } else {
            let mut words = Vec::new();
            lists.write_bits(point[index] as u64, &mut words);
            let mut words = words.into_iter().map(|word| word as f64);
            features[index] = words.next().unwrap_or(0.0);
            features.extend(words);
        }
    }
    features
}

fn lists<'a>(frame: &'a Frame<'_>) -> impl Iterator<Item = (usize, &'a Lists)> {
    frame.axes.iter().enumerate().filter_map(|(index, axis)| match axis {
        Axis::Lists(lists) => Some((index, lists)),
        _ => None,
    })
}

fn feature(axis: &Axis, coordinate: f64) -> f64 {
    match axis {
        Axis::Fixed(_) => MIDDLE,
        Axis::Choice(_) if coordinate.is_nan() => NO_OPTION,
        Axis::Choice(_) | Axis::Lists(_) => coordinate,
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
            Self::Bits(_) if a < 0.0 || b < 0.0 => f64::from(u8::from(a != b)),
            Self::Bits(count) => f64::from((a as u64 ^ b as u64).count_ones()) / count as f64,
        }
    }
}
