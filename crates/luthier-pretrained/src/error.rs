//! What can be wrong with a folder.

use std::io;
use std::path::PathBuf;

use luthier_model::PreprocessError;

/// Why a folder gives no encoder.
#[derive(Debug, thiserror::Error)]
pub enum PretrainedError {
    /// A file cannot be read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content of a file makes no sense.
    #[error("{} {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is not there.
    #[error("{} has no {file}", .folder.display())]
    NoFile {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: &'static str,
    },
    /// There are no weights that can be read safely.
    #[error("{} has no model.safetensors", .folder.display())]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// A file of weights in another format that is there.
        other: Option<&'static str>,
    },
    /// There is no tokenizer in the form of the `tokenizers` library.
    #[error("{} has no tokenizer.json", .folder.display())]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
        /// Whether there is a `vocab.txt`, of which transformers make one.
        has_words: bool,
    },
    /// The model is of another kind.
    #[error("the model is of type `{found}`, and not one of {}", .known.join(", "))]
    Type {
        /// What it is.
        found: String,
        /// What it may be.
        known: &'static [&'static str],
    },
    /// The encoder has a part that is not known here.
    #[error("`{field}` is {found} in config.json, and only {known} can be read")]
    Unsupported {
        /// The field of `config.json`.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        known: &'static str,
    },
    /// A number of the shape is absent or makes no sense.
    #[error("`{field}` in config.json {reason}")]
    Config {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor is not there.
    #[error("the weights have no tensor `{tensor}`")]
    NoTensor {
        /// Its name.
        tensor: String,
    },
    /// A tensor does not have the shape that `config.json` implies.
    #[error("tensor `{tensor}` is {found:?}, and config.json asks for {expected:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// What it should be.
        expected: Vec<usize>,
        /// What it is.
        found: Vec<usize>,
    },
    /// A tensor has elements that are not read.
    #[error("tensor `{tensor}` holds {found}, and only F32, F16 and BF16 can be read")]
    DType {
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: String,
    },
    /// A tensor has a NaN or an infinity.
    #[error("tensor `{tensor}` holds numbers that are not finite")]
    NotFinite {
        /// The tensor.
        tensor: String,
    },
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] PreprocessError),
    /// The tokenizer is of another model.
    #[error(
        "the tokenizer gives ids up to {}, and the encoder has words up to {}",
        .ids - 1, .rows - 1
    )]
    Vocabulary {
        /// One more than the largest id of the tokenizer.
        ids: usize,
        /// Words of the encoder.
        rows: usize,
    },
    /// Texts are to be longer than the encoder takes.
    #[error("texts of {asked} tokens are asked for, and the encoder takes {longest}")]
    TooLong {
        /// What was asked for.
        asked: usize,
        /// What it takes.
        longest: usize,
    },
}

impl PretrainedError {
    /// The next thing to try, where there is one.
    pub fn hint(&self) -> Option<String> {
        let transformers = |call: &str| format!("with Python's transformers: `{call}`");
        match self {
            Self::NoWeights { other: Some(_), .. } => {
                Some(transformers("AutoModel.from_pretrained(folder).save_pretrained(folder)"))
            }
            Self::NoTokenizer { .. } => {
                Some(transformers("AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"))
            }
            Self::Vocabulary { .. } => {
                Some("take the tokenizer.json that came with the weights".to_owned())
            }
            Self::File { .. } => Some("fetch the file again".to_owned()),
            Self::TooLong { longest, .. } => Some(format!("ask for at most {longest}")),
            _ => None,
        }
    }
}
