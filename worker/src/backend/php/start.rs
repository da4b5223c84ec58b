//! Starts PHP processes that boot the application.
//!
//! A process inherits one end of a socket as descriptor 3, over which it receives two others: its channel, closed in every
//! program that it starts. PHP can receive such descriptors with its extension `sockets`, and cannot close an inherited one.
//! Without the extension, descriptor 3 is the channel.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use diffyne_shared::settings::php::{Fork, Isolation, PhpSettings};
use diffyne_shared::task;
use rustix::fs::fstat;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::child::{ChildProcess, ProcessEnd};
use super::exit_reason::ExitReason;
use super::frame::{self, Frame};
use super::inbox::Inbox;
use super::message::{ProcessMessage, StartMessage};
use super::os_process::{OsProcess, can_watch_others};
use super::output::{LINES_PER_SECOND, LastWords, log_output};
use super::process::PhpProcess;
use super::status::{Activity, ProcessList};
use super::template::Template;
use super::{descriptors, forkable, script, template_process};

/// The inherited socket's file descriptor in a process.
const SOCKET_FD: i32 = 3;
/// How long the output of a process that has ended is waited for.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);
/// What a process says when it has received its channel.
const RECEIVED: u8 = b'r';

/// Why a process did not start.
#[derive(Debug, Error)]
pub(super) enum ProcessStartError {
    #[error("cannot run {command} (DIFFYNE_PHP_COMMAND): {error}")]
    Spawn { command: String, error: io::Error },
    #[error("{0}")]
    Failed(String),
    #[error("it ended with {status} before it was ready: {words} (DIFFYNE_PHP_COMMAND)")]
    Exited { status: String, words: String },
    #[error("it was not ready within {0:?}")]
    TimedOut(Duration),
    /// The process that should be forked cannot be.
    #[error("{0}")]
    CannotFork(String),
    #[error("it cannot be forked: {0}")]
    Fork(io::Error),
    #[error("it ended with {0} after it was forked")]
    Ended(String),
}

/// The sockets of a new process, of which it uses one or the other.
struct Sockets {
    inherited: ChannelSockets,
    received: ChannelSockets,
    /// The inodes of the process's ends of those that it receives.
    inodes: [u64; 2],
}

/// The sockets of a channel: one for what the process sends, and one for its calls. Of the latter, the worker has both
/// ends.
pub(super) struct ChannelSockets {
    replies: UnixStream,
    calls: UnixStream,
    calls_of_process: OwnedFd,
}

impl ChannelSockets {
    /// New ones, and the process's ends.
    pub(super) fn new() -> io::Result<(Self, [OwnedFd; 2])> {
        let (replies, replies_of_process) = StdStream::pair()?;
        let (calls, calls_of_process) = StdStream::pair()?;
        let sockets = Self {
            replies: registered(replies)?,
            calls: registered(calls)?,
            calls_of_process: calls_of_process.try_clone()?.into(),
        };
        Ok((sockets, [replies_of_process.into(), calls_of_process.into()]))
    }

    /// One for both, and the process's end.
    fn of_one() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = StdStream::pair()?;
        let calls = registered(ours.try_clone()?)?;
        let sockets = Self { replies: registered(ours)?, calls, calls_of_process: theirs.try_clone()?.into() };
        Ok((sockets, theirs.into()))
    }

    pub(super) fn into_channel(self) -> io::Result<Channel> {
        Ok(Channel::new(self.replies, Inbox::new(self.calls.into_std()?.into(), self.calls_of_process)))
    }
}

/// Registers a socket with this thread's runtime.
fn registered(stream: StdStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// A new process's output, as long as it may tell why the process does not start.
#[derive(Default)]
struct Output {
    last_words: Rc<LastWords>,
    readers: Vec<JoinHandle<()>>,
}

impl Output {
    /// The error for a process that has ended, with its own words.
    async fn exited(self, status: String) -> ProcessStartError {
        // What it has printed may still be on its way. A program that it has started may hold the output open.
        let _ = timeout(OUTPUT_TIMEOUT, futures_util::future::join_all(self.readers)).await;
        let words = self.last_words.get();
        let words = if words.is_empty() { "it has printed nothing".to_owned() } else { words };
        ProcessStartError::Exited { status, words }
    }
}

/// What a process that boots is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It runs calls, and dies with the thread that started it, whatever happens to the worker.
    Calls,
    /// Others are forked from it. It lives a moment longer than the worker, to kill them.
    Template,
}

impl Purpose {
    /// The signal that the system sends when the thread has ended. A template ignores this one once it has booted.
    fn death_signal(self) -> &'static str {
        match self {
            Self::Calls => "KILL",
            Self::Template => "TERM",
        }
    }
}

/// A process that has booted.
struct Booted {
    child: ChildProcess,
    ready: Ready,
    exit: oneshot::Sender<ExitReason>,
    end: ProcessEnd,
    /// The inodes of the process's ends of its channel.
    channel: [u64; 2],
}

/// Starts a process that runs calls, and waits until it is ready. The calling thread must live as long as the process.
pub(super) async fn boot(
    settings: &PhpSettings,
    generation: u32,
    list: &Arc<ProcessList>,
) -> Result<(PhpProcess, ChildProcess), ProcessStartError> {
    let Booted { child, ready, exit, end, .. } = spawn_and_wait(settings, generation, list, Purpose::Calls).await?;
    let channel = ready.sockets.into_channel().map_err(|error| ProcessStartError::Failed(error.to_string()))?;
    let mut process = PhpProcess::new(channel, &child, settings.calls_max, exit, end);
    process.release = ready.release;
    Ok((process, child))
}

/// Starts a process that others can be forked from, and waits until it is ready.
pub(super) async fn boot_template(
    settings: &PhpSettings,
    generation: u32,
    list: &Arc<ProcessList>,
    died: &Rc<Notify>,
) -> Result<Rc<Template>, ProcessStartError> {
    if !can_watch_others() {
        return Err(ProcessStartError::CannotFork("this system has no pidfd_open".to_owned()));
    }
    let Booted { mut child, ready, channel, .. } =
        spawn_and_wait(settings, generation, list, Purpose::Template).await?;
    if ready.id != child.id {
        return Err(ProcessStartError::CannotFork("DIFFYNE_PHP_COMMAND gives PHP another process id".to_owned()));
    }
    if let Some(obstacle) = forkable::obstacle(child.id, channel) {
        return Err(ProcessStartError::CannotFork(obstacle));
    }
    child.status().set(Activity::Template);
    let output = child.take_output();
    Ok(template_process::run(child, ready.sockets.replies, output, Rc::clone(died)))
}

async fn spawn_and_wait(
    settings: &PhpSettings,
    generation: u32,
    list: &Arc<ProcessList>,
    purpose: Purpose,
) -> Result<Booted, ProcessStartError> {
    let ended = CancellationToken::new();
    let (sockets, child, output) = spawn(settings, &ended, purpose)
        .map_err(|error| ProcessStartError::Spawn { command: settings.command.join(" "), error })?;
    let channel = sockets.inodes;
    let process = OsProcess::spawned(child);
    let listed = list.add(process.id(), generation);
    let (mut child, exit, end) = ChildProcess::new(process, listed, Some(ended.drop_guard()));
    let ready = tokio::select! {
        biased;
        ready = timeout(settings.start_timeout, await_boot(sockets, child.id, settings, purpose)) => ready,
        // A program that it has started may hold its socket.
        status = child.wait() => return Err(output.exited(status).await),
    };
    match ready {
        Ok(Ok(ready)) => Ok(Booted { child, ready, exit, end, channel }),
        Ok(Err(None)) => {
            let status = child.wait_or_kill().await;
            Err(output.exited(status).await)
        }
        Ok(Err(Some(error))) => Err(error),
        Err(_elapsed) => Err(ProcessStartError::TimedOut(settings.start_timeout)),
    }
}

/// A process that has booted the application, as it says itself.
pub(super) struct Ready {
    pub(super) sockets: ChannelSockets,
    /// Process id.
    id: u32,
    pub(super) release: Option<Arc<str>>,
}

/// Spawns PHP with the script on its standard input, a socket as descriptor 3, and its output in the log.
fn spawn(
    settings: &PhpSettings,
    ended: &CancellationToken,
    purpose: Purpose,
) -> io::Result<(Sockets, tokio::process::Child, Output)> {
    let (inherited, theirs) = ChannelSockets::of_one()?;
    let (received, sent) = ChannelSockets::new()?;
    let inodes = [fstat(&sent[0])?.st_ino, fstat(&sent[1])?.st_ino];
    // They wait there until the other end receives them.
    descriptors::send(&inherited.replies, b"c", &sent)?;
    let mut command = std::process::Command::new("setpriv");
    command.args(["--pdeathsig", purpose.death_signal(), "--"]).args(&settings.command);
    for (name, value) in &settings.ini {
        command.arg("-d").arg(format!("{name}={value}"));
    }
    let mapping = FdMapping { parent_fd: theirs, child_fd: SOCKET_FD };
    command.fd_mappings(vec![mapping]).map_err(io::Error::other)?;
    let mut command = Command::from(command);
    // In a group of its own, the programs that it starts can be killed with it.
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let id = child.id().unwrap_or_default();
    let mut output = Output::default();
    let lines_max = match purpose {
        Purpose::Calls => LINES_PER_SECOND,
        // Its processes print where it does.
        Purpose::Template => LINES_PER_SECOND.saturating_mul(u32::try_from(settings.processes_max).unwrap_or(u32::MAX)),
    };
    if let Some(stdout) = child.stdout.take() {
        let log = log_output((id, lines_max), stdout, Rc::clone(&output.last_words), ended.clone());
        output.readers.push(task::spawn_local(log));
    }
    if let Some(stderr) = child.stderr.take() {
        let log = log_output((id, lines_max), stderr, Rc::clone(&output.last_words), ended.clone());
        output.readers.push(task::spawn_local(log));
    }
    if let Some(stdin) = child.stdin.take() {
        task::spawn_local(script::write(stdin));
    }
    let sockets = Sockets { inherited, received, inodes };
    Ok((sockets, child, output))
}

/// Sends the first message, and waits until the process is ready. The error is empty when the process just exited.
async fn await_boot(
    sockets: Sockets,
    id: u32,
    settings: &PhpSettings,
    purpose: Purpose,
) -> Result<Ready, Option<ProcessStartError>> {
    let mut sockets = choose_sockets(sockets).await.map_err(|_| None)?;
    let start = StartMessage {
        directory: &settings.directory,
        environment: &settings.environment,
        kernel: settings.kernel,
        isolation: settings.isolation,
        template: purpose == Purpose::Template,
        reconnect: purpose == Purpose::Template && settings.fork == Fork::Reconnect
            || settings.isolation == Isolation::Process,
        classes: script::LATE_CLASSES.trim_start_matches("<?php"),
    };
    frame::write(&mut sockets.calls, 0, &start, b"").await.map_err(|_| None)?;
    await_ready(sockets, id).await
}

/// Waits until a process says that it is ready. The error is empty when the process just exited.
pub(super) async fn await_ready(mut sockets: ChannelSockets, process: u32) -> Result<Ready, Option<ProcessStartError>> {
    // The process sends nothing more before its first call, so this reader buffers nothing else.
    let message = frame::Reader::default().next::<ProcessMessage>(&mut sockets.replies).await;
    match message {
        Ok(Frame { head: ProcessMessage::Ready { id, php, laravel, kernel, release }, .. }) => {
            let path = if kernel.is_empty() { "fast".to_owned() } else { format!("through the kernel: {kernel}") };
            tracing::info!(process, php, laravel, path, release, "a PHP process is ready");
            Ok(Ready { sockets, id, release: (!release.is_empty()).then(|| release.into()) })
        }
        Ok(Frame { head: ProcessMessage::Failed { error }, .. }) => Err(Some(ProcessStartError::Failed(error))),
        Ok(Frame { head: ProcessMessage::CannotFork { reason }, .. }) => {
            Err(Some(ProcessStartError::CannotFork(reason)))
        }
        Ok(_) | Err(_) => Err(None),
    }
}

/// The sockets that the process takes for its channel.
async fn choose_sockets(sockets: Sockets) -> io::Result<ChannelSockets> {
    static TELL_INHERITED: Once = Once::new();
    let Sockets { mut inherited, received, .. } = sockets;
    if inherited.replies.read_u8().await? == RECEIVED {
        // Without its other end, what programs inherit is of no use.
        return Ok(received);
    }
    TELL_INHERITED.call_once(|| {
        tracing::warn!("PHP has no extension sockets, so programs that components start inherit the worker's socket");
    });
    Ok(inherited)
}
