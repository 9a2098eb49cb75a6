//! Runs that are stopped, by whatever means, and go on.

use std::io::{BufRead, BufReader, Lines};
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use luthier_test::{Process, wait_for};

use crate::{Desk, Outcome};

/// How often a run is killed, at moments spread over its time.
const KILLS: u32 = 25;

/// What appears in the run folder on the way, in order.
const MILESTONES: [&str; 12] = [
    ".lock",
    "profile.json",
    "study.db",
    "study.db-wal",
    ".model.partial",
    "model",
    "..candidate.partial",
    ".compressed.partial",
    "compression.json",
    ".bundle.partial",
    "bundle",
    "report.json",
];

#[test]
fn killed_at_any_time_a_run_ends_with_the_same_bundle() {
    let undisturbed = Desk::with_job();
    let start = Instant::now();
    undisturbed.luthier(&["run", "job"]).ok();
    let whole = start.elapsed();
    for kill in 0..KILLS {
        let desk = Desk::with_job();
        let time = whole * kill / KILLS;
        let run = start_quietly(&mut desk.command(&["run", "job"]));
        std::thread::sleep(time);
        run.signal("KILL");
        drop(run);
        check_it_goes_on(&desk, &undisturbed, &format!("killed after {time:?}"));
    }
}

#[test]
fn killed_at_any_milestone_a_run_ends_with_the_same_bundle() {
    let undisturbed = Desk::with_bundle();
    for milestone in MILESTONES {
        let desk = Desk::with_job();
        let path = desk.path("job/run").join(milestone);
        let mut run = start_quietly(&mut desk.command(&["run", "job"]));
        while !path.exists() && run.child().try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(50));
        }
        drop(run);
        check_it_goes_on(&desk, &undisturbed, &format!("killed when there was {milestone}"));
    }
}

#[test]
fn killed_again_and_again_a_run_gets_there() {
    let desk = Desk::with_job();
    let mut lives = 0;
    loop {
        lives += 1;
        let mut run = start_quietly(&mut desk.command(&["run", "job", "--trials", "30"]));
        let limit = Duration::from_millis(50 + 10 * lives);
        if let Some(status) = wait_for(limit, || run.child().try_wait().unwrap()) {
            assert!(status.success(), "life {lives}: {status}");
            break;
        }
    }
    assert!(lives > 1, "the run was never killed");
    assert_eq!(trials(&desk), (0..30).collect::<Vec<_>>());
}

/// Starts a command whose output is of no interest; it is killed when dropped.
fn start_quietly(command: &mut Command) -> Process {
    Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// That the killed run goes on as if nothing had been.
#[track_caller]
fn check_it_goes_on(desk: &Desk, undisturbed: &Desk, what: &str) {
    let outcome = desk.luthier(&["run", "job"]);
    assert_eq!(outcome.code, Some(0), "{what}: {outcome:?}");
    assert_eq!(trials(desk), [0, 1, 2, 3, 4, 5], "{what}");
    let openings = |desk: &Desk| desk.json("job/run/bundle/manifest.json")["test_openings"].clone();
    assert_eq!(openings(desk), openings(undisturbed), "{what}: openings of the test split");
    assert!(desk.folder("job/run/bundle") == undisturbed.folder("job/run/bundle"), "{what}");
    let aside = desk.names("job/run").into_iter().find(|name| name.contains("earlier"));
    assert_eq!(aside, None, "{what}: a study was set aside");
}

/// The numbers of all trials in the report.
fn trials(desk: &Desk) -> Vec<u64> {
    let report = desk.json("job/run/report.json");
    let trials = report["tuning"]["trials"].as_array().unwrap();
    trials.iter().map(|trial| trial["number"].as_u64().unwrap()).collect()
}

#[test]
fn a_signal_stops_a_run_in_good_order() {
    for signal in ["INT", "TERM"] {
        let mut endless = Endless::start();
        let start = Instant::now();
        endless.run.signal(signal);
        let outcome = endless.end();
        let took = start.elapsed();
        assert!(took < Duration::from_secs(2), "{signal}: {took:?}");
        outcome.fails(
            130,
            "interrupted\n hint: run the same command again to go on; finished work is kept",
        );
        let wanted = highest_count(&outcome.err) + 3;
        let next = endless.desk.luthier(&["run", "job", "--trials", &wanted.to_string()]);
        let new = next.err.lines().filter(|line| line.contains(&format!("/{wanted} trial ")));
        assert_eq!((new.count(), next.code), (3, Some(0)), "{}", next.err);
    }
}

#[test]
fn a_second_run_in_a_folder_is_refused() {
    let Endless { desk, run, .. } = Endless::start();
    desk.luthier(&["run", "job"])
        .fails(2, "error: job/run is in use by another run\n hint: wait for it to end, or stop it");
    drop(run);
    desk.luthier(&["run", "job", "--trials", "1"]).ok();
}

/// A run in the midst of a search that would take very long.
struct Endless {
    desk: Desk,
    run: Process,
    /// What it has said so far.
    err: String,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Endless {
    /// Starts it and waits for the end of a first trial.
    fn start() -> Self {
        let desk = Desk::with_job();
        desk.edit("trials = 6", "trials = 1000000");
        let mut command = desk.command(&["run", "job"]);
        let mut run = Process::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
        let lines = BufReader::new(run.child().stderr.take().unwrap()).lines();
        let mut endless = Self { desk, run, err: String::new(), lines };
        while !endless.err.contains("\ntune ") {
            assert!(endless.read_line(), "it ended: {}", endless.err);
        }
        endless
    }

    fn read_line(&mut self) -> bool {
        let Some(line) = self.lines.next() else { return false };
        self.err += &(line.unwrap() + "\n");
        true
    }

    /// Waits for its end.
    fn end(&mut self) -> Outcome {
        while self.read_line() {}
        let code = self.run.child().wait().unwrap().code();
        Outcome { code, out: String::new(), err: self.err.clone() }
    }
}

/// The highest count of finished trials that was told of; two workers may speak out of turn.
fn highest_count(err: &str) -> u64 {
    let lines = err.lines().filter(|line| line.starts_with("tune"));
    let count = |line: &str| line.split_whitespace().nth(1)?.split('/').next()?.parse().ok();
    lines.filter_map(count).max().expect("a line of a trial")
}
