use crate::{Decision, DecisionError, Extractor, FeatureIndex, Group, IndexError, NgramText};
use crate::{Preprocess, Scratch};

fn buckets(text: &str, words: u8, chars: u8) -> Vec<(Group, u32)> {
    let mut found = Vec::new();
    Extractor::default().extract(text, words, chars, |group, bucket| found.push((group, bucket)));
    found
}

fn count(text: &str, group: Group) -> usize {
    buckets(text, 3, 6).iter().filter(|(g, _)| *g == group).count()
}

#[test]
fn words_of_spaced_and_unspaced_scripts() {
    let check = |text, expected| assert_eq!(count(text, Group::words(1)), expected, "{text}");
    check("", 0);
    check("  one  two ", 2);
    check("don't stop!", 3);
    check("'quoted'", 3);
    check("好吃不贵", 4);
    check("iPhone 手机壳 3个", 6);
    assert_eq!(count("a b c d", Group::words(3)), 2);
    assert_eq!(count("abc", Group::chars(2)), 4, "spaces at both ends take part");
    assert_eq!(count("好吃", Group::chars(6)), 0);
}

#[test]
fn folding_makes_variants_equal() {
    let check = |a, b| assert_eq!(buckets(a, 3, 6), buckets(b, 3, 6), "{a:?} and {b:?}");
    check("Great  FILM\n", "great film");
    check("ＡＢＣ！", "abc!");
    check("ÄRGER", "ärger");
    check("\u{0}a\tb", "a b");
    assert_ne!(buckets("ab", 1, 0), buckets("ba", 1, 0));
}

#[test]
fn shorter_settings_give_a_part_of_longer_ones() {
    let all = buckets("A slow start, 但是 worth it", 3, 6);
    let part = buckets("A slow start, 但是 worth it", 2, 4);
    let expected: Vec<_> = Group::up_to(2, 4).collect();
    let filtered: Vec<_> = all.into_iter().filter(|(g, _)| expected.contains(g)).collect();
    assert_eq!(filtered, part);
}

#[test]
fn hashes_are_stable_across_releases() {
    let (group, bucket) = buckets("film", 1, 0)[0];
    assert_eq!((group, bucket), (Group::words(1), buckets("Film", 1, 0)[0].1));
    assert_eq!(bucket, 1_280_147, "a change here breaks every stored model");
}

#[test]
fn index_rows_follow_bucket_order() {
    let buckets = [7u32, 0, 63, 64, 511, 512, 513, 16_777_215, 7, 70_000];
    let index = FeatureIndex::new(buckets);
    let mut sorted = buckets.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(index.buckets().collect::<Vec<_>>(), sorted);
    for (row, bucket) in sorted.iter().enumerate() {
        assert_eq!(index.row(*bucket), Some(row as u32));
        assert_eq!(index.row(bucket ^ 1).is_some(), sorted.contains(&(bucket ^ 1)));
    }
    let bytes = index.to_bytes();
    assert_eq!(FeatureIndex::from_bytes(&bytes).unwrap(), index);
    let even = index.retain(|row| row % 2 == 0);
    assert_eq!(even.len(), sorted.len().div_ceil(2));
    assert_eq!(even.row(63), Some(1));
}

#[test]
fn broken_indexes_are_refused() {
    let check = |bytes: &[u8], expected| {
        assert_eq!(FeatureIndex::from_bytes(bytes).unwrap_err(), expected, "{bytes:?}");
    };
    check(&[0, 0x80], IndexError::Truncated);
    check(&[0xff, 0xff, 0xff, 0x7f], IndexError::OutOfRange { entry: 0 });
    check(&[0x80, 0x80, 0x80, 0x80], IndexError::OutOfRange { entry: 0 });
    check(&[0, 0xff, 0xff, 0xff, 0x07], IndexError::OutOfRange { entry: 1 });
    assert!(FeatureIndex::from_bytes(&[]).unwrap().is_empty());
}

#[test]
fn features_are_distinct_and_of_length_one() {
    let found = buckets("good good film", 2, 0);
    let text = NgramText::new(2, 0, FeatureIndex::new(found.iter().map(|(_, b)| *b)));
    let mut scratch = Scratch::default();
    let (rows, weight) = text.features("good good film good", &mut scratch);
    assert_eq!(rows.len(), 4, "good, film, good good, good film; film good is unknown");
    assert!((weight - 0.5).abs() < 1e-7);
    let (rows, weight) = text.features("nothing", &mut scratch);
    assert!(rows.is_empty() && weight == 1.0);
}

#[test]
fn preprocessing_survives_the_way_to_its_form() {
    let text = NgramText::new(1, 4, FeatureIndex::new([1, 2, 3]));
    let (form, bytes) = Preprocess::NgramText(text).to_form();
    let json = serde_json::to_string(&form).unwrap();
    let form = serde_json::from_str(&json).unwrap();
    let Preprocess::NgramText(back) = Preprocess::from_form(&form, &bytes).unwrap();
    assert_eq!((back.words(), back.chars(), back.index().len()), (1, 4, 3));
    assert!(Preprocess::from_form(&form, &bytes[1..]).is_err());
    let newer = serde_json::from_str(&json.replace("\"format\":1", "\"format\":2")).unwrap();
    assert!(Preprocess::from_form(&newer, &bytes).is_err());
}

#[test]
fn decisions() {
    let labels = vec!["no".to_owned(), "yes".to_owned()];
    let mut decision = Decision { labels, positive: Some(1), threshold: Some(0.7) };
    decision.check().unwrap();
    assert_eq!(decision.answer(&[0.4, 0.6]).label, 0);
    assert_eq!(decision.answer(&[0.2, 0.8]).label, 1);
    decision.positive = None;
    assert_eq!(decision.answer(&[0.5, 0.5]).label, 0, "the first wins a tie");
    decision.positive = Some(2);
    assert_eq!(decision.check(), Err(DecisionError::Positive(2)));
}
