use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use luthier_test::Scratch;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::{DataError, Format, MAX_FIELD_BYTES, Row, Source};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A Parquet file `name` in `scratch` with one optional text column per name, `rows_per_group` rows
/// in a group.
pub(crate) fn write_parquet(
    scratch: &Scratch,
    name: &str,
    columns: &[(&str, &[Option<&str>])],
    rows_per_group: usize,
) -> PathBuf {
    let fields = columns.iter().map(|(name, _)| format!("optional binary {name} (utf8);"));
    let schema = format!("message rows {{ {} }}", fields.collect::<String>());
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let path = scratch.path().join(name);
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    for start in (0..columns[0].1.len()).step_by(rows_per_group) {
        let mut group = writer.next_row_group().unwrap();
        for (_, cells) in columns {
            let cells = &cells[start..cells.len().min(start + rows_per_group)];
            let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
            let values: Vec<ByteArray> =
                cells.iter().flatten().map(|cell| (*cell).into()).collect();
            let mut column = group.next_column().unwrap().unwrap();
            let typed = column.typed::<ByteArrayType>();
            typed.write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    path
}

/// All rows with all cells of a file called `name` with `content`; missing cells are `∅`.
fn read(name: &str, content: impl AsRef<[u8]>) -> Result<Vec<(u64, Vec<String>)>, DataError> {
    let scratch = Scratch::new();
    let source = Source::open(scratch.write(name, content))?;
    let show = |cell: Option<String>| cell.unwrap_or_else(|| "∅".to_owned());
    let shown = |row: Row| (row.line, row.cells.into_iter().map(show).collect());
    source.rows(source.columns())?.map(|row| row.map(shown)).collect()
}

#[track_caller]
fn check(name: &str, content: &str, expected: &[(u64, &[&str])]) {
    let actual = read(name, content).unwrap();
    let actual: Vec<(u64, Vec<&str>)> = actual
        .iter()
        .map(|(line, cells)| (*line, cells.iter().map(String::as_str).collect()))
        .collect();
    let expected: Vec<(u64, Vec<&str>)> = expected.iter().map(|(l, c)| (*l, c.to_vec())).collect();
    assert_eq!(actual, expected);
}

/// The message of the error that reading gives, without the folder.
fn message(name: &str, content: impl AsRef<[u8]>) -> String {
    let error = read(name, content).expect_err("an error").to_string();
    error.rsplit_once(name).map_or(error.clone(), |(_, rest)| rest.to_owned())
}

#[test]
fn delimited_rows_have_cells_and_first_lines() {
    check(
        "a.csv",
        "x,y\n1,2\n\n\"a\nb\",\"\"\"\"\n,",
        &[(2, &["1", "2"]), (4, &["a\nb", "\""]), (6, &["∅", "∅"])],
    );
    check("a.csv", "\u{feff}x,y\r\n1,2\r\n", &[(2, &["1", "2"])]);
    check("a.tsv", "x\ty\n1,5\t\"a\tb\"\n", &[(2, &["1,5", "a\tb"])]);
    check("a.csv", "x\n\"\"\n\n1", &[(2, &["∅"]), (4, &["1"])]);
    check("a.csv", "x,y\n", &[]);
}

#[test]
fn json_rows_have_cells_and_lines() {
    check(
        "a.jsonl",
        "{\"x\":1,\"y\":\"a\"}\n\n{\"y\":null,\"z\":1.0,\"x\":1.5}\r\n{\"x\":[1,{\"a\":\"b\"}],\"y\":true,\"z\":\"\"}",
        &[(1, &["1", "a", "∅"]), (3, &["1.5", "∅", "1"]), (4, &["[1,{\"a\":\"b\"}]", "true", ""])],
    );
    check(
        "a.ndjson",
        "\u{feff}{\"x\":-0.0}\n{\"x\":1e300}\n{\"x\":18446744073709551615}",
        &[(1, &["0"]), (2, &["1e300"]), (3, &["18446744073709551615"])],
    );
}

#[test]
fn columns_come_in_the_order_asked_for() {
    let scratch = Scratch::new();
    for (name, content) in [("a.csv", "x,y\n1,2\n"), ("a.jsonl", "{\"x\":1,\"y\":2}")] {
        let source = Source::open(scratch.write(name, content)).unwrap();
        let row = source.rows(&["y", "x", "y"]).unwrap().next().unwrap().unwrap();
        assert_eq!(row.cells, ["2", "1", "2"].map(|cell| Some(cell.to_owned())));
        assert_eq!(source.rows::<&str>(&[]).unwrap().count(), 1);
    }
}

/// `tricky.json` is what Python's csv module makes of the two files.
#[test]
fn hostile_records_are_what_python_reads() {
    type Records = BTreeMap<String, Vec<(u64, Vec<Option<String>>)>>;
    let expected = std::fs::read_to_string(fixture("tricky.json")).unwrap();
    let expected: Records = serde_json::from_str(&expected).unwrap();
    for (name, records) in expected {
        let source = Source::open(fixture(&name)).unwrap();
        let header: Vec<_> = source.columns().iter().cloned().map(Some).collect();
        assert_eq!(header, records[0].1);
        let rows: Result<Vec<_>, _> = source.rows(source.columns()).unwrap().collect();
        let rows: Vec<_> = rows.unwrap().into_iter().map(|row| (row.line, row.cells)).collect();
        assert_eq!(rows, records[1..], "{name}");
    }
}

/// The reader sees the file in pieces; where they end must not matter.
#[test]
fn a_record_may_lie_across_any_piece() {
    let scratch = Scratch::new();
    for shift in 0..12 {
        let lead = "p".repeat((1 << 16) - 4 - shift);
        let content = format!("x,y\n{lead},\"q\"\"\r\n,好\"\r\n7,8\r\n");
        let source = Source::open(scratch.write("a.csv", &content)).unwrap();
        let rows: Vec<_> = source.rows(&["y", "x"]).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows[0].cells[0].as_deref(), Some("q\"\r\n,好"));
        assert_eq!((rows[1].line, rows[1].cells[1].as_deref()), (4, Some("7")));
    }
}

/// `types.json` holds Python's own conversions of the values pyarrow wrote.
#[test]
fn parquet_values_become_text() {
    #[derive(serde::Deserialize)]
    struct Expected {
        columns: Vec<String>,
        rows: usize,
        cells: BTreeMap<usize, Vec<Option<String>>>,
    }
    let expected = std::fs::read_to_string(fixture("types.json")).unwrap();
    let expected: Expected = serde_json::from_str(&expected).unwrap();
    let source = Source::open(fixture("types.parquet")).unwrap();
    let rows: Vec<_> = source.rows(&expected.columns).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), expected.rows);
    assert!(rows.iter().zip(1..).all(|(row, number)| row.line == number));
    for (number, cells) in expected.cells {
        assert_eq!(rows[number - 1].cells, cells, "row {number} of {:?}", expected.columns);
    }
    let picked: Vec<_> =
        source.rows(&["small", "text", "small"]).unwrap().map(Result::unwrap).collect();
    assert_eq!(picked[1499].cells, ["-1", "row 1499 好", "-1"].map(|cell| Some(cell.to_owned())));
    assert_eq!(source.rows::<&str>(&[]).unwrap().count(), expected.rows);
}

#[test]
fn nested_parquet_columns_are_refused() {
    let source = Source::open(fixture("types.parquet")).unwrap();
    let error = source.rows(&["list"]).err().expect("an error");
    assert!(matches!(error, DataError::UnsupportedColumn { column, .. } if column == "list"));
}

/// A damaged file is an error or other values, never a panic of ours; among the seeds are some on
/// which the `parquet` crate panics.
#[test]
fn damaged_parquet_does_not_panic() {
    let scratch = Scratch::new();
    let whole = std::fs::read(fixture("types.parquet")).unwrap();
    let source = Source::open(fixture("types.parquet")).unwrap();
    let plain: Vec<_> = source.columns().iter().filter(|name| *name != "list").collect();
    let (mut errors, mut caught) = (0, 0);
    for seed in PANICKING.into_iter().chain(0..300) {
        let mut bytes = whole.clone();
        damage(&mut bytes, seed);
        let rows = Source::open(scratch.write("a.parquet", bytes)).and_then(|s| s.rows(&plain));
        let error = match rows {
            Ok(mut rows) => rows.find_map(Result::err),
            Err(error) => Some(error),
        };
        errors += usize::from(error.is_some());
        caught +=
            usize::from(error.is_some_and(|e| e.to_string().ends_with("the file is damaged")));
    }
    assert!(errors > 100 && caught >= PANICKING.len(), "{errors} errors, {caught} caught panics");
    for length in (0..whole.len()).step_by(4999) {
        let path = scratch.write("a.parquet", &whole[..length]);
        assert!(Source::open(path).is_err(), "cut to {length}");
    }
}

const PANICKING: [usize; 3] = [547, 1036, 2084];

/// Replaces one to three bytes, for odd seeds in the footer, where lengths and types are.
fn damage(bytes: &mut [u8], seed: usize) {
    let draw = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8;
    for turn in 0..=(seed % 3) {
        let draw = draw.rotate_left(13 * turn as u32);
        let place = match seed % 2 {
            0 => draw as usize % bytes.len(),
            _ => bytes.len() - 1 - draw as usize % 7000,
        };
        bytes[place] = (draw >> 40) as u8;
    }
}

#[test]
fn errors_of_rows_say_where() {
    let check = |name: &str, content: &[u8], expected: &str| {
        assert_eq!(message(name, content), expected, "{}", String::from_utf8_lossy(content));
    };
    check("a.csv", b"x,y\n1,2\n\n1\n", ":4: 1 fields, expected 2");
    check("a.csv", b"x,y\n\"a\n\",2\n1,2,3,4\n", ":4: 4 fields, expected 2");
    check("a.csv", b"x,y\n1,2\n1,\"2\n3,4\n", ":3: the quoted field that begins here never ends");
    check("a.csv", b"x,y\n\"a\nb\n\xff\",2\n", ":4: invalid UTF-8");
    check("a.csv", b"x,y\n\xe5\xa5,\xbd\n", ":2: invalid UTF-8");
    check("a.csv", b"x,\xff\n", ":1: invalid UTF-8");
    check("a.csv", b"", ": the file is empty");
    check("a.tsv", b"\xef\xbb\xbf\n\r\n", ": the file is empty");
    check("a.csv", b"x,y,x\n", ": column `x` appears twice");
    check("a.jsonl", b"\n", ": the file is empty");
    check("a.jsonl", b"{\"x\":1}\n\n{\"x\":}\n", ":3:6: expected value");
    check("a.jsonl", b"{\"x\":1}\n[1]\n", ":2:1: invalid type: sequence, expected a map");
    check("a.jsonl", b"{\"x\":1}\n{\"x\":\"\xff\"}\n", ":2: invalid UTF-8");
    check("a.parquet", b"", ": the file is empty");
    check("a.txt", b"x", ": unknown format, expected one of .csv, .tsv, .jsonl, .ndjson, .parquet");
}

#[test]
fn long_fields_and_records_are_refused() {
    let limit = MAX_FIELD_BYTES;
    let fits = "z".repeat(limit);
    let long = "z".repeat(limit + 1);
    let words = format!(":3: column `y` is longer than {limit} bytes");
    assert_eq!(read("a.csv", format!("x,y\n1,{fits}\n")).unwrap()[0].1[1].len(), limit);
    assert_eq!(message("a.csv", format!("x,y\n1,2\n1,{long}\n")), words);
    assert_eq!(message("a.csv", format!("x,y\n1,2\n1,\"{long}")), words);
    assert_eq!(read("a.jsonl", format!("{{\"y\":\"{fits}\"}}")).unwrap()[0].1[0].len(), limit);
    assert_eq!(message("a.jsonl", format!("{{\"y\":1}}\n\n{{\"y\":\"{long}\"}}")), words);
    let record = ":1: the record is longer than 16777216 bytes";
    assert_eq!(message("a.csv", vec![b','; 17 << 20]), record);
    assert_eq!(message("a.jsonl", vec![b' '; 17 << 20]), record);
}

#[test]
fn files_that_are_not_there_or_not_files() {
    let scratch = Scratch::new();
    let absent = Source::open(scratch.path().join("a.csv")).unwrap_err();
    assert!(matches!(absent, DataError::MissingFile { .. }), "{absent}");
    let folder = Source::open(scratch.path()).unwrap_err();
    assert!(matches!(folder, DataError::NotAFile { .. }), "{folder}");
}

#[test]
fn a_missing_column_names_the_nearest() {
    let scratch = Scratch::new();
    let source = Source::open(scratch.write("a.csv", "Review_Text,label\n")).unwrap();
    let check = |column: &str, expected: Option<&str>| match source.rows(&[column]).err() {
        Some(DataError::MissingColumn { nearest, known, .. }) => {
            assert_eq!(nearest.as_deref(), expected);
            assert_eq!(known, ["Review_Text", "label"]);
        }
        other => panic!("{other:?}"),
    };
    check("review_text", Some("Review_Text"));
    check("lable", Some("label"));
    check("zzz", None);
}

#[test]
fn formats_follow_the_extension() {
    let check = |name: &str, expected: Option<Format>| {
        assert_eq!(Format::of(name.as_ref()).ok(), expected, "{name}");
    };
    check("a/b.CSV", Some(Format::Csv));
    check("b.ndjson", Some(Format::JsonLines));
    check("b.csv.gz", None);
    check("csv", None);
}
