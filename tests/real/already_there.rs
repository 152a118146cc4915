//! A PgBouncer that leads to the surviving node has nothing to do with the failure of the other:
//! only the number of the decision is written into the first line of its file.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use repoint::render::header;

use crate::fixture::{Cluster, Daemon, Pooler, Settings, wait_until};
use crate::scene::{
    DEADLINE, assert_new_clients_commit, assert_serves, assert_stays, reloads, start_daemon,
    wait_for_decision, wait_for_events,
};
use crate::served::leftovers;

/// The number is written a second after the PgBouncers that have to be moved.
const A_WHILE: Duration = Duration::from_secs(3);

fn previous(pooler: &Pooler) -> PathBuf {
    pooler.file().with_file_name("databases.ini.prev")
}

/// `pgb1` leads to node 1 and has the file `text`; what it makes of node 2's end is left to look
/// at.
fn node2_ends(text: impl Fn(&Cluster) -> String) -> (Cluster, Daemon) {
    let cluster = Cluster::builder().poolers(2).start();
    let (there, other) = (cluster.pooler(1), cluster.pooler(2));
    let port = cluster.node1().port();
    there.write_file(&format!(
        "[databases]\napp = host='127.0.0.1' port='{port}' dbname='bdrtest'\n"
    ));
    there.admin("RELOAD");
    assert_serves(there, cluster.node1());
    there.write_file(&text(&cluster));
    let daemon = start_daemon(&cluster, 1, &Settings::default());
    cluster.node2().kill9();
    let decided = wait_for_decision(std::slice::from_ref(&daemon));
    assert_new_clients_commit(&[other], cluster.node1(), decided);
    daemon.wait_for_log("redirect complete: 2 of 2", DEADLINE);
    (cluster, daemon)
}

/// As somebody writes it by hand: PgBouncer takes it, no template would give it.
fn body(cluster: &Cluster) -> String {
    format!(
        "; ours\n[databases]\napp=host=127.0.0.1   port={} dbname=bdrtest\n\n; the end",
        cluster.node1().port()
    )
}

#[test]
fn a_pgbouncer_that_serves_the_surviving_node_is_left_alone_but_for_the_number_of_the_decision() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let (there, other) = (cluster.pooler(1), cluster.pooler(2));
    let (from, to) = (node2.port().to_string(), node1.port().to_string());
    there.write_file(&there.file_text().replace(&from, &to));
    there.admin("RELOAD");
    assert_serves(there, node1);
    let body = there.file_text();
    let kept = "; what was there at some time\n";
    cluster.home().write(&previous(there), kept);
    let modified = || std::fs::metadata(previous(there)).expect("it is there");
    let before = (modified().ino(), modified().mtime_nsec());
    let (reloads_there, reloads_other) = (reloads(there), reloads(other));
    assert_eq!(reloads_there, reloads_other + 1, "{}", there.log());
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];

    node2.kill9();
    let decided = wait_for_decision(&daemons);
    assert_new_clients_commit(&[other], node1, decided);
    let redirects = wait_for_events(node1, "repoint_redirect", 1);

    let details = &redirects[0]["details"];
    assert!(
        details.contains("2 of 2 PgBouncers serve node 1"),
        "{details}"
    );
    assert!(details.contains("pgb1: left alone"), "{details}");
    assert_serves(other, node1);
    assert_serves(there, node1);
    let hash = header::hash(body.as_bytes());
    let head = format!(";repoint v1 generation=1.1 active=1 writer=1 sha256={hash}");
    wait_until(DEADLINE, "the number of the decision", || {
        there.file_text() == format!("{head}\n{body}")
    });
    assert_eq!((modified().ino(), modified().mtime_nsec()), before);
    assert_eq!(
        std::fs::read_to_string(previous(there)).expect("text"),
        kept
    );
    assert_eq!(reloads(there), reloads_there, "{}", there.log());
    assert!(reloads(other) > reloads_other, "{}", other.log());
    assert_eq!(there.config("server_login_retry"), "15");
    assert_eq!(leftovers(there), [""; 0]);
}

#[test]
fn the_body_of_the_file_stays_as_it_is_to_the_byte() {
    let (cluster, _daemon) = node2_ends(body);
    let there = cluster.pooler(1);
    wait_until(DEADLINE, "the number of the decision", || {
        there.file_text().starts_with(";repoint v1 generation=1.1 ")
    });
    let text = there.file_text();
    let (_, rest) = text.split_once('\n').expect("a first line");
    assert_eq!(rest, body(&cluster));
    let (found, untouched) = header::read(text.as_bytes()).expect("ours");
    assert_eq!((found.active.0, untouched), (1, true));
    assert!(!previous(there).exists());
}

#[test]
fn a_file_that_was_edited_by_hand_is_not_claimed_and_that_is_said() {
    let edited = |cluster: &Cluster| {
        let head = ";repoint v1 generation=0.0 active=1 writer=1 sha256=00";
        format!("{head}\n{}", body(cluster))
    };
    let (cluster, daemon) = node2_ends(edited);
    let there = cluster.pooler(1);
    assert_stays(A_WHILE, "the edited file", || {
        there.file_text() == edited(&cluster)
    });
    let told = daemon.wait_for_log("redirect complete", DEADLINE);
    let said = "pgb1: left alone: it serves node 1 already; note: its file was edited by hand \
                since repoint wrote it: the decision's number is not written into it";
    assert!(told.text.contains(said), "{}", told.text);
}

#[test]
fn a_file_that_says_something_else_than_pgbouncer_serves_is_not_claimed_and_that_is_said() {
    let elsewhere = |cluster: &Cluster| {
        let port = cluster.node2().port();
        format!("[databases]\napp = host=127.0.0.1 port={port} dbname=bdrtest\n")
    };
    let (cluster, daemon) = node2_ends(elsewhere);
    let told = daemon.wait_for_log("does not get the number", DEADLINE);
    let said = "it serves node 1 already, but its file does not get the number of the decision: \
                `app` leads elsewhere in it than in PgBouncer";
    assert!(told.text.contains(said), "{}", told.text);
    assert_eq!(cluster.pooler(1).file_text(), elsewhere(&cluster));
}
