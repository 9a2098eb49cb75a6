//! What a file's entity tag says of its content.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

const CHUNK: usize = 1 << 18;

/// A digest that a file must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Digest {
    /// SHA-256, the tag of large files.
    Sha256(String),
    /// SHA-1 of a Git blob, the tag of small ones, which are kept in Git itself.
    GitBlob(String),
}

impl Digest {
    /// What the hub's tag of a file stands for; other servers' tags say nothing.
    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        let tag = tag.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        if !tag.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        match tag.len() {
            64 => Some(Self::Sha256(tag)),
            40 => Some(Self::GitBlob(tag)),
            _ => None,
        }
    }

    /// In hexadecimal.
    pub(crate) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }

    /// The digest of the same kind that a file has, in hexadecimal.
    pub(crate) fn found(&self, path: &Path) -> io::Result<String> {
        let mut file = File::open(path)?;
        match self {
            Self::Sha256(_) => read(&mut file, Sha256::new()),
            Self::GitBlob(_) => {
                let size = file.metadata()?.len();
                read(&mut file, Sha1::new_with_prefix(format!("blob {size}\0")))
            }
        }
    }
}

fn read<D: sha2::Digest>(file: &mut File, mut digest: D) -> io::Result<String> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    Ok(digest.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
