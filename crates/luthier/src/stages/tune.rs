//! The search: a study of trials, each of which fits a learner and is scored on the validation
//! rows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use luthier_bundle::model_bytes;
use luthier_data::Dataset;
use luthier_space::{Distribution, Space, Values};
use luthier_study::{
    Event, Failure as TrialFailure, Locator, Measured, Objective, Retries, Run, Session, Study,
    StudyError, StudySpec, Summary,
};
use luthier_train::{Data, Job as Fit, Learner, Step, TrainError};
use luthier_tune::{Folds, Request, State, Trial, around_best, choose, finalists, trial_seed};

use super::command::{Programs, reported};
use super::cross_validate::{CrossValidation, OfFolds, of_folds};
use super::folder::key;
use super::train::fold_seed;
use super::training_rows::TrainingRows;
use super::valid::{Scored, Valid};
use super::watch::{best_so_far, show_running, watch};
use super::workplace::{self, Workplace};
use super::{Prepared, RunFolder};
use crate::checkpoints;
use crate::failure::Failure;
use crate::job::{Constraint, Goal, Job, Measure};
use crate::program;
use crate::term::{Bar, Reporter};

/// Pause before it is looked again whether a study has been begun.
const PAUSE: Duration = Duration::from_millis(500);

/// Steps of a program on one fold that are told apart.
const PROGRAM_STEPS: u64 = 100;

/// A finished search.
pub(super) struct Tuned {
    pub(super) trials: Vec<Trial>,
    /// The chosen one. Where it was evaluated once more, its scores are the means.
    pub(super) best: Trial,
    /// What some came to when they were evaluated once more, by number.
    pub(super) again: BTreeMap<u64, Trial>,
    /// How far below the highest score others counted as equal to it.
    pub(super) margin: Option<f64>,
    pub(super) seconds: f64,
    pub(super) key: String,
    /// Trials whose scores are those that their programs have reported.
    pub(super) reported: BTreeSet<u64>,
    /// What the chosen trial's folds came to when it was evaluated first, if there are folds.
    pub(super) folds: Option<OfFolds>,
    study_seed: u64,
}

impl Tuned {
    /// The learner of the best trial.
    pub(super) fn learner(&self) -> &str {
        self.best.values.text("learner").unwrap_or_default()
    }

    /// The seed that the best trial was trained with.
    pub(super) fn seed_of_best(&self) -> u64 {
        trial_seed(self.study_seed, self.best.number)
    }
}

/// What a stopped command says.
pub(super) fn interrupted() -> Failure {
    Failure::interrupted("run the same command again to go on; finished work is kept")
}

/// Has the study taken to its budget `by` what evaluates trials, and chooses one; finished trials of
/// earlier runs count.
pub(super) fn tune(
    job: &Job,
    source: Option<(&Prepared<'_>, &TrainingRows<'_>)>,
    folder: &mut RunFolder,
    reporter: &Reporter,
    stop: &AtomicBool,
    by: impl FnOnce(&Search<'_, '_>) -> Result<(), Failure>,
) -> Result<Tuned, Failure> {
    let start = Instant::now();
    let (prepared, rows) = source.unzip();
    let spec = spec(job, rows)?;
    let (seed, lag) = (spec.seed.to_string(), job.tune.lag.to_string());
    let objectives: Vec<String> = spec.objectives.iter().map(Objective::to_string).collect();
    let context = serde_json::to_string(&spec.context).unwrap_or_default();
    let data_key = prepared.map_or("", |prepared| prepared.key.as_str());
    let study_key = key(&["tune", data_key, &objectives.join(", "), &seed, &lag, &context]);
    let space = serde_json::to_string(&spec.space).unwrap_or_default();
    let key = key(&[&study_key, &space]);
    let (study, locator) = open(job, &spec, &study_key, folder, reporter)?;

    let folder = &job.run_folder();
    let deadline = job.tune.timeout.map(|timeout| start + timeout);
    let search = Search { job, rows, study: &study, folder, reporter, stop, deadline };
    by(&search)?;
    let trials = study.trials();
    if !trials.iter().any(|trial| trial.score().is_some()) {
        return Err(no_trial_completed(&trials));
    }
    let again = search.finals()?;
    let best =
        choose(&request(&study, &trials), &again).ok_or_else(|| no_trial_completed(&trials))?;
    let goes_on = |trial: &Trial| trial.state != State::Complete || trial.number == best.number;
    Workplace::of(folder, job.tune.workers).remove_all_but(&trials, goes_on);
    let again: BTreeMap<u64, Trial> =
        again.into_iter().map(|trial| (trial.number, trial)).collect();
    let seconds = start.elapsed().as_secs_f64();
    let folds = of_folds(&locator, &spec.name, best.number)?;
    let twice = again.contains_key(&best.number);
    reporter.line("tune", &summary(job, &trials, &best, twice, folds.as_ref()));
    let margin = luthier_tune::margin(&trials, spec.objectives[0].direction);
    let reported = match job.tune.program {
        Some(_) => reported(&locator, &spec.name)?,
        None => BTreeSet::new(),
    };
    Ok(Tuned { trials, best, again, margin, seconds, key, reported, folds, study_seed: spec.seed })
}

/// Opens the study, or begins it where there is none with this key, which says all that makes it
/// another one but its space, which it knows itself.
fn open(
    job: &Job,
    spec: &StudySpec,
    key: &str,
    folder: &mut RunFolder,
    reporter: &Reporter,
) -> Result<(Study, Locator), Failure> {
    let Locator::File(name) = &job.tune.storage else {
        let study =
            open_or_extend(job, spec, &job.tune.storage).map_err(|error| refused(job, error))?;
        return Ok((study, job.tune.storage.clone()));
    };
    let path = folder.join(name);
    let known = folder.key_of("tune").map(str::to_owned);
    if known.as_ref().map_or(path.exists(), |known| known != key) {
        let was_there = path.exists();
        let aside = set_aside(folder, &path, known.as_deref().unwrap_or("earlier"))?;
        if was_there {
            let text = format!("a study of another job or other data is set aside as {aside}");
            reporter.line("tune", &text);
        }
    }
    // Noted first: a study that is there without a note is taken for another one.
    folder.finish("tune", key)?;
    let locator = Locator::File(path.clone());
    let study = match open_or_extend(job, spec, &locator) {
        Err(StudyError::Changed(change)) if change.in_space && job.tune.extend.is_none() => {
            let aside = set_aside(folder, &path, key)?;
            let text = format!(
                "{change}; the study is set aside as {aside} (--extend-space keeps one whose space \
                 has grown)"
            );
            reporter.line("tune", &text);
            Study::open(locator.clone(), spec)
        }
        study => study,
    };
    Ok((study.map_err(|error| refused(job, error))?, locator))
}

fn open_or_extend(job: &Job, spec: &StudySpec, locator: &Locator) -> Result<Study, StudyError> {
    match &job.tune.extend {
        Some(added) => Study::extend(locator.clone(), spec, added),
        None => Study::open(locator.clone(), spec),
    }
}

/// Why the study cannot go on, with what to do where that is because of its space.
fn refused(job: &Job, error: StudyError) -> Failure {
    let in_space = matches!(&error, StudyError::Changed(change) if change.in_space);
    let failure = Failure::from(error);
    match (in_space, &job.tune.extend) {
        (false, _) => failure,
        (true, Some(_)) => failure.hint(
            "a space may only grow; what a new parameter has been in earlier trials is said with \
             `--was PARAMETER=VALUE`",
        ),
        (true, None) => failure.hint(
            "`--extend-space` goes on with a study whose space has only grown; or give the study \
             another `name` or storage",
        ),
    }
}

/// Joins the study of this job that another process has begun or, within `wait`, begins.
pub(super) fn join(
    job: &Job,
    rows: Option<&TrainingRows<'_>>,
    wait: Duration,
    stop: &AtomicBool,
) -> Result<Study, Failure> {
    let (spec, end) = (spec(job, rows)?, Instant::now() + wait);
    loop {
        match Study::join(&job.tune.storage, &spec) {
            Err(StudyError::Absent { .. }) if stop.load(Ordering::Relaxed) => {
                return Err(interrupted());
            }
            Err(StudyError::Absent { .. }) if Instant::now() < end => std::thread::sleep(PAUSE),
            Err(error @ StudyError::Absent { .. }) => {
                return Err(Failure::from(error).hint(
                    "begin it with `luthier tune` on the same job; --wait says how long to wait",
                ));
            }
            study => return Ok(study?),
        }
    }
}

/// Number of finished trials.
pub(super) fn finished(trials: &[Trial]) -> u64 {
    trials.iter().filter(|trial| trial.state.is_finished()).count() as u64
}

fn spec(job: &Job, rows: Option<&TrainingRows<'_>>) -> Result<StudySpec, Failure> {
    let dataset = rows.map(|rows| rows.dataset);
    let objective =
        |goal: &Goal| Objective { metric: goal.measure.to_string(), direction: goal.direction };
    let constraint = |constraint: &Constraint| constraint.goal.measure.to_string();
    Ok(StudySpec {
        name: job.name.clone(),
        space: job.tune.space.clone(),
        objectives: job.objective.goals.iter().map(objective).collect(),
        constraints: job.objective.constraints.iter().map(constraint).collect(),
        seed: job.tune.seed,
        sampler: job.tune.sampler.clone(),
        pruner: match folds(job, dataset) {
            Some(folds) => job.tune.pruner.clone().over(folds),
            None => job.tune.pruner.clone(),
        },
        lag: Some(job.tune.lag),
        context: context(job, rows)?,
    })
}

/// How trials go over the folds of the data, if there are any.
pub(super) fn folds(job: &Job, dataset: Option<&Dataset>) -> Option<Folds> {
    let of_learner = |learner: &dyn Learner| {
        let (parameter, per_step) = learner.steps();
        let name = format!("{}.{parameter}", learner.name());
        match job.tune.space.get(&name)?.distribution {
            Distribution::Int { high, .. } => Some(high.unsigned_abs().div_ceil(per_step)),
            _ => None,
        }
    };
    let of_program = job.tune.program.as_ref().map(|_| PROGRAM_STEPS);
    let most =
        job.tune.learners.iter().map(AsRef::as_ref).filter_map(of_learner).chain(of_program).max();
    let (count, steps) = (dataset.map_or(0, Dataset::folds), most.unwrap_or(1).max(1));
    (count > 0).then_some(Folds { count, steps, seed: job.tune.seed })
}

/// What else decides which scores values get. Whoever works on a study must agree on it.
fn context(
    job: &Job,
    rows: Option<&TrainingRows<'_>>,
) -> Result<BTreeMap<String, String>, Failure> {
    let digest = |digest: &str| digest.chars().take(16).collect::<String>();
    let release = ("release".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let mut context = BTreeMap::from([release]);
    if let Some(rows) = rows {
        context.insert("data".to_owned(), digest(&rows.dataset.digest()));
    }
    if let Some(lessons) = rows.and_then(TrainingRows::lessons) {
        context.insert("teacher".to_owned(), digest(lessons));
    }
    if let Some(decision) = rows.and_then(|rows| rows.decision.class()) {
        if let Some(threshold) = decision.threshold {
            context.insert("threshold".to_owned(), threshold.to_string());
        }
        if !decision.costs.is_empty() {
            let costs = format!("{:?} {:?}", decision.labels, decision.costs);
            context.insert("costs".to_owned(), digest(&key(&[&costs])));
        }
    }
    let learning = job.data.as_ref().map(|data| serde_json::to_value(&data.learning));
    if let Some(Ok(serde_json::Value::Object(learning))) = learning {
        context.extend(learning.into_iter().map(|(key, value)| (key, value.to_string())));
    }
    for Constraint { goal, limit } in &job.objective.constraints {
        context.insert(format!("limit of {}", goal.measure), limit.to_string());
    }
    if let Some(program) = &job.tune.program {
        context.insert("program".to_owned(), digest(&key(&[program.key()])));
    }
    for (name, files) in checkpoints::digests(job)? {
        context.insert(format!("checkpoint {name}"), digest(&files));
    }
    Ok(context)
}

/// Gives a study of another setup, and what its programs have left, a name of its own, and says which.
fn set_aside(folder: &RunFolder, path: &Path, key: &str) -> Result<String, Failure> {
    let key: String = key.chars().take(8).collect();
    let named = |end: &str| path.with_file_name(format!("{}.{end}", file_name(path)));
    let numbered = (2..).map(|number| format!("{key}-{number}"));
    let mut ends = std::iter::once(key.clone()).chain(numbered);
    let end = ends.find(|end| !named(end).exists()).unwrap_or(key);
    workplace::clear(&folder.join(""));
    let trials = folder.join("trials");
    if trials.exists() {
        let to = folder.join(format!("trials.{end}"));
        std::fs::rename(&trials, &to).map_err(Failure::io(&trials))?;
    }
    for suffix in ["", "-wal", "-shm"] {
        let from = path.with_file_name(format!("{}{suffix}", file_name(path)));
        if from.exists() {
            let to = named(&format!("{end}{suffix}"));
            std::fs::rename(&from, &to).map_err(Failure::io(&from))?;
        }
    }
    Ok(file_name(&named(&end)))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A study with all that evaluating its trials takes.
pub(super) struct Search<'a, 'd> {
    pub(super) job: &'a Job,
    /// The rows, where the job has any.
    pub(super) rows: Option<&'a TrainingRows<'d>>,
    pub(super) study: &'a Study,
    /// Where programs get rows and leave files.
    pub(super) folder: &'a Path,
    pub(super) reporter: &'a Reporter,
    pub(super) stop: &'a AtomicBool,
    pub(super) deadline: Option<Instant>,
}

/// What a search has done.
#[derive(Default)]
pub(super) struct Searched {
    /// Number of trials that it has brought to an end.
    pub(super) ended: u64,
    /// Whether the space ran out of configurations.
    pub(super) exhausted: bool,
}

/// A part of a search.
struct Round {
    /// What the best score of earlier rounds is to the target.
    short: Option<String>,
    /// Where new configurations come from, if not from the whole space.
    within: Option<Space>,
    /// How many trials there are in all when it is over.
    trials: u64,
}

impl Search<'_, '_> {
    /// Searches in rounds until the job has what it asks for.
    pub(super) fn rounds(&self) -> Result<Searched, Failure> {
        let mut searched = Searched::default();
        for number in 0..=u64::from(self.job.tune.refine) {
            let Some(Round { short, within, trials }) = self.round_of(number) else { break };
            if let Some(short) = short {
                let text = format!("{short}; searching again around the best trials");
                self.reporter.line("tune", &text);
            }
            let (trials, within) = (Some(trials), within.as_ref());
            let Some(summary) = self.round(&Run { trials, within, ..self.run() })? else {
                continue;
            };
            searched.ended += summary.ended;
            searched.exhausted = summary.exhausted;
            if summary.exhausted || summary.stopped {
                break;
            }
        }
        Ok(searched)
    }

    /// The round of this number once those before are over, `None` if there is no need of it: the
    /// first in the whole space, each further one around the best trials so far, while these are short
    /// of the target. It follows from the trials of earlier rounds alone, so that all who share a study
    /// agree on it.
    fn round_of(&self, number: u64) -> Option<Round> {
        let before = number * self.job.tune.trials;
        let trials = before + self.job.tune.trials;
        if number == 0 {
            return Some(Round { short: None, within: None, trials });
        }
        let mut earlier = self.study.trials();
        earlier.retain(|trial| trial.number < before);
        let best = self.best(&earlier)?;
        let short = short_of_target(self.job, best)?;
        let within = around_best(&request(self.study, &earlier))?;
        Some(Round { short: Some(short), within: Some(within), trials })
    }

    /// How many trials are wanted as far as the search is: those of the round that it is in, or of the
    /// last one.
    pub(super) fn wanted(&self) -> u64 {
        let finished = finished(&self.study.trials());
        let mut wanted = 0;
        for number in 0..=u64::from(self.job.tune.refine) {
            match self.round_of(number) {
                Some(round) if finished >= wanted => wanted = round.trials,
                _ => break,
            }
        }
        wanted
    }

    fn run(&self) -> Run<'_> {
        Run {
            trials: None,
            deadline: self.deadline,
            workers: self.job.tune.workers,
            stop: self.stop,
            retries: Retries::default(),
            first: &self.job.tune.first,
            within: None,
        }
    }

    /// The best trial so far.
    pub(super) fn best<'t>(&self, trials: &'t [Trial]) -> Option<&'t Trial> {
        luthier_tune::best(trials, request(self.study, trials).directions)
    }

    /// Evaluates trials until there are enough; `None` if there were.
    fn round(&self, run: &Run<'_>) -> Result<Option<Summary>, Failure> {
        let Self { job, study, reporter, .. } = *self;
        let wanted = run.trials.unwrap_or(u64::MAX);
        if finished(&study.trials()) >= wanted {
            return Ok(None);
        }
        let evaluator = Evaluator::start(self)?;
        let bar = reporter.bar("tune", finished(&study.trials()), wanted);
        let (over, ended) = mpsc::channel();
        let result = std::thread::scope(|scope| {
            // Dropped at the end of the run.
            let _over: mpsc::Sender<()> = over;
            if bar.is_live() {
                let bar = &bar;
                scope.spawn(move || watch(job, study, bar, &ended));
            }
            study.run(run, &|session| evaluator.evaluate(session), &|event| {
                if let Event::Finished { trial, best, finished } = event {
                    evaluator.tidy(&trial);
                    let reported = evaluator.is_reported(&trial);
                    show(&bar, job, &trial, reported, best, (finished, wanted));
                    show_running(job, study, &bar);
                }
            })
        });
        drop(bar);
        match result {
            Err(error @ StudyError::Failures { .. }) => {
                Err(Failure::from(error).hint("the reasons of all trials are in the study"))
            }
            Err(error) => Err(error.into()),
            Ok(_) if self.stop.load(Ordering::Relaxed) => Err(interrupted()),
            Ok(summary) => Ok(Some(summary)),
        }
    }

    /// Evaluates the trials that may be the best once more, unless that was done or there is no time
    /// left, and gives what they came to.
    fn finals(&self) -> Result<Vec<Trial>, Failure> {
        let trials = self.study.trials();
        let count = self.job.tune.reevaluate;
        let finalists = finalists(&request(self.study, &trials), count);
        if finalists.len() < 2 {
            return Ok(Vec::new());
        }
        let mut known = self.study.again()?;
        let missing = finalists.iter().filter(|trial| !known.contains_key(&trial.number));
        let missing: Vec<Trial> = missing.map(|trial| (*trial).clone()).collect();
        if !missing.is_empty() {
            let evaluator = Evaluator::start(self)?;
            let evaluate = |session: &Session<'_>| evaluator.evaluate(session);
            self.study.evaluate_again(&missing, &self.run(), &evaluate)?;
            if self.stop.load(Ordering::Relaxed) {
                return Err(interrupted());
            }
            known = self.study.again()?;
        }
        let again = finalists.into_iter().filter_map(|trial| {
            let Measured { scores, violations, tiebreak } = known.remove(&trial.number)?;
            Some(Trial { scores, violations, tiebreak, ..trial.clone() })
        });
        Ok(again.collect())
    }
}

/// What a decision about trials is made from; as everywhere after the search, by the first objective.
fn request<'t>(study: &'t Study, trials: &'t [Trial]) -> Request<'t> {
    let StudySpec { ref space, ref objectives, seed, .. } = *study.spec();
    let directions = std::slice::from_ref(&objectives[0].direction);
    Request { space, directions, trials, number: trials.len() as u64, seed }
}

/// Evaluates trials of all learners of a job.
struct Evaluator<'a, 'd> {
    job: &'a Job,
    study: &'a Study,
    /// The rows that trials are judged by, for each fold or all; none where the job has no rows.
    valid: Vec<Valid<'d>>,
    /// What trials are fitted to, likewise; none where no learner is ours.
    data: &'a [Data<'d>],
    programs: Option<Programs<'a>>,
    workplace: Workplace,
}

impl<'a, 'd> Evaluator<'a, 'd> {
    fn start(search: &Search<'a, 'd>) -> Result<Self, Failure> {
        let Search { job, rows, study, folder, .. } = *search;
        let valid = rows.map(Valid::of).transpose()?.unwrap_or_default();
        let programs = Programs::start(job, &valid, folder)?;
        let rows = rows.filter(|_| !job.tune.learners.is_empty());
        let data = rows.map(TrainingRows::judged).transpose()?.unwrap_or_default();
        let workplace = Workplace::of(folder, job.tune.workers);
        Ok(Self { job, study, valid, data, programs, workplace })
    }

    fn evaluate(&self, session: &Session<'_>) -> Result<Measured, TrialFailure> {
        let name = session.values().text("learner");
        let name = name.map_err(|error| TrialFailure::Error(error.to_string()))?;
        match (name, &self.programs, self.data) {
            (program::LEARNER, Some(programs), _) => {
                programs.evaluate(&self.valid, self.study, session)
            }
            (name, _, []) => Err(TrialFailure::Error(format!("there is no learner `{name}`"))),
            (name, _, data) => {
                let (job, valid) = (self.job, &self.valid);
                let fitting = Fitting::of(job, name, session, &self.workplace)?;
                match folds(job, Some(valid[0].dataset)) {
                    None => fitting.evaluate(&valid[0], &data[0]),
                    Some(folds) => self.cross_validate(&fitting, folds, session),
                }
            }
        }
    }

    fn cross_validate(
        &self,
        fitting: &Fitting<'_>,
        folds: Folds,
        session: &Session<'_>,
    ) -> Result<Measured, TrialFailure> {
        let trial = CrossValidation { folds, valid: &self.valid, study: self.study };
        trial.evaluate(session, &mut |fold, report| {
            let (place, seed) = (usize::from(fold), fold_seed(session.seed(), fold));
            fitting.fit(&self.valid[place], &self.data[place], seed, report)
        })
    }

    /// Removes what fits have left, now that `trial` is over, but for those of failed trials, of which the
    /// last good state is told, and of complete ones that may yet be chosen.
    fn tidy(&self, trial: &Trial) {
        match trial.state {
            State::Failed => {}
            State::Complete if self.workplace.has(trial.number) => {
                let trials = self.study.trials();
                let request = request(self.study, &trials);
                let mut chosen = finalists(&request, self.job.tune.reevaluate);
                if chosen.len() < 2 {
                    chosen = luthier_tune::best(&trials, request.directions).into_iter().collect();
                }
                let may_be = |trial: &Trial| {
                    trial.state != State::Complete
                        || chosen.iter().any(|chosen| chosen.number == trial.number)
                };
                self.workplace.remove_all_but(&trials, may_be);
            }
            _ => self.workplace.remove(trial.number),
        }
    }

    /// Whether a trial of this run has a score of its program's own.
    fn is_reported(&self, trial: &Trial) -> bool {
        self.programs.as_ref().is_some_and(|programs| programs.is_reported(trial.number))
    }
}

/// What the best score is to the target, if it does not reach it.
fn short_of_target(job: &Job, best: &Trial) -> Option<String> {
    let (first, target, score) = (job.objective.first(), job.objective.target?, best.score()?);
    let text = format!("best {}{} {score:.4}", valid(job), first.measure);
    (!first.reaches(score, target)).then(|| format!("{text} is short of the target {target}"))
}

/// The word before the name of a score that was computed on the validation rows.
fn valid(job: &Job) -> &'static str {
    if job.data.is_some() { "valid " } else { "" }
}

/// What all fits of a trial have in common.
struct Fitting<'a> {
    job: &'a Job,
    learner: &'a dyn Learner,
    session: &'a Session<'a>,
    /// The learner's.
    values: Values,
    workplace: &'a Workplace,
}

impl<'a> Fitting<'a> {
    fn of(
        job: &'a Job,
        name: &str,
        session: &'a Session<'a>,
        workplace: &'a Workplace,
    ) -> Result<Self, TrialFailure> {
        let learner = job.tune.learners.iter().find(|learner| learner.name() == name);
        let none = || TrialFailure::Error(format!("there is no learner `{name}`"));
        let learner = learner.ok_or_else(none)?.as_ref();
        Ok(Self { job, learner, session, values: session.values().scope(name), workplace })
    }

    /// Fits the trial, scores each of its epochs, and reports it.
    fn evaluate(&self, valid: &Valid<'_>, data: &Data<'_>) -> Result<Measured, TrialFailure> {
        let session = self.session;
        let report = &mut |epoch, scores| session.report_all(epoch, scores);
        Ok(self.fit(valid, data, session.seed(), report)?.on(valid))
    }

    /// Fits to `data` with the values of the trial and hands each epoch's scores on the rows of `valid`
    /// to `report`. No other fit of the trial has the same seed.
    fn fit(
        &self,
        valid: &Valid<'_>,
        data: &Data<'_>,
        seed: u64,
        report: &mut dyn FnMut(u64, Vec<f64>) -> ControlFlow<()>,
    ) -> Result<Scored, TrialFailure> {
        let mut last = Err(TrialFailure::Pruned);
        // The same in all epochs.
        let mut size = None;
        let stopped = || self.session.check().is_break();
        let number = self.session.number();
        let folder = self.workplace.fit(number, seed);
        let host = self.workplace.host(&folder, &stopped);
        let fit = Fit { host, ..Fit::new(data, &self.values, seed) };
        let fitted = self.learner.fit(&fit, &mut |step| {
            let scored = valid.predictions(step.valid, None);
            let measured = scored.and_then(|scored| {
                self.job.objective.measured(|measure| match measure {
                    Measure::Metric(metric) => valid.score(*metric, &scored),
                    Measure::Size => match size {
                        Some(size) => Ok(size),
                        None => megabytes(valid, &step).map(|found| *size.insert(found)),
                    },
                    Measure::Reported(name) => Err(format!("there is no `{name}`")),
                })
            });
            last = measured.map_err(TrialFailure::Error);
            match &last {
                Ok(measured) => report(step.epoch, measured.scores.clone()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        match fitted {
            Ok(fitted) => {
                // Only what a trial came to at first is taken further.
                if self.session.is_again() {
                    self.workplace.remove_fit(number, seed);
                }
                Ok(Scored { measured: last?, outputs: Some(fitted.valid) })
            }
            Err(TrainError::Stopped) => Err(last.err().unwrap_or(TrialFailure::Pruned)),
            Err(error) => Err(TrialFailure::Error(error.to_string())),
        }
    }
}

/// Megabytes of the model as it is, without the reports that a bundle has besides.
fn megabytes(valid: &Valid<'_>, step: &Step<'_>) -> Result<f64, String> {
    let model = (step.network)().to_model(valid.decision.clone(), valid.dataset.table());
    let mut model = model.map_err(|error| error.to_string())?;
    // It will be calibrated, most often by a temperature, which takes the same few bytes for any
    // number but 1.
    model.set_temperature(2.0);
    Ok(model_bytes(&model) as f64 / 1e6)
}

/// Tells of a trial that has finished, where there is no terminal.
pub(super) fn show(
    bar: &Bar,
    job: &Job,
    trial: &Trial,
    reported: bool,
    best: Option<(u64, f64)>,
    (finished, wanted): (u64, u64),
) {
    let metric = &job.objective.first().measure;
    let outcome = match (trial.state, trial.score()) {
        (State::Complete, Some(score)) if reported => format!("{metric} {score:.4} (reported)"),
        (State::Complete, Some(score)) => format!("{metric} {score:.4}"),
        (State::Failed, _) => format!("failed: {}", first_line(trial.reason.as_deref())),
        (_, _) if job.data.as_ref().is_some_and(|data| data.rows.folds.is_some()) => {
            format!("pruned after {} steps", trial.steps.len())
        }
        (_, _) => pruned(job, trial),
    };
    let best = if best.is_some() { format!(", {}", best_so_far(job, best)) } else { String::new() };
    bar.step(&format!("{finished}/{wanted} trial {} {outcome}{best}", trial.number));
}

/// How far a trial came, in the words of its learner.
fn pruned(job: &Job, trial: &Trial) -> String {
    let name = trial.values.text("learner").unwrap_or_default();
    let learner = job.tune.learners.iter().find(|learner| learner.name() == name);
    let (what, per_step) = learner.map_or(("steps", 1), |learner| learner.steps());
    format!("pruned after {} {what}", trial.steps.len() as u64 * per_step)
}

/// A program's reason has the last lines of its errors below.
fn first_line(reason: Option<&str>) -> &str {
    reason.and_then(|reason| reason.lines().next()).unwrap_or("no reason given")
}

fn summary(
    job: &Job,
    trials: &[Trial],
    best: &Trial,
    twice: bool,
    folds: Option<&OfFolds>,
) -> String {
    let count = |state| trials.iter().filter(|trial| trial.state == state).count();
    let score = best.score().unwrap_or(f64::NAN);
    let (part, interval) = match folds {
        None => (valid(job), String::new()),
        Some(OfFolds { scores, low, high }) => {
            ("", format!(" over {} folds (95 % {low:.4} to {high:.4})", scores.len()))
        }
    };
    let mut text = format!(
        "{} trials ({} pruned, {} failed), best {part}{} {score:.4}{interval}{}, trial {}: {}",
        count(State::Complete) + count(State::Pruned) + count(State::Failed),
        count(State::Pruned),
        count(State::Failed),
        job.objective.first().measure,
        if twice { " (mean of two)" } else { "" },
        best.number,
        best.values.text("learner").unwrap_or_default(),
    );
    match job.objective.front(trials).len() {
        0 => {}
        count => text += &format!(", {count} on the Pareto front"),
    }
    if best.violation() > 0.0 {
        text += ", beyond its limits, as all are";
    }
    if let Some(target) = job.objective.target {
        let reached = job.objective.first().reaches(score, target);
        text += if reached { ", target reached" } else { ", short of the target" };
    }
    text
}

fn no_trial_completed(trials: &[Trial]) -> Failure {
    let reason = trials.iter().rev().find_map(|trial| trial.reason.as_deref());
    let message = match reason {
        Some(reason) => format!("no trial completed; the last one failed with: {reason}"),
        None => "no trial completed".to_owned(),
    };
    Failure::input(message).hint("raise `tune.timeout` or `tune.trials`, or widen `tune.space`")
}
