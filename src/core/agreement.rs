//! What the agents of a cluster agree upon, with the hosts of the PgBouncers as witnesses.
//!
//! Decides which witness is asked what, when a node counts as failed through their eyes, and which
//! decision is the current one. A move is decided in two rounds that follow each other: in the
//! first, every witness says what its ledger holds and how it sees both nodes; in the second, it
//! first promises a ballot, and then looks again. If a majority has promised, and a majority of
//! votes is for the move, the decision is proposed under that ballot; it is made when a majority
//! has accepted it, and only then is a managed file changed. Votes of different rounds are never
//! added up.
//!
//! What one witness does with a command is [`crate::core::ledger`]'s, what a vote is
//! [`crate::core::vote`]'s. When a move is wanted, and what becomes of a decision, is
//! [`crate::core::cluster`]'s. Asking is `agent::witnesses`'.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::config::{NodeId, Quorum};
use crate::core::ledger::{Answer, Fingerprint, Ledger, Record, Until};
use crate::core::vote::Sights;
use crate::generation::Generation;

mod backoff;
mod chores;
mod deciding;
mod looking;
mod round;
mod witness;

use backoff::Backoff;
use round::Round;
pub use witness::Standing;
use witness::Witness;

/// For how long a command is good for, from the moment when it is sent: longer than any answer that
/// is worth waiting for.
const WINDOW: Duration = Duration::from_secs(3);
/// How often a ballot is lost to another agent before a person is told.
const CONTESTS_MAX: u32 = 8;
/// While no majority of ledgers is known, it is looked for this often.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// What is the same for as long as an agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The node of this agent, which makes its ballots its own.
    pub own: NodeId,
    /// How many witnesses a decision needs.
    pub quorum: Quorum,
    /// A node is not left again within this time after the last move.
    pub cooldown: Duration,
    /// How long a round waits for the answers of witnesses.
    pub round_limit: Duration,
    /// How long after a round that did not carry the next one begins.
    pub again_after: Duration,
    /// How often ledgers are read while nothing happens.
    pub interval: Duration,
}

/// A move that witnesses vote for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The node to leave.
    pub failed: NodeId,
    /// The node to go to.
    pub next: NodeId,
}

/// A move that somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub to: Move,
    /// Whether it is to be decided; if not, witnesses are only asked how they see it, so that one
    /// round is over when it comes to that.
    pub decide: bool,
}

/// What a witness is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// What is in your ledger?
    Look,
    /// Promise this ballot.
    Promise(Generation, Until),
    /// Accept this decision, under the promise of its ballot.
    Accept(Record, Until),
    /// Learn what was decided.
    Learn(Record, Until),
    /// Take this ledger in place of that.
    Teach(Fingerprint, Ledger, Until),
}

/// A question to one witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which round the answer belongs to; a later question has no lower number.
    pub round: u64,
    /// Whom to ask.
    pub witness: String,
    /// What.
    pub ask: Ask,
    /// How it sees these nodes, *after* what is asked was done.
    pub see: Option<Move>,
}

/// The answer of one witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Of the request.
    pub round: u64,
    /// Whose.
    pub witness: String,
    /// What its ledger says; or why there is no answer, and then it may have been done or not.
    pub answer: Result<Answer, String>,
    /// How it sees the nodes, if that was asked.
    pub sights: Option<Sights>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agreed {
    /// This is the current decision: a majority has accepted it.
    Decided(Record),
    /// Nothing was decided. It is tried again.
    Not(Obstacle),
}

/// Why nothing was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Too few witnesses see it so; the sentence names them.
    Votes(String),
    /// Too few ledgers can be read, or have anything in them.
    Ledgers(String),
    /// Traffic was moved such a short time ago.
    Cooldown(Duration),
    /// Another agent asks for promises at the same time.
    Contest,
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Votes(votes) => write!(f, "partition suspected: {votes}"),
            Self::Ledgers(ledgers) => f.write_str(ledgers),
            Self::Cooldown(left) => write!(
                f,
                "traffic was moved a short time ago, and `failover_cooldown` has {} s left",
                left.as_secs() + 1
            ),
            Self::Contest => f.write_str("another agent asks for a decision at the same time"),
        }
    }
}

/// One agent's side.
#[derive(Debug, Clone)]
pub struct Agreement {
    rules: Rules,
    witnesses: BTreeMap<String, Witness>,
    wanted: Option<Wanted>,
    /// The last round that carried a move, and when it ended.
    carried: Option<(Move, Instant)>,
    phase: Phase,
    rounds: u64,
    backoff: Backoff,
    /// A proposal that nobody has decided, as it was seen first.
    dangling: Option<(Generation, Instant)>,
    /// What the files said was decided before there were ledgers.
    genesis: Option<Record>,
    outbox: VecDeque<Request>,
    agreed: VecDeque<Agreed>,
}

#[derive(Debug, Clone)]
enum Phase {
    /// Nothing is under way before that moment.
    Resting {
        until: Instant,
    },
    Looking(Round),
    /// Without a move, what is decided already is decided once more.
    Promising {
        round: Round,
        to: Option<Move>,
        ballot: Generation,
    },
    Accepting {
        round: Round,
        to: Option<Move>,
        record: Record,
    },
}

impl Agreement {
    /// Knows nothing yet, and begins with a look at the ledgers of all.
    #[must_use]
    pub fn new(
        rules: Rules,
        witnesses: impl IntoIterator<Item = (String, Standing)>,
        now: Instant,
    ) -> Self {
        let witnesses = witnesses.into_iter();
        Self {
            rules,
            witnesses: witnesses
                .map(|(name, standing)| (name, Witness::new(standing)))
                .collect(),
            wanted: None,
            carried: None,
            phase: Phase::Resting { until: now },
            rounds: 0,
            backoff: Backoff::new(rules.own),
            dangling: None,
            genesis: None,
            outbox: VecDeque::new(),
            agreed: VecDeque::new(),
        }
    }

    /// Whether decisions are made here at all. Without a quorum, or without any witness, each agent
    /// decides for itself.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.rules.quorum != Quorum::None && self.voters().next().is_some()
    }

    /// What was in force before there were ledgers, as far as files tell: the first thing that
    /// blank ledgers are taught. Under no agent's number: it must not be taken for anybody's
    /// ballot.
    pub fn files_say(&mut self, generation: Generation, active: NodeId) {
        let generation = Generation {
            node_id: NodeId(0),
            ..generation
        };
        let known = self.genesis.map_or(Generation::NONE, |it| it.generation);
        if generation > known {
            self.genesis = Some(Record {
                generation,
                active,
                // Long ago, as far as anybody knows.
                moved: Duration::from_secs(86_400),
            });
        }
    }

    /// A move is wanted, or none any more. What is under way for another one is given up; what it
    /// may have done is found in the ledgers.
    pub fn want(&mut self, wanted: Option<Wanted>, now: Instant) {
        let before = std::mem::replace(&mut self.wanted, wanted);
        let other = before.map(|it| it.to) != wanted.map(|it| it.to);
        if other {
            self.carried = None;
            self.agreed.clear();
        }
        let decides = |it: Option<Wanted>| it.is_some_and(|it| it.decide);
        let urgent = decides(wanted) && !decides(before);
        if other || (urgent && matches!(self.phase, Phase::Resting { .. })) {
            self.rest_until(now);
        }
    }

    /// A witness answered, or could not be asked.
    pub fn heard(&mut self, word: Word, now: Instant) {
        let Some(witness) = self.witnesses.get_mut(&word.witness) else {
            return;
        };
        if !witness.heard(&word, now) {
            return;
        }
        if let Some(round) = self.round_mut()
            && round.is(word.round)
        {
            round.heard(word);
        }
        self.conclude(now);
    }

    /// The next question, or nothing for now. To be called until it gives nothing.
    pub fn next(&mut self, now: Instant) -> Option<Request> {
        if let Some(request) = self.outbox.pop_front() {
            return Some(request);
        }
        if !self.is_used() {
            return None;
        }
        self.conclude(now);
        if let Phase::Resting { until } = self.phase
            && now >= until
        {
            match self.move_to_decide(now) {
                Some(to) => self.begin_promising(Some(to), now),
                None => self.begin_looking(now),
            }
        }
        self.outbox.pop_front()
    }

    /// What came of it, once.
    pub fn agreed(&mut self) -> Option<Agreed> {
        self.agreed.pop_front()
    }

    /// When [`Agreement::next`] may have something although nobody was heard.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        if !self.is_used() {
            return None;
        }
        Some(match &self.phase {
            Phase::Resting { until } => *until,
            Phase::Looking(round)
            | Phase::Promising { round, .. }
            | Phase::Accepting { round, .. } => round.deadline(),
        })
    }

    /// The ballot that this agent would ask for now.
    #[must_use]
    pub fn next_ballot(&self) -> Generation {
        let seen = self.witnesses.values().map(Witness::highest);
        seen.fold(Generation::NONE, Generation::max)
            .next(self.rules.own)
    }

    fn conclude(&mut self, now: Instant) {
        match &self.phase {
            Phase::Resting { .. } => {}
            Phase::Looking(_) => self.conclude_looking(now),
            Phase::Promising { .. } => self.conclude_promising(now),
            Phase::Accepting { .. } => self.conclude_accepting(now),
        }
    }

    fn round_mut(&mut self) -> Option<&mut Round> {
        match &mut self.phase {
            Phase::Resting { .. } => None,
            Phase::Looking(round)
            | Phase::Promising { round, .. }
            | Phase::Accepting { round, .. } => Some(round),
        }
    }

    fn rest_until(&mut self, until: Instant) {
        self.phase = Phase::Resting { until };
    }

    /// A question whose answer no round waits for.
    fn tell(&mut self, witness: String, ask: Ask) {
        self.rounds += 1;
        self.outbox.push_back(Request {
            round: self.rounds,
            witness,
            ask,
            see: None,
        });
    }

    /// Begins a round among those of whom `ask` makes a question.
    fn begin_round(
        &mut self,
        see: Option<Move>,
        now: Instant,
        ask: impl Fn(&Witness) -> Option<Ask>,
    ) -> Round {
        self.rounds += 1;
        let mut round = Round::new(self.rounds, now, self.rules.round_limit);
        for (name, witness) in &self.witnesses {
            let Some(ask) = ask(witness) else { continue };
            if witness.votes() {
                round.waits_for(name.clone());
            }
            self.outbox.push_back(Request {
                round: self.rounds,
                witness: name.clone(),
                ask,
                see: see.filter(|_| witness.votes()),
            });
        }
        round
    }

    fn voters(&self) -> impl Iterator<Item = (&String, &Witness)> {
        self.witnesses.iter().filter(|(_, witness)| witness.votes())
    }

    /// How many witnesses have to promise, to accept, and to vote for a move.
    fn needed(&self) -> usize {
        self.rules.quorum.needed(self.voters().count())
    }
}
