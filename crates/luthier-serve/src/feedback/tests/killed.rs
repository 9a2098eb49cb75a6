//! A process that is killed while labels come in.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use luthier_test::{Process, Scratch};
use rusqlite::Connection;

use super::{Stage, block_on, decision, feedback, id, track};
use crate::feedback::{Joined, Tracker};
use crate::texts::Texts;

const LABELS: u32 = 20_000;
/// Labels of one call.
const CALL: u32 = 40;
/// Folder of the store; the first label that the child is to send.
const FOLDER: &str = "LUTHIER_FEEDBACK_CHILD";
const FROM: &str = "LUTHIER_FEEDBACK_FROM";

#[test]
fn labels_count_once_when_the_process_is_killed() {
    let scratch = Scratch::new();
    let path = scratch.path().join("feedback.db");
    let mut acknowledged = BTreeSet::new();
    let mut accepted = 0;
    for kill_after in [50, 1, 130, 90, u32::MAX] {
        // Some that are acknowledged are sent again.
        let next = acknowledged.last().map_or(0, |last| last + 1);
        let from = u32::max(next, 3 * CALL) - 3 * CALL;
        let calls = run_child(scratch.path(), from, kill_after);
        for (first, joined) in &calls {
            assert_eq!((joined.unknown, joined.accepted + joined.duplicates), (0, CALL as usize));
            acknowledged.extend(*first..first + CALL);
            accepted += joined.accepted;
        }
        let stored = stored(&path);
        assert!(acknowledged.is_subset(&stored), "what was acknowledged is there");
    }
    assert_eq!(acknowledged, (0..LABELS).collect());
    assert_eq!(stored(&path), acknowledged);
    // Those that were committed, and killed before they were acknowledged, came as duplicates.
    assert!(accepted <= LABELS as usize, "{accepted}");
    let (tracker, mood) = Stage::open(&scratch);
    let stage = Stage { scratch, tracker, mood };
    // Of the last thousand, every tenth is `no` and all were predicted `yes`.
    stage.check_metric("luthier_live_accuracy{model=\"mood\",version=\"3\"}", 0.9);
}

/// Runs the child, kills it after so many acknowledged calls, and gives all of them.
fn run_child(folder: &Path, from: u32, kill_after: u32) -> Vec<(u32, Joined)> {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "feedback::tests::killed::child"]);
    command.env(FOLDER, folder).env(FROM, from.to_string()).stdout(Stdio::piped());
    let mut process = Process::start(&mut command);
    let mut calls = Vec::new();
    for line in BufReader::new(process.child().stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // A line that the kill has cut is not acknowledged.
        let Some(call) = line.strip_prefix("joined ").and_then(|l| l.strip_suffix(" .")) else {
            continue;
        };
        let numbers: Vec<usize> = call.split(' ').map(|n| n.parse().unwrap()).collect();
        let [first, accepted, duplicates, unknown] = numbers[..] else { panic!("{line}") };
        let joined = Joined { accepted, duplicates, unknown, ..Joined::default() };
        calls.push((first as u32, joined));
        if calls.len() as u32 == kill_after {
            process.signal("KILL");
        }
    }
    calls
}

#[test]
#[ignore = "the process that is killed"]
fn child() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    let from: u32 = env::var(FROM).unwrap().parse().unwrap();
    let tracker = Tracker::start(Some(&folder.join("feedback.db"))).unwrap();
    let mood = track("mood", 3, &decision(), None);
    let mut out = std::io::stdout();
    // The test runner has begun a line.
    out.write_all(b"\n").unwrap();
    for first in (from..LABELS).step_by(CALL as usize) {
        let numbers = first..first + CALL;
        for number in numbers.clone() {
            let texts = Texts::default();
            tracker.answered(id(number), &mood, &decision(), texts, &[0.0, 1.0]);
        }
        let labels: Vec<_> =
            numbers.map(|n| (n, 0, if n % 10 == 0 { "no" } else { "yes" })).collect();
        let joined = block_on(tracker.join(feedback("mood", None, &labels))).unwrap();
        let Joined { accepted, duplicates, unknown, .. } = joined;
        let line = format!("joined {first} {accepted} {duplicates} {unknown} .\n");
        out.write_all(line.as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

/// The numbers of all stored labels, each of which must be there once.
fn stored(path: &Path) -> BTreeSet<u32> {
    let connection = Connection::open(path).unwrap();
    let mut query = connection.prepare("SELECT id, row FROM labels").unwrap();
    let number = |row: &rusqlite::Row<'_>| {
        let id: [u8; 16] = row.get(0)?;
        assert_eq!(row.get::<_, u32>(1)?, 0);
        Ok(u128::from_be_bytes(id) as u32)
    };
    let all: Vec<u32> = query.query_map([], number).unwrap().map(Result::unwrap).collect();
    let distinct: BTreeSet<u32> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len());
    distinct
}
