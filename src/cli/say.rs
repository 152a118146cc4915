//! What a command tells its user beside its result: lines on standard error, as repmgr writes them
//! (`NOTICE: …`). Results go to standard output, see [`super::print`].

use std::io::Write as _;

/// How much of it.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Voice {
    /// Leave out hints and details.
    #[arg(short = 't', long)]
    pub(super) terse: bool,
    /// Say more.
    #[arg(short = 'v', long)]
    pub(super) verbose: bool,
    /// Say errors only.
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
}

impl Voice {
    /// What was done.
    pub(super) fn notice(self, text: &str) {
        if !self.quiet {
            line("NOTICE", text);
        }
    }

    /// What would be done, or is looked at.
    pub(super) fn info(self, text: &str) {
        if !self.quiet {
            line("INFO", text);
        }
    }

    /// What is not as it should be.
    pub(super) fn warning(self, text: &str) {
        if !self.quiet {
            line("WARNING", text);
        }
    }

    /// What failed.
    pub(super) fn error(self, text: &str) {
        line("ERROR", text);
    }

    /// The facts behind the line before.
    pub(super) fn detail(self, text: &str) {
        if !self.terse && !self.quiet {
            line("DETAIL", text);
        }
    }

    /// What to do about the line before.
    pub(super) fn hint(self, text: &str) {
        if !self.terse {
            line("HINT", text);
        }
    }
}

/// One line, whatever a name or a message from outside holds.
fn line(level: &str, text: &str) {
    let _ = writeln!(std::io::stderr(), "{level}: {}", one_line(text));
}

/// Text with its control characters escaped, so that data cannot begin a line or move the cursor.
/// Our own line breaks (a list of problems) stay.
fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}
