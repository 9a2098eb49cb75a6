//! The chosen trial, trained again and written as a bundle.

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use luthier_bundle::{
    Bundle, BundleError, DataDigest, Draft, Lineage, Probe, Route, Score, TrialOrigin,
};
use luthier_data::{Dataset, Part, Selection};
use luthier_eval::{Bootstrap, interval, temperature};
use luthier_model::Model;
use luthier_train::{Fitted, Job as Fit, Row, Subset, TextData, learner_by_name};
use luthier_tune::trial_seed;

use super::folder::key;
use super::held_out::{HeldOut, answering};
use super::measure::{binary, labels, predictions};
use super::tune::{Tuned, interrupted};
use super::{Prepared, RunFolder};
use crate::failure::Failure;
use crate::job::Job;
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

/// The rows of a data set as training takes them, read on first use.
pub(super) struct TrainingRows<'a> {
    dataset: &'a Dataset,
    stop: &'a AtomicBool,
    /// All that there is to learn from.
    all: OnceCell<TextData<'a>>,
    /// The rows outside of each fold, with those of the fold to be judged by.
    folds: OnceCell<Vec<TextData<'a>>>,
}

impl<'a> TrainingRows<'a> {
    /// Rows whose reading ends with an error once `stop` is set.
    pub(super) fn of(dataset: &'a Dataset, stop: &'a AtomicBool) -> Self {
        Self { dataset, stop, all: OnceCell::new(), folds: OnceCell::new() }
    }

    /// All training rows, with the validation rows if there are any.
    pub(super) fn all(&self) -> Result<&TextData<'a>, Failure> {
        if let Some(all) = self.all.get() {
            return Ok(all);
        }
        let all = self.read(Selection::Part(Part::Train), Selection::Part(Part::Valid))?;
        Ok(self.all.get_or_init(|| all))
    }

    /// What models that are judged are fitted to: one set of rows for each fold or, without folds, the
    /// only one.
    pub(super) fn judged(&self) -> Result<&[TextData<'a>], Failure> {
        let count = self.dataset.folds();
        if count == 0 {
            return Ok(std::slice::from_ref(self.all()?));
        }
        if let Some(folds) = self.folds.get() {
            return Ok(folds);
        }
        let read = |fold| self.read(Selection::Outside(fold), Selection::Fold(fold));
        let sets = usize::from(count) + 1;
        let folds = (0..count).map(|fold| Ok(read(fold)?.one_of(sets)));
        let folds = folds.collect::<Result<Vec<_>, Failure>>()?;
        Ok(self.folds.get_or_init(|| folds))
    }

    fn read(&self, train: Selection, valid: Selection) -> Result<TextData<'a>, Failure> {
        let (dataset, stop) = (self.dataset, self.stop);
        let source = move |subset, visit: &mut dyn FnMut(Row<'_>)| {
            let selection = match subset {
                Subset::Train => train,
                Subset::Valid => valid,
            };
            for example in dataset.examples(selection)? {
                let example = example?;
                if stop.load(Ordering::Relaxed) {
                    return Err("interrupted".into());
                }
                visit(Row { text: &example.text, label: example.label, weight: example.weight });
            }
            Ok(())
        };
        match TextData::new(dataset.labels().len(), source) {
            Err(_) if stop.load(Ordering::Relaxed) => Err(interrupted()),
            data => Ok(data?),
        }
    }
}

/// Fits the best trial's values again, with its seed, and writes the bundle `model`. Where there are
/// folds, that is to all training rows, and once without each fold, for answers to rows that a model
/// has not seen.
pub(super) fn train(
    job: &Job,
    prepared: &Prepared,
    rows: &TrainingRows<'_>,
    tuned: &Tuned,
    folder: &mut RunFolder,
    reporter: &Reporter,
    stop: &AtomicBool,
) -> Result<Trained, Failure> {
    let values = serde_json::to_string(&tuned.best.values).unwrap_or_default();
    let number = tuned.best.number.to_string();
    let route = serde_json::to_string(&job.route).unwrap_or_default();
    let key = key(&["model", &tuned.key, &number, &values, &job.name, &route]);
    let path = folder.join("model");
    let folds = prepared.dataset.folds();
    if folder.finished("model", &key)
        && let (Ok(bundle), Ok(folds)) = (Bundle::open(&path), open_folds(&path, folds))
    {
        return Ok(Trained { bundle, folds, key });
    }
    let fits = Fits::of(job, rows, tuned, folds, stop)?;
    let held_out = HeldOut::of(&prepared.dataset)?;
    let score = fits.score(job, &prepared.dataset, &held_out)?;
    let network = fits.model.text_network();
    let model = network.to_model(labels(&prepared.dataset), binary(&prepared.dataset));
    let probes = probes(network.probes(rows.all()?, PROBES)?);
    let draft = draft(job, prepared, tuned, (model, probes, score));
    let bundle = draft.write(&path)?;
    let of_fold = |((fold, data), fitted): ((u8, &TextData<'_>), &Fitted)| {
        let network = fitted.text_network();
        let model = network.to_model(labels(&prepared.dataset), binary(&prepared.dataset));
        let probes = self::probes(network.probes(data, PROBES)?);
        let draft = Draft { model, probes, scores: Vec::new(), ..draft.clone() };
        Ok(draft.write(&fold_path(&path, fold))?)
    };
    let folds = match folds {
        0 => Vec::new(),
        _ => {
            let folds = (0u8..).zip(rows.judged()?).zip(&fits.folds).map(of_fold);
            folds.collect::<Result<Vec<_>, Failure>>()?
        }
    };
    folder.finish("model", &key)?;
    let score = bundle.manifest().scores.first().map_or(f64::NAN, |score| score.value);
    let (size, metric) = (crate::term::size(bundle.size_bytes()), job.objective.metric);
    let text = match folds.len() {
        0 => format!("trial {number} again: valid {metric} {score:.4}, {size}"),
        _ => format!("trial {number} on all rows: {metric} out of fold {score:.4}, {size}"),
    };
    reporter.line("train", &text);
    Ok(Trained { bundle, folds, key })
}

/// Where the bundle of a fold is beside that of all rows.
pub(super) fn fold_path(bundle: &Path, fold: u8) -> PathBuf {
    let name = bundle.file_name().unwrap_or_default().to_string_lossy();
    bundle.with_file_name(format!("{name}.folds")).join(fold.to_string())
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
}

impl Fits {
    /// Fits with the best trial's values and seed, and calibrates on the rows that were held out.
    fn of(
        job: &Job,
        rows: &TrainingRows<'_>,
        tuned: &Tuned,
        folds: u8,
        stop: &AtomicBool,
    ) -> Result<Self, Failure> {
        let judged = rows.judged()?;
        let mut tasks = vec![(rows.all()?, tuned.seed_of_best())];
        if folds > 0 {
            let seed = |fold| fold_seed(tuned.seed_of_best(), fold);
            tasks.extend((0..folds).zip(judged).map(|(fold, data)| (data, seed(fold))));
        }
        let fit = |(data, seed): &(&TextData<'_>, u64)| fit(tuned, data, *seed, stop);
        let mut fitted = at_once(job.tune.workers, &tasks, &fit)?;
        let folds = fitted.split_off(1);
        let model = fitted.remove(0);
        let answers = answering(&model, &folds).iter().flat_map(|fitted| &fitted.valid);
        let probabilities: Vec<f32> = answers.copied().collect();
        let truth: Vec<u32> =
            judged.iter().flat_map(|data| &data.valid().labels).copied().collect();
        let temperature = temperature(&probabilities, judged[0].classes(), &truth) as f32;
        Ok(Self {
            model: model.calibrated(temperature),
            folds: folds.into_iter().map(|fitted| fitted.calibrated(temperature)).collect(),
        })
    }

    /// The objective on the rows that were held out.
    fn score(&self, job: &Job, dataset: &Dataset, held_out: &HeldOut) -> Result<Score, Failure> {
        let fits = answering(&self.model, &self.folds);
        let of_folds: Vec<Vec<f32>> = fits.iter().map(|fitted| fitted.valid.clone()).collect();
        valid_score(job, dataset, held_out, &held_out.in_order(dataset.labels().len(), &of_folds))
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

/// Fits the best trial's values.
fn fit(
    tuned: &Tuned,
    data: &TextData<'_>,
    seed: u64,
    stop: &AtomicBool,
) -> Result<Fitted, Failure> {
    let name = tuned.best.values.text("learner").unwrap_or_default().to_owned();
    let learner = learner_by_name(&name)
        .ok_or_else(|| Failure::fault(format!("there is no learner `{name}`")))?;
    let values = tuned.best.values.scope(&name);
    let job = Fit { data, values: &values, seed };
    let fitted = learner.fit(&job, &mut |_| match stop.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    match fitted {
        Err(_) if stop.load(Ordering::Relaxed) => Err(interrupted()),
        other => Ok(other?),
    }
}

fn probes(probes: Vec<luthier_train::Probe>) -> Vec<Probe> {
    let probe = |p: luthier_train::Probe| Probe { text: p.text, probabilities: p.probabilities };
    probes.into_iter().map(probe).collect()
}

/// A bundle of what the best trial has come to.
pub(super) fn draft(
    job: &Job,
    prepared: &Prepared,
    tuned: &Tuned,
    (model, probes, score): (Model, Vec<Probe>, Score),
) -> Draft {
    let profile = serde_json::to_vec(&prepared.profile).unwrap_or_default();
    Draft {
        model,
        probes,
        name: job.name.clone(),
        task: job.task.clone(),
        route: job.route.clone().map(|route| Route {
            path: route.path,
            input: route.input,
            output: route.output,
        }),
        scores: vec![score],
        lineage: lineage(&prepared.dataset, job, tuned),
        test_openings: 0,
        documents: vec![("profile.json".to_owned(), profile)],
    }
}

/// The objective on the rows that were held out, with its interval.
pub(super) fn valid_score(
    job: &Job,
    dataset: &Dataset,
    held_out: &HeldOut,
    probabilities: &[f32],
) -> Result<Score, Failure> {
    let truth = held_out.truth.clone();
    let scored = predictions(dataset.labels().len(), truth, probabilities, None)?;
    let (metric, positive) = (job.objective.metric, binary(dataset));
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

fn lineage(dataset: &Dataset, job: &Job, tuned: &Tuned) -> Lineage {
    let values = match serde_json::to_value(&tuned.best.values) {
        Ok(serde_json::Value::Object(values)) => values,
        _ => serde_json::Map::new(),
    };
    Lineage {
        data: data_digests(dataset, job),
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
fn data_digests(dataset: &Dataset, job: &Job) -> Vec<DataDigest> {
    let files = dataset.files();
    let spec = &job.dataset;
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
