use super::*;
use crate::config::{Edits, Host, PausePolicy, Peers, Setting, Template};

#[test]
fn the_example_is_read_as_it_says() {
    let config = read(include_str!("../../../examples/repoint.toml")).expect("a configuration");
    assert_eq!(config.node_id, NodeId(1));
    assert_eq!(
        config.nodes.keys().collect::<Vec<_>>(),
        [&NodeId(1), &NodeId(2)]
    );
    assert_eq!(config.nodes[&NodeId(2)].node_name, "node2");
    assert_eq!(
        config.nodes[&NodeId(2)].conninfo.get("host"),
        Some("10.0.0.12")
    );
    assert_eq!(config.replication, Some(Replication::Pglogical));
    assert_eq!(config.hook.events, ["bdr_failover", "bdr_recovery"]);
    assert!(
        config
            .hook
            .command
            .is_some_and(|command| command.ends_with("2>&1"))
    );
    let pgbouncer = &config.pgbouncers["pgb1"];
    let host = Host::Ssh {
        destination: "repoint@10.0.0.21".into(),
        port: Some(22),
        config: Some("/etc/repoint/ssh_config".into()),
    };
    assert_eq!(pgbouncer.host, host);
    assert_eq!(pgbouncer.template, Template::Databases);
    assert_eq!(pgbouncer.settings["listen_port"], Setting::Integer(6432));
    let app = &pgbouncer.databases["app"];
    assert_eq!(
        app.options["pool_mode"],
        Setting::Text("transaction".into())
    );
    assert_eq!(app.probe_user.as_deref(), Some("probe"));
}

#[test]
fn the_example_names_every_key() {
    let example = include_str!("../../../examples/repoint.toml");
    let problems = read("nobody_has_this = 1\n[[pgbouncer]]\nnobody_has_this = 1\n");
    let problems = problems.expect_err("unknown keys").to_string();
    let lists = problems.split("(the keys here are `").skip(1);
    let keys: Vec<&str> = lists
        .filter_map(|list| list.split_once("`)"))
        .flat_map(|(list, _)| list.split("`, `"))
        .collect();
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys {
        let shown = [
            format!("{key} = "),
            format!("[{key}]"),
            format!("pgbouncer.{key}]"),
        ];
        let found = shown.iter().any(|shown| example.contains(shown));
        assert!(found || key == "local", "{key} is not in the example");
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = read(BASE).expect("a configuration");
    assert_eq!(config.monitoring.monitor_interval, Duration::from_secs(5));
    assert_eq!(config.monitoring.reconnect_attempts, 6);
    assert_eq!(config.monitoring.reconnect_interval, Duration::from_secs(5));
    assert_eq!(config.replication, None);
    assert_eq!(config.hook.command, None);
    assert!(config.hook.events.is_empty());
    assert_eq!(config.hook.timeout, Duration::from_secs(60));
    assert!(config.hook.pass_password);
    assert_eq!(config.runtime_directory, Path::new("/run/repoint"));
    let pgbouncer = &config.pgbouncers["pgb1"];
    assert_eq!(pgbouncer.pause, PausePolicy::Never);
    assert_eq!(pgbouncer.template, Template::Edit);
    assert_eq!(pgbouncer.consoles[0].get("dbname"), Some("pgbouncer"));
    assert_eq!(pgbouncer.edits, Edits::Merge);
    assert!(pgbouncer.settings.is_empty());
    assert_eq!(pgbouncer.databases["app"].dbname, None);
    let line = "file = \"/f\"\ntemplate = \"databases.ini\"\nedits = \"overwrite\"\n";
    let config = read(&BASE.replace("file = \"/f\"\n", line)).expect("a template to write from");
    assert_eq!(config.pgbouncers["pgb1"].edits, Edits::Overwrite);
}

#[test]
fn other_ways_to_write_the_same_are_read() {
    let no_pgbouncer = &BASE[..BASE.find("[[pgbouncer]]").expect("the base has one")];
    assert!(
        read(no_pgbouncer)
            .expect("none is fine")
            .pgbouncers
            .is_empty()
    );
    let events = |list: &str| {
        let text = format!("event_notifications = {list}\n{BASE}");
        read(&text).expect("a filter").hook.events
    };
    assert_eq!(
        events("' bdr_failover ,, bdr_recovery,'"),
        ["bdr_failover", "bdr_recovery"]
    );
    assert_eq!(
        events("['bdr_failover', 'repoint_redirect']")[1],
        "repoint_redirect"
    );
    assert!(events("''").is_empty() && events("[]").is_empty());
    let config = read(&format!("monitor_interval_secs = 0.5\n{BASE}")).expect("an interval");
    assert_eq!(
        config.monitoring.monitor_interval,
        Duration::from_millis(500)
    );
    let local = BASE.replace("ssh = \"pgb1\"", "local = true\ntemplate = \"/etc/x.ini\"");
    let config = read(&local).expect("a local one");
    assert_eq!(config.pgbouncers["pgb1"].host, Host::Local);
    assert_eq!(
        config.pgbouncers["pgb1"].template,
        Template::File("/etc/x.ini".into())
    );
    let two = BASE.replace(
        CONSOLE,
        "[\"host=a user=x\", \"host=b user=x dbname=pgbouncer\"]",
    );
    assert_eq!(
        read(&two).expect("two consoles").pgbouncers["pgb1"]
            .consoles
            .len(),
        2
    );
}

#[test]
fn a_user_of_repmgr_may_keep_the_own_node_at_the_top() {
    let text = format!(
        "node_name = \"node1\"\nconninfo = {CONNINFO1}\n{}",
        without_node1()
    );
    let config = read(&text).expect("a configuration");
    assert_eq!(config.nodes[&NodeId(1)].node_name, "node1");
    assert_eq!(
        config.nodes[&NodeId(1)].conninfo.get("host"),
        Some("10.0.0.11")
    );
}

#[test]
fn the_own_node_alone_means_that_the_others_are_registered() {
    let pgbouncer = &BASE[BASE.find("[[pgbouncer]]").expect("the base has one")..];
    let own = format!("node_id = 7\nnode_name = \"node7\"\nconninfo = {CONNINFO1}\n");
    let config = read(&format!("{own}{pgbouncer}")).expect("a configuration");
    assert_eq!((config.nodes.len(), config.peers), (1, Peers::Registered));
    assert_eq!(config.local().node_name, "node7");
    let both = read(BASE).expect("a configuration");
    assert_eq!((both.nodes.len(), both.peers), (2, Peers::Listed));
    let none = read(&format!("node_id = 7\n{pgbouncer}")).expect_err("no node");
    assert_eq!(
        none.to_string(),
        "repoint.toml:1: node: no node is described; describe this host's with `node_name` and \
         `conninfo` (the others are read from repmgr.nodes), or each in a `[[node]]`"
    );
}

#[test]
fn of_streaming_replication_any_number_of_nodes_is_listed() {
    let node1 = without_node1();
    let one = node1.replace(
        "node_id = 1\n",
        "node_id = 2\nreplication_type = \"physical\"\n",
    );
    let config = read(&one).expect("one node");
    assert_eq!((config.nodes.len(), config.peers), (1, Peers::Listed));
    assert_eq!(config.replication_type, ReplicationType::Physical);
}

#[test]
fn names_and_conninfos_may_hold_any_characters() {
    let text = BASE.replace("\"node2\"", r#""it's \"node\"\n2; $(id)""#);
    let config = read(&text).expect("names are data");
    assert_eq!(
        config.nodes[&NodeId(2)].node_name,
        "it's \"node\"\n2; $(id)"
    );
}

#[test]
fn wrong_files_are_refused_with_line_key_and_cure() {
    for (from, to, expected) in CASES {
        assert!(BASE.contains(from), "the base has no {from:?}");
        let text = BASE.replacen(from, to, 1);
        let problems = read(&text).expect_err(to).to_string();
        let expected: Vec<_> = expected
            .iter()
            .map(|line| format!("repoint.toml:{line}"))
            .collect();
        assert_eq!(problems.lines().collect::<Vec<_>>(), expected, "{to}");
    }
    assert!(CASES.len() >= 40);
}

#[test]
fn all_problems_are_reported_together_in_the_order_of_their_lines() {
    let text = BASE
        .replace("node_id = 1\n\n", "node_id = 3\nmonitor_intervall = 5\n\n")
        .replace("file = \"/f\"", "file = \"f\"\npause = 1")
        .replace("name = \"app\"", "name = \"pgbouncer\"");
    let problems = read(&text).expect_err("many problems").to_string();
    let expected = "\
        repoint.toml:2: monitor_intervall: unknown key; did you mean `monitor_interval`? \
        (the keys here are ";
    assert!(problems.contains(expected), "{problems}");
    let places: Vec<_> = problems
        .lines()
        .map(|line| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        places,
        [
            "repoint.toml:1 node_id",
            "repoint.toml:2 monitor_intervall",
            "repoint.toml:18 pgbouncer[pgb1].file",
            "repoint.toml:19 pgbouncer[pgb1].pause",
            "repoint.toml:22 pgbouncer[pgb1].database[pgbouncer].name",
        ]
    );
}

#[test]
fn no_secret_gets_into_a_message() {
    for (from, to) in [
        (CONNINFO1, "\"host=a dbname=b hunter2\""),
        (CONNINFO1, "\"password=hunter2\""),
        (CONNINFO1, "\"host=a password=hunter2 dbname=b"),
        (CONNINFO1, "host=a password=hunter2"),
        (CONNINFO1, "[\"password=hunter2\"]"),
        (CONSOLE, "\"host=a hunter2\""),
        (
            CONSOLE,
            "\"password=hunter2 options=hunter2 dbname=hunter2\"",
        ),
        (
            CONSOLE,
            "[\"host=a user=b password=hunter2\", \"host=a user=b password=hunter2\"]",
        ),
        (
            "\"pgb1\"\nssh = \"pgb1\"",
            "\"pgb1\"\nssh = \"ssh://a:hunter2@b\"",
        ),
        (
            "file = \"/f\"",
            "file = \"/f\"\nsettings = { password = [\"hunter2\"] }",
        ),
        (
            "file = \"/f\"",
            "file = \"/f\"\nsettings = { a = \"hunter2\\n\" }",
        ),
        (
            "name = \"app\"",
            "name = \"app\"\noptions = { password = \"hunter2\" }",
        ),
        (
            "name = \"app\"",
            "name = \"app\"\noptions = { connect_query = \"hunter2\\n\" }",
        ),
        ("name = \"app\"", "name = \"app\"\npassword = \"hunter2\""),
    ] {
        let text = BASE.replacen(from, to, 1);
        let problems = read(&text).expect_err(to);
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
        assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
    }
}

#[test]
fn a_problem_is_one_line_whatever_the_file_holds() {
    let text = format!("\"a\\nb\\u001b[31m\" = 1\nruntime_directory = \"x\\ny\"\n{BASE}");
    let problems = read(&text)
        .expect_err("an unknown key and a relative path")
        .to_string();
    assert_eq!(problems.lines().count(), 2, "{problems}");
    assert!(!problems.contains('\u{1b}'), "{problems:?}");
}

fn read(text: &str) -> Result<Config, Problems> {
    parse(Path::new("repoint.toml"), text)
}

const CONNINFO1: &str = "\"host=10.0.0.11 dbname=bdrtest user=repmgr\"";
const CONSOLE: &str = "\"host=10.0.0.21 port=6432 user=repoint\"";

/// The shortest file that has a PgBouncer.
const BASE: &str = r#"node_id = 1

[[node]]
node_id = 1
node_name = "node1"
conninfo = "host=10.0.0.11 dbname=bdrtest user=repmgr"

[[node]]
node_id = 2
node_name = "node2"
conninfo = "host=10.0.0.12 dbname=bdrtest user=repmgr"

[[pgbouncer]]
name = "pgb1"
ssh = "pgb1"
console = "host=10.0.0.21 port=6432 user=repoint"
file = "/f"

[[pgbouncer.database]]
name = "app"
"#;

fn without_node1() -> String {
    let node1 = BASE.find("[[node]]").expect("the base has nodes");
    let node2 = BASE.rfind("[[node]]").expect("the base has nodes");
    format!("{}{}", &BASE[..node1], &BASE[node2..])
}

/// What is replaced in [`BASE`], by what, and the problems that come of it.
const CASES: &[(&str, &str, &[&str])] = &[
    // Syntax and types.
    (
        "node_id = 1\n\n",
        "node_id = 1\na = b c\n",
        &["2: not valid TOML: string values must be quoted, expected literal string"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nnode_id = 2\n",
        &["2: not valid TOML: duplicate key"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\n[x\n",
        &["2: not valid TOML: unclosed table, expected `]`"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nnode_nam = \"x\"\n",
        &[
            "2: node_nam: unknown key; did you mean `node_name`? (the keys here are \
     `repmgr_conf`, `replication_type`, `replication`, \
     `node_id`, `node`, `node_name`, `conninfo`, `monitor_interval`, \
     `monitor_interval_secs`, `reconnect_attempts`, `reconnect_interval`, \
     `bdr_recovery_timeout`, `bdr_local_monitoring_only`, `reconcile_interval`, `drift`, \
     `event_notification_command`, \
     `event_notifications`, `event_notification_timeout`, \
     `event_notification_password`, `act_on`, `log_format`, `log_level`, \
     `log_file`, `log_status_interval`, `pid_file`, `location`, `priority`, \
     `runtime_directory`, \
     `pgbouncer`, `quorum`, `failover_cooldown`, `witness`)",
        ],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\ndata_directory = \"/x\"\n",
        &[
            "2: data_directory: unknown key (the keys here are `repmgr_conf`, \
     `replication_type`, `replication`, `node_id`, `node`, \
     `node_name`, `conninfo`, `monitor_interval`, `monitor_interval_secs`, \
     `reconnect_attempts`, `reconnect_interval`, \
     `bdr_recovery_timeout`, `bdr_local_monitoring_only`, `reconcile_interval`, `drift`, \
     `event_notification_command`, `event_notifications`, \
     `event_notification_timeout`, `event_notification_password`, \
     `act_on`, `log_format`, `log_level`, `log_file`, `log_status_interval`, \
     `pid_file`, `location`, `priority`, `runtime_directory`, `pgbouncer`, `quorum`, \
     `failover_cooldown`, `witness`)",
        ],
    ),
    (
        "node_id = 1\n\n",
        "node_id = \"1\"\n\n",
        &["1: node_id: expected an integer, found a string"],
    ),
    (
        "node_id = 1\n\n",
        "\n\n",
        &["1: node_id: missing; write `node_id = 1`"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 0\n\n",
        &["1: node_id: must be from 1 to 2147483647"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 99999999999999999999\n\n",
        &["1: node_id: too large for a whole number of 64 bits"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 3\n\n",
        &["1: node_id: no node has this id; write one of `1`, `2`"],
    ),
    (
        "file = \"/f\"\n",
        "file = \"/f\"\nhome = 3\n",
        &["18: pgbouncer[pgb1].home: no node has this id; write one of `1`, `2`"],
    ),
    (
        "file = \"/f\"\n",
        "file = \"/f\"\nhome = \"node1\"\n",
        &["18: pgbouncer[pgb1].home: expected an integer, found a string"],
    ),
    // Monitoring.
    (
        "node_id = 1\n\n",
        "node_id = 1\nmonitor_interval = true\n",
        &[
            "2: monitor_interval: expected a duration such as \"5s\" or a number of seconds, \
     found a boolean",
        ],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nmonitor_interval = \"5\"\n",
        &[
            "2: monitor_interval: `5` has no unit; write `5s` for seconds (a duration from \
     10ms to 1h is expected)",
        ],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nmonitor_interval = \"1ms\"\n",
        &["2: monitor_interval: must be from 10ms to 1h"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nmonitor_interval = \"2h\"\n",
        &["2: monitor_interval: must be from 10ms to 1h"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nmonitor_interval = -1\n",
        &["2: monitor_interval: must be from 10ms to 1h"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nmonitor_interval = 5\nmonitor_interval_secs = 5\n",
        &[
            "3: monitor_interval_secs: the same option as `monitor_interval` on line 2; keep \
     one",
        ],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nreconnect_attempts = 1001\n",
        &["2: reconnect_attempts: must be from 0 to 1000"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nreconnect_attempts = 1.5\n",
        &["2: reconnect_attempts: expected an integer, found a float"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nreconnect_interval = \"61m\"\n",
        &["2: reconnect_interval: must be from 0s to 1h"],
    ),
    // Replication.
    (
        "node_id = 1\n\n",
        "node_id = 1\nreplication_type = \"streaming\"\n",
        &[
            "2: replication_type: `streaming` is not known; write \"bdr\" (active-active) or \
     \"physical\" (streaming)",
        ],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nrepmgr_conf = \"repmgr.conf\"\n",
        &["2: repmgr_conf: `repmgr.conf` is relative; write a path that begins with `/`"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nrepmgr_conf = \"/etc/repmgr.conf\"\n",
        &["2: repmgr_conf: the file that it names was not read"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nreplication = \"bdr3\"\n",
        &[
            "2: replication: `bdr3` is not known; write \"bdr\", \"pgactive\" or \
     \"pglogical\", or leave the key out to have it found from the installed extensions",
        ],
    ),
    // Hook.
    (
        "node_id = 1\n\n",
        "node_id = 1\nevent_notification_command = \" \"\n",
        &[
            "2: event_notification_command: empty; write a command, or leave the key out for \
     no hook",
        ],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nevent_notification_command = \"a\\u0000\"\n",
        &["2: event_notification_command: holds a NUL character, which no command can"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nevent_notifications = \"bdr_failver, all\"\n",
        &[
            "2: event_notifications: `bdr_failver` is no event type; did you mean \
     `bdr_failover`?",
            "2: event_notifications: `all` is no event type; leave the key out for every event",
        ],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nevent_notifications = [\"bdr_failover\", 5]\n",
        &["2: event_notifications: expected a string, found an integer"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nevent_notifications = 5\n",
        &[
            "2: event_notifications: expected an array of event types, or a string with \
     commas between them, found an integer",
        ],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nevent_notification_timeout = \"50ms\"\n",
        &["2: event_notification_timeout: must be from 100ms to 1h"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nevent_notification_password = \"no\"\n",
        &["2: event_notification_password: expected a boolean, found a string"],
    ),
    // Directories.
    (
        "node_id = 1\n\n",
        "node_id = 1\nruntime_directory = \"var\"\n",
        &["2: runtime_directory: `var` is relative; write a path that begins with `/`"],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nruntime_directory = \
     \"/run/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"\n",
        &[
            "2: runtime_directory: 56 bytes are too long, because paths of sockets are \
     limited; use at most 48",
        ],
    ),
    // Nodes.
    (
        "node_name = \"node1\"\n",
        "",
        &["3: node[1].node_name: missing; write `node_name = \"…\"`"],
    ),
    (
        "node_name = \"node1\"",
        "node_name = \"\"",
        &["5: node[1].node_name: 0 bytes long; a name has 1 to 63 bytes"],
    ),
    (
        "node_name = \"node1\"",
        "node_name = \"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\"",
        &["5: node[1].node_name: 64 bytes long; a name has 1 to 63 bytes"],
    ),
    (
        "node_name = \"node2\"",
        "node_name = \"node1\"",
        &[
            "10: node[2].node_name: the same as that of the node on line 3; two different \
     nodes are needed",
        ],
    ),
    (
        "node_id = 2",
        "node_id = 1",
        &[
            "9: node[1].node_id: the same as that of the node on line 3; two different nodes \
     are needed",
        ],
    ),
    (
        "10.0.0.12",
        "10.0.0.11",
        &[
            "11: node[2].conninfo: the same as that of the node on line 3; two different \
     nodes are needed",
        ],
    ),
    (
        "10.0.0.12 dbname",
        "10.0.0.11 port=5432 dbname",
        &[
            "11: node[2].conninfo: the same as that of the node on line 3; two different \
     nodes are needed",
        ],
    ),
    (
        "[[node]]\nnode_id = 2",
        "[[node]]\nnode_id = 3\nnode_name = \"node3\"\nconninfo = \"hostaddr=10.0.0.13 \
     dbname=x\"\n\n[[node]]\nnode_id = 2",
        &["1: node: two nodes are needed, found 3; describe each in a `[[node]]` of its own"],
    ),
    (
        "[[node]]\nnode_id = 2\nnode_name = \"node2\"\nconninfo = \"host=10.0.0.12 \
     dbname=bdrtest user=repmgr\"\n",
        "",
        &["1: node: two nodes are needed, found 1; describe each in a `[[node]]` of its own"],
    ),
    (
        "\"host=10.0.0.11 dbname=bdrtest user=repmgr\"",
        "\"dbname=bdrtest\"",
        &["6: node[1].conninfo: no `host` or `hostaddr`; PgBouncer needs one"],
    ),
    (
        "\"host=10.0.0.11 dbname=bdrtest user=repmgr\"",
        "\"host=a dbname=\"",
        &["6: node[1].conninfo: no `dbname`; PgBouncer needs one"],
    ),
    (
        "\"host=10.0.0.11 dbname=bdrtest user=repmgr\"",
        "\"host=a dbname\"",
        &[
            "6: node[1].conninfo: not a connection string of libpq: missing `=` after the word at \
     byte 7 of the connection string",
        ],
    ),
    (
        "\"host=10.0.0.11 dbname=bdrtest user=repmgr\"",
        "5",
        &["6: node[1].conninfo: expected a string, found an integer"],
    ),
    (
        "node_id = 2",
        "node_id = 2\npriority = 100",
        &[
            "10: node[2].priority: unknown key (the keys here are `node_id`, `node_name`, \
     `conninfo`)",
        ],
    ),
    (
        "node_id = 1\n\n",
        "node_id = 1\nnode_name = \"node1\"\n",
        &[
            "2: node_name: the node of this host is also described by the `[[node]]` on line \
     3; keep one",
        ],
    ),
    (
        "node_id = 1\n\n[[node]]\nnode_id = 1",
        "node_id = 3\nnode_name = \"x\"\n\n[[node]]\nnode_id = 1",
        &[
            "1: conninfo: missing; write `conninfo = \"host=… dbname=… user=…\"`",
            "1: node: two nodes are needed, found 3; describe each in a `[[node]]` of its own",
        ],
    ),
    // Pgbouncers.
    (
        "name = \"pgb1\"\n",
        "",
        &["13: pgbouncer[#1].name: missing; write `name = \"pgb1\"`"],
    ),
    (
        "name = \"pgb1\"",
        "name = \"a b\"",
        &["14: pgbouncer[#1].name: `a b` is no name; use 1 to 63 letters, digits, `_ . -`"],
    ),
    (
        "ssh = \"pgb1\"\n",
        "",
        &["13: pgbouncer[pgb1].ssh: missing; write `ssh = \"user@host\"` or `local = true`"],
    ),
    (
        "ssh = \"pgb1\"\n",
        "ssh = \"pgb1\"\nlocal = true\n",
        &["16: pgbouncer[pgb1].local: contradicts `ssh`; keep one of them"],
    ),
    (
        "ssh = \"pgb1\"\n",
        "local = true\nssh_config = \"/x\"\n",
        &["16: pgbouncer[pgb1].ssh_config: contradicts `local = true`; it belongs to `ssh`"],
    ),
    (
        "ssh = \"pgb1\"\n",
        "local = true\nwitness_command = \"/x\"\n",
        &[
            "16: pgbouncer[pgb1].witness_command: contradicts `local = true`; it is run \
             through `ssh`",
        ],
    ),
    (
        "ssh = \"pgb1\"\n",
        "ssh = \"pgb1\"\nwitness_command = \"x -y\"\n",
        &[
            "16: pgbouncer[pgb1].witness_command: `x -y` is relative; write a path that begins \
             with `/`",
        ],
    ),
    (
        "ssh = \"pgb1\"\n",
        "local = false\n",
        &["13: pgbouncer[pgb1].ssh: missing; write `ssh = \"user@host\"` or `local = true`"],
    ),
    (
        "ssh = \"pgb1\"\n",
        "ssh = \"pgb1\"\nssh_config = \"x\"\n",
        &["16: pgbouncer[pgb1].ssh_config: `x` is relative; write a path that begins with `/`"],
    ),
    (
        "ssh = \"pgb1\"\n",
        "ssh = \"-oProxyCommand=x\"\n",
        &[
            "15: pgbouncer[pgb1].ssh: must not begin with `-`, which `ssh` would take for an \
     option",
        ],
    ),
    (
        "ssh = \"pgb1\"\n",
        "ssh = \"pgb1:0\"\n",
        &["15: pgbouncer[pgb1].ssh: the port must be a number from 1 to 65535"],
    ),
    (
        "\"host=10.0.0.21 port=6432 user=repoint\"",
        "[]",
        &[
            "16: pgbouncer[pgb1].console: an empty list; write the connection string of each \
     process",
        ],
    ),
    (
        "\"host=10.0.0.21 port=6432 user=repoint\"",
        "\"host=a user=b dbname=postgres\"",
        &[
            "16: pgbouncer[pgb1].console: the admin console is the database `pgbouncer`; \
     leave `dbname` out",
        ],
    ),
    (
        "\"host=10.0.0.21 port=6432 user=repoint\"",
        "\"port=6432\"",
        &[
            "16: pgbouncer[pgb1].console: no `host`; write an address or the directory of the \
     unix socket",
            "16: pgbouncer[pgb1].console: no `user`; write one of PgBouncer's `admin_users`",
        ],
    ),
    (
        "\"host=10.0.0.21 port=6432 user=repoint\"",
        "\"host=a user=b options=x target_session_attrs=any channel_binding=require\"",
        &[
            "16: pgbouncer[pgb1].console: PgBouncer refuses connections with `options`; \
     remove it",
            "16: pgbouncer[pgb1].console: `target_session_attrs` needs a query that the admin \
     console refuses; remove it",
            "16: pgbouncer[pgb1].console: PgBouncer has no channel binding, so it cannot be \
     required; remove it",
        ],
    ),
    (
        "\"host=10.0.0.21 port=6432 user=repoint\"",
        "[\"host=a user=b\", \"host=a user=c port=6432\"]",
        &[
            "16: pgbouncer[pgb1].console: the same console twice in one list; name each \
     process once",
        ],
    ),
    (
        "\"host=10.0.0.21 port=6432 user=repoint\"",
        "[\"host=a user=b\", 5]",
        &["16: pgbouncer[pgb1].console: expected a string, found an integer"],
    ),
    (
        "console = \"host=10.0.0.21 port=6432 user=repoint\"\n",
        "",
        &[
            "13: pgbouncer[pgb1].console: missing; write `console = \"host=… port=6432 \
     user=…\"`",
        ],
    ),
    (
        "\"/f\"",
        "\"f\"",
        &["17: pgbouncer[pgb1].file: `f` is relative; write a path that begins with `/`"],
    ),
    (
        "\"/f\"",
        "\"/f/\"",
        &["17: pgbouncer[pgb1].file: names a directory; write the path of the file in it"],
    ),
    (
        "\"/f\"",
        "\"/f\\n\"",
        &["17: pgbouncer[pgb1].file: a path must not hold control characters"],
    ),
    (
        "file = \"/f\"\n",
        "file = \"/f\"\ntemplate = \"x.ini\"\n",
        &[
            "18: pgbouncer[pgb1].template: `x.ini` is no built-in template; write \
     \"databases.ini\", \"pgbouncer.ini\" or an absolute path",
        ],
    ),
    (
        "file = \"/f\"\n",
        "file = \"/f\"\ntemplate = \"./x.ini\"\n",
        &[
            "18: pgbouncer[pgb1].template: `./x.ini` is relative; write a path that begins \
     with `/`",
        ],
    ),
    (
        "file = \"/f\"\n",
        "file = \"/f\"\nedits = \"overwrite\"\n",
        &[
            "18: pgbouncer[pgb1].edits: without a `template` there is nothing to overwrite edits \
     with; name one, or write \"merge\" or \"refuse\"",
        ],
    ),
    (
        "file = \"/f\"\n",
        "file = \"/f\"\nedits = \"keep\"\n",
        &[
            "18: pgbouncer[pgb1].edits: `keep` is not known; write \"merge\", \"refuse\" or \
     \"overwrite\"",
        ],
    ),
    (
        "file = \"/f\"\n",
        "file = \"/f\"\npause = \"no\"\n",
        &["18: pgbouncer[pgb1].pause: `no` is not known; write \"always\" or \"never\""],
    ),
    (
        "file = \"/f\"\n",
        "file = \"/f\"\nsettings = { \"listen port\" = 1 }\n",
        &[
            "18: pgbouncer[pgb1].settings.listen port: the name of a setting has letters, \
     digits and `_` only",
        ],
    ),
    (
        "file = \"/f\"\n",
        "file = \"/f\"\nsettings = { x = 1.5 }\n",
        &[
            "18: pgbouncer[pgb1].settings.x: expected a string, an integer or a boolean, \
     found a float",
        ],
    ),
    (
        "file = \"/f\"\n",
        "file = \"/f\"\nsettings = { x = \"a\\nb\" }\n",
        &[
            "18: pgbouncer[pgb1].settings.x: must not hold control characters, such as a line \
     break",
        ],
    ),
    (
        "file = \"/f\"\n",
        "file = \"/f\"\nsettings = 5\n",
        &["18: pgbouncer[pgb1].settings: expected a table, found an integer"],
    ),
    (
        "file = \"/f\"\n",
        "file = \"/f\"\nhosts = 1\n",
        &[
            "18: pgbouncer[pgb1].hosts: unknown key (the keys here are `name`, `ssh`, \
     `ssh_config`, `local`, `witness_command`, `console`, `file`, `template`, `edits`, `sudo`, \
     `in_place`, `pause`, `early_pause`, `without_node`, `home`, `settings`, \
     `database`)",
        ],
    ),
    (
        "[[pgbouncer.database]]\nname = \"app\"\n",
        "[[pgbouncer.database]]\nname = \"app\"\n\n[[pgbouncer]]\nname = \"pgb1\"\nssh = \
     \"pgb1:22\"\nconsole = \"host=b user=c\"\nfile = \"/f\"\ndatabase = [{ name = \
     \"app\" }]\n",
        &[
            "23: pgbouncer[pgb1].name: the same name as on line 14; give each its own",
            "26: pgbouncer[pgb1].file: the same file on the same host as in the \
     `[[pgbouncer]]` on line 13; give each its own",
        ],
    ),
    (
        "[[pgbouncer]]",
        "[pgbouncer]",
        &[
            "13: pgbouncer: expected tables, each under a `[[pgbouncer]]` of its own, found a \
     table",
        ],
    ),
    // Databases.
    (
        "[[pgbouncer.database]]\nname = \"app\"\n",
        "database = 5\n",
        &[
            "19: pgbouncer[pgb1].database: expected tables, each under a \
     `[[pgbouncer.database]]` of its own, found an integer",
        ],
    ),
    (
        "[[pgbouncer.database]]\nname = \"app\"\n",
        "",
        &[
            "13: pgbouncer[pgb1].database: missing; describe each entry in a \
     `[[pgbouncer.database]]`",
        ],
    ),
    (
        "[[pgbouncer.database]]\nname = \"app\"\n",
        "database = []\n",
        &[
            "13: pgbouncer[pgb1].database: missing; describe each entry in a \
     `[[pgbouncer.database]]`",
        ],
    ),
    (
        "name = \"app\"\n",
        "",
        &["19: pgbouncer[pgb1].database[#1].name: missing; write `name = \"app\"`"],
    ),
    (
        "\"app\"",
        "\"my app\"",
        &[
            "20: pgbouncer[pgb1].database[#1].name: `my app` is no name; use 1 to 63 letters, \
     digits, `_ . -`",
        ],
    ),
    (
        "\"app\"",
        "\"pgbouncer\"",
        &[
            "20: pgbouncer[pgb1].database[pgbouncer].name: `pgbouncer` is the name of the \
     admin console; use another",
        ],
    ),
    (
        "name = \"app\"\n",
        "name = \"app\"\n\n[[pgbouncer.database]]\nname = \"app\"\n",
        &[
            "23: pgbouncer[pgb1].database[app].name: the same name as on line 20; give each \
     entry its own",
        ],
    ),
    (
        "name = \"app\"\n",
        "name = \"app\"\ndbname = \"\"\n",
        &[
            "21: pgbouncer[pgb1].database[app].dbname: empty; write a value or leave the key \
     out",
        ],
    ),
    (
        "name = \"app\"\n",
        "name = \"app\"\nuser = \"a\\tb\"\n",
        &[
            "21: pgbouncer[pgb1].database[app].user: must not hold control characters, such \
     as a line break",
        ],
    ),
    (
        "name = \"app\"\n",
        "name = \"app\"\nprobe_usr = \"a\"\n",
        &[
            "21: pgbouncer[pgb1].database[app].probe_usr: unknown key; did you mean \
     `probe_user`? (the keys here are `name`, `dbname`, `user`, `probe_user`, \
     `options`)",
        ],
    ),
    (
        "name = \"app\"\n",
        "name = \"app\"\noptions = { pool_sizes = 5 }\n",
        &[
            "21: pgbouncer[pgb1].database[app].options.pool_sizes: PgBouncer does not know \
     this key and would refuse the file; did you mean `pool_size`?",
        ],
    ),
    (
        "name = \"app\"\n",
        "name = \"app\"\noptions = { sslmode = \"require\" }\n",
        &[
            "21: pgbouncer[pgb1].database[app].options.sslmode: PgBouncer does not know this \
     key and would refuse the file; the keys are `application_name`, `auth_dbname`, \
     `auth_query`, `auth_user`, `client_encoding`, `connect_query`, `datestyle`, \
     `load_balance_hosts`, `max_db_client_connections`, `max_db_connections`, \
     `min_pool_size`, `pool_mode`, `pool_size`, `query_wait_timeout`, `reserve_pool`, \
     `reserve_pool_size`, `server_lifetime`, `timezone`",
        ],
    ),
    (
        "name = \"app\"\n",
        "name = \"app\"\noptions = { host = \"a\", user = \"b\", password = \"c\" }\n",
        &[
            "21: pgbouncer[pgb1].database[app].options.host: comes from the active node; \
     remove it",
            "21: pgbouncer[pgb1].database[app].options.user: belongs to the entry; write \
     `user = …` above, outside",
            "21: pgbouncer[pgb1].database[app].options.password: a password would be readable \
     in the file; use `auth_file`",
        ],
    ),
    (
        "name = \"app\"\n",
        "name = \"app\"\noptions = { pool_size = true }\n",
        &[
            "21: pgbouncer[pgb1].database[app].options.pool_size: expected a string or an \
     integer, found a boolean",
        ],
    ),
    (
        "name = \"app\"\n",
        "name = \"app\"\noptions = { pool_mode = \"\" }\n",
        &[
            "21: pgbouncer[pgb1].database[app].options.pool_mode: empty; write a value or \
     leave the key out",
        ],
    ),
];
