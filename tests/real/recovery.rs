//! A node that was down returns.

use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Settings, wait_until};
use crate::scene::{
    DEADLINE, assert_serves, assert_stays, events, is_active, start_daemon, wait_for_decision,
    wait_for_events,
};

/// pglogical may take several seconds to begin again.
const REPLICATION_DEADLINE: Duration = Duration::from_secs(60);

/// Many times the interval at which a returned node is looked at.
const A_WHILE: Duration = Duration::from_secs(3);

#[test]
fn a_returned_node_is_active_again_and_gets_no_traffic() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &Settings::default()));
    fail_over(&cluster, &daemons);

    node2.start();
    cluster.hasten_replication();
    wait_until(REPLICATION_DEADLINE, "a recovery", || is_active(node1, 2));
    for daemon in &daemons {
        daemon.wait_for_log("node \"node2\" (ID: 2) answers again", DEADLINE);
    }

    let recovered = || events(node1, "bdr_recovery");
    assert_stays(A_WHILE, "one recovery, and no traffic to node2", || {
        let at_node1 = |number| cluster.pooler(number).served_port("app") == node1.port();
        recovered().len() == 1 && at_node1(1) && at_node1(2)
    });
    let row = &recovered()[0];
    assert_eq!(row["node_id"], "1");
    assert_eq!(row["successful"], "t");
    let begin = "node \"node2\" (ID: 2) has recovered after ";
    assert!(row["details"].starts_with(begin), "{row:?}");
    assert!(is_active(node2, 2));
    assert_eq!(events(node2, "bdr_recovery"), []);
    let failovers = events(node1, "bdr_failover");
    assert_eq!(failovers.len(), 1, "{failovers:?}");
    for pooler in cluster.poolers() {
        assert_serves(pooler, node1);
    }
}

#[test]
fn fault_9_a_node_that_answers_but_does_not_replicate_has_not_recovered() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];
    node2.rows("select pglogical.alter_subscription_disable('node2_from_node1', true)");
    fail_over(&cluster, &daemons);

    node2.start();
    node1.rows("select pglogical.alter_subscription_enable('node1_from_node2', true)");
    daemons[0].wait_for_log("node \"node2\" (ID: 2) answers again", DEADLINE);
    let status = "select status from pglogical.show_subscription_status()";
    wait_until(REPLICATION_DEADLINE, "replication to node1", || {
        node1.query_one_text(status) == "replicating"
    });
    assert_stays(A_WHILE, "no recovery", || {
        events(node1, "bdr_recovery").is_empty() && !is_active(node1, 2)
    });

    node2.rows("select pglogical.alter_subscription_enable('node2_from_node1', true)");
    wait_until(REPLICATION_DEADLINE, "a recovery", || is_active(node1, 2));
    assert_eq!(events(node1, "bdr_recovery").len(), 1);
}

/// The original calls the hook first, while `repmgr.nodes` still says that the node is inactive.
#[test]
fn fault_9_a_node_is_marked_active_before_the_hook_hears_of_its_recovery() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let (script, told) = (cluster.home().path("hook.sh"), cluster.home().path("told"));
    let query = "select node_id, active from repmgr.nodes order by 1";
    let text = format!(
        "echo $REPOINT_FAILED_ID $(psql -At \"{}\" -c '{query}') >> {}\n",
        node1.conninfo(),
        told.display()
    );
    cluster.home().write(&script, &text);
    let settings = Settings {
        lines: format!(
            "event_notification_command = 'sh {}'\nevent_notifications = \"bdr_recovery\"",
            script.display()
        ),
        ..Settings::default()
    };
    let daemons = [start_daemon(&cluster, 1, &settings)];
    fail_over(&cluster, &daemons);
    node2.start();
    cluster.hasten_replication();
    wait_until(REPLICATION_DEADLINE, "the hook", || told.exists());
    let told = || std::fs::read_to_string(&told).unwrap_or_default();
    wait_until(DEADLINE, "its words", || told().ends_with('\n'));
    assert_eq!(told(), "2 1|t 2|t\n");
}

#[track_caller]
fn fail_over(cluster: &Cluster, daemons: &[Daemon]) {
    let (node1, node2) = (cluster.node1(), cluster.node2());
    node2.kill9();
    wait_for_decision(daemons);
    wait_for_events(node1, "repoint_redirect", 1);
    wait_for_events(node1, "bdr_failover", 1);
    assert!(!is_active(node1, 2));
    for daemon in daemons {
        daemon.wait_for_log("unable to reconnect to node 2", DEADLINE);
    }
}
