//! `[[pgbouncer]]`: where each instance is, how it is reached, what its file is made from.
//!
//! Its entries are in [`super::databases`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::nodes::Nodes;
use super::ssh::{self, Destination};
use super::{NAME_BYTES_MAX, absolute, conninfo_of, databases, keyword, node_id_of, server};
use crate::config::problem::quoted;
use crate::config::reader::{Table, Value, all};
use crate::config::{
    Database, Edits, Host, NodeId, PausePolicy, Peers, PgBouncer, Setting, SudoUser, Template,
    WithoutNode,
};
use crate::conninfo::Conninfo;

/// Every PgBouncer, by name; none is fine. A node that one prefers must be among `nodes`, if all of
/// these are known.
pub(super) fn read(
    top: &mut Table<'_>,
    nodes: Option<&Nodes>,
) -> Option<BTreeMap<String, PgBouncer>> {
    let Some(list) = top.get("pgbouncer") else {
        return Some(BTreeMap::new());
    };
    // What is not a list of tables has noted its problem, and the report refuses the file.
    let tables = list.tables("[[pgbouncer]]", label_by_name);
    let drafts: Vec<Draft<'_>> = tables.into_iter().map(draft).collect();
    check_names(&drafts);
    check_files(&drafts);
    check_homes(&drafts, nodes);
    all(drafts.into_iter().map(pgbouncer))
}

/// The name of a table, when it is fit for a key's path.
pub(super) fn label_by_name(entries: &DeTable<'_>) -> Option<String> {
    let name = entries.get("name")?.get_ref().as_str()?;
    is_name(name).then(|| name.to_owned())
}

/// A name that needs no quoting anywhere: in a key's path, a log line or PgBouncer's file.
pub(super) fn name_of<'a>(value: Value<'a>) -> Option<(String, Value<'a>)> {
    let name = value.string()?;
    if is_name(name) {
        return Some((name.to_owned(), value));
    }
    value.problem(format!(
        "{} is no name; use 1 to {NAME_BYTES_MAX} letters, digits, `_ . -`",
        quoted(name)
    ));
    None
}

/// Text that takes part of one line of PgBouncer's file.
pub(super) fn without_control<'a>(value: &Value<'a>, text: &'a str) -> Option<&'a str> {
    if !text.chars().any(char::is_control) {
        return Some(text);
    }
    value.problem("must not hold control characters, such as a line break");
    None
}

/// A PgBouncer as far as it could be read, with the places for messages.
struct Draft<'a> {
    line: usize,
    name: Option<(String, Value<'a>)>,
    host: Option<Host>,
    consoles: Option<Vec<Conninfo>>,
    file: Option<(PathBuf, Value<'a>)>,
    template: Option<Template>,
    edits: Option<Edits>,
    sudo: Option<Option<SudoUser>>,
    witness_command: Option<Option<PathBuf>>,
    in_place: Option<bool>,
    pause: Option<PausePolicy>,
    early_pause: Option<Option<Duration>>,
    without_node: Option<WithoutNode>,
    home: Option<Option<(NodeId, Value<'a>)>>,
    settings: Option<BTreeMap<String, Setting>>,
    databases: Option<BTreeMap<String, Database>>,
}

fn draft(mut table: Table<'_>) -> Draft<'_> {
    let mut rendered = false;
    let line = table.line();
    let name = table.require("name", "name = \"pgb1\"").and_then(name_of);
    let host = host(&mut table);
    let witness_command = table
        .get("witness_command")
        .map_or(Some(None), |value| witness_command(&value, host.as_ref()));
    let draft = Draft {
        line,
        name,
        host,
        consoles: table
            .require("console", "console = \"host=… port=6432 user=…\"")
            .and_then(|value| consoles(&value)),
        file: table
            .require("file", "file = \"/etc/pgbouncer/repoint/databases.ini\"")
            .and_then(|value| Some((file(&value)?, value))),
        template: table.get("template").map_or(Some(Template::Edit), |value| {
            rendered = true;
            template(&value)
        }),
        edits: table
            .get("edits")
            .map_or(Some(Edits::default()), |value| edits(&value, rendered)),
        sudo: table.get("sudo").map_or(Some(None), |value| sudo(&value)),
        witness_command,
        in_place: table
            .get("in_place")
            .map_or(Some(false), |value| value.boolean()),
        pause: table
            .get("pause")
            .map_or(Some(PausePolicy::default()), |value| pause(&value)),
        early_pause: table
            .get("early_pause")
            .map_or(Some(None), |value| early_pause(&value)),
        without_node: table
            .get("without_node")
            .map_or(Some(WithoutNode::default()), |value| without_node(&value)),
        home: table
            .get("home")
            .map_or(Some(None), |value| Some(Some((node_id_of(&value)?, value)))),
        settings: table
            .get("settings")
            .map_or(Some(BTreeMap::new()), |v| settings(&v)),
        databases: databases::read(&mut table),
    };
    table.finish();
    draft
}

fn pgbouncer(draft: Draft<'_>) -> Option<(String, PgBouncer)> {
    let name = draft.name?.0;
    let pgbouncer = PgBouncer {
        name: name.clone(),
        host: draft.host?,
        consoles: draft.consoles?,
        file: draft.file?.0,
        template: draft.template?,
        edits: draft.edits?,
        sudo: draft.sudo?,
        witness_command: draft.witness_command?,
        in_place: draft.in_place?,
        pause: draft.pause?,
        early_pause: draft.early_pause?,
        without_node: draft.without_node?,
        home: draft.home?.map(|(node, _)| node),
        settings: draft.settings?,
        databases: draft.databases?,
    };
    Some((name, pgbouncer))
}

fn check_names(drafts: &[Draft<'_>]) {
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    for draft in drafts {
        let Some((name, place)) = &draft.name else {
            continue;
        };
        if let Some(line) = lines.get(name.as_str()) {
            place.problem(format!(
                "the same name as on line {line}; give each its own"
            ));
        } else {
            lines.insert(name, place.line());
        }
    }
}

/// Which other nodes there are may only be known when they are read from `repmgr.nodes`.
fn check_homes(drafts: &[Draft<'_>], nodes: Option<&Nodes>) {
    let Some(nodes) = nodes.filter(|nodes| nodes.peers == Peers::Listed) else {
        return;
    };
    let homes = drafts
        .iter()
        .filter_map(|draft| draft.home.as_ref()?.as_ref());
    for (home, place) in homes {
        if !nodes.all.contains_key(home) {
            place.problem(nodes.no_such());
        }
    }
}

/// A destination and a port.
type Machine<'d> = (&'d str, u16);

/// Two workers must not write one file.
fn check_files(drafts: &[Draft<'_>]) {
    let mut lines: BTreeMap<(Option<Machine<'_>>, &Path), usize> = BTreeMap::new();
    for draft in drafts {
        let (Some(host), Some((file, place))) = (&draft.host, &draft.file) else {
            continue;
        };
        let key = (machine(host), file.as_path());
        if let Some(line) = lines.get(&key) {
            place.problem(format!(
                "the same file on the same host as in the `[[pgbouncer]]` on line {line}; \
                 give each its own"
            ));
        } else {
            lines.insert(key, draft.line);
        }
    }
}

/// What tells one host from another; an absent port is the usual one.
fn machine(host: &Host) -> Option<Machine<'_>> {
    const SSH_PORT: u16 = 22;
    match host {
        Host::Local => None,
        Host::Ssh {
            destination,
            port,
            config: _,
        } => Some((destination, port.unwrap_or(SSH_PORT))),
    }
}

/// Where the commands of a table run: `ssh` with `ssh_config`, or `local`.
fn host(table: &mut Table<'_>) -> Option<Host> {
    let (ssh, config, local) = (
        table.get("ssh"),
        table.get("ssh_config"),
        table.get("local"),
    );
    let destination = ssh.as_ref().map(destination);
    let config_path = config.as_ref().map(absolute);
    let is_local = local
        .as_ref()
        .map_or(Some(false), |value| value.boolean())?;
    match (destination, is_local) {
        (Some(_), true) => {
            local?.problem("contradicts `ssh`; keep one of them");
            None
        }
        (None, false) => {
            table.missing("ssh", "ssh = \"user@host\"` or `local = true");
            None
        }
        (None, true) => {
            if let Some(config) = config {
                config.problem("contradicts `local = true`; it belongs to `ssh`");
                return None;
            }
            Some(Host::Local)
        }
        (Some(destination), false) => {
            let config = config_path.map_or(Some(None), |path| path.map(Some));
            let Destination { destination, port } = destination?;
            Some(Host::Ssh {
                destination,
                port,
                config: config?,
            })
        }
    }
}

/// What `ssh` is given.
pub(super) fn destination(value: &Value<'_>) -> Option<Destination> {
    match ssh::parse(value.string()?) {
        Ok(destination) => Some(destination),
        Err(error) => {
            value.problem(error.to_string());
            None
        }
    }
}

fn file(value: &Value<'_>) -> Option<PathBuf> {
    let file = absolute(value)?;
    if !value.string()?.ends_with('/') {
        return Some(file);
    }
    value.problem("names a directory; write the path of the file in it");
    None
}

fn template(value: &Value<'_>) -> Option<Template> {
    match value.string()? {
        "databases.ini" => Some(Template::Databases),
        "pgbouncer.ini" => Some(Template::PgBouncerIni),
        path if path.contains('/') => absolute(value).map(Template::File),
        other => {
            value.problem(format!(
                "{} is no built-in template; write \"databases.ini\", \"pgbouncer.ini\" \
                 or an absolute path",
                quoted(other)
            ));
            None
        }
    }
}

fn edits(value: &Value<'_>, rendered: bool) -> Option<Edits> {
    let words = ["merge", "refuse", "overwrite"];
    match value.word(&words, "write \"merge\", \"refuse\" or \"overwrite\"")? {
        "merge" => Some(Edits::Merge),
        "refuse" => Some(Edits::Refuse),
        _ if !rendered => {
            value.problem(
                "without a `template` there is nothing to overwrite edits with; name one, or \
                 write \"merge\" or \"refuse\"",
            );
            None
        }
        _ => Some(Edits::Overwrite),
    }
}

fn pause(value: &Value<'_>) -> Option<PausePolicy> {
    match value.word(&["always", "never"], "write \"always\" or \"never\"")? {
        "never" => Some(PausePolicy::Never),
        _ => Some(PausePolicy::Always),
    }
}

fn without_node(value: &Value<'_>) -> Option<WithoutNode> {
    match value.word(&["leave", "disable"], "write \"leave\" or \"disable\"")? {
        "disable" => Some(WithoutNode::Disable),
        _ => Some(WithoutNode::Leave),
    }
}

/// Well below PgBouncer's `query_wait_timeout` (120 s), after which it drops clients that wait.
fn early_pause(value: &Value<'_>) -> Option<Option<Duration>> {
    const LONGEST: Duration = Duration::from_secs(60);
    let limit = value.duration(Duration::ZERO..=LONGEST)?;
    Some((!limit.is_zero()).then_some(limit))
}

fn sudo(value: &Value<'_>) -> Option<Option<SudoUser>> {
    let user = value.string()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if user.is_empty() || user.starts_with('-') || !user.bytes().all(plain) {
        value.problem("is no name of a user; write the one that may write the file, as \"root\"");
        return None;
    }
    Some(Some(SudoUser(user.to_owned())))
}

/// This machine needs no command to look for itself.
fn witness_command(value: &Value<'_>, host: Option<&Host>) -> Option<Option<PathBuf>> {
    if host == Some(&Host::Local) {
        value.problem("contradicts `local = true`; it is run through `ssh`");
        return None;
    }
    absolute(value).map(Some)
}

fn consoles(value: &Value<'_>) -> Option<Vec<Conninfo>> {
    if value.raw().is_str() {
        return console(value).map(|console| vec![console]);
    }
    let items = value.items("a connection string or an array of them")?;
    if items.is_empty() {
        value.problem("an empty list; write the connection string of each process");
        return None;
    }
    let consoles: Vec<_> = items.iter().map(console).collect();
    for (index, this) in consoles.iter().enumerate() {
        let Some(this) = this else { continue };
        let same = |other: &Conninfo| server(this) == server(other);
        if consoles[..index].iter().flatten().any(same) {
            items[index].problem("the same console twice in one list; name each process once");
        }
    }
    consoles.into_iter().collect()
}

/// An admin console, with the database that PgBouncer reserves for it.
fn console(value: &Value<'_>) -> Option<Conninfo> {
    const ADMIN_DATABASE: &str = "pgbouncer";
    let conninfo = conninfo_of(value)?;
    let get = |name| keyword(&conninfo, name);
    let mut wrong = Vec::new();
    if get("host").or_else(|| get("hostaddr")).is_none() {
        wrong.push("no `host`; write an address or the directory of the unix socket");
    }
    if get("user").is_none() {
        wrong.push("no `user`; write one of PgBouncer's `admin_users`");
    }
    if get("dbname").is_some_and(|dbname| dbname != ADMIN_DATABASE) {
        wrong.push("the admin console is the database `pgbouncer`; leave `dbname` out");
    }
    if get("options").is_some() {
        wrong.push("PgBouncer refuses connections with `options`; remove it");
    }
    if get("target_session_attrs").is_some() {
        wrong
            .push("`target_session_attrs` needs a query that the admin console refuses; remove it");
    }
    if get("channel_binding") == Some("require") {
        wrong.push("PgBouncer has no channel binding, so it cannot be required; remove it");
    }
    if wrong.is_empty() {
        // PgBouncer's own default; libpq's is PostgreSQL's.
        let port = get("port").unwrap_or("6432").to_owned();
        return Some(conninfo.with("dbname", ADMIN_DATABASE).with("port", &port));
    }
    wrong.into_iter().for_each(|message| value.problem(message));
    None
}

fn settings(value: &Value<'_>) -> Option<BTreeMap<String, Setting>> {
    all(value.table()?.entries().map(|(name, value)| {
        let setting = setting_name(name, &value).and(setting(&value))?;
        Some((name.to_owned(), setting))
    }))
}

fn setting_name(name: &str, value: &Value<'_>) -> Option<()> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !name.is_empty() && name.bytes().all(is_word) {
        return Some(());
    }
    value.problem("the name of a setting has letters, digits and `_` only");
    None
}

fn setting(value: &Value<'_>) -> Option<Setting> {
    match value.raw() {
        DeValue::String(text) => {
            without_control(value, text).map(|text| Setting::Text(text.to_owned()))
        }
        DeValue::Integer(_) => value.whole_number().map(Setting::Integer),
        DeValue::Boolean(boolean) => Some(Setting::Boolean(*boolean)),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            value.wrong_type("a string, an integer or a boolean")
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_word)
}
