//! A `so_reuseport` set: several processes on one port, each with a console of its own.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Pooler, Settings, Twin, rows, wait_until};

const DEADLINE: Duration = Duration::from_secs(20);

/// Port and pause of the entry `app`, as one process has them.
fn entry(console: &str) -> (String, String) {
    let rows = rows(console, "SHOW DATABASES", DEADLINE).expect("it answers");
    let app = rows.iter().find(|row| row["name"] == "app");
    let app = app.expect("the entry is there");
    (app["port"].clone(), app["paused"].clone())
}

/// One setting of one process.
fn setting(console: &str, key: &str) -> String {
    let rows = rows(console, "SHOW CONFIG", DEADLINE).expect("it answers");
    let row = rows.iter().find(|row| row["key"] == key);
    row.expect("the setting is there")["value"].clone()
}

#[test]
fn each_process_of_a_set_is_redirected() {
    let lines = "so_reuseport = 1\nserver_login_retry = 2";
    let cluster = Cluster::builder().poolers(1).pooler_lines(lines).start();
    let pooler = cluster.pooler(1);
    let twin = pooler.start_twin();
    let consoles = [pooler.socket_console(), twin.socket_console()];
    let at = |port: u16| (port.to_string(), "0".to_owned());
    for console in &consoles {
        assert_eq!(entry(console), at(cluster.node2().port()));
    }
    let file = cluster.write_config(1, &Settings::pausing(), |toml| {
        let one = format!("console = \"{}\"", pooler.console());
        *toml = toml.replace(&one, &format!("console = {consoles:?}"));
    });
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete", DEADLINE);
    for console in &consoles {
        assert_eq!(entry(console), at(cluster.node1().port()));
    }
    wait_until(DEADLINE, "server_login_retry as configured", || {
        let as_configured = |console: &String| setting(console, "server_login_retry") == "2";
        consoles.iter().all(as_configured)
    });
}

/// A PgBouncer of two processes, the consoles of both, and a daemon that watches it; `after` gets
/// the name of each step.
fn two(
    settings: Settings,
    mut after: impl FnMut(&Pooler, &str) + Send + 'static,
) -> (Arc<Cluster>, Twin, [String; 2], Daemon) {
    let builder = Cluster::builder().poolers(1);
    let cluster = builder.pooler_lines("so_reuseport = 1").start();
    let cluster = Arc::new(cluster);
    let pooler = cluster.pooler(1);
    let twin = pooler.start_twin();
    let consoles = [pooler.socket_console(), twin.socket_console()];
    let settings = Settings {
        lines: "log_level = \"debug\"".to_owned(),
        ..settings
    };
    let file = cluster.write_config(1, &settings, |toml| {
        let one = format!("console = \"{}\"", pooler.console());
        *toml = toml.replace(&one, &format!("console = {consoles:?}"));
    });
    let of_steps = Arc::downgrade(&cluster);
    let daemon = cluster.daemon_with_file(1, &file, move |line| {
        let step = line.text.split_once(" step=").map(|(_, rest)| rest);
        if let (Some(step), Some(cluster)) = (step, of_steps.upgrade()) {
            after(cluster.pooler(1), step);
        }
    });
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    daemon.wait_for_log("PgBouncer is reached", DEADLINE);
    (cluster, twin, consoles, daemon)
}

#[test]
fn when_the_first_process_falls_silent_the_host_ends_the_pause_of_the_second() {
    let mut stands = false;
    let (cluster, _twin, consoles, daemon) = two(Settings::pausing(), move |pooler, step| {
        if step.starts_with("Pause") && !std::mem::replace(&mut stands, true) {
            pooler.freeze();
        }
    });
    cluster.node2().kill9();
    daemon.wait_for_log("step=Pause", DEADLINE);
    assert_eq!(entry(&consoles[1]).1, "1");
    daemon.kill9();
    wait_until(Duration::from_secs(10), "no pause of the second", || {
        entry(&consoles[1]).1 == "0"
    });
    cluster.pooler(1).thaw();
    wait_until(DEADLINE, "no pause of the first", || {
        entry(&consoles[0]).1 == "0"
    });
}

#[test]
fn a_process_that_does_not_answer_is_redirected_with_the_others_when_it_is_back() {
    let cluster = Cluster::builder()
        .poolers(1)
        .pooler_lines("so_reuseport = 1")
        .start();
    let pooler = cluster.pooler(1);
    let twin = pooler.start_twin();
    let consoles = [pooler.socket_console(), twin.socket_console()];
    let file = cluster.write_config(1, &Settings::pausing(), |toml| {
        let one = format!("console = \"{}\"", pooler.console());
        *toml = toml.replace(&one, &format!("console = {consoles:?}"));
    });
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    twin.freeze();
    cluster.node2().kill9();
    daemon.wait_for_log("redirect not complete", DEADLINE);
    twin.thaw();
    daemon.wait_for_log("redirect complete", DEADLINE);
    for console in &consoles {
        let port = cluster.node1().port().to_string();
        assert_eq!(entry(console), (port, "0".to_owned()));
    }
}

/// A client of this process that hangs as soon as its node does; it tells when it hangs no more.
fn hanging(console: &str) -> mpsc::Receiver<()> {
    let conninfo = console.replace("user=admin dbname=pgbouncer", "user=app dbname=app");
    let mut client = postgres::Client::connect(&conninfo, postgres::NoTls).expect("a login");
    let (began, begun) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        client.batch_execute("begin; select 1").expect("it begins");
        began.send(()).expect("it is awaited");
        let answer = client.batch_execute("select pg_sleep(60)");
        answer.expect_err("its node is silent");
        let _nobody_waits = tell.send(());
    });
    begun.recv_timeout(DEADLINE).expect("it begins");
    told
}

/// Nothing but this daemon would set it again: where clients are not paused, there is no switch.
#[test]
fn an_eviction_is_ended_at_the_process_that_lives_when_another_one_falls_silent() {
    let mut stands = false;
    let (cluster, _twin, consoles, daemon) = two(Settings::default(), move |pooler, step| {
        if step.starts_with("Evict") && !std::mem::replace(&mut stands, true) {
            pooler.freeze();
        }
    });
    let value = || setting(&consoles[1], "query_timeout");
    assert_eq!(value(), "0");
    let clients = consoles.each_ref().map(|console| hanging(console));
    cluster.node2().freeze();
    daemon.wait_for_log("step=Evict(QueryTimeout)", DEADLINE);
    wait_until(DEADLINE, "an eviction at the living process", || {
        value() == "1"
    });
    clients[1].recv_timeout(DEADLINE).expect("it hangs no more");
    wait_until(DEADLINE, "query_timeout as it was", || value() == "0");
    assert_eq!(setting(&consoles[1], "server_fast_close"), "0");
    cluster.node2().thaw();
    cluster.pooler(1).thaw();
    daemon.wait_for_log("redirect complete", DEADLINE);
}
