//! Sequences of tokens, packed one after the other.

use std::ops::Range;

/// Sequences that go through a network together. They are packed without padding, so a batch costs as
/// much as it has tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    ids: Vec<u32>,
    types: Vec<u32>,
    /// Where each sequence ends.
    ends: Vec<usize>,
}

impl Batch {
    /// Without sequences.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sequence: the ids of its tokens, all of sentence type 0.
    pub fn push(&mut self, ids: &[u32]) {
        self.ids.extend(ids);
        self.types.resize(self.ids.len(), 0);
        self.ends.push(self.ids.len());
    }

    /// Adds a sequence with the sentence types of its tokens; missing types are 0 and those beyond
    /// the ids are left out.
    pub fn push_with_types(&mut self, ids: &[u32], types: &[u32]) {
        self.types.extend(types.iter().take(ids.len()));
        self.push(ids);
    }

    /// Removes all sequences and keeps the memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.types.clear();
        self.ends.clear();
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has no sequence.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Number of tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The places of each sequence's tokens among all of the batch.
    pub fn sequences(&self) -> impl ExactSizeIterator<Item = Range<usize>> + Clone + '_ {
        let start = |index: usize| if index == 0 { 0 } else { self.ends[index - 1] };
        self.ends.iter().enumerate().map(move |(index, end)| start(index)..*end)
    }

    /// The ids of all tokens.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The sentence types of all tokens.
    pub fn types(&self) -> &[u32] {
        &self.types
    }
}
