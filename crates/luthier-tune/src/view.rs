//! Which trials the one about to start may see.

use crate::{State, Trial};

/// What trial `number` may know of the others.
///
/// With a `lag` of *l*, trial *n* sees the results of trials below *n − l*, all of them finished,
/// and of trials *n − l* to *n − 1* no more than their values. Up to *l + 1* workers can then be busy
/// at once, and which of them is faster changes nothing about the trials. Without a lag it sees
/// whatever is known when it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The trial that looks.
    pub number: u64,
    /// How many trials before it are pending for it, whatever their state.
    pub lag: Option<u64>,
}

impl View {
    /// How many trials, counted from 0, have to be finished before this one may start.
    pub fn settled_before(self) -> u64 {
        self.lag.map_or(0, |lag| self.number.saturating_sub(lag))
    }

    /// The trials whose steps and scores may be compared with this one's; `trials[i]` is number *i*.
    pub fn finished(self, trials: &[Trial]) -> &[Trial] {
        match self.lag {
            Some(_) => &trials[..usize_of(self.settled_before()).min(trials.len())],
            None => trials,
        }
    }

    /// Calls `look` with all trials below this one, pending ones reduced to their values;
    /// `trials[i]` is number *i*. The list is changed in place, to spare a copy of a long study, and
    /// put back.
    pub fn pending<T>(self, trials: &mut Vec<Trial>, look: impl FnOnce(&[Trial]) -> T) -> T {
        let below = usize_of(self.number).min(trials.len());
        let settled = match self.lag {
            Some(_) => usize_of(self.settled_before()).min(below),
            None => below,
        };
        let hidden = trials.split_off(settled);
        let bare = hidden[..below - settled].iter();
        trials.extend(bare.map(|trial| Trial::running(trial.number, trial.values.clone())));
        debug_assert!(trials[settled..].iter().all(|trial| trial.state == State::Running));
        let seen = look(trials);
        trials.truncate(settled);
        trials.extend(hidden);
        seen
    }
}

fn usize_of(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
