//! What lives in the database: repmgr's tables, the agents' own, the claim, and the replication's
//! catalogues.
//!
//! SQL and its meaning; sessions come from `edge::postgres`. Decides nothing about traffic. Values
//! enter SQL only through [`literal`].

pub mod agents;
pub mod claim;
pub mod events;
pub mod node_records;
pub mod node_state;
pub mod promotion;
pub mod registration;
pub mod replication;
pub mod repmgr_tables;
pub mod schema;

/// A value as a string literal, whatever `standard_conforming_strings` says.
#[must_use]
pub fn literal(value: &str) -> String {
    let doubled = value.replace('\\', "\\\\").replace('\'', "''");
    // NUL cannot stand in any text of PostgreSQL.
    format!("E'{}'", doubled.replace('\0', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_ends_where_it_should() {
        assert_eq!(literal("node's \\ name"), "E'node''s \\\\ name'");
        assert_eq!(literal("a\0b"), "E'ab'");
    }
}
