//! The session of repmgr's page "BDR failover with repmgrd", line by line, with `repoint` in place
//! of `repmgr` and `repmgrd`, and with the `repmgr.conf` of the page: register, look, fail over,
//! recover. Exact output, but for times.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Node, Settings, wait_until};
use crate::scene::is_active;
use crate::served::wait_until_all_serve;

/// For what is not measured.
const DEADLINE: Duration = Duration::from_secs(60);

/// The page's file, with shorter times, and the line that leads to the PgBouncers.
fn repmgr_conf(cluster: &Cluster, node: &Node) -> PathBuf {
    let id = node.id();
    let toml = cluster.write_config(id, &Settings::default(), |text| {
        let pgbouncers = text.find("[[pgbouncer]]").expect("PgBouncers");
        let directory = cluster.daemon_directory(id);
        let keys = format!(
            "runtime_directory = \"{}/run\"\nlog_format = \"repmgr\"\n\n",
            directory.display()
        );
        *text = keys + &text[pgbouncers..];
    });
    let text = format!(
        "# Node information
node_id={id}
node_name='{name}'
conninfo='{conninfo}'
data_directory='{data}'
replication_type='bdr'

# repmgrd options
monitor_interval_secs=1
reconnect_attempts=2
reconnect_interval=1

repoint_pgbouncers='{toml}'
",
        name = node.name(),
        conninfo = node.conninfo(),
        data = node.data_directory().display(),
        toml = toml.display(),
    );
    let path = cluster.daemon_directory(id).join("repmgr.conf");
    cluster.home().write(&path, &text);
    path
}

/// Both nodes' hosts, each with its own file.
struct Page {
    cluster: Cluster,
    files: [String; 2],
}

impl Page {
    fn run(&self, node_id: usize, arguments: &str) -> Output {
        let mut words = vec!["-f", self.files[node_id - 1].as_str()];
        words.extend(arguments.split(' '));
        self.cluster.repoint(&words)
    }

    /// Standard output and exit status; nothing is said beside it.
    #[track_caller]
    fn shown(&self, node_id: usize, arguments: &str) -> (String, i32) {
        let output = self.run(node_id, arguments);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        assert_eq!(text(output.stderr), "", "{arguments}");
        let code = output.status.code().expect("an exit status");
        (text(output.stdout), code)
    }

    /// The events of one kind, with the digits of their times made zeros.
    #[track_caller]
    fn events(&self, kind: &str) -> String {
        let (text, code) = self.shown(1, &format!("cluster event --event {kind}"));
        assert_eq!(code, 0);
        without_times(&text)
    }

    /// What `cluster show` gives for these cells of status and timeline.
    fn table(&self, rows: [(&str, &str); 2]) -> String {
        let nodes = self.cluster.nodes();
        let width = nodes.iter().map(|node| node.conninfo().len()).max();
        let width = width.expect("nodes");
        let heading = " ID | Name  | Role | Status    | Upstream | Location | Priority | Timeline";
        let rule = "----+-------+------+-----------+----------+----------+----------+----------";
        let mut text = format!("{heading} | {:width$}\n", "Connection string");
        text.push_str(&format!("{rule}+-{}-\n", "-".repeat(width)));
        for (node, (status, timeline)) in nodes.iter().zip(rows) {
            text.push_str(&format!(
                " {}  | {} | bdr  | {status:9} |          | default  | 100      | {timeline:8} \
                 | {:width$}\n",
                node.id(),
                node.name(),
                node.conninfo()
            ));
        }
        text
    }
}

fn without_times(text: &str) -> String {
    let line = |line: &str| {
        let zero = |cell: &str| match cell.len() == 21 && cell.contains(':') {
            true => cell.replace(|c: char| c.is_ascii_digit(), "0"),
            false => cell.to_owned(),
        };
        let cells: Vec<String> = line.split('|').map(zero).collect();
        cells.join("|")
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

/// A row without what pads its cells.
fn cells(line: &str) -> String {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    cells.join(" | ")
}

/// The log as it is on the page: what stands behind the time.
fn said(daemon: &Daemon) -> Vec<String> {
    let lines = daemon.lines().into_iter();
    let text = |line: String| line.get(22..).unwrap_or_default().to_owned();
    lines.map(|line| text(line.text)).collect()
}

/// These beginnings of lines come in this order.
#[track_caller]
fn assert_in_order(daemon: &Daemon, expected: &[&str]) {
    let said = said(daemon);
    let mut lines = said.iter();
    for beginning in expected {
        let found = lines.any(|line| line.starts_with(beginning));
        assert!(
            found,
            "no {beginning:?} in its place in\n{}",
            said.join("\n")
        );
    }
}

#[test]
fn the_session_of_the_page_gives_what_the_page_shows() {
    let cluster = Cluster::builder().poolers(2).start();
    let files = [cluster.node1(), cluster.node2()]
        .map(|node| repmgr_conf(&cluster, node).display().to_string());
    let page = Page { cluster, files };
    register(&page);
    let daemons = [1, 2].map(|id: u32| {
        let file = PathBuf::from(&page.files[id as usize - 1]);
        page.cluster.daemon_with_file(id, &file, |_| ())
    });
    for (daemon, name) in daemons.iter().zip(["node1", "node2"]) {
        daemon.wait_for_log("starting continuous BDR node monitoring", DEADLINE);
        let line = format!("monitoring BDR replication status on node \"{name}\"");
        daemon.wait_for_log(&line, DEADLINE);
    }
    fail_over(&page, &daemons);
    recover(&page, &daemons);
}

fn register(page: &Page) {
    for (id, node) in [(1, page.cluster.node1()), (2, page.cluster.node2())] {
        let output = page.run(id, "bdr register");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(output.stdout, b"");
        let name = node.name();
        let expected = format!(
            "NOTICE: attempting to install extension \"repmgr\"\n\
             NOTICE: \"repmgr\" extension successfully installed\n\
             NOTICE: node record created for node \"{name}\" (ID: {id})\n\
             NOTICE: BDR node {id} registered (conninfo: {})\n",
            node.conninfo()
        );
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    }
    let both = page.table([("* running", "1"), ("* running", "1")]);
    for id in [1, 2] {
        wait_until(DEADLINE, "both rows on both nodes", || {
            page.shown(id, "cluster show") == (both.clone(), 0)
        });
        assert_eq!(
            page.shown(id, "cluster show --csv"),
            ("1,0,0\n2,0,0\n".into(), 0)
        );
    }
    let row = |node: u32| {
        let name = format!("node{node}");
        format!(
            "{node} | {name} | bdr_register | t | 0000-00-00 00:00:00 | \
             node record created for node \"{name}\" (ID: {node})"
        )
    };
    wait_until(DEADLINE, "both events", || {
        page.events("bdr_register").lines().count() == 4
    });
    let shown = page.events("bdr_register");
    let rows: Vec<String> = shown.lines().map(cells).collect();
    let headings = "Node ID | Name | Event | OK | Timestamp | Details";
    assert_eq!(rows[0], headings);
    assert_eq!(rows[2..], [row(2), row(1)]);
}

fn fail_over(page: &Page, daemons: &[Daemon; 2]) {
    let cluster = &page.cluster;
    cluster.node2().kill9();
    wait_until_all_serve(cluster, cluster.node1(), DEADLINE);
    for daemon in daemons {
        // The one that stands by may still be trying.
        daemon.wait_for_log("unable to reconnect to node 2", DEADLINE);
        assert_in_order(
            daemon,
            &[
                "[INFO] starting continuous BDR node monitoring",
                "[WARNING] unable to connect to node \"node2\" (ID 2)",
                "[INFO] checking state of node 2, 1 of 2 attempts",
                "[INFO] sleeping 1 seconds until next reconnection attempt",
                "[INFO] checking state of node 2, 2 of 2 attempts",
                "[WARNING] unable to reconnect to node 2 after 2 attempts",
            ],
        );
    }
    let decided = "setting node record for node 2 to inactive";
    wait_until(DEADLINE, "a NOTICE of one of them", || {
        daemons.iter().any(|daemon| {
            let line = format!("[NOTICE] {decided}");
            said(daemon).iter().any(|said| said.starts_with(&line))
        })
    });
    let lost = page.table([("* running", "1"), ("- failed", "?")])
        + "\nWARNING: following issues were detected\n  \
           - unable to connect to node \"node2\" (ID: 2)\n";
    wait_until(DEADLINE, "node2 inactive", || {
        !is_active(cluster.node1(), 2)
    });
    let output = page.run(1, "cluster show");
    assert_eq!(output.status.code(), Some(25));
    assert_eq!(String::from_utf8_lossy(&output.stdout), lost);
    let (csv, code) = page.shown(1, "cluster show --csv");
    assert_eq!((csv.as_str(), code), ("1,0,0\n2,-1,-1\n", 25));
    wait_until(DEADLINE, "the event", || {
        page.events("bdr_failover").lines().count() == 3
    });
    let row = page.events("bdr_failover");
    let begin = "2 | node2 | bdr_failover | t | 0000-00-00 00:00:00 | node \"node2\" (ID: 2) \
                 detected as failed; next available node is \"node1\" (ID: 1); \
                 2 of 2 PgBouncers serve node 1";
    assert!(
        row.lines()
            .nth(2)
            .is_some_and(|line| cells(line).starts_with(begin)),
        "{row}"
    );
}

fn recover(page: &Page, daemons: &[Daemon; 2]) {
    let cluster = &page.cluster;
    cluster.node2().start();
    cluster.hasten_replication();
    wait_until(DEADLINE, "a recovery", || is_active(cluster.node1(), 2));
    let both = page.table([("* running", "1"), ("* running", "1")]);
    wait_until(DEADLINE, "everything as before", || {
        [1, 2]
            .iter()
            .all(|id| page.shown(*id, "cluster show") == (both.clone(), 0))
    });
    wait_until(DEADLINE, "the event", || {
        page.events("bdr_recovery").lines().count() == 3
    });
    let row = page.events("bdr_recovery");
    let begin = "1 | node1 | bdr_recovery | t | 0000-00-00 00:00:00 | node \"node2\" (ID: 2) \
                 has recovered after ";
    assert!(
        row.lines()
            .nth(2)
            .is_some_and(|line| cells(line).starts_with(begin)),
        "{row}"
    );
    // The one that was faster has written the event; the other one finds it done.
    daemons[0].wait_for_log("has recovered after ", DEADLINE);
    assert_in_order(
        &daemons[0],
        &["[NOTICE] node \"node2\" (ID: 2) has recovered after "],
    );
    // Going back is the operator's decision.
    wait_until_all_serve(cluster, cluster.node1(), DEADLINE);
}
