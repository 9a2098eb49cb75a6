//! The sampler for those who do not want to choose one.

use luthier_space::Values;

use super::cma_es;
use super::frame::Frame;
use super::{CmaEs, Gp, Nsga2, Request, Sampler, Tpe};
use crate::State;

/// Hands over between the other samplers, by what is searched and how far the search has come.
///
/// While there are few trials, a Gaussian process proposes two of three and the estimator the third.
/// The process finds its way with the fewest trials where scores are smooth; where they are rugged it
/// may settle in a hollow, and the estimator, which is drawn to the best trials from all sides, leads
/// out of it. The mixture is left with less regret than either of the two alone. With several
/// objectives the process alone does better.
///
/// When the process has grown too expensive, numbers alone are searched by CMA-ES, which begins where
/// the best trials are, and everything else by the estimator; several objectives at last by NSGA-II,
/// which has no models to wait for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Auto;

/// Of so many trials, one is the estimator's.
const TURN: u64 = 3;
/// Finished trials and dimensions up to which a process is worth its time.
const PROCESS_TRIALS: usize = 300;
const PROCESS_DIMENSIONS: usize = 40;
/// Objectives that a process can weigh against each other.
const PROCESS_OBJECTIVES: usize = 3;
/// Finished trials up to which an estimator with several objectives is worth its time.
const SEVERAL_TRIALS: usize = 2000;

impl Sampler for Auto {
    fn suggest(&self, request: &Request<'_>) -> Option<Values> {
        let frame = Frame::new(request.space)?;
        let ended = |state| matches!(state, State::Complete | State::Pruned | State::Paused);
        let finished = request.trials.iter().filter(|trial| ended(trial.state)).count();
        let objectives = request.directions.len();
        let for_process = finished <= PROCESS_TRIALS
            && frame.axes.len() <= PROCESS_DIMENSIONS
            && objectives <= PROCESS_OBJECTIVES;
        let beginning = finished < Tpe::default().startup_trials;
        let turn = objectives == 1 && request.number % TURN == TURN - 1;
        if for_process && (beginning || !turn) {
            return Gp::default().suggest(request);
        }
        if !for_process && cma_es::can_search(&frame, request) {
            return CmaEs { startup_trials: PROCESS_TRIALS }.suggest(request);
        }
        if objectives > 1 && finished > SEVERAL_TRIALS {
            return Nsga2::default().suggest(request);
        }
        Tpe::default().suggest(request)
    }
}
