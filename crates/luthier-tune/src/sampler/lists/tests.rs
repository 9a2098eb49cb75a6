use std::collections::HashMap;

use rand::SeedableRng;

use super::*;

fn values(count: i64) -> Vec<Value> {
    (0..count).map(Value::Int).collect()
}

fn kinds() -> Vec<Lists> {
    vec![
        Lists::permutations(&values(2)),
        Lists::permutations(&values(5)),
        Lists::subsets(&values(5), 0, 5),
        Lists::subsets(&values(6), 2, 4),
        Lists::subsets(&values(7), 1, 1),
        Lists::subsets(&values(4), 3, 4),
    ]
}

fn bits(lists: &Lists, number: u64) -> Vec<u64> {
    let mut words = Vec::new();
    lists.write_bits(number, &mut words);
    words
}

#[test]
fn numbers_and_lists_are_one_to_one() {
    for lists in kinds() {
        let all: Vec<Value> = (0..lists.count()).map(|number| lists.value(number)).collect();
        for (number, value) in (0..).zip(&all) {
            assert_eq!(lists.number(value), Some(number), "{value}");
            assert!(all[..number as usize].iter().all(|earlier| earlier != value), "{value}");
        }
    }
    let large = Lists::permutations(&values(18));
    assert_eq!(large.count(), 6_402_373_705_728_000);
    let last: Vec<Value> = values(18).into_iter().rev().collect();
    assert_eq!(large.value(large.count() - 1), last.into());
    let large = Lists::subsets(&values(53), 0, 53);
    assert_eq!(large.count(), 1 << 53);
    for number in [0, 1, 12_345_678_901_234, (1 << 53) - 1] {
        assert_eq!(large.number(&large.value(number)), Some(number));
    }
}

#[test]
fn what_is_no_list_of_the_dimension_has_no_number() {
    let permutations = Lists::permutations(&values(3));
    let subsets = Lists::subsets(&values(3), 1, 2);
    let cases = [vec![], vec![0i64, 0, 1], vec![0, 1, 3], vec![2, 1], vec![1, 1], vec![0, 1, 2, 0]];
    for list in cases {
        for lists in [&permutations, &subsets] {
            assert_eq!(lists.number(&list.clone().into()), None, "{list:?}");
        }
    }
    assert_eq!(subsets.number(&Value::Int(1)), None);
}

#[test]
fn distances_of_permutations_count_discordant_pairs() {
    let lists = Lists::permutations(&values(4));
    let number = |list: [i64; 4]| lists.number(&list.to_vec().into()).unwrap();
    let cases = [
        ([0, 1, 2, 3], [0, 1, 2, 3], 0),
        ([0, 1, 2, 3], [1, 0, 2, 3], 1),
        ([0, 1, 2, 3], [3, 2, 1, 0], 6),
        ([2, 0, 1, 3], [0, 1, 2, 3], 2),
        ([2, 0, 1, 3], [3, 2, 0, 1], 3),
    ];
    for (a, b, expected) in cases {
        assert_eq!(distance(&bits(&lists, number(a)), &bits(&lists, number(b))), expected);
    }
}

/// The model says what is drawn: both are compared with the sum over all lists.
#[test]
fn lists_are_drawn_near_another_as_often_as_the_sums_say() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for lists in kinds() {
        for ratio in [0.05f64, 0.5, 0.9] {
            let number = rng.random_range(0..lists.count());
            let own = bits(&lists, number);
            let weights: Vec<f64> = (0..lists.count())
                .map(|other| ratio.powi(distance(&own, &bits(&lists, other)) as i32))
                .collect();
            let sum: f64 = weights.iter().sum();
            luthier_test::assert_close(lists.log_sum(number, ratio), sum.ln(), 1e-9, "sum");
            let draws = 20_000;
            let mut counts: HashMap<u64, f64> = HashMap::new();
            for _ in 0..draws {
                *counts.entry(lists.draw_near(number, ratio, &mut rng)).or_default() += 1.0;
            }
            for (other, weight) in (0..).zip(&weights) {
                let expected = weight / sum;
                let seen = counts.get(&other).copied().unwrap_or(0.0) / f64::from(draws);
                let error = (expected * (1.0 - expected) / f64::from(draws)).sqrt();
                assert!((seen - expected).abs() < 5.0 * error + 1e-4, "{other}: {seen} {expected}");
            }
        }
    }
}

#[test]
fn neighbours_are_near_and_reach_everything() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for lists in kinds() {
        let (mut here, mut met) = (0, vec![false; lists.count() as usize]);
        for _ in 0..100 * lists.count() {
            here = lists.draw_neighbour(here, &mut rng);
            met[here as usize] = true;
        }
        assert!(met.iter().all(|met| *met));
    }
}
