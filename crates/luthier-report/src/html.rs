//! Markup that is safe by construction: text enters it only through escaping.

/// A piece of the page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Html(String);

/// Characters of a text that a table shows before the rest folds away.
const CLIP: usize = 300;

impl Html {
    /// Markup that is part of the program.
    pub(crate) fn raw(markup: &'static str) -> Self {
        Self(markup.to_owned())
    }

    /// `text`, escaped for element content and for quoted attributes. Characters that a page cannot
    /// hold (controls other than tab and line feed) become U+FFFD.
    pub(crate) fn text(text: &str) -> Self {
        let mut out = String::with_capacity(text.len());
        for character in text.chars() {
            match character {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#39;"),
                _ => out.push(printable(character)),
            }
        }
        Self(out)
    }

    /// Text of the data, whose direction must not spill over into what surrounds it.
    pub(crate) fn isolated(text: &str) -> Self {
        element("bdi", &[], Self::text(text))
    }

    /// Text of the data of any length: a long one shows its beginning, and the rest on demand.
    pub(crate) fn clipped(text: &str) -> Self {
        let Some((cut, _)) = text.char_indices().nth(CLIP) else {
            return Self::isolated(text);
        };
        // Between words where one ends nearby; many scripts do not set spaces.
        let start = text[..cut].trim_end_matches(|character: char| !character.is_whitespace());
        let at = if cut - start.len() < 40 { start.len() } else { cut };
        let (start, rest) = text.split_at(at);
        let more =
            format!("… {} more characters", crate::number::count(rest.chars().count() as u64));
        let summary = element("summary", &[], Self::text(&more));
        let rest = summary.then(Self::isolated(rest));
        Self::isolated(start).then(element("details", &[("class", "rest")], rest))
    }

    /// `json` for the inside of a script element, where it can neither end the element nor open a
    /// comment. U+2028 and U+2029 are escaped too, as old script parsers end a line there.
    pub(crate) fn json(json: &serde_json::Value) -> Self {
        let mut out = String::new();
        for character in json.to_string().chars() {
            match character {
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    out.push_str(&format!("\\u{:04x}", u32::from(character)));
                }
                _ => out.push(character),
            }
        }
        Self(out)
    }

    /// A script that is part of the program, such that its text cannot end the element.
    pub(crate) fn script(source: &str) -> Self {
        Self(source.replace("</script", "<\\/script"))
    }

    /// This piece, then `next`.
    pub(crate) fn then(mut self, next: Html) -> Self {
        if self.0.is_empty() {
            return next;
        }
        self.0.push_str(&next.0);
        self
    }

    /// The markup.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromIterator<Html> for Html {
    fn from_iter<I: IntoIterator<Item = Html>>(pieces: I) -> Self {
        pieces.into_iter().fold(Self::default(), Self::then)
    }
}

/// `character`, or U+FFFD for a control that neither HTML nor SVG can hold.
pub(crate) fn printable(character: char) -> char {
    match character {
        '\t' | '\n' => character,
        _ if character.is_control() => char::REPLACEMENT_CHARACTER,
        _ => character,
    }
}

/// An element with attributes around `content`.
pub(crate) fn element(
    tag: &'static str,
    attributes: &[(&'static str, &str)],
    content: Html,
) -> Html {
    let mut out = content.0;
    out.insert_str(0, &start(tag, attributes));
    out.push_str(&format!("</{tag}>"));
    Html(out)
}

/// A `meta` element, which has no content.
pub(crate) fn meta(attributes: &[(&'static str, &str)]) -> Html {
    Html(start("meta", attributes))
}

fn start(tag: &'static str, attributes: &[(&'static str, &str)]) -> String {
    let mut out = format!("<{tag}");
    for (name, value) in attributes {
        out.push_str(&format!(" {name}=\"{}\"", Html::text(value).0));
    }
    out.push('>');
    out
}

/// A paragraph of the report's own words.
pub(crate) fn paragraph(text: &str) -> Html {
    element("p", &[], Html::text(text))
}

/// A heading inside a section.
pub(crate) fn heading(text: &str) -> Html {
    element("h3", &[], Html::text(text))
}

/// A table that starts folded, below the figure whose numbers it holds.
pub(crate) fn folded(title: &str, content: Html) -> Html {
    let summary = element("summary", &[], Html::text(title));
    element("details", &[("class", "numbers")], summary.then(content))
}

/// How a column of a table is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// Words, set from the start of the line.
    Words,
    /// A long text, which gets what width there is.
    Text,
    /// Numbers, set to the right.
    Number,
}

impl Column {
    fn class(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Text => "text",
            Self::Number => "number",
        }
    }
}

/// A table, filled row by row.
pub(crate) struct Table {
    columns: Vec<Column>,
    head: Html,
    body: Html,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new<S: AsRef<str>>(columns: impl IntoIterator<Item = (S, Column)>) -> Self {
        let mut table = Self { columns: Vec::new(), head: Html::default(), body: Html::default() };
        for (title, column) in columns {
            let attributes = [("scope", "col"), ("class", column.class())];
            let cell = element("th", &attributes, Html::clipped(title.as_ref()));
            table.head = table.head.then(cell);
            table.columns.push(column);
        }
        table
    }

    /// Adds a row; the first cell names it. `class` sets it apart, `""` does not.
    pub(crate) fn push(&mut self, class: &'static str, cells: impl IntoIterator<Item = Html>) {
        let mut row = Html::default();
        for (index, (cell, column)) in cells.into_iter().zip(&self.columns).enumerate() {
            row = row.then(if index == 0 {
                element("th", &[("scope", "row"), ("class", column.class())], cell)
            } else {
                element("td", &[("class", column.class())], cell)
            });
        }
        let attributes = [("class", class)];
        let attributes = if class.is_empty() { &[][..] } else { &attributes[..] };
        self.body = std::mem::take(&mut self.body).then(element("tr", attributes, row));
    }

    /// The table, in a box that scrolls sideways where the page is too narrow for it.
    pub(crate) fn html(self) -> Html {
        let head = element("thead", &[], element("tr", &[], self.head));
        let table = element("table", &[], head.then(element("tbody", &[], self.body)));
        element("div", &[("class", "scroll"), ("tabindex", "0")], table)
    }
}
