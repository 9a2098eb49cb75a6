use luthier_test::{Scratch, assert_close, real_data};

use crate::{Dataset, DatasetSpec, Part, PartProfile, Profile, RowRef, WeightProfile};

mod table;

fn profile(train: &str, test: &str) -> Profile {
    let scratch = Scratch::new();
    let header = "text,label,w\n";
    let spec = DatasetSpec {
        train: scratch.write("train.csv", format!("{header}{train}")),
        valid: Some(scratch.write("valid.csv", format!("{header}v1,0,1\nv2,1,1\n"))),
        test: Some(scratch.write("test.csv", format!("{header}{test}"))),
        label: "label".into(),
        weight: Some("w".into()),
        ..DatasetSpec::default()
    };
    Dataset::open(&spec).unwrap().profile().unwrap()
}

fn real(set: &str) -> Option<Profile> {
    let folder = real_data(set)?;
    let spec = DatasetSpec {
        train: folder.join("train.csv"),
        valid: Some(folder.join("valid.csv")),
        test: Some(folder.join("test.csv")),
        label: "label".into(),
        ..DatasetSpec::default()
    };
    Some(Dataset::open(&spec).unwrap().profile().unwrap())
}

fn codes(profile: &Profile) -> Vec<&str> {
    profile.findings.iter().map(|finding| finding.code.as_str()).collect()
}

fn at(part: Part, row: u64) -> RowRef {
    RowRef { part, row }
}

#[test]
fn alike_rows_are_counted_by_kind() {
    let profile = profile(
        "same,0,1\nother,1,2\nsame,0,0.5\nSame!,0,1\n,1,1\nsame,1,1\n",
        "SAME,0,1\nother,1,1\nother,1,1\nnew,0,1\n",
    );
    let [train, valid, test] = &profile.parts[..] else { panic!("three parts") };
    let counts = |part: &PartProfile| {
        let text = part.text().unwrap();
        (text.duplicates, text.near_duplicates, text.empty)
    };
    assert_eq!([train, valid, test].map(counts), [(2, 3, 1), (0, 0, 0), (1, 1, 0)]);
    let [leak] = &profile.leakage[..] else { panic!("one leak") };
    assert_eq!((leak.from, leak.to, leak.rows, leak.twins.texts), (Part::Train, Part::Test, 2, 1));
    assert_eq!(leak.twins.examples, [(at(Part::Train, 2), at(Part::Test, 2))]);
    assert_eq!(profile.contradictions.texts, 1);
    assert_eq!(profile.contradictions.examples, [(at(Part::Train, 1), at(Part::Train, 6))]);
    assert_eq!(train.weights, Some(WeightProfile { min: 0.5, max: 2.0, sum: 6.5 }));
    assert_eq!(train.class_counts, [3, 3]);
    assert_eq!(
        codes(&profile),
        [
            "duplicates",
            "near-duplicates",
            "rare-class",
            "few-rows",
            "few-rows",
            "duplicates",
            "leakage",
            "contradictions",
            "empty-texts",
        ]
    );
}

#[test]
fn the_first_five_pairs_are_named() {
    let train: String = (0..40).map(|i| format!("text {i},{},1\n", i % 2)).collect();
    let test: String = (0..40).rev().map(|i| format!("text {i},{},1\n", i % 2)).collect();
    let leak = profile(&train, &test).leakage.remove(0);
    let expected: Vec<_> =
        (1..=5).map(|row| (at(Part::Train, row), at(Part::Test, 41 - row))).collect();
    assert_eq!((leak.twins.texts, leak.twins.examples), (40, expected));
}

#[test]
fn clean_data_has_no_findings_and_imbalance_is_one() {
    let rows = |from: usize, to: usize, every: usize| -> String {
        (from..to).map(|i| format!("text {i},{},1\n", u8::from(i % every == 0))).collect()
    };
    let balanced = profile(&rows(0, 400, 3), &rows(400, 600, 3));
    assert_eq!(codes(&balanced), ["few-rows"], "valid has two rows");
    let skewed = profile(&rows(0, 400, 25), &rows(400, 600, 3));
    assert_eq!(codes(&skewed), ["class-imbalance", "few-rows"]);
    assert_eq!(skewed.findings[0].message, "train has 384 rows of `0` and 16 of `1`");
}

#[test]
fn profiles_are_small_and_survive_json() {
    let rows = |count: usize| -> String {
        (0..count)
            .map(|i| {
                format!(
                    "文字 {},c{} 好好好好好好好好好好好好好好好好好好好好好好好好好好好好,1\n",
                    i / 2,
                    i % 300
                )
            })
            .collect()
    };
    let labelled: String = rows(900);
    let scratch = Scratch::new();
    let path = scratch.write("a.csv", format!("text,label,w\n{labelled}"));
    let spec = DatasetSpec { train: path, label: "label".into(), ..DatasetSpec::default() };
    let profile = Dataset::open(&spec).unwrap().profile().unwrap();
    let json = serde_json::to_string(&profile).unwrap();
    assert!(json.len() < 20_000, "{} bytes", json.len());
    assert_eq!((profile.classes, profile.labels.len()), (300, 100));
    assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
}

/// The README of the set: nine duplicates in train, two test texts also in train.
#[test]
fn sst2_has_the_duplicates_its_readme_names() {
    let Some(profile) = real("sst2") else { return };
    let train = &profile.parts[0];
    let texts = train.text().unwrap();
    assert_eq!((train.rows, texts.duplicates), (6920, 9));
    let leak =
        profile.leakage.iter().find(|leak| (leak.from, leak.to) == (Part::Train, Part::Test));
    assert_eq!(leak.map(|leak| leak.twins.texts), Some(2));
    let lengths: Vec<u64> = texts.lengths.iter().map(|q| q.characters).collect();
    // numpy.quantile(lengths, q, method="inverted_cdf") over train.csv read by Python's csv module.
    assert_eq!(lengths, SST2_LENGTHS);
    assert_close(texts.mean_length, SST2_MEAN, 1e-9, "mean length");
    assert!(texts.scripts.latin > 0.999, "{:?}", texts.scripts);
}

const SST2_LENGTHS: [u64; 9] = [2, 13, 26, 61, 97, 136, 191, 233, 271];
const SST2_MEAN: f64 = 101.083_815_028_901_74;

/// The README of the set: duplicates were dropped, texts are Chinese, two negatives per positive.
#[test]
fn zh_waimai_is_clean_and_chinese() {
    let Some(profile) = real("zh_waimai") else {
        return;
    };
    let texts = profile.parts[0].text().unwrap();
    assert!(profile.parts.iter().all(|part| part.text().unwrap().duplicates == 0));
    assert!(profile.leakage.is_empty());
    assert!(texts.scripts.han > 0.95, "{:?}", texts.scripts);
    assert_eq!(texts.lengths[4].characters, 17);
}
