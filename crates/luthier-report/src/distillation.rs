//! What a teacher was worth: teacher, student alone and student distilled.

use crate::html::{Column, Html, Table, paragraph};
use crate::page::Section;
use crate::scores::estimate;
use crate::{Contender, Estimate, RunReport, number};

/// The three models in a table.
pub(crate) fn section(report: &RunReport) -> Option<Section> {
    let found = report.distillation.as_ref().filter(|found| !found.models.is_empty())?;
    let about = paragraph(&format!(
        "All three on the same {} rows ({}). The student alone has the same values and seed as the \
         finished model, and was fitted without the teacher. Differences are the finished model's, \
         positive when it is better, with the 95 % interval of a paired bootstrap; p is that of an \
         exact paired test of single rows.",
        number::count(found.rows),
        found.part,
    ));
    let mut table = Table::new([
        ("Model", Column::Words),
        (report.metric.name.as_str(), Column::Number),
        ("p50", Column::Number),
        ("Finished model better by", Column::Number),
        ("p", Column::Number),
    ]);
    for (place, model) in found.models.iter().enumerate() {
        let class = if place + 1 == found.models.len() { "chosen" } else { "" };
        table.push(class, cells(model));
    }
    Some(Section { id: "distillation", title: "Distillation", body: about.then(table.html()) })
}

fn cells(model: &Contender) -> [Html; 5] {
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
        Html::text(&number::milliseconds(model.p50_ms)),
        model.difference.map_or_else(|| Html::text(number::NONE), signed),
        Html::text(p.as_deref().unwrap_or(number::NONE)),
    ]
}
