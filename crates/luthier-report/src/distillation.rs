//! What a teacher was worth: teacher, student alone and student distilled.

use crate::html::{Column, Html, Table, paragraph};
use crate::page::Section;
use crate::scores::estimate;
use crate::{Contender, Distillation, Estimate, RunReport, number};

/// The three models in a table.
pub(crate) fn section(report: &RunReport) -> Option<Section> {
    let found = report.distillation.as_ref().filter(|found| !found.models.is_empty())?;
    let about = paragraph(&format!(
        "All three on the same {} rows ({}). The student alone has the same values and seed as the \
         distilled one, and was fitted without the teacher; both are as trained, before compression. \
         Differences are the distilled student's, positive when it is better, with the 95 % interval of \
         a paired bootstrap; p is that of an exact paired test of single rows.{}",
        number::count(found.rows),
        found.part,
        faster(found),
    ));
    let mut table = Table::new([
        ("Model", Column::Words),
        (report.metric.name.as_str(), Column::Number),
        ("Distilled student better by", Column::Number),
        ("p", Column::Number),
    ]);
    for (place, model) in found.models.iter().enumerate() {
        let class = if place + 1 == found.models.len() { "chosen" } else { "" };
        table.push(class, cells(model));
    }
    Some(Section { id: "distillation", title: "Distillation", body: about.then(table.html()) })
}

/// How much less time the finished model takes than the teacher, if that is known.
fn faster(found: &Distillation) -> String {
    let teacher = found.models.first().and_then(|teacher| number::finite(teacher.p50_ms));
    let finished = number::finite(found.finished_p50_ms).filter(|finished| *finished > 0.0);
    teacher.zip(finished).map_or(String::new(), |(teacher, finished)| {
        format!(
            " A row takes the finished model {} and the teacher {}, {:.0} times as long.",
            number::milliseconds(Some(finished)),
            number::milliseconds(Some(teacher)),
            teacher / finished,
        )
    })
}

fn cells(model: &Contender) -> [Html; 4] {
    let signed = |Estimate { value, low, high }: Estimate| {
        let bounds = low.zip(high).map_or(String::new(), |(low, high)| {
            format!(" ({} to {})", number::difference(Some(low)), number::difference(Some(high)))
        });
        Html::text(&format!("{}{bounds}", number::difference(value)))
    };
    let p = number::finite(model.p_value).map(|p| match p < 1e-4 {
        true => "< 0.0001".to_owned(),
        false => format!("{p:.4}"),
    });
    [
        Html::isolated(&model.name),
        estimate(Some(model.score)),
        model.difference.map_or_else(|| Html::text(number::NONE), signed),
        Html::text(p.as_deref().unwrap_or(number::NONE)),
    ]
}
