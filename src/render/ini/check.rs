//! What is wrong with a file: whether PgBouncer would accept it, and whether it says what it
//! should.
//!
//! It believes nothing that the templates did, reads the text back, and compares. What an included
//! file says is not known here. Which of the findings keep a file from being put in place on a
//! host that has one already is [`mod@super::fit`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::settings::{NEWEST_KNOWN, POOL_MODES, is_read_at_start, keys_of_section, setting};
use super::{
    Entry, Ini, KeyValue, NameError, Section, check_database_name, parse_connection_string,
    parse_to_the_end,
};
use crate::conninfo::DEFAULT_PORT;
use crate::conninfo::server_address::ServerAddress;

/// A version of PgBouncer: 1.25.2 is `(1, 25, 2)`.
pub type Version = (u32, u32, u32);

/// 1.24.1 does not read `'quoted names'`, 1.25.2 does.
const QUOTED_NAMES: Version = (1, 25, 0);

/// Keys of a database entry, with the version that brought them. Versions before 1.18 are treated
/// as 1.18.
const KEYS: [(&str, Version); 23] = [
    ("application_name", (0, 0, 0)),
    ("auth_dbname", (1, 19, 0)),
    ("auth_query", (1, 22, 0)),
    ("auth_user", (0, 0, 0)),
    ("client_encoding", (0, 0, 0)),
    ("connect_query", (0, 0, 0)),
    ("datestyle", (0, 0, 0)),
    ("dbname", (0, 0, 0)),
    ("host", (0, 0, 0)),
    ("load_balance_hosts", (1, 24, 0)),
    ("max_db_client_connections", (1, 24, 0)),
    ("max_db_connections", (0, 0, 0)),
    ("min_pool_size", (0, 0, 0)),
    ("password", (0, 0, 0)),
    ("pool_mode", (0, 0, 0)),
    ("pool_size", (0, 0, 0)),
    ("port", (0, 0, 0)),
    ("query_wait_timeout", (1, 26, 0)),
    ("reserve_pool", (0, 0, 0)),
    ("reserve_pool_size", (1, 24, 0)),
    ("server_lifetime", (1, 23, 0)),
    ("timezone", (0, 0, 0)),
    ("user", (0, 0, 0)),
];

/// Sections, with the version that brought them.
const SECTIONS: [(&str, Version); 4] = [
    ("databases", (0, 0, 0)),
    ("peers", (1, 19, 0)),
    ("pgbouncer", (0, 0, 0)),
    ("users", (0, 0, 0)),
];

/// Something that keeps a file from being put in place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The line, from 1; `None` when something is missing.
    pub line: Option<usize>,
    /// What is wrong, where, and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// What a problem does when PgBouncer reads the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// A RELOAD stops at the line, and leaves every setting below it at its default.
    Resets,
    /// A RELOAD stops at the line, or reads something that is not meant.
    Wrong,
    /// Nothing that is known of.
    Told,
}

/// A finding, and what it does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    pub(super) finding: Finding,
    pub(super) effect: Effect,
}

/// What is known of the PgBouncer that is to read a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    /// `None`: not known.
    pub(super) version: Option<Version>,
    /// What its SHOW CONFIG lists.
    pub(super) settings: Option<&'a BTreeMap<String, String>>,
}

impl Reader<'_> {
    fn has(self, since: Version) -> bool {
        self.version.is_none_or(|version| since <= version)
    }

    /// What something does that no version in the tables has.
    fn effect_of_unknown(self, effect: Effect) -> Effect {
        match self.version {
            Some(version) if version > NEWEST_KNOWN => Effect::Told,
            Some(_) | None => effect,
        }
    }
}

/// The keys that this version accepts in a database entry; any other makes it refuse the file.
pub fn accepted_keys(version: Version) -> BTreeSet<&'static str> {
    KEYS.iter()
        .filter(|(_, since)| *since <= version)
        .map(|(key, _)| *key)
        .collect()
}

/// Whether some version knows the key in a database entry.
pub(super) fn is_key_of_an_entry(key: &str) -> bool {
    KEYS.iter().any(|(known, _)| *known == key)
}

/// Whether PgBouncer would accept the text and send every expected entry to its address.
///
/// Entries that are not expected may be there, but must be right, too. `%include` lines are
/// legal: [`Ini::includes`] lists them for whoever knows the template. Without a version, every
/// key that any version knows is accepted.
pub fn check(
    text: &str,
    version: Option<Version>,
    expected: &BTreeMap<String, ServerAddress>,
) -> Result<(), Vec<Finding>> {
    let reader = Reader {
        version,
        settings: None,
    };
    let (ini, mut problems) = problems(text, reader);
    problems.retain(|problem| problem.effect != Effect::Told);
    let mut findings: Vec<Finding> = problems.into_iter().map(|p| p.finding).collect();
    findings.extend(targets(&ini, expected));
    findings.sort();
    if findings.is_empty() {
        Ok(())
    } else {
        Err(findings)
    }
}

/// Reads the text to its end, and gives everything that is wrong in its lines.
pub(super) fn problems(text: &str, reader: Reader<'_>) -> (Ini, Vec<Problem>) {
    let (ini, errors) = parse_to_the_end(text);
    let mut problems = Vec::new();
    for error in errors {
        let mut above = ini.sections.iter().filter(|s| s.line <= error.line);
        let resets = above.next_back().is_some_and(|s| s.name == "pgbouncer");
        let effect = if resets {
            Effect::Resets
        } else {
            Effect::Wrong
        };
        let message = format!("{}; PgBouncer would refuse the file", error.what);
        problems.push(problem(error.line, message, effect));
    }
    problems.extend(sections(&ini, reader));
    problems.extend(names(&ini, reader));
    for (name, entry) in &ini.entries {
        let (place, line) = (format!("database entry `{name}`"), entry.line);
        problems.extend(keys(&place, line, &entry.values, &KEYS, reader));
        problems.extend(port(name, entry));
        problems.extend(pool_mode(name, entry));
    }
    for section in &ini.sections {
        for setting in &section.settings {
            problems.extend(in_section(section, setting, reader));
        }
    }
    (ini, problems)
}

fn sections(ini: &Ini, reader: Reader<'_>) -> Vec<Problem> {
    ini.sections
        .iter()
        .filter_map(|section| {
            let name = section.name.escape_debug();
            let known = SECTIONS.iter().find(|(known, _)| *known == section.name);
            let (message, effect) = match known {
                Some((_, since)) if reader.has(*since) => return None,
                Some((_, since)) => (
                    format!(
                        "section [{name}] needs PgBouncer {} or newer; remove it",
                        shown(*since)
                    ),
                    Effect::Wrong,
                ),
                None => (
                    format!("PgBouncer has no section [{name}]; remove it"),
                    reader.effect_of_unknown(Effect::Wrong),
                ),
            };
            Some(problem(section.line, message, effect))
        })
        .collect()
}

fn names(ini: &Ini, reader: Reader<'_>) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for (name, entry) in &ini.entries {
        let error = check_database_name(name).err().filter(|_| name != "*");
        // Others than letters, digits and `_ . - *` can only have been in quotes.
        let quoted = matches!(error, Some(NameError::Character { .. }));
        if let Some(error) = error
            && !(quoted && reader.has(QUOTED_NAMES))
        {
            let message = format!("{error}; rename `{name}`");
            problems.push(problem(entry.line, message, Effect::Wrong));
        }
        if !seen.insert(name) {
            let message = format!(
                "database entry `{name}` is there already; remove one, \
                 PgBouncer before 1.23.1 may crash on both"
            );
            problems.push(problem(entry.line, message, Effect::Wrong));
        }
    }
    problems
}

/// A line of a section other than `[databases]`.
fn in_section(section: &Section, line: &KeyValue, reader: Reader<'_>) -> Vec<Problem> {
    if section.name == "pgbouncer" {
        return of_pgbouncer(line, reader).into_iter().collect();
    }
    let Some(known) = keys_of_section(&section.name) else {
        return Vec::new();
    };
    let place = format!("[{}] `{}`", section.name, line.key);
    match parse_connection_string(&line.value) {
        Ok(values) => keys(&place, line.line, &values, known, reader),
        Err(error) => {
            let message = format!("{place}: {error}; PgBouncer would refuse the file");
            vec![problem(line.line, message, Effect::Wrong)]
        }
    }
}

/// A setting. What PgBouncer itself lists, it knows.
fn of_pgbouncer(line: &KeyValue, reader: Reader<'_>) -> Option<Problem> {
    let name = &line.key;
    let listed = reader.settings.is_some_and(|s| s.contains_key(name));
    let (message, effect) = match setting(name) {
        Some((since, kind)) if listed || reader.has(since) => {
            if kind.takes(&line.value) {
                return None;
            }
            let effect = match is_read_at_start(name) {
                true => Effect::Wrong,
                false => Effect::Resets,
            };
            let expected = kind.expected();
            (
                format!("setting `{name}` must be {expected}; correct it"),
                reader.effect_of_unknown(effect),
            )
        }
        None if listed => return None,
        Some((since, _)) => (
            format!(
                "setting `{name}` needs PgBouncer {} or newer; remove it",
                shown(since)
            ),
            Effect::Resets,
        ),
        // Which version reads it is not known before the host is asked.
        None if reader.version.is_none() => {
            (format!("setting `{name}` is not known"), Effect::Told)
        }
        None => (
            format!("PgBouncer does not know the setting `{name}`; remove it"),
            reader.effect_of_unknown(Effect::Resets),
        ),
    };
    Some(problem(line.line, message, effect))
}

/// What is wrong with the keys of a connection string, whatever it belongs to.
fn keys(
    place: &str,
    line: usize,
    values: &[(String, String)],
    known: &[(&'static str, Version)],
    reader: Reader<'_>,
) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for (key, value) in values {
        let found = known.iter().find(|(known, _)| known == key);
        let mut effect = Effect::Wrong;
        let what = match found {
            Some((key, since)) if reader.has(*since) && !seen.insert(*key) => {
                format!("`{key}` is there twice and PgBouncer takes the last; remove one")
            }
            Some((key, since)) if reader.has(*since) && value.contains('\t') => format!(
                "the value of `{key}` has a TAB in it, because only spaces separate keys; \
                 write spaces"
            ),
            Some((_, since)) if reader.has(*since) => continue,
            Some((key, since)) => format!(
                "`{key}` needs PgBouncer {} or newer; remove it",
                shown(*since)
            ),
            None if key.contains('\t') => {
                "a TAB before a key, where only spaces separate; write spaces".to_owned()
            }
            None if may_be_secret(key, &seen) => {
                "a key that PgBouncer does not know; quote the value before it".to_owned()
            }
            None => {
                effect = reader.effect_of_unknown(effect);
                format!("PgBouncer does not know `{key}`; remove it")
            }
        };
        problems.push(problem(line, format!("{place}: {what}"), effect));
    }
    problems
}

/// Whether the key may be the rest of a password: `password=two words=here`.
fn may_be_secret(key: &str, seen: &BTreeSet<&str>) -> bool {
    let is_name = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    seen.contains("password") || !is_name
}

fn port(name: &str, entry: &Entry) -> Option<Problem> {
    let text = entry.get("port")?;
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let valid = text.parse::<u16>().is_ok_and(|port| port != 0);
    let message = in_entry(name, "`port` is not a number from 1 to 65535; correct it");
    (!digits || !valid).then(|| problem(entry.line, message, Effect::Wrong))
}

/// The one other value that PgBouncer does not take as it comes (in numbers it reads `abc` as 0).
fn pool_mode(name: &str, entry: &Entry) -> Option<Problem> {
    let text = entry.get("pool_mode")?;
    let known = POOL_MODES
        .iter()
        .any(|mode| text.eq_ignore_ascii_case(mode));
    let message = in_entry(
        name,
        "`pool_mode` is not session, transaction or statement; correct it",
    );
    (!known).then(|| problem(entry.line, message, Effect::Wrong))
}

/// What differs between the entries and where they should point.
pub(super) fn targets(ini: &Ini, expected: &BTreeMap<String, ServerAddress>) -> Vec<Finding> {
    let differences = expected.iter();
    let differences = differences.map(|(name, address)| target(ini, name, address));
    differences.flatten().collect()
}

/// What differs between the entry and the address that it should have.
fn target(ini: &Ini, name: &str, address: &ServerAddress) -> Vec<Finding> {
    let databases = ini.databases();
    let Some(entry) = databases.get(name) else {
        return vec![Finding {
            line: None,
            message: format!(
                "database entry `{name}` is missing; add it to [databases] in the template"
            ),
        }];
    };
    let default_port = DEFAULT_PORT.to_string();
    let port = address.port.to_string();
    let values = [
        ("host", entry.get("host"), &address.host),
        ("port", entry.get("port").or(Some(&default_port)), &port),
        (
            "dbname",
            entry.get("dbname").or(Some(name)),
            &address.dbname,
        ),
    ];
    values
        .into_iter()
        .filter(|(_, found, wanted)| *found != Some(wanted.as_str()))
        .map(|(key, found, wanted)| {
            let found = match found {
                Some(found) => format!("`{}`", found.escape_debug()),
                None => "missing".to_owned(),
            };
            let what = format!(
                "`{key}` is {found} and should be `{}`; correct the template",
                wanted.escape_debug()
            );
            finding(entry.line, in_entry(name, &what))
        })
        .collect()
}

fn finding(line: usize, message: String) -> Finding {
    Finding {
        line: Some(line),
        message,
    }
}

fn problem(line: usize, message: String, effect: Effect) -> Problem {
    let finding = finding(line, message);
    Problem { finding, effect }
}

fn in_entry(name: &str, what: &str) -> String {
    format!("database entry `{name}`: {what}")
}

pub(super) fn shown((major, minor, patch): Version) -> String {
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::ini::quote;

    const OLD: Option<Version> = Some((1, 18, 0));

    #[test]
    fn a_file_that_says_what_it_should_has_no_findings() {
        for text in [
            "[databases]\napp = host='10.0.0.1' port='5432' dbname='app'\n",
            "[databases]\napp = host=10.0.0.1\n",
            "[databases]\n* = host=elsewhere\napp = host=10.0.0.1 pool_size=5\n",
            "[pgbouncer]\nlisten_port=1\n%include /x\n[databases]\napp = host=10.0.0.1\n[users]\n",
        ] {
            assert_eq!(check(text, OLD, &expected()), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_written_for_an_address_passes_the_check() {
        let mut expected = expected();
        let hostile = ServerAddress {
            host: "a' host='b".to_owned(),
            port: 1,
            dbname: r"x\' ; %include".to_owned(),
        };
        expected.insert("b".to_owned(), hostile);
        let lines: Vec<_> = expected
            .iter()
            .map(|(name, address)| {
                let (host, dbname) = (
                    quote(&address.host).unwrap(),
                    quote(&address.dbname).unwrap(),
                );
                format!(
                    "{name} = host={host} port='{}' dbname={dbname}\n",
                    address.port
                )
            })
            .collect();
        let text = format!("[databases]\n{}", lines.concat());
        assert_eq!(check(&text, OLD, &expected), Ok(()));
    }

    #[test]
    fn an_entry_that_points_elsewhere_is_told() {
        let app = "line 2: database entry `app`:";
        for (entry, expected) in [
            (
                "host=10.0.0.2",
                "`host` is `10.0.0.2` and should be `10.0.0.1`",
            ),
            ("dbname=app", "`host` is missing and should be `10.0.0.1`"),
            ("host=10.0.0.1 port=1", "`port` is `1` and should be `5432`"),
            (
                "host=10.0.0.1 dbname=b",
                "`dbname` is `b` and should be `app`",
            ),
        ] {
            let text = format!("[databases]\napp = {entry}\n");
            let expected = format!("{app} {expected}; correct the template");
            assert_eq!(findings(&text, OLD), [expected]);
        }
        assert_eq!(
            findings("[databases]\n", OLD),
            ["database entry `app` is missing; add it to [databases] in the template"]
        );
    }

    #[test]
    fn a_tab_that_became_part_of_a_value_or_a_key_is_told() {
        let app = "line 2: database entry `app`:";
        assert_eq!(
            findings("[databases]\napp = host=10.0.0.1\tport=1\n", OLD),
            [
                format!(
                    "{app} `host` is `10.0.0.1\\tport=1` and should be `10.0.0.1`; correct the \
                     template"
                ),
                format!(
                    "{app} the value of `host` has a TAB in it, because only spaces separate \
                     keys; write spaces"
                ),
            ]
        );
        assert_eq!(
            findings("[databases]\napp = host=10.0.0.1 \tport=5432\n", OLD),
            [format!(
                "{app} a TAB before a key, where only spaces separate; write spaces"
            )]
        );
    }

    #[test]
    fn a_setting_or_a_key_that_the_version_does_not_know_is_told() {
        for (rest, expected) in [
            (
                "[pgbouncer]\nunheard_of = 1",
                "PgBouncer does not know the setting `unheard_of`; remove it",
            ),
            (
                "[pgbouncer]\npeer_id = 1",
                "setting `peer_id` needs PgBouncer 1.19.0 or newer; remove it",
            ),
            (
                "[pgbouncer]\nserver_lifetime = 1h",
                "setting `server_lifetime` must be a number of seconds, without a unit; correct it",
            ),
            (
                "[pgbouncer]\nso_reuseport = true",
                "setting `so_reuseport` must be a whole number (1 and 0 for yes and no); \
                 correct it",
            ),
            (
                "[users]\nu = pool_size=3",
                "[users] `u`: `pool_size` needs PgBouncer 1.23.0 or newer; remove it",
            ),
            (
                "[users]\nu = pool_mode=",
                "[users] `u`: empty value at byte 10 of the connection string; PgBouncer would \
                 refuse the file",
            ),
            (
                "[users]\nu = password=x",
                "[users] `u`: PgBouncer does not know `password`; remove it",
            ),
            (
                "[databases]\n'my db' = host=a",
                "` ` in the name of a database entry; use A-Z a-z 0-9 _ . -; rename `my db`",
            ),
        ] {
            let text = format!("[databases]\napp = host=10.0.0.1\n{rest}\n");
            assert_eq!(findings(&text, OLD), [format!("line 4: {expected}")]);
        }
    }

    /// A tool that refuses to fail over because PgBouncer has something new is worse than none.
    #[test]
    fn what_only_a_newer_version_can_know_is_no_finding() {
        let text = "[databases]\napp = host=10.0.0.1 brand_new=1\n'my db' = host=a\n\
                    [pgbouncer]\nalso_new = x\nauth_type = oauth\n\
                    [users]\nu = newest=1\n[new]\na = b\n";
        assert_eq!(findings(text, Some((1, 27, 0))), Vec::<String>::new());
        assert_eq!(findings(text, Some((1, 25, 9))).len(), 5);
        // What is wrong in any version stays wrong.
        let text = "[databases]\napp = host=10.0.0.1 port=x\n";
        assert_eq!(findings(text, Some((1, 27, 0))).len(), 2);
    }

    #[test]
    fn a_key_that_pgbouncer_would_refuse_or_overrule_is_told() {
        for (keys, expected) in [
            (
                "connect_timeout=2",
                "PgBouncer does not know `connect_timeout`; remove it",
            ),
            ("HOST=a", "PgBouncer does not know `HOST`; remove it"),
            (
                "host=10.0.0.1",
                "`host` is there twice and PgBouncer takes the last; remove one",
            ),
            (
                "auth_dbname=a",
                "`auth_dbname` needs PgBouncer 1.19.0 or newer; remove it",
            ),
        ] {
            let text = format!("[databases]\napp = host=10.0.0.1 {keys}\n");
            let expected = format!("line 2: database entry `app`: {expected}");
            assert_eq!(findings(&text, OLD), [expected]);
        }
    }

    #[test]
    fn what_is_wrong_beside_the_expected_entries_is_told() {
        for (rest, expected) in [
            (
                "b = host=a pool_mode=bogus",
                "database entry `b`: `pool_mode` is not session, transaction or statement; \
                 correct it",
            ),
            (
                "b = host=a port=7402abc",
                "database entry `b`: `port` is not a number from 1 to 65535; correct it",
            ),
            (
                "app = host=10.0.0.1",
                "database entry `app` is there already; remove one, \
                 PgBouncer before 1.23.1 may crash on both",
            ),
            (
                "pgbouncer = host=a",
                "`pgbouncer` is the admin console and cannot be the name of a database entry; \
                 rename `pgbouncer`",
            ),
            (
                "[peers]",
                "section [peers] needs PgBouncer 1.19.0 or newer; remove it",
            ),
            (
                "[database]",
                "PgBouncer has no section [database]; remove it",
            ),
            (
                "b = host=a ; node 1",
                "database entry `b`: no `key=` at byte 7 of the connection string; \
                 a comment needs a line of its own; PgBouncer would refuse the file",
            ),
        ] {
            let text = format!("[databases]\napp = host=10.0.0.1\n{rest}\n");
            assert_eq!(findings(&text, OLD), [format!("line 3: {expected}")]);
        }
    }

    #[test]
    fn no_finding_shows_a_password() {
        let text = "[databases]\napp = host=10.0.0.1 password=two hunter2=x\n";
        let expected = "line 2: database entry `app`: a key that PgBouncer does not know; \
                        quote the value before it";
        assert_eq!(findings(text, OLD), [expected]);
    }

    #[test]
    fn keys_come_with_their_versions() {
        assert_eq!(accepted_keys((1, 18, 0)).len(), 16);
        assert!(!accepted_keys((1, 18, 9)).contains("auth_dbname"));
        assert!(accepted_keys((1, 19, 0)).contains("auth_dbname"));
        assert!(accepted_keys((1, 22, 1)).contains("auth_query"));
        assert!(accepted_keys((1, 23, 0)).contains("server_lifetime"));
        assert!(!accepted_keys((1, 23, 1)).contains("load_balance_hosts"));
        assert!(accepted_keys((1, 25, 2)).contains("reserve_pool_size"));
        assert!(!accepted_keys((1, 25, 2)).contains("query_wait_timeout"));
        assert!(!accepted_keys((2, 0, 0)).contains("connect_timeout"));
    }

    #[test]
    fn without_a_version_the_newest_keys_are_accepted() {
        let text = "[databases]\napp = host=10.0.0.1 auth_dbname=a load_balance_hosts=disable\n";
        assert_eq!(findings(text, None), Vec::<String>::new());
        assert_eq!(findings(text, OLD).len(), 2);
    }

    fn expected() -> BTreeMap<String, ServerAddress> {
        let address = ServerAddress {
            host: "10.0.0.1".to_owned(),
            port: 5432,
            dbname: "app".to_owned(),
        };
        BTreeMap::from([("app".to_owned(), address)])
    }

    fn findings(text: &str, version: Option<Version>) -> Vec<String> {
        let findings = check(text, version, &expected()).err().unwrap_or_default();
        findings.iter().map(Finding::to_string).collect()
    }
}
