//! Makes the plan of one PgBouncer: what is desired, as a file that was checked before it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::{Config, Edits, Node, NodeId, PausePolicy, PgBouncer, Template};
use crate::conninfo::server_address::ServerAddress;
use crate::core::debt::Debt;
use crate::core::plan::{Decision, Plan, Way, eviction};
use crate::core::pooler::{Observation, Version};
use crate::core::routing::Routing;
use crate::core::worker::may_be_left_paused;
use crate::generation::Generation;
use crate::render::ini::{ConsoleUser, Finding, Origin};
use crate::render::template::{Entries, RenderError, Renderer};
use crate::render::{header, ini};

mod file;
#[cfg(test)]
mod tests;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanningError {
    /// The configuration cannot be put into PgBouncer's words.
    #[error("conninfo of node {node}: {reason}")]
    Address {
        /// The node.
        node: NodeId,
        /// What is wrong with it.
        reason: String,
    },
    /// The operator's template cannot be read.
    #[error("template `{path}`: {reason}")]
    TemplateFile {
        /// The file.
        path: String,
        /// The operating system's words.
        reason: String,
    },
    /// The template does not render.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// What it rendered is not what PgBouncer must be given.
    #[error("the file rendered for `{pgbouncer}` would not do: {findings}")]
    Rendered {
        /// The PgBouncer.
        pgbouncer: String,
        /// Each finding, with its line.
        findings: String,
    },
    /// The file on the host, with our entries changed, must not be given to PgBouncer.
    #[error("the file of `{pgbouncer}` would not do with its entries changed: {findings}")]
    Edited {
        /// The PgBouncer.
        pgbouncer: String,
        /// Each finding, with its line.
        findings: String,
    },
    /// Somebody else edited the file, and the policy is to leave it alone then.
    #[error(
        "the file of `{pgbouncer}` was edited by hand since repoint wrote it, so it is not \
         touched; put it back, or keep the edits with `edits = \"merge\"`"
    )]
    Foreign {
        /// The PgBouncer.
        pgbouncer: String,
    },
    /// What was read is not the whole file.
    #[error(
        "the file of `{pgbouncer}` was not read to its end; it is too long for a configuration"
    )]
    Cut {
        /// The PgBouncer.
        pgbouncer: String,
    },
}

/// Everything needed to make plans for one PgBouncer.
#[derive(Debug)]
pub struct Planner {
    nodes: BTreeMap<NodeId, Node>,
    writer: NodeId,
    pause: PausePolicy,
    /// Whether agents pause it on suspicion.
    early_pause: bool,
    name: String,
    edits: Edits,
    consoles: Vec<ConsoleUser>,
    renderer: Renderer,
    routing: Routing,
}

/// A file that was made and checked.
#[derive(Debug)]
pub struct Rendered {
    /// Its bytes, header and all.
    pub content: Vec<u8>,
    /// Where each entry of ours points in it.
    pub expected: BTreeMap<String, ServerAddress>,
    /// What a person should know of it.
    pub notes: Vec<String>,
}

impl Planner {
    /// Compiles the template and renders it once for each node, so that a mistake is found now and
    /// not in an emergency. Reads the operator's template, if there is one.
    ///
    /// # Errors
    /// [`PlanningError`].
    pub fn new(config: &Config, pgbouncer: &PgBouncer) -> Result<Self, PlanningError> {
        let routing = Routing::new(pgbouncer, &config.nodes).map_err(|(node, error)| {
            PlanningError::Address {
                node,
                reason: error.to_string(),
            }
        })?;
        let text = match &pgbouncer.template {
            Template::File(path) => {
                let read = std::fs::read_to_string(path);
                Some(read.map_err(|error| PlanningError::TemplateFile {
                    path: path.display().to_string(),
                    reason: error.to_string(),
                })?)
            }
            Template::Edit | Template::Databases | Template::PgBouncerIni => None,
        };
        let planner = Self {
            nodes: config.nodes.clone(),
            writer: config.node_id,
            pause: pgbouncer.pause,
            early_pause: pgbouncer.early_pause.is_some(),
            name: pgbouncer.name.clone(),
            edits: pgbouncer.edits,
            consoles: pgbouncer.consoles.iter().map(file::console_user).collect(),
            renderer: Renderer::new(pgbouncer, text.as_deref())?,
            routing,
        };
        for node in config.nodes.keys() {
            planner.render_all_at(*node)?;
        }
        Ok(planner)
    }

    /// The addresses of its entries.
    #[must_use]
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// A name for an operation that no other one has.
    #[must_use]
    pub fn token(&self) -> String {
        token(self.writer)
    }

    /// The node whose agent makes the plans.
    #[must_use]
    pub fn writer(&self) -> NodeId {
        self.writer
    }

    /// The file in which every entry points at `node`, of no generation yet: what an operator
    /// begins with.
    ///
    /// # Errors
    /// [`PlanningError`].
    pub fn render_all_at(&self, node: NodeId) -> Result<Rendered, PlanningError> {
        let at = self.routing.names().map(|name| (name, node));
        let (entries, expected) = self.entries(at);
        let body = self.renderer.render(self.node(node)?, &entries)?;
        ini::check(&String::from_utf8_lossy(&body), None, &expected)
            .map_err(|findings| self.would_not_do(Origin::Rendered, &findings))?;
        Ok(Rendered {
            content: header::with_header(Generation::NONE, node, self.writer, &body),
            expected,
            notes: Vec::new(),
        })
    }

    /// The plan for `decision`: `moves` go to its active node, everything else stays where it is.
    /// What becomes of edits by others is as configured.
    ///
    /// # Errors
    /// [`PlanningError`]: nothing may be done.
    pub fn plan(
        &self,
        decision: &Decision,
        moves: &BTreeSet<String>,
        confirm: BTreeSet<String>,
        observation: &Observation,
        version: Option<Version>,
    ) -> Result<Plan, PlanningError> {
        let edits = self.edits;
        self.plan_under(edits, decision, moves, confirm, observation, version)
    }

    /// The same, with another policy for edits by others.
    ///
    /// # Errors
    /// As [`Planner::plan`].
    pub fn plan_under(
        &self,
        edits: Edits,
        decision: &Decision,
        moves: &BTreeSet<String>,
        confirm: BTreeSet<String>,
        observation: &Observation,
        version: Option<Version>,
    ) -> Result<Plan, PlanningError> {
        let rendered = self.file(edits, decision, moves, observation, version)?;
        let moving = rendered
            .expected
            .iter()
            .filter(|(name, _)| moves.contains(*name));
        let rows = observation
            .processes
            .iter()
            .flat_map(|process| &process.entries);
        let previous = rows
            .filter(|(name, _)| self.routing.has(name))
            .map(|(name, state)| (name.clone(), (state.host.clone(), state.port)))
            .collect();
        let mut also_resume = may_be_left_paused(observation, &self.routing);
        let paused = observation.paused(&self.routing);
        let kept_paused: BTreeSet<String> = paused.difference(&also_resume).cloned().collect();
        if self.early_pause {
            // Another agent may just be pausing what it suspects.
            also_resume.extend(moves.difference(&kept_paused).cloned());
        }
        Ok(Plan {
            token: token(self.writer),
            writer: self.writer,
            decision: decision.clone(),
            moves: moving
                .map(|(name, address)| (name.clone(), address.clone()))
                .collect(),
            confirm,
            previous,
            hash: header::hash(&rendered.content),
            content: rendered.content,
            expected: rendered.expected,
            hash_read: observation.file.hash.clone(),
            notes: rendered.notes,
            inherited: inherited(observation),
            replaces: (observation.file.operation.as_ref()).map(|known| known.token.clone()),
            by_ledger: false,
            agreed: None,
            prepared: false,
            evict: eviction(decision.fault, version, observation, moves),
            enable: crate::core::worker::left_disabled(observation),
            also_resume,
            pause: self.pause == PausePolicy::Always,
            pause_limit: Duration::ZERO,
            kept_paused,
            way: Way::Failed,
        })
    }

    /// What becomes of edits by others, as configured.
    #[must_use]
    pub fn edits(&self) -> Edits {
        self.edits
    }

    /// Where each entry points, for the file and for whoever reads it back.
    fn entries<'a>(
        &'a self,
        at: impl Iterator<Item = (&'a String, NodeId)>,
    ) -> (Entries<'a>, BTreeMap<String, ServerAddress>) {
        let mut entries = BTreeMap::new();
        let mut expected = BTreeMap::new();
        for (name, id) in at {
            let (Some(node), Some(address)) = (self.nodes.get(&id), self.routing.address(name, id))
            else {
                continue;
            };
            entries.insert(name.clone(), (node, address.clone()));
            expected.insert(name.clone(), address.clone());
        }
        (entries, expected)
    }

    fn node(&self, id: NodeId) -> Result<&Node, PlanningError> {
        self.nodes.get(&id).ok_or_else(|| PlanningError::Address {
            node: id,
            reason: "there is no such node".to_owned(),
        })
    }

    fn would_not_do(&self, origin: Origin, findings: &[Finding]) -> PlanningError {
        let pgbouncer = self.name.clone();
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let findings = findings.join("; ");
        match origin {
            Origin::Edited => PlanningError::Edited {
                pgbouncer,
                findings,
            },
            Origin::Rendered | Origin::RenderedOverEdits => PlanningError::Rendered {
                pgbouncer,
                findings,
            },
        }
    }
}

/// What an operation before this one owes, as it is on record.
fn inherited(observation: &Observation) -> Debt {
    let operation = observation.file.operation.as_ref();
    operation.map(|o| o.debt.clone()).unwrap_or_default()
}

/// Names an operation: no two of one fleet have the same.
fn token(writer: NodeId) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = since_1970
        .map(|length| length.as_secs())
        .unwrap_or_default();
    format!("{writer}-{}-{seconds}-{count}", std::process::id())
}
