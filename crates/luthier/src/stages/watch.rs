//! A search as a terminal shows it while it goes on.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use luthier_study::{Overview, Running, Study};

use crate::job::Job;
use crate::term::{Bar, Search, Trial};

/// Pause between two looks at the study.
const LOOK: Duration = Duration::from_millis(500);

/// Shows how a search stands, here and elsewhere, until nothing is left that could send its end.
pub(super) fn watch(job: &Job, study: &Study, bar: &Bar, ended: &Receiver<()>) {
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        // A storage that is gone for a moment is noticed by those who write to it.
        let _ = study.refresh();
        show_running(job, study, bar);
    }
}

/// Shows the trials that run and what came of the others, as far as this process knows.
pub(super) fn show_running(job: &Job, study: &Study, bar: &Bar) {
    if !bar.is_live() {
        return;
    }
    let overview = study.overview();
    bar.set(overview.finished(), &best_so_far(job, overview.best));
    let Overview { complete, pruned, failed, running, .. } = overview;
    bar.set_search(Search {
        counts: format!("{complete} complete, {pruned} pruned, {failed} failed"),
        metric: job.objective.first().measure.to_string(),
        trials: running.into_iter().map(shown).collect(),
    });
}

fn shown(Running { number, values, last, elapsed }: Running) -> Trial {
    let learner = values.text("learner").unwrap_or_default().to_owned();
    let values = values
        .scope(&learner)
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(" ");
    let step = last.map(|step| (step.step, step.score()));
    let began = elapsed.and_then(|elapsed| Instant::now().checked_sub(elapsed));
    Trial { number, learner, step, began, values }
}

/// The best trial in words; nothing where there is none.
pub(super) fn best_so_far(job: &Job, best: Option<(u64, f64)>) -> String {
    let metric = &job.objective.first().measure;
    best.map_or(String::new(), |(number, score)| {
        format!("best {metric} {score:.4} (trial {number})")
    })
}
