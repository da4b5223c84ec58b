//! Connections of which nobody knows yet whose they are. Their number is bounded; beyond it the one that has been
//! silent for longest has to go, so that strangers who say nothing keep no gateway out, which is done in a moment.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Connections that have not said hello yet, or not proved the token.
const STRANGERS_MAX: usize = 1024;

/// All of them, the oldest first.
#[derive(Default)]
pub(crate) struct Strangers(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<(u64, CancellationToken)>,
    next: u64,
}

/// One of them, until it is dropped.
pub(super) struct Stranger<'a> {
    all: &'a Strangers,
    number: u64,
    gone: CancellationToken,
}

impl Strangers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one in.
    pub(super) fn enter(&self) -> Stranger<'_> {
        let mut state = self.state();
        if state.waiting.len() >= STRANGERS_MAX
            && let Some((_, oldest)) = state.waiting.pop_front()
        {
            oldest.cancel();
        }
        let (number, gone) = (state.next, CancellationToken::new());
        state.next += 1;
        state.waiting.push_back((number, gone.clone()));
        Stranger { all: self, number, gone }
    }
}

impl Stranger<'_> {
    /// Returns when this one has to go.
    pub(super) async fn has_to_go(&self) {
        self.gone.cancelled().await;
    }
}

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        self.all.state().waiting.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_takes_the_place_of_whoever_has_waited_longest() {
        let strangers = Strangers::default();
        let silent: Vec<Stranger<'_>> = (0..STRANGERS_MAX).map(|_| strangers.enter()).collect();
        assert!(silent.iter().all(|stranger| !stranger.gone.is_cancelled()));
        let gateway = strangers.enter();
        assert!(silent[0].gone.is_cancelled() && !silent[1].gone.is_cancelled() && !gateway.gone.is_cancelled());
        drop(gateway);
        let next = strangers.enter();
        assert!(!silent[1].gone.is_cancelled(), "there was a place");
        drop((silent, next));
        assert!(strangers.state().waiting.is_empty());
    }
}
