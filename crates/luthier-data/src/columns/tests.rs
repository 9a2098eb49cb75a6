use crate::{
    Categories, Cell, CellError, ColumnKind, MAX_CATEGORIES, Table, TableColumn, TableError,
};

fn column(name: &str, kind: ColumnKind) -> TableColumn {
    TableColumn { name: name.to_owned(), kind }
}

fn categories(values: &[&str]) -> Categories {
    Categories::new("c", values.iter().map(|value| (*value).to_owned()).collect()).unwrap()
}

#[track_caller]
fn check(kind: &ColumnKind, cell: Cell<'_>, expected: Option<f32>) {
    let found = column("c", kind.clone()).encode(cell).unwrap();
    let found = Some(found).filter(|found| !found.is_nan());
    assert_eq!(found, expected, "{cell:?}");
}

/// What is missing is what `pandas.read_csv` of pandas 2 makes NaN of in a column of numbers, and `?`.
#[test]
fn numbers_are_read_and_what_stands_for_none_is_missing() {
    let kind = ColumnKind::Number;
    for (text, expected) in [("12.5", 12.5), (" -3 ", -3.0), ("+1e3", 1000.0), (".5", 0.5)] {
        check(&kind, Cell::Text(text), Some(expected));
    }
    check(&kind, Cell::Number(0.1), Some(0.1));
    check(&kind, Cell::Bool(true), Some(1.0));
    check(&kind, Cell::Missing, None);
    check(&kind, Cell::Number(f64::NAN), None);
    let of_pandas = [
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
        "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    ];
    for text in of_pandas.into_iter().chain(["?", "  ", "na"]) {
        check(&kind, Cell::Text(text), None);
    }
    for (cell, value) in [
        (Cell::Text("12,5"), "12,5"),
        (Cell::Text("inf"), "inf"),
        (Cell::Text("1e39"), "1e39"),
        (Cell::Text("nought"), "nought"),
        (Cell::Number(f64::INFINITY), "inf"),
        (Cell::Number(-1e300), "-1e300"),
    ] {
        let error = column("age", ColumnKind::Number).encode(cell).unwrap_err();
        assert_eq!(error, CellError::Number { column: "age".into(), value: value.into() });
    }
    let long = "x".repeat(1000);
    let error = column("age", ColumnKind::Number).encode(Cell::Text(&long)).unwrap_err();
    assert!(error.to_string().len() < 200, "{error}");
}

#[test]
fn times_are_days() {
    let kind = ColumnKind::Time;
    check(&kind, Cell::Text("1970-01-02"), Some(1.0));
    check(&kind, Cell::Text("1969-12-31T12:00:00Z"), Some(-0.5));
    check(&kind, Cell::Text("2024-05-06 07:08:09"), Some(19_849.297));
    for missing in [Cell::Missing, Cell::Text(""), Cell::Text("NA"), Cell::Text("NaT")] {
        check(&kind, missing, None);
    }
}

#[test]
fn categories_are_found_however_they_are_written() {
    let kind =
        ColumnKind::Category(categories(&["1", "A 2", "2.0", "07", "true", "1e5", "100000.0"]));
    for (cell, expected) in [
        (Cell::Text("1"), Some(0.0)),
        (Cell::Text("1.0"), Some(0.0)),
        (Cell::Number(1.0), Some(0.0)),
        (Cell::Text(" A 2 "), Some(1.0)),
        (Cell::Text("a 2"), None),
        (Cell::Text("2"), Some(2.0)),
        (Cell::Number(2.0), Some(2.0)),
        (Cell::Number(7.0), Some(3.0)),
        (Cell::Text("007"), Some(3.0)),
        (Cell::Bool(true), Some(4.0)),
        (Cell::Bool(false), None),
        (Cell::Text("1e5"), Some(5.0)),
        // Two categories are this number.
        (Cell::Number(1e5), None),
        (Cell::Text("NA"), None),
        (Cell::Text(""), None),
        (Cell::Number(f64::NAN), None),
        (Cell::Number(f64::INFINITY), None),
        (Cell::Missing, None),
    ] {
        check(&kind, cell, expected);
    }
    let of_pandas = ColumnKind::Category(categories(&["True", "False", "NA"]));
    check(&of_pandas, Cell::Bool(true), Some(0.0));
    check(&of_pandas, Cell::Bool(false), Some(1.0));
    check(&of_pandas, Cell::Text("NA"), Some(2.0));
    check(&ColumnKind::Category(categories(&[])), Cell::Text("a"), None);
}

fn table() -> Table {
    let columns = vec![
        column("age", ColumnKind::Number),
        column("job", ColumnKind::Category(categories(&["cook", "smith"]))),
        column("since", ColumnKind::Time),
    ];
    Table::new(columns, vec!["customer_id".into()]).unwrap()
}

fn named(cells: &[(&str, Cell<'_>)]) -> Result<Vec<f32>, CellError> {
    let mut numbers = vec![7.0];
    table().encode_named(cells.iter().copied(), &mut numbers)?;
    Ok(numbers.into_iter().map(|number| if number.is_nan() { -1.0 } else { number }).collect())
}

#[test]
fn rows_are_read_by_name_and_by_place() {
    let (age, job) = (("age", Cell::Number(30.0)), ("job", Cell::Text("smith")));
    assert_eq!(named(&[job, age]), Ok(vec![7.0, 30.0, 1.0, -1.0]));
    assert_eq!(named(&[("customer_id", Cell::Bool(true))]), Ok(vec![7.0, -1.0, -1.0, -1.0]));
    let unknown = |column: &str, nearest: Option<&str>| {
        let nearest = nearest.map(str::to_owned);
        Err(CellError::Unknown { column: column.to_owned(), nearest })
    };
    assert_eq!(named(&[age, ("jobs", Cell::Missing)]), unknown("jobs", Some("job")));
    assert_eq!(named(&[("colour", Cell::Missing)]), unknown("colour", None));
    assert_eq!(named(&[age, job, age]), Err(CellError::Repeated("age".into())));
    let json = |text: &str| {
        let mut numbers = Vec::new();
        table().encode_json(&serde_json::from_str(text).unwrap(), &mut numbers).map(|()| numbers)
    };
    let found = json(r#"{"since": "1970-01-03", "age": "4.5", "job": null}"#).unwrap();
    assert!(found[0] == 4.5 && found[1].is_nan() && found[2] == 2.0, "{found:?}");
    let list = CellError::Json { column: "age".into(), value: "[1,2]".into() };
    assert_eq!(json(r#"{"age": [1, 2]}"#), Err(list));
    let not_a_time = CellError::Time { column: "since".into(), value: "12".into() };
    assert_eq!(named(&[("since", Cell::Number(12.0))]), Err(not_a_time));
    let mut numbers = Vec::new();
    table().encode([Cell::Text("3"), Cell::Text("cook")], &mut numbers).unwrap();
    assert_eq!(numbers[..2], [3.0, 0.0]);
    assert!(numbers[2].is_nan() && numbers.len() == 3);
}

#[test]
fn what_is_no_table_is_refused() {
    let new = |names: &[&str], ignored: &[&str]| {
        let columns = names.iter().map(|name| column(name, ColumnKind::Number)).collect();
        Table::new(columns, ignored.iter().map(|name| (*name).to_owned()).collect()).map(|_| ())
    };
    assert_eq!(new(&["a", "b"], &["c"]), Ok(()));
    assert_eq!(new(&[], &["c"]), Err(TableError::Columns(1)));
    assert_eq!(new(&["a", "a"], &[]), Err(TableError::Name("a".into())));
    assert_eq!(new(&["a"], &["a"]), Err(TableError::Name("a".into())));
    for values in [vec!["a", "a"], vec![""], vec![" a"], vec!["a"; MAX_CATEGORIES + 1]] {
        let values = values.into_iter().map(str::to_owned).collect();
        assert_eq!(Categories::new("c", values), Err(TableError::Categories("c".into())));
    }
}
