//! The page around the sections: style, policy and the one script.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::html::{Html, element, meta};
use crate::{
    RunReport, columns, compression, data, distillation, headline, numbers, rows, scores, tuning,
    usage,
};

const PLOTLY: &str = include_str!("../assets/plotly-cartesian.min.js");
const GLUE: &str = include_str!("../assets/report.js");
const STYLE: &str = include_str!("../assets/report.css");

/// One section of the page, linked from its top.
pub(crate) struct Section {
    /// Anchor, unique in the page.
    pub(crate) id: &'static str,
    /// Heading.
    pub(crate) title: &'static str,
    /// What follows the heading.
    pub(crate) body: Html,
}

impl Section {
    /// The section, unless there is nothing in it.
    pub(crate) fn unless_empty(self) -> Option<Self> {
        (!self.body.as_str().is_empty()).then_some(self)
    }

    fn html(self) -> Html {
        let title = element("h2", &[], Html::raw(self.title));
        element("section", &[("id", self.id)], title.then(self.body))
    }

    fn link(&self) -> Html {
        element("a", &[("href", &format!("#{}", self.id))], Html::raw(self.title))
    }
}

/// The page of a run.
pub(crate) fn page(report: &RunReport) -> String {
    let sections = [
        scores::section(report),
        scores::errors(report),
        numbers::section(report),
        columns::section(report),
        tuning::section(report),
        distillation::section(report),
        compression::section(report),
        rows::mistakes(report),
        rows::suspects(report),
        data::section(report),
        usage::commands(report),
        usage::lineage(report),
    ];
    let sections = sections.into_iter().flatten().collect();
    compose(&format!("{} – Luthier report", report.name), headline::header(report), sections)
}

/// A whole page: what stands at its top, then the sections.
pub(crate) fn compose(title: &str, header: Html, sections: Vec<Section>) -> String {
    let links = sections.iter().map(Section::link);
    let links = match sections.is_empty() {
        true => Html::default(),
        false => element("nav", &[("aria-label", "Sections")], links.collect()),
    };
    let plain = "Plots need JavaScript; the tables hold the same numbers.";
    let plain = element("noscript", &[], element("p", &[("class", "note")], Html::raw(plain)));
    let body = header.then(links).then(plain);
    let body = body.then(sections.into_iter().map(Section::html).collect());
    let script = Html::script(&format!("{PLOTLY}\n{GLUE}"));
    let head = head(title, &script);
    let body = element("main", &[], body).then(element("script", &[], script));
    let html = head.then(element("body", &[], body));
    format!("<!DOCTYPE html>\n{}\n", element("html", &[("lang", "en")], html).as_str())
}

/// The head. The policy allows no request at all, and of scripts only the very one that the page
/// carries, by its digest: markup that slipped through the escaping would still not run. Styles
/// stay open because Plotly sets them on its elements; it makes images (for "download") from data.
fn head(title: &str, script: &Html) -> Html {
    let digest = STANDARD.encode(Sha256::digest(script.as_str()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; \
         img-src data:; base-uri 'none'; form-action 'none'"
    );
    let pieces = [
        Html::raw("<meta charset=\"utf-8\">"),
        meta(&[("http-equiv", "Content-Security-Policy"), ("content", &policy)]),
        Html::raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"),
        Html::raw("<meta name=\"color-scheme\" content=\"light dark\">"),
        Html::raw("<meta name=\"referrer\" content=\"no-referrer\">"),
        element("title", &[], Html::text(title)),
        element("style", &[], Html::raw(STYLE)),
    ];
    element("head", &[], pieces.into_iter().collect())
}
