//! Plotly figures as JSON, drawn by `assets/report.js`.
//!
//! Figures hold numbers and short escaped texts. Colours are named (`var(--accent)`) under keys
//! with `color` in their name; the page looks them up in its style sheet, so that plots follow the
//! theme. Categories sit at whole numbers with their names as tick labels, because Plotly would
//! read a category such as `2024-01` as a date.

use serde_json::{Value, json};

use crate::html::{Html, element, printable};
use crate::number;

/// Characters of a text that fit into a plot.
const LABEL: usize = 24;

/// Characters of a text that fit below a tick.
const TICK: usize = 14;

/// One plot.
pub(crate) struct Figure {
    /// What it shows, for those who do not see it.
    pub(crate) title: String,
    /// Height in CSS pixels; the width is the page's.
    pub(crate) height: u32,
    /// Traces.
    pub(crate) data: Vec<Value>,
    /// Layout, on top of the page's own.
    pub(crate) layout: Value,
}

impl Figure {
    /// The figure above `caption`.
    pub(crate) fn html(mut self, caption: Html) -> Html {
        self.layout["height"] = json!(self.height);
        let json = json!({ "data": self.data, "layout": self.layout });
        let style = format!("height:{}px", self.height);
        let attributes =
            [("class", "canvas"), ("role", "img"), ("aria-label", &self.title), ("style", &style)];
        let canvas = element("div", &attributes, Html::default());
        let source = element("script", &[("type", "application/json")], Html::json(&json));
        let caption = element("figcaption", &[], caption);
        element("figure", &[("class", "plot")], canvas.then(source).then(caption))
    }
}

/// `text` for a plot: one short line, with what Plotly would read as markup escaped.
pub(crate) fn label(text: &str) -> String {
    line(text, LABEL)
}

fn line(text: &str, length: usize) -> String {
    let mut out = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == length {
            out.push('…');
            break;
        }
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Direction overrides would reorder the text beside them; SVG cannot isolate them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push(char::REPLACEMENT_CHARACTER);
            }
            '\t' | '\n' => out.push(' '),
            _ => out.push(printable(character)),
        }
    }
    out
}

/// An axis with a title.
pub(crate) fn axis(title: &str) -> Value {
    json!({ "title": { "text": title } })
}

/// An axis whose whole numbers from 0 are `names`, with half a step of room at both ends.
pub(crate) fn category_axis<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    let names: Vec<String> = names.map(|name| line(name, TICK)).collect();
    json!({
        "tickvals": (0..names.len()).collect::<Vec<_>>(),
        "ticktext": names,
        "range": [-0.5, names.len() as f64 - 0.5],
        "showgrid": false,
        "tickangle": "auto",
    })
}

/// A dashed horizontal line across the plot at `y`, named in short lines beyond its right end.
pub(crate) fn level(layout: &mut Value, y: f64, name: &[&str]) {
    let name = name.iter().map(|line| label(line)).collect::<Vec<_>>().join("<br>");
    layout["margin"] = json!({ "l": 56, "r": 64, "t": 24, "b": 44 });
    layout["shapes"] = json!([{
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y,
        "line": { "color": "var(--warn)", "width": 1.5, "dash": "dash" },
    }]);
    layout["annotations"] = json!([{
        "xref": "paper", "x": 1.005, "xanchor": "left", "y": y, "yanchor": "middle",
        "text": name, "align": "left", "showarrow": false,
        "font": { "color": "var(--warn)", "size": 11 },
    }]);
}

/// A logarithmic axis for values between `low` and `high`, both above zero, with few ticks: powers
/// of ten over a wide range, 1, 2 and 5 times them over a narrow one, else the two ends.
pub(crate) fn log_axis(low: f64, high: f64) -> Value {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let steps: &[f64] = if last - first > 2 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let inside = |tick: &f64| tick.is_finite() && (low * 0.999..=high * 1.001).contains(tick);
    let decades = (first..=last).map(|decade| 10f64.powi(decade));
    let mut ticks: Vec<f64> = decades
        .flat_map(|decade| steps.iter().map(move |step| step * decade))
        .filter(inside)
        .collect();
    if ticks.len() < 2 {
        ticks = vec![low, high];
    }
    let stride = ticks.len().div_ceil(4);
    let ticks: Vec<f64> = ticks.into_iter().step_by(stride).collect();
    let names: Vec<String> = ticks.iter().map(|tick| power(*tick)).collect();
    json!({ "type": "log", "tickvals": ticks, "ticktext": names })
}

/// `number` as a tick label; beyond a thousandth and ten thousand a whole power of ten as such.
fn power(number: f64) -> String {
    let exponent = number.log10();
    let whole = (exponent - exponent.round()).abs() < 1e-9;
    if whole && !(-3.5..4.5).contains(&exponent) {
        return format!("10<sup>{}</sup>", exponent.round()).replace('-', "−");
    }
    number::rounded(number)
}
