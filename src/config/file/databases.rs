//! `[[pgbouncer.database]]`: the entries of a PgBouncer.
//!
//! Decides which entries can be written into PgBouncer's file at all; what a given PgBouncer
//! version makes of them is found out at its console.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::pgbouncers::{label_by_name, name_of, without_control};
use crate::config::reader::{Table, Value, all};
use crate::config::suggest::nearest;
use crate::config::{Database, Setting};

/// The keys of an entry that some version of PgBouncer takes; any other makes it refuse the file.
const OPTIONS: [&str; 18] = [
    "application_name",
    "auth_dbname",
    "auth_query",
    "auth_user",
    "client_encoding",
    "connect_query",
    "datestyle",
    "load_balance_hosts",
    "max_db_client_connections",
    "max_db_connections",
    "min_pool_size",
    "pool_mode",
    "pool_size",
    "query_wait_timeout",
    "reserve_pool",
    "reserve_pool_size",
    "server_lifetime",
    "timezone",
];

/// The entries of one `[[pgbouncer]]`, by name; at least one.
pub(super) fn read(pgbouncer: &mut Table<'_>) -> Option<BTreeMap<String, Database>> {
    let list = pgbouncer.get("database");
    let expected = "[[pgbouncer.database]]";
    let is_empty = |list: &Value<'_>| list.raw().as_array().is_some_and(|items| items.is_empty());
    if list.as_ref().is_none_or(is_empty) {
        pgbouncer.problem(
            "database",
            format!("missing; describe each entry in a `{expected}`"),
        );
        return None;
    }
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let tables = list?.tables(expected, label_by_name);
    all(tables.into_iter().map(|table| {
        let database = database(table, &mut lines)?;
        Some((database.name.clone(), database))
    }))
}

fn database(mut table: Table<'_>, lines: &mut BTreeMap<String, usize>) -> Option<Database> {
    let name = table.require("name", "name = \"app\"").and_then(name_of);
    let name = name.and_then(|(name, place)| unused(name, &place, lines));
    let dbname = optional_text(&mut table, "dbname");
    let user = optional_text(&mut table, "user");
    let probe_user = optional_text(&mut table, "probe_user");
    let options = table
        .get("options")
        .map_or(Some(BTreeMap::new()), |value| options(&value));
    table.finish();
    Some(Database {
        name: name?,
        dbname: dbname?,
        user: user?,
        probe_user: probe_user?,
        options: options?,
    })
}

fn unused(name: String, place: &Value<'_>, lines: &mut BTreeMap<String, usize>) -> Option<String> {
    if name == "pgbouncer" {
        place.problem("`pgbouncer` is the name of the admin console; use another");
        return None;
    }
    if let Some(line) = lines.get(&name) {
        place.problem(format!(
            "the same name as on line {line}; give each entry its own"
        ));
        return None;
    }
    lines.insert(name.clone(), place.line());
    Some(name)
}

/// `None`: wrong; `Some(None)`: absent.
fn optional_text(table: &mut Table<'_>, name: &'static str) -> Option<Option<String>> {
    match table.get(name) {
        None => Some(None),
        Some(value) => text(&value).map(Some),
    }
}

/// PgBouncer's file takes neither an empty value nor a line break in one.
fn text(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    if text.is_empty() {
        value.problem("empty; write a value or leave the key out");
        return None;
    }
    without_control(value, text).map(str::to_owned)
}

fn options(value: &Value<'_>) -> Option<BTreeMap<String, Setting>> {
    all(value.table()?.entries().map(|(name, value)| {
        let option = option_name(name, &value).and(option(&value))?;
        Some((name.to_owned(), option))
    }))
}

fn option_name(name: &str, value: &Value<'_>) -> Option<()> {
    let message = match name {
        "host" | "port" => "comes from the active node; remove it".to_owned(),
        "dbname" | "user" => format!("belongs to the entry; write `{name} = …` above, outside"),
        "password" => "a password would be readable in the file; use `auth_file`".to_owned(),
        _ if OPTIONS.contains(&name) => return Some(()),
        _ => {
            let meant = nearest(name, &OPTIONS)
                .map(|known| format!("did you mean `{known}`?"))
                .unwrap_or_else(|| format!("the keys are `{}`", OPTIONS.join("`, `")));
            format!("PgBouncer does not know this key and would refuse the file; {meant}")
        }
    };
    value.problem(message);
    None
}

fn option(value: &Value<'_>) -> Option<Setting> {
    match value.raw() {
        DeValue::String(_) => text(value).map(Setting::Text),
        DeValue::Integer(_) => value.whole_number().map(Setting::Integer),
        DeValue::Boolean(_)
        | DeValue::Float(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => value.wrong_type("a string or an integer"),
    }
}
