//! A process killed at any moment.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use luthier_study::{Failure, Measured, Session, Study, StudySpec};
use luthier_test::{Process, Scratch};
use luthier_tune::{State, Trial};

use crate::open::{branching, open_spec};
use crate::{objective, run, spec, timeless, trials_of};

const TRIALS: u64 = 30;
const PATH: &str = "LUTHIER_STUDY_TEST_PATH";
const OPEN: &str = "LUTHIER_STUDY_TEST_ASKS";

type Evaluate = fn(&Session<'_>) -> Result<Measured, Failure>;

/// A study, open or not, and what its trials do.
fn study(open: bool) -> (StudySpec, Evaluate) {
    if open { (open_spec(), branching) } else { (spec(), objective) }
}

/// Runs the study that the environment names; in a normal run of the tests there is none.
#[test]
fn child() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let (spec, evaluate) = study(std::env::var_os(OPEN).is_some());
    let slow = |session: &Session<'_>| {
        std::thread::sleep(Duration::from_millis(10 + session.seed() % 30));
        evaluate(session)
    };
    let study = Study::open(Path::new(&path), &spec).unwrap();
    study.run(&run(TRIALS, 3), &slow, &|_| {}).unwrap();
}

#[test]
fn nothing_is_lost_or_done_twice() {
    check(false);
}

#[test]
fn nor_where_trials_ask() {
    check(true);
}

fn check(open: bool) {
    let (spec, evaluate) = study(open);
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let mut known: Vec<Trial> = Vec::new();
    let mut kills = 0;
    // Moments spread by a generator, from the creation of the file on; later ones where the machine is
    // so busy that nothing is finished by then.
    let (mut moment, mut latest) = (12_345u64, 60);
    let finished =
        |trials: &[Trial]| trials.iter().filter(|trial| trial.state.is_finished()).count();
    while finished(&known) < TRIALS as usize || finished(&known) < known.len() {
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        run_child_for(&path, open, Duration::from_millis(1 + (moment >> 33) % latest));
        kills += 1;
        assert!(kills < 200, "no end in sight");
        // The file may not exist yet, or be empty: opening creates what is missing.
        let now = Study::open(&path, &spec).unwrap().trials();
        assert!(now.len() >= known.len());
        for (before, after) in known.iter().zip(&now) {
            // What a trial asks for that starts over comes bit by bit.
            assert!(open || before.values == after.values);
            if before.state.is_finished() {
                assert_eq!(before, after);
            }
        }
        if finished(&now) == finished(&known) {
            latest += latest / 8;
        }
        known = now;
    }
    assert!(kills > 3, "only {kills} kills");
    let numbers: Vec<u64> = known.iter().map(|trial| trial.number).collect();
    assert_eq!(numbers, (0..TRIALS).collect::<Vec<_>>());

    let whole = scratch.path().join("whole.db");
    Study::open(&whole, &spec).unwrap().run(&run(TRIALS, 1), &evaluate, &|_| {}).unwrap();
    assert_eq!(timeless(&known), timeless(&trials_of(&whole)));
    assert!(known.iter().any(|trial| trial.state == State::Complete));
}

fn run_child_for(path: &Path, open: bool, time: Duration) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed::child"]).env(PATH, path);
    if open {
        command.env(OPEN, "");
    }
    let process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    std::thread::sleep(time);
    process.signal("KILL");
}
