use std::sync::Arc;

use luthier_model::{ClassDecision, Decision, Extractor, FeatureIndex, NgramText, Preprocess};
use luthier_monitor::Baseline;
use luthier_test::Scratch;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::store::{Limits, Store};
use super::{
    Answered, Feedback, FeedbackError, Joined, Labelled, PredictionId, StoreError, Tracked,
    Tracker, observe,
};
use crate::texts::Texts;

mod killed;
mod speed;

/// `mood` with the classes `no` and `yes`, of which the second is positive.
fn decision() -> Decision {
    let labels = vec!["no".to_owned(), "yes".to_owned()];
    ClassDecision { labels, positive: Some(1), ..ClassDecision::default() }.into()
}

fn id(number: u32) -> PredictionId {
    format!("{number:032x}").parse().unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// A tracker on a store in a scratch folder.
struct Stage {
    scratch: Scratch,
    tracker: Arc<Tracker>,
    mood: Arc<Tracked>,
}

impl Stage {
    fn new() -> Self {
        let scratch = Scratch::new();
        let (tracker, mood) = Self::open(&scratch);
        Self { scratch, tracker, mood }
    }

    fn open(scratch: &Scratch) -> (Arc<Tracker>, Arc<Tracked>) {
        let tracker = Tracker::start(Some(&scratch.path().join("feedback.db"))).unwrap();
        let mood = track("mood", 3, &decision(), None);
        (tracker, mood)
    }

    /// Ends the thread and starts anew from the file.
    fn restart(&mut self) {
        block_on(self.tracker.flush());
        (self.tracker, self.mood) = Self::open(&self.scratch);
    }

    /// Answers a request of rows that are `yes` as said.
    fn answer(&self, number: u32, rows: &[bool]) {
        self.answer_by(&self.mood, number, rows);
    }

    fn answer_by(&self, tracked: &Arc<Tracked>, number: u32, rows: &[bool]) {
        let row = |yes: &bool| if *yes { [0.1, 0.9] } else { [0.7, 0.3] };
        let probabilities: Vec<f32> = rows.iter().flat_map(row).collect();
        self.tracker.answered(id(number), tracked, &decision(), Texts::default(), &probabilities);
    }

    fn send(&self, labels: &[(u32, u32, &str)]) -> Result<Joined, FeedbackError> {
        self.send_to("mood", None, labels)
    }

    fn send_to(
        &self,
        model: &str,
        version: Option<i64>,
        labels: &[(u32, u32, &str)],
    ) -> Result<Joined, FeedbackError> {
        block_on(self.tracker.join(feedback(model, version, labels)))
    }

    fn metrics(&self) -> String {
        metrics(&self.tracker)
    }

    #[track_caller]
    fn check_metric(&self, series: &str, expected: f64) {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let line = line.unwrap_or_else(|| panic!("no {series} in {text}"));
        assert!((line.parse::<f64>().unwrap() - expected).abs() < 1e-9, "{series} {line}");
    }
}

fn track(
    name: &str,
    version: i64,
    decision: &Decision,
    watch: Option<(Baseline, Preprocess)>,
) -> Arc<Tracked> {
    Arc::new(Tracked::new(name, version, decision, watch))
}

pub(super) fn feedback(model: &str, version: Option<i64>, labels: &[(u32, u32, &str)]) -> Feedback {
    let labelled = |(number, row, label): &(u32, u32, &str)| Labelled {
        id: id(*number),
        row: *row,
        label: (*label).to_owned(),
    };
    let labels = labels.iter().map(labelled).collect();
    Feedback { model: model.to_owned(), version, labels }
}

/// An answer of `rows` rows that are `yes`.
pub(super) fn answered(number: u32, rows: usize) -> Answered {
    let (labels, positive) = (decision().labels().to_vec(), decision().positive());
    let tracked =
        Tracked { name: "mood".into(), version: 3, labels, positive, watch: None, serial: 0 };
    let (texts, predicted) = (Texts::default(), vec![1; rows]);
    Answered { id: id(number), tracked: Arc::new(tracked), texts, predicted }
}

fn metrics(tracker: &Arc<Tracker>) -> String {
    let mut registry = Registry::with_prefix("luthier");
    registry.register_collector(Box::new(Arc::clone(tracker)));
    let mut rendered = String::new();
    text::encode(&mut rendered, &registry).unwrap();
    rendered
}

#[track_caller]
fn check(
    result: Result<Joined, FeedbackError>,
    accepted: usize,
    duplicates: usize,
    unknown: usize,
) {
    let joined = result.unwrap();
    let found = (joined.accepted, joined.duplicates, joined.unknown);
    assert_eq!(found, (accepted, duplicates, unknown));
}

#[test]
fn ids_are_random_and_read_back() {
    let (a, b) = (PredictionId::random(), PredictionId::random());
    assert_ne!(a, b);
    let text = a.to_string();
    assert!(text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!(text.parse(), Ok(a));
    assert_eq!(text.to_uppercase().parse(), Ok(a));
    for wrong in ["", "12", &text[1..], &format!("{text}0"), &format!("+{}", &text[1..])] {
        assert_eq!(wrong.parse::<PredictionId>(), Err(()), "{wrong}");
    }
}

#[test]
fn a_label_joins_once() {
    let stage = Stage::new();
    stage.answer(1, &[true, false, true]);
    check(stage.send(&[(1, 0, "yes"), (1, 1, "yes")]), 2, 0, 0);
    check(stage.send(&[(1, 0, "no"), (1, 1, "yes"), (1, 2, "no")]), 1, 2, 0);
    check(stage.send(&[(1, 3, "no"), (2, 0, "no")]), 0, 0, 2);
    stage.answer(2, &[true]);
    check(stage.send(&[(2, 0, "yes"), (2, 0, "no"), (2, 0, "yes")]), 1, 2, 0);
    // yes yes, no yes, yes no, yes yes: half right; precision 2/3, recall 2/3.
    let of = |name: &str| format!("luthier_{name}{{model=\"mood\",version=\"3\"}}");
    stage.check_metric(&of("live_accuracy"), 0.5);
    stage.check_metric(&of("live_accuracy_low"), 0.150_038_99);
    stage.check_metric(&of("live_accuracy_high"), 0.849_961_01);
    stage.check_metric(&of("live_f1"), 2.0 / 3.0);
    let labels = |version: &str, result: &str| {
        let labels = format!("model=\"mood\",version=\"{version}\",result=\"{result}\"");
        format!("luthier_feedback_labels_total{{{labels}}}")
    };
    stage.check_metric(&labels("3", "accepted"), 4.0);
    stage.check_metric(&labels("3", "duplicate"), 4.0);
    stage.check_metric(&labels("", "unknown"), 2.0);
    stage.check_metric("luthier_feedback_dropped_total", 0.0);
}

#[test]
fn nothing_is_shown_before_a_label_is_there() {
    let stage = Stage::new();
    stage.answer(1, &[true]);
    block_on(stage.tracker.flush());
    let text = stage.metrics();
    assert!(!text.contains("live") && !text.contains("psi") && !text.contains("labels"), "{text}");
}

#[test]
fn unknown_rows_are_listed_to_twenty() {
    let stage = Stage::new();
    let labels: Vec<_> = (0..50).map(|row| (7, row, "never a class")).collect();
    let joined = stage.send(&labels).unwrap();
    assert_eq!((joined.unknown, joined.unknown_rows.len()), (50, 20));
    assert_eq!(joined.unknown_rows[19], (id(7), 19));
    check(stage.send(&[]), 0, 0, 0);
}

#[test]
fn a_label_that_is_no_class_stops_its_call() {
    let stage = Stage::new();
    stage.answer(1, &[true, true]);
    let error = stage.send(&[(1, 0, "yes"), (9, 0, "x"), (1, 1, "maybe")]).unwrap_err();
    let expected = "labels[2]: \"maybe\" is no class of model mood version 3, which has \
                    \"no\", \"yes\"";
    assert_eq!(error.to_string(), expected);
    check(stage.send(&[(1, 0, "yes")]), 1, 0, 0);
    let error = stage.send(&[(1, 0, "Yes")]).unwrap_err();
    assert!(matches!(error, FeedbackError::NoClass { index: 0, .. }), "also of a labelled row");
}

#[test]
fn rows_belong_to_a_model_and_a_version() {
    let stage = Stage::new();
    let newer = track("mood", 4, &decision(), None);
    let other = track("other", 3, &decision(), None);
    stage.answer_by(&newer, 4, &[true]);
    stage.answer_by(&other, 5, &[true]);
    stage.answer(3, &[true]);
    check(stage.send_to("mood", Some(3), &[(4, 0, "yes"), (5, 0, "yes")]), 0, 0, 2);
    check(stage.send_to("mood", Some(4), &[(4, 0, "yes"), (3, 0, "yes")]), 1, 0, 1);
    check(stage.send_to("mood", None, &[(3, 0, "no"), (5, 0, "no")]), 1, 0, 1);
    check(stage.send_to("other", Some(3), &[(5, 0, "no")]), 1, 0, 0);
    let accuracy = |model: &str, version: i64| {
        format!("luthier_live_accuracy{{model=\"{model}\",version=\"{version}\"}}")
    };
    stage.check_metric(&accuracy("mood", 4), 1.0);
    stage.check_metric(&accuracy("mood", 3), 0.0);
    stage.check_metric(&accuracy("other", 3), 0.0);
    let unknown = "model=\"mood\",version=\"4\",result=\"unknown\"";
    stage.check_metric(&format!("luthier_feedback_labels_total{{{unknown}}}"), 1.0);
}

#[test]
fn a_version_that_comes_back_with_other_classes_is_another() {
    let mut stage = Stage::new();
    stage.answer(1, &[true, false]);
    check(stage.send(&[(1, 0, "no")]), 1, 0, 0);
    let labels = ["up", "down", "left"].map(str::to_owned).to_vec();
    let changed = ClassDecision { labels, positive: None, ..ClassDecision::default() }.into();
    let version = track("mood", 3, &changed, None);
    let probabilities = [0.1, 0.2, 0.7];
    stage.tracker.answered(id(2), &version, &changed, Texts::default(), &probabilities);
    let error = stage.send(&[(2, 0, "yes")]).unwrap_err();
    assert!(error.to_string().ends_with("\"up\", \"down\", \"left\""), "{error}");
    check(stage.send(&[(2, 0, "left"), (1, 1, "no")]), 2, 0, 0);
    let accuracy = "luthier_live_accuracy{model=\"mood\",version=\"3\"}";
    stage.check_metric(accuracy, 1.0);
    stage.restart();
    stage.check_metric(accuracy, 1.0);
}

/// Labels that are sent the moment the answer is there.
#[test]
fn a_label_never_comes_too_early() {
    let stage = Stage::new();
    for number in 0..300 {
        stage.answer(number, &[number % 3 == 0]);
        check(stage.send(&[(number, 0, "yes")]), 1, 0, 0);
    }
    stage.check_metric("luthier_live_accuracy{model=\"mood\",version=\"3\"}", 1.0 / 3.0);
}

#[test]
fn a_restart_finds_everything_again() {
    let mut stage = Stage::new();
    for number in 0..1_200 {
        stage.answer(number, &[number % 2 == 0]);
    }
    let labels: Vec<_> =
        (0..1_100).map(|n| (n, 0, if n % 5 == 0 { "no" } else { "yes" })).collect();
    check(stage.send(&labels), 1_100, 0, 0);
    let live = |text: String| {
        text.lines().filter(|line| line.starts_with("luthier_live")).map(str::to_owned).collect()
    };
    let before: Vec<String> = live(stage.metrics());
    assert_eq!(before.len(), 4);
    for _ in 0..2 {
        stage.restart();
        assert_eq!(live(stage.metrics()), before);
        check(stage.send(&[(7, 0, "no")]), 0, 1, 0);
    }
    check(stage.send(&[(1_150, 0, "yes")]), 1, 0, 0);
    assert_ne!(live(stage.metrics()), before);
}

#[test]
fn feedback_is_off_without_a_store() {
    let tracker = Tracker::start(None).unwrap();
    let mood = track("mood", 1, &decision(), None);
    tracker.answered(id(1), &mood, &decision(), Texts::default(), &[0.5, 0.5]);
    let result = block_on(tracker.join(feedback("mood", None, &[(1, 0, "yes")])));
    assert_eq!(result, Err(FeedbackError::Off));
    block_on(tracker.flush());
    assert!(metrics(&tracker).contains("luthier_feedback_dropped_total 0\n"));
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let scratch = Scratch::new();
    let tracker = Tracker::start(Some(&scratch.path().join("feedback.db"))).unwrap();
    let known = FeatureIndex::new([]);
    let baseline =
        Baseline::new(2, &[observe("a", 0, &text_model(), &mut luthier_model::Scratch::default())]);
    let watch = (baseline.unwrap(), Preprocess::NgramText(NgramText::new(1, 0, known)));
    let mood = track("mood", 1, &decision(), Some(watch));
    let mut texts = Texts::with_capacity(3);
    (0..3).for_each(|_| texts.push(&"x".repeat(16 << 20)));
    tracker.answered(id(1), &mood, &decision(), texts, &[0.5; 6]);
    assert!(metrics(&tracker).contains("luthier_feedback_dropped_total 3\n"));
    let mut small = Texts::with_capacity(1);
    small.push("x");
    tracker.answered(id(2), &mood, &decision(), small, &[0.5; 2]);
    let labels = [(1, 0, "yes"), (2, 0, "yes")];
    check(block_on(tracker.join(feedback("mood", None, &labels))), 1, 0, 1);
    let huge = Labelled { id: id(1), row: 0, label: "x".repeat(40 << 20) };
    let huge = Feedback { model: "mood".to_owned(), version: None, labels: vec![huge] };
    assert_eq!(block_on(tracker.join(huge)), Err(FeedbackError::Busy));
}

/// The words `a` and `b`.
fn text_model() -> Preprocess {
    let mut buckets = Vec::new();
    Extractor::default().extract("a b", 1, 0, |_, bucket| buckets.push(bucket));
    Preprocess::NgramText(NgramText::new(1, 0, FeatureIndex::new(buckets)))
}

#[test]
fn texts_are_measured() {
    let check = |text: &str, characters, unknown_share: f64| {
        let found = observe(text, 1, &text_model(), &mut luthier_model::Scratch::default());
        assert_eq!((found.characters, found.predicted), (characters, 1), "{text}");
        assert!((found.unknown_share - unknown_share).abs() < 1e-12, "{text}: {found:?}");
    };
    check("a b", 3, 0.0);
    check("A b c 好", 7, 0.5);
    check("c c", 3, 1.0);
    check("", 0, 0.0);
}

#[test]
fn drift_shows_from_the_hundredth_prediction() {
    let tracker = Tracker::start(None).unwrap();
    let (text, mut scratch) = (text_model(), luthier_model::Scratch::default());
    let rows: Vec<_> = (0..400).map(|n| observe("a b a b", n % 2, &text, &mut scratch)).collect();
    let baseline = Baseline::new(2, &rows).unwrap();
    let mood = track("mood", 3, &decision(), Some((baseline, text)));
    let answer = |number, text: &str, rows: usize| {
        let mut texts = Texts::with_capacity(rows);
        (0..rows).for_each(|_| texts.push(text));
        let scores: Vec<f32> =
            (0..rows).flat_map(|n| [(n % 2) as f32, 1.0 - (n % 2) as f32]).collect();
        tracker.answered(id(number), &mood, &decision(), texts, &scores);
        block_on(tracker.flush());
    };
    let index = |feature: &str| {
        let series =
            format!("luthier_drift_psi{{model=\"mood\",version=\"3\",feature=\"{feature}\"}} ");
        metrics(&tracker).lines().find_map(|l| l.strip_prefix(&series)?.parse::<f64>().ok())
    };
    answer(1, "a b a b", 99);
    assert_eq!(index("text_length"), None);
    answer(2, "a b a b", 901);
    for feature in ["text_length", "unknown_share", "predicted_class"] {
        assert!(index(feature).unwrap() < 0.01, "{feature}");
    }
    // More rows than the window holds, in one request and in many.
    for number in 10..2_000 {
        let mut texts = Texts::with_capacity(1);
        texts.push("a c and then some more");
        tracker.answered(id(number), &mood, &decision(), texts, &[0.0, 1.0]);
    }
    block_on(tracker.flush());
    assert!(index("text_length").unwrap() > 1.0 && index("predicted_class").unwrap() > 1.0);
    answer(3, "a c and then some more", 3_000);
    assert!(index("text_length").unwrap() > 1.0 && index("unknown_share").unwrap() > 1.0);
    assert!(index("predicted_class").unwrap() < 0.01);
    drop(mood);
    assert_eq!(index("text_length"), None, "an unloaded version has no drift");
}

#[test]
fn a_baseline_of_other_classes_is_not_used() {
    let row = observe("a", 0, &text_model(), &mut luthier_model::Scratch::default());
    let baseline = Baseline::new(3, &[row]).unwrap();
    let mood = track("mood", 3, &decision(), Some((baseline, text_model())));
    assert!(mood.watch.is_none());
}

#[test]
fn a_full_disk_stops_feedback_and_nothing_else() {
    let scratch = Scratch::new();
    let store = Store::open(&scratch.path().join("feedback.db"), Limits::default()).unwrap();
    store.limit_pages(0);
    let tracker = Tracker::with(Some(store)).unwrap();
    let stage = Stage { scratch, tracker, mood: track("mood", 3, &decision(), None) };
    let answer = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            stage.answer(number, &[true; 10]);
        }
        let refused = stage.send(&[(1, 0, "yes")]).unwrap_err();
        let reason = "Feedback cannot be stored: database or disk is full";
        assert_eq!(refused.to_string(), reason);
    };
    answer(0..10_000);
    stage.check_metric("luthier_feedback_dropped_total", 0.0);
    // What waits is kept while it is little, and then the oldest goes.
    answer(10_000..12_000);
    stage.check_metric("luthier_feedback_dropped_total", 20_000.0);
}

#[test]
fn other_files_are_refused() {
    let scratch = Scratch::new();
    let open = |path: &std::path::Path| Store::open(path, Limits::default()).map(drop);
    let text =
        scratch.write("notes.txt", "not a database at all, whatever it is called".repeat(50));
    assert!(matches!(open(&text), Err(StoreError::Sqlite { .. })));
    let other = scratch.path().join("other.db");
    let connection = rusqlite::Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE a (b)").unwrap();
    drop(connection);
    assert!(matches!(open(&other), Err(StoreError::NotAStore { .. })));
    let newer = scratch.path().join("newer.db");
    open(&newer).unwrap();
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert!(matches!(open(&newer), Err(StoreError::Newer { found: 2, .. })));
    let nowhere = scratch.path().join("absent/feedback.db");
    let error = open(&nowhere).unwrap_err();
    assert!(error.to_string().starts_with(&nowhere.display().to_string()), "{error}");
}
