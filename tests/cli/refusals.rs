//! What `notify` refuses or ignores before it connects to anything.

use crate::{Place, example};

#[test]
fn other_events_and_failures_are_ignored() {
    // Not even the configuration is looked at: repmgrd sends many events.
    let place = Place::new();
    for event in [
        "bdr_recovery",
        "bdr_reconnect",
        "repmgrd_start",
        "BDR_FAILOVER",
    ] {
        place.run(&["notify", "1", event, "1", "", ""]).is(
            0,
            &format!("ignored: event {event:?}; only bdr_failover is acted on\n"),
            "",
        );
    }
    place.run(&["notify", "2", "bdr_failover", "0", "", ""]).is(
        0,
        "ignored: the event says that the failover was not successful\n",
        "",
    );
}

#[test]
fn arguments_that_name_nothing_of_the_configuration_are_refused() {
    let place = Place::with_configuration(&example());
    let notify =
        |id, conninfo, name| place.run(&["notify", id, "bdr_failover", "1", conninfo, name]);
    for id in ["3", "two", ""] {
        notify(id, "", "").fails(&format!(
            "repoint: nothing was changed: NODE_ID {id:?} is no node of the configuration; \
             there are 1 and 2\n"
        ));
    }
    notify("2", "", "node2").fails(
        "repoint: nothing was changed: NEXT_NODE_NAME \"node2\" is not the node that is left, \
         which is \"node1\"; the names in the configuration must be repmgr's\n",
    );
    notify("2", "host=x password=secret nonsense=1", "node1").fails(
        "repoint: nothing was changed: NEXT_CONNINFO: invalid connection option at byte 23\n",
    );
    notify("2", "'", "node1").fails(
        "repoint: nothing was changed: NEXT_CONNINFO: missing `=` after the word at byte 0 \
         of the connection string\n",
    );
}

#[test]
fn a_conninfo_that_pgbouncer_cannot_be_given_changes_nothing() {
    let place = Place::with_configuration(&example());
    let list = "host=10.0.0.11,10.0.0.13 dbname=bdrtest";
    place
        .run(&["notify", "2", "bdr_failover", "1", list, "node1"])
        .fails(
            "repoint: nothing was changed: NEXT_CONNINFO: conninfo of node 1: \
             `host` lists 2 items; a node is one server, so give one\n",
        );
}

#[test]
fn a_time_limit_that_is_none_is_refused() {
    let place = Place::with_configuration(&example());
    for limit in ["-1", "inf", "NaN"] {
        let ran = place.run(&[
            "notify",
            "2",
            "bdr_failover",
            "1",
            &format!("--timeout={limit}"),
        ]);
        assert_ne!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.contains("--timeout"), "{ran:?}");
        assert_eq!(ran.stdout, "");
    }
}
