//! Reads a `repmgr.conf`, in repmgr 4's dialect and in repmgr 5's.
//!
//! Decides which dialect a file is in (`scan4`, `scan5`), follows its `include`s (`gather`), and
//! what the options mean (`options`, `settle`). Touches no file but through the [`Files`] that it
//! is given. What is made of the result is [`super::file`]'s; [`import`] writes it as a
//! `repoint.toml`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::base::Base;
use super::problem::{Problem, Problems};

mod files;
mod gather;
pub mod import;
mod options;
mod scan4;
mod scan5;
mod settle;
#[cfg(test)]
mod tests;

pub use files::Files;

/// How a `repmgr.conf` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// repmgr 4: quotes are dropped, `#` ends a value everywhere.
    Repmgr4,
    /// repmgr 5: as `postgresql.conf`.
    Repmgr5,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repmgr4 => "the syntax of repmgr 4",
            Self::Repmgr5 => "the syntax of repmgr 5",
        })
    }
}

/// What a `repmgr.conf` says.
#[derive(Debug, Clone, PartialEq)]
pub struct RepmgrConf {
    /// The file.
    pub file: PathBuf,
    /// What it was read as.
    pub dialect: Dialect,
    /// What stands in it, with repmgr's defaults for what does not.
    pub base: Base,
    /// `repoint_pgbouncers`: the TOML file that describes the PgBouncers.
    pub pgbouncers: Option<PathBuf>,
    /// The options that were given, each once, in the order of their first appearance.
    pub given: Vec<Given>,
    /// What is odd and no reason to stop.
    pub warnings: Vec<Problem>,
}

/// An option that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// As it is spelled.
    pub name: String,
    /// What it does here.
    pub role: Role,
}

/// What an option of `repmgr.conf` does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is read into [`RepmgrConf::base`].
    Read,
    /// Nothing, for this reason.
    Unused(&'static str),
    /// Nothing: it is repmgr 3's name of another one.
    Renamed(&'static str),
    /// Nothing: no repmgr has it.
    Unknown,
}

/// Reads the bytes of a `repmgr.conf` as the dialect that it is in: repmgr 5's, unless that has
/// syntax errors and there is less wrong with it as repmgr 4's.
///
/// # Errors
/// With everything that is wrong, by file and line.
pub fn read(path: &Path, bytes: &[u8], files: &dyn Files) -> Result<RepmgrConf, Problems> {
    let text = String::from_utf8_lossy(bytes);
    let gathered = gather::gather(path, &text, files);
    let parses = !gathered.syntax_errors;
    let as5 = settle::settle(path, gathered);
    let (dialect, settled) = if parses {
        (Dialect::Repmgr5, as5)
    } else {
        let as4 = settle::settle(path, gather::alone(path, scan4::scan(&text)));
        match as4.problems.len() < as5.problems.len() {
            true => (Dialect::Repmgr4, as4),
            false => (Dialect::Repmgr5, as5),
        }
    };
    let Some(base) = settled.base.filter(|_| settled.problems.is_empty()) else {
        return Err(Problems::new(settled.problems));
    };
    Ok(RepmgrConf {
        file: path.to_owned(),
        dialect,
        base,
        pgbouncers: settled.pgbouncers,
        given: settled.given,
        warnings: settled.warnings,
    })
}

/// `name = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    line: usize,
    name: String,
    value: String,
}

/// What a scanner makes of a text.
#[derive(Debug, Default)]
struct Scanned {
    entries: Vec<Entry>,
    faults: Vec<Fault>,
}

/// A line that is no option.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// The original's syntax error, with the token; `None`: at the end of the line.
    Syntax { line: usize, near: Option<String> },
    /// In words of our own.
    Other { line: usize, message: String },
}

impl Fault {
    fn problem(self, file: &Path) -> Problem {
        let (line, message) = match self {
            Self::Other { line, message } => (line, message),
            Self::Syntax { line, near } => {
                let near = near.map_or_else(
                    || "near end of line".to_owned(),
                    |token| format!("near token \"{token}\""),
                );
                let file = file.display();
                (
                    line,
                    format!("syntax error in file \"{file}\" line {line}, {near}"),
                )
            }
        };
        problem(file, line, "", message)
    }
}

/// A problem or a warning; columns are not counted here.
fn problem(file: &Path, line: usize, key: &str, message: impl Into<String>) -> Problem {
    Problem {
        file: file.to_owned(),
        line,
        column: 1,
        key: key.to_owned(),
        message: message.into(),
    }
}
