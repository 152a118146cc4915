use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::import::to_toml;
use super::*;
use crate::config::file::{parse, parse_over};
use crate::config::{Config, LogLevel, NodeId, Peers, ReplicationType};

/// Files that are not on any disk.
#[derive(Default)]
struct Memory(BTreeMap<PathBuf, String>);

impl Memory {
    fn with(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| (PathBuf::from(path), (*text).to_owned());
        Self(files.iter().map(file).collect())
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = self.0.get(path);
        let absent = || io::Error::new(io::ErrorKind::NotFound, "no such file");
        text.map(|text| text.as_bytes().to_vec()).ok_or_else(absent)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let inside = self
            .0
            .keys()
            .filter(|path| path.parent() == Some(directory));
        let name = |path: &PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let names: Vec<String> = inside.filter_map(name).rev().collect();
        match names.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "no such directory")),
            false => Ok(names),
        }
    }
}

const FILE: &str = "/etc/repmgr.conf";

fn read_with(text: &str, files: &Memory) -> Result<RepmgrConf, Problems> {
    read(Path::new(FILE), text.as_bytes(), files)
}

fn conf(text: &str) -> RepmgrConf {
    read_with(text, &Memory::default()).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn config(conf: &RepmgrConf) -> Config {
    parse_over(&conf.file, "", Some(conf)).expect("a configuration")
}

/// What is required, as the page of repmgr writes it.
const NODE: &str = "\
node_id=1
node_name='node1'
conninfo='host=node1 dbname=bdrtest user=repmgr connect_timeout=2'
";

/// The page "BDR failover with repmgrd".
const PAGE: &str = r#"
node_id=1
node_name='node1'
conninfo='host=node1 dbname=bdrtest user=repmgr connect_timeout=2'
replication_type='bdr'

event_notifications=bdr_failover
event_notification_command='/path/to/bdr-pgbouncer.sh %n %e %s "%c" "%a" >> /tmp/x.log 2>&1'

# repmgrd options
monitor_interval_secs=5
reconnect_attempts=6
reconnect_interval=5
"#;

#[test]
fn the_page_is_read_as_it_says() {
    let conf = conf(PAGE);
    assert_eq!(conf.dialect, Dialect::Repmgr5);
    assert_eq!(conf.warnings, []);
    let config = config(&conf);
    assert_eq!(config.node_id, NodeId(1));
    assert_eq!(config.local().node_name, "node1");
    assert_eq!(config.local().conninfo.get("host"), Some("node1"));
    assert_eq!((config.nodes.len(), config.peers), (1, Peers::Registered));
    assert_eq!(config.replication_type, ReplicationType::Bdr);
    assert_eq!(config.hook.events, ["bdr_failover"]);
    let command = config.hook.command.expect("a hook");
    assert!(command.ends_with(r#"%n %e %s "%c" "%a" >> /tmp/x.log 2>&1"#));
    let monitoring = config.monitoring;
    assert_eq!(monitoring.monitor_interval, Duration::from_secs(5));
    assert_eq!(monitoring.reconnect_interval, Duration::from_secs(5));
    assert!(config.pgbouncers.is_empty());
}

#[test]
fn what_is_left_out_is_as_repmgr_has_it() {
    let config = config(&conf(NODE));
    assert_eq!(config.replication_type, ReplicationType::Physical);
    let monitoring = config.monitoring;
    assert_eq!(monitoring.monitor_interval, Duration::from_secs(2));
    assert_eq!(monitoring.reconnect_attempts, 6);
    assert_eq!(monitoring.reconnect_interval, Duration::from_secs(10));
    assert_eq!(monitoring.recovery_timeout, Duration::from_secs(30));
    assert!(!monitoring.local_only);
    assert_eq!(config.log.status_interval, Duration::from_secs(300));
    assert_eq!((config.log.level, config.log.file), (LogLevel::Info, None));
    assert_eq!((config.hook.command, config.pid_file), (None, None));
    assert_eq!(config.record.location, "default");
    assert_eq!(config.record.priority, 100);
}

/// Every option that means something, with another value than its default.
const FULL: &str = "
node_id=2
node_name='it''s \"node2\"'
conninfo='host=node2 dbname=bdrtest password=''a b'''
data_directory='/var/lib/postgresql/15/main'
replication_type=bdr
location='dc 2'
priority=7
log_level=notice
log_facility=STDERR
log_file='/var/log/repmgr/repmgr.log'
log_status_interval=60
event_notification_command='/usr/bin/it\\'s \"%d\" \\\\ %n'
event_notifications='bdr_failover, bdr_recovery'
event_notifications=repmgrd_start
monitor_interval_secs=3
reconnect_attempts=0
reconnect_interval=0
bdr_local_monitoring_only=Yes
bdr_recovery_timeout=300
repmgrd_pid_file='/run/repmgrd.pid'
failover=automatic
promote_command='repmgr standby promote'
";

#[test]
fn every_option_is_read() {
    let conf = conf(FULL);
    let config = config(&conf);
    assert_eq!(config.local().node_name, "it's \"node2\"");
    assert_eq!(config.local().conninfo.get("password"), Some("a b"));
    assert_eq!(config.record.location, "dc 2");
    assert_eq!(config.record.priority, 7);
    assert_eq!(config.log.level, LogLevel::Notice);
    let log_file = config.log.file.as_deref();
    assert_eq!(log_file, Some(Path::new("/var/log/repmgr/repmgr.log")));
    assert_eq!(config.log.status_interval, Duration::from_secs(60));
    let command = config.hook.command.as_deref();
    assert_eq!(command, Some("/usr/bin/it's \"%d\" \\ %n"));
    let events = ["bdr_failover", "bdr_recovery", "repmgrd_start"];
    assert_eq!(config.hook.events, events);
    assert_eq!(config.monitoring.monitor_interval, Duration::from_secs(3));
    assert_eq!(config.monitoring.reconnect_attempts, 0);
    assert_eq!(config.monitoring.reconnect_interval, Duration::ZERO);
    assert!(config.monitoring.local_only);
    assert_eq!(config.monitoring.recovery_timeout, Duration::from_secs(300));
    let pid_file = config.pid_file.as_deref();
    assert_eq!(pid_file, Some(Path::new("/run/repmgrd.pid")));
    assert_eq!(conf.warnings, []);
}

#[test]
fn a_file_is_read_in_the_dialect_that_it_is_written_in() {
    use Dialect::{Repmgr4, Repmgr5};
    for (line, dialect, read) in [
        ("location='x#y'", Repmgr5, "x#y"),
        ("location 'x y'", Repmgr5, "x y"),
        ("location=x y", Repmgr4, "x y"),
        ("location=x,y # z", Repmgr4, "x,y"),
        ("location=\"x\"", Repmgr4, "\"x\""),
        ("location=it''s", Repmgr4, "its"),
        ("location='it''s'", Repmgr5, "it's"),
        ("location = '  x  '", Repmgr5, "  x  "),
    ] {
        let conf = conf(&format!("{NODE}{line}\n"));
        assert_eq!(
            (conf.dialect, conf.base.record.location.as_str()),
            (dialect, read)
        );
    }
    let unquoted = NODE.replace('\'', "");
    assert_eq!(conf(&unquoted).dialect, Repmgr4);
    assert_eq!(config(&conf(&unquoted)), config(&conf(NODE)));
}

#[test]
fn the_last_value_holds_but_events_add_up() {
    let text = format!(
        "{NODE}priority=1\nevent_notifications='bdr_failover,bdr_recovery'\npriority=2\n\
         event_notifications=bdr_reconnect\n"
    );
    let conf = conf(&text);
    assert_eq!(conf.base.record.priority, 2);
    assert_eq!(
        conf.base.events,
        ["bdr_failover", "bdr_recovery", "bdr_reconnect"]
    );
    assert_eq!(conf.given.len(), 5);
}

#[test]
fn files_are_included_in_their_places() {
    let files = Memory::with(&[
        ("/etc/repmgr/node.conf", NODE),
        (
            "/etc/repmgr/d/20.conf",
            "priority=20\ninclude '../../more.conf'\n",
        ),
        ("/etc/repmgr/d/10.conf", "priority=10\nlocation=ten\n"),
        ("/etc/repmgr/d/.30.conf", "priority=30\n"),
        ("/etc/repmgr/d/40.txt", "priority=40\n"),
        ("/etc/repmgr/d/../../more.conf", "reconnect_attempts=9\n"),
        ("/absolute.conf", "log_level=DEBUG\n"),
    ]);
    let text = "include 'repmgr/node.conf'\nINCLUDE_DIR = 'repmgr/d'\n\
                include_if_exists 'absent.conf'\ninclude '/absolute.conf'\n";
    let conf = read_with(text, &files).expect("a configuration");
    assert_eq!(conf.base.record.priority, 20);
    assert_eq!(conf.base.record.location, "ten");
    assert_eq!(conf.base.monitoring.reconnect_attempts, 9);
    assert_eq!(conf.base.log.level, LogLevel::Debug);
}

#[test]
fn includes_that_cannot_be_followed_are_told_with_their_place() {
    let mut files: Vec<(String, String)> = (1..=11)
        .map(|n| {
            (
                format!("/etc/{n}.conf"),
                format!("\ninclude '{}.conf'", n + 1),
            )
        })
        .collect();
    files.push((
        "/etc/loop.conf".to_owned(),
        "include 'repmgr.conf'".to_owned(),
    ));
    files.push(("/etc/bad.conf".to_owned(), "\n\nnode_id = x".to_owned()));
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let files = Memory::with(&files);
    for (line, expected) in [
        (
            "include 'absent.conf'",
            "/etc/repmgr.conf:1: include: read `/etc/absent.conf`: no such file",
        ),
        (
            "include_dir 'absent'",
            "/etc/repmgr.conf:1: include_dir: read `/etc/absent`: no such directory",
        ),
        (
            "include ''",
            "/etc/repmgr.conf:1: include: no file is named",
        ),
        (
            "include",
            "/etc/repmgr.conf:1: syntax error in file \"/etc/repmgr.conf\" line 1, near end of \
             line",
        ),
        (
            "include 'loop.conf'",
            "/etc/loop.conf:1: include: `/etc/repmgr.conf` is being read already: a loop",
        ),
        (
            "include '1.conf'",
            "/etc/10.conf:2: include: files include each other more than 10 deep",
        ),
        (
            "include 'bad.conf'",
            "/etc/bad.conf:3: node_id: `x` is not a whole number",
        ),
    ] {
        let problems = read_with(&format!("{line}\n{NODE}"), &files).expect_err(line);
        assert_eq!(problems.to_string(), expected);
    }
}

#[test]
fn directories_that_include_each_other_come_to_an_end() {
    let text = "include_dir '../d'\n";
    let names: Vec<String> = (0..9).map(|n| format!("{n}.conf")).collect();
    struct Same(Vec<String>);
    impl Files for Same {
        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Ok(b"include_dir '../d'\n".to_vec())
        }
        fn names(&self, _: &Path) -> io::Result<Vec<String>> {
            Ok(self.0.clone())
        }
    }
    let problems = read(Path::new("/d/repmgr.conf"), text.as_bytes(), &Same(names));
    let problems = problems.expect_err("no end").to_string();
    assert!(
        problems.contains("more than 1000 files are included"),
        "{problems}"
    );
}

/// A line instead of that of [`NODE`] with the same name, or behind it; and what is said of it.
const BROKEN: [(&str, &str); 34] = [
    (
        "node_id=0",
        "1: node_id: must be from 1 to 2147483647, not `0`",
    ),
    (
        "node_id=-1",
        "1: node_id: must be from 1 to 2147483647, not `-1`",
    ),
    (
        "node_id=2147483648",
        "1: node_id: must be from 1 to 2147483647, not `2147483648`",
    ),
    (
        "node_id=99999999999999999999",
        "1: node_id: must be from 1 to 2147483647, not \
     `99999999999999999999`",
    ),
    ("node_id=one", "1: node_id: `one` is not a whole number"),
    ("node_id=0x10", "1: node_id: `0x10` is not a whole number"),
    ("node_id=''", "1: node_id: no value provided"),
    (
        "node_id=",
        "1: syntax error in file \"/etc/repmgr.conf\" line 1, near end of line",
    ),
    ("node_name=''", "2: node_name: no value provided"),
    ("node_name='a\\377b'", "2: node_name: not valid UTF-8"),
    ("node_name='a\\000b'", "2: node_name: holds a NUL character"),
    (
        "node_name=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "2: node_name: 64 bytes long; a name has 1 to 63 bytes",
    ),
    ("conninfo=''", "3: conninfo: no value provided"),
    (
        "conninfo='host=node1'",
        "3: conninfo: no `dbname`; PgBouncer needs one",
    ),
    (
        "conninfo='dbname=x'",
        "3: conninfo: no `host` or `hostaddr`; PgBouncer needs one",
    ),
    (
        "conninfo='hast=node1 dbname=x'",
        "3: conninfo: not a connection string of libpq: \
     invalid connection option `hast` at byte 0",
    ),
    (
        "conninfo='host=node1 password=secret secret'",
        "3: conninfo: not a connection string of \
     libpq: missing `=` after the word at byte 27 of the connection string",
    ),
    (
        "conninfo='host=node1 dbname=x",
        "3: syntax error in file \"/etc/repmgr.conf\" line 3, \
     near token \"'\"",
    ),
    (
        "replication_type=BDR",
        "4: replication_type: `BDR` is not known; write `physical` or `bdr`",
    ),
    (
        "monitor_interval_secs=5s",
        "4: monitor_interval_secs: `5s` is not a whole number",
    ),
    (
        "monitor_interval_secs=0",
        "4: monitor_interval_secs: must be from 1 to 3600, not `0`",
    ),
    (
        "monitor_interval_secs=2.5",
        "4: monitor_interval_secs: `2.5` is not a whole number",
    ),
    (
        "reconnect_attempts=-1",
        "4: reconnect_attempts: must be from 0 to 1000, not `-1`",
    ),
    (
        "reconnect_interval=3601",
        "4: reconnect_interval: must be from 0 to 3600, not `3601`",
    ),
    (
        "bdr_recovery_timeout=true",
        "4: bdr_recovery_timeout: `true` is not a whole number",
    ),
    (
        "log_status_interval=-300",
        "4: log_status_interval: must be from 0 to 86400, not `-300`",
    ),
    ("priority=high", "4: priority: `high` is not a whole number"),
    (
        "bdr_local_monitoring_only=maybe",
        "4: bdr_local_monitoring_only: `maybe` is no boolean; \
     write `true` or `false`",
    ),
    (
        "log_file='repmgr.log'",
        "4: log_file: `repmgr.log` is relative; write a path that begins \
     with `/`",
    ),
    (
        "repmgrd_pid_file='/a\\nb'",
        "4: repmgrd_pid_file: a path must not hold control characters",
    ),
    (
        "repoint_pgbouncers='pgbouncers.toml'",
        "4: repoint_pgbouncers: `pgbouncers.toml` is relative; \
     write a path that begins with `/`",
    ),
    (
        "repoint_pgbouncers=''",
        "4: repoint_pgbouncers: no value provided",
    ),
    (
        "log_level INFO DEBUG",
        "4: syntax error in file \"/etc/repmgr.conf\" line 4, near token \
     \"DEBUG\"",
    ),
    (
        "[repmgr]",
        "4: syntax error in file \"/etc/repmgr.conf\" line 4, near token \"[\"",
    ),
];

fn broken(line: &str) -> String {
    let name = line.split(['=', ' ']).next().unwrap_or_default();
    let mut lines: Vec<&str> = NODE.lines().collect();
    match lines
        .iter()
        .position(|old| old.split('=').next() == Some(name))
    {
        Some(index) => lines[index] = line,
        None => lines.push(line),
    }
    lines.join("\n")
}

#[test]
fn a_broken_file_is_refused_with_file_line_and_option() {
    for (line, expected) in BROKEN {
        let problems = read_with(&broken(line), &Memory::default()).expect_err(line);
        assert_eq!(problems.to_string(), format!("/etc/repmgr.conf:{expected}"));
        assert!(!problems.to_string().contains("secret"));
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let problems = read_with(
        "priority=x\nfoo=1\nreconnect_interval=5s\n",
        &Memory::default(),
    );
    assert_eq!(
        problems.expect_err("three are missing").to_string(),
        "/etc/repmgr.conf:1: priority: `x` is not a whole number\n\
         /etc/repmgr.conf:1: node_id: missing; write `node_id=1`\n\
         /etc/repmgr.conf:1: node_name: missing; write `node_name='…'`\n\
         /etc/repmgr.conf:1: conninfo: missing; write \
         `conninfo='host=… dbname=… user=… connect_timeout=2'`\n\
         /etc/repmgr.conf:3: reconnect_interval: `5s` is not a whole number"
    );
}

#[test]
fn what_is_only_odd_is_a_warning() {
    for (line, expected) in [
        (
            "conection_check_type=ping",
            "conection_check_type: unknown option, ignored; did you mean \
         `connection_check_type`?",
        ),
        ("foo=", "foo: unknown option, ignored"),
        ("foo=bar", "foo: unknown option, ignored"),
        (
            "cluster=test",
            "cluster: an option of repmgr 3 that nothing replaces; ignored",
        ),
        (
            "node=1",
            "node: repmgr 3's name of `node_id`; ignored, write `node_id`",
        ),
        (
            "loglevel=DEBUG",
            "loglevel: repmgr 3's name of `log_level`; ignored, write `log_level`",
        ),
        (
            "log_level=LOUD",
            "log_level: `LOUD` is no level; it stays `INFO`",
        ),
        (
            "log_facility=LOCAL0",
            "log_facility: the log goes to standard error, from where the \
         journal takes it, and not to syslog",
        ),
        (
            "log_facility=stderr",
            "log_facility: `stderr` is no facility; the log goes to standard \
         error",
        ),
        (
            "event_notifications=bdr_failver",
            "event_notifications: `bdr_failver` is no event type \
         and never happens; did you mean `bdr_failover`?",
        ),
    ] {
        let conf = conf(&format!("{NODE}{line}\n"));
        let warnings: Vec<String> = conf.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [format!("/etc/repmgr.conf:4: {expected}")]);
        assert_eq!(conf.base.log.level, LogLevel::Info);
    }
}

#[test]
fn options_of_repmgr_without_meaning_here_are_known() {
    for (name, role) in super::options::OPTIONS {
        let path = ["log_file", "repmgrd_pid_file", "repoint_pgbouncers"].contains(&name);
        let value = match name {
            "node_name"
            | "conninfo"
            | "replication_type"
            | "log_facility"
            | "log_level"
            | "event_notifications" => continue,
            _ if path => "/x",
            _ => "1",
        };
        let conf = conf(&format!("{NODE}{name}={value}\n"));
        if matches!(role, Role::Unused(_)) {
            read_with(&format!("{NODE}{name}=''\n"), &Memory::default()).expect(name);
        }
        let odd = matches!(role, Role::Renamed(_));
        assert_eq!(conf.warnings.len(), usize::from(odd), "{name}");
    }
}

const PGBOUNCER: &str = "
[[pgbouncer]]
name = \"pgb1\"
local = true
console = \"host=/run/pgbouncer user=repoint\"
file = \"/etc/pgbouncer/databases.ini\"
[[pgbouncer.database]]
name = \"app\"
";

fn over(text: &str, conf: &RepmgrConf) -> Result<Config, Problems> {
    parse_over(Path::new("/etc/repoint/pgbouncers.toml"), text, Some(conf))
}

#[test]
fn a_key_of_the_toml_file_wins_over_the_repmgr_conf() {
    let conf = conf(FULL);
    let text = format!(
        "repmgr_conf = \"{FILE}\"\nmonitor_interval = \"700ms\"\nnode_name = \"other\"\n\
         replication_type = \"physical\"\nlog_level = \"error\"\n{PGBOUNCER}"
    );
    let config = over(&text, &conf).expect("a configuration");
    assert_eq!(
        config.monitoring.monitor_interval,
        Duration::from_millis(700)
    );
    assert_eq!(config.monitoring.recovery_timeout, Duration::from_secs(300));
    assert_eq!(config.local().node_name, "other");
    assert_eq!(config.local().conninfo.get("host"), Some("node2"));
    assert_eq!(
        (config.node_id, config.peers),
        (NodeId(2), Peers::Registered)
    );
    assert_eq!(config.replication_type, ReplicationType::Physical);
    assert_eq!(config.log.level, LogLevel::Error);
    assert_eq!(config.pgbouncers.len(), 1);
}

#[test]
fn listed_nodes_go_over_the_one_of_the_repmgr_conf() {
    let conf = conf(PAGE);
    let node = |id: u32, host: &str| {
        format!(
            "[[node]]\nnode_id = {id}\nnode_name = \"n{id}\"\n\
             conninfo = \"host={host} dbname=bdrtest\"\n"
        )
    };
    let both = over(&format!("{}{}", node(1, "a"), node(2, "b")), &conf).expect("two");
    assert_eq!(
        (both.local().node_name.as_str(), both.peers),
        ("n1", Peers::Listed)
    );
    let other = over(&node(2, "b"), &conf).expect("one here and one there");
    assert_eq!(
        (other.local().node_name.as_str(), other.nodes.len()),
        ("node1", 2)
    );
    assert_eq!(other.peers, Peers::Listed);
    let same = over(&node(2, "node1"), &conf).expect_err("the same server");
    assert_eq!(
        same.to_string(),
        "/etc/repoint/pgbouncers.toml:1: conninfo: the same as that of the node on line 1; two \
         different nodes are needed"
    );
    let three = format!("{}{}", node(2, "b"), node(3, "c"));
    let problems = over(&three, &conf).expect_err("three").to_string();
    assert!(
        problems.contains("two nodes are needed, found 3"),
        "{problems}"
    );
    let streaming = format!("replication_type = \"physical\"\n{three}");
    let streaming = over(&streaming, &conf).expect("as many as there are");
    assert_eq!((streaming.nodes.len(), streaming.peers), (3, Peers::Listed));
    let named = over("repmgr_conf = \"/other.conf\"\n", &conf).expect_err("another one");
    assert_eq!(
        named.to_string(),
        "/etc/repoint/pgbouncers.toml:1: repmgr_conf: `/etc/repmgr.conf` names this file in \
         `repoint_pgbouncers`; name it here, or leave the key out"
    );
}

#[test]
fn what_is_imported_means_the_same() {
    let controls = format!("{NODE}location='a\\tb\"c\\\\d''e\\001'\n");
    for text in [NODE, PAGE, FULL, &controls, &NODE.replace('\'', "")] {
        let conf = conf(text);
        let toml = to_toml(&conf, None);
        let imported = parse(Path::new("repoint.toml"), &toml);
        let imported = imported.unwrap_or_else(|problems| panic!("{problems}\n{toml}"));
        assert_eq!(imported, config(&conf), "{toml}");
    }
}

#[test]
fn what_is_imported_with_its_pgbouncers_means_the_same() {
    let nodes = "[[node]]\nnode_id = 2\nnode_name = \"b\"\nconninfo = \"host=b dbname=x\"\n\
                 [[node]]\nnode_id = 3\nnode_name = \"c\"\nconninfo = \"host=c dbname=x\"\n";
    for top in [
        "",
        "monitor_interval = \"1s\"\nact_on = []\n",
        "node_name = \"x\"\n",
        nodes,
    ] {
        let text = match top.starts_with('[') {
            true => format!("{PGBOUNCER}{top}"),
            false => format!("{top}{PGBOUNCER}"),
        };
        let conf = conf(FULL);
        let toml = to_toml(&conf, Some(&text));
        let imported = parse(Path::new("repoint.toml"), &toml);
        let imported = imported.unwrap_or_else(|problems| panic!("{problems}\n{toml}"));
        assert_eq!(imported, over(&text, &conf).expect("usable"), "{toml}");
    }
}

#[test]
fn an_import_says_why_an_option_is_gone() {
    let text = format!(
        "{NODE}failover=automatic\npg_bindir='/usr/lib'\nloglevel=INFO\nfoo=bar\n\
         log_facility=LOCAL0\nevent_notifications=all\nevent_notification_command='/x'\n"
    );
    let expected = "\
# From /etc/repmgr.conf, read in the syntax of repmgr 5.

node_id = 1
node_name = \"node1\"
conninfo = \"host=node1 dbname=bdrtest user=repmgr connect_timeout=2\"
replication_type = \"physical\"

monitor_interval_secs = 2  # repmgr's default
reconnect_interval = 10  # repmgr's default

# event_notification_command is left out: no event in event_notifications exists.

# Without meaning here:
#   failover: the daemon always acts; `repoint service pause` keeps it from it
#   pg_bindir: no program of PostgreSQL or repmgr is called
#   loglevel: repmgr 3's name of log_level; repmgr ignores it
#   foo: unknown
#   log_facility: the log goes to standard error, which the journal takes

# Each PgBouncer, with its entries: take the `#` away and put yours in.
";
    let toml = to_toml(&conf(&text), None);
    assert!(toml.starts_with(expected), "{toml}");
    // The example is one: without its `#` it is read.
    let example = toml.replace("\n#", "\n");
    let example = &example[example.find("[[pgbouncer]]").expect("an example")..];
    let config = over(example, &conf(NODE)).expect("an example that is read");
    assert!(config.pgbouncers.contains_key("pgb1"));
    assert!(to_toml(&conf(FULL), None).contains("# The password is better kept in ~/.pgpass"));
}

/// Numbers that look random and are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }
}

#[test]
fn no_bytes_make_the_readers_panic() {
    let pieces: [&[u8]; 20] = [
        b"'",
        b"''",
        b"\\",
        b"\\'",
        b"#",
        b"=",
        b"\n",
        b"\0",
        b"\xff",
        b"\xc3\xbc",
        b"\\377",
        b"include",
        b"conninfo",
        b" ",
        b"0x",
        b"-",
        b".",
        b"e+",
        b"99999999999999999999",
        b"\r\n",
    ];
    let seed = 0x5eed_0f2e_9073;
    let mut random = Random(seed);
    for round in 0..2_000 {
        let mut bytes = match round % 3 {
            0 => FULL.as_bytes().to_vec(),
            1 => PAGE.as_bytes().to_vec(),
            _ => (0..random.below(200))
                .map(|_| random.below(256) as u8)
                .collect(),
        };
        for _ in 0..=random.below(8) {
            let at = random.below(bytes.len() + 1);
            let end = (at + random.below(4)).min(bytes.len());
            let piece = pieces[random.below(pieces.len())];
            bytes.splice(at..end, piece.iter().copied());
        }
        let read = read(Path::new(FILE), &bytes, &Memory::default());
        // What was read is written and read again, whatever is in it.
        if let Ok(conf) = read {
            let toml = to_toml(&conf, None);
            let again = parse(Path::new("repoint.toml"), &toml);
            assert!(
                again.is_ok(),
                "seed {seed:x}, round {round}: {again:?}\n{toml}"
            );
        }
    }
}

/// As its sample file has them, with the `#` taken away.
#[test]
fn what_repmgr_5_takes_empty_is_as_if_it_were_not_given() {
    let without = conf(NODE);
    for (name, value) in [
        ("location", "dc2"),
        ("event_notification_command", "true"),
        ("event_notifications", ""),
        ("log_level", "DEBUG"),
        ("log_facility", "STDERR"),
        ("log_file", "/var/log/repmgr.log"),
        ("repmgrd_pid_file", "/run/repmgrd.pid"),
    ] {
        assert_eq!(conf(&format!("{NODE}{name}=''\n")), without);
        let unset = format!("{NODE}{name}='{value}'\n{name}=''\n");
        assert_eq!(conf(&unset), without, "{name}");
    }
}
