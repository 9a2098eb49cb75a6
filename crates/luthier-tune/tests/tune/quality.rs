//! The regret that the estimator is left with, beside random search and Optuna's.

use luthier_tune::{Direction, Gp, Random, Sampler, Tpe, Trial, best};

use crate::functions::{Function, all, mean_regret, study_of_workers};

#[test]
fn regret_is_far_below_random_search_and_level_with_optuna() {
    let fixture = include_str!("../fixtures/optuna_tpe.json");
    let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
    let count = |key: &str| fixture[key].as_u64().unwrap();
    let (trials, seeds) = (count("trials"), count("seeds"));
    for function in all() {
        let name = function.name;
        let optuna = fixture["mean_regret"][name].as_f64().unwrap();
        let random = mean_regret(&Random, &function, trials, seeds);
        let tpe = mean_regret(&Tpe::default(), &function, trials, seeds);
        assert!(tpe < 0.5 * random, "{name}: tpe {tpe}, random {random}");
        assert!(tpe < 1.25 * optuna, "{name}: tpe {tpe}, Optuna {optuna}");
    }
}

#[test]
fn a_gaussian_process_is_left_with_less_regret_than_the_estimator() {
    for function in all() {
        let tpe = mean_regret(&Tpe::default(), &function, 40, 10);
        let gp = mean_regret(&Gp::default(), &function, 40, 10);
        assert!(gp < 0.3 * tpe, "{}: gp {gp}, tpe {tpe}", function.name);
    }
}

#[test]
fn eight_workers_with_a_gaussian_process_do_better_than_one_with_the_estimator() {
    let mean_log = |sampler: &dyn Sampler, function: &Function, workers: usize| {
        let log = |seed| {
            let trials = study_of_workers(sampler, function, seed, 64, workers);
            let regret = best(&trials, &[Direction::Minimize]).and_then(Trial::score).unwrap();
            regret.max(1e-9).log10()
        };
        (0..5).map(log).sum::<f64>() / 5.0
    };
    for function in all() {
        let tpe = mean_log(&Tpe::default(), &function, 1);
        let gp = mean_log(&Gp::default(), &function, 8);
        assert!(gp < tpe - 1.0, "{}: gp {gp}, tpe {tpe}", function.name);
    }
}
