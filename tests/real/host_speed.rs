//! How long a step on an open host takes: one shell waits there, and does each.

use std::time::{Duration, Instant};

use crate::fixture::Host;
use crate::host_verbs::{File, Verbs};

const TURNS: u64 = 15;
/// On an idle machine each is below 10 ms; this is for one that is busy with other tests.
const LIMIT: Duration = Duration::from_millis(100);

#[test]
fn a_step_on_an_open_host_takes_milliseconds() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    let names = ["alive", "inspect", "stage", "record", "activate", "settle"];
    let mut times: [Vec<Duration>; 6] = Default::default();
    for number in 1..=TURNS {
        let file = File::new(number, "");
        let mut step = 0;
        let mut timed = |ended: bool, begun: Instant| {
            assert!(ended, "{} of turn {number}", names[step]);
            times[step].push(begun.elapsed());
            step += 1;
            Instant::now()
        };
        let begun = Instant::now();
        let begun = timed(verbs.alive(), begun);
        let before = verbs.inspect().hash;
        let begun = timed(true, begun);
        let begun = timed(verbs.stage(&file).is_ok(), begun);
        let begun = timed(verbs.record("{}").is_ok(), begun);
        let begun = timed(verbs.activate(&file, &before).is_ok(), begun);
        timed(verbs.settle().is_ok(), begun);
    }
    for (name, times) in names.iter().zip(&mut times) {
        times.sort();
        let (least, median) = (times[0], times[times.len() / 2]);
        eprintln!("{name}: {median:.1?}, at least {least:.1?}");
        assert!(median < LIMIT, "{name}: {times:?}");
    }
}
