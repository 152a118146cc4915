//! Who puts right what has lost a decision, and when nobody does.

use super::*;
use crate::config::{Drift, Reconciliation};
use crate::core::worker::Difference;

const IN_FORCE: InForce = InForce {
    generation: Generation {
        number: 2,
        node_id: NODE1,
    },
    active: NODE1,
};

fn decided(number: u64) -> Status {
    Status {
        file_active: Some(NODE1),
        loaded: true,
        ..serving(NODE1, number)
    }
}

/// Serves node 2 by a file that is older than the decision in force.
fn outdated() -> Status {
    let difference = Difference::Outdated {
        serves: NODE2,
        generation: Generation {
            number: 1,
            node_id: NODE2,
        },
        in_force: IN_FORCE,
    };
    Status {
        file_active: Some(NODE2),
        differs: vec![difference],
        ..serving(NODE2, 1)
    }
}

fn world(drift: Drift) -> World {
    let mut world = World::new();
    let how = Reconciliation {
        interval: Duration::from_secs(30),
        drift,
    };
    world.cluster = world.cluster.reconciling(how);
    world.cluster.pooler("pgb1", decided(2));
    world.cluster.pooler("pgb2", decided(2));
    assert_eq!(world.actions(), []);
    world
}

fn repairs(world: &World) -> bool {
    let reconciling = world.cluster.assignment().reconciling;
    reconciling.expect("it reconciles").repairs
}

const CLAIM: Action = Action::Claim { on: NODE1 };

#[test]
fn what_has_lost_a_decision_is_put_right_with_the_claim_which_is_then_given_back() {
    let mut world = world(Drift::Repair);
    let told = world.cluster.assignment().reconciling.unwrap();
    assert_eq!(told.in_force, Some(IN_FORCE));
    world.cluster.pooler("pgb2", outdated());
    assert_eq!(world.actions(), [CLAIM]);
    assert!(!repairs(&world));
    assert_eq!(world.claim(NODE1, ClaimResult::Granted), []);
    assert!(repairs(&world));
    assert_eq!(world.cluster.assignment().decision, None, "no new decision");
    world.cluster.pooler("pgb2", decided(2));
    assert_eq!(world.actions(), [Action::Release]);
    assert!(!repairs(&world));
}

#[test]
fn while_the_other_agent_has_the_claim_it_is_asked_for_now_and_then() {
    let mut world = world(Drift::Repair);
    world.cluster.pooler("pgb2", outdated());
    assert_eq!(world.actions(), [CLAIM]);
    assert_eq!(world.claim(NODE1, ClaimResult::Held), []);
    assert_eq!(
        world.cluster.wake_at(),
        Some(world.now + Duration::from_secs(2))
    );
    world.later(2.0);
    assert_eq!(world.actions(), [CLAIM]);
}

#[test]
fn a_claim_that_does_not_help_is_given_back_for_a_while() {
    let mut world = world(Drift::Repair);
    world.cluster.pooler("pgb2", outdated());
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    world.later(10.0);
    assert_eq!(world.actions(), [Action::Release]);
    world.later(29.0);
    assert_eq!(world.actions(), []);
    world.later(1.0);
    assert_eq!(world.actions(), [CLAIM]);
}

#[test]
fn nobody_puts_anything_right_that_is_only_to_be_reported_given_up_or_held_back() {
    let mut report = world(Drift::Report);
    report.cluster.pooler("pgb2", outdated());
    assert_eq!(report.actions(), []);

    let mut given_up = world(Drift::Repair);
    let status = Status {
        given_up: true,
        ..outdated()
    };
    given_up.cluster.pooler("pgb2", status);
    assert_eq!(given_up.actions(), []);

    let mut at_work = world(Drift::Repair);
    let mut status = outdated();
    status
        .differs
        .push(Difference::Paused(["app".to_owned()].into()));
    at_work.cluster.pooler("pgb2", status);
    assert_eq!(at_work.actions(), []);

    let mut away = world(Drift::Repair);
    let status = Status {
        reached: false,
        ..outdated()
    };
    away.cluster.pooler("pgb2", status);
    assert_eq!(away.actions(), []);

    let mut paused = world(Drift::Repair);
    paused.cluster.pauses_read(&[Pause {
        scope: Scope::Cluster,
        paused: true,
        change: 1,
        changed_at: String::new(),
        changed_by: String::new(),
        reason: None,
    }]);
    paused.cluster.pooler("pgb2", outdated());
    assert_eq!(paused.actions(), []);

    let mut doubt = world(Drift::Repair);
    let suspect = Health::Suspect {
        attempt: 1,
        reason: String::new(),
    };
    doubt.cluster.node(NODE1, suspect, doubt.now);
    doubt.cluster.pooler("pgb2", outdated());
    assert_eq!(doubt.actions(), []);
}

#[test]
fn a_failure_comes_first() {
    let mut world = world(Drift::Repair);
    world.cluster.pooler("pgb2", outdated());
    world.actions();
    world.down(NODE2);
    assert_eq!(world.actions(), [CLAIM], "for the failover");
    // The answer to the first request is as good as that to the second.
    let announced = world.claim(NODE1, ClaimResult::Granted);
    assert_eq!(announced, [announce(&decision(3, NODE1))]);
    assert_eq!(world.claim(NODE1, ClaimResult::Granted), []);
    assert!(!repairs(&world));
}

#[test]
fn what_was_decided_is_remembered_also_when_the_only_file_that_carried_it_is_lost() {
    let mut world = world(Drift::Repair);
    for name in ["pgb1", "pgb2"] {
        world.cluster.pooler(name, decided(1));
    }
    let told = world.cluster.assignment().reconciling.unwrap();
    assert_eq!(told.in_force, Some(IN_FORCE));
}

#[test]
fn a_file_that_lies_there_and_was_never_loaded_puts_nothing_in_force() {
    let mut world = world(Drift::Repair);
    let status = Status {
        loaded: false,
        ..decided(9)
    };
    world.cluster.pooler("pgb1", status);
    let told = world.cluster.assignment().reconciling.unwrap();
    assert_eq!(told.in_force, Some(IN_FORCE));
}

#[test]
fn a_fleet_that_nobody_decided_on_has_nothing_in_force() {
    let mut world = World::new();
    let how = Reconciliation {
        interval: Duration::from_secs(30),
        drift: Drift::Repair,
    };
    world.cluster = world.cluster.reconciling(how);
    // As `repoint render --full` writes them: each at its home.
    world.cluster.pooler("pgb1", decided(0));
    world.cluster.pooler("pgb2", serving(NODE2, 0));
    let told = world.cluster.assignment().reconciling.unwrap();
    assert_eq!(told.in_force, None);
}

#[test]
fn a_lost_session_is_not_a_claim() {
    let mut world = world(Drift::Repair);
    world.cluster.pooler("pgb2", outdated());
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    world.cluster.claim_lost(world.now);
    assert!(!repairs(&world));
    assert_eq!(world.actions(), [CLAIM]);
}

#[test]
fn one_is_put_right_with_the_claim_of_a_failover_that_another_one_keeps_open() {
    let mut world = world(Drift::Repair);
    world.cluster.pooler("pgb1", away());
    world.cluster.pooler("pgb2", serving(NODE2, 1));
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    assert!(!world.cluster.assignment().busy, "it is decided");
    world.settle("pgb2", &decision(3, NODE1));
    world.cluster.node(NODE2, up(), world.now);
    world.actions();
    world.cluster.pooler("pgb2", outdated());
    world.actions();
    assert!(repairs(&world));
    assert!(
        world.cluster.assignment().decision.is_some(),
        "pgb1 is waited for"
    );
    world.cluster.node(
        NODE1,
        Health::Suspect {
            attempt: 1,
            reason: String::new(),
        },
        world.now,
    );
    assert!(!repairs(&world), "not towards a node in doubt");
}
