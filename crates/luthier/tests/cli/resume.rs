//! Runs that are stopped, by whatever means, and go on.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use luthier_test::{Process, wait_for};

use crate::{Desk, Outcome};

/// How often a run is killed, at moments spread over its time.
const KILLS: u32 = 25;

#[test]
fn killed_at_any_moment_a_run_ends_with_the_same_bundle() {
    let undisturbed = Desk::with_job();
    let start = Instant::now();
    undisturbed.luthier(&["run", "job"]).ok();
    let (whole, bundle) = (start.elapsed(), undisturbed.folder("job/run/bundle"));
    for kill in 0..KILLS {
        let desk = Desk::with_job();
        let moment = whole * kill / KILLS;
        let mut command = desk.command(&["run", "job"]);
        let run = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        std::thread::sleep(moment);
        run.signal("KILL");
        drop(run);
        desk.luthier(&["run", "job"]).ok();
        assert_eq!(trials(&desk), [0, 1, 2, 3, 4, 5], "killed after {moment:?}");
        assert!(desk.folder("job/run/bundle") == bundle, "killed after {moment:?}");
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_gets_there() {
    let desk = Desk::with_job();
    desk.edit("trials = 6", "trials = 40");
    let mut lives = 0;
    loop {
        lives += 1;
        let mut command = desk.command(&["run", "job"]);
        let mut run = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let ended = wait_for(Duration::from_millis(60 * lives), || run.child().try_wait().unwrap());
        if let Some(status) = ended {
            assert!(status.success(), "life {lives}: {status}");
            break;
        }
        run.signal("KILL");
    }
    assert!(lives > 1, "the run was never killed");
    assert_eq!(trials(&desk), (0..40).collect::<Vec<u64>>());
    let undisturbed = Desk::with_job();
    undisturbed.luthier(&["run", "job", "--trials", "40"]).ok();
    assert!(desk.folder("job/run/bundle") == undisturbed.folder("job/run/bundle"));
}

#[test]
fn a_signal_stops_a_run_in_good_order() {
    for signal in ["INT", "TERM"] {
        let (desk, mut run, mut lines) = endless_run();
        let start = Instant::now();
        run.signal(signal);
        let status = wait_for(Duration::from_secs(20), || run.child().try_wait().unwrap());
        let (status, took) = (status.expect("the run ends"), start.elapsed());
        assert!(took < Duration::from_secs(2), "{signal}: {took:?}");
        let outcome =
            Outcome { code: status.code(), out: String::new(), err: lines.by_ref().collect() };
        outcome.fails(130, INTERRUPTED);
        let done = finished(&outcome.err);
        let err = desk.luthier(&["run", "job", "--trials", &(done + 3).to_string()]).err;
        assert_eq!(err.lines().filter(|line| line.contains(&format!("/{} trial", done + 3))).count(), 3, "{err}");
    }
}

const INTERRUPTED: &str =
    "interrupted\n hint: run the same command again to go on; finished work is kept";

#[test]
fn a_second_run_in_a_folder_is_refused() {
    let (desk, run, _lines) = endless_run();
    desk.luthier(&["run", "job"]).fails(
        2,
        "error: job/run is in use by another run\n hint: wait for it to end, or stop it",
    );
    drop(run);
    desk.luthier(&["run", "job", "--trials", "1"]).ok();
}

/// A run that would take very long, in the midst of its search, with the lines that it prints.
fn endless_run() -> (Desk, Process, impl Iterator<Item = String>) {
    let desk = Desk::with_job();
    desk.edit("trials = 6", "trials = 1000000");
    let mut command = desk.command(&["run", "job"]);
    let mut run = Process::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    let err = BufReader::new(run.child().stderr.take().unwrap());
    let mut lines = err.lines().map(|line| line.unwrap() + "\n");
    assert!(lines.any(|line| line.starts_with("tune")), "a trial ends");
    (desk, run, lines)
}

/// The count of finished trials in the last line that tells of one.
fn finished(err: &str) -> u64 {
    let line = err.lines().rfind(|line| line.starts_with("tune")).expect("a line of a trial");
    let count = line.split_whitespace().nth(1).and_then(|word| word.split('/').next());
    count.unwrap().parse().unwrap()
}

/// The numbers of all trials in the report.
fn trials(desk: &Desk) -> Vec<u64> {
    let report = desk.json("job/run/report.json");
    let trials = report["tuning"]["trials"].as_array().unwrap();
    trials.iter().map(|trial| trial["number"].as_u64().unwrap()).collect()
}
