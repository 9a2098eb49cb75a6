//! What people tell a study: notes and tags, and configurations that are to be tried.

use luthier_study::{Attributes, Study};
use serde_json::{Value, json};

use super::Found;
use crate::cli::{Format, StudyArgs, StudyNoteArgs};
use crate::commands::{assigned, print, print_json};
use crate::failure::Failure;

/// The attribute that has the remark.
const NOTE: &str = "note";
/// The attribute that has the tags, as a list.
const TAGS: &str = "tags";

/// The remark in attributes.
pub(super) fn note_of(attributes: &Attributes) -> Option<&str> {
    attributes.get(NOTE)?.as_str()
}

/// The tags in attributes.
pub(super) fn tags_of(attributes: &Attributes) -> Vec<&str> {
    let tags = attributes.get(TAGS).and_then(Value::as_array);
    tags.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether attributes have the tag that is asked for, if one is.
pub(super) fn has_tag(attributes: &Attributes, tag: Option<&str>) -> bool {
    tag.is_none_or(|tag| tags_of(attributes).contains(&tag))
}

/// Whether an attribute is shown as a remark or as tags.
pub(super) fn is_own(key: &str, attributes: &Attributes) -> bool {
    match key {
        NOTE => note_of(attributes).is_some(),
        TAGS => !tags_of(attributes).is_empty(),
        _ => false,
    }
}

pub(super) fn note(args: &StudyNoteArgs, format: Format) -> Result<(), Failure> {
    let found = Found::load(&args.study)?;
    let records = &found.records;
    let about: Vec<Option<u64>> = match args.trial.as_slice() {
        [] => vec![None],
        trials => trials.iter().copied().map(Some).collect(),
    };
    let attributes_of = |number: Option<u64>| -> Result<&Attributes, Failure> {
        Ok(match number {
            None => &records.attributes,
            Some(number) => &found.trial(number)?.attributes,
        })
    };
    let changes = about.iter().map(|number| Ok((*number, changes(args, attributes_of(*number)?))));
    let changes = changes.collect::<Result<Vec<_>, Failure>>()?;
    let study = Study::existing(&found.locator, Some(&records.spec.name))?;
    for (number, changes) in &changes {
        for (key, value) in changes {
            study.set_attribute(*number, key, value)?;
        }
    }
    let noted = changes.into_iter().map(|(number, changes)| {
        let mut attributes = attributes_of(number)?.clone();
        attributes.extend(changes);
        attributes.retain(|_, value| !value.is_null());
        Ok((number, attributes))
    });
    let noted = noted.collect::<Result<Vec<_>, Failure>>()?;
    if format == Format::Json {
        let noted = noted.iter();
        let noted =
            noted.map(|(trial, attributes)| json!({ "trial": trial, "attributes": attributes }));
        return print_json(&noted.collect::<Vec<_>>());
    }
    let line = |(number, attributes): &(Option<u64>, Attributes)| {
        let about = match number {
            Some(number) => format!("trial {number}"),
            None => format!("study `{}`", records.spec.name),
        };
        format!("{about}: {}\n", shown(attributes))
    };
    print(&noted.iter().map(line).collect::<String>())
}

/// What becomes of attributes; `null` for what is taken away.
fn changes(args: &StudyNoteArgs, present: &Attributes) -> Attributes {
    let mut changes = Attributes::new();
    if !(args.tag.is_empty() && args.untag.is_empty()) {
        let mut tags = tags_of(present);
        for tag in &args.tag {
            if !tags.contains(&tag.as_str()) {
                tags.push(tag);
            }
        }
        tags.retain(|tag| !args.untag.iter().any(|other| other == tag));
        changes.insert(TAGS.to_owned(), if tags.is_empty() { Value::Null } else { json!(tags) });
    }
    let text = args.text.as_ref().map(|text| match text.as_str() {
        "" => Value::Null,
        text => text.into(),
    });
    changes.extend(text.map(|text| (NOTE.to_owned(), text)));
    for (key, text) in &args.set {
        let value = serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into());
        changes.insert(key.clone(), value);
    }
    changes.extend(args.unset.iter().map(|key| (key.clone(), Value::Null)));
    changes
}

/// Attributes on one line: tags with a `#`, the remark, and the others by name.
pub(super) fn shown(attributes: &Attributes) -> String {
    let tags = tags_of(attributes).into_iter().map(|tag| format!("#{tag}"));
    let note = note_of(attributes).map(|note| note.lines().collect::<Vec<_>>().join(" "));
    let others = attributes.iter().filter(|(key, _)| !is_own(key, attributes));
    let others = others.map(|(key, value)| format!("{key}={value}"));
    tags.chain(note).chain(others).collect::<Vec<_>>().join(" ")
}

pub(super) fn enqueue(
    args: &StudyArgs,
    values: &[(String, String)],
    format: Format,
) -> Result<(), Failure> {
    let found = Found::load(args)?;
    let spec = &found.records.spec;
    let values = assigned("", values, &spec.space)?;
    let number = Study::existing(&found.locator, Some(&spec.name))?.enqueue(&values)?;
    match format {
        Format::Json => print_json(&json!({ "number": number })),
        Format::Text => {
            print(&format!("trial {number} of study `{}` waits: {values}\n", spec.name))
        }
    }
}
