//! The rows `bdr_failover` of one failure: when they are written, and what they say.
//!
//! repmgr writes its row before anything is redirected and calls it successful. Here the node is
//! marked inactive at the decision, and the row waits until it is known what became of the
//! PgBouncers and of the operator's command, but not for long: then it says that it is under way,
//! which is no success, and a second row records the success. Writing is `agent::recorder`'s.

use std::time::{Duration, Instant};

/// How long the row waits for a first result. A redirect takes less than a second.
const FIRST_RESULT_LIMIT: Duration = Duration::from_secs(5);
/// When an agent that found the node marked inactive already looks whether the one that marked it
/// has written the row: after that one's limit, and the time that writing may take.
const OTHER_AGENT_LIMIT: Duration = Duration::from_secs(15);

/// What stands in `details` before the words about the operator's command.
pub const COMMAND: &str = "; event_notification_command ";
/// And if it ended well.
pub const COMMAND_SUCCEEDED: &str = "; event_notification_command ended with exit status 0 ";

/// Who marked the failed node inactive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// This agent: the row is its own to write.
    Here,
    /// It was done already: by the other agent, or before this one was started. Only when no row
    /// tells of it, this one writes it.
    Already,
}

/// Which of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// Of the agent that marked the node.
    First,
    /// In place of an agent that marked the node and is gone. Not to be written when there is a
    /// row since the node was last active.
    TakenOver,
    /// The success that the first row did not have. Not to be written when a row since then says
    /// so.
    Later,
}

/// A row that is to be written now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverRow {
    /// Which.
    pub kind: RowKind,
    /// Whether all PgBouncers serve the next node, and the command ended with status 0.
    pub successful: bool,
    /// repmgr's sentence, and what became of it.
    pub details: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Command {
    None,
    Running,
    Ended { successful: bool, how: String },
}

/// What is known of one failover.
#[derive(Debug, Clone)]
pub struct FailoverRecord {
    sentence: String,
    marked: Marked,
    decided: Instant,
    command: Command,
    /// Whether all PgBouncers serve the next node, and in words.
    redirect: Option<(bool, String)>,
    /// What the last row said.
    written: Option<bool>,
    /// Whether there was anything to redirect.
    news: bool,
}

impl FailoverRecord {
    /// Decided at `decided`; `news`: something was to be redirected then.
    #[must_use]
    pub fn new(sentence: String, marked: Marked, news: bool, decided: Instant) -> Self {
        Self {
            sentence,
            marked,
            decided,
            command: Command::None,
            redirect: None,
            written: None,
            news,
        }
    }

    /// The operator's command was started.
    pub fn command_started(&mut self) {
        self.command = Command::Running;
    }

    /// It has ended: whether with success, and how, in words.
    pub fn command_ended(&mut self, successful: bool, how: &str) {
        self.command = Command::Ended {
            successful,
            how: how.to_owned(),
        };
    }

    /// How far the redirect has come.
    pub fn redirected(&mut self, complete: bool, summary: &str) {
        self.redirect = Some((complete, summary.to_owned()));
    }

    /// Whether nothing more will be written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.written == Some(true)
    }

    /// When [`FailoverRecord::next`] may have something although nothing was told.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let limit = match self.marked {
            Marked::Here => FIRST_RESULT_LIMIT,
            Marked::Already => OTHER_AGENT_LIMIT,
        };
        self.written.is_none().then_some(self.decided + limit)
    }

    /// The row that is to be written at `now`, if any; see [`FailoverRecord::written`].
    #[must_use]
    pub fn next(&self, now: Instant) -> Option<FailoverRow> {
        let over = self.wake_at().is_some_and(|limit| now >= limit);
        let all_ended = self.redirect.is_some() && self.command != Command::Running;
        let kind = match (self.written, self.marked) {
            (None, Marked::Here) if over || all_ended => RowKind::First,
            (None, Marked::Already) if over => RowKind::TakenOver,
            (Some(false), _) if self.is_success() => RowKind::Later,
            (None, _) | (Some(_), _) => return None,
        };
        Some(self.row(kind))
    }

    /// The row of an agent that ends now, if it still owes one.
    #[must_use]
    pub fn last(&self) -> Option<FailoverRow> {
        let owed = self.written.is_none() && self.marked == Marked::Here;
        owed.then(|| self.row(RowKind::First))
    }

    /// A row was written, or (`inserted` is `false`) another agent's was there.
    pub fn written(&mut self, row: &FailoverRow, inserted: bool) {
        let more = match (row.kind, inserted) {
            (RowKind::First | RowKind::TakenOver, true) => !row.successful,
            // Whoever wrote it may have gone before the end of what this agent then did.
            (RowKind::TakenOver, false) => self.news,
            (RowKind::First, false) | (RowKind::Later, _) => false,
        };
        self.written = Some(!more);
    }

    fn is_success(&self) -> bool {
        let complete = matches!(self.redirect, Some((true, _)));
        let command = match &self.command {
            Command::None => true,
            Command::Running => false,
            Command::Ended { successful, .. } => *successful,
        };
        complete && command
    }

    fn row(&self, kind: RowKind) -> FailoverRow {
        let mut details = self.sentence.clone();
        let redirect = self.redirect.as_ref().map(|(_, summary)| summary.as_str());
        details.push_str("; ");
        details.push_str(redirect.unwrap_or("the redirect is still under way"));
        match &self.command {
            Command::None => {}
            Command::Running => details.extend([COMMAND, "is still running"]),
            Command::Ended { how, .. } => details.extend([COMMAND, how]),
        }
        if kind == RowKind::TakenOver {
            details.push_str("; written by the agent that took over");
        }
        FailoverRow {
            kind,
            successful: self.is_success(),
            details,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENTENCE: &str = "node \"node2\" (ID: 2) detected as failed; \
                            next available node is \"node1\" (ID: 1)";

    /// What a record is told, in order; then the row is asked for.
    enum Told {
        Redirect(bool, &'static str),
        Started,
        Ended(bool, &'static str),
        Seconds(u64),
    }
    use Told::{Ended, Redirect, Seconds, Started};

    struct Case {
        marked: Marked,
        told: Vec<Told>,
        /// Which row, whether successful, and its details behind the sentence.
        row: Option<(RowKind, bool, &'static str)>,
    }

    fn play(record: &mut FailoverRecord, told: &[Told], now: &mut Instant) {
        for told in told {
            match told {
                Redirect(complete, summary) => record.redirected(*complete, summary),
                Started => record.command_started(),
                Ended(successful, how) => record.command_ended(*successful, how),
                Seconds(seconds) => *now += Duration::from_secs(*seconds),
            }
        }
    }

    fn here(told: Vec<Told>, row: Option<(RowKind, bool, &'static str)>) -> Case {
        let marked = Marked::Here;
        Case { marked, told, row }
    }

    fn already(told: Vec<Told>, row: Option<(RowKind, bool, &'static str)>) -> Case {
        let marked = Marked::Already;
        Case { marked, told, row }
    }

    #[test]
    fn the_first_row_says_what_really_happened() {
        use RowKind::{First, TakenOver};
        let cases = [
            here(vec![], None),
            here(vec![Seconds(4)], None),
            here(
                vec![Redirect(true, "2 of 2 PgBouncers serve node 1")],
                Some((First, true, "; 2 of 2 PgBouncers serve node 1")),
            ),
            here(
                vec![Redirect(
                    false,
                    "1 of 2 PgBouncers serve node 1; pgb2: away",
                )],
                Some((First, false, "; 1 of 2 PgBouncers serve node 1; pgb2: away")),
            ),
            here(vec![Started, Redirect(true, "all")], None),
            here(
                vec![Started, Redirect(true, "all"), Ended(true, "ended")],
                Some((First, true, "; all; event_notification_command ended")),
            ),
            here(
                vec![Started, Ended(false, "failed"), Redirect(true, "all")],
                Some((First, false, "; all; event_notification_command failed")),
            ),
            here(
                vec![Started, Redirect(true, "all"), Seconds(5)],
                Some((
                    First,
                    false,
                    "; all; event_notification_command is still running",
                )),
            ),
            here(
                vec![Seconds(5)],
                Some((First, false, "; the redirect is still under way")),
            ),
            already(vec![Redirect(true, "all"), Seconds(14)], None),
            already(
                vec![Redirect(true, "all"), Seconds(15)],
                Some((
                    TakenOver,
                    true,
                    "; all; written by the agent that took over",
                )),
            ),
        ];
        for (index, case) in cases.iter().enumerate() {
            let mut now = Instant::now();
            let mut record = FailoverRecord::new(SENTENCE.to_owned(), case.marked, true, now);
            play(&mut record, &case.told, &mut now);
            let expected = case.row.map(|(kind, successful, rest)| FailoverRow {
                kind,
                successful,
                details: format!("{SENTENCE}{rest}"),
            });
            assert_eq!(record.next(now), expected, "case {index}");
        }
    }

    /// Begins with a first row, written or found; then is told, and asked for the next.
    fn second(marked: Marked, first: Vec<Told>, inserted: bool, told: &[Told]) -> Option<bool> {
        let mut now = Instant::now();
        let mut record = FailoverRecord::new(SENTENCE.to_owned(), marked, true, now);
        play(&mut record, &first, &mut now);
        let Some(row) = record.next(now) else {
            panic!("no first row")
        };
        record.written(&row, inserted);
        play(&mut record, told, &mut now);
        let next = record.next(now)?;
        assert_eq!(next.kind, RowKind::Later);
        record.written(&next, true);
        assert!(record.is_done());
        assert_eq!(record.next(now), None);
        Some(next.successful)
    }

    #[test]
    fn a_second_row_records_the_later_success_and_nothing_else() {
        let late = || vec![Redirect(false, "one is away")];
        let complete = [Redirect(true, "all")];
        assert_eq!(second(Marked::Here, late(), true, &complete), Some(true));
        assert_eq!(second(Marked::Here, late(), true, &[]), None);
        assert_eq!(second(Marked::Here, late(), true, &late()), None);
        // There is one already, by the agent that took over meanwhile.
        assert_eq!(second(Marked::Here, late(), false, &complete), None);
        // It was successful at once.
        let at_once = || vec![Redirect(true, "all")];
        assert_eq!(second(Marked::Here, at_once(), true, &complete), None);
        // A command that failed does not succeed later.
        let failed = vec![Started, Ended(false, "failed"), Redirect(false, "away")];
        assert_eq!(second(Marked::Here, failed, true, &complete), None);
        let slow = vec![Started, Redirect(true, "all"), Seconds(5)];
        let ended = [Ended(true, "ended")];
        assert_eq!(second(Marked::Here, slow, true, &ended), Some(true));
        // What another agent began and this one finished.
        let waited = || vec![Seconds(15)];
        assert_eq!(
            second(Marked::Already, waited(), false, &complete),
            Some(true)
        );
        assert_eq!(
            second(Marked::Already, waited(), true, &complete),
            Some(true)
        );
    }

    #[test]
    fn an_agent_that_finds_everything_done_and_told_adds_no_row() {
        let now = Instant::now();
        let mut record = FailoverRecord::new(SENTENCE.to_owned(), Marked::Already, false, now);
        record.redirected(true, "no PgBouncer points at node 2");
        let later = now + OTHER_AGENT_LIMIT;
        let row = record.next(later).expect("it looks whether there is one");
        record.written(&row, false);
        assert!(record.is_done());
        assert_eq!(record.next(later), None);
    }

    #[test]
    fn an_agent_that_ends_writes_the_row_that_it_owes() {
        let now = Instant::now();
        let record = FailoverRecord::new(SENTENCE.to_owned(), Marked::Here, true, now);
        let row = record.last().expect("a row");
        assert_eq!((row.kind, row.successful), (RowKind::First, false));
        let found = FailoverRecord::new(SENTENCE.to_owned(), Marked::Already, true, now);
        assert_eq!(found.last(), None);
    }
}
