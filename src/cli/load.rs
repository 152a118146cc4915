//! Finds and reads the configuration, and all that it names.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};

use super::say::Voice;
use crate::agent::daemon::planners;
use crate::agent::planning::Planner;
use crate::config::repmgr_conf::{self, Dialect, RepmgrConf};
use crate::config::{Config, ReplicationType, file, problem::Problems};

const PLACES: [&str; 4] = [
    "repoint.toml",
    "/etc/repoint/repoint.toml",
    "repmgr.conf",
    "/etc/repmgr.conf",
];

/// A configuration, and what was noticed on the way to it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Config,
    /// Of every PgBouncer.
    pub(super) planners: BTreeMap<String, Planner>,
    /// What is odd and no reason to stop, with file and line; for
    /// [`Loaded::warn`] or [`Loaded::log`].
    pub(super) warnings: Vec<String>,
    /// What a `repmgr.conf` was read as, if there was one.
    pub(super) dialect: Option<Dialect>,
}

impl Loaded {
    /// Tells the warnings on standard error, for a command.
    pub(super) fn warn(&self, voice: Voice) {
        for warning in &self.warnings {
            voice.warning(warning);
        }
        if let Some(dialect) = self.dialect.filter(|_| voice.verbose) {
            voice.info(&format!("repmgr.conf is read in {dialect}"));
        }
    }

    /// Tells the warnings in the log, for the daemon.
    pub(super) fn log(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        if let Some(dialect) = self.dialect {
            tracing::info!("repmgr.conf is read in {dialect}");
        }
    }
}

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
            "no configuration: none of ./{}, {}, ./{} and {} is there; name one with -f",
            PLACES[0], PLACES[1], PLACES[2], PLACES[3]
        )
    })
}

/// Reads and checks it; nothing is connected to. Every template is rendered once for each node, so
/// that nothing can be found wrong later that could have been found now.
pub(super) fn load(path: &Path) -> anyhow::Result<Loaded> {
    let (config, conf) = if is_repmgr_conf(path) {
        let conf = read_repmgr_conf(path)?;
        (over(&conf)?, Some(conf))
    } else {
        let text = text_of(path)?;
        let conf = file::repmgr_conf_of(&text).map(|named| read_repmgr_conf(&named));
        let conf = conf.transpose()?;
        (parse(path, &text, conf.as_ref())?, conf)
    };
    let planners = planners(&config)
        .with_context(|| format!("`{}` is not usable, nothing was done", path.display()))?;
    let warnings = conf.iter().flat_map(|conf| &conf.warnings);
    let mut warnings: Vec<String> = warnings.map(ToString::to_string).collect();
    warnings.extend(conf.as_ref().and_then(|conf| other_pgbouncers(path, conf)));
    Ok(Loaded {
        config,
        planners,
        warnings,
        dialect: conf.map(|conf| conf.dialect),
    })
}

/// As [`load`], for the daemon.
pub(super) fn load_active_active(path: &Path) -> anyhow::Result<Loaded> {
    let loaded = load(path)?;
    require_active_active(&loaded.config)?;
    Ok(loaded)
}

/// Whether the name is that of a `repmgr.conf`; everything else is TOML.
pub(super) fn is_repmgr_conf(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b".conf")
}

/// Reads a `repmgr.conf` with all that it includes.
pub(super) fn read_repmgr_conf(path: &Path) -> anyhow::Result<RepmgrConf> {
    let bytes = std::fs::read(path).with_context(|| read_what(path))?;
    repmgr_conf::read(path, &bytes, &Disk).map_err(|problems| not_usable(path, &problems))
}

/// The text of the file that `repoint_pgbouncers` names.
pub(super) fn pgbouncers_text(conf: &RepmgrConf) -> anyhow::Result<Option<String>> {
    conf.pgbouncers.as_deref().map(text_of).transpose()
}

/// What a `repmgr.conf` means, with the PgBouncers that it names.
pub(super) fn over(conf: &RepmgrConf) -> anyhow::Result<Config> {
    let text = pgbouncers_text(conf)?.unwrap_or_default();
    let path = conf.pgbouncers.as_ref().unwrap_or(&conf.file);
    parse(path, &text, Some(conf))
}

/// `repoint daemon` decides for active-active pairs only: with streaming replication a second
/// opinion beside repmgrd's would be a second master.
pub(super) fn require_active_active(config: &Config) -> anyhow::Result<()> {
    match config.replication_type {
        ReplicationType::Bdr => Ok(()),
        ReplicationType::Physical => bail!(
            "the daemon watches active-active pairs, and `replication_type` is `physical`. With \
             streaming replication keep repmgrd, and name `repoint notify` as its \
             event_notification_command; for an active-active pair write \
             `replication_type = 'bdr'`, whatever extension replicates"
        ),
    }
}

fn parse(path: &Path, text: &str, conf: Option<&RepmgrConf>) -> anyhow::Result<Config> {
    file::parse_over(path, text, conf).map_err(|problems| not_usable(path, &problems))
}

fn text_of(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| read_what(path))
}

fn read_what(path: &Path) -> String {
    format!("read the configuration `{}`", path.display())
}

/// A TOML file that names a `repmgr.conf` describes the PgBouncers itself.
fn other_pgbouncers(path: &Path, conf: &RepmgrConf) -> Option<String> {
    let named = conf.pgbouncers.as_deref().filter(|named| *named != path)?;
    if is_repmgr_conf(path) {
        return None;
    }
    let (file, named, path) = (conf.file.display(), named.display(), path.display());
    Some(format!(
        "{file}: repoint_pgbouncers: `{named}` is not read; the PgBouncers are those of `{path}`"
    ))
}

/// The file system, for `include`.
struct Disk;

impl repmgr_conf::Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<std::fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        std::fs::read_dir(directory)?.map(name).collect()
    }
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
