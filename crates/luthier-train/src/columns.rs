//! The columns that stand for the n-grams of one group in training.
//!
//! Features that occur in the very same training rows meet the same gradients and so come to the
//! same weights. They are *tied*: one column stands for all of them, its *members*. Most n-grams of
//! a few characters are tied to others, above all those that a single row has, and the fewer columns
//! there are, the more of them the processor's caches hold.

use std::cmp::Reverse;

use luthier_model::FeatureIndex;

use crate::cache::prefetch;

/// The features of a group that occur in training rows, and the columns that stand for them.
///
/// Columns are numbered by falling number of rows, those alike in the order in which the training
/// rows first have them: what is needed often shares cache lines, and what one row alone has lies
/// beside what its neighbours have.
#[derive(Debug)]
pub(crate) struct Columns {
    /// The buckets that occur in training rows.
    index: FeatureIndex,
    /// Where each of them is, in the order of the index.
    places: Vec<Place>,
    /// Training rows that each column occurs in; falling.
    rows: Vec<u32>,
    /// Features that each column stands for.
    members: Vec<u32>,
}

impl Columns {
    /// How many columns occur in at least `min_rows` training rows; they are the first ones.
    pub(crate) fn frequent(&self, min_rows: u32) -> usize {
        self.rows.partition_point(|rows| *rows >= min_rows)
    }

    /// Number of columns.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Features that each column stands for.
    pub(crate) fn members(&self) -> &[u32] {
        &self.members
    }

    /// Occurrences of features in training rows.
    pub(crate) fn occurrences(&self) -> u64 {
        let columns = self.rows.iter().zip(&self.members);
        columns.map(|(rows, members)| u64::from(*rows) * u64::from(*members)).sum()
    }

    /// The buckets of features, ascending, and their columns.
    pub(crate) fn features(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.index.buckets().zip(self.places.iter().map(|place| place.column()))
    }

    /// Appends the columns of a training row that has the distinct `buckets`, each once.
    pub(crate) fn append_train(&self, buckets: &[u32], scratch: &mut Scratch, to: &mut Vec<u32>) {
        to.extend(self.places(buckets, scratch).filter_map(Place::led));
    }

    /// Appends the columns of any other row that has the distinct `buckets`, once for each member
    /// found.
    pub(crate) fn append_valid(&self, buckets: &[u32], scratch: &mut Scratch, to: &mut Vec<u32>) {
        to.extend(self.places(buckets, scratch).map(Place::column));
    }

    /// The places are called to the cache together before the first is read.
    #[inline]
    fn places<'a>(
        &'a self,
        buckets: &[u32],
        scratch: &'a mut Scratch,
    ) -> impl Iterator<Item = Place> + 'a {
        let positions = scratch.positions(&self.index, buckets);
        positions.iter().for_each(|position| prefetch(&self.places[*position as usize]));
        positions.iter().map(|position| self.places[*position as usize])
    }
}

/// The positions in an index of a row's buckets, in memory that is reused.
#[derive(Default)]
pub(crate) struct Scratch(Vec<u32>);

impl Scratch {
    /// Those of `buckets` that are in the index.
    #[inline]
    fn positions(&mut self, index: &FeatureIndex, buckets: &[u32]) -> &[u32] {
        self.0.clear();
        self.0.extend(buckets.iter().filter_map(|bucket| index.row(*bucket)));
        &self.0
    }
}

/// The column of a bucket, and whether the bucket is the one of its column's members by which a
/// training row is known to have the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place(u32);

impl Place {
    const FOLLOWS: u32 = 1 << 31;

    fn leading(column: usize) -> Self {
        Self(column as u32)
    }

    fn following(self) -> Self {
        Self(self.0 | Self::FOLLOWS)
    }

    #[inline]
    fn column(self) -> u32 {
        self.0 & !Self::FOLLOWS
    }

    #[inline]
    fn led(self) -> Option<u32> {
        (self.0 & Self::FOLLOWS == 0).then_some(self.0)
    }
}

/// Counts in which training rows the features of one group occur.
pub(crate) struct Tally {
    index: FeatureIndex,
    rows: u32,
    /// For each bucket of the index.
    seen: Vec<Seen>,
    scratch: Scratch,
}

/// The training rows of a bucket.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// How many.
    rows: u32,
    /// The first.
    first: u32,
    /// The sum of their fingerprints, the same for the same rows and hardly ever for others.
    sum: u64,
}

/// A feature that several rows have; those that are tied sort side by side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shared {
    rows: Reverse<u32>,
    first: u32,
    sum: u64,
    position: u32,
}

impl Shared {
    fn tied(a: &Self, b: &Self) -> bool {
        (a.rows, a.first, a.sum) == (b.rows, b.first, b.sum)
    }
}

impl Tally {
    /// A tally of the buckets in `index`, which has all of the group that training rows have.
    pub(crate) fn new(index: FeatureIndex) -> Self {
        Self {
            rows: 0,
            seen: vec![Seen::default(); index.len()],
            scratch: Scratch::default(),
            index,
        }
    }

    /// Counts the next training row, which has the distinct `buckets`.
    pub(crate) fn add(&mut self, buckets: &[u32]) {
        let (row, print) = (self.rows, fingerprint(self.rows));
        let positions = self.scratch.positions(&self.index, buckets);
        positions.iter().for_each(|position| prefetch(&self.seen[*position as usize]));
        for position in positions {
            let seen = &mut self.seen[*position as usize];
            seen.first = if seen.rows == 0 { row } else { seen.first };
            seen.rows += 1;
            seen.sum = seen.sum.wrapping_add(print);
        }
        self.rows += 1;
    }

    /// Numbers the columns.
    pub(crate) fn columns(self) -> Columns {
        let (mut rows, mut members) = (Vec::new(), Vec::new());
        let mut places = vec![Place(0); self.seen.len()];
        for tied in self.shared().chunk_by(Shared::tied) {
            let mut place = Place::leading(rows.len());
            rows.push(tied[0].rows.0);
            members.push(tied.len() as u32);
            for feature in tied {
                places[feature.position as usize] = place;
                place = place.following();
            }
        }
        let mut columns = self.lone();
        for place in &mut columns {
            let count = place.0;
            *place = Place::leading(rows.len());
            if count > 0 {
                rows.push(1);
                members.push(count);
            }
        }
        for (place, seen) in places.iter_mut().zip(&self.seen) {
            if seen.rows == 1 {
                let column = &mut columns[seen.first as usize];
                *place = *column;
                *column = column.following();
            }
        }
        Columns { index: self.index, places, rows, members }
    }

    /// The features that several rows have, in the order of their columns.
    fn shared(&self) -> Vec<Shared> {
        let seen = (0..).zip(&self.seen).filter(|(_, seen)| seen.rows > 1);
        let shared = |(position, seen): (u32, &Seen)| Shared {
            rows: Reverse(seen.rows),
            first: seen.first,
            sum: seen.sum,
            position,
        };
        let mut shared: Vec<Shared> = seen.map(shared).collect();
        shared.sort_unstable();
        shared
    }

    /// For each row, how many features it alone has.
    fn lone(&self) -> Vec<Place> {
        let mut counts = vec![Place(0); self.rows as usize];
        for seen in self.seen.iter().filter(|seen| seen.rows == 1) {
            counts[seen.first as usize].0 += 1;
        }
        counts
    }
}

/// A number for each row such that no two sets of rows are likely to have the same sum: 64 bits of
/// SplitMix64 (Steele et al. 2014).
fn fingerprint(row: u32) -> u64 {
    let mut x = (u64::from(row) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(rows: &[&[u32]]) -> Columns {
        let mut tally = Tally::new(FeatureIndex::new(rows.iter().copied().flatten().copied()));
        rows.iter().for_each(|row| tally.add(row));
        tally.columns()
    }

    fn train(columns: &Columns, buckets: &[u32]) -> Vec<u32> {
        let mut found = Vec::new();
        columns.append_train(buckets, &mut Scratch::default(), &mut found);
        found
    }

    fn valid(columns: &Columns, buckets: &[u32]) -> Vec<u32> {
        let mut found = Vec::new();
        columns.append_valid(buckets, &mut Scratch::default(), &mut found);
        found
    }

    #[test]
    fn features_of_the_same_rows_share_a_column() {
        let rows: [&[u32]; 4] = [&[1, 2, 5, 9], &[1, 5, 7, 8], &[1, 2, 5], &[8]];
        let columns = columns(&rows);
        // 1 and 5 are in rows 0, 1 and 2; 2 in 0 and 2; 8 in 1 and 3; 9 in 0; 7 in 1.
        assert_eq!(columns.rows, [3, 2, 2, 1, 1]);
        assert_eq!(columns.members(), [2, 1, 1, 1, 1]);
        assert_eq!(columns.occurrences(), 12);
        assert_eq!([1, 2, 3].map(|min_rows| columns.frequent(min_rows)), [5, 3, 1]);
        assert_eq!([train(&columns, rows[0]), train(&columns, rows[1])], [[0, 1, 3], [0, 4, 2]]);
        assert_eq!(valid(&columns, &[1, 5, 6, 7]), [0, 0, 4], "6 is unknown");
        let features: Vec<_> = columns.features().collect();
        assert_eq!(features, [(1, 0), (2, 1), (5, 0), (7, 4), (8, 2), (9, 3)]);
    }

    #[test]
    fn what_one_row_alone_has_is_one_column() {
        let columns = columns(&[&[3, 4], &[], &[10, 11, 12]]);
        assert_eq!(columns.members(), [2, 3]);
        assert_eq!(train(&columns, &[10, 11, 12]), [1]);
        assert_eq!(valid(&columns, &[10, 11, 12]), [1, 1, 1]);
    }
}
