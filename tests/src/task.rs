//! Tasks that run beside a test.

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
