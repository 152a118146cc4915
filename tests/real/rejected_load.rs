//! A load that PgBouncer rejects half way: it has taken the lines above, and reset what stands
//! below, so that nobody can log in any more.

use std::path::PathBuf;
use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Pooler, Settings, Version, wait_until};
use crate::served::wait_until_serves;

const DEADLINE: Duration = Duration::from_secs(20);
const VERSIONS: [Version; 2] = [Version::Installed, Version::Newest];

fn ini(pooler: &Pooler) -> PathBuf {
    pooler.socket_dir().join("pgbouncer.ini")
}

fn ini_text(pooler: &Pooler) -> String {
    std::fs::read_to_string(ini(pooler)).expect("it is there")
}

/// As an editor would, with a line that PgBouncer does not know.
fn spoil(cluster: &Cluster, pooler: &Pooler) -> String {
    let good = ini_text(pooler);
    let bad = good.replace("auth_type = ", "bogus_key = 1\nauth_type = ");
    cluster.home().write(&ini(pooler), &bad);
    good
}

fn watching(cluster: &Cluster, edit: impl FnOnce(&mut String)) -> Daemon {
    for pooler in cluster.poolers() {
        pooler.admin("SET query_timeout='77'");
    }
    let file = cluster.write_config(1, &Settings::pausing(), edit);
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    for pooler in cluster.poolers() {
        let reached = format!("is reached pgbouncer=\"{}\"", pooler.name());
        daemon.wait_for_log(&reached, DEADLINE);
    }
    daemon
}

/// New logins work, clients are pooled as before, and the operator's SET is there.
#[track_caller]
fn assert_as_before(pooler: &Pooler) {
    let values = [
        ("admin_users", "admin"),
        ("auth_type", "trust"),
        ("pool_mode", "transaction"),
        ("query_timeout", "77"),
        ("server_login_retry", "15"),
    ];
    for (key, value) in values {
        assert_eq!(pooler.config(key), value, "{}: {key}", pooler.name());
    }
    assert!(!pooler.paused("app"));
    let beside = ini(pooler).with_file_name("");
    for directory in [beside.join("conf"), beside] {
        for entry in std::fs::read_dir(directory).expect("it can be read") {
            let name = entry.expect("an entry").file_name();
            let name = name.to_string_lossy().into_owned();
            let rest = name.contains("-staged-") || name.contains("-operation");
            assert!(!rest, "{name} is left");
        }
    }
}

/// From 1.25 on RELOAD tells that something was wrong.
fn tells(pooler: &Pooler) -> bool {
    let version = pooler.admin("SHOW VERSION")[0]["version"].clone();
    let minor = version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok());
    minor.is_some_and(|minor: u32| minor >= 25)
}

#[test]
fn a_whole_file_that_locks_everybody_out_is_taken_back_by_the_console_that_is_open() {
    let cluster = Cluster::builder().pgbouncers(&VERSIONS).start();
    let before = [1, 2].map(|number| ini_text(cluster.pooler(number)));
    let daemon = watching(&cluster, |toml| {
        *toml = toml.replace("/conf/databases.ini", "/pgbouncer.ini");
        for pooler in cluster.poolers() {
            // Whether an included file is there is known to PgBouncer alone.
            let refused = "%include /nowhere/at/all.ini\nauth_type = ";
            let own = ini_text(pooler).replace("auth_type = ", refused);
            let own = own.split("%include /tmp").next().expect("the first part");
            let text = format!(
                "[databases]\n{{% for database in databases -%}}\n\
                 {{{{ database.name }}}} = {{{{ database.connection }}}}\n{{% endfor -%}}\n{own}"
            );
            let template = pooler.socket_dir().join("template.ini");
            cluster.home().write(&template, &text);
            let place = format!("name = \"{}\"\n", pooler.name());
            let line = format!("{place}template = \"{}\"\n", template.display());
            *toml = toml.replacen(&place, &line, 1);
        }
    });
    cluster.node2().kill9();
    for pooler in cluster.poolers() {
        daemon.wait_for_log(&format!("pgbouncer=\"{}\" node=1", pooler.name()), DEADLINE);
    }
    assert!(daemon.terminate().success());
    for (pooler, before) in cluster.poolers().iter().zip(before) {
        let lost = "has lost its admin_users, auth_type, pool_mode; its log says why";
        let log = daemon.log();
        assert!(
            log.contains("failed, previous file restored: after RELOAD"),
            "{log}"
        );
        assert!(log.contains(lost), "{log}");
        assert_eq!(ini_text(pooler), before);
        assert_as_before(pooler);
        assert_eq!(pooler.served_port("app"), cluster.node2().port());
    }
}

#[test]
fn clients_get_to_the_live_node_when_what_is_wrong_is_not_in_our_file() {
    let cluster = Cluster::builder().pgbouncers(&VERSIONS).start();
    for pooler in cluster.poolers() {
        // The entries come first, so that they are taken.
        let text = ini_text(pooler);
        let (own, include) = text.split_once("%include ").expect("the fixture has one");
        pooler.stop();
        let text = format!("%include {}\n{own}", include.trim());
        cluster.home().write(&ini(pooler), &text);
        pooler.start();
    }
    let daemon = watching(&cluster, |_| ());
    for pooler in cluster.poolers() {
        spoil(&cluster, pooler);
    }
    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete: 2 of 2", DEADLINE);
    for pooler in cluster.poolers() {
        wait_until_serves(pooler, cluster.node1(), DEADLINE);
        let lines = daemon.lines();
        let of_it = format!("pgbouncer=\"{}\"", pooler.name());
        let mut told = lines.iter().map(|line| &line.text);
        let told = told.find(|l| l.contains("redirected `app`") && l.contains(&of_it));
        let told = told.expect("it is told");
        let lost = "has lost its admin_users, auth_type, pool_mode; its log says why; it was no \
                    better with the previous file: its other files are wrong";
        let words = [
            lost,
            "admin_users: what was in force is so again",
            "query_timeout: 77",
        ];
        for word in words {
            assert!(told.contains(word), "`{word}` is not in: {told}");
        }
        assert_eq!(
            told.contains("answered RELOAD with"),
            tells(pooler),
            "{told}"
        );
    }
    assert!(daemon.terminate().success());
    cluster.poolers().iter().for_each(assert_as_before);
}

#[test]
fn a_file_that_nobody_can_load_costs_nobody_the_login_and_is_loaded_once_it_is_mended() {
    let cluster = Cluster::builder().pgbouncers(&VERSIONS).start();
    let daemon = watching(&cluster, |_| ());
    let good = [1, 2].map(|number| spoil(&cluster, cluster.pooler(number)));
    let before = [1, 2].map(|number| cluster.pooler(number).file_text());
    cluster.node2().kill9();
    for pooler in cluster.poolers() {
        daemon.wait_for_log(&format!("pgbouncer=\"{}\" node=1", pooler.name()), DEADLINE);
    }
    let log = daemon.log();
    assert!(
        log.contains("failed, previous file restored: after RELOAD"),
        "{log}"
    );
    assert!(
        log.contains("with the previous file too: its other files are wrong"),
        "{log}"
    );
    assert!(daemon.terminate().success());
    for (pooler, before) in cluster.poolers().iter().zip(&before) {
        assert_as_before(pooler);
        assert_eq!(pooler.file_text(), *before);
        assert_eq!(pooler.served_port("app"), cluster.node2().port());
    }

    let file = cluster.daemon_directory(1).join("repoint.toml");
    let again = cluster.daemon_with_file(1, &file, |_| ());
    again.wait_for_log("failed, previous file restored", DEADLINE);
    for (pooler, good) in cluster.poolers().iter().zip(good) {
        cluster.home().write(&ini(pooler), &good);
    }
    again.wait_for_log("redirect complete: 2 of 2", DEADLINE);
    for pooler in cluster.poolers() {
        wait_until_serves(pooler, cluster.node1(), DEADLINE);
    }
    assert!(again.terminate().success());
    for pooler in cluster.poolers() {
        wait_until(DEADLINE, "its settings", || {
            pooler.config("query_timeout") == "77"
        });
        assert_as_before(pooler);
    }
}
