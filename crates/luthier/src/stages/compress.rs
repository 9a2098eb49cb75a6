//! The trained model made smaller, every candidate judged as the file that would be served.

use std::sync::atomic::{AtomicBool, Ordering};

use luthier_bundle::{Bundle, Draft, PredictScratch, Predictor, ProbeRow};
use luthier_compress::{Candidate, Judgement, Recipe, Step, Verdict, search};
use luthier_data::{Dataset, Part, Selection};
use luthier_engine::Threads;
use luthier_eval::{
    Bootstrap, CalibrationMethod, Metric, NonInferiorityVerdict, Predictions, compare,
    non_inferiority,
};
use luthier_model::{Model, Preprocess, Scratch};
use serde::{Deserialize, Serialize};

use super::calibrate::{Calibrated, Found};
use super::folder::key;
use super::held_out::{self, HeldOut, answering};
use super::measure::{Answers, TIMED_ROWS, binary, latency, some_rows};
use super::train::{Trained, open_folds, valid_score, write_folds};
use super::tune::interrupted;
use super::{Prepared, RunFolder};
use crate::failure::Failure;
use crate::job::Job;
use crate::term::{Reporter, milliseconds, size};

/// The model to finish, and what was tried.
pub(super) struct Compressed {
    pub(super) bundle: Bundle,
    /// The models of the folds, changed in the same way, if there are folds.
    pub(super) folds: Vec<Bundle>,
    pub(super) key: String,
    pub(super) search: Search,
}

/// What the search for a smaller model found; kept beside the bundle, since it holds times.
#[derive(Serialize, Deserialize)]
pub(super) struct Search {
    pub(super) candidates: Vec<Candidate>,
    pub(super) chosen: usize,
}

/// How many candidates a search tries, about.
const CANDIDATES: u64 = 8;

/// How much the log loss may rise, as a share of `max_drop`. It sees every row move, where scores
/// of decisions see only those that change sides, so that a candidate that was lucky on the few
/// rows in between is not chosen for its luck.
const LOG_LOSS_SHARE: f64 = 0.25;

/// Judges candidates on the rows that were held out.
struct Judge<'a> {
    job: &'a Job,
    prepared: &'a Prepared<'a>,
    metric: Metric,
    draft: Draft,
    folder: &'a RunFolder,
    threads: Threads,
    held_out: HeldOut,
    /// Rows as callers give them.
    timed: Vec<ProbeRow>,
    /// The models of the folds as trained, with what [`usage`] says of them.
    folds: Vec<(Model, Vec<u32>)>,
    positive: Option<usize>,
    baseline: Option<Predictions>,
}

/// A candidate: the model that would be served, and those of the folds changed in the same way.
struct Changed {
    model: Model,
    folds: Vec<Model>,
    /// How they were calibrated, where anything was changed.
    found: Option<Found>,
}

impl Changed {
    /// Those that answer the rows that were held out.
    fn answering(&self) -> &[Model] {
        answering(&self.model, &self.folds)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Model> {
        std::iter::once(&mut self.model).chain(&mut self.folds)
    }
}

/// Writes the bundle `compressed` and `compression.json`.
pub(super) fn compress(
    job: &Job,
    prepared: &Prepared<'_>,
    trained: &Trained,
    folder: &mut RunFolder,
    reporter: &Reporter,
    stop: &AtomicBool,
) -> Result<Compressed, Failure> {
    let settings =
        format!("{:?} {:?} {}", job.objective.limits, job.compress.max_drop, job.compress.enabled);
    let key = key(&["compressed", &trained.key, &settings]);
    let path = folder.join("compressed");
    if folder.finished("compressed", &key)
        && let (Ok(bundle), Ok(search)) = (Bundle::open(&path), folder.read("compression.json"))
        && let Ok(folds) = open_folds(&path, prepared.dataset.folds())
    {
        return Ok(Compressed { bundle, folds, key, search });
    }
    let mut judge = Judge::new(job, prepared, trained, folder)?;
    let model = trained.bundle.model()?;
    let (search, model) = match job.compress.enabled {
        true => {
            let usage = usage(&model, &prepared.dataset, Selection::Part(Part::Train))?;
            judged_search(&mut judge, &model, &usage, reporter, stop)?
        }
        false => (judge.only(&model)?, model),
    };
    let recipe = search.candidates[search.chosen].recipe.clone();
    let (bundle, folds) = judge.write_chosen(&recipe, model, trained)?;
    folder.write("compression.json", &search)?;
    folder.finish("compressed", &key)?;
    reporter.line("compress", &summary(&search));
    Ok(Compressed { bundle, folds, key, search })
}

/// How many of the texts that a model was trained on each row of the n-gram table takes part in;
/// nothing where there is none.
fn usage(model: &Model, dataset: &Dataset, trained: Selection) -> Result<Vec<u32>, Failure> {
    let Preprocess::NgramText(text) = &model.preprocess else { return Ok(Vec::new()) };
    let mut usage = vec![0u32; text.index().len()];
    let mut scratch = Scratch::default();
    for example in dataset.examples(trained)? {
        let (rows, _) = text.features(example?.content.text().unwrap_or_default(), &mut scratch);
        for row in rows {
            usage[*row as usize] = usage[*row as usize].saturating_add(1);
        }
    }
    Ok(usage)
}

fn judged_search(
    judge: &mut Judge<'_>,
    model: &Model,
    usage: &[u32],
    reporter: &Reporter,
    stop: &AtomicBool,
) -> Result<(Search, Model), Failure> {
    let bar = reporter.bar("compress", 0, CANDIDATES);
    let mut failure = None;
    let mut tried = 0;
    let found = search(model, usage, &mut |recipe, model| {
        if stop.load(Ordering::Relaxed) {
            failure = Some(interrupted());
            return Err("interrupted".to_owned());
        }
        tried += 1;
        bar.set(tried, &recipe.to_string());
        judge.judge(recipe, model).map_err(|error| {
            let message = error.message.clone();
            failure = Some(error);
            message
        })
    });
    drop(bar);
    match (found, failure) {
        (Ok(found), _) => {
            Ok((Search { candidates: found.candidates, chosen: found.chosen }, found.model))
        }
        (Err(_), Some(failure)) => Err(failure),
        (Err(error), None) => Err(Failure::fault(error.to_string())),
    }
}

impl<'a> Judge<'a> {
    fn new(
        job: &'a Job,
        prepared: &'a Prepared<'_>,
        trained: &Trained,
        folder: &'a RunFolder,
    ) -> Result<Self, Failure> {
        let of_fold = |(fold, bundle): (u8, &Bundle)| {
            let model = bundle.model()?;
            let usage = usage(&model, &prepared.dataset, Selection::Outside(fold))?;
            Ok((model, usage))
        };
        let folds = (0u8..).zip(&trained.folds).map(of_fold);
        Ok(Self {
            job,
            prepared,
            metric: prepared.data.metric,
            draft: trained.bundle.to_draft()?,
            folder,
            threads: Threads::new(1),
            held_out: HeldOut::of(prepared)?,
            timed: some_rows(&prepared.dataset, held_out::part(&prepared.dataset), TIMED_ROWS)?,
            folds: folds.collect::<Result<Vec<_>, Failure>>()?,
            positive: binary(&prepared.dataset),
            baseline: None,
        })
    }

    /// The search that tries nothing.
    fn only(&mut self, model: &Model) -> Result<Search, Failure> {
        let recipe = Recipe::default();
        let judgement = self.judge(&recipe, model)?;
        Ok(Search { candidates: vec![Candidate { recipe, judgement }], chosen: 0 })
    }

    /// Writes the candidate, loads the written file and measures it. The first model judged is the
    /// one that the others are compared with.
    fn judge(&mut self, recipe: &Recipe, model: &Model) -> Result<Judgement, Failure> {
        let path = self.folder.join(".candidate");
        let changed = self.changed(recipe, model.clone())?;
        let bundle =
            self.draft_of(recipe, changed.model.clone(), changed.found.as_ref())?.write(&path)?;
        let predictor = bundle.predictor(&self.threads)?;
        let (p50_ms, p99_ms) = self.threads.run(|| latency(&predictor, &self.timed))?;
        let answering = match changed.folds.as_slice() {
            [] => vec![predictor],
            folds => self.predictors(folds)?,
        };
        let answers = self.threads.run(|| self.held_out.answer(&answering))?;
        let _ = std::fs::remove_dir_all(&path);
        let scored = self.held_out.truth.predictions(&answers.outputs, answers.decided)?;
        let metric = self.metric;
        let mut judgement = Judgement {
            size_bytes: bundle.size_bytes(),
            p50_ms,
            p99_ms,
            score: metric.score(&scored, self.positive).unwrap_or(f64::NAN),
            difference: 0.0,
            lower_bound: 0.0,
            verdict: Verdict::Accepted,
        };
        match &self.baseline {
            None => self.baseline = Some(scored),
            Some(baseline) => self.compare(&scored, baseline, &mut judgement)?,
        }
        Ok(judgement)
    }

    fn compare(
        &self,
        scored: &Predictions,
        baseline: &Predictions,
        judgement: &mut Judgement,
    ) -> Result<(), Failure> {
        let (metric, max_drop) = (self.metric, self.job.compress.max_drop);
        let bootstrap = Bootstrap::default();
        let gate = non_inferiority(scored, baseline, metric, self.positive, max_drop, &bootstrap)?;
        judgement.difference = gate.difference;
        judgement.lower_bound = gate.lower_bound;
        judgement.verdict = match gate.verdict {
            NonInferiorityVerdict::Holds => Verdict::Accepted,
            NonInferiorityVerdict::Undecidable { .. }
                if gate.difference >= -max_drop / 2.0 && self.alike(scored, baseline)? =>
            {
                Verdict::Alike
            }
            NonInferiorityVerdict::Undecidable { .. } if gate.difference >= 0.0 => {
                Verdict::Undecidable
            }
            _ => Verdict::Rejected,
        };
        let log_loss = |scored| Metric::LogLoss.score(scored, self.positive).unwrap_or(f64::MAX);
        let blurred = log_loss(scored) - log_loss(baseline) > max_drop * LOG_LOSS_SHARE;
        let limits = self.job.objective.limits;
        let slow = limits.p99_latency_ms.is_some_and(|limit| judgement.p99_ms > limit);
        let large = limits.size_mb.is_some_and(|limit| judgement.size_bytes as f64 > limit * 1e6);
        if blurred || slow || large {
            judgement.verdict = Verdict::Rejected;
        }
        Ok(())
    }

    /// Whether the log loss rises by no more than its share, by a paired one-sided 95 % bound. Where
    /// a handful of rows that change sides decide nothing, the probabilities of all rows may.
    fn alike(&self, scored: &Predictions, baseline: &Predictions) -> Result<bool, Failure> {
        // The lower end of a two-sided 90 % interval is a one-sided 95 % bound.
        let bootstrap = Bootstrap { confidence: 0.9, ..Bootstrap::default() };
        let found = compare(scored, baseline, Metric::LogLoss, self.positive, &bootstrap)?;
        Ok(found.interval.low >= -self.job.compress.max_drop * LOG_LOSS_SHARE)
    }

    /// The candidate of a recipe that gives `model`: calibrated afresh.
    fn changed(&self, recipe: &Recipe, model: Model) -> Result<Changed, Failure> {
        let apply = |(model, usage): &(Model, Vec<u32>)| recipe.apply(model, usage);
        let folds = self.folds.iter().map(apply).collect::<Result<Vec<_>, _>>();
        let folds = folds.map_err(|error| Failure::fault(error.to_string()))?;
        let mut changed = Changed { model, folds, found: None };
        if !recipe.0.is_empty() {
            changed.all().for_each(Calibrated::unset);
            let answering = self.predictors(changed.answering())?;
            let Answers { outputs, .. } = self.held_out.answer(&answering)?;
            // The bias weighs otherwise than in training where lengths went.
            let of_two = self.held_out.truth.outputs() == 2;
            let least = match of_two && recipe.0.contains(&Step::EvenLengths) {
                true => CalibrationMethod::Platt,
                false => CalibrationMethod::None,
            };
            let truth = &self.held_out.truth;
            let calibrated = Calibrated::by(least, self.prepared, truth, &outputs)?;
            changed.all().try_for_each(|model| calibrated.set(model))?;
            changed.found = Some(calibrated.found);
        }
        Ok(changed)
    }

    fn predictors(&self, models: &[Model]) -> Result<Vec<Predictor>, Failure> {
        let predictor = |model: &Model| Ok(Predictor::new(model.clone(), &self.threads)?);
        models.iter().map(predictor).collect()
    }

    /// A changed model as a bundle, with the answers of the engine as probes.
    fn draft_of(
        &self,
        recipe: &Recipe,
        model: Model,
        found: Option<&Found>,
    ) -> Result<Draft, Failure> {
        let mut draft = self.draft.clone();
        draft.model = model;
        if recipe.0.is_empty() {
            return Ok(draft);
        }
        let predictor = Predictor::new(draft.model.clone(), &self.threads)?;
        let mut scratch = PredictScratch::default();
        for probe in &mut draft.probes {
            *probe = predictor.probe(probe.row.clone(), &mut scratch)?;
        }
        if let Some(found) = found {
            found.put(&mut draft.documents);
        }
        Ok(draft)
    }

    fn write_chosen(
        &self,
        recipe: &Recipe,
        model: Model,
        trained: &Trained,
    ) -> Result<(Bundle, Vec<Bundle>), Failure> {
        let path = self.folder.join("compressed");
        let changed = self.changed(recipe, model)?;
        let found = changed.found.as_ref();
        let of_fold = |fold: u8| {
            let draft = trained.folds[usize::from(fold)].to_draft()?;
            if recipe.0.is_empty() {
                return Ok(draft);
            }
            let model = changed.folds[usize::from(fold)].clone();
            Ok(Draft { scores: Vec::new(), ..self.draft_of(recipe, model, found)? })
        };
        let folds = write_folds(&path, trained.folds.len(), &of_fold)?;
        let mut draft = self.draft_of(recipe, changed.model.clone(), found)?;
        if !recipe.0.is_empty() {
            let answers = self.held_out.answer(&self.predictors(changed.answering())?)?;
            draft.scores = vec![valid_score(self.prepared, &self.held_out, answers)?];
            draft.lineage.compression = Some(recipe.to_string());
            draft.lineage.compressed_from = Some(trained.bundle.manifest().digest.clone());
        }
        Ok((draft.write(&path)?, folds))
    }
}

fn summary(search: &Search) -> String {
    let (before, after) = (&search.candidates[0], &search.candidates[search.chosen]);
    let (from, to) = (before.judgement.size_bytes, after.judgement.size_bytes);
    let times = from as f64 / to.max(1) as f64;
    let mut text = match search.chosen {
        0 => format!("{} as trained", size(to)),
        _ => format!("{} to {} ({times:.1}x smaller): {}", size(from), size(to), after.recipe),
    };
    if search.chosen != 0 {
        text += &format!(", score {:+.4}", after.judgement.difference);
        text += match after.judgement.verdict {
            Verdict::Undecidable => " (too few rows to prove it)",
            Verdict::Alike => " (its probabilities hardly differ)",
            _ => "",
        };
    }
    text + &format!(", one row {}", milliseconds(after.judgement.p50_ms))
}
