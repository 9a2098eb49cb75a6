//! The model that a program leaves, taken further: a graph with its tokenizer, from the files in its
//! trial's folder. None of them is trusted.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use luthier_bundle::{Bundle, PredictScratch, Predictor, Probe, ProbeRow, sha256_hex};
use luthier_engine::Threads;
use luthier_graph::{ExternalData, Graph};
use luthier_model::{
    ClassOutput, Decision, Gives, Model, Preprocess, PreprocessError, TokenInputs, TokenSettings,
    Tokens,
};
use serde::Deserialize;

use super::predictions;
use crate::failure::Failure;
use crate::job::Job;
use crate::stages::calibrate::{Calibrated, Found};
use crate::stages::folder::key;
use crate::stages::held_out::HeldOut;
use crate::stages::inputs::Inputs;
use crate::stages::measure::{Answers, answer};
use crate::stages::train::{PROBES, Trained, decides, draft, valid_score};
use crate::stages::tune::Tuned;
use crate::stages::{Prepared, RunFolder};
use crate::term::{Reporter, size};

/// The graph.
const GRAPH: &str = "model.onnx";
/// What there is to say about it.
const SIGNATURE: &str = "model.json";
/// Most bytes of a file.
const MAX_BYTES: u64 = 2 << 30;
/// Input that a graph may have besides those that it must.
const TYPES: &str = "token_type_ids";
/// How far the probabilities of a row may be from 1 in sum.
const ROUNDING: f32 = 1e-3;
/// How far the engine's probabilities may be from the program's without a word.
const DIFFERENCE: f32 = 1e-3;

/// `model.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureForm {
    /// Name of the tokenizer's file.
    tokenizer: String,
    max_length: usize,
    #[serde(default)]
    pad_id: Option<u32>,
    #[serde(default)]
    inputs: Option<TokenInputs>,
    output: OutputForm,
    /// The classes in the order of the output.
    labels: Vec<String>,
}

/// What the graph gives.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputForm {
    name: String,
    gives: Gives,
}

/// The folder of a program's trial.
struct TrialFolder(PathBuf);

/// Writes the bundle `model` from what the best trial's program has left; `None` where that is no
/// model.
pub(in crate::stages) fn adopt(
    job: &Job,
    prepared: &Prepared<'_>,
    tuned: &Tuned,
    folder: &mut RunFolder,
    reporter: &Reporter,
) -> Result<Option<Trained>, Failure> {
    let number = tuned.best.number;
    let Some(left) = TrialFolder::with_model(folder, number) else { return Ok(None) };
    if prepared.dataset.folds() > 0 {
        let message = "a program's model cannot be finished over folds";
        return Err(Failure::input(message).hint("give validation rows in place of `data.folds`"));
    }
    let (model, digest) = left.model(&prepared.decision)?;
    let route = serde_json::to_string(&job.route).unwrap_or_default();
    let deciding = format!("{:?}", job.objective.deciding);
    let trial = number.to_string();
    let key = key(&["model", &tuned.key, &trial, &digest, &job.name, &route, &deciding]);
    let path = folder.join("model");
    if folder.finished("model", &key)
        && let Ok(bundle) = Bundle::open(&path)
    {
        return Ok(Some(Trained { bundle, folds: Vec::new(), key }));
    }
    let held_out = HeldOut::of(prepared)?;
    let adopted = Adopted::of(model, &left, prepared, &held_out)?;
    if let Some(warning) = left.differs(&adopted.raw, prepared.dataset.labels())? {
        reporter.line("", &format!("warning: {warning}"));
    }
    let score = valid_score(prepared, &held_out, adopted.answers)?;
    let text = format!("valid {} {:.4}", prepared.data.metric, score.value);
    let mut draft = draft(job, prepared, tuned, (adopted.model, adopted.probes, score));
    adopted.found.put(&mut draft.documents);
    let bundle = draft.write(&path)?;
    folder.finish("model", &key)?;
    let size = size(bundle.size_bytes());
    reporter
        .line("model", &format!("{GRAPH} of trial {number}: {text}, {size}{}", decides(&bundle)));
    Ok(Some(Trained { bundle, folds: Vec::new(), key }))
}

/// A model that has answered the rows that were held out, and was calibrated on them.
struct Adopted {
    model: Model,
    /// Probabilities as the graph gave them.
    raw: Vec<f32>,
    /// What callers are given.
    answers: Answers,
    found: Found,
    probes: Vec<Probe>,
}

impl Adopted {
    fn of(
        mut model: Model,
        left: &TrialFolder,
        prepared: &Prepared<'_>,
        held_out: &HeldOut,
    ) -> Result<Self, Failure> {
        let (threads, classes) = (Threads::new(1), model.decision.outputs());
        let answers = |model: &Model, texts: &Inputs| {
            let predictor = Predictor::new(model.clone(), &threads);
            let answers = predictor.map_err(Failure::from).and_then(|predictor| {
                threads.run(|| texts.answer(&predictor, &mut PredictScratch::default()))
            });
            answers.map_err(|failure| left.wrong(GRAPH, failure.message))
        };
        let raw = answers(&model, &held_out.inputs)?;
        // Nothing may be asked, and is answered with something.
        let empty = answers(&model, &Inputs::Texts(vec![String::new()]))?;
        let rows = raw.chunks_exact(classes).chain(empty.chunks_exact(classes));
        let bad = rows.clone().position(|row| {
            let sum: f32 = row.iter().sum();
            row.iter().any(|p| *p < 0.0) || sum.is_nan() || (sum - 1.0).abs() > ROUNDING
        });
        if let Some(row) = bad {
            let row = match held_out.truth.len() == row {
                true => "an empty text".to_owned(),
                false => format!("validation row {}", row + 1),
            };
            let reason = format!("it does not give probabilities for {row}");
            return Err(left.wrong(GRAPH, reason));
        }
        let calibrated = Calibrated::on(prepared, &held_out.truth, &raw)?;
        calibrated.set(&mut model)?;
        let Inputs::Texts(texts) = held_out.inputs.at(0..held_out.truth.len().min(PROBES)) else {
            return Err(left.wrong(GRAPH, "it is not of texts"));
        };
        let predictor = Predictor::new(model.clone(), &threads)?;
        let mut scratch = PredictScratch::default();
        let probe = |text| predictor.probe(ProbeRow::Text(text), &mut scratch);
        let probes = texts.into_iter().map(probe).collect::<Result<_, _>>()?;
        let answers = answer(&predictor, &held_out.inputs)?;
        Ok(Self { model, raw, answers, found: calibrated.found, probes })
    }
}

impl TrialFolder {
    /// The folder that the trial has left a model in: of this run, or of a worker at its study.
    fn with_model(run: &RunFolder, trial: u64) -> Option<Self> {
        let workers = fs::read_dir(run.join("workers")).into_iter().flatten().flatten();
        let mut runs: Vec<PathBuf> = workers.map(|entry| entry.path()).collect();
        runs.sort();
        runs.insert(0, run.join(""));
        let folders = runs.iter().map(|run| run.join("trials").join(trial.to_string()));
        folders.map(Self).find(|folder| folder.0.join(GRAPH).exists())
    }

    /// The model with a digest of its files.
    fn model(&self, decision: &Decision) -> Result<(Model, String), Failure> {
        let signature = self.read(SIGNATURE)?;
        let form: SignatureForm =
            serde_json::from_slice(&signature).map_err(|error| self.wrong(SIGNATURE, error))?;
        let onnx = self.read(GRAPH)?;
        let mut digests = vec![sha256_hex(&signature), sha256_hex(&onnx)];
        let graph = Graph::from_onnx_with(&onnx, &mut |external| {
            let data = self.external(external)?;
            digests.push(sha256_hex(&data));
            Ok(data)
        });
        let graph = graph.map_err(|error| self.wrong(GRAPH, error))?;
        let tokenizer = self.read(&form.tokenizer)?;
        digests.push(sha256_hex(&tokenizer));
        let has_types = graph.inputs.iter().any(|input| input.name == TYPES);
        let inputs = form.inputs.unwrap_or_else(|| TokenInputs {
            types: has_types.then(|| TYPES.to_owned()),
            ..TokenInputs::default()
        });
        let settings = TokenSettings { max_length: form.max_length, pad: form.pad_id, inputs };
        let tokens = Tokens::new(tokenizer, settings).map_err(|error| match error {
            PreprocessError::Field { .. } => self.wrong(SIGNATURE, error),
            error => self.wrong(&form.tokenizer, error),
        })?;
        let OutputForm { name, gives } = form.output;
        let output = ClassOutput { name, gives, labels: form.labels };
        let Decision::Class(decision) = decision else {
            return Err(self.wrong(GRAPH, "it gives classes, and labels are numbers"));
        };
        let model = Model::import(graph, Preprocess::Tokens(tokens), &output, decision.clone())
            .map_err(|error| self.wrong(GRAPH, error))?;
        Ok((model, sha256_hex(digests.concat().as_bytes())))
    }

    /// How the program's own answers to the validation rows, if it has left them, are other than
    /// those of the engine.
    fn differs(&self, found: &[f32], labels: &[String]) -> Result<Option<String>, Failure> {
        let Some(path) = predictions::find(&self.0).map_err(Failure::input)? else {
            return Ok(None);
        };
        let own = predictions::read(&path, labels, found.len() / labels.len())
            .map_err(Failure::input)?
            .probabilities;
        let pairs = own.iter().flatten().zip(found).map(|(own, found)| (own - found).abs());
        let worst = pairs.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        Ok(worst.filter(|(_, difference)| *difference > DIFFERENCE).map(|(place, difference)| {
            format!(
                "{}: the probabilities of {GRAPH} are up to {difference:.4} from these, most in \
                 validation row {}",
                path.display(),
                place / labels.len() + 1
            )
        }))
    }

    /// Reads a file of the folder.
    fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let all = ExternalData { location: name.to_owned(), offset: 0, length: None };
        self.external(&all).map_err(|reason| self.wrong(name, format!("it {reason}")))
    }

    /// Reads a part of a file of the folder, or says what it is or does that it must not.
    fn external(&self, part: &ExternalData) -> Result<Vec<u8>, String> {
        let name = &part.location;
        let mut components = Path::new(name).components();
        let is_plain = matches!(components.next(), Some(Component::Normal(_)));
        if !is_plain || components.next().is_some() {
            return Err(format!("leads out of the trial's folder: `{name}`"));
        }
        let path = self.0.join(name);
        let failed = |error: std::io::Error| format!("cannot be read from `{name}`: {error}");
        let meta = fs::symlink_metadata(&path).map_err(failed)?;
        if !meta.is_file() {
            return Err(format!("cannot be read from `{name}`: it is no plain file"));
        }
        let rest = meta.len().saturating_sub(part.offset);
        let length = part.length.unwrap_or(rest);
        if length > rest {
            return Err(format!("ends outside of `{name}`, which has {} bytes", meta.len()));
        }
        if length > MAX_BYTES {
            return Err(format!("has {length} bytes; {MAX_BYTES} are the most"));
        }
        let mut file = File::open(&path).map_err(failed)?;
        file.seek(SeekFrom::Start(part.offset)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// What is wrong with a file of the folder.
    fn wrong(&self, name: &str, reason: impl Display) -> Failure {
        Failure::input(format!("{}: {reason}", self.0.join(name).display()))
    }
}
