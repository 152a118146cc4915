//! `repoint render` against running PgBouncers: exactly what would be done, and nothing is.

use crate::fixture::{Cluster, Settings, Version};
use crate::notify::told;
use crate::watching::serves;

fn configuration(cluster: &Cluster) -> String {
    let file = cluster.write_config(1, &Settings::pausing(), |_| ());
    file.display().to_string()
}

/// Runs `render`; ports, paths and hashes are replaced by words.
fn render(cluster: &Cluster, file: &str, arguments: &[&str]) -> (i32, String, String) {
    let all = [&["-f", file, "render"], arguments].concat();
    let (code, stdout, stderr) = told(&cluster.repoint(&all));
    (code, in_words(cluster, &stdout), in_words(cluster, &stderr))
}

fn in_words(cluster: &Cluster, text: &str) -> String {
    let mut text = text.replace(&cluster.directory().display().to_string(), "DIR");
    for node in cluster.nodes() {
        text = text.replace(&node.port().to_string(), &format!("PORT{}", node.id()));
    }
    for pooler in cluster.poolers() {
        text = text.replace(
            &pooler.port().to_string(),
            &format!("PGB{}", pooler.number()),
        );
    }
    while let Some(at) = text.find("sha256=") {
        let hash = at + "sha256=".len()..at + "sha256=".len() + 64;
        text.replace_range(at..hash.end, "HASH");
    }
    text
}

const CRASH_PGB1: &str = "\
pgb1: pgb1:DIR/pgb1/conf/databases.ini
--- DIR/pgb1/conf/databases.ini now
+++ DIR/pgb1/conf/databases.ini then
@@ -1,2 +1,3 @@
+;repoint v1 generation=1.1 active=1 writer=1 HASH
 [databases]
-app = host='127.0.0.1' port='PORT2' dbname='bdrtest'
+app = host='127.0.0.1' port='PORT1' dbname='bdrtest'
  console SHOW CONFIG  -- RELOAD will undo what was SET; it is put on record with the next steps
  host    stage the file beside the old one
  host    put the pause on record, with who ends it
  console PAUSE \"app\"  -- on a connection of its own, given up after 300 ms
  host    rename it into place  -- if the file is still the one above
  console RELOAD
  console SET server_login_retry='0.02'  -- sent with it, for pools that failed to connect
  console SHOW DATABASES
  console SHOW CONFIG  -- if any of this is not as meant: the old file back, and RELOAD
  console RESUME \"app\"
  console SHOW CONFIG  -- and SET again what was SET before and is not any more
  host    put on record what is still owed then
  client  a query through `app` as `probe`  -- must land on the node, up to 5 s
  console SET server_login_retry='15'  -- when that time has passed since RELOAD
";

const STILL_OWED: &str = "  host    put on record what is still owed then\n";

/// What is done between RESUME and the query, and what after it.
const BEFORE_1_24: &str = "  console SHOW SERVERS
  console SET query_timeout='1'  -- if a client hangs in the old node
  console SET server_fast_close='1'  -- if a client hangs in the old node
";
const ENDED: &str =
    "  console SHOW SERVERS  -- until no client hangs in the old node, 1.5 s at most
  console SET query_timeout='0'  -- as soon as none does, and in any case
  console SET server_fast_close='0'  -- as soon as none does, and in any case
";
const FROM_1_24: &str = "  console SHOW CLIENTS
  console SHOW SERVERS
  console KILL_CLIENT id  -- of each client that hangs in the old node, until none does
";

fn blackhole(after_resume: &str, after_the_query: &str) -> String {
    let text = CRASH_PGB1.replace("after 300 ms", "after 20 ms");
    let (begin, end) = text.split_once(STILL_OWED).expect("its line");
    let (query, end) = end.split_once('\n').expect("a line");
    // What is SET to free clients is on record until it is undone.
    match after_the_query {
        "" => format!("{begin}{STILL_OWED}{after_resume}{query}\n{end}"),
        ended => format!("{begin}{after_resume}{query}\n{ended}{STILL_OWED}{end}"),
    }
}

#[test]
fn it_shows_how_clients_are_freed_that_hang() {
    let cluster = Cluster::builder()
        .pgbouncer(Version::Newest)
        .poolers(1)
        .start();
    let file = configuration(&cluster);
    let (code, stdout, _) = render(&cluster, &file, &["--for", "blackhole"]);
    assert_eq!(
        (code, stdout),
        (0, format!("{}\n", blackhole(FROM_1_24, "")))
    );

    let cluster = Cluster::builder().poolers(1).start();
    let (file, pooler) = (configuration(&cluster), cluster.pooler(1));
    let port = cluster.node1().port();
    let entry = format!("other = host=127.0.0.1 port={port} dbname=bdrtest\n");
    pooler.write_file(&(pooler.file_text() + &entry));
    pooler.admin("RELOAD");
    let (code, stdout, _) = render(&cluster, &file, &["--for", "blackhole"]);
    let kill = "\
  console SHOW SERVERS
  console KILL \"app\"  -- if a client of it hangs in the old node; all of its clients are dropped
  console RESUME \"app\"
";
    assert!(code == 0 && stdout.contains(kill), "{stdout}");
    assert!(!stdout.contains("query_timeout"), "{stdout}");
}

#[test]
fn it_shows_the_difference_and_every_command() {
    let cluster = Cluster::builder().poolers(2).start();
    let file = configuration(&cluster);
    let before = Untouched::of(&cluster);
    let (code, stdout, stderr) = render(&cluster, &file, &["--node", "node1"]);
    let both = [CRASH_PGB1.to_owned(), CRASH_PGB1.replace("pgb1", "pgb2")];
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, both.join("\n") + "\n");
    // The node of this host is the default, and one PgBouncer can be asked for.
    let (code, stdout, _) = render(&cluster, &file, &["--pgbouncer", "pgb1"]);
    assert_eq!((code, stdout), (0, format!("{CRASH_PGB1}\n")));
    let (code, stdout, _) = render(
        &cluster,
        &file,
        &["--pgbouncer", "pgb1", "--for", "blackhole"],
    );
    assert_eq!(
        (code, stdout),
        (0, format!("{}\n", blackhole(BEFORE_1_24, ENDED)))
    );
    assert_eq!(before, Untouched::of(&cluster));
    // Its sockets are gone, too.
    let sockets = cluster.daemon_directory(1).join("run");
    let left = std::fs::read_dir(sockets).expect("it is there").count();
    assert_eq!(left, 0);
}

#[test]
fn nobody_is_paused_by_default() {
    let cluster = Cluster::builder().poolers(1).start();
    let file = cluster.write_config(1, &Settings::default(), |_| ());
    let (code, stdout, _) = render(&cluster, &file.display().to_string(), &[]);
    let pausing = ["PAUSE", "RESUME", "pause on record"];
    let without = CRASH_PGB1.lines().filter(|line| {
        let command = line.split("  --").next().unwrap_or_default();
        !pausing.iter().any(|word| command.contains(word))
    });
    let without = without.collect::<Vec<_>>().join("\n");
    assert_eq!((code, stdout), (0, format!("{without}\n\n")));
}

#[test]
fn what_could_be_a_secret_is_not_shown() {
    let cluster = Cluster::builder().poolers(1).start();
    let file = configuration(&cluster);
    let pooler = cluster.pooler(1);
    let text = pooler.file_text().replace(
        "app = ",
        "; password: hunter2\nother = host=h connect_query='select ''hunter2'''\n\
         app = password=hunter2 pool_size=3 ",
    );
    pooler.write_file(&text);
    let (code, stdout, stderr) = render(&cluster, &file, &[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let shown = "@@ -1,4 +1,5 @@
+;repoint v1 generation=1.1 active=1 writer=1 HASH
 [databases]
 ; …
 other = host=h connect_query=…
-app = password=… pool_size=3 host='127.0.0.1' port='PORT2' dbname='bdrtest'
+app = password=… pool_size=3 host='127.0.0.1' port='PORT1' dbname='bdrtest'
  console ";
    assert!(stdout.contains(shown), "{stdout}");
    assert!(!stdout.contains("hunter2"), "{stdout}");
}

#[test]
fn nothing_is_to_be_done_where_a_pgbouncer_serves_the_node_already() {
    let cluster = Cluster::builder().poolers(1).start();
    let file = configuration(&cluster);
    let (code, stdout, stderr) = render(&cluster, &file, &["--node", "node2"]);
    assert_eq!(
        stdout,
        "\
pgb1: pgb1:DIR/pgb1/conf/databases.ini
  nothing to do: no entry of it points at \"node1\"

"
    );
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[test]
fn a_pgbouncer_that_is_not_reached_is_named_and_the_others_are_shown() {
    let cluster = Cluster::builder().poolers(2).start();
    let file = configuration(&cluster);
    cluster.pooler(1).kill9();
    let (code, stdout, stderr) = render(&cluster, &file, &[]);
    assert_eq!((code, stderr.as_str()), (1, ""));
    let (first, rest) = stdout.split_once('\n').expect("several lines");
    assert!(first.starts_with("pgb1: not reached: "), "{first}");
    assert!(
        first.contains("PGB1") && first.contains("refused"),
        "{first}"
    );
    let second = CRASH_PGB1.replace("pgb1", "pgb2").replace("PGB1", "PGB2");
    assert_eq!(rest, format!("\n{second}\n"));
    cluster.pooler(2).stop_sshd();
    let (code, stdout, _) = render(&cluster, &file, &["--pgbouncer", "pgb2"]);
    assert_eq!(code, 1);
    assert!(stdout.starts_with("pgb2: not reached: "), "{stdout}");
}

#[test]
fn a_pgbouncer_serves_with_the_file_that_full_gives() {
    let cluster = Cluster::builder().poolers(1).start();
    let file = configuration(&cluster);
    let arguments = ["-f", &file, "render", "--full", "--node", "node1"];
    let (code, stdout, stderr) = told(&cluster.repoint(&arguments));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let pooler = cluster.pooler(1);
    pooler.stop();
    pooler.write_file(&stdout);
    pooler.start();
    assert!(serves(&cluster, 1, 1));
    let rows = pooler.try_rows(
        "app",
        "select current_setting('cluster_name') as name",
        crate::watching::DEADLINE,
    );
    assert_eq!(rows.expect("a client gets through")[0]["name"], "node1");
    let (_, stdout, _) = render(&cluster, &file, &["--node", "node1"]);
    assert!(stdout.contains("nothing to do"), "{stdout}");
}

/// Everything that could tell that someone was there.
#[derive(Debug, PartialEq, Eq)]
struct Untouched {
    files: Vec<(String, std::time::SystemTime, String)>,
    databases: Vec<String>,
    reloads: usize,
}

impl Untouched {
    fn of(cluster: &Cluster) -> Self {
        let mut files = Vec::new();
        let (mut databases, mut reloads) = (Vec::new(), 0);
        for pooler in cluster.poolers() {
            let file = pooler.file();
            let directory = file.parent().expect("it is in a directory");
            for entry in std::fs::read_dir(directory).expect("it can be read") {
                let entry = entry.expect("it can be read");
                let changed = entry.metadata().and_then(|data| data.modified());
                let text = std::fs::read_to_string(entry.path()).expect("it is text");
                let name = entry.file_name().to_string_lossy().into_owned();
                files.push((name, changed.expect("a time"), text));
            }
            for row in pooler.admin("SHOW DATABASES") {
                let columns = ["name", "host", "port", "database", "paused"];
                databases.push(format!("{:?}", columns.map(|column| row.get(column))));
            }
            let log = pooler.log();
            reloads += log.matches("RELOAD").count() + log.matches("PAUSE").count();
        }
        assert_eq!(files.len(), cluster.poolers().len(), "{files:?}");
        Self {
            files,
            databases,
            reloads,
        }
    }
}
