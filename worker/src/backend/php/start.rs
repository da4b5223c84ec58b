//! Starts PHP processes.
//!
//! A process inherits one end of a socket as descriptor 3, over which it receives another socket: its channel, closed in
//! every program that it starts. PHP can receive such a descriptor with its extension `sockets`, and cannot close an
//! inherited one. Without the extension, descriptor 3 is the channel.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use diffyne_shared::settings::php::PhpSettings;
use diffyne_shared::task;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::child::ChildProcess;
use super::frame::{self, Frame};
use super::message::{ProcessMessage, StartMessage};
use super::output::{LastWords, log_output};
use super::process::PhpProcess;
use super::script;
use super::status::ProcessList;

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
}

/// The worker's ends of a new process's sockets.
struct Sockets {
    inherited: UnixStream,
    channel: UnixStream,
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

/// Starts a process and waits until it is ready. The calling thread must live as long as the process.
pub(super) async fn start(
    settings: &PhpSettings,
    generation: u32,
    list: &Arc<ProcessList>,
) -> Result<(PhpProcess, ChildProcess), ProcessStartError> {
    let ended = CancellationToken::new();
    let (sockets, child, output) = spawn(settings, &ended)
        .map_err(|error| ProcessStartError::Spawn { command: settings.command.join(" "), error })?;
    let listed = list.add(child.id().unwrap_or_default(), generation);
    let (mut child, exit, end) = ChildProcess::new(child, listed, ended.drop_guard());
    let ready = tokio::select! {
        biased;
        ready = timeout(settings.start_timeout, await_ready(sockets, child.id, settings)) => ready,
        // A program that it has started may hold its socket.
        status = child.wait() => return Err(output.exited(status).await),
    };
    match ready {
        Ok(Ok(Ready { stream, release })) => {
            let mut process = PhpProcess::new(Channel::new(stream), &child, settings.calls_max, exit, end);
            process.release = release;
            Ok((process, child))
        }
        Ok(Err(None)) => {
            let status = child.wait_or_kill().await;
            Err(output.exited(status).await)
        }
        Ok(Err(Some(error))) => Err(error),
        Err(_elapsed) => Err(ProcessStartError::TimedOut(settings.start_timeout)),
    }
}

/// A process that has booted the application.
struct Ready {
    stream: UnixStream,
    release: Option<Arc<str>>,
}

/// Spawns PHP with the script on its standard input, a socket as descriptor 3, and its output in the log.
fn spawn(settings: &PhpSettings, ended: &CancellationToken) -> io::Result<(Sockets, tokio::process::Child, Output)> {
    let (inherited, theirs) = StdStream::pair()?;
    let (channel, sent) = StdStream::pair()?;
    send_descriptor(&inherited, sent.into())?;
    for stream in [&inherited, &channel] {
        stream.set_nonblocking(true)?;
    }
    // The process dies with the thread that started it, whatever happens to the worker.
    let mut command = std::process::Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(&settings.command);
    for (name, value) in &settings.ini {
        command.arg("-d").arg(format!("{name}={value}"));
    }
    let mapping = FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: SOCKET_FD };
    command.fd_mappings(vec![mapping]).map_err(io::Error::other)?;
    let mut command = Command::from(command);
    // In a group of its own, the programs that it starts can be killed with it.
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let id = child.id().unwrap_or_default();
    let mut output = Output::default();
    if let Some(stdout) = child.stdout.take() {
        let log = log_output(id, stdout, Rc::clone(&output.last_words), ended.clone());
        output.readers.push(task::spawn_local(log));
    }
    if let Some(stderr) = child.stderr.take() {
        let log = log_output(id, stderr, Rc::clone(&output.last_words), ended.clone());
        output.readers.push(task::spawn_local(log));
    }
    if let Some(stdin) = child.stdin.take() {
        task::spawn_local(script::write(stdin));
    }
    let sockets = Sockets { inherited: UnixStream::from_std(inherited)?, channel: UnixStream::from_std(channel)? };
    Ok((sockets, child, output))
}

/// Sends a descriptor over a socket, with one byte. It waits there until the other end receives it.
fn send_descriptor(socket: &StdStream, sent: OwnedFd) -> io::Result<()> {
    let descriptors = [sent.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("a descriptor does not fit into its message"));
    }
    sendmsg(socket, &[IoSlice::new(b"c")], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Exchanges the first messages; the socket for calls. The error is empty when the process just exited.
async fn await_ready(sockets: Sockets, id: u32, settings: &PhpSettings) -> Result<Ready, Option<ProcessStartError>> {
    let mut stream = choose_socket(sockets).await.map_err(|_| None)?;
    let start = StartMessage {
        directory: &settings.directory,
        environment: &settings.environment,
        kernel: settings.kernel,
        isolation: settings.isolation,
        classes: script::LATE_CLASSES.trim_start_matches("<?php"),
    };
    frame::write(&mut stream, 0, &start, b"").await.map_err(|_| None)?;
    // The process sends nothing more before its first call, so this reader buffers nothing else.
    let message = frame::Reader::default().next::<ProcessMessage>(&mut stream).await;
    match message {
        Ok(Frame { head: ProcessMessage::Ready { php, laravel, kernel, release }, .. }) => {
            let path = if kernel.is_empty() { "fast".to_owned() } else { format!("through the kernel: {kernel}") };
            tracing::info!(process = id, php, laravel, path, release, "a PHP process is ready");
            Ok(Ready { stream, release: (!release.is_empty()).then(|| release.into()) })
        }
        Ok(Frame { head: ProcessMessage::Failed { error }, .. }) => Err(Some(ProcessStartError::Failed(error))),
        Ok(_) | Err(_) => Err(None),
    }
}

/// The socket that the process takes for its channel.
async fn choose_socket(sockets: Sockets) -> io::Result<UnixStream> {
    static TELL_INHERITED: Once = Once::new();
    let Sockets { mut inherited, channel } = sockets;
    if inherited.read_u8().await? == RECEIVED {
        // Without its other end, what programs inherit is of no use.
        return Ok(channel);
    }
    TELL_INHERITED.call_once(|| {
        tracing::warn!("PHP has no extension sockets, so programs that components start inherit the worker's socket");
    });
    Ok(inherited)
}
