//! Programs as trials: the `command` learner.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use luthier_test::{Process, assert_close, wait_for};
use serde_json::{Value, json};

use crate::{Desk, Outcome, csv, rows, text};

/// A program whose score is known, and highest at `x = 0.3`.
const PARABOLA: &str = r#"
awk "BEGIN { x = $LUTHIER_VALUE_X; printf \"{\\\"f1\\\": %.12f}\\n\", 1 - (x - 0.3) ^ 2 }"
"#;

/// A desk whose job tunes the shell script `program`.
fn desk(program: &str) -> Desk {
    let desk = Desk::with_job();
    desk.edit(
        "[tune]",
        r#"[tune]
learners = ["command"]
command = { run = ["sh", "train.sh"], pass = "environment" }
space.command.x = { float = [0.0, 1.0] }
"#,
    );
    desk.write("job/train.sh", program);
    desk
}

impl Desk {
    fn tune(&self, trials: u32) -> Outcome {
        self.luthier(&["tune", "job", "--format", "json", "--trials", &trials.to_string()])
    }

    fn trial(&self, number: u64, file: &str) -> String {
        String::from_utf8_lossy(&self.read(&format!("job/run/trials/{number}/{file}"))).into()
    }
}

#[test]
fn a_search_short_of_its_target_goes_on_around_the_best() {
    let desk = desk(PARABOLA);
    desk.edit("learners =", "refine = 2\nsampler = \"random\"\nlearners =");
    desk.edit("[tune]", "[objective]\ntarget = 1.0\n\n[tune]");
    let run = |desk: &Desk| desk.luthier(&["tune", "job", "--format", "json", "--trials", "10"]);
    let outcome = run(&desk);
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    let xs: Vec<f64> = trials(&report)
        .iter()
        .map(|trial| trial["values"]["command.x"].as_f64().unwrap())
        .collect();
    assert_eq!(xs.len(), 30);
    let farthest = |xs: &[f64]| xs.iter().map(|x| (x - 0.3).abs()).fold(0.0, f64::max);
    assert!(farthest(&xs[..10]) > 0.5, "{xs:?}");
    assert!(farthest(&xs[10..]) < 0.35 && farthest(&xs[20..]) < 0.25, "{xs:?}");
    let told = outcome.err.matches("searching again around the best trials").count();
    assert_eq!(told, 2, "{}", outcome.err);
    // All of it is found again, and the same from the beginning.
    assert_eq!(trials(&run(&desk).json()), trials(&report));
    std::fs::remove_dir_all(desk.path("job/run")).unwrap();
    let again = trials(&run(&desk).json()).clone();
    let values = |trials: &[Value]| trials.iter().map(|t| t["values"].clone()).collect::<Vec<_>>();
    assert_eq!(values(&again), values(trials(&report)));
    // What reaches the target is enough.
    desk.edit("target = 1.0", "target = 0.9");
    std::fs::remove_dir_all(desk.path("job/run")).unwrap();
    assert_eq!(trials(&run(&desk).json()).len(), 10);
}

#[test]
fn with_folds_a_program_is_started_for_each() {
    // Answers the rows of its fold by a word of the first class.
    let program = r#"
echo "{\"step\": 1, \"f1\": 0.$LUTHIER_FOLD}"
echo bad,good > "$LUTHIER_FOLDER/predictions.csv"
tail -n +2 "$LUTHIER_VALID" | awk -v x=$LUTHIER_VALUE_X '
    { p = /dull|broken|rude|never/ ? 0.6 + x / 3 : 0.2; print p "," 1 - p }
' >> "$LUTHIER_FOLDER/predictions.csv"
"#;
    let desk = desk(program);
    desk.edit("valid = \"valid.csv\"", "folds = 4");
    desk.edit("learners =", "pruner = \"none\"\nlearners =");
    let report = desk.tune(5).json();
    assert_eq!(report["headline"]["rows"], 240);
    let read = |fold: u8| -> Value {
        serde_json::from_str(&desk.trial(1, &format!("fold-{fold}/trial.json"))).unwrap()
    };
    let mut rows = 0;
    for fold in 0..4 {
        let told = read(fold);
        assert_eq!(told["fold"], fold);
        let [train, valid] = ["train", "valid"].map(|part| {
            let file = std::fs::read_to_string(told["data"][part].as_str().unwrap()).unwrap();
            file.lines().count() - 1
        });
        assert_eq!(train + valid, 240);
        rows += valid;
    }
    assert_eq!(rows, 240);
    assert_ne!(read(0)["seed"], read(1)["seed"]);
    for trial in trials(&report) {
        assert_eq!(trial["reported"], false);
        assert!(trial["loss"].is_number() && trial["score"].as_f64().unwrap() > 0.6, "{trial}");
        let steps: Vec<u64> =
            trial["steps"].as_array().unwrap().iter().map(|s| s[0].as_u64().unwrap()).collect();
        assert_eq!(steps, [1, 100, 101, 200, 201, 300, 301, 400]);
    }
}

#[test]
fn the_best_are_evaluated_once_more_with_other_seeds() {
    let noisy = r#"
echo $LUTHIER_SEED >> seeds
awk -v seed=$LUTHIER_SEED 'BEGIN { srand(seed % 100000); printf "{\"f1\": %.12f}\n", rand() }'
"#;
    let desk = desk(noisy);
    desk.edit("learners =", "reevaluate = 4\nlearners =");
    let report = desk.tune(10).json();
    let seeds = || -> Vec<String> {
        String::from_utf8(desk.read("job/seeds")).unwrap().lines().map(str::to_owned).collect()
    };
    let distinct: std::collections::HashSet<String> = seeds().into_iter().collect();
    assert_eq!((seeds().len(), distinct.len()), (14, 14));
    let again: Vec<&Value> =
        trials(&report).iter().filter(|trial| trial["again"].is_number()).collect();
    assert_eq!(again.len(), 4);
    let best = &trials(&report)[report["tuning"]["best"].as_u64().unwrap() as usize];
    let [first, second] = ["score", "again"].map(|key| best[key].as_f64().unwrap());
    let told = report["headline"]["score"]["value"].as_f64().unwrap();
    assert_close(told, (first + second) / 2.0, 1e-12, "mean");
    // The files of the first time are kept, and nothing is done twice.
    assert!(desk.path(&format!("job/run/trials/{}/trial.json", best["number"])).exists());
    assert_eq!(trials(&desk.tune(10).json()), trials(&report));
    assert_eq!(seeds().len(), 14);
    desk.edit("reevaluate = 4", "reevaluate = 0");
    assert_eq!(trials(&desk.tune(10).json())[0].get("again"), None);
    assert_eq!(seeds().len(), 14);
}

/// The trials of a report.
fn trials(report: &Value) -> &Vec<Value> {
    report["tuning"]["trials"].as_array().unwrap()
}

#[test]
fn a_program_is_tuned_by_what_it_reports() {
    let desk = desk(PARABOLA);
    let report = desk.tune(12).json();
    assert_eq!(report, desk.json("job/run/tuning.json"));
    assert_eq!(trials(&report).len(), 12);
    for trial in trials(&report) {
        assert_eq!((&trial["state"], &trial["reported"]), (&json!("complete"), &json!(true)));
        let x = trial["values"]["command.x"].as_f64().unwrap();
        assert_close(trial["score"].as_f64().unwrap(), 1.0 - (x - 0.3).powi(2), 1e-9, "score");
    }
    let best = &trials(&report)[report["tuning"]["best"].as_u64().unwrap() as usize];
    assert_eq!(report["headline"]["score"]["value"], best["score"]);
    assert!(best["score"].as_f64().unwrap() > 0.99, "{best}");

    let outcome = desk.luthier(&["run", "job", "--trials", "13"]);
    assert!(outcome.err.contains("13/13 trial 12 f1 0."), "{}", outcome.err);
    assert!(outcome.err.contains("(reported)"), "{}", outcome.err);
    let out = outcome.ok();
    assert!(out.contains("reported by the program)\n"), "{out}");
    assert!(out.contains("\ncommand.x  0."), "{out}");
    assert!(out.ends_with("a program's, which has left no model.onnx.\n"), "{out}");
    let names = desk.names("job/run");
    for name in ["bundle/", "model/", "report.json"] {
        assert!(!names.iter().any(|known| known == name), "{names:?}");
    }
}

#[test]
fn a_study_keeps_its_trials_in_a_space_that_grows() {
    let desk = desk(PARABOLA);
    let tune = |trials: &str, more: &[&str]| {
        let common = ["tune", "job", "--format", "json", "--trials", trials];
        desk.luthier(&[&common, more].concat())
    };
    let kept = |outcome: Outcome| -> Vec<Value> {
        let kept = |trial: &Value| json!({ "values": trial["values"], "score": trial["score"] });
        trials(&outcome.json()).iter().map(kept).collect()
    };
    let first = kept(tune("6", &[]));
    assert_eq!(kept(tune("6", &["--extend-space"])), first);

    desk.edit("x = { float = [0.0, 1.0] }", "x = { float = [0.0, 4.0] }");
    let longer = kept(tune("16", &["--extend-space"]));
    assert_eq!((longer.len(), &longer[..6]), (16, &first[..]));
    let x = |trial: &Value| trial["values"]["command.x"].as_f64().unwrap();
    assert!(longer[6..].iter().any(|trial| x(trial) > 1.0), "{longer:?}");
    assert!(desk.path("job/run/trials/0").exists());

    desk.edit(
        "x = { float = [0.0, 4.0] }",
        "x = { float = [0.0, 4.0] }\nspace.command.n = { int = [1, 9] }",
    );
    let refused = |more: &[&str], expected: &str| {
        let outcome = tune("17", more);
        assert!(outcome.code == Some(2) && outcome.err.contains(expected), "{outcome:?}");
    };
    let new = "parameter `command.n` was absent, is now an integer from 1 to 9, where `learner` is \
               command\n hint: a space may only grow; what a new parameter has been";
    refused(&["--extend-space"], new);
    let was = ["--extend-space", "--was", "command.n=0"];
    refused(&was, "error: --was command.n=0: expected an integer from 1 to 9\n");
    refused(
        &["--extend-space", "--was", "n=3"],
        "the space has no such parameter\n hint: known are",
    );
    refused(&["--was", "command.n=3"], "--extend-space");
    let with_n = kept(tune("17", &["--extend-space", "--was", "command.n=3"]));
    assert!(with_n[..16].iter().all(|trial| trial["values"]["command.n"] == 3), "{with_n:?}");
    assert_eq!(kept(tune("17", &[])), with_n);

    desk.edit("x = { float = [0.0, 4.0] }", "x = { float = [0.0, 0.5] }");
    let narrowed = "parameter `command.x` was a number from 0 to 4, where `learner` is command, is now a \
                    number from 0 to 0.5, where `learner` is command";
    refused(&["--extend-space"], narrowed);
    let outcome = tune("2", &[]);
    assert!(outcome.err.contains(&format!("{narrowed}; the study is set aside as study.db.")));
    assert!(outcome.err.contains("(--extend-space keeps one whose"), "{}", outcome.err);
    assert_eq!(trials(&outcome.json()).len(), 2);
    // A second one does not take the place of the first.
    desk.edit("x = { float = [0.0, 0.5] }", "x = { float = [0.1, 0.5] }");
    assert_eq!(trials(&tune("1", &[]).json()).len(), 1);
    let names = desk.names("job/run");
    for beginning in ["study.db.", "trials."] {
        let aside = names.iter().filter(|n| n.starts_with(beginning) && !n.ends_with(".lock"));
        assert_eq!(aside.count(), 2, "{names:?}");
    }
}

#[test]
fn a_program_is_told_all_it_needs_in_three_ways() {
    let tell = "cat > \"$LUTHIER_FOLDER/stdin\"; echo \"$@\" > \"$LUTHIER_FOLDER/arguments\"\n\
                env > \"$LUTHIER_FOLDER/environment\"; echo '{\"f1\": 0.5}'";
    for pass in ["json", "arguments", "environment"] {
        let desk = desk(tell);
        desk.edit(
            r#""train.sh"], pass = "environment""#,
            &format!(r#""train.sh", "{{valid}}", "n={{trial}}{{x"], pass = "{pass}""#),
        );
        desk.edit("space.command.x = { float = [0.0, 1.0] }", "space.command = { x-y = 0.25 }");
        desk.tune(1).json();
        let document: Value = serde_json::from_str(&desk.trial(0, "trial.json")).unwrap();
        let folder = desk.path("job");
        assert_eq!(document["trial"], 0);
        assert_eq!(document["values"], json!({ "x-y": 0.25 }));
        assert_eq!(document["objective"], json!({ "metric": "f1", "direction": "maximize" }));
        assert_eq!(document["folder"], text(&folder.join("run/trials/0")));
        let data = json!({
            "train": folder.join("train.csv"), "valid": folder.join("valid.csv"),
            "text": ["text"], "label": "label", "labels": ["bad", "good"], "positive": "good",
        });
        assert_eq!(document["data"], data);

        let stdin = if pass == "json" { desk.trial(0, "trial.json") } else { String::new() };
        assert_eq!(desk.trial(0, "stdin"), stdin, "{pass}");
        let words = format!("{} n=0{{x", text(&folder.join("valid.csv")));
        let value = if pass == "arguments" { " --x-y=0.25" } else { "" };
        assert_eq!(desk.trial(0, "arguments"), format!("{words}{value}\n"), "{pass}");
        let environment = desk.trial(0, "environment");
        let has = |line: String| environment.lines().any(|known| known == line);
        assert_eq!(has("LUTHIER_VALUE_X_Y=0.25".to_owned()), pass == "environment", "{pass}");
        assert!(has(format!("LUTHIER_TRAIN={}", text(&folder.join("train.csv")))));
        assert!(has(format!("LUTHIER_SEED={}", document["seed"])));
        assert!(has(format!("PWD={}", text(&folder))));
        assert!(!environment.contains("test.csv"), "{environment}");
    }
}

#[test]
fn rows_that_are_split_are_written_without_the_test_rows() {
    let desk = desk("cp \"$LUTHIER_TRAIN\" \"$LUTHIER_VALID\" .\necho '{\"f1\": 0.5}'");
    desk.edit("valid = \"valid.csv\"\ntest = \"test.csv\"\n", "");
    desk.tune(1).json();
    assert_eq!(desk.names("job/run/splits"), ["train.csv", "valid.csv"]);
    let lines = |name: &str| String::from_utf8(desk.read(name)).unwrap().lines().count();
    assert_eq!((lines("job/train.csv"), lines("job/valid.csv")), (193, 25));
}

#[test]
fn predictions_are_scored_here_whatever_the_program_says() {
    let desk = desk(
        "echo '{\"f1\": 0.123}'\n\
         (echo label; tail -n +2 \"$LUTHIER_VALID\" | sed 's/.*,//') > \
         \"$LUTHIER_FOLDER/predictions.csv\"",
    );
    let report = desk.tune(2).json();
    for trial in trials(&report) {
        assert_eq!((&trial["score"], &trial["reported"]), (&json!(1.0), &json!(false)));
    }
    desk.edit("[tune]", "[objective]\nmetric = \"roc_auc\"\n[tune]");
    let reason = "`roc_auc` needs probabilities, in a column for each label";
    failed(&desk, &format!("{}: {reason}", text(&desk.path("job/run/trials/0/predictions.csv"))));
    desk.write(
        "job/train.sh",
        "awk -F, 'NR == 1 { print \"good,bad\" } NR > 1 { p = $NF == \"good\" ? 0.9 : 0.2; print p \",\" \
         1 - p }' \"$LUTHIER_VALID\" > \"$LUTHIER_FOLDER/predictions.csv\"",
    );
    let report = desk.tune(2).json();
    let trial = &trials(&report)[1];
    assert_eq!(trial["score"], 1.0);
    assert!(trial["loss"].as_f64().unwrap() < 0.3, "{trial}");
}

/// That the only trial failed for `reason`.
#[track_caller]
fn failed(desk: &Desk, reason: &str) {
    let hint = " hint: raise `tune.timeout` or `tune.trials`, or widen `tune.space`";
    desk.tune(1).fails(
        2,
        &format!("error: no trial completed; the last one failed with: {reason}\n{hint}"),
    );
}

#[test]
fn why_a_program_failed_is_said() {
    let check = |program: &str, reason: &str| failed(&desk(program), reason);
    check("echo '{\"f1\": 1}'; exit 3", "exit code 3");
    check("echo broken >&2; exit 1", "exit code 1: broken");
    check(
        "for i in 1 2; do echo line $i >&2; done; echo >&2; exit 9",
        "exit code 9: line 2\nstandard error ended with\nline 1\nline 2",
    );
    check("echo '{\"f1\": 1}'; kill -9 $$", "ended by signal 9");
    let without = "it ended without `f1`: no line such as {\"f1\": 0.5} on standard output";
    check("echo done", without);
    check(
        "echo '{\"step\": 1, \"F1\": 0.5}'",
        &format!("{without}; its last JSON line has step, F1"),
    );
    check("echo '{\"f1\": NaN}'", "the score is NaN");
    check("echo '{\"step\": 4, \"f1\": NaN}'; exec sleep 600", "the score at step 4 is NaN");
    check(
        "echo '{\"f1\": \"high\"}'; exec sleep 600",
        "it reported `f1` as \"high\", which is no number",
    );
    check("echo '{\"step\": -1, \"f1\": 1}'", "it reported step -1; steps are 0, 1, 2, …");
    let desk = desk("echo waiting >&2; sleep 600");
    desk.edit("pass = ", "timeout = \"300ms\", pass = ");
    failed(&desk, "timed out after 300ms: waiting");
}

#[test]
fn wrong_predictions_fail_a_trial() {
    let desk = desk("echo label > $LUTHIER_FOLDER/predictions.csv; echo '{\"f1\": 1}'");
    let path = desk.path("job/run/trials/0/predictions.csv");
    failed(&desk, &format!("{}: it has 0 rows, and there are 80 validation rows", text(&path)));
}

#[test]
fn any_output_is_endured() {
    let desk = desk(
        "head -c 9000000 /dev/zero\n\
         yes 'chatter { }' | head -n 500000 >&2\n\
         printf '\\n\\377\\376 {\"f1\": 0.1}\\n{\"f1\": \\377}\\n{broken\\n[1]\\n\\n'\n\
         printf '{\"note\": \"'; head -c 200000 /dev/zero | tr '\\0' x; printf '\", \"f1\": 0.2}\\n'\n\
         i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); echo \"{\\\"step\\\": $i, \\\"f1\\\": 0.$i}\"; done\n\
         printf '{\"f1\": 0.75}'",
    );
    let report = desk.tune(1).json();
    let trial = &trials(&report)[0];
    assert_eq!((&trial["score"], trial["steps"].as_array().unwrap().len()), (&json!(0.75), 2000));
    for name in ["stdout.log", "stderr.log"] {
        let log = desk.trial(0, name);
        assert!(log.len() < (4 << 20) + 100, "{name} has {} bytes", log.len());
        assert!(log.ends_with("(the rest was left out)\n"), "{name}");
    }
}

#[test]
fn a_trial_without_promise_is_ended_by_sigterm_or_else_by_sigkill() {
    let polite = "trap 'echo bye > $LUTHIER_FOLDER/farewell; exit 0' TERM\n";
    let deaf = "trap '' TERM\n";
    for (manners, farewell) in [(polite, true), (deaf, false)] {
        let desk = desk(&format!(
            "{manners}echo '{{\"step\": 1, \"f1\": 0.9}}'\n\
             if [ $LUTHIER_TRIAL = 1 ]; then\n\
             sleep 600 & echo $! $$ > pids\n\
             echo '{{\"step\": 2, \"f1\": 0.1}}'; while :; do sleep 0.05; done; fi"
        ));
        desk.edit("pass = ", "grace = \"400ms\", pass = ");
        desk.edit("[tune]", "[tune]\npruner = { kind = \"threshold\", lower = 0.5 }");
        let start = Instant::now();
        let report = desk.tune(2).json();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let states: Vec<&Value> = trials(&report).iter().map(|trial| &trial["state"]).collect();
        assert_eq!(states, ["complete", "pruned"]);
        assert_eq!(trials(&report)[1]["steps"], json!([[1, 0.9], [2, 0.1]]));
        assert_eq!(desk.path("job/run/trials/1/farewell").exists(), farewell);
        check_ended(&desk);
    }
}

/// That none of the processes in the file `pids` is left; killed ones may take a moment.
#[track_caller]
fn check_ended(desk: &Desk) {
    let pids = String::from_utf8(desk.read("job/pids")).unwrap();
    let left = || {
        let list = pids.split_whitespace().collect::<Vec<_>>().join(",");
        let ps = Command::new("ps").args(["-o", "stat=", "-p", &list]).output();
        let out = ps.unwrap().stdout;
        let lines = String::from_utf8(out).unwrap();
        lines.lines().filter(|line| !line.trim().starts_with('Z')).count()
    };
    assert!(pids.split_whitespace().count() >= 2, "{pids}");
    let ended = wait_for(Duration::from_secs(3), || (left() == 0).then_some(()));
    assert!(ended.is_some(), "some of {pids} are left");
}

#[test]
fn what_a_program_leaves_running_ends_with_it() {
    let desk = desk("sleep 600 & first=$!; sleep 600 & echo $first $! > pids; echo '{\"f1\": 1}'");
    let start = Instant::now();
    desk.tune(1).json();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    check_ended(&desk);
}

/// A search whose first trials do not end, once both of them run.
fn endless() -> (Desk, Process) {
    let desk = desk("echo '{\"step\": 1, \"f1\": 0.5}'\nsleep 600 & echo $! $$ >> pids; wait\n");
    let mut command = desk.command(&["tune", "job"]);
    let run = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let both = || (lines_of(desk.path("job/pids")) == 2).then_some(());
    wait_for(Duration::from_secs(20), both).expect("two trials run");
    (desk, run)
}

fn lines_of(path: PathBuf) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn a_stopped_search_leaves_no_process_and_goes_on() {
    for signal in ["INT", "TERM"] {
        let (desk, mut run) = endless();
        run.signal(signal);
        let ended = wait_for(Duration::from_secs(5), || run.child().try_wait().unwrap());
        assert_eq!(ended.expect("it ends").code(), Some(130), "{signal}");
        check_ended(&desk);
        check_it_goes_on(&desk);
    }
}

#[test]
fn a_killed_search_leaves_no_process_and_goes_on() {
    let (desk, run) = endless();
    run.signal("KILL");
    drop(run);
    check_ended(&desk);
    check_it_goes_on(&desk);
}

/// That the same trials are evaluated anew.
#[track_caller]
fn check_it_goes_on(desk: &Desk) {
    desk.write("job/train.sh", PARABOLA);
    let report = desk.tune(6).json();
    let numbers: Vec<u64> =
        trials(&report).iter().map(|trial| trial["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    for trial in trials(&report) {
        assert_eq!(trial["state"], "complete", "{trial}");
        assert_eq!(trial["steps"], json!([]), "{trial}");
    }
}

#[test]
fn programs_run_at_the_same_time() {
    // Each trial waits for the one beside it.
    let desk = desk(
        "touch seen-$LUTHIER_TRIAL\n\
         other=$((LUTHIER_TRIAL ^ 1))\n\
         i=0; while [ ! -e seen-$other ]; do i=$((i + 1)); [ $i -lt 200 ] || exit 1; sleep 0.05; done\n\
         echo '{\"f1\": 0.5}'",
    );
    let report = desk.tune(4).json();
    assert!(trials(&report).iter().all(|trial| trial["state"] == "complete"), "{report}");
}

#[test]
fn a_program_competes_with_other_learners() {
    let desk = desk("echo '{\"f1\": 0.01}'");
    desk.edit("learners = [\"command\"]", "learners = [\"linear\", \"command\"]");
    let report = desk.luthier(&["run", "job", "--format", "json"]).json();
    let learners: Vec<&Value> =
        trials(&report).iter().map(|trial| &trial["values"]["learner"]).collect();
    assert!(learners.contains(&&json!("linear")) && learners.contains(&&json!("command")));
    assert!(report["evaluation"].is_object(), "the best is a model");
}

#[test]
fn another_command_line_is_another_study() {
    let desk = desk(PARABOLA);
    desk.tune(2).json();
    desk.edit("\"train.sh\"", "\"train.sh\", \"--deep\"");
    desk.tune(1).json();
    let aside = desk.names("job/run");
    let aside: Vec<&String> = aside.iter().filter(|name| name.starts_with("trials.")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(desk.names("job/run/trials"), ["0/"]);
}

#[test]
fn mistakes_in_the_job_are_named() {
    let check = |from: &str, to: &str, complaint: &str| {
        let desk = desk(PARABOLA);
        desk.edit(from, to);
        let complaint = complaint.replace("FOLDER", text(&desk.path("job")));
        desk.tune(1).fails(2, &format!("error: job/luthier.toml: {complaint}"));
    };
    check(
        "\"sh\"",
        "\"shh-h\"",
        "`tune.command.run`: there is no program `shh-h`\n hint: install it, or write ./shh-h for \
         one beside luthier.toml",
    );
    check(
        "\"sh\", \"train.sh\"",
        "\"./train.sh\"",
        "`tune.command.run`: FOLDER/./train.sh is not a program\n hint: give a file that may be \
         executed, or the interpreter before it",
    );
    check(
        "[\"sh\", \"train.sh\"]",
        "[]",
        "`tune.command.run` is empty\n hint: give a program and its arguments, as [\"python3\", \
         \"train.py\"]",
    );
    check(
        "\"train.sh\"",
        "\"train.sh\", \"{vlaid}\"",
        "`tune.command.run`: {vlaid}: there is nothing of that name\n hint: did you mean `valid`?",
    );
    check(
        "pass = ",
        "grace = \"0s\", pass = ",
        "`tune.command.grace` is \"0s\"\n hint: write a time such as \"90s\", \"20m\" or \"1h 30m\"",
    );
    check(
        "space.command.x = { float = [0.0, 1.0] }",
        "",
        "`tune.space.command` is missing: a program has no space of its own\n hint: say what to \
         try, as `learning_rate = { float = [1e-4, 1.0], log = true }`",
    );
    check(
        "space.command.x = { float = [0.0, 1.0] }",
        "space.command = { a-b = 1, a_b = 2 }",
        "`tune.space.command`: `a-b` and `a_b` are both LUTHIER_VALUE_A_B in the environment",
    );
    check(
        "learners = [\"command\"]",
        "learners = [\"linear\"]",
        "`tune.space.command`: no such learner is used\n hint: name it in `tune.learners`",
    );
    check(
        "command = { run = [\"sh\", \"train.sh\"], pass = \"environment\" }",
        "",
        "`tune.learners` names `command`, and there is no `tune.command`\n hint: give the program, \
         as `command = { run = [\"python3\", \"train.py\"] }` in [tune]",
    );
}

#[test]
fn the_data_of_a_program_is_the_data_of_the_job() {
    let desk = desk("grep -c . \"$LUTHIER_TRAIN\" >&2; echo '{\"f1\": 0.5}'");
    desk.write("job/train.csv", csv(&rows(&crate::MOODS, 100, 7)));
    desk.tune(1).json();
    assert_eq!(desk.trial(0, "stderr.log"), "101\n");
}
