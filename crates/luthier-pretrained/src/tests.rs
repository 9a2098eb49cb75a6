use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use luthier_nn::Activation;
use luthier_test::Scratch;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::checkpoint::Checkpoint;
use crate::{Pretrained, PretrainedError, WEIGHTS};

fn fixture(layout: &str) -> PathBuf {
    Path::new("tests/fixtures").join(layout)
}

/// A tensor of a file: element type, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A copy of a fixture that can be spoilt.
struct Copy(Scratch);

impl Copy {
    fn of(layout: &str) -> Self {
        let scratch = Scratch::new();
        for entry in fs::read_dir(fixture(layout)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, scratch.path().join(path.file_name().unwrap())).unwrap();
        }
        Self(scratch)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn remove(self, name: &str) -> Self {
        fs::remove_file(self.path(name)).unwrap();
        self
    }

    fn write(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    fn json(self, name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let mut value = serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap();
        change(&mut value);
        self.write(name, value.to_string())
    }

    /// Sets a field of `config.json`.
    fn set(self, field: &str, value: impl Into<Value>) -> Self {
        self.json("config.json", |config| config[field] = value.into())
    }

    fn bytes(self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = fs::read(self.path(WEIGHTS)).unwrap();
        change(&mut bytes);
        self.write(WEIGHTS, bytes)
    }

    fn tensors(self, change: impl FnOnce(&mut Tensors)) -> Self {
        let bytes = fs::read(self.path(WEIGHTS)).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        let part = |(name, tensor): (String, TensorView<'_>)| {
            (name, (tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec()))
        };
        let mut tensors: Tensors = read.tensors().into_iter().map(part).collect();
        change(&mut tensors);
        let views = tensors.iter().map(|(name, (dtype, shape, data))| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        let written = safetensors::serialize(views, None).unwrap();
        self.write(WEIGHTS, written)
    }

    fn open(&self) -> Result<Pretrained, PretrainedError> {
        Pretrained::open(self.0.path())
    }

    /// What is said of it, without the folder.
    #[track_caller]
    fn error(&self) -> String {
        let error = self.open().expect_err("it is spoilt");
        error.to_string().replace(&self.0.path().display().to_string(), "FOLDER")
    }
}

const WORDS: &str = "bert.embeddings.word_embeddings.weight";

#[test]
fn every_layout_is_read() {
    let open = |layout| Pretrained::open(&fixture(layout)).unwrap();
    let bert = open("bert");
    let config = &bert.encoder.config;
    assert_eq!((config.vocabulary, config.hidden, config.layers, config.heads), (72, 12, 2, 3));
    assert_eq!((config.longest(), config.types, bert.tokens.pad()), (40, 2, 0));
    assert_eq!(config.activation, Activation::Gelu);
    assert_eq!(bert.encoder.words.len(), 72 * 12);
    assert!(bert.unused.iter().all(|name| name.starts_with("cls.")), "{:?}", bert.unused);
    assert!(!bert.unused.is_empty());

    let distilbert = open("distilbert");
    assert_eq!(distilbert.encoder.config.types, 0);
    assert_eq!(distilbert.encoder.config.activation, Activation::Relu);
    assert_eq!(distilbert.unused, Vec::<String>::new());

    let roberta = open("roberta");
    assert_eq!((roberta.encoder.config.first_position, roberta.tokens.pad()), (2, 1));
    assert_eq!(roberta.tokens.settings().max_length, 148);
    assert!(roberta.unused.iter().all(|name| name.starts_with("classifier.")));

    assert_eq!(open("xlm-roberta").encoder.config.activation, Activation::GeluTanh);
}

#[test]
fn a_folder_tells_its_shape_without_weights() {
    let copy = Copy::of("bert").remove(WEIGHTS);
    let config = Pretrained::config(copy.0.path()).unwrap();
    assert_eq!(config, Pretrained::open(&fixture("bert")).unwrap().encoder.config);
}

#[test]
fn the_first_names_of_norms_are_known() {
    let old = |name: String| match name.strip_suffix("LayerNorm.weight") {
        Some(rest) => format!("{rest}LayerNorm.gamma"),
        None => name.replace("LayerNorm.bias", "LayerNorm.beta"),
    };
    let copy = Copy::of("bert").tensors(|tensors| {
        *tensors = std::mem::take(tensors).into_iter().map(|(name, t)| (old(name), t)).collect();
    });
    assert_eq!(copy.open().unwrap().encoder, Pretrained::open(&fixture("bert")).unwrap().encoder);
}

#[test]
fn halves_become_floats() {
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let expected = Pretrained::open(&fixture("bert")).unwrap().encoder.words;
    for (dtype, tolerance) in [(Dtype::F16, 1e-3), (Dtype::BF16, 1e-2)] {
        let halves = |value: f32| match dtype {
            Dtype::F16 => f16::from_f32(value).to_le_bytes(),
            _ => bf16::from_f32(value).to_le_bytes(),
        };
        let copy = Copy::of("bert").tensors(|tensors| {
            for (kind, _, data) in tensors.values_mut() {
                *kind = dtype;
                *data = floats(data).into_iter().flat_map(halves).collect();
            }
        });
        let found = copy.open().unwrap().encoder.words;
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= tolerance * expected.abs(), "{found} {expected}");
        }
    }
}

#[test]
fn texts_are_cut_where_it_is_asked_for() {
    let bert = Pretrained::open(&fixture("bert")).unwrap();
    assert_eq!(bert.tokens(8).unwrap().settings().max_length, 8);
    let error = bert.tokens(41).unwrap_err();
    assert_eq!(error.to_string(), "texts of 41 tokens are asked for, and the encoder takes 40");
    let named = |length: Value| {
        let config = json!({ "model_max_length": length }).to_string();
        let copy = Copy::of("bert").write("tokenizer_config.json", config);
        copy.open().unwrap().tokens.settings().max_length
    };
    assert_eq!(named(json!(16)), 16);
    assert_eq!(named(json!(1e30)), 40);
    assert_eq!(named(Value::Null), 40);
}

#[test]
fn spoilt_weights_are_named() {
    let check = |copy: Copy, expected: &str| assert_eq!(copy.error(), expected);
    let bert = || Copy::of("bert");
    check(
        bert().set("vocab_size", 80),
        &format!("tensor `{WORDS}` is [72, 12], and config.json asks for [80, 12]"),
    );
    check(
        bert().tensors(|tensors| drop(tensors.remove(WORDS))),
        "the weights have no tensor `embeddings.word_embeddings.weight`",
    );
    check(
        bert().set("num_hidden_layers", 3),
        "the weights have no tensor `bert.encoder.layer.2.attention.self.query.weight`",
    );
    check(
        bert().tensors(|tensors| tensors.get_mut(WORDS).unwrap().0 = Dtype::I32),
        &format!("tensor `{WORDS}` holds I32, and only F32, F16 and BF16 can be read"),
    );
    check(
        bert().tensors(|tensors| {
            tensors.get_mut(WORDS).unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        }),
        &format!("tensor `{WORDS}` holds numbers that are not finite"),
    );
    let size = fs::metadata(fixture("bert").join(WEIGHTS)).unwrap().len();
    check(
        bert().bytes(|bytes| bytes.truncate(bytes.len() - 10)),
        &format!(
            "FOLDER/{WEIGHTS} has {} bytes and should have {size}: it is truncated",
            size - 10
        ),
    );
    check(
        bert().bytes(|bytes| bytes.truncate(100)),
        "FOLDER/model.safetensors has 100 bytes and should have 4432: it is truncated",
    );
    check(
        bert().bytes(Vec::clear),
        "FOLDER/model.safetensors has 0 bytes and should have 8: it is truncated",
    );
    check(
        bert().bytes(|bytes| bytes.push(0)),
        &format!("FOLDER/{WEIGHTS} has {} bytes, and its header speaks of {size}", size + 1),
    );
    check(
        bert().bytes(|bytes| bytes[..8].fill(0xff)),
        "FOLDER/model.safetensors is no safetensors file: its header has 18446744073709551615 bytes",
    );
    let lies = bert().bytes(|bytes| {
        let at = bytes.windows(8).position(|part| part == b"[72,12],").unwrap();
        bytes[at + 1..at + 3].copy_from_slice(b"99");
    });
    assert!(lies.error().contains("has a header that cannot be read"), "{}", lies.error());
}

/// Whatever a byte of the header's first entries is turned into, the file opens or is refused.
#[test]
fn no_header_makes_it_panic() {
    let copy = Copy::of("distilbert");
    let bytes = fs::read(copy.path(WEIGHTS)).unwrap();
    for at in 0..500 {
        let mut spoilt = bytes.clone();
        spoilt[at] ^= 0x11;
        fs::write(copy.path(WEIGHTS), spoilt).unwrap();
        if let Ok(mut checkpoint) = Checkpoint::open(copy.0.path()) {
            let _ = checkpoint.tensor("embeddings.word_embeddings.weight", &[72, 12]);
        }
    }
}

#[test]
fn other_models_are_refused() {
    let check = |copy: Copy, expected: &str| assert_eq!(copy.error(), expected);
    let bert = || Copy::of("bert");
    check(
        bert().set("model_type", "gpt2"),
        "the model is of type `gpt2`, and not one of bert, distilbert, roberta, xlm-roberta, camembert",
    );
    check(
        bert().set("position_embedding_type", "relative_key"),
        "`position_embedding_type` is relative_key in config.json, and only absolute can be read",
    );
    check(
        bert().set("hidden_act", "silu"),
        "`hidden_act` is `silu` in config.json, and only gelu, gelu_new and relu can be read",
    );
    check(
        bert().set("is_decoder", true),
        "`is_decoder` is true in config.json, and only encoders can be read",
    );
    check(
        bert().set("num_attention_heads", 5),
        "`num_attention_heads` in config.json is 5, which does not divide 12, the hidden size",
    );
    check(
        bert().set("vocab_size", -1),
        "`vocab_size` in config.json is -1, and not a whole number from 1",
    );
    check(bert().set("hidden_size", Value::Null), "`hidden_size` in config.json is absent");
    check(
        Copy::of("roberta").set("max_position_embeddings", 2),
        "`max_position_embeddings` in config.json is 2, and the first token has position 2",
    );
    check(bert().remove("config.json"), "FOLDER has no config.json");
    let cut = bert().write("config.json", "{\"model_type\": \"be");
    assert!(cut.error().starts_with("FOLDER/config.json cannot be read: EOF"), "{}", cut.error());
}

#[test]
fn what_is_missing_comes_with_advice() {
    let pickled = Copy::of("bert").remove(WEIGHTS).write("pytorch_model.bin", "");
    let error = pickled.open().unwrap_err();
    assert!(matches!(error, PretrainedError::NoWeights { other: Some("pytorch_model.bin"), .. }));
    assert!(error.hint().unwrap().contains("AutoModel"));
    let words = Copy::of("bert").remove("tokenizer.json").write("vocab.txt", "[PAD]\n");
    let error = words.open().unwrap_err();
    assert!(matches!(error, PretrainedError::NoTokenizer { has_words: true, .. }));
    assert!(error.hint().unwrap().contains("AutoTokenizer"));
    let outside = Copy::of("roberta").json("model.safetensors.index.json", |index| {
        index["weight_map"]["x"] = "../secret.safetensors".into();
    });
    assert_eq!(
        outside.error(),
        "FOLDER/model.safetensors.index.json names `../secret.safetensors`, which is no safetensors \
         file of the folder"
    );
    let lost = Copy::of("roberta").remove("model-00002-of-00003.safetensors");
    assert!(lost.error().starts_with("FOLDER/model-00002-of-00003.safetensors: No such file"));
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let tokenizer = fs::read(fixture("roberta").join("tokenizer.json")).unwrap();
    let copy = Copy::of("bert").write("tokenizer.json", tokenizer);
    assert_eq!(
        copy.error(),
        "the tokenizer gives ids up to 265, and the encoder has words up to 71"
    );
}
