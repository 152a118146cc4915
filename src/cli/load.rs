//! Finds and reads the configuration, and all that it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use crate::agent::daemon::planners;
use crate::agent::planning::Planner;
use crate::config::{Config, file, problem::Problems};

const PLACES: [&str; 2] = ["repoint.toml", "/etc/repoint/repoint.toml"];

/// The file to read: the one that was named, or the first that is there.
pub(super) fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let found = PLACES
        .iter()
        .map(PathBuf::from)
        .find(|place| place.exists());
    found.with_context(|| {
        format!(
            "no configuration: neither ./{} nor {} is there; name one with -f",
            PLACES[0], PLACES[1]
        )
    })
}

/// Reads and checks it; nothing is connected to. Every template is rendered once for each node, so
/// that nothing can be found wrong later that could have been found now.
pub(super) fn load(path: &Path) -> anyhow::Result<(Config, BTreeMap<String, Planner>)> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the configuration `{}`", path.display()))?;
    let config = file::parse(path, &text).map_err(|problems| not_usable(path, &problems))?;
    let planners = planners(&config)
        .with_context(|| format!("`{}` is not usable, nothing was done", path.display()))?;
    Ok((config, planners))
}

/// Each problem on a line of its own, so that an editor can jump to its place.
fn not_usable(path: &Path, problems: &Problems) -> anyhow::Error {
    let count = problems.iter().count();
    let noun = if count == 1 { "problem" } else { "problems" };
    anyhow!(
        "`{}` is not usable, nothing was done; {count} {noun}:\n{problems}",
        path.display()
    )
}
