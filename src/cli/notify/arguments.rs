//! The command line of `notify`, in both of its forms, as repmgr's placeholders.

use anyhow::bail;

use crate::core::notification::Told;

/// What to do instead of all that needs the right number of arguments.
const QUOTES: &str =
    "put quotes around \"%c\", \"%a\", \"%d\" and \"%t\" in event_notification_command";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// %n: the node that failed (bdr_failover), or the one that was promoted.
    node_id: Option<String>,
    /// %e: the event; the configuration's act_on names those that are acted on.
    event: Option<String>,
    /// %s: 1 or 0.
    success: Option<String>,
    /// "%c": how to connect to the node that traffic goes to; without it, the configuration's, or
    /// that of repmgr.nodes.
    #[arg(allow_hyphen_values = true)]
    next_conninfo: Option<String>,
    /// "%a": its name; without it, the node that did not fail.
    #[arg(allow_hyphen_values = true)]
    next_node_name: Option<String>,
    #[arg(hide = true, allow_hyphen_values = true)]
    one_too_many: Vec<String>,
    /// No event: find out where traffic belongs, and finish what is left to do. Safe at any time.
    #[arg(long)]
    pub(super) again: bool,
    /// Waits until the debts of redirects are due, and pays them.
    #[arg(long, hide = true)]
    pub(super) settle: bool,
    /// Seconds after which it ends, with what is known then.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub(super) timeout: f64,
    #[command(flatten)]
    long: Long,
}

/// The same by name. What repmgr leaves empty may vanish where it is not quoted.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options instead of arguments, any of which may be left out")]
struct Long {
    /// NODE_ID.
    #[arg(id = "long_node_id", long = "node-id", value_name = "%n")]
    #[arg(num_args = 0..=1, default_missing_value = "")]
    node_id: Option<String>,
    /// EVENT.
    #[arg(id = "long_event", long = "event", value_name = "%e")]
    #[arg(num_args = 0..=1, default_missing_value = "")]
    event: Option<String>,
    /// SUCCESS.
    #[arg(id = "long_success", long = "success", value_name = "%s")]
    #[arg(num_args = 0..=1, default_missing_value = "")]
    success: Option<String>,
    /// NEXT_CONNINFO.
    #[arg(long, value_name = "\"%c\"", allow_hyphen_values = true)]
    conninfo: Option<String>,
    /// NEXT_NODE_NAME.
    #[arg(long, value_name = "\"%a\"", allow_hyphen_values = true)]
    node_name: Option<String>,
    /// When it happened; not used.
    #[arg(long, value_name = "\"%t\"", allow_hyphen_values = true)]
    timestamp: Option<String>,
    /// repmgr's sentence; not used.
    #[arg(long, value_name = "\"%d\"", allow_hyphen_values = true)]
    details: Option<String>,
    /// The primary before.
    #[arg(long, value_name = "\"%p\"", num_args = 0..=1, default_missing_value = "")]
    primary_id: Option<String>,
}

impl Arguments {
    /// What repmgrd said, whichever form it took.
    pub(super) fn told(&self) -> anyhow::Result<Told> {
        let positional = [
            &self.node_id,
            &self.event,
            &self.success,
            &self.next_conninfo,
            &self.next_node_name,
        ];
        let long = &self.long;
        let named = [
            &long.node_id,
            &long.event,
            &long.success,
            &long.conninfo,
            &long.node_name,
        ];
        for (name, value) in [
            ("--conninfo", &long.conninfo),
            ("--node-name", &long.node_name),
            ("--timestamp", &long.timestamp),
            ("--details", &long.details),
        ] {
            let is_option = |value: &&String| OPTIONS.contains(&value.as_str());
            if let Some(next) = value.as_ref().filter(is_option) {
                bail!("{name} is followed by {next}; {QUOTES}");
            }
        }
        if !self.one_too_many.is_empty() {
            bail!("there are too many arguments; {QUOTES}");
        }
        let given = |all: &[&Option<String>]| all.iter().any(|value| value.is_some());
        let by_name = given(&named) || given(&[&long.timestamp, &long.details, &long.primary_id]);
        if by_name && given(&positional) {
            bail!("there are arguments beside --event and the like; {QUOTES}");
        }
        let values = if by_name { named } else { positional };
        let [node_id, event, success, next_conninfo, next_node_name] =
            values.map(|value| value.clone().unwrap_or_default());
        let (timestamp, details) = (&long.timestamp, &long.details);
        tracing::debug!(node_id, event, success, ?timestamp, ?details, "notified");
        Ok(Told {
            node_id,
            event,
            success,
            next_conninfo,
            next_node_name,
            primary_id: long.primary_id.clone().unwrap_or_default(),
        })
    }
}

const OPTIONS: [&str; 8] = [
    "--node-id",
    "--event",
    "--success",
    "--conninfo",
    "--node-name",
    "--timestamp",
    "--details",
    "--primary-id",
];

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn told(words: &[&str]) -> Result<Told, String> {
        let line = Line::try_parse_from(["notify"].iter().chain(words));
        let line = line.map_err(|error| error.to_string())?;
        line.arguments.told().map_err(|error| error.to_string())
    }

    fn expected(words: [&str; 6]) -> Told {
        let [
            node_id,
            event,
            success,
            next_conninfo,
            next_node_name,
            primary_id,
        ] = words.map(str::to_owned);
        Told {
            node_id,
            event,
            success,
            next_conninfo,
            next_node_name,
            primary_id,
        }
    }

    #[test]
    fn both_forms_say_the_same() {
        let short = told(&["2", "bdr_failover", "1", "host=x", "node1"]);
        let all = ["2", "bdr_failover", "1", "host=x", "node1", ""];
        assert_eq!(short, Ok(expected(all)));
        let long = told(&[
            "--node-id",
            "2",
            "--event",
            "bdr_failover",
            "--success",
            "1",
            "--conninfo",
            "host=x",
            "--node-name",
            "node1",
            "--timestamp",
            "2026-11-23 02:28:27.386238+00",
            "--details",
            "node \"node2\" (ID: 2) detected as failed",
            "--primary-id",
            "",
        ]);
        assert_eq!(long, short);
    }

    #[test]
    fn any_of_them_may_be_empty_or_missing() {
        let some = ["2", "standby_promote", "1", "", "", ""];
        let short = told(&["2", "standby_promote", "1", "", ""]);
        assert_eq!(short, Ok(expected(some)));
        assert_eq!(told(&["2", "standby_promote", "1"]), short);
        assert_eq!(
            told(&[
                "--event",
                "standby_promote",
                "--node-id",
                "2",
                "--success",
                "1"
            ]),
            short
        );
        let vanished = told(&[
            "--node-id",
            "2",
            "--event",
            "standby_promote",
            "--success",
            "--conninfo",
            "",
            "--node-name",
            "",
            "--timestamp",
            "",
            "--details",
            "",
            "--primary-id",
        ]);
        let none = ["2", "standby_promote", "", "", "", ""];
        assert_eq!(vanished, Ok(expected(none)));
        let last = told(&["--node-id", "2", "--event", "x", "--primary-id", "1"]);
        assert_eq!(last, Ok(expected(["2", "x", "", "", "", "1"])));
        assert_eq!(told(&[]), Ok(Told::default()));
    }

    #[test]
    fn values_may_begin_with_a_hyphen() {
        let short = told(&["2", "bdr_failover", "1", "-x", "--name"]);
        let all = ["2", "bdr_failover", "1", "-x", "--name", ""];
        assert_eq!(short, Ok(expected(all)));
        let long = told(&[
            "--node-id",
            "2",
            "--event",
            "bdr_failover",
            "--success",
            "1",
            "--conninfo",
            "-x",
            "--node-name",
            "--name",
            "--details",
            "-- promoted",
        ]);
        assert_eq!(long, short);
    }

    #[test]
    fn quotes_that_are_missing_are_noticed() {
        for words in [
            vec!["--conninfo", "--node-name", "node1"],
            vec![
                "--event",
                "x",
                "--conninfo",
                "host=x",
                "dbname=y",
                "--node-name",
                "n",
            ],
            vec!["--event", "x", "--timestamp", "2026-11-23", "02:28:27+00"],
            vec![
                "2",
                "bdr_failover",
                "1",
                "host=x",
                "dbname=y",
                "user=z",
                "node1",
            ],
        ] {
            let error = told(&words).expect_err("it cannot be meant");
            assert!(error.contains("put quotes around"), "{words:?}: {error}");
        }
    }
}
