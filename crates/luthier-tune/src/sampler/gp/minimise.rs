//! Minimising a smooth function in a box.

use super::super::linear_algebra::{add_scaled, dot};

/// Corrections that are remembered.
const MEMORY: usize = 8;
/// Halvings of a step that did not bring enough.
const HALVINGS: usize = 20;
/// A gradient below this in every direction ends the search.
const FLAT: f64 = 1e-3;
/// A step that lowers the function by less than this share of it ends the search.
const LITTLE: f64 = 1e-6;

/// Searches from `start` for a minimum of `function` between `low` and `high` by L-BFGS (Liu and
/// Nocedal 1989), each step projected into the box. `function` writes its gradient into the second
/// argument. At most `steps` steps are made. Gives the best point found and its value, which is not
/// finite only where that at `start` is not.
pub(super) fn minimise(
    start: &[f64],
    (low, high): (&[f64], &[f64]),
    steps: usize,
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> (Vec<f64>, f64) {
    let mut x = start.to_vec();
    project(&mut x, low, high);
    let mut gradient = vec![0.0; x.len()];
    let mut value = function(&x, &mut gradient);
    let mut memory = Memory::default();
    for _ in 0..steps {
        let free = free(&x, &gradient, low, high);
        if !value.is_finite() || free.iter().all(|g| g.abs() < FLAT) {
            break;
        }
        let mut direction = memory.direction(&free);
        if dot(&direction, &free) >= 0.0 {
            memory = Memory::default();
            direction = memory.direction(&free);
        }
        let Some(next) = line_search(&x, value, &free, &direction, (low, high), &mut function)
        else {
            break;
        };
        let step: Vec<f64> = next.x.iter().zip(&x).map(|(a, b)| a - b).collect();
        let change: Vec<f64> = next.gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let gain = value - next.value;
        (x, value, gradient) = (next.x, next.value, next.gradient);
        if gain <= LITTLE * value.abs().max(1.0) {
            break;
        }
        memory.push(step, change);
    }
    (x, value)
}

struct Found {
    x: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// The first of ever shorter steps that lowers the function enough (Armijo 1966).
fn line_search(
    x: &[f64],
    value: f64,
    gradient: &[f64],
    direction: &[f64],
    (low, high): (&[f64], &[f64]),
    function: &mut impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Option<Found> {
    let mut length = 1.0;
    for _ in 0..HALVINGS {
        let mut next = x.to_vec();
        add_scaled(&mut next, length, direction);
        project(&mut next, low, high);
        let expected: f64 = next.iter().zip(x).zip(gradient).map(|((a, b), g)| (a - b) * g).sum();
        let mut there = vec![0.0; x.len()];
        let found = function(&next, &mut there);
        if found.is_finite() && found <= value + 1e-4 * expected {
            return Some(Found { x: next, value: found, gradient: there });
        }
        length *= 0.5;
    }
    None
}

fn project(x: &mut [f64], low: &[f64], high: &[f64]) {
    for ((x, low), high) in x.iter_mut().zip(low).zip(high) {
        *x = x.clamp(*low, *high);
    }
}

/// The gradient without the directions in which the box ends.
fn free(x: &[f64], gradient: &[f64], low: &[f64], high: &[f64]) -> Vec<f64> {
    let bounds = low.iter().zip(high);
    let free = x.iter().zip(gradient).zip(bounds).map(|((x, g), (low, high))| {
        let ends = (*x <= *low && *g > 0.0) || (*x >= *high && *g < 0.0);
        if ends { 0.0 } else { *g }
    });
    free.collect()
}

/// Steps and changes of the gradient, the newest last.
#[derive(Default)]
struct Memory {
    pairs: Vec<(Vec<f64>, Vec<f64>, f64)>,
}

impl Memory {
    fn push(&mut self, step: Vec<f64>, change: Vec<f64>) {
        let product = dot(&step, &change);
        if product <= 1e-10 * dot(&change, &change) {
            return;
        }
        if self.pairs.len() == MEMORY {
            self.pairs.remove(0);
        }
        self.pairs.push((step, change, product));
    }

    /// The step that the curvature seen so far advises.
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut shares = Vec::with_capacity(self.pairs.len());
        for (step, change, product) in self.pairs.iter().rev() {
            let share = dot(step, &direction) / product;
            add_scaled(&mut direction, -share, change);
            shares.push(share);
        }
        let scale = match self.pairs.last() {
            Some((_, change, product)) => product / dot(change, change),
            // Nothing is known yet: a step of length 0.2 at most.
            None => 0.2 / dot(gradient, gradient).sqrt().max(0.2),
        };
        direction.iter_mut().for_each(|x| *x *= scale);
        for ((step, change, product), share) in self.pairs.iter().zip(shares.iter().rev()) {
            let back = dot(change, &direction) / product;
            add_scaled(&mut direction, share - back, step);
        }
        // Bounds that hold back a direction hold it back here too.
        for (x, g) in direction.iter_mut().zip(gradient) {
            if *g == 0.0 {
                *x = 0.0;
            }
        }
        direction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rosenbrock(x: &[f64], gradient: &mut [f64]) -> f64 {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        gradient[0] = -2.0 * a - 400.0 * x[0] * b;
        gradient[1] = 200.0 * b;
        a * a + 100.0 * b * b
    }

    #[test]
    fn a_curved_valley_is_followed_to_its_end() {
        let (x, value) = minimise(&[-1.2, 1.0], (&[-2.0; 2], &[2.0; 2]), 200, rosenbrock);
        assert!(value < 1e-5, "{x:?} {value}");
    }

    #[test]
    fn the_box_holds() {
        let (x, _) = minimise(&[-1.2, 1.0], (&[-2.0; 2], &[0.5, 2.0]), 200, rosenbrock);
        assert!((x[0] - 0.5).abs() < 1e-6 && (x[1] - 0.25).abs() < 1e-2, "{x:?}");
    }

    #[test]
    fn what_is_not_finite_is_left_where_it_is() {
        let nan = |_: &[f64], _: &mut [f64]| f64::NAN;
        assert_eq!(minimise(&[0.5], (&[0.0], &[1.0]), 9, nan).0, [0.5]);
    }
}
