//! What this host and its user are called, for rows that people read.

/// The host's name; `unknown` where the system does not tell.
#[must_use]
pub fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = told.unwrap_or_default().trim().to_owned();
    match name.is_empty() {
        true => "unknown".to_owned(),
        false => name,
    }
}

/// Who gave the command: whoever used `sudo`, or the user, or its number.
#[must_use]
pub fn user_name() -> String {
    let variables = ["SUDO_USER", "LOGNAME", "USER"];
    let mut named = variables.iter().filter_map(|name| std::env::var(name).ok());
    let named = named.find(|name| !name.is_empty());
    named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}
