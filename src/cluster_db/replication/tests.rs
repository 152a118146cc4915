use super::*;

fn found(adapter: &'static dyn Adapter, version: &str) -> Found {
    Found {
        adapter,
        version: version.to_owned(),
    }
}

#[test]
fn bdr_3_and_later_are_refused_and_earlier_ones_are_not() {
    for (version, supported) in [
        ("1.0.5.0", true),
        ("2.0.6.0", true),
        ("2", true),
        ("3.6.0", false),
        ("10.1", false),
        ("", false),
    ] {
        assert_eq!(
            found(&bdr::Bdr, version).is_supported(),
            supported,
            "{version}"
        );
    }
    assert!(found(&pgactive::Pgactive, "3.0").is_supported());
    assert!(!found(&pglogical::Pglogical, "3.7").is_supported());
}

#[test]
fn the_names_of_positions_are_those_of_the_servers_version() {
    for (version, expected) in [
        (
            90_426,
            "pg_xlog_location_diff(pg_catalog.pg_current_xlog_location(), s.restart_lsn)",
        ),
        (
            90_602,
            "pg_xlog_location_diff(pg_catalog.pg_current_xlog_location(), s.confirmed_flush_lsn)",
        ),
        (
            100_000,
            "pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.confirmed_flush_lsn)",
        ),
        (
            180_001,
            "pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.confirmed_flush_lsn)",
        ),
    ] {
        assert_eq!(slot_lag(version), format!("pg_catalog.{expected}"));
    }
}

#[test]
fn a_hostile_name_stays_a_value() {
    let name = "x'; DROP TABLE repmgr.nodes; --";
    for adapter in ADAPTERS {
        let mut statements = vec![adapter.slots_of_peer(name), adapter.carries(name, "nodes")];
        let tables = ["nodes".to_owned()];
        for change in adapter
            .offer(name, &tables)
            .iter()
            .chain(&adapter.take(name))
        {
            statements.extend([change.needed.clone(), change.sql.clone()]);
        }
        for statement in statements {
            assert!(!statement.contains("x'; DROP"), "{statement}");
        }
    }
}
