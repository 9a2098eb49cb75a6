//! `luthier study`: what is known of a study, what is told it from elsewhere, and its trials for
//! programs that keep their own loop.

mod export;
mod import;
mod importance;
mod note;
mod place;
mod plot;
mod serve;
mod show;

use luthier_study::{Locator, Record, Records, Study, StudyError};
use luthier_tune::{Trial, front};

use crate::cli::{Format, StudyArgs, StudyCommand};
use crate::failure::Failure;

pub(crate) fn study(command: &StudyCommand, format: Format) -> Result<(), Failure> {
    match command {
        StudyCommand::List { storages, tag } => show::list(storages, tag.as_deref(), format),
        StudyCommand::Show { study, trial: Some(number), .. } => {
            show::trial(&Found::load(study)?, *number, format)
        }
        StudyCommand::Show { study, last, tag, .. } => {
            show::show(&Found::load(study)?, *last, tag.as_deref(), format)
        }
        StudyCommand::Best { study } => show::best(&Found::load(study)?, format),
        StudyCommand::Plot { study, output, contour } => {
            plot::plot(&Found::load(study)?, output, contour, format)
        }
        StudyCommand::Importance { study } => importance::importance(&Found::load(study)?, format),
        StudyCommand::Export { study, output } => {
            export::export(&Found::load(study)?, output.as_deref(), format)
        }
        StudyCommand::Note(args) => note::note(args, format),
        StudyCommand::Enqueue { study, values } => note::enqueue(study, values, format),
        StudyCommand::Import(args) => import::import(args, format),
        StudyCommand::Serve(args) => serve::serve(args, format),
    }
}

/// A study as it stood when it was read.
struct Found {
    locator: Locator,
    records: Records,
    /// The trials of the records.
    trials: Vec<Trial>,
}

impl Found {
    fn load(args: &StudyArgs) -> Result<Self, Failure> {
        match Self::read(locate(&args.storage)?, args.study.as_deref()) {
            Err(StudyError::Absent { storage, name: None, known }) if !known.is_empty() => {
                Err(several(&storage, &known))
            }
            found => Ok(found?),
        }
    }

    /// All studies of a storage.
    fn all(locator: &Locator) -> Result<Vec<Self>, StudyError> {
        match Self::read(locator.clone(), None) {
            // It is not said which of several is meant.
            Err(StudyError::Absent { known, .. }) => {
                known.iter().map(|name| Self::read(locator.clone(), Some(name))).collect()
            }
            one => Ok(vec![one?]),
        }
    }

    fn read(locator: Locator, name: Option<&str>) -> Result<Self, StudyError> {
        let records = Study::load(&locator, name)?;
        let trials = records.trials.iter().map(|record| record.trial.clone()).collect();
        Ok(Self { locator, records, trials })
    }

    /// The trial of this number.
    fn trial(&self, number: u64) -> Result<&Record, StudyError> {
        let place = usize::try_from(number).ok();
        let found = place.and_then(|place| self.records.trials.get(place));
        found.ok_or(StudyError::NoTrial { number })
    }

    /// The trials that are the answer: the best one, or the front of several objectives.
    fn best(&self) -> Vec<&Record> {
        let directions = self.records.spec.directions();
        let best: Vec<&Trial> = match directions.as_slice() {
            [_] => luthier_tune::best(&self.trials, &directions).into_iter().collect(),
            _ => front(&self.trials, &directions),
        };
        best.into_iter().filter_map(|trial| self.trial(trial.number).ok()).collect()
    }
}

/// What is said where it has to be said which study is meant.
fn several(storage: &Locator, known: &[String]) -> Failure {
    Failure::input(format!("`{storage}` has several studies"))
        .hint(format!("say which with --study: {}", known.join(", ")))
}

/// What a storage on the command line names; of a folder the study in it.
fn locate(storage: &str) -> Result<Locator, Failure> {
    let locator = match storage.parse::<Locator>() {
        Ok(locator) => locator,
        Err(never) => match never {},
    };
    let Locator::File(path) = &locator else { return Ok(locator) };
    if !path.is_dir() {
        return Ok(locator);
    }
    let inside = ["study.db", "run/study.db"].map(|name| path.join(name));
    let found = inside.iter().find(|path| path.is_file());
    found.map(Locator::from).ok_or_else(|| {
        Failure::input(format!("there is no study in {}", path.display()))
            .hint("give the file of the study, or the folder of a job that was run")
    })
}
