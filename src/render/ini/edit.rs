//! Changing entries in a file of somebody else, and nothing but them.
//!
//! It decides which bytes of a file change so that its entries point where they should. What is not
//! in the line of one of those entries stays as it is: comments, settings, other entries, blank
//! lines, line ends, text that is not UTF-8. Whether the result would do is [`mod@super::fit`]'s.

use std::collections::{BTreeMap, BTreeSet};

use super::line::{self, Line, Rest, Setting};
use super::value::{Pair, connection_pairs};
use super::{QuoteError, before_any_section, hint, quote};
use crate::conninfo::DEFAULT_PORT;

/// Entries by name, each with the keys and values that its line is to have, in the order in which
/// those are added that are not there.
pub type Wanted = BTreeMap<String, Vec<(String, String)>>;

/// Why a file cannot be edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// PgBouncer would not read the line either, or read something else in it.
    #[error("line {line}: {what}; correct the line")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// A value cannot be written so that PgBouncer reads the same value.
    #[error("entry `{entry}`: `{key}`: {reason}")]
    Value {
        /// The entry.
        entry: String,
        /// The key.
        key: String,
        /// Why.
        reason: QuoteError,
    },
}

/// Gives `text` with every wanted entry as it is to be, and all else byte for byte as it was.
///
/// An entry that means the same already is not changed. One that is there several times is changed
/// everywhere: PgBouncer takes the last, but a line above it that still names another server is
/// what remains when somebody removes the last, and every RELOAD would go through it. One that is
/// not there is added to the last `[databases]` section, below its last entry; without such a
/// section, one is added at the end.
///
/// # Errors
/// [`EditError`].
pub fn edit(text: &[u8], wanted: &Wanted) -> Result<Vec<u8>, EditError> {
    // One character for each byte: the grammar is ASCII, and any byte survives the way back.
    let text = widen(text);
    let mut editing = Editing::default();
    for (index, whole) in text.split_inclusive('\n').enumerate() {
        let content = whole.strip_suffix('\n').unwrap_or(whole);
        let line = index + 1;
        let changed = editing.line(content, wanted).map_err(|error| match error {
            LineError::Grammar(what) => EditError::Line { line, what },
            LineError::Value(error) => error,
        })?;
        editing.take(&changed.unwrap_or_else(|| content.to_owned()));
        if whole.len() > content.len() {
            editing.text.push('\n');
        }
        editing.note_place();
    }
    editing.add_missing(wanted)?;
    Ok(narrow(&editing.text))
}

enum LineError {
    Grammar(String),
    Value(EditError),
}

/// The new text as far as it was written, and what was met on the way.
#[derive(Default)]
struct Editing {
    text: String,
    /// Whether entries stand where the text ends.
    in_databases: bool,
    /// Whether a section has begun.
    in_section: bool,
    /// Whether an entry may be added below the line that was read last.
    may_add: bool,
    /// Below the last entry of the last `[databases]` section.
    place: Option<usize>,
    found: BTreeSet<String>,
}

impl Editing {
    /// Reads one line; gives it as it is to be, if it changes.
    fn line(&mut self, content: &str, wanted: &Wanted) -> Result<Option<String>, LineError> {
        let Line { sections, rest } = line::read(content).map_err(LineError::Grammar)?;
        self.may_add = sections.contains(&"databases");
        if let Some(section) = sections.last() {
            self.in_section = true;
            self.in_databases = *section == "databases";
        }
        match rest {
            Rest::Nothing | Rest::Comment => Ok(None),
            // What is included may begin another section, which then goes on below.
            Rest::Include(_) => {
                self.may_add = false;
                Ok(None)
            }
            Rest::Setting(setting) if !self.in_section => {
                Err(LineError::Grammar(before_any_section(setting.key)))
            }
            Rest::Setting(setting) if self.in_databases => {
                self.may_add = true;
                let Some(values) = wanted.get(setting.key) else {
                    return Ok(None);
                };
                self.found.insert(setting.key.to_owned());
                changed(content, &setting, values)
            }
            Rest::Setting(_) => Ok(None),
        }
    }

    fn take(&mut self, content: &str) {
        self.text.push_str(content);
    }

    fn note_place(&mut self) {
        if self.may_add && self.in_databases {
            self.place = Some(self.text.len());
        }
    }

    fn add_missing(&mut self, wanted: &Wanted) -> Result<(), EditError> {
        let mut lines = Vec::new();
        for (name, values) in wanted {
            if !self.found.contains(name) {
                let values = written(name, values)?;
                lines.push(format!("{name} = {}", values.join(" ")));
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        let place = self.place.unwrap_or_else(|| {
            lines.insert(0, "[databases]".to_owned());
            self.text.len()
        });
        let (above, below) = self.text.split_at(place);
        let end = line_end(above);
        let mut added = lines.join(end);
        // A file without a line break at its end stays one.
        if above.is_empty() || above.ends_with('\n') {
            added.push_str(end);
        } else {
            added.insert_str(0, end);
        }
        self.text = format!("{above}{added}{below}");
        Ok(())
    }
}

/// How lines end there: as the last one that ends.
fn line_end(above: &str) -> &'static str {
    match above.rfind('\n') {
        Some(at) if above[..at].ends_with('\r') => "\r\n",
        Some(_) | None => "\n",
    }
}

/// The line with the values that it is to have; `None`: it has them.
fn changed(
    content: &str,
    setting: &Setting<'_>,
    values: &[(String, String)],
) -> Result<Option<String>, LineError> {
    let name = setting.key;
    let pairs = connection_pairs(setting.value).map_err(|error| {
        let hint = hint(setting.value);
        LineError::Grammar(format!("database entry `{name}`: {error}{hint}"))
    })?;
    let mut value = setting.value.to_owned();
    let mut added = Vec::new();
    let mut replaced = Vec::new();
    for (key, wanted) in values {
        // Of several the last counts, as in PgBouncer.
        let pair = pairs.iter().rfind(|pair| pair.key == key);
        if means(name, key, pair, wanted) {
            continue;
        }
        let quoted = quoted(name, key, wanted).map_err(LineError::Value)?;
        match pair {
            Some(pair) => replaced.push((pair.place.clone(), quoted)),
            None => added.push(format!("{key}={quoted}")),
        }
    }
    if added.is_empty() && replaced.is_empty() {
        return Ok(None);
    }
    // From the right, so that the places to the left stay where they are.
    replaced.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
    for (place, quoted) in replaced {
        value.replace_range(place, &quoted);
    }
    for pair in added {
        if !value.is_empty() || content[..setting.at].ends_with('=') {
            value.push(' ');
        }
        value.push_str(&pair);
    }
    let end = setting.at + setting.value.len();
    let (head, tail) = (&content[..setting.at], &content[end..]);
    Ok(Some(format!("{head}{value}{tail}")))
}

/// Whether PgBouncer takes the pair, or its absence, for the value.
fn means(name: &str, key: &str, pair: Option<&Pair<'_>>, wanted: &str) -> bool {
    let found = match (key, pair) {
        (_, Some(pair)) => pair.value.clone(),
        ("port", None) => DEFAULT_PORT.to_string(),
        ("dbname", None) => name.to_owned(),
        (_, None) => return false,
    };
    found == widen(wanted.as_bytes())
}

fn written(name: &str, values: &[(String, String)]) -> Result<Vec<String>, EditError> {
    let pairs = values.iter();
    let pairs = pairs.map(|(key, value)| Ok(format!("{key}={}", quoted(name, key, value)?)));
    pairs.collect()
}

fn quoted(name: &str, key: &str, value: &str) -> Result<String, EditError> {
    let quoted = quote(value).map_err(|reason| EditError::Value {
        entry: name.to_owned(),
        key: key.to_owned(),
        reason,
    })?;
    Ok(widen(quoted.as_bytes()))
}

fn widen(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The way back; every character came from one byte.
fn narrow(text: &str) -> Vec<u8> {
    let byte = |c: char| u8::try_from(u32::from(c)).unwrap_or(b'?');
    text.chars().map(byte).collect()
}

#[cfg(test)]
mod tests;
