//! How much a set of losses dominates.

use super::{dominates, fronts};

/// The volume of all points that some of `points` dominates and that dominate `reference`. Points
/// that do not dominate the reference add nothing. The cost grows with the power of the number of
/// objectives.
pub(crate) fn volume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    let inside = |point: &&Vec<f64>| point.iter().zip(reference).all(|(x, end)| x < end);
    sliced(points.iter().filter(inside).map(Vec::as_slice).collect(), reference)
}

/// Slice by slice along the last objective: every point in turn adds a slice whose base is what the
/// points up to it dominate in the other objectives.
fn sliced(mut points: Vec<&[f64]>, reference: &[f64]) -> f64 {
    let Some((end, base)) = reference.split_last() else { return 0.0 };
    let depth = |point: &[f64]| point[base.len()];
    if base.is_empty() {
        return points.into_iter().map(|point| end - depth(point)).fold(0.0, f64::max);
    }
    points.sort_by(|a, b| depth(a).total_cmp(&depth(b)));
    let mut below: Vec<&[f64]> = Vec::new();
    let (mut sum, mut area) = (0.0, 0.0);
    for (place, point) in points.iter().enumerate() {
        let next = points.get(place + 1).map_or(*end, |next| depth(next));
        let shadow = &point[..base.len()];
        let hidden = |other: &&[f64]| *other == shadow || dominates(other, shadow);
        if !below.iter().any(hidden) {
            below.retain(|other| !dominates(shadow, other));
            below.push(shadow);
            area = sliced(below.clone(), base);
        }
        sum += area * (next - depth(point));
    }
    sum
}

/// Places of `count` of the points that together dominate about as much as any so many can: each is
/// the one that adds most to those before it, so that at least the share 1 − 1 / e of the most
/// possible is reached (Nemhauser et al. 1978). Of equal points the first is taken.
///
/// With more than three objectives, what a point adds is taken to be what it adds to the nearest of
/// the others alone, since volumes are too expensive.
pub(crate) fn subset(points: &[Vec<f64>], count: usize) -> Vec<usize> {
    let Some(reference) = reference(points) else { return (0..count.min(points.len())).collect() };
    let mut gains: Vec<f64> = points.iter().map(|point| box_volume(point, &reference)).collect();
    let mut left: Vec<usize> = (0..points.len()).collect();
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < count {
        let Some(place) = next_chosen(points, &reference, &chosen, &left, &mut gains) else {
            break;
        };
        let last = left.remove(place);
        chosen.push(last);
        for &index in &left {
            let shared = box_volume(&worse(&points[index], &points[last]), &reference);
            gains[index] = gains[index].min(box_volume(&points[index], &reference) - shared);
        }
    }
    chosen
}

/// The place in `left` of the point that adds most to the chosen ones. `gains` are bounds of what
/// the points add, which never grows as more are chosen, so that only the few with high bounds need
/// to be looked at; theirs are brought up to date.
fn next_chosen(
    points: &[Vec<f64>],
    reference: &[f64],
    chosen: &[usize],
    left: &[usize],
    gains: &mut [f64],
) -> Option<usize> {
    let highest = |gains: &[f64]| {
        let places = 0..left.len();
        places.reduce(|a, b| if gains[left[b]] > gains[left[a]] { b } else { a })
    };
    // With one point chosen the bounds are exact.
    if !(2..=3).contains(&reference.len()) || chosen.len() < 2 {
        return highest(gains);
    }
    let mut exact = vec![false; left.len()];
    loop {
        let place = highest(gains)?;
        if exact[place] {
            return Some(place);
        }
        exact[place] = true;
        let point = &points[left[place]];
        let mut shared: Vec<Vec<f64>> =
            chosen.iter().map(|other| worse(point, &points[*other])).collect();
        let front = fronts(&shared).into_iter().next().unwrap_or_default();
        shared = front.into_iter().map(|index| std::mem::take(&mut shared[index])).collect();
        gains[left[place]] = box_volume(point, reference) - volume(&shared, reference);
    }
}

/// A point a little beyond the worst of each objective, as in Optuna; `None` where something is
/// infinite.
fn reference(points: &[Vec<f64>]) -> Option<Vec<f64>> {
    let first = points.first()?;
    let worst = |objective: usize| {
        points.iter().map(|point| point[objective]).fold(f64::NEG_INFINITY, f64::max)
    };
    let beyond = |worst: f64| if worst == 0.0 { 1e-12 } else { (1.1 * worst).max(0.9 * worst) };
    let reference: Vec<f64> = (0..first.len()).map(|objective| beyond(worst(objective))).collect();
    let finite = points.iter().chain([&reference]).flatten().all(|x| x.is_finite());
    finite.then_some(reference)
}

fn box_volume(point: &[f64], reference: &[f64]) -> f64 {
    point.iter().zip(reference).map(|(x, end)| end - x).product()
}

fn worse(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a.max(*b)).collect()
}

#[cfg(test)]
mod tests {
    use luthier_test::assert_close;

    use super::*;

    #[test]
    fn volumes_are_those_of_boxes_without_what_they_share() {
        let check = |points: &[&[f64]], reference: &[f64], expected: f64| {
            let points: Vec<Vec<f64>> = points.iter().map(|point| point.to_vec()).collect();
            assert_close(volume(&points, reference), expected, 1e-12, "volume");
        };
        check(&[], &[1.0, 1.0], 0.0);
        check(&[&[0.25]], &[1.0], 0.75);
        check(&[&[1.0, 3.0], &[2.0, 2.0], &[3.0, 1.0], &[2.0, 3.0]], &[4.0, 4.0], 6.0);
        check(&[&[0.0, 5.0], &[1.0, 1.0], &[1.0, 1.0]], &[2.0, 2.0], 1.0);
        check(&[&[0.0, 1.0, 1.0], &[1.0, 0.0, 1.0], &[1.0, 1.0, 0.0]], &[2.0; 3], 4.0);
        check(&[&[0.0, 0.0, 0.0, 1.0], &[1.0, 1.0, 1.0, 0.0]], &[2.0; 4], 8.0 + 1.0);
    }

    #[test]
    fn a_subset_is_the_greedy_choice() {
        for objectives in [2, 3] {
            let at = |i: usize, j: usize| ((i * 7919 + j * 104_729 + 13) % 1009) as f64 / 1009.0;
            let point = |i: usize| -> Vec<f64> {
                let length = (0..objectives).map(|j| at(i, j).powi(2)).sum::<f64>().sqrt();
                (0..objectives).map(|j| 1.0 - at(i, j) / length).collect()
            };
            let points: Vec<Vec<f64>> = (0..30).map(point).collect();
            let reference = reference(&points).unwrap();
            let mut greedy: Vec<usize> = Vec::new();
            for _ in 0..8 {
                let volume_with = |more: usize| {
                    let set = greedy.iter().chain([&more]).map(|i| points[*i].clone());
                    volume(&set.collect::<Vec<_>>(), &reference)
                };
                let better = |a: usize, b| {
                    if volume_with(b) > volume_with(a) + 1e-12 { b } else { a }
                };
                greedy.extend((0..30).filter(|i| !greedy.contains(i)).reduce(better));
            }
            assert_eq!(subset(&points, 8), greedy, "{objectives} objectives");
        }
    }

    #[test]
    fn what_is_infinite_or_equal_is_chosen_all_the_same() {
        assert_eq!(subset(&[vec![0.0, f64::INFINITY], vec![1.0, 1.0]], 1), [0]);
        assert_eq!(subset(&vec![vec![1.0, 1.0]; 3], 2), [0, 1]);
        assert_eq!(subset(&[], 2), [0; 0]);
        let many: Vec<Vec<f64>> =
            (0..9).map(|i| (0..5).map(|j| f64::from((i + j) % 5)).collect()).collect();
        assert_eq!(subset(&many, 9).len(), 9);
    }
}
