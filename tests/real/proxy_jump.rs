//! A host that is reached through another one, as the operator's ssh_config says.

use crate::fixture::{Cluster, Pooler, Settings};
use crate::scene::{
    assert_new_clients_commit, assert_serves, start_with, wait_for_decision, wait_for_events,
};

#[test]
fn a_host_behind_another_is_redirected_like_any() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    let direct = cluster.ssh_config();
    let text = std::fs::read_to_string(direct).expect("the fixture has written it");
    let jump = cluster.directory().join("ssh_config_jump");
    let text = text.replace("Host pgb2\n", "Host pgb2\n  ProxyJump pgb1\n");
    cluster.home().write(&jump, &text);
    let settings = Settings::default();
    let file = cluster.write_config(1, &settings, |toml| {
        let path = |path: &std::path::Path| format!("{:?}", path.display().to_string());
        *toml = toml.replace(&path(direct), &path(&jump));
    });
    let start = || cluster.daemon_with_file(1, &file, |_| ());
    let daemons = [start_with(&poolers, start)];
    let sessions_at = |pooler: &Pooler| pooler.sshd().log().matches("Accepted publickey").count();
    assert_eq!([1, 2].map(|n| sessions_at(cluster.pooler(n))), [2, 1]);

    node2.kill9();
    let decided = wait_for_decision(&daemons);
    assert_new_clients_commit(&poolers, node1, decided);

    let redirects = wait_for_events(node1, "repoint_redirect", 1);
    assert_eq!(redirects[0]["successful"], "t", "{redirects:?}");
    for pooler in poolers {
        assert_serves(pooler, node1);
    }
}
