//! What touches the outside: one file for each outside thing.
//!
//! Nothing here decides; each call does one thing, under a deadline, and says what happened. Errors
//! of libraries stop here: they leave as errors of ours, with the chain of causes in one line.

pub mod admin_console;
pub mod descriptors;
pub mod hook;
pub mod libpq_files;
pub mod log_file;
pub mod pid_file;
pub mod postgres;
pub mod remote;
pub mod this_host;

/// An error and its causes in one line, for errors of libraries whose `Display` says little.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
