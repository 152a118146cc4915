//! The conninfo that repmgr documents has keys that PgBouncer refuses (`connect_timeout`), or that
//! would make every client run as the superuser `repmgr` (`user`).

use crate::fixture::{Cluster, Settings};
use crate::scene::{
    assert_file_leads_to, assert_new_clients_commit, start_daemon, wait_for_decision,
};

#[test]
fn fault_16_nothing_but_host_port_and_database_of_a_conninfo_reaches_pgbouncer() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1) = (cluster.pooler(1), cluster.node1());
    let end = "dbname=bdrtest user=repmgr connect_timeout=2";
    assert!(node1.conninfo().ends_with(end), "{}", node1.conninfo());
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];

    cluster.node2().kill9();
    let decided = wait_for_decision(&daemons);
    assert_new_clients_commit(&[pooler], node1, decided);

    assert_file_leads_to(pooler, node1);
    let databases = pooler.admin("SHOW DATABASES");
    let app = databases.iter().find(|row| row["name"] == "app");
    let app = app.expect("the entry is there");
    assert_eq!(app["host"], "127.0.0.1");
    assert_eq!(app["port"], node1.port().to_string());
    assert_eq!(app["database"], "bdrtest");
    assert_eq!(app.get("force_user"), None);
    let user = pooler.try_rows("app", "select current_user", crate::scene::DEADLINE);
    assert_eq!(user.expect("app gets through")[0]["current_user"], "app");
    let log = pooler.log();
    assert!(!log.contains("unrecognized connection parameter"), "{log}");
}
