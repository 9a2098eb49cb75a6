//! Texts of a call.

use std::ops::Range;

/// Texts in one buffer, one after another: two allocations however many there are, and nothing
/// borrowed, so that they cross to a worker as they are.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Texts {
    buffer: String,
    ends: Vec<usize>,
}

impl Texts {
    /// No texts yet, with room for `texts` of them.
    pub(crate) fn with_capacity(texts: usize) -> Self {
        Self { buffer: String::new(), ends: Vec::with_capacity(texts) }
    }

    /// One text that cannot be taken out without a panic.
    #[cfg(test)]
    pub(crate) fn broken() -> Self {
        Self { buffer: String::new(), ends: vec![1] }
    }

    /// Adds a text.
    pub(crate) fn push(&mut self, text: &str) {
        self.buffer.push_str(text);
        self.ends.push(self.buffer.len());
    }

    /// Number of texts.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Length of all texts together.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The text at a place, empty where there is none.
    pub(crate) fn get(&self, place: usize) -> &str {
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let end = self.ends.get(place).copied().unwrap_or(0);
        self.buffer.get(start.unwrap_or(0)..end).unwrap_or_default()
    }

    /// The texts in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.iter_of(0..self.len())
    }

    /// The texts at `places`, which are within their number, in order.
    pub(crate) fn iter_of(&self, places: Range<usize>) -> impl Iterator<Item = &str> {
        let before = places.start.checked_sub(1).map_or(0, |place| self.ends[place]);
        let ends = &self.ends[places];
        let starts = std::iter::once(before).chain(ends.iter().copied());
        starts.zip(ends).map(|(start, end)| &self.buffer[start..*end])
    }
}

#[cfg(test)]
mod tests {
    use super::Texts;

    #[test]
    fn texts_are_found_by_their_places() {
        let mut texts = Texts::default();
        let all = ["", "a", "好 b", "", "c"];
        all.iter().for_each(|text| texts.push(text));
        let found: Vec<&str> = (0..texts.len()).map(|place| texts.get(place)).collect();
        assert_eq!(found, all);
        assert_eq!(texts.get(texts.len()), "");
        assert_eq!(texts.iter_of(1..3).collect::<Vec<_>>(), all[1..3]);
        assert_eq!(texts.iter_of(5..5).count(), 0);
    }
}
