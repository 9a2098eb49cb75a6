//! The chosen trial, trained again unless its fit was kept, and written as a bundle.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use luthier_bundle::{
    Bundle, BundleError, DataDigest, Draft, Lineage, Probe, Route, Score, TrialOrigin,
};
use luthier_data::Part;
use luthier_eval::{Bootstrap, CalibrationMethod, interval};
use luthier_model::Model;
use luthier_space::Values;
use luthier_train::{CutTexts, Data, Fitted, Job as Fit, Learner};
use luthier_tune::trial_seed;

use super::calibrate::{Calibrated, Found};
use super::folder::key;
use super::held_out::{self, HeldOut, answering};
use super::importance;
use super::inputs::Inputs;
use super::measure::{Answers, binary, some_rows};
use super::training_rows::TrainingRows;
use super::tune::{Tuned, interrupted};
use super::workplace::Workplace;
use super::{Prepared, RunFolder};
use crate::failure::Failure;
use crate::job::{Job, RouteForm, Task};
use crate::term::Reporter;

/// Texts that are stored in a bundle with their answers.
pub(super) const PROBES: usize = 16;

/// The trained model, uncompressed.
pub(super) struct Trained {
    pub(super) bundle: Bundle,
    /// What was trained in the same way without each of the folds, if there are folds.
    pub(super) folds: Vec<Bundle>,
    pub(super) key: String,
}

/// Fits the best trial's values again, with its seed, and writes the bundle `model`. Where there are
/// folds, that is to all training rows, and once without each fold, for answers to rows that a model
/// has not seen.
pub(super) fn train(
    job: &Job,
    prepared: &Prepared<'_>,
    rows: &TrainingRows<'_>,
    tuned: &Tuned,
    folder: &mut RunFolder,
    reporter: &Reporter,
    stop: &AtomicBool,
) -> Result<Trained, Failure> {
    let values = serde_json::to_string(&tuned.best.values).unwrap_or_default();
    let number = tuned.best.number.to_string();
    let route = serde_json::to_string(&job.route).unwrap_or_default();
    let deciding = format!("{:?}", job.objective.deciding);
    let key = key(&["model", &tuned.key, &number, &values, &job.name, &route, &deciding]);
    let (trained, fits) = bundle(job, prepared, rows, tuned, ("model", key), folder, stop)?;
    if let Some(fits) = fits {
        reporter.line("train", &summary(prepared, tuned, &trained));
        if let Some(CutTexts { texts, of, max_length }) = fits.model.cut {
            let text = format!(
                "{texts} of {of} texts have more than {max_length} tokens and lose their ends: see \
                 `max_length`"
            );
            reporter.line("", &text);
        }
    }
    Ok(trained)
}

/// Does the same with `rows` that no teacher has answered, as the bundle `untaught`, to tell what a teacher
/// is worth.
pub(super) fn train_untaught(
    job: &Job,
    prepared: &Prepared<'_>,
    rows: &TrainingRows<'_>,
    tuned: &Tuned,
    (trained, folder): (&Trained, &mut RunFolder),
    reporter: &Reporter,
    stop: &AtomicBool,
) -> Result<Trained, Failure> {
    let key = key(&["untaught", &trained.key]);
    let (untaught, fits) = bundle(job, prepared, rows, tuned, ("untaught", key), folder, stop)?;
    if fits.is_some() {
        reporter.line("", &format!("without a teacher: {}", summary(prepared, tuned, &untaught)));
    }
    Ok(untaught)
}

/// The bundle of this name and key, and what was fitted for it, unless it was there.
fn bundle(
    job: &Job,
    prepared: &Prepared<'_>,
    rows: &TrainingRows<'_>,
    tuned: &Tuned,
    (name, key): (&str, String),
    folder: &mut RunFolder,
    stop: &AtomicBool,
) -> Result<(Trained, Option<Fits>), Failure> {
    let path = folder.join(name);
    let folds = prepared.dataset.folds();
    if folder.finished(name, &key)
        && let (Ok(bundle), Ok(folds)) = (Bundle::open(&path), open_folds(&path, folds))
    {
        return Ok((Trained { bundle, folds, key }, None));
    }
    let at_a_time = job.tune.workers.min(usize::from(folds).max(1));
    let workplace = Workplace::of(&job.run_folder(), at_a_time);
    let fits = Fits::of(job, prepared, rows, tuned, (&workplace, stop))?;
    let (bundle, folds) = fits.write(job, prepared, tuned, &path)?;
    folder.finish(name, &key)?;
    workplace.remove(tuned.best.number);
    Ok((Trained { bundle, folds, key }, Some(fits)))
}

fn summary(prepared: &Prepared<'_>, tuned: &Tuned, trained: &Trained) -> String {
    let manifest = trained.bundle.manifest();
    let score = manifest.scores.first().map_or(f64::NAN, |score| score.value);
    let size = crate::term::size(trained.bundle.size_bytes());
    let (number, metric) = (tuned.best.number, prepared.data.metric);
    let text = match trained.folds.is_empty() {
        true => format!("trial {number}: valid {metric} {score:.4}, {size}"),
        false => format!("trial {number} on all rows: {metric} out of fold {score:.4}, {size}"),
    };
    text + &decides(&trained.bundle)
}

/// How a bundle was calibrated and from which threshold on it decides, as far as there is something to
/// say.
pub(super) fn decides(bundle: &Bundle) -> String {
    let method = Found::of(bundle).map(|found| found.method);
    let method = method.filter(|method| *method != CalibrationMethod::None);
    let calibrated = method.map_or(String::new(), |method| format!(", calibrated by {method}"));
    let threshold = bundle.manifest().decision.class().and_then(|decision| decision.threshold);
    calibrated + &threshold.map_or(String::new(), |threshold| format!(", threshold {threshold:.4}"))
}

/// Where the bundle of a fold is beside that of all rows.
fn fold_path(bundle: &Path, fold: u8) -> PathBuf {
    folds_path(bundle).join(fold.to_string())
}

fn folds_path(bundle: &Path) -> PathBuf {
    let name = bundle.file_name().unwrap_or_default().to_string_lossy();
    bundle.with_file_name(format!("{name}.folds"))
}

/// Writes the bundles of all folds, which `draft` makes, beside that of all rows, in place of those of
/// other folds.
pub(super) fn write_folds(
    bundle: &Path,
    count: usize,
    draft: &dyn Fn(u8) -> Result<Draft, Failure>,
) -> Result<Vec<Bundle>, Failure> {
    let folder = folds_path(bundle);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::io(&folder)(error));
        }
        _ => {}
    }
    let write = |fold| Ok(draft(fold)?.write(&fold_path(bundle, fold))?);
    (0u8..).take(count).map(write).collect()
}

/// The bundles of all folds beside that of all rows.
pub(super) fn open_folds(bundle: &Path, folds: u8) -> Result<Vec<Bundle>, BundleError> {
    (0..folds).map(|fold| Bundle::open(&fold_path(bundle, fold))).collect()
}

/// What the best trial's values give.
struct Fits {
    /// Fitted to all training rows.
    model: Fitted,
    /// Fitted without each fold.
    folds: Vec<Fitted>,
    /// How answers follow from what all of them give.
    calibrated: Calibrated,
    /// The objective on the rows that were held out.
    score: Score,
}

impl Fits {
    /// Fits with the best trial's values and seed, and calibrates on the rows that were held out. Folds come
    /// first, since all rows are fitted to for as long as was best for the rows that these held out.
    fn of(
        job: &Job,
        prepared: &Prepared<'_>,
        rows: &TrainingRows<'_>,
        tuned: &Tuned,
        place: (&Workplace, &AtomicBool),
    ) -> Result<Self, Failure> {
        let (number, seed) = (tuned.best.number, tuned.seed_of_best());
        let folds = prepared.dataset.folds();
        let with_all = |values: &Values| fit(job, values, (rows.all()?, number, seed), place);
        let (folds, model) = match folds {
            0 => (Vec::new(), with_all(&tuned.best.values)?),
            count => {
                let tasks: Vec<(u8, &Data<'_>)> = (0..count).zip(rows.judged()?).collect();
                let fit_fold = |(fold, data): &(u8, &Data<'_>)| {
                    fit(job, &tuned.best.values, (*data, number, fold_seed(seed, *fold)), place)
                };
                let folds = at_once(job.tune.workers, &tasks, &fit_fold)?;
                let model = with_all(&settled(job, &tuned.best.values, &folds)?)?;
                (folds, model)
            }
        };
        let held_out = HeldOut::of(prepared)?;
        let of_folds = answering(&model, &folds).iter().map(|fitted| fitted.valid.clone());
        let outputs =
            held_out.in_order(held_out.truth.outputs(), &of_folds.collect::<Vec<Vec<f32>>>());
        let calibrated = Calibrated::on(prepared, &held_out.truth, &outputs)?;
        let score = valid_score(prepared, &held_out, calibrated.decided_on(outputs))?;
        Ok(Self { model, folds, calibrated, score })
    }

    /// Writes what was fitted to all rows as a bundle, and what was fitted without each fold beside it.
    fn write(
        &self,
        job: &Job,
        prepared: &Prepared<'_>,
        tuned: &Tuned,
        path: &Path,
    ) -> Result<(Bundle, Vec<Bundle>), Failure> {
        let (model, probes) = self.exported(&self.model, prepared)?;
        let mut draft = draft(job, prepared, tuned, (model, probes, self.score.clone()));
        self.calibrated.found.put(&mut draft.documents);
        let columns = importance::by_gain(&self.model.network(), prepared.dataset.table());
        if let Some(columns) = columns {
            let document = serde_json::to_vec(&columns).unwrap_or_default();
            draft.documents.push((importance::DOCUMENT.to_owned(), document));
        }
        let bundle = draft.write(path)?;
        let of_fold = |fold: u8| {
            let (model, probes) = self.exported(&self.folds[usize::from(fold)], prepared)?;
            let documents = draft.documents.iter().filter(|(name, _)| name != importance::DOCUMENT);
            let documents = documents.cloned().collect();
            Ok(Draft { model, probes, scores: Vec::new(), documents, ..draft.clone() })
        };
        let folds = write_folds(path, self.folds.len(), &of_fold)?;
        Ok((bundle, folds))
    }

    /// A fitted network as a model, with rows and its answers to them.
    fn exported(
        &self,
        fitted: &Fitted,
        prepared: &Prepared<'_>,
    ) -> Result<(Model, Vec<Probe>), Failure> {
        let Prepared { dataset, decision, .. } = prepared;
        let network = fitted.network();
        let mut model = network.to_model(decision.clone(), dataset.table())?;
        self.calibrated.set(&mut model)?;
        let rows = some_rows(dataset, held_out::part(dataset), PROBES)?;
        let inputs = Inputs::of_raw(dataset.table(), &rows)?;
        let outputs = self.calibrated.graph(network.answer(inputs.borrowed())?);
        let outputs = outputs.chunks_exact(model.decision.outputs()).map(<[f32]>::to_vec);
        let probe = |(row, outputs)| Probe { row, outputs };
        Ok((model, rows.into_iter().zip(outputs).map(probe).collect()))
    }
}

/// The seed of a fold's fit, from the trial's.
pub(super) fn fold_seed(seed: u64, fold: u8) -> u64 {
    trial_seed(seed, fold.into())
}

/// Does all `tasks`, up to `workers` of them at a time.
fn at_once<T: Sync, R: Send>(
    workers: usize,
    tasks: &[T],
    work: &(dyn Fn(&T) -> Result<R, Failure> + Sync),
) -> Result<Vec<R>, Failure> {
    let mut done = Vec::with_capacity(tasks.len());
    for tasks in tasks.chunks(workers.max(1)) {
        let results = std::thread::scope(|scope| {
            let running: Vec<_> =
                tasks.iter().map(|task| scope.spawn(move || work(task))).collect();
            let join = |running: std::thread::ScopedJoinHandle<'_, _>| running.join();
            running.into_iter().map(join).collect::<Vec<_>>()
        });
        for result in results {
            done.push(result.map_err(|_| Failure::fault("fitting broke off"))??);
        }
    }
    Ok(done)
}

/// The learner that `values` choose.
fn learner<'j>(job: &'j Job, values: &Values) -> Result<&'j dyn Learner, Failure> {
    let name = values.text("learner").unwrap_or_default();
    let learner = job.tune.learners.iter().find(|learner| learner.name() == name);
    let learner = learner.ok_or_else(|| Failure::fault(format!("there is no learner `{name}`")))?;
    Ok(learner.as_ref())
}

/// `values` with as many steps as fits to folds took to their best in the mean, if the rows that they
/// held out decided that.
fn settled(job: &Job, values: &Values, folds: &[Fitted]) -> Result<Values, Failure> {
    let learner = learner(job, values)?;
    let mut values = values.clone();
    let steps: Option<Vec<u64>> = folds.iter().map(|fitted| fitted.settled).collect();
    if let Some(steps) = steps {
        let mean = steps.iter().sum::<u64>() as f64 / steps.len() as f64;
        let name = format!("{}.{}", learner.name(), learner.steps().0);
        values.insert(&name, mean.round().max(1.0) as i64);
    }
    Ok(values)
}

/// Fits `values` to `data` for a trial, unless its fit with that seed has kept how it ended.
fn fit(
    job: &Job,
    values: &Values,
    (data, trial, seed): (&Data<'_>, u64, u64),
    (workplace, stop): (&Workplace, &AtomicBool),
) -> Result<Fitted, Failure> {
    let learner = learner(job, values)?;
    let values = values.scope(learner.name());
    let stopped = || stop.load(Ordering::Relaxed);
    let folder = workplace.fit(trial, seed);
    let host = workplace.host(&folder, &stopped);
    let fit = Fit { host, ..Fit::new(data, &values, seed) };
    let fitted = learner.fit(&fit, &mut |_| match stopped() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    match fitted {
        Err(_) if stop.load(Ordering::Relaxed) => Err(interrupted()),
        other => Ok(other?),
    }
}

/// A bundle of what the best trial has come to.
pub(super) fn draft(
    job: &Job,
    prepared: &Prepared<'_>,
    tuned: &Tuned,
    (model, probes, score): (Model, Vec<Probe>, Score),
) -> Draft {
    let profile = serde_json::to_vec(&prepared.profile).unwrap_or_default();
    Draft {
        model,
        probes,
        name: job.name.clone(),
        task: prepared.data.task.to_string(),
        route: job.route.as_ref().map(|route| self::route(route, prepared.data.task)),
        scores: vec![score],
        lineage: lineage(job, prepared, tuned),
        test_openings: 0,
        documents: vec![("profile.json".to_owned(), profile)],
    }
}

/// A route with what its fields are called where the job does not say.
fn route(route: &RouteForm, task: Task) -> Route {
    let (input, output) = match task {
        Task::TextClassification => (Some("text"), "score"),
        Task::TabularClassification => (None, "score"),
        Task::TabularRegression => (None, "number"),
    };
    Route {
        path: route.path.clone(),
        input: route.input.clone().or(input.map(str::to_owned)),
        output: route.output.clone().unwrap_or_else(|| output.to_owned()),
    }
}

/// The objective on the rows that were held out, with its interval.
pub(super) fn valid_score(
    prepared: &Prepared<'_>,
    held_out: &HeldOut,
    Answers { outputs, decided }: Answers,
) -> Result<Score, Failure> {
    let dataset = &prepared.dataset;
    let scored = held_out.truth.predictions(&outputs, decided)?;
    let (metric, positive) = (prepared.data.metric, binary(dataset));
    let value = metric.score(&scored, positive).ok_or_else(|| {
        Failure::input(format!("metric `{metric}` is undefined on the validation rows"))
    })?;
    let bounds = interval(&scored, metric, positive, &Bootstrap::default());
    Ok(Score {
        part: Part::Valid.to_string(),
        metric: metric.to_string(),
        value,
        low: bounds.map(|bounds| bounds.low),
        high: bounds.map(|bounds| bounds.high),
        rows: scored.len() as u64,
        higher_is_better: metric.higher_is_better(),
    })
}

fn lineage(job: &Job, prepared: &Prepared<'_>, tuned: &Tuned) -> Lineage {
    let values = match serde_json::to_value(&tuned.best.values) {
        Ok(serde_json::Value::Object(values)) => values,
        _ => serde_json::Map::new(),
    };
    Lineage {
        data: data_digests(prepared),
        trial: Some(TrialOrigin {
            study: job.name.clone(),
            number: tuned.best.number,
            values,
            seed: tuned.seed_of_best(),
        }),
        compressed_from: None,
        compression: None,
    }
}

/// One entry per part: the digest of the file that its rows come from.
fn data_digests(prepared: &Prepared<'_>) -> Vec<DataDigest> {
    let (dataset, spec) = (&prepared.dataset, &prepared.data.rows);
    let files = dataset.files();
    let homes = [
        (Part::Train, Some(&spec.train)),
        (Part::Valid, spec.valid.as_ref()),
        (Part::Test, spec.test.as_ref()),
    ];
    let digest = |(part, home): (Part, Option<&std::path::PathBuf>)| {
        let path = home.unwrap_or(&spec.train);
        let file = files.iter().find(|file| file.path == *path)?;
        (dataset.len(part) > 0).then(|| DataDigest {
            part: part.to_string(),
            sha256: file.sha256.clone(),
            rows: dataset.len(part),
        })
    };
    homes.into_iter().filter_map(digest).collect()
}
