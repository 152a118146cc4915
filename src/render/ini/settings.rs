//! The settings of PgBouncer: which version knows which, and what it takes for a value.
//!
//! From PgBouncer's changelog and documentation, and compared with what 1.18.0, 1.24.1 and 1.25.2
//! list in SHOW CONFIG, and with what 1.18.0 and 1.24.1 take in `[users]` and `[databases]`.
//! Versions before 1.12 are not supported, so what they had counts as there always.

use super::check::Version;

/// The newest version that the tables know. What a newer one has is its own affair: a key is never
/// wrong there because it is not in a table.
pub(super) const NEWEST_KNOWN: Version = (1, 25, u32::MAX);

/// What a setting takes. From anything else PgBouncer reads no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything, also nothing.
    Text,
    /// A whole number, also octal or hexadecimal. A flag is 0 or 1.
    Number,
    /// Seconds, also with a fraction.
    Time,
    /// One of these words, in upper or lower case.
    Word(&'static [&'static str]),
}

use Kind::{Number, Text, Time, Word};

/// Any version that is supported.
const ALWAYS: Version = (0, 0, 0);

pub(super) const POOL_MODES: &[&str] = &["session", "transaction", "statement"];
const SSL_MODES: &[&str] = &[
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];
const AUTH_TYPES: &[&str] = &[
    "any",
    "trust",
    "plain",
    "md5",
    "cert",
    "hba",
    "pam",
    "ldap",
    "scram-sha-256",
];

/// `[pgbouncer]`: the setting, the version that brought it, and what it takes. No version that is
/// supported has removed one.
const SETTINGS: [(&str, Version, Kind); 98] = [
    ("admin_users", ALWAYS, Text),
    ("application_name_add_host", ALWAYS, Number),
    ("auth_dbname", (1, 19, 0), Text),
    ("auth_file", ALWAYS, Text),
    ("auth_hba_file", ALWAYS, Text),
    ("auth_ident_file", (1, 23, 0), Text),
    ("auth_ldap_options", (1, 25, 0), Text),
    ("auth_query", ALWAYS, Text),
    ("auth_type", ALWAYS, Word(AUTH_TYPES)),
    ("auth_user", ALWAYS, Text),
    ("autodb_idle_timeout", ALWAYS, Time),
    ("cancel_wait_timeout", (1, 19, 0), Time),
    ("client_idle_timeout", ALWAYS, Time),
    ("client_login_timeout", ALWAYS, Time),
    ("client_tls13_ciphers", (1, 25, 0), Text),
    ("client_tls_ca_file", ALWAYS, Text),
    ("client_tls_cert_file", ALWAYS, Text),
    ("client_tls_ciphers", ALWAYS, Text),
    ("client_tls_dheparams", ALWAYS, Text),
    ("client_tls_ecdhcurve", ALWAYS, Text),
    ("client_tls_key_file", ALWAYS, Text),
    ("client_tls_protocols", ALWAYS, Text),
    ("client_tls_sslmode", ALWAYS, Word(SSL_MODES)),
    ("conffile", ALWAYS, Text),
    ("default_pool_size", ALWAYS, Number),
    ("disable_pqexec", ALWAYS, Number),
    ("dns_max_ttl", ALWAYS, Time),
    ("dns_nxdomain_ttl", ALWAYS, Time),
    ("dns_zone_check_period", ALWAYS, Time),
    ("idle_transaction_timeout", ALWAYS, Time),
    ("ignore_startup_parameters", ALWAYS, Text),
    ("job_name", ALWAYS, Text),
    ("listen_addr", ALWAYS, Text),
    ("listen_backlog", ALWAYS, Number),
    ("listen_port", ALWAYS, Number),
    ("log_connections", ALWAYS, Number),
    ("log_disconnections", ALWAYS, Number),
    ("log_pooler_errors", ALWAYS, Number),
    ("log_stats", ALWAYS, Number),
    ("logfile", ALWAYS, Text),
    ("max_client_conn", ALWAYS, Number),
    ("max_db_client_connections", (1, 24, 0), Number),
    ("max_db_connections", ALWAYS, Number),
    ("max_packet_size", ALWAYS, Number),
    ("max_prepared_statements", (1, 21, 0), Number),
    ("max_user_client_connections", (1, 24, 0), Number),
    ("max_user_connections", ALWAYS, Number),
    ("min_pool_size", ALWAYS, Number),
    ("peer_id", (1, 19, 0), Number),
    ("pidfile", ALWAYS, Text),
    ("pkt_buf", ALWAYS, Number),
    ("pool_mode", ALWAYS, Word(POOL_MODES)),
    ("query_timeout", ALWAYS, Time),
    ("query_wait_notify", (1, 25, 0), Number),
    ("query_wait_timeout", ALWAYS, Time),
    ("reserve_pool_size", ALWAYS, Number),
    ("reserve_pool_timeout", ALWAYS, Time),
    ("resolv_conf", ALWAYS, Text),
    ("sbuf_loopcnt", ALWAYS, Number),
    ("scram_iterations", (1, 25, 0), Number),
    ("server_check_delay", ALWAYS, Time),
    ("server_check_query", ALWAYS, Text),
    ("server_connect_timeout", ALWAYS, Time),
    ("server_fast_close", ALWAYS, Number),
    ("server_idle_timeout", ALWAYS, Time),
    ("server_lifetime", ALWAYS, Time),
    ("server_login_retry", ALWAYS, Time),
    ("server_reset_query", ALWAYS, Text),
    ("server_reset_query_always", ALWAYS, Number),
    ("server_round_robin", ALWAYS, Number),
    ("server_tls13_ciphers", (1, 25, 0), Text),
    ("server_tls_ca_file", ALWAYS, Text),
    ("server_tls_cert_file", ALWAYS, Text),
    ("server_tls_ciphers", ALWAYS, Text),
    ("server_tls_key_file", ALWAYS, Text),
    ("server_tls_protocols", ALWAYS, Text),
    ("server_tls_sslmode", ALWAYS, Word(SSL_MODES)),
    ("so_reuseport", ALWAYS, Number),
    ("stats_period", ALWAYS, Number),
    ("stats_users", ALWAYS, Text),
    ("suspend_timeout", ALWAYS, Time),
    ("syslog", ALWAYS, Number),
    ("syslog_facility", ALWAYS, Text),
    ("syslog_ident", ALWAYS, Text),
    ("tcp_defer_accept", ALWAYS, Number),
    ("tcp_keepalive", ALWAYS, Number),
    ("tcp_keepcnt", ALWAYS, Number),
    ("tcp_keepidle", ALWAYS, Number),
    ("tcp_keepintvl", ALWAYS, Number),
    ("tcp_socket_buffer", ALWAYS, Number),
    ("tcp_user_timeout", (1, 13, 0), Number),
    ("track_extra_parameters", (1, 20, 0), Text),
    ("transaction_timeout", (1, 25, 0), Time),
    ("unix_socket_dir", ALWAYS, Text),
    ("unix_socket_group", ALWAYS, Text),
    ("unix_socket_mode", ALWAYS, Number),
    ("user", ALWAYS, Text),
    ("verbose", ALWAYS, Number),
];

/// Settings that PgBouncer reads when it starts and skips in a RELOAD, whatever their value.
const AT_START: [&str; 14] = [
    "disable_pqexec",
    "job_name",
    "listen_addr",
    "listen_backlog",
    "listen_port",
    "pidfile",
    "pkt_buf",
    "resolv_conf",
    "so_reuseport",
    "track_extra_parameters",
    "unix_socket_dir",
    "unix_socket_group",
    "unix_socket_mode",
    "user",
];

/// Keys of a line under `[users]`.
const USER_KEYS: [(&str, Version); 9] = [
    ("client_idle_timeout", (1, 24, 0)),
    ("idle_transaction_timeout", (1, 24, 0)),
    ("max_user_client_connections", (1, 24, 0)),
    ("max_user_connections", ALWAYS),
    ("pool_mode", ALWAYS),
    ("pool_size", (1, 23, 0)),
    ("query_timeout", (1, 24, 0)),
    ("reserve_pool_size", (1, 24, 0)),
    ("transaction_timeout", (1, 25, 0)),
];

/// Keys of a line under `[peers]`.
const PEER_KEYS: [(&str, Version); 3] = [
    ("host", (1, 19, 0)),
    ("pool_size", (1, 19, 0)),
    ("port", (1, 19, 0)),
];

/// Since when there is a setting, and what it takes.
pub(super) fn setting(name: &str) -> Option<(Version, Kind)> {
    let found = SETTINGS.iter().find(|(known, _, _)| *known == name)?;
    Some((found.1, found.2))
}

/// Whether a RELOAD leaves the setting alone.
pub(super) fn is_read_at_start(name: &str) -> bool {
    AT_START.contains(&name)
}

/// The keys of a line of `[users]` or `[peers]`, with the version that brought each; `None`: the
/// lines of that section have none.
pub(super) fn keys_of_section(section: &str) -> Option<&'static [(&'static str, Version)]> {
    match section {
        "users" => Some(&USER_KEYS),
        "peers" => Some(&PEER_KEYS),
        _ => None,
    }
}

impl Kind {
    /// Whether PgBouncer takes the value.
    pub(super) fn takes(self, value: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Number => is_number(value),
            Self::Time => value.parse::<f64>().is_ok_and(|seconds| seconds >= 0.0),
            Self::Word(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
        }
    }

    /// What to write, for people.
    pub(super) fn expected(self) -> String {
        match self {
            Self::Text => "any text".to_owned(),
            Self::Number => "a whole number (1 and 0 for yes and no)".to_owned(),
            Self::Time => "a number of seconds, without a unit".to_owned(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
        }
    }
}

/// What C's `strtol` reads to the end.
fn is_number(value: &str) -> bool {
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    let hexadecimal = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What SHOW CONFIG listed, of the versions that were asked.
    const OF_1_18: usize = 84;
    const OF_1_24: usize = 92;
    const OF_1_25: usize = 98;

    #[test]
    fn the_table_has_as_many_settings_as_each_version_lists() {
        let known = |version: Version| {
            let settings = SETTINGS.iter().filter(|(_, since, _)| *since <= version);
            settings.count()
        };
        assert_eq!(known((1, 18, 0)), OF_1_18);
        assert_eq!(known((1, 24, 1)), OF_1_24);
        assert_eq!(known((1, 25, 2)), OF_1_25);
        let names: BTreeSet<_> = SETTINGS.iter().map(|(name, _, _)| name).collect();
        assert_eq!(names.len(), OF_1_25);
        assert!(
            names.iter().eq(SETTINGS
                .iter()
                .map(|(name, _, _)| name)
                .collect::<Vec<_>>()
                .iter())
        );
        for name in AT_START {
            assert!(setting(name).is_some(), "{name}");
        }
    }

    #[test]
    fn values_are_taken_as_pgbouncer_takes_them() {
        for (name, value, taken) in [
            ("listen_port", "6432", true),
            ("unix_socket_mode", "0777", true),
            ("unix_socket_mode", "0x1ff", true),
            ("so_reuseport", "true", false),
            ("verbose", "", false),
            ("verbose", "1 ; much", false),
            ("server_login_retry", "0.02", true),
            ("server_login_retry", "15s", false),
            ("server_login_retry", "-1", false),
            ("pool_mode", "Transaction", true),
            ("pool_mode", "bogus", false),
            ("client_tls_sslmode", "on", false),
            ("ignore_startup_parameters", "", true),
        ] {
            let (_, kind) = setting(name).unwrap();
            assert_eq!(kind.takes(value), taken, "{name} = {value}");
        }
        assert_eq!(setting("no_such_setting"), None);
    }
}
