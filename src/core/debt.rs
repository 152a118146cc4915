//! What an operation owes a PgBouncer until it has ended: the undo list, as it is kept on the host.
//!
//! Written there before the first PAUSE and before the RELOAD, so that whoever comes after a crash
//! can pay it. Only names and values that came from PgBouncer or the configuration; the host keeps
//! it as one line of JSON.
//!
//! It is the only journal. One beside the agent would be a second truth that is older than the
//! first: it cannot be read by the other agent or by the switch on the host (`edge/switch.sh`), and
//! whether what it tells of still holds is only known on the host. Where the host cannot be reached
//! when an agent starts, PgBouncer cannot be helped from there with a journal either; the record is
//! found at the first look, before anything else is done, whenever that is, and the switch has not
//! waited for it. Who removes the record by hand says that nothing is owed, and is believed: a
//! pause that is not on record is an operator's.

use std::collections::{BTreeMap, BTreeSet};

/// Settings of one process by name, as SHOW CONFIG gives them and SET takes them.
pub type Settings = BTreeMap<String, String>;

/// Never on record, because the record passes through a command line on the host: the first is SQL
/// of the operator, the second may hold a password. They are put back all the same by the redirect
/// that saw them.
const NOT_ON_RECORD: [&str; 2] = ["auth_query", "auth_ldap_options"];

/// The debt of one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Debt {
    /// Databases to resume.
    #[serde(default)]
    pub paused: BTreeSet<String>,
    /// Settings to set again, of each process in the order of the configuration's consoles; read
    /// with [`Debt::settings_of`]. The first has all; another has only what differs from the first,
    /// so that the record of many processes stays as short as that of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Settings>,
    /// Databases to enable.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub disabled: BTreeSet<String>,
}

impl Debt {
    /// With the settings of all processes, but for what is never put on record.
    #[must_use]
    pub fn with_settings(mut self, processes: &[Settings]) -> Self {
        let recorded = |settings: &Settings| {
            let mut settings = settings.clone();
            settings.retain(|key, _| !NOT_ON_RECORD.contains(&key.as_str()));
            settings
        };
        self.settings = processes.iter().map(recorded).collect();
        if let Some((first, others)) = self.settings.split_first_mut() {
            for other in others {
                other.retain(|key, value| first.get(key) != Some(value));
            }
        }
        self
    }

    /// What is to be set again in one process, by its place in the configuration; nothing in one
    /// that the record does not know.
    #[must_use]
    pub fn settings_of(&self, process: usize) -> Settings {
        let Some(own) = self.settings.get(process) else {
            return Settings::new();
        };
        let mut settings = self.settings.first().cloned().unwrap_or_default();
        settings.extend(own.clone());
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_record_gives_each_process_its_own_values_back() {
        let first = settings(&[("query_timeout", "77"), ("server_login_retry", "15")]);
        let second = settings(&[("query_timeout", "5"), ("server_login_retry", "15")]);
        let debt = Debt::default().with_settings(&[first.clone(), second.clone(), first.clone()]);
        let line = serde_json::to_string(&debt).unwrap();
        let settings =
            r#"{"query_timeout":"77","server_login_retry":"15"},{"query_timeout":"5"},{}"#;
        let text = format!(r#"{{"paused":[],"settings":[{settings}]}}"#);
        assert_eq!(line, text);
        let read: Debt = serde_json::from_str(&line).unwrap();
        for (process, meant) in [(0, &first), (1, &second), (2, &first)] {
            assert_eq!(&read.settings_of(process), meant);
        }
        assert_eq!(read.settings_of(3), Settings::new());
    }

    #[test]
    fn what_may_hold_a_secret_is_never_on_record() {
        let odd = settings(&[
            ("auth_ldap_options", "ldapbindpasswd=s"),
            ("auth_query", "q"),
        ]);
        let debt = Debt::default().with_settings(&[odd]);
        assert_eq!(debt.settings_of(0), Settings::new());
    }
}
