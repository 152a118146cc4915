//! Every answer that is read, and every command that is sent, against what PgBouncer 1.18.0 and
//! 1.25.2 really answered (`recorded/`, one answer a line).

use super::*;
use serde_json::Value;

const RECORDED: [(&str, &str); 2] = [
    ("1.18.0", include_str!("recorded/pgbouncer-1.18.0.jsonl")),
    ("1.25.2", include_str!("recorded/pgbouncer-1.25.2.jsonl")),
];

/// The answers of one version.
struct Recorded(Vec<Value>);

impl Recorded {
    fn of(version: &str) -> Self {
        let (_, text) = RECORDED.iter().find(|(of, _)| *of == version).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        Self(lines.collect())
    }

    /// The answers to a command; the recorded ones name databases without quotes.
    fn answers(&self, command: &str) -> Vec<&Value> {
        let same = |answer: &&Value| answer["command"] == command.replace('"', "").as_str();
        self.0.iter().filter(same).collect()
    }

    /// The rows of a command as [`Session::simple`] gives them, for the one with this note.
    fn rows(&self, command: &str, note: &str) -> Vec<Row> {
        let mut answers = self.answers(command).into_iter();
        let answer = answers
            .find(|a| a["note"] == note)
            .expect("it was recorded");
        let columns = answer["columns"].as_array().expect("an answer with rows");
        let row = |row: &Value| {
            let cells = columns.iter().zip(row.as_array().unwrap());
            let cell = |(column, value): (&Value, &Value)| {
                let name = column.as_str().unwrap().to_owned();
                Some((name, value.as_str()?.to_owned()))
            };
            cells.filter_map(cell).collect()
        };
        answer["rows"].as_array().unwrap().iter().map(row).collect()
    }
}

const BUSY: &str = "one client in a transaction";

#[test]
fn the_login_tells_the_version() {
    for (version, reported) in [("1.18.0", Version(1, 18, 0)), ("1.25.2", Version(1, 25, 2))] {
        let recorded = Recorded::of(version);
        let login = recorded.0[0]["login"]["server_version"].as_str().unwrap();
        assert_eq!(supported(login), Some(reported));
    }
}

#[test]
fn what_cannot_be_steered_is_refused_with_the_reason() {
    let table = [
        ("1.12.0/bouncer", true),
        ("1.26.1/bouncer", true),
        ("1.11.0/bouncer", false),
        ("1.5.4/bouncer", false),
        ("15.18 (Debian 15.18-0+deb12u1)", false),
        ("", false),
    ];
    for (reported, accepted) in table {
        assert_eq!(supported(reported).is_some(), accepted, "{reported}");
    }
    let error = ConsoleError::Version {
        place: "`10.0.0.21`:6432".to_owned(),
        version: "1.11.0/bouncer".to_owned(),
    };
    assert_eq!(
        error.to_string(),
        "`10.0.0.21`:6432 reports version `1.11.0/bouncer`; repoint needs PgBouncer 1.12 or later"
    );
}

#[test]
fn show_databases_is_read() {
    for (version, _) in RECORDED {
        let recorded = Recorded::of(version);
        let entries = rows::databases(recorded.rows("SHOW DATABASES", BUSY));
        let names: Vec<&str> = entries.keys().map(String::as_str).collect();
        assert_eq!(names, ["bdrdb", "pgbouncer"], "{version}");
        let expected = EntryState {
            host: "127.0.0.1".to_owned(),
            port: 7401,
            dbname: "bdrdb".to_owned(),
            force_user: None,
            paused: false,
            disabled: false,
        };
        assert_eq!(entries["bdrdb"], expected, "{version}");
        let forced = entries["pgbouncer"].force_user.as_deref();
        assert_eq!(
            (forced, entries["pgbouncer"].host.as_str()),
            (Some("pgbouncer"), "")
        );
        let moved = rows::databases(recorded.rows("SHOW DATABASES", "after the move"));
        assert_eq!(moved["bdrdb"].port, 7402, "{version}");
    }
}

/// In the order of the recording: after PAUSE, after a PAUSE of everything, after DISABLE, KILL.
#[test]
fn a_pause_and_a_disabled_entry_are_read_and_a_pause_of_everything_is_not_there() {
    for (version, _) in RECORDED {
        let recorded = Recorded::of(version);
        let all = recorded.answers("SHOW DATABASES");
        let flags = all.iter().filter(|a| a["note"].is_null()).map(|answer| {
            let columns = answer["columns"].as_array().unwrap();
            let cell = |name: &str| {
                let at = columns.iter().position(|column| column == name).unwrap();
                (
                    name.to_owned(),
                    answer["rows"][0][at].as_str().unwrap().to_owned(),
                )
            };
            let row = Row::from(["name", "port", "paused", "disabled"].map(cell));
            let entry = rows::databases(vec![row]).remove("bdrdb").unwrap();
            (entry.paused, entry.disabled)
        });
        let expected = [(true, false), (false, false), (false, true), (true, false)];
        assert_eq!(flags.collect::<Vec<_>>(), expected, "{version}");
    }
}

#[test]
fn show_config_is_read() {
    for (version, _) in RECORDED {
        let recorded = Recorded::of(version);
        for note in [BUSY, "after RELOAD: SETs are gone"] {
            let settings = rows::settings(recorded.rows("SHOW CONFIG", note));
            for (key, value) in [
                ("server_login_retry", "15"),
                ("query_timeout", "0"),
                ("server_fast_close", "0"),
            ] {
                assert_eq!(settings[key], value, "{version}");
                let one = rows::setting(recorded.rows("SHOW CONFIG", note), key);
                assert_eq!(one.as_deref(), Some(value), "{version}");
            }
            assert_eq!(settings.get("listen_port"), None, "no SET changes it");
            assert_eq!(
                rows::setting(recorded.rows("SHOW CONFIG", note), "nosuch"),
                None
            );
        }
    }
}

#[test]
fn show_servers_and_show_clients_join_and_have_an_id_where_clients_can_be_killed() {
    for (version, id) in [("1.18.0", None), ("1.25.2", Some(2))] {
        let recorded = Recorded::of(version);
        let servers = rows::servers(recorded.rows("SHOW SERVERS", BUSY));
        let clients = rows::clients(recorded.rows("SHOW CLIENTS", BUSY));
        assert_eq!((servers.len(), clients.len()), (1, 2), "{version}");
        let expected = ServerState {
            database: "bdrdb".to_owned(),
            user: "app".to_owned(),
            state: "active".to_owned(),
            addr: "127.0.0.1".to_owned(),
            port: 7401,
            close_needed: false,
            link: Some(clients[0].ptr.clone()),
        };
        assert_eq!(servers[0], expected, "{version}");
        assert_eq!((clients[0].database.as_str(), clients[0].id), ("bdrdb", id));
        assert_eq!(clients[1].database, "pgbouncer", "{version}");
        let can = supported(&format!("{version}/bouncer")).unwrap();
        assert_eq!(can.can(Capability::KillClient), id.is_some(), "{version}");
        let none = rows::servers(recorded.rows("SHOW SERVERS", "after the move"));
        assert_eq!(none, [], "{version}");
    }
}

#[test]
fn show_pools_is_read() {
    for (version, _) in RECORDED {
        let mut pools = Recorded::of(version).rows("SHOW POOLS", BUSY);
        assert_eq!(rows::waiting_clients(&pools, "bdrdb"), 0, "{version}");
        pools[0].insert("cl_waiting".to_owned(), "3".to_owned());
        assert_eq!(rows::waiting_clients(&pools, "bdrdb"), 3, "{version}");
        assert_eq!(rows::waiting_clients(&pools, "other"), 0, "{version}");
    }
}

#[test]
fn show_state_is_read_where_it_is_there() {
    let mut state = Recorded::of("1.25.2").rows("SHOW STATE", BUSY);
    assert!(!rows::paused_as_a_whole(&state));
    state[1].insert("value".to_owned(), "yes".to_owned());
    assert!(rows::paused_as_a_whole(&state));
}

/// The tag, or the error's text, in the order in which they were recorded.
fn answered(version: &str, command: &str) -> Vec<String> {
    let recorded = Recorded::of(version);
    let answers = recorded.answers(command);
    let plain = answers.iter().filter(|answer| answer["note"].is_null());
    let text = |answer: &&&Value| {
        let error = &answer["error"]["message"];
        let text = error.as_str().or(answer["tag"].as_str());
        text.expect("a tag or an error").to_owned()
    };
    plain.map(|answer| text(&answer)).collect()
}

#[test]
fn every_command_is_answered_as_the_code_expects() {
    let kill_client = "invalid command 'KILL_CLIENT 999999', use SHOW HELP;";
    let not_paused = format!("database bdrdb {NOT_PAUSED}");
    let table = [
        (pause_command("bdrdb"), vec!["PAUSE", "PAUSE"], None),
        (
            resume_command("bdrdb"),
            vec!["RESUME", &not_paused, "RESUME"],
            None,
        ),
        // While all of PgBouncer is paused, and while it is not.
        (
            kill_command("bdrdb"),
            vec!["already suspended/paused", "KILL"],
            None,
        ),
        (
            kill_client_command(999_999),
            vec![kill_client],
            Some(vec![NO_CLIENT]),
        ),
        (
            set_command("server_login_retry", "0.02"),
            vec!["SET server_login_retry=0.02"],
            None,
        ),
        ("RELOAD".to_owned(), vec!["RELOAD", "RELOAD"], None),
    ];
    for (command, old, new) in table {
        assert_eq!(answered("1.18.0", &command), old, "{command}");
        assert_eq!(
            answered("1.25.2", &command),
            new.unwrap_or(old),
            "{command}"
        );
    }
}

#[test]
fn what_a_version_can_do_is_what_was_recorded_of_it() {
    for (version, _) in RECORDED {
        let recorded = Recorded::of(version);
        let can = supported(&format!("{version}/bouncer")).unwrap();
        let refused = |command: &str, note: Option<&str>| {
            let answers = recorded.answers(command);
            let mut of_note = answers.iter().filter(|a| a["note"].as_str() == note);
            let answer = of_note.next().expect("it was recorded");
            answer["error"]["message"].as_str().map(str::to_owned)
        };
        let unknown = |answer: Option<String>| answer.is_some_and(|a| a.starts_with("invalid"));
        let table = [
            (
                Capability::ShowState,
                !unknown(refused("SHOW STATE", Some(BUSY))),
            ),
            (
                Capability::KillClient,
                !unknown(refused("KILL_CLIENT 999999", None)),
            ),
            (
                Capability::TellReloadErrors,
                refused("RELOAD", Some("the ini has connect_timeout in an entry")).is_some(),
            ),
        ];
        for (capability, expected) in table {
            assert_eq!(can.can(capability), expected, "{version}: {capability:?}");
        }
    }
}
