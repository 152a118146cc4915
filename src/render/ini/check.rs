//! Whether a rendered file says what it should, and whether PgBouncer would accept it.
//!
//! This is the last look before a file is put in place: it believes nothing that the templates
//! did, reads the text back, and compares. What an included file says is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Entry, Ini, check_database_name, parse};
use crate::conninfo::DEFAULT_PORT;
use crate::conninfo::server_address::ServerAddress;

/// A version of PgBouncer: 1.25.2 is `(1, 25, 2)`.
pub type Version = (u32, u32, u32);

/// Newer than any release, for a PgBouncer whose version is not known.
const NEWEST: Version = (u32::MAX, 0, 0);

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

/// The keys that this version accepts in a database entry; any other makes it refuse the file.
pub fn accepted_keys(version: Version) -> BTreeSet<&'static str> {
    KEYS.iter()
        .filter(|(_, since)| *since <= version)
        .map(|(key, _)| *key)
        .collect()
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
    let ini = parse(text).map_err(|error| {
        let message = format!("{}; PgBouncer would refuse the file", error.what);
        vec![finding(error.line, message)]
    })?;
    let version = version.unwrap_or(NEWEST);
    let mut findings = sections(&ini, version);
    findings.extend(names(&ini));
    for (name, entry) in &ini.entries {
        findings.extend(keys(name, entry, version));
        findings.extend(port(name, entry));
        findings.extend(pool_mode(name, entry));
    }
    for (name, address) in expected {
        findings.extend(target(&ini, name, address));
    }
    findings.sort();
    if findings.is_empty() {
        Ok(())
    } else {
        Err(findings)
    }
}

fn sections(ini: &Ini, version: Version) -> Vec<Finding> {
    ini.sections
        .iter()
        .filter_map(|section| {
            let name = section.name.escape_debug();
            let known = SECTIONS.iter().find(|(known, _)| *known == section.name);
            let message = match known {
                Some((_, since)) if *since <= version => return None,
                Some((_, since)) => format!(
                    "section [{name}] needs PgBouncer {} or newer; remove it",
                    shown(*since)
                ),
                None => format!("PgBouncer has no section [{name}]; remove it"),
            };
            Some(finding(section.line, message))
        })
        .collect()
}

fn names(ini: &Ini) -> Vec<Finding> {
    let mut lines = BTreeMap::new();
    let mut findings = Vec::new();
    for (name, entry) in &ini.entries {
        if name != "*"
            && let Err(error) = check_database_name(name)
        {
            findings.push(finding(entry.line, format!("{error}; rename `{name}`")));
        }
        if let Some(first) = lines.insert(name, entry.line) {
            let message = format!(
                "database entry `{name}` is already on line {first}; remove one, \
                 PgBouncer before 1.23.1 may crash on both"
            );
            findings.push(finding(entry.line, message));
        }
    }
    findings
}

fn keys(name: &str, entry: &Entry, version: Version) -> Vec<Finding> {
    let accepted = accepted_keys(version);
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for (key, _) in &entry.values {
        let known = KEYS.iter().find(|(known, _)| known == key);
        let what = match known {
            Some((key, _)) if accepted.contains(key) && seen.insert(*key) => continue,
            Some((key, _)) if accepted.contains(key) => {
                format!("`{key}` is there twice and PgBouncer takes the last; remove one")
            }
            Some((key, since)) => format!(
                "`{key}` needs PgBouncer {} or newer; remove it",
                shown(*since)
            ),
            None if may_be_secret(key, &seen) => {
                "a key that PgBouncer does not know; quote the value before it".to_owned()
            }
            None => format!("PgBouncer does not know `{key}`; remove it"),
        };
        findings.push(finding(entry.line, in_entry(name, &what)));
    }
    findings
}

/// Whether the key may be the rest of a password: `password=two words=here`.
fn may_be_secret(key: &str, seen: &BTreeSet<&str>) -> bool {
    let is_name = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    seen.contains("password") || !is_name
}

fn port(name: &str, entry: &Entry) -> Option<Finding> {
    let text = entry.get("port")?;
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let valid = text.parse::<u16>().is_ok_and(|port| port != 0);
    let message = in_entry(name, "`port` is not a number from 1 to 65535; correct it");
    (!digits || !valid).then(|| finding(entry.line, message))
}

/// The one other value that PgBouncer does not take as it comes (in numbers it reads `abc` as 0).
fn pool_mode(name: &str, entry: &Entry) -> Option<Finding> {
    let text = entry.get("pool_mode")?;
    let modes = ["session", "transaction", "statement"];
    let known = modes.iter().any(|mode| text.eq_ignore_ascii_case(mode));
    let message = in_entry(
        name,
        "`pool_mode` is not session, transaction or statement; correct it",
    );
    (!known).then(|| finding(entry.line, message))
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

fn in_entry(name: &str, what: &str) -> String {
    format!("database entry `{name}`: {what}")
}

fn shown((major, minor, patch): Version) -> String {
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
            (
                "host=10.0.0.1\tport=1",
                r"`host` is `10.0.0.1\tport=1` and should be `10.0.0.1`",
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
                "database entry `app` is already on line 2; remove one, \
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
