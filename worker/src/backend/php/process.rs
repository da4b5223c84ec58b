//! One PHP process: its start, its calls and its exit.
//!
//! A process has two handles: [`PhpProcess`] is its socket, and moves from call to call and from thread to thread;
//! [`ChildProcess`] is the operating system's process, and stays on the thread that it dies with.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt as _, FdMapping};
use diffyne_shared::memory::page_bytes;
use diffyne_shared::settings::php::{Kernel, PhpSettings};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::process::{ChildStdin, Command};
use tokio::sync::oneshot;
use tokio::time::{timeout, timeout_at};

use super::frame;
use super::output::log_lines;
use super::socket::Socket;
use crate::backend::bridge_reply::BridgeReply;

/// The script that a process runs: the bridge, and the loop that calls it.
const SCRIPT: [&str; 7] = [
    include_str!("../../../../deploy/php/diffyne-bridge.php"),
    include_str!("snapshot.php"),
    include_str!("catalogue.php"),
    include_str!("connections.php"),
    include_str!("sandbox.php"),
    include_str!("fast_path.php"),
    include_str!("loop.php"),
];
/// Classes that extend the framework's. A process loads them once it can find the framework.
const CLASSES: &str = include_str!("session.php");
/// The socket's file descriptor in a process.
const SOCKET_FD: i32 = 3;
/// How long the clean-up after a call may take.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// After a process exited, how long its last call may take to report the reason.
const EXIT_REASON_TIMEOUT: Duration = Duration::from_millis(200);
/// Calls between two readings of a process's memory from the system.
const MEMORY_READING_INTERVAL: u32 = 16;
/// How long a process may take to exit after its socket closed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a process did not start.
#[derive(Debug, Error)]
pub(super) enum ProcessStartError {
    #[error("cannot run {command}: {error}")]
    Spawn { command: String, error: io::Error },
    #[error("{0}")]
    Failed(String),
    #[error("it ended with {0} before it was ready; its output is in the log")]
    Exited(String),
    #[error("it was not ready within {0:?}")]
    TimedOut(Duration),
}

/// Why a running process exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExitReason {
    /// A newer process takes its place, or the pool shrank.
    Replaced,
    /// It ended while it had no call.
    Idle,
    /// Its call ended it: `exit`, or a fatal error.
    LastCall,
    /// It died in a call.
    Died,
    /// Its call ran until the deadline.
    CallTimedOut,
    /// It did not clean up after a call.
    CleanUpFailed,
    /// Its call left something behind that cannot be put back.
    Unclean,
    /// It reached its limit of calls.
    MaxCalls,
    /// It reached its limit of memory.
    MaxMemory,
}

impl ExitReason {
    /// The label in metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Idle => "ended_idle",
            Self::LastCall => "ended_by_call",
            Self::Died => "died",
            Self::CallTimedOut => "call_too_long",
            Self::CleanUpFailed => "not_tidied_up",
            Self::Unclean => "unclean",
            Self::MaxCalls => "max_calls",
            Self::MaxMemory => "max_memory",
        }
    }

    /// Whether the process has to be killed: one in an endless loop does not notice that its socket closed.
    fn needs_kill(self) -> bool {
        matches!(self, Self::CallTimedOut | Self::CleanUpFailed | Self::Died)
    }
}

/// The first message to a process.
#[derive(Serialize)]
struct StartMessage<'a> {
    directory: &'a str,
    environment: &'a [(String, String)],
    kernel: Kernel,
    classes: &'a str,
}

/// A message from a process.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ProcessMessage {
    /// `kernel`: why calls go through the HTTP kernel; empty when they take the fast path.
    Ready {
        php: String,
        laravel: String,
        kernel: String,
    },
    Failed {
        error: String,
    },
    Answer(Box<BridgeReply>),
    /// It has cleaned up, and there is no next call yet; `memory`: what PHP has allocated, in bytes.
    ///
    /// With `replace`, it reads no further call, whether there is one or not, and exits.
    Idle {
        #[serde(default)]
        memory: u64,
        #[serde(default)]
        replace: Option<Leftover>,
    },
}

/// What a call left behind in its process that cannot be put back.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Leftover {
    /// The kind of state.
    pub(super) kind: String,
    /// The component that the call was for.
    pub(super) component: String,
}

/// How a call on a process ended.
#[derive(Debug)]
pub(super) enum CallOutcome {
    /// The process replied and can run the next call.
    Replied(BridgeReply, Vec<u8>),
    /// The process exited before it read the call.
    NotRun,
    /// The process exits without reading the call, because of the call before.
    NotRunUnclean(Leftover),
    /// The process replied and exited: `exit`, or a fatal error.
    RepliedLast(BridgeReply),
    /// The process died without a reply.
    Died(String),
    /// The deadline passed.
    TimedOut,
}

/// How the clean-up after a call ended.
pub(super) enum CleanUp {
    /// The process can run the next call.
    Done,
    /// The process exits: something cannot be put back.
    Unclean(Leftover),
    /// The process did not report that it is clean.
    Failed,
}

/// What a process sent after a call: its reply, or why it did not run the call.
enum Exchange {
    Reply(Box<BridgeReply>, Vec<u8>),
    NotRead,
    Unclean(Leftover),
}

/// The worker's end of a running process.
pub(super) struct PhpProcess {
    socket: Socket,
    /// It may still clean up after its last reply. It reads the next call when it is done, and reports that it is idle
    /// only when there is no next call.
    cleaning_up: bool,
    /// What PHP had allocated when it last reported it, in bytes.
    allocated: u64,
    /// Process id.
    pub(super) id: u32,
    /// The generation of processes that it belongs to: which release of the application it runs.
    pub(super) generation: u32,
    /// Calls that it has run.
    pub(super) calls: u32,
    /// It is replaced after this number of calls.
    pub(super) calls_max: u32,
    /// The core that it is bound to.
    pub(super) core: Option<usize>,
    exit: oneshot::Sender<ExitReason>,
}

/// The operating system's process.
pub(super) struct ChildProcess {
    child: tokio::process::Child,
    pub(super) id: u32,
    pub(super) generation: u32,
    exit_reason: oneshot::Receiver<ExitReason>,
}

/// Starts a process and waits until it is ready. The calling thread must live as long as the process.
pub(super) async fn start(
    settings: &PhpSettings,
    generation: u32,
) -> Result<(PhpProcess, ChildProcess), ProcessStartError> {
    let (mut stream, child) =
        spawn(settings).map_err(|error| ProcessStartError::Spawn { command: settings.command.join(" "), error })?;
    let id = child.id().unwrap_or_default();
    let (exit, exit_reason) = oneshot::channel();
    let mut child = ChildProcess { child, id, generation, exit_reason };
    match timeout(settings.start_timeout, await_ready(&mut stream, id, settings)).await {
        Ok(Ok(())) => {}
        Ok(Err(None)) => {
            drop(stream);
            return Err(ProcessStartError::Exited(child.wait_or_kill().await));
        }
        Ok(Err(Some(error))) => return Err(error),
        Err(_elapsed) => return Err(ProcessStartError::TimedOut(settings.start_timeout)),
    }
    // Processes that started together are not replaced together.
    let spread = 1.0 + (fastrand::f64() - 0.5) / 5.0;
    let process = PhpProcess {
        socket: Socket::new(stream),
        cleaning_up: false,
        allocated: 0,
        id,
        generation,
        calls: 0,
        calls_max: (f64::from(settings.calls_max) * spread) as u32,
        core: None,
        exit,
    };
    Ok((process, child))
}

/// Spawns PHP with the script on its standard input, a socket as descriptor 3, and its output in the log.
fn spawn(settings: &PhpSettings) -> io::Result<(UnixStream, tokio::process::Child)> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    // The process dies with the thread that started it, whatever happens to the worker.
    let mut command = std::process::Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(&settings.command);
    for (name, value) in &settings.ini {
        command.arg("-d").arg(format!("{name}={value}"));
    }
    let mapping = FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: SOCKET_FD };
    command.fd_mappings(vec![mapping]).map_err(io::Error::other)?;
    let mut command = Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let id = child.id().unwrap_or_default();
    if let Some(stdout) = child.stdout.take() {
        tokio::task::spawn_local(log_lines(id, stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::task::spawn_local(log_lines(id, stderr));
    }
    if let Some(stdin) = child.stdin.take() {
        tokio::task::spawn_local(write_script(stdin));
    }
    Ok((UnixStream::from_std(ours)?, child))
}

async fn write_script(mut stdin: ChildStdin) {
    for part in SCRIPT {
        let part = if part == SCRIPT[0] { part } else { part.trim_start_matches("<?php") };
        // A write fails when the process has exited, which the start reports.
        let _ = stdin.write_all(part.as_bytes()).await;
    }
}

/// Exchanges the first messages. The error is empty when the process just exited.
async fn await_ready(
    stream: &mut UnixStream,
    id: u32,
    settings: &PhpSettings,
) -> Result<(), Option<ProcessStartError>> {
    let start = StartMessage {
        directory: &settings.directory,
        environment: &settings.environment,
        kernel: settings.kernel,
        classes: CLASSES.trim_start_matches("<?php"),
    };
    let message = match frame::write(stream, &start, b"").await {
        // The process sends nothing more before its first call, so this reader buffers nothing else.
        Ok(()) => frame::Reader::default().next::<ProcessMessage>(stream).await,
        Err(error) => Err(error),
    };
    match message {
        Ok((ProcessMessage::Ready { php, laravel, kernel }, _)) => {
            let path = if kernel.is_empty() { "fast".to_owned() } else { format!("through the kernel: {kernel}") };
            tracing::info!(process = id, php, laravel, path, "a PHP process is ready");
            Ok(())
        }
        Ok((ProcessMessage::Failed { error }, _)) => Err(Some(ProcessStartError::Failed(error))),
        Ok(_) | Err(_) => Err(None),
    }
}

impl PhpProcess {
    /// Runs one call.
    ///
    /// After a reply, the process cleans up: [`Self::clean_up`] waits for that, and the next call may be sent without.
    /// After any other outcome, the process has to [exit](Self::exit).
    pub(super) async fn run(&mut self, head: &impl Serialize, payload: &[u8], deadline: Instant) -> CallOutcome {
        self.calls += 1;
        match timeout_at(deadline.into(), self.exchange(head, payload)).await {
            Ok(Ok(Exchange::Reply(reply, _))) if reply.is_last() => CallOutcome::RepliedLast(*reply),
            Ok(Ok(Exchange::Reply(reply, body))) => {
                self.cleaning_up = true;
                CallOutcome::Replied(*reply, body)
            }
            Ok(Ok(Exchange::NotRead)) => CallOutcome::NotRun,
            Ok(Ok(Exchange::Unclean(leftover))) => CallOutcome::NotRunUnclean(leftover),
            Ok(Err(error)) => CallOutcome::Died(error.to_string()),
            Err(_elapsed) => CallOutcome::TimedOut,
        }
    }

    async fn exchange(&mut self, head: &impl Serialize, payload: &[u8]) -> io::Result<Exchange> {
        let (stream, reader) = self.socket.on_this_thread()?;
        let written = frame::write(stream, head, payload).await;
        loop {
            match reader.next::<ProcessMessage>(stream).await {
                Ok((ProcessMessage::Idle { replace: Some(leftover), .. }, _)) if self.cleaning_up => {
                    return Ok(Exchange::Unclean(leftover));
                }
                Ok((ProcessMessage::Idle { memory, replace: None }, _)) if self.cleaning_up => {
                    (self.cleaning_up, self.allocated) = (false, memory);
                }
                // The process cannot have read the complete call.
                _ if written.is_err() => return Ok(Exchange::NotRead),
                Ok((ProcessMessage::Answer(reply), body)) => return Ok(Exchange::Reply(reply, body)),
                Ok(_) => return Err(io::Error::other("it sent an unexpected message")),
                // The kernel resets a stream whose peer left data unread; otherwise the stream just ends.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Exchange::NotRead),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the process has cleaned up after its reply.
    pub(super) async fn clean_up(&mut self) -> CleanUp {
        let Ok((stream, reader)) = self.socket.on_this_thread() else { return CleanUp::Failed };
        match timeout(CLEAN_UP_TIMEOUT, reader.next::<ProcessMessage>(stream)).await {
            Ok(Ok((ProcessMessage::Idle { replace: Some(leftover), .. }, _))) => CleanUp::Unclean(leftover),
            Ok(Ok((ProcessMessage::Idle { memory, replace: None }, _))) => {
                (self.cleaning_up, self.allocated) = (false, memory);
                CleanUp::Done
            }
            _ => CleanUp::Failed,
        }
    }

    /// The process's memory in bytes.
    ///
    /// Usually what PHP reported. Every few calls also what the system says, which costs more to find out.
    pub(super) fn memory(&self) -> u64 {
        let is_due = self.calls.is_multiple_of(MEMORY_READING_INTERVAL);
        if is_due { self.private_memory().max(self.allocated) } else { self.allocated }
    }

    /// Resident memory that is not shared with other processes; 0 when the system does not tell.
    fn private_memory(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.id)).unwrap_or_default();
        let field = |at: usize| statm.split(' ').nth(at).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
        field(1).saturating_sub(field(2)) * page_bytes() as u64
    }

    /// Closes the socket, so that the process exits.
    pub(super) fn exit(self, reason: ExitReason) {
        // The send fails when the process has exited already.
        let _ = self.exit.send(reason);
    }
}

impl ChildProcess {
    /// Waits until the process has exited, and kills it where it has to. The reason is `None` when nobody ended it.
    pub(super) async fn exit(&mut self) -> (Option<ExitReason>, String) {
        tokio::select! {
            status = self.child.wait() => {
                // A call that ran on the process notices the exit at the same time, and knows the reason.
                let reason = timeout(EXIT_REASON_TIMEOUT, &mut self.exit_reason).await;
                (reason.ok().and_then(Result::ok), status_text(status))
            }
            reason = &mut self.exit_reason => {
                let reason = reason.unwrap_or(ExitReason::Idle);
                if reason.needs_kill() {
                    // The kill fails only when the process has exited already.
                    let _ = self.child.start_kill();
                }
                (Some(reason), self.wait_or_kill().await)
            }
        }
    }

    async fn wait_or_kill(&mut self) -> String {
        match timeout(EXIT_TIMEOUT, self.child.wait()).await {
            Ok(status) => status_text(status),
            Err(_elapsed) => {
                // The kill fails only when the process has exited already.
                let _ = self.child.kill().await;
                "it had to be killed".to_owned()
            }
        }
    }
}

fn status_text(status: io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn an_unclean_process_does_not_run_the_call_that_it_was_handed() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (exit, _exit_reason) = oneshot::channel();
        let mut process = PhpProcess {
            socket: Socket::new(ours),
            cleaning_up: false,
            allocated: 0,
            id: 0,
            generation: 0,
            calls: 0,
            calls_max: u32::MAX,
            core: None,
            exit,
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        frame::write(&mut theirs, &json!({"type": "answer", "outcome": "ok"}), b"{}").await.unwrap();
        assert!(matches!(process.run(&json!({}), b"first", deadline).await, CallOutcome::Replied(..)));
        let unclean = json!({"type": "idle", "replace": {"kind": "handlers", "component": "App\\Shop"}});
        frame::write(&mut theirs, &unclean, b"").await.unwrap();
        match process.run(&json!({}), b"second", deadline).await {
            CallOutcome::NotRunUnclean(leftover) => {
                assert_eq!((leftover.kind.as_str(), leftover.component.as_str()), ("handlers", "App\\Shop"));
            }
            other => panic!("{other:?}"),
        }
        // The same without a call that waits.
        frame::write(&mut theirs, &unclean, b"").await.unwrap();
        assert!(matches!(process.clean_up().await, CleanUp::Unclean(_)));
    }
}
