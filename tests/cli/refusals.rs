//! What `notify` refuses or ignores before it connects to anything.

use crate::{Place, example, example_with};

#[test]
fn other_events_and_failures_are_ignored() {
    let place = Place::with_configuration(&example());
    let act_on = "act_on names bdr_failover, standby_promote, repmgrd_failover_promote, \
                  standby_switchover";
    for event in ["bdr_recovery", "bdr_reconnect", "repmgrd_start"] {
        place.run(&["notify", "1", event, "1", "", ""]).is(
            0,
            &format!("ignored: event {event:?}; {act_on}\n"),
            "",
        );
    }
    place.run(&["notify", "1", "node_lost", "1", "", ""]).is(
        0,
        &format!("ignored: event \"node_lost\", which repmgr does not have; {act_on}\n"),
        "",
    );
    for event in ["bdr_failover", "standby_promote"] {
        place.run(&["notify", "2", event, "0", "", ""]).is(
            0,
            &format!("ignored: the event says that {event} was not successful\n"),
            "",
        );
    }
}

#[test]
fn which_events_act_is_configurable() {
    let text = example_with(&[("act_on", "act_on = [\"standby_follow\"]")]);
    let place = Place::with_configuration(&text);
    place.run(&["notify", "2", "bdr_failover", "1", "", ""]).is(
        0,
        "ignored: event \"bdr_failover\"; act_on names standby_follow\n",
        "",
    );
}

#[test]
fn the_long_form_says_the_same_and_may_leave_things_out() {
    let place = Place::with_configuration(&example());
    let ignored = "ignored: the event says that standby_promote was not successful\n";
    place
        .run(&[
            "notify",
            "--node-id",
            "2",
            "--event",
            "standby_promote",
            "--success",
            "0",
            "--conninfo",
            "",
            "--node-name",
            "",
            "--timestamp",
            "2026-11-23 02:28:27.386238+00",
            "--details",
            "-- node \"node2\" (ID: 2) was promoted; `$x`",
            "--primary-id",
        ])
        .is(0, ignored, "");
    place
        .run(&["notify", "--event", "standby_promote", "--success", "0"])
        .is(0, ignored, "");
    // Without quotes, an empty %s is not there.
    place
        .run(&[
            "notify",
            "--event",
            "repmgrd_start",
            "--success",
            "--conninfo",
            "",
        ])
        .is(
            0,
            "ignored: event \"repmgrd_start\"; act_on names bdr_failover, standby_promote, \
             repmgrd_failover_promote, standby_switchover\n",
            "",
        );
}

#[test]
fn arguments_that_moved_because_quotes_are_missing_are_told() {
    let place = Place::with_configuration(&example());
    let quotes = "put quotes around \"%c\", \"%a\", \"%d\" and \"%t\" \
                  in event_notification_command";
    let refused = |arguments: &[&str], what: &str| {
        let all: Vec<&str> = ["notify"].iter().chain(arguments).copied().collect();
        let line = format!("repoint: nothing was changed: {what}; {quotes}\n");
        place.run(&all).fails(&line);
    };
    refused(
        &["bdr_failover", "1", "host=10.0.0.11"],
        "EVENT \"1\" is no name of an event",
    );
    refused(
        &["2", "bdr_failover", "host=10.0.0.11", "node1"],
        "SUCCESS \"host=10.0.0.11\" is neither 1 nor 0",
    );
    refused(
        &[
            "2",
            "bdr_failover",
            "1",
            "host=10.0.0.11",
            "dbname=x",
            "user=y",
            "node1",
        ],
        "there are too many arguments",
    );
    refused(
        &[
            "--event",
            "bdr_failover",
            "--conninfo",
            "--node-name",
            "node1",
        ],
        "--conninfo is followed by --node-name",
    );
    refused(
        &[
            "--event",
            "bdr_failover",
            "--timestamp",
            "2026-11-23",
            "02:28:27+00",
        ],
        "there are arguments beside --event and the like",
    );
}

#[test]
fn without_an_event_it_says_what_to_give_and_with_again_none_is_taken() {
    let place = Place::with_configuration(&example());
    let no_event = "repoint: nothing was changed: no event: give EVENT or --event, \
                    or --again to finish what is left to do\n";
    place.run(&["notify"]).fails(no_event);
    place.run(&["notify", "2"]).fails(no_event);
    place.run(&["notify", "--node-id", "2"]).fails(no_event);
    place
        .run(&["notify", "--again", "2", "bdr_failover", "1"])
        .fails("repoint: nothing was changed: --again takes no event\n");
}

#[test]
fn arguments_that_name_nothing_of_the_configuration_are_refused() {
    let place = Place::with_configuration(&example());
    let notify =
        |id, conninfo, name| place.run(&["notify", id, "bdr_failover", "1", conninfo, name]);
    notify("3", "", "").fails(
        "repoint: nothing was changed: NODE_ID 3 is no node of the configuration; \
         there are 1 and 2\n",
    );
    for id in ["two", "", "0", "2\n3"] {
        notify(id, "", "").fails(&format!(
            "repoint: nothing was changed: NODE_ID {id:?} is no id of a node, \
             which is a number from 1 on\n"
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
