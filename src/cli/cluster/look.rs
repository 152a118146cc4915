//! Connecting to the nodes that `repmgr.nodes` describes, all at once, each under its own limit.
//!
//! A row may have been written by anybody: a connection string may be no such thing, name files
//! that never end, or servers that hang, and must cost nobody but itself. What follows from what
//! was seen is `core::cluster_view`'s.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::cluster_db::node_records::NodeRecord;
use crate::cluster_db::node_state;
use crate::conninfo::Conninfo;
use crate::core::cluster_view::Seen;
use crate::edge::postgres::{PostgresError, Session, attempt_limit, connect};

/// Nobody waits longer for a node, whatever `connect_timeout` its row holds.
const LIMIT_MAX: Duration = Duration::from_secs(10);
/// For the connection's own limit, whose message says more, to be first.
const GRACE: Duration = Duration::from_millis(200);

/// What is seen of each node, in the order of the records.
pub(super) async fn at_all(records: &[NodeRecord]) -> Vec<Seen> {
    join_all(records.iter().map(at)).await
}

async fn at(record: &NodeRecord) -> Seen {
    let conninfo = match parse(record) {
        Ok(conninfo) => conninfo,
        Err(seen) => return seen,
    };
    let limit = limit(&conninfo);
    let attempt = async {
        let session = open_parsed(conninfo).await?;
        let in_recovery = node_state::in_recovery(&session).await.map_err(judge)?;
        let timeline = node_state::timeline(&session).await.unwrap_or_default();
        Ok(Seen::Running {
            in_recovery,
            timeline,
        })
    };
    match timeout(limit + GRACE, attempt).await {
        Ok(Ok(seen) | Err(seen)) => seen,
        Err(_) => judge(PostgresError::Silent(limit)),
    }
}

/// A session on the node, or why there is none.
pub(super) async fn open(record: &NodeRecord) -> Result<Session, Seen> {
    open_parsed(parse(record)?).await
}

/// On a thread of its own: reading a file that the connection string names may block.
async fn open_parsed(conninfo: Conninfo) -> Result<Session, Seen> {
    let limit = limit(&conninfo);
    let runtime = Handle::current();
    let attempt = move || runtime.block_on(connect(&conninfo, limit));
    match timeout(limit + GRACE, tokio::task::spawn_blocking(attempt)).await {
        Ok(Ok(session)) => session.map_err(judge),
        Ok(Err(_)) => {
            let reason = "the attempt to connect broke off".to_owned();
            Err(Seen::Unreachable { reason })
        }
        Err(_) => Err(judge(PostgresError::Silent(limit))),
    }
}

fn parse(record: &NodeRecord) -> Result<Conninfo, Seen> {
    Conninfo::parse(&record.conninfo).map_err(|error| {
        let reason = format!("its conninfo cannot be read: {error}");
        Seen::Unreachable { reason }
    })
}

fn limit(conninfo: &Conninfo) -> Duration {
    attempt_limit(conninfo).min(LIMIT_MAX)
}

/// libpq's `PQping`: whoever says no lives, unless it says that it is not up (SQLSTATE 57P).
fn judge(error: PostgresError) -> Seen {
    let reason = error.to_string();
    match error {
        PostgresError::Answered { sqlstate, .. } if !sqlstate.starts_with("57P") => {
            Seen::Rejected { reason }
        }
        PostgresError::Answered { .. }
        | PostgresError::Refused(_)
        | PostgresError::Foreign(_)
        | PostgresError::Silent(_)
        | PostgresError::Unreachable(_)
        | PostgresError::Unusable(_) => Seen::Unreachable { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_own_limit_but_not_any() {
        for (conninfo, seconds) in [
            ("host=a", 2),
            ("host=a connect_timeout=5", 5),
            ("host=a connect_timeout=100000", 10),
            ("host=a connect_timeout=soon", 2),
        ] {
            let conninfo = Conninfo::parse(conninfo).unwrap();
            assert_eq!(limit(&conninfo), Duration::from_secs(seconds));
        }
    }

    #[test]
    fn who_says_no_lives_unless_it_says_that_it_is_not_up() {
        for (sqlstate, lives) in [("28P01", true), ("53300", true), ("57P03", false)] {
            let (sqlstate, message) = (sqlstate.to_owned(), "FATAL".to_owned());
            let seen = judge(PostgresError::Answered { sqlstate, message });
            assert_eq!(matches!(seen, Seen::Rejected { .. }), lives, "{seen:?}");
        }
        let seen = judge(PostgresError::Unusable("x".to_owned()));
        assert!(matches!(seen, Seen::Unreachable { .. }), "{seen:?}");
    }
}
