//! Learners on real tables.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use luthier_train::{
    Column, ColumnKind, Data, Inputs, Job, Learner, Monotone, TableData, TableLinear, TableMlp,
    TableTargets, TableTask,
};

/// A set of two classes.
struct Set {
    /// Rows to learn from and to judge epochs by.
    data: TableData,
    /// Cells of the test rows, row-major.
    cells: Vec<f32>,
    /// Whether each of them is positive.
    positive: Vec<bool>,
}

impl Set {
    /// Columns that are not of numbers, and those `named`, are categories.
    fn read(name: &str, named: &[&str]) -> Option<Self> {
        let folder = luthier_test::real_data(name)?;
        let [train, valid, test] = ["train.csv", "valid.csv", "test.csv"].map(|file| {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            let row = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
            text.lines().map(row).collect::<Vec<_>>()
        });
        let (names, train) = train.split_first().unwrap();
        let column = |at: usize| Reader::new(train, at, named.contains(&names[at].as_str()));
        let readers: Vec<Reader> = (0..names.len()).map(column).collect();
        let column = |reader: &Reader| Column {
            name: names[reader.at].clone(),
            kind: reader.kind(),
            monotone: Monotone::Free,
            train: reader.cells(train),
            valid: reader.cells(&valid[1..]),
        };
        let mut columns: Vec<Column> = readers.iter().map(column).collect();
        let label = columns.pop()?;
        let (train, valid) = (TableTargets::of(label.train), TableTargets::of(label.valid));
        let data = TableData { columns, task: TableTask::Classes(2), train, valid };
        let (label, readers) = readers.split_last()?;
        let row =
            |row: &Vec<String>| readers.iter().map(|reader| reader.cell(row)).collect::<Vec<_>>();
        let cells = test[1..].iter().flat_map(row).collect();
        let positive = label.cells(&test[1..]).iter().map(|label| *label == 1.0).collect();
        Some(Self { data, cells, positive })
    }

    /// How often a learner's model gives a positive test row a higher score than a negative one.
    fn area(self, learner: &dyn Learner) -> f64 {
        let Self { data, cells, positive } = self;
        let (data, values) = (Data::from(data), learner.proposal());
        let job = Job::new(&data, &values, 1);
        let fitted = learner.fit(&job, &mut |_| ControlFlow::Continue(())).unwrap();
        let answers = fitted.network().answer(Inputs::Table(&cells)).unwrap();
        let scores = |of: bool| {
            let rows = answers.chunks(2).zip(&positive).filter(move |(_, p)| **p == of);
            rows.map(|(p, _)| p[1]).collect::<Vec<f32>>()
        };
        let (positive, mut negative) = (scores(true), scores(false));
        negative.sort_by(f32::total_cmp);
        let below = |p: &f32| {
            let less = negative.partition_point(|n| n < p);
            (less + negative.partition_point(|n| n <= p)) as f64 / 2.0
        };
        positive.iter().map(below).sum::<f64>() / (positive.len() * negative.len()) as f64
    }
}

/// Reads the cells of one column.
struct Reader {
    at: usize,
    /// The codes of categories, as training rows have them.
    codes: Option<BTreeMap<String, f32>>,
}

impl Reader {
    fn new(train: &[Vec<String>], at: usize, categories: bool) -> Self {
        let texts = || train.iter().map(|row| &row[at]);
        if !categories && texts().all(|text| text.parse::<f32>().is_ok()) {
            return Self { at, codes: None };
        }
        let mut codes = BTreeMap::new();
        for text in texts() {
            let next = codes.len() as f32;
            codes.entry(text.clone()).or_insert(next);
        }
        Self { at, codes: Some(codes) }
    }

    fn kind(&self) -> ColumnKind {
        self.codes.as_ref().map_or(ColumnKind::Number, |codes| ColumnKind::Category(codes.len()))
    }

    fn cells(&self, rows: &[Vec<String>]) -> Vec<f32> {
        rows.iter().map(|row| self.cell(row)).collect()
    }

    fn cell(&self, row: &[String]) -> f32 {
        match &self.codes {
            Some(codes) => codes.get(&row[self.at]).copied().unwrap_or(f32::NAN),
            None => row[self.at].parse().unwrap(),
        }
    }
}

fn check(name: &str, categories: &[&str], learner: &dyn Learner, least: f64) {
    if let Some(set) = Set::read(name, categories) {
        let area = set.area(learner);
        assert!(area >= least, "{} on {name}: {area}", learner.name());
    }
}

/// Columns of uci_default whose numbers are names.
const CODES: [&str; 3] = ["sex", "education", "marriage"];

#[test]
fn linear_tells_good_credit_from_bad() {
    check("german_credit", &[], &TableLinear, 0.79);
}

#[test]
fn linear_tells_default() {
    check("uci_default", &CODES, &TableLinear, 0.69);
}

#[test]
fn mlp_tells_default() {
    check("uci_default", &CODES, &TableMlp::default(), 0.755);
}
