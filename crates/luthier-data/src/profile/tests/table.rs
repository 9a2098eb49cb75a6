use std::fmt::Write;

use luthier_test::{Scratch, assert_close, real_data};

use super::codes;
use crate::{
    ColumnChoice, ColumnProfile, ContentSpec, Dataset, DatasetSpec, Distinct, NumberProfile,
    PartProfile, Profile, Severity, TableSpec, Target, ValuesProfile,
};

fn profile(train: &str, test: &str, target: Target) -> Profile {
    let scratch = Scratch::new();
    let spec = DatasetSpec {
        train: scratch.write("train.csv", train),
        valid: Some(scratch.write("valid.csv", train)),
        test: Some(scratch.write("test.csv", test)),
        content: ContentSpec::Table(TableSpec::default()),
        label: "label".into(),
        target,
        ..DatasetSpec::default()
    };
    Dataset::open(&spec).unwrap().profile().unwrap()
}

fn column<'a>(part: &'a PartProfile, name: &str) -> &'a ColumnProfile {
    part.table().unwrap().columns.iter().find(|column| column.name == name).unwrap()
}

fn numbers(column: &ColumnProfile) -> &NumberProfile {
    match &column.values {
        ValuesProfile::Number { numbers } | ValuesProfile::Time { numbers } => {
            numbers.as_ref().unwrap()
        }
        ValuesProfile::Category(categories) => panic!("{categories:?}"),
    }
}

fn messages(profile: &Profile, code: &str) -> Vec<String> {
    let found = profile.findings.iter().filter(|finding| finding.code == code);
    found.map(|finding| finding.message.clone()).collect()
}

/// Rows of an odd table; `shift` moves one of its columns.
fn odd(rows: usize, shift: usize) -> String {
    let mut text = "key,leak,noise,moved,one,half,city,since,label\n".to_owned();
    for i in 0..rows {
        let class = u8::from(i * 31 % 10 < 3);
        let half = if i % 3 == 0 { (i * 7919 % 1009).to_string() } else { String::new() };
        let _ = writeln!(
            text,
            "k{i},{}.5,{},{}.5,same,{half},{},2024-01-{:02},{class}",
            usize::from(class) * 1000 + i % 100,
            i * 7919 % 1009,
            i % 50 + shift,
            ["bonn", "köln", "ulm"][i % 7 % 3],
            i % 28 + 1,
        );
    }
    text
}

#[test]
fn columns_are_described_and_judged() {
    let test = odd(200, 30).replace("ulm", "rome");
    let profile = profile(&odd(1000, 0), &test, Target::Class);
    let [train, _, test] = &profile.parts[..] else { panic!("three parts") };
    let noise = column(train, "noise");
    // numpy over the same numbers; quantiles by method="inverted_cdf".
    let expected = [9.0, 49.0, 252.0, 505.0, 756.0, 958.0, 998.0];
    let found = numbers(noise);
    let quantiles: Vec<f64> = found.quantiles.iter().map(|q| q.value).collect();
    assert_eq!((found.min, found.max, quantiles.as_slice()), (0.0, 1008.0, &expected[..]));
    assert_close(found.mean, 504.678, 1e-9, "mean");
    assert_close(found.skewness, -0.003_985_001_54, 1e-9, "skewness");
    assert_eq!((noise.missing, noise.distinct), (0, Distinct::Exactly(1000)));
    let ValuesProfile::Category(city) = &column(test, "city").values else { panic!("categories") };
    let top: Vec<(&str, u64)> = city.top.iter().map(|c| (c.value.as_str(), c.rows)).collect();
    assert_eq!((top.as_slice(), city.unknown), (&[("bonn", 86), ("köln", 57), ("ulm", 0)][..], 57));
    assert_eq!(column(train, "half").missing, 666);
    assert_eq!(
        codes(&profile),
        [
            "leaky-column",
            "shift",
            "shift",
            "leakage",
            "constant-column",
            "missing-values",
            "time-column",
            "unseen-category",
            "left-out",
        ]
    );
    let shifts = messages(&profile, "shift");
    assert!(shifts[0].contains("`moved` of test") && shifts[1].contains("`city` of test"));
    assert!(messages(&profile, "leaky-column")[0].starts_with("column `leak` alone tells 100.0 %"));
}

#[test]
fn labels_that_are_numbers_are_described() {
    let rows = |from: usize, to: usize| {
        let row = |i: usize| format!("{}.5,{}\n", i * 7919 % 1009, (i as f64 / 40.0).exp());
        "a,label\n".to_owned() + &(from..to).map(row).collect::<String>()
    };
    let profile = profile(&rows(0, 300), &rows(300, 420), Target::Number);
    let train = &profile.parts[0];
    assert_eq!((profile.classes, train.class_counts.len()), (0, 0));
    let labels = train.numbers.as_ref().unwrap();
    assert_eq!(labels.min, 1.0);
    assert_close(labels.mean, 237.939_800_011, 1e-8, "mean");
    assert_close(labels.skewness, 2.082_260_265, 1e-8, "skewness");
    assert!(messages(&profile, "skewed-labels")[0].starts_with("labels of train are skewed"));
    let json = serde_json::to_string(&profile).unwrap();
    assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
}

/// Drawn or not, a sample gives every row the same chance; 50,000 rows are more than it holds.
#[test]
fn large_parts_are_described_by_a_fair_sample() {
    let rows: String = (0..50_000).map(|i| format!("{}.25,{}\n", i, i % 2)).collect();
    let profile = profile(&format!("a,label\n{rows}"), "a,label\n1,0\n", Target::Class);
    let found = numbers(column(&profile.parts[0], "a"));
    for quantile in &found.quantiles {
        // Five standard errors of a share of 16,384 draws.
        let allowed = 5.0 * 50_000.0 * (quantile.q * (1.0 - quantile.q) / 16_384.0).sqrt();
        assert_close(quantile.value, quantile.q * 50_000.0, allowed, "quantile");
    }
    assert_eq!(column(&profile.parts[0], "a").distinct, Distinct::MoreThan(10_000));
}

#[test]
fn real_tables_are_described() {
    let open = |set: &str, kinds: &[&str]| {
        let folder = real_data(set)?;
        let kinds = kinds.iter().map(|name| ((*name).to_owned(), ColumnChoice::Category)).collect();
        let spec = DatasetSpec {
            train: folder.join("train.csv"),
            valid: Some(folder.join("valid.csv")),
            test: Some(folder.join("test.csv")),
            content: ContentSpec::Table(TableSpec { columns: None, kinds }),
            label: "label".into(),
            ..DatasetSpec::default()
        };
        Some(Dataset::open(&spec).unwrap().profile().unwrap())
    };
    if let Some(german) = open("german_credit", &[]) {
        assert!(
            german.findings.iter().all(|f| f.severity == Severity::Note),
            "{:?}",
            german.findings
        );
    }
    if let Some(uci) = open("uci_default", &["sex", "education", "marriage"]) {
        let repeated: u64 = uci.parts.iter().map(|part| part.table().unwrap().duplicates).sum();
        let shared: u64 = uci.leakage.iter().map(|leak| leak.rows).sum();
        assert!(
            (25..=60).contains(&(repeated + shared)),
            "35 repeat another: {repeated}, {shared}"
        );
        assert!(messages(&uci, "shift").is_empty() && messages(&uci, "leaky-column").is_empty());
    }
}
