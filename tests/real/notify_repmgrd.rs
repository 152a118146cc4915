//! A real repmgr 5 with two real repmgrd: nothing leads the PgBouncers to the new primary but the
//! line of `repmgr.conf` that names `repoint notify`.

use std::time::Duration;

use crate::fixture::{Streaming, wait_until};
use crate::notify::{told, wait_for_login_retry};

/// For what repmgrd does by itself; generous, for a loaded machine.
const DEADLINE: Duration = Duration::from_secs(40);

/// Waits for words in the log of a node's repmgrd.
#[track_caller]
fn wait_for_log(cluster: &Streaming, id: usize, words: &str) {
    let what = format_args!("{words}\n{}", cluster.logs());
    wait_until(DEADLINE, what, || {
        cluster.node(id).repmgrd_log().contains(words)
    });
}

/// Changes the line of every `repmgr.conf` that names `repoint`.
fn edit_command(cluster: &Streaming, edit: impl Fn(&str) -> String) {
    for member in cluster.nodes() {
        let text = std::fs::read_to_string(member.repmgr_conf()).expect("it is there");
        let line = text
            .lines()
            .find(|line| line.starts_with("event_notification_command="));
        let line = line.expect("the fixture wrote it");
        let edited = text.replace(line, &edit(line));
        assert_ne!(text, edited);
        cluster.home().write(&member.repmgr_conf(), &edited);
    }
}

/// Has `repoint` read what repmgrd reads, too: the TOML file is left with the PgBouncers.
fn share_repmgr_conf(cluster: &Streaming) {
    edit_command(cluster, |line| {
        let line = line.replace("/repoint.toml notify", "/repmgr.conf notify");
        let (_, rest) = line.split_once(" -f ").expect("the fixture wrote it");
        let (conf, _) = rest.split_once(" notify").expect("the fixture wrote it");
        let toml = conf.replace("repmgr.conf", "repoint.toml");
        format!("{line}\nrepoint_pgbouncers='{toml}'")
    });
    for member in cluster.nodes() {
        let text = std::fs::read_to_string(member.repoint_toml()).expect("it is there");
        let rest = text.find("runtime_directory").expect("it is there");
        cluster.home().write(&member.repoint_toml(), &text[rest..]);
    }
}

#[test]
fn a_killed_primary_is_left_for_the_standby_that_repmgrd_promotes() {
    let cluster = Streaming::start(2);
    cluster.start_repmgrd();
    cluster.assert_writes_reach(1);
    cluster.node(1).kill9();
    cluster.wait_until_served(2);
    cluster.assert_writes_reach(2);

    // The second event of one failover finds nothing to do, and repmgrd goes on at once.
    let files = || -> Vec<String> { cluster.poolers().iter().map(|p| p.file_text()).collect() };
    let before = files();
    let log = || cluster.node(2).repmgrd_log();
    for line in [
        "notify 2 standby_promote 1 \"\" \"\"",
        "notify 2 repmgrd_failover_promote 1 \"\" \"\"",
        "monitoring cluster primary \"node2\" (ID: 2)",
    ] {
        wait_for_log(&cluster, 2, line);
    }
    let failed = "unable to execute event notification command";
    assert!(!log().contains(failed), "{}", log());
    assert!(
        log().contains("INFO redirected `app` (a query through it"),
        "{}",
        log()
    );
    assert_eq!(before, files(), "the files were touched");
    wait_for_login_retry(cluster.poolers());
}

#[test]
fn with_nothing_but_repmgr_conf_the_pgbouncers_follow_a_switchover() {
    let cluster = Streaming::start(2);
    share_repmgr_conf(&cluster);
    // The long form; without quotes, the empty %p of a promotion is not there at all.
    edit_command(&cluster, |line| {
        let short = "%n %e %s \"%c\" \"%a\"";
        let long = "--node-id %n --event %e --success %s --conninfo \"%c\" --node-name \"%a\" \
                    --timestamp \"%t\" --details \"%d\" --primary-id %p";
        line.replace(short, long)
    });
    cluster.start_repmgrd();
    cluster.assert_writes_reach(1);
    let told = cluster.node(2).repmgr(&["standby", "switchover"]);
    assert!(told.contains("STANDBY SWITCHOVER has completed"), "{told}");
    let sent = |event: &str| told.contains(&format!("notify --node-id 2 --event {event} "));
    assert!(
        sent("standby_promote") && sent("standby_switchover"),
        "{told}"
    );
    assert!(told.contains("--primary-id 1\n"), "{told}");
    assert!(!told.contains("unable to execute"), "{told}");
    cluster.wait_until_served(2);
    cluster.assert_writes_reach(2);
    assert_eq!(cluster.node(1).is_in_recovery(), Some(true));
    for pooler in cluster.poolers() {
        let old = cluster.node(1).port().to_string();
        let rows = pooler.admin("SHOW SERVERS");
        let on_old = rows.iter().filter(|row| row["port"] == old).count();
        assert_eq!(on_old, 0, "{rows:?}");
    }
    wait_for_login_retry(cluster.poolers());
}

#[test]
fn what_repmgrd_could_not_get_done_is_in_its_log_and_finished_with_again() {
    let cluster = Streaming::start(2);
    edit_command(&cluster, |line| {
        line.replace("\"%a\"", "\"%a\" --timeout 5")
    });
    cluster.start_repmgrd();
    let away = &cluster.poolers()[1];
    away.kill9();
    cluster.node(1).kill9();
    let log = || cluster.node(2).repmgrd_log();
    let line = "repoint: 1 of 2 PgBouncers not redirected: pgb2: ";
    wait_for_log(&cluster, 2, line);
    let line = "monitoring cluster primary \"node2\" (ID: 2)";
    wait_for_log(&cluster, 2, line);
    assert!(
        log().contains("[WARNING] unable to execute event notification command"),
        "{}",
        log()
    );
    assert!(cluster.serves(&cluster.poolers()[0], 2));

    away.start();
    let again = cluster.repoint(2, &["notify", "--again"]);
    assert!(again.status.success(), "{again:?}");
    cluster.wait_until_served(2);
    cluster.assert_writes_reach(2);
}

#[test]
fn with_three_nodes_everything_goes_to_the_one_that_was_promoted() {
    let cluster = Streaming::start(3);
    // Those that follow it tell of it as well, if that is wanted.
    for member in cluster.nodes() {
        let text = std::fs::read_to_string(member.repoint_toml()).expect("it is there");
        let act_on = "act_on = [\"standby_promote\", \"repmgrd_failover_follow\"]";
        cluster
            .home()
            .write(&member.repoint_toml(), &format!("{act_on}\n{text}"));
    }
    cluster.start_repmgrd();
    cluster.node(1).kill9();
    let promoted = || {
        let open = |id: &usize| cluster.node(*id).is_in_recovery() == Some(false);
        [2, 3].into_iter().find(open)
    };
    wait_until(DEADLINE, "a promotion", || promoted().is_some());
    let primary = promoted().expect("there is one");
    cluster.wait_until_served(primary);
    cluster.assert_writes_reach(primary);

    let follower = 5 - primary;
    let followed = format!("notify {follower} repmgrd_failover_follow 1");
    wait_for_log(&cluster, follower, &followed);
    let event = ["notify", "2", "repmgrd_failover_follow", "1", "", ""];
    let (code, stdout, stderr) = told(&cluster.repoint(follower, &event));
    assert_eq!(code, 0, "{stdout}{stderr}");
    let left_alone = format!("left alone: it serves node {primary} already");
    assert_eq!(stdout.matches(&left_alone).count(), 2, "{stdout}");
}
