//! What others wrote into the managed file survives a redirect byte for byte, or as the policy
//! says.

use repoint::render::header;

use crate::fixture::{Cluster, Daemon, Node, Pooler, Settings, wait_until};
use crate::notify::told;
use crate::scene::{
    DEADLINE, assert_serves, is_active, reloads, start_daemon, wait_for_decision, wait_for_events,
};
use crate::served::{assert_stays, node_through};

/// A file is looked at every half minute.
const NOTICED: std::time::Duration = std::time::Duration::from_secs(60);

/// The file with a port in place of another in the line of `app`, below the line of ours.
#[track_caller]
fn assert_only_the_port_of_app_changed(text: &str, before: &str, from: &Node, to: &Node) {
    let (head, body) = text.split_once('\n').expect("a line of ours, and the rest");
    assert!(head.starts_with(";repoint v1 generation="), "{head}");
    let (_, untouched) = header::read(text.as_bytes()).expect("it is ours");
    assert!(untouched);
    let entry = |node: &Node| format!("app = port='{}' ", node.port());
    assert_eq!(before.matches(&entry(from)).count(), 1, "{before}");
    assert_eq!(body, before.replace(&entry(from), &entry(to)));
}

/// With all that PgBouncer allows in a file: other entries and keys, comments, another section,
/// blanks, line breaks of DOS, and none at the end.
fn foreign_text(leads_to: &Node) -> String {
    let port = leads_to.port();
    format!(
        "; the databases of pgb1\r\n\r\n[databases]\r\n# theirs\r\n\
         \tother=host = 127.0.0.1 port={port} dbname=bdrtest  pool_size=2\r\n\
         app = port='{port}' host=127.0.0.1  pool_size=7 dbname=bdrtest \
         application_name='it''s = app' \r\n\
         ; app = host=elsewhere port={port}\r\n\r\n[users]\r\n\
         app = max_user_connections=50\r\n; end"
    )
}

#[test]
fn an_include_file_keeps_every_byte_that_is_not_of_our_entries() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1, node2) = (cluster.pooler(1), cluster.node1(), cluster.node2());
    let before = foreign_text(node2);
    pooler.write_file(&before);
    pooler.admin("RELOAD");
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];

    node2.kill9();
    wait_for_decision(&daemons);
    wait_for_events(node1, "repoint_redirect", 1);
    assert_serves(pooler, node1);
    assert_only_the_port_of_app_changed(&pooler.file_text(), &before, node2, node1);
    assert_eq!(pooler.served_port("other"), node2.port());
    let app = pooler.admin("SHOW DATABASES");
    let app = app.iter().find(|row| row["name"] == "app");
    assert_eq!(app.expect("it is there")["pool_size"], "7");
}

#[test]
fn a_whole_pgbouncer_ini_keeps_every_byte_that_is_not_of_our_entries() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1, node2) = (cluster.pooler(1), cluster.node1(), cluster.node2());
    let ini = pooler.socket_dir().join("pgbouncer.ini");
    let include = format!("%include {}\n", pooler.file().display());
    let text = std::fs::read_to_string(&ini).expect("the fixture has written it");
    assert!(text.ends_with(&include), "{text}");
    let port = node2.port();
    let more = format!("[databases]\nstill = host=127.0.0.1 port={port} dbname=bdrtest\n");
    pooler.write_file(&more);
    let before = text.replace(
        &include,
        &format!(
            "; settings of theirs\nmax_client_conn = 77\n\n[databases]\n\
             app = port='{port}' host=127.0.0.1 dbname=bdrtest\n{include}"
        ),
    );
    cluster.home().write(&ini, &before);
    pooler.admin("RELOAD");
    assert_eq!(pooler.config("max_client_conn"), "77");
    let file = cluster.write_config(1, &Settings::default(), |toml| {
        *toml = toml.replace("/conf/databases.ini", "/pgbouncer.ini");
    });
    let daemons = [cluster.daemon_with_file(1, &file, |_| ())];
    daemons[0].wait_for_log("monitoring node \"node2\"", DEADLINE);

    node2.kill9();
    wait_for_decision(&daemons);
    wait_for_events(node1, "repoint_redirect", 1);
    assert_serves(pooler, node1);
    let after = std::fs::read_to_string(&ini).expect("it is there");
    assert_only_the_port_of_app_changed(&after, &before, node2, node1);
    assert_eq!(pooler.file_text(), more);
    assert_eq!(pooler.served_port("still"), node2.port());
    assert_eq!(pooler.config("max_client_conn"), "77");
    assert_eq!(pooler.config("pool_mode"), "transaction");
    // It starts on that file, too.
    pooler.stop();
    pooler.start();
    assert_serves(pooler, node1);
}

#[test]
fn an_edit_between_two_failovers_stays_and_is_told_without_its_password() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &Settings::default()));
    node2.kill9();
    wait_for_decision(&daemons);
    for pooler in cluster.poolers() {
        wait_for_port(pooler, node1);
    }
    node2.start();
    cluster.hasten_replication();
    wait_until(NOTICED, "a recovery", || is_active(node1, 2));

    let pooler = cluster.pooler(1);
    let ours = pooler.file_text();
    let port = node2.port();
    let entry = format!("by_hand = host=127.0.0.1 port={port} dbname=bdrtest password=hunter2\n");
    let edited = ours.replace("dbname='bdrtest'", "dbname='bdrtest'  pool_size=3") + &entry;
    pooler.write_file(&edited);
    pooler.admin("RELOAD");
    let told = "added `by_hand = host=127.0.0.1 port=";
    let line = daemons[1].wait_for_log(told, NOTICED);
    let edit = "the file was edited by hand since repoint wrote it: ";
    assert!(line.text.contains(edit), "{}", line.text);
    assert!(line.text.contains("password=…"), "{}", line.text);
    daemons[0].wait_for_log(told, NOTICED);

    let marks = daemons.each_ref().map(Daemon::mark);
    node1.kill9();
    for pooler in cluster.poolers() {
        wait_for_port(pooler, node2);
    }
    assert_eq!(node_through(pooler), "node2");
    let text = pooler.file_text();
    let (_, body) = text.split_once('\n').expect("a line of ours, and the rest");
    let (_, before) = edited
        .split_once('\n')
        .expect("a line of ours, and the rest");
    let app = |node: &Node| format!("app = host='127.0.0.1' port='{}'", node.port());
    assert_eq!(body, before.replace(&app(node1), &app(node2)));
    // Either of the two did it.
    let told = |daemon: &Daemon, mark: usize| {
        let log = daemon.log();
        let mut lines = log.lines().skip(mark);
        lines.any(|line| {
            line.contains("redirected `app`")
                && line.contains("note: the file was edited by hand since repoint wrote it (")
                && line.contains("; the edits stay")
        })
    };
    wait_until(DEADLINE, "an outcome that tells of the edit", || {
        daemons
            .iter()
            .zip(marks)
            .any(|(daemon, mark)| told(daemon, mark))
    });
    let other = cluster.pooler(2).file_text();
    assert!(
        !other.contains("by_hand") && other.contains(&app(node2)),
        "{other}"
    );
    for daemon in &daemons {
        assert!(!daemon.log().contains("hunter2"), "{}", daemon.log());
    }
}

#[test]
fn a_file_that_must_not_be_edited_is_left_alone_until_it_is_put_back() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1, node2) = (cluster.pooler(1), cluster.node1(), cluster.node2());
    let settings = Settings {
        pgbouncer_lines: "edits = \"refuse\"".to_owned(),
        ..Settings::default()
    };
    let ours = first_file(&cluster, &settings);
    let edited = ours.clone() + "; by hand\n";
    pooler.write_file(&edited);
    let before = reloads(pooler);
    let daemons = [start_daemon(&cluster, 1, &settings)];
    node2.kill9();
    let reason = "failed, nothing changed: the file of `pgb1` was edited by hand since repoint \
                  wrote it, so it is not touched; put it back, or keep the edits with `edits = ";
    let told = daemons[0].wait_for_log(reason, DEADLINE);
    assert!(told.text.contains("WARN"), "{}", told.text);
    assert_stays(
        std::time::Duration::from_secs(2),
        "it is left alone",
        || pooler.file_text() == edited && pooler.served_port("app") == node2.port(),
    );
    assert!(!pooler.paused("app"));
    assert_eq!(reloads(pooler), before);

    pooler.write_file(&ours);
    wait_until(NOTICED, "a redirect", || {
        pooler.served_port("app") == node1.port()
    });
    assert_serves(pooler, node1);
}

#[test]
fn a_file_that_is_to_be_overwritten_is_rendered_and_the_edited_one_is_kept() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1, node2) = (cluster.pooler(1), cluster.node1(), cluster.node2());
    let settings = Settings {
        pgbouncer_lines: "template = \"databases.ini\"\nedits = \"overwrite\"".to_owned(),
        ..Settings::default()
    };
    let port = node2.port();
    let entry = format!("by_hand = host=127.0.0.1 port={port} dbname=bdrtest\n");
    let edited = first_file(&cluster, &settings) + &entry;
    pooler.write_file(&edited);
    pooler.admin("RELOAD");
    let daemons = [start_daemon(&cluster, 1, &settings)];
    node2.kill9();
    wait_for_decision(&daemons);
    wait_for_events(node1, "repoint_redirect", 1);
    assert_serves(pooler, node1);
    crate::scene::assert_file_leads_to(pooler, node1);
    let previous = pooler.file().with_file_name("databases.ini.prev");
    assert_eq!(
        std::fs::read_to_string(previous).expect("it is there"),
        edited
    );
    let log = daemons[0].log();
    for note in [
        "the edited one is kept as .prev",
        "the template does not give `by_hand`, so the RELOAD removes it",
    ] {
        assert!(log.contains(note), "{log}");
    }
}

#[test]
fn with_a_template_edits_stay_and_a_file_that_was_never_ours_is_replaced() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let settings = Settings {
        pgbouncer_lines: "template = \"databases.ini\"".to_owned(),
        ..Settings::default()
    };
    let (ours, never_ours) = (cluster.pooler(1), cluster.pooler(2));
    ours.write_file(&(first_file(&cluster, &settings) + "; by hand\n"));
    let text = format!("; theirs\n{}", never_ours.file_text());
    never_ours.write_file(&text);
    let daemons = [start_daemon(&cluster, 1, &settings)];
    node2.kill9();
    wait_for_decision(&daemons);
    wait_for_events(node1, "repoint_redirect", 1);
    for pooler in [ours, never_ours] {
        assert_serves(pooler, node1);
    }
    assert!(ours.file_text().ends_with("dbname='bdrtest'\n; by hand\n"));
    crate::scene::assert_file_leads_to(never_ours, node1);
    let previous = never_ours.file().with_file_name("databases.ini.prev");
    assert_eq!(
        std::fs::read_to_string(previous).expect("it is there"),
        text
    );
}

/// What `render --full` gives to begin with, for node 2.
fn first_file(cluster: &Cluster, settings: &Settings) -> String {
    let file = cluster.write_config(1, settings, |_| ());
    let file = file.display().to_string();
    let full = ["-f", &file, "render", "--full", "--node", "node2"];
    let output = cluster.repoint(&[full.as_slice(), &["--pgbouncer", "pgb1"]].concat());
    let (code, text, stderr) = told(&output);
    assert_eq!((code, stderr.as_str()), (0, ""));
    text
}

#[track_caller]
fn wait_for_port(pooler: &Pooler, node: &Node) {
    let what = format!("{} leads to {}", pooler.name(), node.name());
    wait_until(DEADLINE, what, || {
        pooler.served_port("app") == node.port() && !pooler.paused("app")
    });
}
