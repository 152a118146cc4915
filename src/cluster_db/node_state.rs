//! What a server says of itself: standby or not, timeline, slots, archiving, sizes.
//!
//! SQL in the words of each version from 9.4 on, and how the answers are read. What follows from
//! them is `core::cluster_view`'s and `core::node_check`'s.

use std::time::Duration;

use crate::edge::postgres::{PostgresError, Row, Session};

/// A healthy server answers in milliseconds; one that is busy gets its time.
const LIMIT: Duration = Duration::from_secs(5);

/// Whether the server is in recovery.
///
/// # Errors
/// [`PostgresError`].
pub async fn in_recovery(session: &Session) -> Result<bool, PostgresError> {
    let query = "SELECT pg_catalog.pg_is_in_recovery() AS answer";
    Ok(answer(&session.simple(query, LIMIT).await?).as_deref() == Some("t"))
}

/// The timeline of the last checkpoint; `None`: older than 9.6.
///
/// # Errors
/// [`PostgresError`]; this user may not ask, for one.
pub async fn timeline(session: &Session) -> Result<Option<u32>, PostgresError> {
    if !tells_timeline(session) {
        return Ok(None);
    }
    let query = "SELECT timeline_id AS answer FROM pg_catalog.pg_control_checkpoint()";
    let rows = session.simple(query, LIMIT).await?;
    Ok(answer(&rows).and_then(|timeline| timeline.parse().ok()))
}

/// Whether the server's version can be asked for its timeline.
#[must_use]
pub fn tells_timeline(session: &Session) -> bool {
    session.version_num() >= 90_600
}

/// A row of `pg_replication_slots`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether somebody reads from it.
    pub active: bool,
    /// Whether it is a logical one of this database.
    pub of_this_database: bool,
    /// WAL between what was confirmed (before 9.6: what is kept) and now, in bytes; `None`: the
    /// slot has no position yet.
    pub behind_bytes: Option<u64>,
}

/// The slots, by name.
///
/// # Errors
/// [`PostgresError`].
pub async fn slots(session: &Session) -> Result<Vec<Slot>, PostgresError> {
    let rows = session
        .simple(&slots_sql(session.version_num()), LIMIT)
        .await?;
    let slot = |row: &Row| Slot {
        name: row.get("slot_name").cloned().unwrap_or_default(),
        active: row.get("active").is_some_and(|value| value == "t"),
        of_this_database: row.get("ours").is_some_and(|value| value == "t"),
        behind_bytes: row.get("behind").and_then(|bytes| bytes.parse().ok()),
    };
    Ok(rows.iter().map(slot).collect())
}

fn slots_sql(version_num: u32) -> String {
    let (difference, current, replayed) = match version_num {
        0..100_000 => (
            "pg_xlog_location_diff",
            "pg_current_xlog_location",
            "pg_last_xlog_replay_location",
        ),
        100_000.. => (
            "pg_wal_lsn_diff",
            "pg_current_wal_lsn",
            "pg_last_wal_replay_lsn",
        ),
    };
    let position = match version_num {
        0..90_600 => "restart_lsn",
        90_600.. => "coalesce(confirmed_flush_lsn, restart_lsn)",
    };
    format!(
        "SELECT slot_name, active, \
         slot_type = 'logical' AND database = pg_catalog.current_database() AS ours, \
         greatest(0, pg_catalog.trunc(pg_catalog.{difference}(\
         CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.{replayed}() \
         ELSE pg_catalog.{current}() END, {position}))) AS behind \
         FROM pg_catalog.pg_replication_slots ORDER BY slot_name"
    )
}

/// What `pg_stat_archiver` and the directory of waiting files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archiver {
    /// Whether there is archiving.
    pub on: bool,
    /// The file that could not be archived, if that was the last attempt.
    pub failed: Option<String>,
    /// Files that wait; `None`: this user may not look.
    pub ready: Option<u64>,
}

/// The state of archiving.
///
/// # Errors
/// [`PostgresError`].
pub async fn archiver(session: &Session) -> Result<Archiver, PostgresError> {
    let query = "SELECT pg_catalog.current_setting('archive_mode') AS mode, \
                 CASE WHEN last_failed_time > coalesce(last_archived_time, '-infinity') \
                 THEN last_failed_wal END AS failed FROM pg_catalog.pg_stat_archiver";
    let rows = session.simple(query, LIMIT).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let on = row.get("mode").is_some_and(|mode| mode != "off");
    let files = match session.version_num() {
        0..100_000 => "pg_catalog.pg_ls_dir('pg_xlog/archive_status') AS name",
        100_000..120_000 => "pg_catalog.pg_ls_dir('pg_wal/archive_status') AS name",
        120_000.. => "pg_catalog.pg_ls_archive_statusdir()",
    };
    let query =
        format!("SELECT pg_catalog.count(*) AS answer FROM {files} WHERE name ~ '[.]ready$'");
    let ready = match session.simple(&query, LIMIT).await {
        Ok(rows) => answer(&rows).and_then(|count| count.parse().ok()),
        Err(PostgresError::Answered { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(Archiver {
        on,
        failed: row.get("failed").cloned(),
        ready,
    })
}

/// Figures for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Size of this database, with a unit.
    pub database_size: String,
    /// Replication connections.
    pub walsenders: String,
    /// How many there may be.
    pub walsenders_max: String,
    /// How many slots there may be.
    pub slots_max: String,
}

/// Asks for the figures.
///
/// # Errors
/// [`PostgresError`].
pub async fn figures(session: &Session) -> Result<Figures, PostgresError> {
    let query = "SELECT pg_catalog.pg_size_pretty(\
                 pg_catalog.pg_database_size(pg_catalog.current_database())) AS database_size, \
                 (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication) AS walsenders, \
                 pg_catalog.current_setting('max_wal_senders') AS walsenders_max, \
                 pg_catalog.current_setting('max_replication_slots') AS slots_max";
    let rows = session.simple(query, LIMIT).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let text = |name: &str| row.get(name).cloned().unwrap_or_default();
    Ok(Figures {
        database_size: text("database_size"),
        walsenders: text("walsenders"),
        walsenders_max: text("walsenders_max"),
        slots_max: text("slots_max"),
    })
}

fn answer(rows: &[Row]) -> Option<String> {
    rows.first().and_then(|row| row.get("answer").cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_have_the_names_of_the_servers_version() {
        for (version, difference, position) in [
            (90_424, "pg_xlog_location_diff", ", restart_lsn)"),
            (90_602, "pg_xlog_location_diff", "confirmed_flush_lsn"),
            (150_000, "pg_wal_lsn_diff", "confirmed_flush_lsn"),
        ] {
            let sql = slots_sql(version);
            assert!(sql.contains(difference), "{version}: {sql}");
            assert!(sql.contains(position), "{version}: {sql}");
        }
    }
}
