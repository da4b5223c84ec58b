//! Whether a pool can run calls, and with which code: for readiness checks, reloads, and calls that wait for its first process.

use std::sync::Arc;

use tokio::sync::watch;

/// The pool's state for readiness checks and reloads.
#[derive(Debug, Clone, Default)]
pub(super) struct PoolState {
    /// Processes that are ready.
    pub(super) ready: usize,
    /// Processes of an older generation, which newer ones will replace.
    pub(super) outdated: usize,
    /// Why the newest code did not start, if its last start failed.
    pub(super) start_error: Option<String>,
    /// The release of the application, by the process that started last.
    pub(super) release: Option<Arc<str>>,
}

/// The pool's state, which can be waited for.
pub(super) struct PoolStatus(watch::Sender<PoolState>);

impl Default for PoolStatus {
    fn default() -> Self {
        Self(watch::Sender::new(PoolState::default()))
    }
}

impl PoolStatus {
    /// The state now.
    pub(super) fn borrow(&self) -> watch::Ref<'_, PoolState> {
        self.0.borrow()
    }

    /// A process is ready.
    pub(super) fn started(&self, release: Option<Arc<str>>) {
        self.0.send_modify(|state| {
            state.ready += 1;
            state.start_error = None;
            state.release = release;
        });
    }

    /// A process of the newest generation did not become ready.
    pub(super) fn start_failed(&self, error: String) {
        self.0.send_modify(|state| state.start_error = Some(error));
    }

    /// A process that was ready has ended.
    pub(super) fn ended(&self, is_outdated: bool) {
        self.0.send_modify(|state| {
            state.ready = state.ready.saturating_sub(1);
            state.outdated = state.outdated.saturating_sub(usize::from(is_outdated));
        });
    }

    /// All processes are outdated from now on.
    pub(super) fn begin_generation(&self) {
        self.0.send_modify(|state| {
            state.outdated = state.ready;
            state.start_error = None;
        });
    }

    /// Returns when no process is ready and the last start failed: why it did.
    pub(super) async fn start_error(&self) -> String {
        let mut state = self.0.subscribe();
        loop {
            let error = {
                let now = state.borrow_and_update();
                now.start_error.clone().filter(|_| now.ready == 0)
            };
            if let Some(error) = error {
                return error;
            }
            if state.changed().await.is_err() {
                return "its thread has ended".to_owned();
            }
        }
    }
}
