//! Studies from elsewhere: Optuna's, files that were exported or that other programs have written, and
//! copies of studies in other storages.

mod document;
mod rows;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use luthier_data::{Format as TableFormat, Source};
use luthier_study::{
    Attributes, Imported, Locator, Record, Records, Study, StudyError, StudySpec, read_optuna,
};
use serde_json::{Value, json};

pub(super) use document::Written;

use super::place::{Place, fault_of_name};
use super::serve::Setup;
use super::{Found, export, locate, several};
use crate::cli::{Format, StudyImportArgs};
use crate::commands::{print, print_json};
use crate::failure::Failure;

/// How many trials that are left out for one reason are named.
const NAMED: usize = 3;

pub(super) fn import(args: &StudyImportArgs, format: Format) -> Result<(), Failure> {
    let place = Place::of(&args.storage)?;
    let taken = read(args, &place)?.take_in(&place)?;
    match format {
        Format::Json => print_json(&taken.json()),
        Format::Text => print(&taken.text()),
    }
}

/// A study on its way in.
struct Incoming {
    spec: StudySpec,
    trials: Vec<Candidate>,
    attributes: Attributes,
    left_out: Vec<LeftOut>,
}

/// A trial on its way in, if it fits the study.
struct Candidate {
    /// What it is called where it comes from.
    label: String,
    record: Record,
}

struct LeftOut {
    /// What it is called where it comes from.
    label: String,
    reason: String,
}

fn read(args: &StudyImportArgs, place: &Place) -> Result<Incoming, Failure> {
    let path = Path::new(&args.from);
    let given = args.setup.as_deref().map(Setup::spec_of).transpose()?;
    let mut study = if path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("json")) {
        document::read(path)?.into_study(given, || spec_there(args, place))?
    } else if TableFormat::of(path).is_ok() {
        let source = Source::open(path)?;
        rows::read(&source, given.map_or_else(|| spec_there(args, place), Ok)?)?
    } else {
        let study = stored(args)?;
        Incoming { spec: given.unwrap_or(study.spec), ..study }
    };
    if let Some(name) = &args.name {
        study.spec.name.clone_from(name);
    }
    Ok(study)
}

/// The setup of the study that trials belong to which come without one.
fn spec_there(args: &StudyImportArgs, place: &Place) -> Result<StudySpec, Failure> {
    let unknown = || {
        Failure::input(format!("{} does not say what was searched", args.from)).hint(
            "describe the study with --setup FILE.toml, or name the one that these trials belong to \
             with --storage, and --name where there are several",
        )
    };
    let locator = match (place, &args.name) {
        (Place::Folder(_), None) => return Err(unknown()),
        (place, name) => place.locator(name.as_deref().unwrap_or_default()),
    };
    match Study::load(&locator, args.name.as_deref()) {
        Ok(records) => Ok(records.spec),
        Err(error) if is_absent(&error) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

fn is_absent(error: &StudyError) -> bool {
    match error {
        StudyError::Absent { .. } => true,
        StudyError::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// A study of Luthier or of Optuna.
fn stored(args: &StudyImportArgs) -> Result<Incoming, Failure> {
    // As Optuna names a file.
    let from = args.from.strip_prefix("sqlite:///").unwrap_or(&args.from);
    match load(&locate(from)?, args.study.as_deref()) {
        Err(StudyError::Absent { storage, name: None, known }) if !known.is_empty() => {
            Err(several(&storage, &known))
        }
        found => Ok(found?),
    }
}

fn load(locator: &Locator, name: Option<&str>) -> Result<Incoming, StudyError> {
    match (Study::load(locator, name), locator) {
        (Err(StudyError::Foreign { .. }), Locator::File(path)) => {
            let Imported { records, left_out } = read_optuna(path, name)?;
            // Numbered anew; where it comes from they may be others.
            let mut study = Incoming::of(records);
            study.left_out = left_out
                .into_iter()
                .map(|(number, why)| LeftOut { label: trial(number), reason: why.to_string() })
                .collect();
            Ok(study)
        }
        (records, _) => Ok(Incoming::of(records?)),
    }
}

fn trial(number: u64) -> String {
    format!("trial {number}")
}

impl Incoming {
    fn of(Records { spec, trials, attributes }: Records) -> Self {
        let candidate = |record: Record| Candidate { label: trial(record.trial.number), record };
        let trials = trials.into_iter().map(candidate).collect();
        Self { spec, trials, attributes, left_out: Vec::new() }
    }

    /// Adds the study to what is there, or makes it.
    fn take_in(self, place: &Place) -> Result<Taken, Failure> {
        let Self { spec, trials, attributes, mut left_out } = self;
        let mut records = Vec::new();
        for Candidate { label, mut record } in trials {
            match spec.adopt(&mut record.trial, &spec.space) {
                Ok(()) => records.push(record),
                Err(reason) => left_out.push(LeftOut { label, reason }),
            }
        }
        check(&spec, place, &records, &left_out)?;
        let locator = place.locator(&spec.name);
        let study = match Study::join(&locator, &spec) {
            Err(error) if is_absent(&error) => Study::open(locator.clone(), &spec),
            study => study,
        };
        let study = study.map_err(elsewhere)?;
        let there = Found::read(locator, Some(&spec.name))?;
        let known: HashSet<String> = there.records.trials.iter().map(identity).collect();
        let offered = records.len();
        records.retain(|record| !known.contains(&identity(record)));
        let taken = records.len();
        study.import(records)?;
        for (key, value) in &attributes {
            study.set_attribute(None, key, value)?;
        }
        let Found { locator: storage, .. } = there;
        Ok(Taken { storage, name: spec.name, taken, known: offered - taken, left_out })
    }
}

/// What makes a trial the same as one that is there.
fn identity(record: &Record) -> String {
    let Record { trial, started, ended, .. } = record;
    let state = export::state_name(trial.state);
    json!([trial.values, state, trial.scores, started, ended]).to_string()
}

/// Refuses a study of which nothing could be gone on with.
fn check(
    spec: &StudySpec,
    place: &Place,
    records: &[Record],
    left_out: &[LeftOut],
) -> Result<(), Failure> {
    let name = &spec.name;
    if let (Place::Folder(_), Some(fault)) = (place, fault_of_name(name)) {
        return Err(Failure::input(format!("`{name}` is no name for a file: {fault}"))
            .hint("give it another with --name, or a file with --storage"));
    }
    if let ([], [LeftOut { label, reason }, ..]) = (records, left_out) {
        let all = if left_out.len() == 1 { "the only trial" } else { "all trials" };
        return Err(Failure::input(format!("{all} would be left out; {label}: {reason}")));
    }
    if spec.space.is_empty() {
        return Err(Failure::input(format!("the study `{name}` has no parameters")));
    }
    Ok(())
}

/// Why the study cannot be where it is to be.
fn elsewhere(error: StudyError) -> Failure {
    let is_taken = matches!(error, StudyError::Foreign { .. } | StudyError::Changed(_));
    let failure = Failure::from(error);
    match is_taken {
        true => failure.hint("say with --storage where it is to be, or rename it with --name"),
        false => failure,
    }
}

/// A study that was taken in.
struct Taken {
    storage: Locator,
    name: String,
    /// How many trials.
    taken: usize,
    /// How many more were there already.
    known: usize,
    left_out: Vec<LeftOut>,
}

impl Taken {
    fn json(&self) -> Value {
        let left_out = self.left_out.iter();
        let left_out = left_out.map(|out| json!({ "trial": out.label, "reason": out.reason }));
        json!({
            "storage": self.storage.to_string(),
            "name": self.name,
            "trials": self.taken,
            "known": self.known,
            "left_out": left_out.collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let Self { storage, name, taken, known, left_out } = self;
        let trials = if *taken == 1 { "trial" } else { "trials" };
        let mut text = format!("{storage}: {taken} {trials} of study `{name}`");
        if *known > 0 {
            text += &format!(", {known} more had been there");
        }
        text.push('\n');
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for LeftOut { label, reason } in left_out {
            reasons.entry(reason).or_default().push(label);
        }
        for (reason, labels) in reasons {
            let more = match labels.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named = labels[..labels.len().min(NAMED)].join(", ");
            text += &format!("left out: {named}{more}: {reason}\n");
        }
        text
    }
}
