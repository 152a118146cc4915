//! BDR 2 and pgactive, by stand-ins that have their catalogues and functions and do not replicate.

use std::time::Duration;

use crate::fixture::{Cluster, Node, Reader, Row, Settings, Standin, wait_until};
use crate::registered::{bdr, stderr};
use crate::scene::{
    DEADLINE, assert_stays, events, is_active, start_daemon, wait_for_decision, wait_for_events,
};

const A_WHILE: Duration = Duration::from_secs(2);
/// pglogical may take several seconds to begin again.
const REPLICATION_DEADLINE: Duration = Duration::from_secs(60);

fn start(standin: Standin) -> Cluster {
    Cluster::builder().poolers(1).standin(standin).start()
}

#[track_caller]
fn register(cluster: &Cluster, node_id: u32) -> String {
    let output = bdr(cluster, node_id, &["register"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stderr(&output)
}

fn names(node: &Node) -> String {
    let query = "SELECT string_agg(node_name, ' ' ORDER BY node_id) FROM repmgr.nodes";
    let rows = node.try_rows(query).unwrap_or_default();
    rows.first()
        .and_then(|row| row.values().next().cloned())
        .unwrap_or_default()
}

/// What was done that takes the global lock in BDR.
fn calls(node: &Node) -> Vec<String> {
    let query = "SELECT function || ' ' || argument AS call FROM bdr.standin_calls ORDER BY number";
    let rows = node.rows(query);
    rows.into_iter().map(|row| row["call"].clone()).collect()
}

fn everything(node: &Node) -> Vec<Row> {
    let mut all = node.rows("SELECT (SELECT count(*) FROM pg_class) AS relations");
    for table in [
        "bdr.bdr_nodes",
        "bdr.bdr_connections",
        "bdr.standin_calls",
        "bdr.standin_table_sets",
        "repmgr.nodes",
        "repmgr.events",
    ] {
        all.extend(node.try_rows(&format!("TABLE {table}")).unwrap_or_default());
    }
    all
}

#[test]
fn on_bdr_the_extension_comes_through_bdr_and_its_tables_are_in_the_set_repmgr() {
    let cluster = start(Standin::Bdr);
    let node1 = cluster.node1();
    let before = everything(node1);
    let dry = bdr(&cluster, 1, &["register", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", stderr(&dry));
    assert_eq!(everything(node1), before);

    let said = register(&cluster, 1);
    assert_eq!(
        said,
        format!(
            "NOTICE: attempting to install extension \"repmgr\"\n\
             NOTICE: \"repmgr\" extension successfully installed\n\
             NOTICE: node record created for node \"node1\" (ID: 1)\n\
             NOTICE: BDR node 1 registered (conninfo: {})\n",
            node1.conninfo()
        )
    );
    assert_eq!(
        calls(node1),
        [
            "bdr_replicate_ddl_command CREATE EXTENSION IF NOT EXISTS repmgr",
            "connection_set_replication_sets node1",
            "table_set_replication_sets repmgr.events",
            "table_set_replication_sets repmgr.monitoring_history",
            "table_set_replication_sets repmgr.nodes",
            "table_set_replication_sets repmgr.voting_term",
        ]
    );
    // What BDR then does on the other member, where the same may just have been made: an error
    // would stop replication there.
    let replayed = "SELECT bdr.bdr_replicate_ddl_command(argument) FROM bdr.standin_calls \
                    WHERE function = 'bdr_replicate_ddl_command'";
    node1.rows(replayed);
    let sets = "SELECT bdr.connection_get_replication_sets('node1')::text || \
                bdr.table_get_replication_sets('repmgr.nodes')::text";
    assert_eq!(node1.query_one_text(sets), "{default,repmgr}{repmgr,all}");
}

#[test]
fn fault_19_registering_again_with_the_peer_down_touches_no_replication_set() {
    let cluster = start(Standin::Bdr);
    let node1 = cluster.node1();
    register(&cluster, 1);
    let before = calls(node1);
    cluster.node2().kill9();
    node1.rows("INSERT INTO bdr.standin_member_down DEFAULT VALUES");
    let again = bdr(&cluster, 1, &["register", "--force"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(calls(node1), before);
    assert_eq!(events(node1, "bdr_register").len(), 2);
}

#[test]
fn a_schema_that_cannot_be_changed_is_reported_as_such() {
    let cluster = start(Standin::Bdr);
    let node1 = cluster.node1();
    node1.rows("INSERT INTO bdr.standin_member_down DEFAULT VALUES");
    let output = bdr(&cluster, 1, &["register"]);
    assert_eq!(output.status.code(), Some(7));
    let said = stderr(&output);
    assert!(
        said.contains("ERROR: unable to make repmgr's tables\n"),
        "{said}"
    );
    assert!(said.contains("a member is down"), "{said}");
    assert!(!said.contains("registered"), "{said}");
}

#[test]
fn fault_2_the_peers_row_is_copied_also_when_the_local_node_is_the_first_one() {
    let cluster = start(Standin::Bdr);
    register(&cluster, 2);
    for node in cluster.nodes() {
        let first = "SELECT node_name FROM bdr.bdr_nodes ORDER BY node_seq_id";
        assert_eq!(node.query_one_text(first), "node1");
    }
    register(&cluster, 1);
    assert_eq!(names(cluster.node1()), "node1 node2");
    assert_eq!(names(cluster.node2()), "node1 node2");
}

#[test]
fn what_is_no_bdr_2_with_two_nodes_is_refused_with_the_reason() {
    let cluster = start(Standin::Bdr);
    let node1 = cluster.node1();
    let third = "INSERT INTO bdr.bdr_nodes VALUES ('7', 1, 1, 'r', 'node3', '', '', false, 3)";
    let killed = "UPDATE bdr.bdr_nodes SET node_status = 'k' WHERE node_name = 'node3'";
    let renamed = "UPDATE bdr.bdr_nodes SET node_name = 'berlin' WHERE node_name = 'node1'";
    let three = "UPDATE pg_extension SET extversion = '3.6.0' WHERE extname = 'bdr'";
    let no_member = "DELETE FROM bdr.standin_local";
    for (statement, expected) in [
        (
            third,
            "ERROR: repoint can only support BDR 2.x clusters with 2 nodes\n\
             DETAIL: this one has 3: node1, node2, node3\n",
        ),
        (killed, ""),
        (
            renamed,
            "ERROR: node_name is \"node1\", but bdr calls this node \"berlin\"\n",
        ),
        (
            no_member,
            "ERROR: database \"bdrtest\" is not BDR-enabled\n",
        ),
        (
            three,
            "ERROR: \"repoint bdr register\" is for BDR 2.x only\n\
             DETAIL: the database has bdr 3.6.0\n",
        ),
    ] {
        node1.rows(statement);
        let before = everything(node1);
        let output = bdr(&cluster, 1, &["register", "--dry-run"]);
        let code = if expected.is_empty() { 0 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).starts_with(expected), "{}", stderr(&output));
        assert_eq!(everything(node1), before);
    }
}

#[test]
fn without_repmgr_on_the_server_tables_of_the_same_shape_are_made_through_bdr() {
    let cluster = Cluster::builder()
        .poolers(1)
        .standin(Standin::Bdr)
        .without_repmgr()
        .start();
    let said = register(&cluster, 1);
    let expected = "NOTICE: made tables \"repmgr.nodes\" and \"repmgr.events\", because the server \
                    has no extension \"repmgr\"\n";
    assert!(said.starts_with(expected), "{said}");
    let calls = calls(cluster.node1());
    let ddl = |call: &&String| call.starts_with("bdr_replicate_ddl_command CREATE");
    assert_eq!(calls.iter().filter(ddl).count(), 3, "{calls:?}");
    let transactions = "SELECT count(DISTINCT transaction) FROM bdr.standin_calls \
                        WHERE function = 'bdr_replicate_ddl_command'";
    assert_eq!(cluster.node1().query_one_text(transactions), "1");
}

#[test]
fn who_is_no_superuser_makes_tables_and_is_told_of_grants_that_he_needs() {
    let cluster = start(Standin::Bdr);
    let (node1, node2) = (cluster.node1(), cluster.node2());
    for (node, grant) in [
        (node1, "GRANT CREATE ON DATABASE bdrtest TO app"),
        (node2, "CREATE EXTENSION repmgr"),
    ] {
        for command in [
            grant,
            "GRANT USAGE ON SCHEMA bdr TO app",
            "GRANT ALL ON ALL TABLES IN SCHEMA bdr TO app",
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA bdr TO app",
        ] {
            node.rows(&format!(
                "SELECT bdr.bdr_replicate_ddl_command('{command}')"
            ));
        }
    }
    let output = [1, 2].map(|id| {
        let file = cluster.write_config(id, &Settings::default(), |text| {
            *text = text.replace("user=repmgr", "user=app");
        });
        cluster.repoint(&["-f", &file.display().to_string(), "bdr", "register"])
    });
    let [made, refused] = output.each_ref().map(stderr);
    assert_eq!(output[0].status.code(), Some(0), "{made}");
    let expected = "NOTICE: made tables \"repmgr.nodes\" and \"repmgr.events\", because only a \
                    superuser may create extension \"repmgr\"\n";
    assert!(made.starts_with(expected), "{made}");
    assert_eq!(output[1].status.code(), Some(1), "{refused}");
    assert_eq!(
        refused,
        "ERROR: repmgr's tables cannot be used\n\
         DETAIL: user app may not use the tables of the schema repmgr; as a superuser, run \
         GRANT USAGE ON SCHEMA repmgr TO app; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA repmgr TO app\n"
    );
}

#[test]
fn on_pgactive_both_nodes_have_the_tables_before_there_is_a_row() {
    let cluster = start(Standin::Pgactive);
    register(&cluster, 1);
    let (node1, node2) = (cluster.node1(), cluster.node2());
    assert_eq!(
        node2.query_one_text("SELECT count(*) FROM repmgr.nodes"),
        "0"
    );
    register(&cluster, 2);
    assert_eq!(names(node1), "node1 node2");
    assert_eq!(names(node2), "node1 node2");
    let kinds = "SELECT string_agg(DISTINCT type, ' ') FROM repmgr.nodes";
    assert_eq!(node1.query_one_text(kinds), "bdr");
}

#[test]
fn on_pgactive_nothing_is_begun_while_the_peer_cannot_have_the_tables() {
    let cluster = start(Standin::Pgactive);
    cluster.node2().kill9();
    let output = bdr(&cluster, 1, &["register"]);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    let tables = "SELECT to_regclass('repmgr.nodes') AS tables";
    assert_eq!(cluster.node1().query_one_text(tables), "");
}

#[test]
fn on_bdr_a_node_has_recovered_once_both_slots_are_read() {
    recovers_once_both_slots_are_read(Standin::Bdr);
}

#[test]
fn on_pgactive_a_node_has_recovered_once_both_slots_are_read() {
    recovers_once_both_slots_are_read(Standin::Pgactive);
}

fn recovers_once_both_slots_are_read(standin: Standin) {
    let cluster = start(standin);
    let (node1, node2) = (cluster.node1(), cluster.node2());
    register(&cluster, 1);
    register(&cluster, 2);
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];
    node2.kill9();
    wait_for_decision(&daemons);
    wait_for_events(node1, "repoint_redirect", 1);
    node2.start();
    daemons[0].wait_for_log("node \"node2\" (ID: 2) answers again", DEADLINE);
    let _one_way = standin.read_slot(cluster.home(), node1, node2);
    assert_stays(A_WHILE, "no recovery", || !is_active(node1, 2));
    let _other_way = standin.read_slot(cluster.home(), node2, node1);
    wait_until(DEADLINE, "a recovery", || is_active(node1, 2));
    let row = &wait_for_events(node1, "bdr_recovery", 1)[0];
    let details = &row["details"];
    let begin = "node \"node2\" (ID: 2) has recovered after ";
    assert!(details.starts_with(begin), "{details}");
    let (_, lags) = details.split_once("; replication lag ").expect("the lag");
    let lags: Vec<&str> = lags.split(", ").collect();
    let is_lag = |text: &str, node: &str| {
        let bytes = text.strip_suffix(&format!(" bytes to \"{node}\""));
        bytes.is_some_and(|bytes| bytes.parse::<u64>().is_ok())
    };
    assert!(
        is_lag(lags[0], "node2") && is_lag(lags[1], "node1"),
        "{details}"
    );
}

/// A third party may read changes with pglogical, too.
#[test]
fn on_pglogical_the_slot_of_somebody_else_is_not_the_peers() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];
    node2.rows("select pglogical.alter_subscription_disable('node2_from_node1', true)");
    node1.rows("select pg_create_logical_replication_slot('somebody', 'pglogical_output')");
    let options = [
        "startup_params_format=1",
        "min_proto_version=1",
        "max_proto_version=1",
        "expected_encoding=UTF8",
        "pglogical.replication_set_names=default",
    ];
    let _somebody = Reader::of(cluster.home(), node1, "somebody", &options);
    let active = "select active from pg_replication_slots where slot_name = 'somebody'";
    wait_until(DEADLINE, "the reader", || {
        node1.query_one_text(active) == "t"
    });
    node2.kill9();
    wait_for_decision(&daemons);
    wait_for_events(node1, "repoint_redirect", 1);
    node2.start();
    node1.rows("select pglogical.alter_subscription_enable('node1_from_node2', true)");
    daemons[0].wait_for_log("node \"node2\" (ID: 2) answers again", DEADLINE);
    let status = "select status from pglogical.show_subscription_status()";
    wait_until(REPLICATION_DEADLINE, "replication to node1", || {
        node1.query_one_text(status) == "replicating"
    });
    assert_stays(A_WHILE, "no recovery", || !is_active(node1, 2));
    assert_eq!(node1.query_one_text(active), "t");

    node2.rows("select pglogical.alter_subscription_enable('node2_from_node1', true)");
    wait_until(REPLICATION_DEADLINE, "a recovery", || is_active(node1, 2));
}
