//! A real repmgr 5 with two real repmgrd: nothing leads the PgBouncers to the new primary but the
//! line of `repmgr.conf` that names `repoint notify`.

use crate::fixture::Streaming;

#[test]
fn a_killed_primary_is_left_for_the_standby_that_repmgrd_promotes() {
    let cluster = Streaming::start(2);
    cluster.start_repmgrd();
    cluster.assert_writes_reach(1);
    cluster.node(1).kill9();
    cluster.wait_until_served(2);
    cluster.assert_writes_reach(2);
    eprintln!("{}", cluster.logs());
}
