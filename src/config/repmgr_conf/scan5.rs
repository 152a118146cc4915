//! The grammar of repmgr 5, which is that of `postgresql.conf`: `name [=] value`, one a line.
//!
//! A value is a word, a number, or stands in single quotes; `#` begins a comment outside of quotes.
//! Decides where tokens end and what is a syntax error; what the names mean is decided in
//! [`super::settle`], and `include` is followed in [`super::gather`].

use super::{Entry, Fault, Scanned};

/// As the original: after this many the rest of the file says nothing more.
const SYNTAX_ERRORS_MAX: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    /// `a.b`: a name, but no value.
    Qualified,
    Quoted,
    /// A number or an unquoted word: a value, never a name.
    Word,
    Equals,
    Wrong,
}

#[derive(Debug, Clone, Copy)]
struct Token<'t> {
    kind: Kind,
    text: &'t str,
}

/// Where a line stopped making sense; `None`: at its end.
type Near<'t> = Option<Token<'t>>;

/// Reads a whole file.
pub(super) fn scan(text: &str) -> Scanned {
    let mut scanned = Scanned::default();
    // What stands behind a connection string that went wrong may be a password.
    let mut hide = false;
    for (index, text) in text.split('\n').enumerate() {
        let line = index + 1;
        match entry(text, line) {
            Ok(None) => {}
            Ok(Some(entry)) => {
                hide = false;
                scanned.entries.push(entry);
            }
            Err(near) => {
                let lower = text.to_lowercase();
                hide |= ["conninfo", "password", "command"]
                    .iter()
                    .any(|word| lower.contains(word));
                scanned.faults.push(fault(line, near, hide));
                if scanned.faults.len() == SYNTAX_ERRORS_MAX {
                    let message = "too many syntax errors, the rest is not read".to_owned();
                    scanned.faults.push(Fault::Other { line, message });
                    break;
                }
            }
        }
    }
    scanned
}

fn fault(line: usize, near: Near<'_>, hide: bool) -> Fault {
    let word = |text: &str| text.chars().any(char::is_alphanumeric);
    Fault::Syntax {
        line,
        near: near.map(|token| match hide && word(token.text) {
            true => "…".to_owned(),
            false => token.text.to_owned(),
        }),
    }
}

/// The option of a line, if there is one on it.
fn entry(text: &str, line: usize) -> Result<Option<Entry>, Near<'_>> {
    let mut tokens = Tokens { rest: text };
    let Some(name) = tokens.next() else {
        return Ok(None);
    };
    if !matches!(name.kind, Kind::Name | Kind::Qualified) {
        return Err(Some(name));
    }
    let value = match tokens.next() {
        Some(token) if token.kind == Kind::Equals => tokens.next(),
        token => token,
    };
    let value = match value {
        Some(token) if token.kind == Kind::Quoted => unquoted(token.text),
        Some(token) if matches!(token.kind, Kind::Name | Kind::Word) => token.text.to_owned(),
        other => return Err(other),
    };
    match tokens.next() {
        None => Ok(Some(Entry {
            line,
            name: name.text.to_owned(),
            value,
        })),
        token => Err(token),
    }
}

struct Tokens<'t> {
    rest: &'t str,
}

impl<'t> Tokens<'t> {
    /// `None` at the end of the line or where a comment begins.
    fn next(&mut self) -> Option<Token<'t>> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r']);
        let first = self.rest.chars().next()?;
        let (kind, length) = match first {
            '#' => return None,
            '=' => (Kind::Equals, 1),
            '\'' => match quoted_length(self.rest) {
                Some(length) => (Kind::Quoted, length),
                None => (Kind::Wrong, 1),
            },
            c if is_letter(c) => word(self.rest),
            c => match number_length(self.rest) {
                0 => (Kind::Wrong, c.len_utf8()),
                length => (Kind::Word, length),
            },
        };
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(Token { kind, text })
    }
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

/// A name, or else an unquoted value.
fn word(text: &str) -> (Kind, usize) {
    let in_name = |c: char| is_letter(c) || c.is_ascii_digit();
    let in_word = |c: char| in_name(c) || matches!(c, '-' | '.' | ':' | '/');
    let length = length_while(text, in_word);
    let is_name = |part: &str| part.starts_with(is_letter) && part.chars().all(in_name);
    let kind = match text[..length].split_once('.') {
        Some((first, second)) if is_name(first) && is_name(second) => Kind::Qualified,
        None if is_name(&text[..length]) => Kind::Name,
        Some(_) | None => Kind::Word,
    };
    (kind, length)
}

/// An integer with letters behind it, or a real number; the longer of both.
fn number_length(text: &str) -> usize {
    let digit = |c: char| c.is_ascii_digit();
    let sign = usize::from(text.starts_with(['+', '-']));
    let unsigned = &text[sign..];
    let hex = unsigned
        .strip_prefix("0x")
        .map_or(0, |rest| length_while(rest, |c| c.is_ascii_hexdigit()));
    let digits = length_while(unsigned, digit);
    let integer = match hex {
        0 => digits,
        hex => hex + 2,
    };
    let unit = length_while(&unsigned[integer..], |c| c.is_ascii_alphabetic());
    let integer = if integer == 0 {
        0
    } else {
        sign + integer + unit
    };
    let Some(fraction) = unsigned[digits..].strip_prefix('.') else {
        return integer;
    };
    let fraction_length = length_while(fraction, digit);
    let exponent = exponent_length(&fraction[fraction_length..]);
    integer.max(sign + digits + 1 + fraction_length + exponent)
}

fn exponent_length(text: &str) -> usize {
    let Some(rest) = text.strip_prefix(['e', 'E']) else {
        return 0;
    };
    let sign = usize::from(rest.starts_with(['+', '-']));
    match length_while(&rest[sign..], |c| c.is_ascii_digit()) {
        0 => 0,
        digits => 1 + sign + digits,
    }
}

fn length_while(text: &str, holds: impl Fn(char) -> bool) -> usize {
    text.find(|c| !holds(c)).unwrap_or(text.len())
}

/// Up to the quote that closes it: not one after a backslash, and not two of them. Where nothing
/// closes it, two quotes can still be an end and a wrong one.
fn quoted_length(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    let mut closed = None;
    while let Some((at, c)) = characters.next() {
        if c == '\\' {
            characters.next();
        } else if c == '\'' {
            closed = Some(at + 1);
            if characters.next_if(|(_, next)| *next == '\'').is_none() {
                break;
            }
        }
    }
    closed
}

/// A quoted value without its quotes and escapes. What is no UTF-8 then is replaced by U+FFFD.
fn unquoted(token: &str) -> String {
    let inner = token.as_bytes().get(1..token.len() - 1).unwrap_or_default();
    let mut value = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\'' => {
                bytes.next();
                value.push(b'\'');
            }
            b'\\' => match bytes.next() {
                None => {}
                Some(b'b') => value.push(0x08),
                Some(b'f') => value.push(0x0c),
                Some(b'n') => value.push(b'\n'),
                Some(b'r') => value.push(b'\r'),
                Some(b't') => value.push(b'\t'),
                Some(first @ b'0'..=b'7') => {
                    let mut octal = first - b'0';
                    for _ in 0..2 {
                        let Some(digit) = bytes.next_if(|b| (b'0'..=b'7').contains(b)) else {
                            break;
                        };
                        octal = octal.wrapping_mul(8).wrapping_add(digit - b'0');
                    }
                    value.push(octal);
                }
                Some(other) => value.push(other),
            },
            other => value.push(other),
        }
    }
    String::from_utf8_lossy(&value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_words_numbers_or_quoted() {
        for (text, expected) in [
            ("a=b", "b"),
            ("a b", "b"),
            ("  a\t=\r b # c", "b"),
            ("a = 'b # c' # d", "b # c"),
            ("a = 'it''s'", "it's"),
            (r"a = 'it\'s'", "it's"),
            (r"a = '\\\x\t\n\b\f\r\1019'", "\\x\t\n\x08\x0c\rA9"),
            (r"a = '\303\274'", "ü"),
            (r"a = '\377'", "\u{fffd}"),
            ("a = '  b  '", "  b  "),
            ("a = ''", ""),
            ("a = ''''", "'"),
            ("a = 5s", "5s"),
            ("a = -5", "-5"),
            ("a = +0x1F", "+0x1F"),
            ("a = 1.5e-3", "1.5e-3"),
            ("a = .5", ".5"),
            ("a = /", "…"),
            ("a = node-1:x/y.z", "node-1:x/y.z"),
            ("a = é", "é"),
            ("a = b.c.d", "b.c.d"),
            ("a.b = c", "c"),
        ] {
            let scanned = scan(text);
            match scanned.entries.first() {
                Some(entry) => assert_eq!(entry.value, expected, "{text}"),
                None => assert_eq!(expected, "…", "{text}: {:?}", scanned.faults),
            }
        }
    }

    #[test]
    fn a_syntax_error_names_its_token_and_its_line_alone_is_lost() {
        for (text, near) in [
            ("a = b c", Some("c")),
            ("a = b,c", Some(",")),
            ("a = \"b\"", Some("\"")),
            ("a = 'b", Some("'")),
            (r"a = 'b\'", Some("'")),
            (r"a = 'b\", Some("'")),
            ("a = 'b''", Some("'")),
            ("a = 10.0.0.1", Some(".0")),
            ("a = 5 s", Some("s")),
            ("a =", None),
            ("a", None),
            ("a = # b", None),
            ("= b", Some("=")),
            ("5 = b", Some("5")),
            ("'a' = b", Some("'a'")),
            ("a = = b", Some("=")),
            ("a-b = c", Some("a-b")),
            ("a = b%c", Some("%")),
            ("a = -", Some("-")),
            ("a = b.c", Some("b.c")),
        ] {
            let scanned = scan(&format!("x = 1\n{text}\ny = 2"));
            let near = near.map(str::to_owned);
            assert_eq!(scanned.faults, [Fault::Syntax { line: 2, near }], "{text}");
            assert_eq!(scanned.entries.len(), 2, "{text}");
        }
    }

    #[test]
    fn a_password_is_no_token_to_show() {
        for text in [
            "conninfo = 'host=a password='hunter2''",
            "conninfo = host=a hunter2",
            "conninfo = 'host=a\n hunter2 abc hunter2'",
            "password hunter2 hunter2",
        ] {
            let faults = scan(text).faults;
            assert!(!faults.is_empty());
            assert!(!format!("{faults:?}").contains("hunter"), "{faults:?}");
        }
    }

    #[test]
    fn after_a_hundred_errors_the_rest_is_not_read() {
        let scanned = scan(&format!("{}a = 1", "!\n".repeat(150)));
        assert_eq!((scanned.faults.len(), scanned.entries.len()), (101, 0));
    }
}
