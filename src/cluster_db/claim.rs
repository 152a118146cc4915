//! The claim: which of two agents acts.
//!
//! An advisory lock on the surviving node, held by a session. It frees itself when the session
//! ends: at once when the holder dies, within seconds when its host vanishes, because the session
//! tells the server to look (`tcp_keepalives_*`, and `tcp_user_timeout` from PostgreSQL 12 on). A
//! hint that saves work, no fence: the order of generations is what keeps two agents apart.

use std::time::Duration;

use super::{agents, literal};
use crate::config::NodeId;
use crate::conninfo::Conninfo;
use crate::core::pause::Pause;
use crate::edge::postgres::{self, PostgresError, Session};

/// "rept", so that it collides with nobody's own locks.
const CLASS: i32 = 0x7265_7074;
const OBJECT: i32 = 1;
/// `application_name` of whoever is no agent; that of an agent ends with its `node_id`.
const APPLICATION: &str = "repoint claim";
const AGENT: &str = "repoint claim of node ";
/// A healthy survivor answers in milliseconds.
const LIMIT: Duration = Duration::from_secs(2);

/// A session that can hold the claim.
#[derive(Debug)]
pub struct ClaimSession {
    session: Session,
}

impl ClaimSession {
    /// Opens one for somebody who is no agent.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub async fn open(conninfo: &Conninfo) -> Result<Self, PostgresError> {
        Self::open_as(conninfo, APPLICATION).await
    }

    /// Opens one for the agent of a node, which others can then name.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub async fn open_for(conninfo: &Conninfo, agent: NodeId) -> Result<Self, PostgresError> {
        Self::open_as(conninfo, &format!("{AGENT}{agent}")).await
    }

    async fn open_as(conninfo: &Conninfo, application: &str) -> Result<Self, PostgresError> {
        let session = postgres::connect(conninfo, LIMIT).await?;
        let mut settings = String::from(
            "SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1; \
             SET tcp_keepalives_count = 3; SET statement_timeout = 0; SET application_name = ",
        );
        settings.push_str(&literal(application));
        if session.version_num() >= 120_000 {
            settings.push_str("; SET tcp_user_timeout = 5000");
        }
        // A pooler or a firewall rule of the operator's may end idle sessions (PostgreSQL 14).
        if session.version_num() >= 140_000 {
            settings.push_str("; SET idle_session_timeout = 0");
        }
        session.simple(&settings, LIMIT).await?;
        Ok(Self { session })
    }

    /// Takes the claim if it is free; does not wait for it.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub async fn take(&self) -> Result<bool, PostgresError> {
        let query = format!("SELECT pg_try_advisory_lock({CLASS}, {OBJECT}) AS granted");
        let rows = self.session.simple(&query, LIMIT).await?;
        Ok(rows
            .first()
            .and_then(|row| row.get("granted"))
            .is_some_and(|granted| granted == "t"))
    }

    /// What is paused by this node's word: asked where and when the decision is made.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub async fn pauses(&self) -> Result<Vec<Pause>, PostgresError> {
        agents::pauses_in_time(&self.session).await
    }

    /// The agent that holds the claim; `None`: nobody, somebody else, or it is not for us to see.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub async fn holder(&self) -> Result<Option<NodeId>, PostgresError> {
        let query = format!(
            "SELECT a.application_name AS holder FROM pg_catalog.pg_locks l \
             JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 \
             AND l.classid = {CLASS} AND l.objid = {OBJECT} AND l.database = \
             (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
        );
        let rows = self.session.simple(&query, LIMIT).await?;
        let holder = rows.first().and_then(|row| row.get("holder"));
        let id = holder.and_then(|name| name.strip_prefix(AGENT)?.parse().ok());
        Ok(id.map(NodeId))
    }

    /// Whether the session, and with it the claim, is still there.
    ///
    /// # Errors
    /// [`PostgresError`]: it is not.
    pub async fn check(&self) -> Result<(), PostgresError> {
        self.session.simple("SELECT 1", LIMIT).await.map(drop)
    }
}
