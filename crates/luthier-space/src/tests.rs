use std::borrow::Cow;

use crate::{Condition, Distribution, FormError, Known, Scale, Space, Value, ValueError, Values};

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
    let penalty = space.position("penalty").unwrap();
    assert_eq!(alpha.condition, Some(Condition::new(penalty, [1])));
}

#[test]
fn values_are_checked_against_the_active_part() {
    let space = sample();
    let mut values = space.pick(|_, d| match &d.distribution {
        Distribution::Float { low, .. } => Value::Float(*low),
        Distribution::Int { low, .. } => Value::Int(*low),
        other => other.options()[0].clone(),
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
        ("a = { choice = [1], when.1 = 3 }", "hangs on `1`, which does not exist"),
        (
            "a = { int = [1, 2], when.b = 3 }\nb = { choice = [1, 2] }",
            "has 3, but `b` is one of 1, 2",
        ),
        ("a = { int = [1, 2], when.b = 1 }\nb = { int = [1, 2] }", "that is no `choice`"),
        ("a = { int = [1, 2], when.b = [] }\nb = { choice = [1, 2] }", "a list of options"),
        ("a = { int = [1, 2], when = { b = 1, c = 2 } }", "hangs on `b` already"),
        ("b = { choice = [1], when.1 = { a = { int = [1, 2], when.c = 1 } } }", "on `b` already"),
        (
            "a = { choice = [1], when.c = 1 }\nb = { choice = [1], when.1 = { c = { choice = [1] } }, \
             when.a = 1 }",
            "parameter `a`: it hangs on `c`, which hangs on it in the end",
        ),
        ("a = { choice = [1], when.a = 1 }", "hangs on `a`, which hangs on it"),
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
        ("a = { permutation = [] }", "at least one item"),
        ("a = { permutation = [1, 1] }", "an item appears twice"),
        ("a = { permutation = [1, [2]] }", "plain values"),
        ("a = { permutation = [1, 2], log = true }", "takes no `scale`"),
        ("a = { permutation = [1, 2], size = [1, 2] }", "`size` needs a `subset`"),
        ("a = { permutation = [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19] }", "at most 18"),
        ("a = { subset = 'abc' }", "takes a list"),
        ("a = { subset = [1, 2], size = 1 }", "two integers from 0"),
        ("a = { subset = [1, 2], size = [-1, 1] }", "two integers from 0"),
        ("a = { subset = [1, 2], size = [2, 1] }", "the first size is above the second"),
        ("a = { subset = [1, 2], size = [1, 3] }", "above the number of items"),
        ("a = { subset = [], size = [0, 0] }", "at least one item"),
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
    let order = Distribution::Permutation { items: vec!["a".into(), "b".into()] };
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
        (order.clone(), order.clone(), true),
        (order, ordinal.clone(), false),
        (int(0, 9, 1), Distribution::choice([1, 2]), true),
    ];
    for (outer, inner, expected) in cases {
        assert_eq!(outer.includes(&inner), expected, "{inner} in {outer}");
    }
}

/// The parts of spaces that the tests of constraints speak of.
fn constrained(constraint: &str) -> Result<Space, crate::ConstraintError> {
    Space::of([
        ("a", Distribution::float(-9.0, 9.0)),
        ("b", Distribution::float(-9.0, 9.0)),
        ("n", Distribution::int(0, 9)),
        ("on", Distribution::choice([true, false])),
        ("mode", Distribution::choice(["fast", "slow"])),
        ("size", Distribution::Choice { options: vec![Value::Int(3), "whole".into()] }),
        ("my rate", Distribution::float(0.0, 1.0)),
        ("order", Distribution::permutation(["p", "q", "r"])),
        ("some", Distribution::subset(["p", "q", "r"], 1, 2)),
    ])
    .when("mode", "slow", Space::of([("slow.depth", Distribution::int(1, 9))]))
    .subject_to(constraint)
}

fn given() -> Values {
    let values: [(&str, Value); 10] = [
        ("a", 2.0.into()),
        ("b", (-3.0).into()),
        ("n", 5.into()),
        ("on", true.into()),
        ("mode", "slow".into()),
        ("size", "whole".into()),
        ("my rate", 0.25.into()),
        ("order", vec!["r", "p", "q"].into()),
        ("some", vec!["p", "r"].into()),
        ("slow.depth", 4.into()),
    ];
    values.into_iter().collect()
}

#[test]
fn constraints_say_what_python_says() {
    let cases = [
        ("b < a", true),
        ("a < b or n == 5", true),
        ("a < b and n == 5 or on", true),
        ("not a < b", true),
        ("not (a < b or on)", false),
        ("a + n * 2 == 12", true),
        ("(a + n) * 2 == 14", true),
        ("-a ** 2 == -4", true),
        ("2 ** a ** 3 == 256", true),
        ("2 ** -a == 0.25", true),
        ("n - 2 - 1 == 2", true),
        ("b % 2 == 1 and n % b == -1", true),
        ("n / 2 == 2.5e0", true),
        ("max(a, b, n, 4) == n and min(a, b) == b", true),
        ("abs(b) == 3 and sqrt(slow.depth) == a", true),
        ("log(exp(n)) == n", true),
        ("mode == 'slow' and \"fast\" != mode", true),
        ("size != 3 and size == 'whole'", true),
        ("on", true),
        ("on == false", false),
        ("`my rate` * 4 == 1", true),
        ("mode == 'fast' or slow.depth > 4", false),
        ("'p' in some and 'q' not in some and not 'q' in some", true),
        ("len(some) == 2 and len(order) == 3", true),
        ("position(order, 'p') < position(order, 'q')", true),
        ("position(some, 'q') < 9 or position(some, 'q') >= 0", false),
        ("order == order and some != order", true),
        // Without a value nothing can be said, whichever way round.
        ("1 / (a - 2) > 0", false),
        ("not 1 / (a - 2) > 0", false),
        ("sqrt(b) != 1", false),
        ("sqrt(b) != 1 or on", true),
        ("on and log(b) < 1", false),
        ("min(a, log(b)) < 9", false),
        ("size < 4", false),
    ];
    for (text, expected) in cases {
        let space = constrained(text).unwrap_or_else(|error| panic!("{error}"));
        let broken = ValueError::Constraint { text: text.into() };
        let answer = space.check(&given());
        assert_eq!(answer, if expected { Ok(()) } else { Err(broken) }, "{text}");
    }
}

#[test]
fn a_constraint_on_what_is_not_active_does_not_apply() {
    let mut values: Values =
        given().iter().filter(|(name, _)| *name != "slow.depth").map(own).collect();
    values.insert("mode", "fast");
    constrained("slow.depth > 100").unwrap().check(&values).unwrap();
    assert!(constrained("slow.depth > 100").unwrap().check(&given()).is_err());
}

fn own((name, value): (&str, &Value)) -> (String, Value) {
    (name.to_owned(), value.clone())
}

#[test]
fn faults_of_constraints_are_named() {
    let cases = [
        ("a < c", 5, "there is no parameter `c`"),
        ("a < ", 5, "expected a value, found the end"),
        ("a < b b", 7, "expected an operator, found `b`"),
        ("(a < b", 7, "expected `)`, found the end"),
        ("a < b < n", 7, "join comparisons with `and`"),
        ("a = b", 3, "equality is written `==`"),
        ("a § b", 3, "`§` has no meaning here"),
        ("ä < 'b", 5, "the text is not closed"),
        ("`a < b", 1, "the name is not closed"),
        ("a < 1.2.3", 8, "expected an operator, found `0.3`"),
        ("a < 1e999", 5, "this is no number"),
        ("a + b", 1, "it must be true or false, as `a < b` is, not a number"),
        ("1 < 2", 1, "it names no parameter"),
        ("mode < 'slow'", 6, "`<` needs a number, not a text"),
        ("a < mode", 3, "`<` needs a number, not a text"),
        ("-mode == 3", 1, "`-` needs a number, not a text"),
        ("not a", 1, "`not` needs true or false, not a number"),
        ("a and on", 3, "`and` needs true or false, not a number"),
        ("mode == 3", 6, "`==` compares a text with a number"),
        ("size == on", 6, "`==` compares a number or a text with true or false"),
        ("mode == 'slo'", 6, "slo is not among the values of `mode`: one of fast, slow"),
        ("abs(mode) < 1", 1, "`abs` needs a number, not a text"),
        (
            "sin(a) < 1",
            1,
            "there is no function `sin`, known are min, max, abs, log, exp, sqrt, len, position",
        ),
        ("min(a) < 1", 6, "expected another argument of `min`, found `)`"),
        ("abs(a, b) < 1", 6, "expected `)`, found `,`"),
        ("", 1, "expected a value, found the end"),
        ("a in b", 3, "`in` needs a list, not a number"),
        ("a not in b", 3, "`in` needs a list, not a number"),
        ("'x' in some", 5, "x is not among the values of `some`: 1 to 2 of p, q, r"),
        (
            "position(order, 'x') == 0",
            1,
            "x is not among the values of `order`: p, q, r in any order",
        ),
        ("len(a) == 2", 1, "`len` needs a list, not a number"),
        ("order == 'p'", 7, "`==` compares a list with a text"),
        ("position(order, 'p', 'q') == 0", 20, "expected `)`, found `,`"),
    ];
    for (text, column, message) in cases {
        let error = constrained(text).unwrap_err();
        assert_eq!((error.column, error.message.as_str()), (column, message), "{text}");
        assert_eq!(error.text, text);
    }
    let error = constrained("slow.dpth < 3").unwrap_err();
    assert_eq!(error.nearest.as_deref(), Some("slow.depth"));
    for text in ["(".repeat(100_000), "-".repeat(100_000), "2 ** ".repeat(100_000)] {
        assert!(constrained(&text).unwrap_err().message.contains("levels deep"));
    }
    let long = format!("a < 1{}", " + 1".repeat(100_000));
    assert!(constrained(&long).unwrap_err().message.contains("terms and operators"));
}

#[test]
fn constraints_stand_in_any_table_and_are_stored_as_text() {
    let space = read(
        r#"
        low = { float = [0, 1] }
        high = { float = [0, 1] }
        constraints = ["low < high"]
        penalty = { choice = ["l1", "l2"], when.l2 = { alpha = { int = [1, 9] }, constraints = ["alpha > 9 * low"] } }
        "#,
    )
    .unwrap();
    let texts =
        |space: &Space| space.constraints().iter().map(|c| c.text().to_owned()).collect::<Vec<_>>();
    assert_eq!(texts(&space), ["alpha > 9 * low", "low < high"]);
    let json = serde_json::to_string(&space).unwrap();
    assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
    let unknown = json.replace("low < high", "low < hihg");
    let error = serde_json::from_str::<Space>(&unknown).unwrap_err().to_string();
    assert!(error.contains("there is no parameter `hihg`"), "{error}");
    // A parameter may be called so, too.
    let named = read("constraints = { int = [1, 2] }").unwrap();
    assert!(named.get("constraints").is_some());
    let error = read("constraints = [3]").unwrap_err().to_string();
    assert!(error.contains("takes texts"), "{error}");
    let error = read("a = 1\nconstraints = ['a < ']").unwrap_err().to_string();
    assert_eq!(error, "constraint `a < `, column 5: expected a value, found the end");

    let replaced = |table: &str| space.replace(&toml::from_str(table).unwrap());
    let wider = replaced("low = { float = [0, 2] }\nconstraints = ['high > 0.1']").unwrap();
    assert_eq!(texts(&wider), ["alpha > 9 * low", "low < high", "high > 0.1"]);
    assert_eq!(texts(&replaced("penalty = 'l1'").unwrap()), ["low < high"]);
    assert!(matches!(replaced("low = 'x'"), Err(FormError::Constraint(_))));
}

#[test]
fn names_in_constraints_move_with_their_spaces() {
    let inner = Space::of([("a b", Distribution::int(1, 4)), ("c", Distribution::int(1, 4))])
        .subject_to("`a b` < c and c != 2")
        .unwrap();
    let other = Space::of([("c", Distribution::int(1, 2))]).subject_to("c<2").unwrap();
    let space = Space::choice_of("kind", vec![("in-ner".into(), inner), ("or".into(), other)]);
    let texts: Vec<_> = space.constraints().iter().map(|c| c.text()).collect();
    assert_eq!(texts, ["`in-ner.a b` < `in-ner.c` and `in-ner.c` != 2", "or.c<2"]);
    let json = serde_json::to_string(&space).unwrap();
    assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
    let values: Values = [("kind", Value::from("or")), ("or.c", 2.into())].into_iter().collect();
    let broken = ValueError::Constraint { text: "or.c<2".into() };
    assert_eq!(space.check(&values), Err(broken.clone()));
    assert_eq!(serde_json::from_str::<Space>(&json).unwrap().check(&values), Err(broken));
}

#[test]
fn what_is_open_leaves_open_what_depends_on_it() {
    let cases = [
        ("a > 1", None),
        ("a > 1 and n == 0", Some(false)),
        ("a > 1 or n == 5", Some(true)),
        ("not (a > 1 or n == 5)", Some(false)),
        ("a != n", None),
        ("a + n < 3 or mode == 'slow'", Some(true)),
        ("slow.depth > 1 and a > 1", Some(true)),
    ];
    for (text, expected) in cases {
        let space = constrained(text).unwrap();
        let values = given();
        let judged =
            space.constraints()[0].judge(|index| match space.dimensions()[index].name.as_str() {
                "a" => Known::Open,
                "slow.depth" => Known::Inactive,
                name => Known::Value(Cow::Borrowed(values.get(name).unwrap())),
            });
        assert_eq!(judged, expected, "{text}");
    }
}

#[test]
fn permutations_and_subsets_are_read_counted_and_checked() {
    let space = read(
        r#"
        steps = { permutation = ["clip", "scale", "rotate"] }
        features = { subset = ["age", "income", "region", "size"], size = [1, 2] }
        any = { subset = [1, 2.5, true] }
        "#,
    )
    .unwrap();
    let cases = [
        ("steps", "clip, scale, rotate in any order", 6),
        ("features", "1 to 2 of age, income, region, size", 4 + 6),
        ("any", "0 to 3 of 1, 2.5, true", 8),
    ];
    for (name, shown, count) in cases {
        let distribution = &space.get(name).unwrap().distribution;
        assert_eq!(distribution.to_string(), shown);
        assert_eq!(distribution.cardinality(), Some(count));
    }
    let json = serde_json::to_string(&space).unwrap();
    assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);

    let checks = [
        ("steps", vec!["scale", "clip", "rotate"], true),
        ("steps", vec!["scale", "clip"], false),
        ("steps", vec!["scale", "clip", "clip"], false),
        ("features", vec!["age", "region"], true),
        ("features", vec!["region", "age"], false),
        ("features", vec!["region", "region"], false),
        ("features", vec![], false),
        ("features", vec!["age", "income", "size"], false),
        ("any", vec![], true),
    ];
    for (name, list, expected) in checks {
        let shown = format!("{name} = {list:?}");
        let contains = space.get(name).unwrap().distribution.contains(&list.into());
        assert_eq!(contains, expected, "{shown}");
    }
    let value: Value = vec![Value::Int(1), Value::Float(2.5), Value::Bool(true)].into();
    assert_eq!(value.to_string(), "[1, 2.5, true]");
    let json = serde_json::to_string(&value).unwrap();
    assert_eq!(json, "[1,2.5,true]");
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
}

#[test]
fn lists_are_bounded_by_their_number() {
    let of = |count: i64, least, most| {
        let items = (0..count).map(Value::Int).collect();
        Distribution::Subset { items, least, most }
    };
    assert_eq!(of(53, 0, 53).fault(), None);
    assert_eq!(of(53, 0, 53).cardinality(), Some(1 << 53));
    assert!(of(54, 0, 54).fault().unwrap().starts_with("there are more than 2^53 subsets"));
    assert_eq!(of(1000, 0, 3).cardinality(), Some(1 + 1000 + 499_500 + 166_167_000));
    assert_eq!(of(1000, 0, 3).fault(), None);
    assert_eq!(of(100_000, 0, 100_000).cardinality(), None);
    assert_eq!(of(1000, 998, 1000).cardinality(), Some(1 + 1000 + 499_500));
    let items = (0..18).map(Value::Int).collect();
    assert_eq!(Distribution::Permutation { items }.fault(), None);
}

#[test]
fn a_parameter_may_hang_on_several_options() {
    let space = read(
        r#"
        decay = { float = [0, 1], when.momentum = true }
        momentum = { choice = [true, false], when.optimizer = ["nesterov", "sgd"] }
        optimizer = { choice = ["adam", "sgd", "nesterov"], when.adam = { beta = { int = [1, 4] } } }
        steps = { int = [1, 3], when.optimizer = "adam" }
        "#,
    )
    .unwrap();
    let names: Vec<&str> = space.dimensions().iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["optimizer", "beta", "steps", "momentum", "decay"]);
    let condition = |name: &str| space.get(name).unwrap().condition.clone();
    assert_eq!(condition("momentum"), Some(Condition::new(0, [1, 2])));
    assert_eq!(condition("steps"), condition("beta"));
    assert_eq!(condition("decay"), Some(Condition::new(3, [0])));

    let json = serde_json::to_string(&space).unwrap();
    assert!(json.contains(r#""condition":{"parent":0,"options":[1,2]}"#), "{json}");
    assert!(json.contains(r#""condition":{"parent":3,"option":0}"#), "{json}");
    assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
    let unordered = json.replace("[1,2]", "[2,1,2]");
    assert_eq!(serde_json::from_str::<Space>(&unordered).unwrap(), space);
    assert!(serde_json::from_str::<Space>(&json.replace("[1,2]", "[]")).is_err());

    let values = |optimizer: &str, momentum: bool| -> Values {
        [("optimizer", optimizer.into()), ("momentum", Value::Bool(momentum))].into_iter().collect()
    };
    space.check(&values("sgd", false)).unwrap();
    space.check(&values("nesterov", false)).unwrap();
    let missing = ValueError::Missing { name: "decay".into() };
    assert_eq!(space.check(&values("nesterov", true)), Err(missing));
    assert!(space.check(&values("adam", false)).is_err());

    let table = |momentum: &str| {
        let optimizer = "optimizer = { choice = ['nesterov', 'adam'] }";
        let text = format!("{optimizer}\nmomentum = {{ choice = [true, false]{momentum} }}");
        space.replace(&toml::from_str(&text).unwrap())
    };
    let moved = table(", when.optimizer = 'nesterov'").unwrap();
    assert_eq!(moved.len(), 2);
    assert_eq!(moved.get("momentum").unwrap().condition, Some(Condition::new(0, [0])));
    let error = table("").unwrap_err().to_string();
    assert!(error.contains("hung on `optimizer`, which is replaced"), "{error}");
    let steps = space.replace(&toml::from_str("steps = 2").unwrap()).unwrap();
    assert_eq!(steps.get("steps").unwrap().condition, condition("steps"));
}

#[test]
fn branches_that_share_a_parameter_are_counted_one_by_one() {
    let space = Space::of([("kind", Distribution::choice(["a", "b", "c"]))])
        .when("kind", "a", Space::of([("depth", Distribution::int(1, 3))]))
        .when_one_of("kind", ["a", "c"], Space::of([("width", Distribution::int(1, 5))]));
    assert_eq!(space.cardinality(), Some(3 * 5 + 1 + 5));
}

#[test]
fn values_from_elsewhere_become_those_of_the_space() {
    let space = read(
        r#"
        rate = { float = [0, 1] }
        depth = { int = [1, 9], step = 2 }
        size = { ordinal = [16, 32.5] }
        kind = { choice = ["1", 1, true, "x y"] }
        order = { permutation = ["a", "b"] }
        "#,
    )
    .unwrap();
    let given: [(&str, Value); 5] = [
        ("order", vec!["b", "a"].into()),
        ("depth", 3.0.into()),
        ("size", 16.0.into()),
        ("kind", 1.0.into()),
        ("rate", 1.into()),
    ];
    let adopted = space.adopt(&given.clone().into_iter().collect()).unwrap();
    let adopted: Vec<(&str, &Value)> = adopted.iter().collect();
    // The space's own order.
    let expected = [
        ("depth", &Value::Int(3)),
        ("kind", &Value::Int(1)),
        ("order", &given[0].1),
        ("rate", &Value::Float(1.0)),
        ("size", &Value::Int(16)),
    ];
    assert_eq!(adopted, expected);
    let fault = |name: &str, value: Value| {
        let mut values: Values = given.clone().into_iter().collect();
        values.insert(name, value);
        space.adopt(&values).unwrap_err().to_string()
    };
    assert!(fault("depth", 3.5.into()).starts_with("parameter `depth` is 3.5, expected"));
    assert_eq!(fault("breadth", 1.into()), "the space has no parameter `breadth`");

    let parse = |name: &str, text: &str| space.get(name).unwrap().distribution.parse(text);
    for (name, text, expected) in [
        ("rate", "1", Some(Value::Float(1.0))),
        ("rate", "2", None),
        ("rate", "high", None),
        ("depth", "3.0", Some(Value::Int(3))),
        ("depth", "4", None),
        ("size", "32.50", Some(Value::Float(32.5))),
        ("kind", "1", Some("1".into())),
        ("kind", "1.0", Some(Value::Int(1))),
        ("kind", "True", Some(Value::Bool(true))),
        ("kind", "x y", Some("x y".into())),
        ("kind", "x", None),
        ("order", r#"["b","a"]"#, Some(given[0].1.clone())),
        ("order", "b", None),
    ] {
        assert_eq!(parse(name, text), expected, "{name} {text}");
    }
}

#[test]
fn an_open_space_grows_and_takes_values_without_some_of_it() {
    let mut space = Space::open(Vec::new());
    assert!(space.check(&Values::default()).is_ok());
    let x = |value: f64| -> Values { [("x", value)].into_iter().collect() };
    assert_eq!(space.check(&x(0.5)), Err(ValueError::Unknown { name: "x".into() }));
    space.add("n", Distribution::int(1, 3));
    space.add("x", Distribution::float(0.0, 1.0));
    assert!(space.check(&x(0.5)).is_ok());
    assert!(matches!(space.check(&x(1.5)), Err(ValueError::OutOfRange { .. })));
    let part = space.part(|dimension| dimension.distribution.clone());
    assert_eq!(part, space);
    let json = serde_json::to_string(&space).unwrap();
    assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
    let closed = Space::new(space.dimensions().to_vec());
    assert_ne!(closed, space);
    assert!(closed.check(&x(0.5)).is_err());
}

#[test]
fn spaces_are_put_behind_one_another() {
    let inner = Space::of([("share", Distribution::float(0.0, 1.0))]);
    let student = Space::of([("taught", Distribution::choice(["no", "yes"]))])
        .when("taught", "yes", inner)
        .subject_to("taught == \"no\" or share > 0.1")
        .unwrap();
    let both = Space::of([("rate", Distribution::float(0.1, 1.0))]).with(student);
    let names: Vec<&str> = both.dimensions().iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["rate", "taught", "share"]);
    let values = |taught: &str| {
        let mut values = Values::default();
        values.insert("rate", 0.5);
        values.insert("taught", taught);
        if taught == "yes" {
            values.insert("share", 0.05);
        }
        values
    };
    assert!(both.check(&values("no")).is_ok());
    assert!(both.check(&values("yes")).is_err());
}
