//! Tasks that run beside a test. Their panics fail the test.

use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

/// Ends a task that was to run beside the test until now. Its panic fails the test, and so does an error with which it
/// has ended by itself.
pub async fn stop_task<T>(task: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<()> {
    task.abort();
    match task.await {
        Ok(ended) => ended.map(drop),
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The tasks of a fake peer, one a connection. Connections may end with an error; a panic is the test's.
#[derive(Debug, Default)]
pub struct ConnectionTasks(Mutex<Vec<JoinHandle<anyhow::Result<()>>>>);

impl ConnectionTasks {
    /// Starts one more.
    pub fn spawn(&self, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(tokio::spawn(task));
    }

    /// Ends all of them.
    ///
    /// # Panics
    ///
    /// If one of them has panicked.
    pub fn stop(&self) {
        for task in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
            if let Some(Err(error)) = task.now_or_never()
                && error.is_panic()
                && !std::thread::panicking()
            {
                panic!("a task of the harness has panicked: {error}");
            }
        }
    }
}
