//! Decisions only: no sockets, files, processes, environment, and no clock.
//!
//! Time comes in as an argument called `now`, randomness as a number; what is decided goes out as a
//! value that can be printed. Whoever carries it out (`agent`, `cli`) makes no choices.

pub mod agreement;
pub mod cluster;
pub mod cluster_view;
pub mod debt;
pub mod event;
pub mod ledger;
pub mod node;
pub mod node_check;
pub mod notification;
pub mod outcome;
pub mod pause;
pub mod plan;
pub mod pooler;
pub mod primary;
pub mod retry;
pub mod routing;
pub mod sequence;
pub mod vote;
pub mod worker;
