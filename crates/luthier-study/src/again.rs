//! Trials that are over, evaluated once more: a second look at the best before one is chosen.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use luthier_tune::Trial;

use crate::run::{Crew, Run};
use crate::session::{Failure, Measured, Session};
use crate::{Study, StudyError};

/// The name under which a trial has what was measured the second time.
const AGAIN: &str = "again";

impl Study {
    /// What trials came to when they were evaluated once more, by number.
    pub fn again(&self) -> Result<BTreeMap<u64, Measured>, StudyError> {
        let records = self.ledger().storage().records()?;
        let measured = records.trials.into_iter().filter_map(|mut record| {
            let measured = serde_json::from_value(record.attributes.remove(AGAIN)?).ok()?;
            Some((record.trial.number, measured))
        });
        Ok(measured.collect())
    }

    /// Evaluates complete trials once more, each with a seed of its own, by the workers of `run` and
    /// while that is not stopped, and notes with each what was measured. The trials themselves stay
    /// as they are. One whose evaluation goes wrong is left out.
    ///
    /// Sessions of such an evaluation are never pruned and record no steps.
    pub fn evaluate_again(
        &self,
        trials: &[Trial],
        run: &Run<'_>,
        objective: &(dyn Fn(&Session<'_>) -> Result<Measured, Failure> + Sync),
    ) -> Result<(), StudyError> {
        let crew = Crew::new(self, run, objective, &|_| {});
        let (next, error) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                if crew.interrupted() {
                    return;
                }
                let Some(measured) = crew.evaluate_again(trial) else { continue };
                let measured = serde_json::to_value(measured).unwrap_or_default();
                if let Err(found) = self.set_attribute(Some(trial.number), AGAIN, &measured) {
                    error.lock().unwrap_or_else(|poison| poison.into_inner()).get_or_insert(found);
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            (1..run.workers.min(trials.len())).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        error.into_inner().unwrap_or_else(|poison| poison.into_inner()).map_or(Ok(()), Err)
    }
}
