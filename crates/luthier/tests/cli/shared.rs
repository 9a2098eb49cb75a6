//! Runs on several machines that share one study.

use std::process::Stdio;

use luthier_study::{Locator, Study};
use luthier_test::{Postgres, Process};

use crate::Desk;

#[test]
fn two_runs_share_a_study_and_end_with_the_same_bundle() {
    let Some(server) = Postgres::start() else { return };
    let alone = Desk::with_bundle();
    let mut runs: Vec<(Desk, Process)> = (0..2)
        .map(|_| {
            let desk = Desk::with_job();
            desk.edit("workers = 2", &format!("workers = 2\nstorage = \"{}\"", server.url()));
            let mut command = desk.command(&["run", "job"]);
            let run = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
            (desk, run)
        })
        .collect();
    for (_, run) in &mut runs {
        assert!(run.child().wait().unwrap().success());
    }
    let locator: Locator = server.url().parse().unwrap();
    let records = Study::load(&locator, Some("mood")).unwrap();
    assert_eq!(records.trials.len(), 6);
    assert!(records.trials.iter().all(|record| record.trial.state.is_finished()));
    for (desk, _) in &runs {
        assert_eq!(desk.read("job/run/bundle/model.onnx"), alone.read("job/run/bundle/model.onnx"));
    }
    // The study is there for the next run, too.
    let (desk, _) = &runs[0];
    desk.luthier(&["run", "job", "--trials", "8"]).ok();
    assert_eq!(Study::load(&locator, None).unwrap().trials.len(), 8);
    desk.edit("storage", "space.linear.ngrams = 1\nstorage");
    desk.luthier(&["run", "job"]).fails(
        2,
        "error: the study was started with another setup: parameter `linear.ngrams` was an integer \
         from 1 to 3, where `learner` is linear, is now one of 1, where `learner` is linear\n \
         hint: `--extend-space` goes on with a study whose space has only grown; or give the study \
         another `name` or storage",
    );
    desk.edit("space.linear.ngrams = 1", "space.linear.ngrams = { int = [1, 4] }");
    let before = Study::load(&locator, None).unwrap().into_trials();
    desk.luthier(&["run", "job", "--trials", "9", "--extend-space"]).ok();
    let after = Study::load(&locator, None).unwrap().into_trials();
    assert_eq!((&after[..8], after.len()), (&before[..], 9));
}
