//! What a teacher was worth to its student.

use luthier_data::Part;
use luthier_engine::Threads;
use luthier_eval::{Bootstrap, Comparison, Predictions, Verdict, compare, interval};
use serde::{Deserialize, Serialize};

use super::Prepared;
use super::held_out::{self, HeldOut, answering};
use super::inputs::Inputs;
use super::measure::{Answers, TIMED_ROWS, Truth, answer, binary, latency, some_rows};
use super::teach::Teacher;
use super::train::Trained;
use crate::failure::Failure;

/// A teacher and its student, as trained, with the student without it.
pub(super) struct Distilled<'a> {
    pub(super) teacher: &'a Teacher,
    pub(super) student: &'a Trained,
    pub(super) untaught: Trained,
}

/// Teacher, student alone and student distilled on the same rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Distillation {
    /// The part that the rows are of.
    pub(super) part: String,
    pub(super) teacher: Standing,
    /// The student with the same values and seed, and without the teacher, as trained.
    pub(super) alone: Standing,
    /// The student as trained.
    pub(super) distilled: Standing,
    /// The student against the one alone.
    pub(super) against_alone: Comparison,
    /// The student against the teacher.
    pub(super) against_teacher: Comparison,
    /// Median milliseconds that the teacher takes for a row.
    pub(super) teacher_p50_ms: f64,
}

/// A score with its 95 % interval.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) name: String,
    pub(super) score: Option<f64>,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
}

impl Distilled<'_> {
    /// Compares all of them on the rows of a part, which are the test rows or else those that were held out.
    pub(super) fn compared(
        &self,
        prepared: &Prepared<'_>,
        part: Part,
    ) -> Result<Distillation, Failure> {
        let alone = answered(&self.untaught, prepared, part)?;
        let distilled = answered(self.student, prepared, part)?;
        let truth = Truth::of(&prepared.dataset, &prepared.decision, part)?;
        let Answers { outputs, decided } = self.teacher.answer(&prepared.dataset, part)?;
        let teacher = truth.predictions(&outputs, decided)?;
        let (metric, positive) = (prepared.data.metric, binary(&prepared.dataset));
        let bootstrap = Bootstrap::default();
        let standing = |name: &str, scored: &Predictions| {
            let bounds = interval(scored, metric, positive, &bootstrap);
            Standing {
                name: name.to_owned(),
                score: metric.score(scored, positive),
                low: bounds.map(|bounds| bounds.low),
                high: bounds.map(|bounds| bounds.high),
            }
        };
        let against =
            |other: &Predictions| compare(&distilled, other, metric, positive, &bootstrap);
        Ok(Distillation {
            part: part.to_string(),
            teacher: standing(&self.teacher.bundle.manifest().name, &teacher),
            alone: standing("student alone", &alone),
            distilled: standing("student distilled", &distilled),
            against_alone: against(&alone)?,
            against_teacher: against(&teacher)?,
            teacher_p50_ms: self.teacher_p50_ms(prepared)?,
        })
    }

    /// As the finished model is timed.
    fn teacher_p50_ms(&self, prepared: &Prepared<'_>) -> Result<f64, Failure> {
        let threads = Threads::new(1);
        let predictor = self.teacher.bundle.predictor(&threads)?;
        let part = held_out::part(&prepared.dataset);
        let rows = some_rows(&prepared.dataset, part, TIMED_ROWS)?;
        let (p50, _) = threads.run(|| latency(&predictor, &rows))?;
        Ok(p50)
    }
}

/// What a student answers.
fn answered(
    student: &Trained,
    prepared: &Prepared<'_>,
    part: Part,
) -> Result<Predictions, Failure> {
    let threads = Threads::new(1);
    let predictor = student.bundle.predictor(&threads)?;
    let (truth, Answers { outputs, decided }) = if part == Part::Test {
        let rows = Inputs::of(&prepared.dataset, part)?;
        let truth = Truth::of(&prepared.dataset, &prepared.decision, part)?;
        (truth, answer(&predictor, &rows)?)
    } else {
        let held_out = HeldOut::of(prepared)?;
        let folds = student.folds.iter().map(|bundle| bundle.predictor(&threads));
        let folds = folds.collect::<Result<Vec<_>, _>>()?;
        let answers = held_out.answer(answering(&predictor, &folds))?;
        (held_out.truth, answers)
    };
    Ok(truth.predictions(&outputs, decided)?)
}

impl Distillation {
    /// One line: what all three come to, and whether the teacher was of use.
    pub(super) fn line(&self) -> String {
        let shown = |standing: &Standing| {
            standing.score.map_or_else(|| "undefined".to_owned(), |score| format!("{score:.4}"))
        };
        let Comparison { metric, difference, interval, verdict, .. } = &self.against_alone;
        format!(
            "{} {metric}: teacher {}, student alone {}, distilled {} ({}: {difference:+.4}, 95 % \
             {:+.4} to {:+.4})",
            self.part,
            shown(&self.teacher),
            shown(&self.alone),
            shown(&self.distilled),
            match verdict {
                Verdict::Better => "better than alone",
                Verdict::Worse => "worse than alone",
                Verdict::Undecided => "no proven difference to alone",
            },
            interval.low,
            interval.high,
        )
    }
}
