//! `cluster show`: exact output, and what a node that hangs, or a row that lies, costs the others.

use std::time::{Duration, Instant};

use crate::fixture::{Cluster, process};
use crate::registered::{self, Ran, add, on_both, run, run_at, run_on};
use crate::standin::Standin;

/// A node's own limit of two seconds, once for the first connection and once for the look, and a
/// machine that is busy with others.
const BOUND: Duration = Duration::from_secs(8);

/// The table of both nodes, with their status and timeline.
fn table(cluster: &Cluster, nodes: [(&str, &str); 2]) -> String {
    let conninfos = cluster.nodes().each_ref().map(|node| node.conninfo());
    let width = conninfos[0].len();
    let status = nodes.map(|(status, _)| status.len()).into_iter().max();
    let status = status.unwrap_or_default();
    let mut text = format!(
        " ID | Name  | Role | {:<status$} | Upstream | Location | Priority | Timeline \
         | {:<width$}\n",
        "Status", "Connection string"
    );
    text += &format!(
        "----+-------+------+{}+----------+----------+----------+----------+{}\n",
        "-".repeat(status + 2),
        "-".repeat(width + 2)
    );
    for ((id, (cell, timeline)), conninfo) in (1..).zip(nodes).zip(conninfos) {
        text += &format!(
            " {id}  | node{id} | bdr  | {cell:<status$} |          | default  | 100      \
             | {timeline:<8} | {conninfo:<width$}\n"
        );
    }
    text
}

const UP: (&str, &str) = ("* running", "1");

#[test]
fn both_nodes_are_shown_as_repmgr_shows_them() {
    let cluster = registered::start();
    let both = table(&cluster, [UP, UP]);
    run_on(&cluster, 1, "cluster show").is(0, &both, "");
    run_at(&cluster, 2, "cluster show").is(0, &both, "");
    run_at(&cluster, 1, "cluster show --csv").is(0, "1,0,0\n2,0,0\n", "");
    let compact = " ID | Name  | Role | Status    | Upstream | Location | Prio. | TLI
----+-------+------+-----------+----------+----------+-------+-----
 1  | node1 | bdr  | * running |          | default  | 100   | 1 \u{20}
 2  | node2 | bdr  | * running |          | default  | 100   | 1 \u{20}
";
    run_on(&cluster, 1, "cluster show --compact").is(0, compact, "");
    let node = |id: u32| {
        format!(
            r#"    {{
      "node_id": {id},
      "node_name": "node{id}",
      "role": "bdr",
      "status": "running",
      "active": true,
      "upstream": null,
      "location": "default",
      "priority": 100,
      "timeline": 1,
      "conninfo": "{}",
      "error": null
    }}"#,
            cluster.node(id).conninfo()
        )
    };
    let object = format!(
        "{{\n  \"nodes\": [\n{},\n{}\n  ],\n  \"issues\": [],\n  \"pauses\": []\n}}\n",
        node(1),
        node(2)
    );
    run_on(&cluster, 1, "cluster show --json").is(0, &object, "");

    on_both(
        &cluster,
        "UPDATE repmgr.nodes SET active = false WHERE node_id = 2",
    );
    let block = "\nWARNING: following issues were detected\n  \
                 - node \"node2\" (ID: 2) is running, but its record is inactive\n";
    let inactive = table(&cluster, [UP, ("! running", "1")]) + block;
    run_on(&cluster, 1, "cluster show").is(25, &inactive, "");
    run_at(&cluster, 1, "cluster show --csv").is(25, "1,0,0\n2,0,0\n", "");
}

#[test]
fn a_node_that_is_down_is_told_with_its_reason_on_demand() {
    let cluster = registered::start();
    cluster.node2().kill9();
    let lost = "\nWARNING: following issues were detected\n  \
                - unable to connect to node \"node2\" (ID: 2)";
    let hint = "HINT: with --verbose it says why a connection failed\n";
    let unreachable = table(&cluster, [UP, ("? unreachable", "?")]);
    let expected = format!("{unreachable}{lost}\n");
    run_on(&cluster, 1, "cluster show").is(25, &expected, hint);

    on_both_but_the_dead(
        &cluster,
        "UPDATE repmgr.nodes SET active = false WHERE node_id = 2",
    );
    let failed = table(&cluster, [UP, ("- failed", "?")]);
    let expected = format!("{failed}{lost}\n");
    run_on(&cluster, 1, "cluster show").is(25, &expected, hint);
    let expected = format!("{failed}{lost}: refused: Connection refused (os error 111)\n");
    run_at(&cluster, 1, "cluster show --verbose").is(25, &expected, "");
    run_at(&cluster, 1, "cluster show --terse").is(25, &failed, "");
    run_at(&cluster, 1, "cluster show --csv").is(25, "1,0,0\n2,-1,-1\n", "");
    let json = run_at(&cluster, 1, "cluster show --json");
    assert_eq!((json.code, json.stderr.as_str()), (25, ""));
    for line in [
        "      \"status\": \"failed\",",
        "      \"timeline\": null,",
        "      \"error\": \"refused: Connection refused (os error 111)\"",
        "    \"unable to connect to node \\\"node2\\\" (ID: 2)\"",
    ] {
        assert!(
            json.stdout.lines().any(|found| found == line),
            "{line}: {json:?}"
        );
    }

    // The configuration of the dead node names the other, the command line names one only.
    let other = run_on(&cluster, 2, "cluster show --csv");
    assert_eq!(
        (other.code, other.stdout.as_str()),
        (25, "1,0,0\n2,-1,-1\n")
    );
    let warning = "WARNING: unable to connect to the database; \
                   asking node \"node1\" (ID: 1) instead\n";
    assert!(other.stderr.starts_with(warning), "{other:?}");
    let ran = run_at(&cluster, 2, "cluster show");
    assert_eq!((ran.code, ran.stdout.as_str()), (6, ""));
    assert!(
        ran.stderr
            .starts_with("ERROR: unable to connect to the database\n"),
        "{ran:?}"
    );
    cluster.node1().kill9();
    let ran = run_on(&cluster, 1, "cluster show");
    assert_eq!((ran.code, ran.stdout.as_str()), (6, ""));
    assert_eq!(
        ran.stderr.matches("Connection refused").count(),
        2,
        "{ran:?}"
    );
}

fn on_both_but_the_dead(cluster: &Cluster, sql: &str) {
    cluster.node1().rows(sql);
}

#[test]
fn a_node_that_hangs_costs_its_own_limit_and_no_more() {
    let cluster = registered::start();
    cluster.node2().freeze();
    let begun = Instant::now();
    let ran = run_on(&cluster, 1, "cluster show --verbose");
    let first = begun.elapsed();
    let other = run_on(&cluster, 2, "cluster show --csv");
    let both = begun.elapsed();
    cluster.node2().thaw();
    let expected = format!(
        "{}\nWARNING: following issues were detected\n  \
         - unable to connect to node \"node2\" (ID: 2): no answer within 2s\n",
        table(&cluster, [UP, ("? unreachable", "?")])
    );
    ran.is(25, &expected, "");
    assert_eq!(
        (other.code, other.stdout.as_str()),
        (25, "1,0,0\n2,-1,-1\n")
    );
    assert!(first < BOUND && both < 2 * BOUND, "{first:?} {both:?}");
}

/// Rows that somebody else wrote, each of which must cost only itself.
#[test]
fn rows_that_lie_stay_rows_and_harm_no_other() {
    let cluster = registered::start();
    let (node1, fifo) = (cluster.node1().conninfo(), cluster.directory().join("fifo"));
    process::run_well(std::process::Command::new("mkfifo").arg(&fifo), "", BOUND);
    let fifo = format!("{node1} sslmode=verify-ca sslrootcert={}", fifo.display());
    let standins = [
        Standin::silent(),
        Standin::closing(),
        Standin::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Standin::postgres_with_an_answer(b"\xff\xfe"),
        Standin::postgres_without_an_answer(),
    ];
    let unreachable = "? unreachable";
    let name = "x".repeat(10_000);
    let named = "service=there_is_none".to_owned();
    let stranger = node1.replace("user=repmgr", "user=nobody");
    let mut rows = vec![
        (
            "a\nb\u{1b}[2J\u{202e}' \"q\"; --",
            "host=a secret".to_owned(),
            unreachable,
        ),
        (&name, named, unreachable),
        ("fifo", fifo, unreachable),
        ("no id", node1.clone(), unreachable),
        ("stranger", stranger, "? rejected"),
    ];
    let names = ["silent", "closing", "http", "bytes", "mute"];
    let conninfos = standins.iter().map(Standin::conninfo);
    rows.extend(
        names
            .into_iter()
            .zip(conninfos)
            .map(|(name, at)| (name, at, unreachable)),
    );
    for (id, (name, conninfo, _)) in (3..).zip(&rows) {
        add(&cluster, id, name, conninfo);
    }
    on_both(
        &cluster,
        "UPDATE repmgr.nodes SET node_id = -4 WHERE node_name = 'no id'",
    );
    let begun = Instant::now();
    let ran = run_at(&cluster, 1, "cluster show --verbose");
    let took = begun.elapsed();
    assert_eq!((ran.code, ran.stderr.as_str()), (25, ""));
    assert!(took < BOUND, "{took:?}");
    assert!(!ran.stdout.contains(['\u{1b}', '\u{202e}']), "{ran:?}");
    assert!(!ran.stdout.contains("secret"), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    // Headings, a rule, the two nodes, and all but the row that has no id.
    assert_eq!(
        lines.iter().position(|line| line.is_empty()),
        Some(rows.len() + 3),
        "{ran:?}"
    );
    for (line, status) in lines[2..].iter().zip(["* running"; 2]) {
        assert!(line.contains(status), "{line}");
    }
    let shown = rows.iter().filter(|(name, ..)| *name != "no id");
    for (line, (name, _, status)) in lines[4..].iter().zip(shown) {
        assert!(
            line.contains(&format!("| bdr  | {status}")),
            "{name}: {line}"
        );
    }
    for (name, reason) in [
        (
            "a\\nb\\u{1b}[2J\\u{202e}' \"q\"; --",
            "its conninfo cannot be read: missing `=` after",
        ),
        (&name, "definition of service `there_is_none` not found"),
        ("fifo", "which is no plain file"),
        ("stranger", "role \"nobody\" does not exist (28000)"),
        ("silent", "no answer within 2s"),
        ("closing", "refused: "),
        ("bytes", "an answer is no text"),
        ("mute", "no answer within 2s"),
    ] {
        let beginning = format!("  - unable to connect to node \"{name}\" (ID: ");
        let line = lines.iter().find(|line| line.starts_with(&beginning));
        assert!(
            line.is_some_and(|line| line.contains(reason)),
            "{name}: {line:?}"
        );
    }
    let last = "  - repmgr.nodes has a row with node_id -4, which is no id of a node";
    assert_eq!(lines.last(), Some(&last));
}

#[test]
fn a_password_of_a_row_is_not_shown() {
    let cluster = registered::start();
    on_both(
        &cluster,
        "UPDATE repmgr.nodes SET conninfo = conninfo || ' password=correct-horse'",
    );
    for form in ["", " --verbose", " --json"] {
        let ran = run_on(&cluster, 1, &format!("cluster show{form}"));
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.contains("user=repmgr"), "{ran:?}");
        assert!(!ran.stdout.contains("correct-horse"), "{ran:?}");
        assert!(!ran.stderr.contains("correct-horse"), "{ran:?}");
    }
}

#[test]
fn without_the_right_to_read_it_says_what_is_lacking() {
    let cluster = registered::start();
    cluster.node1().rows("CREATE ROLE nobody LOGIN");
    let hint = "HINT: connect as the user of repmgr (-U), or let a superuser GRANT USAGE ON SCHEMA \
                repmgr and SELECT on its tables\n";
    let mut server = cluster.node1().connection_options();
    let user = server.iter_mut().find(|option| *option == "repmgr");
    *user.expect("a user is named") = "nobody".to_owned();
    let server = server.each_ref().map(String::as_str);
    for (command, table, code) in [("show", "nodes", 1), ("event", "events", 7)] {
        let expected = format!(
            "ERROR: unable to read repmgr.{table}\n\
             DETAIL: ERROR: permission denied for schema repmgr (42501)\n{hint}"
        );
        run(&cluster, &[&["cluster", command], &server[..]].concat()).is(code, "", &expected);
    }
}

#[test]
fn without_records_it_says_what_to_run() {
    let cluster = registered::start();
    let hint = "HINT: run `repoint bdr register` on each node\n";
    on_both(&cluster, "DELETE FROM repmgr.nodes");
    let error = format!("ERROR: no node is registered in repmgr.nodes\n{hint}");
    run_at(&cluster, 1, "cluster show").is(1, "", &error);
    on_both(&cluster, "DROP TABLE repmgr.nodes");
    let absent = |table: &str| {
        format!(
            "ERROR: unable to read {table}\n\
             DETAIL: ERROR: relation \"repmgr.nodes\" does not exist (42P01)\n{hint}"
        )
    };
    run_at(&cluster, 1, "cluster show --csv").is(1, "", &absent("repmgr.nodes"));
    run_at(&cluster, 1, "cluster cleanup -k 1").is(1, "", &absent("repmgr.nodes"));
    run_at(&cluster, 1, "cluster event").is(7, "", &absent("repmgr.events"));
}

/// The server that the command itself talks to, not one of a row.
#[test]
fn a_first_server_that_answers_rubbish_is_a_clear_error() {
    let cluster = registered::start();
    for (standin, code, error) in [
        (Standin::silent(), 6, "unable to connect to the database"),
        (Standin::closing(), 6, "unable to connect to the database"),
        (
            Standin::saying(b"\x00\x01\x02\x03rubbish"),
            6,
            "unable to connect to the database",
        ),
        (
            Standin::postgres_with_an_answer(b"\xff"),
            1,
            "unable to read repmgr.nodes",
        ),
        (
            Standin::postgres_without_an_answer(),
            1,
            "unable to read repmgr.nodes",
        ),
    ] {
        let begun = Instant::now();
        let ran: Ran = run(&cluster, &["cluster", "show", "-d", &standin.conninfo()]);
        assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{ran:?}");
        assert!(
            ran.stderr.starts_with(&format!("ERROR: {error}\n")),
            "{ran:?}"
        );
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    }
}
