//! Some agents and some witnesses agree on moves, while messages are lost, delayed, doubled and
//! overtaken, agents and hosts are started anew, agents sleep, disks are lost, and nobody sees the
//! same. A simulation with the real [`Agreement`] and the model of a witness; what must hold in
//! every order is checked at every step.

#[path = "agreement"]
mod agreement {
    pub(crate) mod breakage;
    pub(crate) mod chain;
    pub(crate) mod network;
    pub(crate) mod world;
}

use agreement::breakage;
use agreement::world::World;

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
fn decisions_form_a_chain_whatever_happens() {
    let moves: usize = (0..500).map(run).sum();
    assert!(moves > 500, "only {moves} moves were decided");
}

#[test]
fn a_broken_witness_is_noticed() {
    for breakage in breakage::ALL {
        let noticed = |seed: &u64| World::new(*seed, false).broken(breakage).run().is_err();
        let seed = (0..1000).find(noticed);
        println!("{breakage:?}: {seed:?}");
        assert!(seed.is_some(), "{breakage:?} goes unnoticed");
    }
}
