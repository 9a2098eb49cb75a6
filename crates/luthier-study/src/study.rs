//! A study as its users hold it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use luthier_space::{Space, Values};
use luthier_tune::{Sampler, Trial, sampler_by_name};

use crate::ledger::Ledger;
use crate::spec::narrowed;
use crate::storage::{self, Record, Records, Storage};
use crate::{Locator, Overview, StudyError, StudySpec};

/// An open study. Any number of processes may have it open and run it at once.
pub struct Study {
    pub(crate) spec: StudySpec,
    pub(crate) sampler: Box<dyn Sampler>,
    ledger: Mutex<Ledger>,
}

impl Study {
    /// Creates the study that `locator` and the name in `spec` name, or continues the one that is
    /// there.
    ///
    /// The sampler and the pruner may differ from those it was started with, and are from then on
    /// the new ones. Anything else that differs is [`StudyError::Changed`].
    pub fn open(locator: impl Into<Locator>, spec: &StudySpec) -> Result<Self, StudyError> {
        if let Some((parameter, fault)) = spec.fault() {
            return Err(StudyError::Space { parameter: parameter.to_owned(), fault });
        }
        let sampler = sampler_by_name(&spec.sampler)?;
        let mut storage = storage::open(&locator.into(), spec)?;
        let found = storage.spec()?;
        if let Some(change) = found.change(spec) {
            return Err(StudyError::Changed(change));
        }
        let spec = match spec.space.is_open() {
            true => renewed(storage.as_mut(), spec)?,
            false => spec.clone(),
        };
        if !spec.space.is_open() && found != spec {
            storage.set_spec(&spec, &[])?;
        }
        let ledger = Mutex::new(Ledger::new(storage, &spec)?);
        Ok(Self { spec, sampler, ledger })
    }

    /// Opens a study as [`Study::open`] does, and lets its space grow to that of `spec`: ranges may
    /// become wider, options and parameters be added, constraints be dropped. The values in `added`
    /// are what its trials have had for parameters that did not exist, and become part of them.
    ///
    /// A space that leaves out what was possible before, or adds a parameter without a word on what it
    /// has been, is [`StudyError::Changed`]. Other processes that run the study at that time end with
    /// that error too, as soon as they meet a trial that their space does not have.
    pub fn extend(
        locator: impl Into<Locator>,
        spec: &StudySpec,
        added: &Values,
    ) -> Result<Self, StudyError> {
        let locator = locator.into();
        if let Some((parameter, fault)) = spec.fault() {
            return Err(StudyError::Space { parameter: parameter.to_owned(), fault });
        }
        let mut storage = storage::open(&locator, spec)?;
        let found = storage.spec()?;
        if found.space.is_open() || spec.space.is_open() {
            // It grows by itself, or is another.
            drop(storage);
            return Self::open(locator, spec);
        }
        let in_old_space = StudySpec { space: found.space.clone(), ..spec.clone() };
        let change = found.change(&in_old_space).or_else(|| narrowed(&found.space, &spec.space));
        if let Some(change) = change {
            return Err(StudyError::Changed(change));
        }
        if found.space != spec.space {
            Ledger::new(storage, &found)?.extend(&found, spec, added)?;
        }
        Self::open(locator, spec)
    }

    /// Opens the study that is there, as another process has set it up; in a database with several
    /// studies the one called `name`.
    pub fn existing(locator: &Locator, name: Option<&str>) -> Result<Self, StudyError> {
        let mut storage = storage::existing(locator, name)?;
        let spec = storage.spec()?;
        let sampler = sampler_by_name(&spec.sampler)?;
        let ledger = Mutex::new(Ledger::new(storage, &spec)?);
        Ok(Self { spec, sampler, ledger })
    }

    /// Opens the study that is there, in the place and under the name that [`Study::open`] would take,
    /// and changes nothing about it: its own sampler and pruner stay. [`StudyError::Absent`] if a
    /// database does not have it; anything else that differs from `spec` is [`StudyError::Changed`].
    pub fn join(locator: &Locator, spec: &StudySpec) -> Result<Self, StudyError> {
        let study = Self::existing(locator, Some(&spec.name))?;
        match study.spec.change(spec) {
            Some(change) => Err(StudyError::Changed(change)),
            None => Ok(study),
        }
    }

    /// Reads a study, which other processes may be running; see [`Study::existing`].
    pub fn load(locator: &Locator, name: Option<&str>) -> Result<Records, StudyError> {
        storage::existing(locator, name)?.records()
    }

    /// The setup; an open space as it was when the study was opened here.
    pub fn spec(&self) -> &StudySpec {
        &self.spec
    }

    /// The space, an open one as far as this process knows; see [`Study::refresh`].
    pub fn space(&self) -> Space {
        self.ledger().space().clone()
    }

    /// All trials so far, by number, as far as this process knows; see [`Study::refresh`].
    pub fn trials(&self) -> Vec<Trial> {
        self.ledger().trials().to_vec()
    }

    /// How it stands, as far as this process knows; see [`Study::refresh`].
    pub fn overview(&self) -> Overview {
        self.ledger().overview()
    }

    /// Learns what other processes have done since.
    pub fn refresh(&self) -> Result<(), StudyError> {
        self.ledger().sync(&self.spec)
    }

    /// Adds a configuration that is evaluated before anything new is proposed, and gives its number.
    /// In an open study it is what the trial gets of the parameters that it asks for.
    pub fn enqueue(&self, values: &Values) -> Result<u64, StudyError> {
        let values = match self.spec.space.is_open() {
            true => values.clone(),
            false => self.spec.space.adopt(values)?,
        };
        self.ledger().enqueue(values, &self.spec)
    }

    /// Adds trials that were evaluated elsewhere, all or none, under new numbers from the one that is
    /// returned on. Each must be over and fit the study.
    pub fn import(&self, mut records: Vec<Record>) -> Result<u64, StudyError> {
        let space = self.space();
        for (place, Record { trial, .. }) in records.iter_mut().enumerate() {
            self.spec.adopt(trial, &space).map_err(|fault| StudyError::Import { place, fault })?;
        }
        self.ledger().import(records, &self.spec)
    }

    /// Notes something about a trial, or without a number about the study: a tag, a remark, the
    /// commit that was trained. `null` takes a note away.
    pub fn set_attribute(
        &self,
        number: Option<u64>,
        key: &str,
        value: &serde_json::Value,
    ) -> Result<(), StudyError> {
        let mut ledger = self.ledger();
        if let Some(number) = number
            && !ledger.has(number)
        {
            ledger.sync(&self.spec)?;
            if !ledger.has(number) {
                return Err(StudyError::NoTrial { number });
            }
        }
        ledger.storage().set_attribute(number, key, value)
    }

    /// The ledger. A panic elsewhere cannot leave it half changed, so poison is no concern.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the setup of an open study, whose space stays as it is: others may let it grow at the time.
fn renewed(storage: &mut dyn Storage, spec: &StudySpec) -> Result<StudySpec, StudyError> {
    storage.begin_proposing()?;
    let renewed = storage.spec().and_then(|found| {
        let spec = StudySpec { space: found.space.clone(), ..spec.clone() };
        if found != spec {
            storage.set_spec(&spec, &[])?;
        }
        Ok(spec)
    });
    let _ = storage.end_proposing()?;
    renewed
}
