//! The template of a pool: a process that has booted the application, and from which the others are forked.
//!
//! A fork takes milliseconds where a boot takes a large part of a second, and shares with the others what the application
//! has loaded and opcache has compiled. The template runs no calls. It is the parent of the processes: it keeps their
//! numbers until the worker has asked how they have ended, and it kills them when the worker is gone.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use diffyne_shared::task;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::child::ChildProcess;

/// Requests that wait for the template: each process has one at most, and one is forked at a time.
const REQUESTS_MAX: usize = 4096;
/// How long the template may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The kinds of requests.
const FORK: u8 = b'f';
const STATUS: u8 = b's';

/// A request, and where its answer goes.
enum Request {
    /// Fork a process with this socket for its channel.
    Fork(OwnedFd, oneshot::Sender<u32>),
    /// How a process has ended.
    Status(u32, oneshot::Sender<ExitStatus>),
}

/// A handle of the template. It ends when the last one is dropped: each process that was forked from it has one.
pub(super) struct Template {
    pub(super) generation: u32,
    requests: mpsc::Sender<Request>,
}

impl Template {
    /// The template in a process that is ready, with the socket that was its channel.
    pub(super) fn new(child: ChildProcess, stream: UnixStream) -> Rc<Self> {
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        let generation = child.generation;
        task::spawn_local(serve(child, stream, received));
        Rc::new(Self { generation, requests })
    }

    /// Whether it can be asked.
    pub(super) fn is_alive(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Forks a process, which gets this socket; its number.
    pub(super) async fn fork(&self, socket: OwnedFd) -> io::Result<u32> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Fork(socket, answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())
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

/// Passes requests to the template until there are no handles, or it has ended.
async fn serve(mut child: ChildProcess, mut stream: UnixStream, mut requests: mpsc::Receiver<Request>) {
    let id = child.id;
    let how = tokio::select! {
        biased;
        status = child.wait() => Some(status),
        error = pass_on(&mut stream, &mut requests) => error.map(|error| error.to_string()),
    };
    requests.close();
    if let Some(how) = how {
        tracing::warn!(process = id, how, "the PHP process that others are forked from has ended: another one boots");
    }
    // It exits when its socket is closed.
    drop(stream);
    child.wait_or_kill().await;
}

/// Passes on one request after the other; `None` when there are no handles.
async fn pass_on(stream: &mut UnixStream, requests: &mut mpsc::Receiver<Request>) -> Option<io::Error> {
    while let Some(request) = requests.recv().await {
        let passed = timeout(ANSWER_TIMEOUT, async {
            match request {
                Request::Fork(socket, answer) => {
                    let (process, _) = ask(stream, FORK, 0, Some(socket)).await?;
                    if process == 0 {
                        return Err(io::Error::other("it cannot fork"));
                    }
                    // Without a receiver, the process finds its socket closed and exits.
                    let _ = answer.send(process);
                }
                Request::Status(process, answer) => {
                    let (_, status) = ask(stream, STATUS, process, None).await?;
                    let _ = answer.send(ExitStatus::from_raw(status));
                }
            }
            Ok(())
        });
        match passed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Some(error),
            Err(_elapsed) => return Some(io::ErrorKind::TimedOut.into()),
        }
    }
    None
}

/// Sends a request and reads its answer: the number of a process, and how it has ended.
async fn ask(stream: &mut UnixStream, kind: u8, number: u32, socket: Option<OwnedFd>) -> io::Result<(u32, i32)> {
    let mut request = [kind; 5];
    request[1..].copy_from_slice(&number.to_be_bytes());
    let writable = &*stream;
    writable.async_io(Interest::WRITABLE, || send(writable, &request, socket.as_ref())).await?;
    drop(socket);
    if stream.read_u8().await? != kind {
        return Err(io::Error::other("it answers something else"));
    }
    Ok((stream.read_u32().await?, stream.read_i32().await?))
}

/// Sends bytes over a socket, and a descriptor with them. They are few, so the system takes all or none.
pub(super) fn send(socket: impl std::os::fd::AsFd, bytes: &[u8], sent: Option<&OwnedFd>) -> io::Result<()> {
    let descriptors: Vec<_> = sent.iter().map(|sent| sent.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("a descriptor does not fit into its message"));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
