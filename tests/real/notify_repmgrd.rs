//! A real repmgr 5 with two real repmgrd: nothing leads the PgBouncers to the new primary but the
//! line of `repmgr.conf` that names `repoint notify`.

use std::time::Duration;

use crate::fixture::{Streaming, wait_until};
use crate::notify::wait_for_login_retry;

/// For what repmgrd does by itself; generous, for a loaded machine.
const DEADLINE: Duration = Duration::from_secs(40);

#[test]
fn a_killed_primary_is_left_for_the_standby_that_repmgrd_promotes() {
    let cluster = Streaming::start(2);
    cluster.start_repmgrd();
    cluster.assert_writes_reach(1);
    cluster.node(1).kill9();
    cluster.wait_until_served(2);
    cluster.assert_writes_reach(2);

    // The second event of one failover finds nothing to do, and repmgrd goes on at once.
    let files = || -> Vec<String> { cluster.poolers().iter().map(|p| p.file_text()).collect() };
    let before = files();
    let log = || cluster.node(2).repmgrd_log();
    for line in [
        "notify 2 standby_promote 1 \"\" \"\"",
        "notify 2 repmgrd_failover_promote 1 \"\" \"\"",
        "monitoring cluster primary \"node2\" (ID: 2)",
    ] {
        wait_until(DEADLINE, line, || log().contains(line));
    }
    let failed = "unable to execute event notification command";
    assert!(!log().contains(failed), "{}", log());
    assert!(
        log().contains("INFO redirected `app` (a query through it"),
        "{}",
        log()
    );
    assert_eq!(before, files(), "the files were touched");
    wait_for_login_retry(cluster.poolers());
}

#[test]
fn the_pgbouncers_follow_a_switchover_and_nobody_is_left_on_the_old_primary() {
    let cluster = Streaming::start(2);
    cluster.start_repmgrd();
    cluster.assert_writes_reach(1);
    let told = cluster.node(2).repmgr(&["standby", "switchover"]);
    assert!(told.contains("STANDBY SWITCHOVER has completed"), "{told}");
    // Both events were sent by this very command, which waits for its own.
    cluster.wait_until_served(2);
    cluster.assert_writes_reach(2);
    assert_eq!(cluster.node(1).is_in_recovery(), Some(true));
    for pooler in cluster.poolers() {
        let old = cluster.node(1).port().to_string();
        let rows = pooler.admin("SHOW SERVERS");
        let on_old = rows.iter().filter(|row| row["port"] == old).count();
        assert_eq!(on_old, 0, "{rows:?}");
    }
    wait_for_login_retry(cluster.poolers());
}
