//! Names that many share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Names in an order.
///
/// A study has thousands of trials and few lists of names, one for each branch of its space that was
/// taken. Trials with equal lists share one, which takes less memory, and lists that are one need not
/// be compared name by name.
pub(crate) type Names = Arc<Vec<String>>;

/// Lists made last that are remembered, the newest first.
static RECENT: Mutex<VecDeque<Names>> = Mutex::new(VecDeque::new());
/// How many: about the branches of a large space.
const REMEMBERED: usize = 32;

/// These names, as one with an equal list among those made last.
pub(crate) fn shared(names: Vec<String>) -> Names {
    // A list is either in its place or not, whatever became of another thread.
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = recent.iter().find(|known| ***known == names) {
        return known.clone();
    }
    let names = Arc::new(names);
    recent.truncate(REMEMBERED - 1);
    recent.push_front(names.clone());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(last: &str) -> Vec<String> {
        ["learner", "depth", last].map(str::to_owned).to_vec()
    }

    #[test]
    fn equal_lists_are_one() {
        let first = shared(list("a"));
        assert!(Arc::ptr_eq(&first, &shared(list("a"))));
        let other = shared(list("b"));
        assert!(!Arc::ptr_eq(&first, &other));
        assert_eq!(*other, list("b"));
    }
}
