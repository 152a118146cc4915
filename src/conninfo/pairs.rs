//! The options found so far while a connection string is read.
//!
//! Both grammars ([`super::keyword_value`], [`super::uri`]) store what they find here, so that
//! unknown names, the alias `requiressl` and the last-one-wins rule are decided once.

use std::collections::BTreeMap;

use super::error::ParseError;
use super::keywords;

/// Longest unknown name that an error repeats; libpq's longest own name has 26 characters.
const SHOWN_NAME_MAX: usize = 40;

/// Options and values, and whether a secret was among them.
#[derive(Default)]
pub(super) struct Pairs {
    pub(super) map: BTreeMap<String, String>,
    /// True even if a later, empty value replaced the secret: the text still shows it.
    pub(super) secret_seen: bool,
    /// Whether the next name may be the rest of a password: `password=two words=here`.
    pub(super) hide_names: bool,
}

impl Pairs {
    /// Stores a value; the last one of an option wins, as in libpq.
    pub(super) fn store(
        &mut self,
        keyword: &str,
        value: String,
        position: usize,
    ) -> Result<(), ParseError> {
        let (keyword, value) = match keyword {
            "requiressl" if value.starts_with('1') => ("sslmode", "require".to_owned()),
            "requiressl" => ("sslmode", "prefer".to_owned()),
            other => (other, value),
        };
        if !keywords::is_known(keyword) {
            return Err(ParseError::UnknownKeyword {
                keyword: self.name_to_show(keyword),
                position,
            });
        }
        let secret = keywords::is_secret(keyword) && !value.is_empty();
        self.secret_seen |= secret;
        self.hide_names |= secret;
        self.map.insert(keyword.to_owned(), value);
        Ok(())
    }

    fn name_to_show(&self, keyword: &str) -> Option<String> {
        let is_name = keyword.starts_with(|c: char| c.is_ascii_alphabetic())
            && keyword.len() <= SHOWN_NAME_MAX
            && keyword
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_');
        (is_name && !self.hide_names).then(|| keyword.to_owned())
    }
}
