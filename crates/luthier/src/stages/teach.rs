//! A teacher, and what it answers for all that its students learn from.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use luthier_bundle::{Bundle, PredictScratch, Predictor, sha256_hex};
use luthier_data::{Content, ContentSpec, Dataset, Part, Selection, Source, Table};
use luthier_engine::Threads;
use luthier_train::augmented;

use super::folder::key;
use super::inputs::{Inputs, content};
use super::measure::{Answers, answer_as};
use super::tune::interrupted;
use crate::failure::{Failure, meant_or_known, nearest};
use crate::job::{Data, Distill, Job};
use crate::term::Reporter;

/// Name of the file of answers in the run folder.
const FILE: &str = "lessons.f32";
/// Rows that a teacher answers between two looks at whether to stop.
const BLOCK: usize = 1024;
/// Of the texts that are made of others.
const SEED: u64 = 0x7465_6163_6865_7221;

/// A teacher and what it has answered.
pub(super) struct Taught {
    pub(super) teacher: Teacher,
    pub(super) lessons: Lessons,
}

/// The model that students learn from.
pub(super) struct Teacher {
    pub(super) bundle: Bundle,
    pub(super) predictor: Predictor,
    /// The labels that it is asked about; none if it answers numbers.
    labels: Vec<String>,
    /// For each column that it takes its place among those of the data set.
    columns: Vec<usize>,
}

/// What a teacher answers for all that its students learn from.
pub(super) struct Lessons {
    /// Digest of all that the answers follow from.
    pub(super) key: String,
    /// Numbers of an answer.
    width: usize,
    /// How many texts are made of each training text.
    copies: usize,
    /// Texts without labels.
    unlabelled: Vec<String>,
    /// Row-major: of each training row and the texts made of it, one after the other, then of those
    /// without labels.
    answers: Vec<f32>,
}

/// Has the teacher of a job, if it has one, answer what is to be learnt. The answers are kept in the run
/// folder if that is this process's to write to, so that they go on where they were stopped.
pub(super) fn teach(
    job: &Job,
    dataset: &Dataset,
    keep: bool,
    reporter: &Reporter,
    stop: &AtomicBool,
) -> Result<Option<Taught>, Failure> {
    let Some((distill, data)) = job.distill.as_ref().zip(job.data.as_ref()) else {
        return Ok(None);
    };
    let teacher = Teacher::open(distill, data, dataset)?;
    let mut lessons = Lessons::empty(distill, data, &teacher, dataset)?;
    let wanted = lessons.wanted(dataset);
    let path = job.run_folder().join(FILE);
    lessons.answers = kept(&path, &lessons, wanted);
    let known = lessons.len();
    if known == wanted {
        return Ok(Some(Taught { teacher, lessons }));
    }
    let file = keep.then(|| begin(&path, &lessons)).transpose()?;
    let bar = reporter.bar("teach", known as u64, wanted as u64);
    let rows = teacher.inputs();
    let mut asking = Asking { teacher: &teacher, lessons: &mut lessons, file, rows, skip: known };
    asking.all(dataset, &mut |done| {
        bar.set(done as u64, "");
        if stop.load(Ordering::Relaxed) { Err(interrupted()) } else { Ok(()) }
    })?;
    drop(bar);
    let name = &teacher.bundle.manifest().name;
    reporter.line("teach", &format!("{wanted} rows answered by {name}"));
    Ok(Some(Taught { teacher, lessons }))
}

impl Teacher {
    /// Opens the bundle and checks that it can answer rows of `dataset`.
    fn open(distill: &Distill, data: &Data, dataset: &Dataset) -> Result<Self, Failure> {
        let within = |failure: Failure| failure.within("`distill.teacher`");
        let bundle = Bundle::open(&distill.teacher).map_err(|error| within(error.into()))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let predictor =
            bundle.predictor(&Threads::new(cores)).map_err(|error| within(error.into()))?;
        let found = predictor.decision();
        if predictor.table().is_some() != dataset.table().is_some()
            || dataset.labels().is_empty() == found.class().is_some()
        {
            let (its, ours) = (&bundle.manifest().task, data.task);
            return Err(within(Failure::input(format!("its task is {its}, and this one {ours}"))));
        }
        let labels = dataset.labels().to_vec();
        let known = found.labels();
        if let Some(label) = labels.iter().find(|label| !known.contains(label)) {
            let what = Failure::input(format!("it does not know the label `{label}`"));
            return Err(within(what.hint(format!("it knows {}", known.join(", ")))));
        }
        if let Some(label) = known.iter().find(|label| !labels.contains(label)) {
            let what = Failure::input(format!("it knows a label `{label}` that no row has"));
            return Err(within(what.hint("teacher and student must tell the same labels apart")));
        }
        let columns = places(predictor.table(), dataset.table()).map_err(within)?;
        Ok(Self { bundle, predictor, labels, columns })
    }

    /// What it answers for the selected rows, its classes in the order of the data set's labels.
    pub(super) fn answer(
        &self,
        dataset: &Dataset,
        rows: impl Into<Selection>,
    ) -> Result<Answers, Failure> {
        let mut inputs = self.inputs();
        for example in dataset.examples(rows)? {
            self.push(&mut inputs, &example?.content)?;
        }
        self.answer_inputs(&inputs)
    }

    fn answer_inputs(&self, rows: &Inputs) -> Result<Answers, Failure> {
        answer_as(&self.predictor, rows, &self.labels, &mut PredictScratch::default())
    }

    fn inputs(&self) -> Inputs {
        Inputs::empty(self.predictor.table())
    }

    /// Adds a row of the data set.
    fn push(&self, inputs: &mut Inputs, content: &Content) -> Result<(), Failure> {
        let unreadable = |error| Failure::input(format!("`distill.teacher`: {error}"));
        match content {
            Content::Text(_) => inputs.push(None, content).map_err(unreadable),
            Content::Cells(cells) => {
                let own = self.columns.iter().map(|place| cells[*place].clone()).collect();
                let table = self.predictor.table();
                inputs.push(table, &Content::Cells(own)).map_err(unreadable)
            }
        }
    }
}

/// For each column of `own` its place among `columns`.
fn places(own: Option<&Table>, columns: Option<&Table>) -> Result<Vec<usize>, Failure> {
    let names = |table: Option<&Table>| -> Vec<String> {
        let columns = table.into_iter().flat_map(Table::columns);
        columns.map(|column| column.name.clone()).collect()
    };
    let known = names(columns);
    let place = |name: String| {
        known.iter().position(|known| *known == name).ok_or_else(|| {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let what = format!("it takes a column `{name}`, which the rows do not have");
            Failure::input(what).hint(meant_or_known(nearest(&name, known.iter().copied()), &known))
        })
    };
    names(own).into_iter().map(place).collect()
}

impl Lessons {
    /// What is to be answered, with no answers yet.
    fn empty(
        distill: &Distill,
        data: &Data,
        teacher: &Teacher,
        dataset: &Dataset,
    ) -> Result<Self, Failure> {
        let unlabelled = unlabelled(distill, data)?;
        let manifest = serde_json::to_vec(teacher.bundle.manifest()).unwrap_or_default();
        let key = key(&[
            &sha256_hex(&manifest),
            &dataset.digest(),
            &sha256_hex(unlabelled.join("\0").as_bytes()),
            &distill.augment.to_string(),
        ]);
        let (width, copies) = (teacher.labels.len().max(1), distill.augment as usize);
        Ok(Self { key, width, copies, unlabelled, answers: Vec::new() })
    }

    /// How many answers there are to be.
    fn wanted(&self, dataset: &Dataset) -> usize {
        dataset.len(Part::Train) as usize * (1 + self.copies) + self.unlabelled.len()
    }

    /// How many answers there are.
    fn len(&self) -> usize {
        self.answers.len() / self.width
    }

    /// What the teacher answers for the training row at `place`.
    pub(super) fn of_row(&self, place: usize) -> &[f32] {
        self.answer(place * (1 + self.copies))
    }

    /// Texts that are made of the one of the training row at `place`, with the teacher's answers.
    pub(super) fn made_of<'l>(
        &'l self,
        place: usize,
        text: &'l str,
    ) -> impl Iterator<Item = (String, &'l [f32])> + 'l {
        let first = place * (1 + self.copies) + 1;
        (0..self.copies).map(move |copy| (self.made(text, place, copy), self.answer(first + copy)))
    }

    /// Texts without labels, with the teacher's answers.
    pub(super) fn unlabelled(&self) -> impl Iterator<Item = (&str, &[f32])> {
        let first = self.len() - self.unlabelled.len();
        let answers = self.answers.chunks_exact(self.width).skip(first);
        self.unlabelled.iter().map(String::as_str).zip(answers)
    }

    fn made(&self, text: &str, place: usize, copy: usize) -> String {
        augmented(text, SEED, (place * self.copies + copy) as u64)
    }

    fn answer(&self, number: usize) -> &[f32] {
        &self.answers[number * self.width..][..self.width]
    }
}

/// The texts without labels of the file that a job names.
fn unlabelled(distill: &Distill, data: &Data) -> Result<Vec<String>, Failure> {
    let (Some(path), ContentSpec::Text(columns)) = (&distill.unlabelled, &data.rows.content) else {
        return Ok(Vec::new());
    };
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let source = Source::open(path)?;
    let texts = source.rows(&columns)?.map(|row| {
        let content = content(None, row?.cells);
        Ok(content.text().unwrap_or_default().to_owned())
    });
    texts.collect()
}

/// Rows on their way to a teacher.
struct Asking<'a> {
    teacher: &'a Teacher,
    lessons: &'a mut Lessons,
    /// Where answers are kept.
    file: Option<(File, PathBuf)>,
    rows: Inputs,
    /// Rows at the beginning that have been answered before.
    skip: usize,
}

impl Asking<'_> {
    /// Asks everything, in the order of the answers, and tells `report` how many are known, which may
    /// end it.
    fn all(
        &mut self,
        dataset: &Dataset,
        report: &mut dyn FnMut(usize) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for (place, example) in dataset.examples(Part::Train)?.enumerate() {
            let content = example?.content;
            self.ask(&content, report)?;
            let Some(text) = content.text() else { continue };
            for copy in 0..self.lessons.copies {
                let made = self.lessons.made(text, place, copy);
                self.ask(&Content::Text(made), report)?;
            }
        }
        for number in 0..self.lessons.unlabelled.len() {
            let text = self.lessons.unlabelled[number].clone();
            self.ask(&Content::Text(text), report)?;
        }
        self.answer()?;
        report(self.lessons.len())
    }

    /// Adds a row, and has a block answered once it is full.
    fn ask(
        &mut self,
        content: &Content,
        report: &mut dyn FnMut(usize) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        self.teacher.push(&mut self.rows, content)?;
        if self.rows.len() < BLOCK {
            return Ok(());
        }
        self.answer()?;
        report(self.lessons.len())
    }

    /// Has the block answered. Texts of like length go together, since shorter ones are filled up.
    fn answer(&mut self) -> Result<(), Failure> {
        let rows = std::mem::replace(&mut self.rows, self.teacher.inputs());
        let order = rows.by_length();
        let found = self.teacher.answer_inputs(&rows.at(order.iter().copied()))?.outputs;
        let width = self.lessons.width;
        let mut answers = vec![0.0; found.len()];
        for (place, found) in order.into_iter().zip(found.chunks_exact(width)) {
            answers[place * width..][..width].copy_from_slice(found);
        }
        if let Some((file, path)) = &mut self.file {
            let bytes: Vec<u8> = answers.iter().flat_map(|number| number.to_le_bytes()).collect();
            file.write_all(&bytes).map_err(Failure::io(&*path))?;
        }
        self.lessons.answers.extend(answers);
        Ok(())
    }
}

/// The answers of the file at `path`, up to the `most` that there can be: none if it has those of other
/// lessons. It begins with their key in a line; float32 numbers follow, little-endian.
fn kept(path: &Path, lessons: &Lessons, most: usize) -> Vec<f32> {
    let bytes = fs::read(path).unwrap_or_default();
    let Some(numbers) = bytes.strip_prefix(format!("{}\n", lessons.key).as_bytes()) else {
        return Vec::new();
    };
    let (numbers, _) = numbers.as_chunks();
    let whole = (numbers.len() / lessons.width).min(most) * lessons.width;
    numbers[..whole].iter().map(|number| f32::from_le_bytes(*number)).collect()
}

/// Opens the file for answers after those that are known, and without what it has of others.
fn begin(path: &Path, lessons: &Lessons) -> Result<(File, PathBuf), Failure> {
    let line = format!("{}\n", lessons.key);
    let open = || {
        let mut file = File::options().append(true).create(true).open(path)?;
        if lessons.answers.is_empty() {
            file.set_len(0)?;
            file.write_all(line.as_bytes())?;
        }
        file.set_len((line.len() + size_of_val(lessons.answers.as_slice())) as u64)?;
        Ok(file)
    };
    Ok((open().map_err(Failure::io(path))?, path.to_owned()))
}
