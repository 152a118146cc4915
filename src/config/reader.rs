//! Takes typed values out of a parsed TOML document and notes every problem with its place.
//!
//! A [`Table`] knows which keys it was asked for, and so which of those in the file are unknown.
//! What the values mean is decided in [`super::file`]. Messages name keys and types, and no value
//! unless the caller puts it there.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration::{self, written};
use super::problem::{Problem, Problems, quoted};
use super::suggest::nearest;

/// The problems found so far in one file.
pub(super) struct Report<'t> {
    file: &'t Path,
    text: &'t str,
    found: RefCell<Vec<Problem>>,
}

impl<'t> Report<'t> {
    /// A report without problems.
    pub(super) fn new(file: &'t Path, text: &'t str) -> Self {
        Self {
            file,
            text,
            found: RefCell::default(),
        }
    }

    /// Notes a problem at a byte offset of the text.
    pub(super) fn add(&self, offset: usize, key: &str, message: impl Into<String>) {
        let (line, column) = self.position(offset);
        let (key, message) = (key.to_owned(), message.into());
        let file = self.file.to_owned();
        self.found.borrow_mut().push(Problem {
            file,
            line,
            column,
            key,
            message,
        });
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.position(offset).0
    }

    /// `value` when nothing was found; a value that is missing must have a problem.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        let found = self.found.into_inner();
        match value {
            Some(value) if found.is_empty() => Ok(value),
            Some(_) | None => {
                debug_assert!(!found.is_empty(), "a value was refused without a problem");
                Err(Problems::new(found))
            }
        }
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }
}

/// A table whose keys are asked for one by one.
pub(super) struct Table<'a> {
    report: &'a Report<'a>,
    entries: &'a DeTable<'a>,
    path: String,
    offset: usize,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// The whole document.
    pub(super) fn root(report: &'a Report<'a>, entries: &'a DeTable<'a>) -> Self {
        Self {
            report,
            entries,
            path: String::new(),
            offset: 0,
            known: Vec::new(),
        }
    }

    /// The value of an optional key.
    pub(super) fn get(&mut self, name: &'static str) -> Option<Value<'a>> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let value = self.entries.get(name)?;
        Some(Value::new(self.report, self.key(name), value))
    }

    /// The value of a key that must be there; its absence is noted with what to write.
    pub(super) fn require(&mut self, name: &'static str, example: &str) -> Option<Value<'a>> {
        let value = self.get(name);
        if value.is_none() {
            self.missing(name, example);
        }
        value
    }

    /// Notes that a key is missing.
    pub(super) fn missing(&self, name: &str, example: &str) {
        self.problem(name, format!("missing; write `{example}`"));
    }

    /// Notes a problem of the table itself under the key `name`.
    pub(super) fn problem(&self, name: &str, message: impl Into<String>) {
        self.report.add(self.offset, &self.key(name), message);
    }

    /// All entries, for a table whose keys the operator chooses.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        self.entries.iter().map(|(name, value)| {
            let name: &'a str = name.get_ref();
            (name, Value::new(self.report, self.key(name), value))
        })
    }

    /// The line of the table, for messages about another one.
    pub(super) fn line(&self) -> usize {
        self.report.line(self.offset)
    }

    /// Notes every key that was not asked for.
    pub(super) fn finish(self) {
        for (name, _) in self.entries {
            let spelled: &str = name.get_ref();
            if self.known.contains(&spelled) {
                continue;
            }
            let meant = nearest(spelled, &self.known)
                .map(|known| format!("; did you mean `{known}`?"))
                .unwrap_or_default();
            let known = self.known.join("`, `");
            let message = format!("unknown key{meant} (the keys here are `{known}`)");
            self.report
                .add(name.span().start, &self.key(spelled), message);
        }
    }

    fn key(&self, name: &str) -> String {
        const NAME_CHARS_MAX: usize = 63;
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        if self.path.is_empty() {
            name
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

/// A value with its place.
pub(super) struct Value<'a> {
    report: &'a Report<'a>,
    key: String,
    offset: usize,
    value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    fn new(report: &'a Report<'a>, key: String, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self {
            report,
            key,
            offset: value.span().start,
            value: value.get_ref(),
        }
    }

    /// Notes a problem of this value.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.report.add(self.offset, &self.key, message);
    }

    /// The line of the value, for messages about another one.
    pub(super) fn line(&self) -> usize {
        self.report.line(self.offset)
    }

    /// The value as it was parsed, for keys that take several types.
    pub(super) fn raw(&self) -> &'a DeValue<'a> {
        self.value
    }

    /// Notes that the value has another type than `expected`; returns `None` to be passed on.
    pub(super) fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.problem(format!("expected {expected}, found {found}"));
        None
    }

    /// A string.
    pub(super) fn string(&self) -> Option<&'a str> {
        self.value.as_str().or_else(|| self.wrong_type("a string"))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        self.value
            .as_bool()
            .or_else(|| self.wrong_type("a boolean"))
    }

    /// Any whole number of 64 bits.
    pub(super) fn whole_number(&self) -> Option<i64> {
        let Some(integer) = self.value.as_integer() else {
            return self.wrong_type("an integer");
        };
        i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .or_else(|| {
                self.problem("too large for a whole number of 64 bits");
                None
            })
    }

    /// A whole number in a range.
    pub(super) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let number = self.whole_number()?;
        let number = u32::try_from(number).ok();
        number.filter(|number| range.contains(number)).or_else(|| {
            self.problem(format!("must be from {} to {}", range.start(), range.end()));
            None
        })
    }

    /// A duration in a range: a string with units or a number of seconds.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let parsed = match self.value {
            DeValue::String(text) => duration::parse(text),
            DeValue::Integer(number) => duration::from_seconds(seconds(&number.to_string())),
            DeValue::Float(number) => duration::from_seconds(seconds(number.as_str())),
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                return self.wrong_type("a duration such as \"5s\" or a number of seconds");
            }
        };
        let bounds = format!(
            "from {} to {}",
            written(*range.start()),
            written(*range.end())
        );
        match parsed {
            Ok(duration) if range.contains(&duration) => return Some(duration),
            Ok(_) | Err(duration::DurationError::Uncountable) => {
                self.problem(format!("must be {bounds}"));
            }
            Err(error) => self.problem(format!("{error} (a duration {bounds} is expected)")),
        }
        None
    }

    /// The items of an array; their keys are numbered from 1 unless they are tables.
    pub(super) fn items(&self, expected: &str) -> Option<Vec<Value<'a>>> {
        let Some(array) = self.value.as_array() else {
            return self.wrong_type(expected);
        };
        Some(
            array
                .iter()
                .map(|item| Value::new(self.report, self.key.clone(), item))
                .collect(),
        )
    }

    /// A table.
    pub(super) fn table(&self) -> Option<Table<'a>> {
        let Some(entries) = self.value.as_table() else {
            return self.wrong_type("a table");
        };
        let (report, path, offset) = (self.report, self.key.clone(), self.offset);
        Some(Table {
            report,
            entries,
            path,
            offset,
            known: Vec::new(),
        })
    }

    /// An array of tables, whose keys get the label that `label` finds in them, or their number.
    pub(super) fn tables(
        &self,
        header: &str,
        label: impl Fn(&DeTable<'_>) -> Option<String>,
    ) -> Vec<Table<'a>> {
        let items = self.items(&format!("tables, each under a `{header}` of its own"));
        let mut tables = Vec::new();
        for (index, mut item) in items.unwrap_or_default().into_iter().enumerate() {
            let found = item.value.as_table().and_then(&label);
            let label = found.unwrap_or_else(|| format!("#{}", index + 1));
            item.key = format!("{}[{label}]", self.key);
            tables.extend(item.table());
        }
        tables
    }

    /// One of a few words.
    pub(super) fn word(&self, words: &[&str], otherwise: &str) -> Option<&'a str> {
        let word = self.string()?;
        if words.contains(&word) {
            return Some(word);
        }
        self.problem(format!("{} is not known; {otherwise}", quoted(word)));
        None
    }
}

/// Every item, or nothing when one is wrong; those after a wrong one are looked at all the same.
pub(super) fn all<T, C: FromIterator<T>>(items: impl Iterator<Item = Option<T>>) -> Option<C> {
    let items: Vec<Option<T>> = items.collect();
    items.into_iter().collect()
}

/// The number of a TOML integer or float; what cannot be read cannot be counted either.
fn seconds(number: &str) -> f64 {
    number.parse().unwrap_or(f64::NAN)
}
