//! `service pause`: failover that is paused does not happen, whatever dies meanwhile.

use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Node, Pooler, Settings, Standin, wait_until};
use crate::held_back::hold_back;
use crate::registered::{self, Ran, run};
use crate::scene::{assert_stays, events, start_daemon, wait_for_events};
use crate::served::{lead_by_hand, leftovers, wait_until_serves};

/// Others load the machine, too.
const DEADLINE: Duration = Duration::from_secs(30);
/// Several times what it takes to detect a dead node and to redirect.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

/// Runs `repoint service` with the configuration of a node's daemon.
fn service(cluster: &Cluster, node_id: u32, arguments: &[&str]) -> Ran {
    let file = cluster.daemon_directory(node_id).join("repoint.toml");
    let file = file.display().to_string();
    let ran = run(cluster, &[&["-f", &file, "service"], arguments].concat());
    assert_eq!(ran.stdout, "", "results of {arguments:?}");
    ran
}

/// As repmgr's commands do: with nothing but how to connect.
fn service_by_connection(cluster: &Cluster, node: &Node, arguments: &[&str]) -> Ran {
    let to = node.connection_options();
    let to = to.each_ref().map(String::as_str);
    let ran = run(cluster, &[&["service"], arguments, &to].concat());
    assert_eq!(ran.stdout, "", "results of {arguments:?}");
    ran
}

fn both(cluster: &Cluster) -> [Daemon; 2] {
    [1, 2].map(|id| start_daemon(cluster, id, &Settings::pausing()))
}

/// Both nodes have been registered by a daemon.
fn wait_for_registration(node: &Node) {
    let query = "select count(*) as n from repmgr.nodes";
    wait_until(DEADLINE, "rows of both nodes", || {
        node.try_rows(query).is_ok_and(|rows| rows[0]["n"] == "2")
    });
}

/// Nothing is redirected or recorded, and no entry is left paused in PgBouncer.
fn assert_untouched(pooler: &Pooler, leads_to: &Node, survivor: &Node) {
    assert_stays(LONG_ENOUGH, "nothing is done", || {
        pooler.served_port("app") == leads_to.port()
            && !pooler.paused("app")
            && events(survivor, "bdr_failover").is_empty()
            && events(survivor, "repoint_redirect").is_empty()
    });
}

fn pauses(node: &Node) -> Option<String> {
    let rows = node.try_rows(
        "select string_agg(node_id || ' ' || paused || ' ' || coalesce(reason, '-'), ', ' \
         order by node_id) as all from repoint.pauses",
    );
    rows.ok()?.first()?.get("all").cloned()
}

#[test]
fn fault_15_while_failover_is_paused_nothing_is_redirected() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2, pooler) = (cluster.node1(), cluster.node2(), cluster.pooler(1));
    let daemons = both(&cluster);
    wait_for_registration(node1);
    let ran = service_by_connection(&cluster, node1, &["pause", "--reason", "new kernel"]);
    assert_eq!(
        ran.stderr,
        "NOTICE: node 1 (node1) paused\nNOTICE: node 2 (node2) paused\n"
    );
    assert_eq!(ran.code, 0);
    for daemon in &daemons {
        // The command came back, so it was said already.
        assert_eq!(daemon.log().matches("failover is paused since").count(), 1);
        assert!(daemon.log().contains(": new kernel"), "{}", daemon.log());
    }
    let shown = run(&cluster, &["cluster", "show", "-d", &node1.conninfo()]);
    assert_eq!(shown.code, 0, "a pause is no fault: {}", shown.stderr);
    assert!(
        shown
            .stderr
            .starts_with("NOTICE: failover is paused since "),
        "{}",
        shown.stderr
    );
    assert!(shown.stderr.ends_with(": new kernel\n"), "{}", shown.stderr);
    let again = service_by_connection(&cluster, node2, &["pause"]);
    assert_eq!(
        again.stderr,
        "NOTICE: node 1 (node1) already paused\nNOTICE: node 2 (node2) already paused\n"
    );
    assert_eq!(pauses(node1).as_deref(), Some("0 true new kernel"));

    node2.kill9();
    for daemon in &daemons {
        let line = daemon.wait_for_log("node 2 is down; failover is paused since", DEADLINE);
        let end = ": new kernel; `repoint service unpause` ends the pause";
        assert!(line.text.ends_with(end), "{}", line.text);
    }
    assert_untouched(pooler, node2, node1);
    for daemon in &daemons {
        assert_eq!(
            daemon.log().matches("node 2 is down; failover is").count(),
            1
        );
    }

    // The end of the pause cannot be written on the dead node, and is in force all the same.
    let ran = service(&cluster, 1, &["unpause"]);
    assert_eq!(ran.code, 26, "{}", ran.stderr);
    let expected = "NOTICE: node 1 (node1) unpaused\n\
                    ERROR: unable to unpause on node 2 (node2)\n";
    assert!(ran.stderr.starts_with(expected), "{}", ran.stderr);
    let hint = "HINT: node 1 (node1) has it; a daemon that is running gives it to node 2 (node2) \
                when that is back\n";
    assert!(ran.stderr.ends_with(hint), "{}", ran.stderr);
    wait_until_serves(pooler, node1, DEADLINE);
    wait_for_events(node1, "bdr_failover", 1);
    for daemon in &daemons {
        daemon.wait_for_log("failover is not paused any more since", DEADLINE);
    }
    // The copy of the node that was away does not bring the pause back; it is brought to it.
    node2.start();
    wait_until(DEADLINE, "the end of the pause on node 2", || {
        pauses(node2).as_deref() == Some("0 false -")
    });
    assert_eq!(pauses(node1).as_deref(), Some("0 false -"));
    for daemon in &daemons {
        assert_eq!(daemon.log().matches("failover is paused since").count(), 2);
    }
}

#[test]
fn the_pause_of_one_node_holds_back_its_failover_and_not_the_others() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2, pooler) = (cluster.node1(), cluster.node2(), cluster.pooler(1));
    let daemons = both(&cluster);
    let ran = service(&cluster, 1, &["pause", "--node-name", "node2"]);
    assert_eq!(ran.stderr, "NOTICE: node 2 (node2) paused\n");
    assert_eq!(ran.code, 0);
    node2.kill9();
    for daemon in &daemons {
        let line = "node 2 is down; failover of node 2 is paused since";
        daemon.wait_for_log(line, DEADLINE);
    }
    assert_untouched(pooler, node2, node1);

    // Its maintenance is over, but for the pause; then the other one dies.
    let marks = daemons.each_ref().map(Daemon::mark);
    node2.start();
    for (daemon, mark) in daemons.iter().zip(marks) {
        let back = "node \"node2\" (ID: 2) answers again";
        daemon.wait_for_log_after(mark, back, DEADLINE);
    }
    lead_by_hand(pooler, node1);
    node1.kill9();
    wait_until_serves(pooler, node2, DEADLINE);
    let rows = wait_for_events(node2, "bdr_failover", 1);
    assert_eq!(rows[0]["node_id"], "1");
}

#[test]
fn a_failover_that_is_under_way_when_the_pause_comes_is_brought_to_its_end() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2, pooler) = (cluster.node1(), cluster.node2(), cluster.pooler(1));
    let lock = hold_back(&cluster, pooler);
    let daemons = both(&cluster);
    node2.kill9();
    wait_until(DEADLINE, "the pause in PgBouncer", || pooler.paused("app"));
    let ran = service(&cluster, 1, &["pause"]);
    let begin = "NOTICE: node 1 (node1) paused\nERROR: unable to pause on node 2 (node2)\n";
    assert!(ran.stderr.starts_with(begin), "{}", ran.stderr);
    drop(lock);
    wait_until_serves(pooler, node1, DEADLINE);
    for daemon in &daemons {
        daemon.wait_for_log("failover is paused since", DEADLINE);
    }
    wait_for_events(node1, "repoint_redirect", 1);
    assert_eq!(events(node1, "bdr_failover").len(), 1);
    wait_until(DEADLINE, "nothing on record", || {
        leftovers(pooler).is_empty()
    });
}

#[test]
fn a_pause_survives_daemons_and_servers_and_a_daemon_asks_before_it_decides() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2, pooler) = (cluster.node1(), cluster.node2(), cluster.pooler(1));
    let daemons = both(&cluster);
    assert_eq!(service(&cluster, 1, &["pause"]).code, 0);
    daemons.iter().for_each(Daemon::kill9);
    drop(daemons);
    node1.kill9();
    node1.start();
    node2.kill9();
    // What these know of the pause is what node 1 tells.
    let daemons = [1, 2].map(|id| cluster.daemon(id, &Settings::pausing()));
    for daemon in &daemons {
        daemon.wait_for_log("node 2 is down; failover is paused since", DEADLINE);
    }
    assert_untouched(pooler, node2, node1);
    for daemon in &daemons {
        assert!(
            !daemon.log().contains("failover decided"),
            "{}",
            daemon.log()
        );
    }
    assert_eq!(service(&cluster, 2, &["unpause"]).code, 26);
    wait_until_serves(pooler, node1, DEADLINE);
}

#[test]
fn a_node_that_was_down_is_given_the_pause_by_a_daemon_and_keeps_it_for_later_ones() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2, pooler) = (cluster.node1(), cluster.node2(), cluster.pooler(1));
    let daemon = start_daemon(&cluster, 2, &Settings::pausing());
    node1.kill9();
    daemon.wait_for_log("unable to reconnect to node 1", DEADLINE);
    let ran = service(&cluster, 2, &["pause"]);
    assert_eq!(ran.code, 26);
    let expected = "NOTICE: node 2 (node2) paused\nERROR: unable to pause on node 1 (node1)\n";
    assert!(ran.stderr.starts_with(expected), "{}", ran.stderr);
    node1.start();
    wait_until(DEADLINE, "the pause on node 1", || {
        pauses(node1).as_deref() == Some("0 true -")
    });
    daemon.kill9();
    node2.kill9();
    let later = cluster.daemon(1, &Settings::pausing());
    later.wait_for_log("node 2 is down; failover is paused since", DEADLINE);
    assert_stays(LONG_ENOUGH, "nothing is done", || {
        pooler.served_port("app") == node2.port()
    });
    // A copy that is lost is given again by whoever remembers.
    node1.rows("delete from repoint.pauses");
    wait_until(DEADLINE, "the pause on node 1", || {
        pauses(node1).as_deref() == Some("0 true -")
    });
    assert_eq!(pooler.served_port("app"), node2.port());
    // Nor does it end with the last node that had it.
    let mark = later.mark();
    node1.kill9();
    later.wait_for_log_after(mark, "unable to reconnect to node 1", DEADLINE);
    node1.start();
    later.wait_for_log_after(mark, "node 2 is down; failover is paused since", DEADLINE);
}

#[test]
fn a_dry_run_changes_nothing_and_an_unknown_node_is_named() {
    let cluster = Cluster::builder().poolers(0).start();
    cluster.write_config(1, &Settings::pausing(), |_| ());
    for (verb, word) in [("pause", "would pause"), ("unpause", "would unpause")] {
        let ran = service(&cluster, 1, &[verb, "--dry-run"]);
        let lines = [1, 2].map(|id| format!("NOTICE: {word} node {id} (node{id})\n"));
        assert_eq!((ran.code, ran.stderr), (0, lines.concat()));
    }
    let ran = service(&cluster, 1, &["pause", "--node-id", "3"]);
    let error = "ERROR: no node has the ID 3\nDETAIL: there are 1 (node1) and 2 (node2)\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (1, error));
    for node in cluster.nodes() {
        let query = "select count(*) from pg_namespace where nspname in ('repoint', 'repmgr')";
        assert_eq!(node.query_one_text(query), "0");
    }
    let ran = service_by_connection(&cluster, cluster.node1(), &["pause"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr
            .starts_with("ERROR: no node is registered in repmgr.nodes\n"),
        "{}",
        ran.stderr
    );

    // Without a daemon, too: it honours the pause when it comes.
    let ran = service(&cluster, 1, &["pause", "--node-id", "2"]);
    let warning = "NOTICE: node 2 (node2) paused\n\
                   WARNING: no daemon is running; one that is started honours the pause\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (0, warning));
    // The end of all is the end of each.
    assert_eq!(service(&cluster, 1, &["pause"]).code, 0);
    let one = service(&cluster, 1, &["unpause", "--node-id", "2"]);
    assert_eq!(one.code, 26);
    let stays = "NOTICE: node 2 (node2) unpaused\nERROR: node 2 (node2) stays paused\n\
                 DETAIL: failover is paused since ";
    assert!(one.stderr.starts_with(stays), "{}", one.stderr);
    assert_eq!(service(&cluster, 1, &["pause", "--node-id", "2"]).code, 0);
    assert_eq!(service(&cluster, 1, &["unpause"]).code, 0);
    for node in cluster.nodes() {
        assert_eq!(pauses(node).as_deref(), Some("0 false -, 2 false -"));
    }
}

#[test]
fn a_daemon_that_hangs_is_named_because_it_does_not_say_that_it_honours_the_pause() {
    let cluster = Cluster::builder().poolers(0).start();
    let daemons = both(&cluster);
    let agents = "select count(*) as n from repoint.agents";
    wait_until(DEADLINE, "both signs of life", || {
        let rows = cluster.node1().try_rows(agents);
        rows.is_ok_and(|rows| rows[0]["n"] == "2")
    });
    daemons[1].freeze();
    let ran = service(&cluster, 1, &["pause"]);
    daemons[1].thaw();
    let expected = "NOTICE: node 1 (node1) paused\nNOTICE: node 2 (node2) paused\n\
                    ERROR: the daemon of node 2 (node2) has not said within 8 s that it honours \
                    this\nHINT: see its log, and `repoint service status`\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (26, expected));
    daemons[1].wait_for_log("failover is paused since", DEADLINE);
}

#[test]
fn a_user_who_may_not_make_the_schema_is_told_once_and_failover_goes_on() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    for node in cluster.nodes() {
        node.rows("create role weak login");
    }
    let file = cluster.write_config(1, &Settings::pausing(), |text| {
        *text = text.replace("user=repmgr", "user=weak");
    });
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    for node in ["\"node1\" (ID: 1)", "\"node2\" (ID: 2)"] {
        let line = format!("the schema repoint cannot be used on node {node}");
        let line = daemon.wait_for_log(&line, DEADLINE);
        let why = "permission denied for database bdrtest";
        assert!(line.text.contains(why), "{}", line.text);
    }
    let ran = service(&cluster, 1, &["pause"]);
    assert_eq!(ran.code, 26);
    let expected = "ERROR: unable to pause: no node could be written\n\
                    DETAIL: node 1 (node1): ERROR: permission denied for database bdrtest (42501)";
    assert!(ran.stderr.starts_with(expected), "{}", ran.stderr);
    let hint = "HINT: nothing was changed; if a user may not make the schema, let a superuser run \
                CREATE SCHEMA repoint AUTHORIZATION for it, then run this again\n";
    assert!(ran.stderr.ends_with(hint), "{}", ran.stderr);
    node2.kill9();
    wait_until_serves(cluster.pooler(1), node1, DEADLINE);
    assert_eq!(daemon.log().matches("the schema repoint cannot").count(), 2);

    // An administrator makes the schema; the right to make schemas is not needed.
    node1.rows("create schema repoint authorization weak");
    let ran = service(&cluster, 1, &["pause"]);
    assert!(
        ran.stderr.starts_with("NOTICE: node 1 (node1) paused\n"),
        "{}",
        ran.stderr
    );
    assert_eq!(pauses(node1).as_deref(), Some("0 true -"));
}

#[test]
fn a_table_of_pauses_that_somebody_locks_does_not_stop_a_failover() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2, pooler) = (cluster.node1(), cluster.node2(), cluster.pooler(1));
    let daemons = both(&cluster);
    wait_until(DEADLINE, "the tables", || {
        node1.try_rows("select * from repoint.pauses").is_ok()
    });
    let mut client = node1.client();
    let mut lock = client.transaction().expect("a transaction");
    lock.batch_execute("lock table repoint.pauses in access exclusive mode")
        .expect("a lock");
    node2.kill9();
    wait_until_serves(pooler, node1, DEADLINE);
    let said = "node 1 does not tell whether failover is paused; going on with what is known";
    assert!(daemons.iter().any(|daemon| daemon.log().contains(said)));
    drop(lock);
}

#[test]
fn a_reason_and_a_name_cannot_break_a_line_nor_become_sql() {
    let cluster = Cluster::builder().poolers(0).start();
    let daemon = start_daemon(&cluster, 1, &Settings::pausing());
    let reason = "a'); drop table repoint.pauses; --\\\nERROR: \u{1b}[2J%s";
    let ran = service(&cluster, 1, &["pause", "--reason", reason]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let line = daemon.wait_for_log("failover is paused since", DEADLINE);
    let end = ": a'); drop table repoint.pauses; --\\\\nERROR: \\u{1b}[2J%s";
    assert!(line.text.ends_with(end), "{}", line.text);
    let stored = cluster
        .node2()
        .query_one_text("select reason from repoint.pauses");
    assert_eq!(stored, reason);
    // Rows that no `repoint` wrote: nothing that anybody honours, and nothing that lasts.
    for node in cluster.nodes() {
        node.rows(
            "update repoint.pauses set change = 9223372036854775807, paused = true; \
             insert into repoint.pauses values (-1, true, 5, 'infinity', '', null), \
             (7, true, -5, now(), '', null)",
        );
    }
    let ran = service(&cluster, 1, &["unpause"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    daemon.wait_for_log("failover is not paused any more since", DEADLINE);
}

#[test]
fn a_dry_run_promises_what_it_can_and_the_name_of_a_node_cannot_break_a_line() {
    let cluster = registered::start();
    let name = "a\nNOTICE: b\u{1b}[2J";
    registered::add(&cluster, 3, name, "host=127.0.0.1 port=1");
    let expected = r"NOTICE: would pause node 1 (node1)
NOTICE: would pause node 2 (node2)
ERROR: unable to pause every node
DETAIL: node 3 (a\nNOTICE: b\u{1b}[2J): refused: Connection refused (os error 111)
";
    let ran = service_by_connection(&cluster, cluster.node1(), &["pause", "--dry-run"]);
    ran.is(26, "", expected);
}

/// The stand-in refuses plain DDL, as BDR does.
#[test]
fn on_bdr_the_schema_is_made_through_its_own_function() {
    let cluster = Cluster::builder().poolers(0).standin(Standin::Bdr).start();
    cluster.write_config(1, &Settings::pausing(), |_| ());
    assert_eq!(service(&cluster, 1, &["pause"]).code, 0);
    for node in cluster.nodes() {
        assert_eq!(pauses(node).as_deref(), Some("0 true -"));
        let query = "select string_agg(split_part(argument, ' (', 1), '; ' order by number) \
                     from bdr.standin_calls where function = 'bdr_replicate_ddl_command'";
        assert_eq!(
            node.query_one_text(query),
            "CREATE SCHEMA IF NOT EXISTS repoint; \
             CREATE UNLOGGED TABLE IF NOT EXISTS repoint.agents; \
             CREATE TABLE IF NOT EXISTS repoint.pauses"
        );
        // What BDR then does on the other member, where the same has just been made: an error would
        // stop replication there.
        let replayed = "select bdr.bdr_replicate_ddl_command(argument) from bdr.standin_calls \
                        where function = 'bdr_replicate_ddl_command'";
        node.rows(replayed);
    }
}
