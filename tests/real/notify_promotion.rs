//! `repoint notify` for a promotion, without any repmgrd: which node is believed, and what is done
//! when two say different things.

use std::os::unix::fs::MetadataExt as _;
use std::thread;
use std::time::{Duration, Instant};

use repoint::config::NodeId;
use repoint::generation::Generation;
use repoint::render::header;

use crate::fixture::{Pooler, Streaming, wait_until};
use crate::notify::{told, without_times};
use crate::watching::DEADLINE;

/// What must not change when nothing is to be done: content, and that nobody wrote it again.
type Untouched = (String, i64, i64, u64, usize);

pub(crate) fn state(cluster: &Streaming) -> Vec<Untouched> {
    let one = |pooler: &Pooler| {
        let file = std::fs::metadata(pooler.file()).expect("it is there");
        let reloads = pooler.log().matches("RELOAD").count();
        (
            pooler.file_text(),
            file.mtime(),
            file.mtime_nsec(),
            file.ino(),
            reloads,
        )
    };
    cluster.poolers().iter().map(one).collect()
}

/// Calls `notify` on the host of a node, as the documented line does.
fn notify(cluster: &Streaming, host: usize, node: &str, event: &str) -> (i32, String, String) {
    told(&cluster.repoint(
        host,
        &["notify", node, event, "1", "", "", "--timeout", "15"],
    ))
}

#[track_caller]
pub(crate) fn assert_refused(
    cluster: &Streaming,
    call: impl FnOnce() -> (i32, String, String),
    words: &str,
) {
    let before = state(cluster);
    let (code, stdout, stderr) = call();
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("repoint: nothing was changed: "),
        "{stderr}"
    );
    assert!(last.contains(words), "{stderr}");
    assert_eq!(before, state(cluster));
}

const LEFT_ALONE: &str = "\
pgb1: left alone: it serves node 2 already
pgb2: left alone: it serves node 2 already
";

#[test]
fn the_same_event_twice_or_twice_at_once_does_nothing_the_second_time() {
    let cluster = Streaming::start(2);
    cluster.node(1).kill9();
    cluster.node(2).promote(cluster.node(1));
    let first = thread::scope(|scope| {
        let events = ["standby_promote", "repmgrd_failover_promote"];
        let calls = events.map(|event| scope.spawn(|| notify(&cluster, 2, "2", event)));
        calls.map(|call| call.join().expect("it ends"))
    });
    for (code, stdout, stderr) in &first {
        assert_eq!(*code, 0, "{stdout}{stderr}");
    }
    let all = first.map(|(_, stdout, _)| without_times(&stdout)).concat();
    let moved = |name: &str| {
        all.matches(&format!(
            "{name}: redirected `app` (a query through it landed on node 2)"
        ))
        .count()
    };
    assert_eq!((moved("pgb1"), moved("pgb2")), (1, 1), "{all}");
    cluster.assert_writes_reach(2);

    let before = state(&cluster);
    for event in [
        "standby_promote",
        "repmgrd_failover_promote",
        "standby_switchover",
    ] {
        let (code, stdout, stderr) = notify(&cluster, 2, "2", event);
        assert_eq!((code, stdout.as_str()), (0, LEFT_ALONE), "{stderr}");
    }
    // As another host's repmgrd would say it, by name.
    let long = cluster.repoint(
        1,
        &[
            "notify",
            "--event",
            "standby_promote",
            "--node-id",
            "2",
            "--primary-id",
        ],
    );
    let (code, stdout, stderr) = told(&long);
    // The node of that host is dead, and with it what it knew.
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    let words = "no node that is known here has the id 2; node \"node1\" (ID: 1) cannot be asked";
    assert!(stderr.contains(words), "{stderr}");
    assert_eq!(before, state(&cluster), "the files were touched");
}

#[test]
fn an_old_primary_that_still_runs_is_left_and_its_late_event_is_refused() {
    let cluster = Streaming::start(2);
    cluster.node(2).promote(cluster.node(1));
    let late = || notify(&cluster, 1, "1", "standby_promote");
    let words = "node \"node1\" (ID: 1) is an old primary, on timeline 1: node \"node2\" (ID: 2) \
                 was promoted after it, to timeline 2; stop or rejoin the old one";
    assert_refused(&cluster, late, words);

    // Both at once, from both hosts: the true one wins everywhere.
    let [old, new] = thread::scope(|scope| {
        let old = scope.spawn(late);
        let new = scope.spawn(|| notify(&cluster, 2, "2", "standby_promote"));
        [old, new].map(|call| call.join().expect("it ends"))
    });
    assert_eq!((old.0, new.0), (1, 0), "{old:?} {new:?}");
    let note = "node \"node1\" (ID: 1) still runs as a primary, on the older timeline 1";
    assert!(new.2.contains(note), "{new:?}");
    cluster.wait_until_served(2);
    cluster.assert_writes_reach(2);
    assert_refused(&cluster, late, words);
}

#[test]
fn a_node_that_takes_no_writes_is_not_believed() {
    let cluster = Streaming::start(2);
    let event = || notify(&cluster, 2, "2", "standby_promote");
    let begun = Instant::now();
    let standby = "node \"node2\" (ID: 2) is a standby: it is still in recovery; waited 5 s";
    assert_refused(&cluster, event, standby);
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    let unknown = || notify(&cluster, 2, "7", "standby_promote");
    assert_refused(&cluster, unknown, "no node that is known here has the id 7");

    cluster.node(1).kill9();
    cluster.node(2).rows("select pg_promote(true, 30)");
    assert_refused(
        &cluster,
        event,
        "takes writes, but its own repmgr.nodes has it as a \"standby\"",
    );
    cluster.node(2).register_as_primary(cluster.node(1));
    cluster
        .node(2)
        .rows("alter system set default_transaction_read_only = on");
    cluster.node(2).rows("select pg_reload_conf()");
    assert_refused(
        &cluster,
        event,
        "refuses writes: transaction_read_only is on",
    );
    cluster
        .node(2)
        .rows("alter system reset default_transaction_read_only");
    cluster.node(2).rows("select pg_reload_conf()");
    let (code, stdout, stderr) = event();
    assert_eq!(code, 0, "{stdout}{stderr}");
    cluster.assert_writes_reach(2);
}

#[test]
fn an_event_of_a_pair_sends_nobody_to_a_standby() {
    let cluster = Streaming::start(2);
    let words = "node \"node2\" (ID: 2) is not healthy: it is a standby";
    let call = || {
        let event = ["notify", "1", "bdr_failover", "1", "", "node2"];
        told(&cluster.repoint(2, &event))
    };
    assert_refused(&cluster, call, words);
    cluster.assert_writes_reach(1);
}

#[test]
fn a_promotion_that_is_not_over_yet_is_waited_for() {
    let cluster = Streaming::start(2);
    cluster.node(1).kill9();
    let arguments = [
        "notify",
        "2",
        "standby_promote",
        "1",
        "",
        "",
        "--timeout",
        "30",
    ];
    let (code, stdout, stderr) = thread::scope(|scope| {
        let call = scope.spawn(|| told(&cluster.repoint(2, &arguments)));
        cluster.node(2).promote(cluster.node(1));
        call.join().expect("it ends")
    });
    assert_eq!(code, 0, "{stdout}{stderr}");
    cluster.assert_writes_reach(2);
}

#[test]
fn every_entry_goes_to_the_new_primary_wherever_it_points() {
    let cluster = Streaming::start(3);
    let [on_standby, elsewhere] = [0, 1].map(|index| &cluster.poolers()[index]);
    let points_at = |pooler: &Pooler, port: u16| {
        let text = pooler.file_text();
        let old = format!("port='{}'", cluster.node(1).port());
        assert!(text.contains(&old), "{text}");
        pooler.write_file(&text.replace(&old, &format!("port='{port}'")));
        pooler.admin("RELOAD");
    };
    points_at(on_standby, cluster.node(3).port());
    points_at(elsewhere, 1);
    cluster.node(1).kill9();
    cluster.node(2).promote(cluster.node(1));
    let (code, stdout, stderr) = notify(&cluster, 2, "2", "standby_promote");
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(
        stdout.matches(": redirected `app` (").count(),
        2,
        "{stdout}"
    );
    cluster.assert_writes_reach(2);

    // What somebody edits into the file afterwards is not guessed about.
    let text = elsewhere.file_text();
    let ours = format!("port='{}'", cluster.node(2).port());
    elsewhere.write_file(&text.replace(&ours, "port='1'"));
    elsewhere.admin("RELOAD");
    let before = state(&cluster);
    let (code, stdout, stderr) = notify(&cluster, 2, "2", "repmgrd_failover_promote");
    assert_eq!(
        (code, stdout.as_str()),
        (
            1,
            "pgb1: left alone: it serves node 2 already\n\
             pgb2: NOT redirected: `app` is not there or points at no node\n"
        ),
        "{stderr}"
    );
    assert_eq!(before, state(&cluster));
}

#[test]
fn rows_that_an_attacker_wrote_are_told_in_one_line_and_keep_nobody_from_the_primary() {
    let cluster = Streaming::start(2);
    cluster.node(1).kill9();
    cluster.node(2).promote(cluster.node(1));
    let rows = [
        "(7, true, E'a\\n[31mb', 'standby', E'host=x\\n[pgbouncer] dbname=y', '', '')",
        "(8, true, repeat('n', 10000), 'standby', repeat('host=x ', 2000), '', '')",
        "(9, true, 'it''s \"9\"; drop', 'standby', 'password=hunter2 ''', '', '')",
        "(10, true, 'list', 'standby', 'host=a,b dbname=y password=hunter2', '', '')",
        "(11, true, 'silent', 'standby', 'host=203.0.113.1 dbname=y user=z connect_timeout=3600', \
         '', '')",
    ];
    cluster.node(2).rows(&format!(
        "insert into repmgr.nodes (node_id, active, node_name, type, conninfo, repluser, \
         config_file) values {}",
        rows.join(", ")
    ));
    let (code, stdout, stderr) = notify(&cluster, 2, "2", "standby_promote");
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(
        !stderr.contains("hunter2") && stderr.len() < 5000,
        "{stderr}"
    );
    cluster.assert_writes_reach(2);
    for (node, words) in [
        (
            "7",
            "node 7 of repmgr.nodes has a name with a control character",
        ),
        (
            "8",
            "node 8 of repmgr.nodes has a name of 10000 bytes; 1 to 63 are allowed",
        ),
        (
            "9",
            "node 9 of repmgr.nodes has a conninfo that cannot be used",
        ),
        ("10", "`host` lists 2 items"),
        ("11", "node \"silent\" (ID: 11) cannot be asked: "),
    ] {
        let call = || {
            let arguments = ["notify", node, "standby_promote", "1", "--timeout", "4"];
            let (code, stdout, stderr) = told(&cluster.repoint(2, &arguments));
            assert!(
                !stderr.contains("hunter2") && stderr.len() < 2000,
                "{stderr}"
            );
            (code, stdout, stderr)
        };
        assert_refused(&cluster, call, words);
    }
}

#[test]
fn an_old_primary_that_is_silent_delays_nobody() {
    let cluster = Streaming::start(2);
    cluster.assert_writes_reach(1);
    cluster.node(1).freeze();
    cluster.node(2).promote(cluster.node(1));
    let (code, stdout, stderr) = notify(&cluster, 2, "2", "standby_promote");
    assert_eq!(code, 0, "{stdout}{stderr}");
    cluster.assert_writes_reach(2);
    cluster.node(1).thaw();
    let (code, stdout, stderr) = notify(&cluster, 2, "2", "repmgrd_failover_promote");
    assert_eq!((code, stdout.as_str()), (0, LEFT_ALONE), "{stderr}");
}

#[test]
fn of_two_that_were_promoted_at_once_none_is_believed_until_one_is_gone() {
    let cluster = Streaming::start(3);
    cluster.node(1).kill9();
    for id in [2, 3] {
        cluster.node(id).promote(cluster.node(1));
    }
    let before = state(&cluster);
    let [two, three] = thread::scope(|scope| {
        let two = scope.spawn(|| notify(&cluster, 2, "2", "standby_promote"));
        let three = scope.spawn(|| notify(&cluster, 3, "3", "standby_promote"));
        [two, three].map(|call| call.join().expect("it ends"))
    });
    for (code, stdout, stderr) in [&two, &three] {
        assert_eq!((*code, stdout.as_str()), (1, ""), "{stderr}");
        assert!(
            stderr.contains("are both primaries on timeline 2; stop the one"),
            "{stderr}"
        );
    }
    assert_eq!(before, state(&cluster));
    cluster.node(3).kill9();
    let (code, stdout, stderr) = notify(&cluster, 2, "2", "standby_promote");
    assert_eq!(code, 0, "{stdout}{stderr}");
    cluster.assert_writes_reach(2);
}

#[test]
fn a_contrary_decision_that_shows_up_meanwhile_is_topped_by_the_true_primary() {
    let cluster = Streaming::start(2);
    let late = &cluster.poolers()[1];
    cluster.node(1).kill9();
    cluster.node(2).promote(cluster.node(1));
    late.stop_sshd();
    let arguments = ["notify", "2", "standby_promote", "1", "--timeout", "40"];
    let (code, stdout, stderr) = thread::scope(|scope| {
        let call = scope.spawn(|| told(&cluster.repoint(2, &arguments)));
        let first = &cluster.poolers()[0];
        wait_until(DEADLINE, "pgb1 on node 2", || cluster.serves(first, 2));
        // As somebody wrote it who still took node 1 for the primary.
        let contrary = Generation::parse("9.1").expect("a generation");
        let (one, body) = (NodeId(1), late.file_text());
        let text = header::with_header(contrary, one, one, &body);
        late.write_file(&String::from_utf8(text).expect("text"));
        late.start_sshd();
        call.join().expect("it ends")
    });
    assert_eq!(code, 0, "{stdout}{stderr}");
    cluster.assert_writes_reach(2);
    assert!(
        late.file_text()
            .starts_with(";repoint v1 generation=10.2 active=2 ")
    );
}

#[test]
fn nodes_that_the_configuration_lists_need_not_be_asked_for() {
    let cluster = Streaming::start(2);
    let path = cluster.node(1).repoint_toml();
    let text = std::fs::read_to_string(&path).expect("it is there");
    let list = |second: &str| {
        let pgbouncers = &text[text.find("[[pgbouncer]]").expect("one")..];
        let run = text
            .lines()
            .find(|line| line.starts_with("runtime_directory"));
        let nodes = [(1, "node1"), (2, second)].map(|(id, name)| {
            let conninfo = cluster.node(id).conninfo();
            format!("[[node]]\nnode_id = {id}\nnode_name = \"{name}\"\nconninfo = \"{conninfo}\"\n")
        });
        let run = run.expect("a directory");
        let text = format!("node_id = 1\n{run}\n{}{pgbouncers}", nodes.concat());
        cluster.home().write(&path, &text);
    };
    cluster.node(1).kill9();
    cluster.node(2).promote(cluster.node(1));
    list("other");
    let event = || notify(&cluster, 1, "2", "standby_promote");
    let words = "node 2 is \"other\" in the configuration, but \"node2\" in its own repmgr.nodes";
    assert_refused(&cluster, event, words);
    list("node2");
    // From the host of the dead node, too.
    let (code, stdout, stderr) = event();
    assert_eq!(code, 0, "{stdout}{stderr}");
    cluster.assert_writes_reach(2);
}
