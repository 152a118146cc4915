//! The log: what is said, how a line looks, and where it goes.
//!
//! Every command begins with lines for people on standard error. The daemon changes that when it
//! has read its configuration, and again with each SIGHUP ([`DaemonLog`]); the thread that writes
//! is [`crate::edge::log_file`].
//!
//! # For who writes events
//! The level is `tracing`'s; repmgr's two further words are targets, because `tracing` has no such
//! levels: `tracing::info!(target: NOTICE, "…")` is a NOTICE, `tracing::info!(target: DETAIL, "…")`
//! (at the level of the line that it belongs to) a DETAIL, with [`crate::agent::NOTICE`] and
//! [`crate::agent::DETAIL`]. The formats `repmgr` and `json` show these words; `human` shows the
//! level. Structured fields follow the text of a line: ` (key=value, …)`.
//!
//! Whatever a value holds, a line stays one line: control characters are escaped here. That no
//! value is a secret is taken care of by who logs it ([`crate::conninfo`] masks itself).

use std::fmt::{self, Debug, Write as _};
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::Context as _;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::agent::{DETAIL, NOTICE};
use crate::config::{Log, LogFormat, LogLevel};
use crate::edge::log_file::LogWriter;

/// How lines look and where they go at the moment; there is one log in a process.
static OUTPUT: Mutex<Output> = Mutex::new(Output {
    format: LogFormat::Human,
    colours: false,
    writer: None,
});
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

struct Output {
    format: LogFormat,
    colours: bool,
    /// `None`: standard error, directly.
    writer: Option<LogWriter>,
}

/// Lines for people on standard error, from `info` on or as `RUST_LOG` says.
pub(super) fn begin() {
    let (filter, handle) = reload::Layer::new(from_environment().unwrap_or_else(|| {
        let level = LogLevel::Info;
        EnvFilter::new(directives(level))
    }));
    output().colours = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Formatter)
        .with_writer(Lines);
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    if started.is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// The daemon's log, as its configuration has it.
pub(super) struct DaemonLog {
    writer: LogWriter,
    /// The command line's, which goes over everything.
    level: Option<LogLevel>,
    /// Where lines go; `None`: standard error.
    pub(super) file: Option<PathBuf>,
}

impl DaemonLog {
    /// Opens the file, if there is one, and writes there from now on.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) async fn start(log: &Log, level: Option<LogLevel>) -> anyhow::Result<Self> {
        let writer = LogWriter::start().context("start the thread of the log")?;
        let mut daemon = Self {
            writer,
            level,
            file: None,
        };
        daemon.open(log.file.clone()).await?;
        output().writer = Some(daemon.writer.clone());
        daemon.look(log);
        Ok(daemon)
    }

    /// Takes the settings of a configuration that was read again; the file is opened anew in any
    /// case, because it may have been moved away.
    pub(super) async fn change(&mut self, log: &Log) {
        self.look(log);
        if let Err(error) = self.open(log.file.clone()).await {
            tracing::error!("{error:#}; the log goes on where it was");
        }
        self.tell_lost();
    }

    /// Opens the file that there is anew.
    pub(super) async fn reopen(&mut self) {
        if let Err(error) = self.open(self.file.clone()).await {
            tracing::error!("{error:#}; the log goes on where it was");
        }
        self.tell_lost();
    }

    /// Waits until everything is written; from now on lines go to standard error again.
    pub(super) async fn end(self) {
        self.writer.flush().await;
        output().writer = None;
    }

    async fn open(&mut self, file: Option<PathBuf>) -> anyhow::Result<()> {
        let opened = self.writer.open(file.as_deref()).await;
        if let Some(file) = &file {
            opened.with_context(|| format!("open the log file `{}`", file.display()))?;
        }
        output().colours = file.is_none() && io::stderr().is_terminal();
        self.file = file;
        Ok(())
    }

    fn look(&self, log: &Log) {
        output().format = log.format;
        let from_environment = || from_environment().ok_or(log.level);
        let filter = match self.level {
            Some(level) => Err(level),
            None => from_environment(),
        };
        let filter = filter.unwrap_or_else(|level| EnvFilter::new(directives(level)));
        if let Some(handle) = FILTER.get() {
            let _ = handle.reload(filter);
        }
    }

    fn tell_lost(&self) {
        let lines = self.writer.take_lost();
        if lines > 0 {
            tracing::warn!(lines, "lines of this log could not be written");
        }
    }
}

fn from_environment() -> Option<EnvFilter> {
    std::env::var_os("RUST_LOG").filter(|value| !value.is_empty())?;
    EnvFilter::try_from_default_env().ok()
}

fn directives(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "repoint=debug",
        LogLevel::Info => "repoint=info",
        LogLevel::Notice => "repoint=warn,repoint::notice=info",
        LogLevel::Warning => "repoint=warn",
        LogLevel::Error => "repoint=error",
    }
}

fn output() -> MutexGuard<'static, Output> {
    // Nothing that holds it can leave it half changed.
    OUTPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives finished lines to wherever they go.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let writer = output().writer.clone();
        match writer {
            Some(writer) => writer.line(line.to_owned()),
            // A reader of standard error that went away is no reason to stop.
            None => drop(io::stderr().lock().write_all(line)),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes one line of an event, in the format of the moment.
struct Formatter;

impl<S, N> FormatEvent<S, N> for Formatter
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (format, colours) = {
            let output = output();
            (output.format, output.colours)
        };
        let line = match format {
            LogFormat::Human => {
                let human = tracing_subscriber::fmt::format();
                let human = human.with_target(false).with_ansi(colours);
                let mut line = String::new();
                human.format_event(context, Writer::new(&mut line), event)?;
                // Escape sequences in values were escaped by the formatter.
                one_line(line.trim_end_matches('\n'), colours)
            }
            LogFormat::Repmgr => repmgr_line(event.metadata(), &Parts::of(event), &local_time()),
            LogFormat::Json => {
                let time = format!("{:.6}", jiff::Timestamp::now());
                json_line(event.metadata(), &Parts::of(event), time)
            }
        };
        writeln!(writer, "{line}")
    }
}

/// What an event says.
#[derive(Debug, Default)]
struct Parts {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Parts {
    fn of(event: &Event<'_>) -> Self {
        let mut parts = Self::default();
        event.record(&mut parts);
        parts
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Parts {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

/// As repmgrd writes it.
fn repmgr_line(metadata: &Metadata<'_>, parts: &Parts, time: &str) -> String {
    let mut line = format!("[{time}] [{}] {}", word(metadata), parts.message);
    for (index, (name, value)) in parts.fields.iter().enumerate() {
        line.push_str(if index == 0 { " (" } else { ", " });
        let text = value.as_str().map(str::to_owned);
        let _ = write!(line, "{name}={}", text.unwrap_or_else(|| value.to_string()));
    }
    if !parts.fields.is_empty() {
        line.push(')');
    }
    one_line(&line, false)
}

/// An object whose keys are always in the same order.
#[derive(serde::Serialize)]
struct JsonLine<'a> {
    timestamp: String,
    level: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
}

fn json_line(metadata: &Metadata<'_>, parts: &Parts, timestamp: String) -> String {
    let fields = parts.fields.iter();
    let line = JsonLine {
        timestamp,
        level: word(metadata),
        message: &parts.message,
        fields: fields
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
    };
    let text = serde_json::to_string(&line).unwrap_or_default();
    // JSON lets DEL and the control characters from U+0080 on stand; they can only be in strings.
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => {
                let _ = write!(safe, "\\u{:04x}", u32::from(c));
            }
            false => safe.push(c),
        }
    }
    safe
}

/// repmgr's word for what kind of line it is.
fn word(metadata: &Metadata<'_>) -> &'static str {
    match (metadata.target(), *metadata.level()) {
        (DETAIL, _) => "DETAIL",
        (NOTICE, _) => "NOTICE",
        (_, Level::ERROR) => "ERROR",
        (_, Level::WARN) => "WARNING",
        (_, Level::INFO) => "INFO",
        (_, _) => "DEBUG",
    }
}

fn local_time() -> String {
    let now = jiff::Zoned::now();
    now.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Text with its control characters escaped, but for the beginnings of our own colours.
fn one_line(text: &str, colours: bool) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !(colours && c == '\x1b') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::Context;

    use super::*;

    /// Collects events in the two formats of ours.
    struct Collect(Arc<Mutex<Vec<[String; 2]>>>);

    impl<S: Subscriber> Layer<S> for Collect {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let parts = Parts::of(event);
            let repmgr = repmgr_line(event.metadata(), &parts, "2017-07-27 21:08:39");
            let json = json_line(event.metadata(), &parts, "T".to_owned());
            self.0.lock().expect("not poisoned").push([repmgr, json]);
        }
    }

    fn lines(filter: &str, say: impl FnOnce()) -> Vec<[String; 2]> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry()
            .with(EnvFilter::new(filter))
            .with(Collect(Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, say);
        lines.lock().expect("not poisoned").clone()
    }

    #[test]
    fn each_kind_of_line_has_the_word_of_repmgr() {
        let lines = lines("trace", || {
            tracing::error!("a");
            tracing::warn!("b");
            tracing::info!(target: NOTICE, "c");
            tracing::info!(target: DETAIL, "d");
            tracing::info!("e");
            tracing::debug!("f");
            tracing::trace!("g");
        });
        let repmgr: Vec<&str> = lines.iter().map(|[line, _]| line.as_str()).collect();
        let expected = [
            "[2017-07-27 21:08:39] [ERROR] a",
            "[2017-07-27 21:08:39] [WARNING] b",
            "[2017-07-27 21:08:39] [NOTICE] c",
            "[2017-07-27 21:08:39] [DETAIL] d",
            "[2017-07-27 21:08:39] [INFO] e",
            "[2017-07-27 21:08:39] [DEBUG] f",
            "[2017-07-27 21:08:39] [DEBUG] g",
        ];
        assert_eq!(repmgr, expected);
        assert_eq!(
            lines[2][1],
            r#"{"timestamp":"T","level":"NOTICE","message":"c"}"#
        );
    }

    #[test]
    fn fields_follow_the_text_and_keep_their_types_in_json() {
        let lines = lines("trace", || {
            let node = "node1";
            tracing::info!(node, attempt = 2, down = true, id = %7, "node {node:?} is down");
        });
        let repmgr = "[2017-07-27 21:08:39] [INFO] node \"node1\" is down \
                      (node=node1, attempt=2, down=true, id=7)";
        let json =
            r#"{"timestamp":"T","level":"INFO","message":"node \"node1\" is down","fields":{"#;
        let json = format!(
            "{json}{}",
            r#""attempt":2,"down":true,"id":"7","node":"node1"}}"#
        );
        assert_eq!(lines, [[repmgr.to_owned(), json]]);
    }

    #[test]
    fn no_value_breaks_a_line() {
        let evil = "a\r\n[2017-07-27 21:08:39] [INFO] b\u{85}\u{1b}[2J\u{7f}\0";
        let lines = lines("trace", || {
            tracing::info!(evil, displayed = %evil, "{evil}");
        });
        for line in &lines[0] {
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
        let back: Value = serde_json::from_str(&lines[0][1]).expect("it is JSON");
        assert_eq!(back["message"], evil);
        assert_eq!(back["fields"]["displayed"], evil);
        assert_eq!(one_line(evil, true).matches('\u{1b}').count(), 1);
    }

    #[test]
    fn a_level_lets_through_what_repmgrs_lets_through() {
        let said = |level| {
            let lines = lines(directives(level), || {
                tracing::error!("a");
                tracing::warn!("b");
                tracing::info!(target: NOTICE, "c");
                tracing::info!(target: DETAIL, "d");
                tracing::info!("e");
                tracing::debug!("f");
                tracing::trace!("g");
            });
            let last = |[line, _]: &[String; 2]| line.chars().last();
            lines.iter().filter_map(last).collect::<String>()
        };
        // The module of this test is below `repoint`, as everything of ours is.
        assert_eq!(said(LogLevel::Debug), "abcdef");
        assert_eq!(said(LogLevel::Info), "abcde");
        assert_eq!(said(LogLevel::Notice), "abc");
        assert_eq!(said(LogLevel::Warning), "ab");
        assert_eq!(said(LogLevel::Error), "a");
    }
}
