//! What happens to a world that nobody wanted, and that it comes to rest when that is over.

use std::time::Duration;

use repoint::config::{NodeId, Quorum};
use repoint::core::ledger::{Ledger, WitnessMemory};
use repoint::core::pause::{Pause, Scope};
use repoint::generation::Generation;

use super::breakage::{self, Breakage};
use super::call::File;
use super::host::AGENTS_MAX;
use super::world::{EVENTS, QUIET, World};
use super::{NODES, index};

/// How long after all is well but a node clients have a node everywhere.
const SERVED_WITHIN: Duration = Duration::from_secs(45);

impl World {
    /// Until everything has come to rest.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let mut next_event = Duration::ZERO;
        while self.now < EVENTS {
            if self.now >= next_event {
                self.happen();
                next_event = self.now + self.random.millis(2000);
            }
            self.step(next_event.min(EVENTS))?;
        }
        let failed = usize::from(self.random.one_in(2));
        self.heal(failed);
        let active = NODES[1 - failed];
        while !self.is_served(active) {
            if self.now >= EVENTS + SERVED_WITHIN {
                return Err(format!("not served by node {active}: {}", self.rest()));
            }
            self.step(EVENTS + SERVED_WITHIN)?;
        }
        while !self.is_at_rest(active) {
            if self.now >= EVENTS + QUIET {
                return Err(format!("no rest: {}", self.rest()));
            }
            self.step(EVENTS + QUIET)?;
        }
        self.count();
        Ok(())
    }

    fn count(&mut self) {
        let moves = u64::try_from(self.chain.moves()).expect("few");
        self.coverage.add_many("decisions that move traffic", moves);
        let writes = self.databases.total();
        self.coverage.add_many("commits", writes);
        let refused = self.databases.refused;
        self.coverage.add_many("writes that got an error", refused);
        let waiting = self.databases.waiting;
        self.coverage
            .add_many("writes that waited for a pause", waiting);
        let both = self.databases.on_both;
        self.coverage
            .add_many("commits on both nodes within a second", both);
    }

    fn rest(&self) -> String {
        let hosts = self.hosts.iter().map(|host| {
            let (file, pgbouncer) = (host.file, &host.pgbouncer);
            format!(
                "serves {} by file {}{}{}{}",
                pgbouncer.loaded,
                file.hash(),
                if pgbouncer.paused.is_some() {
                    ", paused"
                } else {
                    ""
                },
                if pgbouncer.is_as_found() { "" } else { ", SET" },
                if host.operation.is_some() {
                    ", on record"
                } else {
                    ""
                },
            )
        });
        let hosts: Vec<String> = hosts.collect();
        format!(
            "{hosts:?}, decided {:?}, claims {:?}",
            self.chain.active(),
            self.claims
        )
    }

    /// Whether clients of every PgBouncer get to the node that is left.
    fn is_served(&self, active: NodeId) -> bool {
        self.hosts.iter().all(|host| {
            let pgbouncer = &host.pgbouncer;
            // What somebody wrote into a file, and did not have loaded, is left to that one.
            let file = host.file.leads == active || host.has_operators_file();
            pgbouncer.loaded == active && pgbouncer.paused.is_none() && file
        })
    }

    /// Whether nothing is left to be done anywhere, and every ledger knows why.
    fn is_at_rest(&self, active: NodeId) -> bool {
        let majority = self.setting.quorum == Quorum::Majority;
        let knows = |decided: Option<_>| decided.is_some_and(|(_, node)| node == active);
        let hosts = self.hosts.iter().all(|host| {
            let settled = host.operation.is_none() && host.pgbouncer.is_as_found();
            settled && (!majority || knows(host.decided(self.now)))
        });
        let chain = !majority || self.chain.active() == Some(active);
        self.is_served(active) && hosts && chain && self.claims == [None; 2]
    }

    /// Everybody is there, and one node is gone.
    fn heal(&mut self, failed: usize) {
        self.note(|_| format!("all is well but node {}", NODES[failed]));
        let mut reaches = [true; 2];
        reaches[failed] = false;
        let now = self.now;
        for host in &mut self.hosts {
            host.reaches = reaches;
            host.down_until = now;
            host.slow_until = now;
            host.deaf_to = [false; AGENTS_MAX];
            host.mute_to = [false; AGENTS_MAX];
            host.full = false;
            host.pgbouncer.rejects = false;
            if host
                .pgbouncer
                .paused
                .is_some_and(|(_, by_operator)| by_operator)
            {
                host.pgbouncer.paused = None;
            }
        }
        self.linked = true;
        self.hold_back(false);
        self.up[1 - failed] = true;
        self.node_fails(failed);
        for number in 0..self.agents.len() {
            self.agents[number].reaches = reaches;
            self.agents[number].asleep_until = now;
            self.agents[number].acts = 0;
            self.probe(number);
        }
    }

    /// One thing that nobody wanted, or a node that comes and goes.
    fn happen(&mut self) {
        let host = self.random.index(self.hosts.len());
        let number = self.random.index(self.agents.len());
        let node = self.random.index(2);
        if self.random.one_in(4) {
            let known = &mut self.hosts[host];
            known.before = known.memory.clone();
        }
        match self.random.below(26) {
            what @ 0..=4 => self.node_is(node, what > 2),
            5 => {
                let seen = !self.hosts[host].reaches[node] && self.up[node];
                self.note(|_| format!("host {host} reaches node {}: {seen}", NODES[node]));
                self.hosts[host].reaches[node] = seen;
            }
            6 => {
                let seen = !self.agents[number].reaches[node] && self.up[node];
                self.note(|_| format!("agent {number} reaches node {}: {seen}", NODES[node]));
                self.agents[number].reaches[node] = seen;
                self.probe(number);
            }
            7..=9 => self.cut(host, number),
            10 => self.lose_power(host),
            11 => {
                self.note(|_| format!("agent {number} is started anew"));
                self.coverage.add("agents killed");
                self.restart(number);
            }
            12 => self.sleep(number),
            13 => self.lose_ledger(host),
            14..=18 => self.happen_to(host, NODES[node]),
            19 => {
                let held = self.paused.as_ref().is_some_and(|pause| pause.paused);
                self.hold_back(!held);
            }
            20 => {
                self.note(|_| "the link between the nodes changes".to_owned());
                self.linked = !self.linked;
            }
            _ => {}
        }
    }

    /// What happens on one host.
    fn happen_to(&mut self, host: usize, node: NodeId) {
        let edit = 1 + self.random.below(1 << 20);
        let slow = self.random.millis(8000);
        let (now, what) = (self.now, self.random.below(11));
        let forward = self.random.below(4000);
        self.note(|_| format!("host {host}: {what} {node}"));
        let majority = self.setting.quorum == Quorum::Majority;
        let known = &mut self.hosts[host];
        match what {
            0 => {
                self.coverage.add("files edited by hand");
                let file = File {
                    leads: node,
                    edit,
                    ..known.file
                };
                known.edit(file);
                if edit.is_multiple_of(2) {
                    known.restart_pgbouncer();
                }
            }
            9 => {
                self.coverage.add("files restored from a backup");
                known.edit(known.previous.unwrap_or(known.file));
                if edit.is_multiple_of(2) {
                    known.restart_pgbouncer();
                }
            }
            // Where files say what was decided, that is an operator's word.
            10 if majority => {
                self.coverage.add("files with the number of no decision");
                let number = known.file.generation.number + edit % 4;
                let generation = Generation {
                    number,
                    ..known.file.generation
                };
                known.edit(File::new(generation, node, known.file.writer));
                if edit.is_multiple_of(2) {
                    known.restart_pgbouncer();
                }
            }
            1 => {
                self.coverage.add("PgBouncers restarted");
                known.restart_pgbouncer();
            }
            2 => known.slow_until = now + slow,
            3 => known.full = !known.full,
            4 => known.pgbouncer.rejects = true,
            5 => {
                self.coverage.add("settings SET by an operator");
                known.pgbouncer.set_by_operator(now);
            }
            6 if known.pgbouncer.paused.is_none() => {
                self.coverage.add("pauses by an operator");
                known.pgbouncer.paused = Some((now, true));
            }
            7 => {
                if let Some((_, true)) = known.pgbouncer.paused {
                    known.pgbouncer.paused = None;
                }
            }
            // Only back: an age is then too small, and never too great.
            8 => known.set_forward -= forward,
            _ => {}
        }
    }

    fn cut(&mut self, host: usize, number: usize) {
        let known = &mut self.hosts[host];
        let ways = match self.random.below(3) {
            0 => [true, false],
            1 => [false, true],
            _ => [true, true],
        };
        let cut = known.deaf_to[number] || known.mute_to[number];
        known.deaf_to[number] = !cut && ways[0];
        known.mute_to[number] = !cut && ways[1];
        self.note(|_| format!("agent {number} cut off from host {host}: {} {ways:?}", !cut));
    }

    fn sleep(&mut self, number: usize) {
        let time = match self.random.one_in(4) {
            true => self.random.millis(40_000),
            false => self.random.millis(8000),
        };
        self.note(|_| format!("agent {number} sleeps for {time:?}"));
        self.coverage.add("agents stopped for a while");
        self.agents[number].asleep_until = self.now + time;
    }

    fn hold_back(&mut self, paused: bool) {
        let change = self.paused.as_ref().map_or(0, |pause| pause.change) + 1;
        self.note(|_| format!("failover is held back: {paused}"));
        self.paused = Some(Pause {
            scope: Scope::Cluster,
            paused,
            change,
            changed_at: String::new(),
            changed_by: String::new(),
            reason: None,
        });
        for agent in &mut self.agents {
            agent.cluster.pauses_read(self.paused.as_slice());
            agent.wake = self.now;
        }
    }

    fn lose_power(&mut self, number: usize) {
        self.note(|_| format!("host {number} is started anew"));
        self.coverage.add("hosts that lost power");
        let (now, pause) = (self.now, self.random.millis(3000));
        let lost = [self.random.one_in(2), self.random.one_in(2)];
        let unsynced = self.breakage == Some(Breakage::LedgerNotSynced);
        let host = &mut self.hosts[number];
        if unsynced {
            host.memory = host.before.clone();
        }
        host.lose_power(now, lost);
        host.down_until = now + pause;
    }

    /// A ledger is lost; only while every other one is whole, which is what is promised for.
    fn lose_ledger(&mut self, number: usize) {
        let mut hosts = self.hosts.iter();
        let blank = |host: &super::host::Host| *host.memory.line() == *"";
        if self.hosts.len() < 3 || hosts.any(blank) {
            return;
        }
        self.note(|_| format!("host {number} loses its ledger"));
        self.coverage.add("ledgers lost");
        let at = self.hosts[number].time(self.now);
        self.hosts[number].memory = match self.breakage {
            Some(Breakage::BlankLedgerVotes) => {
                breakage::overwritten(&Ledger::NOTHING_DECIDED, &at)
            }
            _ => WitnessMemory::default(),
        };
    }

    fn node_fails(&mut self, node: usize) {
        self.failures[node] += usize::from(self.up[node]);
        self.up[node] = false;
        if let Some(holder) = self.claims[node].take() {
            let now = self.instant(holder);
            self.agents[holder].cluster.claim_lost(now);
            self.agents[holder].wake = self.now;
        }
    }

    fn node_is(&mut self, node: usize, up: bool) {
        self.note(|_| format!("node {} is up: {up}", NODES[node]));
        debug_assert_eq!(index(NODES[node]), node);
        match up {
            true => self.up[node] = true,
            false => self.node_fails(node),
        }
        for host in &mut self.hosts {
            host.reaches[node] = up;
        }
        for number in 0..self.agents.len() {
            self.agents[number].reaches[node] = up;
            self.probe(number);
        }
    }
}
