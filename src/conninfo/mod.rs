//! Connection strings, with libpq's own grammar and meanings.
//!
//! [`Conninfo`] is what a string says, and nothing else: [`defaults`] adds what libpq would add
//! from the service file and the environment, [`passfile`] finds a password. All of it works on
//! text that the edge has read; nothing here reads a file, the environment or the network.
//! What PgBouncer gets of a connection string is decided in `render`.
//!
//! Values may hold any character except a zero byte, line breaks included. Whoever writes one into
//! a file refuses what that file cannot hold. Secrets are masked wherever a [`Conninfo`] is shown,
//! and no error repeats a value.

use std::collections::BTreeMap;
use std::fmt;

mod address;
pub mod defaults;
mod error;
mod keyword_value;
mod keywords;
mod pairs;
pub mod passfile;
pub mod server_address;
mod settings;
mod uri;

#[cfg(test)]
mod tests;

pub use address::{Address, DEFAULT_PORT};
pub use error::ParseError;
pub use settings::{SslMode, TlsVersion};

/// What is shown instead of a secret.
const MASK: &str = "********";

/// Options that come first in canonical text, in this order; the others follow by name.
const FIRST: [&str; 5] = ["host", "hostaddr", "port", "dbname", "user"];

/// A parsed connection string. Two are equal when they hold the same values, whatever their text.
#[derive(Clone, Default)]
pub struct Conninfo {
    values: BTreeMap<String, String>,
    original: String,
    original_holds_secret: bool,
}

impl Conninfo {
    /// Reads the keyword/value form or a URI. The last value of an option wins; a `dbname` that
    /// is itself a connection string stays a name.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if let Some(position) = text.find('\0') {
            return Err(ParseError::ZeroByte { position });
        }
        let pairs = match uri::scheme_length(text) {
            Some(length) => uri::parse(text, length)?,
            None => keyword_value::parse(text)?,
        };
        Ok(Self {
            values: pairs.map,
            original: text.to_owned(),
            original_holds_secret: pairs.secret_seen,
        })
    }

    /// The value of an option; an empty one is as good as none.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.values
            .get(keyword)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The same with this value; [`Conninfo::original`] becomes the canonical text.
    ///
    /// `keyword` must be an option of libpq: nothing checks it again.
    #[must_use]
    pub fn with(mut self, keyword: &str, value: &str) -> Self {
        debug_assert!(keywords::is_known(keyword), "not an option: {keyword}");
        self.values.insert(keyword.to_owned(), value.to_owned());
        Self::from_values(self.values)
    }

    /// The same without this option; [`Conninfo::original`] becomes the canonical text.
    #[must_use]
    pub fn without(mut self, keyword: &str) -> Self {
        self.values.remove(keyword);
        Self::from_values(self.values)
    }

    /// The same without any secret: `password`, `sslpassword` and the keys of SCRAM and OAuth.
    #[must_use]
    pub fn without_password(&self) -> Self {
        let mut values = self.values.clone();
        values.retain(|keyword, _| !keywords::is_secret(keyword));
        Self::from_values(values)
    }

    /// Options and values by name, empty values included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(keyword, value)| (keyword.as_str(), value.as_str()))
    }

    /// The text that was parsed, secrets included. After a change it is the canonical text.
    pub fn original(&self) -> &str {
        &self.original
    }

    /// The text that was parsed if it shows no secret, else the canonical text without secrets.
    pub fn original_without_password(&self) -> String {
        if self.original_holds_secret {
            self.without_password().to_conninfo_string()
        } else {
            self.original.clone()
        }
    }

    /// Canonical text, secrets included: the keyword/value form, quoted where needed, with the
    /// options in a fixed order.
    pub fn to_conninfo_string(&self) -> String {
        self.canonical(|_, value| quote(value))
    }

    /// Canonical text for people: secrets are masked and control characters are spelled out.
    pub fn redacted(&self) -> String {
        self.canonical(|keyword, value| {
            if is_hidden(keyword, value) {
                MASK.to_owned()
            } else {
                quote(&spell_out_controls(value))
            }
        })
    }

    fn from_values(values: BTreeMap<String, String>) -> Self {
        let mut conninfo = Self {
            original_holds_secret: values
                .iter()
                .any(|(keyword, value)| keywords::is_secret(keyword) && !value.is_empty()),
            values,
            original: String::new(),
        };
        conninfo.original = conninfo.to_conninfo_string();
        conninfo
    }

    fn canonical(&self, show: impl Fn(&str, &str) -> String) -> String {
        let first = FIRST
            .iter()
            .filter_map(|keyword| self.values.get_key_value(*keyword));
        let others = self
            .values
            .iter()
            .filter(|(keyword, _)| !FIRST.contains(&keyword.as_str()));
        first
            .chain(others)
            .map(|(keyword, value)| format!("{keyword}={}", show(keyword, value)))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl PartialEq for Conninfo {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Eq for Conninfo {}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Conninfo").field(&self.redacted()).finish()
    }
}

impl fmt::Display for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

/// A connection string given as `dbname` is hidden too: it may hold a password of its own.
fn is_hidden(keyword: &str, value: &str) -> bool {
    let nested =
        keyword == "dbname" && (value.contains('=') || uri::scheme_length(value).is_some());
    (keywords::is_secret(keyword) && !value.is_empty()) || nested
}

fn quote(value: &str) -> String {
    let plain = |c: char| !keyword_value::is_blank(c) && c != '\'' && c != '\\';
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

fn spell_out_controls(value: &str) -> String {
    let mut shown = String::with_capacity(value.len());
    for c in value.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}
