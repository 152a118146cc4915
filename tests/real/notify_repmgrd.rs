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
