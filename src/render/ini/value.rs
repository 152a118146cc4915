//! Single values of PgBouncer's ini grammar: quoting, names, and connection strings.
//!
//! It decides what may be written into an entry and how PgBouncer would read it back. Whole files
//! are the parent module's business.

use std::ops::Range;

/// Longest name of a database entry: PgBouncer keeps 64 bytes, the last of them zero.
const NAME_BYTES_MAX: usize = 63;

/// Why a value cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// PgBouncer takes `''` for a syntax error.
    #[error("PgBouncer accepts no empty value")]
    Empty,
    /// A line break would end the line; others end up in names and lookups.
    #[error("control character `{}` at byte {position}", .character.escape_debug())]
    ControlCharacter {
        /// Which one.
        character: char,
        /// Where.
        position: usize,
    },
}

/// Writes a value of a connection string: `'…'`, with every `'` doubled.
pub fn quote(value: &str) -> Result<String, QuoteError> {
    if value.is_empty() {
        return Err(QuoteError::Empty);
    }
    if let Some((position, character)) = value.char_indices().find(|(_, c)| c.is_ascii_control()) {
        return Err(QuoteError::ControlCharacter {
            character,
            position,
        });
    }
    Ok(format!("'{}'", value.replace('\'', "''")))
}

/// Why a database entry cannot have a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No name at all.
    #[error("the name of a database entry is empty")]
    Empty,
    /// More than 63 bytes.
    #[error("the name of a database entry has {bytes} bytes, {NAME_BYTES_MAX} are allowed")]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// Something other than `A-Z a-z 0-9 _ . -`.
    #[error(
        "`{}` in the name of a database entry; use A-Z a-z 0-9 _ . -",
        .character.escape_debug()
    )]
    Character {
        /// The first such character.
        character: char,
    },
    /// `pgbouncer`, which is the admin console.
    #[error("`pgbouncer` is the admin console and cannot be the name of a database entry")]
    Reserved,
}

/// Whether every version of PgBouncer accepts this name for a database entry.
pub fn check_database_name(name: &str) -> Result<(), NameError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() {
        Err(NameError::Empty)
    } else if name.len() > NAME_BYTES_MAX {
        Err(NameError::TooLong { bytes: name.len() })
    } else if let Some(character) = name.chars().find(|c| !allowed(*c)) {
        Err(NameError::Character { character })
    } else if name == "pgbouncer" {
        Err(NameError::Reserved)
    } else {
        Ok(())
    }
}

/// What is wrong with a connection string of PgBouncer; `position` counts bytes of the string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionStringError {
    /// A word that no `=` follows, or `=` without a word.
    #[error("no `key=` at byte {position} of the connection string")]
    Key {
        /// Where.
        position: usize,
    },
    /// A quoted value without end.
    #[error("unterminated quote at byte {position} of the connection string")]
    UnterminatedQuote {
        /// Where.
        position: usize,
    },
    /// A value that is empty; PgBouncer has no empty values.
    #[error("empty value at byte {position} of the connection string")]
    EmptyValue {
        /// Where.
        position: usize,
    },
    /// A closing quote must be followed by a blank; PgBouncer swallows whatever is there.
    #[error("no space after the quote that ends before byte {position} of the connection string")]
    AfterQuote {
        /// Where.
        position: usize,
    },
}

/// One `key=value` of a connection string.
pub(super) struct Pair<'a> {
    /// Left of `=`.
    pub(super) key: &'a str,
    /// What PgBouncer takes it for, without its quotes.
    pub(super) value: String,
    /// Where the value is written, its quotes included: bytes of the string.
    pub(super) place: Range<usize>,
}

/// Reads a connection string as PgBouncer does. Keys may repeat: for PgBouncer the last one wins.
pub fn parse_connection_string(text: &str) -> Result<Vec<(String, String)>, ConnectionStringError> {
    let pairs = connection_pairs(text)?.into_iter();
    Ok(pairs
        .map(|pair| (pair.key.to_owned(), pair.value))
        .collect())
}

/// The same, with the places.
pub(super) fn connection_pairs(text: &str) -> Result<Vec<Pair<'_>>, ConnectionStringError> {
    let mut pairs = Vec::new();
    let mut at = skip_spaces(text, 0);
    while at < text.len() {
        let (key, begin) = connection_key(text, at)?;
        let (value, end) = if text[begin..].starts_with('\'') {
            quoted_value(text, begin)?
        } else {
            plain_value(text, begin)
        };
        if value.is_empty() {
            return Err(ConnectionStringError::EmptyValue { position: begin });
        }
        let place = begin..end;
        pairs.push(Pair { key, value, place });
        // Behind a closing quote PgBouncer skips whatever is there: a TAB does no harm there.
        let tab = text[begin..].starts_with('\'') && text[end..].starts_with('\t');
        at = skip_spaces(text, end + usize::from(tab));
    }
    Ok(pairs)
}

fn skip_spaces(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start_matches(' ').len()
}

/// The key at `at`, and where its value begins.
fn connection_key(text: &str, at: usize) -> Result<(&str, usize), ConnectionStringError> {
    let length = text[at..].find(['=', ' ']).unwrap_or(text.len() - at);
    let equals = skip_spaces(text, at + length);
    if length == 0 || !text[equals..].starts_with('=') {
        return Err(ConnectionStringError::Key { position: at });
    }
    Ok((&text[at..at + length], skip_spaces(text, equals + 1)))
}

fn plain_value(text: &str, at: usize) -> (String, usize) {
    let length = text[at..].find(' ').unwrap_or(text.len() - at);
    (text[at..at + length].to_owned(), at + length)
}

fn quoted_value(text: &str, at: usize) -> Result<(String, usize), ConnectionStringError> {
    let mut value = String::new();
    let mut characters = text[at + 1..].char_indices().peekable();
    while let Some((offset, c)) = characters.next() {
        let doubled = c == '\'' && characters.next_if(|(_, next)| *next == '\'').is_some();
        if c != '\'' || doubled {
            value.push(c);
            continue;
        }
        let position = at + 1 + offset + 1;
        return match text[position..].chars().next() {
            None | Some(' ' | '\t') => Ok((value, position)),
            Some(_) => Err(ConnectionStringError::AfterQuote { position }),
        };
    }
    Err(ConnectionStringError::UnterminatedQuote { position: at })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of [`HOSTILE`] cannot be written at all.
    const UNWRITABLE: usize = 10;

    const HOSTILE: &[&str] = &[
        "a",
        "'",
        "''",
        "'''",
        "it's",
        "a' host='b",
        "a host=b",
        "a  b",
        " a",
        "a ",
        " ",
        "=",
        "host=a",
        "a\nb",
        "\n[pgbouncer]\nauth_type=any",
        "a\r\nb",
        "a\tb",
        "\0",
        "\x01",
        "\x1b[0m",
        "\x7f",
        "$(id)",
        "`id`",
        "${HOME}",
        "%include /etc/passwd",
        "\n%include /etc/passwd",
        "; comment",
        "# comment",
        "a ; comment",
        r"\",
        r"\'",
        r"a\' host=b",
        r"\n",
        "\"",
        "\"a\"",
        "é",
        "\u{85}\u{2028}",
        "☃ b",
        "[a]",
        "a,b",
        "{{ host }}",
        "",
    ];

    #[test]
    fn a_hostile_value_is_refused_or_comes_back_unchanged() {
        let long = "x' y\\".repeat(2_048);
        let mut written = 0;
        for value in HOSTILE.iter().copied().chain([long.as_str()]) {
            let Ok(quoted) = quote(value) else { continue };
            written += 1;
            assert!(!quoted.contains(['\n', '\r', '\0']), "{value:?}");
            let line = format!("host={quoted}");
            assert_eq!(parsed(&line), [pair("host", value)], "{value:?}");
            let line = format!("user='x' host={quoted} dbname=z");
            let expected = [pair("user", "x"), pair("host", value), pair("dbname", "z")];
            assert_eq!(parsed(&line), expected, "{value:?}");
        }
        assert_eq!(written, HOSTILE.len() + 1 - UNWRITABLE);
    }

    #[test]
    fn control_characters_are_named_but_not_printed() {
        let error = quote("ab\n").unwrap_err();
        assert_eq!(error.to_string(), r"control character `\n` at byte 2");
        let error = quote("\x7f").unwrap_err();
        assert_eq!(error.to_string(), r"control character `\u{7f}` at byte 0");
        assert_eq!(quote(""), Err(QuoteError::Empty));
    }

    #[test]
    fn names_are_those_that_every_version_accepts() {
        for name in ["app", "A-b_c.9", "pgbouncer2", &"x".repeat(63)] {
            assert_eq!(check_database_name(name), Ok(()), "{name}");
        }
        let character = |character| Err(NameError::Character { character });
        assert_eq!(check_database_name(""), Err(NameError::Empty));
        assert_eq!(check_database_name("my db"), character(' '));
        assert_eq!(check_database_name("*"), character('*'));
        assert_eq!(check_database_name("a=b"), character('='));
        assert_eq!(check_database_name("a\nb"), character('\n'));
        assert_eq!(check_database_name("é"), character('é'));
        assert_eq!(check_database_name("pgbouncer"), Err(NameError::Reserved));
        assert_eq!(
            check_database_name(&"x".repeat(64)),
            Err(NameError::TooLong { bytes: 64 })
        );
    }

    #[test]
    fn connection_strings_are_read_as_pgbouncer_reads_them() {
        for (text, expected) in [
            ("", vec![]),
            ("  ", vec![]),
            ("host=a", vec![pair("host", "a")]),
            (
                "  host = a   port =  1 ",
                vec![pair("host", "a"), pair("port", "1")],
            ),
            ("host=a\tport=1", vec![pair("host", "a\tport=1")]),
            ("host='a b'", vec![pair("host", "a b")]),
            ("host='it''s'", vec![pair("host", "it's")]),
            ("host=''''", vec![pair("host", "'")]),
            (r"host='a\'", vec![pair("host", r"a\")]),
            ("host=a'b", vec![pair("host", "a'b")]),
            (
                "host='a'\tport=1",
                vec![pair("host", "a"), pair("port", "1")],
            ),
            ("host=a=b", vec![pair("host", "a=b")]),
            ("host= port=1", vec![pair("host", "port=1")]),
            ("host=a host=b", vec![pair("host", "a"), pair("host", "b")]),
            ("HOST=a", vec![pair("HOST", "a")]),
            ("\thost=a", vec![pair("\thost", "a")]),
        ] {
            assert_eq!(parsed(text), expected, "{text:?}");
        }
    }

    #[test]
    fn connection_strings_that_pgbouncer_would_not_read_are_refused() {
        use ConnectionStringError::{AfterQuote, EmptyValue, Key, UnterminatedQuote};
        for (text, error) in [
            ("host", Key { position: 0 }),
            ("host=a ; comment", Key { position: 7 }),
            ("=a", Key { position: 0 }),
            ("host=", EmptyValue { position: 5 }),
            ("host=''", EmptyValue { position: 5 }),
            ("host='a", UnterminatedQuote { position: 5 }),
            ("host='a''", UnterminatedQuote { position: 5 }),
            (r"host='a\'' port=1", UnterminatedQuote { position: 5 }),
            (r"host='a\'b'", AfterQuote { position: 9 }),
            ("host='a'port=1", AfterQuote { position: 8 }),
        ] {
            assert_eq!(parse_connection_string(text), Err(error), "{text:?}");
        }
    }

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse_connection_string(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }
}
