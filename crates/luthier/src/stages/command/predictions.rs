//! What a program predicts of the validation rows, read from the file that it leaves.

use std::path::{Path, PathBuf};

use luthier_data::Source;

/// Names under which predictions are found.
const NAMES: [&str; 2] = ["predictions.csv", "predictions.jsonl"];
/// Column of the label that the program decides for.
const LABEL: &str = "label";
/// How far the probabilities of a row may be from 1 in sum; they are divided by it.
const ROUNDING: f64 = 0.01;

/// One answer for each row, at least one of the two.
#[derive(Debug, PartialEq)]
pub(super) struct Answers {
    /// Row-major, rows × labels, in the order of the labels.
    pub(super) probabilities: Option<Vec<f32>>,
    /// Positions of labels.
    pub(super) decided: Option<Vec<u32>>,
}

/// The file of predictions in a trial's folder, if there is one.
pub(super) fn find(folder: &Path) -> Result<Option<PathBuf>, String> {
    let mut found = NAMES.iter().map(|name| folder.join(name)).filter(|path| path.exists());
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(format!("{}: both {}", folder.display(), NAMES.join(" and "))),
        (found, _) => Ok(found),
    }
}

/// Reads a file with a column for each label, a column [`LABEL`], or both, and `rows` rows in the
/// order of the validation rows.
pub(super) fn read(path: &Path, labels: &[String], rows: usize) -> Result<Answers, String> {
    let source = Source::open(path).map_err(|error| error.to_string())?;
    let missing = labels.iter().find(|label| !source.columns().contains(label));
    // A label may be called like the column; then the column holds its probabilities.
    let decides = source.columns().iter().any(|column| column == LABEL)
        && !labels.iter().any(|label| label == LABEL);
    let columns: Vec<&str> = match (missing, decides) {
        (Some(missing), false) => {
            return Err(format!(
                "{}: there is neither a column `{LABEL}` nor one for each label (not `{missing}`)",
                path.display()
            ));
        }
        (Some(_), true) => vec![LABEL],
        (None, _) => labels.iter().map(String::as_str).chain(decides.then_some(LABEL)).collect(),
    };
    let classes = if missing.is_none() { labels.len() } else { 0 };
    let mut probabilities = Vec::with_capacity(rows * classes);
    let mut decided = Vec::with_capacity(rows);
    let mut count = 0;
    for row in source.rows(&columns).map_err(|error| error.to_string())? {
        let row = row.map_err(|error| error.to_string())?;
        count += 1;
        if count > rows {
            continue;
        }
        let at = |what: String| format!("{}:{}: {what}", path.display(), row.line);
        let (numbers, label) = row.cells.split_at(classes);
        if classes > 0 {
            probabilities.extend(distribution(labels, numbers).map_err(at)?);
        }
        if let [label] = label {
            decided.push(position(labels, label.as_deref()).map_err(at)?);
        }
    }
    if count != rows {
        return Err(format!(
            "{}: it has {count} rows, and there are {rows} validation rows",
            path.display()
        ));
    }
    Ok(Answers {
        probabilities: (classes > 0).then_some(probabilities),
        decided: decides.then_some(decided),
    })
}

/// The probabilities of a row.
fn distribution(labels: &[String], cells: &[Option<String>]) -> Result<Vec<f32>, String> {
    let number = |(label, cell): (&String, &Option<String>)| {
        let text = cell.as_deref().unwrap_or_default();
        match text.trim().parse::<f64>() {
            Ok(p) if (0.0..=1.0 + ROUNDING).contains(&p) => Ok(p),
            _ => Err(format!("`{text}` is no probability of `{label}`")),
        }
    };
    let numbers = labels.iter().zip(cells).map(number).collect::<Result<Vec<f64>, _>>()?;
    let sum: f64 = numbers.iter().sum();
    match (sum - 1.0).abs() <= ROUNDING {
        true => Ok(numbers.into_iter().map(|p| (p / sum) as f32).collect()),
        false => Err(format!("the probabilities are {sum} in sum, and not 1")),
    }
}

fn position(labels: &[String], cell: Option<&str>) -> Result<u32, String> {
    let text = cell.unwrap_or_default().trim();
    match labels.iter().position(|label| label == text) {
        Some(position) => Ok(position as u32),
        None => Err(format!("there is no label `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use luthier_test::Scratch;

    use super::*;

    /// Reads `content` as three predictions of the labels `no` and `yes`.
    fn of(name: &str, content: &str) -> Result<Answers, String> {
        let scratch = Scratch::new();
        scratch.write(name, content);
        let path = find(scratch.path())?.ok_or("it is not found")?;
        let answers = read(&path, &["no".to_owned(), "yes".to_owned()], 3);
        let folder = format!("{}/", scratch.path().display());
        answers.map_err(|error| error.replace(&folder, ""))
    }

    #[test]
    fn probabilities_and_labels_are_read() {
        let check = |name, content, probabilities: Option<[f32; 6]>, decided: Option<[u32; 3]>| {
            let probabilities = probabilities.map(Vec::from);
            let answers = Answers { probabilities, decided: decided.map(Vec::from) };
            assert_eq!(of(name, content), Ok(answers));
        };
        let probabilities = Some([0.25, 0.75, 1.0, 0.0, 0.5, 0.5]);
        let decided = Some([1, 0, 1]);
        let csv = "id,yes,no,label\n1,0.75,0.25, yes\n2,0,1,no\n3,5e-1,.5,yes\n";
        check("predictions.csv", csv, probabilities, decided);
        let lines = "{\"no\": 0.25, \"yes\": 0.75}\n{\"no\": 1, \"yes\": 0}\n\
                     {\"no\": 0.5, \"yes\": 0.5}\n";
        check("predictions.jsonl", lines, probabilities, None);
        check("predictions.csv", "label\nyes\nno\nyes\n", None, decided);
        let rounded = "no,yes\n0.25,0.75\n0.999,0\n0.502,0.502\n";
        check("predictions.csv", rounded, probabilities, None);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |content, error: &str| {
            assert_eq!(of("predictions.csv", content), Err(error.to_owned()));
        };
        check(
            "yes\n1\n",
            "predictions.csv: there is neither a column `label` nor one for each label (not `no`)",
        );
        check("label\nyes\n", "predictions.csv: it has 1 rows, and there are 3 validation rows");
        check(
            "label\nyes\nno\nno\nno\n",
            "predictions.csv: it has 4 rows, and there are 3 validation rows",
        );
        check("label\nyes\nmaybe\nno\n", "predictions.csv:3: there is no label `maybe`");
        check("no,yes\n0.5,x\n", "predictions.csv:2: `x` is no probability of `yes`");
        check("no,yes\n1,0\nNaN,1\n", "predictions.csv:3: `NaN` is no probability of `no`");
        check("no,yes\n1.5,-0.5\n", "predictions.csv:2: `1.5` is no probability of `no`");
        check(
            "no,yes\n0.25,0.5\n",
            "predictions.csv:2: the probabilities are 0.75 in sum, and not 1",
        );
        let both = Scratch::new();
        for name in NAMES {
            both.write(name, "");
        }
        assert!(find(both.path()).is_err());
        assert_eq!(find(Scratch::new().path()), Ok(None));
    }
}
