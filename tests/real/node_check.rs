//! `node check` and `node status`: a pair that replicates, and what is found when it does not.

use crate::fixture::{Cluster, wait_until};
use crate::registered::{self, Ran, TABLES, on_both, run_at, run_on};
use crate::scene::DEADLINE;
use crate::standin::Standin;

/// A number that differs from run to run becomes `N`.
fn without_numbers(text: &str, before: &str) -> String {
    let Some(at) = text.find(before) else {
        return text.to_owned();
    };
    let (head, tail) = text.split_at(at);
    format!(
        "{}N{tail}",
        head.trim_end_matches(|c: char| c.is_ascii_digit())
    )
}

#[track_caller]
fn one(cluster: &Cluster, check: &str) -> (i32, String) {
    let ran = run_on(cluster, 1, &format!("node check {check} --nagios"));
    assert_eq!(ran.stderr, "", "{ran:?}");
    (ran.code, ran.stdout)
}

#[test]
fn a_node_of_a_pair_that_replicates_is_ok() {
    let cluster = registered::start();
    let ran = run_on(&cluster, 1, "node check");
    let lag = " bytes not confirmed";
    let expected = "Node \"node1\":
\tServer connection: OK (the server answers)
\tServer role: OK (node is an active BDR node)
\tReplication lag: OK (N bytes not confirmed by the slowest peer)
\tWAL archiving: OK (WAL archiving is off)
\tReplication slots: OK (node has no inactive replication slots)
";
    assert_eq!(without_numbers(&ran.stdout, lag), expected, "{ran:?}");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let csv = run_at(&cluster, 1, "node check --csv");
    assert_eq!(csv.stdout.lines().count(), 7, "{csv:?}");
    let line = "\"Server role\",\"OK\",\"node is an active BDR node\"";
    assert!(csv.stdout.lines().any(|found| found == line), "{csv:?}");

    let role = "REPMGR_SERVER_ROLE OK: node is an active BDR node\n";
    assert_eq!(one(&cluster, "--role"), (0, role.to_owned()));
    run_on(&cluster, 1, "node check --role").is(0, "OK (node is an active BDR node)\n", "");
    let slots = "REPMGR_INACTIVE_SLOTS OK: node has no inactive replication slots | slots=1;0\n";
    assert_eq!(one(&cluster, "--slots"), (0, slots.to_owned()));
    let (code, lag) = one(&cluster, "--replication-lag");
    assert!(lag.starts_with("REPMGR_REPLICATION_LAG OK: "), "{lag}");
    assert!(lag.ends_with("B;104857600;1048576000\n"), "{lag}");
    assert_eq!(code, 0);
    let (code, lag) = one(&cluster, "--replication-lag --lag-warning 0");
    assert!(lag.starts_with("REPMGR_REPLICATION_LAG WARNING: "), "{lag}");
    assert_eq!(code, 1);

    on_both(
        &cluster,
        "UPDATE repmgr.nodes SET active = false WHERE node_id = 1",
    );
    let role = "REPMGR_SERVER_ROLE CRITICAL: node is not an active BDR node: \
                its record is inactive\n";
    assert_eq!(one(&cluster, "--role"), (2, role.to_owned()));
    on_both(&cluster, "DELETE FROM repmgr.nodes");
    let role = "REPMGR_SERVER_ROLE CRITICAL: node is not an active BDR node: \
                it has no record in repmgr.nodes\n";
    assert_eq!(one(&cluster, "--role"), (2, role.to_owned()));
    assert_eq!(run_on(&cluster, 1, "node check").code, 25);
    on_both(&cluster, "DROP TABLE repmgr.nodes");
    assert_eq!(one(&cluster, "--role").0, 3);
}

#[test]
fn a_peer_that_is_gone_makes_its_slot_critical_and_a_dead_server_everything_else_unknown() {
    let cluster = registered::start();
    cluster.node2().kill9();
    let inactive = "SELECT count(*) FROM pg_replication_slots WHERE active";
    wait_until(DEADLINE, "an inactive slot", || {
        cluster.node1().query_one_text(inactive) == "0"
    });
    let slot = "SELECT slot_name FROM pg_replication_slots";
    let slot = cluster.node1().query_one_text(slot);
    let line = format!(
        "REPMGR_INACTIVE_SLOTS CRITICAL: 1 of 1 replication slots inactive: {slot} | slots=1;1\n"
    );
    assert_eq!(one(&cluster, "--slots"), (2, line));
    assert_eq!(run_on(&cluster, 1, "node check").code, 25);

    cluster.node1().kill9();
    let ran = run_on(&cluster, 1, "node check");
    let others = "UNKNOWN (no connection to the server)";
    assert_eq!(ran.stdout.matches(others).count(), 4, "{ran:?}");
    assert!(
        ran.stdout.contains("\tServer connection: CRITICAL ("),
        "{ran:?}"
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (25, ""));
    let (code, line) = one(&cluster, "--db-connection");
    assert!(
        line.starts_with("REPMGR_DB_CONNECTION CRITICAL: "),
        "{line}"
    );
    assert_eq!((code, line.lines().count()), (2, 1));
    let line = "REPMGR_SERVER_ROLE UNKNOWN: no connection to the server\n";
    assert_eq!(one(&cluster, "--role"), (3, line.to_owned()));
    let status = run_on(&cluster, 1, "node status");
    assert_eq!((status.code, status.stdout.as_str()), (6, ""));
}

#[test]
fn without_a_connection_in_time_a_check_ends_all_the_same() {
    let cluster = registered::start();
    cluster.node1().freeze();
    let ran: Ran = run_on(&cluster, 1, "node check --db-connection --nagios");
    cluster.node1().thaw();
    let end = ": no answer within 2s\n";
    assert!(ran.stdout.ends_with(end), "{ran:?}");
    assert_eq!(ran.code, 2);

    let mute = Standin::postgres_without_an_answer().conninfo();
    let arguments = ["node", "check", "--db-connection", "--nagios", "-d", &mute];
    let line = "REPMGR_DB_CONNECTION CRITICAL: connected, but no answer within 7s\n";
    registered::run(&cluster, &arguments).is(2, line, "");
}

#[test]
fn a_database_outside_of_the_replication_is_no_bdr_node() {
    let cluster = registered::start();
    cluster.node1().rows("CREATE DATABASE elsewhere");
    let conninfo = cluster.node1().conninfo().replace("bdrtest", "elsewhere");
    let mut client = postgres::Client::connect(&conninfo, postgres::NoTls).expect("it runs");
    client.batch_execute(TABLES).expect("SQL");
    let insert = format!(
        "INSERT INTO repmgr.nodes (node_id, node_name, type, conninfo, repluser, config_file) \
         VALUES (1, 'node1', 'bdr', '{conninfo}', '', '')"
    );
    client.batch_execute(&insert).expect("SQL");
    let arguments = ["node", "check", "--role", "--nagios", "-d", &conninfo];
    let ran = registered::run(&cluster, &arguments);
    let beginning = "REPMGR_SERVER_ROLE CRITICAL: node is not an active BDR node: \
                     the database has no extension ";
    assert!(ran.stdout.starts_with(beginning), "{ran:?}");
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn the_status_of_a_node_is_for_people_and_for_programs() {
    let cluster = registered::start();
    let conninfo = cluster.node1().conninfo();
    let size = "SELECT pg_size_pretty(pg_database_size('bdrtest'))";
    let size = cluster.node1().query_one_text(size);
    let version = "SELECT split_part(current_setting('server_version'), ' ', 1)";
    let version = cluster.node1().query_one_text(version);
    let ran = run_at(&cluster, 1, "node status");
    let expected = format!(
        "Node \"node1\":
\tPostgreSQL version: {version}
\tDatabase size: {size}
\tConninfo: {conninfo}
\tRole: bdr
\tRecord: active
\tWAL archiving: off
\tReplication connections: 1 (of maximal 10)
\tReplication slots: 1 (of maximal 10; 0 inactive)
\tReplication lag: N bytes
"
    );
    assert_eq!(
        without_numbers(&ran.stdout, " bytes\n"),
        expected,
        "{ran:?}"
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    on_both(&cluster, "UPDATE repmgr.nodes SET active = false");
    let ran = run_on(&cluster, 1, "node status");
    let block = "\n\nWARNING: following issues were detected\n  \
                 - node is not an active BDR node: its record is inactive\n";
    assert!(ran.stdout.ends_with(block), "{ran:?}");
    assert_eq!(ran.code, 25);
    let csv = run_on(&cluster, 1, "node status --csv");
    assert!(
        csv.stdout
            .starts_with("\"Node name\",\"node1\"\n\"Node ID\",\"1\"\n"),
        "{csv:?}"
    );
    assert_eq!((csv.code, csv.stdout.lines().count()), (25, 11), "{csv:?}");
}
