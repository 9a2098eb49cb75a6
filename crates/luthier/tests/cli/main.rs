//! The `luthier` command as its users meet it: the real binary in a scratch folder, judged by its
//! exit code, by what it prints and by the files that it leaves.

mod bad_input;
mod bundle;
mod command;
mod data;
mod distil;
mod folds;
mod gate;
mod help;
mod launch;
mod objectives;
mod predict_eval;
mod program_model;
mod resume;
mod run;
mod serve;
mod shared;
mod ship;
mod study;
mod study_import;
mod study_note;
mod study_serve;
mod tables;
mod terminal;
mod transformer;
mod worker;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use luthier_test::Scratch;
use serde_json::Value;

/// The job of most tests: small enough to be done in a fraction of a second.
const JOB: &str = r#"name = "mood"
task = "text-classification"

[data]
train = "train.csv"
valid = "valid.csv"
test = "test.csv"
text = "text"
label = "label"

[tune]
trials = 6
workers = 2
"#;

/// Two classes, and the words that tell them apart.
const MOODS: [(&str, [&str; 4]); 2] =
    [("bad", ["dull", "broken", "rude", "never"]), ("good", ["lovely", "warm", "quick", "again"])];
/// Three classes.
const TOPICS: [(&str, [&str; 4]); 3] = [
    ("food", ["bread", "soup", "spicy", "plate"]),
    ("sport", ["goal", "team", "race", "score"]),
    ("work", ["desk", "meeting", "salary", "boss"]),
];
/// Words of any class.
const FILLERS: [&str; 8] = ["the", "we", "it", "was", "today", "there", "quite", "our"];

/// A scratch folder to work in; a job lives in its folder `job`.
struct Desk(Scratch);

/// How a command ended.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A text with its label.
type Row = (String, &'static str);

impl Desk {
    /// An empty one.
    fn empty() -> Self {
        Self(Scratch::new())
    }

    /// One with [`JOB`] and its data.
    fn with_job() -> Self {
        let desk = Self::empty();
        desk.write("job/luthier.toml", JOB);
        for (part, count, seed) in [("train", 240, 1), ("valid", 80, 2), ("test", 80, 3)] {
            desk.write(&format!("job/{part}.csv"), csv(&rows(&MOODS, count, seed)));
        }
        desk
    }

    /// One whose job is done.
    fn with_bundle() -> Self {
        let desk = Self::with_job();
        desk.luthier(&["run", "job"]).ok();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        self.0.write(name, content);
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// All files of a folder with their contents.
    fn folder(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.map(|file| (file.clone(), self.read(&format!("{name}/{file}")))).collect()
    }

    /// The names in a folder, a slash behind those of folders.
    fn names(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut names: Vec<String> = entries
            .map(|entry| {
                let entry = entry.unwrap();
                let slash = if entry.path().is_dir() { "/" } else { "" };
                format!("{}{slash}", entry.file_name().display())
            })
            .collect();
        names.sort();
        names
    }

    /// Replaces `from`, which must occur, in `luthier.toml`.
    #[track_caller]
    fn edit(&self, from: &str, to: &str) {
        let toml = String::from_utf8(self.read("job/luthier.toml")).unwrap();
        assert!(toml.contains(from), "{from:?} is not in {toml}");
        self.write("job/luthier.toml", toml.replacen(from, to, 1));
    }

    /// The command with `args`, in the scratch folder, cut off from the settings of whoever tests.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_luthier"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        for setting in ["LUTHIER_LOG", "LUTHIER_STORAGE", "RAY_ADDRESS", "COLUMNS"] {
            command.env_remove(setting);
        }
        command
    }

    /// Runs the command to its end.
    fn luthier(&self, args: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(args))
    }
}

impl Outcome {
    /// Runs `command` to its end.
    fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the binary starts");
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8 on standard output"),
            err: String::from_utf8(output.stderr).expect("UTF-8 on standard error"),
        }
    }

    /// The standard output of a success.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// [`Self::ok`], as JSON.
    #[track_caller]
    fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {out}"))
    }

    /// That the command failed with `code` and ended with `complaint`, line for line.
    #[track_caller]
    fn fails(&self, code: i32, complaint: &str) {
        let lines: Vec<&str> = self.err.lines().collect();
        let wanted: Vec<&str> = complaint.lines().collect();
        let last = &lines[lines.len().saturating_sub(wanted.len())..];
        assert_eq!((self.code, last), (Some(code), &wanted[..]), "{}", self.err);
    }
}

/// `count` rows that are mostly, but not always, easy to tell apart. The same on every machine.
fn rows(classes: &[(&'static str, [&str; 4])], count: usize, seed: u64) -> Vec<Row> {
    let mut state = seed;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut row = |number: usize| {
        let (label, _) = classes[number % classes.len()];
        let mut text = format!("visit {seed}{number}");
        for _ in 0..5 {
            let told = match random(10) {
                0..4 => classes[number % classes.len()].1[random(4)],
                4 => classes[random(classes.len())].1[random(4)],
                _ => FILLERS[random(8)],
            };
            write!(text, " {told}").unwrap();
        }
        (text, label)
    };
    (0..count).map(&mut row).collect()
}

/// Rows as CSV with the columns `id`, `text` and `label`.
fn csv(rows: &[Row]) -> String {
    let mut csv = String::from("id,text,label\n");
    for (number, (text, label)) in rows.iter().enumerate() {
        writeln!(csv, "r{number},\"{text}\",{label}").unwrap();
    }
    csv
}

/// Rows as JSON Lines with the keys `text` and `label`.
fn json_lines(rows: &[Row]) -> String {
    let line = |(text, label): &Row| format!("{{\"text\": \"{text}\", \"label\": \"{label}\"}}\n");
    rows.iter().map(line).collect()
}

/// `text` without what differs between machines and runs: decimal fractions become `#`, times
/// `# ms`, long hexadecimal numbers `<digest>`, and gaps of a table two blanks.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '.';
        let end = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(end);
        let number = piece.strip_suffix('x').unwrap_or(piece);
        if number.contains('.') && number.parse::<f64>().is_ok() {
            masked.truncate(masked.trim_end_matches(['+', '-']).len());
            masked.push('#');
            masked += &piece[number.len()..];
        } else if piece.len() >= 16 && piece.bytes().all(|b| b.is_ascii_hexdigit()) {
            masked += "<digest>";
        } else {
            masked += piece;
        }
        rest = tail;
    }
    let mut masked = masked.replace("# µs", "# ms");
    while masked.contains("   ") {
        masked = masked.replace("   ", "  ");
    }
    masked
}

/// A path as an argument.
fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is UTF-8")
}
