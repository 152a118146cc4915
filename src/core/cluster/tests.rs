mod reconciling;

use super::*;
use crate::core::node::Fault;
use crate::core::outcome::{End, FileAfter, Outcome};
use crate::core::pause::{Pause, Scope};

mod suspect;

const NODE1: NodeId = NodeId(1);
const NODE2: NodeId = NodeId(2);

const SETTINGS: Monitoring = Monitoring {
    monitor_interval: Duration::from_secs(5),
    reconnect_attempts: 6,
    reconnect_interval: Duration::from_secs(5),
    recovery_timeout: Duration::from_secs(30),
    local_only: false,
};

struct World {
    cluster: Cluster,
    now: Instant,
}

fn up() -> Health {
    Health::Up {
        identity: "x".to_owned(),
    }
}

fn serving(node: NodeId, generation: u64) -> Status {
    Status {
        reached: true,
        serves: [node].into(),
        generation: Generation {
            number: generation,
            node_id: NODE1,
        },
        ..Status::default()
    }
}

fn away() -> Status {
    Status {
        trouble: Some("no route to host".to_owned()),
        ..Status::default()
    }
}

impl World {
    /// The agent of node 1, both nodes up, two PgBouncers on node 2.
    fn new() -> Self {
        let now = Instant::now();
        let poolers = ["pgb1".to_owned(), "pgb2".to_owned()];
        let mut cluster = Cluster::new(NODE1, [NODE1, NODE2], poolers, SETTINGS);
        cluster.node(NODE1, up(), now);
        cluster.node(NODE2, up(), now);
        cluster.pooler("pgb1", serving(NODE2, 0));
        cluster.pooler("pgb2", serving(NODE2, 0));
        Self { cluster, now }
    }

    fn down(&mut self, node: NodeId) {
        let down = Health::Down {
            fault: Fault::Crash,
            reason: String::new(),
            since: self.now,
        };
        self.cluster.node(node, down, self.now);
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.cluster.next(self.now))
            .take(20)
            .collect()
    }

    fn later(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    fn claim(&mut self, on: NodeId, result: ClaimResult) -> Vec<Action> {
        self.cluster.claimed(on, &result, self.now);
        self.actions()
    }

    fn settle(&mut self, name: &str, decision: &Decision) {
        let mut status = serving(decision.active, 0);
        status.generation = decision.generation;
        status.settled = Some(decision.generation);
        self.cluster.pooler(name, status);
    }
}

fn decision(number: u64, by: NodeId) -> Decision {
    Decision {
        generation: Generation {
            number,
            node_id: by,
        },
        failed: NODE2,
        active: NODE1,
        fault: Fault::Crash,
    }
}

fn announce(decision: &Decision) -> Action {
    let decision = decision.clone();
    Action::Announce {
        decision,
        news: true,
    }
}

#[test]
fn an_agent_that_finds_everything_done_records_it_and_says_no_more() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Held);
    world.cluster.pooler("pgb1", serving(NODE1, 1));
    world.cluster.pooler("pgb2", serving(NODE1, 1));
    world.later(0.5);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    let decided = decision(2, NODE1);
    let quiet = Action::Announce {
        decision: decided.clone(),
        news: false,
    };
    assert_eq!(world.claim(NODE1, ClaimResult::Granted), [quiet]);
    world.settle("pgb1", &decided);
    world.settle("pgb2", &decided);
    assert_eq!(world.actions(), [Action::Release]);
}

/// All was done, so its number is in no file; the workers have agreed to it all the same.
#[test]
fn the_number_of_a_decision_that_found_everything_done_is_not_used_again() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Held);
    world.cluster.pooler("pgb1", serving(NODE1, 1));
    world.cluster.pooler("pgb2", serving(NODE1, 1));
    world.later(0.5);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    for name in ["pgb1", "pgb2"] {
        let mut status = serving(NODE1, 1);
        status.settled = Some(decision(2, NODE1).generation);
        world.cluster.pooler(name, status);
    }
    assert_eq!(world.actions(), [Action::Release]);

    // It recovers, is put to use again by hand, and fails a second time.
    world.cluster.node(NODE2, up(), world.now);
    world.actions();
    world
        .cluster
        .recovery(NODE2, &Recovery::Recovered, world.now);
    for name in ["pgb1", "pgb2"] {
        let mut status = serving(NODE2, 1);
        status.settled = Some(decision(2, NODE1).generation);
        world.cluster.pooler(name, status);
    }
    world.later(60.0);
    assert_eq!(foreseen(&world.cluster)[1], (3, NODE2, NODE1));
    world.down(NODE2);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    let second = decision(3, NODE1);
    let told = world.claim(NODE1, ClaimResult::Granted);
    assert_eq!(told, [announce(&second)], "and nothing is complete yet");
    world.settle("pgb1", &second);
    world.settle("pgb2", &second);
    let report = Action::Report {
        decision: second,
        complete: true,
        news: true,
    };
    assert_eq!(world.actions(), [report, Action::Release]);
}

#[test]
fn a_node_that_goes_down_is_claimed_on_the_survivor_announced_and_reported_when_complete() {
    let mut world = World::new();
    assert_eq!(world.actions(), []);
    world.down(NODE2);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    assert!(
        !world.cluster.assignment().may_act,
        "nobody acts without the claim"
    );
    let decided = decision(1, NODE1);
    assert_eq!(
        world.claim(NODE1, ClaimResult::Granted),
        [announce(&decided)]
    );
    let assignment = world.cluster.assignment();
    assert!(assignment.may_act && assignment.insist);
    assert_eq!(assignment.decision, Some(decided.clone()));
    world.settle("pgb1", &decided);
    assert_eq!(world.actions(), []);
    world.settle("pgb2", &decided);
    let report = Action::Report {
        decision: decided,
        complete: true,
        news: true,
    };
    assert_eq!(world.actions(), [report, Action::Release]);
    world.later(60.0);
    assert_eq!(world.actions(), [], "done is done");
}

#[test]
fn the_generation_is_above_all_that_any_file_carries() {
    let mut world = World::new();
    world.cluster.pooler("pgb2", serving(NODE2, 41));
    world.down(NODE2);
    world.actions();
    let announced = world.claim(NODE1, ClaimResult::Granted);
    assert_eq!(announced, [announce(&decision(42, NODE1))]);
}

#[test]
fn the_agent_that_stands_by_takes_over_when_the_claim_comes_free() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    let stand_by = world.claim(NODE1, ClaimResult::Held);
    assert_eq!(stand_by, [Action::StandBy { failed: NODE2 }]);
    assert_eq!(world.actions(), [], "not asked again at once");
    world.later(0.5);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    assert_eq!(world.claim(NODE1, ClaimResult::Held), [], "said once");
    world.later(0.5);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    let granted = world.claim(NODE1, ClaimResult::Granted);
    assert_eq!(granted, [], "not before one more look at the PgBouncers");
    world.later(0.4);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    assert_eq!(
        world.claim(NODE1, ClaimResult::Granted),
        [announce(&decision(1, NODE1))]
    );
}

#[test]
fn an_agent_that_gets_the_claim_sees_what_the_other_one_did_last_before_it_decides() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Held);
    world.cluster.pooler("pgb1", serving(NODE1, 1));
    world.later(0.5);
    world.actions();
    assert_eq!(world.claim(NODE1, ClaimResult::Granted), []);
    world.cluster.pooler("pgb2", serving(NODE1, 1));
    world.later(0.4);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    let quiet = Action::Announce {
        decision: decision(2, NODE1),
        news: false,
    };
    assert_eq!(world.claim(NODE1, ClaimResult::Granted), [quiet]);
}

#[test]
fn a_node_that_reappears_before_anybody_decided_is_left_alone() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.cluster.node(NODE2, up(), world.now);
    let actions = world.claim(NODE1, ClaimResult::Granted);
    assert_eq!(actions[0], Action::Reappeared { node: NODE2 });
    assert!(actions.contains(&Action::Release));
    assert_eq!(world.cluster.assignment().decision, None);
}

/// A session is lost for many reasons; the redirect that was told of may be done by then, or not.
#[test]
fn what_was_announced_is_reported_although_the_claim_was_lost_in_between() {
    for returned in [false, true] {
        let mut world = World::new();
        world.down(NODE2);
        world.actions();
        world.claim(NODE1, ClaimResult::Granted);
        world.cluster.claim_lost(world.now);
        world.cluster.pooler("pgb1", serving(NODE1, 1));
        world.cluster.pooler("pgb2", serving(NODE1, 1));
        if returned {
            world.cluster.node(NODE2, up(), world.now);
        }
        let claim = Action::Claim { on: NODE1 };
        assert_eq!(world.actions()[0], claim, "back: {returned}");
        world.claim(NODE1, ClaimResult::Granted);
        let decided = decision(2, NODE1);
        assert_eq!(world.cluster.assignment().decision, Some(decided.clone()));
        world.settle("pgb1", &decided);
        world.settle("pgb2", &decided);
        let report = Action::Report {
            decision: decided,
            complete: true,
            news: true,
        };
        assert_eq!(world.actions(), [report, Action::Release]);
    }
}

#[test]
fn a_pgbouncer_that_was_away_is_waited_for_even_when_the_node_is_back() {
    let mut world = World::new();
    world.cluster.pooler("pgb2", away());
    world.down(NODE2);
    world.actions();
    let decided = decision(1, NODE1);
    let first = world.claim(NODE1, ClaimResult::Granted);
    assert_eq!(first[0], announce(&decided));
    world.settle("pgb1", &decided);
    let report = Action::Report {
        decision: decided.clone(),
        complete: false,
        news: true,
    };
    assert_eq!(world.actions(), [report], "said once that one is missing");
    world.cluster.node(NODE2, up(), world.now);
    world.later(3600.0);
    let actions = world.actions();
    assert_eq!(
        actions,
        [Action::CheckRecovery {
            node: NODE2,
            on: NODE1
        }]
    );
    let assignment = world.cluster.assignment();
    assert_eq!(assignment.decision, Some(decided.clone()), "still in force");
    assert!(
        !assignment.insist,
        "but those that were moved may go back by hand"
    );
    world.settle("pgb2", &decided);
    let report = Action::Report {
        decision: decided,
        complete: true,
        news: true,
    };
    assert_eq!(world.actions(), [report, Action::Release]);
}

#[test]
fn a_pgbouncer_that_points_at_the_dead_node_again_is_moved_again() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    let decided = decision(1, NODE1);
    world.settle("pgb1", &decided);
    world.settle("pgb2", &decided);
    world.actions();
    world.cluster.pooler("pgb2", serving(NODE2, 0));
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
}

#[test]
fn a_later_decision_of_another_agent_is_not_fought() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    let decided = decision(1, NODE1);
    world.settle("pgb1", &decided);
    world.settle("pgb2", &decided);
    world.actions();
    // Behind a partition the other agent sent it back, with a greater number.
    let mut status = serving(NODE2, 2);
    status.file_active = Some(NODE2);
    world.cluster.pooler("pgb2", status);
    assert_eq!(world.actions(), []);
}

#[test]
fn a_later_decision_the_other_way_makes_the_agent_stand_back() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    let mut status = serving(NODE2, 5);
    status.file_active = Some(NODE2);
    world.cluster.pooler("pgb2", status);
    let by = Generation {
        number: 5,
        node_id: NODE1,
    };
    let superseded = Action::Superseded {
        decision: decision(1, NODE1),
        by,
    };
    assert_eq!(world.actions(), [superseded, Action::Release]);
    world.later(60.0);
    assert_eq!(world.actions(), []);
}

#[test]
fn what_a_later_decision_for_the_same_node_left_unfinished_is_finished_under_a_new_number() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    // The other agent decided at the same moment, replaced the file, and is gone.
    let mut unfinished = serving(NODE2, 0);
    unfinished.generation = decision(1, NODE2).generation;
    unfinished.file_active = Some(NODE1);
    world.cluster.pooler("pgb1", unfinished.clone());
    assert_eq!(world.actions(), []);
    let raised = decision(2, NODE1);
    assert_eq!(world.cluster.assignment().decision, Some(raised.clone()));
    world.cluster.pooler("pgb1", unfinished);
    assert_eq!(world.actions(), []);
    let still = world.cluster.assignment().decision;
    assert_eq!(still, Some(raised.clone()), "once is enough");
    world.settle("pgb1", &raised);
    world.settle("pgb2", &raised);
    let report = Action::Report {
        decision: raised,
        complete: true,
        news: true,
    };
    assert_eq!(world.actions()[0], report);
}

#[test]
fn without_another_node_nothing_is_decided_until_one_is_back() {
    let mut world = World::new();
    world.down(NODE1);
    world.actions();
    world.down(NODE2);
    let actions = world.claim(NODE2, ClaimResult::Failed(String::new()));
    assert!(
        actions.contains(&Action::NoCandidate { failed: NODE1 }),
        "{actions:?}"
    );
    assert!(
        actions.contains(&Action::NoCandidate { failed: NODE2 }),
        "{actions:?}"
    );
    world.later(60.0);
    assert_eq!(world.actions(), []);
    world.cluster.node(NODE1, up(), world.now);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
}

#[test]
fn when_the_target_dies_too_its_decision_is_dropped() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    world.down(NODE1);
    let actions = world.actions();
    assert!(actions.contains(&Action::Release), "{actions:?}");
    assert!(!world.cluster.assignment().may_act);
}

#[test]
fn recovery_is_looked_for_by_the_agent_that_stayed_and_later_by_the_returned_ones() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world
        .cluster
        .claimed(NODE1, &ClaimResult::Failed(String::new()), world.now);
    world.cluster.node(NODE2, up(), world.now);
    let actions = world.actions();
    assert!(
        actions.contains(&Action::CheckRecovery {
            node: NODE2,
            on: NODE1
        }),
        "{actions:?}"
    );
    let pending = Recovery::Pending("slot inactive".to_owned());
    world.cluster.recovery(NODE2, &pending, world.now);
    assert_eq!(world.actions(), []);
    world.later(5.0);
    assert_eq!(
        world.actions(),
        [Action::CheckRecovery {
            node: NODE2,
            on: NODE1
        }]
    );
    world
        .cluster
        .recovery(NODE2, &Recovery::Recovered, world.now);
    world.later(60.0);
    assert_eq!(world.actions(), []);

    let mut own = World::new();
    own.down(NODE1);
    own.actions();
    own.cluster.node(NODE1, up(), own.now);
    let soon = own.actions();
    assert!(
        !soon
            .iter()
            .any(|action| matches!(action, Action::CheckRecovery { .. }))
    );
    own.later(10.0);
    let later = own.actions();
    assert!(
        later.contains(&Action::CheckRecovery {
            node: NODE1,
            on: NODE2
        }),
        "{later:?}"
    );
}

#[test]
fn nothing_is_reported_before_every_pgbouncer_was_tried() {
    let mut world = World::new();
    world.cluster.pooler("pgb1", Status::default());
    world.down(NODE2);
    world.actions();
    world.later(1.0);
    world.actions();
    let decided = decision(1, NODE1);
    assert_eq!(
        world.claim(NODE1, ClaimResult::Granted),
        [announce(&decided)]
    );
    world.settle("pgb2", &decided);
    assert_eq!(world.actions(), [], "pgb1 was not looked at yet");
    world.cluster.pooler("pgb1", away());
    let report = Action::Report {
        decision: decided,
        complete: false,
        news: true,
    };
    assert_eq!(world.actions(), [report]);
}

#[test]
fn a_failed_attempt_does_not_count_as_settled() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    let decided = decision(1, NODE1);
    world.settle("pgb1", &decided);
    let mut failed = serving(NODE2, 0);
    failed.outcome = Some(Outcome {
        generation: decided.generation,
        active: NODE1,
        end: End::Failed {
            reason: "disk full".to_owned(),
            file: FileAfter::Unchanged,
        },
        warnings: Vec::new(),
        left_paused: Vec::new(),
        took: Duration::ZERO,
        entries: BTreeMap::new(),
    });
    world.cluster.pooler("pgb2", failed);
    let report = Action::Report {
        decision: decided,
        complete: false,
        news: true,
    };
    assert_eq!(world.actions(), [report]);
}

/// Nothing is left to do about it, so the incident ends; but that it serves would not be true.
#[test]
fn one_whose_entry_points_at_no_node_ends_the_redirect_without_success() {
    let decided = decision(1, NODE1);
    let mut stray = serving(NODE1, 1);
    stray.serves.clear();
    stray.astray = ["app".to_owned()].into();
    let end = |text: String| Outcome {
        generation: decided.generation,
        active: NODE1,
        end: End::Skipped(text),
        warnings: Vec::new(),
        left_paused: Vec::new(),
        took: Duration::ZERO,
        entries: BTreeMap::new(),
    };
    // Whether anything else is moved or not: nobody is told that all is well.
    for other in [NODE2, NODE1] {
        let mut world = World::new();
        world.cluster.pooler("pgb1", serving(other, 0));
        let before = Status {
            generation: Generation::NONE,
            ..stray.clone()
        };
        world.cluster.pooler("pgb2", before);
        world.down(NODE2);
        world.actions();
        let told = world.claim(NODE1, ClaimResult::Granted);
        assert_eq!(told, [announce(&decided)], "{other}");
        let mut status = stray.clone();
        status.settled = Some(decided.generation);
        status.outcome = Some(end(status.serving()));
        world.cluster.pooler("pgb2", status.clone());
        world.settle("pgb1", &decided);
        let report = Action::Report {
            decision: decided.clone(),
            complete: false,
            news: true,
        };
        assert_eq!(world.actions(), [report, Action::Release]);
        let told = report::report(world.cluster.poolers(), &decided);
        let text = "1 of 2 PgBouncers serve node 1; pgb2: left alone: `app` is not there or \
                    points at no node";
        assert_eq!((told.summary.as_str(), told.open), (text, false));

        // It went astray only after it had been found in order.
        status.outcome = Some(end("it serves node 1 already".to_owned()));
        world.cluster.pooler("pgb2", status);
        let told = report::report(world.cluster.poolers(), &decided);
        assert!(told.summary.ends_with("no node"), "{}", told.summary);
    }
}

/// The other agent may be done, and have given its claim back, before this one has looked.
#[test]
fn what_another_agent_has_done_in_a_moment_is_no_event_of_this_one() {
    let decided = decision(1, NODE1);
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    let told = world.claim(NODE1, ClaimResult::Granted);
    assert_eq!(told, [announce(&decided)]);
    for name in ["pgb1", "pgb2"] {
        let mut status = serving(NODE1, 1);
        status.settled = Some(decided.generation);
        status.outcome = Some(Outcome {
            generation: decided.generation,
            active: NODE1,
            end: End::Skipped("it serves node 1 already".to_owned()),
            warnings: Vec::new(),
            left_paused: Vec::new(),
            took: Duration::ZERO,
            entries: BTreeMap::new(),
        });
        world.cluster.pooler(name, status);
    }
    let report = Action::Report {
        decision: decided,
        complete: true,
        news: false,
    };
    assert_eq!(world.actions(), [report, Action::Release]);
}

#[test]
fn one_that_is_out_of_reach_after_its_redirect_is_told_with_what_was_proved() {
    let decided = decision(1, NODE1);
    let mut world = World::new();
    world.settle("pgb1", &decided);
    let mut status = world.cluster.poolers()["pgb1"].clone();
    status.outcome = Some(Outcome {
        generation: decided.generation,
        active: NODE1,
        end: End::Redirected,
        warnings: Vec::new(),
        left_paused: Vec::new(),
        took: Duration::from_millis(20),
        entries: BTreeMap::from([("app".to_owned(), "proved".to_owned())]),
    });
    status.trouble = Some("no answer".to_owned());
    world.cluster.pooler("pgb1", status);
    let told = report::report(world.cluster.poolers(), &decided);
    let text = "; pgb1: redirected `app` (proved) in 20 ms; not reached since (no answer)";
    assert!(told.details.contains(text), "{}", told.details);
}

#[test]
fn a_file_of_an_old_decision_that_is_only_seen_now_is_moved_all_the_same() {
    let mut world = World::new();
    world.cluster.pooler("pgb2", away());
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    // Its host was away since before the failure; its file leads to node 2 by an older decision.
    let mut status = serving(NODE2, 7);
    status.file_active = Some(NODE2);
    world.cluster.pooler("pgb2", status);
    world.actions();
    let topped = world.cluster.assignment().decision;
    assert_eq!(topped, Some(decision(8, NODE1)));
}

#[test]
fn an_agent_that_has_just_started_looks_at_every_pgbouncer_before_it_decides() {
    let mut world = World::new();
    world.cluster.pooler("pgb2", Status::default());
    world.down(NODE2);
    assert_eq!(world.actions(), []);
    world.cluster.pooler("pgb2", serving(NODE2, 3));
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);

    let mut hangs = World::new();
    hangs.cluster.pooler("pgb2", Status::default());
    hangs.down(NODE2);
    assert_eq!(hangs.actions(), []);
    assert_eq!(hangs.cluster.wake_at(), Some(hangs.now + FIRST_LOOK_LIMIT));
    hangs.later(1.0);
    assert_eq!(hangs.actions(), [Action::Claim { on: NODE1 }]);
}

#[test]
fn an_entry_that_was_edited_to_the_dead_node_under_our_header_is_moved_again() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    let decided = decision(1, NODE1);
    world.settle("pgb1", &decided);
    world.settle("pgb2", &decided);
    world.actions();
    let mut status = serving(NODE2, 1);
    status.file_active = Some(NODE1);
    world.cluster.pooler("pgb2", status);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
}

fn pause(scope: Scope, change: i64, paused: bool) -> Pause {
    Pause {
        scope,
        paused,
        change,
        changed_at: "2026-11-23 10:00:00+00".to_owned(),
        changed_by: "alice@db1".to_owned(),
        reason: None,
    }
}

fn paused(failed: NodeId, pause: &Pause) -> Action {
    let pause = pause.clone();
    Action::Paused { failed, pause }
}

#[test]
fn while_failover_is_paused_nothing_is_decided_and_at_its_end_at_once() {
    let mut world = World::new();
    let begin = pause(Scope::Cluster, 1, true);
    assert_eq!(
        world.cluster.pauses_read(std::slice::from_ref(&begin)),
        std::slice::from_ref(&begin)
    );
    assert_eq!(world.actions(), []);
    world.down(NODE2);
    assert_eq!(world.actions(), [paused(NODE2, &begin)]);
    world.later(3600.0);
    assert_eq!(world.actions(), [], "said once, and nothing done");
    assert_eq!(world.cluster.wake_at(), None, "nothing to wake up for");
    assert!(!world.cluster.assignment().may_act);

    world
        .cluster
        .pauses_read(&[pause(Scope::Cluster, 2, false)]);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    let decided = decision(1, NODE1);
    assert_eq!(
        world.claim(NODE1, ClaimResult::Granted),
        [announce(&decided)]
    );
}

#[test]
fn a_pause_that_is_only_read_when_the_claim_is_granted_holds_and_the_claim_is_given_back() {
    let mut world = World::new();
    world.down(NODE2);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    let begin = pause(Scope::Node(NODE2), 1, true);
    world.cluster.pauses_read(std::slice::from_ref(&begin));
    let actions = world.claim(NODE1, ClaimResult::Granted);
    assert_eq!(actions, [paused(NODE2, &begin), Action::Release]);
    assert!(!world.cluster.assignment().may_act);
    world.later(60.0);
    assert_eq!(world.actions(), []);
    world
        .cluster
        .pauses_read(&[pause(Scope::Node(NODE2), 2, false)]);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
}

#[test]
fn a_pause_for_one_node_holds_back_no_other() {
    let mut world = World::new();
    world
        .cluster
        .pauses_read(&[pause(Scope::Node(NODE1), 1, true)]);
    world.down(NODE2);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
}

#[test]
fn what_was_decided_before_the_pause_is_brought_to_its_end() {
    let begin = [pause(Scope::Cluster, 1, true)];
    let decided = decision(1, NODE1);
    // By this agent, and its session is lost in between.
    let mut own = World::new();
    own.down(NODE2);
    own.actions();
    own.claim(NODE1, ClaimResult::Granted);
    own.cluster.pauses_read(&begin);
    assert!(own.cluster.assignment().may_act);
    own.cluster.claim_lost(own.now);
    assert_eq!(own.actions(), [Action::Claim { on: NODE1 }]);
    own.claim(NODE1, ClaimResult::Granted);
    assert!(own.cluster.assignment().may_act);

    // By the other, which is gone when it has moved one of two.
    let mut other = World::new();
    other.down(NODE2);
    other.actions();
    other.claim(NODE1, ClaimResult::Held);
    other.cluster.pauses_read(&begin);
    other.later(0.5);
    assert_eq!(other.actions(), [paused(NODE2, &begin[0])]);
    other.settle("pgb1", &decided);
    assert_eq!(other.actions(), [Action::Claim { on: NODE1 }]);
    // One more look at what the other did last.
    other.claim(NODE1, ClaimResult::Granted);
    other.later(0.5);
    assert_eq!(other.actions(), [Action::Claim { on: NODE1 }]);
    other.claim(NODE1, ClaimResult::Granted);
    assert!(other.cluster.assignment().may_act);
}

#[test]
fn a_node_that_returns_during_a_pause_is_left_alone() {
    let mut world = World::new();
    world.cluster.pauses_read(&[pause(Scope::Cluster, 1, true)]);
    world.down(NODE2);
    world.actions();
    world.cluster.node(NODE2, up(), world.now);
    let actions = world.actions();
    assert_eq!(actions[0], Action::Reappeared { node: NODE2 });
    world
        .cluster
        .pauses_read(&[pause(Scope::Cluster, 2, false)]);
    let later = world.actions();
    assert!(
        !later.contains(&Action::Claim { on: NODE1 }),
        "nothing is made up for: {later:?}"
    );
}

#[test]
fn that_no_node_is_left_is_said_during_a_pause_too() {
    let mut world = World::new();
    let begin = pause(Scope::Cluster, 1, true);
    world.cluster.pauses_read(std::slice::from_ref(&begin));
    world.down(NODE2);
    world.actions();
    world.down(NODE1);
    let actions = world.actions();
    for failed in [NODE1, NODE2] {
        assert!(
            actions.contains(&Action::NoCandidate { failed }),
            "{actions:?}"
        );
    }
    world.cluster.node(NODE1, up(), world.now);
    assert_eq!(world.actions()[0], paused(NODE2, &begin));
}

/// The original announces nothing, and traffic goes on to the dead one.
#[test]
fn fault_7_a_node_that_returns_alone_is_used_although_it_had_failed() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    let first = decision(1, NODE1);
    world.settle("pgb1", &first);
    world.settle("pgb2", &first);
    world.actions();
    world.later(60.0);
    world.down(NODE1);
    assert_eq!(world.actions(), [Action::NoCandidate { failed: NODE1 }]);
    assert_eq!(world.cluster.degraded(), [NODE1, NODE2]);

    world.later(60.0);
    world.cluster.node(NODE2, up(), world.now);
    assert_eq!(world.actions(), [Action::Claim { on: NODE2 }]);
    let second = Decision {
        generation: first.generation.next(NODE2),
        failed: NODE1,
        active: NODE2,
        fault: Fault::Crash,
    };
    assert_eq!(
        world.claim(NODE2, ClaimResult::Granted),
        [announce(&second)]
    );
    assert_eq!(world.cluster.degraded(), [NODE1], "the used one is active");
    world.settle("pgb1", &second);
    world.settle("pgb2", &second);
    world.actions();

    // The one that returns has an old table: what it says of the other one is not believed.
    world.later(60.0);
    world.cluster.node(NODE1, up(), world.now);
    assert!(!world.cluster.row_inactive(NODE2, NODE1, world.now));
    world.later(10.0);
    let check = Action::CheckRecovery {
        node: NODE1,
        on: NODE2,
    };
    assert_eq!(world.actions(), [check]);
    world
        .cluster
        .recovery(NODE1, &Recovery::Recovered, world.now);
    assert_eq!(world.cluster.degraded(), []);
    world.later(60.0);
    assert_eq!(world.actions(), []);
}

/// At which seconds it is said that a returned node does not replicate.
fn warnings(timeout: u64, until: u64) -> Vec<u64> {
    let mut world = World::new();
    let settings = Monitoring {
        recovery_timeout: Duration::from_secs(timeout),
        ..SETTINGS
    };
    world.cluster = Cluster::new(NODE1, [NODE1, NODE2], [], settings);
    world.cluster.node(NODE1, up(), world.now);
    world.cluster.node(NODE2, up(), world.now);
    world.cluster.row_inactive(NODE2, NODE1, world.now);
    let mut said = Vec::new();
    for second in 0..until {
        for action in world.actions() {
            if let Action::NotReplicating { waited, .. } = action {
                assert_eq!(waited.as_secs(), second);
                said.push(second);
                continue;
            }
            let check = Action::CheckRecovery {
                node: NODE2,
                on: NODE1,
            };
            assert_eq!(action, check);
            let pending = Recovery::Pending("no slot".to_owned());
            world.cluster.recovery(NODE2, &pending, world.now);
        }
        world.later(1.0);
    }
    said
}

#[test]
fn a_recovery_that_does_not_come_is_told_once_in_each_timeout() {
    assert_eq!(warnings(30, 100), [30, 60, 90]);
    assert_eq!(warnings(0, 100), [1], "without a timeout, once");
}

/// The original keeps the number in a `bool`.
#[test]
fn fault_17_a_recovery_timeout_of_300_is_300_seconds() {
    assert_eq!(warnings(300, 700), [300, 600]);
    assert_eq!(warnings(128, 300), [128, 256]);
    assert_eq!(warnings(256, 300), [256]);
}

#[test]
fn a_node_that_replicates_again_is_not_told_of_any_more() {
    let mut world = World::new();
    world.cluster.row_inactive(NODE2, NODE1, world.now);
    let check = Action::CheckRecovery {
        node: NODE2,
        on: NODE1,
    };
    assert_eq!(world.actions(), [check]);
    let pending = Recovery::Pending("no slot".to_owned());
    world.cluster.recovery(NODE2, &pending, world.now);
    assert_eq!(world.cluster.returned_at(NODE2), Some(world.now));
    world
        .cluster
        .recovery(NODE2, &Recovery::Recovered, world.now);
    assert_eq!(world.cluster.returned_at(NODE2), None);
    world.later(3600.0);
    assert_eq!(world.actions(), []);
}

#[test]
fn an_agent_that_starts_while_the_other_node_is_down_waits_for_the_first_look_at_its_own() {
    let mut world = World::new();
    world.cluster = Cluster::new(NODE1, [NODE1, NODE2], [], SETTINGS);
    world.down(NODE2);
    assert_eq!(world.actions(), [], "its own node was not looked at yet");
    world.cluster.node(NODE1, up(), world.now);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    assert!(
        !world.cluster.row_inactive(NODE2, NODE1, world.now),
        "no news"
    );
    let decided = decision(1, NODE1);
    let announced = world.claim(NODE1, ClaimResult::Granted);
    assert_eq!(announced[0], announce(&decided));
    assert_eq!(world.cluster.degraded(), [NODE2]);
}

#[test]
fn with_local_monitoring_only_the_other_node_is_looked_at_when_it_is_needed() {
    let local_only = Monitoring {
        local_only: true,
        ..SETTINGS
    };
    let poolers = ["pgb1".to_owned()];
    // (what is seen, whether the other node is to be probed, what is done)
    let mut world = World::new();
    world.cluster = Cluster::new(NODE1, [NODE1, NODE2], poolers, local_only);
    world.cluster.pooler("pgb1", serving(NODE1, 0));
    let unknown = |world: &mut World, node| world.cluster.node(node, Health::Unknown, world.now);
    assert!(!world.cluster.probes_peer(), "nothing is known yet");
    world.cluster.node(NODE1, up(), world.now);
    unknown(&mut world, NODE2);
    assert!(!world.cluster.probes_peer());
    assert_eq!(world.actions(), []);
    let suspect = Health::Suspect {
        attempt: 0,
        reason: String::new(),
    };
    world.cluster.node(NODE1, suspect, world.now);
    assert!(world.cluster.probes_peer());
    world.down(NODE1);
    assert_eq!(world.actions(), [], "the other one was not looked at yet");
    world.cluster.node(NODE2, up(), world.now);
    assert_eq!(world.actions(), [Action::Claim { on: NODE2 }]);
    let announced = world.claim(NODE2, ClaimResult::Granted);
    let Some(Action::Announce { decision, .. }) = announced.first() else {
        panic!("{announced:?}")
    };
    assert_eq!([decision.failed, decision.active], [NODE1, NODE2]);
    world.settle("pgb1", decision);
    world.actions();

    world.cluster.node(NODE1, up(), world.now);
    assert!(world.cluster.probes_peer(), "for the recovery");
    world.later(10.0);
    let check = Action::CheckRecovery {
        node: NODE1,
        on: NODE2,
    };
    assert_eq!(world.actions(), [check]);
    world
        .cluster
        .recovery(NODE1, &Recovery::Recovered, world.now);
    assert!(!world.cluster.probes_peer());
    unknown(&mut world, NODE2);

    // Whatever is heard of the other one is its own agent's affair.
    world.down(NODE2);
    assert_eq!(world.actions(), []);
    assert_eq!(world.cluster.degraded(), []);
}

#[test]
fn in_each_state_of_two_nodes_the_agent_of_node_1_does_this() {
    let down = |world: &mut World, node| world.down(node);
    let suspect = |world: &mut World, node| {
        let suspect = Health::Suspect {
            attempt: 1,
            reason: String::new(),
        };
        world.cluster.node(node, suspect, world.now);
    };
    let answers = |world: &mut World, node| world.cluster.node(node, up(), world.now);
    let refuses = |world: &mut World, node| {
        let reason = String::new();
        world
            .cluster
            .node(node, Health::Refusing { reason }, world.now);
    };
    type Seen<'a> = &'a dyn Fn(&mut World, NodeId);
    let claim = |on| Some(Action::Claim { on });
    let cases: [(&str, Seen<'_>, Seen<'_>, Option<Action>); 8] = [
        ("all is well", &answers, &answers, None),
        ("a flap", &answers, &suspect, None),
        ("node 2 fails", &answers, &down, claim(NODE1)),
        ("node 1 fails", &down, &answers, claim(NODE2)),
        ("node 2 fails, node 1 is in doubt", &suspect, &down, {
            Some(Action::NoCandidate { failed: NODE2 })
        }),
        ("node 2 fails, node 1 refuses us", &refuses, &down, {
            Some(Action::NoCandidate { failed: NODE2 })
        }),
        ("both fail", &down, &down, {
            Some(Action::NoCandidate { failed: NODE1 })
        }),
        ("both in doubt", &suspect, &suspect, None),
    ];
    for (what, node1, node2, expected) in cases {
        let mut world = World::new();
        node1(&mut world, NODE1);
        node2(&mut world, NODE2);
        assert_eq!(world.actions().into_iter().next(), expected, "{what}");
    }
}

#[test]
fn a_node_that_fails_again_while_a_pgbouncer_is_still_missing_is_announced_again() {
    let mut world = World::new();
    world.cluster.pooler("pgb2", away());
    world.down(NODE2);
    world.actions();
    let decided = decision(1, NODE1);
    world.claim(NODE1, ClaimResult::Granted);
    world.settle("pgb1", &decided);
    world.actions();
    world.cluster.node(NODE2, up(), world.now);
    world.actions();
    world
        .cluster
        .recovery(NODE2, &Recovery::Recovered, world.now);
    world.later(60.0);
    world.down(NODE2);
    let report = Action::Report {
        decision: decided.clone(),
        complete: false,
        news: true,
    };
    assert_eq!(world.actions(), [announce(&decided), report]);
    world.down(NODE2);
    assert_eq!(world.actions(), []);
}

#[test]
fn a_look_that_cannot_be_taken_yet_keeps_nobody_awake() {
    // Started while the other node is down, which its row on the own node says, too.
    let mut world = World::new();
    let names = ["pgb1".to_owned()];
    world.cluster = Cluster::new(NODE1, [NODE1, NODE2], names, SETTINGS);
    world.cluster.node(NODE1, up(), world.now);
    world.cluster.row_inactive(NODE2, NODE1, world.now);
    assert_eq!(world.actions(), []);
    assert_eq!(
        world.cluster.wake_at(),
        None,
        "the other node is not known yet"
    );
    // It came back, and fails once more before it has recovered.
    world.cluster.node(NODE2, up(), world.now);
    let check = Action::CheckRecovery {
        node: NODE2,
        on: NODE1,
    };
    assert_eq!(world.actions(), [check]);
    let pending = Recovery::Pending("no slot".to_owned());
    world.cluster.recovery(NODE2, &pending, world.now);
    assert!(world.cluster.wake_at().is_some());
    world.later(5.0);
    let suspect = Health::Suspect {
        attempt: 0,
        reason: String::new(),
    };
    world.cluster.node(NODE2, suspect, world.now);
    assert_eq!(world.actions(), []);
    let at = world.cluster.wake_at();
    assert!(
        at.is_none_or(|at| at > world.now),
        "only to say that it lasts"
    );
}

#[test]
fn a_pause_does_not_take_back_a_claim_that_is_being_asked_for() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Held);
    world.later(0.5);
    world.actions();
    // Granted once, to be asked for again after one more look: then comes the pause.
    world.claim(NODE1, ClaimResult::Granted);
    world.later(0.4);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    let begin = pause(Scope::Cluster, 1, true);
    world.cluster.pauses_read(std::slice::from_ref(&begin));
    assert_eq!(world.actions(), [], "or no answer would ever come");
    let answered = world.claim(NODE1, ClaimResult::Granted);
    assert_eq!(answered, [paused(NODE2, &begin), Action::Release]);
    let end = pause(Scope::Cluster, 2, false);
    world.cluster.pauses_read(&[end]);
    world.later(0.5);
    assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
}

#[test]
fn a_failed_attempt_at_the_claim_does_not_save_the_look_at_what_its_holder_did() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Held);
    world.later(0.5);
    world.actions();
    world.claim(NODE1, ClaimResult::Failed("no answer".to_owned()));
    world.later(0.5);
    world.actions();
    let granted = world.claim(NODE1, ClaimResult::Granted);
    assert_eq!(granted, [], "not before one more look at the PgBouncers");
}

#[test]
fn a_node_that_fails_again_in_a_pause_is_left_alone_although_its_first_failure_is_not_finished() {
    let mut world = World::new();
    world.cluster.pooler("pgb2", away());
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    world.settle("pgb1", &decision(1, NODE1));
    world.actions();
    world.cluster.node(NODE2, up(), world.now);
    world.actions();
    let begin = pause(Scope::Cluster, 1, true);
    world.cluster.pauses_read(std::slice::from_ref(&begin));
    assert!(world.cluster.assignment().may_act, "the first goes on");
    world.down(NODE2);
    assert!(!world.cluster.assignment().may_act);
    assert_eq!(world.actions(), [paused(NODE2, &begin), Action::Release]);
}

/// Each decision that is foreseen: number, failed node, active node.
fn foreseen(cluster: &Cluster) -> Vec<(u64, NodeId, NodeId)> {
    let foreseen = cluster.assignment().foreseen.into_iter();
    let short = |d: Decision| (d.generation.number, d.failed, d.active);
    foreseen.map(short).collect()
}

#[test]
fn a_decision_is_foreseen_with_the_number_that_it_then_gets() {
    let mut world = World::new();
    world.cluster.pooler("pgb2", serving(NODE2, 41));
    let told = foreseen(&world.cluster);
    assert_eq!(told, [(42, NODE1, NODE2), (42, NODE2, NODE1)]);
    let of_node2 = world.cluster.assignment().foreseen[1].clone();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    assert_eq!(world.cluster.assignment().decision, Some(of_node2));
}

#[test]
fn nothing_is_foreseen_before_every_pgbouncer_was_looked_at_nor_towards_a_node_in_trouble() {
    let now = Instant::now();
    let poolers = ["pgb1".to_owned(), "pgb2".to_owned()];
    let mut cluster = Cluster::new(NODE1, [NODE1, NODE2], poolers, SETTINGS);
    cluster.pooler("pgb1", serving(NODE2, 0));
    assert_eq!(foreseen(&cluster), []);
    cluster.pooler("pgb2", away());
    let both = [(1, NODE1, NODE2), (1, NODE2, NODE1)];
    assert_eq!(foreseen(&cluster), both, "a node that nobody asked yet");
    cluster.node(
        NODE2,
        Health::Down {
            fault: Fault::Crash,
            reason: String::new(),
            since: now,
        },
        now,
    );
    assert_eq!(foreseen(&cluster), [(1, NODE2, NODE1)]);
}

#[test]
fn with_local_monitoring_only_the_other_nodes_failure_is_not_foreseen() {
    let settings = Monitoring {
        local_only: true,
        ..SETTINGS
    };
    let mut cluster = Cluster::new(NODE1, [NODE1, NODE2], ["pgb1".to_owned()], settings);
    cluster.pooler("pgb1", serving(NODE1, 0));
    assert_eq!(foreseen(&cluster), [(1, NODE1, NODE2)]);
}

#[test]
fn no_node_is_left_when_all_are_down_and_that_is_not_acted_upon_in_a_pause() {
    let mut world = World::new();
    let told = |world: &World| {
        let Assignment {
            none_left, alive, ..
        } = world.cluster.assignment();
        (none_left, alive.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(told(&world), (false, vec![NODE1, NODE2]));
    world.down(NODE2);
    assert_eq!(told(&world), (false, vec![NODE1]));
    let refusing = Health::Refusing {
        reason: String::new(),
    };
    world.cluster.node(NODE1, refusing, world.now);
    assert_eq!(
        told(&world),
        (false, vec![NODE1]),
        "its clients may be fine"
    );
    world.down(NODE1);
    assert_eq!(told(&world), (true, vec![]));
    world.cluster.pauses_read(&[pause(Scope::Cluster, 1, true)]);
    assert_eq!(told(&world), (false, vec![]));
    let unknown = Cluster::new(NODE1, [NODE1, NODE2], [], SETTINGS);
    assert!(!unknown.assignment().none_left);
}

#[test]
fn only_a_decision_that_is_news_is_written_where_nothing_is_moved() {
    let mut world = World::new();
    world.down(NODE2);
    world.actions();
    world.claim(NODE1, ClaimResult::Granted);
    assert!(world.cluster.assignment().stamps);
    let mut world = World::new();
    world.cluster.pooler("pgb1", serving(NODE1, 3));
    world.cluster.pooler("pgb2", serving(NODE1, 3));
    world.down(NODE2);
    world.actions();
    world
        .cluster
        .claimed(NODE1, &ClaimResult::Granted, world.now);
    let assignment = world.cluster.assignment();
    assert!(assignment.may_act && !assignment.stamps);
}
