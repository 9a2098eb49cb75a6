use super::*;

const KINDS: [Kind; 3] = [Kind::Number, Kind::Number, Kind::Option];

fn data() -> (Vec<Vec<f64>>, Vec<f64>) {
    let point = |n: usize| {
        let share = |by: f64| (n as f64 * by).fract();
        vec![share(0.618_033_9), share(0.754_877_6), (n % 3) as f64]
    };
    let points: Vec<Vec<f64>> = (0..24).map(point).collect();
    let value = |p: &Vec<f64>| (5.0 * p[0]).sin() + if p[2] == 1.0 { 0.7 } else { 0.0 };
    let values = points.iter().map(value).collect();
    (points, values)
}

fn belief(model: &Model<'_>, point: &[f64]) -> Belief {
    model.beliefs(&[point.to_vec()])[0]
}

#[test]
fn the_gradient_of_the_evidence_is_that_of_differences() {
    let (points, values) = data();
    let evidence = Evidence::new(&KINDS, &points, &values);
    let at = [0.3, -0.5, 0.8, 0.2, -3.0];
    let mut gradient = [0.0; 5];
    evidence.negative_log(&at, &mut gradient);
    for (index, slope) in gradient.iter().enumerate() {
        let near = |by: f64| {
            let mut near = at;
            near[index] += by;
            evidence.negative_log(&near, &mut [0.0; 5])
        };
        let difference = (near(1e-5) - near(-1e-5)) / 2e-5;
        assert!((slope - difference).abs() < 1e-5 * difference.abs().max(1.0), "{index}");
    }
}

#[test]
fn the_gradients_of_a_belief_are_those_of_differences() {
    let (points, values) = data();
    let shape = Shape::fit(&KINDS, &points, &values);
    let model = Model::new(&KINDS, shape, points, &values).unwrap();
    let at = [0.37, 0.61, 1.0];
    let (_, of_mean, of_deviation) = model.slopes(&at, &[0, 1]);
    for dimension in 0..2 {
        let near = |by: f64| {
            let mut near = at;
            near[dimension] += by;
            belief(&model, &near)
        };
        let (up, down) = (near(1e-5), near(-1e-5));
        let check = |slope: f64, difference: f64| {
            assert!((slope - difference).abs() < 1e-4 * difference.abs().max(0.1));
        };
        check(of_mean[dimension], (up.mean - down.mean) / 2e-5);
        check(of_deviation[dimension], (up.deviation - down.deviation) / 2e-5);
    }
}

#[test]
fn a_smooth_function_is_learned_and_what_does_not_matter_is_found_out() {
    let (points, values) = data();
    let shape = Shape::fit(&KINDS, &points, &values);
    assert!(shape.weights[1] < 0.2 * shape.weights[0], "{shape:?}");
    let model = Model::new(&KINDS, shape, points.clone(), &values).unwrap();
    for (point, value) in points.iter().zip(&values) {
        assert!((belief(&model, point).mean - value).abs() < 0.1);
    }
    let between = belief(&model, &[0.5, 0.5, 1.0]);
    assert!((between.mean - (2.5f64.sin() + 0.7)).abs() < 0.15, "{between:?}");
}

#[test]
fn pretending_changes_deviations_and_no_means() {
    let (points, values) = data();
    let shape = Shape::fit(&KINDS, &points, &values);
    let model = Model::new(&KINDS, shape.clone(), points.clone(), &values).unwrap();
    let (there, elsewhere) = (vec![0.05, 0.9, 2.0], vec![0.5, 0.5, 0.0]);
    let before = (belief(&model, &there), belief(&model, &elsewhere));
    let model = model.pretending(vec![there.clone()]).unwrap();
    let after = (belief(&model, &there), belief(&model, &elsewhere));
    assert!((before.0.mean - after.0.mean).abs() < 1e-6);
    assert!((before.1.mean - after.1.mean).abs() < 1e-6);
    assert!(after.0.deviation < before.0.deviation);
    assert!(after.1.deviation <= before.1.deviation + 1e-9);
}

#[test]
fn what_is_imagined_is_on_average_what_is_believed() {
    let (points, values) = data();
    let shape = Shape::fit(&KINDS, &points, &values);
    let model = || Model::new(&KINDS, shape.clone(), points.clone(), &values).unwrap();
    let (there, near) = (vec![0.05, 0.9, 2.0], vec![0.1, 0.8, 2.0]);
    let before = (belief(&model(), &there), belief(&model(), &near));
    let draws: Vec<Vec<f64>> = [-1.5, -0.5, 0.5, 1.5].map(|z| vec![z, -z]).into();
    let imagined = model().imagining(vec![there.clone(), near.clone()], &draws).unwrap();
    for (point, before) in [(there, before.0), (near, before.1)] {
        let versions = imagined.beliefs(&[point]).remove(0);
        let mean = versions.iter().map(|(belief, _)| belief.mean).sum::<f64>() / 4.0;
        assert!((mean - before.mean).abs() < 1e-6, "{mean} {before:?}");
        assert!(versions.iter().all(|(belief, _)| belief.deviation < before.deviation));
        assert!(versions[3].0.mean <= versions[3].1 + 1e-2);
    }
}
