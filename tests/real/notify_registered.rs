//! `bdr_failover` with a configuration that leaves the nodes to `repmgr.nodes`.

use crate::fixture::{Cluster, Settings};
use crate::notify::{cluster, told};
use crate::watching::serves;

const TABLES: [&str; 2] = [
    "create schema repmgr",
    "create table repmgr.nodes (node_id int primary key, upstream_node_id int, \
     active bool not null default true, node_name text not null, type text not null, \
     location text not null default 'default', priority int not null default 100, \
     conninfo text not null, repluser text not null, slot_name text, config_file text not null)",
];

/// What `bdr register` writes on both nodes.
fn register(cluster: &Cluster) {
    for on in cluster.nodes() {
        for statement in TABLES {
            on.rows(statement);
        }
        for node in cluster.nodes() {
            on.rows(&format!(
                "insert into repmgr.nodes (node_id, node_name, type, conninfo, repluser, \
                 config_file) values ({}, '{}', 'bdr', '{}', '', '')",
                node.id(),
                node.name(),
                node.conninfo()
            ));
        }
    }
}

/// Of the host's own node alone.
fn configuration(cluster: &Cluster, node_id: u32) -> String {
    let node = cluster.node(node_id);
    let own = format!(
        "node_name = \"{}\"\nconninfo = \"{}\"\n",
        node.name(),
        node.conninfo()
    );
    let file = cluster.write_config(node_id, &Settings::default(), |text| {
        let (first, last) = (text.find("[[node]]"), text.find("[[pgbouncer]]"));
        text.replace_range(first.expect("a node")..last.expect("a PgBouncer"), &own);
    });
    file.display().to_string()
}

#[test]
fn from_the_host_of_the_node_that_is_left_and_from_that_of_the_one_that_failed() {
    let cluster = cluster();
    register(&cluster);
    let files = [1, 2].map(|node_id| configuration(&cluster, node_id));
    cluster.node2().kill9();
    let conninfo = cluster.node1().conninfo();
    let call = |file: &str, next: [&str; 2]| {
        let event = [
            "-f",
            file,
            "notify",
            "2",
            "bdr_failover",
            "1",
            next[0],
            next[1],
        ];
        told(&cluster.repoint(&event))
    };
    // Where the node is dead, only repmgrd knows the other one.
    let (code, stdout, stderr) = call(&files[1], ["", ""]);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(
        stderr.ends_with("repoint: nothing was changed: there is only one node\n"),
        "{stderr}"
    );
    let (code, stdout, stderr) = call(&files[1], [&conninfo, "node1"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(serves(&cluster, 1, 1) && serves(&cluster, 2, 1));
    for next in [["", ""], [conninfo.as_str(), "node1"]] {
        let (code, stdout, stderr) = call(&files[0], next);
        assert_eq!(code, 0, "{stdout}{stderr}");
        assert_eq!(
            stdout
                .matches("left alone: it serves node 1 already")
                .count(),
            2
        );
    }
    let (code, _, stderr) = told(&cluster.repoint(&["-f", &files[0], "notify", "--again"]));
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn what_repmgr_has_given_up_is_left_without_any_event() {
    let cluster = cluster();
    register(&cluster);
    let file = configuration(&cluster, 1);
    cluster.node2().kill9();
    cluster
        .node1()
        .rows("update repmgr.nodes set active = false where node_id = 2");
    let (code, stdout, stderr) = told(&cluster.repoint(&["-f", &file, "notify", "--again"]));
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(serves(&cluster, 1, 1) && serves(&cluster, 2, 1));
}
