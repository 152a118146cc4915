//! `cluster event` and `cluster cleanup`: exact output, what is found, and what is removed where.

use crate::fixture::{Cluster, Node};
use crate::registered::{self, TABLES, on_both, run, run_at, run_on};

/// Of the same moment, of a node that is gone, failed, and without details.
const EVENTS: &str = "
    ALTER DATABASE bdrtest SET timezone = 'Asia/Tokyo';
    INSERT INTO repmgr.events VALUES
        (2, 'bdr_register', true, '2026-11-23 01:47:39.5+00',
            'node \"node2\" (ID: 2)'),
        (1, 'bdr_register', true, '2026-11-23 01:47:39.5+00', NULL),
        (7, 'bdr_unregister', true, '2026-11-22 01:00:00+00', 'gone'),
        (2, 'bdr_failover', false, '2026-11-23 02:00:00+00', 'two\nlines');";

fn start() -> Cluster {
    let cluster = registered::start();
    on_both(&cluster, EVENTS);
    cluster
}

#[test]
fn events_are_shown_as_repmgr_shows_them_the_newest_first() {
    let cluster = start();
    // The end of a line is marked, so that blanks before it can be seen.
    let table =
        " Node ID | Name  | Event          | OK | Timestamp           | Details             $
---------+-------+----------------+----+---------------------+----------------------$
 2       | node2 | bdr_failover   | f  | 2026-11-23 11:00:00 | two\\nlines          $
 1       | node1 | bdr_register   | t  | 2026-11-23 10:47:39 |                     $
 2       | node2 | bdr_register   | t  | 2026-11-23 10:47:39 | node \"node2\" (ID: 2)$
 7       |       | bdr_unregister | t  | 2026-11-22 10:00:00 | gone                $
"
        .replace('$', "");
    run_on(&cluster, 1, "cluster event").is(0, &table, "");
    run_at(&cluster, 2, "cluster events --all").is(0, &table, "");
    let compact = " Node ID | Name  | Event        | OK | Timestamp          $
---------+-------+--------------+----+---------------------$
 2       | node2 | bdr_failover | f  | 2026-11-23 11:00:00$
"
    .replace('$', "");
    run_at(&cluster, 1, "cluster event --limit 1 --compact").is(0, &compact, "");
    let csv = "2,node2,bdr_failover,f,2026-11-23 11:00:00
1,node1,bdr_register,t,2026-11-23 10:47:39
2,node2,bdr_register,t,2026-11-23 10:47:39
7,,bdr_unregister,t,2026-11-22 10:00:00
";
    run_at(&cluster, 1, "cluster event --csv").is(0, csv, "");
    let json = r#"[
  {
    "node_id": 7,
    "node_name": null,
    "event": "bdr_unregister",
    "successful": true,
    "timestamp": "2026-11-22T01:00:00.000000Z",
    "details": "gone"
  }
]
"#;
    run_at(&cluster, 1, "cluster event --json --node-id 7").is(0, json, "");
}

#[test]
fn filters_find_what_they_say_and_nothing_is_no_error() {
    let cluster = start();
    let found = |filter: &str| {
        let ran = run_at(&cluster, 1, &format!("cluster event --csv {filter}"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        let event = |line: &str| line.split(',').take(3).collect::<Vec<_>>().join(",");
        ran.stdout.lines().map(event).collect::<Vec<_>>()
    };
    let failover = "2,node2,bdr_failover";
    let gone = "7,,bdr_unregister";
    assert_eq!(found("--event bdr_failover"), [failover]);
    assert_eq!(found("--node-id 7"), [gone]);
    assert_eq!(
        found("--node-name node2"),
        [failover, "2,node2,bdr_register"]
    );
    assert_eq!(found("--node-name node2 --node-id 7"), [gone]);
    assert_eq!(
        found("--node-id 2 --event bdr_register"),
        ["2,node2,bdr_register"]
    );

    let none = "no matching events found\n";
    run_at(&cluster, 1, "cluster event --event bdr_fail").is(0, none, "");
    run_at(&cluster, 1, "cluster event --event x --csv").is(0, "", &format!("INFO: {none}"));
    run_at(&cluster, 1, "cluster event --event x --json").is(0, "[]\n", "");
    let refused = "ERROR: no node is registered as \"node3\"\nHINT: `repoint cluster show` lists \
                   the nodes; events of a node that is gone are found with --node-id\n";
    run_at(&cluster, 1, "cluster event --node-name node3").is(1, "", refused);
    let port = cluster.node1().port();
    let conninfo = format!("host=127.0.0.1 port={port} user=repmgr dbname=bdrtest");
    let hostile = [
        "cluster",
        "event",
        "-d",
        &conninfo,
        "--event",
        "x' OR true --",
    ];
    run(&cluster, &hostile).is(0, none, "");
}

#[test]
fn rows_that_lie_stay_rows() {
    let cluster = start();
    on_both(
        &cluster,
        "DELETE FROM repmgr.events; UPDATE repmgr.nodes SET node_name = E'n,\"\\n\\x1b[2J';
         INSERT INTO repmgr.events VALUES
             (-1, E'e\\nv', true, 'infinity', repeat(E'\\u202e\\n', 5000)),
             (1, 'old', true, '4000-01-01 00:00:00 BC', E'\\u009b2J')",
    );
    let ran = run_at(&cluster, 1, "cluster event");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout.lines().count(), 4, "{ran:?}");
    let hidden = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!ran.stdout.contains(hidden), "{ran:?}");
    let csv = "-1,,e\\nv,t,infinity\n1,\"n,\"\"\\n\\u{1b}[2J\",old,t,4000-01-01";
    let ran = run_at(&cluster, 1, "cluster event --csv");
    assert!(ran.stdout.starts_with(csv), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 2, "{ran:?}");
    let ran = run_at(&cluster, 1, "cluster event --json");
    assert!(!ran.stdout.contains(hidden), "{ran:?}");
}

#[test]
fn bytes_that_are_no_text_are_spelled_out() {
    let cluster = registered::start();
    cluster.node1().rows(
        "CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' \
         TEMPLATE template0",
    );
    let conninfo = cluster.node1().conninfo().replace("bdrtest", "bytes");
    let mut client = postgres::Client::connect(&conninfo, postgres::NoTls).expect("it runs");
    client.batch_execute(TABLES).expect("SQL");
    let insert = format!(
        r"INSERT INTO repmgr.nodes (node_id, node_name, type, conninfo, repluser, config_file)
              VALUES (1, E'n\344\\', 'bdr', '{conninfo}', '', '');
          INSERT INTO repmgr.events VALUES (1, 'e', true, '2026-11-23 00:00:00', E'\377')"
    );
    client.batch_execute(&insert).expect("SQL");
    let json = run(&cluster, &["cluster", "event", "--json", "-d", &conninfo]);
    assert_eq!((json.code, json.stderr.as_str()), (0, ""));
    for line in [r#""node_name": "n\\344\\","#, r#""details": "\\377""#] {
        assert!(json.stdout.contains(line), "{line}: {json:?}");
    }
    let csv = run(&cluster, &["cluster", "show", "--csv", "-d", &conninfo]);
    csv.is(0, "1,0,0\n", "");
}

/// Ages in days, one event each.
fn with_ages(cluster: &Cluster, ages: &[u32]) {
    on_both(cluster, "DELETE FROM repmgr.events");
    for age in ages {
        on_both(
            cluster,
            &format!(
                "INSERT INTO repmgr.events VALUES \
                 (1, 'of_a_test', true, now() - interval '{age} days', '{age}')"
            ),
        );
    }
}

fn left(node: &Node) -> String {
    node.query_one_text(
        "SELECT string_agg(details, ' ' ORDER BY event_timestamp) FROM repmgr.events \
         WHERE event = 'of_a_test'",
    )
}

#[test]
fn fault_21_old_events_are_removed_on_each_node_and_noted_there() {
    let cluster = registered::start();
    with_ages(&cluster, &[40, 31, 29, 0]);
    let nodes =
        |each: &str| format!("node \"node1\" (ID: 1): {each}\nnode \"node2\" (ID: 2): {each}\n");
    let would = nodes("2 events would be removed");
    run_at(&cluster, 1, "cluster cleanup -k 30 --dry-run").is(0, &would, "");
    assert_eq!(left(cluster.node2()), "40 31 29 0");
    let done = nodes("2 events removed");
    run_on(&cluster, 1, "cluster cleanup --keep-history 30").is(0, &done, "");
    for node in cluster.nodes() {
        assert_eq!(left(node), "29 0");
        let noted = node.rows(
            "SELECT node_id, successful, details FROM repmgr.events \
             WHERE event = 'cluster_cleanup'",
        );
        let (id, name) = (node.id().to_string(), node.name());
        assert_eq!(noted.len(), 1, "{noted:?}");
        assert_eq!(
            (&noted[0]["node_id"], noted[0]["successful"].as_str()),
            (&id, "t")
        );
        assert_eq!(
            noted[0]["details"],
            format!("2 events older than 30 days removed on node \"{name}\" (ID: {id})")
        );
    }
    let without = run_at(&cluster, 1, "cluster cleanup");
    assert_eq!((without.code, without.stdout.as_str()), (1, ""));
    assert!(
        without.stderr.contains("--keep-history <DAYS>"),
        "{without:?}"
    );
    assert_eq!(left(cluster.node1()), "29 0");
    run_at(&cluster, 1, "cluster cleanup -k 0 -q");
    assert_eq!(left(cluster.node1()), "");
}

#[test]
fn a_node_that_cannot_be_cleaned_up_is_named_and_the_other_is_cleaned_up() {
    let cluster = registered::start();
    with_ages(&cluster, &[40, 0]);
    cluster.node2().kill9();
    let ran = run_on(&cluster, 1, "cluster cleanup -k 30");
    let removed = "node \"node1\" (ID: 1): 1 event removed\n";
    assert_eq!((ran.code, ran.stdout.as_str()), (25, removed));
    let warning = "WARNING: node \"node2\" (ID: 2) could not be cleaned up; 0 events removed\n\
                   DETAIL: refused: Connection refused (os error 111)\n\
                   HINT: run it again when the cause is gone\n";
    assert_eq!(ran.stderr, warning);
    assert_eq!(left(cluster.node1()), "0");
}

#[test]
fn many_events_are_removed_in_more_than_one_batch() {
    let cluster = registered::start();
    cluster.node1().rows(
        "INSERT INTO repmgr.events SELECT 1, 'of_a_test', true, now() - interval '9 days', NULL \
         FROM generate_series(1, 25000)",
    );
    let ran = run_at(&cluster, 1, "cluster cleanup -k 8");
    let expected = "node \"node1\" (ID: 1): 25000 events removed\n\
                    node \"node2\" (ID: 2): 0 events removed\n";
    ran.is(0, expected, "");
    let count = "SELECT count(*) FROM repmgr.events WHERE event = 'of_a_test'";
    assert_eq!(cluster.node1().query_one_text(count), "0");
}
