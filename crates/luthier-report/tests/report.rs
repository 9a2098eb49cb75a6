//! The page and `report.json`, as their readers meet them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use luthier_report::{
    ColumnImportance, ColumnSummary, Headline, NumberFit, NumberQuantile, Objective, ResidualBin,
    RunReport, render,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

#[path = "../examples/sample_report.rs"]
#[allow(dead_code)] // The example's `main`.
mod sample;

const HOSTILE: &str =
    "</script><img src=x onerror=alert(1)>\"'`&amp;<!--\0\u{202e}\u{200f}\u{2028}]]>";

/// Elements that the page may hold.
const TAGS: &str = " html head meta title style body main header h1 h2 h3 p span div bdi ul li nav \
     a noscript section table thead tbody tr th td details summary figure figcaption script pre code \
     strong br ";

fn minimal() -> RunReport {
    RunReport {
        format: luthier_report::FORMAT,
        name: "bare".to_owned(),
        task: Some("text-classification".to_owned()),
        release: "0.1.0".to_owned(),
        created: "2026-03-14T09:26:53Z".to_owned(),
        labels: Vec::new(),
        positive: None,
        metric: Objective { name: "f1".to_owned(), higher_is_better: true, target: None },
        headline: Headline::default(),
        data: None,
        learning_curve: None,
        tuning: None,
        evaluation: None,
        importance: Vec::new(),
        mistakes: Vec::new(),
        suspects: Vec::new(),
        distillation: None,
        compression: None,
        commands: Vec::new(),
        lineage: Vec::new(),
    }
}

/// The text between each `start` and the next `end`.
fn between<'a>(page: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    page.split(start).skip(1).map(|rest| rest.split(end).next().unwrap_or_default()).collect()
}

fn sections(page: &str) -> Vec<&str> {
    between(page, "<section id=\"", "\"")
}

/// The one script that runs.
fn script(page: &str) -> &str {
    let scripts = between(page, "<script>", "</script>");
    assert_eq!(scripts.len(), 1, "scripts that run");
    scripts[0]
}

/// The figures; every one must be JSON with traces.
fn figures(page: &str) -> Vec<Value> {
    let blocks = between(page, "<script type=\"application/json\">", "</script>");
    let parse = |block: &&str| {
        let figure: Value = serde_json::from_str(block).expect("a figure is JSON");
        assert!(figure["data"].as_array().is_some_and(|data| !data.is_empty()), "{figure}");
        figure
    };
    blocks.iter().map(parse).collect()
}

/// The page without its figures, script and style: what shows where no script runs.
fn plain(page: &str) -> String {
    let mut out = page.replace(script(page), "");
    for (start, end) in [("<script type", "</script>"), ("<style>", "</style>")] {
        while let Some(from) = out.find(start) {
            let length = out[from..].find(end).expect("it ends");
            out.replace_range(from..from + length + end.len(), "");
        }
    }
    out
}

/// Every tag of `page` with its attributes, read the way a browser does.
fn tags(page: &str) -> Vec<&str> {
    between(page, "<", ">").into_iter().filter(|tag| !tag.starts_with('!')).collect()
}

/// `report` with `change` applied to every number and text of its `report.json`.
fn rewritten(report: &RunReport, change: &dyn Fn(&Value) -> Option<Value>) -> RunReport {
    let json = serde_json::to_value(report).expect("a report is JSON");
    serde_json::from_value(rewrite("", &json, change)).expect("it is still a report")
}

fn rewrite(key: &str, value: &Value, change: &dyn Fn(&Value) -> Option<Value>) -> Value {
    // These are words of the format.
    if ["format", "state", "kind", "severity", "outcome", "verdict"].contains(&key) {
        return value.clone();
    }
    match value {
        Value::Array(items) => items.iter().map(|item| rewrite(key, item, change)).collect(),
        Value::Object(members) => {
            let name = |name: &String| match change(&json!(name)) {
                // The names of parameters, unlike those of fields, come from the user.
                Some(Value::String(changed)) if key == "values" => changed,
                _ => name.clone(),
            };
            let member = |(k, v): (&String, &Value)| (name(k), rewrite(k, v, change));
            Value::Object(members.iter().map(member).collect::<Map<_, _>>())
        }
        other => change(other).unwrap_or_else(|| other.clone()),
    }
}

fn with_text(prefix: &str) -> RunReport {
    let change = |value: &Value| value.as_str().map(|text| json!(format!("{prefix}{text}")));
    rewritten(&table(), &change)
}

#[test]
fn sections_come_in_order() {
    let expected = [
        "scores",
        "errors",
        "search",
        "distillation",
        "compression",
        "mistakes",
        "suspects",
        "data",
        "commands",
        "lineage",
    ];
    let page = render(&sample::sample());
    assert_eq!(sections(&page), expected);
    let links = between(&page, "<a href=\"#", "\"");
    assert_eq!(links, expected, "the links at the top");
    // Confusion, reliability, history, front, eight parameters, steps, sizes, learning curve.
    assert_eq!(figures(&page).len(), 15);
}

/// The sample with what reports of tables and numbers have besides.
fn table() -> RunReport {
    let mut report = sample::sample();
    let quantiles = [(0.0, -3.5), (0.5, 2.0), (1.0, 1250.0)];
    let quantiles =
        quantiles.map(|(quantile, value)| NumberQuantile { quantile, value: Some(value) });
    let data = report.data.as_mut().expect("the sample has some");
    data.parts.iter_mut().for_each(|part| part.numbers = quantiles.to_vec());
    data.columns = vec![
        ColumnSummary {
            name: "income".to_owned(),
            kind: "number".to_owned(),
            missing: Some(0.1),
            distinct: 10_000,
            more: true,
            quantiles: quantiles.to_vec(),
            association: Some(0.25),
            shifts: vec![("valid".to_owned(), Some(0.02)), ("test".to_owned(), Some(0.31))],
            ..ColumnSummary::default()
        },
        ColumnSummary {
            name: "home".to_owned(),
            kind: "category".to_owned(),
            missing: Some(0.0),
            distinct: 2,
            top: vec![("own".to_owned(), Some(0.75)), ("rent".to_owned(), Some(0.25))],
            ..ColumnSummary::default()
        },
    ];
    let column = |name: &str, contribution| ColumnImportance {
        name: name.to_owned(),
        contribution: Some(contribution),
        gain: Some(0.5),
    };
    report.importance = vec![column("income", 0.62), column("home", 0.11)];
    let bin = |lower: f64, count| ResidualBin { lower, upper: lower + 2.0, count };
    report.evaluation.as_mut().expect("the sample has one").numbers = Some(NumberFit {
        points: (0..40).map(|x| (Some(f64::from(x)), Some(f64::from(x * x % 37)))).collect(),
        residuals: vec![bin(-3.0, 4), bin(-1.0, 31), bin(1.0, 5)],
    });
    report.mistakes[0].residual = Some(-12.5);
    report
}

#[test]
fn tables_and_numbers_have_sections_of_their_own() {
    let page = render(&table());
    let expected = ["scores", "errors", "residuals", "importance", "search"];
    assert_eq!(sections(&page)[..5], expected);
    // True against predicted, residuals, what the columns do.
    assert_eq!(figures(&page).len(), figures(&render(&sample::sample())).len() + 3);
    let plain = plain(&page);
    for shown in ["> 10,000", "−3.5 … 2 … 1250", "75.0 %", "0.3100", "0.6200", "−12.50"] {
        assert!(plain.contains(shown) || plain.contains(&shown.replace('>', "&gt;")), "{shown}");
    }
    let mut bare = table();
    let data = bare.data.as_mut().expect("the sample has some");
    data.columns = vec![ColumnSummary::default()];
    bare.importance = vec![ColumnImportance::default()];
    let numbers = NumberFit { points: vec![(None, Some(1.0))], residuals: Vec::new() };
    bare.evaluation.as_mut().expect("the sample has one").numbers = Some(numbers);
    assert!(!sections(&render(&bare)).iter().any(|id| ["residuals", "importance"].contains(id)));
}

#[test]
fn without_a_test_split_the_rows_are_called_what_they_are() {
    let mut report = table();
    assert!(plain(&render(&report)).contains("Test scores"));
    (report.headline.test_openings, report.headline.verdicts) = (0, Vec::new());
    report.mistakes.clear();
    report.data.as_mut().expect("the sample has some").parts.retain(|part| part.part != "test");
    let page = plain(&render(&report));
    for shown in ["Validation scores", "Per class, on validation", "40 validation rows, spread"] {
        assert!(page.contains(shown), "{shown}");
    }
    let scores = between(&page, "id=\"scores\"", "</section>").concat();
    assert!(!scores.contains("Test"), "{scores}");
    for lie in ["Test scores", "on test", "On test", "test rows", "Test <bdi>"] {
        assert!(!page.contains(lie), "{lie}");
    }
}

#[test]
fn what_is_absent_is_left_out() {
    let check = |missing: &[&str], change: fn(&mut RunReport)| {
        let mut report = sample::sample();
        let before = render(&report);
        change(&mut report);
        let page = render(&report);
        let expected: Vec<_> =
            sections(&before).into_iter().filter(|section| !missing.contains(section)).collect();
        assert_eq!(sections(&page), expected);
        figures(&page);
    };
    check(&["scores", "errors"], |report| report.evaluation = None);
    check(&["errors"], |report| {
        let evaluation = report.evaluation.as_mut().expect("the sample has one");
        evaluation.confusion = vec![vec![0, 0], vec![0, 0]];
        evaluation.reliability.iter_mut().for_each(|bin| bin.count = 0);
    });
    check(&["search"], |report| report.tuning = None);
    check(&["search"], |report| report.tuning.as_mut().expect("it has one").trials.clear());
    check(&["distillation"], |report| report.distillation = None);
    check(&["compression"], |report| report.compression = None);
    check(&["mistakes"], |report| report.mistakes.clear());
    check(&["suspects"], |report| report.suspects.clear());
    check(&[], |report| report.learning_curve = None);
    check(&["data"], |report| (report.data, report.learning_curve) = (None, None));
    check(&["commands"], |report| report.commands.clear());
    check(&["lineage"], |report| report.lineage.clear());
}

#[test]
fn a_bare_report_has_a_headline_and_nothing_empty() {
    let page = render(&minimal());
    assert!(sections(&page).is_empty() && figures(&page).is_empty());
    let plain = plain(&page);
    assert!(plain.contains("<h1><bdi>bare</bdi></h1>"));
    for empty in ["<figure", "<table", "<ul", "<nav"] {
        assert!(!plain.contains(empty), "{empty}");
    }
}

#[test]
fn a_search_without_rows_speaks_of_none() {
    let bare = RunReport { task: None, ..minimal() };
    let page = plain(&render(&bare));
    for words in ["Test split", "Validation", "0 rows", "text-classification"] {
        assert!(!page.contains(words), "{words}");
    }
    assert!(plain(&render(&sample::sample())).contains("trials are on the Pareto front"));
}

#[test]
fn a_search_without_any_score_has_a_table_and_no_plot() {
    let mut report = sample::sample();
    for trial in &mut report.tuning.as_mut().expect("the sample has one").trials {
        (trial.score, trial.steps) = (None, Vec::new());
    }
    let before = figures(&render(&sample::sample())).len();
    let page = render(&report);
    assert_eq!(figures(&page).len(), before - 11, "history, front, eight parameters, steps");
    assert!(plain(&page).contains("the loss is not a number after step 1"));
}

#[test]
fn tables_carry_the_numbers_without_a_script() {
    let plain = plain(&render(&sample::sample()));
    let numbers = [
        "0.8612",
        "0.8450 – 0.8758",
        "773",
        "0.9333 – 1.0000",
        "0.8595",
        "1.87 MB",
        "0.0412 ms",
        "−0.0042",
        "1,377",
        "3,610",
        "1,267",
        "5 min 12 s",
        "4 min 02 s",
        "below the median",
    ];
    for number in numbers {
        assert!(plain.contains(number), "{number}");
    }
}

#[test]
fn one_script_runs_and_the_policy_names_it() {
    let page = render(&sample::sample());
    let digest = STANDARD.encode(Sha256::digest(script(&page)));
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"")[0];
    assert!(policy.starts_with("default-src &#39;none&#39;; "), "{policy}");
    assert!(policy.contains(&format!("script-src &#39;sha256-{digest}&#39;;")), "{policy}");
    let lower = script(&page).to_lowercase();
    for end in ["</script", "<!--"] {
        assert!(!lower.contains(end), "the script holds {end}");
    }
    // A browser reads CR LF as LF, which would change the digest.
    assert!(!page.contains('\r'));
}

#[test]
fn nothing_is_fetched_from_outside() {
    let mut report = sample::sample();
    report.commands.clear();
    let page = render(&report);
    let rest = page.replace(script(&page), "");
    for link in ["http:", "https:", "//", " src=", "@import", "url("] {
        assert!(!rest.contains(link), "{link}");
    }
    // Plotly's own way out.
    let settings = script(&page);
    assert!(
        settings.contains("showSendToCloud: false") && settings.contains("plotlyServerURL: \"\"")
    );
}

#[test]
fn hostile_text_stays_text() {
    let page = render(&with_text(HOSTILE));
    for tag in tags(&page.replace(script(&page), "")) {
        let name = tag.trim_start_matches('/').split(' ').next().unwrap_or_default();
        assert!(TAGS.contains(&format!(" {name} ")), "<{tag}>");
        assert!(!tag.contains("onerror=alert(1)>"), "<{tag}>");
        let mut attributes = tag.split('"').step_by(2);
        assert!(!attributes.any(|names| names.contains(" on")), "<{tag}>");
    }
    assert!(!page.contains('\0') && !page.contains("<img"));
    assert!(
        plain(&page)
            .contains("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&quot;&#39;`&amp;amp;")
    );
    let raw = between(&page, "<script type=\"application/json\">", "</script>");
    let escaped = |block: &&str| !block.contains(['<', '>', '&', '\u{2028}', '\u{2029}']);
    assert!(raw.iter().all(escaped), "figures are escaped");
}

#[test]
fn plotly_gets_no_markup_from_the_user() {
    let page = render(&with_text("<b>bold</b> <a href=\"javascript:alert(1)\">link</a> "));
    for figure in figures(&page) {
        let text = figure.to_string();
        assert!(!text.contains("<b>") && !text.contains("<a "), "{text}");
    }
}

#[test]
fn long_texts_fold_and_stay_whole() {
    let long = "好".repeat(100_000);
    let mut report = sample::sample();
    report.mistakes[0].text = long;
    report.labels[0] = "x".repeat(100_000);
    let page = render(&report);
    let plain = plain(&page);
    let shown = "好".repeat(300);
    assert!(plain.contains(&format!("<bdi>{shown}</bdi><details class=\"rest\"><summary>")));
    assert!(plain.contains("… 99,700 more characters</summary>"));
    assert_eq!(plain.matches('好').count(), 100_000 + sample_count('好'));
    assert!(figures(&page).iter().all(|figure| !figure.to_string().contains(&"x".repeat(40))));
}

fn sample_count(character: char) -> usize {
    plain(&render(&sample::sample())).matches(character).count()
}

#[test]
fn undefined_numbers_are_dashes_and_nulls() {
    for undefined in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut report = sample::sample();
        report.headline.score.value = Some(undefined);
        report.headline.p99_ms = Some(undefined);
        report.headline.wall_seconds = Some(undefined);
        report.metric.target = Some(undefined);
        let tuning = report.tuning.as_mut().expect("the sample has one");
        tuning.trials[0].score = Some(undefined);
        tuning.trials[1].steps[0].1 = Some(undefined);
        let evaluation = report.evaluation.as_mut().expect("the sample has one");
        evaluation.classes[0].precision = Some(undefined);
        evaluation.reliability[3].accuracy = Some(undefined);
        evaluation.reliability[4].lower = undefined;
        report.compression.as_mut().expect("the sample has one").candidates[1].score =
            Some(undefined);
        let page = render(&report);
        figures(&page);
        let page = page.replace(script(&page), "");
        assert!(page.contains("<div class=\"value\">–</div>"));
        for word in ["NaN", "inf<", "inf ", "Infinity"] {
            assert!(!page.contains(word), "{word}");
        }
    }
}

#[test]
fn extreme_numbers_do_not_panic() {
    let whole = [0, 1, u64::MAX];
    let real = [0.0, -0.0, 5e-324, -1e-9, 1e308, -1e308, f64::MAX];
    for (whole, real) in whole.into_iter().cycle().zip(real) {
        let change = |value: &Value| match value {
            Value::Number(number) if number.is_f64() => Some(json!(real)),
            Value::Number(_) => Some(json!(whole)),
            _ => None,
        };
        let report = rewritten(&sample::sample(), &change);
        let page = render(&report);
        figures(&page);
        assert_eq!(sections(&page).len(), if whole == 0 { 9 } else { 10 });
    }
}

#[test]
fn ragged_lists_do_not_panic() {
    let mut report = sample::sample();
    report.labels.truncate(1);
    let evaluation = report.evaluation.as_mut().expect("the sample has one");
    evaluation.confusion = vec![vec![3, 1, 4], Vec::new(), vec![1]];
    report.data.as_mut().expect("the sample has one").parts[1].classes = vec![1, 2, 3, 4];
    let page = render(&report);
    figures(&page);
    assert!(plain(&page).contains("<bdi>2</bdi>"), "a class without a name is its number");
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    assert_eq!(render(&sample::sample()), render(&sample::sample()));
}

#[test]
fn report_json_comes_back_as_it_was() {
    let report = sample::sample();
    let json = serde_json::to_string(&report).expect("a report is JSON");
    let back: RunReport = serde_json::from_str(&json).expect("and back");
    // Reading decimal digits may miss the last bit.
    let rounded = |value: &Value| {
        value
            .as_f64()
            .filter(|_| value.is_f64())
            .map(|number| json!((number * 1e12).round() / 1e12))
    };
    assert!(rewritten(&back, &rounded) == rewritten(&report, &rounded), "{json}");

    let mut undefined = report;
    undefined.headline.score.low = Some(f64::NAN);
    let json = serde_json::to_string(&undefined).expect("a report is JSON");
    let back: RunReport = serde_json::from_str(&json).expect("and back");
    assert_eq!(back.headline.score.low, None);
}

#[test]
fn report_json_needs_only_the_essentials() {
    let json = json!({
        "format": 1, "name": "bare", "task": "text-classification", "release": "0.1.0",
        "created": "2026-03-14T09:26:53Z", "labels": [],
        "metric": { "name": "f1", "higher_is_better": true },
        "headline": { "score": { "value": null }, "rows": 0, "test_openings": 0 },
        "field_of_a_later_release": 1,
    });
    let report: RunReport = serde_json::from_value(json).expect("a report");
    assert_eq!(report, minimal());
}
