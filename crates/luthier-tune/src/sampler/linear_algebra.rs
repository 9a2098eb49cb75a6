//! Dense symmetric matrices, row after row in one vector, as far as samplers need them.
//!
//! The loops are compiled for several kinds of processors, which do the same arithmetic in the same
//! order and so give the same bits.

use std::ops::Range;

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

/// A square matrix, row after row, which are padded to whole chunks: as many rows and columns are
/// added to it.
#[derive(Debug, Clone)]
struct Matrix {
    chunks: Vec<Chunk>,
    /// Chunks of a row.
    blocks: usize,
}

type Chunk = [f64; LANES];

impl Matrix {
    fn zero(blocks: usize) -> Self {
        Self { chunks: vec![[0.0; LANES]; blocks * blocks * LANES], blocks }
    }

    #[inline(always)]
    fn row(&self, row: usize) -> &[f64] {
        self.chunks[row * self.blocks..(row + 1) * self.blocks].as_flattened()
    }

    #[inline(always)]
    fn row_mut(&mut self, row: usize) -> &mut [f64] {
        self.chunks[row * self.blocks..(row + 1) * self.blocks].as_flattened_mut()
    }

    /// A row with all before it.
    #[inline(always)]
    fn row_mut_and_above(&mut self, row: usize) -> (&mut [f64], &[f64]) {
        let (above, rest) = self.chunks.split_at_mut(row * self.blocks);
        (rest[..self.blocks].as_flattened_mut(), above.as_flattened())
    }

    #[inline(always)]
    fn chunk_mut(&mut self, row: usize, block: usize) -> &mut Chunk {
        &mut self.chunks[row * self.blocks + block]
    }

    /// The chunks of one block in some rows.
    #[inline(always)]
    fn column(&self, rows: Range<usize>, block: usize) -> impl Iterator<Item = &Chunk> {
        let rows = &self.chunks[rows.start * self.blocks..rows.end * self.blocks];
        rows.chunks_exact(self.blocks).map(move |row| &row[block])
    }

    /// Makes the rows of one block, from the diagonal on, those of a symmetric matrix of which the
    /// lower triangle is there.
    #[inline(always)]
    fn mirror(&mut self, block: usize) {
        let first = block * LANES;
        for column in first..self.blocks * LANES {
            let below = self.chunks[column * self.blocks + block];
            for (row, x) in (first..=column).zip(below) {
                self.row_mut(row)[column] = x;
            }
        }
    }
}

/// The sums of the products of each left number with each right one. Products of matrices are made of
/// such tiles, since a number that is fetched takes part in several products, and as many sums as
/// there are in a tile fit into registers.
#[inline(always)]
fn tile<'a>(
    left: impl Iterator<Item = &'a Chunk>,
    right: impl Iterator<Item = &'a Chunk>,
) -> [Chunk; LANES] {
    let zero = [0.0; LANES];
    // As an array that is looped over they are kept in memory.
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = [zero; LANES];
    for (x, y) in left.zip(right) {
        a = plus(a, x[0], y);
        b = plus(b, x[1], y);
        c = plus(c, x[2], y);
        d = plus(d, x[3], y);
        e = plus(e, x[4], y);
        f = plus(f, x[5], y);
        g = plus(g, x[6], y);
        h = plus(h, x[7], y);
    }
    [a, b, c, d, e, f, g, h]
}

#[inline(always)]
fn plus(mut sums: Chunk, x: f64, y: &Chunk) -> Chunk {
    for lane in 0..LANES {
        sums[lane] += x * y[lane];
    }
    sums
}

/// The Cholesky factor of a symmetric positive definite matrix A: the lower triangular L with A = LLᵀ.
#[derive(Debug, Clone)]
pub(super) struct Factor {
    /// Lᵀ; below its diagonal is anything.
    upper: Matrix,
    size: usize,
}

impl Factor {
    /// Of the matrix of so many rows that `write` writes, each up to the diagonal; `None` if it is not
    /// positive definite.
    pub(super) fn of(size: usize, mut write: impl FnMut(usize, &mut [f64])) -> Option<Self> {
        let mut upper = Matrix::zero(size.div_ceil(LANES));
        for row in 0..size {
            write(row, &mut upper.row_mut(row)[..=row]);
        }
        // What is added to fill the chunks has nothing to do with the rest.
        for row in size..upper.blocks * LANES {
            upper.row_mut(row)[row] = 1.0;
        }
        factorise(&mut upper)?;
        Some(Self { upper, size })
    }

    /// A multiple of the unit matrix.
    pub(super) fn diagonal(size: usize, entry: f64) -> Self {
        let mut upper = Matrix::zero(size.div_ceil(LANES));
        (0..size).for_each(|at| upper.row_mut(at)[at] = entry);
        Self { upper, size }
    }

    /// ½ ln det A.
    pub(super) fn half_log_determinant(&self) -> f64 {
        (0..self.size).map(|at| self.upper.row(at)[at].ln()).sum()
    }

    /// Multiplies the factor with a number.
    pub(super) fn scale(&mut self, by: f64) {
        self.upper.chunks.as_flattened_mut().iter_mut().for_each(|x| *x *= by);
    }

    /// The solution of L y = x.
    pub(super) fn solve(&self, x: &[f64]) -> Vec<f64> {
        let mut y = x.to_vec();
        for at in 0..self.size {
            let row = &self.upper.row(at)[at..self.size];
            let (known, rest) = y[at..].split_at_mut(1);
            known[0] /= row[0];
            add_scaled(rest, -known[0], &row[1..]);
        }
        y
    }

    /// L x.
    pub(super) fn times(&self, x: &[f64]) -> Vec<f64> {
        let mut product = vec![0.0; x.len()];
        for (at, x) in x.iter().enumerate() {
            add_scaled(&mut product[at..], *x, &self.upper.row(at)[at..self.size]);
        }
        product
    }
}

/// The factor in the upper triangle, of what is in the lower one.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn factorise(matrix: &mut Matrix) -> Option<()> {
    for block in 0..matrix.blocks {
        let first = block * LANES;
        matrix.mirror(block);
        for other in block..matrix.blocks {
            let sums = tile(matrix.column(0..first, block), matrix.column(0..first, other));
            for (row, sums) in (first..).zip(sums) {
                let chunk = matrix.chunk_mut(row, other);
                chunk.iter_mut().zip(sums).for_each(|(x, sum)| *x -= sum);
            }
        }
        for row in first..first + LANES {
            let stride = matrix.blocks * LANES;
            let (now, above) = matrix.row_mut_and_above(row);
            for earlier in above[first * stride..].chunks_exact(stride) {
                add(&mut now[row..], -earlier[row], &earlier[row..]);
            }
            let square = now[row];
            if !(square > 0.0 && square.is_finite()) {
                return None;
            }
            let inverse = 1.0 / square.sqrt();
            now[row..].iter_mut().for_each(|x| *x *= inverse);
        }
    }
    Some(())
}

/// The inverse of the lower triangular matrix that is the transpose of `upper`.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn invert(upper: &Matrix) -> Matrix {
    let mut inverse = Matrix::zero(upper.blocks);
    for block in 0..upper.blocks {
        let first = block * LANES;
        for other in 0..block {
            let rows = other * LANES..first;
            let sums = tile(upper.column(rows.clone(), block), inverse.column(rows, other));
            for (row, sums) in (first..).zip(sums) {
                *inverse.chunk_mut(row, other) = sums.map(|sum| -sum);
            }
        }
        for row in first..first + LANES {
            let stride = upper.blocks * LANES;
            let (now, above) = inverse.row_mut_and_above(row);
            now[row] = 1.0;
            for (at, earlier) in (first..).zip(above[first * stride..].chunks_exact(stride)) {
                add(&mut now[..first + LANES], -upper.row(at)[row], &earlier[..first + LANES]);
            }
            let factor = 1.0 / upper.row(row)[row];
            now[..=row].iter_mut().for_each(|x| *x *= factor);
        }
    }
    inverse
}

/// LᵀL of a lower triangular matrix L, in place of another matrix.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn square(lower: &Matrix, square: &mut Matrix) {
    let rows = lower.blocks * LANES;
    for block in 0..lower.blocks {
        for other in 0..=block {
            let rows = block * LANES..rows;
            let sums = tile(lower.column(rows.clone(), block), lower.column(rows, other));
            for (row, sums) in (block * LANES..).zip(sums) {
                *square.chunk_mut(row, other) = sums;
            }
            for (at, row) in (other * LANES..(other + 1) * LANES).enumerate() {
                *square.chunk_mut(row, block) = sums.map(|sums| sums[at]);
            }
        }
    }
}

/// The inverse of a symmetric positive definite matrix.
pub(super) struct Inverse {
    matrix: Matrix,
    size: usize,
}

impl Inverse {
    /// Of the matrix that has this factor.
    pub(super) fn of(factor: Factor) -> Self {
        let Factor { upper: mut matrix, size } = factor;
        square(&invert(&matrix), &mut matrix);
        Self { matrix, size }
    }

    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.matrix.row(row)[..self.size]
    }

    /// The product with a vector.
    pub(super) fn times(&self, x: &[f64]) -> Vec<f64> {
        let mut chunks = vec![[0.0; LANES]; self.matrix.blocks];
        chunks.as_flattened_mut()[..self.size].copy_from_slice(x);
        let mut product = vec![[0.0; LANES]; self.matrix.blocks];
        times(&self.matrix, &chunks, &mut product);
        let mut product = product.into_flattened();
        product.truncate(self.size);
        product
    }

    /// xᵀ A⁻¹ x of each of some vectors.
    pub(super) fn quadratics(&self, vectors: &[Vec<f64>]) -> Vec<f64> {
        let groups = vectors.chunks(LANES).flat_map(|group| {
            let mut columns = vec![[0.0; LANES]; self.matrix.blocks * LANES];
            for (column, vector) in group.iter().enumerate() {
                columns.iter_mut().zip(vector).for_each(|(row, x)| row[column] = *x);
            }
            quadratics(&self.matrix, &columns).into_iter().take(group.len())
        });
        groups.collect()
    }
}

/// With half of a symmetric matrix, since the other half is the same.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn times(matrix: &Matrix, x: &[Chunk], product: &mut [Chunk]) {
    for row in 0..matrix.blocks * LANES {
        let (block, lane) = (row / LANES, row % LANES);
        let own = x[block][lane];
        let (here, behind) =
            matrix.chunks[row * matrix.blocks + block..(row + 1) * matrix.blocks].split_at(1);
        let mut sums = [0.0; LANES];
        for ((entries, x), product) in
            behind.iter().zip(&x[block + 1..]).zip(&mut product[block + 1..])
        {
            for lane in 0..LANES {
                sums[lane] += entries[lane] * x[lane];
                product[lane] += entries[lane] * own;
            }
        }
        for lane in 0..LANES {
            sums[lane] += here[0][lane] * x[block][lane];
        }
        product[block][lane] += sums.iter().sum::<f64>();
    }
}

/// Of so many columns, with half of the matrix, since the other half is the same.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn quadratics(matrix: &Matrix, columns: &[Chunk]) -> Chunk {
    let mut sums = [0.0; LANES];
    for block in 0..matrix.blocks {
        let (first, end) = (block * LANES, (block + 1) * LANES);
        let before = tile(matrix.column(0..first, block), columns[..first].iter());
        let here = tile(matrix.column(first..end, block), columns[first..end].iter());
        for ((before, here), x) in before.iter().zip(here).zip(&columns[first..end]) {
            for lane in 0..LANES {
                sums[lane] += x[lane] * (2.0 * before[lane] + here[lane]);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_times_the_matrix_is_one() {
        for size in [0, 1, 8, 13, 40] {
            let entry = |i: usize, j: usize| {
                let near = (-((i as f64 - j as f64) / 3.0).powi(2)).exp();
                near + if i == j { 0.1 } else { 0.0 }
            };
            let write = |i, row: &mut [f64]| (0..=i).for_each(|j| row[j] = entry(i, j));
            let inverse = Inverse::of(Factor::of(size, write).unwrap());
            let columns: Vec<Vec<f64>> =
                (0..size).map(|i| (0..size).map(|j| entry(i, j)).collect()).collect();
            let quadratics = inverse.quadratics(&columns);
            for (i, column) in columns.iter().enumerate() {
                let unit = inverse.times(column);
                for (j, x) in unit.iter().enumerate() {
                    assert!((x - if i == j { 1.0 } else { 0.0 }).abs() < 1e-9);
                }
                assert!((quadratics[i] - dot(column, &unit)).abs() < 1e-9);
                assert_eq!(inverse.row(i)[0], inverse.row(0)[i]);
            }
        }
    }

    fn two(a: f64, b: f64, c: f64) -> Option<Factor> {
        Factor::of(2, |row, entries| entries.copy_from_slice([&[a][..], &[b, c]][row]))
    }

    #[test]
    fn a_factor_is_undone_by_solving() {
        let mut factor = two(4.0, 2.0, 3.0).unwrap();
        let x = factor.solve(&[3.0, -5.0]);
        assert!((x[0] - 1.5).abs() < 1e-12);
        assert!((x[1] - (-5.0 - 1.5) / 2f64.sqrt()).abs() < 1e-12);
        let back = factor.times(&x);
        assert!((back[0] - 3.0).abs() < 1e-12 && (back[1] + 5.0).abs() < 1e-12);
        factor.scale(2.0);
        assert_eq!(factor.solve(&[6.0, -10.0]), x);
        assert_eq!(Factor::diagonal(2, 0.5).times(&[3.0, -5.0]), [1.5, -2.5]);
    }

    #[test]
    fn the_determinant_is_that_of_a_small_matrix() {
        let factor = two(4.0, 2.0, 3.0).unwrap();
        assert!((factor.half_log_determinant() - 8f64.ln() / 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite_is_refused() {
        assert!(two(1.0, 2.0, 1.0).is_none());
        assert!(two(1.0, f64::NAN, 1.0).is_none());
        assert!(Factor::of(0, |_, _| ()).is_some());
    }
}
