//! `bdr register` and `bdr unregister` on nodes that replicate with pglogical.

use crate::fixture::{Cluster, Node, Settings, Standin, wait_until};
use crate::registered::{bdr, stderr};
use crate::scene::{events as of_kind, start_daemon, wait_for_decision, wait_for_events};

/// pglogical begins again after it was told of a new set.
const REPLICATION_DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

#[track_caller]
fn register(cluster: &Cluster, node_id: u32, arguments: &[&str]) -> String {
    let all: Vec<&str> = ["register"].iter().chain(arguments).copied().collect();
    let output = bdr(cluster, node_id, &all);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stderr(&output)
}

/// `id name active` of each row.
fn nodes(node: &Node) -> Vec<String> {
    let query = "SELECT node_id || ' ' || node_name || ' ' || active AS row FROM repmgr.nodes \
                 ORDER BY node_id";
    let rows = node.try_rows(query).unwrap_or_default();
    rows.into_iter().map(|row| row["row"].clone()).collect()
}

fn events(node: &Node) -> Vec<String> {
    let query = "SELECT node_id || ' ' || event AS row FROM repmgr.events ORDER BY event_timestamp";
    let rows = node.try_rows(query).unwrap_or_default();
    rows.into_iter().map(|row| row["row"].clone()).collect()
}

#[track_caller]
fn assert_tables_replicate(cluster: &Cluster) {
    let both = ["1 node1 true", "2 node2 true"];
    for (from, to) in [(0, 1), (1, 0)] {
        let (from, to) = (&cluster.nodes()[from], &cluster.nodes()[to]);
        wait_until(REPLICATION_DEADLINE, "both rows", || nodes(to) == both);
        let event = format!("seen by {}", from.name());
        let id = from.id();
        from.rows(&format!(
            "INSERT INTO repmgr.events (node_id, event) VALUES ({id}, '{event}')"
        ));
        let arrived = || events(to).contains(&format!("{id} {event}"));
        wait_until(REPLICATION_DEADLINE, "the event", arrived);
        from.rows(&format!(
            "UPDATE repmgr.nodes SET active = false WHERE node_id = {id}"
        ));
        let arrived = || nodes(to).contains(&format!("{id} {} false", from.name()));
        wait_until(REPLICATION_DEADLINE, "the update", arrived);
        to.rows("UPDATE repmgr.nodes SET active = true");
        let back = || nodes(from) == both;
        wait_until(REPLICATION_DEADLINE, "the update back", back);
    }
}

#[test]
fn both_nodes_have_both_rows_and_all_events_once_both_are_registered() {
    let cluster = Cluster::builder().poolers(1).start();
    let conninfo = cluster.node1().conninfo();
    let said = register(&cluster, 1, &[]);
    assert_eq!(
        said,
        format!(
            "NOTICE: attempting to install extension \"repmgr\"\n\
             NOTICE: \"repmgr\" extension successfully installed\n\
             NOTICE: node record created for node \"node1\" (ID: 1)\n\
             NOTICE: BDR node 1 registered (conninfo: {conninfo})\n"
        )
    );
    assert_eq!(
        events(cluster.node1()),
        ["1 cluster_created", "1 bdr_register"]
    );
    // A subscription to a set that is not there would have stopped replication.
    cluster.wait_for_replication(REPLICATION_DEADLINE);
    register(&cluster, 2, &[]);
    assert_tables_replicate(&cluster);
    cluster.wait_for_replication(REPLICATION_DEADLINE);
    let row = cluster
        .node2()
        .rows("SELECT * FROM repmgr.nodes WHERE node_id = 1");
    assert_eq!(row[0]["type"], "bdr");
    assert_eq!(row[0]["conninfo"], conninfo);
    assert_eq!(row[0]["location"], "default");
    assert_eq!(row[0]["priority"], "100");
    assert_eq!(row[0]["repluser"], "");
    assert_eq!(row[0]["config_file"], "");
    assert_eq!(row[0].get("upstream_node_id"), None);
}

#[test]
fn the_other_order_and_registering_again_do_the_same() {
    let cluster = Cluster::builder().poolers(1).start();
    register(&cluster, 2, &[]);
    register(&cluster, 1, &[]);
    for id in [1, 2] {
        let again = bdr(&cluster, id, &["register"]);
        assert_eq!(again.status.code(), Some(1));
        let expected = "ERROR: this node is already registered\n\
                        HINT: use -F/--force to write its record again\n";
        assert_eq!(stderr(&again), expected);
        let said = register(&cluster, id, &["-F"]);
        assert!(
            said.starts_with("NOTICE: node record updated for node"),
            "{said}"
        );
    }
    assert_tables_replicate(&cluster);
}

#[test]
fn fault_4_dry_run_says_what_it_would_do_and_changes_nothing() {
    let cluster = Cluster::builder().poolers(1).start();
    let before = catalogue(cluster.node1());
    let said = register(&cluster, 1, &["--dry-run"]);
    assert_eq!(
        said,
        format!(
            "INFO: extension \"repmgr\" would be installed\n\
             INFO: would create replication set \"repmgr\"\n\
             INFO: would create replication set \"repmgr_events\"\n\
             INFO: would put table \"repmgr.nodes\" into replication set \"repmgr\"\n\
             INFO: would put table \"repmgr.events\" into replication set \"repmgr_events\"\n\
             INFO: node record for node \"node1\" (ID: 1) would be created\n\
             INFO: BDR node 1 would be registered (conninfo: {})\n",
            cluster.node1().conninfo()
        )
    );
    assert_eq!(catalogue(cluster.node1()), before);
    register(&cluster, 1, &[]);
    let before = catalogue(cluster.node1());
    let refused = bdr(&cluster, 1, &["register", "--dry-run"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = register(&cluster, 1, &["--dry-run", "--force"]);
    assert!(said.starts_with("INFO: node record for node \"node1\" (ID: 1) would be updated"));
    let gone = bdr(&cluster, 1, &["unregister", "--dry-run", "--force"]);
    let expected = "INFO: node record for node \"node1\" (ID: 1) would be deleted\n";
    assert_eq!(stderr(&gone), expected);
    assert_eq!(catalogue(cluster.node1()), before);
}

/// Whatever registration could change.
fn catalogue(node: &Node) -> Vec<crate::fixture::Row> {
    let mut all = node.rows(
        "SELECT (SELECT string_agg(extname, ' ' ORDER BY 1) FROM pg_extension) AS extensions, \
         (SELECT count(*) FROM pg_class) AS relations, \
         (SELECT string_agg(s::text, ' ' ORDER BY 1) FROM pglogical.replication_set s) AS sets, \
         (SELECT string_agg(t::text, ' ' ORDER BY 1) FROM pglogical.tables t) AS tables, \
         (SELECT string_agg(s::text, ' ') FROM pglogical.subscription s) AS subscriptions",
    );
    for table in ["repmgr.nodes", "repmgr.events"] {
        all.extend(node.try_rows(&format!("TABLE {table}")).unwrap_or_default());
    }
    all
}

#[test]
fn a_peer_that_is_down_is_told_and_its_own_registration_completes_the_pair() {
    let cluster = Cluster::builder().poolers(1).start();
    let node2 = cluster.node2();
    node2.kill9();
    let said = register(&cluster, 1, &[]);
    assert!(
        said.contains("WARNING: unable to connect to node \"node2\"\n"),
        "{said}"
    );
    node2.start();
    cluster.wait_for_replication(REPLICATION_DEADLINE);
    let said = register(&cluster, 2, &[]);
    assert!(!said.contains("WARNING"), "{said}");
    cluster.hasten_replication();
    assert_tables_replicate(&cluster);
}

#[test]
fn tables_that_are_there_are_used_although_the_server_has_the_extension() {
    let cluster = Cluster::builder().poolers(1).start();
    for node in cluster.nodes() {
        let mut client = node.client();
        client.batch_execute(PLAIN_TABLES).expect("SQL");
    }
    for id in [1, 2] {
        let said = register(&cluster, id, &[]);
        assert!(
            said.starts_with("NOTICE: node record created for node"),
            "{said}"
        );
    }
    assert_eq!(events(cluster.node1())[0], "1 bdr_register");
    let extension = "SELECT count(*) FROM pg_extension WHERE extname = 'repmgr'";
    assert_eq!(cluster.node1().query_one_text(extension), "0");
    assert_tables_replicate(&cluster);
}

/// As repoint makes them where there is no extension.
const PLAIN_TABLES: &str = "
    CREATE SCHEMA repmgr;
    CREATE TABLE repmgr.nodes (node_id integer PRIMARY KEY,
        upstream_node_id integer REFERENCES repmgr.nodes (node_id) DEFERRABLE,
        active boolean NOT NULL DEFAULT true, node_name text NOT NULL, type text NOT NULL,
        location text NOT NULL DEFAULT 'default', priority integer NOT NULL DEFAULT 100,
        conninfo text NOT NULL, repluser varchar(63) NOT NULL, slot_name text,
        config_file text NOT NULL);
    CREATE TABLE repmgr.events (node_id integer NOT NULL, event text NOT NULL,
        successful boolean NOT NULL DEFAULT true,
        event_timestamp timestamptz NOT NULL DEFAULT current_timestamp, details text)";

#[test]
fn on_a_registered_pair_the_rows_of_failover_and_recovery_come_to_both_nodes() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    register(&cluster, 1, &[]);
    register(&cluster, 2, &[]);
    cluster.wait_for_replication(REPLICATION_DEADLINE);
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &Settings::default()));
    node2.kill9();
    wait_for_decision(&daemons);
    wait_for_events(node1, "repoint_redirect", 1);
    assert_eq!(nodes(node1), ["1 node1 true", "2 node2 false"]);
    node2.start();
    cluster.wait_for_replication(REPLICATION_DEADLINE);
    wait_for_events(node1, "bdr_recovery", 1);
    for node in [node1, node2] {
        wait_until(REPLICATION_DEADLINE, "both active", || {
            nodes(node) == ["1 node1 true", "2 node2 true"]
        });
        for kind in ["bdr_failover", "bdr_recovery"] {
            wait_until(REPLICATION_DEADLINE, kind, || {
                of_kind(node, kind).len() == 1
            });
        }
    }
}

#[test]
fn help_has_an_example_and_the_exit_statuses() {
    let cluster = Cluster::builder()
        .poolers(0)
        .standin(Standin::Pgactive)
        .start();
    for command in ["register", "unregister"] {
        let output = cluster.repoint(&["bdr", command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let example = format!("  repoint -f /etc/repoint/repoint.toml bdr {command}");
        assert!(
            text.contains(&example) && text.contains("Exit status: 0"),
            "{text}"
        );
    }
}

#[test]
fn fault_1_a_name_that_is_not_the_replications_own_is_refused_with_both_names() {
    let cluster = Cluster::builder().poolers(1).start();
    let file = cluster.write_config(1, &Settings::default(), |text| {
        *text = text.replace("node_name = \"node1\"", "node_name = \"berlin\"");
    });
    let output = cluster.repoint(&["-f", &file.display().to_string(), "bdr", "register"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    let expected = "ERROR: node_name is \"berlin\", but pglogical calls this node \"node1\"\n";
    assert!(said.starts_with(expected), "{said}");
    let tables = "SELECT to_regclass('repmgr.nodes') AS tables";
    assert_eq!(cluster.node1().query_one_text(tables), "");
}

#[test]
fn fault_3_unregister_takes_out_the_node_that_was_named_and_no_other() {
    let cluster = Cluster::builder().poolers(1).start();
    register(&cluster, 1, &[]);
    register(&cluster, 2, &[]);
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let unknown = bdr(&cluster, 1, &["unregister", "--node-id=3"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert_eq!(
        stderr(&unknown),
        "ERROR: no node with ID 3 is registered\n\
         DETAIL: registered: \"node1\" (ID: 1), \"node2\" (ID: 2)\n"
    );
    let running = bdr(&cluster, 1, &["unregister", "--node-id=2"]);
    assert_eq!(running.status.code(), Some(1));
    let said = stderr(&running);
    assert!(
        said.starts_with("ERROR: node \"node2\" (ID: 2) is running and active\n"),
        "{said}"
    );
    assert_eq!(nodes(node1).len(), 2);

    node2.kill9();
    let way = node1.connection_options();
    let way = way.each_ref().map(String::as_str);
    let no_node = [&["bdr", "unregister"][..], &way].concat();
    let output = cluster.repoint(&no_node);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let by_name = [&no_node[..], &["--node-name", "node2"]].concat();
    let output = cluster.repoint(&by_name);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = "NOTICE: bdr node \"node2\" (ID: 2) successfully unregistered\n";
    assert_eq!(stderr(&output), expected);
    assert_eq!(nodes(node1), ["1 node1 true"]);
    let last = events(node1).pop();
    assert_eq!(last.as_deref(), Some("1 bdr_unregister"));
}

#[test]
fn a_failure_to_delete_is_reported_as_one() {
    let cluster = Cluster::builder().poolers(1).start();
    register(&cluster, 1, &[]);
    let node1 = cluster.node1();
    node1
        .client()
        .batch_execute(
            "CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN RAISE 'not today'; END $$; \
         CREATE TRIGGER no BEFORE DELETE ON repmgr.nodes EXECUTE FUNCTION public.no()",
        )
        .expect("SQL");
    let output = bdr(&cluster, 1, &["unregister", "--node-id=1", "-F"]);
    assert_eq!(output.status.code(), Some(7));
    let said = stderr(&output);
    assert!(
        said.contains("not today") && !said.contains("successfully"),
        "{said}"
    );
    assert_eq!(nodes(node1), ["1 node1 true"]);
    let row = node1.rows("SELECT successful FROM repmgr.events WHERE event = 'bdr_unregister'");
    assert_eq!(row[0]["successful"], "f");
}

#[test]
fn what_cannot_be_registered_is_refused_and_nothing_is_written() {
    let cluster = Cluster::builder().poolers(1).start();
    let port = cluster.node1().port().to_string();
    let output = cluster.repoint(&["bdr", "register", "-h", "127.0.0.1", "-p", &port]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.starts_with("ERROR: \"bdr register\" needs this node's id, name and conninfo"));
    register(&cluster, 1, &[]);
    let node1 = cluster.node1();
    let (same_name, others, standby) = (
        "INSERT INTO repmgr.nodes (node_id, node_name, type, conninfo, repluser, config_file) \
         VALUES (7, 'node1', 'bdr', 'host=x', '', '')",
        "UPDATE repmgr.nodes SET node_name = 'other'; \
         INSERT INTO repmgr.nodes (node_id, node_name, type, conninfo, repluser, config_file) \
         VALUES (8, 'third', 'bdr', 'host=x', '', '')",
        "UPDATE repmgr.nodes SET type = 'standby' WHERE node_id = 8",
    );
    for (statement, expected) in [
        (
            same_name,
            "ERROR: another node is registered as \"node1\"\n",
        ),
        (others, "ERROR: two other nodes are registered already\n"),
        (
            standby,
            "ERROR: repmgr.nodes has nodes that are not of type \"bdr\"\n",
        ),
    ] {
        node1.client().batch_execute(statement).expect("SQL");
        if statement == same_name {
            node1.rows("DELETE FROM repmgr.nodes WHERE node_id = 1");
        }
        let before = node1.rows("TABLE repmgr.nodes");
        let refused = bdr(&cluster, 1, &["register", "-F"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            stderr(&refused).starts_with(expected),
            "{}",
            stderr(&refused)
        );
        assert_eq!(node1.rows("TABLE repmgr.nodes"), before);
    }
    node1.kill9();
    let down = bdr(&cluster, 1, &["register", "-F"]);
    assert_eq!(down.status.code(), Some(6), "{}", stderr(&down));
}

#[test]
fn a_hook_that_fails_is_a_warning_and_a_hostile_row_stays_on_its_line() {
    let cluster = Cluster::builder().poolers(1).start();
    let settings = Settings {
        lines: "event_notification_command = 'exit 3'\n\
                event_notifications = \"bdr_register,bdr_unregister\""
            .to_owned(),
        ..Settings::default()
    };
    let file = cluster.write_config(1, &settings, |_| ());
    let file = file.display().to_string();
    let output = cluster.repoint(&["-f", &file, "bdr", "register"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let warning = "WARNING: event_notification_command for bdr_register ended with exit status 3\n";
    let said = stderr(&output);
    assert!(
        said.contains(warning) && !said.contains("cluster_created"),
        "{said}"
    );

    let hostile = "INSERT INTO repmgr.nodes (node_id, node_name, type, conninfo, repluser, \
                   config_file, active) VALUES (2, E'x\\nNOTICE: \\x1b[2J''; DROP TABLE \
                   repmgr.nodes --', 'bdr', E'x''\\n', '', '', false)";
    cluster.node1().rows(hostile);
    let name = "x\\nNOTICE: \\u{1b}[2J'; DROP TABLE repmgr.nodes --";
    let unknown = cluster.repoint(&["-f", &file, "bdr", "unregister", "--node-id=5"]);
    assert_eq!(
        stderr(&unknown),
        format!(
            "ERROR: no node with ID 5 is registered\n\
             DETAIL: registered: \"node1\" (ID: 1), \"{name}\" (ID: 2)\n"
        )
    );
    let output = cluster.repoint(&["-f", &file, "bdr", "unregister", "--node-id=2"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stderr(&output),
        format!(
            "WARNING: event_notification_command for bdr_unregister ended with exit status 3\n\
             NOTICE: bdr node \"{name}\" (ID: 2) successfully unregistered\n"
        )
    );
    assert_eq!(nodes(cluster.node1()), ["1 node1 true"]);
}

#[test]
fn the_hook_is_told_and_a_password_is_shown_nowhere() {
    let cluster = Cluster::builder().poolers(1).start();
    let told = cluster.home().directory().join("told");
    let lines = format!(
        "event_notification_command = 'echo %n %e %s \"%d\" >> {}'",
        told.display()
    );
    let settings = Settings {
        lines,
        ..Settings::default()
    };
    let file = cluster.write_config(1, &settings, |text| {
        *text = text.replacen("user=repmgr", "user=repmgr password=geheim", 1);
    });
    let file = file.display().to_string();
    let output = cluster.repoint(&["-f", &file, "bdr", "register"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("geheim"), "{}", stderr(&output));
    assert!(stderr(&output).contains("WARNING: the conninfo in repmgr.nodes has a password"));
    let expected = "1 cluster_created 1 \n\
                    1 bdr_register 1 node record created for node \"node1\" (ID: 1)\n";
    assert_eq!(std::fs::read_to_string(&told).expect("text"), expected);
    let kept = cluster
        .node1()
        .query_one_text("SELECT conninfo FROM repmgr.nodes");
    assert!(
        kept.contains("password=geheim"),
        "who is to connect has nothing else"
    );
    let events = cluster
        .node1()
        .query_one_text("SELECT string_agg(e::text, '') FROM repmgr.events e");
    assert!(!events.contains("geheim"));
}
