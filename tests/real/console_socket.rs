//! The admin console is a unix socket on PgBouncer's host, and no port of it.

use crate::fixture::{Cluster, Console, Pooler, Settings};
use crate::scene::{
    assert_new_clients_commit, assert_serves, start_daemon, wait_for_decision, wait_for_events,
};

#[test]
fn a_console_behind_a_socket_is_reached_through_ssh() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    let settings = Settings {
        console: Console::Socket,
        ..Settings::default()
    };
    let daemons = [start_daemon(&cluster, 1, &settings)];
    for pooler in &poolers {
        let clients = pooler.admin("SHOW CLIENTS");
        let by_socket = clients.iter().any(|row| row["addr"] == "unix");
        assert!(by_socket, "{clients:?}");
    }

    node2.kill9();
    let decided = wait_for_decision(&daemons);
    assert_new_clients_commit(&poolers, node1, decided);

    let redirects = wait_for_events(node1, "repoint_redirect", 1);
    assert_eq!(redirects[0]["successful"], "t", "{redirects:?}");
    for pooler in poolers {
        assert_serves(pooler, node1);
    }
}
