//! Text to hashed word and character n-grams.
//!
//! The text is folded first: full-width ASCII to ASCII, lower case, every run of white space and
//! control characters to one space, a space at each end. *Words* are runs of letters, digits and
//! inner apostrophes; a Han, Hiragana, Katakana or Hangul character is a word of its own, and so is
//! every other visible character. *Character n-grams* run over the folded text, across words. So
//! Chinese needs no word segmenter.
//!
//! A feature is the presence of an n-gram (not its count), hashed to a bucket of its [`Group`], so
//! that `"ab"` as a word and as two characters are different features.

use crate::FeatureIndex;

/// Bits of a bucket number: the group's above those of the n-gram's hash.
pub const HASH_BITS: u32 = 24;
/// Bits of the hash within a group: 2,097,152 buckets for each.
const GROUP_BITS: u32 = HASH_BITS - Group::COUNT.ilog2();
/// Longest word n-gram there is.
pub const MAX_WORDS: u8 = 3;
/// Shortest character n-gram there is.
pub const MIN_CHARS: u8 = 2;
/// Longest character n-gram there is.
pub const MAX_CHARS: u8 = 6;

/// N-grams of one kind and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(u8);

impl Group {
    /// Number of groups.
    pub const COUNT: usize = MAX_WORDS as usize + (MAX_CHARS - MIN_CHARS + 1) as usize;

    /// Word n-grams of length `n`, 1 to [`MAX_WORDS`].
    pub const fn words(n: u8) -> Self {
        assert!(1 <= n && n <= MAX_WORDS);
        Self(n - 1)
    }

    /// Character n-grams of length `n`, [`MIN_CHARS`] to [`MAX_CHARS`].
    pub const fn chars(n: u8) -> Self {
        assert!(MIN_CHARS <= n && n <= MAX_CHARS);
        Self(MAX_WORDS + n - MIN_CHARS)
    }

    /// The groups of word n-grams up to `words` and character n-grams up to `chars`.
    pub fn up_to(words: u8, chars: u8) -> impl Iterator<Item = Self> {
        let words = (1..=words.min(MAX_WORDS)).map(Self::words);
        words.chain((MIN_CHARS..=chars.min(MAX_CHARS)).map(Self::chars))
    }

    /// Position among all groups, below [`Group::COUNT`].
    pub const fn position(self) -> usize {
        self.0 as usize
    }

    /// The buckets that n-grams of this group fall into.
    pub const fn buckets(self) -> std::ops::Range<u32> {
        let group = self.0 as u32;
        group << GROUP_BITS..(group + 1) << GROUP_BITS
    }
}

/// Finds the n-grams of texts; holds buffers that are reused from text to text.
#[derive(Debug, Default)]
pub struct Extractor {
    folded: Vec<char>,
    words: Vec<u64>,
}

impl Extractor {
    /// Calls `emit` with each n-gram of word length up to `words` and character length up to
    /// `chars`: its group and bucket, in order of position, repeats included.
    pub fn extract(&mut self, text: &str, words: u8, chars: u8, mut emit: impl FnMut(Group, u32)) {
        fold(text, &mut self.folded);
        if words > 0 {
            hash_words(&self.folded, &mut self.words);
            for start in 0..self.words.len() {
                let mut hash = 0;
                let end = (start + usize::from(words.min(MAX_WORDS))).min(self.words.len());
                for (n, word) in (1..).zip(&self.words[start..end]) {
                    hash = mix(hash ^ word);
                    emit(Group::words(n), bucket(hash, Group::words(n)));
                }
            }
        }
        if chars >= MIN_CHARS {
            for start in 0..self.folded.len() {
                let mut hash = 0;
                let end = (start + usize::from(chars.min(MAX_CHARS))).min(self.folded.len());
                for (n, &c) in (1..).zip(&self.folded[start..end]) {
                    hash = step(hash, c);
                    if n >= MIN_CHARS {
                        emit(Group::chars(n), bucket(hash, Group::chars(n)));
                    }
                }
            }
        }
    }
}

/// Turns texts into rows of a table with weights.
#[derive(Debug, Clone)]
pub struct NgramText {
    words: u8,
    chars: u8,
    index: FeatureIndex,
}

/// Buffers of [`NgramText::features`], reused from text to text.
#[derive(Debug, Default)]
pub struct Scratch {
    extractor: Extractor,
    rows: Vec<u32>,
}

impl NgramText {
    /// Number of the stored form.
    pub const FORMAT: u32 = 1;
    /// Graph input that takes rows of the table, padded with 0.
    pub const IDS: &'static str = "ids";
    /// Graph input that takes the weight of each row, 0 where padded.
    pub const WEIGHTS: &'static str = "weights";

    /// N-grams of up to `words` words and `chars` characters, of which those in `index` count.
    pub fn new(words: u8, chars: u8, index: FeatureIndex) -> Self {
        Self { words, chars, index }
    }

    /// Longest word n-gram; 0 means none.
    pub fn words(&self) -> u8 {
        self.words
    }

    /// Longest character n-gram; 0 means none.
    pub fn chars(&self) -> u8 {
        self.chars
    }

    /// The features that have a row.
    pub fn index(&self) -> &FeatureIndex {
        &self.index
    }

    /// The same n-grams with another index.
    #[must_use]
    pub fn with_index(&self, index: FeatureIndex) -> Self {
        Self { index, ..*self }
    }

    /// The distinct rows of `text`, ascending, and the weight all of them carry: one over the
    /// square root of their number, so that the feature vector has length 1.
    pub fn features<'s>(&self, text: &str, scratch: &'s mut Scratch) -> (&'s [u32], f32) {
        let Scratch { extractor, rows } = scratch;
        rows.clear();
        extractor.extract(text, self.words, self.chars, |_, bucket| {
            rows.extend(self.index.row(bucket));
        });
        rows.sort_unstable();
        rows.dedup();
        (rows, feature_weight(rows.len()))
    }

    /// The share of the n-grams of `text`, repeats included, that are not in the index.
    pub fn unknown_share(&self, text: &str, scratch: &mut Scratch) -> f64 {
        let (mut ngrams, mut unknown) = (0u64, 0u64);
        scratch.extractor.extract(text, self.words, self.chars, |_, bucket| {
            ngrams += 1;
            unknown += u64::from(self.index.row(bucket).is_none());
        });
        unknown as f64 / ngrams.max(1) as f64
    }
}

/// The weight that each feature of a text with `features` features carries: one over the root of
/// their number.
#[inline]
pub fn feature_weight(features: usize) -> f32 {
    1.0 / (features.max(1) as f32).sqrt()
}

fn fold(text: &str, folded: &mut Vec<char>) {
    folded.clear();
    folded.push(' ');
    let mut push = |c: char| {
        let blank = c.is_whitespace() || c.is_control();
        match (blank, folded.last()) {
            (true, Some(' ')) => {}
            (true, _) => folded.push(' '),
            (false, _) => folded.push(c),
        }
    };
    for c in text.chars() {
        match c {
            '\0'..='\x7f' => push(c.to_ascii_lowercase()),
            '\u{ff01}'..='\u{ff5e}' => {
                push(((c as u32 - 0xfee0) as u8).to_ascii_lowercase() as char);
            }
            _ => c.to_lowercase().for_each(&mut push),
        }
    }
    push(' ');
}

fn hash_words(folded: &[char], words: &mut Vec<u64>) {
    words.clear();
    let mut open = None;
    for (position, &c) in folded.iter().enumerate() {
        let inner = c == '\''
            && open.is_some()
            && folded.get(position + 1).is_some_and(|next| next.is_alphanumeric());
        if inner || (c.is_alphanumeric() && !stands_alone(c)) {
            open = Some(step(open.unwrap_or(0), c));
            continue;
        }
        words.extend(open.take());
        if c != ' ' {
            words.push(step(0, c));
        }
    }
    words.extend(open);
}

/// Whether a letter is a word of its own: scripts that are written without spaces.
fn stands_alone(c: char) -> bool {
    matches!(c,
        '\u{2e80}'..='\u{2fdf}'      // radicals
        | '\u{3040}'..='\u{30ff}'    // Hiragana, Katakana
        | '\u{3400}'..='\u{4dbf}'    // Han, extension A
        | '\u{4e00}'..='\u{9fff}'    // Han
        | '\u{ac00}'..='\u{d7af}'    // Hangul
        | '\u{f900}'..='\u{faff}'    // Han, compatibility
        | '\u{20000}'..='\u{323af}') // Han, extensions B to H
}

/// Adds a character to a running hash (Fibonacci multiplier after an xor, FNV's shape).
#[inline]
fn step(hash: u64, c: char) -> u64 {
    (hash ^ u64::from(c as u32) ^ 0x51_7c_c1_b7).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

/// The finaliser of SplitMix64 (Steele et al. 2014): every input bit reaches every output bit.
#[inline]
fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 30;
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= hash >> 27;
    hash = hash.wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[inline]
fn bucket(hash: u64, group: Group) -> u32 {
    group.buckets().start | (mix(hash) >> (64 - GROUP_BITS)) as u32
}
