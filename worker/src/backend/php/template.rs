//! The template of a pool: a process that has booted the application, and from which the others are forked.
//!
//! A fork takes milliseconds where a boot takes a large part of a second, and shares with the others what the application
//! has loaded and opcache has compiled. The template runs no calls. It is the parent of the processes: it keeps their
//! numbers until the worker has asked how they have ended, and it kills them when the worker is gone.
//!
//! This is what others have of it: [`super::template_process`] talks to it.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::rc::Rc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::DropGuard;

/// Requests that wait for the template: each process has one at most, and one is forked at a time.
const REQUESTS_MAX: usize = 4096;

/// A request, and where its answer goes.
pub(super) enum Request {
    /// Fork a process with these sockets for its channel.
    Fork([OwnedFd; 2], oneshot::Sender<io::Result<u32>>),
    /// How a process has ended.
    Status(u32, oneshot::Sender<ExitStatus>),
}

/// A handle of the template. It ends when the last one is dropped: each process that was forked from it has one.
pub(super) struct Template {
    pub(super) generation: u32,
    requests: mpsc::Sender<Request>,
    /// What the template and its processes print is read until this is dropped.
    _output: Option<DropGuard>,
}

impl Template {
    /// A handle, and what arrives from it.
    pub(super) fn new(generation: u32, output: Option<DropGuard>) -> (Rc<Self>, mpsc::Receiver<Request>) {
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        (Rc::new(Self { generation, requests, _output: output }), received)
    }

    /// Whether it can be asked.
    pub(super) fn is_alive(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Forks a process, which gets these sockets; its number.
    pub(super) async fn fork(&self, sockets: [OwnedFd; 2]) -> io::Result<u32> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Fork(sockets, answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Asks how a process has ended. To be called once that it has ended, and once.
    pub(super) fn status(&self, process: u32) -> oneshot::Receiver<ExitStatus> {
        let (answer, answered) = oneshot::channel();
        // When this fails, the receiver says so.
        let _ = self.requests.try_send(Request::Status(process, answer));
        answered
    }
}

fn ended() -> io::Error {
    io::Error::other("the process that it is forked from has ended")
}
