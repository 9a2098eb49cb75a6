//! Products of matrices, on the crate `gemm`: the one file with raw pointers.
//!
//! An element's sum is taken in an order that depends on the length of the sum alone, so a product may
//! be cut by rows among threads and still has the same bits, as long as it is not cut into tiny pieces;
//! for rows of more than 16 numbers [`block_rows`] sees to that.

/// A matrix to read, inside a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

/// A matrix to write, inside a slice; its columns lie next to each other.
pub(crate) struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_step: usize,
}

/// What becomes of the numbers that stand where a result goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// They are overwritten.
    Over,
    /// The result is added to them.
    Onto,
}

impl<'a> Matrix<'a> {
    /// All of a slice, row after row.
    pub(crate) fn new(data: &'a [f32], columns: usize) -> Self {
        Self::part(data, data.len() / columns, columns, columns)
    }

    /// The first `columns` of each of `rows` rows that are `row_step` apart.
    pub(crate) fn part(data: &'a [f32], rows: usize, columns: usize, row_step: usize) -> Self {
        assert!(span(rows, columns, row_step) <= data.len(), "a matrix lies inside its slice");
        Self { data, rows, columns, row_step, column_step: 1 }
    }

    /// Rows as columns.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_step: self.column_step,
            column_step: self.row_step,
            ..self
        }
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }
}

impl<'a> MatrixMut<'a> {
    /// All of a slice, row after row.
    pub(crate) fn new(data: &'a mut [f32], columns: usize) -> Self {
        let rows = data.len() / columns;
        Self::part(data, rows, columns, columns)
    }

    /// The first `columns` of each of `rows` rows that are `row_step` apart.
    pub(crate) fn part(data: &'a mut [f32], rows: usize, columns: usize, row_step: usize) -> Self {
        assert!(span(rows, columns, row_step) <= data.len(), "a matrix lies inside its slice");
        assert!(row_step >= columns, "rows do not overlap");
        Self { data, rows, columns, row_step }
    }
}

/// Elements from the first to the last of a matrix.
fn span(rows: usize, columns: usize, row_step: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_step + columns }
}

/// `scale · a · b` on the calling thread.
pub(crate) fn multiply(out: MatrixMut<'_>, write: Write, scale: f32, a: Matrix<'_>, b: Matrix<'_>) {
    let MatrixMut { data, rows, columns, row_step } = out;
    let depth = a.columns;
    assert!(a.rows == rows && b.columns == columns && b.rows == depth, "sizes fit together");
    // SAFETY: all three matrices lie inside their slices, which their constructors have asserted, and
    // the one that is written is borrowed alone.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            data.as_mut_ptr(),
            1,
            step(row_step),
            write == Write::Onto,
            a.data.as_ptr(),
            step(a.column_step),
            step(a.row_step),
            b.data.as_ptr(),
            step(b.column_step),
            step(b.row_step),
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn step(elements: usize) -> isize {
    isize::try_from(elements).expect("a slice has fewer elements than isize::MAX")
}

/// Rows that blocks are made of.
pub(crate) const UNIT: usize = 32;

/// A block has more rows than this, or all that there are.
const FEWEST: usize = 16;

/// How many rows a task takes of work that is cut by rows: a multiple of [`UNIT`], and so many that
/// each thread has a few tasks.
pub(crate) fn block_rows(rows: usize) -> usize {
    const TASKS_PER_THREAD: usize = 2;
    let tasks = rayon::current_num_threads() * TASKS_PER_THREAD;
    let mut block = rows.div_ceil(tasks).next_multiple_of(UNIT).max(UNIT);
    // Tiny products, of up to 256 numbers, are worked out by kernels that sum in another order.
    while rows > block && (1..=FEWEST).contains(&(rows % block)) {
        block += UNIT;
    }
    block
}
