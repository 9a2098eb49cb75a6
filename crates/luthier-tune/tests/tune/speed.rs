//! How long a proposal takes. Run with
//! `cargo test --release -p luthier-tune -- --ignored --nocapture speed`.

use std::time::Instant;

use luthier_space::{Distribution, Space};
use luthier_tune::{CmaEs, Direction, Gp, Random, Request, Sampler, State, Tpe, Trial};

/// The ten dimensions with which the peers were measured.
fn space() -> Space {
    Space::of([
        ("f0", Distribution::float(0.0, 1.0)),
        ("f1", Distribution::float(-1.0, 1.0)),
        ("f2", Distribution::float(0.0, 10.0)),
        ("f3", Distribution::float(-5.0, 5.0)),
        ("l0", Distribution::log_float(1e-5, 1.0)),
        ("l1", Distribution::log_float(1e-3, 1e3)),
        ("i0", Distribution::int(1, 100)),
        ("i1", Distribution::log_int(1, 1000)),
        ("c0", Distribution::choice(["a", "b", "c", "d"])),
        ("c1", Distribution::choice(["a", "b", "c", "d"])),
    ])
}

#[test]
#[ignore = "prints timings"]
#[allow(clippy::print_stdout)]
fn milliseconds_per_proposal() {
    let space = space();
    let directions = &[Direction::Minimize];
    let mut trials = Vec::new();
    for number in 0..5000 {
        let request = Request { space: &space, directions, trials: &trials, number, seed: 1 };
        let values = Random.suggest(&request).unwrap();
        let score = values.iter().filter_map(|(_, x)| x.as_f64()).map(|x| (x - 0.4).abs()).sum();
        trials.push(Trial {
            state: State::Complete,
            scores: vec![score],
            ..Trial::running(number, values)
        });
    }
    let samplers = [
        ("random", &Random as &dyn Sampler),
        ("tpe", &Tpe::default()),
        ("gp", &Gp::default()),
        ("cma-es", &CmaEs::default()),
    ];
    for (name, sampler) in samplers {
        for count in [100, 300, 1000, 5000] {
            let mut times: Vec<f64> = (0..30)
                .map(|seed| {
                    let trials = &trials[..count];
                    let number = count as u64;
                    let request = Request { space: &space, directions, trials, number, seed };
                    let start = Instant::now();
                    let values = sampler.suggest(&request);
                    let seconds = start.elapsed().as_secs_f64();
                    assert!(values.is_some());
                    1e3 * seconds
                })
                .collect();
            times.sort_by(f64::total_cmp);
            println!("{name} {count}: median {:.3} ms, best {:.3} ms", times[15], times[0]);
        }
    }
}
