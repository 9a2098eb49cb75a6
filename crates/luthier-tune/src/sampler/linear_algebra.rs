//! Dense symmetric matrices, row after row in one vector, as far as samplers need them.
//!
//! The loops are compiled for several kinds of processors, which do the same arithmetic in the same
//! order and so give the same bits.

use multiversion::multiversion;

/// Numbers that are added at a time, so that no sum waits for the one before it.
const LANES: usize = 8;

/// The inner product of two vectors of one length.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    product(a, b)
}

#[inline(always)]
fn product(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Adds `factor · x` to `sum`.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn add_scaled(sum: &mut [f64], factor: f64, x: &[f64]) {
    add(sum, factor, x);
}

#[inline(always)]
fn add(sum: &mut [f64], factor: f64, x: &[f64]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += factor * x;
    }
}

/// A symmetric positive definite matrix as its inverse and the logarithm of its determinant.
pub(super) struct Inverse {
    /// `n` rows of `n`.
    pub(super) rows: Vec<f64>,
    /// ½ ln det of the matrix itself.
    pub(super) half_log_determinant: f64,
}

impl Inverse {
    /// Of the matrix whose lower triangle is in `matrix`, `size` rows of `size`, which is overwritten;
    /// `None` if it is not positive definite.
    pub(super) fn of(matrix: &mut [f64], size: usize) -> Option<Self> {
        factorise(matrix, size)?;
        let half_log_determinant = (0..size).map(|i| matrix[i * size + i].ln()).sum();
        invert_factor(matrix, size);
        let mut rows = vec![0.0; size * size];
        square_factor(matrix, size, &mut rows);
        Some(Self { rows, half_log_determinant })
    }

    /// The product with a vector.
    pub(super) fn times(&self, x: &[f64]) -> Vec<f64> {
        let mut product = vec![0.0; x.len()];
        times(&self.rows, x, &mut product);
        product
    }

    /// xᵀ A⁻¹ x.
    pub(super) fn quadratic(&self, x: &[f64]) -> f64 {
        quadratic(&self.rows, x)
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn times(rows: &[f64], x: &[f64], result: &mut [f64]) {
    for (row, result) in rows.chunks_exact(x.len().max(1)).zip(result) {
        *result = product(row, x);
    }
}

/// Half of the products, since the other half is the same.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn quadratic(rows: &[f64], x: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (i, row) in rows.chunks_exact(x.len().max(1)).enumerate() {
        sum += x[i] * (2.0 * product(&row[..i], &x[..i]) + row[i] * x[i]);
    }
    sum
}

/// The Cholesky factor in place of the lower triangle; `None` if the matrix is not positive definite.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn factorise(matrix: &mut [f64], size: usize) -> Option<()> {
    for i in 0..size {
        let (above, row) = matrix.split_at_mut(i * size);
        for j in 0..i {
            let other = &above[j * size..=j * size + j];
            row[j] = (row[j] - product(&row[..j], &other[..j])) / other[j];
        }
        let square = row[i] - product(&row[..i], &row[..i]);
        if !(square > 0.0 && square.is_finite()) {
            return None;
        }
        row[i] = square.sqrt();
    }
    Some(())
}

/// The solution of L y = x for a lower triangular L.
pub(super) fn solve_lower(factor: &[f64], x: &[f64]) -> Vec<f64> {
    let mut y: Vec<f64> = Vec::with_capacity(x.len());
    for (row, x) in factor.chunks_exact(x.len().max(1)).zip(x) {
        y.push((x - dot(&row[..y.len()], &y)) / row[y.len()]);
    }
    y
}

/// The product of a lower triangular matrix with a vector.
pub(super) fn times_lower(factor: &[f64], x: &[f64]) -> Vec<f64> {
    let rows = factor.chunks_exact(x.len().max(1)).enumerate();
    rows.map(|(i, row)| dot(&row[..=i], &x[..=i])).collect()
}

/// The inverse of a lower triangular matrix, in its place.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn invert_factor(matrix: &mut [f64], size: usize) {
    let mut sum = vec![0.0; size];
    for i in 0..size {
        let (above, row) = matrix.split_at_mut(i * size);
        sum[..i].fill(0.0);
        for (k, &x) in row[..i].iter().enumerate() {
            add(&mut sum[..=k], x, &above[k * size..=k * size + k]);
        }
        let inverse = 1.0 / row[i];
        for (x, sum) in row.iter_mut().zip(&sum[..i]) {
            *x = -inverse * sum;
        }
        row[i] = inverse;
    }
}

/// LᵀL of a lower triangular matrix L, which is added to `rows` of zeros: one row of L after the other
/// adds its square.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn square_factor(factor: &[f64], size: usize, rows: &mut [f64]) {
    for (i, row) in factor.chunks_exact(size.max(1)).enumerate() {
        let row = &row[..=i];
        for (a, &x) in row.iter().enumerate() {
            add(&mut rows[a * size..a * size + a + 1], x, &row[..=a]);
        }
    }
    for i in 0..size {
        for j in 0..i {
            rows[j * size + i] = rows[i * size + j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_times_the_matrix_is_one() {
        let size = 13;
        let entry = |i: usize, j: usize| {
            let near = (-((i as f64 - j as f64) / 3.0).powi(2)).exp();
            near + if i == j { 0.1 } else { 0.0 }
        };
        let mut matrix: Vec<f64> = (0..size * size).map(|n| entry(n / size, n % size)).collect();
        let inverse = Inverse::of(&mut matrix, size).unwrap();
        for i in 0..size {
            let column: Vec<f64> = (0..size).map(|j| entry(i, j)).collect();
            let unit = inverse.times(&column);
            for (j, x) in unit.iter().enumerate() {
                assert!((x - if i == j { 1.0 } else { 0.0 }).abs() < 1e-9);
            }
            let product = dot(&column, &unit);
            assert!((inverse.quadratic(&column) - product).abs() < 1e-9);
        }
    }

    #[test]
    fn a_factor_is_undone_by_solving() {
        let mut matrix = [4.0, 9.0, 2.0, 3.0];
        factorise(&mut matrix, 2).unwrap();
        let x = solve_lower(&matrix, &[3.0, -5.0]);
        assert_eq!(x, [1.5, (-5.0 - 1.5) / 2f64.sqrt()]);
        let back = times_lower(&matrix, &x);
        assert!((back[0] - 3.0).abs() < 1e-12 && (back[1] + 5.0).abs() < 1e-12);
    }

    #[test]
    fn the_determinant_is_that_of_a_small_matrix() {
        let inverse = Inverse::of(&mut [4.0, 0.0, 2.0, 3.0], 2).unwrap();
        assert!((inverse.half_log_determinant - 8f64.ln() / 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite_is_refused() {
        assert!(Inverse::of(&mut [1.0, 0.0, 2.0, 1.0], 2).is_none());
        assert!(Inverse::of(&mut [f64::NAN], 1).is_none());
        assert!(Inverse::of(&mut [], 0).is_some());
    }
}
