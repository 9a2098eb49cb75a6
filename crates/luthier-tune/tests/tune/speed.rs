//! How long a proposal takes. Run with
//! `cargo test --release -p luthier-tune -- --ignored --nocapture speed`.

use std::time::Instant;

use luthier_space::{Distribution, Space};
use luthier_tune::{Direction, Random, Request, Sampler, State, Trial, sampler_by_name};

/// The ten dimensions with which the peers were measured.
fn mixed() -> Space {
    let choice = || Distribution::choice(["a", "b", "c", "d"]);
    space([("c0", choice()), ("c1", choice())])
}

/// Ten dimensions without choices.
fn numeric() -> Space {
    let whole = || Distribution::int(0, 3);
    space([("i2", whole()), ("i3", whole())])
}

fn space([a, b]: [(&str, Distribution); 2]) -> Space {
    Space::of([
        ("f0", Distribution::float(0.0, 1.0)),
        ("f1", Distribution::float(-1.0, 1.0)),
        ("f2", Distribution::float(0.0, 10.0)),
        ("f3", Distribution::float(-5.0, 5.0)),
        ("l0", Distribution::log_float(1e-5, 1.0)),
        ("l1", Distribution::log_float(1e-3, 1e3)),
        ("i0", Distribution::int(1, 100)),
        ("i1", Distribution::log_int(1, 1000)),
        a,
        b,
    ])
}

/// Trials drawn at random with so many scores each.
fn trials(space: &Space, objectives: usize) -> Vec<Trial> {
    let directions = &[Direction::Minimize];
    let mut trials = Vec::new();
    for number in 0..5000 {
        let request = Request { space, directions, trials: &trials, number, seed: 1 };
        let values = Random.suggest(&request).unwrap();
        let score = |objective: usize| {
            let best = 0.4 + 0.2 * objective as f64;
            values.iter().filter_map(|(_, x)| x.as_f64()).map(|x| (x - best).abs()).sum()
        };
        let (state, scores) = (State::Complete, (0..objectives).map(score).collect());
        trials.push(Trial { state, scores, ..Trial::running(number, values) });
    }
    trials
}

#[test]
#[ignore = "prints timings"]
#[allow(clippy::print_stdout)]
fn milliseconds_per_proposal() {
    let cases = [
        ("random", mixed(), 1, 5000),
        ("tpe", mixed(), 1, 5000),
        ("tpe", mixed(), 2, 5000),
        ("tpe", mixed(), 3, 5000),
        ("gp", mixed(), 1, 5000),
        ("gp", mixed(), 2, 300),
        ("cma-es", numeric(), 1, 5000),
    ];
    let wanted = std::env::var("SAMPLERS").ok();
    for (name, space, objectives, most) in cases {
        if wanted.as_ref().is_some_and(|wanted| !wanted.split(' ').any(|w| w == name)) {
            continue;
        }
        let sampler = sampler_by_name(name).unwrap();
        let trials = trials(&space, objectives);
        let directions = vec![Direction::Minimize; objectives];
        for count in [100, 300, 1000, 5000].into_iter().filter(|count| *count <= most) {
            let mut times: Vec<f64> = (0..30)
                .map(|seed| {
                    let (trials, number) = (&trials[..count], count as u64);
                    let (space, directions) = (&space, directions.as_slice());
                    let request = Request { space, directions, trials, number, seed };
                    let start = Instant::now();
                    let values = sampler.suggest(&request);
                    let seconds = start.elapsed().as_secs_f64();
                    assert!(values.is_some());
                    1e3 * seconds
                })
                .collect();
            times.sort_by(f64::total_cmp);
            let (median, best) = (times[15], times[0]);
            println!("{name} {objectives} × {count}: median {median:.3} ms, best {best:.3} ms");
        }
    }
}
