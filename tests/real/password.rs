//! A password in a node's connection string goes to the hook, when it may, and nowhere else.

use crate::fixture::{Cluster, Daemon, Settings, process, wait_until};
use crate::scene::wait_for_events;
use crate::watching::{DEADLINE, wait_until_served, wait_until_watching};

/// The servers trust everybody, so any password will do.
const PASSWORD: &str = "correct-horse";

fn write_config(cluster: &Cluster, node_id: u32, further: &str) -> std::path::PathBuf {
    let hook = cluster.home().path("hook.log");
    let settings = Settings {
        lines: format!(
            "event_notification_command = 'echo \"%c\" >> {}'\n\
             event_notifications = \"bdr_failover\"\n{further}",
            hook.display()
        ),
        ..Settings::default()
    };
    cluster.write_config(node_id, &settings, |toml| {
        *toml = toml.replace(
            " user=repmgr ",
            &format!(" user=repmgr password={PASSWORD} "),
        );
    })
}

/// Runs a failover; gives what the hook got, and everything that was written anywhere.
fn failover(further: &str) -> (String, Vec<(&'static str, String)>) {
    let cluster = Cluster::builder().poolers(2).start();
    let files = [1, 2].map(|node_id| write_config(&cluster, node_id, further));
    let start = |index: usize| -> Daemon {
        cluster.daemon_with_filter(index as u32 + 1, &files[index], "repoint=trace")
    };
    let daemons = [start(0), start(1)];
    wait_until_watching(&cluster, &daemons);
    let file = files[0].display().to_string();
    let mut written = Vec::new();
    for arguments in [&["render", "--for", "blackhole"][..], &["render", "--full"]] {
        written.push(("render", everything(&cluster, &file, arguments)));
    }
    cluster.node2().kill9();
    wait_until_served(&cluster, 1);
    let log = cluster.home().path("hook.log");
    let hook = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until(DEADLINE, "the hook's line", || hook().ends_with('\n'));
    wait_for_events(cluster.node1(), "repoint_redirect", 1);
    for daemon in &daemons {
        daemon.terminate();
        written.push(("log", daemon.log()));
    }
    let conninfo = format!("{} password={PASSWORD}", cluster.node1().conninfo());
    let notify = ["notify", "2", "bdr_failover", "1", &conninfo, "node1"];
    written.push(("notify", everything(&cluster, &file, &notify)));
    for table in ["repmgr.events", "repmgr.nodes"] {
        let rows = cluster.node1().rows(&format!("select * from {table}"));
        assert!(rows.len() > 1, "{rows:?}");
        written.push(("table", format!("{rows:?}")));
    }
    for pooler in cluster.poolers() {
        written.push(("managed file", pooler.file_text()));
        written.push(("console", format!("{:?}", pooler.admin("SHOW DATABASES"))));
    }
    (hook(), written)
}

/// Both outputs of a command that logs all that it can.
fn everything(cluster: &Cluster, file: &str, arguments: &[&str]) -> String {
    let mut command = cluster.home().command(cluster.repoint_path());
    command
        .env("RUST_LOG", "trace")
        .args(["-f", file])
        .args(arguments);
    let output = process::run(&mut command, "", DEADLINE);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("output is text");
    assert!(output.status.success(), "{text}");
    text
}

#[track_caller]
fn assert_nowhere(written: &[(&str, String)]) {
    assert!(written.len() > 8, "{written:?}");
    for (what, text) in written {
        assert!(!text.is_empty(), "there is no {what}");
        for line in text.lines() {
            assert!(!line.contains(PASSWORD), "{what}: {line}");
        }
    }
}

#[test]
fn the_hook_gets_it_and_nothing_else_does() {
    let (hook, written) = failover("");
    assert!(hook.contains(&format!(" password={PASSWORD} ")), "{hook}");
    assert_nowhere(&written);
}

#[test]
fn the_hook_does_not_get_it_when_the_operator_says_so() {
    let (hook, written) = failover("event_notification_password = false");
    assert!(
        hook.contains("user=repmgr") && hook.contains("connect_timeout=2"),
        "{hook}"
    );
    assert!(
        !hook.contains(PASSWORD) && !hook.contains("password"),
        "{hook}"
    );
    assert_nowhere(&written);
}
