//! The steps of a planned move, while both nodes live: nobody is to see an error.
//!
//! The steps after a failure are [`super::Plan::steps`]' own. What follows from what a step gave is
//! `core::sequence::planned`'s; carrying one out is `agent::executor::drain`'s.

use std::time::Duration;

use super::{Plan, Step};

/// How long a moment is waited for in which no connection is logging in: one that PAUSE or RELOAD
/// cuts off counts as a failed login, and until the next one PgBouncer refuses clients. Where there
/// is none, the SET after RELOAD keeps it short.
const CALM_LIMIT: Duration = Duration::from_secs(1);
/// Once PAUSE has answered, no connection should be left. After a `WAIT_CLOSE` that somebody sent
/// at any time before, it answers at once, whatever is running.
pub const EMPTY_LIMIT: Duration = Duration::from_secs(1);
/// A query through PgBouncer, before connections are counted.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);

/// How entries leave a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Way {
    /// It failed, in the way that [`super::Decision::fault`] says.
    #[default]
    Failed,
    /// Both nodes take writes: new transactions go to the new node at once, those that run end on
    /// the old one.
    Drain {
        /// How long the last of them is waited for.
        limit: Duration,
        /// In session pooling nobody would ever leave: sessions are closed as soon as they are not
        /// in a transaction. This value of `server_fast_close` is set again afterwards.
        fast_close: Option<String>,
    },
    /// No transaction begins on the new node before the last one has ended on the old one, and
    /// arrived on the new one.
    Pause {
        /// How long running transactions are waited for, over all entries.
        limit: Duration,
        /// How long the new node may need to have all that the old one has.
        replayed: Duration,
    },
}

impl Way {
    /// How much longer than a redirect after a failure it may take: so much longer is what it owes
    /// its own to pay.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        match self {
            Self::Failed => Duration::ZERO,
            Self::Drain { limit, .. } => *limit + CONFIRM_LIMIT,
            Self::Pause { .. } => self.holds() + CONFIRM_LIMIT,
        }
    }

    /// How long clients may be held up.
    #[must_use]
    pub fn holds(&self) -> Duration {
        match self {
            Self::Failed | Self::Drain { .. } => Duration::ZERO,
            Self::Pause { limit, replayed } => *limit + EMPTY_LIMIT + *replayed,
        }
    }

    /// What is owed of `server_fast_close`.
    #[must_use]
    pub fn fast_close(&self) -> Option<&String> {
        match self {
            Self::Drain { fast_close, .. } => fast_close.as_ref(),
            Self::Failed | Self::Pause { .. } => None,
        }
    }
}

/// The steps of a planned move; `None`: it is none.
pub(super) fn steps(plan: &Plan) -> Option<Vec<Step>> {
    match &plan.way {
        Way::Failed => None,
        Way::Drain { limit, fast_close } => Some(drain(plan, *limit, fast_close.is_some())),
        Way::Pause { limit, replayed } => Some(pause(plan, *limit, *replayed)),
    }
}

fn drain(plan: &Plan, limit: Duration, sessions: bool) -> Vec<Step> {
    let mut steps = staged(plan);
    steps.extend([Step::Activate, Step::Calm { limit: CALM_LIMIT }]);
    steps.extend([Step::Reload, Step::Hasten, Step::ReadBack]);
    steps.extend(enables(plan));
    steps.extend(plan.resumes());
    steps.push(Step::PutBack);
    if sessions {
        steps.push(Step::CloseSessions);
    }
    steps.extend(confirms(plan));
    steps.push(Step::Drain { limit });
    if sessions {
        steps.push(Step::KeepSessions);
    }
    steps.push(Step::RecordDebt);
    steps
}

fn pause(plan: &Plan, limit: Duration, replayed: Duration) -> Vec<Step> {
    let mut steps = staged(plan);
    steps.extend([Step::Record, Step::Calm { limit: CALM_LIMIT }]);
    let entries = u32::try_from(plan.moves.len()).unwrap_or(u32::MAX).max(1);
    let pause = |database: &String| Step::Pause {
        database: database.clone(),
        limit: limit / entries,
    };
    steps.extend(plan.moves.keys().map(pause));
    steps.extend([Step::Emptied, Step::Replayed { limit: replayed }]);
    steps.extend([Step::Activate, Step::Reload, Step::ReadBack, Step::Hasten]);
    steps.extend(enables(plan));
    steps.extend(plan.resumes());
    steps.push(Step::PutBack);
    steps.extend(confirms(plan));
    steps.push(Step::RecordDebt);
    steps
}

fn staged(plan: &Plan) -> Vec<Step> {
    match plan.prepared {
        true => Vec::new(),
        false => vec![Step::Stage],
    }
}

fn enables(plan: &Plan) -> impl Iterator<Item = Step> + '_ {
    plan.enable.iter().map(|database| Step::Enable {
        database: database.clone(),
    })
}

fn confirms(plan: &Plan) -> impl Iterator<Item = Step> + '_ {
    plan.confirm.iter().map(|database| Step::Confirm {
        database: database.clone(),
    })
}
