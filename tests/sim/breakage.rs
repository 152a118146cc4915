//! What a witness or the way to it could do wrong. Each is made where the core meets the world, and
//! a simulation that does not notice it proves nothing.

use repoint::config::NodeId;
use repoint::core::ledger::{
    Answer, Fingerprint, HostTime, Ledger, Memory, Record, Until, WitnessMemory,
};
use repoint::core::vote::{Sight, Sights, Vote, vote};
use repoint::generation::Generation;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breakage {
    /// A witness accepts whatever comes.
    PromiseNotHonoured,
    /// A witness promises, and keeps silent about what it has accepted and nobody has decided.
    AcceptedNotTold,
    /// A vote that was given once is given again, whatever the witness sees now.
    OldVotesUsed,
    /// A vote of the round before counts in this one as well.
    RoundsAdded,
    /// A node that a witness cannot reach counts as reached.
    UnreachableTargetAccepted,
    /// A host that is started anew has lost what it wrote in the last seconds.
    LedgerNotSynced,
    /// A witness that has lost its ledger begins a new one by itself.
    BlankLedgerVotes,
    /// The time of the last move is not remembered.
    CooldownForgotten,
    /// One witness is enough.
    MinorityDecides,
    /// What a file says of itself counts, and not the ledger.
    HeaderBelieved,
    /// A file is taken back although it is another agent's.
    RollbackOfAnothers,
    /// What was given up is done all the same when it arrives.
    CommandsDoNotExpire,
    /// What a pause owes is not on record before it.
    RecordNotWritten,
    /// RESUME is answered, and nothing is resumed.
    ResumeForgotten,
    /// Whoever lost its operation to another one may go on at the console.
    LeaseNotChecked,
}

pub(crate) const ALL: [Breakage; 15] = [
    Breakage::PromiseNotHonoured,
    Breakage::AcceptedNotTold,
    Breakage::OldVotesUsed,
    Breakage::RoundsAdded,
    Breakage::UnreachableTargetAccepted,
    Breakage::LedgerNotSynced,
    Breakage::BlankLedgerVotes,
    Breakage::CooldownForgotten,
    Breakage::MinorityDecides,
    Breakage::HeaderBelieved,
    Breakage::RollbackOfAnothers,
    Breakage::CommandsDoNotExpire,
    Breakage::RecordNotWritten,
    Breakage::ResumeForgotten,
    Breakage::LeaseNotChecked,
];

/// A ledger in place of whatever was there.
pub(crate) fn overwritten(ledger: &Ledger, at: &HostTime) -> WitnessMemory {
    let mut memory = WitnessMemory::default();
    let until = Until {
        boot: at.boot.clone(),
        uptime: at.uptime + std::time::Duration::from_secs(1),
    };
    memory.teach(&Fingerprint::Blank, ledger, &until, at);
    memory
}

/// A ledger that has accepted this.
pub(crate) fn accepting(record: Record, at: &HostTime) -> WitnessMemory {
    let ledger = Ledger {
        promised: record.generation,
        accepted: Some(record),
        decided: false,
    };
    overwritten(&ledger, at)
}

/// An answer without what has been accepted and is not known to be decided.
pub(crate) fn without_accepted(mut answer: Answer) -> Answer {
    if let Memory::Known(ledger) = &mut answer.reading.memory
        && !ledger.decided
    {
        ledger.accepted = Some(Record {
            generation: Generation::NONE,
            active: NodeId(1),
            moved: std::time::Duration::from_secs(100),
        });
    }
    answer
}

/// An answer by which the last move was long ago.
pub(crate) fn moved_long_ago(mut answer: Answer) -> Answer {
    if let Memory::Known(Ledger {
        accepted: Some(record),
        ..
    }) = &mut answer.reading.memory
    {
        record.moved += std::time::Duration::from_secs(1000);
    }
    answer
}

/// As if the node to go to had been reached.
pub(crate) fn reaching_next(sights: Sights) -> Sights {
    Sights {
        next: Sight::Reached { read_only: false },
        ..sights
    }
}

/// The vote of this round or of the one before.
pub(crate) fn added(earlier: Option<Sights>, sights: Sights) -> Sights {
    let votes = |sights: &Sights| vote(&sights.failed, &sights.next) == Vote::For;
    earlier.filter(votes).unwrap_or(sights)
}
