//! Where the PgBouncers of a move without overlap wait for each other: none goes to the new node
//! before all have left the old one, and none goes when one of them cannot.

use std::sync::Arc;

use tokio::sync::watch;

use crate::agent::executor::Hooks;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many are still to come.
    Waiting(usize),
    Open,
    /// One of them has turned back before it was open.
    Closed,
}

/// One for each move.
#[derive(Debug)]
pub(super) struct Gate(watch::Sender<State>);

impl Gate {
    pub(super) fn new(count: usize) -> Self {
        Self(watch::Sender::new(State::Waiting(count)))
    }

    /// Nobody gets through who is not through yet, unless all have come.
    pub(super) fn close(&self) {
        self.0.send_if_modified(|state| {
            let waits = matches!(state, State::Waiting(_));
            if waits {
                *state = State::Closed;
            }
            waits
        });
    }

    /// Waits for the others; `false`: they do not all come. Dropped before, it keeps all of them
    /// from going.
    async fn pass(&self) -> bool {
        self.0.send_modify(|state| {
            *state = match *state {
                State::Waiting(0 | 1) => State::Open,
                State::Waiting(count) => State::Waiting(count - 1),
                State::Open => State::Open,
                State::Closed => State::Closed,
            };
        });
        let closes = Closes(self);
        let mut states = self.0.subscribe();
        let decided = states.wait_for(|state| !matches!(state, State::Waiting(_)));
        let open = decided.await.is_ok_and(|state| *state == State::Open);
        drop(closes);
        open
    }
}

/// Closes the gate when it is dropped, which does nothing to one that is open.
struct Closes<'a>(&'a Gate);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The same hooks, with the gate before the question whether the new node has all.
pub(super) fn through(gate: &Arc<Gate>, hooks: &Hooks) -> Hooks {
    let (gate, asked) = (Arc::clone(gate), hooks.replayed.clone());
    Hooks {
        replayed: Some(Arc::new(move || {
            let (gate, asked) = (Arc::clone(&gate), asked.clone());
            Box::pin(async move {
                if !gate.pass().await {
                    return Err("another PgBouncer has turned back".to_owned());
                }
                match asked {
                    Some(replayed) => replayed().await,
                    None => Ok(()),
                }
            })
        })),
        progress: hooks.progress.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(future: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(future);
    }

    #[test]
    fn it_opens_when_all_have_come_and_not_when_one_has_turned_back_before() {
        run(async {
            let gate = Gate::new(2);
            assert_eq!(tokio::join!(gate.pass(), gate.pass()), (true, true));
            gate.close();
            assert!(gate.pass().await, "an open one stays open");
            let gate = Gate::new(2);
            let turns_back = async { gate.close() };
            assert_eq!(tokio::join!(gate.pass(), turns_back), (false, ()));
        });
    }

    #[test]
    fn one_that_is_given_up_while_it_waits_keeps_the_others_from_going() {
        run(async {
            let gate = Gate::new(2);
            tokio::select! {
                biased;
                _ = gate.pass() => panic!("nobody else has come"),
                () = std::future::ready(()) => {}
            }
            assert!(!gate.pass().await);
        });
    }
}
