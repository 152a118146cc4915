//! Two databases with asynchronous replication both ways, and a client of each PgBouncer that
//! writes: how much of what was acknowledged is where.

use std::time::Duration;

use super::host::Host;
use super::index;

/// How often a client writes, and how often a node sends what it has.
pub(crate) const WRITES: Duration = Duration::from_millis(500);
pub(crate) const SHIPS: Duration = Duration::from_millis(700);

#[derive(Debug, Default)]
pub(crate) struct Databases {
    /// What clients were told is committed, by the node that said so.
    acknowledged: [u64; 2],
    /// How much of that the other node has.
    shipped: [u64; 2],
    last_write: [Option<Duration>; 2],
    /// Writes on one node within a second of a write on the other one.
    pub(crate) on_both: u64,
    pub(crate) refused: u64,
    pub(crate) waiting: u64,
}

impl Databases {
    /// A client of this PgBouncer tries to write.
    pub(crate) fn write(&mut self, host: &Host, up: [bool; 2], now: Duration) {
        let node = index(host.pgbouncer.loaded);
        if host.pgbouncer.paused.is_some() {
            self.waiting += 1;
        } else if up[node] && host.reaches[node] && host.down_until <= now {
            self.acknowledged[node] += 1;
            self.last_write[node] = Some(now);
            let other = self.last_write[1 - node];
            let both = other.is_some_and(|at| now < at + Duration::from_secs(1));
            self.on_both += u64::from(both);
        } else {
            self.refused += 1;
        }
    }

    /// Both nodes are there, and so is the link between them.
    pub(crate) fn ship(&mut self) {
        self.shipped = self.acknowledged;
    }

    /// What would be missing if this node were left now.
    pub(crate) fn missing(&self, node: usize) -> u64 {
        self.acknowledged[node] - self.shipped[node]
    }

    pub(crate) fn total(&self) -> u64 {
        self.acknowledged.iter().sum()
    }
}
