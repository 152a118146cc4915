//! A failover to watch: two PostgreSQL nodes that replicate to each other, two PgBouncers, two
//! `repoint` daemons, and clients that write all the time. One node is killed and comes back.
//!
//! `make demo` runs it; `DEMO_KEEP=1 make demo` leaves all of it running, to be played with. The
//! last line is for machines.

#![allow(clippy::print_stdout, reason = "a demo talks to whoever watches it")]

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use fixture::{Cluster, Daemon, Node, Record, Settings, Writer, pause};

/// Detection takes about 2.5 s with the demo's settings; the rest is for a loaded machine.
const FAILOVER_DEADLINE: Duration = Duration::from_secs(30);

/// For rows to reach the other node, and for the daemons to see it replicate again.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let demo = Demo::start();
    demo.show_routing("both PgBouncers lead to node2");
    let writer = Writer::start(&demo.cluster, 2);
    demo.say("4 clients write through both PgBouncers, each commit on its own");
    pause(Duration::from_secs(2));
    let result = demo.kill_and_recover(writer);
    if std::env::var_os("DEMO_KEEP").is_some_and(|value| value == "1") {
        demo.leave_running();
    }
    drop(demo);
    println!("{}", result.line());
    if result.is_well() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The running cluster with its narrator.
struct Demo {
    begun: Instant,
    // Before the cluster: fields are dropped in this order.
    daemons: Vec<Daemon>,
    cluster: Cluster,
}

/// What the last line says.
struct Numbers {
    redirected: usize,
    poolers: usize,
    decision_to_first_commit: Option<Duration>,
    client_errors: usize,
    longest_gap: Duration,
    acknowledged: usize,
    delayed: usize,
    lost: usize,
    left_paused: usize,
}

impl Demo {
    fn start() -> Self {
        let begun = Instant::now();
        say(
            begun,
            "starting two PostgreSQL nodes, pglogical both ways, two PgBouncers, two sshd",
        );
        let cluster = Cluster::builder().poolers(2).start();
        say(
            begun,
            &format!("all of it is in {}", cluster.directory().display()),
        );
        let settings = Settings {
            monitor_interval: "1s".into(),
            reconnect_attempts: 3,
            reconnect_interval: "500ms".into(),
            ..Settings::default()
        };
        let daemons = [1, 2]
            .map(|id| start_daemon(&cluster, begun, id, &settings))
            .into();
        Self {
            begun,
            daemons,
            cluster,
        }
    }

    fn kill_and_recover(&self, writer: Writer) -> Numbers {
        let (node1, node2) = (self.cluster.node1(), self.cluster.node2());
        self.say("kill -9 of every process of node2");
        let killed = SystemTime::now();
        node2.kill9();
        let redirected = self.wait_for_redirection(node1.port());
        self.show_routing(&format!("{redirected} of 2 PgBouncers lead to node1"));
        self.say("the clients go on for 3 seconds");
        pause(Duration::from_secs(3));
        let missing_on_node1 = self.accepted_by_node2_only(&writer);
        self.say(&format!(
            "node1 lacks {missing_on_node1} commits that only node2 has"
        ));
        let marks: Vec<usize> = self.daemons.iter().map(Daemon::mark).collect();
        self.say("node2 starts again; its subscriptions are re-enabled, so that pglogical");
        self.say("does not wait up to minutes before it tries by itself");
        node2.start();
        self.cluster.hasten_replication();
        self.wait_for_recovery(&marks);
        let record = writer.stop();
        self.say("the clients have stopped; now for the rows");
        let lost = self.count_lost(&record);
        self.numbers(&record, killed, redirected, missing_on_node1, lost)
    }

    /// Until the PgBouncers themselves say so, and serve; gives how many do.
    fn wait_for_redirection(&self, port: u16) -> usize {
        let mut redirected = BTreeSet::new();
        self.wait(FAILOVER_DEADLINE, || {
            for pooler in self.cluster.poolers() {
                let rows = pooler.try_admin("SHOW DATABASES").unwrap_or_default();
                let leads = rows.iter().any(|row| {
                    let there = row["name"] == "app" && row["paused"] == "0";
                    there && row.get("port") == Some(&port.to_string())
                });
                if leads && redirected.insert(pooler.number()) {
                    self.say(&format!("{} leads to port {port}", pooler.name()));
                }
            }
            redirected.len() == self.cluster.poolers().len()
                || !self.daemons.iter().any(Daemon::is_running)
        });
        redirected.len()
    }

    fn wait_for_recovery(&self, marks: &[usize]) {
        // One of them reports it; which one is a matter of who looked first.
        let told = |(daemon, mark): (&Daemon, &usize)| {
            let lines = daemon.lines();
            lines
                .iter()
                .skip(*mark)
                .any(|line| line.text.contains("has recovered"))
        };
        let noticed = self.wait(RECOVERY_DEADLINE, || {
            self.daemons.iter().zip(marks).any(told)
        });
        if !noticed {
            self.say("no daemon has noticed that node2 is back");
        }
    }

    /// Commits that node2 acknowledged before its death and could not pass on.
    fn accepted_by_node2_only(&self, writer: &Writer) -> usize {
        let present = rows_of(self.cluster.node1());
        let record = writer.so_far();
        let of_node2 = record.acknowledged.iter().filter(|ack| ack.node == "node2");
        of_node2
            .filter(|ack| !present.contains(&(ack.pooler, ack.seq)))
            .count()
    }

    /// Acknowledged commits that are not on both nodes, once replication had its time.
    fn count_lost(&self, record: &Record) -> usize {
        let acknowledged: BTreeSet<(usize, i64)> = record
            .acknowledged
            .iter()
            .map(|ack| (ack.pooler, ack.seq))
            .collect();
        let missing = |node: &Node| acknowledged.difference(&rows_of(node)).count();
        self.wait(RECOVERY_DEADLINE, || {
            self.cluster.nodes().iter().all(|node| missing(node) == 0)
        });
        for node in self.cluster.nodes() {
            let present = acknowledged.len() - missing(node);
            self.say(&format!(
                "{} has {present} of {} acknowledged commits",
                node.name(),
                acknowledged.len()
            ));
        }
        let [on_node1, on_node2] = self.cluster.nodes().each_ref().map(rows_of);
        acknowledged
            .iter()
            .filter(|key| !on_node1.contains(key) || !on_node2.contains(key))
            .count()
    }

    fn numbers(
        &self,
        record: &Record,
        killed: SystemTime,
        redirected: usize,
        delayed: usize,
        lost: usize,
    ) -> Numbers {
        for (text, count) in record.errors_by_text() {
            self.say(&format!("{count} times a client got: {text}"));
        }
        let poolers = self.cluster.poolers();
        let decided = self.decision_after(killed);
        let first_commits = decided.and_then(|decided| {
            let after = |number| record.first_ack_after(number, decided);
            poolers
                .iter()
                .map(|pooler| after(pooler.number()).map(|ack| ack.at))
                .max()?
        });
        let paused = poolers
            .iter()
            .flat_map(|pooler| pooler.try_admin("SHOW DATABASES"));
        Numbers {
            redirected,
            poolers: poolers.len(),
            decision_to_first_commit: first_commits
                .zip(decided)
                .and_then(|(commit, decided)| commit.duration_since(decided).ok()),
            client_errors: record.errors.len(),
            longest_gap: poolers
                .iter()
                .map(|pooler| record.longest_gap(pooler.number()))
                .max()
                .unwrap_or_default(),
            acknowledged: record.acknowledged.len(),
            delayed,
            lost,
            left_paused: paused.flatten().filter(|row| row["paused"] == "1").count(),
        }
    }

    /// When the first of the daemons decided, by its own clock.
    fn decision_after(&self, killed: SystemTime) -> Option<SystemTime> {
        let lines = self.daemons.iter().flat_map(Daemon::lines);
        lines
            .filter(|line| line.text.contains("failover decided"))
            .filter_map(|line| line.text.split_whitespace().next()?.parse().ok())
            .map(|time: jiff::Timestamp| SystemTime::from(time))
            .filter(|&time| time > killed)
            .min()
    }

    fn show_routing(&self, title: &str) {
        self.say(title);
        println!("          PgBouncer  entry  leads to            paused");
        for pooler in self.cluster.poolers() {
            for row in pooler.try_admin("SHOW DATABASES").unwrap_or_default() {
                if row["name"] != "app" {
                    continue;
                }
                let port = &row["port"];
                let node = self
                    .cluster
                    .nodes()
                    .iter()
                    .find(|n| n.port().to_string() == *port);
                let name = node.map_or("?", Node::name);
                let (pooler, paused) = (pooler.name(), &row["paused"]);
                println!("          {pooler:<9}  app    {name} (port {port})  {paused}");
            }
        }
    }

    /// Polls; false at the deadline. A demo goes on and shows what it has got.
    fn wait(&self, deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < deadline {
            if condition() {
                return true;
            }
            fixture::interrupt::park_if_interrupted();
            pause(Duration::from_millis(20));
        }
        self.say(&format!("not within {deadline:?}"));
        false
    }

    fn leave_running(&self) {
        let user = self.cluster.home().user();
        println!("\nAll of it goes on. Things to try, from another terminal:\n");
        for pooler in self.cluster.poolers() {
            println!(
                "  psql '{}'    # through {}",
                pooler.conninfo("app"),
                pooler.name()
            );
            println!("  psql '{}' -c 'SHOW DATABASES'", pooler.console());
        }
        for node in self.cluster.nodes() {
            println!("  psql '{}'    # {}", node.conninfo(), node.name());
            if let Some(pid) = node.pid() {
                println!(
                    "  kill -9 {pid} $(pgrep -P {pid})    # the end of {}",
                    node.name()
                );
            }
        }
        let repoint = self.cluster.repoint_path().display();
        let directory = self.cluster.directory().display();
        println!("  {repoint} -f {directory}/d1/repoint.toml render    # as user {user}");
        println!("  tail -f {directory}/node*/postgresql.log {directory}/pgb*/*.log");
        println!("\nThe daemons' logs go on here. Enter or Ctrl-C stops everything.");
        let mut line = String::new();
        let _end_of_input = std::io::stdin().read_line(&mut line);
    }

    fn say(&self, text: &str) {
        say(self.begun, text);
    }
}

impl Numbers {
    /// A PgBouncer that leads to the right node and lets no commit through is not well either.
    fn is_well(&self) -> bool {
        self.redirected == self.poolers
            && self.decision_to_first_commit.is_some()
            && self.lost == 0
            && self.left_paused == 0
    }

    fn line(&self) -> String {
        let first_commit = self
            .decision_to_first_commit
            .map_or("-".into(), |time| time.as_millis().to_string());
        format!(
            "demo: redirected={}/{} decision_to_first_commit_ms={first_commit} client_errors={} \
             longest_gap_ms={} acknowledged={} delayed={} lost={} left_paused={}",
            self.redirected,
            self.poolers,
            self.client_errors,
            self.longest_gap.as_millis(),
            self.acknowledged,
            self.delayed,
            self.lost,
            self.left_paused,
        )
    }
}

fn start_daemon(cluster: &Cluster, begun: Instant, id: u32, settings: &Settings) -> Daemon {
    let file = cluster.write_config(id, settings, |_| ());
    say(begun, &format!("starting the daemon of node{id}"));
    let daemon = cluster.daemon_with_file(id, &file, move |line| {
        say(begun, &format!("node{id} | {}", line.text));
    });
    // It has to be up before its node goes down; its first line says that it is.
    let end = Instant::now() + Duration::from_secs(5);
    while daemon.mark() == 0 && daemon.is_running() && Instant::now() < end {
        pause(Duration::from_millis(10));
    }
    daemon
}

/// The writer's rows of a node that can be asked.
fn rows_of(node: &Node) -> BTreeSet<(usize, i64)> {
    let rows = node
        .try_rows("select pooler, seq from public.writes")
        .unwrap_or_default();
    let number = |row: &BTreeMap<String, String>, name: &str| row.get(name)?.parse::<i64>().ok();
    rows.iter()
        .filter_map(|row| {
            let pooler = usize::try_from(number(row, "pooler")?).ok()?;
            Some((pooler, number(row, "seq")?))
        })
        .collect()
}

fn say(begun: Instant, text: &str) {
    println!("+{:7.3}s {text}", begun.elapsed().as_secs_f64());
}
