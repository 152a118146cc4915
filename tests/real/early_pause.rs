//! `early_pause`: clients wait from the moment when their node is suspect, and no longer than told.

use std::time::{Duration, Instant, SystemTime};

use crate::fixture::{Cluster, Daemon, Pooler, RECONNECT_PACE, Settings, Writer, wait_until};
use crate::scene::{
    DEADLINE, assert_serves, assert_stays, first_commits, start_daemon, wait_for_decision,
    wait_for_first,
};
use crate::served::{leftovers, node_through, wait_until_serves};

/// For each PgBouncer.
const CLIENTS: usize = 8;
/// Of a client and PgBouncer: what was under way when the node died, and the connection after it.
const IN_FLIGHT: usize = 2 * CLIENTS;
/// How long an error that PgBouncer has sent may take to reach its client on a busy machine.
const UNDER_WAY: Duration = Duration::from_millis(300);

fn cluster() -> Cluster {
    Cluster::builder().poolers(1).start()
}

/// A node is down after some two seconds.
fn settings(early_pause: &str) -> Settings {
    Settings {
        reconnect_attempts: 7,
        reconnect_interval: "300ms".into(),
        pgbouncer_lines: format!("early_pause = \"{early_pause}\""),
        ..Settings::default()
    }
}

/// As good as never down.
fn patient(early_pause: &str) -> Settings {
    Settings {
        reconnect_attempts: 1000,
        ..settings(early_pause)
    }
}

fn writing(cluster: &Cluster) -> Writer {
    let writer = Writer::start(cluster, CLIENTS);
    wait_until(DEADLINE, "commits", || {
        writer.so_far().acknowledged.len() > 20 * CLIENTS
    });
    writer
}

fn wait_for_pause(pooler: &Pooler) {
    wait_until(DEADLINE, "the early pause", || pooler.paused("app"));
}

/// How often the entry was paused.
fn pauses(pooler: &Pooler) -> usize {
    pooler.log().matches("PAUSE 'app' command issued").count()
}

fn wait_until_settled(pooler: &Pooler) {
    wait_until(DEADLINE, format!("{:?}", leftovers(pooler)), || {
        leftovers(pooler).is_empty()
    });
}

#[test]
fn a_crash_costs_clients_what_was_in_flight_and_nothing_more() {
    crash("transaction");
}

#[test]
fn in_session_pooling_a_crash_costs_each_session_and_nothing_more() {
    crash("session");
}

/// Without it, it is chance what clients get until the decision: PgBouncer refuses those that come
/// after a login that failed, and lets all others wait.
#[expect(clippy::print_stdout, reason = "the figures of a test")]
fn crash(pool_mode: &str) {
    let builder = Cluster::builder().poolers(1).pool_mode(pool_mode);
    let cluster = builder.start();
    let (pooler, node1) = (cluster.pooler(1), cluster.node1());
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &settings("10s")));
    let writer = writing(&cluster);
    let died = SystemTime::now();
    cluster.node2().kill9();
    let paused = wait_for_first(&daemons, "is suspect: clients of `app` wait");
    assert!(pooler.paused("app"));
    // Whoever comes now waits as well.
    let comes = || pooler.try_rows("app", "select 1", DEADLINE);
    let served = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(comes)).collect();
        let answers = clients.into_iter().map(|client| client.join());
        answers.collect::<Result<Result<Vec<_>, _>, _>>()
    });
    served.expect("no panic").expect("no error");
    let decided = wait_for_decision(&daemons);
    wait_until(DEADLINE, "commits on node1", || {
        !first_commits(&writer.so_far(), node1, decided).is_empty()
    });
    assert_serves(pooler, node1);
    let record = writer.stop();
    let errors = record.errors_after(died).len();
    let first = first_commits(&record, node1, decided);
    let until_paused = paused.duration_since(died).expect("it was alive before");
    println!(
        "{pool_mode}: {errors} errors, paused after {until_paused:?}, first commit after {first:?}"
    );
    assert!(until_paused < Duration::from_secs(1), "{until_paused:?}");
    assert!(paused + Duration::from_secs(1) < decided);
    assert_eq!(record.errors_after(paused + UNDER_WAY).first(), None);
    // Before the pause, a client that was refused comes back again and again.
    let again = until_paused.as_millis() / RECONNECT_PACE.as_millis();
    assert!(errors <= IN_FLIGHT + CLIENTS * again as usize, "{errors}");
    assert!(
        first.iter().all(|t| *t < Duration::from_secs(1)),
        "{first:?}"
    );
    assert!(!pooler.paused("app"));
}

#[test]
fn a_false_alarm_leaves_nothing_paused_and_costs_what_was_in_flight() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let daemon = start_daemon(&cluster, 1, &patient("30s"));
    let writer = writing(&cluster);
    let died = SystemTime::now();
    cluster.node2().kill9();
    wait_for_pause(pooler);
    let paused = SystemTime::now();
    cluster.node2().start();
    wait_until(DEADLINE, "no pause", || !pooler.paused("app"));
    let resumed = SystemTime::now();
    wait_until_serves(pooler, cluster.node2(), DEADLINE);
    wait_until(DEADLINE, "a commit", || {
        writer.so_far().first_ack_after(1, resumed).is_some()
    });
    wait_until_settled(pooler);
    let record = writer.stop();
    let (all, errors) = (record.errors_after(died).len(), record.errors_after(paused));
    let first = record
        .first_ack_after(1, resumed)
        .expect("it was waited for");
    let served = first.at.duration_since(resumed).unwrap_or_default();
    println!(
        "{all} errors before the pause, {} in it; served {served:?} after it",
        errors.len()
    );
    assert!(errors.len() <= CLIENTS, "{errors:?}");
    // Not after server_login_retry (15 s), for which PgBouncer leaves a server alone that failed.
    assert!(served < Duration::from_secs(2), "{served:?}");
    assert_eq!(pooler.config("server_login_retry"), "15");
    assert_eq!(pauses(pooler), 1);
    daemon.wait_for_log("clients of `app` wait no longer", DEADLINE);
    assert!(!daemon.log().contains("failover decided"));
}

#[test]
fn a_silent_node_that_answers_again_costs_clients_nothing() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let _daemon = start_daemon(&cluster, 1, &patient("30s"));
    let writer = writing(&cluster);
    cluster.node2().freeze();
    wait_for_pause(pooler);
    cluster.node2().thaw();
    wait_until(DEADLINE, "no pause", || !pooler.paused("app"));
    wait_until_settled(pooler);
    assert_eq!(node_through(pooler), "node2");
    assert_eq!(writer.stop().errors, []);
}

#[test]
fn at_its_end_clients_are_served_as_without_it_and_not_paused_again() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let slow = Settings {
        reconnect_attempts: 16,
        pgbouncer_lines: "early_pause = \"1s\"\npause = \"never\"".into(),
        ..settings("")
    };
    let daemons = [start_daemon(&cluster, 1, &slow)];
    cluster.node2().kill9();
    wait_for_pause(pooler);
    let begun = Instant::now();
    wait_until(DEADLINE, "no pause", || !pooler.paused("app"));
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    assert_stays(Duration::from_secs(2), "no pause", || !pooler.paused("app"));
    wait_for_decision(&daemons);
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    assert_eq!(pauses(pooler), 1);
}

#[test]
fn one_whose_agent_is_killed_ends_in_its_time_although_nobody_is_left() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let daemon = start_daemon(&cluster, 1, &patient("2s"));
    cluster.node2().kill9();
    wait_for_pause(pooler);
    let begun = Instant::now();
    daemon.kill9();
    wait_until(DEADLINE, "no pause", || !pooler.paused("app"));
    let lasted = begun.elapsed();
    assert!(lasted < Duration::from_millis(4500), "{lasted:?}");
    wait_until_settled(pooler);
}

/// The redirect takes the pause over, and ends it, although its own policy is not to pause.
#[test]
fn one_whose_agent_is_killed_goes_on_into_the_redirect_of_the_other() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let with = |text: &str| format!("early_pause = \"{text}\"\npause = \"never\"");
    let first = Settings {
        pgbouncer_lines: with("20s"),
        ..patient("")
    };
    let second = Settings {
        pgbouncer_lines: with("0s"),
        ..settings("")
    };
    let daemons = [
        start_daemon(&cluster, 1, &first),
        start_daemon(&cluster, 2, &second),
    ];
    cluster.node2().kill9();
    wait_for_pause(pooler);
    let begun = Instant::now();
    daemons[0].kill9();
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    assert!(begun.elapsed() < Duration::from_secs(10));
    daemons[1].wait_for_log("redirect complete", DEADLINE);
}

#[test]
fn a_daemon_that_stops_or_reads_its_configuration_anew_resumes() {
    for end in ["stop", "reload"] {
        let cluster = cluster();
        let pooler = cluster.pooler(1);
        let daemon = start_daemon(&cluster, 1, &patient("60s"));
        cluster.node2().kill9();
        wait_for_pause(pooler);
        let mark = daemon.mark();
        match end {
            "stop" => assert!(daemon.terminate().success()),
            _ => daemon.hup(),
        }
        daemon.wait_for_log_after(mark, "wait no longer: the agent ends", DEADLINE);
        if end == "stop" {
            assert!(!pooler.paused("app"));
            assert_eq!(leftovers(pooler), Vec::<String>::new());
        }
    }
}

/// The first try to end it was cut off after its SET.
#[test]
fn what_a_broken_end_has_set_is_set_again_by_the_next_try() {
    for end in ["stop", "false alarm"] {
        let cluster = Cluster::builder()
            .poolers(1)
            .pooler_lines("server_login_retry = 3")
            .start();
        let pooler = cluster.pooler(1);
        let daemon = start_daemon(&cluster, 1, &patient("60s"));
        cluster.node2().kill9();
        wait_for_pause(pooler);
        daemon.wait_for_log("is suspect: clients of `app` wait", DEADLINE);
        let record = pooler
            .file()
            .with_file_name(".databases.ini.repoint-operation");
        let text = std::fs::read_to_string(&record).expect("the pause is on record");
        let owes = "\"paused\":[\"app\"],\"settings\":[{\"server_login_retry\":\"3\"}]";
        let text = text.replace("\"paused\":[\"app\"]", owes);
        assert!(text.contains(owes), "{text}");
        cluster.home().write(&record, &text);
        pooler.admin("SET server_login_retry='0.02'");
        match end {
            "stop" => assert!(daemon.terminate().success()),
            _ => cluster.node2().start(),
        }
        wait_until(DEADLINE, "no pause", || !pooler.paused("app"));
        wait_until_settled(pooler);
        assert_eq!(pooler.config("server_login_retry"), "3", "{end}");
    }
}

#[test]
fn both_agents_suspect_and_one_pauses() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &settings("20s")));
    cluster.node2().kill9();
    wait_for_decision(&daemons);
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    let paused = |daemon: &&Daemon| daemon.log().contains("is suspect: clients of `app` wait");
    assert_eq!(daemons.iter().filter(paused).count(), 1);
    assert_stays(Duration::from_secs(5), "no pause", || !pooler.paused("app"));
}

#[test]
fn nothing_is_paused_while_an_operator_holds_failover_back() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let settings = patient("20s");
    let daemon = start_daemon(&cluster, 1, &settings);
    let file = cluster.write_config(1, &settings, |_| ());
    let command = |what: &str| {
        cluster.repoint(&["-f", &file.display().to_string(), "service", what]);
    };
    command("pause");
    daemon.wait_for_log("failover is paused", DEADLINE);
    cluster.node2().kill9();
    daemon.wait_for_log("checking state of node 2", DEADLINE);
    assert_stays(Duration::from_secs(2), "no pause", || !pooler.paused("app"));
    // The node is still suspect when failover is no longer held back.
    command("unpause");
    wait_for_pause(pooler);
    command("pause");
    wait_until(DEADLINE, "no pause", || !pooler.paused("app"));
}
