use crate::{Distribution, FormError, Scale, Space, Value, ValueError, Values};

fn read(text: &str) -> Result<Space, FormError> {
    Space::from_toml(&toml::from_str(text).unwrap())
}

fn sample() -> Space {
    read(
        r#"
        learning_rate = { float = [1e-3, 1.0], log = true }
        ngrams = { int = [1, 3] }
        penalty = { choice = ["none", "l2"], when.l2 = { alpha = { float = [1e-8, 1e-2], log = true } } }
        epochs = 8
        "#,
    )
    .unwrap()
}

#[test]
fn the_toml_form_keeps_order_and_conditions() {
    let space = sample();
    let names: Vec<_> = space.dimensions().iter().map(|d| d.name.as_str()).collect();
    for name in ["learning_rate", "ngrams", "penalty", "alpha", "epochs"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let alpha = space.get("alpha").unwrap();
    assert_eq!(alpha.condition.unwrap().parent, space.position("penalty").unwrap());
    assert_eq!(alpha.condition.unwrap().option, 1);
}

#[test]
fn values_are_checked_against_the_active_part() {
    let space = sample();
    let mut values = space.pick(|_, d| match &d.distribution {
        Distribution::Float { low, .. } => Value::Float(*low),
        Distribution::Int { low, .. } => Value::Int(*low),
        Distribution::Choice { options } | Distribution::Ordinal { options } => options[0].clone(),
    });
    assert_eq!(values.get("alpha"), None);
    space.check(&values).unwrap();
    values.insert("alpha", 1e-3);
    assert_eq!(space.check(&values), Err(ValueError::Inactive { name: "alpha".into() }));
    values.insert("penalty", "l2");
    space.check(&values).unwrap();
    values.insert("ngrams", 7);
    assert!(matches!(space.check(&values), Err(ValueError::OutOfRange { .. })));
}

#[test]
fn replacing_a_choice_drops_what_hung_on_it() {
    let table = toml::from_str(r#"penalty = "none""#).unwrap();
    let space = sample().replace(&table).unwrap();
    assert_eq!(space.get("alpha"), None);
    assert_eq!(space.len(), 4);
    let typo = sample().replace(&toml::from_str("ngram = 2").unwrap()).unwrap_err();
    assert!(matches!(typo, FormError::Unknown { nearest: Some(n), .. } if n == "ngrams"));
}

#[test]
fn choices_between_spaces_scope_their_names() {
    let inner = Space::of([("penalty", Distribution::choice(["none", "l2"]))]).when(
        "penalty",
        "l2",
        Space::of([("alpha", Distribution::int(1, 4))]),
    );
    let other = Space::of([("dim", Distribution::int(1, 2))]);
    let space = Space::choice_of("learner", vec![("linear".into(), inner), ("bag".into(), other)]);
    assert_eq!(space.cardinality(), Some(1 + 4 + 2));
    let values: Values = [("learner", Value::from("linear")), ("linear.penalty", "l2".into())]
        .into_iter()
        .chain([("linear.alpha", Value::Int(3))])
        .collect();
    space.check(&values).unwrap();
    assert_eq!(values.scope("linear").int("alpha"), Ok(3));
    let json = serde_json::to_string(&space).unwrap();
    assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
}

#[test]
fn scales_and_ordinals_are_read_and_stored() {
    let space = read(
        r#"
        momentum = { float = [0.5, 0.99], scale = "logit" }
        late = { int = [1, 99], scale = "reverse-log" }
        batch = { ordinal = [16, 32, 64] }
        "#,
    )
    .unwrap();
    let shown = |name: &str| space.get(name).unwrap().distribution.to_string();
    assert_eq!(shown("momentum"), "a number from 0.5 to 0.99 (logit)");
    assert_eq!(shown("late"), "an integer from 1 to 99 (reverse-log)");
    assert_eq!(shown("batch"), "one of 16, 32, 64");
    assert_eq!(space.get("batch").unwrap().distribution.cardinality(), Some(3));
    let json = serde_json::to_string(&space).unwrap();
    assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
}

#[test]
fn faults_are_named() {
    let cases = [
        ("a = { float = [1, 0] }", "above the second"),
        ("a = { float = [0, 1], log = true }", "start above 0"),
        ("a = { int = [1] }", "two integers"),
        ("a = { int = [1, 2], choice = [1] }", "exactly one of"),
        ("a = { choice = [] }", "at least one option"),
        ("a = { choice = [1, 1] }", "appears twice"),
        ("a = { choice = [1], when.x = {} }", "names no option"),
        ("a = { fload = [1, 2] }", "unknown key `fload`"),
        ("a = { int = [1, 9], step = 0 }", "at least 1"),
        ("a = { ordinal = [] }", "at least one option"),
        ("a = { ordinal = [1, 2], step = 1 }", "takes no `scale`"),
        ("a = { ordinal = [1, 2], when.1 = {} }", "needs a `choice`"),
        ("a = { float = [1, 2], scale = 'cubic' }", "known are linear, log, reverse-log, logit"),
        ("a = { float = [1, 2], scale = 'log', log = true }", "write one of them"),
        ("a = { float = [0.1, 1], scale = 'logit' }", "between 0 and 1"),
        ("a = { int = [1, 9], scale = 'logit' }", "not integers"),
        ("a = { int = [0, 9], scale = 'reverse-log' }", "start at 1"),
        ("a = { float = [0.1, 0.5], scale = 'logit', step = 0.1 }", "needs the linear scale"),
    ];
    for (form, expected) in cases {
        let message = read(form).unwrap_err().to_string();
        assert!(message.contains(expected), "{form}: {message}");
    }
}

#[test]
fn a_distribution_includes_what_has_no_other_values() {
    let float = |low, high, step| Distribution::Float { low, high, scale: Scale::Linear, step };
    let int = |low, high, step| Distribution::Int { low, high, scale: Scale::Linear, step };
    let ordinal = Distribution::ordinal(["a", "b"]);
    let cases = [
        (float(0.0, 2.0, None), Distribution::log_float(0.5, 2.0), true),
        (float(0.0, 2.0, None), float(-0.5, 2.0, None), false),
        (float(0.0, 2.0, None), float(0.0, 2.5, None), false),
        (float(0.0, 2.0, Some(0.1)), float(0.3, 0.9, Some(0.2)), true),
        (float(0.0, 2.0, Some(0.2)), float(0.3, 0.9, Some(0.2)), false),
        (float(0.0, 2.0, Some(0.2)), float(0.2, 0.8, Some(0.1)), false),
        (float(0.0, 2.0, Some(0.2)), float(0.2, 0.8, None), false),
        (float(0.0, 2.0, Some(0.2)), float(0.6, 0.6, None), true),
        (int(0, 9, 1), int(1, 9, 4), true),
        (int(1, 9, 2), int(3, 7, 4), true),
        (int(1, 9, 2), int(2, 8, 2), false),
        (int(1, 9, 2), int(1, 9, 3), false),
        (int(i64::MIN, i64::MAX, 1), int(i64::MIN, i64::MAX, 7), true),
        (Distribution::choice(["c", "b", "a"]), ordinal.clone(), true),
        (ordinal.clone(), Distribution::choice(["b", "c"]), false),
        (int(0, 9, 1), float(0.0, 9.0, None), false),
        (int(0, 9, 1), Distribution::choice([1, 2]), true),
    ];
    for (outer, inner, expected) in cases {
        assert_eq!(outer.includes(&inner), expected, "{inner} in {outer}");
    }
}
