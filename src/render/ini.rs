//! PgBouncer's ini grammar: writing a value, reading a file back, and saying what is wrong with it.
//!
//! It decides whether PgBouncer would accept a text and where its entries would point. It follows
//! what PgBouncer does rather than its documentation: blanks of a connection string are spaces
//! only, a backslash is a plain character, a comment takes a whole line. Where two versions differ
//! the stricter one is followed. No message repeats a value other than host, port and dbname.
//!
//! What should be in the file comes from [`crate::conninfo::server_address`] and the templates.

use std::collections::BTreeMap;
use std::fmt;

mod check;
mod edit;
mod fit;
mod line;
mod masked;
mod settings;
mod value;

use line::{Line, Rest};

pub use check::{Finding, Version, accepted_keys, check};
pub use edit::{EditError, Wanted, edit};
pub use fit::{ConsoleUser, Origin, There, fit};
pub use masked::masked;
pub use value::{
    ConnectionStringError, NameError, QuoteError, check_database_name, parse_connection_string,
    quote,
};

/// A file, as PgBouncer would read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ini {
    /// Sections in the order of the file; a name may come more than once.
    pub sections: Vec<Section>,
    /// `%include` lines. Which of them are meant, only the author of the template knows.
    pub includes: Vec<Include>,
    entries: Vec<(String, Entry)>,
}

/// `[name]` and the lines below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name between the brackets.
    pub name: String,
    /// The line of the header, from 1.
    pub line: usize,
    /// Its lines, those of `[databases]` included.
    pub settings: Vec<KeyValue>,
}

/// `key = value`
#[derive(Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The line, from 1.
    pub line: usize,
    /// Left of `=`.
    pub key: String,
    /// Right of `=`, without the blanks around it.
    pub value: String,
}

/// `%include path`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    /// The line, from 1.
    pub line: usize,
    /// The file that PgBouncer would read here.
    pub path: String,
}

/// An entry under `[databases]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line, from 1.
    pub line: usize,
    /// Keys and values in the order of the line.
    pub values: Vec<(String, String)>,
}

/// Why PgBouncer would not read a file to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct IniError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there, and what to do.
    pub what: String,
}

/// Reads a file as PgBouncer does, up to the first line that it would not accept.
pub fn parse(text: &str) -> Result<Ini, IniError> {
    let (ini, errors) = parse_to_the_end(text);
    errors.into_iter().next().map_or(Ok(ini), Err)
}

/// Reads a file with what is wrong in it: all lines that PgBouncer would accept, and all errors.
fn parse_to_the_end(text: &str) -> (Ini, Vec<IniError>) {
    let mut ini = Ini {
        sections: Vec::new(),
        includes: Vec::new(),
        entries: Vec::new(),
    };
    let mut errors = Vec::new();
    for (index, content) in text.split('\n').enumerate() {
        let line = index + 1;
        if let Err(what) = ini.read_line(line, content) {
            errors.push(IniError { line, what });
        }
    }
    (ini, errors)
}

impl Ini {
    /// Database entries by name; of several with one name the last, as in PgBouncer.
    pub fn databases(&self) -> BTreeMap<&str, &Entry> {
        self.entries
            .iter()
            .map(|(name, entry)| (name.as_str(), entry))
            .collect()
    }

    /// Takes one line, or says what is wrong with it.
    fn read_line(&mut self, line: usize, content: &str) -> Result<(), String> {
        let Line { sections, rest } = line::read(content)?;
        self.sections
            .extend(sections.into_iter().map(|name| Section {
                name: name.to_owned(),
                line,
                settings: Vec::new(),
            }));
        match rest {
            Rest::Nothing | Rest::Comment => Ok(()),
            Rest::Include(path) => {
                let path = path.to_owned();
                self.includes.push(Include { line, path });
                Ok(())
            }
            Rest::Setting(setting) => self.take_setting(line, setting.key, setting.value),
        }
    }

    fn take_setting(&mut self, line: usize, key: &str, value: &str) -> Result<(), String> {
        let Some(section) = self.sections.last_mut() else {
            return Err(before_any_section(key));
        };
        section.settings.push(KeyValue {
            line,
            key: key.to_owned(),
            value: value.to_owned(),
        });
        if section.name == "databases" {
            let values = parse_connection_string(value)
                .map_err(|error| format!("database entry `{key}`: {error}{}", hint(value)))?;
            self.entries.push((key.to_owned(), Entry { line, values }));
        }
        Ok(())
    }
}

fn before_any_section(key: &str) -> String {
    format!("`{key}` stands before any [section]; write `[databases]` on a line above it")
}

fn hint(value: &str) -> &'static str {
    if value.contains(" ;") || value.contains(" #") {
        "; a comment needs a line of its own"
    } else {
        ""
    }
}

impl Entry {
    /// The value of a key; of several the last, as in PgBouncer.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values
            .iter()
            .rfind(|(found, _)| found == key)
            .map(|(_, value)| value.as_str())
    }
}

/// Values may be passwords, so only keys are shown.
impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} = …", self.line, self.key)
    }
}

/// Values may be passwords, so only keys are shown.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.values.iter().map(|(key, _)| key);
        write!(f, "{}: ", self.line)?;
        f.debug_list().entries(keys).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "; ours\n\
        [databases]\n\
        app = host='10.0.0.1' port=5432 dbname='app'\r\n\
        \x20 other=host=b\n\
        # comment\n\
        \n\
        [pgbouncer]\n\
        listen_port = 6432\n\
        ignore_startup_parameters =\n\
        %include /etc/pgbouncer/more.ini \n";

    #[test]
    fn sections_settings_and_includes_have_their_lines() {
        let ini = parse(FILE).unwrap();
        let sections: Vec<_> = ini
            .sections
            .iter()
            .map(|section| (section.name.as_str(), section.line, section.settings.len()))
            .collect();
        assert_eq!(sections, [("databases", 2, 2), ("pgbouncer", 7, 2)]);
        let setting = &ini.sections[1].settings[0];
        assert_eq!(setting.line, 8);
        assert_eq!((&*setting.key, &*setting.value), ("listen_port", "6432"));
        let include = Include {
            line: 10,
            path: "/etc/pgbouncer/more.ini".to_owned(),
        };
        assert_eq!(ini.includes, [include]);
    }

    #[test]
    fn entries_have_their_lines_and_values() {
        let ini = parse(FILE).unwrap();
        let databases = ini.databases();
        assert!(databases.keys().eq(["app", "other"].iter()));
        assert_eq!(databases["app"].line, 3);
        assert_eq!(databases["app"].get("dbname"), Some("app"));
        assert_eq!(databases["other"].get("host"), Some("b"));
        assert_eq!(databases["other"].get("port"), None);
    }

    #[test]
    fn the_last_entry_and_the_last_key_win() {
        let ini = parse("[databases]\na=host=x\na=host=y host=z\n").unwrap();
        assert_eq!(ini.databases()["a"].get("host"), Some("z"));
    }

    #[test]
    fn a_line_may_go_on_after_a_section() {
        let ini = parse("[databases] a=host=x").unwrap();
        assert_eq!(ini.databases()["a"].get("host"), Some("x"));
        let ini = parse("[databases] %include /x").unwrap();
        assert_eq!(ini.includes.len(), 1);
    }

    #[test]
    fn an_include_counts_only_at_the_start_of_a_line() {
        let ini = parse("[pgbouncer]\nlogfile = %include /etc/passwd\n; %include /x\n").unwrap();
        assert_eq!(ini.includes, []);
    }

    #[test]
    fn lines_that_pgbouncer_would_not_read_are_told() {
        for (text, line, what) in [
            ("a=b", 1, "before any [section]"),
            ("[a\nb=c", 1, "`[` without `]`"),
            ("[a]\nb", 2, "not `key = value`"),
            ("[a]\n= b", 2, "not `key = value`"),
            ("[a]\nb c = d", 2, "not `key = value`"),
            ("[databases]\n\"db\" = host=a", 2, "not `key = value`"),
            ("[a]\n%include", 2, "file name"),
            ("[a]\n%include/x", 2, "file name"),
            ("[a]\n%include  ", 2, "file name"),
            ("[a]\nb=c\0", 2, "zero byte"),
            ("[databases]\n\na=host=", 3, "`a`: empty value"),
            ("[databases]\na=host=b ; c", 2, "a comment needs a line"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}");
            assert!(error.what.contains(what), "{text:?}: {error}");
        }
    }

    #[test]
    fn debug_output_shows_no_values() {
        let ini = parse("[databases]\na=host=x password=hunter2\n").unwrap();
        assert!(!format!("{ini:?}").contains("hunter2"));
    }
}
