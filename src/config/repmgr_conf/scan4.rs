//! The grammar of repmgr 4: `name=value`, one a line, by the simplest of means.
//!
//! The name is all before the first `=` without its blanks. Of the value every single quote is
//! dropped wherever it stands, and it ends at the first `#`, even between quotes. There are no
//! escapes, and a value without quotes may hold blanks. Where the original guesses (a line without
//! `=`, a quote that is not closed), this says that something is wrong.

use super::{Entry, Fault, Scanned};

/// Reads a whole file.
pub(super) fn scan(text: &str) -> Scanned {
    let mut scanned = Scanned::default();
    for (index, text) in text.split('\n').enumerate() {
        match entry(text, index + 1) {
            Ok(None) => {}
            Ok(Some(entry)) => scanned.entries.push(entry),
            Err(message) => scanned.faults.push(Fault::Other {
                line: index + 1,
                message: message.to_owned(),
            }),
        }
    }
    scanned
}

fn entry(text: &str, line: usize) -> Result<Option<Entry>, &'static str> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = text.split_once('=').ok_or("no `=` behind the name")?;
    let name = name.trim();
    if !is_name(name) {
        return Err("what stands before `=` is no name");
    }
    let value = value.split_once('#').map_or(value, |(value, _)| value);
    if value.matches('\'').count() % 2 != 0 {
        return Err("a single quote is not closed");
    }
    let value = value.replace('\'', "");
    Ok(Some(Entry {
        line,
        name: name.to_owned(),
        value: value.trim().to_owned(),
    }))
}

fn is_name(text: &str) -> bool {
    let is_in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(is_in_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_dropped_and_a_hash_ends_the_value() {
        for (text, expected) in [
            ("conninfo=host=node1 dbname=x", "host=node1 dbname=x"),
            ("conninfo = ' host=node1 ' # c", "host=node1"),
            ("conninfo='a' 'b'", "a b"),
            ("conninfo=it''s", "its"),
            ("events=a,b", "a,b"),
            ("command=/x %n \"%d\"\r", "/x %n \"%d\""),
            ("a=", ""),
        ] {
            let scanned = scan(text);
            assert_eq!(scanned.faults, [], "{text}");
            assert_eq!(scanned.entries[0].value, expected, "{text}");
        }
        assert_eq!(scan("\n  \n # x = y\n").entries, []);
    }

    #[test]
    fn what_the_original_guesses_is_an_error() {
        for text in [
            "include 'x'",
            "x",
            "a b = c",
            "= c",
            "a = 'b",
            "a = 'b # c'",
        ] {
            assert_eq!(scan(text).faults.len(), 1, "{text}");
        }
    }
}
