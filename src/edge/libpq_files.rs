//! What libpq reads beside the connection string: `PG*` variables, service files, the password
//! file.
//!
//! Touches the environment and these files, read-only. What they mean is `conninfo`'s.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::conninfo::defaults::{Environment, resolve};
use crate::conninfo::{Conninfo, passfile};

/// Completes a connection string as libpq would: service file, environment, passwords.
///
/// # Errors
/// One line that says which of these is wrong, without any value of it.
pub fn complete(conninfo: &Conninfo) -> Result<Conninfo, String> {
    let resolved = resolve(conninfo, &environment()).map_err(|error| super::chain(&error))?;
    if resolved.get("password").is_some() {
        return Ok(resolved);
    }
    let Some(text) = passfile_text(&resolved) else {
        return Ok(resolved);
    };
    let addresses = resolved.addresses().map_err(|error| super::chain(&error))?;
    let Some(address) = addresses.first() else {
        return Ok(resolved);
    };
    // libpq looks the name up that was asked for, not the address behind it.
    let host = address.host.as_deref().or(address.hostaddr.as_deref());
    let (dbname, user) = (resolved.get("dbname"), resolved.get("user"));
    let (Some(dbname), Some(user)) = (dbname, user) else {
        return Ok(resolved);
    };
    match passfile::lookup(&text, host, Some(address.port), dbname, user) {
        Some(password) => Ok(resolved.with("password", &password)),
        None => Ok(resolved),
    }
}

fn environment() -> Environment {
    let vars = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("PG"))
        .collect::<std::collections::BTreeMap<_, _>>();
    let read = |path: Option<PathBuf>| path.and_then(|path| std::fs::read_to_string(path).ok());
    let service_file = vars.get("PGSERVICEFILE").map(PathBuf::from);
    let service_file = service_file.or_else(|| Some(home()?.join(".pg_service.conf")));
    let system = vars
        .get("PGSYSCONFDIR")
        .map_or_else(|| PathBuf::from("/etc/postgresql-common"), PathBuf::from);
    Environment {
        service_file: read(service_file),
        system_service_file: read(Some(system.join("pg_service.conf"))),
        user: user_name(),
        vars,
    }
}

/// The text of the password file, unless others may read it: libpq ignores it then, and so do we.
fn passfile_text(conninfo: &Conninfo) -> Option<String> {
    let named = conninfo.get("passfile").map(PathBuf::from);
    let path = named.or_else(|| Some(home()?.join(".pgpass")))?;
    let metadata = std::fs::metadata(&path).ok()?;
    if !metadata.is_file() {
        return None;
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(
            file = %path.display(),
            "password file is ignored, as libpq does: others may read it; chmod 0600 it"
        );
        return None;
    }
    std::fs::read_to_string(path).ok()
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
}

/// The name of the user that this process runs as, from the password database: `USER` may lie.
fn user_name() -> Option<String> {
    let uid = std::fs::metadata(Path::new("/proc/self"))
        .ok()?
        .uid()
        .to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}
