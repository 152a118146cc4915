//! The keyword/value form of a connection string: `host=a port=5432 dbname='two words'`.
//!
//! It decides where words and values end; which names exist is decided in [`super::pairs`], and
//! the URI form has its own file, [`super::uri`].

use super::error::ParseError;
use super::keywords;
use super::pairs::Pairs;

/// Reads the whole text.
pub(super) fn parse(text: &str) -> Result<Pairs, ParseError> {
    let mut pairs = Pairs::default();
    let mut cursor = Cursor { text, at: 0 };
    loop {
        cursor.skip_blanks();
        let position = cursor.at;
        if cursor.peek().is_none() {
            return Ok(pairs);
        }
        let keyword = cursor.keyword();
        cursor.skip_blanks();
        if !cursor.eat('=') {
            return Err(ParseError::MissingEquals { position });
        }
        cursor.skip_blanks();
        let value = if cursor.peek() == Some('\'') {
            cursor.quoted_value(keyword)?
        } else {
            cursor.plain_value()
        };
        pairs.store(keyword, value, position)?;
    }
}

/// The blanks of C's `isspace`, which is what libpq asks.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.next();
        }
    }

    fn keyword(&mut self) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(|c| c != '=' && !is_blank(c)) {
            self.next();
        }
        &self.text[start..self.at]
    }

    /// Ends at a blank; a backslash takes the next character as it is.
    fn plain_value(&mut self) -> String {
        let mut value = String::new();
        while let Some(c) = self.next() {
            match c {
                '\\' => value.extend(self.next()),
                c if is_blank(c) => break,
                c => value.push(c),
            }
        }
        value
    }

    /// Ends at the closing quote; the next option may follow it without a blank.
    fn quoted_value(&mut self, keyword: &str) -> Result<String, ParseError> {
        let position = self.at;
        self.next();
        let mut value = String::new();
        while let Some(c) = self.next() {
            match c {
                '\'' => return Ok(value),
                '\\' => value.extend(self.next()),
                c => value.push(c),
            }
        }
        Err(ParseError::UnterminatedQuote {
            keyword: keywords::is_known(keyword).then(|| keyword.to_owned()),
            position,
        })
    }
}
