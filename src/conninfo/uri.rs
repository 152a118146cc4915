//! The URI form of a connection string: `postgresql://user:password@host:port/dbname?key=value`.
//!
//! It decides where the parts end and decodes them; which names exist is decided in
//! [`super::pairs`]. Spaces follow libpq 17 and newer: trimmed around a part, refused inside.

use super::error::ParseError;
use super::pairs::Pairs;

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// What follows the scheme, if the text is a URI at all.
pub(super) fn scheme_length(text: &str) -> Option<usize> {
    SCHEMES
        .into_iter()
        .find(|scheme| text.starts_with(scheme))
        .map(str::len)
}

/// Reads the whole URI, whose first `scheme_length` bytes are the scheme.
pub(super) fn parse(text: &str, scheme_length: usize) -> Result<Pairs, ParseError> {
    let mut reader = Reader {
        text,
        at: scheme_length,
        pairs: Pairs::default(),
    };
    reader.credentials()?;
    reader.hosts()?;
    if reader.eat('/') {
        let (position, dbname) = reader.take_until(&['?']);
        reader.store_decoded("dbname", dbname, position)?;
    }
    if reader.eat('?') {
        reader.parameters()?;
    }
    Ok(reader.pairs)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    pairs: Pairs,
}

impl<'a> Reader<'a> {
    /// `user[:password]@`, which is there when an `@` comes before any `/`.
    fn credentials(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let (_, credentials) = self.take_until(&['@', '/']);
        if !self.eat('@') {
            self.at = start;
            return Ok(());
        }
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        self.store_decoded("user", user, start)?;
        self.store_decoded("password", password, start + user.len() + 1)?;
        // The `@` ended the password, so what follows is no piece of it.
        self.pairs.hide_names = false;
        Ok(())
    }

    /// `host[:port][,…]`; the lists keep empty items, so that ports stay beside their hosts.
    fn hosts(&mut self) -> Result<(), ParseError> {
        let position = self.at;
        let mut hosts = String::new();
        let mut ports = String::new();
        loop {
            hosts.push_str(self.host()?);
            if self.eat(':') {
                ports.push_str(self.take_until(&['/', '?', ',']).1);
            }
            if !self.eat(',') {
                break;
            }
            hosts.push(',');
            ports.push(',');
        }
        self.store_decoded("host", &hosts, position)?;
        self.store_decoded("port", &ports, position)
    }

    fn host(&mut self) -> Result<&'a str, ParseError> {
        let bracket = self.at;
        if !self.eat('[') {
            return Ok(self.take_until(&[':', '/', '?', ',']).1);
        }
        let (_, host) = self.take_until(&[']']);
        if !self.eat(']') {
            return Err(ParseError::UnterminatedBracket { position: bracket });
        }
        if host.is_empty() {
            return Err(ParseError::EmptyBracket { position: bracket });
        }
        match self.peek() {
            None | Some(':' | '/' | '?' | ',') => Ok(host),
            Some(_) => Err(ParseError::AfterBracket { position: self.at }),
        }
    }

    /// `key=value&…`
    fn parameters(&mut self) -> Result<(), ParseError> {
        while self.peek().is_some() {
            let (position, parameter) = self.take_until(&['&']);
            self.eat('&');
            let Some((keyword, value)) = parameter.split_once('=') else {
                return Err(ParseError::QueryParameter { position });
            };
            if value.contains('=') {
                return Err(ParseError::QueryParameter { position });
            }
            let keyword = decode(keyword, position)?;
            let value = decode(value, position)?;
            // A later `@` means that a `/` ended the password too early: what looks like a
            // name may be a piece of it.
            self.pairs.hide_names |= self.text[position..].contains('@');
            match (keyword.as_str(), value.as_str()) {
                ("ssl", "true") => self
                    .pairs
                    .store("sslmode", "require".to_owned(), position)?,
                _ => self.pairs.store(&keyword, value, position)?,
            }
        }
        Ok(())
    }

    /// Stores a part of the URI; an empty part is as if it were not there.
    fn store_decoded(
        &mut self,
        keyword: &'static str,
        part: &str,
        position: usize,
    ) -> Result<(), ParseError> {
        if part.is_empty() {
            return Ok(());
        }
        self.pairs.store(keyword, decode(part, position)?, position)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    /// The text before the first of `ends`, or the rest; and where it begins.
    fn take_until(&mut self, ends: &[char]) -> (usize, &'a str) {
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest.find(ends).unwrap_or(rest.len());
        self.at += length;
        (start, &rest[..length])
    }
}

/// Replaces `%41` by `A`.
fn decode(part: &str, position: usize) -> Result<String, ParseError> {
    let part = part.trim_matches(' ');
    if part.contains(' ') {
        return Err(ParseError::SpaceInUri { position });
    }
    let mut bytes = part.bytes();
    let mut decoded = Vec::with_capacity(part.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        match (hex_digit(bytes.next()), hex_digit(bytes.next())) {
            (Some(high), Some(low)) if high != 0 || low != 0 => decoded.push(high << 4 | low),
            _ => return Err(ParseError::PercentEncoding { position }),
        }
    }
    String::from_utf8(decoded).map_err(|_| ParseError::NotUtf8 { position })
}

fn hex_digit(byte: Option<u8>) -> Option<u8> {
    let digit = char::from(byte?).to_digit(16)?;
    u8::try_from(digit).ok()
}
