//! The steps of a plan in words: every console command stands in them exactly as it is sent.

use std::collections::BTreeSet;

use crate::config::PgBouncer;
use crate::core::debt::Settings;
use crate::core::plan::{EVICTING, Eviction, Plan, Step, to_change};
use crate::core::pooler::LOGIN_RETRY;
use crate::core::worker::HASTY;
use crate::edge::admin_console::{
    enable_command, kill_command, pause_command, resume_command, set_command,
};

const RECORDED: &str = "RELOAD will undo what was SET; it is put on record with the next steps";
const WHEN_DUE: &str = "when that time has passed since RELOAD";

/// The steps of `plan`, a line each. `before` is what each process has in force.
pub(super) fn steps(plan: &Plan, pgbouncer: &PgBouncer, before: &[Settings]) -> String {
    let steps = plan.steps();
    let owes = steps.contains(&Step::RecordDebt);
    let words = steps
        .iter()
        .map(|step| words(step, plan, pgbouncer, before));
    let last = owes.then(|| line("console", &set_again(before), WHEN_DUE));
    line("console", "SHOW CONFIG", RECORDED)
        + &words.collect::<String>()
        + &last.unwrap_or_default()
}

fn words(step: &Step, plan: &Plan, pgbouncer: &PgBouncer, before: &[Settings]) -> String {
    match step {
        Step::Stage => line("host", "stage the file beside the old one", ""),
        Step::Record => line("host", "put the pause on record, with who ends it", ""),
        Step::Pause { database, limit } => {
            let limit = limit.as_millis();
            let why = format!("on a connection of its own, given up after {limit} ms");
            line("console", &pause_command(database), &why)
        }
        Step::Renew => line("host", "put the pause of KILL on record", ""),
        Step::Activate => {
            let why = "if the file is still the one above";
            line("host", "rename it into place", why)
        }
        Step::Reload => {
            let why = "sent with it, for pools that failed to connect";
            line("console", "RELOAD", "") + &line("console", &set_command(LOGIN_RETRY, HASTY), why)
        }
        Step::ReadBack => {
            let why = "if any of this is not as meant: the old file back, and RELOAD";
            line("console", "SHOW DATABASES", "") + &line("console", "SHOW CONFIG", why)
        }
        Step::Enable { database } => line("console", &enable_command(database), ""),
        Step::Resume { database } => line("console", &resume_command(database), ""),
        Step::Evict(eviction) => evict(plan, *eviction, &evicting(before)),
        Step::Freed => {
            let why = "until no client hangs in the old node, 1.5 s at most";
            line("console", "SHOW SERVERS", why)
        }
        Step::EndEviction => end_eviction(&evicting(before)),
        Step::PutBack => {
            let why = "and SET again what was SET before and is not any more";
            line("console", "SHOW CONFIG", why)
        }
        Step::Confirm { database } => confirm(pgbouncer, database),
        Step::RecordDebt => line("host", "put on record what is still owed then", ""),
        // Only where the one that was sent with RELOAD is not in force.
        Step::Hasten
        | Step::RestoreFile
        | Step::ReadBackPrevious
        | Step::Settle
        // Of planned moves, which are not shown here.
        | Step::Calm { .. }
        | Step::Emptied
        | Step::Replayed { .. }
        | Step::CloseSessions
        | Step::Drain { .. }
        | Step::NameLeft
        | Step::KeepSessions => String::new(),
    }
}

fn evicting(before: &[Settings]) -> Settings {
    before.first().map(to_change).unwrap_or_default()
}

/// Several values, where processes differ.
fn set_again(before: &[Settings]) -> String {
    let values = before
        .iter()
        .filter_map(|settings| settings.get(LOGIN_RETRY));
    let values: BTreeSet<&String> = values.collect();
    let sets = values
        .into_iter()
        .map(|value| set_command(LOGIN_RETRY, value));
    sets.collect::<Vec<_>>().join(" or ")
}

fn line(who: &str, command: &str, why: &str) -> String {
    let why = match why {
        "" => String::new(),
        why => format!("  -- {why}"),
    };
    format!("  {who:<8}{command}{why}\n")
}

/// How clients are freed that hang in the old node; only who does is known when it is done.
fn evict(plan: &Plan, eviction: Eviction, evicting: &Settings) -> String {
    match eviction {
        Eviction::KillClients => [
            line("console", "SHOW CLIENTS", ""),
            line("console", "SHOW SERVERS", ""),
            line(
                "console",
                "KILL_CLIENT id",
                "of each client that hangs in the old node, until none does",
            ),
        ]
        .concat(),
        Eviction::QueryTimeout => {
            let sets = EVICTING.map(|(key, value)| {
                let needed = evicting.contains_key(key);
                let set = || {
                    let command = set_command(key, value);
                    line("console", &command, "if a client hangs in the old node")
                };
                needed.then(set).unwrap_or_default()
            });
            line("console", "SHOW SERVERS", "") + &sets.concat()
        }
        Eviction::KillDatabase => {
            let why = "if a client of it hangs in the old node; all of its clients are dropped";
            let kill = |database: &String| line("console", &kill_command(database), why);
            let kills = plan.moves.keys().map(kill);
            line("console", "SHOW SERVERS", "") + &kills.collect::<String>()
        }
    }
}

fn end_eviction(evicting: &Settings) -> String {
    let set = |(key, value): (&String, &String)| {
        let command = set_command(key, value);
        line("console", &command, "as soon as none does, and in any case")
    };
    evicting.iter().map(set).collect()
}

fn confirm(pgbouncer: &PgBouncer, database: &str) -> String {
    let user = pgbouncer
        .databases
        .get(database)
        .and_then(|d| d.probe_user.as_deref());
    match user {
        Some(user) => line(
            "client",
            &format!("a query through `{database}` as `{user}`"),
            "must land on the node, up to 5 s",
        ),
        None => line(
            "console",
            "SHOW SERVERS",
            &format!(
                "and SHOW POOLS: `{database}` must have a live connection to the node, if it has \
                 clients"
            ),
        ),
    }
}
