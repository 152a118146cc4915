use super::*;
use crate::core::debt::{Debt, Settings};
use crate::core::pooler::LOGIN_RETRY;
use crate::core::worker::early::{self, allowed};

const LIMIT: Duration = Duration::from_secs(10);

fn suspecting(node: Option<NodeId>) -> Assignment {
    Assignment {
        busy: node.is_some(),
        suspect: node,
        ..Assignment::default()
    }
}

/// A PgBouncer that serves node 2, where clients may be paused on suspicion.
fn world() -> World {
    let mut world = World::seen(at(NODE2, 0));
    world.worker.allow_early_pause(Some(LIMIT));
    world
}

fn app() -> BTreeSet<String> {
    ["app".to_owned()].into()
}

fn pause_early() -> Do {
    Do::PauseEarly {
        node: NODE2,
        databases: app(),
        limit: LIMIT,
    }
}

fn end(why: EarlyEnd) -> Do {
    Do::EndEarlyPause {
        token: "1-1-1-0".to_owned(),
        databases: app(),
        why,
    }
}

/// As [`world`], with the pause begun and seen.
fn holding() -> World {
    let mut world = world();
    world.worker.assign(suspecting(Some(NODE2)), world.now);
    assert_eq!(world.next(), pause_early());
    let (token, until) = (Some("1-1-1-0".to_owned()), world.now + LIMIT);
    world.worker.paused_early(token, NODE2, app(), until);
    world.see_pause();
    world
}

impl World {
    fn see_pause(&mut self) {
        let mut seen = with_operation(paused(at(NODE2, 0)), false);
        if let Some(operation) = &mut seen.file.operation {
            operation.token = "1-1-1-0".to_owned();
        }
        self.worker.observed(seen, true, self.now);
    }

    fn waits(&self) -> bool {
        matches!(self.next(), Do::Wait(_))
    }
}

#[test]
fn clients_of_a_suspect_node_are_paused_and_go_on_when_it_answers_again() {
    let mut world = holding();
    assert!(world.waits());
    world.worker.assign(suspecting(None), world.now);
    assert_eq!(world.next(), end(EarlyEnd::NotSuspect));
    world.worker.early_pause_ended(None);
    world.worker.observed(at(NODE2, 0), true, world.now);
    assert!(world.waits());
    // The next time is another incident.
    world.worker.assign(suspecting(Some(NODE2)), world.now);
    assert_eq!(world.next(), pause_early());
}

#[test]
fn nothing_is_paused_on_suspicion_unless_it_is_allowed_and_nobody_else_has_paused() {
    let suspects = |mut world: World| {
        world.worker.assign(suspecting(Some(NODE2)), world.now);
        matches!(world.next(), Do::PauseEarly { .. })
    };
    assert!(suspects(world()));
    assert!(!suspects(World::seen(at(NODE2, 0))), "not configured");
    for (what, observation) in [
        ("it serves the other node", at(NODE1, 0)),
        ("an operator has paused it", paused(at(NODE2, 0))),
        (
            "something is on record",
            with_operation(at(NODE2, 0), false),
        ),
    ] {
        let mut world = World::seen(observation);
        world.worker.allow_early_pause(Some(LIMIT));
        assert!(!suspects(world), "{what}");
    }
    let second = Duration::from_secs(1);
    let cases = [
        (None, true, None),
        (Some(LIMIT), true, Some(LIMIT)),
        (Some(LIMIT), false, None),
        (Some(second), false, Some(second)),
    ];
    for (configured, has_switch, expected) in cases {
        assert_eq!(allowed(configured, has_switch), expected);
    }
}

#[test]
fn at_its_end_clients_are_resumed_and_not_paused_again_in_this_incident() {
    let mut world = holding();
    world.now += LIMIT;
    assert_eq!(world.next(), end(EarlyEnd::TimeOver));
    world.worker.early_pause_ended(None);
    world.worker.observed(at(NODE2, 0), true, world.now);
    assert!(world.waits());
}

#[test]
fn the_agent_that_comes_second_leaves_it_to_the_first() {
    let mut world = world();
    world.worker.assign(suspecting(Some(NODE2)), world.now);
    let until = world.now + LIMIT;
    world.worker.paused_early(None, NODE2, app(), until);
    world.worker.observed(at(NODE2, 0), true, world.now);
    assert!(world.waits());
}

/// While the other agent's pause is on record, and when it is over.
fn see_the_others_pause(world: &mut World) {
    let seen = with_operation(paused(at(NODE2, 0)), false);
    world.worker.observed(seen, true, world.now);
    assert!(!matches!(world.next(), Do::PauseEarly { .. }));
    world.now += LIMIT;
    world.worker.observed(at(NODE2, 0), true, world.now);
}

#[test]
fn what_another_agent_has_paused_is_not_paused_again_in_this_incident() {
    // It suspects the node already, or only afterwards.
    for before in [Some(NODE2), None] {
        let mut world = world();
        world.worker.assign(suspecting(before), world.now);
        see_the_others_pause(&mut world);
        world.worker.assign(suspecting(Some(NODE2)), world.now);
        assert!(world.waits(), "{before:?}");
        // But in the next one.
        world.worker.assign(suspecting(None), world.now);
        world.worker.assign(suspecting(Some(NODE2)), world.now);
        assert_eq!(world.next(), pause_early(), "{before:?}");
    }
}

#[test]
fn a_pause_of_another_agent_that_was_long_ago_is_another_incidents() {
    let mut world = world();
    see_the_others_pause(&mut world);
    world.now += Duration::from_secs(3600);
    world.worker.observed(at(NODE2, 0), true, world.now);
    world.worker.assign(suspecting(Some(NODE2)), world.now);
    assert_eq!(world.next(), pause_early());
}

#[test]
fn an_agent_that_stops_resumes_first() {
    let mut world = holding();
    let stopping = Assignment {
        stopping: true,
        ..suspecting(Some(NODE2))
    };
    world.worker.assign(stopping, world.now);
    assert_eq!(world.next(), end(EarlyEnd::Stopping));
    world.worker.early_pause_ended(None);
    assert_eq!(world.next(), Do::End);
}

#[test]
fn a_redirect_takes_it_over_and_what_it_left_is_ended() {
    let mut world = holding();
    let assignment = Assignment {
        suspect: Some(NODE2),
        ..acting(decision(1))
    };
    world.worker.assign(assignment, world.now);
    assert_eq!(world.next(), Do::Look { file: false }, "a fresh look tells");
    world.now += Duration::from_millis(1);
    // The consoles alone do not tell whose the pause is.
    world
        .worker
        .observed(paused(at(NODE2, 0)), false, world.now);
    assert_eq!(world.next(), Do::Look { file: true });
    world.see_pause();
    assert!(world.moves());
    let outcome = world.outcome(End::Redirected);
    world.worker.redirected(outcome, None, 0.5, world.now);
    assert_eq!(world.next(), end(EarlyEnd::Redirected));
}

#[test]
fn only_the_first_attempt_of_a_decision_pauses() {
    let mut world = World::seen(at(NODE2, 0));
    world.worker.assign(acting(decision(1)), world.now);
    assert!(world.worker.may_pause());
    let failed = End::Failed {
        reason: "no answer".to_owned(),
        file: FileAfter::Unknown,
    };
    let outcome = world.outcome(failed);
    world.worker.redirected(outcome, None, 0.5, world.now);
    assert!(!world.worker.may_pause());
    world.worker.assign(acting(decision(2)), world.now);
    assert!(world.worker.may_pause());
}

#[test]
fn the_end_of_a_pause_owes_what_was_before_also_when_a_try_before_it_broke_off() {
    let retry = |value: &str| {
        let pair = (LOGIN_RETRY.to_owned(), value.to_owned());
        vec![Settings::from([pair])]
    };
    let (nothing, fifteen) = (Debt::default(), Debt::default().with_settings(&retry("15")));
    let cases = [
        ("15", &nothing, true, Some("15")),
        ("15", &nothing, false, None),
        ("0.05", &nothing, true, None),
        (HASTY, &fifteen, true, Some("15")),
        (HASTY, &fifteen, false, Some("15")),
        // It was started anew since.
        ("4", &fifteen, false, None),
    ];
    for (found, on_record, hasten, expected) in cases {
        let owed = early::owed("1", retry(found), on_record, hasten, World::new().now);
        let value = owed.map(|owed| owed.values.concat());
        assert_eq!(
            value.as_deref(),
            expected,
            "{found}, {on_record:?}, {hasten}"
        );
    }
}

#[test]
fn clients_are_paused_early_also_while_another_pgbouncer_is_waited_for() {
    let mut world = World::seen(at(NODE1, 2));
    world.worker.allow_early_pause(Some(LIMIT));
    world.assign(acting(decision(2)), at(NODE1, 2));
    let suspected = Assignment {
        suspect: Some(NODE1),
        ..acting(decision(2))
    };
    world.worker.assign(suspected, world.now);
    let pause = world.next();
    assert!(
        matches!(pause, Do::PauseEarly { node: NODE1, .. }),
        "{pause:?}"
    );
}
