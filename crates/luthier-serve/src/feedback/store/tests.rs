use std::time::Duration;

use luthier_test::Scratch;

use super::{Entry, Limits, Store};
use crate::feedback::tests::{answered, feedback};

impl Store {
    /// Lets the file grow to so many pages, or not at all.
    pub(in crate::feedback) fn limit_pages(&self, pages: i64) {
        self.connection.pragma_update(None, "max_page_count", pages.max(1)).unwrap();
    }
}

/// Rows of both tables.
fn counts(store: &Store) -> (i64, i64) {
    let count = |table: &str| {
        let query = format!("SELECT count(*) FROM {table}");
        store.connection.query_row(&query, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(store.predictions.rows as i64, count("predictions"), "the count that is kept");
    assert_eq!(store.labels.rows as i64, count("labels"), "the count that is kept");
    (count("predictions"), count("labels"))
}

#[test]
fn rows_are_bounded_in_number_and_the_oldest_go() {
    let scratch = Scratch::new();
    let path = scratch.path().join("feedback.db");
    let limits = Limits { rows: 10, ..Limits::default() };
    let mut store = Store::open(&path, limits).unwrap();
    let known = |store: &mut Store, numbers: std::ops::Range<u32>| {
        let labels: Vec<_> = numbers.map(|number| (number, 0, "yes")).collect();
        let call = feedback("mood", None, &labels);
        let entries = store.work([].iter(), &[&call], 1).unwrap().remove(0).unwrap();
        entries.iter().filter(|e| !matches!(e, Entry::Unknown)).count()
    };
    for number in 0..8 {
        store.work([(answered(number, 1), 1)].iter(), &[], 1).unwrap();
    }
    assert_eq!(counts(&store), (8, 0));
    store.work([(answered(8, 1), 1), (answered(9, 25), 1)].iter(), &[], 1).unwrap();
    assert_eq!(counts(&store), (10, 0));
    assert_eq!(known(&mut store, 0..9), 0, "only rows of the last request are left");
    store.work((10..20).map(|n| (answered(n, 1), 1)).collect::<Vec<_>>().iter(), &[], 1).unwrap();
    assert_eq!(known(&mut store, 10..18), 8);
    assert_eq!(counts(&store), (10, 8));
    let mut store = Store::open(&path, limits).unwrap();
    assert_eq!(counts(&store), (10, 8));
    store.work((20..28).map(|n| (answered(n, 1), 1)).collect::<Vec<_>>().iter(), &[], 1).unwrap();
    assert_eq!(known(&mut store, 18..28), 10);
    assert_eq!(counts(&store), (10, 10));
    assert_eq!(known(&mut store, 10..18), 0, "their predictions are gone");
}

#[test]
fn rows_are_bounded_in_age() {
    let scratch = Scratch::new();
    let limits = Limits { age: Duration::from_secs(60), ..Limits::default() };
    let mut store = Store::open(&scratch.path().join("feedback.db"), limits).unwrap();
    let old: Vec<_> = (0..20).map(|n| (answered(n, 1), i64::from(n) * 10_000)).collect();
    store.work(old.iter(), &[], 0).unwrap();
    let labels = feedback("mood", None, &[(2, 0, "yes"), (15, 0, "no")]);
    store.work([].iter(), &[&labels], 100_000).unwrap();
    assert_eq!(counts(&store), (20, 2));
    store.remove_old(100_000).unwrap();
    assert_eq!(counts(&store), (16, 2), "0 to 3 were before 40 seconds");
    store.remove_old(160_001).unwrap();
    assert_eq!(counts(&store), (9, 0));
}

#[test]
fn an_answer_that_is_written_twice_is_one() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.path().join("feedback.db"), Limits::default()).unwrap();
    let twice = [(answered(1, 3), 5), (answered(1, 3), 6)];
    store.work(twice.iter(), &[], 6).unwrap();
    assert_eq!(counts(&store), (3, 0));
    let call = feedback("mood", None, &[(1, 1, "yes")]);
    store.work(twice.iter(), &[&call], 7).unwrap();
    store.work(twice.iter(), &[&call], 8).unwrap();
    assert_eq!(counts(&store), (3, 1));
}

#[test]
fn a_full_disk_changes_nothing_and_is_got_over() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.path().join("feedback.db"), Limits::default()).unwrap();
    store.limit_pages(25);
    let all: Vec<_> = (0..4_000).map(|n| (answered(n, 1), 1)).collect();
    let (some, more) = all.split_at(500);
    store.work(some.iter(), &[], 1).unwrap();
    let call = feedback("mood", None, &[(7, 0, "yes"), (3_999, 0, "no")]);
    for _ in 0..3 {
        let error = store.work(more.iter(), &[&call], 2).unwrap_err();
        assert_eq!(error.reason(), "database or disk is full");
        assert_eq!(counts(&store), (500, 0));
    }
    store.limit_pages(1_000);
    store.work(more.iter(), &[&call], 2).unwrap();
    assert_eq!(counts(&store), (4_000, 2));
}

#[test]
fn two_processes_may_share_a_file() {
    let scratch = Scratch::new();
    let path = scratch.path().join("feedback.db");
    let mut one = Store::open(&path, Limits::default()).unwrap();
    let mut other = Store::open(&path, Limits::default()).unwrap();
    let join = |store: &mut Store, number, row| {
        let call = feedback("mood", Some(3), &[(number, row, "yes")]);
        let entry = store.work([].iter(), &[&call], 1).unwrap().remove(0).unwrap()[0];
        match entry {
            Entry::Accepted(..) => "accepted",
            Entry::Duplicate(_) => "duplicate",
            Entry::Unknown => "unknown",
        }
    };
    one.work([(answered(1, 2), 1)].iter(), &[], 1).unwrap();
    other.work([(answered(2, 3), 1)].iter(), &[], 1).unwrap();
    one.work([(answered(3, 1), 1)].iter(), &[], 1).unwrap();
    assert_eq!(join(&mut other, 1, 1), "accepted");
    assert_eq!(join(&mut one, 1, 1), "duplicate");
    assert_eq!(join(&mut one, 2, 2), "accepted");
    assert_eq!(join(&mut other, 2, 2), "duplicate");
    assert_eq!(join(&mut other, 3, 0), "accepted");
    assert_eq!(join(&mut other, 3, 1), "unknown", "the request had one row");
    assert_eq!(join(&mut Store::open(&path, Limits::default()).unwrap(), 1, 0), "accepted");
}

/// More rows than are kept, many times over, so that places are forgotten.
#[test]
fn places_of_rows_that_are_gone_are_forgotten() {
    let scratch = Scratch::new();
    let limits = Limits { rows: 1_000, ..Limits::default() };
    let mut store = Store::open(&scratch.path().join("feedback.db"), limits).unwrap();
    for hundred in 0..40 {
        let many: Vec<_> =
            (0..100).map(|n| (answered(hundred * 100 + n, 100), i64::from(n))).collect();
        store.work(many.iter(), &[], 1).unwrap();
    }
    assert_eq!(counts(&store), (1_000, 0));
    let labels = [(3_989, 99, "yes"), (3_990, 0, "yes"), (3_999, 99, "yes")];
    let call = feedback("mood", None, &labels);
    let entries = store.work([].iter(), &[&call], 1).unwrap().remove(0).unwrap();
    assert!(matches!(entries[..], [Entry::Unknown, Entry::Accepted(..), Entry::Accepted(..)]));
    assert!(store.index.len() < 2_000, "{}", store.index.len());
}
