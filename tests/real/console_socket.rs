//! The admin console is a unix socket on PgBouncer's host, and no port of it.

use std::sync::mpsc;
use std::time::Duration;

use repoint::edge::admin_console;
use repoint::edge::remote::{RemoteHost, Site, Turns};
use rustix::process::Signal;

use crate::fixture::{Cluster, Console, Pooler, Settings, wait_until};
use crate::host_verbs::runtime;
use crate::scene::{
    DEADLINE, assert_new_clients_commit, assert_serves, start_daemon, wait_for_decision,
    wait_for_events,
};
use crate::served::{leftovers, wait_until_serves};
use crate::steps::{daemon_with_steps, signal};

/// What is owed is owed for the length of `server_login_retry`, and on record a little longer.
const SETTLED: Duration = Duration::from_secs(15);

#[test]
fn a_console_behind_a_socket_is_reached_through_ssh() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    let settings = Settings {
        console: Console::Socket,
        ..Settings::default()
    };
    let daemons = [start_daemon(&cluster, 1, &settings)];
    for pooler in &poolers {
        let clients = pooler.admin("SHOW CLIENTS");
        let by_socket = clients.iter().any(|row| row["addr"] == "unix");
        assert!(by_socket, "{clients:?}");
    }

    node2.kill9();
    let decided = wait_for_decision(&daemons);
    assert_new_clients_commit(&poolers, node1, decided);

    let redirects = wait_for_events(node1, "repoint_redirect", 1);
    assert_eq!(redirects[0]["successful"], "t", "{redirects:?}");
    for pooler in poolers {
        assert_serves(pooler, node1);
    }
}

#[test]
fn a_console_behind_a_socket_is_opened_again_over_the_same_session() {
    let cluster = Cluster::builder().poolers(1).start();
    let settings = Settings {
        console: Console::Socket,
        ..Settings::default()
    };
    let file = cluster.write_config(1, &settings, |_| ());
    let text = std::fs::read_to_string(&file).expect("it was written");
    let config = repoint::config::file::parse(&file, &text).expect("it is right");
    let pgbouncer = &config.pgbouncers["pgb1"];
    let sockets = cluster.home().path("s");
    cluster.home().create_directory(&sockets);
    let open_three_times = async || {
        let host =
            RemoteHost::open(&Site::of_pgbouncer(pgbouncer), &sockets, &Turns::default()).await;
        let host = host.expect("a session");
        let mut consoles = Vec::new();
        for _ in 0..3 {
            let console = admin_console::Console::open(&pgbouncer.consoles[0], &host).await;
            consoles.push(console.expect("a console"));
        }
        for console in &consoles {
            console.command("SHOW VERSION").await.expect("an answer");
        }
    };
    let runtime = runtime();
    runtime.block_on(open_three_times());
    // The next session finds what this one has left over.
    runtime.block_on(open_three_times());
}

/// PgBouncer is started anew with clients paused: nothing is paused then, and so it is told.
#[test]
fn a_pgbouncer_that_is_started_anew_in_a_pause_is_resumed_through_its_socket() {
    let lines = "server_login_retry = 2";
    let cluster = Cluster::builder().poolers(1).pooler_lines(lines).start();
    let pooler = cluster.pooler(1);
    let settings = Settings {
        console: Console::Socket,
        ..Settings::pausing()
    };
    let pid = pooler.pid().expect("it runs");
    let (tell, killed) = mpsc::channel();
    let mut once = Some(tell);
    let daemon = daemon_with_steps(&cluster, &settings, move |_, step| {
        if step == "Pause"
            && let Some(tell) = once.take()
        {
            signal(pid, Signal::KILL);
            tell.send(()).expect("it is waited for");
        }
    });
    cluster.node2().kill9();
    killed.recv_timeout(DEADLINE).expect("a pause");
    pooler.kill9();
    pooler.start();

    let told = daemon.wait_for_log("redirect complete: 1 of 1", DEADLINE);
    assert!(!daemon.log().contains("STILL PAUSED"), "{}", daemon.log());
    let proof = "`app` (a query through it landed on node 1)";
    assert!(told.text.contains(proof), "{}", told.text);
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    assert!(!pooler.paused("app"));
    let what = format!("{:?}\n{}", leftovers(pooler), daemon.log());
    wait_until(SETTLED, what, || leftovers(pooler).is_empty());
}
