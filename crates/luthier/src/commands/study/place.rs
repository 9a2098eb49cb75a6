//! Where studies are kept under their names.

use std::path::PathBuf;

use luthier_study::Locator;

use crate::failure::Failure;

/// Longest name of a study that is part of a path, in bytes.
const MAX_NAME: usize = 128;

/// A file, a folder or a database that is given for studies to be in.
pub(super) enum Place {
    /// Has one study.
    File(PathBuf),
    /// Each in a file that is called as the study is.
    Folder(PathBuf),
    Database(Locator),
}

impl Place {
    pub(super) fn of(storage: &str) -> Result<Self, Failure> {
        let locator = match storage.parse::<Locator>() {
            Ok(locator) => locator,
            Err(never) => match never {},
        };
        Ok(match locator {
            Locator::File(_) if storage.contains("://") => {
                return Err(Failure::input(format!("{storage} is no place for studies")).hint(
                    "name a file, a folder, or a PostgreSQL database as postgres://user@host/database",
                ));
            }
            Locator::File(path) if path.is_dir() => Self::Folder(path),
            Locator::File(path) => Self::File(path),
            database => Self::Database(database),
        })
    }

    /// Where the study of this name is, or would be.
    pub(super) fn locator(&self, name: &str) -> Locator {
        match self {
            Self::File(path) => Locator::File(path.clone()),
            Self::Folder(folder) => Locator::File(folder.join(format!("{name}.db"))),
            Self::Database(locator) => locator.clone(),
        }
    }
}

/// What is wrong with the name of a study that is to be part of a path or of the name of a file.
pub(super) fn fault_of_name(name: &str) -> Option<String> {
    let is_plain =
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let is_sound = (1..=MAX_NAME).contains(&name.len()) && is_plain && !name.starts_with('.');
    (!is_sound).then(|| {
        format!(
            "a study's name is 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`, which is not the first"
        )
    })
}
