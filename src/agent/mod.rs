//! The only loops: node monitors, the coordinator, one worker for each PgBouncer.
//!
//! Connects `core`, which decides, with `edge`, which acts. Makes no decision of its own: each task
//! asks its state machine what to do, does it, and hands back what happened. Every wait has a
//! deadline; a task that hangs delays no other.

pub mod daemon;
pub mod edits;
pub mod executor;
pub mod fleet;
pub mod heartbeat;
pub mod links;
pub mod membership;
pub mod planned;
pub mod planning;
pub mod pooler;
pub mod recorder;
pub mod sockets;
pub mod witnesses;

mod claim;
mod nodes;
mod words;

/// Target of an event that is a NOTICE in repmgr's words: `tracing::info!(target: NOTICE, …)`.
/// `cli::log` shows it.
pub const NOTICE: &str = "repoint::notice";
/// Target of an event that is the DETAIL of the one before it, at that one's level.
pub const DETAIL: &str = "repoint::detail";
