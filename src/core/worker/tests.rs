mod reconciling;
mod staging;

use super::looking::{LOOK_INTERVAL, LOOK_INTERVAL_BUSY};
use super::*;
use crate::config::{Config, NodeId, file};
use crate::core::node::Fault;
use crate::core::outcome::FileAfter;
use crate::core::pooler::{EntryState, FileState, Operation, ProcessState};
use crate::generation::Generation;

mod early;

pub(super) const NODE1: NodeId = NodeId(1);
pub(super) const NODE2: NodeId = NodeId(2);
const NODE3: NodeId = NodeId(3);

pub(super) struct World {
    pub(super) worker: Worker,
    pub(super) now: Instant,
}

fn config() -> Config {
    let text = r#"
            node_id = 1
            [[node]]
            node_id = 1
            node_name = "node1"
            conninfo = "host=10.0.0.11 dbname=bdrtest user=repmgr"
            [[node]]
            node_id = 2
            node_name = "node2"
            conninfo = "host=10.0.0.12 dbname=bdrtest user=repmgr"
            [[pgbouncer]]
            name = "pgb1"
            local = true
            console = "host=10.0.0.21 user=admin"
            file = "/etc/pgbouncer/repoint/databases.ini"
            [[pgbouncer.database]]
            name = "app"
        "#;
    file::parse(std::path::Path::new("repoint.toml"), text).expect("it is complete")
}

pub(super) fn generation(number: u64) -> Generation {
    Generation {
        number,
        node_id: NODE1,
    }
}

/// A PgBouncer whose entry points at `node`, with a file of generation `number`.
pub(super) fn at(node: NodeId, number: u64) -> Observation {
    let entry = EntryState {
        host: format!("10.0.0.1{node}"),
        port: 5432,
        dbname: "bdrtest".to_owned(),
        force_user: None,
        paused: false,
        disabled: false,
    };
    Observation {
        processes: vec![ProcessState {
            entries: BTreeMap::from([("app".to_owned(), entry)]),
            settings: BTreeMap::from([("server_login_retry".to_owned(), "15".to_owned())]),
        }],
        file: FileState {
            generation: generation(number),
            active: (number > 0).then_some(node),
            hash: "abc".to_owned(),
            untouched: Some(true),
            content: None,
            entries: Some([("app".to_owned(), (format!("10.0.0.1{node}"), 5432))].into()),
            operation: None,
        },
    }
}

fn paused(mut observation: Observation) -> Observation {
    for process in &mut observation.processes {
        process
            .entries
            .values_mut()
            .for_each(|entry| entry.paused = true);
    }
    observation
}

fn with_operation(mut observation: Observation, expired: bool) -> Observation {
    let debt = Debt {
        paused: ["app".to_owned()].into(),
        ..Debt::default()
    };
    let token = "2-77-1-0".to_owned();
    observation.file.operation = Some(Operation {
        token,
        expired,
        debt,
    });
    observation
}

pub(super) fn decision(number: u64) -> Decision {
    Decision {
        generation: generation(number),
        failed: NODE2,
        active: NODE1,
        fault: Fault::Crash,
    }
}

pub(super) fn acting(decision: Decision) -> Assignment {
    let decision = Some(decision);
    Assignment {
        decision,
        may_act: true,
        busy: true,
        insist: true,
        ..Assignment::default()
    }
}

impl World {
    fn new() -> Self {
        let (config, now) = (config(), Instant::now());
        let routing = Routing::new(&config.pgbouncers["pgb1"], &config.nodes);
        Self {
            worker: Worker::new(routing.expect("both can be translated"), now),
            now,
        }
    }

    /// With a third node, 10.0.0.13.
    fn of_three() -> Self {
        let (mut config, now) = (config(), Instant::now());
        let mut third = config.nodes[&NODE2].clone();
        third.node_id = NODE3;
        third.conninfo = third.conninfo.with("host", "10.0.0.13");
        config.nodes.insert(NODE3, third);
        let routing = Routing::new(&config.pgbouncers["pgb1"], &config.nodes);
        let mut worker = Worker::new(routing.expect("all can be translated"), now);
        worker.connected();
        Self { worker, now }
    }

    pub(super) fn seen(observation: Observation) -> Self {
        let mut world = Self::new();
        world.worker.connected();
        world.worker.observed(observation, true, world.now);
        world
    }

    pub(super) fn next(&self) -> Do {
        self.worker.next(self.now)
    }

    /// Assigns, and takes the look that follows.
    pub(super) fn assign(&mut self, assignment: Assignment, then: Observation) {
        self.worker.assign(assignment, self.now);
        assert_eq!(self.next(), Do::Look { file: false }, "a fresh look tells");
        self.worker.observed(then, true, self.now);
    }

    fn moves(&self) -> bool {
        matches!(self.next(), Do::Redirect { .. })
    }

    fn outcome(&self, end: End) -> Outcome {
        Outcome {
            generation: generation(1),
            active: NODE1,
            end,
            warnings: Vec::new(),
            left_paused: Vec::new(),
            took: Duration::ZERO,
            entries: BTreeMap::new(),
        }
    }
}

#[test]
fn it_connects_looks_and_then_waits() {
    let mut world = World::new();
    assert_eq!(world.next(), Do::Connect);
    world.worker.connected();
    assert_eq!(world.next(), Do::Look { file: true });
    world.worker.observed(at(NODE2, 0), true, world.now);
    assert_eq!(world.next(), Do::Wait(world.now + LOOK_INTERVAL));
    world.now += LOOK_INTERVAL;
    assert_eq!(world.next(), Do::Look { file: false });
}

#[test]
fn it_moves_only_what_points_at_the_failed_node_and_only_with_the_claim() {
    let mut world = World::seen(at(NODE2, 0));
    let without = Assignment {
        may_act: false,
        ..acting(decision(1))
    };
    world.assign(without, at(NODE2, 0));
    assert!(!world.moves());
    world.worker.assign(acting(decision(1)), world.now);
    assert!(world.moves());

    let mut elsewhere = World::seen(at(NODE1, 0));
    elsewhere.assign(acting(decision(1)), at(NODE1, 0));
    assert_eq!(elsewhere.worker.status().settled, Some(generation(1)));
    let outcome = elsewhere.worker.status().outcome.clone().unwrap();
    assert_eq!(outcome.to_string(), "left alone: it serves node 1 already");
}

#[test]
fn what_it_said_of_one_decision_is_not_said_of_another() {
    let mut world = World::seen(at(NODE1, 1));
    world.assign(acting(decision(1)), at(NODE1, 1));
    assert_eq!(world.worker.status().settled, Some(generation(1)));
    world.worker.assign(Assignment::default(), world.now);
    assert_eq!(world.worker.status().settled, None);
}

/// After a promotion: one node takes writes.
fn promoted(decision: Decision) -> Assignment {
    Assignment {
        scope: Scope::AllButActive,
        ..acting(decision)
    }
}

/// Whether the entry of a PgBouncer that was found like this moves to node 1.
fn moves_with(scope: Scope, observation: Observation) -> bool {
    let mut world = World::of_three();
    let assignment = Assignment {
        scope,
        ..acting(decision(9))
    };
    world.worker.assign(assignment, world.now);
    world.worker.observed(observation, true, world.now);
    world.moves()
}

#[test]
fn a_promotion_moves_what_points_at_any_other_node_and_a_failure_only_what_points_there() {
    for (node, on_failed, all) in [
        (NODE1, false, false),
        (NODE2, true, true),
        (NODE3, false, true),
        // An address that no node has: 10.0.0.19.
        (NodeId(9), false, true),
    ] {
        let found =
            [Scope::OnFailed, Scope::AllButActive].map(|scope| moves_with(scope, at(node, 1)));
        assert_eq!(found, [on_failed, all], "node {node}");
    }
}

#[test]
fn an_address_that_somebody_edited_into_the_file_is_not_guessed_about_but_told() {
    let mut edited = at(NodeId(9), 1);
    edited.file.untouched = Some(false);
    assert!(!moves_with(Scope::AllButActive, edited.clone()));
    let mut world = World::of_three();
    world.worker.assign(promoted(decision(9)), world.now);
    world.worker.observed(edited, true, world.now);
    assert_eq!(world.worker.status().settled, Some(generation(9)));
    let told = world.worker.status().serving();
    assert_eq!(told, "`app` is not there or points at no node");
    // That of a node is an old decision, whoever wrote it.
    let mut edited = at(NODE3, 1);
    edited.file.untouched = Some(false);
    assert!(moves_with(Scope::AllButActive, edited));
}

#[test]
fn an_entry_that_is_not_there_is_not_moved() {
    let mut absent = at(NODE2, 1);
    absent.processes[0].entries.clear();
    assert!(!moves_with(Scope::AllButActive, absent));
}

#[test]
fn one_process_of_several_that_points_elsewhere_is_enough() {
    let mut observation = at(NODE1, 1);
    observation.processes.extend(at(NODE3, 1).processes);
    assert!(moves_with(Scope::AllButActive, observation.clone()));
    assert!(!moves_with(Scope::OnFailed, observation));
}

#[test]
fn a_promotion_that_is_told_twice_finds_nothing_to_do() {
    let mut world = World::of_three();
    world.worker.assign(promoted(decision(9)), world.now);
    world.worker.observed(at(NODE1, 8), true, world.now);
    assert!(!world.moves());
    let outcome = world.worker.status().outcome.clone().unwrap();
    assert_eq!(outcome.to_string(), "left alone: it serves node 1 already");
}

#[test]
fn a_debt_that_somebody_else_comes_for_is_left_on_record() {
    let mut world = World::seen(at(NODE2, 0));
    world.worker.assign(acting(decision(1)), world.now);
    let owed = owes(world.now + Duration::from_secs(16));
    let outcome = world.outcome(End::Redirected);
    world.worker.redirected(outcome, Some(owed), 0.5, world.now);
    let stopping = Assignment {
        stopping: true,
        leave_debt: true,
        ..acting(decision(1))
    };
    world.worker.assign(stopping, world.now);
    assert_eq!(world.next(), Do::End);
}

#[test]
fn a_redirect_counts_only_when_it_is_seen() {
    let mut world = World::seen(at(NODE2, 0));
    world.worker.assign(acting(decision(1)), world.now);
    let outcome = world.outcome(End::Redirected);
    world.worker.redirected(outcome, None, 0.5, world.now);
    assert_eq!(world.worker.status().settled, None);
    assert_eq!(world.next(), Do::Look { file: true });
    world.worker.observed(at(NODE1, 1), true, world.now);
    assert_eq!(world.worker.status().settled, Some(generation(1)));
}

#[test]
fn a_failed_redirect_is_tried_again_after_a_while() {
    let mut world = World::seen(at(NODE2, 0));
    world.worker.assign(acting(decision(1)), world.now);
    let failed = End::Failed {
        reason: "disk full".to_owned(),
        file: FileAfter::Unchanged,
    };
    world
        .worker
        .redirected(world.outcome(failed), None, 1.0, world.now);
    world.worker.observed(at(NODE2, 0), true, world.now);
    assert!(!world.moves());
    world.now += Duration::from_millis(100);
    assert!(world.moves());
}

/// The file may be in place, and a pause over by now that could not be ended.
#[test]
fn one_that_serves_after_a_failed_redirect_counts_when_a_query_has_proved_it() {
    let failed = |file| End::Failed {
        reason: "no answer".to_owned(),
        file,
    };
    let ends = [
        (failed(FileAfter::Unknown), Vec::new()),
        (failed(FileAfter::Unchanged), Vec::new()),
        (End::Redirected, vec!["app".to_owned()]),
    ];
    for (end, left_paused) in ends {
        let mut world = World::seen(at(NODE2, 0));
        world.worker.assign(acting(decision(1)), world.now);
        let mut outcome = world.outcome(end);
        outcome.left_paused = left_paused;
        world.worker.redirected(outcome, None, 1.0, world.now);
        world.now += Duration::from_millis(100);
        world.worker.observed(at(NODE1, 1), true, world.now);
        assert_eq!(world.worker.status().settled, None);
        let app = || BTreeSet::from(["app".to_owned()]);
        let expected = Do::Redirect {
            decision: decision(1),
            moves: BTreeSet::new(),
            confirm: app(),
        };
        assert_eq!(world.next(), expected);

        let proved = world.outcome(End::Redirected);
        world.worker.redirected(proved, None, 1.0, world.now);
        world.worker.observed(at(NODE1, 1), true, world.now);
        let status = world.worker.status();
        assert_eq!(status.settled, Some(generation(1)));
        assert!(status.outcome.as_ref().unwrap().serves());
    }
}

/// The claim is lost in between, and granted again.
#[test]
fn what_was_not_proved_is_still_to_be_proved_when_the_same_is_decided_again() {
    let mut other_way = decision(2);
    std::mem::swap(&mut other_way.failed, &mut other_way.active);
    for (then, seen, proves) in [
        (decision(2), at(NODE1, 1), true),
        (other_way, at(NODE2, 1), false),
    ] {
        let mut world = World::seen(at(NODE2, 0));
        world.worker.assign(acting(decision(1)), world.now);
        let outcome = world.outcome(End::Unconfirmed("refused".to_owned()));
        world.worker.redirected(outcome, None, 1.0, world.now);
        world.worker.observed(seen.clone(), true, world.now);
        world.worker.assign(Assignment::default(), world.now);
        world.assign(acting(then.clone()), seen);
        let settled = (!proves).then_some(then.generation);
        assert_eq!(world.worker.status().settled, settled);
        assert_eq!(world.moves(), proves);
    }
}

#[test]
fn what_leads_elsewhere_after_a_failed_redirect_or_by_a_later_decision_is_not_ours_to_prove() {
    for then in [at(NODE3, 0), at(NODE1, 2)] {
        let mut world = World::of_three();
        world.worker.assign(acting(decision(1)), world.now);
        let failed = End::Failed {
            reason: "no answer".to_owned(),
            file: FileAfter::Unknown,
        };
        let outcome = world.outcome(failed);
        world.worker.redirected(outcome, None, 1.0, world.now);
        world.now += Duration::from_millis(100);
        world.worker.observed(then, true, world.now);
        assert_eq!(world.worker.status().settled, Some(generation(1)));
        assert!(!world.moves());
    }
}

#[test]
fn one_that_points_back_is_moved_again_while_the_node_is_down_and_left_alone_later() {
    let mut world = World::seen(at(NODE1, 1));
    world.worker.assign(acting(decision(1)), world.now);
    world.worker.observed(at(NODE1, 1), true, world.now);
    world.worker.observed(at(NODE2, 0), true, world.now);
    assert!(world.moves());
    let returned = Assignment {
        insist: false,
        ..acting(decision(1))
    };
    let mut later = World::seen(at(NODE1, 1));
    later.worker.assign(returned, later.now);
    later.worker.observed(at(NODE1, 1), true, later.now);
    later.worker.observed(at(NODE2, 0), true, later.now);
    assert!(!later.moves());
    assert_eq!(later.worker.status().settled, Some(generation(1)));
}

#[test]
fn a_file_of_a_later_decision_is_not_touched() {
    let mut world = World::seen(at(NODE2, 2));
    world.assign(acting(decision(1)), at(NODE2, 2));
    assert!(!world.moves());
}

#[test]
fn what_a_dead_agent_left_paused_is_resolved_when_its_time_is_over() {
    let mut world = World::seen(with_operation(paused(at(NODE1, 1)), false));
    assert!(
        matches!(world.next(), Do::Wait(_)),
        "its owner may be at work"
    );
    world.now += LOOK_INTERVAL_BUSY;
    assert_eq!(world.next(), Do::Look { file: true });
    world
        .worker
        .observed(with_operation(paused(at(NODE1, 1)), true), true, world.now);
    let Do::Resolve { token, debt } = world.next() else {
        panic!("{:?}", world.next())
    };
    assert_eq!(token, "2-77-1-0");
    assert_eq!(debt.paused, BTreeSet::from(["app".to_owned()]));
}

#[test]
fn a_pause_of_another_agent_that_may_be_at_work_is_not_ended_and_not_settled() {
    let mut world = World::seen(with_operation(paused(at(NODE1, 1)), false));
    world.worker.assign(acting(decision(2)), world.now);
    assert_eq!(world.next(), Do::Look { file: false });
    let still = with_operation(paused(at(NODE1, 1)), false);
    world.worker.observed(still, true, world.now);
    assert!(matches!(world.next(), Do::Wait(_)));
    assert_eq!(world.worker.status().settled, None);
}

#[test]
fn a_pause_that_nobody_of_us_noted_is_an_operators() {
    let mut world = World::seen(paused(at(NODE1, 1)));
    world.worker.assign(acting(decision(2)), world.now);
    world.worker.observed(paused(at(NODE1, 1)), true, world.now);
    assert!(matches!(world.next(), Do::Wait(_)));
    assert_eq!(world.worker.status().settled, Some(generation(2)));
    assert!(!world.worker.status().paused);
}

#[test]
fn the_file_is_read_again_when_somebody_else_moved_an_entry() {
    let mut world = World::seen(at(NODE2, 0));
    world.now += LOOK_INTERVAL;
    world.worker.observed(at(NODE1, 0), false, world.now);
    assert_eq!(world.next(), Do::Look { file: true });
    world.worker.observed(at(NODE1, 1), true, world.now);
    assert_eq!(world.worker.status().generation, generation(1));
    assert!(matches!(world.next(), Do::Wait(_)));
}

#[test]
fn what_is_owed_is_paid_when_due_and_at_once_when_stopping() {
    let mut world = World::seen(at(NODE2, 0));
    world.worker.assign(acting(decision(1)), world.now);
    let due = world.now + Duration::from_secs(16);
    let owed = owes(due);
    let outcome = world.outcome(End::Redirected);
    world
        .worker
        .redirected(outcome, Some(owed.clone()), 0.5, world.now);
    world.worker.observed(at(NODE1, 1), true, world.now);
    assert!(matches!(world.next(), Do::Wait(until) if until <= due));
    let stopping = Assignment {
        stopping: true,
        ..acting(decision(1))
    };
    world.worker.assign(stopping, world.now);
    assert_eq!(world.next(), Do::Pay(owed));
    world.worker.paid();
    assert_eq!(world.next(), Do::End);
}

#[test]
fn one_that_is_away_is_tried_when_its_time_comes_or_when_something_is_decided() {
    let mut world = World::seen(at(NODE2, 0));
    world
        .worker
        .disconnected("refused".to_owned(), Duration::from_secs(3), world.now);
    assert_eq!(world.next(), Do::Wait(world.now + Duration::from_secs(3)));
    assert!(!world.worker.status().reached);
    world.worker.assign(acting(decision(1)), world.now);
    assert_eq!(world.next(), Do::Connect);
}

fn owes(due: Instant) -> Owed {
    Owed {
        token: "1".to_owned(),
        values: vec!["15".to_owned()],
        due,
    }
}
