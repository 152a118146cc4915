//! `server_login_retry` is lowered for a redirect, and set again afterwards.

use std::time::{Duration, SystemTime};

use crate::fixture::{Cluster, Settings, wait_until};
use crate::scene::{
    DEADLINE, assert_new_clients_commit, assert_serves, assert_stays, start_daemon,
    wait_for_decision,
};

#[test]
fn an_operators_value_is_back_when_its_own_length_has_passed() {
    let lines = "server_login_retry = 2";
    let cluster = Cluster::builder().poolers(1).pooler_lines(lines).start();
    let (pooler, node1) = (cluster.pooler(1), cluster.node1());
    let value = || pooler.config("server_login_retry");
    let conf = pooler.file().with_file_name("");
    let operation = conf.join(".databases.ini.repoint-operation");
    assert_eq!(value(), "2");
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];

    cluster.node2().kill9();
    let decided = wait_for_decision(&daemons);
    assert_new_clients_commit(&[pooler], node1, decided);
    assert_eq!(value(), "0.02");
    assert!(operation.exists(), "what is owed is on record");

    // No pool may be left that failed before the redirect and has not tried since.
    wait_until(DEADLINE, "its own value", || value() == "2");
    let took = SystemTime::now().duration_since(decided).expect("later");
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    wait_until(DEADLINE, "a settled operation", || !operation.exists());
    let left: Vec<_> = std::fs::read_dir(conf)
        .expect("the directory can be read")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("repoint-staged") || name.contains("repoint-operation"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    assert_serves(pooler, node1);
}

/// It has inherited what was owed, and needs the haste itself.
#[test]
fn it_is_left_to_a_newer_operation_that_is_on_record_in_its_place() {
    let lines = "server_login_retry = 2";
    let cluster = Cluster::builder().poolers(1).pooler_lines(lines).start();
    let pooler = cluster.pooler(1);
    let operation = pooler
        .file()
        .with_file_name(".databases.ini.repoint-operation");
    let daemon = start_daemon(&cluster, 1, &Settings::default());
    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete", DEADLINE);
    let text = std::fs::read_to_string(&operation).expect("what is owed is on record");
    let words: Vec<&str> = text.splitn(4, ' ').collect();
    let [_, boot, expires, debt] = words[..] else {
        panic!("{text}");
    };
    let later: u64 = expires.parse::<u64>().expect("seconds") + 3600;
    let newer = format!("2-9-9-9 {boot} {later} {debt}");
    cluster.home().write(&operation, &newer);
    assert_stays(Duration::from_secs(6), "the haste of the newer one", || {
        pooler.config("server_login_retry") == "0.02"
    });
    assert!(daemon.terminate().success());
    assert_eq!(pooler.config("server_login_retry"), "0.02");
    let left = std::fs::read_to_string(&operation).expect("it is still on record");
    assert_eq!(left, newer);
}

/// It was killed between RELOAD and its last record, so nobody knows when the RELOAD was.
#[test]
fn what_a_redirect_owes_that_was_interrupted_is_paid_when_its_length_has_passed() {
    let lines = "server_login_retry = 3";
    let cluster = Cluster::builder().poolers(1).pooler_lines(lines).start();
    let pooler = cluster.pooler(1);
    let operation = pooler
        .file()
        .with_file_name(".databases.ini.repoint-operation");
    pooler.admin("PAUSE app");
    pooler.admin("SET server_login_retry='0.02'");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    let debt = r#"{"paused":["app"],"settings":[{"server_login_retry":"3"}]}"#;
    let line = format!("2-1-1-1 {} 1 {debt}\n", boot.trim());
    cluster.home().write(&operation, &line);
    let daemon = start_daemon(&cluster, 1, &Settings::default());
    daemon.wait_for_log("cleared up after an operation that did not end", DEADLINE);
    assert!(!pooler.paused("app"), "clients go on at once");
    assert_stays(Duration::from_secs(3), "the haste, on record", || {
        pooler.config("server_login_retry") == "0.02" && operation.exists()
    });
    wait_until(DEADLINE, "its own value", || {
        pooler.config("server_login_retry") == "3" && !operation.exists()
    });
}
