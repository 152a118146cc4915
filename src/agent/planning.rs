//! Makes the plan of one PgBouncer: what is desired, rendered, and checked before it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{Config, Node, NodeId, PgBouncer, Template};
use crate::conninfo::server_address::ServerAddress;
use crate::core::plan::{Decision, Plan};
use crate::core::pooler::{Observation, Version};
use crate::core::routing::Routing;
use crate::core::worker::HASTY;
use crate::generation::Generation;
use crate::render::template::{RenderError, Renderer};
use crate::render::{header, ini};

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
}

/// Everything needed to make plans for one PgBouncer.
#[derive(Debug)]
pub struct Planner {
    nodes: BTreeMap<NodeId, Node>,
    writer: NodeId,
    pause: bool,
    name: String,
    renderer: Renderer,
    routing: Routing,
}

/// A file that was rendered and checked.
#[derive(Debug)]
pub struct Rendered {
    /// Its bytes, header and all.
    pub content: Vec<u8>,
    /// Where each entry points in it.
    pub expected: BTreeMap<String, ServerAddress>,
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
            Template::Databases | Template::PgBouncerIni => None,
        };
        let planner = Self {
            nodes: config.nodes.clone(),
            writer: config.node_id,
            pause: pgbouncer.pause,
            name: pgbouncer.name.clone(),
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

    /// The file in which every entry points at `node`, of no generation yet: what an operator
    /// begins with.
    ///
    /// # Errors
    /// [`PlanningError`].
    pub fn render_all_at(&self, node: NodeId) -> Result<Rendered, PlanningError> {
        let at = self
            .routing
            .names()
            .map(|name| (name.clone(), node))
            .collect();
        self.render(Generation::NONE, node, &at, None)
    }

    /// The plan for `decision`: `moves` go to its active node, everything else stays where it is.
    ///
    /// # Errors
    /// [`PlanningError`].
    pub fn plan(
        &self,
        decision: &Decision,
        moves: &BTreeSet<String>,
        confirm: BTreeSet<String>,
        observation: &Observation,
        version: Option<Version>,
    ) -> Result<Plan, PlanningError> {
        let active = decision.active;
        let node_of = |name: &String| {
            let stays = observation.nodes_of(name, &self.routing);
            let stays = stays.into_iter().next().filter(|_| !moves.contains(name));
            // An entry that points at none of the nodes cannot be rendered as it is.
            (name.clone(), stays.unwrap_or(active))
        };
        let at: BTreeMap<String, NodeId> = self.routing.names().map(node_of).collect();
        let rendered = self.render(decision.generation, active, &at, version)?;
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
        Ok(Plan {
            token: token(self.writer),
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
            inherited: inherited(observation),
            also_resume: crate::core::worker::left_paused(observation, &self.routing),
            pause: self.pause,
        })
    }

    fn render(
        &self,
        generation: Generation,
        active: NodeId,
        at: &BTreeMap<String, NodeId>,
        version: Option<Version>,
    ) -> Result<Rendered, PlanningError> {
        let mut entries = BTreeMap::new();
        let mut expected = BTreeMap::new();
        for (name, id) in at {
            let (Some(node), Some(address)) = (self.nodes.get(id), self.routing.address(name, *id))
            else {
                continue;
            };
            entries.insert(name.clone(), (node, address.clone()));
            expected.insert(name.clone(), address.clone());
        }
        let Some(node) = self.nodes.get(&active) else {
            let reason = "there is no such node".to_owned();
            return Err(PlanningError::Address {
                node: active,
                reason,
            });
        };
        let body = self.renderer.render(node, &entries)?;
        let version = version.map(|Version(major, minor, patch)| (major, minor, patch));
        ini::check(&body, version, &expected).map_err(|findings| {
            let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
            PlanningError::Rendered {
                pgbouncer: self.name.clone(),
                findings: findings.join("; "),
            }
        })?;
        let content = header::with_header(generation, active, self.writer, &body);
        Ok(Rendered { content, expected })
    }
}

/// What an operation before this one owes: its value is in force, and it is on record what to set.
fn inherited(observation: &Observation) -> Option<String> {
    let mut processes = observation.processes.iter();
    let debt = &observation.file.operation.as_ref()?.debt;
    let value = debt.server_login_retry.clone()?;
    processes
        .any(|process| process.server_login_retry == HASTY)
        .then_some(value)
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
