//! Studies on disk: a search that survives being killed, and the workers that carry it out.
//!
//! Start from [`Study::open`], which creates a study or continues one, and [`Study::run`], which
//! evaluates trials with a closure until there are enough. The closure gets a [`Session`] with the
//! values to try, reports steps through it, and returns a score or a [`Failure`]. Programs that keep
//! their own loop ask an [`AskTell`] for trials instead.
//!
//! A study is an SQLite file or part of a PostgreSQL database ([`Locator`]), and any number of
//! processes may run it at once. What a trial is going to be is written before it starts and how it
//! ended when it ends, each in one short transaction. So a process may be killed at any moment: trials
//! that had finished stay as they were, and those that it evaluated are evaluated by others, under the
//! same numbers and values. Nothing is lost and nothing is done twice.
//!
//! One process at a time proposes a trial, after it has learnt of all others, so that none is proposed
//! twice. With a lag in the [`StudySpec`] the trials do not depend on the number of workers or on who
//! is faster.
//!
//! The space of a study may be open ([`Space::open`](luthier_space::Space::open)): its trials then ask
//! for values by name ([`Session::suggest`], [`AskTell::suggest`]), and what they ask for becomes part
//! of it. What a trial gets was proposed when it began, over all that finished trials had asked for.
//!
//! The crate knows nothing of models and data, and prints nothing: progress comes as [`Event`]s.

mod again;
mod ask;
mod error;
mod ledger;
mod locator;
mod open;
mod optuna;
mod overview;
mod run;
mod session;
mod spec;
mod storage;
mod study;

pub use ask::{AskError, AskTell, Asked, Asking};
pub use error::StudyError;
pub use locator::Locator;
pub use optuna::{Imported, LeftOut, read_optuna};
pub use overview::{Overview, Running};
pub use run::{Event, MAX_FAILURES_IN_A_ROW, Retries, Run, Summary};
pub use session::{Failure, Measured, Session};
pub use spec::{Change, Objective, StudySpec};
pub use storage::{Attributes, Lease, Record, Records};
pub use study::Study;
