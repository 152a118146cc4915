//! A PgBouncer that serves the node already: the number of the decision goes into its file, so that
//! no older decision can move it later. Nothing waits for that, and nothing fails when it cannot be
//! done.

use std::time::{Duration, Instant};

use super::Worker;
use crate::core::plan::Decision;
use crate::core::pooler::Observation;
use crate::core::retry::Retry;

/// First come those that have to be moved.
const DELAY: Duration = Duration::from_secs(1);
/// A file that cannot be written after so many attempts is left as it is.
const TRIES: u32 = 5;

/// What is still to be done.
#[derive(Debug, Clone, Default)]
pub(super) struct Stamping {
    due: Option<Due>,
}

#[derive(Debug, Clone)]
struct Due {
    decision: Decision,
    tries: u32,
    retry: Retry,
    not_before: Instant,
}

impl Stamping {
    /// For a PgBouncer that is left alone: gives what a person should know when it is not done.
    pub(super) fn begin(
        &mut self,
        decision: &Decision,
        observation: &Observation,
        now: Instant,
    ) -> Option<String> {
        if observation.file.untouched == Some(false) {
            let text = "its file was edited by hand since repoint wrote it: the decision's number \
                        is not written into it";
            return Some(text.to_owned());
        }
        if observation.file.generation < decision.generation {
            self.due = Some(Due {
                decision: decision.clone(),
                tries: 0,
                retry: Retry::default(),
                not_before: now + DELAY,
            });
        }
        None
    }

    /// Something else was decided.
    pub(super) fn forget(&mut self) {
        self.due = None;
    }

    pub(super) fn not_before(&self) -> Option<Instant> {
        self.due.as_ref().map(|due| due.not_before)
    }
}

impl Worker {
    /// What to write now: while PgBouncer serves the node, and nothing of anybody is in between.
    pub(super) fn to_stamp(&self, observation: &Observation, now: Instant) -> Option<Decision> {
        let due = self.stamping.due.as_ref()?;
        let active = due.decision.active;
        let serves = self.status.serves.iter().eq([&active]) && self.status.astray.is_empty();
        let free = observation.file.operation.is_none() && self.owed.is_none();
        let older = observation.file.generation < due.decision.generation;
        (serves && free && older && now >= due.not_before).then(|| due.decision.clone())
    }

    /// An attempt to write the number ended; `again`: another one may do. Gives whether there is
    /// another one.
    pub fn stamped(&mut self, again: bool, random: f64, now: Instant) -> bool {
        self.observation = None;
        let Some(due) = self.stamping.due.as_mut().filter(|_| again) else {
            self.stamping.due = None;
            return false;
        };
        due.tries += 1;
        if due.tries >= TRIES {
            self.stamping.due = None;
            return false;
        }
        due.not_before = now + due.retry.failed(random);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NODE1, NODE2, World, acting, at, decision, generation};
    use super::super::{Assignment, Do};
    use super::*;
    use crate::core::debt::Debt;
    use crate::core::pooler::Operation;

    fn stamping() -> Assignment {
        Assignment {
            stamps: true,
            ..acting(decision(2))
        }
    }

    fn left_alone(observation: &Observation) -> World {
        let mut world = World::seen(observation.clone());
        world.assign(stamping(), observation.clone());
        let settled = world.worker.status().settled;
        assert_eq!(settled, Some(generation(2)));
        world
    }

    fn later(world: &mut World, observation: &Observation) -> Do {
        world.now += DELAY;
        world.worker.observed(observation.clone(), true, world.now);
        world.next()
    }

    #[test]
    fn one_that_serves_the_node_gets_the_number_a_little_later_even_when_all_is_over_by_then() {
        let before = at(NODE1, 1);
        let mut world = left_alone(&before);
        assert!(matches!(world.next(), Do::Wait(_)), "the others come first");
        world.worker.assign(Assignment::default(), world.now);
        assert_eq!(later(&mut world, &before), Do::Stamp(decision(2)));
        assert!(!world.worker.stamped(false, 0.5, world.now));
        assert!(!matches!(later(&mut world, &at(NODE1, 2)), Do::Stamp(_)));
    }

    #[test]
    fn it_is_tried_five_times_and_never_counts_as_a_failure() {
        let before = at(NODE1, 1);
        let mut world = left_alone(&before);
        for again in [true, true, true, true, false] {
            assert_eq!(later(&mut world, &before), Do::Stamp(decision(2)));
            assert_eq!(world.worker.stamped(true, 0.5, world.now), again);
            world.now += Duration::from_secs(10);
        }
        assert!(!matches!(later(&mut world, &before), Do::Stamp(_)));
        let status = world.worker.status();
        assert_eq!(status.settled, Some(generation(2)));
        assert!(status.outcome.as_ref().unwrap().serves());
    }

    #[test]
    fn it_is_not_done_when_it_is_no_news_or_not_ours_or_not_older_or_not_there_any_more() {
        let mut edited = at(NODE1, 1);
        edited.file.untouched = Some(false);
        let mut world = left_alone(&edited);
        let outcome = world.worker.status().outcome.clone().unwrap();
        assert!(outcome.to_string().contains("edited by hand"), "{outcome}");
        assert!(!matches!(later(&mut world, &edited), Do::Stamp(_)));

        let before = at(NODE1, 1);
        let mut no_news = World::seen(before.clone());
        no_news.assign(acting(decision(2)), before.clone());
        assert!(!matches!(later(&mut no_news, &before), Do::Stamp(_)));

        let mut moved = left_alone(&before);
        assert!(!matches!(later(&mut moved, &at(NODE2, 1)), Do::Stamp(_)));
        let mut newer = left_alone(&before);
        assert!(!matches!(later(&mut newer, &at(NODE1, 3)), Do::Stamp(_)));
    }

    #[test]
    fn what_another_operation_owes_is_waited_for() {
        let before = at(NODE1, 1);
        let mut owing = before.clone();
        owing.file.operation = Some(Operation {
            token: "2-77-1-0".to_owned(),
            expired: false,
            debt: Debt::default(),
        });
        let mut world = left_alone(&before);
        assert!(!matches!(later(&mut world, &owing), Do::Stamp(_)));
        assert_eq!(later(&mut world, &before), Do::Stamp(decision(2)));
    }
}
