//! A PgBouncer that serves the node already: only the first line of its file gets the number of the
//! decision, so that no older one can move it later. No command goes to its console.

use crate::agent::links::{LinkError, Links};
use crate::config::{NodeId, PgBouncer, Template};
use crate::core::plan::Decision;
use crate::core::pooler::Observation;
use crate::edge::remote::RemoteError;
use crate::render::{header, ini};

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stamped {
    /// The number is there.
    Done,
    /// It is not, for good; and why.
    Not(String),
    /// Not now, and why.
    Later(String),
}

/// Writes the decision's number into the first line of the file, if the file is ours and says what
/// PgBouncer serves.
///
/// # Errors
/// The host does not answer.
pub async fn stamp(
    links: &Links,
    pgbouncer: &PgBouncer,
    writer: NodeId,
    decision: &Decision,
    observation: &Observation,
) -> Result<Stamped, LinkError> {
    let inspection = links.host.inspect().await?;
    let body = match body(inspection.content.as_deref(), pgbouncer, decision) {
        Ok(Some(body)) => body,
        Ok(None) => return Ok(Stamped::Done),
        Err(why) => return Ok(Stamped::Not(why)),
    };
    if let Err(why) = agrees(body, pgbouncer, observation) {
        return Ok(Stamped::Not(why));
    }
    let content = header::with_header(decision.generation, decision.active, writer, body);
    let stamped = links
        .host
        .stamp(
            decision.generation,
            &inspection.hash,
            &content,
            &header::hash(&content),
        )
        .await;
    match stamped {
        Ok(()) => Ok(Stamped::Done),
        // Something newer is there already.
        Err(RemoteError::Superseded(_)) => Ok(Stamped::Done),
        Err(
            RemoteError::Changed(why)
            | RemoteError::Occupied(why)
            | RemoteError::Failed { reason: why, .. },
        ) => Ok(Stamped::Later(why)),
        Err(error) => Err(error.into()),
    }
}

/// What follows the first line, where that is ours; `None`: there is nothing to do.
fn body<'a>(
    content: Option<&'a [u8]>,
    pgbouncer: &PgBouncer,
    decision: &Decision,
) -> Result<Option<&'a str>, String> {
    let content = content.ok_or("there is no such file")?;
    let text = std::str::from_utf8(content).map_err(|_| "it is no text")?;
    match header::read(content) {
        Some((header, _)) if header.generation >= decision.generation => Ok(None),
        Some((_, false)) => Err("it was edited by hand since repoint wrote it".to_owned()),
        Some((_, true)) => Ok(text.split_once('\n').map(|(_, body)| body)),
        None if text.starts_with(";repoint") => {
            Err("its first line is of another version of repoint".to_owned())
        }
        // Every redirect would put the line there, and change nothing else but the entries.
        None if pgbouncer.template == Template::Edit => Ok(Some(text)),
        None => Err("repoint has not written it yet".to_owned()),
    }
}

/// Whether PgBouncer serves what the file says.
fn agrees(body: &str, pgbouncer: &PgBouncer, observation: &Observation) -> Result<(), String> {
    let ini = ini::parse(body).map_err(|error| error.to_string())?;
    let entries = ini.databases();
    for name in pgbouncer.databases.keys() {
        let entry = entries.get(name.as_str());
        let entry = entry.ok_or_else(|| format!("`{name}` is not in it"))?;
        let place = (
            entry.get("host").unwrap_or_default(),
            entry.get("port").unwrap_or("5432"),
        );
        let mut states = observation.processes.iter().map(|p| p.entries.get(name));
        let serves = |state: Option<&crate::core::pooler::EntryState>| {
            state.is_some_and(|state| place == (state.host.as_str(), &*state.port.to_string()))
        };
        if !states.all(serves) {
            return Err(format!("`{name}` leads elsewhere in it than in PgBouncer"));
        }
    }
    Ok(())
}
