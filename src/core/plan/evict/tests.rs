use super::*;
use crate::config::NodeId;
use crate::conninfo::server_address::ServerAddress;
use crate::core::debt::Debt;
use crate::core::plan::{Decision, Step, Way};
use crate::core::pooler::{EntryState, FileState, ProcessState};
use crate::generation::Generation;

fn address(host: &str, port: u16) -> ServerAddress {
    ServerAddress {
        host: host.to_owned(),
        port,
        dbname: "bdrtest".to_owned(),
    }
}

/// `app` goes from 10.0.0.12 to 10.0.0.11.
fn plan(evict: Option<Eviction>) -> Plan {
    let moves = BTreeMap::from([("app".to_owned(), address("10.0.0.11", 5432))]);
    Plan {
        token: "1-77-1-0".to_owned(),
        writer: NodeId(1),
        decision: Decision {
            generation: Generation::NONE.next(NodeId(1)),
            failed: NodeId(2),
            active: NodeId(1),
            fault: Fault::Blackhole,
        },
        confirm: moves.keys().cloned().collect(),
        expected: moves.clone(),
        moves,
        previous: BTreeMap::from([("app".to_owned(), ("10.0.0.12".to_owned(), 5432))]),
        content: Vec::new(),
        hash: "new".to_owned(),
        hash_read: "old".to_owned(),
        notes: Vec::new(),
        way: Way::default(),
        inherited: Debt::default(),
        replaces: None,
        by_ledger: false,
        agreed: None,
        prepared: true,
        evict,
        enable: BTreeSet::new(),
        also_resume: BTreeSet::new(),
        pause: true,
        pause_limit: std::time::Duration::ZERO,
        kept_paused: BTreeSet::new(),
    }
}

fn server(database: &str, addr: &str, close_needed: bool, link: Option<&str>) -> ServerState {
    ServerState {
        database: database.to_owned(),
        user: "app".to_owned(),
        state: "active".to_owned(),
        addr: addr.to_owned(),
        port: 5432,
        close_needed,
        link: link.map(str::to_owned),
    }
}

fn client(database: &str, ptr: &str, id: u64) -> ClientState {
    ClientState {
        database: database.to_owned(),
        ptr: ptr.to_owned(),
        id: Some(id),
    }
}

fn observation(entries: &[&str], settings: &[(&str, &str)]) -> Observation {
    let entry = |name: &&str| {
        let state = EntryState {
            host: "10.0.0.12".to_owned(),
            port: 5432,
            dbname: "bdrtest".to_owned(),
            force_user: None,
            paused: false,
            disabled: false,
        };
        ((*name).to_owned(), state)
    };
    let setting = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Observation {
        processes: vec![ProcessState {
            entries: entries.iter().map(entry).collect(),
            settings: settings.iter().map(setting).collect(),
        }],
        file: FileState {
            generation: Generation::NONE,
            active: None,
            hash: "old".to_owned(),
            untouched: None,
            content: None,
            entries: None,
            operation: None,
        },
    }
}

#[test]
fn fault_version_and_what_else_is_there_choose_the_eviction() {
    let alone = observation(&["app", "pgbouncer"], &[]);
    let shared = observation(&["app", "other", "pgbouncer"], &[]);
    let (old, new) = (Some(Version(1, 23, 1)), Some(Version(1, 24, 0)));
    let table = [
        (Fault::Crash, new, &alone, None),
        (Fault::Crash, old, &shared, None),
        (Fault::Blackhole, new, &alone, Some(Eviction::KillClients)),
        (Fault::Blackhole, new, &shared, Some(Eviction::KillClients)),
        (Fault::Blackhole, old, &alone, Some(Eviction::QueryTimeout)),
        (Fault::Blackhole, old, &shared, Some(Eviction::KillDatabase)),
        (
            Fault::Blackhole,
            None,
            &shared,
            Some(Eviction::KillDatabase),
        ),
    ];
    let moves = BTreeSet::from(["app".to_owned()]);
    for (fault, version, observation, expected) in table {
        let found = eviction(fault, version, observation, &moves);
        assert_eq!(found, expected, "{fault:?} {version:?}");
    }
}

#[test]
fn kill_comes_before_anybody_is_served_and_the_others_after_it() {
    let names = |evict| {
        let steps = plan(evict).steps();
        let after_hasten = steps
            .iter()
            .skip_while(|step| **step != Step::Hasten)
            .skip(1);
        let name = |step: &Step| {
            let text = format!("{step:?}");
            text.split([' ', '(']).next().unwrap_or_default().to_owned()
        };
        after_hasten.map(name).collect::<Vec<_>>().join(" ")
    };
    let table = [
        (None, "Resume PutBack RecordDebt Confirm"),
        (
            Some(Eviction::KillClients),
            "Resume PutBack RecordDebt Evict Confirm",
        ),
        (
            Some(Eviction::QueryTimeout),
            "Resume PutBack Evict Confirm Freed EndEviction RecordDebt",
        ),
        (
            Some(Eviction::KillDatabase),
            "Evict Resume PutBack RecordDebt Confirm",
        ),
    ];
    for (evict, expected) in table {
        assert_eq!(names(evict), expected);
    }
}

#[test]
fn kill_pauses_though_pause_is_not_used_and_is_resumed() {
    let without = Plan {
        pause: false,
        ..plan(Some(Eviction::KillDatabase))
    };
    assert_eq!(without.pauses(), BTreeSet::from(["app".to_owned()]));
    assert_eq!(without.resumes().len(), 1);
    let other = Plan {
        evict: Some(Eviction::QueryTimeout),
        ..without
    };
    assert_eq!(other.pauses(), BTreeSet::new());
}

#[test]
fn who_hangs_has_a_connection_to_where_the_entry_pointed() {
    let link = Some("0x1");
    let table = [
        (
            "the old address",
            server("app", "10.0.0.12", true, link),
            true,
        ),
        (
            "not marked yet",
            server("app", "10.0.0.12", false, link),
            true,
        ),
        (
            "nobody has it",
            server("app", "10.0.0.12", true, None),
            false,
        ),
        (
            "the new one",
            server("app", "10.0.0.11", false, link),
            false,
        ),
        // An operator's RECONNECT marks those of the new node, too.
        (
            "the new one, marked",
            server("app", "10.0.0.11", true, link),
            false,
        ),
        (
            "not ours to move",
            server("other", "10.0.0.12", true, link),
            false,
        ),
        // By name or through a socket, the mark alone tells.
        ("a socket, marked", server("app", "unix", true, link), true),
        (
            "a socket, not marked",
            server("app", "unix", false, link),
            false,
        ),
    ];
    for (what, server, expected) in table {
        assert_eq!(plan(None).hangs(&server), expected, "{what}");
    }
}

#[test]
fn exactly_the_clients_that_hang_are_killed_and_never_the_console() {
    let clients = [
        client("app", "0x1", 11),
        client("app", "0x2", 12),
        client("app", "0x3", 13),
        client("other", "0x4", 14),
        client("pgbouncer", "0x5", 15),
    ];
    let servers = [
        server("app", "10.0.0.12", true, Some("0x1")),
        server("app", "10.0.0.11", false, Some("0x2")),
        server("other", "10.0.0.12", false, Some("0x4")),
        // What makes no sense is no reason to drop a client of another database.
        server("app", "10.0.0.12", true, Some("0x5")),
    ];
    let plan = plan(Some(Eviction::KillClients));
    assert_eq!(plan.to_kill(&clients, &servers), BTreeSet::from([11]));
    assert_eq!(
        plan.hanging(&servers),
        BTreeMap::from([("app".to_owned(), 2)])
    );
}

#[test]
fn only_what_an_eviction_changes_is_owed() {
    type Settings<'a> = &'a [(&'a str, &'a str)];
    let table: [(Settings<'_>, Settings<'_>); 4] = [
        (
            &[
                ("query_timeout", "0"),
                ("server_fast_close", "0"),
                ("autodb_idle_timeout", "9"),
            ],
            &[("query_timeout", "0"), ("server_fast_close", "0")],
        ),
        (
            &[("query_timeout", "77"), ("server_fast_close", "1")],
            &[("query_timeout", "77")],
        ),
        (&[("query_timeout", "0.5"), ("server_fast_close", "1")], &[]),
        (&[], &[]),
    ];
    for (settings, expected) in table {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let expected: BTreeMap<_, _> = expected.iter().map(owned).collect();
        let settings = settings.iter().map(owned).collect();
        assert_eq!(to_change(&settings), expected);
    }
}

/// An attempt before this one has moved it.
#[test]
fn who_has_a_server_that_is_marked_hangs_also_when_nothing_is_left_to_move() {
    let mut plan = plan(Some(Eviction::KillClients));
    plan.moves.clear();
    let new = ("10.0.0.11".to_owned(), 5432);
    plan.previous = BTreeMap::from([("app".to_owned(), new)]);
    plan.expected
        .insert("other".to_owned(), address("10.0.0.11", 5432));
    let servers = [
        server("app", "10.0.0.12", true, Some("0x1")),
        server("app", "10.0.0.11", true, Some("0x2")),
        server("app", "10.0.0.12", true, None),
        server("other", "10.0.0.12", true, Some("0x3")),
    ];
    let clients = [
        client("app", "0x1", 1),
        client("app", "0x2", 2),
        client("other", "0x3", 3),
    ];
    assert_eq!(plan.to_kill(&clients, &servers), [1].into());
    assert_eq!(
        plan.hanging(&servers),
        BTreeMap::from([("app".to_owned(), 1)])
    );
}
