use luthier_test::{Scratch, real_data};

use crate::{Column, Distinct, Kind, Source};

/// The only column of a CSV file with `values`.
fn column(values: impl IntoIterator<Item = String>) -> Column {
    let scratch = Scratch::new();
    let quoted = values.into_iter().map(|value| format!("\"{value}\"\n"));
    let content = format!("x\n{}", quoted.collect::<String>());
    let source = Source::open(scratch.write("a.csv", content)).unwrap();
    source.schema(None).unwrap().columns.remove(0)
}

#[test]
fn kinds() {
    let check = |expected: Kind, value: fn(u32) -> String| {
        assert_eq!(column((0..40).map(value)).kind, expected, "like {:?}", value(7));
    };
    check(Kind::Boolean, |i| ["true", "False"][i as usize % 2].into());
    check(Kind::Boolean, |i| ["YES", "no", ""][i as usize % 3].into());
    check(Kind::Integer, |i| (i % 2).to_string());
    check(Kind::Integer, |i| (i * 17 % 41).to_string());
    check(Kind::Float, |i| format!("{}e-1", i * 17 % 41));
    check(Kind::Float, |i| if i == 0 { "0.5".into() } else { i.to_string() });
    check(Kind::Timestamp, |i| format!("2024-05-{:02}", i % 31 + 1));
    check(Kind::Timestamp, |i| format!("2024-05-06T07:{i:02}:00+02:00"));
    check(Kind::Category, |i| format!("class {}", i % 4));
    check(Kind::Text, |i| format!("a text that goes on, {i}"));
    check(Kind::Text, |_| String::new());
    check(Kind::Text, |i| "x".repeat(i as usize + 1));
    check(Kind::Identifier, |i| (i + 1000).to_string());
    check(Kind::Identifier, |i| format!("ID-{:05}", i * 7919));
    check(Kind::Identifier, |i| format!("123e4567-e89b-12d3-a456-4266141740{:02x}", 255 - i));
    check(Kind::Text, |i| format!("ID-{:05}", i.max(1)));
}

#[test]
fn numbers_lengths_and_examples() {
    let numbers = column(["3", "", "-4.5", "1e2"].map(String::from));
    assert_eq!((numbers.kind, numbers.missing), (Kind::Float, 1));
    assert_eq!((numbers.min, numbers.max), (Some(-4.5), Some(100.0)));
    assert_eq!(numbers.distinct, Distinct::Exactly(3));
    let texts = column(["好".repeat(100), "b".into()]);
    assert_eq!((texts.longest_bytes, texts.min), (300, None));
    assert_eq!(texts.example, Some("好".repeat(80)));
    assert_eq!(column(["nan".into()]).kind, Kind::Text);
}

#[test]
fn distinct_values_are_counted_up_to_a_limit() {
    assert_eq!(column((0..10_000).map(|i| i.to_string())).distinct, Distinct::Exactly(10_000));
    let many = column((0..10_050).map(|i| format!("n{i}")));
    assert_eq!((many.distinct, many.kind), (Distinct::MoreThan(10_000), Kind::Identifier));
}

#[test]
fn a_limit_bounds_what_is_read() {
    let scratch = Scratch::new();
    let source = Source::open(scratch.write("a.csv", "x\n1\n2\nthree\n\"broken")).unwrap();
    let schema = source.schema(Some(2)).unwrap();
    assert_eq!((schema.rows_seen, schema.columns[0].kind), (2, Kind::Integer));
    assert!(source.schema(None).is_err());
}

/// The README of the set says 13 symbolic and 7 numeric columns; two of the symbolic ones have two
/// values, as the label has in digits.
#[test]
fn german_credit_has_categories_and_integers() {
    let Some(folder) = real_data("german_credit") else {
        return;
    };
    let schema = Source::open(folder.join("train.csv")).unwrap().schema(None).unwrap();
    let count = |kind| schema.columns.iter().filter(|column| column.kind == kind).count();
    assert_eq!((schema.rows_seen, count(Kind::Category), count(Kind::Integer)), (800, 13, 8));
}
