//! `repoint` keeps PgBouncer pointed at a live PostgreSQL node.
//!
//! Observations of nodes and PgBouncers go in at one side; a decision (which node traffic goes to)
//! comes out of pure code; workers, one for each PgBouncer, move what is observed to what is
//! desired, and prove it by reading back.
//!
//! ```text
//! edge::postgres ── probe ──▶ core::node ──▶ core::cluster ──▶ Decision (generation)
//!                                                 ▲                 │
//! edge::admin_console, edge::remote ── look ──▶ core::worker ◀──────┘
//!                                                 │ Redirect
//!               render (exact bytes) ──▶ core::plan ──▶ core::sequence ── Step ──▶ agent::executor
//!                                         (`render` prints it and stops)  ◀── StepResult ──┘
//! ```
//!
//! # Map
//! - [`config`], [`conninfo`], [`generation`]: plain types, and how they are read.
//! - [`core`]: decisions only. No sockets, files, processes, environment or clock; `now` is an
//!   argument.
//! - [`render`]: templates to bytes, the header of a managed file, PgBouncer's ini grammar.
//! - [`edge`]: one file an outside thing.
//! - [`cluster_db`]: what lives in the database.
//! - [`agent`]: the only loops.
//! - [`cli`]: one file a command.
//!
//! # Import law (`tests/tidy.rs` enforces it)
//! `core` and `render` import nothing of ours but plain types, and not each other; `edge` and
//! `cluster_db` never import `agent` or `cli`; `cli` and `agent` may import all.

pub mod agent;
pub mod cli;
pub mod cluster_db;
pub mod config;
pub mod conninfo;
pub mod core;
pub mod edge;
pub mod generation;
pub mod render;
