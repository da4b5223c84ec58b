//! Starts tasks that live about as long as the process, or do little. The runtime's own code is compiled for one type
//! of task then, rather than for each of them. What is started for each client or call asks the runtime itself, which
//! saves an allocation.

use std::pin::Pin;

use tokio::task::JoinHandle;

/// Starts a task on any thread of the runtime.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(task);
    tokio::spawn(task)
}

/// Starts a task on this thread.
pub fn spawn_local(task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    let task: Pin<Box<dyn Future<Output = ()>>> = Box::pin(task);
    tokio::task::spawn_local(task)
}
