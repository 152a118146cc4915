//! All options of a file and of those that it includes, in the order in which they hold.
//!
//! `include`, `include_if_exists` and `include_dir` are repmgr 5.2's. Decides which file is read
//! when, and that it ends; the file system is the caller's [`Files`].

use std::io;
use std::path::{Path, PathBuf};

use super::{Entry, Fault, Files, Scanned, problem, scan5};
use crate::config::problem::{Problem, quoted};

/// How deep files may include each other: the original's limit.
const DEPTH_MAX: usize = 10;
/// How many may be read: directories that include each other would otherwise be read for ages.
const FILES_MAX: usize = 1000;

/// Options with their files, and what is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) entries: Vec<(PathBuf, Entry)>,
    pub(super) problems: Vec<Problem>,
    /// Whether one of them is about syntax.
    pub(super) syntax_errors: bool,
    files: usize,
}

/// Reads in repmgr 5's dialect.
pub(super) fn gather(path: &Path, text: &str, files: &dyn Files) -> Gathered {
    let mut gathered = Gathered::default();
    gathered.follow(&mut vec![path.to_owned()], text, files);
    gathered
}

/// What one file holds, without includes.
pub(super) fn alone(path: &Path, scanned: Scanned) -> Gathered {
    let mut gathered = Gathered::default();
    gathered.faults(path, scanned.faults);
    let entries = scanned.entries.into_iter();
    gathered.entries = entries.map(|entry| (path.to_owned(), entry)).collect();
    gathered
}

impl Gathered {
    fn faults(&mut self, path: &Path, faults: Vec<Fault>) {
        self.syntax_errors |= !faults.is_empty();
        let problems = faults.into_iter().map(|fault| fault.problem(path));
        self.problems.extend(problems);
    }

    /// The text of the last file of `chain`, which the ones before it include.
    fn follow(&mut self, chain: &mut Vec<PathBuf>, text: &str, files: &dyn Files) {
        let path = chain.last().cloned().unwrap_or_default();
        let scanned = scan5::scan(text);
        self.faults(&path, scanned.faults);
        for entry in scanned.entries {
            // As in postgresql.conf, where the names of directives have no case.
            match entry.name.to_ascii_lowercase().as_str() {
                "include" => self.include(chain, &entry, files, Absent::Wrong),
                "include_if_exists" => self.include(chain, &entry, files, Absent::Fine),
                "include_dir" => self.include_directory(chain, &entry, files),
                _ => self.entries.push((path.clone(), entry)),
            }
        }
    }

    fn include(
        &mut self,
        chain: &mut Vec<PathBuf>,
        entry: &Entry,
        files: &dyn Files,
        absent: Absent,
    ) {
        if let Some(path) = self.target(chain, entry) {
            self.file(chain, entry, path, files, absent);
        }
    }

    fn include_directory(&mut self, chain: &mut Vec<PathBuf>, entry: &Entry, files: &dyn Files) {
        let Some(directory) = self.target(chain, entry) else {
            return;
        };
        let mut names = match files.names(&directory) {
            Ok(names) => names,
            Err(error) => return self.unreadable(chain, entry, &directory, &error),
        };
        names.retain(|name| name.ends_with(".conf") && !name.starts_with('.'));
        names.sort();
        for name in names {
            self.file(chain, entry, directory.join(name), files, Absent::Wrong);
        }
    }

    fn file(
        &mut self,
        chain: &mut Vec<PathBuf>,
        entry: &Entry,
        path: PathBuf,
        files: &dyn Files,
        absent: Absent,
    ) {
        if chain.contains(&path) {
            let name = quoted(&path.display().to_string());
            return self.wrong(
                chain,
                entry,
                format!("{name} is being read already: a loop"),
            );
        }
        if chain.len() > DEPTH_MAX {
            let message = format!("files include each other more than {DEPTH_MAX} deep");
            return self.wrong(chain, entry, message);
        }
        self.files += 1;
        if self.files > FILES_MAX {
            // Said once, and nothing more is read.
            if self.files == FILES_MAX + 1 {
                let message = format!("more than {FILES_MAX} files are included");
                self.wrong(chain, entry, message);
            }
            return;
        }
        match files.read(&path) {
            Ok(bytes) => {
                chain.push(path);
                self.follow(chain, &String::from_utf8_lossy(&bytes), files);
                chain.pop();
            }
            Err(error) if absent == Absent::Fine && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.unreadable(chain, entry, &path, &error),
        }
    }

    /// What a directive names, which is relative to the file that it stands in.
    fn target(&mut self, chain: &[PathBuf], entry: &Entry) -> Option<PathBuf> {
        if entry.value.is_empty() || entry.value.contains('\0') {
            self.wrong(chain, entry, "no file is named".to_owned());
            return None;
        }
        let from = chain.last()?.parent().unwrap_or(Path::new(""));
        Some(from.join(&entry.value))
    }

    fn unreadable(&mut self, chain: &[PathBuf], entry: &Entry, path: &Path, error: &io::Error) {
        let path = quoted(&path.display().to_string());
        self.wrong(chain, entry, format!("read {path}: {error}"));
    }

    fn wrong(&mut self, chain: &[PathBuf], entry: &Entry, message: String) {
        let Some(file) = chain.last() else { return };
        let found = problem(file, entry.line, &entry.name, message);
        self.problems.push(found);
    }
}

/// What it means that a file is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    Wrong,
    Fine,
}
