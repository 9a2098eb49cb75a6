//! The state of a training as bytes, and back.
//!
//! A checkpoint is, in little-endian numbers: [`MAGIC`], the version of the format, the number of steps
//! taken, a fingerprint of the network as it was before, the length of a note in bytes and the note, for
//! each trained tensor its values and both moments, 1 and a snapshot or 0, and a checksum of all before
//! it. Tensors that are not trained are in the fingerprint alone: who resumes has them.

use std::io::{self, Read, Write};

use rayon::prelude::*;

use crate::noise::mix;
use crate::weights::Weights;
use crate::{SequenceClassifier, Snapshot, TrainError, TrainOptions, Trainer};

/// What checkpoints begin with.
const MAGIC: [u8; 8] = *b"luthnn\0\0";

/// Of the format that is written, and the only one that is read.
const VERSION: u64 = 2;

/// Why a training cannot be resumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The bytes cannot be read, or end too early.
    #[error("the checkpoint cannot be read: {0}")]
    Read(#[from] io::Error),
    /// They are no checkpoint.
    #[error("this is no checkpoint")]
    Magic,
    /// They are in a format that is not known.
    #[error("the checkpoint has version {found}, this program reads {VERSION}")]
    Version {
        /// Its version.
        found: u64,
    },
    /// It is of another network, or of one that was trained in other parts.
    #[error("the checkpoint is of another network, or of other trained tensors")]
    Network,
    /// It has been damaged.
    #[error("the checkpoint is damaged: its checksum does not hold")]
    Checksum,
    /// The network cannot be trained like that to begin with.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// A training that goes on, and what was saved with it.
#[derive(Debug)]
pub struct Resumed {
    /// As it was.
    pub trainer: Trainer,
    /// What whoever saved it wrote beside it.
    pub note: Vec<u8>,
    /// Earlier weights that were kept.
    pub kept: Option<Snapshot>,
}

impl Trainer {
    /// Writes the state, from which [`Trainer::resume`] goes on with the same bits, with a note and
    /// earlier weights to keep.
    pub fn save(&self, note: &[u8], kept: Option<&Snapshot>, out: impl Write) -> io::Result<()> {
        let mut out = Summed { inner: out, sum: 0 };
        out.write(&MAGIC)?;
        for number in [VERSION, self.step, self.origin, note.len() as u64] {
            out.write(&number.to_le_bytes())?;
        }
        for bytes in note.chunks(8) {
            out.write(&padded(bytes))?;
        }
        let tensors = self.weights.tensors().into_iter().zip(&self.moments);
        for ((_, values), moments) in tensors.filter(|(_, moments)| !moments.first.is_empty()) {
            for numbers in [values, &moments.first, &moments.second] {
                out.write_numbers(numbers)?;
            }
        }
        out.write(&u64::from(kept.is_some()).to_le_bytes())?;
        for numbers in kept.into_iter().flat_map(|kept| &kept.0) {
            out.write_numbers(numbers)?;
        }
        let sum = out.sum;
        out.inner.write_all(&sum.to_le_bytes())?;
        out.inner.flush()
    }

    /// Goes on where [`Trainer::save`] has left off, given the network as it was before training.
    pub fn resume(
        model: SequenceClassifier,
        options: TrainOptions,
        input: impl Read,
    ) -> Result<Resumed, CheckpointError> {
        let mut trainer = Self::new(model, options)?;
        let mut input = Summed { inner: input, sum: 0 };
        if input.read()? != MAGIC {
            return Err(CheckpointError::Magic);
        }
        let found = u64::from_le_bytes(input.read()?);
        if found != VERSION {
            return Err(CheckpointError::Version { found });
        }
        trainer.step = u64::from_le_bytes(input.read()?);
        if u64::from_le_bytes(input.read()?) != trainer.origin {
            return Err(CheckpointError::Network);
        }
        let length = u64::from_le_bytes(input.read()?);
        let mut note = Vec::new();
        // It grows as bytes come, since the length may be a lie.
        for _ in 0..length.div_ceil(8) {
            note.extend(input.read()?);
        }
        note.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        let tensors = trainer.weights.tensors_mut().into_iter().zip(&mut trainer.moments);
        for ((_, values), moments) in tensors.filter(|(_, moments)| !moments.first.is_empty()) {
            for numbers in [values, &mut moments.first, &mut moments.second] {
                input.read_numbers(numbers)?;
            }
        }
        let mut kept = (u64::from_le_bytes(input.read()?) == 1).then(|| trainer.snapshot());
        for numbers in kept.iter_mut().flat_map(|kept| &mut kept.0) {
            input.read_numbers(numbers)?;
        }
        let sum = input.sum;
        if u64::from_le_bytes(input.read()?) != sum {
            return Err(CheckpointError::Checksum);
        }
        trainer.revive_words();
        Ok(Resumed { trainer, note, kept })
    }
}

impl Weights {
    /// Follows from the names, sizes and numbers of all tensors and from which are `trained`.
    pub(crate) fn fingerprint(&self, trained: impl Fn(usize) -> bool) -> u64 {
        self.tensors().into_iter().enumerate().fold(0, |sum, (index, (place, values))| {
            let facts = format!("{place} {} {}", values.len(), trained(index));
            let sum = facts.bytes().fold(sum, |sum, byte| mix(sum ^ u64::from(byte)));
            let parts = values.par_chunks(CHUNK).map(|values| fold(0, values));
            let parts: Vec<u64> = parts.collect();
            parts.into_iter().fold(sum, |sum, part| mix(sum ^ part))
        })
    }
}

/// Eight bytes, zeros behind those that there are.
fn padded(bytes: &[u8]) -> [u8; 8] {
    std::array::from_fn(|index| bytes.get(index).copied().unwrap_or(0))
}

fn fold(sum: u64, numbers: &[f32]) -> u64 {
    numbers.iter().fold(sum, |sum, number| mix(sum ^ u64::from(number.to_bits())))
}

/// A stream with a checksum of what has gone through it.
struct Summed<S> {
    inner: S,
    sum: u64,
}

/// Numbers that are turned to bytes together.
const CHUNK: usize = 1 << 14;

impl<W: Write> Summed<W> {
    fn write(&mut self, bytes: &[u8; 8]) -> io::Result<()> {
        self.sum = mix(self.sum ^ u64::from_le_bytes(*bytes));
        self.inner.write_all(bytes)
    }

    fn write_numbers(&mut self, numbers: &[f32]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(4 * CHUNK);
        for numbers in numbers.chunks(CHUNK) {
            self.sum = fold(self.sum, numbers);
            bytes.clear();
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            self.inner.write_all(&bytes)?;
        }
        Ok(())
    }
}

impl<R: Read> Summed<R> {
    fn read(&mut self) -> io::Result<[u8; 8]> {
        let mut bytes = [0; 8];
        self.inner.read_exact(&mut bytes)?;
        self.sum = mix(self.sum ^ u64::from_le_bytes(bytes));
        Ok(bytes)
    }

    fn read_numbers(&mut self, numbers: &mut [f32]) -> io::Result<()> {
        let mut bytes = vec![0; 4 * CHUNK];
        for numbers in numbers.chunks_mut(CHUNK) {
            let bytes = &mut bytes[..4 * numbers.len()];
            self.inner.read_exact(bytes)?;
            for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
                *number = f32::from_le_bytes(*bytes);
            }
            self.sum = fold(self.sum, numbers);
        }
        Ok(())
    }
}
