//! Memory that is handed on from trial to trial.
//!
//! A trial works on tens of megabytes, and to get those from the system anew each time takes longer
//! than an epoch.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Vectors that were given back, for the next to ask.
#[derive(Debug)]
pub(crate) struct Spare<T>(Mutex<Vec<Vec<T>>>);

/// A vector that is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lent<T> {
    items: Vec<T>,
    home: Arc<Spare<T>>,
}

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Spare<T> {
    /// An empty vector, with room already where one was given back.
    pub(crate) fn lend(self: &Arc<Self>) -> Lent<T> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Lent { items: spare.pop().unwrap_or_default(), home: self.clone() }
    }
}

impl<T> Deref for Lent<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.items
    }
}

impl<T> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.items
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        items.clear();
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(items);
    }
}
