//! The ledger of a witness, on a real host beside the model of one: whatever is asked, both say the
//! same, and what was promised or accepted is on the disk before it is said.

use std::sync::Arc;
use std::time::Duration;

use repoint::config::NodeId;
use repoint::core::agreement::Ask;
use repoint::core::ledger::{
    Answer, Fingerprint, HostTime, Ledger, Memory, Record, Until, Verdict, WitnessMemory,
};
use repoint::edge::remote::{KeptLedger, RemoteError};
use repoint::generation::Generation;

use crate::fixture::Host;
use crate::host_verbs::{File, Verbs};

const LEDGER: &str = ".databases.ini.repoint-ledger";
const WINDOW: Duration = Duration::from_secs(3);

/// Who is asked.
trait Witness {
    fn ask(&mut self, ask: &Ask) -> Answer;

    fn say(&mut self, ask: &Ask) -> Verdict {
        self.ask(ask).verdict
    }

    /// A time that is not over.
    fn until(&mut self) -> Until {
        self.ask(&Ask::Look).reading.until(WINDOW)
    }

    fn memory(&mut self) -> Memory {
        self.ask(&Ask::Look).reading.memory
    }
}

struct Model {
    memory: WitnessMemory,
    at: HostTime,
}

impl Witness for Model {
    fn ask(&mut self, ask: &Ask) -> Answer {
        let (memory, at) = (&mut self.memory, &self.at);
        match ask {
            Ask::Look => {
                let reading = memory.read(at);
                let verdict = match reading.memory {
                    Memory::Blank => Verdict::Blank,
                    Memory::Known(_) => Verdict::Done,
                };
                Answer { verdict, reading }
            }
            Ask::Promise(ballot, until) => memory.promise(*ballot, until, at),
            Ask::Accept(record, until) => memory.accept(record, until, at),
            Ask::Learn(record, until) => memory.learn(record, until, at),
            Ask::Teach(expected, ledger, until) => memory.teach(expected, ledger, until, at),
        }
    }
}

struct Real {
    verbs: Verbs,
    known: Option<KeptLedger>,
}

impl Real {
    fn open(host: &Host) -> Self {
        Self {
            verbs: Verbs::open(host, ""),
            known: None,
        }
    }

    fn try_ask(&mut self, ask: &Ask) -> Result<Answer, RemoteError> {
        let asked = self.verbs.open.ask(ask, &mut self.known);
        self.verbs.runtime.block_on(asked)
    }
}

impl Witness for Real {
    fn ask(&mut self, ask: &Ask) -> Answer {
        self.try_ask(ask).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn ballot(number: u64, node: u32) -> Generation {
    Generation {
        number,
        node_id: NodeId(node),
    }
}

fn record(number: u64, node: u32, active: u32) -> Record {
    Record {
        generation: ballot(number, node),
        active: NodeId(active),
        moved: Duration::ZERO,
    }
}

/// A ledger that has accepted this, as far as it is to be compared.
fn accepted(memory: &Memory) -> Option<(Generation, NodeId, bool)> {
    let Memory::Known(ledger) = memory else {
        return None;
    };
    let record = ledger.accepted?;
    Some((record.generation, record.active, ledger.decided))
}

fn scenario(witness: &mut impl Witness) {
    let until = witness.until();
    let over = Until {
        uptime: Duration::from_millis(10),
        ..until.clone()
    };
    let elsewhere = Until {
        boot: "another".to_owned(),
        ..until.clone()
    };
    let promise = |number, node| Ask::Promise(ballot(number, node), until.clone());
    let accept = |record| Ask::Accept(record, until.clone());
    let learn = |record| Ask::Learn(record, until.clone());

    assert_eq!(witness.say(&Ask::Look), Verdict::Blank);
    assert_eq!(witness.say(&promise(1, 1)), Verdict::Blank);
    assert_eq!(witness.say(&accept(record(1, 1, 1))), Verdict::Blank);
    assert_eq!(witness.say(&learn(record(1, 1, 1))), Verdict::Blank);
    let teach = |expected: &Memory, ledger: Ledger| {
        Ask::Teach(expected.fingerprint(), ledger, until.clone())
    };
    let known = Memory::Known(Ledger::NOTHING_DECIDED);
    let nothing = Ledger::NOTHING_DECIDED;
    assert_eq!(witness.say(&teach(&known, nothing)), Verdict::Refused);
    assert_eq!(witness.say(&teach(&Memory::Blank, nothing)), Verdict::Done);
    assert_eq!(
        witness.say(&teach(&Memory::Blank, nothing)),
        Verdict::Refused
    );

    assert_eq!(
        witness.say(&accept(record(1, 1, 1))),
        Verdict::Refused,
        "nothing is promised"
    );
    assert_eq!(
        witness.say(&Ask::Promise(ballot(1, 1), over.clone())),
        Verdict::Late
    );
    assert_eq!(
        witness.say(&Ask::Promise(ballot(1, 1), elsewhere)),
        Verdict::Late
    );
    assert_eq!(witness.say(&promise(1, 1)), Verdict::Done);
    assert_eq!(
        witness.say(&promise(1, 1)),
        Verdict::Refused,
        "no ballot is promised twice"
    );
    assert_eq!(witness.say(&promise(1, 2)), Verdict::Done);
    assert_eq!(
        witness.say(&accept(record(1, 1, 1))),
        Verdict::Refused,
        "a later one is promised"
    );
    assert_eq!(
        witness.say(&Ask::Accept(record(1, 2, 1), over.clone())),
        Verdict::Late
    );
    assert_eq!(accepted(&witness.memory()), None);
    assert_eq!(witness.say(&accept(record(1, 2, 1))), Verdict::Done);
    assert_eq!(
        witness.say(&accept(record(1, 2, 1))),
        Verdict::Done,
        "its answer was lost"
    );
    assert_eq!(
        witness.say(&accept(record(1, 2, 2))),
        Verdict::Refused,
        "another target"
    );
    assert_eq!(
        accepted(&witness.memory()),
        Some((ballot(1, 2), NodeId(1), false))
    );
    assert_eq!(
        witness.say(&learn(record(1, 2, 2))),
        Verdict::Refused,
        "another target"
    );
    assert_eq!(witness.say(&learn(record(1, 2, 1))), Verdict::Done);
    assert_eq!(
        accepted(&witness.memory()),
        Some((ballot(1, 2), NodeId(1), true))
    );

    assert_eq!(witness.say(&learn(record(7, 1, 2))), Verdict::Done);
    assert_eq!(
        witness.say(&learn(record(1, 2, 1))),
        Verdict::Refused,
        "an older one"
    );
    assert_eq!(
        witness.say(&promise(7, 1)),
        Verdict::Refused,
        "it was decided under it"
    );
    assert_eq!(
        witness.say(&Ask::Learn(record(8, 1, 1), over)),
        Verdict::Late
    );
    assert_eq!(
        accepted(&witness.memory()),
        Some((ballot(7, 1), NodeId(2), true))
    );
    let now = witness.memory();
    assert_eq!(
        witness.say(&teach(&now, nothing)),
        Verdict::Refused,
        "that takes something back"
    );
    assert_eq!(witness.memory().fingerprint(), now.fingerprint());
}

#[test]
fn a_real_witness_says_what_the_model_says() {
    let at = HostTime {
        boot: "0b".to_owned(),
        uptime: Duration::from_secs(1000),
        unix_seconds: 1_800_000_000,
    };
    let memory = WitnessMemory::default();
    scenario(&mut Model { memory, at });
    let host = Host::start();
    scenario(&mut Real::open(&host));
}

fn text(host: &Host) -> String {
    std::fs::read_to_string(host.directory().join(LEDGER)).unwrap_or_default()
}

/// A witness that has promised a ballot.
fn promised(host: &Host, number: u64) -> Real {
    let mut real = Real::open(host);
    let until = real.until();
    let nothing = Ledger::NOTHING_DECIDED;
    let teach = Ask::Teach(Fingerprint::Blank, nothing, until.clone());
    assert_eq!(real.say(&teach), Verdict::Done);
    let promise = Ask::Promise(ballot(number, 1), until);
    assert_eq!(real.say(&promise), Verdict::Done);
    real
}

#[test]
fn what_is_no_ledger_has_no_vote_and_is_overwritten_by_teaching_alone() {
    let host = Host::start();
    let mut real = promised(&host, 3);
    let until = real.until();
    for rubbish in [
        "",
        "v1",
        "v1 9.1 $(touch x) - - - - - - - -",
        "v1 \u{1b}[31m\n",
        "\0\0\0\0",
    ] {
        std::fs::write(host.directory().join(LEDGER), rubbish).expect("it can be written");
        let promise = Ask::Promise(ballot(9, 1), until.clone());
        assert_eq!(real.say(&promise), Verdict::Blank, "{rubbish:?}");
        assert_eq!(text(&host), rubbish);
    }
    let teach = Ask::Teach(Fingerprint::Blank, Ledger::NOTHING_DECIDED, until);
    assert_eq!(real.say(&teach), Verdict::Done);
    assert_eq!(text(&host), "v1 0.0 - - - - - - - - -\n");
}

#[test]
fn a_promise_is_over_after_five_seconds_of_the_hosts_own_time() {
    let host = Host::start();
    let mut real = promised(&host, 3);
    let line = text(&host);
    let words: Vec<&str> = line.split(' ').collect();
    let promised: u64 = words[3].parse().expect("hundredths of a second");
    let older = |age: u64| {
        let earlier = promised
            .checked_sub(age)
            .expect("the host has been up for longer");
        line.replacen(words[3], &earlier.to_string(), 1)
    };
    let until = real.until();
    let accept = Ask::Accept(record(3, 1, 2), until);
    std::fs::write(host.directory().join(LEDGER), older(560)).expect("it can be written");
    assert_eq!(real.say(&accept), Verdict::Refused);
    std::fs::write(host.directory().join(LEDGER), older(200)).expect("it can be written");
    assert_eq!(real.say(&accept), Verdict::Done);
}

#[test]
fn a_promise_is_over_when_its_host_was_started_anew() {
    let host = Host::start();
    let mut real = promised(&host, 3);
    let line = text(&host);
    let words: Vec<&str> = line.split(' ').collect();
    let earlier = line.replacen(words[2], "an-earlier-boot", 1);
    std::fs::write(host.directory().join(LEDGER), earlier).expect("it can be written");
    let accept = Ask::Accept(record(3, 1, 2), real.until());
    assert_eq!(real.say(&accept), Verdict::Refused);
}

/// What the script of a host believes of a line before it puts a file in place is what the model
/// reads in it.
#[test]
fn a_file_is_put_in_place_by_a_whole_ledger_that_has_accepted_its_decision_alone() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    let (file, decision) = (File::new(7, ""), ballot(7, 1));
    let accepted = |line: &str| {
        let at = HostTime {
            boot: "0b".to_owned(),
            uptime: Duration::from_secs(1000),
            unix_seconds: 1,
        };
        let Memory::Known(ledger) = WitnessMemory::of_line(line).read(&at).memory else {
            return false;
        };
        ledger.accepted.map(|record| record.generation) == Some(decision)
    };
    let activate = |line: &str| {
        std::fs::write(host.directory().join(LEDGER), format!("{line}\n")).expect("ours");
        verbs.stage(&file).expect("it is staged");
        let before = verbs.inspect().hash;
        verbs.activate_by_ledger(&file, &before)
    };
    for line in [
        "v1 7.1 0b-1 123 7.1",
        "v1 7.1 0b-1 123 7.1 2 1 150 0b-1 130",
        "v1 7.1 0b-1 123 7.1 2 1 150 0b-1 130 180 1",
        "v1 7.1 0b-1 123 7.1 2 1 150 0b-1 130 180 ",
        "v1 7.1 0b-1 123  7.1 2 1 150 0b-1 130 180",
        "v2 7.1 0b-1 123 7.1 2 1 150 0b-1 130 180",
        "v1 6.1 0b-1 123 7.1 2 1 150 0b-1 130 180",
        "v1 7.0 0b-1 123 7.1 2 1 150 0b-1 130 180",
        "v1 7 0b-1 123 7.1 2 1 150 0b-1 130 180",
        "v1 7.1 0b-1 - 7.1 2 1 150 0b-1 130 180",
        "v1 7.1 0b-1 123 7.1 2 2 150 0b-1 130 180",
        "v1 7.1 0b-1 123 7.1 4294967296 1 150 0b-1 130 180",
        "v1 7.1 0b-1 123 7.1 2 1 99999999999999999999 0b-1 130 180",
        "v1 8.1 0b-1 123 8.1 2 1 150 0b-1 130 180",
        "v1 7.1 0b-1 123 - - - - - - -",
        "",
    ] {
        assert!(!accepted(line), "{line}");
        let said = activate(line);
        let refused = matches!(&said, Err(RemoteError::Undecided(_)));
        assert!(refused, "{line}: {said:?}");
        assert_ne!(verbs.inspect().hash, file.hash, "{line}");
    }
    for line in [
        "v1 7.1 0b-1 123 7.1 2 0 150 0b-1 130 180",
        "v1 7.2 - - 7.1 2 1 150 0b-1 130 180",
        "v1 9.1 0b-1 123 7.1 2 1 150 0b-1 130 180",
    ] {
        assert!(accepted(line), "{line}");
        activate(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(verbs.inspect().hash, file.hash, "{line}");
        verbs.settle().expect("nothing is owed");
        std::fs::write(host.directory().join("databases.ini"), "").expect("it is there");
    }
}

/// Each goes by what it read last, which the other one has exchanged since.
#[test]
fn of_several_agents_at_once_each_ballot_is_promised_in_its_order_and_none_twice() {
    let host = Arc::new(Host::start());
    drop(promised(&host, 1));
    let agents = [1, 2].map(|node| {
        let host = Arc::clone(&host);
        std::thread::spawn(move || {
            let mut real = Real::open(&host);
            let mut done = Vec::new();
            for number in 2..30 {
                let until = real.until();
                let ballot = ballot(number, node);
                let answer = real.ask(&Ask::Promise(ballot, until));
                if answer.verdict == Verdict::Done {
                    let Memory::Known(ledger) = answer.reading.memory else {
                        panic!("it has just promised");
                    };
                    assert_eq!(ledger.promised, ballot);
                    done.push(ballot);
                }
            }
            done
        })
    });
    let done: Vec<Generation> = agents
        .into_iter()
        .flat_map(|agent| agent.join().expect("it ends"))
        .collect();
    let last = done.iter().max().expect("some are promised");
    assert!(
        text(&host).starts_with(&format!("v1 {last} ")),
        "{}",
        text(&host)
    );
    assert_eq!(
        *last,
        ballot(29, 2),
        "nobody was in the way of the last one"
    );
}

#[test]
fn a_full_disk_leaves_the_ledger_as_it_was() {
    let host = Host::start();
    host.disk().shrink();
    let mut real = promised(&host, 3);
    let until = real.until();
    let before = text(&host);
    host.disk().fill();
    let said = real.try_ask(&Ask::Promise(ballot(4, 1), until));
    assert!(matches!(&said, Err(RemoteError::Failed { .. })), "{said:?}");
    assert_eq!(text(&host), before);
    host.disk().empty();
    let until = real.until();
    assert_eq!(real.say(&Ask::Promise(ballot(4, 1), until)), Verdict::Done);
}
