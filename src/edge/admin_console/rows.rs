//! What the rows of the console's SHOW commands say: by column name, because the positions differ
//! from version to version.

use std::collections::BTreeMap;

use super::super::postgres::Row;
use crate::core::pooler::{ClientState, EntryState, ServerState};

/// SHOW DATABASES.
pub(super) fn databases(rows: Vec<Row>) -> BTreeMap<String, EntryState> {
    rows.into_iter().filter_map(entry).collect()
}

/// SHOW CONFIG: what a SET or a RELOAD changes.
pub(super) fn settings(rows: Vec<Row>) -> BTreeMap<String, String> {
    let changeable = |row: &Row| is(row, "changeable", "yes");
    let setting = |mut row: Row| Some((row.remove("key")?, row.remove("value")?));
    let rows = rows.into_iter().filter(changeable);
    rows.filter_map(setting).collect()
}

/// SHOW CONFIG: one value.
pub(super) fn setting(rows: Vec<Row>, key: &str) -> Option<String> {
    let mut rows = rows.into_iter();
    rows.find(|row| is(row, "key", key))?.remove("value")
}

/// SHOW SERVERS.
pub(super) fn servers(rows: Vec<Row>) -> Vec<ServerState> {
    let server = |mut row: Row| {
        Some(ServerState {
            close_needed: is(&row, "close_needed", "1"),
            port: row.get("port").and_then(|port| port.parse().ok())?,
            database: row.remove("database")?,
            user: row.remove("user").unwrap_or_default(),
            state: row.remove("state")?,
            addr: row.remove("addr").unwrap_or_default(),
            link: row.remove("link").filter(|link| !link.is_empty()),
        })
    };
    rows.into_iter().filter_map(server).collect()
}

/// SHOW CLIENTS.
pub(super) fn clients(rows: Vec<Row>) -> Vec<ClientState> {
    let client = |mut row: Row| {
        Some(ClientState {
            id: row.get("id").and_then(|id| id.parse().ok()),
            database: row.remove("database")?,
            ptr: row.remove("ptr")?,
        })
    };
    rows.into_iter().filter_map(client).collect()
}

/// SHOW POOLS: clients that wait for a server connection of `database`.
pub(super) fn waiting_clients(rows: &[Row], database: &str) -> u64 {
    let of_database = rows.iter().filter(|row| is(row, "database", database));
    let waiting = of_database.filter_map(|row| row.get("cl_waiting")?.parse::<u64>().ok());
    waiting.sum()
}

/// SHOW STATE: whether somebody has sent a PAUSE without a database.
pub(super) fn paused_as_a_whole(rows: &[Row]) -> bool {
    let mut rows = rows.iter();
    rows.any(|row| is(row, "key", "paused") && is(row, "value", "yes"))
}

fn is(row: &Row, key: &str, value: &str) -> bool {
    row.get(key).is_some_and(|found| found == value)
}

fn entry(mut row: Row) -> Option<(String, EntryState)> {
    let name = row.remove("name")?;
    let flag = |row: &Row, key: &str| row.get(key).is_some_and(|value| value != "0");
    let state = EntryState {
        paused: flag(&row, "paused"),
        disabled: flag(&row, "disabled"),
        host: row.remove("host").unwrap_or_default(),
        port: row
            .remove("port")
            .and_then(|port| port.parse().ok())
            .unwrap_or_default(),
        dbname: row.remove("database").unwrap_or_default(),
        force_user: row.remove("force_user"),
    };
    Some((name, state))
}
