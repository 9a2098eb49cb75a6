//! Texts made of others, for a teacher to label (Tang et al. 2019).

use std::ops::Range;

use rand::RngExt;

use crate::sampling::generator;

/// What stands for a word that is left out; tokenizers of BERT's family have a token for it.
const MASK: &str = "[MASK]";
/// Share of words that are left out.
const MASKED: f64 = 0.1;
/// Share of texts of which only a run of words stays, and the longest such run. What a teacher says of
/// phrases tells more than what it says of a text once more with a few words less.
const RUNS: f64 = 0.75;
const LONGEST_RUN: usize = 10;

/// A text like `text`: some of its words are masked, and mostly only a run of few words stays. It depends
/// on `text`, `seed` and `number` alone, and is the text itself where that has a single word.
///
/// What stays may be of another class than the text: only a teacher can tell.
pub fn augmented(text: &str, seed: u64, number: u64) -> String {
    let words = words(text);
    let mut random = generator(seed, number);
    let masked: Vec<bool> = words.iter().map(|_| random.random_bool(MASKED)).collect();
    let kept = match words.len() {
        0 | 1 => return text.to_owned(),
        count if random.random_bool(RUNS) => {
            let length = random.random_range(1..=LONGEST_RUN.min(count));
            let start = random.random_range(0..=count - length);
            start..start + length
        }
        count => 0..count,
    };
    let mut made = String::with_capacity(text.len());
    let mut end = words[kept.start].start;
    for (word, is_masked) in words[kept.clone()].iter().zip(&masked[kept]) {
        made.push_str(&text[end..word.start]);
        made.push_str(if *is_masked { MASK } else { &text[word.clone()] });
        end = word.end;
    }
    made
}

/// Where the words of a text are: what white space parts, of which each ideograph, kana and syllable of
/// Hangul is a word of its own, since nothing parts those.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    for (start, char) in text.char_indices() {
        let end = start + char.len_utf8();
        let alone = matches!(char, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}'
            | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}');
        match words.last_mut() {
            _ if char.is_whitespace() => open = false,
            Some(word) if open && !alone => word.end = end,
            _ => {
                words.push(start..end);
                open = !alone;
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_parted_by_space_or_stand_alone() {
        let found = |text: &'static str| -> Vec<&str> {
            words(text).into_iter().map(|word| &text[word]).collect()
        };
        assert_eq!(found("  it's  a\tfilm. "), ["it's", "a", "film."]);
        assert_eq!(found("很好吃 ok的"), ["很", "好", "吃", "ok", "的"]);
        assert!(found(" \n").is_empty());
    }

    #[test]
    fn texts_are_masked_and_cut() {
        let text = "one two three four five six seven eight nine ten eleven twelve";
        let made: Vec<String> = (0..4000).map(|number| augmented(text, 1, number)).collect();
        let count = |text: &String| text.split(' ').count();
        let cut = made.iter().filter(|text| count(text) < 12).count();
        assert!((2900..3100).contains(&cut), "{cut} of 4000 were cut");
        assert!(made.iter().all(|text| (1..=10).contains(&count(text)) || count(text) == 12));
        let of_all = made.iter().flat_map(|text| text.split(' '));
        let (masked, all) =
            of_all.fold((0, 0), |(m, n), word| (m + u32::from(word == MASK), n + 1));
        assert!((0.09..0.11).contains(&(f64::from(masked) / f64::from(all))));
        assert_eq!(made[7], augmented(text, 1, 7));
        assert_ne!(made[7], augmented(text, 2, 7));
        for text in ["", "  ", "one", " one "] {
            assert_eq!(augmented(text, 1, 1), text);
        }
    }
}
