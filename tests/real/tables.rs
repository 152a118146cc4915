//! `repmgr.nodes` and `repmgr.events`: made where they are absent, used as they are where they are.

use crate::fixture::{Cluster, Node, Settings, wait_until};
use crate::scene::DEADLINE;

/// What an installation of repmgr has made; a stand-in for its extension, with one column more than
/// is known here, as a later version may have.
const OF_REPMGR: &str = "
    CREATE SCHEMA repmgr;
    CREATE TABLE repmgr.nodes (node_id int PRIMARY KEY, upstream_node_id int,
        active bool NOT NULL DEFAULT true, node_name text NOT NULL, type text NOT NULL,
        location text NOT NULL DEFAULT 'default', priority int NOT NULL DEFAULT 100,
        conninfo text NOT NULL, repluser varchar(63) NOT NULL, slot_name text,
        config_file text NOT NULL, of_a_later_version text DEFAULT 'kept');
    CREATE TABLE repmgr.events (node_id int NOT NULL, event text NOT NULL,
        successful bool NOT NULL DEFAULT true,
        event_timestamp timestamptz NOT NULL DEFAULT current_timestamp, details text);
    INSERT INTO repmgr.nodes (node_id, node_name, type, conninfo, repluser, config_file, priority)
        VALUES (1, 'node1', 'bdr', 'host=as-registered', '', '', 77),
               (2, 'node2', 'bdr', 'host=as-registered', '', '', 77);
    INSERT INTO repmgr.events (node_id, event, details) VALUES (1, 'bdr_register', 'by repmgr')";

/// But for those of the daemons' own beginnings.
fn events(node: &Node) -> Vec<String> {
    let rows = node.try_rows(
        "SELECT event FROM repmgr.events WHERE event <> 'repmgrd_start' ORDER BY event_timestamp",
    );
    rows.unwrap_or_default()
        .into_iter()
        .map(|row| row["event"].clone())
        .collect()
}

#[test]
fn the_tables_of_an_installation_of_repmgr_are_used_as_they_are() {
    let cluster = Cluster::builder().poolers(1).start();
    for node in cluster.nodes() {
        node.client().batch_execute(OF_REPMGR).expect("SQL");
    }
    let daemon = cluster.daemon(1, &Settings::default());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete", DEADLINE);
    let node1 = cluster.node1();
    wait_until(DEADLINE, "both rows", || events(node1).len() == 3);
    let expected = ["bdr_register", "bdr_failover", "repoint_redirect"];
    assert_eq!(events(node1), expected);
    let nodes = "SELECT node_id || ' ' || active || ' ' || conninfo || ' ' || priority || ' ' \
                 || of_a_later_version AS row FROM repmgr.nodes ORDER BY 1";
    let rows: Vec<String> = node1
        .rows(nodes)
        .into_iter()
        .map(|r| r["row"].clone())
        .collect();
    assert_eq!(
        rows,
        [
            "1 true host=as-registered 77 kept",
            "2 false host=as-registered 77 kept"
        ]
    );
    assert!(
        !daemon.log().contains("made the tables"),
        "{}",
        daemon.log()
    );
}

/// Rows as repmgr 4.4 writes them in BDR mode, in tables of its own extension.
#[test]
fn what_repmgr_has_registered_in_its_extension_needs_no_registration() {
    let cluster = Cluster::builder().poolers(1).start();
    let conninfos = cluster.nodes().each_ref().map(Node::conninfo);
    for node in cluster.nodes() {
        let mut client = node.client();
        client
            .batch_execute("CREATE EXTENSION repmgr")
            .expect("SQL");
        for (id, conninfo) in [(1, &conninfos[0]), (2, &conninfos[1])] {
            let row = format!(
                "INSERT INTO repmgr.nodes (node_id, type, upstream_node_id, node_name, conninfo, \
                 repluser, slot_name, location, priority, active, config_file) VALUES ({id}, \
                 'bdr', NULL, 'node{id}', '{conninfo}', '', NULL, 'default', 100, true, ''); \
                 INSERT INTO repmgr.events (node_id, event, details) VALUES ({id}, \
                 'bdr_register', 'node record created for node \"node{id}\" (ID: {id})')"
            );
            client.batch_execute(&row).expect("SQL");
        }
    }
    let daemon = cluster.daemon(1, &Settings::default());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete", DEADLINE);
    let node1 = cluster.node1();
    wait_until(DEADLINE, "both rows", || events(node1).len() == 4);
    let new = &events(node1)[2..];
    assert_eq!(new, ["bdr_failover", "repoint_redirect"]);
    let rows = "SELECT string_agg(node_id || ' ' || active, ', ' ORDER BY 1) FROM repmgr.nodes";
    assert_eq!(node1.query_one_text(rows), "1 true, 2 false");
    assert!(
        !daemon.log().contains("made the tables"),
        "{}",
        daemon.log()
    );
}

#[test]
fn the_daemon_makes_repmgrs_extension_where_the_server_has_it() {
    let cluster = Cluster::builder().poolers(0).start();
    let daemons = [1, 2].map(|id| cluster.daemon(id, &Settings::default()));
    for node in cluster.nodes() {
        wait_until(DEADLINE, "both rows", || registered(node) == "node1 node2");
        let extension = "SELECT count(*) FROM pg_extension WHERE extname = 'repmgr'";
        assert_eq!(node.query_one_text(extension), "1");
    }
    drop(daemons);
}

#[test]
fn the_daemon_makes_tables_where_the_server_has_no_extension() {
    let cluster = Cluster::builder().poolers(0).without_repmgr().start();
    let daemons = [1, 2].map(|id| cluster.daemon(id, &Settings::default()));
    for node in cluster.nodes() {
        wait_until(DEADLINE, "both rows", || registered(node) == "node1 node2");
        let extension = "SELECT count(*) FROM pg_extension WHERE extname = 'repmgr'";
        assert_eq!(node.query_one_text(extension), "0");
        let others = "SELECT count(*) FROM pg_class c JOIN pg_namespace n \
                      ON n.oid = c.relnamespace WHERE nspname = 'repmgr' AND relkind = 'r'";
        assert_eq!(node.query_one_text(others), "2");
    }
    for daemon in &daemons {
        assert!(!daemon.log().contains("cannot be used"), "{}", daemon.log());
    }
}

fn registered(node: &Node) -> String {
    let names = "SELECT string_agg(node_name, ' ' ORDER BY node_id) AS names FROM repmgr.nodes";
    let rows = node.try_rows(names).unwrap_or_default();
    let row = rows.into_iter().next().unwrap_or_default();
    row.get("names").cloned().unwrap_or_default()
}

#[test]
fn without_pgbouncers_a_failover_is_recorded_and_told_to_the_hook() {
    let cluster = Cluster::builder().poolers(0).start();
    let told = cluster.home().directory().join("told");
    let lines = format!(
        "event_notification_command = 'echo %n %e %a >> {}'",
        told.display()
    );
    let settings = Settings {
        lines,
        ..Settings::default()
    };
    let daemons = [1, 2].map(|id| cluster.daemon(id, &settings));
    for daemon in &daemons {
        daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    }
    cluster.node2().kill9();
    wait_until(DEADLINE, "the hook", || told.exists());
    for daemon in &daemons {
        daemon.wait_for_log("failover decided", DEADLINE);
    }
    let node1 = cluster.node1();
    wait_until(DEADLINE, "the row", || !events(node1).is_empty());
    assert_eq!(events(node1), ["bdr_failover"]);
    let details = node1.query_one_text(
        "SELECT details FROM repmgr.events WHERE event = 'bdr_failover' AND successful",
    );
    let end = "(ID: 1); there is no PgBouncer to redirect; \
               event_notification_command ended with exit status 0 after 0.0 s";
    assert!(details.ends_with(end), "{details}");
    assert_eq!(
        std::fs::read_to_string(told).expect("text"),
        "2 bdr_failover node1\n"
    );
}
