//! Text to the tokens of a `tokenizer.json`, as Hugging Face's libraries write it.
//!
//! The file is not trusted: what it says about cutting and padding is replaced, one that would give a
//! text other tokens from time to time is refused, and where the `tokenizers` crate panics over it,
//! that is an error of the text.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use luthier_graph::{DType, Dim, Graph, Node, TensorInfo};
use serde::{Deserialize, Serialize};
use tokenizers::models::ModelWrapper;
use tokenizers::{
    PaddingDirection, PostProcessor, Tokenizer, TruncationDirection, TruncationParams,
};

use crate::PreprocessError;

/// Most tokens that a text may be cut to.
pub const MAX_LENGTH: usize = 8192;
/// Characters of a text that are looked at for each token that it may have. Few words are longer, and
/// a text without an end takes no more time than one of its length.
const CHARS_PER_TOKEN: usize = 128;
/// Names of tokens that fill up shorter texts, in those files that do not say which.
const PADS: [&str; 2] = ["[PAD]", "<pad>"];
/// Name of the unknown token where the kind of tokenizer has it under a number only.
const UNKNOWN: &str = "<unk>";

/// Turns texts into token ids.
#[derive(Clone)]
pub struct Tokens {
    settings: TokenSettings,
    /// The file that the tokenizer was read from.
    file: Arc<[u8]>,
    tokenizer: Arc<Tokenizer>,
    /// One more than the largest id that it gives.
    ids: usize,
    unknown: Option<u32>,
}

/// What there is to say about tokens besides the tokenizer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// How many tokens of a text count, those that the tokenizer adds included: 1 to [`MAX_LENGTH`].
    pub max_length: usize,
    /// Id that fills up the shorter texts of a batch; that which the tokenizer names where absent.
    pub pad: Option<u32>,
    /// The graph's inputs.
    pub inputs: TokenInputs,
}

/// Names of the graph's inputs, int64 or int32 `[batch, tokens]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenInputs {
    /// Takes the ids.
    pub ids: String,
    /// Takes 1 for each token and 0 where a text is filled up.
    pub mask: String,
    /// Takes the number of the sentence that a token is in, if the graph wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<String>,
}

/// What a text has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Number of tokens, with those around the text.
    pub len: usize,
    /// Whether the text was longer than [`TokenSettings::max_length`].
    pub cut: bool,
}

impl Default for TokenInputs {
    /// The names that transformers export with, without types.
    fn default() -> Self {
        Self { ids: "input_ids".to_owned(), mask: "attention_mask".to_owned(), types: None }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, ids, .. } = self;
        f.debug_struct("Tokens")
            .field("settings", settings)
            .field("ids", ids)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// Number of the stored form.
    pub const FORMAT: u32 = 1;

    /// Reads a `tokenizer.json`.
    pub fn new(file: Vec<u8>, mut settings: TokenSettings) -> Result<Self, PreprocessError> {
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(&file))?;
        check(&tokenizer)?;
        let added = tokenizer.get_post_processor().map_or(0, |p| p.added_tokens(false));
        if settings.max_length <= added || settings.max_length > MAX_LENGTH {
            return Err(PreprocessError::Field { field: "max_length" });
        }
        let named = tokenizer.get_padding().map(|padding| padding.pad_id);
        let named = named.or_else(|| PADS.iter().find_map(|name| tokenizer.token_to_id(name)));
        settings.pad = settings.pad.or(named).or(Some(0));
        let cut = TruncationParams { max_length: settings.max_length, ..Default::default() };
        guarded(|| tokenizer.with_truncation(Some(cut)).map(drop))?;
        tokenizer.with_padding(None);
        let vocabulary = tokenizer.get_vocab(true).into_values();
        let around = guarded(|| tokenizer.encode_fast("", true))?;
        let known = vocabulary.chain(around.get_ids().iter().copied()).chain(settings.pad);
        let largest = known.max().unwrap_or(0);
        if i32::try_from(largest).is_err() {
            return Err(refused(format!("its ids go up to {largest}")));
        }
        let unknown = unknown(&tokenizer);
        let (file, tokenizer) = (file.into(), Arc::new(tokenizer));
        Ok(Self { settings, file, tokenizer, ids: largest as usize + 1, unknown })
    }

    /// What there is to say besides the tokenizer; the padding is always named.
    pub fn settings(&self) -> &TokenSettings {
        &self.settings
    }

    /// The `tokenizer.json`.
    pub fn file(&self) -> &[u8] {
        &self.file
    }

    /// Id that fills up the shorter texts of a batch.
    pub fn pad(&self) -> u32 {
        self.settings.pad.unwrap_or(0)
    }

    /// One more than the largest id that the tokenizer gives.
    pub fn ids(&self) -> usize {
        self.ids
    }

    /// Appends the ids of `text` and the numbers of their sentences, as many of each. The end of a text
    /// that is too long is cut off.
    pub fn encode(
        &self,
        text: &str,
        ids: &mut Vec<u32>,
        types: &mut Vec<u32>,
    ) -> Result<Encoding, PreprocessError> {
        let end = text.char_indices().nth(self.settings.max_length * CHARS_PER_TOKEN);
        let head = &text[..end.map_or(text.len(), |(end, _)| end)];
        let found = guarded(|| self.tokenizer.encode_fast(head, true))?;
        ids.extend_from_slice(found.get_ids());
        types.extend_from_slice(found.get_type_ids());
        let cut = head.len() < text.len() || !found.get_overflowing().is_empty();
        Ok(Encoding { len: found.len(), cut })
    }

    /// The share of `ids` that stand for what the tokenizer does not know.
    pub fn unknown_share(&self, ids: &[u32]) -> f64 {
        let unknown = ids.iter().filter(|id| Some(**id) == self.unknown).count();
        unknown as f64 / ids.len().max(1) as f64
    }

    /// Checks that `graph` takes what the tokenizer gives, and nothing else.
    pub fn check(&self, graph: &Graph) -> Result<(), PreprocessError> {
        let TokenInputs { ids, mask, types } = &self.settings.inputs;
        let names = [Some(ids), Some(mask), types.as_ref()];
        for name in names.into_iter().flatten() {
            let input = graph.inputs.iter().find(|input| input.name == *name);
            let wrong = match input {
                Some(input) => wrong_input(input),
                None => Some(format!("is none of its inputs, which are {}", listed(&graph.inputs))),
            };
            if let Some(reason) = wrong {
                return Err(PreprocessError::Input { name: name.clone(), reason });
            }
        }
        let unfed = graph.inputs.iter().find(|input| !names.contains(&Some(&input.name)));
        if let Some(input) = unfed {
            let reason = "is an input that the tokenizer does not give".to_owned();
            return Err(PreprocessError::Input { name: input.name.clone(), reason });
        }
        let table = graph.nodes.iter().filter(|node| gathers(graph, node, ids)).find_map(|node| {
            graph.tensor(&node.inputs[0]).filter(|table| table.shape.first() < Some(&self.ids))
        });
        match table {
            Some(table) => Err(PreprocessError::Table {
                table: table.name.clone(),
                rows: table.shape.first().copied().unwrap_or(0),
                ids: self.ids,
            }),
            None => Ok(()),
        }
    }
}

/// What the input of a graph must be and is not.
fn wrong_input(input: &TensorInfo) -> Option<String> {
    if !matches!(input.dtype, DType::I32 | DType::I64) {
        return Some(format!("takes {:?}, and not whole numbers", input.dtype));
    }
    if input.shape.len() != 2 {
        return Some(format!("has {} dimensions, and not two", input.shape.len()));
    }
    let is_fixed = |dim: &Dim| matches!(dim, Dim::Fixed(_));
    input.shape.iter().any(is_fixed).then(|| {
        "has a fixed size; export the graph with sizes of batches and texts that vary".to_owned()
    })
}

/// Whether a node looks up rows of a constant by the values of `input`, or by what they are cast to.
fn gathers(graph: &Graph, node: &Node, input: &str) -> bool {
    let [table, ids] = node.inputs.as_slice() else { return false };
    let is_cast = |node: &Node| node.op == "Cast" && node.inputs[0] == input;
    node.op == "Gather"
        && graph.tensor(table).is_some_and(|table| table.shape.len() == 2)
        && (ids == input || graph.producer(ids).is_some_and(is_cast))
}

fn listed(inputs: &[TensorInfo]) -> String {
    inputs.iter().map(|input| format!("`{}`", input.name)).collect::<Vec<_>>().join(", ")
}

/// Refuses what gives other tokens from time to time, or cuts and pads at the wrong end.
fn check(tokenizer: &Tokenizer) -> Result<(), PreprocessError> {
    let is_random = match tokenizer.get_model() {
        ModelWrapper::BPE(model) => model.dropout.is_some_and(|dropout| dropout > 0.0),
        ModelWrapper::Unigram(model) => model.alpha.is_some_and(|alpha| alpha > 0.0),
        ModelWrapper::WordPiece(_) | ModelWrapper::WordLevel(_) => false,
    };
    if is_random {
        return Err(refused("it chooses tokens at random".to_owned()));
    }
    let cuts_left = tokenizer
        .get_truncation()
        .is_some_and(|truncation| truncation.direction == TruncationDirection::Left);
    let pads_left = tokenizer
        .get_padding()
        .is_some_and(|padding| matches!(padding.direction, PaddingDirection::Left));
    match cuts_left || pads_left {
        true => Err(refused("it cuts or pads texts at their beginning".to_owned())),
        false => Ok(()),
    }
}

/// The id of what is not in the vocabulary.
fn unknown(tokenizer: &Tokenizer) -> Option<u32> {
    let name = match tokenizer.get_model() {
        ModelWrapper::BPE(model) => model.unk_token.as_deref()?,
        ModelWrapper::WordPiece(model) => &model.unk_token,
        ModelWrapper::WordLevel(model) => &model.unk_token,
        ModelWrapper::Unigram(_) => UNKNOWN,
    };
    tokenizer.token_to_id(name)
}

/// What the crate gives, its panics as errors.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, PreprocessError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| refused(error.to_string())),
        Err(_) => Err(refused("it is broken".to_owned())),
    }
}

fn refused(reason: String) -> PreprocessError {
    PreprocessError::Tokenizer { reason }
}
