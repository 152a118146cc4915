//! The options of repmgr 3, 4 and 5, and what each does here. Values are [`super::settle`]'s.

use super::Role;

const STREAMING: &str = "streaming replication only, where repmgrd decides";
const CLONING: &str = "for cloning standbys with repmgr";
const REPMGR_COMMANDS: &str = "for repmgr's own commands on standbys";
const CHECKS: &str = "thresholds of repmgr's node check";
const SERVICE: &str = "systemd starts and stops the programs";
const REMOTE: &str = "each PgBouncer has an ssh of its own here";
const PROGRAMS: &str = "no program of PostgreSQL or repmgr is called";
const NOT_NEEDED: &str = "nothing is read from the data directory";
const TESTING: &str = "for testing repmgr";

/// By name, for looking through.
pub(super) const OPTIONS: [(&str, Role); 101] = [
    ("always_promote", Role::Unused(STREAMING)),
    ("archive_cleanup_command", Role::Unused(CLONING)),
    ("archive_ready_critical", Role::Unused(CHECKS)),
    ("archive_ready_warning", Role::Unused(CHECKS)),
    ("archiver_lag_critical", Role::Unused(CHECKS)),
    ("archiver_lag_warning", Role::Unused(CHECKS)),
    ("async_query_timeout", Role::Unused(STREAMING)),
    ("barman_config", Role::Unused(CLONING)),
    ("barman_host", Role::Unused(CLONING)),
    ("barman_server", Role::Unused(CLONING)),
    ("bdr_local_monitoring_only", Role::Read),
    ("bdr_recovery_timeout", Role::Read),
    ("child_nodes_check_interval", Role::Unused(STREAMING)),
    (
        "child_nodes_connected_include_witness",
        Role::Unused(STREAMING),
    ),
    ("child_nodes_connected_min_count", Role::Unused(STREAMING)),
    ("child_nodes_disconnect_command", Role::Unused(STREAMING)),
    ("child_nodes_disconnect_min_count", Role::Unused(STREAMING)),
    ("child_nodes_disconnect_timeout", Role::Unused(STREAMING)),
    ("cluster", Role::Renamed("")),
    ("config_directory", Role::Unused(CLONING)),
    ("connection_check_query", Role::Unused(TESTING)),
    (
        "connection_check_type",
        Role::Unused("every check is a login and a query"),
    ),
    ("conninfo", Role::Read),
    ("data_directory", Role::Unused(NOT_NEEDED)),
    ("degraded_monitoring_timeout", Role::Unused(STREAMING)),
    ("election_rerun_interval", Role::Unused(STREAMING)),
    ("event_notification_command", Role::Read),
    ("event_notifications", Role::Read),
    (
        "failover",
        Role::Unused("the daemon always acts; `repoint service pause` keeps it from it"),
    ),
    ("failover_delay", Role::Unused(TESTING)),
    ("failover_validation_command", Role::Unused(STREAMING)),
    ("follow_command", Role::Unused(STREAMING)),
    ("location", Role::Read),
    ("log_facility", Role::Read),
    ("log_file", Role::Read),
    ("log_level", Role::Read),
    ("log_status_interval", Role::Read),
    ("logfacility", Role::Renamed("log_facility")),
    ("logfile", Role::Renamed("log_file")),
    ("loglevel", Role::Renamed("log_level")),
    (
        "master_reponse_timeout",
        Role::Renamed("async_query_timeout"),
    ),
    (
        "master_response_timeout",
        Role::Renamed("async_query_timeout"),
    ),
    ("monitor_interval_secs", Role::Read),
    (
        "monitoring_history",
        Role::Unused("no history of lag is kept"),
    ),
    ("node", Role::Renamed("node_id")),
    ("node_id", Role::Read),
    ("node_name", Role::Read),
    ("node_rejoin_timeout", Role::Unused(REPMGR_COMMANDS)),
    ("passfile", Role::Unused(CLONING)),
    ("pg_backupapi_backup_id", Role::Unused(CLONING)),
    ("pg_backupapi_host", Role::Unused(CLONING)),
    ("pg_backupapi_node_name", Role::Unused(CLONING)),
    ("pg_backupapi_remote_ssh_command", Role::Unused(CLONING)),
    ("pg_basebackup_options", Role::Unused(CLONING)),
    ("pg_bindir", Role::Unused(PROGRAMS)),
    ("pg_ctl_options", Role::Unused(PROGRAMS)),
    ("primary_follow_timeout", Role::Unused(REPMGR_COMMANDS)),
    ("primary_notification_timeout", Role::Unused(STREAMING)),
    ("primary_visibility_consensus", Role::Unused(STREAMING)),
    ("priority", Role::Read),
    ("promote_check_interval", Role::Unused(REPMGR_COMMANDS)),
    ("promote_check_timeout", Role::Unused(REPMGR_COMMANDS)),
    ("promote_command", Role::Unused(STREAMING)),
    ("promote_delay", Role::Unused(TESTING)),
    ("reconnect_attempts", Role::Read),
    ("reconnect_interval", Role::Read),
    ("reconnect_loop_sync", Role::Unused(TESTING)),
    ("recovery_min_apply_delay", Role::Unused(CLONING)),
    ("replication_lag_critical", Role::Unused(CHECKS)),
    ("replication_lag_warning", Role::Unused(CHECKS)),
    ("replication_type", Role::Read),
    ("replication_user", Role::Unused(CLONING)),
    ("repmgr_bindir", Role::Unused(PROGRAMS)),
    (
        "repmgrd_exit_on_inactive_node",
        Role::Unused("an inactive node is watched, not left"),
    ),
    ("repmgrd_pid_file", Role::Read),
    ("repmgrd_service_start_command", Role::Unused(SERVICE)),
    ("repmgrd_service_stop_command", Role::Unused(SERVICE)),
    ("repmgrd_standby_startup_timeout", Role::Unused(STREAMING)),
    ("repoint_pgbouncers", Role::Read),
    ("restore_command", Role::Unused(CLONING)),
    (
        "retry_promote_interval_secs",
        Role::Renamed("primary_notification_timeout"),
    ),
    ("rsync_options", Role::Unused(REMOTE)),
    ("service_promote_command", Role::Unused(SERVICE)),
    ("service_reload_command", Role::Unused(SERVICE)),
    ("service_restart_command", Role::Unused(SERVICE)),
    ("service_start_command", Role::Unused(SERVICE)),
    ("service_stop_command", Role::Unused(SERVICE)),
    ("shutdown_check_timeout", Role::Unused(REPMGR_COMMANDS)),
    ("sibling_nodes_disconnect_timeout", Role::Unused(STREAMING)),
    ("ssh_options", Role::Unused(REMOTE)),
    ("standby_disconnect_on_failover", Role::Unused(STREAMING)),
    ("standby_follow_restart", Role::Unused(REPMGR_COMMANDS)),
    ("standby_follow_timeout", Role::Unused(REPMGR_COMMANDS)),
    ("standby_reconnect_timeout", Role::Unused(REPMGR_COMMANDS)),
    ("tablespace_mapping", Role::Unused(CLONING)),
    ("upstream_node", Role::Renamed("")),
    ("use_primary_conninfo_password", Role::Unused(CLONING)),
    ("use_replication_slots", Role::Unused(CLONING)),
    ("wal_receive_check_timeout", Role::Unused(REPMGR_COMMANDS)),
    (
        "witness_repl_nodes_sync_interval_secs",
        Role::Renamed("witness_sync_interval"),
    ),
    ("witness_sync_interval", Role::Unused(STREAMING)),
];

/// What the option of this name does here.
pub(super) fn role(name: &str) -> Role {
    let found = OPTIONS.iter().find(|(known, _)| *known == name);
    found.map_or(Role::Unknown, |(_, role)| *role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_new_names_are_in_it() {
        assert!(OPTIONS.is_sorted_by(|a, b| a.0 < b.0));
        for (name, role_of_name) in OPTIONS {
            if let Role::Renamed(new) = role_of_name {
                assert!(
                    new.is_empty() || !matches!(role(new), Role::Renamed(_) | Role::Unknown),
                    "{name}"
                );
            }
        }
    }
}
