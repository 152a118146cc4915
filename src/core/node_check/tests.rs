use super::*;

const LIMITS: LagLimits = LagLimits {
    warning_bytes: 100,
    critical_bytes: 1000,
};

fn slot(name: &str, active: bool, unconfirmed_bytes: Option<u64>) -> Slot {
    Slot {
        name: name.to_owned(),
        active,
        unconfirmed_bytes,
    }
}

/// A node of a pair that is as it should be.
fn healthy() -> Facts {
    let kind = "bdr".to_owned();
    Facts {
        record: Ok(Some(Record { kind, active: true })),
        in_recovery: Ok(false),
        member: Ok(Ok(())),
        feeds: vec![Ok(Ok(()))],
        slots: Ok(vec![slot("a", true, Some(7))]),
        archiver: Ok(Archiver {
            on: true,
            failed: None,
            ready: Some(2),
        }),
    }
}

fn line(what: What, facts: &Known<Facts>) -> String {
    let check = check(what, facts, LIMITS);
    assert_eq!(check.what, what);
    let performance = check.performance.map(|numbers| format!(" | {numbers}"));
    let (word, numbers) = (check.verdict.word(), performance.unwrap_or_default());
    format!("{word} {}{numbers}", check.text)
}

#[track_caller]
fn assert_line(what: What, change: impl FnOnce(&mut Facts), expected: &str) {
    let mut facts = healthy();
    change(&mut facts);
    assert_eq!(line(what, &Ok(facts)), expected);
}

fn no<T>(reason: &str) -> Result<T, String> {
    Err(reason.to_owned())
}

#[test]
fn a_healthy_node_is_ok_everywhere() {
    let lines = What::ALL.map(|what| line(what, &Ok(healthy())));
    let expected = [
        "OK the server answers",
        "OK node is an active BDR node",
        "OK 7 bytes not confirmed by the slowest peer | lag=7B;100;1000",
        "OK 2 pending archive ready files | files=2;16;128",
        "OK node has no inactive replication slots | slots=1;0",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn without_a_connection_the_rest_is_unknown() {
    let lines = What::ALL.map(|what| line(what, &no("refused")));
    assert_eq!(lines[0], "CRITICAL refused");
    for line in &lines[1..] {
        assert_eq!(line, "UNKNOWN no connection to the server");
    }
}

#[test]
fn what_could_not_be_asked_is_unknown() {
    assert_line(What::Role, |f| f.record = no("x"), "UNKNOWN x");
    assert_line(What::Role, |f| f.in_recovery = no("x"), "UNKNOWN x");
    assert_line(What::Role, |f| f.member = no("x"), "UNKNOWN x");
    assert_line(What::Slots, |f| f.slots = no("x"), "UNKNOWN x");
    assert_line(What::Slots, |f| f.feeds = vec![no("x")], "UNKNOWN x");
    assert_line(What::Lag, |f| f.slots = no("x"), "UNKNOWN x");
    assert_line(What::Archive, |f| f.archiver = no("x"), "UNKNOWN x");
}

#[test]
fn a_bdr_node_is_registered_active_and_a_member() {
    let is = |change: fn(&mut Facts), why: &str| {
        let expected = format!("CRITICAL node is not an active BDR node: {why}");
        assert_line(What::Role, change, &expected);
    };
    is(|f| f.record = Ok(None), "it has no record in repmgr.nodes");
    is(|f| f.in_recovery = Ok(true), "it is a standby");
    is(|f| f.member = Ok(no("no member")), "no member");
    is(
        |f| {
            f.record = Ok(Some(Record {
                kind: "bdr".to_owned(),
                active: false,
            }));
        },
        "its record is inactive",
    );
}

#[test]
fn a_node_of_streaming_replication_is_what_it_is_registered_as() {
    for (kind, in_recovery, expected) in [
        ("primary", false, "OK node is primary"),
        ("standby", true, "OK node is standby"),
        (
            "primary",
            true,
            "CRITICAL node is registered as primary, but running as standby",
        ),
    ] {
        let change = |facts: &mut Facts| {
            let kind = kind.to_owned();
            facts.record = Ok(Some(Record { kind, active: true }));
            facts.in_recovery = Ok(in_recovery);
        };
        assert_line(What::Role, change, expected);
    }
}

#[test]
fn a_slot_that_nobody_reads_is_critical_and_so_is_a_peer_without_one() {
    assert_line(
        What::Slots,
        |f| f.slots = Ok(vec![slot("a", true, None), slot("b", false, None)]),
        "CRITICAL 1 of 2 replication slots inactive: b | slots=2;1",
    );
    assert_line(
        What::Slots,
        |f| f.feeds = vec![Ok(Ok(())), Ok(no("no slot for `n`"))],
        "CRITICAL no slot for `n` | slots=1;0",
    );
    assert_line(
        What::Slots,
        |f| (f.slots, f.feeds) = (Ok(Vec::new()), Vec::new()),
        "OK node has no replication slots | slots=0;0",
    );
}

#[test]
fn lag_is_that_of_the_slowest_logical_slot_of_the_database() {
    for (bytes, word) in [
        (99, "OK"),
        (100, "WARNING"),
        (999, "WARNING"),
        (1000, "CRITICAL"),
    ] {
        let slots = [slot("a", true, None), slot("b", false, Some(bytes))];
        let slots = [&slots[..], &[slot("c", true, Some(1))]].concat();
        assert_line(
            What::Lag,
            |f| f.slots = Ok(slots),
            &format!(
                "{word} {bytes} bytes not confirmed by the slowest peer | lag={bytes}B;100;1000"
            ),
        );
    }
    assert_line(
        What::Lag,
        |f| f.slots = Ok(vec![slot("a", true, None)]),
        "OK nothing replicates from here through a logical slot",
    );
}

#[test]
fn archiving_is_judged_by_its_last_attempt_and_by_what_waits() {
    let is = |on: bool, failed: Option<&str>, ready: Option<u64>, expected: &str| {
        let failed = failed.map(str::to_owned);
        let archiver = Archiver { on, failed, ready };
        assert_line(What::Archive, |f| f.archiver = Ok(archiver), expected);
    };
    is(false, Some("0001"), None, "OK WAL archiving is off");
    is(
        false,
        None,
        Some(0),
        "OK WAL archiving is off | files=0;16;128",
    );
    is(
        true,
        Some("0001"),
        None,
        "CRITICAL the last attempt to archive a file failed: 0001",
    );
    is(true, None, None, "OK the last attempt succeeded");
    is(
        true,
        None,
        Some(16),
        "WARNING 16 pending archive ready files | files=16;16;128",
    );
    is(
        true,
        None,
        Some(128),
        "CRITICAL 128 pending archive ready files | files=128;16;128",
    );
}
