//! How to use the result, and where it comes from.

use crate::RunReport;
use crate::html::{Column, Html, Table, element};
use crate::page::Section;

/// Commands to copy.
pub(crate) fn commands(report: &RunReport) -> Option<Section> {
    let blocks = report.commands.iter().map(|snippet| {
        let title = element("h3", &[], Html::isolated(&snippet.title));
        let code = element("code", &[], Html::text(&snippet.command));
        element(
            "div",
            &[("class", "command")],
            title.then(element("pre", &[("tabindex", "0")], code)),
        )
    });
    Section { id: "commands", title: "Commands", body: blocks.collect() }.unless_empty()
}

/// Digests, seeds and releases.
pub(crate) fn lineage(report: &RunReport) -> Option<Section> {
    if report.lineage.is_empty() {
        return None;
    }
    let mut table = Table::new([("What", Column::Words), ("Value", Column::Text)]);
    for fact in &report.lineage {
        let value = element("code", &[], Html::isolated(&fact.value));
        table.push("", [Html::isolated(&fact.key), value]);
    }
    Some(Section { id: "lineage", title: "Lineage", body: table.html() })
}
