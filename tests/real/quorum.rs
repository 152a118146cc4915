//! Traffic is moved when a majority of the PgBouncers' hosts sees it so, and by what they remember.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use repoint::config::NodeId;
use repoint::generation::Generation;
use repoint::render::header;

use crate::fixture::{Cluster, Daemon, Pooler, Settings, wait_until};
use crate::scene::{
    DEADLINE, assert_new_clients_commit, assert_serves, assert_stays, events, start_daemon,
    wait_for_decision, wait_for_events,
};

/// Several times the interval at which it is tried again.
const A_WHILE: Duration = Duration::from_secs(2);
const LEDGER: &str = ".databases.ini.repoint-ledger";

fn majority(lines: &str) -> Settings {
    Settings {
        lines: format!("quorum = \"majority\"\n{lines}"),
        ..Settings::default()
    }
}

fn ledger(pooler: &Pooler) -> String {
    std::fs::read_to_string(pooler.file().with_file_name(LEDGER)).unwrap_or_default()
}

/// Number, node and whether it was decided, as a ledger has it.
fn decided(pooler: &Pooler) -> Option<(String, String, bool)> {
    let line = ledger(pooler);
    let words: Vec<&str> = line.split(' ').collect();
    let [_, _, _, _, generation, active, decided, ..] = words[..] else {
        return None;
    };
    Some((generation.to_owned(), active.to_owned(), decided == "1"))
}

/// Every PgBouncer serves the node, and every ledger knows the same decision for it.
#[track_caller]
fn assert_agreed(cluster: &Cluster, node: u32) {
    let poolers = cluster.poolers();
    wait_until(DEADLINE, "the same in every ledger", || {
        let first = decided(&poolers[0]);
        let known = first
            .as_ref()
            .is_some_and(|(_, active, decided)| *active == node.to_string() && *decided);
        known && poolers.iter().all(|pooler| decided(pooler) == first)
    });
    for pooler in poolers {
        assert_serves(pooler, cluster.node(node));
    }
}

#[test]
fn a_node_that_has_failed_for_a_majority_is_left_and_every_ledger_knows_the_decision() {
    let cluster = Cluster::builder().poolers(3).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &majority("")));
    wait_until(DEADLINE, "a ledger on each host", || {
        cluster
            .poolers()
            .iter()
            .all(|pooler| ledger(pooler).starts_with("v1 "))
    });
    node2.kill9();
    let at = wait_for_decision(&daemons);
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    assert_new_clients_commit(&poolers, node1, at);
    assert_agreed(&cluster, 1);
    wait_for_events(node1, "bdr_failover", 1);
    assert_eq!(events(node1, "repoint_failover_aborted"), []);
}

/// Whether each witness reaches a node is told by a command, whose answer the test gives.
struct Told {
    cluster: Cluster,
    says: std::path::PathBuf,
}

impl Told {
    fn start() -> Self {
        let cluster = Cluster::builder().poolers(3).start();
        let says = cluster.home().path("says");
        let told = Self { cluster, says };
        told.reaches_both();
        told
    }

    fn reaches_both(&self) {
        self.cluster.home().write(&self.says, "exit 0");
    }

    fn does_not_reach_node2(&self) {
        let port = self.cluster.node2().port();
        let text = format!("[ \"$2\" != {port} ]");
        self.cluster.home().write(&self.says, &text);
    }

    fn daemon(&self, id: u32) -> Daemon {
        let command = self.cluster.home().path("witness.sh");
        let text = format!("#!/bin/sh\n. {}\n", self.says.display());
        self.cluster.home().write(&command, &text);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&command, mode).expect("ours");
        let settings = Settings {
            pgbouncer_lines: format!("witness_command = \"{}\"", command.display()),
            ..majority("")
        };
        start_daemon(&self.cluster, id, &settings)
    }
}

#[test]
fn nobody_is_moved_while_the_witnesses_reach_the_node_and_that_is_told_once() {
    let told = Told::start();
    let (cluster, node1) = (&told.cluster, told.cluster.node1());
    let daemon = told.daemon(1);
    cluster.node2().kill9();
    daemon.wait_for_log(
        "partition suspected: 0 of 3 witnesses vote to leave node 2",
        DEADLINE,
    );
    let ports = || {
        cluster
            .poolers()
            .iter()
            .map(|pooler| pooler.served_port("app"))
    };
    assert_stays(A_WHILE, "where it was", || {
        ports().all(|port| port == cluster.node2().port())
    });
    let log = daemon.log();
    assert_eq!(log.matches("partition suspected").count(), 1, "{log}");
    assert!(!log.contains("failover decided"), "{log}");
    let aborted = events(node1, "repoint_failover_aborted");
    assert_eq!(aborted.len(), 1, "{aborted:?}");
    assert_eq!(aborted[0]["successful"], "f");
    let details = &aborted[0]["details"];
    // Two of three are enough to know; the third may not have answered yet.
    let against = details.matches(" no: it reaches the node to leave").count();
    assert!(against >= 2, "{details}");

    told.does_not_reach_node2();
    daemon.wait_for_log("redirect complete: 3 of 3", DEADLINE);
    assert_agreed(cluster, 1);
}

#[test]
fn without_a_majority_of_witnesses_nobody_is_moved_until_there_is_one() {
    let cluster = Cluster::builder().poolers(3).start();
    let daemon = start_daemon(&cluster, 1, &majority(""));
    wait_until(DEADLINE, "a ledger on each host", || {
        cluster
            .poolers()
            .iter()
            .all(|pooler| ledger(pooler).starts_with("v1 "))
    });
    for number in [2, 3] {
        cluster.pooler(number).sshd().stop();
    }
    cluster.node2().kill9();
    daemon.wait_for_log("the ledgers of 1 of 3 witnesses can be used", DEADLINE);
    let pooler = cluster.pooler(1);
    assert_stays(A_WHILE, "where it was", || {
        pooler.served_port("app") == cluster.node2().port()
    });
    cluster.pooler(2).sshd().start();
    daemon.wait_for_log("failover decided", DEADLINE);
    assert_serves(pooler, cluster.node1());
    cluster.pooler(3).sshd().start();
    daemon.wait_for_log("redirect complete: 3 of 3", DEADLINE);
    assert_agreed(&cluster, 1);
}

/// The hosts remember it: the agent that decides the second time was not there the first time.
#[test]
fn a_node_is_not_left_again_before_its_cooldown_is_over() {
    let cluster = Cluster::builder().poolers(3).start();
    let first = start_daemon(&cluster, 1, &majority(""));
    cluster.node2().kill9();
    first.wait_for_log("redirect complete: 3 of 3", DEADLINE);
    assert!(first.terminate().success());
    cluster.node2().start();
    let second = start_daemon(&cluster, 2, &majority("failover_cooldown = \"20s\""));
    cluster.node1().kill9();
    second.wait_for_log("`failover_cooldown` has ", DEADLINE);
    assert!(!second.log().contains("failover decided"));
    second.wait_for_log("redirect complete: 3 of 3", DEADLINE);
    assert_agreed(&cluster, 2);
}

#[test]
fn an_even_number_of_witnesses_is_told_at_the_start_with_what_cures_it() {
    let cluster = Cluster::builder().poolers(2).start();
    let daemon = start_daemon(&cluster, 1, &majority(""));
    let warning = "2 witnesses vote, and 2 have to agree: with 1 of them out of reach, nothing is \
                   moved; one more [[witness]], which needs no PgBouncer, cures that";
    daemon.wait_for_log(warning, DEADLINE);
}

#[test]
fn a_host_without_a_pgbouncer_votes_in_place_of_one_that_is_away() {
    let cluster = Cluster::builder().poolers(3).start();
    let directory = cluster.home().path("w");
    cluster.home().create_directory(&directory);
    let file = cluster.write_config(1, &majority(""), |toml| {
        let third = toml.find("[[pgbouncer]]\nname = \"pgb3\"");
        toml.truncate(third.expect("there are three"));
        *toml += &format!(
            "[[witness]]\nname = \"w1\"\nssh = \"{}\"\nssh_config = \"{}\"\ndirectory = \"{}\"\n",
            cluster.pooler(3).sshd().name(),
            cluster.ssh_config().display(),
            directory.display()
        );
    });
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    let of_witness = || {
        let path = directory.join(".witness.repoint-ledger");
        std::fs::read_to_string(path).unwrap_or_default()
    };
    wait_until(DEADLINE, "a ledger at the witness", || {
        of_witness().starts_with("v1 ")
    });
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.pooler(2).sshd().stop();
    cluster.node2().kill9();
    daemon.wait_for_log("failover decided", DEADLINE);
    assert_serves(cluster.pooler(1), cluster.node1());
    wait_until(DEADLINE, "the decision at the witness", || {
        let line = of_witness();
        let words: Vec<&str> = line.split(' ').collect();
        words.get(5..7) == Some(&["1", "1"][..])
    });
    // Not ours any more.
    assert_eq!(cluster.pooler(3).served_port("app"), cluster.node2().port());
}

/// Somebody has put a number there by hand that nobody decided on; and the host of another one had
/// not heard of the decision when it was made.
#[test]
fn what_was_decided_stands_in_the_ledgers_whatever_a_file_says_of_itself() {
    let cluster = Cluster::builder().poolers(3).start();
    let daemon = start_daemon(&cluster, 1, &majority(""));
    wait_until(DEADLINE, "a ledger on each host", || {
        let mut poolers = cluster.poolers().iter();
        poolers.all(|pooler| ledger(pooler).starts_with("v1 "))
    });
    let pooler = cluster.pooler(1);
    let rogue = Generation {
        number: 999_999,
        node_id: NodeId(9),
    };
    let text = pooler.file_text();
    let content = header::with_header(rogue, NodeId(2), NodeId(2), &text);
    pooler.write_file(&String::from_utf8(content).expect("text"));
    cluster.pooler(3).sshd().stop();
    cluster.node2().kill9();
    daemon.wait_for_log("failover decided", DEADLINE);
    assert_serves(pooler, cluster.node1());
    cluster.pooler(3).sshd().start();
    daemon.wait_for_log("redirect complete: 3 of 3", DEADLINE);
    assert_agreed(&cluster, 1);
}

/// What `repoint status` says, with its exit status; what differs from run to run is `N`.
fn status(cluster: &Cluster, file: &std::path::Path) -> (Option<i32>, String) {
    let file = file.display().to_string();
    let output = cluster.repoint(&["-f", &file, "status"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.lines().map(|line| {
        let cells = line.split('|').map(str::trim);
        let cells = cells.map(|cell| match cell.strip_suffix(" s ago") {
            Some(cell) => {
                let (before, _) = cell.rsplit_once(' ').expect("a number of seconds");
                format!("{before} N s ago")
            }
            None => cell.to_owned(),
        });
        cells.collect::<Vec<_>>().join(" | ")
    });
    let lines: Vec<String> = words.filter(|line| !line.starts_with("--")).collect();
    (output.status.code(), lines.join("\n"))
}

#[test]
fn status_shows_what_each_host_remembers_and_sees() {
    let cluster = Cluster::builder().poolers(3).start();
    let file = cluster.write_config(1, &majority(""), |_| {});
    let head = "Host of | Votes | Ledger | Promised | File | node1 (ID: 1) | node2 (ID: 2)";
    let blank = ["pgb1", "pgb2", "pgb3"]
        .map(|name| format!("{name} | yes | none | - | - | reached | reached"))
        .join("\n");
    let nothing = "nothing can be decided: 0 of 3 witnesses have a ledger that can be read, and 2 \
                   are needed";
    let (code, text) = status(&cluster, &file);
    assert_eq!(text, format!("{head}\n{blank}\n\n{nothing}"));
    assert_eq!(code, Some(25));

    let daemon = start_daemon(&cluster, 1, &majority(""));
    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete: 3 of 3", DEADLINE);
    assert_agreed(&cluster, 1);
    let (generation, ..) = decided(cluster.pooler(1)).expect("there is one");
    let (code, text) = status(&cluster, &file);
    let row = format!(
        "pgb1 | yes | {generation}: node 1, N s ago | {generation} | {generation} | reached | "
    );
    let begins = text.lines().nth(1).expect("three rows").starts_with(&row);
    assert!(begins, "{text}\n{row}");
    assert!(
        text.lines()
            .nth(1)
            .expect("three rows")
            .contains("not reached: "),
        "{text}"
    );
    let end = format!(
        "traffic goes to node 1 by decision {generation}; 2 of 3 witnesses have to agree, and 3 \
         have a ledger"
    );
    assert!(text.ends_with(&end), "{text}");
    assert_eq!(code, Some(0));
}
