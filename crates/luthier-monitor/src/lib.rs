//! Watches a served model: how good it is by the labels that come back, and how far its texts and
//! answers have moved from those it was finished on.
//!
//! Start from [`Window`], which takes labelled [`Outcome`]s and gives a [`Quality`], and from
//! [`Drift`], which takes [`Observation`]s and compares them with a [`Baseline`].
//!
//! ```
//! use luthier_monitor::{Outcome, Window, WindowSize};
//!
//! let mut window = Window::new(Some(1), WindowSize::default());
//! for (time, predicted, truth) in [(1_000, 1, 1), (2_000, 0, 1), (3_000, 0, 0)] {
//!     window.add(Outcome { time, predicted, truth });
//! }
//! let quality = window.quality(4_000).unwrap();
//! assert_eq!((quality.labels, quality.accuracy), (3, 2.0 / 3.0));
//! assert!(quality.low < quality.accuracy && quality.accuracy < quality.high);
//! ```
//!
//! Both hold a bounded number of small records, whatever the traffic, and are functions of what was
//! added in which order: the same records give the same numbers, so that a server which reads its
//! records back after a restart shows what it showed before. Times are arguments (milliseconds since
//! the Unix epoch); the crate has no clock, no threads and no files, and knows no model: it is given
//! classes by number, lengths and shares.

mod baseline;
mod drift;
mod quality;

pub use baseline::{Baseline, BaselineError, Feature, Observation};
pub use drift::Drift;
pub use luthier_data::population_stability_index;
pub use quality::{Outcome, Quality, Window, WindowSize, wilson_interval};
