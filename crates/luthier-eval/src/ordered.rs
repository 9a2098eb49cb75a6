//! Quantiles of values whose rows have a mass.

/// A mass nearer than this share of all to a quantile lies on it: sums in another order differ by
/// roundings.
const TIE: f64 = 1e-12;

/// Values with their rows in ascending order: sorted once, walked once per resample.
pub(crate) struct Ordered {
    values: Vec<f64>,
    rows: Vec<u32>,
}

impl Ordered {
    pub(crate) fn of(values: Vec<f64>) -> Self {
        let mut rows: Vec<u32> = (0..values.len() as u32).collect();
        rows.sort_by(|a, b| values[*a as usize].total_cmp(&values[*b as usize]));
        Self { values, rows }
    }

    /// Row and value, ascending.
    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = (usize, f64)> {
        self.rows.iter().map(|row| (*row as usize, self.values[*row as usize]))
    }

    /// The smallest value that `share` of the mass does not exceed, and the middle of that and the
    /// next where it is exactly that share (the averaged inverse of the distribution, definition 2
    /// of Hyndman and Fan 1996): the median of unit masses at 0.5. `None` without mass.
    pub(crate) fn quantile(&self, share: f64, mass: &[f64]) -> Option<f64> {
        let total: f64 = mass.iter().sum();
        let (wanted, tie) = (share * total, TIE * total);
        let mut present = self.rows().filter(|(row, _)| mass[*row] > 0.0).peekable();
        let mut sum = 0.0;
        while let Some((row, value)) = present.next() {
            sum += mass[row];
            let next = present.peek().map_or(value, |(_, next)| *next);
            if (sum - wanted).abs() <= tie {
                return Some(value.midpoint(next));
            }
            if sum > wanted || present.peek().is_none() {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Ordered;

    #[test]
    fn quantiles_are_of_the_mass() {
        let check = |values: &[f64], mass: &[f64], share: f64, expected: Option<f64>| {
            assert_eq!(Ordered::of(values.to_vec()).quantile(share, mass), expected, "{share}");
        };
        check(&[3.0, 1.0, 2.0, 4.0], &[1.0; 4], 0.5, Some(2.5));
        check(&[3.0, 1.0, 2.0], &[1.0; 3], 0.5, Some(2.0));
        check(&[3.0, 1.0, 2.0], &[0.0, 1.0, 1.0], 1.0, Some(2.0));
        check(&[3.0, 1.0, 2.0], &[1.0, 0.0, 1.0], 0.0, Some(2.0));
        check(&[3.0, 1.0, 2.0], &[5.0, 1.0, 1.0], 0.5, Some(3.0));
        check(&[3.0], &[0.0], 0.5, None);
    }
}
