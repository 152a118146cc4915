//! Tests against real PostgreSQL, PgBouncer and sshd. One file for each topic.

#[path = "../fixture/mod.rs"]
mod fixture;

mod fixture_itself;
