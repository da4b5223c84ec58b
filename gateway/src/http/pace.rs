//! Paces the handshakes of one thread, so that a storm of them costs other clients little.
//!
//! A handshake has two steps: its connection is taken from the queue of accepted ones, and its request is served. In each
//! round of the thread's loop, only so many steps are taken that the whole round stays short; a call that arrives
//! meanwhile waits for one round at most. Further steps wait in order. A loop that is busy with calls and broadcasts
//! still takes a few in a round.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::{Notify, oneshot};

/// CPU time of a round above which fewer steps are taken in the next one. Time in which other programs had the core does
/// not count: fewer handshakes would not shorten it.
const ROUND_MAX: Duration = Duration::from_millis(1);
/// Steps that a round takes in any case.
const STEPS_MIN: usize = 2;
/// Steps that a round takes at most.
const STEPS_MAX: usize = 256;
/// Steps of the first round.
const STEPS_FIRST: usize = 16;

/// The steps that this thread may take in a round, and those that wait.
#[derive(Debug)]
pub struct HandshakePace {
    /// Steps of a round.
    steps: Cell<usize>,
    /// Steps that this round has left.
    left: Cell<usize>,
    waiting: RefCell<VecDeque<oneshot::Sender<()>>>,
    /// A step was taken, or waits: the next round has to begin.
    called: Notify,
}

impl Default for HandshakePace {
    fn default() -> Self {
        Self {
            steps: Cell::new(STEPS_FIRST),
            left: Cell::new(STEPS_FIRST),
            waiting: RefCell::default(),
            called: Notify::new(),
        }
    }
}

impl HandshakePace {
    /// Returns when the next step may be taken, in the order of the calls.
    pub async fn turn(&self) {
        self.called.notify_one();
        let left = self.left.get();
        if left > 0 && self.waiting.borrow().is_empty() {
            self.left.set(left - 1);
            return;
        }
        let (sender, turn) = oneshot::channel();
        self.waiting.borrow_mut().push_back(sender);
        // The sender is dropped only with the thread.
        let _ = turn.await;
    }

    /// Begins rounds until the thread ends.
    pub async fn run(&self) {
        loop {
            if self.waiting.borrow().is_empty() && self.left.get() == self.steps.get() {
                self.called.notified().await;
            }
            self.grant();
            let started = thread_cpu_time();
            // Everything else on this thread has its turn in between.
            tokio::task::yield_now().await;
            self.adjust(thread_cpu_time().saturating_sub(started));
        }
    }

    /// Lets the first of those that wait take their steps.
    fn grant(&self) {
        let mut waiting = self.waiting.borrow_mut();
        while self.left.get() > 0
            && let Some(first) = waiting.pop_front()
        {
            // A client that has gone takes no step.
            if first.send(()).is_ok() {
                self.left.set(self.left.get() - 1);
            }
        }
    }

    /// Sets the steps of the next round by the duration of the last one.
    fn adjust(&self, round: Duration) {
        let steps = self.steps.get();
        let next = if round > ROUND_MAX {
            (steps / 2).max(STEPS_MIN)
        } else if self.left.get() == 0 {
            (steps + steps / 8 + 1).min(STEPS_MAX)
        } else {
            steps
        };
        self.steps.set(next);
        self.left.set(next);
    }
}

/// Returns the time for which this thread has had a CPU; zero where the system does not tell.
fn thread_cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::rc::Rc;

    const SHORT: Duration = Duration::from_micros(100);
    const LONG: Duration = Duration::from_millis(20);

    #[test]
    fn steps_beyond_those_of_a_round_wait_in_order() {
        let pace = HandshakePace::default();
        for _ in 0..STEPS_FIRST {
            assert!(pace.turn().now_or_never().is_some());
        }
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(pace.turn())).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        pace.left.set(1);
        pace.grant();
        let ready: Vec<bool> = waiting.iter_mut().map(|turn| turn.now_or_never().is_some()).collect();
        assert_eq!(ready, [true, false, false], "the first comes first");
        pace.left.set(1);
        assert!(pace.turn().now_or_never().is_none(), "nobody overtakes those that wait");
        drop(waiting.remove(1));
        pace.grant();
        assert!(waiting[1].as_mut().now_or_never().is_some(), "one that has gone takes no step");
    }

    #[test]
    fn long_rounds_take_fewer_steps_and_short_full_ones_more() {
        let pace = HandshakePace::default();
        for _ in 0..20 {
            pace.adjust(LONG);
        }
        assert_eq!(pace.steps.get(), STEPS_MIN, "a busy loop still admits some");
        pace.adjust(SHORT);
        assert_eq!(pace.steps.get(), STEPS_MIN, "more only if they were taken");
        for _ in 0..100 {
            pace.left.set(0);
            pace.adjust(SHORT);
        }
        assert_eq!((pace.steps.get(), pace.left.get()), (STEPS_MAX, STEPS_MAX));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn all_that_wait_have_their_turn() {
        let local = tokio::task::LocalSet::new();
        let pace = Rc::new(HandshakePace::default());
        local
            .run_until(async {
                let rounds = Rc::clone(&pace);
                let rounds = tokio::task::spawn_local(async move { rounds.run().await });
                let turns: Vec<_> = (0..5000)
                    .map(|_| {
                        let pace = Rc::clone(&pace);
                        tokio::task::spawn_local(async move { pace.turn().await })
                    })
                    .collect();
                for turn in turns {
                    turn.await.unwrap();
                }
                rounds.abort();
            })
            .await;
    }
}
