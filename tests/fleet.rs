//! Agents, witnesses with their PgBouncers, and two nodes, in one thread and from a seed: what
//! several agents do to a fleet when messages are lost, delayed, doubled and overtaken, agents and
//! hosts are started anew, agents sleep with commands on their way, ledgers are lost, files are
//! edited, and nobody sees the same. The real [`repoint::core::cluster::Cluster`] decides; a worker
//! is a stand-in that looks, and moves what its cluster tells it to. What must hold in every order
//! is checked at every step, and that all comes to rest, at the end.

#[path = "agreement"]
mod agreement {
    pub(crate) mod breakage;
    pub(crate) mod chain;
    pub(crate) mod network;
}
#[path = "fleet"]
mod fleet {
    pub(crate) mod agent;
    pub(crate) mod host;
    pub(crate) mod world;
}

use agreement::breakage;
use fleet::world::World;

/// Runs one, and tells what happened if something is wrong.
fn run(seed: u64) -> usize {
    let mut world = World::new(seed, false);
    if world.run().is_ok() {
        return world.chain.moves();
    }
    let mut again = World::new(seed, true);
    let broken = again.run().expect_err("the same happens again");
    panic!("{}\nseed {seed}: {broken}", again.told());
}

#[test]
fn no_pgbouncer_is_moved_backwards_and_all_follow_the_last_decision() {
    let first = std::env::var("FLEET_SEED").ok();
    let first = first.map_or(0, |seed| seed.parse().expect("a number"));
    let moves: usize = (first..first + 120).map(run).sum();
    assert!(moves > 60, "only {moves} moves were decided");
}

#[test]
fn a_broken_witness_is_noticed() {
    for breakage in breakage::ALL {
        let noticed = |seed: &u64| World::new(*seed, false).broken(breakage).run().is_err();
        let seed = (0..3000).find(noticed);
        println!("{breakage:?}: {seed:?}");
        assert!(seed.is_some(), "{breakage:?} goes unnoticed");
    }
}
