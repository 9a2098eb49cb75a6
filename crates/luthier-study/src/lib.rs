//! Studies on disk: a search that survives being killed, and the workers that carry it out.
//!
//! Start from [`Study::open`], which creates a study or continues one, and [`Study::run`], which
//! evaluates trials with a closure until there are enough. The closure gets a [`Session`] with the
//! values to try, reports steps through it, and returns a score or a [`Failure`].
//!
//! A study is one SQLite file. What a trial is going to be is written before it starts and how it
//! ended when it ends, each in one short transaction; steps in between stay in memory, because a
//! trial that is cut short starts over anyway. So a process may be killed at any moment: trials that
//! had finished stay as they were, and those that were running are evaluated first when the study is
//! opened again, under the same numbers and values. Nothing is lost and nothing is done twice.
//!
//! One process at a time runs a study; others may read it ([`Study::load`]). With a lag in the
//! [`StudySpec`] the trials do not depend on the number of workers or on who is faster.
//!
//! The crate knows nothing of models and data, and prints nothing: progress comes as [`Event`]s.

mod error;
mod ledger;
mod run;
mod session;
mod spec;
mod storage;
mod study;

pub use error::StudyError;
pub use run::{Event, MAX_FAILURES_IN_A_ROW, Run, Summary};
pub use session::{Failure, Measured, Session};
pub use spec::{Change, Objective, StudySpec};
pub use study::Study;
