//! Whether a file may go to a host that has one already, and what a person should know of it.
//!
//! It decides what keeps a file from being pushed: what *it* would make worse. What is wrong in
//! lines that the file on the host had before holds nothing up, because PgBouncer lives with it,
//! and is told; but for a line of `[pgbouncer]` that a RELOAD would stop at, because everything
//! below it would go back to its default, whoever wrote it. Reads and writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Effect, Problem, Reader, Version, problems, shown, targets};
use super::settings::is_read_at_start;
use super::{Finding, Ini};
use crate::conninfo::server_address::ServerAddress;

/// Before it, a `user=` that a RELOAD adds crashes PgBouncer when that user has a pool already.
const USER_MAY_BE_ADDED: Version = (1, 23, 1);
/// What is told of lines that were there before; who has more of them reads the log of PgBouncer.
const NOTES_MAX: usize = 3;

/// Where a new file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The present file, edited.
    Edited,
    /// A template.
    Rendered,
    /// A template, over edits that are meant to go.
    RenderedOverEdits,
}

/// Who logs in to an admin console, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleUser {
    /// The user.
    pub name: String,
    /// Whether it comes through a unix socket.
    pub socket: bool,
}

impl ConsoleUser {
    /// PgBouncer's own user of the operating system may be `pgbouncer` there, whatever else is set.
    fn needs_no_setting(&self) -> bool {
        self.socket && self.name == "pgbouncer"
    }
}

/// What is there: the PgBouncer, and its file.
#[derive(Debug, Clone)]
pub struct There<'a> {
    /// Its version, if it is known.
    pub version: Option<Version>,
    /// The file that is to be replaced.
    pub present: Option<&'a str>,
    /// Its entries (SHOW DATABASES), with the forced user of each.
    pub entries: BTreeMap<&'a str, Option<&'a str>>,
    /// SHOW CONFIG, where it says `changeable`.
    pub settings: Option<&'a BTreeMap<String, String>>,
    /// Who must not be locked out.
    pub consoles: &'a [ConsoleUser],
}

/// Whether `new` may take the place of the file that is there. Gives what a person should know.
///
/// # Errors
/// Everything that keeps it from being pushed, by line.
pub fn fit(
    new: &str,
    origin: Origin,
    expected: &BTreeMap<String, ServerAddress>,
    there: &There<'_>,
) -> Result<Vec<String>, Vec<Finding>> {
    let reader = Reader {
        version: there.version,
        settings: there.settings,
    };
    let (ini, of_new) = problems(new, reader);
    let (before, of_present) = problems(there.present.unwrap_or_default(), reader);
    let known: BTreeSet<&str> = of_present
        .iter()
        .map(|problem| problem.finding.message.as_str())
        .collect();
    let mut verdict = Verdict::default();
    for Problem { finding, effect } in of_new {
        let was_there = known.contains(finding.message.as_str());
        match effect {
            Effect::Resets => verdict.refuse(Finding {
                message: format!(
                    "{}; a RELOAD would put every setting below it back to its default",
                    finding.message
                ),
                ..finding
            }),
            Effect::Wrong if !was_there => verdict.refuse(finding),
            Effect::Wrong | Effect::Told => verdict.found.push(finding),
        }
    }
    targets(&ini, expected)
        .into_iter()
        .for_each(|finding| verdict.refuse(finding));
    verdict.lost(&ini, &before, origin, there);
    verdict.users(&ini, &before, there);
    verdict.console(&ini, origin, there);
    verdict.read_at_start(&ini, &before);
    verdict.end()
}

#[derive(Default)]
struct Verdict {
    refused: Vec<Finding>,
    /// What lines say that were there before, or that only a newer version than known can judge.
    found: Vec<Finding>,
    notes: Vec<String>,
}

impl Verdict {
    fn refuse(&mut self, finding: Finding) {
        self.refused.push(finding);
    }

    /// Entries that clients may use, and that a RELOAD would remove.
    fn lost(&mut self, new: &Ini, before: &Ini, origin: Origin, there: &There<'_>) {
        let (now, then) = (before.databases(), new.databases());
        let in_file = now.keys().copied();
        // An include file does not have all of them.
        let whole = is_whole(new) && !then.contains_key("*");
        let served = there.entries.keys().copied().filter(|_| whole);
        let names: BTreeSet<&str> = in_file.chain(served).collect();
        for name in names {
            if then.contains_key(name) || name == "pgbouncer" {
                continue;
            }
            let where_from = if now.contains_key(name) {
                "the file on the host has it"
            } else {
                "PgBouncer has it, but not from the file on the host"
            };
            match origin {
                Origin::Edited => self.notes.push(format!(
                    "`{name}` is not in the file any more, so the RELOAD removes it"
                )),
                Origin::RenderedOverEdits => self.notes.push(format!(
                    "the template does not give `{name}`, so the RELOAD removes it"
                )),
                Origin::Rendered => self.refuse(Finding {
                    line: None,
                    message: format!(
                        "database entry `{name}` would be lost ({where_from}); add it to the \
                         template or the configuration, or remove it there and RELOAD"
                    ),
                }),
            }
        }
    }

    /// Forced users that a RELOAD cannot add, or does not take away.
    fn users(&mut self, new: &Ini, before: &Ini, there: &There<'_>) {
        let had = before.databases();
        for (name, entry) in new.databases() {
            let Some(forced) = there.entries.get(name) else {
                continue;
            };
            match (forced, entry.get("user"), there.version) {
                (None, Some(_), Some(version)) if version < USER_MAY_BE_ADDED => {
                    let finding = Finding {
                        line: Some(entry.line),
                        message: format!(
                            "database entry `{name}`: `user` is new to PgBouncer {}, which may \
                             crash when a RELOAD adds it (before 1.23.1); restart PgBouncer with \
                             it, or leave `user` out",
                            shown(version)
                        ),
                    };
                    let was_there = had.get(name).and_then(|entry| entry.get("user")).is_some();
                    match was_there {
                        true => self.found.push(finding),
                        false => self.refuse(finding),
                    }
                }
                (Some(user), None, _) => self.notes.push(format!(
                    "`{name}` has no `user` in the file; PgBouncer keeps forcing `{user}` until it \
                     is restarted"
                )),
                (None, None | Some(_), _) | (Some(_), Some(_), _) => {}
            }
        }
    }

    /// Whether we could still log in to the console, to prove or undo what was done.
    fn console(&mut self, new: &Ini, origin: Origin, there: &There<'_>) {
        if !is_whole(new) {
            return;
        }
        let ours = there.consoles.iter().filter(|c| !c.needs_no_setting());
        let users: BTreeSet<&str> = ours.map(|console| console.name.as_str()).collect();
        let (line, admins) = last(new, "admin_users").unwrap_or((None, ""));
        let admins: BTreeSet<&str> = admins
            .split(|c: char| c == ',' || c.is_ascii_whitespace())
            .collect();
        for user in users.difference(&admins) {
            let finding = Finding {
                line,
                message: format!(
                    "`{user}`, as whom repoint uses the console, is not in `admin_users`; add it"
                ),
            };
            match origin {
                Origin::Edited => self.found.push(finding),
                Origin::Rendered | Origin::RenderedOverEdits => self.refuse(finding),
            }
        }
        self.auth_type(new, origin, there, users.is_empty());
    }

    fn auth_type(&mut self, new: &Ini, origin: Origin, there: &There<'_>, no_matter: bool) {
        const OPEN: [&str; 2] = ["any", "trust"];
        let (line, then) = last(new, "auth_type").unwrap_or((None, "md5"));
        let now = there
            .settings
            .and_then(|settings| settings.get("auth_type"));
        let Some(now) = now.filter(|now| !now.eq_ignore_ascii_case(then)) else {
            return;
        };
        if no_matter || OPEN.iter().any(|open| open.eq_ignore_ascii_case(then)) {
            return;
        }
        let finding = Finding {
            line,
            message: format!(
                "`auth_type` would change from `{now}` to `{}`, and repoint might not get into \
                 the console any more; make that change by hand and RELOAD",
                then.escape_debug()
            ),
        };
        match origin {
            Origin::Edited => self.found.push(finding),
            Origin::Rendered | Origin::RenderedOverEdits => self.refuse(finding),
        }
    }

    /// Settings that change in the file and in nothing else, for now.
    fn read_at_start(&mut self, new: &Ini, before: &Ini) {
        let then = of_pgbouncer(new);
        for (name, (_, value)) in of_pgbouncer(before) {
            let changed = then.get(name).is_some_and(|(_, now)| *now != value);
            if is_read_at_start(name) && changed {
                self.notes.push(format!(
                    "`{name}` changes in the file, and in PgBouncer when it is restarted"
                ));
            }
        }
    }

    fn end(mut self) -> Result<Vec<String>, Vec<Finding>> {
        if !self.refused.is_empty() {
            self.refused.sort();
            self.refused.dedup();
            return Err(self.refused);
        }
        self.found.sort();
        self.found.dedup();
        let more = self.found.len().saturating_sub(NOTES_MAX);
        let found = self.found.iter().take(NOTES_MAX);
        let told = found.map(|finding| format!("not of repoint's making: {finding}"));
        let mut notes: Vec<String> = told.collect();
        if more > 0 {
            notes.push(format!("and {more} more of that kind"));
        }
        notes.extend(self.notes);
        Ok(notes)
    }
}

/// Whether all of PgBouncer's configuration is in the text.
fn is_whole(ini: &Ini) -> bool {
    let has = ini
        .sections
        .iter()
        .any(|section| section.name == "pgbouncer");
    has && ini.includes.is_empty()
}

/// The settings with their lines; of several the last, as in PgBouncer.
fn of_pgbouncer(ini: &Ini) -> BTreeMap<&str, (usize, &str)> {
    let sections = ini.sections.iter().filter(|s| s.name == "pgbouncer");
    sections
        .flat_map(|section| &section.settings)
        .map(|setting| (setting.key.as_str(), (setting.line, setting.value.as_str())))
        .collect()
}

fn last<'a>(ini: &'a Ini, name: &str) -> Option<(Option<usize>, &'a str)> {
    let (line, value) = of_pgbouncer(ini).get(name).copied()?;
    Some((Some(line), value))
}

#[cfg(test)]
mod tests;
