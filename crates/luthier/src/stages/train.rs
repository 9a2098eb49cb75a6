//! The chosen trial, trained again and written as a bundle.

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use luthier_bundle::{Bundle, DataDigest, Draft, Lineage, Probe, Route, Score, TrialOrigin};
use luthier_data::{Dataset, Part};
use luthier_eval::{Bootstrap, Metric, interval, temperature};
use luthier_train::{Fitted, Job as Fit, Row, Subset, TextData, learner_by_name};

use super::folder::key;
use super::measure::{binary, labels, predictions, truth};
use super::tune::{Tuned, interrupted};
use super::{Prepared, RunFolder};
use crate::failure::Failure;
use crate::job::Job;
use crate::term::Reporter;

/// Texts that are stored in a bundle with their answers.
const PROBES: usize = 16;

/// The trained model, uncompressed.
pub(super) struct Trained {
    pub(super) bundle: Bundle,
    pub(super) key: String,
}

/// The rows of a data set as training takes them, read on first use.
pub(super) struct TrainingRows<'a> {
    pub(super) dataset: &'a Dataset,
    /// What decides on its validation rows.
    pub(super) metric: Metric,
    stop: &'a AtomicBool,
    data: OnceCell<TextData<'a>>,
}

impl<'a> TrainingRows<'a> {
    /// Rows whose reading ends with an error once `stop` is set.
    pub(super) fn of(dataset: &'a Dataset, metric: Metric, stop: &'a AtomicBool) -> Self {
        Self { dataset, metric, stop, data: OnceCell::new() }
    }

    pub(super) fn get(&self) -> Result<&TextData<'a>, Failure> {
        if let Some(data) = self.data.get() {
            return Ok(data);
        }
        let (dataset, stop) = (self.dataset, self.stop);
        let source = move |subset, visit: &mut dyn FnMut(Row<'_>)| {
            for example in dataset.examples(part_of(subset))? {
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
            data => {
                let data = data?;
                Ok(self.data.get_or_init(|| data))
            }
        }
    }
}

/// The part of the data that a subset of training is.
pub(super) fn part_of(subset: Subset) -> Part {
    match subset {
        Subset::Train => Part::Train,
        Subset::Valid => Part::Valid,
    }
}

/// Fits the best trial's values again, with its seed, and writes the bundle `model`.
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
    let key = key(&["model", &tuned.key, &number, &values, &job.name, &route]);
    let path = folder.join("model");
    if folder.finished("model", &key)
        && let Ok(bundle) = Bundle::open(&path)
    {
        return Ok(Trained { bundle, key });
    }
    let data = rows.get()?;
    let fitted = fit(tuned, data, stop)?;
    let draft = draft(job, prepared, tuned, data, &fitted)?;
    let bundle = draft.write(&path)?;
    folder.finish("model", &key)?;
    let score = bundle.manifest().scores.first().map_or(f64::NAN, |score| score.value);
    let size = crate::term::size(bundle.size_bytes());
    reporter.line(
        "train",
        &format!("trial {number} again: valid {} {score:.4}, {size}", prepared.data.metric),
    );
    Ok(Trained { bundle, key })
}

/// Fits with the best trial's values and seed, and calibrates on the validation rows.
fn fit(tuned: &Tuned, data: &TextData<'_>, stop: &AtomicBool) -> Result<Fitted, Failure> {
    let name = tuned.best.values.text("learner").unwrap_or_default().to_owned();
    let learner = learner_by_name(&name)
        .ok_or_else(|| Failure::fault(format!("there is no learner `{name}`")))?;
    let values = tuned.best.values.scope(&name);
    let job = Fit { data, values: &values, seed: tuned.seed_of_best() };
    let fitted = learner.fit(&job, &mut |_| match stop.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    match fitted {
        Err(_) if stop.load(Ordering::Relaxed) => Err(interrupted()),
        other => {
            let fitted = other?;
            let truth = &data.valid().labels;
            let temperature = temperature(&fitted.valid, data.classes(), truth);
            Ok(fitted.calibrated(temperature as f32))
        }
    }
}

fn draft(
    job: &Job,
    prepared: &Prepared<'_>,
    tuned: &Tuned,
    data: &TextData<'_>,
    fitted: &Fitted,
) -> Result<Draft, Failure> {
    let dataset = &prepared.dataset;
    let (labels, positive) = (labels(dataset), binary(dataset));
    let network = fitted.text_network();
    let probes = network.probes(data, PROBES)?.into_iter();
    let score = valid_score(prepared, &fitted.valid)?;
    let profile = serde_json::to_vec(&prepared.profile).unwrap_or_default();
    Ok(Draft {
        model: network.to_model(labels, positive),
        probes: probes.map(|p| Probe { text: p.text, probabilities: p.probabilities }).collect(),
        name: job.name.clone(),
        task: prepared.data.task.clone(),
        route: job.route.clone().map(|route| Route {
            path: route.path,
            input: route.input,
            output: route.output,
        }),
        scores: vec![score],
        lineage: lineage(job, prepared, tuned),
        test_openings: 0,
        documents: vec![("profile.json".to_owned(), profile)],
    })
}

/// The objective on the validation rows, with its interval.
pub(super) fn valid_score(
    prepared: &Prepared<'_>,
    probabilities: &[f32],
) -> Result<Score, Failure> {
    let dataset = &prepared.dataset;
    let truth = truth(dataset, Part::Valid)?;
    let scored = predictions(dataset.labels().len(), truth, probabilities, None)?;
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
