//! Tensors out of safetensors files (<https://huggingface.co/docs/safetensors>).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;

use crate::{PretrainedError, parse, read};

/// Name of the file that holds all weights.
pub const WEIGHTS: &str = "model.safetensors";
/// Name of the file that says which weights are in which file, where there are several.
pub const INDEX: &str = "model.safetensors.index.json";

/// Files of weights that are not read; most are pickled, and opening one runs the code within.
const OTHERS: [&str; 6] = [
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
    "model.ckpt",
    "rust_model.ot",
];
/// Most bytes of a header, as Hugging Face's readers have it.
const MAX_HEADER: u64 = 25_000_000;
/// Bytes that are read and converted at once.
const CHUNK: usize = 1 << 18;

/// The tensors of a folder.
pub(crate) struct Checkpoint {
    files: Vec<Weights>,
    /// For each tensor the file that has it.
    places: BTreeMap<String, usize>,
    used: BTreeSet<String>,
}

/// An open safetensors file.
struct Weights {
    path: PathBuf,
    file: File,
    header: Metadata,
    /// Where the tensors begin.
    start: u64,
}

impl Checkpoint {
    /// Opens the weights of a folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, PretrainedError> {
        let paths = files_of_weights(folder)?.into_iter();
        let files = paths.map(Weights::open).collect::<Result<Vec<_>, _>>()?;
        let names = |(file, weights): (usize, &Weights)| {
            weights.header.offset_keys().into_iter().map(move |name| (name, file))
        };
        let places = files.iter().enumerate().flat_map(names).collect();
        Ok(Self { files, places, used: BTreeSet::new() })
    }

    /// Names of all tensors, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Reads a tensor of `shape`.
    pub(crate) fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<Vec<f32>, PretrainedError> {
        let absent = || PretrainedError::NoTensor { tensor: name.to_owned() };
        let place = self.places.get(name).ok_or_else(absent)?;
        let values = self.files[*place].tensor(name, shape)?;
        if !values.iter().all(|value| value.is_finite()) {
            return Err(PretrainedError::NotFinite { tensor: name.to_owned() });
        }
        self.used.insert(name.to_owned());
        Ok(values)
    }

    /// Names of tensors that were not read, but for the numbers of positions, which older
    /// checkpoints have written out.
    pub(crate) fn unused(&self) -> Vec<String> {
        let is_unused = |name: &&str| !self.used.contains(*name) && !name.ends_with("position_ids");
        self.names().filter(is_unused).map(str::to_owned).collect()
    }
}

/// Paths of the files that have a folder's weights.
pub(crate) fn files_of_weights(folder: &Path) -> Result<Vec<PathBuf>, PretrainedError> {
    let single = folder.join(WEIGHTS);
    match (single.exists(), folder.join(INDEX).exists()) {
        (true, _) => Ok(vec![single]),
        (false, true) => Ok(shards(folder)?.iter().map(|name| folder.join(name)).collect()),
        (false, false) => {
            let other = OTHERS.into_iter().find(|name| folder.join(name).exists());
            Err(PretrainedError::NoWeights { folder: folder.to_owned(), other })
        }
    }
}

/// The files that a folder's [`INDEX`] names, in order.
pub fn shards(folder: &Path) -> Result<Vec<String>, PretrainedError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let no_index = || PretrainedError::NoFile { folder: folder.to_owned(), file: INDEX };
    let bytes = read(folder, INDEX)?.ok_or_else(no_index)?;
    let index: Index = parse(folder, INDEX, &bytes)?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    match names.iter().find(|name| name.contains(['/', '\\']) || !name.ends_with(".safetensors")) {
        Some(name) => {
            let reason = format!("names `{name}`, which is no safetensors file of the folder");
            Err(PretrainedError::File { path: folder.join(INDEX), reason })
        }
        None => Ok(names.into_iter().collect()),
    }
}

impl Weights {
    fn open(path: PathBuf) -> Result<Self, PretrainedError> {
        let io = |source| PretrainedError::Io { path: path.clone(), source };
        let mut file = File::open(&path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut length = [0; 8];
        let truncated = |expected: u64| PretrainedError::File {
            path: path.clone(),
            reason: format!("has {size} bytes and should have {expected}: it is truncated"),
        };
        if size < length.len() as u64 {
            return Err(truncated(length.len() as u64));
        }
        file.read_exact(&mut length).map_err(io)?;
        let header = u64::from_le_bytes(length);
        let broken = |reason: String| PretrainedError::File { path: path.clone(), reason };
        if header > MAX_HEADER {
            return Err(broken(format!("is no safetensors file: its header has {header} bytes")));
        }
        let start = length.len() as u64 + header;
        if size < start {
            return Err(truncated(start));
        }
        let mut bytes = vec![0; header as usize];
        file.read_exact(&mut bytes).map_err(io)?;
        let header: Metadata = serde_json::from_slice(&bytes)
            .map_err(|error| broken(format!("has a header that cannot be read: {error}")))?;
        let expected = start.saturating_add(header.data_len() as u64);
        match size.cmp(&expected) {
            std::cmp::Ordering::Less => Err(truncated(expected)),
            std::cmp::Ordering::Greater => {
                Err(broken(format!("has {size} bytes, and its header speaks of {expected}")))
            }
            std::cmp::Ordering::Equal => Ok(Self { path, file, header, start }),
        }
    }

    fn tensor(&mut self, name: &str, expected: &[usize]) -> Result<Vec<f32>, PretrainedError> {
        let absent = || PretrainedError::NoTensor { tensor: name.to_owned() };
        let info = self.header.info(name).ok_or_else(absent)?.clone();
        if info.shape != expected {
            return Err(PretrainedError::Shape {
                tensor: name.to_owned(),
                expected: expected.to_vec(),
                found: info.shape,
            });
        }
        match info.dtype {
            Dtype::F32 => self.numbers(&info, f32::from_le_bytes),
            Dtype::F16 => self.numbers(&info, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => self.numbers(&info, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            other => {
                Err(PretrainedError::DType { tensor: name.to_owned(), found: other.to_string() })
            }
        }
    }

    /// The numbers of a tensor, of `N` bytes each.
    fn numbers<const N: usize>(
        &mut self,
        info: &TensorInfo,
        convert: impl Fn([u8; N]) -> f32,
    ) -> Result<Vec<f32>, PretrainedError> {
        let (start, end) = info.data_offsets;
        let mut values = Vec::with_capacity((end - start) / N);
        let mut buffer = vec![0; CHUNK.min(end - start)];
        let mut read = || {
            self.file.seek(SeekFrom::Start(self.start + start as u64))?;
            let mut rest = end - start;
            while rest > 0 {
                let chunk = &mut buffer[..rest.min(CHUNK)];
                self.file.read_exact(chunk)?;
                values.extend(chunk.as_chunks::<N>().0.iter().map(|bytes| convert(*bytes)));
                rest -= chunk.len();
            }
            Ok(())
        };
        match read() {
            Ok(()) => Ok(values),
            Err(source) => Err(PretrainedError::Io { path: self.path.clone(), source }),
        }
    }
}
