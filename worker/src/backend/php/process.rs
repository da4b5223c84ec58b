//! One PHP process: started with our script, told to run calls, ended in every way that a process can end.
//!
//! It has two halves: [`Ready`] is the way to it, and goes from call to call and from thread to thread; [`Child`] is
//! the process itself, and stays with the thread that it dies with.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt as _, FdMapping};
use diffyne_shared::settings::php::{Kernel, PhpSettings};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::{Notify, oneshot};
use tokio::time::{timeout, timeout_at};

use super::frame;
use super::room::{Room, Why};
use crate::backend::translation::Told;

/// The script that a process runs: the bridge, and the loop that uses it.
const SCRIPT: [&str; 4] =
    [include_str!("../bridge.php"), include_str!("sandbox.php"), include_str!("short.php"), include_str!("loop.php")];
/// Classes that extend the framework's, for when those can be found.
const CLASSES: &str = include_str!("session.php");
/// The descriptor of the socket in a process.
const CHANNEL: i32 = 3;
/// What is kept of one line that a process prints.
const LINE_BYTES_MAX: usize = 2_000;
/// Lines of one process that are logged in a second; the others are counted.
const LINES_PER_SECOND: u32 = 50;
/// How long the tidying up after an answer may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the verdict of a call may take whose process has ended.
const VERDICT_TIMEOUT: Duration = Duration::from_millis(200);
/// Calls between two looks at what a process occupies.
const WEIGHED_EVERY: u32 = 16;
/// How long a process that is told to end may take.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a process does not serve.
#[derive(Debug, Error)]
pub(super) enum StartError {
    #[error("cannot run {command}: {error}")]
    Spawn { command: String, error: std::io::Error },
    #[error("{0}")]
    Failed(String),
    #[error("it ended with {0} before it was ready; its words are in the log")]
    Ended(String),
    #[error("it was not ready within {0:?}")]
    Late(Duration),
}

/// What is told when a process starts.
#[derive(Serialize)]
struct Start<'a> {
    directory: &'a str,
    environment: &'a [(String, String)],
    kernel: Kernel,
    classes: &'a str,
}

/// What a process says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    /// `kernel`: why calls go through the HTTP kernel; empty when they need not.
    Ready {
        php: String,
        laravel: String,
        kernel: String,
    },
    Failed {
        error: String,
    },
    Answer(Box<Told>),
    /// It has tidied up, and nothing lies there to be done; `memory`: what PHP holds, in bytes.
    Idle {
        #[serde(default)]
        memory: u64,
    },
}

/// How a call ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was answered; the process can go on.
    Answered(Told, Vec<u8>),
    /// The process had gone before it could take the call.
    NotRun,
    /// It was answered, and that was the last one: `exit`, a fatal error.
    AnsweredLast(Told),
    /// The process died without a word.
    Died(String),
    /// The time was over, and the process was killed.
    Late,
}

/// The way to a running process.
pub(super) struct Ready {
    channel: Channel,
    /// It may still be tidying up after its last answer; it reads the next call when it has, and says that it is idle
    /// only when there is none.
    tidying: bool,
    /// What PHP held when it said so last, in bytes.
    held: u64,
    /// Process id, for the log.
    pub(super) id: u32,
    /// Which deploy of the application it runs.
    pub(super) generation: u32,
    /// Calls it has run.
    pub(super) calls: u32,
    /// When it is replaced.
    pub(super) calls_max: u32,
    /// The core that it keeps to.
    pub(super) core: Option<usize>,
    end: oneshot::Sender<Why>,
}

/// The socket, joined to the runtime of the thread that used it last.
struct Channel {
    stream: Option<UnixStream>,
    reader: frame::Reader,
    thread: ThreadId,
}

impl Channel {
    fn new(stream: UnixStream) -> Self {
        Self { stream: Some(stream), reader: frame::Reader::default(), thread: std::thread::current().id() }
    }

    /// For use on this thread.
    fn here(&mut self) -> io::Result<(&mut UnixStream, &mut frame::Reader)> {
        let now = std::thread::current().id();
        if self.thread != now
            && let Some(stream) = self.stream.take()
        {
            self.stream = Some(UnixStream::from_std(stream.into_std()?)?);
            self.thread = now;
        }
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok((stream, &mut self.reader))
    }
}

/// The process itself.
pub(super) struct Child {
    process: tokio::process::Child,
    id: u32,
    generation: u32,
    told: oneshot::Receiver<Why>,
}

/// Starts a process and waits until it is ready. The thread that calls this must live as long as the process.
pub(super) async fn start(settings: &PhpSettings, generation: u32) -> Result<(Ready, Child), StartError> {
    let error = |error| StartError::Spawn { command: settings.command.join(" "), error };
    let (ours, theirs) = StdStream::pair().map_err(error)?;
    ours.set_nonblocking(true).map_err(error)?;
    // The process dies with the thread that started it, whatever happens to the worker.
    let mut command = std::process::Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(&settings.command);
    for (name, value) in &settings.ini {
        command.arg("-d").arg(format!("{name}={value}"));
    }
    let mapping = FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: CHANNEL };
    command.fd_mappings(vec![mapping]).map_err(|collision| error(io::Error::other(collision)))?;
    let mut command = Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(error)?;
    drop(command);
    let id = child.id().unwrap_or_default();
    if let Some(stdout) = child.stdout.take() {
        tokio::task::spawn_local(log_lines(id, stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::task::spawn_local(log_lines(id, stderr));
    }
    if let Some(mut stdin) = child.stdin.take() {
        tokio::task::spawn_local(async move {
            for part in SCRIPT {
                // A process that has ended says so by itself.
                let part = if part == SCRIPT[0] { part } else { part.trim_start_matches("<?php") };
                let _ = stdin.write_all(part.as_bytes()).await;
            }
        });
    }
    let (end, told) = oneshot::channel();
    let mut channel = UnixStream::from_std(ours).map_err(error)?;
    let mut child = Child { process: child, id, generation, told };
    match timeout(settings.start_timeout, greet(&mut channel, id, settings)).await {
        Ok(Ok(())) => {}
        Ok(Err(None)) => {
            drop(channel);
            return Err(StartError::Ended(child.wait_or_kill().await));
        }
        Ok(Err(Some(why))) => return Err(why),
        Err(_elapsed) => return Err(StartError::Late(settings.start_timeout)),
    }
    let spread = 1.0 + (fastrand::f64() - 0.5) / 5.0;
    let calls_max = (f64::from(settings.calls_max) * spread) as u32;
    let channel = Channel::new(channel);
    Ok((Ready { channel, tidying: false, held: 0, id, generation, calls: 0, calls_max, core: None, end }, child))
}

/// The first words; an error of its own, or none when it has just ended.
async fn greet(channel: &mut UnixStream, id: u32, settings: &PhpSettings) -> Result<(), Option<StartError>> {
    let start = Start {
        directory: &settings.directory,
        environment: &settings.environment,
        kernel: settings.kernel,
        classes: CLASSES.trim_start_matches("<?php"),
    };
    let told = frame::write(channel, &start, b"").await;
    let said = match told {
        // It says nothing else before it is told to.
        Ok(()) => frame::Reader::default().next::<Said>(channel).await,
        Err(error) => Err(error),
    };
    match said {
        Ok((Said::Ready { php, laravel, kernel }, _)) => {
            let way = if kernel.is_empty() { "short".to_owned() } else { format!("through the kernel: {kernel}") };
            tracing::info!(process = id, php, laravel, way, "a PHP process is ready");
            Ok(())
        }
        Ok((Said::Failed { error }, _)) => Err(Some(StartError::Failed(error))),
        Ok(_) | Err(_) => Err(None),
    }
}

impl Ready {
    /// Runs one call. Afterwards, if it was answered, the process tidies up: [`Self::settle`] waits for that, and so
    /// does the next call by itself. Otherwise, [`Self::end`].
    pub(super) async fn run(&mut self, head: &impl Serialize, payload: &[u8], deadline: Instant) -> Ended {
        self.calls += 1;
        match timeout_at(deadline.into(), self.exchange(head, payload)).await {
            Ok(Ok(Some((told, _)))) if told.is_last() => Ended::AnsweredLast(*told),
            Ok(Ok(Some((told, body)))) => {
                self.tidying = true;
                Ended::Answered(*told, body)
            }
            Ok(Ok(None)) => Ended::NotRun,
            Ok(Err(error)) => Ended::Died(error.to_string()),
            Err(_elapsed) => Ended::Late,
        }
    }

    /// The answer; none when the process has ended and never read the call.
    async fn exchange(&mut self, head: &impl Serialize, payload: &[u8]) -> io::Result<Option<(Box<Told>, Vec<u8>)>> {
        let (channel, reader) = self.channel.here()?;
        if frame::write(channel, head, payload).await.is_err() {
            // It cannot have read all of it.
            return Ok(None);
        }
        loop {
            match reader.next::<Said>(channel).await {
                Ok((Said::Answer(told), body)) => return Ok(Some((told, body))),
                Ok((Said::Idle { memory }, _)) if self.tidying => (self.tidying, self.held) = (false, memory),
                Ok(_) => return Err(io::Error::other("it spoke out of turn")),
                // So the system says it when something was left unread; otherwise it is the end of the stream.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the process has tidied up after its answer; `false` when it did not.
    pub(super) async fn settle(&mut self) -> bool {
        let Ok((channel, reader)) = self.channel.here() else { return false };
        match timeout(SETTLE_TIMEOUT, reader.next::<Said>(channel)).await {
            Ok(Ok((Said::Idle { memory }, _))) => {
                (self.tidying, self.held) = (false, memory);
                true
            }
            _ => false,
        }
    }

    /// Memory that it occupies, in bytes: what PHP holds, and now and then what the system says, which costs more.
    pub(super) fn weight(&self) -> u64 {
        if self.calls.is_multiple_of(WEIGHED_EVERY) { self.memory().max(self.held) } else { self.held }
    }

    /// 0 when the system does not say.
    fn memory(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.id)).unwrap_or_default();
        let field = |at: usize| statm.split(' ').nth(at).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
        // Resident, without what is shared with other processes.
        field(1).saturating_sub(field(2)) * 4096
    }

    /// Lets it end: its socket closes, and whoever tends it sees to the rest.
    pub(super) fn end(self, why: Why) {
        // It may have ended already.
        let _ = self.end.send(why);
    }
}

impl Child {
    /// Sees to the end of a process.
    pub(super) async fn tend(mut self, room: Arc<Room>, look: Rc<Notify>) {
        let (why, status) = tokio::select! {
            status = self.process.wait() => {
                // Whoever runs a call on it learns of it at the same time, and knows more.
                let told = timeout(VERDICT_TIMEOUT, &mut self.told).await;
                (told.ok().and_then(Result::ok), status_text(status))
            }
            told = &mut self.told => {
                let why = told.unwrap_or(Why::Idle);
                if why.is_forced() {
                    // Fails only when it has ended already.
                    let _ = self.process.start_kill();
                }
                (Some(why), self.wait_or_kill().await)
            }
        };
        // One that was let go is no longer counted.
        let was_idle = room.gone(self.id, self.generation, why != Some(Why::Replaced));
        if was_idle {
            tracing::warn!(process = self.id, status, "a PHP process ended while it had nothing to do");
        }
        let why = why.unwrap_or(if was_idle { Why::Idle } else { Why::Died });
        room.figures.ended.with_label_values(&[why.label()]).inc();
        tracing::debug!(process = self.id, status, why = why.label(), "a PHP process has ended");
        look.notify_one();
    }

    async fn wait_or_kill(&mut self) -> String {
        match timeout(END_TIMEOUT, self.process.wait()).await {
            Ok(status) => status_text(status),
            Err(_elapsed) => {
                // Fails only when it has ended already.
                let _ = self.process.kill().await;
                "it had to be killed".to_owned()
            }
        }
    }
}

fn status_text(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// What a process prints, into our log.
async fn log_lines(process: u32, output: impl AsyncRead + Unpin) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    let (mut second, mut lines) = (Instant::now(), 0u32);
    loop {
        line.clear();
        let available = match reader.fill_buf().await {
            Ok([]) | Err(_) => return,
            Ok(bytes) => bytes,
        };
        let end = available.iter().position(|byte| *byte == b'\n').map_or(available.len(), |at| at + 1);
        line.extend_from_slice(&available[..end.min(LINE_BYTES_MAX)]);
        reader.consume(end);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        if second.elapsed() >= Duration::from_secs(1) {
            if lines > LINES_PER_SECOND {
                tracing::warn!(process, lines = lines - LINES_PER_SECOND, "PHP said more than is logged");
            }
            (second, lines) = (Instant::now(), 0);
        }
        lines += 1;
        if lines <= LINES_PER_SECOND {
            tracing::warn!(process, text, "PHP says");
        }
    }
}
