//! The files of a bundle, in a folder or packed into one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::manifest::FileEntry;
use crate::{BundleError, sha256_hex};

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 2 << 30;
/// Most files that a bundle may hold.
const MAX_FILES: usize = 64;
/// Level of compression of a packed bundle.
const ZSTD_LEVEL: i32 = 12;

/// Names with contents, in order of name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files(BTreeMap<String, Vec<u8>>);

/// A bundle that is written and not yet in its place; removed when dropped before it is.
pub(crate) struct Staged {
    path: PathBuf,
    is_moved: bool,
}

impl Files {
    pub(crate) fn insert(&mut self, name: &str, bytes: Vec<u8>) {
        self.0.insert(name.to_owned(), bytes);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }

    /// Size and digest of each file.
    pub(crate) fn entries(&self) -> Vec<FileEntry> {
        let entry = |(name, bytes): (&str, &[u8])| FileEntry {
            name: name.to_owned(),
            bytes: bytes.len() as u64,
            sha256: sha256_hex(bytes),
        };
        self.iter().map(entry).collect()
    }

    /// Checks one file against the manifest.
    pub(crate) fn check(&self, bundle: &Path, entry: &FileEntry) -> Result<(), BundleError> {
        let bytes = self.get(&entry.name).unwrap_or_default();
        if bytes.len() as u64 != entry.bytes {
            return Err(BundleError::Size {
                path: bundle.to_owned(),
                file: entry.name.clone(),
                found: bytes.len() as u64,
                expected: entry.bytes,
            });
        }
        match sha256_hex(bytes) == entry.sha256 {
            true => Ok(()),
            false => Err(BundleError::Digest { path: bundle.to_owned(), file: entry.name.clone() }),
        }
    }

    /// Reads a folder, or a packed file.
    pub(crate) fn read(path: &Path) -> Result<Self, BundleError> {
        let meta = fs::metadata(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => BundleError::NotABundle {
                path: path.to_owned(),
                reason: "there is no such file or folder".to_owned(),
            },
            _ => io_error(path)(source),
        })?;
        if meta.is_dir() { Self::read_folder(path) } else { Self::unpack(path) }
    }

    fn read_folder(path: &Path) -> Result<Self, BundleError> {
        let mut files = Self::default();
        for entry in fs::read_dir(path).map_err(io_error(path))? {
            let entry = entry.map_err(io_error(path))?;
            let file = entry.path();
            let is_file = entry.file_type().map_err(io_error(&file))?.is_file();
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if is_file && files.0.len() < MAX_FILES {
                let length = entry.metadata().map_err(io_error(&file))?.len();
                let reader = File::open(&file).map_err(io_error(&file))?;
                files.0.insert(name, read_bounded(reader, length, path)?);
            }
        }
        Ok(files)
    }

    fn unpack(path: &Path) -> Result<Self, BundleError> {
        let unreadable = |error: io::Error| BundleError::NotABundle {
            path: path.to_owned(),
            reason: format!("it is neither a folder nor a packed bundle ({error})"),
        };
        let file = File::open(path).map_err(io_error(path))?;
        let decoder = zstd::Decoder::new(BufReader::new(file)).map_err(unreadable)?;
        let mut files = Self::default();
        for entry in tar::Archive::new(decoder).entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let name = entry.path().map_err(unreadable)?.to_str().unwrap_or_default().to_owned();
            let plain = !name.is_empty() && !name.contains(['/', '\\']) && name != "..";
            if !plain || !entry.header().entry_type().is_file() || files.0.len() >= MAX_FILES {
                return Err(unreadable(io::Error::other(format!("unexpected entry {name:?}"))));
            }
            let length = entry.size();
            files.0.insert(name, read_bounded(&mut entry, length, path)?);
        }
        Ok(files)
    }

    /// Writes one archive: entries in order of name, no times, no owners.
    pub(crate) fn pack(&self, target: &Path) -> Result<u64, BundleError> {
        let partial = beside(target, "partial");
        let write = || -> io::Result<()> {
            let file = BufWriter::new(File::create(&partial)?);
            let mut archive = tar::Builder::new(zstd::Encoder::new(file, ZSTD_LEVEL)?);
            for (name, bytes) in self.iter() {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                header.set_cksum();
                archive.append_data(&mut header, name, bytes)?;
            }
            archive.into_inner()?.finish()?.into_inner().map_err(io::Error::other)?.sync_all()?;
            fs::rename(&partial, target)
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&partial);
            io_error(target)(source)
        })?;
        Ok(fs::metadata(target).map_err(io_error(target))?.len())
    }

    /// Writes all files to a folder beside `target`.
    pub(crate) fn stage(&self, target: &Path) -> Result<Staged, BundleError> {
        let staged = Staged::at(beside(target, "partial"));
        let folder = staged.path();
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(io_error(folder))?;
        self.write(folder)?;
        Ok(staged)
    }

    /// Writes all files to `folder`, down to the disk.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), BundleError> {
        for (name, bytes) in self.iter() {
            let path = folder.join(name);
            let write = || {
                let mut file = File::create(&path)?;
                file.write_all(bytes)?;
                file.sync_all()
            };
            write().map_err(io_error(&path))?;
        }
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error(folder))
    }
}

impl Staged {
    /// A new hidden folder in `folder`, different for each that asks at the same time.
    pub(crate) fn within(folder: &Path) -> Result<Self, BundleError> {
        let mut number = 0_u64;
        loop {
            let path = folder.join(format!(".{number}.partial"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self::at(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(io_error(folder)(error)),
            }
        }
    }

    fn at(path: PathBuf) -> Self {
        Self { path, is_moved: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the folder to `target`, where nothing may be but an empty folder. From then on its old
    /// name may belong to another.
    pub(crate) fn rename(&mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.is_moved = true;
        Ok(())
    }

    /// Moves the folder to `target`, in place of what was there.
    pub(crate) fn replace(mut self, target: &Path) -> Result<(), BundleError> {
        let old = beside(target, "old");
        let _ = fs::remove_dir_all(&old);
        if target.exists() {
            fs::rename(target, &old).map_err(io_error(target))?;
        }
        self.rename(target).map_err(io_error(target))?;
        let _ = fs::remove_dir_all(&old);
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_moved {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A hidden sibling of `target`.
fn beside(target: &Path, suffix: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{suffix}"))
}

fn read_bounded(reader: impl Read, length: u64, bundle: &Path) -> Result<Vec<u8>, BundleError> {
    if length > MAX_FILE_BYTES {
        return Err(BundleError::NotABundle {
            path: bundle.to_owned(),
            reason: format!("a file of {length} bytes is over the limit of {MAX_FILE_BYTES}"),
        });
    }
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes).map_err(io_error(bundle))?;
    Ok(bytes)
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> BundleError + '_ {
    move |source| BundleError::Io { path: path.to_owned(), source }
}
