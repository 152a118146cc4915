//! Names and paths that look like commands, keys or lines stay names and paths.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fixture::{Cluster, Settings, rows, wait_until};
use crate::served::wait_until_serves;

const DEADLINE: Duration = Duration::from_secs(20);

/// A file that must never come into being.
fn trap(cluster: &Cluster) -> PathBuf {
    cluster.directory().join("X")
}

/// Node names and a database name that want to be commands, lines and sections.
struct Hostile {
    names: [String; 2],
    dbname: String,
}

impl Hostile {
    fn new(trap: &Path) -> Self {
        let touch = format!("touch {}", trap.display());
        Self {
            names: [
                format!("n'1\"\n%include /etc/passwd\n$({touch})`a`"),
                "n2'; drop table writes; --\n[pgbouncer]\nauth_type=any".to_owned(),
            ],
            dbname: format!("o'r \"b\" $({touch});`a` #{{{{ node }}}}"),
        }
    }

    fn conninfo(&self, port: u16) -> String {
        let dbname = self.dbname.replace('\\', "\\\\").replace('\'', "\\'");
        format!("host=127.0.0.1 port={port} dbname='{dbname}' user=repmgr connect_timeout=2")
    }

    fn create_databases(&self, cluster: &Cluster) {
        let quoted = self.dbname.replace('"', "\"\"");
        for node in cluster.nodes() {
            node.rows(&format!("create database \"{quoted}\" owner repmgr"));
        }
    }

    fn write_config(&self, cluster: &Cluster, settings: &Settings) -> PathBuf {
        cluster.write_config(1, settings, |toml| {
            for (node, name) in cluster.nodes().iter().zip(&self.names) {
                let plain = format!("node_name = \"{}\"", node.name());
                *toml = toml.replace(&plain, &format!("node_name = {name:?}"));
                let plain = format!("conninfo = \"{}\"", node.conninfo());
                let conninfo = self.conninfo(node.port());
                *toml = toml.replace(&plain, &format!("conninfo = {conninfo:?}"));
            }
        })
    }

    /// The first value of the first row of a query on node 1.
    fn value(&self, cluster: &Cluster, sql: &str) -> String {
        let conninfo = self.conninfo(cluster.node1().port());
        let rows = rows(&conninfo, sql, DEADLINE).expect("it answers");
        rows[0].values().next().cloned().unwrap_or_default()
    }
}

/// A hook that writes its arguments, each ended by a zero byte, into the file `argv`.
fn hook(cluster: &Cluster, argv: &Path) -> Settings {
    let hook = cluster.directory().join("hook.sh");
    let script = "printf '%s\\0' \"$@\" >ARGV.new && mv ARGV.new ARGV\n";
    let script = script.replace("ARGV", &argv.display().to_string());
    cluster.home().write(&hook, &script);
    Settings {
        lines: format!(
            "event_notification_command = 'sh {} %n %e %s \"%c\" \"%a\" \"%d\"'\n\
             event_notifications = \"bdr_failover\"\n",
            hook.display()
        ),
        ..Settings::default()
    }
}

#[test]
fn names_reach_neither_a_shell_nor_the_file_as_anything_but_data() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, trap) = (cluster.pooler(1), trap(&cluster));
    let hostile = Hostile::new(&trap);
    hostile.create_databases(&cluster);
    let argv = cluster.directory().join("argv");
    let file = hostile.write_config(&cluster, &hook(&cluster, &argv));
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log("(ID: 2)", DEADLINE);
    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete", DEADLINE);
    wait_until_serves(pooler, cluster.node1(), DEADLINE);

    let served = pooler.admin("SHOW DATABASES");
    let served: Vec<_> = served
        .iter()
        .map(|row| [&row["name"], &row["database"]])
        .collect();
    assert_eq!(
        served,
        [["app", &hostile.dbname], ["pgbouncer", "pgbouncer"]]
    );
    assert_eq!(pooler.config("auth_type"), "trust");
    let through = pooler.try_rows("probe", "select current_database() as d", DEADLINE);
    assert_eq!(through.expect("it answers")[0]["d"], hostile.dbname);

    let [name1, name2] = &hostile.names;
    let details = format!(
        "node \"{name2}\" (ID: 2) detected as failed; next available node is \"{name1}\" (ID: 1)"
    );
    wait_until(DEADLINE, "the hook's arguments", || argv.exists());
    let written = std::fs::read_to_string(&argv).expect("it is there");
    let arguments: Vec<&str> = written.split_terminator('\0').collect();
    let conninfo1 = hostile.conninfo(cluster.node1().port());
    let expected = ["2", "bdr_failover", "1", &conninfo1, name1, &details];
    assert_eq!(arguments, expected);

    let sql = "select details from repmgr.events where event = 'bdr_failover'";
    daemon.wait_for_log(
        "event_notification_command ended with exit status 0",
        DEADLINE,
    );
    let count = "select count(*) from repmgr.events where event = 'bdr_failover'";
    wait_until(DEADLINE, "the row", || {
        hostile.value(&cluster, count) == "1"
    });
    let recorded = hostile.value(&cluster, sql);
    let outcome = recorded.strip_prefix(&details).unwrap_or_default();
    assert!(
        outcome.starts_with("; 1 of 1 PgBouncers serve node 1; "),
        "{recorded}"
    );
    let sql = "select node_name from repmgr.nodes where node_id = 2";
    assert_eq!(hostile.value(&cluster, sql), *name2);
    assert!(!trap.exists());
    for line in daemon.log().lines() {
        assert!(
            line.starts_with("20"),
            "a name has begun a line of the log: {line}"
        );
    }
}

#[test]
fn a_value_that_would_end_a_line_of_the_file_is_refused_at_the_start() {
    let cluster = Cluster::builder().poolers(1).start();
    for (plain, hostile) in [
        ("dbname=bdrtest", r"dbname='a\n%include /etc/passwd'"),
        ("host=127.0.0.1", r"host='127.0.0.1\n[pgbouncer]'"),
    ] {
        let node = cluster.node1().conninfo();
        let file = cluster.write_config(1, &Settings::default(), |toml| {
            *toml = toml.replace(&node, &node.replace(plain, hostile));
        });
        let output = cluster.repoint(&["-f", &file.display().to_string(), "daemon"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let (key, _) = plain.split_once('=').expect("a keyword and its value");
        assert!(text.contains(&format!("`{key}`")), "{text}");
        assert!(text.contains("control character"), "{text}");
        assert!(text.trim_end().lines().count() <= 2, "{text}");
    }
}

#[test]
fn a_path_of_the_managed_file_may_hold_anything() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, trap) = (cluster.pooler(1), trap(&cluster));
    let touch = format!(
        "$(touch {})",
        trap.display().to_string().replace('/', "$(printf '\\057')")
    );
    let directory = pooler
        .socket_dir()
        .join(format!("o'dd \"dir\" {touch} `a` * ;&"));
    cluster.home().create_directory(&directory);
    let odd = directory.join("-da ta'b\"$HOME$(id).ini");
    // PgBouncer takes its old name, which leads there.
    cluster.home().write(&odd, &pooler.file_text());
    std::fs::remove_file(pooler.file()).expect("it is there");
    std::os::unix::fs::symlink(&odd, pooler.file()).expect("a link can be made");

    let file = cluster.write_config(1, &Settings::default(), |toml| {
        let plain = format!("file = \"{}\"", pooler.file().display());
        *toml = toml.replace(&plain, &format!("file = {:?}", odd.display().to_string()));
    });
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete", DEADLINE);
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    assert!(odd.with_file_name("-da ta'b\"$HOME$(id).ini.prev").exists());
    assert!(daemon.terminate().success());
    let left = std::fs::read_dir(&directory).expect("it is there").count();
    assert_eq!(left, 3, "the file, the one before it, and the lock");
    assert!(!trap.exists());
}
