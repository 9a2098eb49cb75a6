use luthier_test::assert_close;

use crate::codebook::{CODES, Codebook};

/// Numbers from 0 to 1 that look random, as many as asked for.
fn numbers(count: usize, seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed;
    (0..count).map(move |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    })
}

/// What the codes stand for, row by row.
fn decoded(book: &Codebook) -> (Vec<f32>, Vec<f32>) {
    let of = |values: &[f32]| book.codes.iter().map(|code| values[usize::from(*code)]).collect();
    assert!(book.weights.len() <= CODES && book.weights.len() == book.squares.len());
    (of(&book.weights), of(&book.squares))
}

fn mean_square(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64
}

#[track_caller]
fn check_exact(weights: &[f32], squares: &[f32], usage: &[u32]) {
    let book = Codebook::new(weights, squares, usage);
    assert_eq!(decoded(&book), (weights.to_vec(), squares.to_vec()));
}

#[test]
fn up_to_256_different_pairs_are_kept_as_they_are() {
    let rows = 0..10_000u32;
    let weight = |row: u32| ((row * 7 % 16) as f32 - 8.0) * 1e-3f32.powi((row * 7 % 16 % 3) as i32);
    let square = |row: u32| 0.1 + (row / 16 % 16) as f32 / 3.0;
    let weights: Vec<f32> = rows.clone().map(weight).collect();
    let squares: Vec<f32> = rows.clone().map(square).collect();
    let usage: Vec<u32> = rows.map(|row| row % 11 * 100_003).collect();
    assert_eq!(Codebook::new(&weights, &squares, &usage).weights.len(), 256);
    check_exact(&weights, &squares, &usage);
    check_exact(&weights, &squares, &[0; 10_000]);
    check_exact(&weights, &vec![0.7; weights.len()], &usage);
    check_exact(&[0.1; 300], &[0.3; 300], &[u32::MAX; 300]);
    check_exact(&[0.0; 3], &[0.0; 3], &[1, 0, 2]);
    check_exact(&[-0.3], &[2.0], &[0]);
    let many: Vec<f32> = (0..256u16).map(|i| f32::from(i) * 0.37).collect();
    check_exact(&many, &many.iter().rev().copied().collect::<Vec<_>>(), &[1; 256]);
    check_exact(&[1.0; 256], &many, &[5; 256]);
}

/// The error of many cells that theory gives (Gersho and Gray 1992, section 5.6).
#[test]
fn weights_of_one_square_are_parted_nearly_best() {
    const ROWS: usize = 200_000;
    let check = |quantile: fn(f64) -> f64, expected: f64| {
        let weights: Vec<f32> =
            (0..ROWS).map(|row| quantile((row as f64 + 0.5) / ROWS as f64) as f32).collect();
        let (found, _) = decoded(&Codebook::new(&weights, &[1.0; ROWS], &[1; ROWS]));
        let error = mean_square(&weights, &found) * (CODES as f64).powi(2);
        assert_close(error / expected, 1.0, 0.04, "error against theory");
    };
    check(|p| p, 1.0 / 12.0);
    check(|p| if p < 0.5 { (2.0 * p).ln() } else { -(2.0 - 2.0 * p).ln() }, 9.0);
}

#[test]
fn codes_go_where_weights_and_squares_vary() {
    const ROWS: usize = 20_000;
    let weights: Vec<f32> = numbers(ROWS, 1).map(|x| x - 0.5).collect();
    let squares: Vec<f32> = numbers(ROWS, 2).collect();
    let usage = vec![1; ROWS];
    let errors = |weights: &[f32], squares: &[f32], usage: &[u32]| {
        let (a, b) = decoded(&Codebook::new(weights, squares, usage));
        [mean_square(weights, &a), mean_square(squares, &b)]
    };
    let [weight_error, square_error] = errors(&weights, &squares, &usage);
    assert!(weight_error < 1e-3 && square_error < 1e-2, "{weight_error} {square_error}");
    let one_way: Vec<f32> = weights.iter().map(|x| x * 0.01 + 1.0).collect();
    let [_, beside_one_way] = errors(&one_way, &squares, &usage);
    assert!(beside_one_way * 2.0 < square_error, "squares move a large sum more");
    let alike = vec![0.25; ROWS];
    let [none, alone] = errors(&alike, &squares, &usage);
    assert!(none == 0.0 && alone < 1e-4, "{none} {alone}");
    let codes = |weights: &[f32]| Codebook::new(weights, &squares, &usage).codes;
    let stretched: Vec<f32> = weights.iter().map(|x| x * 64.0).collect();
    assert!(codes(&weights) == codes(&stretched), "the unit of weights does not matter");
}

#[test]
fn rows_in_much_use_are_kept_closer() {
    const ROWS: usize = 20_000;
    let weights: Vec<f32> = numbers(ROWS, 3).collect();
    let usage: Vec<u32> = weights.iter().map(|x| if *x < 0.5 { 1000 } else { 0 }).collect();
    let (found, _) = decoded(&Codebook::new(&weights, &[1.0; ROWS], &usage));
    let mean = |used: bool| {
        let rows = weights.iter().zip(&found).filter(|(x, _)| (**x < 0.5) == used);
        let (a, b): (Vec<f32>, Vec<f32>) = rows.unzip();
        mean_square(&a, &b)
    };
    assert!(mean(true) * 10.0 < mean(false), "{} and {}", mean(true), mean(false));
}

#[test]
fn numbers_far_apart_do_no_harm() {
    let spread: Vec<f32> = (0..3000).map(|i| 1.1f32.powi(i % 1500 - 900)).collect();
    let ties: Vec<f32> = (0..3000).map(|i| if i % 3 == 0 { f32::MAX } else { -0.0 }).collect();
    for (weights, squares) in [(&spread, &ties), (&ties, &spread), (&spread, &spread)] {
        let book = Codebook::new(weights, squares, &vec![u32::MAX; 3000]);
        assert!(book.weights.iter().chain(&book.squares).all(|value| value.is_finite()));
        assert_eq!(book.codes.len(), 3000);
        decoded(&book);
    }
}
