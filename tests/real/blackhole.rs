//! A node falls silent: connections to it stay open, new ones are accepted, nothing is answered.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use crate::fixture::{Cluster, Daemon, Pooler, Record, Settings, Version, Writer, wait_until};
use crate::scene::{
    DEADLINE, FIRST_COMMIT, assert_new_clients_commit, assert_serves, new_clients_commits,
    start_daemon, wait_for_decision, wait_for_events,
};
use crate::served::leftovers;
use crate::staging::{STAGED, staged};
use crate::steps::{daemon_with_steps, signal};

/// The clients of the writer, through each PgBouncer.
const CLIENTS: usize = 4;

/// After this time nobody hangs.
const FREED: Duration = Duration::from_secs(2);

/// What is on record is ours alone for this long.
const LEASE: Duration = Duration::from_secs(8);

const ALL_VERSIONS: [Version; 3] = [Version::Installed, Version::V1_24, Version::Newest];

/// Nothing but the freezing of a node: two PgBouncers with places to spare.
#[test]
fn new_clients_commit_within_a_second_of_the_decision_though_old_ones_hang() {
    let cluster = Cluster::builder().poolers(2).start();
    let node1 = cluster.node1();
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    let daemons = [start_daemon(&cluster, 1, &Settings::pausing())];
    let writer = writing(&cluster);

    cluster.node2().freeze();
    let decided = wait_for_decision(&daemons);
    assert_new_clients_commit(&poolers, node1, decided);

    assert_all_commit(&writer, &poolers, node1.name(), decided);
    let log = daemons[0].log();
    assert!(log.contains("fault=blackhole"), "{log}");
    let redirects = wait_for_events(node1, "repoint_redirect", 1);
    assert_eq!(redirects[0]["successful"], "t", "{redirects:?}");
}

/// Every place of the pool is taken by clients that hang.
#[test]
fn only_clients_that_hang_are_freed_and_their_places_with_them() {
    let lines = format!("default_pool_size = {CLIENTS}\nquery_timeout = 33");
    let cluster = Cluster::builder()
        .pgbouncers(&ALL_VERSIONS)
        .pooler_lines(&lines)
        .start();
    let node1 = cluster.node1();
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    let daemons = [start_daemon(&cluster, 1, &Settings::pausing())];
    let idle: Vec<_> = poolers.iter().map(|pooler| Idle::new(pooler)).collect();
    let writer = writing(&cluster);

    cluster.node2().freeze();
    let decided = wait_for_decision(&daemons);
    let commits = new_clients_commits(&poolers, node1, decided);
    println!("first commits of new clients, all places taken: {commits:?}");
    // Before 1.24, a place is free when `query_timeout` has ended who has it.
    assert!(commits[0] <= FREED, "{commits:?}");
    assert!(
        commits[1..].iter().all(|t| *t <= FIRST_COMMIT),
        "{commits:?}"
    );

    assert_all_commit(&writer, &poolers, node1.name(), decided);
    let record = writer.stop();
    for pooler in &poolers {
        let errors = errors_of(&record, pooler, decided);
        assert!(!errors.is_empty() && errors.len() <= CLIENTS, "{errors:?}");
    }
    for client in idle {
        assert_eq!(client.ask(), Ok("node1".to_owned()), "it was left alone");
    }
    let log = outcome_of(&daemons, 3);
    assert!(
        log.contains("hung in node 2 were freed (query_timeout)"),
        "{log}"
    );
    let killed = log.matches("freed (KILL_CLIENT)").count();
    assert!(killed >= 2, "{log}");
    for pooler in poolers {
        assert_as_before(pooler, "33");
        assert_nothing_at(pooler, cluster.node2().port());
        assert_serves(pooler, node1);
    }
}

/// Who has asked once keeps the connection into the node, also when he is silent himself.
#[test]
fn in_session_pooling_every_session_of_the_silent_node_is_ended() {
    let cluster = Cluster::builder()
        .pgbouncers(&ALL_VERSIONS)
        .pool_mode("session")
        .start();
    let node1 = cluster.node1();
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    let daemons = [start_daemon(&cluster, 1, &Settings::pausing())];
    let fresh: Vec<_> = poolers.iter().map(|pooler| Idle::new(pooler)).collect();
    let sessions: Vec<_> = poolers.iter().map(|pooler| Idle::new(pooler)).collect();
    for session in &sessions {
        assert_eq!(session.ask(), Ok("node2".to_owned()));
    }
    let writer = writing(&cluster);

    cluster.node2().freeze();
    let decided = wait_for_decision(&daemons);
    let commits = new_clients_commits(&poolers, node1, decided);
    println!("first commits of new clients, session pooling: {commits:?}");
    assert!(commits.iter().all(|t| *t <= FIRST_COMMIT), "{commits:?}");
    assert_all_commit(&writer, &poolers, node1.name(), decided);
    drop(writer);

    outcome_of(&daemons, 3);
    for pooler in &poolers {
        assert_as_before(pooler, "0");
        assert_nothing_at(pooler, cluster.node2().port());
        assert_serves(pooler, node1);
    }
    for session in sessions {
        let answer = session.ask();
        assert!(answer.is_err(), "{answer:?}");
    }
    for client in fresh {
        assert_eq!(client.ask(), Ok("node1".to_owned()), "it was left alone");
    }
}

/// `query_timeout` would reach them, too.
#[test]
fn before_1_24_clients_of_databases_that_stay_are_not_dropped() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1) = (cluster.pooler(1), cluster.node1());
    let ini = pooler.socket_dir().join("pgbouncer.ini");
    let text = std::fs::read_to_string(&ini).expect("the fixture has written it");
    let port = node1.port();
    let entry = format!("\n[databases]\nother = host=127.0.0.1 port={port} dbname=bdrtest\n");
    cluster.home().write(&ini, &(text + &entry));
    pooler.admin("RELOAD");
    let never = Settings {
        pgbouncer_lines: "pause = \"never\"".to_owned(),
        ..Settings::pausing()
    };
    let daemons = [start_daemon(&cluster, 1, &never)];
    let of_app = Idle::new(pooler);
    let of_other = Idle::to(&pooler.conninfo("app").replace("dbname=app", "dbname=other"));
    let asking = of_other.begin("select pg_sleep(3), current_setting('cluster_name') as name");
    let writer = writing(&cluster);

    cluster.node2().freeze();
    let decided = wait_for_decision(&daemons);
    let commits = new_clients_commits(&[pooler], node1, decided);
    println!("first commit of a new client, KILL: {commits:?}");
    assert!(commits[0] <= FIRST_COMMIT, "{commits:?}");
    assert_all_commit(&writer, &[pooler], node1.name(), decided);
    drop(writer);

    assert_eq!(asking.answer(), Ok("node1".to_owned()), "it was left alone");
    let answer = of_app.ask();
    assert!(answer.is_err(), "KILL drops all: {answer:?}");
    let log = outcome_of(&daemons, 1);
    assert!(log.contains("(KILL, which dropped all "), "{log}");
    assert_as_before(pooler, "0");
    assert_nothing_at(pooler, cluster.node2().port());
    assert_serves(pooler, node1);
}

#[test]
fn what_is_set_to_free_clients_is_set_again_though_the_agent_is_killed() {
    let lines = "query_timeout = 33\nserver_login_retry = 2";
    let cluster = Cluster::builder().poolers(1).pooler_lines(lines).start();
    let (pooler, node1) = (cluster.pooler(1), cluster.node1());
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &Settings::pausing()));
    let writer = writing(&cluster);

    cluster.node2().freeze();
    wait_until(DEADLINE, "the moment of the eviction", || {
        pooler.config("query_timeout") == "1"
    });
    let acting = daemons
        .iter()
        .position(|d| d.log().contains("failover decided"));
    daemons[acting.expect("one has decided")].kill9();

    wait_until(LEASE, "what was before", || {
        pooler.config("query_timeout") == "33" && pooler.config("server_fast_close") == "0"
    });
    drop(writer);
    wait_until(DEADLINE, "a settled operation", || {
        leftovers(pooler).is_empty()
    });
    assert_eq!(pooler.config("server_login_retry"), "2");
    assert_serves(pooler, node1);
}

/// RELOAD takes effect, but its answer comes too late: the next attempt has nothing to move.
#[test]
fn clients_that_hang_are_freed_by_the_attempt_after_one_whose_answer_was_lost() {
    let cluster = Cluster::builder().pgbouncers(&[Version::Newest]).start();
    let (pooler, node1) = (cluster.pooler(1), cluster.node1());
    let pid = pooler.pid().expect("it runs");
    let mut stands = false;
    let never = Settings {
        pgbouncer_lines: "pause = \"never\"".to_owned(),
        ..Settings::default()
    };
    let daemon = daemon_with_steps(&cluster, &never, move |_, step| {
        if step == "Stage" && !std::mem::replace(&mut stands, true) {
            signal(pid, Signal::STOP);
        }
    });
    // So that it is a step.
    daemon.wait_for_log(STAGED, DEADLINE);
    for path in staged(pooler) {
        std::fs::remove_file(path).expect("it was there");
    }
    let writer = writing(&cluster);
    cluster.node2().freeze();
    daemon.wait_for_log("redirect not complete", DEADLINE);
    pooler.thaw();
    daemon.wait_for_log("redirect complete", DEADLINE);
    let told = daemon.log();
    assert!(
        told.contains("hung in node 2 were freed (KILL_CLIENT)"),
        "{told}"
    );
    assert_nothing_at(pooler, cluster.node2().port());
    assert_serves(pooler, node1);
    drop(writer);
}

/// A PAUSE of everything is an operator's, and nothing that names a database ends it.
#[test]
fn a_pause_of_the_whole_pgbouncer_is_named_when_no_query_gets_through() {
    let cluster = Cluster::builder().pgbouncers(&[Version::Newest]).start();
    let pooler = cluster.pooler(1);
    let daemons = [start_daemon(&cluster, 1, &Settings::pausing())];
    pooler.admin("PAUSE");
    cluster.node2().freeze();
    let said = "somebody has sent PgBouncer a PAUSE without a database";
    daemons[0].wait_for_log(said, DEADLINE);
    pooler.admin("RESUME");
    daemons[0].wait_for_log("redirect complete", DEADLINE);
    assert_serves(pooler, cluster.node1());
}

/// A client that has connected, and asks only when it is told to.
struct Idle {
    questions: mpsc::Sender<String>,
    answers: mpsc::Receiver<Result<String, String>>,
}

impl Idle {
    fn new(pooler: &Pooler) -> Self {
        Self::to(&pooler.conninfo("app"))
    }

    fn to(conninfo: &str) -> Self {
        let (questions, asked) = mpsc::channel::<String>();
        let (tell, answers) = mpsc::channel();
        let mut client = postgres::Client::connect(conninfo, postgres::NoTls).expect("a login");
        std::thread::spawn(move || {
            for question in asked {
                let answer = client.simple_query(&question);
                let name = answer.map(|messages| names(&messages));
                let name = name.map_err(|error| error.to_string());
                if tell.send(name).is_err() {
                    return;
                }
            }
        });
        Self { questions, answers }
    }

    fn begin(self, question: &str) -> Self {
        self.send(question);
        self
    }

    fn answer(&self) -> Result<String, String> {
        let answer = self.answers.recv_timeout(DEADLINE);
        answer.unwrap_or_else(|_| panic!("a client gets neither an answer nor an error"))
    }

    /// On which node it lands.
    fn ask(&self) -> Result<String, String> {
        self.send("select current_setting('cluster_name') as name");
        self.answer()
    }

    fn send(&self, question: &str) {
        let sent = self.questions.send(question.to_owned());
        sent.expect("the client is there");
    }
}

/// The column `name`.
fn names(messages: &[postgres::SimpleQueryMessage]) -> String {
    let mut all = String::new();
    for message in messages {
        if let postgres::SimpleQueryMessage::Row(row) = message {
            all.push_str(row.get("name").unwrap_or_default());
        }
    }
    all
}

/// A writer, each of whose clients has committed.
fn writing(cluster: &Cluster) -> Writer {
    let writer = Writer::start(cluster, CLIENTS);
    let all = cluster.poolers().len() * CLIENTS;
    wait_until(DEADLINE, "commits of each client", || {
        let acks = writer.so_far().acknowledged;
        let clients: BTreeSet<_> = acks.iter().map(|ack| (ack.pooler, ack.client)).collect();
        clients.len() == all && acks.len() > 10 * all
    });
    writer
}

/// Each client of the writer commits on the node, and soon.
#[track_caller]
fn assert_all_commit(writer: &Writer, poolers: &[&Pooler], node: &str, decided: SystemTime) {
    let waiting = || {
        let acks = writer.so_far().acknowledged;
        let there = acks.iter().filter(|ack| ack.node == node);
        let there: BTreeSet<_> = there.map(|ack| (ack.pooler, ack.client)).collect();
        poolers.len() * CLIENTS - there.len()
    };
    wait_until(DEADLINE, format!("commits on {node}"), || waiting() == 0);
    let mut last = Duration::ZERO;
    let acks = writer.so_far().acknowledged;
    let mut seen = BTreeSet::new();
    for ack in acks.iter().filter(|ack| ack.node == node) {
        if seen.insert((ack.pooler, ack.client)) {
            last = last.max(ack.at.duration_since(decided).unwrap_or_default());
        }
    }
    assert!(last <= FREED, "{last:?}");
}

fn errors_of(record: &Record, pooler: &Pooler, since: SystemTime) -> Vec<String> {
    let errors = record.errors_after(since).into_iter();
    let errors = errors.filter(|error| error.pooler == pooler.number());
    errors.map(|error| error.text.clone()).collect()
}

/// The log of the daemon that redirected so many PgBouncers.
#[track_caller]
fn outcome_of(daemons: &[Daemon], poolers: usize) -> String {
    daemons[0].wait_for_log(
        &format!("{poolers} of {poolers} PgBouncers serve"),
        DEADLINE,
    );
    daemons[0].log()
}

#[track_caller]
fn assert_as_before(pooler: &Pooler, query_timeout: &str) {
    assert_eq!(pooler.config("query_timeout"), query_timeout);
    assert_eq!(pooler.config("server_fast_close"), "0");
    assert!(!pooler.paused("app"));
}

#[track_caller]
fn assert_nothing_at(pooler: &Pooler, port: u16) {
    let servers = pooler.admin("SHOW SERVERS");
    let left = servers.iter().filter(|row| row["port"] == port.to_string());
    assert_eq!(left.count(), 0, "{servers:?}");
}
