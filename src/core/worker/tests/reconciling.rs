//! What differs from what was decided, and what becomes of it.

use super::*;
use crate::config::Drift;
use crate::core::worker::drift::differences;
use crate::core::worker::reconciling::LASTING;

/// The second decision leads to node 1.
const IN_FORCE: InForce = InForce {
    generation: Generation {
        number: 2,
        node_id: NODE1,
    },
    active: NODE1,
};

fn routing() -> Routing {
    World::new().worker.routing().clone()
}

/// One whose file is of `number` and `untouched`, with entries at `node`.
fn found(node: NodeId, number: u64, untouched: Option<bool>) -> Observation {
    let mut observation = at(node, number);
    observation.file.untouched = untouched;
    observation
}

fn told(observation: &Observation, in_force: Option<InForce>) -> Vec<String> {
    let differences = differences(observation, &routing(), in_force, false);
    differences.iter().map(ToString::to_string).collect()
}

/// The table of what is put right, what is told, and what is left.
#[test]
fn only_an_untouched_file_of_an_older_decision_is_known_to_have_lost_a_later_one() {
    #[derive(Debug, PartialEq)]
    enum Verdict {
        Agrees,
        PutRight,
        Told,
    }
    use Verdict::{Agrees, PutRight, Told};
    let ours = Some(true);
    for (what, node, number, untouched, expected) in [
        ("redirected", NODE1, 2, ours, Agrees),
        (
            "served the node already, and kept its file",
            NODE1,
            1,
            ours,
            Agrees,
        ),
        ("the same, and its file is nobody's", NODE1, 0, None, Agrees),
        (
            "was down during the decision, or restored",
            NODE2,
            1,
            ours,
            PutRight,
        ),
        (
            "went home by hand, in our file",
            NODE2,
            2,
            Some(false),
            Told,
        ),
        ("went home with a file of its own", NODE2, 0, None, Told),
        (
            "went home with `render --full`, of generation 0",
            NODE2,
            0,
            ours,
            Told,
        ),
        (
            "served the node already, and went home later",
            NODE2,
            1,
            Some(false),
            Told,
        ),
        (
            "an entry that the decision did not concern",
            NODE2,
            2,
            ours,
            Agrees,
        ),
        ("a newer decision, not heard of yet", NODE2, 3, ours, Agrees),
    ] {
        let observation = found(node, number, untouched);
        let all = differences(&observation, &routing(), Some(IN_FORCE), false);
        let verdict = match all.first() {
            None => Agrees,
            Some(one) if one.outdated() == Some(node) => PutRight,
            Some(_) => Told,
        };
        assert_eq!(verdict, expected, "{what}");
        // In a fleet that nobody ever decided on, each is where it was put: at its home.
        let none = differences(&observation, &routing(), None, false);
        assert_eq!(none, [], "{what}");
    }
}

#[test]
fn where_witnesses_remember_what_was_decided_no_number_in_a_file_keeps_it_from_being_put_right() {
    for (number, untouched, put_right) in [
        (1, true, true),
        (2, true, true),
        (9, true, true),
        (2, false, false),
        (9, false, false),
    ] {
        let observation = found(NODE2, number, Some(untouched));
        let all = differences(&observation, &routing(), Some(IN_FORCE), true);
        let outdated = all.first().and_then(Difference::outdated);
        assert_eq!(outdated.is_some(), put_right, "{number} {untouched}");
        assert!(!all.is_empty(), "what an operator did is told");
    }
}

#[test]
fn each_difference_is_one_sentence() {
    let with = |change: fn(&mut Observation)| {
        let mut observation = at(NODE1, 2);
        change(&mut observation);
        told(&observation, Some(IN_FORCE))
    };
    assert_eq!(
        told(&found(NODE2, 1, Some(true)), Some(IN_FORCE)),
        ["it serves node 2 by its file of decision 1.1, but decision 2.1 leads to node 1"]
    );
    assert_eq!(
        told(&found(NODE2, 2, Some(false)), Some(IN_FORCE)),
        [
            "it serves node 2, but decision 2.1 leads to node 1; its file was edited since it was \
          written, so it is left alone"
        ]
    );
    assert_eq!(
        told(&found(NODE2, 0, None), Some(IN_FORCE)),
        [
            "it serves node 2, but decision 2.1 leads to node 1; no decision is in its file, so it \
          is left alone"
        ]
    );
    assert_eq!(
        with(|it| it.file.entries = Some(BTreeMap::new())),
        ["`app` is not as in its file: RELOAD it, or look whether PgBouncer reads that file"]
    );
    assert_eq!(
        with(|it| it.processes[0].entries.clear()),
        [
            "`app` is not there or points at no node; is the file taken in with %include, and was \
          PgBouncer reloaded?"
        ]
    );
    assert_eq!(
        with(|it| it.processes[0]
            .entries
            .values_mut()
            .for_each(|e| e.paused = true)),
        ["`app` is paused, but not by repoint; RESUME ends it"]
    );
    assert_eq!(
        with(|it| it.processes[0]
            .entries
            .values_mut()
            .for_each(|e| e.disabled = true)),
        ["`app` is disabled, but not by repoint; ENABLE ends it"]
    );
    assert_eq!(
        with(|it| it.file.entries = None),
        [""; 0],
        "unreadable for us"
    );
    let ours = with_operation(paused(at(NODE1, 2)), false);
    assert_eq!(told(&ours, Some(IN_FORCE)), [""; 0], "our own pause");
}

#[test]
fn a_restored_file_that_was_not_loaded_moves_nothing_and_proves_nothing() {
    // The console still has node 1; the file leads to node 2.
    let mut observation = found(NODE1, 1, Some(true));
    observation.file.entries = at(NODE2, 1).file.entries;
    let sentence =
        ["`app` is not as in its file: RELOAD it, or look whether PgBouncer reads that file"];
    assert_eq!(told(&observation, Some(IN_FORCE)), sentence);
    // PgBouncer reads another file, which leads to node 2; ours leads to node 1.
    let mut observation = found(NODE2, 1, Some(true));
    observation.file.entries = at(NODE1, 2).file.entries;
    assert_eq!(told(&observation, Some(IN_FORCE)), sentence);
}

fn quiet(repairs: bool) -> Assignment {
    let reconciling = Reconciling {
        interval: Duration::from_secs(30),
        drift: Drift::Repair,
        in_force: Some(IN_FORCE),
        repairs,
    };
    Assignment {
        reconciling: Some(reconciling),
        ..Assignment::default()
    }
}

fn outdated() -> Observation {
    at(NODE2, 1)
}

impl World {
    fn reconciled(observation: Observation) -> Self {
        let mut world = Self::seen(observation.clone());
        world.worker.assign(quiet(false), world.now);
        assert_eq!(
            world.next(),
            Do::Look { file: true },
            "what is in force is news"
        );
        world.worker.observed(observation, true, world.now);
        world
    }

    /// Goes on for `length`, with what is seen in each look.
    fn goes_on(&mut self, length: Duration, observation: &Observation) {
        let end = self.now + length;
        while self.now <= end {
            self.takes_a_look_or_waits(observation);
        }
    }

    fn takes_a_look_or_waits(&mut self, observation: &Observation) {
        let next = self.next();
        if let Do::Look { file } = next {
            let now = self.now;
            self.worker.observed(observation.clone(), file, now);
        } else if let Do::Wait(until) = next {
            self.now = until;
        } else {
            panic!("{next:?}");
        }
    }

    fn differs(&self) -> usize {
        self.worker.status().differs.len()
    }
}

#[test]
fn what_differs_for_a_moment_is_not_told() {
    let mut world = World::reconciled(outdated());
    assert_eq!(world.differs(), 0);
    world.goes_on(LASTING / 2, &outdated());
    assert_eq!(world.differs(), 0);
    let mut mended = world.worker.clone();
    mended.observed(at(NODE1, 2), true, world.now);
    assert_eq!(mended.status().differs, []);
    world.goes_on(LASTING, &outdated());
    assert_eq!(world.differs(), 1);
    world.worker.observed(at(NODE1, 2), true, world.now);
    assert_eq!(world.differs(), 0);
}

#[test]
fn it_is_put_right_with_the_claim_and_after_a_fresh_look_at_the_file() {
    let mut world = World::reconciled(outdated());
    world.goes_on(2 * LASTING, &outdated());
    assert!(!world.moves(), "not without the claim");
    world.worker.assign(quiet(true), world.now);
    assert_eq!(world.next(), Do::Look { file: true });
    let mut another_did_it = world.worker.clone();
    another_did_it.observed(at(NODE1, 2), true, world.now);
    assert!(matches!(another_did_it.next(world.now), Do::Wait(_)));
    world.worker.observed(outdated(), true, world.now);
    let Do::Redirect {
        decision, moves, ..
    } = world.next()
    else {
        panic!("{:?}", world.next())
    };
    let generation = IN_FORCE.generation;
    assert_eq!((decision.generation, decision.failed), (generation, NODE2));
    assert_eq!(decision.active, NODE1);
    assert_eq!(moves, BTreeSet::from(["app".to_owned()]));
    let outcome = world.outcome(End::Redirected);
    world.worker.redirected(outcome, None, 0.5, world.now);
    world.worker.observed(at(NODE1, 2), true, world.now);
    assert_eq!(world.differs(), 0);
    assert!(matches!(world.next(), Do::Wait(_)));
}

#[test]
fn what_an_operator_did_is_never_moved() {
    for will in [found(NODE2, 2, Some(false)), found(NODE2, 0, None)] {
        let mut world = World::reconciled(will.clone());
        world.goes_on(2 * LASTING, &will);
        world.worker.assign(quiet(true), world.now);
        world.worker.observed(will.clone(), true, world.now);
        assert_eq!(world.differs(), 1);
        world.goes_on(Duration::from_secs(60), &will);
    }
}

#[test]
fn what_somebody_has_paused_is_not_touched_before_that_is_over() {
    let mut world = World::reconciled(paused(outdated()));
    world.goes_on(2 * LASTING, &paused(outdated()));
    assert_eq!(world.differs(), 2);
    world.worker.assign(quiet(true), world.now);
    world.worker.observed(paused(outdated()), true, world.now);
    assert!(!world.moves());
    world.worker.observed(outdated(), true, world.now);
    assert!(world.moves());
}

#[test]
fn nothing_is_compared_in_a_failover_or_while_another_agent_is_at_work() {
    let mut failover = World::reconciled(outdated());
    let acting = Assignment {
        may_act: false,
        ..acting(decision(3))
    };
    failover.worker.assign(acting, failover.now);
    failover.goes_on(2 * LASTING, &outdated());
    assert_eq!(failover.differs(), 0);

    let at_work = with_operation(paused(outdated()), false);
    let mut world = World::reconciled(at_work.clone());
    world.goes_on(2 * LASTING, &at_work);
    assert_eq!(world.differs(), 0);
}

#[test]
fn when_a_decision_has_been_seen_through_the_file_is_read_at_once() {
    let mut world = World::reconciled(at(NODE1, 2));
    world.assign(acting(decision(3)), at(NODE1, 3));
    world.worker.assign(quiet(false), world.now);
    assert_eq!(world.next(), Do::Look { file: true });
}

#[test]
fn what_is_undone_three_times_within_ten_minutes_is_left_until_the_next_decision() {
    let mut world = World::reconciled(at(NODE1, 2));
    for undone in 0..5 {
        world.worker.observed(outdated(), true, world.now);
        world.goes_on(LASTING, &outdated());
        assert_eq!(world.differs(), 1);
        let given_up = world.worker.status().given_up;
        assert_eq!(given_up, undone >= 3, "undone {undone} times");
        world.worker.assign(quiet(true), world.now);
        world.worker.observed(outdated(), true, world.now);
        assert_eq!(world.moves(), !given_up);
        world.worker.assign(quiet(false), world.now);
        world.worker.observed(at(NODE1, 2), true, world.now);
        world.now += Duration::from_secs(60);
    }
    let mut next = quiet(true);
    let later = InForce {
        generation: generation(3),
        ..IN_FORCE
    };
    next.reconciling.as_mut().unwrap().in_force = Some(later);
    world.worker.assign(next, world.now);
    world.worker.observed(outdated(), true, world.now);
    assert!(!world.worker.status().given_up);
}

#[test]
fn what_is_undone_now_and_then_is_put_right_each_time() {
    let mut world = World::reconciled(at(NODE1, 2));
    for _ in 0..9 {
        world.worker.observed(outdated(), true, world.now);
        world.goes_on(LASTING, &outdated());
        assert!(!world.worker.status().given_up);
        world.worker.observed(at(NODE1, 2), true, world.now);
        world.now += Duration::from_secs(201);
    }
}

#[test]
fn an_attempt_that_failed_is_repeated_without_haste() {
    let mut world = World::reconciled(outdated());
    world.goes_on(2 * LASTING, &outdated());
    world.worker.assign(quiet(true), world.now);
    world.worker.observed(outdated(), true, world.now);
    let failed = End::Failed {
        reason: "disk full".to_owned(),
        file: FileAfter::Unchanged,
    };
    for _ in 0..9 {
        assert!(world.moves());
        let outcome = world.outcome(failed.clone());
        world.worker.redirected(outcome, None, 1.0, world.now);
        assert_eq!(world.worker.status().outcome, None, "it was not decided");
        world.worker.observed(outdated(), true, world.now);
        let begun = world.now;
        while !world.moves() {
            world.takes_a_look_or_waits(&outdated());
        }
        let waited = world.now.duration_since(begun);
        assert!(waited >= Duration::from_millis(600), "{waited:?}");
        assert!(waited <= Duration::from_secs(30), "{waited:?}");
    }
}

#[test]
fn what_is_settled_is_compared_and_put_right_while_another_pgbouncer_is_waited_for() {
    let seen = |world: &mut World, observation: &Observation| {
        world.worker.observed(observation.clone(), true, world.now);
        world.now += LASTING;
        world.worker.observed(observation.clone(), true, world.now);
    };
    let told = |repairs| Assignment {
        insist: false,
        busy: false,
        reconciling: Some(Reconciling {
            interval: Duration::from_secs(30),
            drift: Drift::Repair,
            in_force: Some(IN_FORCE),
            repairs,
        }),
        ..acting(decision(2))
    };
    let mut world = World::seen(found(NODE1, 2, Some(true)));
    world.worker.assign(told(false), world.now);
    seen(&mut world, &found(NODE1, 2, Some(true)));
    assert_eq!(world.worker.status().settled, Some(generation(2)));
    let restored = found(NODE2, 1, Some(true));
    seen(&mut world, &restored);
    assert_eq!(world.worker.status().differs.len(), 1);
    assert!(matches!(world.next(), Do::Wait(_)), "not without the claim");
    world.worker.assign(told(true), world.now);
    seen(&mut world, &restored);
    assert!(matches!(world.next(), Do::Redirect { .. }));
}
