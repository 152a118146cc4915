//! PgBouncers that prefer different nodes, each with a second entry that leads to the other one:
//! only what points at the failed node moves.

use std::time::Duration;

use repoint::render::header;

use crate::fixture::{Cluster, Daemon, Node, Pooler, Settings, Writer, wait_until};
use crate::scene::{DEADLINE, assert_stays, reloads, start_with, wait_for_events};

const A_WHILE: Duration = Duration::from_secs(2);

fn entries(app: &Node, reports: &Node) -> String {
    let (app, reports) = (app.port(), reports.port());
    format!(
        "[databases]\napp = host='127.0.0.1' port='{app}' dbname='bdrtest'\n\
         reports = host='127.0.0.1' port='{reports}' dbname='bdrtest'\n"
    )
}

/// `pgb1` is at home at node 1, `pgb2` at node 2; `reports` of each leads to the other node.
fn at_home() -> (Cluster, Daemon) {
    let cluster = Cluster::builder().poolers(2).start();
    let settings = Settings {
        database_lines: "[[pgbouncer.database]]\nname = \"reports\"\nprobe_user = \"probe\"".into(),
        ..Settings::default()
    };
    let file = cluster.write_config(1, &settings, |toml| {
        for number in [1, 2] {
            let name = format!("name = \"pgb{number}\"\n");
            *toml = toml.replace(&name, &format!("{name}home = {number}\n"));
        }
    });
    for number in [1, 2] {
        let path = file.display().to_string();
        let name = format!("pgb{number}");
        let ran = cluster.repoint(&["-f", &path, "render", "--full", "--pgbouncer", &name]);
        let text = String::from_utf8(ran.stdout).expect("text");
        let home = cluster.node(number).port().to_string();
        assert_eq!(text.matches(&home).count(), 2, "{text}");
        let other = cluster.node(3 - number);
        let pooler = cluster.pooler(number as usize);
        pooler.write_file(&entries(cluster.node(number), other));
        pooler.admin("RELOAD");
    }
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    let daemon = start_with(&poolers, || cluster.daemon_with_file(1, &file, |_| ()));
    (cluster, daemon)
}

#[test]
fn only_entries_that_point_at_the_failed_node_move_whatever_the_home() {
    let (cluster, daemon) = at_home();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let [first, second] = [cluster.pooler(1), cluster.pooler(2)];
    let ports = |pooler: &Pooler| ["app", "reports"].map(|entry| pooler.served_port(entry));
    assert_eq!(ports(first), [node1.port(), node2.port()]);
    assert_eq!(ports(second), [node2.port(), node1.port()]);
    let writer = Writer::start(&cluster, 2);
    wait_until(DEADLINE, "commits through both", || {
        let record = writer.so_far();
        let through = |number| record.acknowledged.iter().any(|ack| ack.pooler == number);
        through(1) && through(2)
    });

    node2.kill9();
    daemon.wait_for_log("redirect complete: 2 of 2", DEADLINE);
    wait_until(DEADLINE, "commits through both", || {
        let record = writer.so_far();
        let through = |number| {
            let mut acks = record.acknowledged.iter().rev();
            acks.any(|ack| ack.pooler == number && ack.node == "node1")
        };
        through(1) && through(2)
    });
    let record = writer.stop();

    assert_eq!(ports(first), [node1.port(), node1.port()]);
    assert_eq!(ports(second), [node1.port(), node1.port()]);
    let of_first = record.errors.iter().filter(|error| error.pooler == 1);
    assert_eq!(of_first.count(), 0, "{:?}", record.errors_by_text());
    let details = &wait_for_events(node1, "repoint_redirect", 1)[0]["details"];
    for (name, moved, stayed) in [("pgb1", "reports", "app"), ("pgb2", "app", "reports")] {
        let told = details.split("; ").find(|part| part.starts_with(name));
        let told = told.unwrap_or_else(|| panic!("{details}"));
        assert!(told.contains(&format!("redirected `{moved}`")), "{told}");
        assert!(!told.contains(&format!("`{stayed}`")), "{told}");
    }
    for pooler in [first, second] {
        let text = pooler.file_text();
        let (found, untouched) = header::read(text.as_bytes()).expect("ours");
        assert_eq!(
            (found.generation.to_string().as_str(), untouched),
            ("1.1", true)
        );
        assert!(text.ends_with(&entries(node1, node1)), "{text}");
    }

    // Going back home is nobody's business but the operator's.
    let before = [reloads(first), reloads(second)];
    node2.start();
    daemon.wait_for_log("answers again", DEADLINE);
    assert_stays(A_WHILE, "where they were led", || {
        ports(second) == [node1.port(), node1.port()]
    });
    assert_eq!([reloads(first), reloads(second)], before);
}
