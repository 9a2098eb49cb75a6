//! The folder of shipped files. A marker in it holds the digest of each file as it was written, so
//! that a file edited since is known, and kept.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

use luthier_bundle::sha256_hex;
use serde::{Deserialize, Serialize};

use super::shown;
use crate::failure::Failure;

/// Name of the marker.
const MARKER: &str = ".luthier-ship.json";

/// A file to be written.
pub(super) struct Content {
    /// Where, below the folder; parts are separated by `/`.
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
    pub(super) executable: bool,
}

/// What became of a file.
pub(super) struct Shipped {
    pub(super) path: String,
    pub(super) fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is new, or another than before.
    Written,
    /// It was there already, byte by byte.
    Unchanged,
    /// It was edited since it was written, and stays so.
    Kept,
    /// It is no longer part of what is shipped.
    Removed,
}

impl Fate {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Unchanged => "unchanged",
            Self::Kept => "kept",
            Self::Removed => "removed",
        }
    }
}

/// SHA-256 of each file as it was last written, by path.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    files: BTreeMap<String, String>,
}

/// Brings the folder `out` to `contents`. Edited files are kept unless `force`; a folder with
/// other things in it and no marker is refused unless `force`.
pub(super) fn write(
    out: &Path,
    contents: Vec<Content>,
    force: bool,
) -> Result<Vec<Shipped>, Failure> {
    let before = read_marker(out, force)?;
    let mut after = Marker::default();
    let mut shipped = Vec::with_capacity(contents.len());
    for content in contents {
        let digest = sha256_hex(&content.bytes);
        let written = before.files.get(&content.path);
        let found = found(&out.join(&content.path))?;
        let fate = match &found {
            Some(found) if *found == digest => Fate::Unchanged,
            Some(found) if Some(found) != written && !force => Fate::Kept,
            _ => Fate::Written,
        };
        if fate == Fate::Written {
            put(out, &content)?;
        }
        let noted = if fate == Fate::Kept { written.cloned().unwrap_or_default() } else { digest };
        after.files.insert(content.path.clone(), noted);
        shipped.push(Shipped { path: content.path, fate });
    }
    for (path, written) in before.files {
        if !after.files.contains_key(&path) {
            shipped.extend(dropped(out, path, &written, force)?);
        }
    }
    write_marker(out, &after)?;
    Ok(shipped)
}

/// Takes away a file that is shipped no longer, unless it was edited.
fn dropped(
    out: &Path,
    path: String,
    written: &str,
    force: bool,
) -> Result<Option<Shipped>, Failure> {
    let file = out.join(&path);
    match found(&file)? {
        None => Ok(None),
        Some(found) if found == written || force => {
            fs::remove_file(&file).map_err(Failure::io(&file))?;
            remove_empty_parents(out, &file);
            Ok(Some(Shipped { path, fate: Fate::Removed }))
        }
        Some(_) => Ok(Some(Shipped { path, fate: Fate::Kept })),
    }
}

fn remove_empty_parents(out: &Path, file: &Path) {
    let mut folder = file.parent();
    while let Some(parent) = folder.filter(|parent| *parent != out) {
        // Fails where something is left in it, and then all above stays too.
        if fs::remove_dir(parent).is_err() {
            return;
        }
        folder = parent.parent();
    }
}

/// The digest of a file that is there.
fn found(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(sha256_hex(&bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io(path)(error)),
    }
}

fn put(out: &Path, content: &Content) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let path = out.join(&content.path);
    let failed = Failure::io(&path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(&failed)?;
    }
    // A program that runs cannot be overwritten, but its place can be taken.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::write(&path, &content.bytes).map_err(&failed)?;
    let mode = if content.executable { 0o755 } else { 0o644 };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(&failed)
}

fn read_marker(out: &Path, force: bool) -> Result<Marker, Failure> {
    let path = out.join(MARKER);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match force || is_empty(out).map_err(Failure::io(out))? {
                true => Ok(Marker::default()),
                false => {
                    let message =
                        format!("{} holds something that `luthier ship` did not write", shown(out));
                    Err(Failure::input(message)
                        .hint("choose another folder with --out, or --force"))
                }
            };
        }
        Err(error) => return Err(Failure::io(&path)(error)),
    };
    let marker: Marker = serde_json::from_slice(&text)
        .map_err(|error| Failure::input(format!("{}: {error}", shown(&path))))?;
    // The marker says what may be removed: nothing outside of the folder.
    let inside = |path: &String| {
        Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
    };
    match marker.files.keys().all(inside) {
        true => Ok(marker),
        false => Err(Failure::input(format!("{}: a path leaves the folder", shown(&path)))),
    }
}

fn is_empty(out: &Path) -> io::Result<bool> {
    match fs::read_dir(out) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn write_marker(out: &Path, marker: &Marker) -> Result<(), Failure> {
    let path = out.join(MARKER);
    let text = serde_json::to_string_pretty(marker)
        .map_err(|error| Failure::fault(format!("writing JSON: {error}")))?;
    fs::write(&path, text + "\n").map_err(Failure::io(&path))
}
