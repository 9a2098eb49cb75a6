//! Workers of a search that another process has begun.

use std::process::Stdio;
use std::time::Duration;

use luthier_study::{Locator, Record, Study};
use luthier_test::{Postgres, Process, wait_for};
use luthier_tune::State;

use crate::transformer::{desk_with_encoder, kept};
use crate::{Desk, Outcome};

/// The trials of the study in a database.
fn records(url: &str) -> Vec<Record> {
    let locator: Locator = url.parse().unwrap();
    Study::load(&locator, Some("mood")).map_or_else(|_| Vec::new(), |records| records.trials)
}

fn started(desk: &Desk, args: &[&str]) -> Process {
    Process::start(desk.command(args).stdout(Stdio::null()).stderr(Stdio::null()))
}

#[test]
fn workers_find_what_a_run_alone_finds() {
    let Some(server) = Postgres::start() else { return };
    let url = server.url();
    let alone = Desk::with_bundle();
    let desks: Vec<Desk> = (0..3).map(|_| Desk::with_job()).collect();
    // They wait for the one that begins the study.
    let worker = ["worker", "job", "--storage", &url, "--workers", "1"];
    let mut workers: Vec<Process> = desks.iter().map(|desk| started(desk, &worker)).collect();
    let first = Desk::with_job();
    first.luthier(&["run", "job", "--storage", &url, "--trials", "1"]).ok();
    for worker in &mut workers {
        assert!(worker.child().wait().unwrap().success());
    }
    let trials = records(&url);
    assert_eq!(trials.len(), 6);
    assert!(trials.iter().all(|record| record.trial.state.is_finished() && record.attempts == 1));
    for desk in &desks {
        assert!(!desk.path("job/run").exists(), "a worker has no run of its own");
    }
    first.luthier(&["run", "job", "--storage", &url]).ok();
    assert_eq!(first.read("job/run/bundle/model.onnx"), alone.read("job/run/bundle/model.onnx"));

    let late = desks[0].luthier(&[&worker[..], &["--format", "json"]].concat()).json();
    assert_eq!((&late["evaluated"], &late["finished"]), (&0.into(), &6.into()), "{late}");
    // What the job names instead need not be there.
    desks[0].edit("[tune]", "[tune]\nstorage = \"postgres://me:${NO_SUCH}@host/study\"");
    let mut told = desks[0].command(&["worker", "job"]);
    let told = Outcome::of(told.env("LUTHIER_STORAGE", &url)).ok();
    assert!(told.starts_with("0 trials evaluated here, 6 of 6 in all; best f1 0."), "{told}");
}

#[test]
fn workers_leave_no_states_of_fits() {
    let Some(server) = Postgres::start() else { return };
    let url = server.url();
    let desk = desk_with_encoder();
    desk.luthier(&["tune", "job", "--storage", &url, "--trials", "1"]).ok();
    std::fs::rename(desk.path("job/run"), desk.path("run")).unwrap();
    let worker = ["worker", "job", "--storage", &url];
    let mut told = started(&desk, &worker);
    let begun = || kept(&desk.path("job/run")).into_iter().next();
    wait_for(Duration::from_secs(20), begun).expect("an epoch is kept");
    told.signal("TERM");
    assert_eq!(told.child().wait().unwrap().code(), Some(130));
    assert!(!desk.path("job/run").exists(), "of a trial that was given back");
    desk.luthier(&worker).ok();
    assert_eq!(records(&url).len(), 3);
    assert!(!desk.path("job/run").exists(), "of trials that are over");
}

#[test]
fn a_worker_refuses_what_is_not_its_study() {
    let desk = Desk::with_job();
    desk.luthier(&["worker", "job"]).fails(
        2,
        "error: a worker needs a study in PostgreSQL; this one is in `study.db`\n \
         hint: give --storage postgres://user@host/database, or `tune.storage` in luthier.toml",
    );
    desk.luthier(&["worker", "job", "--storage", "mysql://host/database"]).fails(
        2,
        "error: --storage is `mysql://host/database`\n \
         hint: name a file, or a PostgreSQL database as postgres://user@host/database",
    );
    desk.luthier(&["worker", "job", "--storage", "postgres://me:${NO_SUCH}@host/d"]).fails(
        2,
        "error: `postgres://me:${NO_SUCH}@host/d`: environment variable NO_SUCH is not set\n \
         hint: set NO_SUCH when you call luthier",
    );
    let Some(server) = Postgres::start() else { return };
    let url = server.url();
    let worker = ["worker", "job", "--storage", &url, "--wait", "0"];
    desk.luthier(&worker).fails(
        2,
        &format!(
            "error: `{url}` has no study `mood`\n \
             hint: begin it with `luthier tune` on the same job; --wait says how long to wait"
        ),
    );
    desk.luthier(&["tune", "job", "--storage", &url, "--trials", "1"]).ok();
    let refused = |outcome: Outcome, what: &str| {
        let message = format!("error: the study was started with another setup: {what}");
        assert_eq!(outcome.code, Some(2), "{}", outcome.err);
        assert!(outcome.err.contains(&message), "{}", outcome.err);
    };
    refused(desk.luthier(&[&worker[..], &["--seed", "5"]].concat()), "seed was 0, is now 5");
    let other = Desk::with_job();
    other.write("job/valid.csv", other.read("job/test.csv"));
    refused(other.luthier(&worker), "data was ");
    // It is the data that count for those that begin or go on, too.
    refused(other.luthier(&["run", "job", "--storage", &url]), "data was ");
    assert_eq!(records(&url).len(), 1);
}

#[test]
fn a_worker_that_is_told_to_end_gives_its_trial_back() {
    let Some(server) = Postgres::start() else { return };
    let url = server.url();
    let desk = Desk::with_job();
    desk.edit(
        "[tune]",
        "[tune]\nlearners = [\"command\"]\nspace.command.x = { float = [0.0, 1.0] }\n\
         command = { run = [\"sh\", \"train.sh\"] }",
    );
    desk.write("job/train.sh", "test -f go || sleep 60; echo '{\"f1\": 0.5}'\n");
    desk.write("job/go", "");
    desk.luthier(&["tune", "job", "--storage", &url, "--trials", "1"]).ok();
    std::fs::remove_file(desk.path("job/go")).unwrap();

    let worker = ["worker", "job", "--storage", &url, "--trials", "2", "--workers", "1"];
    let mut told = started(&desk, &worker);
    let runs = || records(&url).iter().any(|r| r.trial.state == State::Running).then_some(());
    wait_for(Duration::from_secs(20), runs).expect("a trial runs");
    told.signal("TERM");
    assert_eq!(told.child().wait().unwrap().code(), Some(130));
    desk.write("job/go", "");
    let told = desk.luthier(&worker).ok();
    assert_eq!(told, "1 trials evaluated here, 2 of 2 in all; best f1 0.5000, trial 0\n");
    let attempts: Vec<u32> = records(&url).iter().map(|record| record.attempts).collect();
    assert_eq!(attempts, [1, 2]);
    let own = desk.names("job/run/workers");
    assert!(own.iter().any(|name| desk.path(&format!("job/run/workers/{name}trials/1")).exists()));
}
