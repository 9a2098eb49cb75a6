use super::{Baseline, BaselineError, Deciles, Observation, class_bins};

fn row(characters: u32, unknown_share: f64, predicted: u32) -> Observation {
    Observation { characters, unknown_share, predicted }
}

#[test]
fn edges_are_the_deciles_and_shared_ones_get_a_bin() {
    let check = |values: &[f64], edges: &[f64], counts: &[u64]| {
        let found = Deciles::of(values.to_vec());
        assert_eq!((found.edges.as_slice(), found.counts.as_slice()), (edges, counts));
        assert!(found.is_of(values.len() as u64));
    };
    let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
    let tens: Vec<f64> = (1..=9).map(|tenths| f64::from(tenths * 10)).collect();
    check(&hundred, &tens, &[10; 10]);
    check(&[5.0], &[5f64.next_down(), 5.0], &[0, 1, 0]);
    check(&[0.0; 40], &[0f64.next_down(), 0.0], &[0, 40, 0]);
    // Half of the values are 3: deciles 1 1 2 2 3 3 3 3 3.
    let mixed = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0, 4.0];
    let edges = [1f64.next_down(), 1.0, 2f64.next_down(), 2.0, 3f64.next_down(), 3.0];
    check(&mixed, &edges, &[0, 2, 0, 2, 0, 5, 1]);
    // A shared decile right above another.
    let (low, high) = (1.0f64, 1f64.next_up());
    let close = [vec![low; 1], vec![high; 9]].concat();
    check(&close, &[low, high], &[1, 9, 0]);
}

#[test]
fn rare_classes_share_a_bin() {
    assert_eq!(class_bins(&[5, 0, 9]), [0, 1, 2]);
    assert_eq!(class_bins(&[1; 10]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let counts = [3, 90, 3, 80, 70, 60, 50, 40, 30, 20, 10, 0];
    assert_eq!(class_bins(&counts), [9, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn the_stored_form_is_read_back_and_checked() {
    let rows: Vec<Observation> =
        (0..200).map(|i| row(i * i % 97, f64::from(i % 7) / 7.0, i % 3)).collect();
    let baseline = Baseline::new(3, &rows).unwrap();
    assert_eq!((baseline.rows(), baseline.classes()), (200, 3));
    let json = baseline.to_json();
    assert_eq!(Baseline::from_json(&json).unwrap(), baseline);
    assert_eq!(Baseline::from_json(&json).unwrap().to_json(), json);

    let text = String::from_utf8(json).unwrap();
    let check = |from: &str, to: &str, expected: BaselineError| {
        assert!(text.contains(from), "{from} in {text}");
        let changed = text.replacen(from, to, 1);
        assert_eq!(Baseline::from_json(changed.as_bytes()), Err(expected));
    };
    check("\"format\": 1", "\"format\": 2", BaselineError::Newer { found: 2 });
    check("\"rows\": 200", "\"rows\": 201", BaselineError::Histogram { field: "text_length" });
    check(
        "\"predicted_classes\": [",
        "\"predicted_classes\": [1,",
        BaselineError::Histogram { field: "predicted_classes" },
    );
    check(
        "\"unknown_share\": {\n    \"edges\": [",
        "\"unknown_share\": {\n    \"edges\": [0.9,",
        BaselineError::Histogram { field: "unknown_share" },
    );
    let not_json = Baseline::from_json(b"{");
    assert!(matches!(not_json, Err(BaselineError::Json(_))));
    let huge = text.replacen("\"counts\": [", &format!("\"counts\": [{},", u64::MAX), 1);
    assert!(Baseline::from_json(huge.as_bytes()).is_err(), "sums do not overflow");
    for end in 0..text.len() - 2 {
        assert!(Baseline::from_json(&text.as_bytes()[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn rows_that_say_nothing_are_left_out() {
    assert_eq!(Baseline::new(2, &[]), None);
    assert_eq!(Baseline::new(2, &[row(3, 0.0, 2)]), None);
    let odd = [row(3, f64::NAN, 0), row(3, -1.0, 0), row(3, f64::INFINITY, 1), row(3, 0.5, 9)];
    let baseline = Baseline::new(2, &odd).unwrap();
    assert_eq!(baseline.rows(), 3);
    assert!(Baseline::from_json(&baseline.to_json()).is_ok());
}
