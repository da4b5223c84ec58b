//! The exchange with a [template](super::template): forks a process, asks how one has ended.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use diffyne_shared::task;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

use super::child::ChildProcess;
use super::descriptors;
use super::template::{Request, Template};

/// How long the template may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The kinds of requests.
const FORK: u8 = b'f';
const STATUS: u8 = b's';
/// What the template answers where it does not know a process's status.
const UNKNOWN: i32 = -1;

/// Makes a process that is ready the template, with the socket that was its channel. `died` is told when it ends before its
/// handles.
pub(super) fn run(
    child: ChildProcess,
    stream: UnixStream,
    output: Option<DropGuard>,
    died: Rc<Notify>,
) -> Rc<Template> {
    let (template, requests) = Template::new(child.generation, output);
    task::spawn_local(serve(child, stream, requests, died));
    template
}

/// Passes requests to the template until there are no handles, or it has ended.
async fn serve(
    mut child: ChildProcess,
    mut stream: UnixStream,
    mut requests: mpsc::Receiver<Request>,
    died: Rc<Notify>,
) {
    let id = child.id;
    let how = tokio::select! {
        biased;
        status = child.wait() => Some(status),
        error = pass_on(&mut stream, &mut requests) => error.map(|error| error.to_string()),
    };
    requests.close();
    if let Some(how) = how {
        tracing::warn!(process = id, how, "the PHP process that others are forked from has ended: another one boots");
        // It takes a closed socket for the worker's end, and would kill processes that run calls.
        child.kill();
        died.notify_one();
    }
    drop(stream);
    child.wait_or_kill().await;
}

/// Passes on one request after the other; `None` when there are no handles.
async fn pass_on(stream: &mut UnixStream, requests: &mut mpsc::Receiver<Request>) -> Option<io::Error> {
    while let Some(request) = requests.recv().await {
        let passed = timeout(ANSWER_TIMEOUT, async {
            match request {
                Request::Fork(sockets, answer) => {
                    let (process, error) = ask(stream, FORK, 0, &sockets).await?;
                    drop(sockets);
                    let forked = if process == 0 { Err(io::Error::from_raw_os_error(error)) } else { Ok(process) };
                    // Without a receiver, the process finds its sockets closed and exits.
                    let _ = answer.send(forked);
                }
                Request::Status(process, answer) => {
                    let (_, status) = ask(stream, STATUS, process, &[]).await?;
                    if status != UNKNOWN {
                        let _ = answer.send(ExitStatus::from_raw(status));
                    }
                }
            }
            io::Result::Ok(())
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
async fn ask(stream: &mut UnixStream, kind: u8, number: u32, sockets: &[OwnedFd]) -> io::Result<(u32, i32)> {
    let mut request = [kind; 5];
    request[1..].copy_from_slice(&number.to_be_bytes());
    let writable = &*stream;
    writable.async_io(Interest::WRITABLE, || descriptors::send(writable, &request, sockets)).await?;
    if stream.read_u8().await? != kind {
        return Err(io::Error::other("it answers something else"));
    }
    Ok((stream.read_u32().await?, stream.read_i32().await?))
}
