//! One line of PgBouncer's ini grammar, with the places of its parts.
//!
//! It decides where a line's sections, key and value are; what they mean is the parent module's.
//! Shared by whoever reads a file and whoever edits one, so that both see the same lines.

/// A line, taken apart. Several sections may begin in one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The names between brackets.
    pub(super) sections: Vec<&'a str>,
    /// What follows them.
    pub(super) rest: Rest<'a>,
}

/// What a line says after its sections.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest<'a> {
    /// Nothing, or blanks.
    Nothing,
    /// A comment.
    Comment,
    /// `%include path`
    Include(&'a str),
    /// `key = value`
    Setting(Setting<'a>),
}

/// `key = value`
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting<'a> {
    /// Left of `=`, without quotes.
    pub(super) key: &'a str,
    /// Right of `=`, without the blanks around it.
    pub(super) value: &'a str,
    /// Where the value begins, in bytes of the line.
    pub(super) at: usize,
}

/// Takes one line apart, or says what is wrong with it.
pub(super) fn read(content: &str) -> Result<Line<'_>, String> {
    if content.contains('\0') {
        return Err("zero byte; PgBouncer would stop reading there".to_owned());
    }
    let mut sections = Vec::new();
    let mut rest = content.trim_start_matches(is_blank);
    while let Some(header) = rest.strip_prefix('[') {
        let Some((name, after)) = header.split_once(']') else {
            return Err("`[` without `]`".to_owned());
        };
        sections.push(name);
        rest = after.trim_start_matches(is_blank);
    }
    let rest = if rest.is_empty() {
        Rest::Nothing
    } else if rest.starts_with(['#', ';']) {
        Rest::Comment
    } else if let Some(path) = rest.strip_prefix("%include") {
        Rest::Include(include(path)?)
    } else {
        Rest::Setting(setting(content, content.len() - rest.len())?)
    };
    Ok(Line { sections, rest })
}

fn include(path: &str) -> Result<&str, String> {
    let file = path.trim_matches(is_blank);
    if !path.starts_with([' ', '\t']) || file.is_empty() {
        return Err("`%include` without a space and a file name".to_owned());
    }
    Ok(file)
}

fn setting(content: &str, at: usize) -> Result<Setting<'_>, String> {
    const MESSAGE: &str = "not `key = value`; keys are made of A-Z a-z 0-9 _ . - *";
    let rest = &content[at..];
    let (key, after_key) = match rest.strip_prefix('\'') {
        Some(quoted) => quoted.split_once('\'').ok_or(MESSAGE)?,
        None => {
            let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '*');
            let after_key = rest.trim_start_matches(is_key);
            (&rest[..rest.len() - after_key.len()], after_key)
        }
    };
    let value = after_key.trim_start_matches([' ', '\t']).strip_prefix('=');
    let (false, Some(value)) = (key.is_empty(), value) else {
        return Err(MESSAGE.to_owned());
    };
    let value = value.trim_start_matches([' ', '\t']);
    Ok(Setting {
        key,
        at: content.len() - value.len(),
        value: value.trim_end_matches(is_blank),
    })
}

/// The blanks of C's `isspace`, which is what PgBouncer asks.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_where_it_is_said_to_be() {
        for (content, key, value) in [
            ("a=b", "a", "b"),
            ("  app = host=x \r", "app", "host=x"),
            ("[databases] [users] a =\t b", "a", "b"),
            ("'my db' = host=x", "my db", "host=x"),
            ("a =", "a", ""),
            ("a = \r", "a", ""),
        ] {
            let line = read(content).unwrap();
            let Rest::Setting(setting) = line.rest else {
                panic!("{content:?}: {:?}", line.rest);
            };
            assert_eq!((setting.key, setting.value), (key, value), "{content:?}");
            assert!(content[setting.at..].starts_with(value), "{content:?}");
        }
    }

    #[test]
    fn a_line_that_is_no_setting_is_taken_for_what_it_is() {
        for (content, sections, rest) in [
            ("", vec![], Rest::Nothing),
            (" \t\r", vec![], Rest::Nothing),
            ("  ; a = b", vec![], Rest::Comment),
            ("[a]#b", vec!["a"], Rest::Comment),
            ("[a][ b ]", vec!["a", " b "], Rest::Nothing),
            (" %include  /x y.ini \r", vec![], Rest::Include("/x y.ini")),
        ] {
            assert_eq!(read(content), Ok(Line { sections, rest }), "{content:?}");
        }
        for content in ["'a = b", "'' = b", "''' = b", "\"a\" = b", "é = b"] {
            assert!(read(content).is_err(), "{content:?}");
        }
    }
}
