//! The shell on a host: one `sh` that runs `host.sh` and does verb after verb, because starting a
//! session and a shell for each takes longer than the verb itself.
//!
//! Asks, and reads the answer up to its end. What the verbs mean is `host.sh`'s and
//! [`super::RemoteHost`]'s; so is the deadline. The shell ends when its input ends: whether this is
//! dropped, this process is killed or the session dies.

use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use openssh::Session;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::one_line;
use super::session::SharedSession;
use crate::core::ledger::Until;
use crate::edge::chain;

const HOST: &str = include_str!("../host.sh");
pub(super) const SWITCH: &str = include_str!("../switch.sh");
/// `host.sh`, which has `switch.sh` as a value: what it sets on its own feet is another process.
static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let quoted = SWITCH.replace('\'', r"'\''");
    format!("switch='{quoted}'\n{HOST}")
});
/// Reads the script itself, so that it is no argument: `ps` on the host stays readable.
const BEGIN: &str = r#"eval "$(head -c "$1")""#;
/// A PgBouncer configuration is some kilobytes; more than this is not one.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// What a shell that has ended has left to say.
const LAST_WORDS_BYTES: u64 = 4096;
/// And how long that, and its exit status, are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a shell is begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    /// The managed file.
    pub(super) file: &'a Path,
    /// Whether it may be overwritten.
    pub(super) in_place: bool,
    /// As whom, if not as the user of the session.
    pub(super) sudo: Option<&'a str>,
}

/// A running shell.
pub(super) struct Shell {
    input: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    output: Box<dyn AsyncRead + Send + Sync + Unpin>,
    error: Box<dyn AsyncRead + Send + Sync + Unpin>,
    process: Process,
    /// Nobody who writes a file, here or on the host, can foresee it.
    secret: String,
    asked: u64,
}

#[derive(Debug)]
enum Process {
    Here(tokio::process::Child),
    There(openssh::Child<SharedSession>),
}

/// What a verb gave.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its exit status, as the shell has it.
    pub(super) status: i32,
    /// What it wrote.
    pub(super) output: Vec<u8>,
    /// And on standard error.
    pub(super) error: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The shell has ended, or there never was one.
    #[error("the shell there has ended: {0}")]
    Ended(String),
    /// The session broke.
    #[error("{0}")]
    Gone(String),
    /// Nothing came in time.
    #[error("no answer")]
    Silent,
    /// What came has no end.
    #[error("the answer is longer than {} MiB", ANSWER_BYTES_MAX >> 20)]
    TooLong,
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the secret.
        f.debug_struct("Shell")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl Shell {
    /// Begins one, here or in `session`.
    pub(super) async fn start(
        session: Option<&SharedSession>,
        start: &Start<'_>,
    ) -> Result<Self, String> {
        let file = start.file.to_string_lossy();
        let length = SCRIPT.len().to_string();
        let in_place = if start.in_place { "yes" } else { "no" };
        let mut words = match start.sudo {
            Some(user) => vec!["sudo", "-n", "-u", user, "--", "sh"],
            None => vec!["sh"],
        };
        words.extend(["-c", BEGIN, "repoint", &length, &file, in_place]);
        let mut shell = match session {
            None => Self::here(&words)?,
            Some(session) => Self::there(session, &words).await?,
        };
        let begin = format!("{}{}\n", *SCRIPT, shell.secret);
        // One that has ended already says why when it is asked.
        let _ = shell.input.write_all(begin.as_bytes()).await;
        Ok(shell)
    }

    fn here(words: &[&str]) -> Result<Self, String> {
        let mut child = tokio::process::Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C is ours to answer: what is under way is brought to its end.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("run `{}`: {error}", words[0]))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(error)) = pipes else {
            return Err("no pipes to `sh`".to_owned());
        };
        Ok(Self {
            input: Box::new(input),
            output: Box::new(output),
            error: Box::new(error),
            process: Process::Here(child),
            secret: secret(),
            asked: 0,
        })
    }

    async fn there(session: &SharedSession, words: &[&str]) -> Result<Self, String> {
        let mut command = Session::to_command(session.clone(), words[0]);
        command
            .args(&words[1..])
            .stdin(openssh::Stdio::piped())
            .stdout(openssh::Stdio::piped())
            .stderr(openssh::Stdio::piped());
        let spawned = command.spawn().await;
        let mut child = spawned.map_err(|error| one_line(&chain(&error)))?;
        let input = child.stdin().take();
        let output = child.stdout().take();
        let error = child.stderr().take();
        let (Some(input), Some(output), Some(error)) = (input, output, error) else {
            return Err("no pipes to `sh`".to_owned());
        };
        Ok(Self {
            input: Box::new(input),
            output: Box::new(output),
            error: Box::new(error),
            process: Process::There(child),
            secret: secret(),
            asked: 0,
        })
    }

    /// Has one verb done, no later than `until`. The arguments hold no line breaks. Without its
    /// whole answer the shell is not given back: nobody knows what would come next.
    pub(super) async fn ask(
        mut self,
        verb: &str,
        arguments: &[&str],
        content: &[u8],
        until: Option<&Until>,
    ) -> Result<(Self, Answer), Broken> {
        self.asked += 1;
        let ticket = format!("{}-{}", self.secret, self.asked);
        let request = request(&ticket, verb, arguments, content, until);
        let (mut output, mut error) = (Vec::new(), Vec::new());
        let write = async {
            // Where the shell has ended its answer is missing, which is found out by reading.
            let _ = self.input.write_all(&request).await;
            let _ = self.input.flush().await;
            Ok(())
        };
        // Each way is ended by its own line, so nothing is left in it for the next verb.
        let read = tokio::try_join!(
            write,
            read_answer(&mut self.output, &ticket, &mut output),
            read_answer(&mut self.error, &ticket, &mut error)
        );
        match read {
            Ok(((), status, _)) => Ok((
                self,
                Answer {
                    status,
                    output,
                    error,
                },
            )),
            Err(Cut::TooLong) => Err(Broken::TooLong),
            Err(Cut::Ended) => Err(self.ended(error).await),
        }
    }

    /// Tells a shell that has ended, and why, from a session that has broken.
    async fn ended(self, mut words: Vec<u8>) -> Broken {
        drop(self.input);
        let last = self.error.take(LAST_WORDS_BYTES);
        let _ = timeout(LAST_WORDS, tokio::io::copy(&mut { last }, &mut words)).await;
        let words = one_line(&String::from_utf8_lossy(&words));
        let status = match self.process {
            Process::Here(mut child) => match timeout(LAST_WORDS, child.wait()).await {
                Ok(Ok(status)) => status.to_string(),
                Ok(Err(error)) => return Broken::Gone(error.to_string()),
                Err(_) => "it closed its output".to_owned(),
            },
            Process::There(child) => match timeout(LAST_WORDS, child.wait()).await {
                Ok(Ok(status)) => status.to_string(),
                // 127, which the crate turns into an error: there is no `sh` or no `sudo`.
                Ok(Err(openssh::Error::Remote(error))) => error.to_string(),
                Ok(Err(openssh::Error::RemoteProcessTerminated)) => "ended by a signal".to_owned(),
                Ok(Err(error)) => return Broken::Gone(one_line(&chain(&error))),
                Err(_) => "it closed its output".to_owned(),
            },
        };
        Broken::Ended(if words.is_empty() { status } else { words })
    }
}

/// Why an answer has no end.
enum Cut {
    Ended,
    TooLong,
}

/// A line, the arguments, one line each, and the content by its length: see `host.sh`.
fn request(
    ticket: &str,
    verb: &str,
    arguments: &[&str],
    content: &[u8],
    until: Option<&Until>,
) -> Vec<u8> {
    let (count, length) = (arguments.len(), content.len());
    let until = match until {
        Some(until) => format!("{} {}", until.boot, until.uptime.as_millis() / 10),
        None => "- -".to_owned(),
    };
    let mut request = format!("{ticket} {verb} {count} {length} {until}\n").into_bytes();
    for argument in arguments {
        request.extend_from_slice(argument.as_bytes());
        request.push(b'\n');
    }
    request.extend_from_slice(content);
    request
}

/// Reads into `answer` up to the line that ends it, which is taken off; gives the status in it.
async fn read_answer(
    stream: &mut (impl AsyncRead + Unpin),
    ticket: &str,
    answer: &mut Vec<u8>,
) -> Result<i32, Cut> {
    loop {
        let read = stream.read_buf(answer).await;
        if !read.is_ok_and(|count| count > 0) {
            return Err(Cut::Ended);
        }
        if let Some((length, status)) = end_of(answer, ticket) {
            answer.truncate(length);
            return Ok(status);
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(Cut::TooLong);
        }
    }
}

/// Where the answer ends, if its last line is the one that ends the answer to `ticket`.
fn end_of(answer: &[u8], ticket: &str) -> Option<(usize, i32)> {
    let lines = answer.strip_suffix(b"\n")?;
    let length = lines.iter().rposition(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&lines[length + 1..]).ok()?;
    let status = line.strip_prefix(ticket)?.strip_prefix(' ')?;
    Some((length, status.parse().ok()?))
}

fn secret() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    let number = std::hash::RandomState::new().build_hasher().finish();
    format!("repoint-{number:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> (Option<i32>, Vec<u8>) {
        let mut answer = Vec::new();
        let status = read_answer(&mut &bytes[..], "t-7", &mut answer).await;
        (status.ok(), answer)
    }

    #[tokio::test]
    async fn an_answer_ends_with_the_line_of_its_own_ticket_and_no_other() {
        let whole: [(&[u8], i32, &[u8]); 4] = [
            (b"\nt-7 0\n", 0, b""),
            (b"a\nb\n\nt-7 21\n", 21, b"a\nb\n"),
            (b"no line break\nt-7 0\n", 0, b"no line break"),
            (b"\nt-6 0\n\xff\0\nt-7 20\n", 20, b"\nt-6 0\n\xff\0"),
        ];
        for (bytes, status, answer) in whole {
            assert_eq!(read(bytes).await, (Some(status), answer.to_vec()));
        }
        let other: [&[u8]; 7] = [
            b"",
            b"t-7 0\n",
            b"\nt-7 0",
            b"\nt-7\n",
            b"\nt-7 0 \n",
            b"\nt-77 0\n",
            b"\nt-6 0\n",
        ];
        for bytes in other {
            let (status, answer) = read(bytes).await;
            assert_eq!((status, answer.as_slice()), (None, bytes));
        }
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_not_read_for_ever() {
        let mut answer = Vec::new();
        let read = read_answer(&mut tokio::io::repeat(b'x'), "t-7", &mut answer).await;
        assert!(matches!(read, Err(Cut::TooLong)));
        assert!(answer.len() <= 2 * ANSWER_BYTES_MAX);
    }

    #[test]
    fn a_request_is_one_line_each_and_content_by_length() {
        let arguments = ["1", " a \\ "];
        let expected = b"t stage 2 3 - -\n1\n a \\ \n\0\nb";
        let without = request("t", "stage", &arguments, b"\0\nb", None);
        assert_eq!(without, expected);
        let until = Until {
            boot: "0b".to_owned(),
            uptime: Duration::from_millis(12_345),
        };
        let with = request("t", "settle", &["1"], b"", Some(&until));
        assert_eq!(with, b"t settle 1 0 0b 1234\n1\n");
    }
}
