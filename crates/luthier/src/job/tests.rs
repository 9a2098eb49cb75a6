use luthier_data::{ContentSpec, DatasetSpec, SplitPlan};
use luthier_eval::Metric;
use luthier_test::Scratch;

use super::*;
use crate::failure::Code;

/// The smallest job.
const SMALL: &str = r#"
name = "mood"
task = "text-classification"

[data]
train = "train.csv"
text = "text"
label = "label"
"#;

/// The smallest job with `more` behind it.
fn load(more: &str) -> Result<Job, Failure> {
    load_text(&format!("{SMALL}{more}"))
}

fn load_text(text: &str) -> Result<Job, Failure> {
    let scratch = Scratch::new();
    scratch.write("train.csv", "text,label,user\na,1,x\n");
    Job::load(&scratch.write(FILE, text))
}

fn rows(job: &Job) -> &DatasetSpec {
    &job.data.as_ref().expect("the job has rows").rows
}

#[track_caller]
fn loaded(more: &str) -> Job {
    load(more).unwrap_or_else(|failure| panic!("{failure}"))
}

/// That the small job with `more` fails because of the user, with this message and hint.
#[track_caller]
fn check_wrong(more: &str, message: &str, hint: Option<&str>) {
    check_failure(load(more), message, hint);
}

#[track_caller]
fn check_failure(loaded: Result<Job, Failure>, message: &str, hint: Option<&str>) {
    let Err(failure) = loaded else { panic!("no failure; expected {message}") };
    assert_eq!(failure.code, Code::Input);
    let told = failure.message.rsplit_once("luthier.toml: ").map_or("", |(_, told)| told);
    assert_eq!((told, failure.hint.as_deref()), (message, hint), "{failure}");
}

#[test]
fn what_is_left_out_has_a_default() {
    let job = loaded("");
    let Data { task, rows, metric, deciding, .. } = job.data.unwrap();
    assert_eq!((deciding.costs.len(), deciding.threshold), (0, None));
    assert_eq!((task, metric), (Task::TextClassification, Metric::F1));
    assert_eq!(job.objective.target, None);
    let names: Vec<_> = job.tune.learners.iter().map(|learner| learner.name()).collect();
    assert_eq!(names, ["linear", "embedding"], "those that need nothing");
    assert_eq!((job.tune.trials, job.tune.seed, job.tune.timeout), (30, 0, None));
    assert_eq!(job.tune.lag, 7);
    assert_eq!((job.tune.sampler.as_str(), job.tune.pruner.name()), ("auto", "median"));
    assert_eq!(job.tune.storage.to_string(), "study.db");
    assert!(job.tune.workers >= 1);
    assert!(job.compress.enabled);
    assert_eq!(job.compress.max_drop, 0.01);
    assert_eq!((job.route, rows.split), (None, None));
}

#[test]
fn paths_start_at_the_folder_of_the_file() {
    let scratch = Scratch::new();
    scratch.write(FILE, SMALL.replace("label =", "test = \"/data/test.csv\"\nlabel ="));
    for path in [scratch.path().to_owned(), scratch.path().join(FILE)] {
        let job = Job::load(&path).unwrap();
        assert_eq!(rows(&job).train, scratch.path().join("train.csv"));
        assert_eq!(rows(&job).test.as_deref(), Some(Path::new("/data/test.csv")));
        assert_eq!(job.run_folder(), scratch.path().join("run"));
    }
}

#[test]
fn columns_and_labels_may_be_written_in_several_ways() {
    let job = load_text(&SMALL.replace("= \"text\"", "= [\"title\", \"body\"]")).unwrap();
    assert_eq!(rows(&job).content, ContentSpec::Text(vec!["title".into(), "body".into()]));
    for (written, positive) in [("\"yes\"", "yes"), ("1", "1"), ("true", "true")] {
        let job = loaded(&format!("positive = {written}\n"));
        assert_eq!(rows(&job).positive.as_deref(), Some(positive));
    }
}

#[test]
fn a_split_takes_off_what_it_names() {
    let job = loaded("split = { valid = 0.2, group = \"user\" }\n");
    let plan =
        SplitPlan { valid: 0.2, test: 0.0, group: Some("user".to_owned()), ..SplitPlan::default() };
    assert_eq!(rows(&job).split, Some(plan));
}

#[test]
fn columns_are_used_or_ignored() {
    loaded("ignore = [\"user\"]\n");
    let both = |column: &str| format!("column `{column}` is both used and ignored");
    check_wrong("ignore = [\"label\"]\n", &both("label"), None);
    check_wrong("id = \"user\"\nignore = [\"user\"]\n", &both("user"), None);
    let nothing = load_text(&SMALL.replace("text = \"text\"", "text = []"));
    check_failure(nothing, "`data.text` names no column", None);
}

#[test]
fn a_route_has_a_path_of_its_own() {
    let route = loaded("[serve]\nroute = { path = \"/mood\" }\n").route.unwrap();
    assert_eq!((route.input, route.output), (None, None));
    let hint = "use a path such as \"/sentiment\", outside of /v1, /healthz, /readyz, /metrics";
    for path in ["", "/", "mood", "/v1", "/v1/x", "/metrics", "/healthz/x"] {
        let message = format!("`serve.route.path` is {path:?}");
        check_wrong(&format!("[serve]\nroute = {{ path = {path:?} }}\n"), &message, Some(hint));
    }
    loaded("[serve]\nroute = { path = \"/v1beta\" }\n");
}

#[test]
fn names_are_plain() {
    let named = |name: &str| load_text(&SMALL.replace("\"mood\"", &format!("{name:?}")));
    let longest = "m".repeat(63);
    for name in ["mood-2_b.c", "7", &longest] {
        assert!(named(name).is_ok(), "{name}");
    }
    let hint = "use up to 63 letters, digits, `-`, `_` and `.`";
    let too_long = "m".repeat(64);
    for name in ["", "a b", "a/b", ".hidden", "mööd", &too_long] {
        check_failure(named(name), &format!("`name` is {name:?}"), Some(hint));
    }
}

#[test]
fn numbers_have_bounds() {
    check_wrong("[tune]\ntrials = 0\n", "`tune.trials` must be at least 1", None);
    let message = "`tune.workers` must be between 1 and 1024";
    for workers in [0, 1025] {
        check_wrong(&format!("[tune]\nworkers = {workers}\n"), message, None);
    }
    check_wrong("[tune]\nlag = 1024\n", "`tune.lag` must be below 1024", None);
    assert_eq!(loaded("[tune]\nlag = 31\n").tune.lag, 31);
    let message = "`compress.max_drop` must be between 0 and 1";
    for max_drop in ["-0.1", "1.5", "nan"] {
        check_wrong(&format!("[compress]\nmax_drop = {max_drop}\n"), message, None);
    }
    for limit in ["size_mb = 0.0", "p99_latency_ms = -1.0", "size_mb = nan"] {
        let name = limit.split(' ').next().unwrap();
        let message = format!("`objective.limits.{name}` must be above 0");
        check_wrong(&format!("[objective]\nlimits = {{ {limit} }}\n"), &message, None);
    }
}

#[test]
fn timeouts_are_written_for_people() {
    for (written, seconds) in [("90s", 90), ("20m", 1200), ("1h 30m", 5400)] {
        let job = loaded(&format!("[tune]\ntimeout = {written:?}\n"));
        assert_eq!(job.tune.timeout, Some(Duration::from_secs(seconds)));
    }
    let hint = "write a time such as \"90s\", \"20m\" or \"1h 30m\"";
    for written in ["", "fast", "20", "0s", "-1s"] {
        let message = format!("`tune.timeout` is {written:?}");
        check_wrong(&format!("[tune]\ntimeout = {written:?}\n"), &message, Some(hint));
    }
}

#[test]
fn learners_are_chosen_once_each() {
    let job = loaded("[tune]\nlearners = [\"linear\"]\n");
    assert_eq!(job.tune.learners.len(), 1);
    check_wrong("[tune]\nlearners = []\n", "`tune.learners` is empty", None);
    let twice = "`tune.learners` names `linear` twice";
    check_wrong("[tune]\nlearners = [\"linear\", \"linear\"]\n", twice, None);
}

#[test]
fn a_space_replaces_the_parameters_that_it_names() {
    let own = loaded("").tune.space;
    let job = loaded("[tune.space.linear]\nepochs = 5\npenalty = \"none\"\n");
    let space = job.tune.space;
    let changed = |name: &str| {
        own.get(name).map(|d| &d.distribution) != space.get(name).map(|d| &d.distribution)
    };
    let names = own.dimensions().iter().map(|dimension| dimension.name.as_str());
    let changed: Vec<&str> = names.filter(|name| changed(name)).collect();
    assert_eq!(changed, ["linear.penalty", "linear.epochs", "linear.alpha"]);
    assert_eq!(space.get("linear.alpha"), None, "it hung on the penalty that is gone");
}

#[test]
fn decisions_have_costs_and_a_threshold() {
    let job = loaded(
        "[objective]\nmetric = \"cost\"\ncosts = { good = { bad = 1 }, bad = { good = 5.5 } }\n",
    );
    let deciding = job.data.unwrap().deciding;
    assert_eq!((deciding.costs["bad"]["good"], deciding.costs["good"]["bad"]), (5.5, 1.0));
    let tuned = |more: &str, metric| {
        let job = loaded(&format!("[objective]\n{more}\n"));
        job.data.unwrap().deciding.tuned_for(metric)
    };
    assert_eq!(tuned("", Metric::F1), Some(Metric::F1));
    assert_eq!(tuned("threshold = \"tuned\"", Metric::F1), Some(Metric::F1));
    assert_eq!(tuned("threshold = 0.3", Metric::F1), None);
    assert_eq!(tuned("threshold = 1", Metric::F1), None);
    assert_eq!(tuned("metric = \"roc_auc\"", Metric::RocAuc), None);
    assert_eq!(tuned("costs.a.b = 2\n", Metric::RocAuc), Some(Metric::Cost));

    let check = |more: &str, message: &str, hint: Option<&str>| {
        check_wrong(&format!("[objective]\n{more}\n"), message, hint);
    };
    check(
        "metric = \"cost\"",
        "`objective.metric`: `cost` needs to know what wrong decisions cost",
        Some(
            "say so in `objective.costs`, by true and decided class, as \
             costs = { good = { bad = 1 }, bad = { good = 5 } }",
        ),
    );
    let free = "`objective.costs` is given, and nothing in it costs anything";
    check("costs = { a = { b = 0 } }", free, None);
    check("costs = { a = { b = nan } }", "`objective.costs` must be numbers", None);
    check(
        "threshold = 1.5",
        "`objective.threshold` must be between 0 and 1",
        Some("or \"tuned\", to be found on rows that were held out"),
    );
    check(
        "metric = \"roc_auc\"\nthreshold = \"tuned\"",
        "`objective.threshold` is \"tuned\", and `roc_auc` is the same at any threshold",
        Some("give `objective.costs`, or a metric of decisions such as f1"),
    );
    let place = |more: &str| {
        let failure = load(&format!("[objective]\n{more}\n")).err().expect("a mistake");
        failure.message.rsplit_once("luthier.toml").map_or(String::new(), |told| told.1.to_owned())
    };
    let told = place("threshold = \"tunde\"");
    assert_eq!(told, ":10:13: a threshold: \"tuned\", or a probability such as 0.5");
    let told = place("costs = { good = 1 }");
    assert!(told.starts_with(":10:18: invalid type: integer `1`"), "{told}");
}

#[test]
fn a_space_is_of_a_learner_that_is_used() {
    let hint = Some("name it in `tune.learners`");
    let message = "`tune.space.forest`: no such learner is used";
    check_wrong("[tune.space.forest]\ndepth = 3\n", message, hint);
    let unused = "[tune]\nlearners = [\"linear\"]\n[tune.space.embedding]\nwidth = 8\n";
    check_wrong(unused, "`tune.space.embedding`: no such learner is used", hint);
    check_wrong("[tune.space]\nlinear = 3\n", "`tune.space.linear` must be a table", None);
}

#[test]
fn a_space_gives_values_that_the_learner_takes() {
    let space = |line: &str| format!("[tune.space.linear]\n{line}\n");
    for line in [
        "epochs = { int = [2, 3] }",
        "epochs = { choice = [2, 4] }",
        "learning_rate = { choice = [0.1, 1] }",
        "learning_rate = { float = [0.1, 0.2] }",
        "weighting = { choice = [\"both\"] }",
    ] {
        loaded(&space(line));
    }
    let check = |line: &str, message: &str, takes: &str| {
        let message = format!("`tune.space.linear.{message}");
        check_wrong(&space(line), &message, Some(&format!("the learner takes {takes}")));
    };
    let epochs = "an integer from 2 to 5";
    check("epochs = { float = [1, 2] }", "epochs` is a number from 1 to 2", epochs);
    check("epochs = 2.5", "epochs` is one of 2.5", epochs);
    check("epochs = \"many\"", "epochs` is one of many", epochs);
    check("weighting = \"loud\"", "weighting` is one of loud", "one of class, rarity, both");
    let message = "`tune.space.linear`: parameter `epochs`: the first bound is above the second";
    check_wrong(&space("epochs = { int = [5, 2] }"), message, None);
}

#[test]
fn the_environment_is_expanded_in_values_alone() {
    // Cargo sets this variable for every test.
    let folder = env!("CARGO_MANIFEST_DIR");
    let job = loaded("id = \"${CARGO_MANIFEST_DIR}/a${CARGO_MANIFEST_DIR}\"\nweight = \"$x}{\"\n");
    assert_eq!(rows(&job).id, Some(format!("{folder}/a{folder}")));
    assert_eq!(rows(&job).weight.as_deref(), Some("$x}{"));
    let key = "[tune.space.linear]\n\"${CARGO_MANIFEST_DIR}\" = 3\n";
    let failure = load(key).err().expect("a parameter that is not there");
    assert!(failure.message.ends_with("no parameter `${CARGO_MANIFEST_DIR}`"), "{failure}");
}

#[test]
fn the_nearest_known_key_is_taken_from_the_message() {
    let known = "unknown field `trails`, expected one of `learners`, `trials`, `timeout`";
    assert_eq!(suggestion(known).as_deref(), Some("trials"));
    assert_eq!(suggestion("unknown field `x`, expected `path` or `input`"), None);
    assert_eq!(suggestion("invalid type: integer `3`, expected a string"), None);
}
