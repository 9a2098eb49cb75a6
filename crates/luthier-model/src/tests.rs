use luthier_graph::{Attribute, DType, Dim, Graph, GraphBuilder, TensorData};

use crate::{
    COLUMNS, Categories, ClassDecision, ClassOutput, ColumnKind, Decision, DecisionError,
    Extractor, FeatureIndex, Gives, Group, IndexError, Kind, MAX_LENGTH, MAX_POINTS, Model,
    NgramText, NumberDecision, PREDICTION, Preprocess, PreprocessError, PreprocessForm, Scratch,
    Signature, Table, TableColumn, TokenInputs, TokenSettings, Tokens,
};

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

/// The index that has each bucket of a group with the group's density, by SplitMix64.
fn random_index(densities: [f64; Group::COUNT]) -> FeatureIndex {
    let mut state = 0u64;
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as f64 / 2f64.powi(64)
    };
    let groups = Group::up_to(3, 6).zip(densities).filter(|(_, density)| *density > 0.0);
    FeatureIndex::new(groups.flat_map(|(group, density)| {
        group.buckets().filter(|_| random() < density).collect::<Vec<_>>()
    }))
}

/// Bits of the stored form over the entropy of random sets as dense as the groups of `index`.
fn excess(index: &FeatureIndex) -> f64 {
    let mut counts = [0; Group::COUNT];
    let size = Group::words(1).buckets().len();
    index.buckets().for_each(|bucket| counts[bucket as usize / size] += 1);
    let bits = |count: usize| count as f64 * (size as f64 / count.max(1) as f64).log2();
    let entropy: f64 = counts.iter().map(|&count| bits(count) + bits(size - count)).sum();
    8.0 * index.to_bytes().len() as f64 / entropy
}

/// Strings of 0 and 1, blanks ignored, as bytes; a last part of a byte is filled up with 0.
fn bytes_of(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
    let byte = |part: &[u8]| (0..).zip(part).map(|(place, bit)| bit << (7 - place)).sum();
    bits.chunks(8).map(byte).collect()
}

#[test]
fn the_stored_form_of_an_index_is_fixed() {
    let check = |buckets: &[u32], bits: &str| {
        let index = FeatureIndex::new(buckets.iter().copied());
        assert_eq!(index.to_bytes(), bytes_of(bits), "{buckets:?}");
        assert_eq!(FeatureIndex::from_bytes(&bytes_of(bits)), Ok(index));
    };
    check(&[], "11111111");
    check(&[5], "010 1 00000000000000000101 1111111");
    check(&[0x3f_ffff], "1 010 01 11111111111111111111 111111");
    let far = "00 1 0000000000000000000 01 1111111111111111110";
    check(&[0xf0_0000, 0xff_ffff], &format!("1111111 011 {far}"));
}

#[test]
fn stored_indexes_come_near_their_entropy() {
    let check = |densities, most: f64| {
        let index = random_index(densities);
        assert_eq!(FeatureIndex::from_bytes(&index.to_bytes()), Ok(index.clone()));
        let excess = excess(&index);
        assert!(excess <= most, "{densities:?}: {excess}");
    };
    for density in [0.001, 0.003, 0.01, 0.03, 0.1, 0.113, 0.2, 0.214, 0.3, 0.38, 0.383, 0.4] {
        check([density; Group::COUNT], 1.05);
    }
    check([0.3, 0.0, 0.0001, 0.02, 0.0, 0.4, 0.000_01, 0.001], 1.05);
    check([0.0, 1e-6, 0.0, 1e-6, 1e-6, 1e-6, 0.0, 1e-6], 1.2);
}

#[test]
fn dense_and_uneven_indexes_stay_within_their_bounds() {
    let check = |index: FeatureIndex, most: usize| {
        let bytes = index.to_bytes();
        assert!(bytes.len() <= most, "{} bytes for {}", bytes.len(), index.len());
        assert_eq!(FeatureIndex::from_bytes(&bytes), Ok(index));
    };
    // A bit per bucket and the counts.
    check(FeatureIndex::new(0..1 << 24), (1 << 21) + 43);
    check(random_index([0.5, 0.9, 1.0, 0.0, 0.999, 0.6, 1.0, 0.7]), (1 << 21) + 43);
    // The worst there is: many features for k = 1, and one gap that takes in all the rest.
    let worst = (0..800_000).chain([(1 << 21) - 1]);
    check(FeatureIndex::new(worst), (1 << 21) / 8 * 11 / 10);
    // k is 10, so 13.1 bits per feature.
    check(FeatureIndex::new(0..1000), 1000 * 131 / 80 + 5);
    check(FeatureIndex::new((1 << 24) - 1000..1 << 24), 1000 * 131 / 80 + 5);
}

#[test]
fn broken_indexes_are_refused() {
    let check = |bits: &str, expected| {
        assert_eq!(FeatureIndex::from_bytes(&bytes_of(bits)), Err(expected), "{bits}");
    };
    let zeros = "0".repeat(2000);
    check("", IndexError::Truncated);
    check("11111110", IndexError::Truncated);
    check("010 1 0000", IndexError::Truncated);
    check("1 000000000000000000000 1 111111111111111111111", IndexError::Count { group: 1 });
    check(&zeros, IndexError::Count { group: 0 });
    check("010 001 00000000000000000000", IndexError::OutOfRange { entry: 0 });
    check(&format!("1111 010 {zeros}"), IndexError::OutOfRange { entry: 0 });
    let last = "0001 1111111111111111111";
    check(&format!("1 011 {last} 1 0000000000000000000"), IndexError::OutOfRange { entry: 1 });
    check("11111111 00000000", IndexError::Trailing);
    check("010 1 00000000000000000101 1111111 1", IndexError::Trailing);
}

#[test]
fn an_index_has_one_stored_form() {
    // Whether the bytes are read; then they must be what is written.
    let reads = |bytes: &[u8]| {
        let index = FeatureIndex::from_bytes(bytes);
        index.is_ok_and(|index| index.to_bytes() == bytes || panic!("{index:?} has two forms"))
    };
    let sparse = random_index([1e-5, 0.0, 3e-6, 1e-6, 0.0, 2e-6, 1e-5, 1e-6]).to_bytes();
    for end in 0..sparse.len() {
        assert_eq!(FeatureIndex::from_bytes(&sparse[..end]), Err(IndexError::Truncated), "{end}");
    }
    let dense = random_index([0.0, 0.4, 0.0, 0.1, 0.0, 0.9, 0.0, 0.0]).to_bytes();
    for (bytes, step) in [(&sparse, 1), (&dense, 50_021)] {
        let flipped = (0..8 * bytes.len()).step_by(step).map(|bit| {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        });
        assert!(flipped.filter(|bytes| reads(bytes)).count() > 0);
    }
    for part in dense.chunks(64).step_by(80) {
        reads(part);
    }
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
    let Ok(Preprocess::NgramText(back)) = Preprocess::from_form(&form, &bytes) else {
        panic!("n-grams");
    };
    assert_eq!((back.words(), back.chars(), back.index().len()), (1, 4, 3));
    assert!(Preprocess::from_form(&form, &bytes[1..]).is_err());
    let newer = serde_json::from_str(&json.replace("\"format\":1", "\"format\":2")).unwrap();
    assert!(Preprocess::from_form(&newer, &bytes).is_err());
}

#[test]
fn decisions() {
    let labels = vec!["no".to_owned(), "yes".to_owned()];
    let mut decision = ClassDecision {
        labels,
        positive: Some(1),
        threshold: Some(0.7),
        ..ClassDecision::default()
    };
    Decision::from(decision.clone()).check().unwrap();
    assert_eq!(decision.answer(&[0.4, 0.6]).label, 0);
    assert_eq!(decision.answer(&[0.2, 0.8]).label, 1);
    decision.positive = None;
    assert_eq!(decision.answer(&[0.5, 0.5]).label, 0, "the first wins a tie");
    assert_eq!(Decision::from(decision.clone()).given_output(), None);
    decision.positive = Some(2);
    assert_eq!(Decision::from(decision).check(), Err(DecisionError::Positive(2)));
}

#[test]
fn what_costs_least_is_answered() {
    let labels = |count: usize| (0..count).map(|class| class.to_string()).collect::<Vec<_>>();
    // A miss costs five false alarms, so that an alarm is worth it from 1/6 on (Elkan 2001).
    let mut costly = ClassDecision {
        labels: labels(2),
        positive: Some(1),
        costs: vec![vec![0.0, 1.0], vec![5.0, 0.0]],
        ..ClassDecision::default()
    };
    let answers = |decision: &ClassDecision, rows: &[[f32; 2]]| {
        Decision::from(decision.clone()).check().unwrap();
        rows.iter().map(|row| decision.answer(row).label).collect::<Vec<_>>()
    };
    let rows = [[0.84, 0.16], [0.82, 0.18], [0.3, 0.7]];
    assert_eq!(answers(&costly, &rows), [0, 1, 1]);
    assert_eq!(costly.answer(&rows[0]).score, f64::from(0.16f32), "of the positive class");
    costly.positive = None;
    assert_eq!(answers(&costly, &rows), [0, 1, 1]);
    costly.positive = Some(1);
    costly.threshold = Some(0.6);
    assert_eq!(answers(&costly, &rows), [0, 0, 1], "a threshold goes before costs");
    // The unsure answer is the cheapest when unsure.
    let unsure = ClassDecision {
        labels: labels(3),
        costs: vec![vec![0.0, 1.0, 4.0], vec![2.0, 1.0, 2.0], vec![4.0, 1.0, 0.0]],
        ..ClassDecision::default()
    };
    let label = |row: [f32; 3]| unsure.answer(&row).label;
    assert_eq!(
        [label([0.9, 0.05, 0.05]), label([0.4, 0.2, 0.4]), label([0.05, 0.05, 0.9])],
        [0, 1, 2]
    );
    let json = serde_json::to_string(&unsure).unwrap();
    assert_eq!(serde_json::from_str::<ClassDecision>(&json).unwrap(), unsure);
}

#[test]
fn costs_and_tables_are_checked() {
    let check = |isotonic: Vec<Vec<(f64, f64)>>, costs: Vec<Vec<f64>>, expected| {
        let labels = vec!["no".to_owned(), "yes".to_owned()];
        let decision = ClassDecision { labels, isotonic, costs, ..ClassDecision::default() };
        assert_eq!(Decision::from(decision).check(), expected);
    };
    let table = || vec![(0.1, 0.2), (0.9, 0.7)];
    check(vec![table()], vec![vec![0.0, 1.0], vec![-5.0, 0.0]], Ok(()));
    let tables = Err(DecisionError::Tables { found: 2, classes: 2 });
    check(vec![table(), table()], Vec::new(), tables);
    check(vec![Vec::new()], Vec::new(), Err(DecisionError::Points(0)));
    let many = MAX_POINTS + 1;
    check(vec![vec![(0.0, 0.0); many]], Vec::new(), Err(DecisionError::Points(many)));
    for costs in [
        vec![vec![0.0, 1.0]],
        vec![vec![0.0, 1.0], vec![1.0]],
        vec![vec![0.0, f64::NAN], vec![1.0, 0.0]],
        vec![vec![0.0, 1e200], vec![1.0, 0.0]],
    ] {
        check(Vec::new(), costs, Err(DecisionError::Costs(2)));
    }
}

#[test]
fn decisions_have_the_form_that_they_had() {
    let check = |decision: Decision, json: &str| {
        assert_eq!(serde_json::to_string(&decision).unwrap(), json);
        assert_eq!(serde_json::from_str::<Decision>(json).unwrap(), decision);
    };
    let labels = vec!["no".to_owned(), "yes".to_owned()];
    let binary = ClassDecision {
        labels: labels.clone(),
        positive: Some(1),
        threshold: Some(0.7),
        ..ClassDecision::default()
    };
    check(binary.into(), r#"{"labels":["no","yes"],"positive":1,"threshold":0.7}"#);
    let plain = ClassDecision { labels, positive: None, ..ClassDecision::default() };
    check(plain.into(), r#"{"labels":["no","yes"]}"#);
    let number = Decision::Number(NumberDecision { number: "price".into() });
    assert_eq!((number.outputs(), number.given_output(), number.labels().len()), (1, Some(0), 0));
    assert_eq!((number.check(), number.answer(&[3.0])), (Ok(()), None));
    check(number, r#"{"number":"price"}"#);
    for wrong in [r#"{"labels":["a","b"],"number":"x"}"#, r#"{"labels":["a"],"more":1}"#, "{}"] {
        assert!(serde_json::from_str::<Decision>(wrong).is_err(), "{wrong}");
    }
}

fn table() -> Table {
    let jobs = Categories::new("job", vec!["cook".into(), "smith \"1\"".into()]).unwrap();
    let column = |name: &str, kind| TableColumn { name: name.to_owned(), kind };
    let columns = vec![
        column("age", ColumnKind::Number),
        column("job", ColumnKind::Category(jobs)),
        column("since", ColumnKind::Time),
    ];
    Table::new(columns, vec!["id".into()]).unwrap()
}

#[test]
fn tables_survive_the_way_to_their_form() {
    let (form, bytes) = Preprocess::Table(table()).to_form();
    assert_eq!(serde_json::to_string(&form).unwrap(), r#"{"kind":"table","format":1,"columns":3}"#);
    let Ok(Preprocess::Table(back)) = Preprocess::from_form(&form, &bytes) else {
        panic!("a table")
    };
    assert_eq!(back, table());
    let check = |from: &str, to: &str, error: &str| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains(from), "{from}");
        let found = Preprocess::from_form(&form, text.replace(from, to).as_bytes()).unwrap_err();
        assert!(found.to_string().contains(error), "{found} says nothing of {error}");
    };
    check("\"age\"", "\"since\"", "two columns are called `since`");
    check("\"cook\"", "\" cook\"", "the categories of column `job` cannot be told apart");
    check("\"number\"", "\"text\"", "unknown variant `text`");
    check("\"ignored\"", "\"more\"", "unknown field `more`");
    for form in [
        PreprocessForm::Table { format: 1, columns: 2 },
        PreprocessForm::Table { format: 2, columns: 3 },
    ] {
        assert!(Preprocess::from_form(&form, &bytes).is_err(), "{form:?}");
    }
    for cut in 0..bytes.len() - 2 {
        assert!(Preprocess::from_form(&form, &bytes[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn graphs_over_tables_take_the_columns() {
    let graph = |inputs: &[(&str, DType, Vec<Dim>)]| {
        let mut builder = GraphBuilder::new("columns");
        for (name, dtype, shape) in inputs {
            builder.input(name, *dtype, shape.clone());
        }
        let output = builder.node("ReduceSum", &[inputs[0].0], PREDICTION);
        builder.finish(&[(&output, DType::F32, vec![Dim::Named("batch".into()), Dim::Fixed(1)])])
    };
    let shape = |columns| vec![Dim::Named("batch".into()), columns];
    let check = |inputs: &[(&str, DType, Vec<Dim>)], error: &str| {
        let found = Preprocess::Table(table()).check(&graph(inputs));
        let found = found.map_or_else(|error| error.to_string(), |()| "fine".to_owned());
        assert_eq!(found, error);
    };
    let three = shape(Dim::Fixed(3));
    check(&[(COLUMNS, DType::F32, three.clone())], "fine");
    check(&[(COLUMNS, DType::F32, shape(Dim::Named("columns".into())))], "fine");
    check(
        &[(COLUMNS, DType::F32, shape(Dim::Fixed(4)))],
        "the graph's `columns` takes 4 columns, and the table has 3",
    );
    check(
        &[(COLUMNS, DType::I64, three.clone())],
        "the graph's `columns` is not float32 of a batch of rows by columns",
    );
    check(&[("x", DType::F32, three.clone())], "the graph's `columns` is none of its inputs");
    check(
        &[(COLUMNS, DType::F32, three.clone()), ("y", DType::F32, three)],
        "the graph's `y` is an input that a table does not give",
    );
    let text = Preprocess::Table(table()).unknown_share("a text", &mut Scratch::default());
    assert_eq!(text, Err(PreprocessError::NoText));
}

#[test]
fn signatures_of_tables_name_their_columns() {
    let labels = |count: usize| (0..count).map(|i| i.to_string()).collect();
    let of = |decision: Decision| Signature::of_table(&table(), &decision);
    let binary = ClassDecision { labels: labels(2), positive: Some(1), ..ClassDecision::default() };
    let signature = of(binary.into());
    let inputs: Vec<_> = signature.inputs.iter().map(|f| (f.name.as_str(), f.kind)).collect();
    assert_eq!(inputs, [("age", Kind::Float32), ("job", Kind::String), ("since", Kind::String)]);
    assert_eq!(signature.outputs, Signature::text_classifier(2, true).outputs);
    let three = ClassDecision { labels: labels(3), positive: None, ..ClassDecision::default() };
    assert_eq!(of(three.into()).outputs, Signature::text_classifier(3, false).outputs);
    let number = of(Decision::Number(NumberDecision { number: "price".into() }));
    assert_eq!(
        (number.outputs[0].name.as_str(), &number.outputs[0].shape[..]),
        (PREDICTION, &[-1][..])
    );
}

/// A tokenizer of the words `ab` and `cd`, with a token ahead of each text; `edit` changes the file.
fn tokens(max_length: usize, edit: impl Fn(String) -> String) -> Result<Tokens, PreprocessError> {
    let file = serde_json::json!({
        "version": "1.0",
        "added_tokens": [],
        "truncation": null,
        "padding": null,
        "normalizer": { "type": "Lowercase" },
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                { "SpecialToken": { "id": "[CLS]", "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 1 } },
            ],
            "pair": [
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "Sequence": { "id": "B", "type_id": 1 } },
            ],
            "special_tokens": { "[CLS]": { "id": "[CLS]", "ids": [9], "tokens": ["[CLS]"] } },
        },
        "decoder": null,
        "model": {
            "type": "WordLevel",
            "vocab": { "[UNK]": 0, "[PAD]": 4, "ab": 2, "cd": 3 },
            "unk_token": "[UNK]",
        },
    });
    let settings = TokenSettings { max_length, pad: None, inputs: TokenInputs::default() };
    Tokens::new(edit(file.to_string()).into_bytes(), settings)
}

fn encoded(tokens: &Tokens, text: &str) -> (Vec<u32>, Vec<u32>) {
    let (mut ids, mut types) = (vec![7], vec![8]);
    let count = tokens.encode(text, &mut ids, &mut types).unwrap().len;
    assert_eq!((ids.len(), types.len()), (count + 1, count + 1), "{text}");
    (ids.split_off(1), types.split_off(1))
}

fn is_cut(tokens: &Tokens, text: &str) -> bool {
    tokens.encode(text, &mut Vec::new(), &mut Vec::new()).unwrap().cut
}

#[test]
fn texts_become_tokens_and_long_ones_are_cut() {
    let tokens = tokens(4, |file| file).unwrap();
    assert_eq!(tokens.pad(), 4);
    assert_eq!(encoded(&tokens, "AB xy cd"), (vec![9, 2, 0, 3], vec![0, 1, 1, 1]));
    assert_eq!(encoded(&tokens, ""), (vec![9], vec![0]));
    assert_eq!(encoded(&tokens, "cd ab cd ab cd").0, [9, 3, 2, 3]);
    assert_eq!(encoded(&tokens, &format!("ab {}", "好 ".repeat(100_000))).0, [9, 2, 0, 0]);
    let blank = format!("ab{}cd", " ".repeat(4 * 128));
    assert_eq!(encoded(&tokens, &blank).0, [9, 2], "what is far away is not looked at");
    let long = ["cd ab cd ab", &format!("ab {}", "好 ".repeat(100_000)), &blank];
    assert!(long.iter().all(|text| is_cut(&tokens, text)));
    assert!(!["", "cd ab", "cd ab cd"].iter().any(|text| is_cut(&tokens, text)));
    assert_eq!(tokens.unknown_share(&[9, 2, 0, 0]), 0.5);
    for text in ["\0", "\u{202e}\u{feff}", "👩‍👩‍👧", "İΣς", &"a".repeat(9999), "\n\r\u{2028} \u{3000}"]
    {
        encoded(&tokens, text);
    }
    let (form, bytes) = Preprocess::Tokens(tokens).to_form();
    let form = serde_json::from_str(&serde_json::to_string(&form).unwrap()).unwrap();
    let Ok(Preprocess::Tokens(back)) = Preprocess::from_form(&form, &bytes) else {
        panic!("tokens");
    };
    assert_eq!(encoded(&back, "AB xy cd").0, [9, 2, 0, 3]);
}

#[test]
fn tokenizers_that_cannot_be_used_are_refused() {
    let check = |max_length, from: &str, to: &str, error: &str| {
        let found = tokens(max_length, |file| {
            assert!(file.contains(from), "{from}");
            file.replace(from, to)
        });
        let found = found.unwrap_err().to_string();
        assert!(found.contains(error), "{found:?} says nothing of {error:?}");
    };
    check(1, "", "", "field `max_length` is out of range");
    check(MAX_LENGTH + 1, "", "", "field `max_length` is out of range");
    check(4, "\"version\"", "\"vers", "the tokenizer cannot be used: ");
    check(4, "[9]", "[4294967295]", "its ids go up to 4294967295");
    let left =
        "{\"direction\":\"Left\",\"max_length\":3,\"strategy\":\"LongestFirst\",\"stride\":0}";
    check(4, "\"truncation\":null", &format!("\"truncation\":{left}"), "at their beginning");
    let file = tokens(4, |file| file).unwrap().file().to_vec();
    let settings = TokenSettings { max_length: 4, pad: None, inputs: TokenInputs::default() };
    for cut in (0..file.len()).step_by(7) {
        assert!(Tokens::new(file[..cut].to_vec(), settings.clone()).is_err());
    }
}

/// A graph that gives each text the mean row of a table with `rows` rows of two numbers.
fn mean_graph(rows: usize, output: Dim) -> Graph {
    let mut builder = GraphBuilder::new("mean");
    let ragged = || vec![Dim::Named("batch".into()), Dim::Named("tokens".into())];
    let ids = builder.input("input_ids", DType::I64, ragged());
    builder.input("attention_mask", DType::I64, ragged());
    let data = (0..rows * 2).map(|i| i as f32).collect();
    let table = builder.constant("table", vec![rows, 2], TensorData::F32(data));
    let found = builder.node("Gather", &[&table, &ids], "rows");
    let axes = vec![("axes", Attribute::Ints(vec![1])), ("keepdims", Attribute::Int(0))];
    let mean = builder.node_with("ReduceMean", &[&found], "probabilities", axes);
    builder.finish(&[(&mean, DType::F32, vec![Dim::Named("batch".into()), output])])
}

#[test]
fn imported_graphs_are_checked_and_end_in_a_softmax() {
    let preprocess = Preprocess::Tokens(tokens(4, |file| file).unwrap());
    let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let import = |graph: Graph, name: &str, gives, classes: &[&str]| {
        let output = ClassOutput { name: name.to_owned(), gives, labels: labels(classes) };
        let decision = ClassDecision {
            labels: labels(&["no", "yes"]),
            positive: Some(1),
            ..ClassDecision::default()
        };
        Model::import(graph, preprocess.clone(), &output, decision)
    };
    let graph = || mean_graph(10, Dim::Fixed(2));
    let ops = |model: &Model| {
        model.graph.nodes.iter().map(|node| node.op.as_str()).collect::<Vec<_>>().join(" ")
    };
    let mut model = import(graph(), "probabilities", Gives::Logits, &["no", "yes"]).unwrap();
    assert_eq!(ops(&model), "Gather ReduceMean Softmax");
    assert!(model.set_temperature(2.0) && ops(&model) == "Gather ReduceMean Mul Softmax");
    assert_eq!(model.temperature(), 2.0);
    assert!(!model.set_shifts(&[0.5]), "not one for each class");
    let mut shifted = model.clone();
    assert!(shifted.set_shifts(&[0.0, 0.5]) && shifted.set_temperature(3.0));
    assert_eq!(ops(&shifted), "Gather ReduceMean Add Mul Softmax", "shifts come first");
    shifted.graph.check().unwrap();
    assert!(shifted.set_shifts(&[0.0, 0.0]) && shifted.set_temperature(1.0));
    assert_eq!(ops(&shifted), "Gather ReduceMean Add Mul Softmax", "set anew where they are");
    let model = import(model.graph, "probabilities", Gives::Probabilities, &["yes", "no"]).unwrap();
    assert_eq!(ops(&model), "Gather ReduceMean Mul Gather Softmax", "the softmax moves");
    assert_eq!(model.temperature(), 1.0, "what it was made with is no calibration");
    let model = import(graph(), "probabilities", Gives::Probabilities, &["no", "yes"]).unwrap();
    assert_eq!(ops(&model), "Gather ReduceMean Log Softmax");

    let check = |graph, name, classes: &[&str], error: &str| {
        let found = import(graph, name, Gives::Logits, classes).unwrap_err();
        assert_eq!(found.to_string(), error);
    };
    let both = ["no", "yes"];
    let name = "probabilities";
    check(graph(), "logits", &both, "the graph has no output `logits`; it has `probabilities`");
    check(graph(), name, &["no"], "the model's classes are `no`, and not `no`, `yes`");
    check(graph(), name, &["no", "no"], "the model's classes are `no`, `no`, and not `no`, `yes`");
    check(
        mean_graph(10, Dim::Fixed(3)),
        name,
        &both,
        "the graph's output `probabilities` gives 3 numbers for a text, and there are 2 classes",
    );
    check(
        mean_graph(9, Dim::Fixed(2)),
        name,
        &both,
        "`table` has 9 rows, and the tokenizer gives ids up to 9",
    );
    let mut wrong = graph();
    wrong.inputs[1].name = "mask".to_owned();
    check(
        wrong.clone(),
        name,
        &both,
        "the graph's `attention_mask` is none of its inputs, which are `input_ids`, `mask`",
    );
    wrong.inputs.push(graph().inputs[1].clone());
    check(wrong, name, &both, "the graph's `mask` is an input that the tokenizer does not give");
    let mut fixed = graph();
    fixed.inputs[0].shape[0] = Dim::Fixed(1);
    check(
        fixed,
        name,
        &both,
        "the graph's `input_ids` has a fixed size; export the graph with sizes of batches and texts \
         that vary",
    );
}
