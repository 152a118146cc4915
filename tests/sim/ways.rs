//! What a worker's task stands on in this world: questions that are answered later or never, time,
//! and what it is told. A task is a future that nobody but the world polls.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use repoint::core::ledger::Until;
use repoint::core::worker::{Assignment, Status};

use super::call::{Op, Refusal, Reply};
use super::random::Random;

/// How long an answer is waited for (`edge::remote`, `edge::admin_console`), and a command is good.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: u64,
    pub(crate) session: u64,
    pub(crate) op: Op,
    pub(crate) until: Option<Until>,
    /// When nobody waits for it any more.
    pub(crate) limit: Instant,
}

/// Between the world and a task.
pub(crate) struct Mailbox {
    pub(crate) now: Instant,
    pub(crate) asked: Option<Asked>,
    /// The answer that is waited for.
    waits_for: Option<u64>,
    answer: Option<Reply>,
    pub(crate) wake: Option<Instant>,
    pub(crate) assignment: Option<Assignment>,
    pub(crate) status: Option<Status>,
    pub(crate) counted: Vec<&'static str>,
    asks: u64,
    sessions: u64,
    /// The time on the host as it was told, and when.
    clock: Option<(Until, Instant)>,
    random: Random,
}

#[derive(Clone)]
pub(crate) struct Ways(pub(crate) Rc<RefCell<Mailbox>>);

impl Ways {
    pub(crate) fn new(now: Instant, random: Random) -> Self {
        Self(Rc::new(RefCell::new(Mailbox {
            now,
            asked: None,
            waits_for: None,
            answer: None,
            wake: None,
            assignment: None,
            status: None,
            counted: Vec::new(),
            asks: 0,
            sessions: 0,
            clock: None,
            random,
        })))
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.borrow().now
    }

    pub(crate) fn fraction(&self) -> f64 {
        self.0.borrow_mut().random.fraction()
    }

    pub(crate) fn count(&self, what: &'static str) {
        self.0.borrow_mut().counted.push(what);
    }

    /// What the world brings; gives whether somebody waits for it.
    pub(crate) fn answered(&self, id: u64, reply: Reply) -> bool {
        let mut mailbox = self.0.borrow_mut();
        let waited_for = mailbox.waits_for == Some(id);
        if waited_for {
            mailbox.answer = Some(reply);
        }
        waited_for
    }

    /// A session of its own: what was sent through the one before may still arrive.
    pub(crate) async fn connect(&self) -> Reply {
        self.0.borrow_mut().sessions += 1;
        self.ask(Op::Connect).await
    }

    pub(crate) async fn ask(&self, op: Op) -> Reply {
        let limit = self.now() + TIMEOUT;
        self.ask_before(op, limit).await
    }

    /// The same, given up no later than `limit`.
    pub(crate) async fn ask_before(&self, op: Op, limit: Instant) -> Reply {
        let limit = limit.min(self.now() + TIMEOUT);
        self.send(op);
        let reply = poll_fn(|_| {
            let mut mailbox = self.0.borrow_mut();
            if let Some(reply) = mailbox.answer.take() {
                return Poll::Ready(reply);
            }
            if mailbox.now >= limit {
                return Poll::Ready(Reply::Lost);
            }
            mailbox.wake = Some(limit);
            Poll::Pending
        })
        .await;
        let mut mailbox = self.0.borrow_mut();
        mailbox.waits_for = None;
        if let Reply::Inspected(_, until) = &reply {
            mailbox.clock = Some((until.clone(), mailbox.now));
        }
        if let Reply::Refused(why) = &reply {
            mailbox.counted.push(refused(*why));
        }
        reply
    }

    fn send(&self, op: Op) {
        let mut mailbox = self.0.borrow_mut();
        mailbox.asks += 1;
        let now = mailbox.now;
        let until = mailbox.clock.as_ref().filter(|_| !op.is_console());
        let until = until.map(|(read, at)| Until {
            boot: read.boot.clone(),
            uptime: read.uptime + now.saturating_duration_since(*at) + TIMEOUT,
        });
        mailbox.waits_for = Some(mailbox.asks);
        mailbox.answer = None;
        mailbox.asked = Some(Asked {
            id: mailbox.asks,
            session: mailbox.sessions,
            op,
            until,
            limit: now + TIMEOUT,
        });
    }

    pub(crate) async fn sleep_until(&self, until: Instant) {
        poll_fn(|_| self.is_over(until, false)).await;
    }

    /// Until then, or until something else is assigned.
    pub(crate) async fn idle_until(&self, until: Instant) {
        poll_fn(|_| self.is_over(until, true)).await;
    }

    fn is_over(&self, until: Instant, or_assigned: bool) -> Poll<()> {
        let mut mailbox = self.0.borrow_mut();
        if mailbox.now >= until || (or_assigned && mailbox.assignment.is_some()) {
            return Poll::Ready(());
        }
        mailbox.wake = Some(until);
        Poll::Pending
    }
}

fn refused(why: Refusal) -> &'static str {
    match why {
        Refusal::Superseded => "refused: a newer file",
        Refusal::Changed => "refused: another file",
        Refusal::NotWritable => "refused: the disk is full",
        Refusal::NotStaged => "refused: not staged",
        Refusal::Occupied => "refused: another operation",
        Refusal::TooLate => "refused: too late",
        Refusal::Undecided => "refused: not what was decided",
        Refusal::NoServer => "no query gets through",
    }
}
