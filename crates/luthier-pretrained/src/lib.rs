//! Encoders that others trained, read from Hugging Face folders.
//!
//! Start from [`Pretrained::open`]: a folder with `config.json`, `model.safetensors` (or its shards
//! under `model.safetensors.index.json`) and `tokenizer.json` in, an [`Encoder`] and its [`Tokens`]
//! out. BERT (MiniLM too), DistilBERT, RoBERTa, XLM-R and CamemBERT are read, whatever head they
//! were saved with; heads are left aside and named.
//!
//! Nothing in a folder is trusted: sizes come from the header of the weights only after the file
//! turned out to be that long, every tensor must have the shape that `config.json` implies, and
//! paths do not lead out of the folder. Weights go from the file into the encoder's own buffers,
//! without a second copy. Pickled checkpoints are never opened, since they can run code.

mod checkpoint;
mod config;
mod error;
mod layout;

use std::fs;
use std::io::Read;
use std::path::Path;

use luthier_model::{MAX_LENGTH, TokenInputs, TokenSettings, Tokens};
use luthier_nn::{Encoder, EncoderConfig};
use serde::Deserialize;
use sha2::{Digest, Sha256};

pub use checkpoint::{INDEX, WEIGHTS, shards};
pub use error::PretrainedError;

use checkpoint::Checkpoint;
use config::{CONFIG, Config};

/// Name of the file that holds the tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// Name of the file that may say how long texts may be.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The files of a folder beside its weights, with whether one may be absent.
pub const FILES: [(&str, bool); 3] =
    [(CONFIG, false), (TOKENIZER, false), (TOKENIZER_CONFIG, true)];

/// Most bytes of a file that is read whole; the largest tokenizers have a tenth of it.
const MAX_FILE: u64 = 256 << 20;

/// An encoder that was trained before, with its tokenizer.
#[derive(Debug, Clone)]
pub struct Pretrained {
    /// The encoder.
    pub encoder: Encoder,
    /// Turns texts into tokens, cut to the longest that the encoder takes.
    pub tokens: Tokens,
    /// Tensors of the checkpoint that are no part of the encoder, such as those of a head.
    pub unused: Vec<String>,
}

impl Pretrained {
    /// Reads a folder.
    pub fn open(folder: &Path) -> Result<Self, PretrainedError> {
        let config = Config::read(folder)?;
        let tokens = read_tokens(folder, &config)?;
        let mut checkpoint = Checkpoint::open(folder)?;
        let encoder = layout::read(&mut checkpoint, &config)?;
        Ok(Self { encoder, tokens, unused: checkpoint.unused() })
    }

    /// The shape of a folder's encoder, without its weights.
    pub fn config(folder: &Path) -> Result<EncoderConfig, PretrainedError> {
        Config::read(folder).map(|config| config.encoder)
    }

    /// SHA-256 of all files of a folder that an encoder and its tokens are read from, in hex.
    pub fn digest(folder: &Path) -> Result<String, PretrainedError> {
        let mut paths = checkpoint::files_of_weights(folder)?;
        paths.extend(FILES.map(|(name, _)| folder.join(name)).into_iter().filter(|p| p.exists()));
        let (mut sha, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
        for path in paths {
            let io = |source| PretrainedError::Io { path: path.clone(), source };
            // Files that are cut elsewhere are others, though they have the same bytes in a row.
            sha.update(fs::metadata(&path).map_err(io)?.len().to_le_bytes());
            let mut file = fs::File::open(&path).map_err(io)?;
            loop {
                match file.read(&mut buffer).map_err(io)? {
                    0 => break,
                    read => sha.update(&buffer[..read]),
                }
            }
        }
        Ok(sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The same tokens, cut to `max_length` for each text.
    pub fn tokens(&self, max_length: usize) -> Result<Tokens, PretrainedError> {
        let mut settings = self.tokens.settings().clone();
        if max_length > settings.max_length {
            let longest = settings.max_length;
            return Err(PretrainedError::TooLong { asked: max_length, longest });
        }
        settings.max_length = max_length;
        Ok(Tokens::new(self.tokens.file().to_vec(), settings)?)
    }
}

fn read_tokens(folder: &Path, config: &Config) -> Result<Tokens, PretrainedError> {
    let file = read(folder, TOKENIZER)?.ok_or_else(|| PretrainedError::NoTokenizer {
        folder: folder.to_owned(),
        has_words: folder.join("vocab.txt").exists(),
    })?;
    let longest = config.encoder.longest().min(MAX_LENGTH);
    let settings = TokenSettings {
        max_length: longest.min(named_length(folder)?.unwrap_or(longest)),
        pad: config.pad,
        inputs: TokenInputs::default(),
    };
    let tokens = Tokens::new(file, settings)?;
    let (ids, rows) = (tokens.ids(), config.encoder.vocabulary);
    match ids > rows {
        true => Err(PretrainedError::Vocabulary { ids, rows }),
        false => Ok(tokens),
    }
}

/// How many tokens a text may have, as `tokenizer_config.json` says; it may be absent or say
/// nothing, which some write as 1e30.
fn named_length(folder: &Path) -> Result<Option<usize>, PretrainedError> {
    #[derive(Deserialize)]
    struct Form {
        model_max_length: Option<f64>,
    }
    let Some(bytes) = read(folder, TOKENIZER_CONFIG)? else { return Ok(None) };
    let form: Form = parse(folder, TOKENIZER_CONFIG, &bytes)?;
    let length = form.model_max_length.filter(|length| (1.0..=MAX_LENGTH as f64).contains(length));
    Ok(length.map(|length| length as usize))
}

/// A file of a folder, if it is there.
fn read(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, PretrainedError> {
    let path = folder.join(name);
    let size = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PretrainedError::Io { path, source }),
    };
    if size > MAX_FILE {
        let reason = format!("has {size} bytes, and more than {MAX_FILE} are not read");
        return Err(PretrainedError::File { path, reason });
    }
    fs::read(&path).map(Some).map_err(|source| PretrainedError::Io { path, source })
}

fn parse<'de, T: Deserialize<'de>>(
    folder: &Path,
    name: &str,
    bytes: &'de [u8],
) -> Result<T, PretrainedError> {
    serde_json::from_slice(bytes).map_err(|error| PretrainedError::File {
        path: folder.join(name),
        reason: format!("cannot be read: {error}"),
    })
}

#[cfg(test)]
mod tests;
