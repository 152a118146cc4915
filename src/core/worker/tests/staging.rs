//! What is staged ahead of time, and when.

use super::*;

/// The decisions that would be made if node 1, or node 2, failed: all leave generation `number`
/// behind.
fn foreseen(number: u64) -> Vec<Decision> {
    [(NODE1, NODE2), (NODE2, NODE1)]
        .map(|(failed, active)| Decision {
            generation: Generation {
                number,
                node_id: active,
            },
            failed,
            active,
            fault: Fault::Crash,
        })
        .into()
}

fn quiet(number: u64) -> Assignment {
    Assignment {
        foreseen: foreseen(number),
        ..Assignment::default()
    }
}

/// One whose entries point at `node`, with what there is to prepare.
fn watched(node: NodeId) -> World {
    let mut world = World::seen(at(node, 3));
    world.worker.assign(quiet(4), world.now);
    world
}

fn prepares(world: &World) -> Option<NodeId> {
    match world.next() {
        Do::Prepare { decision, .. } => Some(decision.failed),
        Do::Connect
        | Do::Look { .. }
        | Do::Redirect { .. }
        | Do::Resolve { .. }
        | Do::PauseEarly { .. }
        | Do::EndEarlyPause { .. }
        | Do::Pay(_)
        | Do::Stamp(_)
        | Do::Disable
        | Do::Wait(_)
        | Do::End => None,
    }
}

/// Stages what there is to be staged; gives the nodes whose failure it is for.
fn stage_all(world: &mut World) -> Vec<NodeId> {
    let mut staged = Vec::new();
    while let Do::Prepare { decision, .. } = world.next() {
        staged.push(decision.failed);
        assert!(staged.len() < 9, "it does not end");
        let hash = format!("{}-{}", decision.failed, decision.generation);
        assert!(!world.worker.staged(&decision, hash));
    }
    staged
}

#[test]
fn the_file_of_each_decision_that_would_move_something_is_staged_once() {
    let mut world = watched(NODE2);
    assert_eq!(stage_all(&mut world), [NODE2]);
    assert!(matches!(world.next(), Do::Wait(_)));
    assert!(world.worker.has_staged("2-4.1"));
    // Two processes that differ: either failure moves something.
    let mut observation = at(NODE1, 3);
    observation.processes.extend(at(NODE2, 3).processes);
    let mut both = World::seen(observation);
    both.worker.assign(quiet(4), both.now);
    assert_eq!(stage_all(&mut both), [NODE1, NODE2]);
    let all = ["1-4.2".to_owned(), "2-4.1".to_owned()];
    assert_eq!(both.worker.staged_still_wanted(), all);
}

#[test]
fn it_is_staged_again_when_the_number_the_file_or_the_session_is_another_one() {
    let mut world = watched(NODE2);
    stage_all(&mut world);
    world.worker.assign(quiet(5), world.now);
    assert_eq!(world.worker.staged_still_wanted(), [""; 0]);
    assert_eq!(stage_all(&mut world), [NODE2]);
    assert!(!world.worker.has_staged("2-4.1"), "it was removed");

    let mut edited = at(NODE2, 3);
    edited.file.hash = "another".to_owned();
    world.worker.observed(edited, true, world.now);
    assert_eq!(stage_all(&mut world), [NODE2]);

    world
        .worker
        .disconnected("x".to_owned(), Duration::ZERO, world.now);
    world.worker.connected();
    world.worker.observed(at(NODE2, 3), true, world.now);
    assert_eq!(stage_all(&mut world), [NODE2]);
    // A look that shows nothing new is no reason.
    world.worker.observed(at(NODE2, 3), true, world.now);
    assert_eq!(prepares(&world), None);
}

#[test]
fn nothing_is_staged_while_something_is_going_on() {
    let mut doubt = watched(NODE2);
    let busy = Assignment {
        busy: true,
        ..quiet(4)
    };
    doubt.worker.assign(busy, doubt.now);
    assert_eq!(prepares(&doubt), None);

    let mut acting_now = watched(NODE2);
    let acting = Assignment {
        foreseen: foreseen(4),
        ..acting(decision(4))
    };
    acting_now.assign(acting, at(NODE2, 3));
    assert!(acting_now.moves());

    let mut operation = watched(NODE2);
    let on_record = with_operation(at(NODE2, 3), false);
    operation.worker.observed(on_record, true, operation.now);
    assert_eq!(prepares(&operation), None);

    let mut told_nothing = World::seen(at(NODE2, 3));
    told_nothing
        .worker
        .assign(Assignment::default(), told_nothing.now);
    assert_eq!(prepares(&told_nothing), None, "`notify` foresees nothing");
}

#[test]
fn after_a_redirect_all_is_staged_anew() {
    let mut world = watched(NODE2);
    stage_all(&mut world);
    world.assign(acting(decision(4)), at(NODE2, 3));
    let outcome = world.outcome(End::Redirected);
    world.worker.redirected(outcome, None, 0.5, world.now);
    assert!(
        !world.worker.has_staged("2-4.1"),
        "the end of an operation removes what is staged"
    );
    world.worker.assign(quiet(5), world.now);
    world.worker.observed(at(NODE1, 4), true, world.now);
    assert_eq!(stage_all(&mut world), [NODE1]);
}

#[test]
fn a_disk_that_is_full_is_told_once_and_tried_less_and_less_often() {
    let mut world = watched(NODE2);
    let mut waits = Vec::new();
    for attempt in 0..9 {
        assert_eq!(prepares(&world), Some(NODE2));
        assert_eq!(world.worker.not_staged(world.now), attempt == 0);
        let failed_at = world.now;
        while prepares(&world).is_none() {
            world.now += Duration::from_secs(1);
            world.worker.observed(at(NODE2, 3), true, world.now);
        }
        waits.push(world.now.duration_since(failed_at).as_secs());
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    let Do::Prepare { decision, .. } = world.next() else {
        panic!("{:?}", world.next())
    };
    assert!(world.worker.staged(&decision, "h".to_owned()), "it is news");
}

#[test]
fn what_is_settled_is_prepared_for_the_next_failure_while_another_pgbouncer_is_waited_for() {
    let mut world = World::seen(at(NODE1, 2));
    let settled = Assignment {
        foreseen: foreseen(3),
        busy: false,
        ..acting(decision(2))
    };
    world.worker.assign(settled, world.now);
    assert_eq!(prepares(&world), None, "nobody has looked since");
    world.worker.observed(at(NODE1, 2), true, world.now);
    assert_eq!(stage_all(&mut world), [NODE1]);
    assert_eq!(world.next(), Do::Wait(world.now + LOOK_INTERVAL));
}
