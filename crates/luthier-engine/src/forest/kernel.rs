//! What runs for every row: walks through trees, and leaves crossed out.
//!
//! A walk waits at every step for a load from memory, so several go on side by side: through
//! several trees for one row, or of several rows through one tree. A tree of few leaves is answered
//! for a block of rows without walking: each test that a row fails crosses out the leaves behind
//! passing it, and of those that are left the first is the one that a walk would have come to
//! (QuickScorer: Lucchese et al. 2015). That has no branches, and processors do it for many rows at
//! once.

use multiversion::multiversion;

use super::layout::Set;
use super::read::Leaves;
use super::scores::Aggregate;

/// Rows that are answered side by side.
pub(super) const LANES: usize = 32;

/// Walks that go on side by side.
const WALKS: usize = 8;

/// A column of which every row has NaN, so that no test of a leaf is ever passed.
pub(super) const MISSING: u32 = 0;

/// In the column of a test: it has a mask instead of a threshold, the column codes, and what passes
/// are the codes whose bits are set.
pub(super) const IN_MASK: u32 = 1 << 31;
/// In the column of a slot: it has the number of a set instead of a threshold.
pub(super) const IN_SET: u32 = 1 << 30;
const FLAGS: u32 = IN_MASK | IN_SET;

/// A number of each row of a block, where a cache line begins.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line(pub(super) [f32; LANES]);

/// A place in a tree, and where to go from there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// The bits of what is said in leaves.
    pub(super) threshold: f32,
    pub(super) column: u32,
    /// Where rows go that pass; those that fail go one place further.
    pub(super) child: u32,
}

/// A tree that is laid out.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: u32,
    /// What the leaves add to; where absent, leaves say their numbers.
    pub(super) target: Option<u32>,
    pub(super) crossed: Option<Crossed>,
}

/// A tree whose leaves are crossed out.
#[derive(Debug)]
pub(super) struct Crossed {
    pub(super) words: Box<[Word]>,
    /// What the leaves say.
    pub(super) said: Box<[u32]>,
}

/// The tests that can cross out some of 32 leaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Word {
    pub(super) thresholds: Vec<CrossTest>,
    pub(super) masks: Vec<CrossTest>,
}

/// A test, and what it leaves of 32 leaves, the first of which is the highest bit, if it fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct CrossTest {
    pub(super) threshold: f32,
    pub(super) column: u32,
    pub(super) keep: u32,
}

/// The tests that occur in a forest: those of a kind, and of kinds before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kinds {
    Thresholds,
    Masks,
    Sets,
}

/// What is needed to run trees.
#[derive(Debug)]
pub(super) struct Trees {
    pub(super) trees: Vec<Tree>,
    pub(super) slots: Vec<Slot>,
    pub(super) sets: Vec<Set>,
    pub(super) kinds: Kinds,
    pub(super) aggregate: Aggregate,
    pub(super) leaves: Leaves,
}

impl Slot {
    /// A leaf at `place` that says `said`. Nobody leaves it: its test always fails, and it is one
    /// place further than its child.
    pub(super) fn leaf(place: usize, said: u32) -> Self {
        let child = (place as u32).wrapping_sub(1);
        Self { threshold: f32::from_bits(said), column: MISSING, child }
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.column == MISSING
    }

    /// Whether a number passes a test with a threshold or mask; both are tried, since to guess which
    /// it is costs more.
    #[inline(always)]
    fn passes(&self, number: f32) -> bool {
        let in_mask = self.threshold.to_bits() >> (number.to_bits() & 31) & 1 == 1;
        let at_most = number <= self.threshold;
        let is_mask = self.column & IN_MASK != 0;
        (is_mask & in_mask) | (!is_mask & at_most)
    }

    /// What a leaf says.
    pub(super) fn said(&self) -> u32 {
        self.threshold.to_bits()
    }
}

impl Kinds {
    pub(super) fn of(slots: &[Slot]) -> Self {
        let kind = |slot: &Slot| match slot.column & FLAGS {
            0 => Self::Thresholds,
            IN_MASK => Self::Masks,
            _ => Self::Sets,
        };
        slots.iter().map(kind).max().unwrap_or(Self::Thresholds)
    }
}

impl Trees {
    pub(super) fn len(&self) -> usize {
        self.trees.len()
    }

    /// Adds what all trees say of one row, `columns`, to `sums`.
    pub(super) fn row(&self, columns: &[f32], sums: &mut [f32]) {
        for trees in self.trees.chunks(WALKS) {
            // Where trees are too few, the last one is walked more than once.
            let mut at = std::array::from_fn(|walk| trees[walk.min(trees.len() - 1)].root);
            self.walk(&mut at, |_, column| columns[column as usize]);
            for (tree, at) in trees.iter().zip(at) {
                let mut add = |target: u32, amount: f32| {
                    let sum = &mut sums[target as usize];
                    *sum = self.aggregate.with(*sum, amount);
                };
                let said = self.slots[at as usize].said();
                match tree.target {
                    Some(target) => add(target, f32::from_bits(said)),
                    None => {
                        self.leaves
                            .adds(said)
                            .iter()
                            .for_each(|(target, amount)| add(*target, *amount));
                    }
                }
            }
        }
    }

    /// Adds what all trees say of a block of rows to `sums`, which has a line for each target.
    pub(super) fn block(&self, columns: &[Line], sums: &mut [Line]) {
        for tree in &self.trees {
            let said = match &tree.crossed {
                Some(crossed) => crossed.block(columns),
                None => self.walk_block(tree.root, columns),
            };
            match tree.target {
                Some(target) => {
                    let sums = &mut sums[target as usize].0;
                    for (sum, said) in sums.iter_mut().zip(said) {
                        *sum = self.aggregate.with(*sum, f32::from_bits(said));
                    }
                }
                None => {
                    for (lane, said) in said.into_iter().enumerate() {
                        for (target, amount) in self.leaves.adds(said) {
                            let sum = &mut sums[*target as usize].0[lane];
                            *sum = self.aggregate.with(*sum, *amount);
                        }
                    }
                }
            }
        }
    }

    fn walk_block(&self, root: u32, columns: &[Line]) -> [u32; LANES] {
        let mut said = [0; LANES];
        for (block, said) in said.chunks_exact_mut(WALKS).enumerate() {
            let mut at = [root; WALKS];
            self.walk(&mut at, |walk, column| columns[column as usize].0[block * WALKS + walk]);
            for (said, at) in said.iter_mut().zip(at) {
                *said = self.slots[at as usize].said();
            }
        }
        said
    }

    /// Walks from the places `at` to leaves; `number` gives what is in a column of the row of a walk.
    #[inline(always)]
    fn walk(&self, at: &mut [u32; WALKS], number: impl Fn(usize, u32) -> f32) {
        let number = |walk, slot: &Slot| number(walk, slot.column & !FLAGS);
        let in_set =
            |slot: &Slot, number| self.sets[slot.threshold.to_bits() as usize].contains(number);
        // Only forests that have a kind of test pay for it.
        match self.kinds {
            Kinds::Thresholds => {
                self.walk_with(at, |walk, slot| number(walk, slot) <= slot.threshold);
            }
            Kinds::Masks => self.walk_with(at, |walk, slot| slot.passes(number(walk, slot))),
            Kinds::Sets => self.walk_with(at, |walk, slot| match slot.column & IN_SET {
                0 => slot.passes(number(walk, slot)),
                _ => in_set(slot, number(walk, slot)),
            }),
        }
    }

    #[inline(always)]
    fn walk_with(&self, at: &mut [u32; WALKS], passes: impl Fn(usize, &Slot) -> bool) {
        let mut columns = !MISSING;
        while columns != MISSING {
            columns = MISSING;
            for (walk, at) in at.iter_mut().enumerate() {
                let slot = &self.slots[*at as usize];
                *at = slot.child.wrapping_add(u32::from(!passes(walk, slot)));
                // Leaves test column 0.
                columns |= slot.column;
            }
        }
    }
}

impl Crossed {
    fn block(&self, columns: &[Line]) -> [u32; LANES] {
        let mut leaves = [0; LANES];
        for (number, word) in self.words.iter().enumerate().rev() {
            cross_out(word, columns, number as u32 * 32, &mut leaves);
        }
        leaves.map(|leaf| self.said.get(leaf as usize).copied().unwrap_or_default())
    }
}

/// Sets the leaf of every row that is not crossed out among the 32 from `first` on; where all are, it
/// stays.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl",
    "x86_64+avx2+bmi1+lzcnt"
))]
fn cross_out(word: &Word, columns: &[Line], first: u32, leaves: &mut [u32; LANES]) {
    let mut left = [u32::MAX; LANES];
    for &CrossTest { threshold, column, keep } in &word.thresholds {
        for (left, number) in left.iter_mut().zip(&columns[column as usize].0) {
            *left &= if *number <= threshold { u32::MAX } else { keep };
        }
    }
    for &CrossTest { threshold, column, keep } in &word.masks {
        let mask = threshold.to_bits();
        for (left, code) in left.iter_mut().zip(&columns[column as usize].0) {
            *left &= if mask >> (code.to_bits() & 31) & 1 == 1 { u32::MAX } else { keep };
        }
    }
    for (leaf, left) in leaves.iter_mut().zip(left) {
        *leaf = if left == 0 { *leaf } else { first + left.leading_zeros() };
    }
}
