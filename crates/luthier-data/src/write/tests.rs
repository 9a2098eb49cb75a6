use std::path::PathBuf;

use luthier_test::Scratch;

use crate::source::tests::write_parquet;
use crate::{DataError, Row, Source, write_split};

fn rows(path: impl Into<PathBuf>) -> Vec<Vec<Option<String>>> {
    let source = Source::open(path.into()).unwrap();
    let cells = |row: Result<Row, DataError>| row.unwrap().cells;
    source.rows(source.columns()).unwrap().map(cells).collect()
}

#[test]
fn rows_go_where_the_assignment_says() {
    let scratch = Scratch::new();
    for (name, content) in [
        ("a.csv", "x,y\n\"1,\n\"\"\",a\n,\n\n3,\"c\r\"\n"),
        ("a.tsv", "x\ty\n\"1\t\"\ta\n\t\n3\tc\n"),
        ("a.csv", "x\n1\n\"\"\n3\n"),
        ("a.jsonl", "{\"x\": 1.0}\n\n{\"x\":null}\r\n{\"x\":[ ]}"),
    ] {
        let source = Source::open(scratch.write(name, content)).unwrap();
        let before = rows(source.path());
        let outputs =
            ["one", "two", "none"].map(|stem| scratch.path().join(format!("{stem}/{name}")));
        outputs.iter().for_each(|path| std::fs::create_dir_all(path.parent().unwrap()).unwrap());
        assert_eq!(write_split(&source, &[1, 0, 1], &outputs).unwrap(), [1, 2, 0]);
        assert_eq!(rows(&outputs[0]), [before[1].clone()], "{content:?}");
        assert_eq!(rows(&outputs[1]), [before[0].clone(), before[2].clone()], "{content:?}");
        let left = std::fs::read_dir(outputs[0].parent().unwrap()).unwrap().count();
        outputs.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        assert_eq!(left, 1, "no partial files");
    }
}

#[test]
fn json_lines_are_copied_as_they_stand() {
    let scratch = Scratch::new();
    let source = Source::open(scratch.write("a.jsonl", "{\"x\" :1.0 }\n{\"x\": 2}")).unwrap();
    let output = scratch.path().join("b.jsonl");
    write_split(&source, &[0, 0], std::slice::from_ref(&output)).unwrap();
    assert_eq!(std::fs::read_to_string(output).unwrap(), "{\"x\" :1.0 }\n{\"x\": 2}\n");
}

#[test]
fn parquet_becomes_csv() {
    let scratch = Scratch::new();
    let columns = [("x", &[Some("a,b"), None, Some("c")][..]), ("y", &[None, None, Some("\"")])];
    let source = Source::open(write_parquet(&scratch, "a.parquet", &columns, 2)).unwrap();
    let outputs = ["one.csv", "two.csv"].map(|name| scratch.path().join(name));
    write_split(&source, &[0, 1, 0], &outputs).unwrap();
    let written = outputs.map(|path| std::fs::read_to_string(path).unwrap());
    assert_eq!(written, ["x,y\n\"a,b\",\nc,\"\"\"\"\n", "x,y\n,\n"]);
}

#[test]
fn an_output_may_replace_the_source() {
    let scratch = Scratch::new();
    let path = scratch.write("a.csv", "x\n1\n2\n");
    let rest = scratch.path().join("rest.csv");
    write_split(&Source::open(&path).unwrap(), &[0, 1], &[path.clone(), rest]).unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "x\n1\n");
}

#[test]
fn what_does_not_fit_is_an_error_and_leaves_nothing() {
    let scratch = Scratch::new();
    let source = Source::open(scratch.write("a.csv", "x\n1\n2\n")).unwrap();
    let check = |assignment: &[u8], name: &str, expected: &str| {
        let output = scratch.path().join(name);
        let error = write_split(&source, assignment, std::slice::from_ref(&output)).unwrap_err();
        assert!(error.to_string().ends_with(expected), "{error}");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1, "{expected}");
    };
    check(&[0], "b.csv", "row 2 of 1, 1 outputs");
    check(&[0, 0, 0], "b.csv", "row 3 of 3, 1 outputs");
    check(&[0, 1], "b.csv", "row 2 of 2, 1 outputs");
    check(&[0, 0], "b.jsonl", "this output is written as .csv");
}
