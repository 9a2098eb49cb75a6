//! Lengths, letters and the normal form of texts.

use super::{LengthQuantile, Scripts, TextProfile};
use crate::hash::hash;

/// Lengths up to here are counted one by one.
const LONGEST_COUNTED: usize = 65_535;

const QUANTILES: [f64; 9] = [0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0];

/// What is seen of texts.
#[derive(Default)]
pub(super) struct TextStats {
    lengths: LengthHistogram,
    letters: LetterCounts,
    normalizer: Normalizer,
    empty: u64,
}

impl TextStats {
    /// Takes in a text; the hash of its normal form, and half of that of itself.
    pub(super) fn add(&mut self, text: &str) -> (u64, u32) {
        self.lengths.add(self.letters.add(text));
        self.empty += u64::from(text.trim().is_empty());
        let normal = hash(0, self.normalizer.normalize(text).as_bytes());
        (normal, hash(0, text.as_bytes()) as u32)
    }

    pub(super) fn describe(&self, duplicates: u64, near_duplicates: u64) -> TextProfile {
        TextProfile {
            mean_length: self.lengths.mean(),
            lengths: self.lengths.quantiles(),
            empty: self.empty,
            duplicates,
            near_duplicates,
            scripts: self.letters.shares(),
        }
    }
}

/// How often each length occurs. Longer texts than are counted share the last place, except that
/// the very longest is known.
#[derive(Default)]
struct LengthHistogram {
    counts: Vec<u64>,
    rows: u64,
    sum: u64,
    longest: u64,
}

impl LengthHistogram {
    fn add(&mut self, length: usize) {
        let place = length.min(LONGEST_COUNTED);
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        self.rows += 1;
        self.sum += length as u64;
        self.longest = self.longest.max(length as u64);
    }

    fn mean(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { self.sum as f64 / self.rows as f64 }
    }

    fn quantiles(&self) -> Vec<LengthQuantile> {
        QUANTILES.iter().map(|&q| LengthQuantile { q, characters: self.quantile(q) }).collect()
    }

    fn quantile(&self, q: f64) -> u64 {
        if q >= 1.0 {
            return self.longest;
        }
        let wanted = (q * self.rows as f64).ceil().max(1.0) as u64;
        let mut reached = 0;
        let found = self.counts.iter().position(|count| {
            reached += count;
            reached >= wanted
        });
        found.map_or(self.longest, |length| length as u64)
    }
}

/// How many letters of each script there are.
#[derive(Default)]
struct LetterCounts {
    latin: u64,
    han: u64,
    other: u64,
}

impl LetterCounts {
    /// Counts the letters of `text`; its length in characters.
    fn add(&mut self, text: &str) -> usize {
        let mut length = 0;
        for letter in text.chars() {
            length += 1;
            match letter {
                'a'..='z' | 'A'..='Z' => self.latin += 1,
                letter if letter.is_ascii() => {}
                letter if is_han(letter) => self.han += 1,
                letter if is_latin(letter) => self.latin += 1,
                letter if letter.is_alphabetic() => self.other += 1,
                _ => {}
            }
        }
        length
    }

    fn shares(&self) -> Scripts {
        let all = (self.latin + self.han + self.other).max(1) as f64;
        let share = |count: u64| count as f64 / all;
        Scripts { latin: share(self.latin), han: share(self.han), other: share(self.other) }
    }
}

/// Ideographs: the unified blocks with extensions, compatibility forms, and the two marks 々 and 〇.
fn is_han(letter: char) -> bool {
    matches!(letter, '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{323AF}' | '々' | '〇')
}

/// Letters of the Latin blocks beyond ASCII, full-width forms included.
fn is_latin(letter: char) -> bool {
    let block = matches!(letter, '\u{AA}'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}'
        | '\u{2C60}'..='\u{2C7F}' | '\u{A720}'..='\u{A7FF}' | '\u{FB00}'..='\u{FB06}'
        | '\u{FF21}'..='\u{FF5A}');
    block && letter.is_alphabetic()
}

/// Brings texts to their normal form, in a buffer that is used again.
#[derive(Default)]
struct Normalizer {
    buffer: String,
}

impl Normalizer {
    /// `text` in lower case, with each run of white space and punctuation made one space and none
    /// at the ends. A text of nothing else, such as `:)`, is its own normal form, since there the
    /// punctuation is what it says.
    fn normalize<'a>(&'a mut self, text: &'a str) -> &'a str {
        self.buffer.clear();
        let mut gap = false;
        for letter in text.chars() {
            if is_gap(letter) {
                gap = true;
                continue;
            }
            if gap && !self.buffer.is_empty() {
                self.buffer.push(' ');
            }
            gap = false;
            if letter.is_ascii() {
                self.buffer.push(letter.to_ascii_lowercase());
            } else {
                self.buffer.extend(letter.to_lowercase());
            }
        }
        if self.buffer.is_empty() { text.trim() } else { &self.buffer }
    }
}

/// White space and punctuation: of ASCII all of it, else the blocks that hold nothing else
/// (general, supplemental, CJK and full-width punctuation). Symbols such as emoji stay.
fn is_gap(letter: char) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_whitespace() || letter.is_ascii_punctuation();
    }
    letter.is_whitespace()
        || matches!(letter, '¡' | '§' | '«' | '¶' | '·' | '»' | '¿' | '\u{2010}'..='\u{205E}'
            | '\u{2E00}'..='\u{2E7F}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}'
            | '\u{3014}'..='\u{301F}' | '・' | '\u{FE10}'..='\u{FE19}' | '\u{FE30}'..='\u{FE6F}'
            | '\u{FF01}'..='\u{FF0F}' | '\u{FF1A}'..='\u{FF20}' | '\u{FF3B}'..='\u{FF3F}'
            | '\u{FF5B}'..='\u{FF65}')
}

#[cfg(test)]
mod tests {
    use super::{LengthHistogram, LetterCounts, Normalizer};

    #[test]
    fn normal_forms() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Normalizer::default().normalize(text), expected, "{text:?}");
        };
        check("  It's  GREAT!!! ", "it s great");
        check("好吃，真的。", "好吃 真的");
        check("ÉTÉ — été", "été été");
        check(" :) ", ":)");
        check("good 👍", "good 👍");
        check("", "");
    }

    /// Expected values from `numpy.quantile(lengths, q, method="inverted_cdf")`.
    #[test]
    fn quantiles_are_those_of_the_inverted_distribution() {
        let mut histogram = LengthHistogram::default();
        (1..=200).for_each(|length| histogram.add(length * length % 211));
        histogram.add(100_000);
        let quantiles: Vec<u64> = histogram.quantiles().iter().map(|q| q.characters).collect();
        assert_eq!(quantiles, [1, 5, 13, 55, 103, 163, 201, 209, 100_000]);
    }

    #[test]
    fn letters_are_counted_by_script() {
        let mut letters = LetterCounts::default();
        assert_eq!(letters.add("Straße 42 北京々 Привет 👍"), 22);
        let shares = letters.shares();
        assert_eq!((shares.latin, shares.han, shares.other), (0.4, 0.2, 0.4));
        assert_eq!(LetterCounts::default().shares().latin, 0.0);
    }
}
