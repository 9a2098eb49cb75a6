//! Models of tables: what is a row, in every protocol, and what is none.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use luthier_bundle::{Bundle, Draft, Lineage, PredictScratch, Probe};
use luthier_engine::Threads;
use luthier_model::{Categories, Cell, ColumnKind, Decision, Table, TableColumn};
use luthier_serve::{ModelSource, Models, Route, ServeConfig};
use luthier_test::Scratch;
use luthier_train::{
    Column, Data, Job, Locate, TableData, TableTargets, TableTask, TaskKind, learners,
};
use serde_json::{Value, json};

use crate::caller::{Caller, Outcome};
use crate::client::Client;
use crate::openapi::{check_examples, is_close};
use crate::proto::{Proto, proto};
use crate::stage::Stage;

const ROWS: usize = 300;
const JOBS: [&str; 3] = ["cook", "smith", "1"];
const INVALID_ARGUMENT: u16 = 3;

/// Numbers, times and categories; `id` plays no part.
fn table() -> Table {
    let jobs = JOBS.map(str::to_owned).into();
    let kind = [
        ColumnKind::Number,
        ColumnKind::Time,
        ColumnKind::Category(Categories::new("job", jobs).unwrap()),
        ColumnKind::Number,
    ];
    let columns = ["age", "since", "job", "owner"].into_iter().zip(kind);
    let column = |(name, kind): (&str, _)| TableColumn { name: name.to_owned(), kind };
    Table::new(columns.map(column).collect(), vec!["id".to_owned()]).unwrap()
}

/// A table whose only column is a number.
fn narrow() -> Table {
    let column = TableColumn { name: "age".to_owned(), kind: ColumnKind::Number };
    Table::new(vec![column], Vec::new()).unwrap()
}

/// Trees over `table`, whose rows are of three classes, of two, or have a number.
fn draft(name: &str, table: &Table, decision: Decision) -> Draft {
    let mut cells = Vec::new();
    for row in 0..ROWS {
        let day = format!("20{:02}-01-{:02}", 10 + row % 10, 1 + row % 28);
        let job = JOBS[row * 7 % JOBS.len()];
        let age = if row % 11 == 0 { Cell::Missing } else { Cell::Number((row * 37 % 80) as f64) };
        let row = [age, Cell::Text(&day), Cell::Text(job), Cell::Bool(row % 5 == 0)];
        table.encode(row, &mut cells).unwrap();
    }
    let width = table.columns().len();
    let of_column = |column: usize| cells.iter().skip(column).step_by(width).copied().collect();
    let columns = table.columns().iter().enumerate().map(|(place, column)| Column {
        name: column.name.clone(),
        kind: match column.kind {
            ColumnKind::Category(_) => luthier_train::ColumnKind::Category(JOBS.len()),
            _ => luthier_train::ColumnKind::Number,
        },
        monotone: luthier_train::Monotone::default(),
        train: of_column(place),
        valid: Vec::new(),
    });
    let classes = decision.labels().len();
    let label = |row: &[f32]| {
        let sum = row.iter().filter(|number| !number.is_nan()).sum::<f32>();
        if classes == 0 { sum / 100.0 } else { (sum / 30.0) as usize as f32 % classes as f32 }
    };
    let values: Vec<f32> = cells.chunks(width).map(label).collect();
    let data = Data::from(TableData {
        columns: columns.collect(),
        task: if classes == 0 { TableTask::Number } else { TableTask::Classes(classes) },
        train: TableTargets::of(values),
        valid: TableTargets::default(),
    });
    let kind = if classes == 0 { TaskKind::TableNumbers } else { TaskKind::TableClasses };
    let locate: Locate = Arc::new(|name| Err(format!("there is no {name}")));
    let learners = learners(kind, &locate, None);
    let learner = learners.iter().find(|learner| learner.name() == "boosted-trees").unwrap();
    let values = learner.proposal();
    let job = Job::new(&data, &values, 1);
    let network = learner.fit(&job, &mut |_| ControlFlow::Continue(())).unwrap().network();
    let probe = json!({ "age": 30 });
    let mut numbers = Vec::new();
    table.encode_json(probe.as_object().unwrap(), &mut numbers).unwrap();
    let answer = network.answer(luthier_train::Inputs::Table(&numbers)).unwrap();
    Draft {
        model: network.to_model(decision, Some(table)).unwrap(),
        probes: vec![Probe::of_cells(probe.as_object().unwrap().clone(), answer)],
        name: name.to_owned(),
        task: "tabular-classification".to_owned(),
        scores: Vec::new(),
        lineage: Lineage::default(),
        test_openings: 0,
        documents: Vec::new(),
        route: None,
    }
}

/// A server of `risk` (binary, `bad` is positive), `kind` (three classes), `price` (a number) and
/// `slim` (a number from one column); `/risk` and `/price` are aliases.
fn stage(change: impl FnOnce(&mut ServeConfig)) -> Stage {
    let scratch = Scratch::new();
    let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let risk = Decision::of_classes(labels(&["good", "bad"]), Some(1));
    let kind = Decision::of_classes(labels(&["a", "b", "c"]), None);
    let source = |name: &str, table: &Table, decision| {
        let path = path(scratch.path(), name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        draft(name, table, decision).write(&path).unwrap();
        ModelSource { name: name.to_owned(), version: 1, path }
    };
    let sources = [
        source("risk", &table(), risk),
        source("kind", &table(), kind),
        source("price", &table(), Decision::of_number("price")),
        source("slim", &narrow(), Decision::of_number("price")),
    ];
    let models = Models::load(&sources).unwrap();
    let stage = Stage::start(scratch, models, |config| {
        let price = Route { output: "price".to_owned(), ..Route::new("/price", "price") };
        config.routes = vec![Route::new("/risk", "risk"), price];
        change(config);
    });
    stage.wait_until_ready();
    stage
}

fn path(folder: &Path, model: &str) -> std::path::PathBuf {
    folder.join(model).join("1")
}

/// What the bundle gives for rows, without a server; of two classes the second.
fn expected(stage: &Stage, model: &str, rows: &[Value]) -> Vec<f32> {
    let bundle = Bundle::open(&path(stage.scratch.path(), model)).unwrap();
    let predictor = bundle.predictor(&Threads::new(1)).unwrap();
    let mut numbers = Vec::new();
    for row in rows {
        let table = predictor.table().unwrap();
        table.encode_json(row.as_object().unwrap(), &mut numbers).unwrap();
    }
    let found = predictor.predict_rows(&numbers, &mut PredictScratch::default()).unwrap();
    match predictor.decision().outputs() {
        2 => found.chunks(2).map(|row| row[1]).collect(),
        _ => found,
    }
}

/// Rows with every kind of cell, and the same with what is missing left out.
fn rows() -> [Value; 4] {
    [
        json!({ "age": 34, "since": "2015-01-20", "job": "smith", "owner": true }),
        json!({ "age": 61.5, "since": "2019-01-02T10:00:00Z", "job": 1, "owner": false, "id": "x" }),
        json!({ "age": "12", "since": null, "job": "baker" }),
        json!({}),
    ]
}

/// Asks with JSON and checks the answer.
#[track_caller]
fn check(client: &mut Client, path: &str, body: &Value, expected: &Value) {
    let response = client.ask("POST", path, &body.to_string());
    assert_eq!(response.status, 200, "{path} {body} {}", response.body);
    let found: Value = serde_json::from_str(&response.body).unwrap();
    assert!(is_close(&found, expected), "{path} {body}: {found} and not {expected}");
    assert_eq!(response.header("x-prediction-id").len(), 32);
}

#[track_caller]
fn refuse(client: &mut Client, path: &str, body: &str, message: &str) {
    let response = client.ask("POST", path, body);
    let found: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!((response.status, &found), (400, &json!({ "error": message })), "{path} {body}");
}

#[test]
fn rows_and_columns() {
    let stage = stage(|_| {});
    let client = &mut stage.client();
    let rows = rows();
    let scores = expected(&stage, "risk", &rows);
    assert!(scores.iter().any(|s| *s < 0.4) && scores.iter().any(|s| *s > 0.6), "{scores:?}");
    let predict = "/v1/models/risk:predict";
    check(client, predict, &json!({ "instances": rows }), &json!({ "predictions": scores }));
    let lists = json!({ "age": [34], "since": ["2015-01-20"], "job": ["smith"], "owner": [1] });
    let first = json!({ "predictions": scores[..1] });
    check(client, predict, &json!({ "instances": [lists] }), &first);
    let columns = json!({
        "age": [34, 61.5, "12", null],
        "job": ["smith", "1.0", "baker", null],
        "since": ["2015-01-20", "2019-01-02T10:00:00Z", "NA", null],
        "owner": [true, 0, null, null],
        "id": ["any", 1, null, true],
    });
    let outputs = json!({ "outputs": scores });
    check(client, predict, &json!({ "inputs": columns }), &outputs);
    let nested = json!({ "age": [[34], [61.5], [12], [null]] });
    let ages: Vec<Value> =
        [json!(34), json!(61.5), json!(12), json!(null)].map(|age| json!({ "age": age })).into();
    let of_ages = json!({ "outputs": expected(&stage, "risk", &ages) });
    check(client, predict, &json!({ "inputs": nested }), &of_ages);
    let one = json!({ "outputs": expected(&stage, "risk", &ages[..1]) });
    check(client, predict, &json!({ "inputs": { "age": 34 } }), &one);
    check(client, predict, &json!({ "inputs": { "age": [] } }), &json!({ "outputs": [] }));

    let three: Vec<Vec<f32>> =
        expected(&stage, "kind", &rows).chunks(3).map(<[f32]>::to_vec).collect();
    let path = "/v1/models/kind/versions/1:predict";
    check(client, path, &json!({ "instances": rows }), &json!({ "predictions": three }));
    let prices = expected(&stage, "price", &rows);
    let path = "/v1/models/price:predict";
    check(client, path, &json!({ "instances": rows }), &json!({ "predictions": prices }));

    let slim = expected(&stage, "slim", &ages);
    let path = "/v1/models/slim:predict";
    let bare = json!([34, [61.5], "12", null]);
    check(client, path, &json!({ "instances": bare }), &json!({ "predictions": slim }));
    check(client, path, &json!({ "instances": ages }), &json!({ "predictions": slim }));
    check(client, path, &json!({ "inputs": bare }), &json!({ "outputs": slim }));
    check(client, path, &json!({ "inputs": 34 }), &json!({ "outputs": slim[..1] }));
}

#[test]
fn examples_and_aliases() {
    let stage = stage(|_| {});
    let client = &mut stage.client();
    let rows = rows();
    let scores = expected(&stage, "risk", &rows);
    let pairs: Vec<Value> =
        scores.iter().map(|bad| json!([["good", 1.0 - bad], ["bad", bad]])).collect();
    let path = "/v1/models/risk:classify";
    check(client, path, &json!({ "examples": rows }), &json!({ "results": pairs }));
    let prices = expected(&stage, "price", &rows);
    let path = "/v1/models/price:regress";
    check(client, path, &json!({ "examples": rows }), &json!({ "results": prices }));
    let context = json!({ "age": 34, "job": "smith", "id": 9 });
    let own = json!([{}, { "age": [61.5] }, { "age": null, "owner": true }]);
    let whole = [
        json!({ "age": 34, "job": "smith" }),
        json!({ "age": 61.5, "job": "smith" }),
        json!({ "job": "smith", "owner": true }),
    ];
    let expected = json!({ "results": expected(&stage, "price", &whole) });
    check(client, path, &json!({ "context": context, "examples": own }), &expected);

    check(client, "/risk", &rows[0], &json!({ "score": scores[0] }));
    check(client, "/risk", &rows[3], &json!({ "score": scores[3] }));
    check(client, "/risk", &json!(rows), &json!({ "score": scores }));
    check(client, "/risk", &json!([]), &json!({ "score": [] }));
    check(client, "/price", &rows[1], &json!({ "price": prices[1] }));
}

#[test]
fn what_is_no_row_is_refused() {
    let stage = stage(|_| {});
    let client = &mut stage.client();
    let mut predict = |body: &str, message: &str| {
        refuse(client, "/v1/models/risk:predict", body, message);
    };
    predict(
        r#"{"instances": [{"age": 1}, {"age": "old"}]}"#,
        "instances[1]: `old` in column `age` is not a number",
    );
    predict(
        r#"{"instances": [{"age": 1e300}]}"#,
        "instances[0]: `1e300` in column `age` is not a number",
    );
    predict(
        r#"{"inputs": {"since": ["2020-01-01", 7]}}"#,
        "inputs[1]: `7` in column `since` is not a date or time as RFC 3339 writes it",
    );
    predict(
        r#"{"instances": [{"jobs": "cook"}]}"#,
        "instances[0]: does not have named input: jobs, expected \"job\"",
    );
    predict(r#"{"inputs": {"xyz": [1]}}"#, "inputs: does not have named input: xyz");
    predict(r#"{"inputs": {}}"#, "Missing named input: age in 'inputs' object.");
    predict(r#"{"inputs": {"id": [1]}}"#, "Missing named input: age in 'inputs' object.");
    predict(
        r#"{"inputs": {"age": [1, 2], "job": ["cook"]}}"#,
        "inputs: 1 values in column `job` and 2 in others",
    );
    predict(r#"{"instances": ["cook"]}"#, "instances[0]: expected an object, found a string");
    predict(r#"{"inputs": [1]}"#, "inputs: expected an object, found a list");
    predict(
        r#"{"instances": [{"age": [1, 2]}]}"#,
        "instances[0]: column `age`: expected one number, string, true, false or null, found a list",
    );
    predict(
        r#"{"instances": [{"age": {"b64": "MQ=="}}]}"#,
        "instances[0]: column `age`: expected one number, string, true, false or null, found an object",
    );
    predict(r#"{"instances": [{"age": 1, "age": 2}]}"#, "instances[0]: column `age` appears twice");
    predict(
        r#"{"instances": [{"age": NaN}]}"#,
        "JSON Parse error: expected value at line 1 column 24",
    );
    let long = "x".repeat(100_000);
    let message = format!("instances[0]: does not have named input: {}", &long[..80]);
    predict(&format!("{{\"instances\": [{{\"{long}\": 1}}]}}"), &message);
    refuse(client, "/risk", "7", "JSON Value: a number Is not object");
    refuse(client, "/risk", r#"[{}, 7]"#, "rows[1]: expected an object, found a number");
    refuse(client, "/risk", r#"{"a": 1}"#, "row: does not have named input: a, expected \"age\"");
    let examples = r#"{"examples": [{"age": 1}]}"#;
    let other = |of: &str, method: &str| {
        format!(
            "Expected {of} signature method_name to be tensorflow/serving/{method}. \
             Was: tensorflow/serving/predict"
        )
    };
    refuse(client, "/v1/models/risk:regress", examples, &other("regression", "regress"));
    refuse(client, "/v1/models/price:classify", examples, &other("classification", "classify"));
    let unknown = r#"{"examples": [{}, {"ages": 1}]}"#;
    let message = "examples[1]: does not have named input: ages, expected \"age\"";
    refuse(client, "/v1/models/price:regress", unknown, message);
    let unknown = r#"{"examples": [{}], "signature_name": "x"}"#;
    let message = "No signature was found with the name: x";
    refuse(client, "/v1/models/price:regress", unknown, message);
}

#[test]
fn short_bodies_with_many_cells_are_refused() {
    let stage = stage(|config| config.max_body_bytes = 1000);
    let client = &mut stage.client();
    let many = vec!["{}"; 251].join(",");
    let message = "251 rows of 4 columns have more than 1000 cells";
    for body in ["{\"instances\": [*]}", "{\"examples\": [*]}", "[*]"] {
        let path = match body {
            "{\"instances\": [*]}" => "/v1/models/price:predict",
            "{\"examples\": [*]}" => "/v1/models/price:regress",
            _ => "/price",
        };
        refuse(client, path, &body.replace('*', &many), message);
    }
    let request = proto().bytes(1, spec("price")).entry(
        2,
        "age",
        &tensor(1, &[251], |tensor| tensor.float(5, 1.0)),
    );
    let outcome = Caller::connect(stage.grpc).call(PREDICT, request);
    assert_eq!(outcome.result(), (INVALID_ARGUMENT, message));
}

#[test]
fn many_rows_at_once() {
    let stage = stage(|_| {});
    let client = &mut stage.client();
    let row = |row: usize| json!({ "age": row % 90, "job": JOBS[row % 3], "owner": row.is_multiple_of(2) });
    let rows: Vec<Value> = (0..10_000).map(row).collect();
    let scores = expected(&stage, "risk", &rows);
    let path = "/v1/models/risk:predict";
    check(client, path, &json!({ "instances": rows }), &json!({ "predictions": scores }));
}

const PREDICT: &str = "/tensorflow.serving.PredictionService/Predict";
const CLASSIFY: &str = "/tensorflow.serving.PredictionService/Classify";
const REGRESS: &str = "/tensorflow.serving.PredictionService/Regress";
const METADATA: &str = "/tensorflow.serving.PredictionService/GetModelMetadata";

fn spec(name: &str) -> Proto {
    proto().bytes(1, name)
}

/// The `ModelSpec` of an answer.
fn answered(name: &str) -> Proto {
    spec(name).bytes(2, proto().number(1, 1)).bytes(3, "serving_default")
}

fn shape(sizes: &[i64]) -> Proto {
    let dim = |size: &i64| if *size == 0 { proto() } else { proto().number(1, *size) };
    sizes.iter().fold(proto(), |shape, size| shape.bytes(2, dim(size)))
}

/// A `TensorProto` whose values are written by `values`.
fn tensor(dtype: i64, sizes: &[i64], values: impl FnOnce(Proto) -> Proto) -> Proto {
    values(proto().number(1, dtype).bytes(2, shape(sizes)))
}

fn strings(sizes: &[i64], texts: &[&str]) -> Proto {
    tensor(7, sizes, |tensor| texts.iter().fold(tensor, |tensor, text| tensor.bytes(8, text)))
}

/// A `PredictRequest` of columns.
fn request(model: &str, columns: &[(&str, Proto)]) -> Proto {
    let request = proto().bytes(1, spec(model));
    columns.iter().fold(request, |request, (name, tensor)| request.entry(2, name, tensor))
}

/// A `PredictResponse` of numbers.
fn response(model: &str, output: &str, numbers: &[f32]) -> Proto {
    let tensor = tensor(1, &[numbers.len() as i64], |tensor| tensor.floats(5, numbers));
    proto().entry(1, output, &tensor).bytes(2, answered(model))
}

#[test]
fn tensors_of_columns() {
    let stage = stage(|_| {});
    let caller = Caller::connect(stage.grpc);
    let check = |columns: &[(&str, Proto)], rows: &[Value]| {
        let numbers = expected(&stage, "price", rows);
        let outcome = caller.call(PREDICT, request("price", columns));
        assert_eq!(outcome.message(), response("price", "prediction", &numbers).as_ref());
    };
    let ages = |ages: &[Value]| ages.iter().map(|age| json!({ "age": age })).collect::<Vec<_>>();
    let two = ages(&[json!(34.5), json!(60)]);
    let whole = ages(&[json!(34), json!(-2)]);
    let content = |dtype: i64, bytes: Vec<u8>| tensor(dtype, &[2], |tensor| tensor.bytes(4, bytes));
    let le = |a: &[u8], b: &[u8]| [a, b].concat();
    check(&[("age", tensor(1, &[2], |t| t.floats(5, &[34.5, 60.0])))], &two);
    check(&[("age", tensor(1, &[2, 1], |t| t.float(5, 34.5).float(5, 60.0)))], &two);
    let floats = le(&34.5f32.to_le_bytes(), &60f32.to_le_bytes());
    check(&[("age", content(1, floats))], &two);
    let doubles = le(&34.5f64.to_le_bytes(), &60f64.to_le_bytes());
    check(&[("age", tensor(2, &[2], |t| t.bytes(6, &doubles)))], &two);
    check(&[("age", content(2, doubles))], &two);
    check(&[("age", tensor(3, &[2], |t| t.number(7, 34).number(7, -2)))], &whole);
    check(&[("age", content(3, le(&34i32.to_le_bytes(), &(-2i32).to_le_bytes())))], &whole);
    check(&[("age", tensor(9, &[2], |t| t.number(10, 34).number(10, -2)))], &whole);
    check(&[("age", content(9, le(&34i64.to_le_bytes(), &(-2i64).to_le_bytes())))], &whole);
    check(&[("age", strings(&[2], &["34", "-2"]))], &whole);
    check(&[("age", tensor(1, &[2], |t| t.float(5, 34.0)))], &ages(&[json!(34), json!(34)]));
    check(&[("age", tensor(1, &[2], |t| t))], &ages(&[json!(0), json!(0)]));
    check(&[("age", tensor(1, &[1], |t| t.float(5, f32::NAN)))], &[json!({})]);
    check(&[("age", tensor(1, &[0], |t| t))], &[]);
    let columns = [
        ("age", tensor(9, &[2], |t| t.number(10, 34).number(10, 61))),
        ("job", strings(&[2, 1], &["smith", "baker"])),
        ("since", strings(&[2], &["2015-01-20", ""])),
        ("owner", tensor(10, &[2], |t| t.number(11, 1).number(11, 0))),
        ("id", tensor(8, &[7], |t| t)),
    ];
    let rows = [
        json!({ "age": 34, "job": "smith", "since": "2015-01-20", "owner": true }),
        json!({ "age": 61, "owner": false }),
    ];
    check(&columns, &rows);
    check(
        &[("owner", content(10, vec![1, 0]))],
        &[json!({"owner": true}), json!({"owner": false})],
    );
    let jobs = tensor(9, &[2], |t| t.number(10, 1).number(10, 2));
    check(&[("job", jobs)], &[json!({ "job": "1" }), json!({})]);
}

#[test]
fn tensors_that_are_no_columns() {
    let stage = stage(|_| {});
    let caller = Caller::connect(stage.grpc);
    let refuse = |columns: &[(&str, Proto)], message: &str| {
        let outcome = caller.call(PREDICT, request("price", columns));
        assert_eq!(outcome.result(), (INVALID_ARGUMENT, message));
    };
    refuse(
        &[],
        "input size does not match signature: 0!=4 len({}) != len({age,since,job,owner}). \
         Sent extra: {}. Missing but required: {age,since,job,owner}.",
    );
    refuse(
        &[("ages", strings(&[1], &["1"]))],
        "input tensor alias not found in signature: ages. \
         Inputs expected to be in the set {age,since,job,owner}.",
    );
    refuse(
        &[("age", strings(&[1], &["1"])), ("job", strings(&[2], &["a", "b"]))],
        "job has 2 rows, and other inputs have 1",
    );
    refuse(
        &[("age", strings(&[3], &["1", "2", "old"]))],
        "row 2: `old` in column `age` is not a number",
    );
    refuse(
        &[("since", tensor(1, &[1], |t| t.float(5, 1.5)))],
        "row 0: `1.5` in column `since` is not a date or time as RFC 3339 writes it",
    );
    refuse(
        &[("age", tensor(8, &[1], |t| t))],
        "Expected input age to be a number or string but get complex64.",
    );
    refuse(
        &[("age", strings(&[1, 2], &["1", "2"]))],
        "Expected input age to have the shape [-1] but get [1, 2].",
    );
    refuse(
        &[("age", strings(&[], &["1"]))],
        "Expected input age to have the shape [-1] but get [].",
    );
    refuse(
        &[("age", tensor(1, &[1], |t| t.floats(5, &[1.0, 2.0])))],
        "tensor parsing error: age: 2 values for 1 rows",
    );
    refuse(&[("age", tensor(1, &[1], |t| t.bytes(4, b"abc")))], "tensor parsing error: age");
    let broken = tensor(7, &[1], |t| t.bytes(8, b"\xff"));
    refuse(&[("job", broken)], "job[0]: the bytes are not UTF-8");
    let rows = i64::MAX;
    let outcome = caller.call(PREDICT, request("price", &[("age", tensor(1, &[rows], |t| t))]));
    let message = format!("{rows} rows in one request, the limit is 65536");
    assert_eq!(outcome.result(), (INVALID_ARGUMENT, &*message));
}

/// A `Feature` of text, floats or whole numbers.
fn text(text: &str) -> Proto {
    proto().bytes(1, proto().bytes(1, text))
}

fn floats(values: &[f32]) -> Proto {
    proto().bytes(2, proto().floats(1, values))
}

fn integer(value: i64) -> Proto {
    proto().bytes(3, proto().number(1, value))
}

fn example(features: &[(&str, Proto)]) -> Proto {
    let all = features.iter().fold(proto(), |all, (name, value)| all.entry(1, name, value));
    proto().bytes(1, all)
}

#[test]
fn examples_of_tensorflow() {
    let stage = stage(|_| {});
    let caller = Caller::connect(stage.grpc);
    let rows = [
        json!({ "age": 34, "job": "smith", "owner": 1 }),
        json!({ "age": 61.5, "since": "2015-01-20" }),
        json!({ "owner": 1 }),
    ];
    let examples = [
        example(&[("age", integer(34)), ("job", text("smith"))]),
        example(&[("age", floats(&[61.5])), ("since", text("2015-01-20")), ("owner", floats(&[]))]),
        example(&[("id", text("any")), ("job", proto())]),
    ];
    let context = example(&[("owner", integer(1))]);
    let list = examples.iter().fold(proto(), |list, example| list.bytes(1, example));
    let input = proto().bytes(2, list.bytes(2, context));
    let ask = |path: &str, model: &str, input: &Proto| -> Outcome {
        caller.call(path, proto().bytes(1, spec(model)).bytes(2, input))
    };
    let prices = expected(&stage, "price", &rows);
    let numbers = prices.iter().fold(proto(), |all, price| all.bytes(1, proto().float(1, *price)));
    let response = proto().bytes(1, numbers).bytes(2, answered("price"));
    assert_eq!(ask(REGRESS, "price", &input).message(), response.as_ref());
    let found = ask(CLASSIFY, "kind", &input);
    let class = |label: &str, score: f32| proto().bytes(1, label).float(2, score);
    let classes = expected(&stage, "kind", &rows);
    let classes = classes.chunks(3).fold(proto(), |all, row| {
        let pairs = ["a", "b", "c"].into_iter().zip(row);
        all.bytes(1, pairs.fold(proto(), |all, (label, score)| all.bytes(1, class(label, *score))))
    });
    let response = proto().bytes(1, classes).bytes(2, answered("kind"));
    assert_eq!(found.message(), response.as_ref());

    let refuse = |path: &str, model: &str, features: &[(&str, Proto)], message: &str| {
        let list = proto().bytes(1, example(&[])).bytes(1, example(features));
        let outcome = ask(path, model, &proto().bytes(1, list));
        assert_eq!(outcome.result(), (INVALID_ARGUMENT, message));
    };
    let two = [("age", floats(&[1.0, 2.0]))];
    let message = "examples[1]: column `age`: expected one value, found 2";
    refuse(REGRESS, "price", &two, message);
    let broken = [("job", proto().bytes(1, proto().bytes(1, b"\xff")))];
    let message = "examples[1]: column `job`: the bytes are not UTF-8";
    refuse(REGRESS, "price", &broken, message);
    let message = "examples[1]: `x` in column `age` is not a number";
    refuse(REGRESS, "price", &[("age", text("x"))], message);
    refuse(REGRESS, "price", &[("xyz", text("x"))], "examples[1]: there is no column `xyz`");
    let message = "Expected classification signature method_name to be \
                   tensorflow/serving/classify. Was: tensorflow/serving/predict";
    refuse(CLASSIFY, "price", &[], message);
}

#[test]
fn metadata_lists_the_columns() {
    let stage = stage(|_| {});
    let found = stage.client().ask("GET", "/v1/models/price/metadata", "").body;
    let found: Value = serde_json::from_str(&found).unwrap();
    let signature = &found["metadata"]["signature_def"]["signature_def"]["serving_default"];
    let types = |part: &str| -> Vec<(String, Value)> {
        let fields = signature[part].as_object().unwrap().iter();
        let mut types: Vec<_> =
            fields.map(|(name, tensor)| (name.clone(), tensor["dtype"].clone())).collect();
        types.sort_by(|one, other| one.0.cmp(&other.0));
        types
    };
    let columns =
        [("age", "DT_FLOAT"), ("job", "DT_STRING"), ("owner", "DT_FLOAT"), ("since", "DT_STRING")];
    let expected = |fields: &[(&str, &str)]| -> Vec<(String, Value)> {
        fields.iter().map(|(name, kind)| ((*name).to_owned(), json!(kind))).collect()
    };
    assert_eq!(types("inputs"), expected(&columns));
    assert_eq!(types("outputs"), expected(&[("prediction", "DT_FLOAT")]));
    let request = proto().bytes(1, spec("price")).bytes(2, "signature_def");
    let outcome = Caller::connect(stage.grpc).call(METADATA, request);
    let message = String::from_utf8_lossy(outcome.message()).into_owned();
    assert!(columns.iter().all(|(name, _)| message.contains(name)), "{message}");
}

#[test]
fn the_document_shows_rows() {
    let stage = stage(|_| {});
    let routes = stage.client().ask("GET", "/", "").body;
    assert!(
        routes.contains("price/versions/1:regress") && !routes.contains("price/versions/1:class")
    );
    assert!(
        routes.contains("risk/versions/1:classify") && !routes.contains("risk/versions/1:regr")
    );
    // Of each model at two places: three bodies to predict, one to classify and one for numbers.
    assert_eq!(check_examples(&stage), 2 * 2 + 4 * 2 * (3 + 1 + 1));
}

#[test]
fn labels_of_classes_are_joined_and_numbers_are_refused() {
    let folder = Scratch::new();
    let stage = stage(|config| config.feedback_store = Some(folder.path().join("feedback.db")));
    let client = &mut stage.client();
    let ask = |client: &mut Client, model: &str| {
        let answer =
            client.ask("POST", &format!("/v1/models/{model}:predict"), r#"{"instances": [{}]}"#);
        let id = answer.header("x-prediction-id");
        let labels = json!({ "labels": [{ "id": id, "label": "bad" }] }).to_string();
        let joined = client.ask("POST", &format!("/v1/models/{model}:feedback"), &labels);
        (joined.status, joined.body)
    };
    let (status, body) = ask(client, "risk");
    assert!(status == 200 && body.contains("\"accepted\":1"), "{status} {body}");
    let (status, body) = ask(client, "price");
    let message = "Model price gives numbers: labels are joined with classes alone";
    assert_eq!((status, body), (501, format!("{{\"error\": \"{message}\"}}")));
}

/// Bodies that are broken at random are answered or refused, and harm no connection.
#[test]
fn broken_bodies_are_no_fault_of_the_server() {
    let stage = stage(|_| {});
    let (client, caller) = (&mut stage.client(), Caller::connect(stage.grpc));
    let mut state = 7u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let bodies = [
        ("/v1/models/risk:predict", json!({ "instances": rows() }).to_string()),
        ("/v1/models/kind:classify", json!({ "examples": rows(), "context": {} }).to_string()),
        (
            "/v1/models/price:predict",
            json!({ "inputs": { "age": [1, 2], "job": [["a"], 1] } }).to_string(),
        ),
        ("/risk", json!(rows()).to_string()),
    ];
    const PARTS: [&str; 8] = ["{", "]", "\"", ",", "1e9", "null", "[", "\u{e9}"];
    for round in 0..2000 {
        let (path, body) = &bodies[round % bodies.len()];
        let mut body = body.clone();
        for _ in 0..=random(3) {
            let at = random(body.len());
            if body.is_char_boundary(at) && body.is_char_boundary(at + 1) {
                body.replace_range(at..=at, PARTS[random(PARTS.len())]);
            }
        }
        let status = client.ask("POST", path, &body).status;
        assert!(status == 200 || status == 400, "{status} {body}");
    }
    let columns =
        [("age", strings(&[2], &["1", "2"])), ("owner", tensor(10, &[2], |t| t.number(11, 1)))];
    let whole = request("risk", &columns).as_ref().to_vec();
    for _ in 0..2000 {
        let mut message = whole.clone();
        let at = random(message.len());
        message[at] = random(256) as u8;
        let outcome = caller.call(PREDICT, message);
        let (code, text) = outcome.result();
        let is_known = matches!(code, 0 | INVALID_ARGUMENT | 5 | 9);
        assert!(is_known || text.starts_with("the message is not of"), "{code} {text}");
    }
}
