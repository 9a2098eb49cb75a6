//! What no point of a front dominates, cut into boxes.

use std::cmp::Ordering;

/// The losses between two corners; the lower one may be infinite.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LossBox {
    pub(super) low: Vec<f64>,
    pub(super) high: Vec<f64>,
}

/// Boxes without overlap that make up everything that is below `reference` in each objective and
/// that no point of `front` dominates: with two or three objectives no more than a few for each point
/// (Lacour et al. 2017, turned upside down as by Yang et al. 2019). The points are below the
/// reference and none of them dominates another.
pub(super) fn free_boxes(front: &[Vec<f64>], reference: &[f64]) -> Vec<LossBox> {
    // The upper bounds of what is free are, upside down, points whose dominated part is it.
    let uppers = local_bounds(front, reference);
    let turned: Vec<Vec<f64>> = uppers.iter().map(|bound| turn(&bound.corner)).collect();
    let nowhere = vec![f64::INFINITY; reference.len()];
    local_bounds(&turned, &nowhere).iter().filter_map(Bound::turned_box).collect()
}

/// The corner of a region that holds no point of a set, as large as can be.
#[derive(Debug, Clone)]
struct Bound {
    corner: Vec<f64>,
    /// For each objective the point that bounds the region there.
    points: Vec<Vec<f64>>,
}

/// The corners of all largest regions below `reference` that are open to below and hold no point.
fn local_bounds(points: &[Vec<f64>], reference: &[f64]) -> Vec<Bound> {
    let size = reference.len();
    let outside = |objective: usize| {
        let mut point = vec![f64::NEG_INFINITY; size];
        point[objective] = reference[objective];
        point
    };
    let points_outside = (0..size).map(outside).collect();
    let mut bounds = vec![Bound { corner: reference.to_vec(), points: points_outside }];
    let mut sorted: Vec<&Vec<f64>> = points.iter().collect();
    sorted.sort_by(|a, b| {
        let orders = a.iter().zip(*b).map(|(a, b)| a.total_cmp(b));
        orders.fold(Ordering::Equal, Ordering::then)
    });
    for point in sorted {
        let inside = |bound: &Bound| point.iter().zip(&bound.corner).all(|(x, end)| x < end);
        let (cut, mut kept): (Vec<Bound>, Vec<Bound>) = bounds.into_iter().partition(inside);
        kept.extend(cut.iter().flat_map(|bound| bound.cut(point)));
        bounds = kept;
    }
    bounds
}

impl Bound {
    /// The regions that are left of this one when a point takes away all above it, given that no
    /// point with a lower first objective is still to come.
    fn cut(&self, point: &[f64]) -> Vec<Self> {
        let size = self.corner.len();
        let needed = |objective: usize| {
            let others = (0..size).filter(|other| *other != objective);
            let farthest =
                others.map(|other| self.points[other][objective]).fold(f64::NEG_INFINITY, f64::max);
            objective == 0 || point[objective] >= farthest
        };
        let part = |objective: usize| {
            let mut part = self.clone();
            part.corner[objective] = point[objective];
            part.points[objective] = point.to_vec();
            part
        };
        (0..size).filter(|objective| needed(*objective)).map(part).collect()
    }

    /// The box that belongs to this region and no other, upside down; `None` if it is empty.
    fn turned_box(&self) -> Option<LossBox> {
        let size = self.corner.len();
        let low = |objective: usize| {
            let before = self.points[..objective.max(1)].iter();
            before.map(|point| point[objective]).fold(f64::NEG_INFINITY, f64::max)
        };
        let high = |objective| if objective == 0 { f64::INFINITY } else { self.corner[objective] };
        let lows: Vec<f64> = (0..size).map(low).collect();
        let highs: Vec<f64> = (0..size).map(high).collect();
        let solid = lows.iter().zip(&highs).all(|(low, high)| low < high);
        solid.then(|| LossBox { low: turn(&highs), high: turn(&lows) })
    }
}

fn turn(point: &[f64]) -> Vec<f64> {
    point.iter().map(|x| -x).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(found: &LossBox, point: &[f64]) -> bool {
        let sides = found.low.iter().zip(&found.high);
        sides.zip(point).all(|((low, high), x)| low < x && x < high)
    }

    #[test]
    fn every_free_point_is_in_one_box_and_no_other_point_in_any() {
        let mut draw = {
            let mut state = 1u64;
            move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) as f64 / f64::from(1 << 24)
            }
        };
        // On a coarse grid many points are level with others.
        for (size, grid) in [(2, 1e9), (3, 1e9), (4, 1e9), (2, 6.0), (3, 6.0), (4, 6.0)] {
            let points: Vec<Vec<f64>> = (0..25)
                .map(|_| (0..size).map(|_| (draw() * grid).floor() / grid).collect())
                .collect();
            let front = crate::rank::fronts(&points).swap_remove(0);
            let front: Vec<Vec<f64>> = front.into_iter().map(|at| points[at].clone()).collect();
            let boxes = free_boxes(&front, &vec![1.0; size]);
            for _ in 0..2000 {
                let point: Vec<f64> = (0..size).map(|_| 1.2 * draw() - 0.1).collect();
                let below = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a < b);
                let taken = front.iter().any(|other| below(other, &point));
                let free = !taken && below(&point, &vec![1.0; size]);
                let count = boxes.iter().filter(|found| contains(found, &point)).count();
                assert_eq!(count, usize::from(free), "{point:?}");
            }
            assert!(size > 3 || boxes.len() <= 5 * front.len(), "{} boxes", boxes.len());
        }
    }

    #[test]
    fn without_a_front_all_below_the_reference_is_free() {
        let all = LossBox { low: vec![f64::NEG_INFINITY; 2], high: vec![1.0, 2.0] };
        assert_eq!(free_boxes(&[], &[1.0, 2.0]), [all]);
    }
}
