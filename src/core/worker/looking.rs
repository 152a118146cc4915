//! When a PgBouncer is looked at, how closely, and what a look says.

use std::time::{Duration, Instant};

use super::drift::is_loaded;
use super::{Do, HASTY, Worker, left_paused};
use crate::core::pooler::Observation;

/// How often a PgBouncer is looked at while all is well. A look takes 0.3 ms of a processor: twenty
/// PgBouncers then take 0.3 % of one.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// And while something is being decided or is left to do.
pub(super) const LOOK_INTERVAL_BUSY: Duration = Duration::from_millis(250);
/// How often its host is asked for the file, unless told; it also keeps the SSH session from idling
/// out.
const FILE_INTERVAL: Duration = Duration::from_secs(30);

/// What a look reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// SHOW DATABASES: cheap enough to be read all the time.
    Entries,
    /// SHOW CONFIG too: what a redirect must know before it undoes it.
    Settings,
    /// The file on the host too.
    All,
}

impl Worker {
    /// What is read in a look, with the file or without.
    #[must_use]
    pub fn depth(&self, file: bool) -> Depth {
        match (file, self.is_pending() && self.assignment.may_act) {
            (true, _) => Depth::All,
            (false, true) => Depth::Settings,
            (false, false) => Depth::Entries,
        }
    }

    /// A look was taken; `file` says whether the host was asked too.
    pub fn observed(&mut self, observation: Observation, file: bool, now: Instant) {
        self.looked = Some(now);
        if file {
            self.file_looked = Some(now);
        }
        let routes = |o: &Observation| {
            self.routing
                .names()
                .map(|n| o.nodes_of(n, &self.routing))
                .collect::<Vec<_>>()
        };
        let moved = self
            .observation
            .as_ref()
            .is_some_and(|before| routes(before) != routes(&observation));
        self.file_stale = !file && (self.file_stale || moved);
        if self.file_stale {
            // Nothing is said of it before both are known as they are together.
            self.observation = Some(observation);
            return;
        }
        let routing = &self.routing;
        let nodes = |name: &String| observation.nodes_of(name, routing);
        self.status.serves = routing.names().flat_map(nodes).collect();
        let astray = |name: &&String| nodes(name).is_empty();
        self.status.astray = routing.names().filter(astray).cloned().collect();
        let foreign = |node| (node, observation.foreign_at(node, routing));
        self.status.foreign = routing.nodes().map(foreign).collect();
        self.status.paused = !left_paused(&observation, routing).is_empty();
        self.status.generation = observation.file.generation;
        self.status.file_active = observation.file.active;
        self.status.loaded = is_loaded(&observation, routing);
        self.status.on_record = observation.file.operation.is_some();
        self.status.reached = true;
        self.status.trouble = None;
        // Whose a pause is stands in the record on the host, which must be as fresh as the pause.
        let known = file || observation.paused(routing).is_empty();
        if known {
            self.judge(&observation, now);
        }
        if file {
            self.compare(&observation, now);
            self.see_foreign_pause(&observation, now);
        }
        self.observation = Some(observation);
    }

    pub(super) fn look(&self, observation: &Observation, now: Instant) -> Do {
        // The file is read when the consoles give a reason, or every now and then.
        let hasty = observation
            .processes
            .iter()
            .any(|p| p.login_retry() == HASTY);
        let paused = !observation.paused(&self.routing).is_empty();
        let operation = observation.file.operation.iter();
        let ours = |token: &String| self.owed.as_ref().is_some_and(|owed| owed.token == *token);
        let others = operation
            .filter(|operation| !ours(&operation.token))
            .count()
            > 0;
        let lasts = self.compares_at().filter(|at| *at > now);
        let due = self.compares_at().is_some_and(|at| at <= now);
        let reason = paused || (hasty && self.owed.is_none()) || others || due;
        if reason && self.file_looked != self.looked {
            return Do::Look { file: true };
        }
        let busy = self.assignment.busy || self.is_pending() || self.status.paused;
        let interval = if busy {
            LOOK_INTERVAL_BUSY
        } else {
            LOOK_INTERVAL.min(self.file_interval())
        };
        let next = self.looked.map_or(now, |looked| looked + interval);
        if now >= next {
            let old = self
                .file_looked
                .is_none_or(|looked| now >= looked + self.file_interval());
            return Do::Look {
                file: reason || old,
            };
        }
        let mut until = next.min(lasts.unwrap_or(next));
        until = until.min(self.wake_at(now).unwrap_or(until));
        if let Some(end) = self.early_pause_until() {
            until = until.min(end);
        }
        if let Some(owed) = &self.owed {
            until = until.min(owed.due);
        }
        if let Some(at) = self.prepares_at().filter(|at| *at > now) {
            until = until.min(at);
        }
        let repairs = self
            .assignment
            .reconciling
            .as_ref()
            .is_some_and(|r| r.repairs);
        if (self.is_pending() || repairs) && self.not_before > now {
            until = until.min(self.not_before);
        }
        Do::Wait(until)
    }

    fn file_interval(&self) -> Duration {
        let reconciling = self.assignment.reconciling.as_ref();
        reconciling.map_or(FILE_INTERVAL, |told| told.interval)
    }
}
