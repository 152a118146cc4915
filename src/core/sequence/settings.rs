//! Runtime settings: what is SET for a while and owed, and what a RELOAD undid of an operator's.
//!
//! Decides what is to be set again, where, when, and what is told of it. One sign tells what
//! happened to a process: RELOAD is always sent together with `SET server_login_retry` to
//! [`HASTY`]. Where that value is in force, a RELOAD of ours has undone what was SET, and the
//! process was neither restarted nor reloaded since: it gets back what is on record. Where it is
//! not, what is in force is what should be: putting old values back into a PgBouncer that was
//! started anew would undo what its operator may have started it for.

use std::time::{Duration, Instant};

use super::{Sequence, StepResult};
use crate::core::debt::{Debt, Settings};
use crate::core::pooler::LOGIN_RETRY;
use crate::core::worker::HASTY;

/// A value is restored a little after its old length has passed.
const RELOAD_SLACK: Duration = Duration::from_secs(1);
/// PgBouncer's own `server_login_retry`.
const LOGIN_RETRY_DEFAULT: Duration = Duration::from_secs(15);
/// What a load that was rejected resets, with what it resets them to (measured on 1.18.0 and
/// 1.25.2): without these, nobody logs in any more, or transactions are pooled in another way.
/// Other settings are put back without further ado.
const RESET: [(&str, &[&str]); 4] = [
    ("admin_users", &[""]),
    ("auth_hba_file", &[""]),
    ("auth_type", &["md5", "trust"]),
    ("pool_mode", &["session"]),
];
/// Values of more than this are named, not told.
const TOLD_BYTES_MAX: usize = 40;

/// A `server_login_retry` that is [`HASTY`] for a while and must be set again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Names the operation on the host.
    pub token: String,
    /// The value to set, of each process in the order of the configuration's consoles.
    pub values: Vec<String>,
    /// Not before this moment.
    pub due: Instant,
}

impl Owed {
    /// The values of before, out of force since `since`. The failed-connect flag belongs to each
    /// (database, user), and a pool that has not tried since would wait for the old length.
    #[must_use]
    pub fn new(token: String, before: &[Settings], since: Instant) -> Self {
        let value = |settings: &Settings| settings.get(LOGIN_RETRY).cloned().unwrap_or_default();
        let values: Vec<String> = before.iter().map(value).collect();
        Self {
            due: due_again(&values, since),
            token,
            values,
        }
    }

    /// Whether any process had another value than that of the haste.
    fn is_due_to_anybody(&self) -> bool {
        let differs = |value: &String| value != HASTY && !value.is_empty();
        self.values.iter().any(differs)
    }

    /// As it is put on record.
    #[must_use]
    pub fn debt(&self) -> Debt {
        let map = |value: &String| Settings::from([(LOGIN_RETRY.to_owned(), value.clone())]);
        let maps: Vec<Settings> = self.values.iter().map(map).collect();
        Debt::default().with_settings(&maps)
    }
}

/// What becomes of the debt of an operation whose owner is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clearing {
    /// What is on record meanwhile: all of it.
    pub on_record: Debt,
    /// What is paid at once.
    pub now: Debt,
    /// What is paid later, and is on record until then.
    pub owed: Option<Owed>,
}

impl Clearing {
    /// The debt `debt` of the operation `token`, where each process has in force what is `found`.
    /// When the RELOAD of one that was interrupted was is not known: its haste lasts as if that had
    /// been at `now`, because a pool that has not tried since would wait for the old length. Who
    /// enables entries needs the haste as well: a node has returned.
    #[must_use]
    pub fn new(token: &str, debt: &Debt, found: Vec<Settings>, now: Instant) -> Self {
        let hasty = found.iter().any(is_hasty) || !debt.disabled.is_empty();
        let found = found.into_iter().enumerate();
        let before = found.map(|(index, found)| before_reload(found, debt.settings_of(index)));
        let before: Vec<Settings> = before.collect();
        let owed = Owed::new(token.to_owned(), &before, now);
        if !hasty || has_waited(debt) || !owed.is_due_to_anybody() {
            return Self {
                on_record: debt.clone(),
                now: debt.clone(),
                owed: None,
            };
        }
        let on_record = debt.clone().with_settings(&before);
        let mut at_once = on_record.clone();
        for settings in &mut at_once.settings {
            settings.remove(LOGIN_RETRY);
        }
        Self {
            on_record,
            now: at_once,
            owed: Some(owed),
        }
    }
}

/// A setting that a RELOAD undid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Its name.
    pub key: String,
    /// What was in force before.
    pub was: String,
    /// What is in force now: what the file says, or PgBouncer's own value.
    pub is: String,
}

impl Lost {
    /// What is told of it once it was set again.
    #[must_use]
    pub fn note_again(&self) -> String {
        match (told(&self.was), told(&self.is)) {
            (Some(was), Some(is)) => {
                format!(
                    "{}: {was} was in force and is again; the file says {is}",
                    self.key
                )
            }
            _ => format!(
                "{}: what was in force is so again; the file says otherwise",
                self.key
            ),
        }
    }

    /// What is told of it when it could not be set again.
    #[must_use]
    pub fn note_lost(&self) -> String {
        let was = told(&self.was).map(|was| format!(" to {was}"));
        let was = was.unwrap_or_default();
        format!("{} could not be set again{was}, as it was", self.key)
    }
}

/// What a process had before a RELOAD of ours: `found`, or what is on record of an operation whose
/// RELOAD undid it already.
#[must_use]
pub fn before_reload(found: Settings, on_record: Settings) -> Settings {
    let mut before = found;
    if is_hasty(&before) {
        before.extend(on_record);
    }
    before
}

/// Whether an operation owes only what it had on record for later: by now, its time has come.
fn has_waited(debt: &Debt) -> bool {
    let mut keys = debt.settings.iter().flat_map(Settings::keys);
    debt.paused.is_empty() && debt.disabled.is_empty() && keys.all(|key| key == LOGIN_RETRY)
}

/// Whether a RELOAD of ours was the last thing that changed all settings of the process.
#[must_use]
pub fn is_hasty(settings: &Settings) -> bool {
    settings
        .get(LOGIN_RETRY)
        .is_some_and(|value| value == HASTY)
}

/// What is not as it was, but for what is owed later.
#[must_use]
pub fn lost(before: &Settings, after: &Settings, owed: Option<&Owed>) -> Vec<Lost> {
    let later = |key: &str| key == LOGIN_RETRY && owed.is_some();
    let differ = before.iter().filter_map(|(key, was)| {
        let is = after.get(key).map_or("", String::as_str);
        let lost = || Lost {
            key: key.clone(),
            was: was.clone(),
            is: is.to_owned(),
        };
        (is != was && !later(key)).then(lost)
    });
    let mut lost: Vec<Lost> = differ.collect();
    // The sign comes last: who finds it after a crash does all of it again.
    lost.sort_by_key(|lost| lost.key == LOGIN_RETRY);
    lost
}

/// The settings that a load has reset because it was rejected.
#[must_use]
pub fn reset(before: &Settings, after: &Settings) -> Vec<&'static str> {
    let changed = |key: &str, resets: &[&str]| {
        let (was, is) = (before.get(key), after.get(key));
        was.is_some() && was != is && is.is_some_and(|is| resets.contains(&is.as_str()))
    };
    let keys = RESET.iter().filter(|(key, to)| changed(key, to));
    keys.map(|(key, _)| *key).collect()
}

/// When a `server_login_retry` that is out of force since `since` has had its length everywhere.
fn due_again(values: &[String], since: Instant) -> Instant {
    let length = |value: &String| {
        let length = value.parse().map(Duration::try_from_secs_f64);
        let length = length.ok().and_then(Result::ok);
        length.unwrap_or(LOGIN_RETRY_DEFAULT)
    };
    let longest = values
        .iter()
        .map(length)
        .max()
        .unwrap_or(LOGIN_RETRY_DEFAULT);
    since + longest + RELOAD_SLACK
}

/// A value that is one plain word: nothing else is told, because it may hold anything.
fn told(value: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let short = value.len() <= TOLD_BYTES_MAX;
    (short && !value.is_empty() && value.chars().all(plain)).then_some(value)
}

impl Sequence {
    /// What each process had in force just before the first step, in the order of the
    /// configuration's consoles.
    pub fn found(&mut self, processes: Vec<Settings>) {
        let processes = processes.into_iter().enumerate();
        self.undone_before = false;
        self.before = processes
            .map(|(index, found)| {
                let on_record = self.plan.inherited.settings_of(index);
                self.undone_before |= is_hasty(&found) && !on_record.is_empty();
                before_reload(found, on_record)
            })
            .collect();
    }

    /// The settings of a process as they were before.
    #[must_use]
    pub fn before(&self, process: usize) -> Option<&Settings> {
        self.before.get(process)
    }

    /// What is owed while it runs: what must be on record on the host before the first PAUSE and
    /// before the RELOAD.
    #[must_use]
    pub fn debt(&self) -> Debt {
        let debt = Debt {
            paused: self.plan.pauses(),
            disabled: self.plan.enable.clone(),
            ..Debt::default()
        };
        debt.with_settings(&self.before)
    }

    /// What is to be set again later.
    #[must_use]
    pub fn owed(&self) -> Option<&Owed> {
        self.owed.as_ref()
    }

    /// From RELOAD on; see [`Owed::new`].
    pub(super) fn owe_login_retry(&mut self, since: Instant) {
        let owed = Owed::new(self.plan.token.clone(), &self.before, since);
        if owed.is_due_to_anybody() {
            self.owed = Some(owed);
        }
    }

    pub(super) fn after_put_back(&mut self, result: StepResult) {
        match result {
            StepResult::Passed(note) => self.warnings.push(note),
            StepResult::Failed(why) | StepResult::Lost(why) => {
                self.warnings.push(why);
                self.leave_on_record();
            }
            StepResult::Done(_)
            | StepResult::NotYet(_)
            | StepResult::Superseded(_)
            | StepResult::Rejected(_)
            | StepResult::Reset(_)
            | StepResult::Evicted(_) => {}
        }
    }
}
