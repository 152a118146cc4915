//! Everything of `core` at once, in one thread and from a seed: agents, the hosts of PgBouncers
//! with their ledgers and files, two databases that replicate, and clients. Messages are lost,
//! delayed, doubled and overtaken, one way or both; agents, hosts and PgBouncers are started anew
//! at any moment, agents sleep for minutes with commands on their way, clocks go wrong, disks are
//! full, lose what was not waited for, or are restored from backups, and operators do things of
//! their own. What must hold in every order is checked at every step, and at the end that all has
//! come to rest.
//!
//! The real [`repoint::core`] decides. Stand-ins are: the loops that ask and carry out
//! (`agent::pooler`, `agent::executor`), the script on a host, and PgBouncer's console; the ledger
//! and the script are compared with real ones by `tests/real/ledger.rs` and
//! `tests/real/host_model.rs`.
//!
//! `SIM_SEEDS` is how many seeds are run, from `SIM_SEED` on. One that fails prints what happened,
//! and is run again with that number.

#[path = "sim"]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever another answer is, a stand-in has not got the one that it needs"
)]
mod sim {
    pub(crate) mod agent;
    pub(crate) mod breakage;
    pub(crate) mod call;
    pub(crate) mod chain;
    pub(crate) mod clock;
    pub(crate) mod coverage;
    pub(crate) mod databases;
    pub(crate) mod execution;
    pub(crate) mod faults;
    pub(crate) mod host;
    pub(crate) mod pgbouncer;
    pub(crate) mod random;
    pub(crate) mod task;
    pub(crate) mod ways;
    pub(crate) mod world;

    use repoint::config::NodeId;

    pub(crate) const NODES: [NodeId; 2] = [NodeId(1), NodeId(2)];

    pub(crate) fn index(node: NodeId) -> usize {
        usize::from(node != NODES[0])
    }
}

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sim::breakage::{self, Breakage};
use sim::coverage::Coverage;
use sim::pgbouncer::routing;
use sim::world::World;

/// As many as a test of every change has time for.
const SEEDS: u64 = 2000;
/// Within so many, a breakage is noticed.
const SEEDS_OF_BREAKAGE: u64 = 20_000;

fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Runs one, and tells what happened if something is wrong.
fn run(seed: u64) -> Result<Coverage, String> {
    let mut world = World::new(seed, &routing(), None, false);
    if world.run().is_ok() {
        return Ok(world.coverage);
    }
    let mut again = World::new(seed, &routing(), None, true);
    let broken = again.run().expect_err("the same happens again");
    Err(format!("{}\nseed {seed}: {broken}", again.told()))
}

/// Runs seeds on every processor, until one of them is enough.
fn on_all(seeds: std::ops::Range<u64>, run: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(seeds.start);
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || run(seed) {
                        next.store(seeds.end, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn whatever_happens_decisions_form_a_chain_and_every_pgbouncer_is_served_in_the_end() {
    let first = number("SIM_SEED", 0);
    let count = number("SIM_SEEDS", SEEDS);
    let begun = std::time::Instant::now();
    let all = Mutex::new((Coverage::default(), None));
    on_all(first..first + count, |seed| {
        let ran = run(seed);
        let (coverage, wrong) = &mut *all.lock().expect("nobody panics with it");
        match ran {
            Ok(ran) => coverage.merge(&ran),
            Err(why) => *wrong = Some(why),
        }
        wrong.is_some()
    });
    let (all, wrong) = all.into_inner().expect("nobody panics with it");
    if let Some(wrong) = wrong {
        panic!("{wrong}");
    }
    println!("{count} seeds in {:?}\n{all}", begun.elapsed());
    if count >= SEEDS {
        for what in sim::coverage::MUST_HAPPEN {
            assert!(all.of(what) > 0, "never: {what}");
        }
    }
}

/// By which seed a breakage is noticed, and how.
fn notices(breakage: Breakage) -> Option<(u64, String)> {
    let found = Mutex::new(None);
    on_all(0..SEEDS_OF_BREAKAGE, |seed| {
        let wrong = World::new(seed, &routing(), Some(breakage), false).run();
        let Err(why) = wrong else { return false };
        *found.lock().expect("nobody panics with it") = Some((seed, why));
        true
    });
    found.into_inner().expect("nobody panics with it")
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "ten minutes if not optimised: `make sim` runs it"
)]
fn whatever_is_broken_is_noticed() {
    for breakage in breakage::ALL {
        let (seed, why) = notices(breakage).unwrap_or_else(|| panic!("not {breakage:?}"));
        println!("{breakage:?}: seed {seed}: {why}");
    }
}
