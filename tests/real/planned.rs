//! Planned moves: both nodes live, and nobody is to notice. The library is called as a command will
//! call it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use repoint::agent::daemon::planners;
use repoint::agent::executor::{Hooks, Replayed};
use repoint::agent::links::Links;
use repoint::agent::planned::{Manner, Moved, Order, identity, move_all, move_to, pay};
use repoint::agent::planning::Planner;
use repoint::config::{Config, Edits, NodeId, file};
use repoint::core::outcome::{End, FileAfter};
use repoint::edge::remote::Turns;

use crate::fixture::{Cluster, Node, Pooler, Settings, Writer, wait_until};
use crate::served::{leftovers, wait_until_serves};

const DEADLINE: Duration = Duration::from_secs(20);
/// Far below `server_login_retry`, far above what a loaded machine needs.
const SHORT: Duration = Duration::from_secs(5);

fn drain() -> Manner {
    Manner::Drain { limit: DEADLINE }
}

fn pause() -> Manner {
    Manner::Pause {
        limit: Duration::from_secs(2),
        replayed: Duration::from_secs(5),
    }
}

fn order(manner: Manner) -> Order {
    Order {
        from: NodeId(2),
        to: NodeId(1),
        manner,
        edits: Edits::Refuse,
    }
}

fn config(cluster: &Cluster) -> Config {
    let path = cluster.write_config(1, &Settings::default(), |_| ());
    let text = std::fs::read_to_string(&path).expect("it was just written");
    file::parse(&path, &text).expect("it is right")
}

fn planned(cluster: &Cluster) -> (Config, BTreeMap<String, Planner>) {
    let config = config(cluster);
    let planners = planners(&config).expect("they plan");
    (config, planners)
}

fn sockets(cluster: &Cluster) -> PathBuf {
    let path = cluster.directory().join("s");
    std::fs::create_dir_all(&path).expect("a directory");
    path
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime starts")
}

/// Moves all PgBouncers; leaves what is owed on record.
fn moved(
    cluster: &Cluster,
    order: &Order,
    hooks: &Hooks,
) -> Result<BTreeMap<String, Moved>, String> {
    let (config, planners) = planned(cluster);
    let sockets = sockets(cluster);
    runtime().block_on(async {
        let mut all = move_all(&config, planners, &sockets, order, hooks).await?;
        for moved in all.values_mut() {
            moved.leave().await;
        }
        Ok(all)
    })
}

/// Waits until the node has every row that the other one had at the moment of the question.
fn all_replayed(from: &Node, to: &Node) -> Replayed {
    let [from, to] = [from, to].map(|node| repoint::conninfo::Conninfo::parse(&node.conninfo()));
    let [from, to] = [from, to].map(|conninfo| conninfo.expect("a connection string"));
    Arc::new(move || {
        let (from, to) = (from.clone(), to.clone());
        Box::pin(async move {
            let count = async |conninfo| {
                let session = repoint::edge::postgres::connect(conninfo, SHORT).await;
                let session = session.map_err(|error| error.to_string())?;
                let rows = session
                    .simple("select count(*) as n from writes", SHORT)
                    .await;
                rows.map_err(|error| error.to_string())
            };
            let all = count(&from).await?;
            while count(&to).await? != all {}
            Ok(())
        })
    })
}

#[track_caller]
fn wait_for_commits(writer: &Writer, node: &Node, more: usize) {
    let on_node = || {
        let record = writer.so_far();
        let acks = record.acknowledged.into_iter();
        acks.filter(|ack| ack.node == node.name()).count()
    };
    let before = on_node();
    let what = format!("{more} commits on {}", node.name());
    wait_until(DEADLINE, what, || on_node() >= before + more);
}

#[track_caller]
fn assert_nothing_left(pooler: &Pooler) {
    assert!(!pooler.paused("app"));
    assert_eq!(pooler.config("server_fast_close"), "0");
    assert!(!pooler.log().contains("WAIT_CLOSE"));
}

#[test]
fn a_drain_with_16_writing_clients_costs_no_error_and_all_are_on_the_new_node_afterwards() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let writer = Writer::start(&cluster, 8);
    wait_for_commits(&writer, node2, 100);

    let all = moved(&cluster, &order(drain()), &Hooks::default()).expect("it begins");

    let drained = std::time::SystemTime::now();
    wait_for_commits(&writer, node1, 100);
    let record = writer.stop();
    assert!(record.errors.is_empty(), "{:?}", record.errors_by_text());
    let late = record.acknowledged.iter().filter(|ack| ack.at > drained);
    assert!(late.clone().count() >= 100);
    assert!(late.clone().all(|ack| ack.node == "node1"));
    for (pooler, moved) in cluster.poolers().iter().zip(all.values()) {
        assert_eq!(moved.outcome.end, End::Redirected, "{}", moved.outcome);
        assert!(moved.outcome.took < SHORT, "{}", moved.outcome);
        assert!(record.longest_gap(pooler.number()) < SHORT);
        wait_until_serves(pooler, node1, DEADLINE);
        assert_nothing_left(pooler);
        assert!(
            pooler
                .file_text()
                .starts_with(";repoint v1 generation=1.1 active=1 writer=1 ")
        );
    }
}

#[test]
fn what_a_move_owes_is_paid_by_who_waits_for_it_and_nothing_stays_on_record() {
    let lines = "server_login_retry = 2";
    let cluster = Cluster::builder().poolers(1).pooler_lines(lines).start();
    let pooler = cluster.pooler(1);
    let (config, planners) = planned(&cluster);
    let sockets = sockets(&cluster);
    let (runtime, order, hooks) = (runtime(), order(drain()), Hooks::default());
    let all = runtime.block_on(move_all(&config, planners, &sockets, &order, &hooks));
    assert_eq!(pooler.config("server_login_retry"), "0.02");
    let moved = all
        .expect("it begins")
        .remove("pgb1")
        .expect("it is the only one");
    runtime.block_on(moved.settle()).expect("it is paid");
    assert_eq!(pooler.config("server_login_retry"), "2");
    assert_eq!(leftovers(pooler), [""; 0]);
}

#[test]
fn one_alone_is_moved_over_ways_that_are_open_and_left_alone_when_it_is_there() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1) = (cluster.pooler(1), cluster.node1());
    let (config, planners) = planned(&cluster);
    let (bouncer, planner) = (&config.pgbouncers["pgb1"], &planners["pgb1"]);
    let sockets = sockets(&cluster);
    let order = order(drain());
    let (first, second) = runtime().block_on(async {
        let links = Links::open(bouncer, &sockets, &Turns::default())
            .await
            .expect("it is there");
        let target = identity(&config.nodes[&NodeId(1)]).await.expect("it lives");
        let at = || (target.as_str(), None);
        let moved = || move_to(&links, bouncer, planner, &order, at(), Hooks::default());
        let (first, owed) = moved().await;
        let (second, nothing) = moved().await;
        assert_eq!(nothing, None);
        let owed = owed.expect("server_login_retry was set");
        assert_eq!(owed.values, ["15"]);
        pay(&links, &owed).await.expect("it is paid");
        links.host.close().await;
        (first, second)
    });
    assert_eq!(first.end, End::Redirected, "{first}");
    assert_eq!(first.generation.to_string(), "1.1");
    assert_eq!(
        second.to_string(),
        "left alone: no entry of it points at node 2"
    );
    wait_until_serves(pooler, node1, DEADLINE);
    assert_eq!(pooler.config("server_login_retry"), "15");
    assert_eq!(leftovers(pooler), [""; 0]);
}

#[test]
fn a_pause_costs_no_error_and_no_commit_on_the_old_node_after_the_first_on_the_new_one() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let writer = Writer::start(&cluster, 8);
    wait_for_commits(&writer, node2, 100);
    let hooks = Hooks {
        replayed: Some(all_replayed(node2, node1)),
        progress: None,
    };

    let all = moved(&cluster, &order(pause()), &hooks).expect("it begins");

    wait_for_commits(&writer, node1, 100);
    let record = writer.stop();
    assert!(record.errors.is_empty(), "{:?}", record.errors_by_text());
    for (pooler, moved) in cluster.poolers().iter().zip(all.values()) {
        assert_eq!(moved.outcome.end, End::Redirected, "{}", moved.outcome);
        assert!(record.longest_gap(pooler.number()) < SHORT);
        wait_until_serves(pooler, node1, DEADLINE);
        assert_nothing_left(pooler);
    }
    // All of it happened on one machine, by one clock.
    let time = |on: &Node, which: &str| -> f64 {
        let sql = format!(
            "select extract(epoch from {which}(at)) from writes where node = '{}'",
            on.name()
        );
        on.query_one_text(&sql).parse().expect("a number")
    };
    let (last, first) = (time(node2, "max"), time(node1, "min"));
    assert!(last < first, "{last} {first}");
}

/// A connection that is logging in when RELOAD comes counts as failed: 15 s of errors without the
/// SET. Where each transaction has a connection of its own, there is always one.
#[test]
fn connections_that_come_and_go_all_the_time_do_not_cost_15_seconds() {
    for manner in [drain(), pause()] {
        let lines = "server_lifetime = 0";
        let cluster = Cluster::builder().poolers(1).pooler_lines(lines).start();
        let writer = Writer::start(&cluster, 16);
        wait_for_commits(&writer, cluster.node2(), 50);
        let all = moved(&cluster, &order(manner), &Hooks::default()).expect("it begins");
        wait_for_commits(&writer, cluster.node1(), 50);
        let record = writer.stop();
        assert!(record.longest_gap(1) < SHORT, "{:?}", record.longest_gap(1));
        assert!(record.errors.len() <= 16, "{:?}", record.errors_by_text());
        let outcome = &all["pgb1"].outcome;
        assert_eq!(outcome.end, End::Redirected, "{outcome}");
    }
}

#[test]
fn a_pause_that_waits_for_a_transaction_is_given_up_on_every_pgbouncer_and_nothing_is_changed() {
    let cluster = Cluster::builder().poolers(2).start();
    let files: Vec<String> = cluster.poolers().iter().map(Pooler::file_text).collect();
    let mut client = cluster.pooler(1).client("app");
    let insert = "insert into writes (pooler, seq) values (1, 1)";
    client
        .batch_execute(&format!("begin; {insert}"))
        .expect("it begins");
    let manner = Manner::Pause {
        limit: Duration::from_millis(500),
        replayed: Duration::from_secs(1),
    };

    let all = moved(&cluster, &order(manner), &Hooks::default()).expect("it begins");

    let outcome = &all["pgb1"].outcome;
    assert_eq!(
        outcome.to_string(),
        "failed, nothing changed: given up: `app` could not be paused in time: a transaction is \
         still open"
    );
    let outcome = &all["pgb2"].outcome;
    assert_eq!(
        outcome.to_string(),
        "failed, nothing changed: given up: another PgBouncer has turned back"
    );
    for (pooler, file) in cluster.poolers().iter().zip(files) {
        wait_until_serves(pooler, cluster.node2(), DEADLINE);
        assert_eq!(pooler.file_text(), file);
        assert_eq!(leftovers(pooler), [""; 0]);
        assert_nothing_left(pooler);
    }
    client
        .batch_execute("commit")
        .expect("nothing has happened to it");
}

#[test]
fn who_has_not_left_at_the_end_of_a_drain_is_named_and_left_alone() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let mut client = pooler.client("app");
    let insert = "insert into writes (pooler, seq) values (1, 1) returning node";
    client
        .batch_execute(&format!("begin; {insert}"))
        .expect("it begins");
    let manner = Manner::Drain {
        limit: Duration::from_millis(300),
    };
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let hooks = Hooks {
        replayed: None,
        progress: Some(Arc::new(move |left| {
            counted.fetch_max(left, Ordering::SeqCst);
        })),
    };

    let all = moved(&cluster, &order(manner), &hooks).expect("it begins");

    let End::NotDrained(left) = &all["pgb1"].outcome.end else {
        panic!("{}", all["pgb1"].outcome);
    };
    assert!(
        left.starts_with("1 connection: `app` as app, active of client 127.0.0.1:"),
        "{left}"
    );
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    client
        .batch_execute("commit")
        .expect("nothing has happened to it");
    let row = client.simple_query("select current_setting('cluster_name')");
    let row = format!("{:?}", row.expect("it goes on"));
    assert!(row.contains("node1"), "{row}");
}

#[test]
fn in_session_pooling_a_drain_moves_everybody_with_one_error_each() {
    let builder = Cluster::builder().poolers(1).pool_mode("session");
    let cluster = builder.start();
    let pooler = cluster.pooler(1);
    let node_of = |client: &mut postgres::Client| {
        let row = client.query_one("select current_setting('cluster_name')", &[]);
        row.map(|row| row.get::<_, String>(0))
    };
    let mut clients: Vec<_> = (0..8).map(|_| pooler.client("app")).collect();
    for client in &mut clients {
        assert_eq!(node_of(client).expect("it works"), "node2");
    }
    let refused = moved(&cluster, &order(pause()), &Hooks::default()).expect_err("never");
    assert!(refused.contains("`app` is in session pooling"), "{refused}");
    assert!(refused.starts_with("nothing changed: pgb1: "), "{refused}");
    let begun = Instant::now();

    let all = moved(&cluster, &order(drain()), &Hooks::default()).expect("it begins");

    assert!(begun.elapsed() < DEADLINE);
    let outcome = &all["pgb1"].outcome;
    assert_eq!(outcome.end, End::Redirected, "{outcome}");
    assert!(
        outcome
            .to_string()
            .contains("in session pooling: each of its clients gets one error"),
        "{outcome}"
    );
    for client in &mut clients {
        node_of(client).expect_err("its session was closed");
        *client = pooler.client("app");
        assert_eq!(node_of(client).expect("it works again"), "node1");
    }
    assert_nothing_left(pooler);
}

#[test]
fn a_move_does_not_begin_where_somebody_has_changed_something() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let reason = |why: &str| {
        let all = moved(&cluster, &order(drain()), &Hooks::default()).expect("it looks");
        let end = &all["pgb1"].outcome.end;
        let End::Failed { reason, file } = end else {
            panic!("{end:?}");
        };
        assert_eq!(*file, FileAfter::Unchanged);
        assert!(reason.contains(why), "{reason}");
    };
    pooler.admin("PAUSE app");
    reason("`app` is paused by somebody");
    assert!(pooler.paused("app"));
    pooler.admin("RESUME app");
    pooler.admin("DISABLE app");
    reason("`app` is disabled by somebody");
    pooler.admin("ENABLE app");
    let file = cluster.write_config(1, &Settings::default(), |_| ());
    let file = file.display().to_string();
    let first = cluster.repoint(&["-f", &file, "render", "--full", "--node", "node2"]);
    let edited = String::from_utf8(first.stdout).expect("text") + "; by hand\n";
    pooler.write_file(&edited);
    pooler.admin("RELOAD");
    reason("edited by hand");
    assert_eq!(pooler.file_text(), edited);
    wait_until_serves(pooler, cluster.node2(), DEADLINE);
}

/// What a killed command leaves is the same as what is left here: nobody goes on.
#[test]
fn the_pause_of_a_move_that_vanishes_is_ended() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let daemon = cluster.daemon(1, &Settings::default());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    let (config, planners) = planned(&cluster);
    let sockets = sockets(&cluster);
    let (arrived, mut arrival) = tokio::sync::mpsc::unbounded_channel();
    let hooks = Hooks {
        replayed: Some(Arc::new(move || {
            let _the_test_has_ended = arrived.send(());
            Box::pin(std::future::pending())
        })),
        progress: None,
    };
    let manner = Manner::Pause {
        limit: Duration::from_millis(500),
        replayed: Duration::from_secs(5),
    };
    let runtime = runtime();
    runtime.block_on(async {
        let order = order(manner);
        tokio::select! {
            moved = move_all(&config, planners, &sockets, &order, &hooks) => panic!("{moved:?}"),
            _ = arrival.recv() => {}
        }
    });
    drop(runtime);
    assert!(pooler.paused("app"));
    wait_until(DEADLINE, "the end of the pause", || !pooler.paused("app"));
    wait_until_serves(pooler, cluster.node2(), DEADLINE);
    wait_until(DEADLINE, "nothing on record", || {
        leftovers(pooler).is_empty()
    });
}
