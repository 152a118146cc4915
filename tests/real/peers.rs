//! The other node is described in `repmgr.nodes`: a configuration without any `[[node]]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::fixture::{Cluster, Node, Settings, wait_until};
use crate::scene::{DEADLINE, assert_serves, is_active, wait_for_events};
use crate::watching::wait_until_served;

/// The rows are read again every five seconds.
const REREAD_DEADLINE: Duration = Duration::from_secs(40);

/// Tables as repmgr has them, as far as they matter here.
const TABLES: &str = "
    CREATE SCHEMA repmgr;
    CREATE TABLE repmgr.nodes (node_id int PRIMARY KEY, upstream_node_id int,
        active bool NOT NULL DEFAULT true, node_name text NOT NULL, type text NOT NULL,
        location text NOT NULL DEFAULT 'default', priority int NOT NULL DEFAULT 100,
        conninfo text NOT NULL, repluser varchar(63) NOT NULL, slot_name text,
        config_file text NOT NULL);
    CREATE TABLE repmgr.events (node_id int NOT NULL, event text NOT NULL,
        successful bool NOT NULL DEFAULT true,
        event_timestamp timestamptz NOT NULL DEFAULT current_timestamp, details text)";

/// Both nodes in the tables of both.
fn register(cluster: &Cluster) {
    for on in cluster.nodes() {
        on.client().batch_execute(TABLES).expect("SQL");
        for node in cluster.nodes() {
            add_row(on, node);
        }
    }
}

fn add_row(on: &Node, node: &Node) {
    let (id, name, conninfo) = (node.id(), node.name(), node.conninfo());
    on.rows(&format!(
        "INSERT INTO repmgr.nodes (node_id, node_name, type, conninfo, repluser, config_file) \
         VALUES ({id}, '{name}', 'bdr', '{conninfo}', '', '')"
    ));
}

/// The configuration of a daemon that knows its own node only.
fn write_config(cluster: &Cluster, node_id: u32, lines: &str) -> PathBuf {
    cluster.write_config(node_id, &Settings::default(), |toml| {
        let node = cluster.node(node_id);
        let from = toml.find("[[node]]").expect("there are nodes");
        let to = toml.find("[[pgbouncer]]").expect("there are PgBouncers");
        let (name, conninfo) = (node.name(), node.conninfo());
        let own = format!("node_name = \"{name}\"\nconninfo = \"{conninfo}\"\n{lines}\n");
        toml.replace_range(from..to, &own);
    })
}

#[test]
fn a_daemon_that_starts_while_the_peer_is_down_finds_out_and_redirects() {
    let cluster = Cluster::builder().poolers(2).start();
    register(&cluster);
    cluster.node2().kill9();
    let file = write_config(&cluster, 1, "log_format = \"repmgr\"");
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    wait_until_served(&cluster, 1);
    daemon.wait_for_log("redirect complete: 2 of 2", DEADLINE);
    let rows = wait_for_events(cluster.node1(), "bdr_failover", 1);
    assert_eq!(rows[0]["node_id"], "2");
    assert!(!is_active(cluster.node1(), 2));
    for pooler in cluster.poolers() {
        assert_serves(pooler, cluster.node1());
    }
    for line in daemon.log().lines() {
        assert!(line.starts_with("[20") && &line[20..22] == "] ", "{line}");
    }
    let known = "[WARNING] unable to connect to node \"node2\" (ID 2) (reason=";
    assert!(daemon.log().contains(known), "{}", daemon.log());
}

#[test]
fn a_daemon_whose_own_row_is_inactive_starts_and_makes_it_active_when_replication_runs() {
    let cluster = Cluster::builder().poolers(1).start();
    register(&cluster);
    let (node1, node2) = (cluster.node1(), cluster.node2());
    for node in cluster.nodes() {
        node.rows("UPDATE repmgr.nodes SET active = false WHERE node_id = 1");
    }
    node1.rows("select pglogical.alter_subscription_disable('node1_from_node2', true)");
    let file = write_config(&cluster, 1, "");
    let daemon = cluster.daemon_with_filter(1, &file, "repoint=debug");
    daemon.wait_for_log("node 1 answers, but has not recovered yet", DEADLINE);
    assert!(!is_active(node1, 1) && !is_active(node2, 1));
    node1.rows("select pglogical.alter_subscription_enable('node1_from_node2', true)");
    for node in cluster.nodes() {
        wait_until(REREAD_DEADLINE, "an active row", || is_active(node, 1));
    }
    let rows = wait_for_events(node2, "bdr_recovery", 1);
    assert!(rows[0]["details"].starts_with("node \"node1\" (ID: 1) has recovered"));
    assert!(daemon.is_running());
}

#[test]
fn a_daemon_that_starts_while_its_own_node_is_down_waits_for_it() {
    let cluster = Cluster::builder().poolers(1).start();
    register(&cluster);
    cluster.node1().kill9();
    let file = write_config(&cluster, 1, "");
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log("repmgr.nodes cannot be read on node \"node1\"", DEADLINE);
    cluster.node1().start();
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node2().kill9();
    wait_until_served(&cluster, 1);
    let status = daemon.terminate();
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_host_whose_node_is_not_registered_is_told_what_to_do() {
    let cluster = Cluster::builder().poolers(1).start();
    let file = write_config(&cluster, 1, "").display().to_string();
    let refused = |expected: &str| {
        let output = cluster.repoint(&["-f", &file, "daemon"]);
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
        assert_eq!(output.status.code(), Some(1));
    };
    refused(
        "repoint: there is no table repmgr.nodes in the database of node \"node1\" \
         (hint: register this node with `repoint bdr register`)\n",
    );
    cluster.node1().client().batch_execute(TABLES).expect("SQL");
    refused(
        "repoint: node \"node1\" (ID: 1) has no row in repmgr.nodes \
         (hint: register this node with `repoint bdr register`)\n",
    );
    add_row(cluster.node1(), cluster.node1());
    let rename = "UPDATE repmgr.nodes SET node_name = 'node''1'";
    cluster.node1().rows(rename);
    refused(
        "repoint: the row of node 1 in repmgr.nodes has another name than \"node1\" \
         (hint: register this node again with `repoint bdr register -F`, or mend node_name in \
         the configuration)\n",
    );
}

#[test]
fn a_daemon_waits_for_the_other_node_to_be_registered() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    node1.client().batch_execute(TABLES).expect("SQL");
    add_row(node1, node1);
    node1.rows("UPDATE repmgr.nodes SET conninfo = conninfo || ' application_name=old'");
    let file = write_config(&cluster, 1, "");
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log(
        "no other node has a row in repmgr.nodes \
         (hint: register the other node with `repoint bdr register` there)",
        DEADLINE,
    );
    add_row(node1, node2);
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    let told = "the row of node \"node1\" (ID: 1) in repmgr.nodes has another conninfo than";
    assert!(daemon.log().contains(told), "{}", daemon.log());
}

#[test]
fn fault_20_a_row_that_changes_is_taken_and_told_without_its_password() {
    let cluster = Cluster::builder().poolers(1).start();
    register(&cluster);
    let file = write_config(&cluster, 1, "");
    let daemon = cluster.daemon_with_filter(1, &file, "repoint=debug");
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node1().rows(
        "UPDATE repmgr.nodes SET conninfo = conninfo \
         || ' password=correct-horse application_name=as-changed' WHERE node_id = 2",
    );
    let told = daemon.wait_for_log(
        "repmgr.nodes has changed: conninfo of node \"node2\" (ID: 2) is now ",
        REREAD_DEADLINE,
    );
    assert!(told.text.contains("password=********"), "{}", told.text);
    let sessions = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'as-changed'";
    wait_until(DEADLINE, "a session of the new conninfo", || {
        !cluster.node2().rows(sessions).is_empty()
    });
    assert!(!daemon.log().contains("correct-horse"), "{}", daemon.log());
    cluster.node2().kill9();
    wait_until_served(&cluster, 1);
}

#[test]
fn a_row_of_an_attacker_is_told_and_what_was_known_stays_in_force() {
    let cluster = Cluster::builder().poolers(1).start();
    register(&cluster);
    let file = write_config(&cluster, 1, "");
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    let trap = cluster.directory().join("X");
    let dbname = format!("a\\n%include /etc/passwd\\n$(touch {})", trap.display());
    let conninfo = cluster.node2().conninfo();
    let evil = [
        ("repeat('x', 10000)", format!("'{conninfo}'")),
        (
            "E'node2\\n2026-01-01T00:00:00Z ERROR forged'",
            format!("'{conninfo}'"),
        ),
        ("'node2'", format!("E'host=127.0.0.1 dbname=''{dbname}'''")),
        ("'node2'", "repeat('a=b ', 100000)".to_owned()),
    ];
    for (name, conninfo) in &evil {
        let mark = daemon.mark();
        cluster.node1().rows(&format!(
            "UPDATE repmgr.nodes SET node_name = {name}, conninfo = {conninfo} WHERE node_id = 2"
        ));
        let told = daemon.wait_for_log_after(
            mark,
            "the nodes stay as they were known before",
            REREAD_DEADLINE,
        );
        let begin = "the row of node 2 in repmgr.nodes will not do: its ";
        assert!(told.text.contains(begin), "{}", told.text);
        assert!(told.text.len() < 400, "{}", told.text);
        // A reload does not end it either.
        let mark = daemon.mark();
        daemon.hup();
        daemon.wait_for_log_after(mark, "monitoring node \"node2\"", DEADLINE);
    }
    cluster.node2().kill9();
    wait_until_served(&cluster, 1);
    assert!(!trap.exists());
    for line in daemon.log().lines() {
        assert!(
            line.starts_with("20") && !line.starts_with("2026-01-01"),
            "{line}"
        );
    }
    // One that begins with such a row waits until it is mended.
    daemon.terminate();
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log("the other node is not known yet", DEADLINE);
    let mended = cluster.node2().conninfo();
    cluster.node1().rows(&format!(
        "UPDATE repmgr.nodes SET node_name = 'node2', conninfo = '{mended}' WHERE node_id = 2"
    ));
    daemon.wait_for_log("repoint starts", DEADLINE);
}

#[test]
fn sighup_while_the_local_node_is_down_keeps_the_peers_and_the_watch() {
    let cluster = Cluster::builder().poolers(2).first_node(1).start();
    register(&cluster);
    let file = write_config(&cluster, 1, "");
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node1().freeze();
    let mark = daemon.mark();
    daemon.hup();
    daemon.wait_for_log_after(
        mark,
        "repmgr.nodes cannot be read on node \"node1\"",
        DEADLINE,
    );
    daemon.wait_for_log_after(mark, "repoint starts", DEADLINE);
    wait_until_served(&cluster, 2);
    cluster.node1().kill9();
    let mark = daemon.mark();
    daemon.hup();
    daemon.wait_for_log_after(mark, "repoint starts", DEADLINE);
    daemon.wait_for_log_after(mark, "monitoring node \"node2\"", DEADLINE);
    let status = daemon.terminate();
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
}

#[test]
fn render_shows_what_would_be_done_with_the_peer_of_repmgr_nodes() {
    let cluster = Cluster::builder().poolers(1).start();
    let file = write_config(&cluster, 1, "").display().to_string();
    let run = |arguments: &[&str]| {
        let output = cluster.repoint(&[&["-f", &file, "render"], arguments].concat());
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    let (code, text) = run(&[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("there is no table repmgr.nodes"), "{text}");
    let (code, text) = run(&["--full"]);
    assert_eq!(code, Some(0), "{text}");
    register(&cluster);
    let (code, text) = run(&[]);
    assert_eq!(code, Some(0), "{text}");
    let then = format!("+app = host='127.0.0.1' port='{}'", cluster.node1().port());
    assert!(text.contains(&then), "{text}");
    let (code, text) = run(&["--full", "--node", "node2"]);
    assert_eq!(code, Some(0), "{text}");
    let there = format!("port='{}'", cluster.node2().port());
    assert!(text.contains(&there), "{text}");
}
