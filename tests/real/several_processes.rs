//! A `so_reuseport` set: several processes on one port, each with a console of its own.

use std::time::Duration;

use crate::fixture::{Cluster, Settings, wait_until};

const DEADLINE: Duration = Duration::from_secs(20);

/// Port and pause of the entry `app`, as one process has them.
fn entry(console: &str) -> (String, String) {
    let mut client = postgres::Client::connect(console, postgres::NoTls).expect("it answers");
    let messages = client.simple_query("SHOW DATABASES").expect("it answers");
    let mut rows = messages.iter().filter_map(|message| match message {
        postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let app = rows
        .find(|row| row.get("name") == Some("app"))
        .expect("it is there");
    let column = |name| app.get(name).unwrap_or_default().to_owned();
    (column("port"), column("paused"))
}

/// One setting of one process.
fn setting(console: &str, key: &str) -> Option<String> {
    let mut client = postgres::Client::connect(console, postgres::NoTls).expect("it answers");
    let messages = client.simple_query("SHOW CONFIG").expect("it answers");
    messages.iter().find_map(|message| match message {
        postgres::SimpleQueryMessage::Row(row) if row.get("key") == Some(key) => {
            row.get("value").map(str::to_owned)
        }
        _ => None,
    })
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
    let file = cluster.write_config(1, &Settings::default(), |toml| {
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
        let as_configured =
            |console: &String| setting(console, "server_login_retry").as_deref() == Some("2");
        consoles.iter().all(as_configured)
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
    let file = cluster.write_config(1, &Settings::default(), |toml| {
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
