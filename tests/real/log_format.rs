//! A failover in the log, in the formats for machines, with names that want to be lines. The
//! format for people is in `hostile_data`.

use std::path::PathBuf;

use crate::fixture::{Cluster, Daemon, Settings, wait_until};
use crate::scene::DEADLINE;
use crate::watching::wait_until_served;

const PASSWORD: &str = "correct-horse";
const NAME: &str = "node2\n[2017-07-27 21:08:39] [ERROR] forged\r\u{85}\u{1b}[2J";

fn start(cluster: &Cluster, node_id: u32, format: &str) -> (Daemon, PathBuf) {
    let log = cluster.directory().join(format!("{format}.log"));
    let settings = Settings {
        lines: format!("log_format = \"{format}\"\nlog_level = \"debug\"\nlog_file = {log:?}"),
        ..Settings::default()
    };
    let file = cluster.write_config(node_id, &settings, |toml| {
        *toml = toml.replace(
            "node_name = \"node2\"",
            &format!("node_name = {}", toml_text()),
        );
        let with_password = format!(" user=repmgr password={PASSWORD} ");
        *toml = toml.replace(" user=repmgr ", &with_password);
    });
    (cluster.daemon_with_file(node_id, &file, |_| ()), log)
}

/// [`NAME`] as TOML, whose escapes are those of JSON.
fn toml_text() -> String {
    serde_json::to_string(NAME).expect("a text")
}

/// All lines of a log that ends well.
fn lines(daemon: &Daemon, log: &PathBuf) -> Vec<String> {
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(daemon.log(), "", "standard error");
    let text = std::fs::read_to_string(log).expect("text");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for line in &lines {
        assert!(!line.contains(PASSWORD), "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    lines
}

#[test]
fn a_failover_is_one_line_after_the_other_in_each_format() {
    let cluster = Cluster::builder().poolers(2).start();
    let started = [(1, "repmgr"), (2, "json")].map(|(id, format)| start(&cluster, id, format));
    let text = |log: &PathBuf| std::fs::read_to_string(log).unwrap_or_default();
    for (_, log) in &started {
        let what = format!("a look at both in {}", log.display());
        wait_until(DEADLINE, what, || {
            let text = text(log);
            ["(ID: 1)", "(ID: 2)"]
                .iter()
                .all(|node| text.contains(node))
                && text.matches("PgBouncer is reached").count() == 2
        });
    }
    cluster.node2().kill9();
    wait_until_served(&cluster, 1);
    for (_, log) in &started {
        wait_until(DEADLINE, "its end", || {
            text(log).contains("unable to reconnect to node 2")
        });
    }
    let [repmgr, json] = started.map(|(daemon, log)| lines(&daemon, &log));
    for line in &repmgr {
        let (stamp, rest) = line.split_at(22);
        assert!(stamp.starts_with("[20") && stamp.ends_with("] "), "{line}");
        let words = [
            "[DEBUG] ",
            "[INFO] ",
            "[WARNING] ",
            "[ERROR] ",
            "[NOTICE] ",
            "[DETAIL] ",
        ];
        assert!(words.iter().any(|word| rest.starts_with(word)), "{line}");
        assert!(!line.starts_with("[2017"), "{line}");
    }
    for line in &json {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
        let without_fields = ["level", "message", "timestamp"];
        assert!(keys == ["fields", "level", "message", "timestamp"] || keys == without_fields);
    }
    let warned = |line: &&String| line.contains("unable to reconnect to node 2 after 2 attempts");
    for lines in [&repmgr, &json] {
        assert_eq!(lines.iter().filter(warned).count(), 1, "{lines:#?}");
    }
}
