//! Parting rows in two.

use rayon::prelude::*;

/// Rows that are parted as one piece of work.
const BLOCK: usize = 1 << 14;

/// Puts the rows that go left first, both sides in the order that they had, and gives how many go left.
/// `spare` is as long as `rows`.
pub(crate) fn partition(
    rows: &mut [u32],
    spare: &mut [u32],
    goes_left: impl Fn(u32) -> bool + Sync,
) -> usize {
    if rows.len() <= BLOCK {
        let left = partition_block(rows, spare, &goes_left);
        let right = rows.len() - left;
        rows[left..].copy_from_slice(&spare[..right]);
        return left;
    }
    let blocks = rows.par_chunks_mut(BLOCK).zip(spare.par_chunks_mut(BLOCK));
    let counts: Vec<usize> =
        blocks.map(|(rows, spare)| partition_block(rows, spare, &goes_left)).collect();
    let mut end = 0;
    for (block, left) in counts.iter().enumerate() {
        let start = block * BLOCK;
        rows.copy_within(start..start + left, end);
        end += left;
    }
    let total = end;
    for (spare, left) in spare.chunks(BLOCK).zip(&counts) {
        let right = spare.len() - left;
        rows[end..end + right].copy_from_slice(&spare[..right]);
        end += right;
    }
    total
}

/// Leaves what goes left at the start of `rows`, what goes right at the start of `spare`.
fn partition_block(rows: &mut [u32], spare: &mut [u32], goes_left: &impl Fn(u32) -> bool) -> usize {
    let (mut left, mut right) = (0, 0);
    for at in 0..rows.len() {
        let row = rows[at];
        let goes_left = goes_left(row);
        rows[left] = row;
        spare[right] = row;
        left += usize::from(goes_left);
        right += usize::from(!goes_left);
    }
    left
}
