//! `repmgr.conf` in place of a TOML file, beside one, and turned into one.

use crate::Place;

/// The page "BDR failover with repmgrd", which a user keeps.
const PAGE: &str = r#"
node_id=1
node_name='node1'
conninfo='host=10.0.0.11 dbname=bdrtest user=repmgr password=correct-horse connect_timeout=2'
replication_type='bdr'

event_notifications=bdr_failover
event_notification_command='/path/to/bdr-pgbouncer.sh %n %e %s "%c" "%a" >> /tmp/x.log 2>&1'

# repmgrd options
monitor_interval_secs=5
reconnect_attempts=6
reconnect_interval=5
failover=automatic
"#;

const PGBOUNCERS: &str = r#"
[[pgbouncer]]
name = "pgb1"
local = true
console = "host=/run/pgbouncer user=repoint"
file = "/etc/pgbouncer/databases.ini"

[[pgbouncer.database]]
name = "app"
"#;

/// What `render --full` prints for this node.
const RENDERED: &str = "[databases]\napp = host='10.0.0.11' port='5432' dbname='bdrtest'\n";

#[test]
fn either_file_may_name_the_other() {
    let place = Place::new();
    let pgbouncers = place.path("pgbouncers.toml").display().to_string();
    let repmgr = place.path("plain.conf").display().to_string();
    place.write(
        "repmgr.conf",
        &format!("{PAGE}repoint_pgbouncers='{pgbouncers}'\n"),
    );
    place.write("plain.conf", PAGE);
    place.write("pgbouncers.toml", PGBOUNCERS);
    place.write(
        "both.toml",
        &format!("repmgr_conf = \"{repmgr}\"\n{PGBOUNCERS}"),
    );
    for file in [&["-f", "repmgr.conf"][..], &["-f", "both.toml"], &[]] {
        let ran = place.run(&[file, &["render", "--full"]].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(ran.stdout.ends_with(RENDERED), "{}", ran.stdout);
    }
    // A redirect is from another node, and those are in repmgr.nodes.
    let nobody = PAGE.replace("host=10.0.0.11", "host=127.0.0.1 port=1");
    place.write("nobody.conf", &nobody);
    place.run(&["-f", "nobody.conf", "render"]).fails(
        "repoint: the other node is not known: describe each in a `[[node]]`, or use --full for \
         the file with every entry at this node: repmgr.nodes cannot be read on node \"node1\": \
         refused: Connection refused (os error 111)\n",
    );
    // Alone it has no PgBouncers.
    place
        .run(&["-f", "plain.conf", "render", "--full"])
        .is(0, "", "");
}

#[test]
fn a_toml_file_keeps_its_own_pgbouncers_and_says_so() {
    let place = Place::new();
    let repmgr = place.path("repmgr.conf").display().to_string();
    place.write(
        "repmgr.conf",
        &format!("{PAGE}repoint_pgbouncers='/other.toml'\n"),
    );
    place.write(
        "repoint.toml",
        &format!("repmgr_conf = \"{repmgr}\"\n{PGBOUNCERS}"),
    );
    let ran = place.run(&["render", "--full"]);
    let warning = format!(
        "WARNING: {repmgr}: repoint_pgbouncers: `/other.toml` is not read; the PgBouncers are \
         those of `repoint.toml`\n"
    );
    assert_eq!((ran.code, ran.stderr), (0, warning));
    assert!(ran.stdout.ends_with(RENDERED), "{}", ran.stdout);
}

#[test]
fn with_streaming_replication_the_daemon_is_refused_and_render_works() {
    let place = Place::new();
    place.write("repmgr.conf", &PAGE.replace("replication_type='bdr'", ""));
    let expected = "\
repoint: the daemon watches active-active pairs, and `replication_type` is `physical`. With \
streaming replication keep repmgrd, and name `repoint notify` as its event_notification_command; \
for an active-active pair write `replication_type = 'bdr'`, whatever extension replicates
";
    place.run(&["-f", "repmgr.conf", "daemon"]).fails(expected);
    place
        .run(&["-f", "repmgr.conf", "render", "--full"])
        .is(0, "", "");
}

#[test]
fn all_problems_are_told_with_file_and_line_and_warnings_stop_nothing() {
    let place = Place::new();
    place.write(
        "repmgr.conf",
        "include 'more.conf'\nnode_id=0\npriority = 'high'\n",
    );
    place.write(
        "more.conf",
        "\nreconnect_interval=5s\nconninfo='host=x secret'\n",
    );
    let expected = "\
repoint: `repmgr.conf` is not usable, nothing was done; 5 problems:
more.conf:2: reconnect_interval: `5s` is not a whole number
more.conf:3: conninfo: not a connection string of libpq: missing `=` after the word at byte 7 of \
the connection string
repmgr.conf:1: node_name: missing; write `node_name='…'`
repmgr.conf:2: node_id: must be from 1 to 2147483647, not `0`
repmgr.conf:3: priority: `high` is not a whole number
";
    for command in [&["daemon"][..], &["render"]] {
        let arguments = [&["-f", "repmgr.conf"], command].concat();
        place.run(&arguments).fails(expected);
    }
    place.write(
        "odd.conf",
        &format!("{PAGE}log_level=LOUD\nnode=1\nfoo=bar\n"),
    );
    place.run(&["-f", "odd.conf", "render", "--full"]).is(
        0,
        "",
        "\
WARNING: odd.conf:15: log_level: `LOUD` is no level; it stays `INFO`
WARNING: odd.conf:16: node: repmgr 3's name of `node_id`; ignored, write `node_id`
WARNING: odd.conf:17: foo: unknown option, ignored
",
    );
}

#[test]
fn an_import_is_a_file_that_is_read_again() {
    let place = Place::new();
    place.write("repmgr.conf", PAGE);
    let imported = place.run(&["config", "import", "repmgr.conf"]);
    let expected = r#"# From repmgr.conf, read in the syntax of repmgr 5.

node_id = 1
node_name = "node1"
# The password is better kept in ~/.pgpass (mode 0600) of the user that runs repoint.
conninfo = "host=10.0.0.11 dbname=bdrtest user=repmgr password=correct-horse connect_timeout=2"
replication_type = "bdr"

monitor_interval_secs = 5
reconnect_attempts = 6
reconnect_interval = 5

event_notification_command = '/path/to/bdr-pgbouncer.sh %n %e %s "%c" "%a" >> /tmp/x.log 2>&1'
event_notifications = ["bdr_failover"]

# Without meaning here:
#   failover: the daemon always acts; `repoint service pause` keeps it from it

# Each PgBouncer, with its entries: take the `#` away and put yours in.
#[[pgbouncer]]
#name = "pgb1"
#ssh = "repoint@10.0.0.21"               # or: local = true
#console = "host=10.0.0.21 port=6432 user=repoint dbname=pgbouncer"
#file = "/etc/pgbouncer/repoint/databases.ini"
#
#[[pgbouncer.database]]
#name = "app"
#dbname = "bdrtest"
"#;
    imported.is(0, expected, "");
    place.write("repoint.toml", &format!("{expected}{PGBOUNCERS}"));
    let ran = place.run(&["render", "--full"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.ends_with(RENDERED), "{}", ran.stdout);
}

#[test]
fn an_import_says_what_it_read_and_what_is_wrong() {
    let place = Place::new();
    place.write("repmgr.conf", &PAGE.replace('\'', ""));
    let told = place.run(&["config", "import", "-v", "repmgr.conf"]);
    assert_eq!(told.code, 0);
    let expected = "INFO: `repmgr.conf` is read in the syntax of repmgr 4\n";
    assert_eq!(told.stderr, expected);
    place.write(
        "repmgr.conf",
        "node_id=1\nnode_name=a\nconninfo='password=correct-horse' x\n",
    );
    place.run(&["config", "import", "repmgr.conf"]).fails(
        "ERROR: `repmgr.conf` is not usable, nothing was done; 1 problem:\n\
         repmgr.conf:3: syntax error in file \"repmgr.conf\" line 3, near token \"…\"\n",
    );
    place.run(&["config", "import", "absent.conf"]).fails(
        "ERROR: read the configuration `absent.conf`: No such file or directory (os error 2)\n",
    );
    let help = place.run(&["config", "import", "--help"]).stdout;
    assert!(
        help.contains("repoint config import /etc/repmgr.conf >"),
        "{help}"
    );
}

/// repmgr's default is streaming replication, which nothing can be registered for here.
#[test]
fn a_node_of_streaming_replication_is_not_registered() {
    let place = Place::new();
    place.write("repmgr.conf", &PAGE.replace("replication_type='bdr'", ""));
    for (command, name) in [
        ("register", "BDR REGISTER"),
        ("unregister", "BDR UNREGISTER"),
    ] {
        place.run(&["bdr", command]).fails(&format!(
            "ERROR: cannot run {name} on a non-BDR node\n\
             DETAIL: replication_type is \"physical\", which is the default in a repmgr.conf\n\
             HINT: write replication_type='bdr', for pgactive and pglogical, too\n"
        ));
    }
}

#[test]
fn what_is_wrong_with_the_file_is_told_line_by_line_by_every_command() {
    let place = Place::new();
    place.write("repmgr.conf", "node_id=0\nreconnect_attempts=5s\n");
    for command in [
        "bdr register",
        "cluster show",
        "node check",
        "service status",
    ] {
        let ran = place.run(&command.split(' ').collect::<Vec<_>>());
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{command}");
        let lines = ran
            .stderr
            .lines()
            .filter(|line| line.starts_with("repmgr.conf:"));
        assert!(lines.count() >= 2, "{command}: {}", ran.stderr);
    }
}

#[test]
fn a_node_that_is_down_and_knows_no_other_is_no_dead_end() {
    let place = Place::new();
    let lines = "node_id=1\nnode_name='a'\nconninfo='host=127.0.0.1 port=1 dbname=a user=b'\n\
                 replication_type='bdr'\n";
    place.write("repmgr.conf", lines);
    let expected = "ERROR: unable to connect to the database\n\
         DETAIL: host=127.0.0.1 port=1 dbname=a user=b: refused: Connection refused (os error \
         111)\n\
         HINT: see that the server runs and lets this user in, or ask another node: name it \
         with -h\n";
    for command in [
        "cluster show",
        "cluster event",
        "service status",
        "service pause",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        place.run(&words).is(6, "", expected);
    }
}

#[test]
fn what_was_noticed_in_the_file_is_told_as_loud_as_was_asked_for() {
    let place = Place::new();
    let lines = "node_id=1\nnode_name='a'\nconninfo='host=127.0.0.1 port=1 dbname=a user=b'\n\
                 replication_type='bdr'\nreplicaton_lag=3\n";
    place.write("repmgr.conf", lines);
    let warning = "WARNING: repmgr.conf:5: replicaton_lag: unknown option, ignored\n";
    let error = "ERROR: unable to connect to the database\n";
    let info = "INFO: repmgr.conf is read in the syntax of repmgr 5\n";
    for (option, expected) in [
        ("--terse", format!("{warning}{error}")),
        ("--verbose", format!("{warning}{info}{error}")),
        ("--quiet", error.to_owned()),
    ] {
        for command in [
            "cluster show",
            "node status",
            "bdr register",
            "service status",
        ] {
            let words: Vec<&str> = command.split(' ').collect();
            let ran = place.run(&[&words[..], &[option]].concat());
            assert_eq!((ran.code, ran.stdout.as_str()), (6, ""));
            assert!(
                ran.stderr.starts_with(&expected),
                "{command} {}",
                ran.stderr
            );
            let told = ran.stderr.contains("\nDETAIL: ") && ran.stderr.contains("\nHINT: ");
            assert_eq!(told, option != "--terse", "{command} {}", ran.stderr);
        }
    }
}

#[test]
fn without_pgbouncers_it_is_said_that_there_is_nothing_to_redirect() {
    let nodes = |id: u32| {
        format!(
            "[[node]]\nnode_id = {id}\nnode_name = \"n{id}\"\n\
             conninfo = \"host=10.0.0.{id} dbname=d\"\n"
        )
    };
    let text = format!("node_id = 1\n{}{}", nodes(1), nodes(2));
    let place = Place::with_configuration(&text);
    let warning = "WARNING: the configuration names no PgBouncer: nothing to redirect\n";
    place.run(&["render"]).is(0, "", warning);
}
