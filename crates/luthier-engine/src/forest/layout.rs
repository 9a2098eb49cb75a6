//! From an [`Ensemble`] to the forms that run: every tree as slots to walk through, small ones also
//! as tests that cross out leaves.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use super::ForestError;
use super::kernel::{CrossTest, Crossed, IN_MASK, IN_SET, Slot, Tree, Word};
use super::read::{Branch, Ensemble, Leaves, Test, Vertex, unsupported};

/// Leaves of the largest tree that is answered by crossing out. Every test of such a tree is done,
/// while a walk does only those on its way; but a processor does many of the former at once.
const MAX_CROSSED: usize = 128;

/// The most slots, so that columns and sets, which are no more, can be counted beside the flags of
/// a slot.
const MAX_SLOTS: usize = 1 << 29;

/// A set's members that are whole and below this are bits of a mask.
const MAX_MASKED: f32 = 4096.0;

/// What is tested: a number of the row, as a rule makes it ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Column {
    pub(super) feature: u32,
    pub(super) rule: Rule,
}

/// How a number of a row gets into its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Rule {
    /// As it is: a missing number is NaN, which passes no threshold.
    MissingFails,
    /// A missing number becomes −∞, which passes every threshold.
    MissingPasses,
    /// As the bits of its code, the place of its bit in the masks of small sets.
    Code,
}

/// Whole numbers below this have codes of their own.
const CODES: u32 = 30;
/// The code of all other numbers, which are in no small set.
const OTHER: u32 = 30;
/// The code of missing numbers.
const MISSING_CODE: u32 = 31;

impl Rule {
    #[inline(always)]
    pub(super) fn apply(self, number: f32) -> f32 {
        match self {
            Self::MissingPasses if number.is_nan() => f32::NEG_INFINITY,
            Self::MissingFails | Self::MissingPasses => number,
            Self::Code => f32::from_bits(code(number)),
        }
    }
}

fn code(number: f32) -> u32 {
    // Negative numbers become 0, NaN too.
    let whole = number as u32;
    match whole as f32 == number && whole < CODES {
        true => whole,
        false if number.is_nan() => MISSING_CODE,
        false => OTHER,
    }
}

/// The mask of a set whose members all have codes of their own.
fn mask(members: &[f32], missing_passes: bool) -> Option<u32> {
    members.iter().try_fold(u32::from(missing_passes) << MISSING_CODE, |mask, member| {
        match code(*member) {
            code @ 0..CODES => Some(mask | 1 << code),
            _ => None,
        }
    })
}

/// A set that is not small.
#[derive(Debug, Default)]
pub(super) struct Set {
    /// Bit `i` says whether `i` passes.
    mask: Vec<u64>,
    /// The other members, in order.
    rest: Vec<f32>,
    missing_passes: bool,
}

/// An ensemble in the forms that run.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) columns: Vec<Column>,
    pub(super) slots: Vec<Slot>,
    pub(super) sets: Vec<Set>,
    pub(super) trees: Vec<Tree>,
    places: HashMap<Column, u32>,
}

impl Set {
    fn new(mut members: Vec<f32>, missing_passes: bool) -> Self {
        let masked = |member: &f32| (0.0..MAX_MASKED).contains(member) && member.fract() == 0.0;
        let mut set = Self { missing_passes, ..Self::default() };
        for member in members.extract_if(.., |member| masked(member)) {
            let (word, bit) = (member as usize / 64, member as usize % 64);
            set.mask.resize(set.mask.len().max(word + 1), 0);
            set.mask[word] |= 1 << bit;
        }
        members.sort_by(f32::total_cmp);
        set.rest = members;
        set
    }

    #[inline(never)]
    pub(super) fn contains(&self, number: f32) -> bool {
        if number.is_nan() {
            return self.missing_passes;
        }
        let whole = number as usize;
        match self.mask.get(whole / 64) {
            Some(word) if whole as f32 == number => word >> (whole % 64) & 1 == 1,
            _ => self.rest.binary_search_by(|member| member.total_cmp(&number)).is_ok(),
        }
    }
}

impl Layout {
    pub(super) fn new(ensemble: &Ensemble) -> Result<Self, ForestError> {
        let checked = Checked::new(ensemble)?;
        let mut layout = Self::default();
        for root in &ensemble.roots {
            let tree = layout.tree(&checked, *root)?;
            layout.trees.push(tree);
        }
        Ok(layout)
    }

    /// The place of a column among those that are filled; the first of those is always missing.
    fn column(&mut self, feature: u32, rule: Rule) -> u32 {
        let column = Column { feature, rule };
        *self.places.entry(column).or_insert_with(|| {
            self.columns.push(column);
            self.columns.len() as u32
        })
    }

    /// Lays out a tree level by level. The ways out of a branch are neighbours, so that one place
    /// and the result of the test say where to go on.
    fn tree(&mut self, checked: &Checked<'_>, root: u32) -> Result<Tree, ForestError> {
        let first = self.slots.len();
        let mut branches = HashMap::new();
        let mut order = vec![root];
        let mut shares = false;
        let mut at = 0;
        while at < order.len() {
            let vertex = order[at];
            let slot = match &checked.ensemble.vertices[vertex as usize] {
                Vertex::Leaf(leaf) => Slot::leaf(first + at, *leaf),
                // A vertex that several branches lead to has a slot for each; what follows it is
                // laid out once.
                Vertex::Branch(branch) => match branches.entry(vertex) {
                    Entry::Occupied(slot) => {
                        shares = true;
                        *slot.get()
                    }
                    Entry::Vacant(place) => {
                        let branch = checked.merged(branch);
                        let pair = first + order.len();
                        order.extend([branch.passes, branch.fails]);
                        *place.insert(self.branch(branch, pair))
                    }
                },
            };
            self.slots.push(slot);
            at += 1;
        }
        if self.slots.len() > MAX_SLOTS {
            return Err(unsupported("a forest of that size"));
        }
        let slots = &mut self.slots[first..];
        let target = inline(slots, &checked.ensemble.leaves);
        let crossed = if shares { None } else { cross(slots, first) };
        Ok(Tree { root: first as u32, target, crossed })
    }

    fn branch(&mut self, branch: Branch, pair: usize) -> Slot {
        let Branch { feature, test, missing_passes, .. } = branch;
        let child = pair as u32;
        match test {
            Test::AtMost(threshold) => {
                let rule = if missing_passes { Rule::MissingPasses } else { Rule::MissingFails };
                Slot { threshold, column: self.column(feature, rule), child }
            }
            Test::Among(members) => match mask(&members, missing_passes) {
                Some(mask) => {
                    let column = self.column(feature, Rule::Code) | IN_MASK;
                    Slot { threshold: f32::from_bits(mask), column, child }
                }
                None => {
                    let set = self.sets.len() as u32;
                    self.sets.push(Set::new(members, missing_passes));
                    let column = self.column(feature, Rule::MissingFails) | IN_SET;
                    Slot { threshold: f32::from_bits(set), column, child }
                }
            },
        }
    }
}

/// Where every leaf of a tree adds one amount to the same target, gives that target and lets the
/// leaves hold their amounts instead of their numbers.
fn inline(slots: &mut [Slot], leaves: &Leaves) -> Option<u32> {
    let adds = |leaf: u32| match leaves.adds(leaf) {
        [(target, amount)] => Some((*target, *amount)),
        _ => None,
    };
    let mut ends = slots.iter().filter(|slot| slot.is_leaf());
    let (target, _) = adds(ends.next()?.said())?;
    if !ends.all(|leaf| adds(leaf.said()).is_some_and(|(other, _)| other == target)) {
        return None;
    }
    for slot in slots.iter_mut().filter(|slot| slot.is_leaf()) {
        slot.threshold = adds(slot.said()).map_or(0.0, |(_, amount)| amount);
    }
    Some(target)
}

/// The tests of a tree as what each crosses out, where it is small and its sets are. `slots` are
/// laid out level by level from place `first` on, and no two lead to the same.
fn cross(slots: &[Slot], first: usize) -> Option<Crossed> {
    let leaves = slots.len() / 2 + 1;
    if leaves > MAX_CROSSED || slots.iter().any(|slot| slot.column & IN_SET != 0) {
        return None;
    }
    let mut counts = vec![1; slots.len()];
    for (at, slot) in slots.iter().enumerate().rev().filter(|(_, slot)| !slot.is_leaf()) {
        let child = slot.child as usize - first;
        counts[at] = counts[child] + counts[child + 1];
    }
    // Leaves count from left to right, those behind a test that is passed before the others.
    let mut starts = vec![0; slots.len()];
    let mut said = vec![0; leaves];
    let mut words = vec![Word::default(); leaves.div_ceil(32)];
    for (at, slot) in slots.iter().enumerate() {
        if slot.is_leaf() {
            said[starts[at]] = slot.said();
            continue;
        }
        let child = slot.child as usize - first;
        let passing = starts[at]..starts[at] + counts[child];
        (starts[child], starts[child + 1]) = (passing.start, passing.end);
        for (number, word) in words.iter_mut().enumerate() {
            let keep = !bits(&passing, number * 32);
            let column = slot.column & !IN_MASK;
            let test = CrossTest { threshold: slot.threshold, column, keep };
            match slot.column & IN_MASK {
                _ if keep == u32::MAX => {}
                0 => word.thresholds.push(test),
                _ => word.masks.push(test),
            }
        }
    }
    Some(Crossed { words: words.into(), said: said.into() })
}

/// The part of `range` that lies in the 32 places from `start` on, as bits from the highest.
fn bits(range: &Range<usize>, start: usize) -> u32 {
    let from = |place: usize| u32::MAX.checked_shr(place.saturating_sub(start) as u32).unwrap_or(0);
    from(range.start) & !from(range.end)
}

/// An ensemble in which every walk comes to an end.
struct Checked<'a> {
    ensemble: &'a Ensemble,
    /// How many ways lead to each vertex.
    parents: Vec<u32>,
}

/// How far the search for cycles has come with a vertex.
#[derive(Clone, Copy)]
enum State {
    New,
    /// What follows it is being searched.
    Open,
    /// It is in this tree, and what follows it has no cycle.
    Done(usize),
}

impl<'a> Checked<'a> {
    fn new(ensemble: &'a Ensemble) -> Result<Self, ForestError> {
        let mut parents = vec![0u32; ensemble.vertices.len()];
        for vertex in &ensemble.vertices {
            if let Vertex::Branch(Branch { passes, fails, .. }) = vertex {
                parents[*passes as usize] += 1;
                parents[*fails as usize] += 1;
            }
        }
        let checked = Self { ensemble, parents };
        let mut states = vec![State::New; ensemble.vertices.len()];
        for (tree, root) in ensemble.roots.iter().enumerate() {
            if checked.parents[*root as usize] != 0 {
                return Err(ForestError::Root { tree });
            }
            checked.search(tree, *root, &mut states)?;
        }
        Ok(checked)
    }

    /// Searches a tree in depth, with a stack of its own: trees may be as deep as they are large.
    fn search(&self, tree: usize, root: u32, states: &mut [State]) -> Result<(), ForestError> {
        let mut stack = vec![root];
        while let Some(&vertex) = stack.last() {
            match states[vertex as usize] {
                State::New => states[vertex as usize] = State::Open,
                State::Open => {
                    states[vertex as usize] = State::Done(tree);
                    stack.pop();
                    continue;
                }
                State::Done(other) if other != tree => {
                    return Err(ForestError::Shared { trees: [other, tree] });
                }
                // Another branch led here while this one waited.
                State::Done(_) => {
                    stack.pop();
                    continue;
                }
            }
            let Vertex::Branch(branch) = &self.ensemble.vertices[vertex as usize] else { continue };
            for next in [branch.fails, branch.passes] {
                match states[next as usize] {
                    State::Open => return Err(ForestError::Cycle { tree }),
                    State::New | State::Done(_) => stack.push(next),
                }
            }
        }
        Ok(())
    }

    /// A branch with those that only repeat its question for other values made part of it: what
    /// converters write for a set is a chain of branches that test for equality, fail to each
    /// other and pass to the same vertex.
    fn merged(&self, branch: &Branch) -> Branch {
        let mut merged = branch.clone();
        let Test::Among(members) = &mut merged.test else { return merged };
        while let Vertex::Branch(next) = &self.ensemble.vertices[merged.fails as usize]
            && let Test::Among(more) = &next.test
            && (next.feature, next.passes) == (merged.feature, merged.passes)
            && self.parents[merged.fails as usize] == 1
        {
            members.extend(more);
            merged.missing_passes |= next.missing_passes;
            merged.fails = next.fails;
        }
        merged
    }
}
