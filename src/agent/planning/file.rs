//! The new file of a plan: edited or rendered, and checked for the PgBouncer that it goes to.

use std::collections::{BTreeMap, BTreeSet};

use super::{Planner, PlanningError, Rendered};
use crate::config::{Edits, NodeId};
use crate::conninfo::Conninfo;
use crate::core::plan::Decision;
use crate::core::pooler::{FileState, Observation, Version};
use crate::render::ini::{ConsoleUser, Origin, There};
use crate::render::{header, ini};

impl Planner {
    /// The file in which `moves` are at the active node, and everything else is where it is.
    pub(super) fn file(
        &self,
        edits: Edits,
        decision: &Decision,
        moves: &BTreeSet<String>,
        observation: &Observation,
        version: Option<Version>,
    ) -> Result<Rendered, PlanningError> {
        if moves.is_empty() {
            return Ok(self.no_file(decision, observation));
        }
        let origin = self.origin(edits, &observation.file)?;
        let present = self.present(&observation.file)?;
        let at = self.routing.names().filter_map(|name| {
            let node = match moves.contains(name) {
                true => Some(decision.active),
                false => self.stays_at(name, origin, decision.active, observation),
            };
            Some((name, node?))
        });
        let (entries, expected) = self.entries(at);
        let node = self.node(decision.active)?;
        // What is checked has the lines of the file on the host, or of what the template gives.
        let (checked, body) = match origin {
            Origin::Edited => {
                let edited = self.renderer.edit(present, &entries)?;
                let body = header::body(&edited);
                (edited, body)
            }
            Origin::Rendered | Origin::RenderedOverEdits => {
                let body = self.renderer.render(node, &entries)?;
                (body.clone(), body)
            }
        };
        let checked = String::from_utf8_lossy(&checked);
        let exists = observation.file.content.is_some();
        let present = String::from_utf8_lossy(present);
        let there = There {
            version: version.map(|Version(major, minor, patch)| (major, minor, patch)),
            present: exists.then_some(present.as_ref()),
            entries: forced_users(observation),
            settings: observation.processes.first().map(|first| &first.settings),
            consoles: &self.consoles,
        };
        let notes = ini::fit(&checked, origin, &expected, &there)
            .map_err(|findings| self.would_not_do(origin, &findings))?;
        Ok(Rendered {
            content: header::with_header(decision.generation, node.node_id, self.writer, &body),
            expected,
            notes,
        })
    }

    /// Nothing moves: there is only to resume and to confirm, which needs no file and must not fail
    /// for one.
    fn no_file(&self, decision: &Decision, observation: &Observation) -> Rendered {
        let at = self.routing.names().filter_map(|name| {
            let node = self.stays_at(name, Origin::Edited, decision.active, observation);
            Some((name, node?))
        });
        Rendered {
            content: Vec::new(),
            expected: self.entries(at).1,
            notes: Vec::new(),
        }
    }

    /// Whether the present file is edited, or a new one is rendered.
    fn origin(&self, edits: Edits, file: &FileState) -> Result<Origin, PlanningError> {
        let foreign = file.untouched == Some(false);
        match (self.renderer.has_template(), foreign, edits) {
            (_, true, Edits::Refuse) => Err(PlanningError::Foreign {
                pgbouncer: self.name.clone(),
            }),
            (false, _, _) | (true, true, Edits::Merge) => Ok(Origin::Edited),
            (true, true, Edits::Overwrite) => Ok(Origin::RenderedOverEdits),
            (true, false, _) => Ok(Origin::Rendered),
        }
    }

    /// The bytes of the present file, all of them: an edited part of it would replace the whole.
    fn present<'a>(&self, file: &'a FileState) -> Result<&'a [u8], PlanningError> {
        let Some(content) = &file.content else {
            return Ok(&[]);
        };
        if header::hash(&content.0) == file.hash {
            return Ok(&content.0);
        }
        Err(PlanningError::Cut {
            pgbouncer: self.name.clone(),
        })
    }

    /// The node of an entry that does not move. One that points at none is left alone where the
    /// rest of the file is; it cannot be rendered as it is.
    fn stays_at(
        &self,
        name: &str,
        origin: Origin,
        active: NodeId,
        observation: &Observation,
    ) -> Option<NodeId> {
        let mut processes = observation.processes.iter();
        let is_there = processes.any(|process| process.entries.contains_key(name));
        let at = observation.nodes_of(name, &self.routing).into_iter().next();
        match origin {
            Origin::Edited if is_there => at,
            Origin::Edited | Origin::Rendered | Origin::RenderedOverEdits => {
                Some(at.unwrap_or(active))
            }
        }
    }
}

/// Who logs in to a console.
pub(super) fn console_user(console: &Conninfo) -> ConsoleUser {
    let get = |key: &str| console.get(key).unwrap_or_default();
    let host = console.get("hostaddr").unwrap_or_else(|| get("host"));
    ConsoleUser {
        name: get("user").to_owned(),
        socket: host.starts_with(['/', '@']),
    }
}

/// Each entry with its forced user; without one as soon as one process has it without.
fn forced_users(observation: &Observation) -> BTreeMap<&str, Option<&str>> {
    let mut users = BTreeMap::new();
    for (name, state) in observation.processes.iter().flat_map(|p| &p.entries) {
        let forced = state.force_user.as_deref();
        let user = users.entry(name.as_str()).or_insert(forced);
        *user = user.and(forced);
    }
    users
}
