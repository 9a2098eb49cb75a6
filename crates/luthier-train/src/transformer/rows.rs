//! Texts as tokens, and batches of them.

use luthier_model::Tokens;
use luthier_nn::{Batch, BatchSize};

use crate::data::{Subset, TextData};
use crate::{Host, TrainError};

/// Tokens that go through a network together at most; larger batches are cut into parts whose gradients
/// are added.
const MAX_TOKENS: usize = 4096;

/// Texts as the ids of their tokens, one after the other.
#[derive(Default, Hash)]
pub(super) struct Encoded {
    ids: Vec<u32>,
    types: Vec<u32>,
    ends: Vec<usize>,
    /// How many are cut.
    cut: usize,
}

impl Encoded {
    /// The texts of a subset.
    pub(super) fn of(
        data: &TextData<'_>,
        subset: Subset,
        tokens: &Tokens,
        host: &Host<'_>,
    ) -> Result<Self, TrainError> {
        let (mut encoded, mut wrong) = (Self::default(), None);
        data.each_text(subset, &mut |text| {
            if wrong.is_none() {
                wrong = host.go_on().and_then(|()| encoded.push(text, tokens)).err();
            }
        })?;
        wrong.map_or(Ok(encoded), Err)
    }

    pub(super) fn push(&mut self, text: &str, tokens: &Tokens) -> Result<(), TrainError> {
        let encoding = tokens.encode(text, &mut self.ids, &mut self.types)?;
        self.ends.push(self.ids.len());
        self.cut += usize::from(encoding.cut);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn cut(&self) -> usize {
        self.cut
    }

    fn tokens(&self, row: usize) -> std::ops::Range<usize> {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[row]
    }

    /// Adds a row to a batch.
    pub(super) fn put(&self, row: usize, batch: &mut Batch) {
        let tokens = self.tokens(row);
        batch.push_with_types(&self.ids[tokens.clone()], &self.types[tokens]);
    }

    /// Cuts rows into runs of few enough tokens, at least a row each.
    pub(super) fn parts<'r>(&self, mut rows: &'r [u32]) -> Vec<&'r [u32]> {
        let mut parts = Vec::new();
        while !rows.is_empty() {
            let mut tokens = 0;
            let fits = |row: &&u32| {
                tokens += self.tokens(**row as usize).len();
                tokens <= MAX_TOKENS
            };
            let (part, rest) = rows.split_at(rows.iter().take_while(fits).count().max(1));
            parts.push(part);
            rows = rest;
        }
        parts
    }

    /// The largest part that a batch of `rows` may have.
    pub(super) fn largest_part(&self, rows: usize) -> BatchSize {
        let mut lengths: Vec<usize> = (0..self.len()).map(|row| self.tokens(row).len()).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let longest = lengths.first().copied().unwrap_or(1);
        let all: usize = lengths.iter().take(rows).sum();
        BatchSize { sequences: rows, tokens: all.min(MAX_TOKENS.max(longest)) }
    }
}

/// Probabilities of all rows, row-major, from logits.
pub(super) fn answer(
    rows: &Encoded,
    classes: usize,
    logits: &mut dyn FnMut(&Batch) -> Result<Vec<f32>, TrainError>,
) -> Result<Vec<f32>, TrainError> {
    let mut probabilities = vec![0.0; rows.len() * classes];
    let mut batch = Batch::new();
    let order: Vec<u32> = (0..rows.len() as u32).collect();
    for part in rows.parts(&order) {
        batch.clear();
        part.iter().for_each(|row| rows.put(*row as usize, &mut batch));
        let mut found = logits(&batch)?;
        found.chunks_exact_mut(classes).for_each(crate::bag::softmax);
        let start = part.first().map_or(0, |row| *row as usize) * classes;
        probabilities[start..start + found.len()].copy_from_slice(&found);
    }
    Ok(probabilities)
}
