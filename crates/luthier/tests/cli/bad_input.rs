//! What is wrong with an input is said with its place and a next step, and the exit code tells
//! whose fault it is.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use crate::{Desk, MOODS, csv, rows};

/// The line of `JOB` in which parts come from files of their own.
const OWN_FILES: &str = "valid = \"valid.csv\"\ntest = \"test.csv\"\n";

/// Runs the job with `from` replaced by `to` in `luthier.toml`, which is wrong.
#[track_caller]
fn check_setting(from: &str, to: &str, complaint: &str) {
    let desk = Desk::with_job();
    desk.edit(from, to);
    desk.luthier(&["run", "job"]).fails(2, &format!("error: job/{complaint}"));
}

#[test]
fn unknown_keys_are_placed_and_the_nearest_known_one_is_named() {
    check_setting(
        "name =",
        "nmae =",
        "luthier.toml:1:1: unknown field `nmae`, expected one of `name`, `task`, `data`, \
         `objective`, `distill`, `tune`, `compress`, `serve`\n hint: did you mean `name`?",
    );
    check_setting(
        "[tune]",
        "[tunes]",
        "luthier.toml:11:2: unknown field `tunes`, expected one of `name`, `task`, `data`, \
         `objective`, `distill`, `tune`, `compress`, `serve`\n hint: did you mean `tune`?",
    );
    check_setting(
        "trials =",
        "trails =",
        "luthier.toml:12:1: unknown field `trails`, expected one of `learners`, `trials`, \
         `timeout`, `sampler`, `pruner`, `refine`, `reevaluate`, `workers`, `lag`, `seed`, `storage`, \
         `space`, `command`, `tasks`\n hint: did you mean `trials`?",
    );
    check_setting(
        OWN_FILES,
        "split = { vaild = 0.1 }\n",
        "luthier.toml:6:11: unknown field `vaild`, expected one of `valid`, `test`, `seed`, \
         `group`, `time`\n hint: did you mean `valid`?",
    );
    check_setting(
        "[tune]",
        "[objective]\nlimits = { siz_mb = 3 }\n\n[tune]",
        "luthier.toml: `objective.limits`: linear and embedding cannot tell `siz_mb` of a trial\n \
         hint: did you mean `size_mb`?",
    );
    check_setting(
        "workers = 2",
        "[tune.space.linear]\nepoch = 3",
        "luthier.toml: `tune.space.linear`: there is no parameter `epoch`\n \
         hint: did you mean `epochs`?",
    );
}

#[test]
fn wrong_types_and_broken_syntax_are_placed() {
    check_setting("[tune]", "[tune", "luthier.toml:11:6: unclosed table, expected `]`");
    check_setting(
        "\"mood\"",
        "3",
        "luthier.toml:1:8: invalid type: integer `3`, expected a string",
    );
    check_setting(
        "= 6",
        "= \"six\"",
        "luthier.toml:12:10: invalid type: string \"six\", expected u64",
    );
    check_setting(
        "text = \"text\"",
        "text = 3",
        "luthier.toml:8:8: a column name or a list of them",
    );
    let missing = "luthier.toml:4:1: missing field `label`";
    check_setting("label = \"label\"", "", missing);
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    let check = |setting: &str, complaint: &str| {
        check_setting("workers = 2", setting, &format!("luthier.toml: {complaint}"));
    };
    check(
        "learners = [\"linaer\"]",
        "`tune.learners`: there is no learner `linaer`\n hint: did you mean `linear`?",
    );
    check(
        "sampler = \"tpee\"",
        "`tune.sampler`: there is no sampler `tpee`\n hint: did you mean `tpe`?",
    );
    check(
        "pruner = \"medain\"",
        "`tune.pruner`: there is no pruner `medain`\n hint: did you mean `median`?",
    );
    check(
        "\n[objective]\nmetric = \"acuracy\"",
        "there is no metric `acuracy`\n hint: did you mean `accuracy`?",
    );
}

#[test]
fn names_like_no_other_are_answered_with_all() {
    for setting in [
        "learners = [\"xgboost\"]",
        "sampler = \"annealing\"",
        "pruner = \"bohb\"",
        "\n[objective]\nmetric = \"speed\"",
    ] {
        let desk = Desk::with_job();
        desk.edit("workers = 2", setting);
        let outcome = desk.luthier(&["run", "job"]);
        let listed = outcome.err.contains("\n hint: known are ");
        assert_eq!((outcome.code, listed), (Some(2), true), "{setting}: {}", outcome.err);
    }
}

#[test]
fn what_is_planned_is_not_yet() {
    check_setting(
        "text-classification",
        "text-clasification",
        "luthier.toml: `task` is \"text-clasification\"\n hint: did you mean `text-classification`?",
    );
    check_setting(
        "workers = 2",
        "storage = \"mysql://host/study\"",
        "luthier.toml: `tune.storage` is `mysql://host/study`\n \
         hint: name a file, or a PostgreSQL database as postgres://user@host/database",
    );
    check_setting(
        "workers = 2",
        "refine = 11",
        "luthier.toml: `tune.refine` must be between 0 and 10",
    );
    check_setting(
        "[tune]",
        "[serve]\nslo_p99_ms = 20\n\n[tune]",
        "luthier.toml: `serve.slo_p99_ms` is 20\n hint: not yet: so far no objective is watched",
    );
}

#[test]
fn nothing_is_done_by_nobody() {
    let bounds = "luthier.toml: `tune.workers` must be between 1 and 1024";
    check_setting("workers = 2", "workers = 0", bounds);
    let desk = Desk::with_job();
    for args in [["run", "--trials"], ["run", "--workers"], ["serve", "--workers"]] {
        let outcome = desk.luthier(&[&args[..], &["0", "job"]].concat());
        let said = outcome.err.starts_with(&format!("error: invalid value '0' for '{}", args[1]));
        assert_eq!((outcome.code, said), (Some(2), true), "{}", outcome.err);
    }
}

#[test]
fn environment_variables_are_expanded() {
    let desk = Desk::with_job();
    desk.edit("\"train.csv\"", "\"${LUTHIER_TEST_PART}.csv\"");
    let mut command = desk.command(&["run", "job", "--trials", "1"]);
    crate::Outcome::of(command.env("LUTHIER_TEST_PART", "train")).ok();
    desk.luthier(&["run", "job"]).fails(
        2,
        "error: job/luthier.toml: `${LUTHIER_TEST_PART}.csv`: environment variable \
         LUTHIER_TEST_PART is not set\n hint: set LUTHIER_TEST_PART when you call luthier",
    );
    desk.edit("${LUTHIER_TEST_PART}", "${LUTHIER_TEST_PART");
    desk.luthier(&["run", "job"])
        .fails(2, "error: job/luthier.toml: `${LUTHIER_TEST_PART.csv`: a `${` without a `}`");
}

#[test]
fn a_job_that_is_not_there() {
    let desk = Desk::empty();
    let hint = " hint: give the path of a luthier.toml or of the folder that holds one";
    let absent = |path| format!("error: {path}: No such file or directory (os error 2)\n{hint}");
    desk.luthier(&["run", "job"]).fails(2, &absent("job"));
    desk.luthier(&["run"]).fails(2, &absent("./luthier.toml"));
}

#[test]
fn a_job_that_is_no_text() {
    let desk = Desk::with_job();
    desk.write("job/luthier.toml", b"name = \"caf\xe9\"\n");
    desk.luthier(&["run", "job"]).fails(2, "error: job/luthier.toml: not UTF-8");
}

#[test]
fn missing_files_and_columns() {
    check_setting("valid.csv", "vald.csv", "vald.csv: no such file");
    check_setting("train.csv", "train.xls", "train.xls: no such file");
    check_setting(
        "text = \"text\"",
        "text = \"txt\"",
        "train.csv: no column `txt` among id, text, label\n hint: did you mean `text`?",
    );
    check_setting(
        "label = \"label\"",
        "label = \"class\"",
        "train.csv: no column `class` among id, text, label",
    );
    check_setting(
        "label = \"label\"",
        "label = \"label\"\npositive = \"great\"",
        "train.csv: positive class `great` is not a label among bad, good",
    );
    check_setting(
        "label = \"label\"",
        "label = \"label\"\nignore = [\"idd\"]",
        "luthier.toml: `data.ignore`: job/train.csv has no column `idd`\n \
         hint: did you mean `id`?",
    );
}

/// Runs the job with `extra` behind the rows of `train.csv`, the last of which is on line 241.
#[track_caller]
fn check_rows(extra: &[u8], complaint: &str) {
    let desk = Desk::with_job();
    let train = [csv(&rows(&MOODS, 240, 1)).as_bytes(), extra].concat();
    desk.write("job/train.csv", train);
    desk.luthier(&["run", "job"]).fails(2, &format!("error: job/train.csv{complaint}"));
}

#[test]
fn bad_rows_are_placed() {
    let hint = "\n hint: a field that holds the separator or a line break must be quoted";
    check_rows(b"r9,alone\n", &format!(":242: 2 fields, expected 3{hint}"));
    check_rows(b"r9,a,good,more\n", &format!(":242: 4 fields, expected 3{hint}"));
    check_rows(b"r9,\"no end,good\n", ":242: the quoted field that begins here never ends");
    check_rows(b"r9,unlabelled,\n", ":242: no label in column `label`");
    check_rows(
        b"r9,fine,good\nr10,caf\xe9,good\n",
        ":243: invalid UTF-8\n hint: convert the file, for example with `iconv -t UTF-8`",
    );
    let long = format!("r9,{},good\n", "x".repeat(10_000_000));
    check_rows(long.as_bytes(), ":242: column `text` is longer than 1048576 bytes");
}

#[test]
fn a_broken_line_of_json_is_placed() {
    let desk = Desk::with_job();
    desk.edit("train.csv", "train.jsonl");
    desk.write("job/train.jsonl", "{\"text\": \"a\", \"label\": \"good\"}\n{\"text\":\n");
    desk.luthier(&["run", "job"]).fails(2, "error: job/train.jsonl:2:8: EOF while parsing a value");
}

/// Runs the job with other rows in a part of it.
#[track_caller]
fn check_part(file: &str, content: &str, complaint: &str) {
    let desk = Desk::with_job();
    desk.write(&format!("job/{file}"), content);
    desk.luthier(&["run", "job"]).fails(2, &format!("error: job/{file}{complaint}"));
}

#[test]
fn parts_that_nothing_can_be_learnt_from() {
    check_part("train.csv", "", ": the file is empty");
    let hint = "\n hint: give a file for this part, or a larger fraction in `data.split`";
    let valid = format!(": the valid part has no rows{hint}");
    check_part("valid.csv", "id,text,label\n", &valid);
    let hint = "\n hint: add rows of this class to the training data, or drop these rows";
    let unseen = format!(":4: class `ugly` of the test part is absent from train{hint}");
    check_part("test.csv", "id,text,label\n1,a,good\n2,b,bad\n3,c,ugly\n", &unseen);
    let desk = Desk::with_job();
    for part in ["train", "valid", "test"] {
        let same = csv(&rows(&MOODS[..1], 40, 5));
        desk.write(&format!("job/{part}.csv"), same);
    }
    desk.luthier(&["run", "job"]).fails(2, "error: job/train.csv: only one class in train, `bad`");
}

#[test]
fn weights_are_finite_and_not_negative() {
    for weight in ["NaN", "inf", "-1", "much"] {
        let desk = Desk::with_job();
        desk.edit(OWN_FILES, "weight = \"w\"\n");
        let rows = format!("text,label,w\na,good,1\nb,bad,{weight}\n");
        desk.write("job/train.csv", rows);
        let what = format!("weight `{weight}` in column `w` is not a finite number >= 0");
        desk.luthier(&["run", "job"]).fails(2, &format!("error: job/train.csv:3: {what}"));
    }
}

#[test]
fn splits_that_cannot_be_made() {
    let check = |split: &str, complaint: &str| {
        let desk = Desk::with_job();
        desk.edit(OWN_FILES, &format!("split = {split}\n"));
        desk.luthier(&["run", "job"]).fails(2, complaint);
    };
    check(
        "{ test = 0.2 }",
        "error: job/luthier.toml: `data.split.valid` is 0, and there is no `data.valid`\n \
         hint: give a share of the rows above 0, or a file of its own in `data.valid`",
    );
    check("{ valid = 0.6, test = 0.5 }", "error: cannot split off 0.6 for valid and 0.5 for test");
    check(
        "{ valid = 0.1, time = \"id\" }",
        "error: job/train.csv:2: time `r0` in column `id` cannot be ordered",
    );
    check(
        "{ valid = 0.1, group = \"id\", time = \"id\" }",
        "error: a split is either by group `id` or by time `id`",
    );
}

#[test]
fn damaged_bundles_name_the_file() {
    let desk = Desk::with_bundle();
    let hint = "hint: copy the bundle again from where it was made, or make it again";
    for (file, content) in desk.folder("job/run/bundle") {
        let path = format!("job/run/bundle/{file}");
        let middle = content.len() / 2;
        let mut flipped = content.clone();
        flipped[middle] ^= 1;
        for damaged in [&flipped[..], &content[..middle], &[]] {
            desk.write(&path, damaged);
            let outcome = desk.luthier(&["predict", "job/run/bundle", "lovely"]);
            let named = format!("error: {file} in bundle job/run/bundle ");
            assert_eq!(
                (outcome.code, outcome.err.starts_with(&named)),
                (Some(2), true),
                "{outcome:?}"
            );
        }
        desk.write(&path, &content);
    }
    let model = desk.read("job/run/bundle/model.onnx");
    desk.write("job/run/bundle/model.onnx", [&model[..model.len() - 1], b"x"].concat());
    let damaged = "model.onnx in bundle job/run/bundle is damaged: its SHA-256 is not the one in \
                   the manifest";
    desk.luthier(&["bundle", "verify", "job/run/bundle"])
        .fails(2, &format!("error: {damaged}\n {hint}"));
    desk.write("job/run/bundle/model.onnx", &model[1..]);
    let (found, expected) = (model.len() - 1, model.len());
    let shorter = format!("has {found} bytes, the manifest says {expected}");
    desk.luthier(&["bundle", "verify", "job/run/bundle"])
        .fails(2, &format!("error: model.onnx in bundle job/run/bundle {shorter}\n {hint}"));
}

#[test]
fn damaged_packed_bundles_are_refused() {
    let desk = Desk::with_bundle();
    desk.luthier(&["bundle", "pack", "job/run/bundle", "--output", "mood.luthier"]).ok();
    let packed = desk.read("mood.luthier");
    for place in (0..packed.len()).step_by(packed.len() / 40) {
        let mut flipped = packed.clone();
        flipped[place] ^= 0x10;
        desk.write("mood.luthier", flipped);
        let outcome = desk.luthier(&["bundle", "verify", "mood.luthier"]);
        let named = outcome.err.contains("mood.luthier");
        assert_eq!((outcome.code, named), (Some(2), true), "byte {place}: {outcome:?}");
    }
    desk.write("mood.luthier", &packed[..packed.len() / 2]);
    let outcome = desk.luthier(&["bundle", "verify", "mood.luthier"]);
    let reason = "it is neither a folder nor a packed bundle (incomplete frame)";
    outcome.fails(2, &format!("error: mood.luthier is no bundle: {reason}"));
}

#[test]
fn things_that_are_no_bundles() {
    let desk = Desk::with_job();
    let check = |path: &str, reason: &str| {
        let complaint = format!("error: {path} is no bundle: {reason}");
        desk.luthier(&["bundle", "show", path]).fails(2, &complaint);
    };
    check("nowhere", "there is no such file or folder");
    check("job", "it has no manifest.json");
    check("job/train.csv", "it is neither a folder nor a packed bundle (Unknown frame descriptor)");
}

#[test]
fn a_port_in_use() {
    let desk = Desk::with_bundle();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let outcome = desk.luthier(&["serve", "job/run/bundle", "--rest-port", &port.to_string()]);
    outcome.fails(
        3,
        &format!(
            "error: cannot listen on 127.0.0.1:{port}: Address already in use (os error 98)\n \
             hint: another program uses the port; choose one with --rest-port"
        ),
    );
}

#[test]
fn a_full_disk_loses_nothing() {
    let desk = Desk::with_job();
    let Some(disk) = SmallDisk::mount(desk.path("job/run"), 4) else { return };
    let hint = " hint: free some space and run the same command again; finished work is kept";
    let mut refusals = 0;
    for kilobytes in [4, 12, 28, 56, 120, 300, 1500, 20_000] {
        disk.resize(kilobytes);
        let outcome = desk.luthier(&["run", "job"]);
        if outcome.code == Some(0) {
            break;
        }
        refusals += 1;
        let complaint = outcome.err.lines().rev().nth(1).unwrap_or_default();
        let said = complaint.to_lowercase().contains("no space left");
        assert!(said && outcome.err.ends_with(&format!("{hint}\n")), "{kilobytes} kB: {outcome:?}");
        assert_eq!(outcome.code, Some(3));
    }
    assert!(refusals >= 5, "{refusals}");
    let undisturbed = Desk::with_bundle();
    assert!(desk.folder("job/run/bundle") == undisturbed.folder("job/run/bundle"));
}

#[test]
fn a_folder_that_cannot_be_written() {
    let desk = Desk::with_job();
    let Some(disk) = SmallDisk::mount(desk.path("job/run"), 4) else { return };
    disk.remount("ro");
    desk.luthier(&["run", "job"])
        .fails(3, "error: job/run/.lock: Read-only file system (os error 30)");
}

/// A file system in memory, mounted on a folder; `mount` needs the rights of root.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many kilobytes; `None`, with a word, where that is not allowed.
    #[allow(clippy::print_stderr)]
    fn mount(folder: PathBuf, kilobytes: u32) -> Option<Self> {
        std::fs::create_dir_all(&folder).unwrap();
        let size = format!("size={kilobytes}k");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        eprintln!("skipped: a small disk cannot be mounted without the rights of root");
        None
    }

    fn resize(&self, kilobytes: u32) {
        self.remount(&format!("size={kilobytes}k"));
    }

    fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(status.unwrap().success(), "mount -o {options}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
