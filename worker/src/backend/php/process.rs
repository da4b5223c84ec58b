//! One PHP process as its calls have it.
//!
//! A process has two handles: [`PhpProcess`] is its socket, and moves from call to call and from thread to thread;
//! [`ChildProcess`] is the operating system's process, and stays on the thread that it dies with.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::channel::{Channel, CleanUp, Exchange};
use super::child::{ChildProcess, ProcessEnd};
use super::exit_reason::ExitReason;
use super::inbox::Inbox;
use super::message::Leftover;
use super::status::{Activity, CallLabel, ProcessStatus, private_memory};
use super::table::PooledProcess;
use crate::backend::bridge_reply::BridgeReply;
use crate::call::Parts;

/// Calls between two readings of a process's memory from the system.
const MEMORY_READING_INTERVAL: u32 = 16;
/// How long the end of a process that has hung up may take to become known.
const END_TIMEOUT: Duration = Duration::from_millis(200);

/// How long a call may take, and the parts of its answer, which give it more time.
#[derive(Clone, Copy)]
pub(super) struct CallTime<'a> {
    pub(super) deadline: Instant,
    pub(super) parts: &'a Parts,
}

/// Whether a process has closed its socket, as it does when it ends.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
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

/// The worker's end of a running process.
pub(super) struct PhpProcess {
    channel: Channel,
    /// Process id.
    pub(super) id: u32,
    /// The generation of processes that it belongs to: which release of the application it runs.
    pub(super) generation: u32,
    /// The hash of the application's views and components as the process has found them.
    pub(super) release: Option<Arc<str>>,
    /// Calls that it has run.
    pub(super) calls: u32,
    /// It is replaced after this number of calls.
    pub(super) calls_max: u32,
    /// The core that it is bound to.
    pub(super) core: Option<usize>,
    status: Arc<ProcessStatus>,
    exit: oneshot::Sender<ExitReason>,
    end: ProcessEnd,
}

impl PhpProcess {
    /// A process that is ready.
    pub(super) fn new(
        channel: Channel,
        child: &ChildProcess,
        calls_max: u32,
        exit: oneshot::Sender<ExitReason>,
        end: ProcessEnd,
    ) -> Self {
        // Processes that started together are not replaced together.
        let spread = 1.0 + (fastrand::f64() - 0.5) / 5.0;
        let calls_max = (f64::from(calls_max) * spread) as u32;
        let status = Arc::clone(child.status());
        status.set(Activity::Idle);
        let (id, generation) = (child.id, child.generation);
        Self { channel, id, generation, release: None, calls: 0, calls_max, core: None, status, exit, end }
    }

    /// Sends a call, and as much of it as the socket takes now; whether that is all.
    pub(super) fn send(&mut self, call: Vec<u8>) -> bool {
        self.channel.send(call)
    }

    /// The call that lies in the inbox is the one that [`run`](Self::run) waits for.
    pub(super) fn take_posted(&mut self) {
        self.channel.take_posted();
    }

    /// Waits for the reply to the call that the process has been sent. Before the first part of it is passed on,
    /// `on_first_part` says whether no call behind it has begun.
    ///
    /// After a reply, the process cleans up: [`Self::clean_up`] waits for that, and the next call may be sent without.
    /// After any other outcome, the process has to [exit](Self::exit).
    pub(super) async fn run(
        &mut self,
        label: &CallLabel<'_>,
        time: CallTime<'_>,
        on_first_part: &(dyn Fn() -> bool + Sync),
    ) -> CallOutcome {
        self.calls += 1;
        self.status.begin(label, self.core);
        match time.parts.within(time.deadline, self.exchange(time.parts, on_first_part)).await {
            Some(Ok(Exchange::Reply(reply, _))) if reply.is_last() => CallOutcome::RepliedLast(*reply),
            Some(Ok(Exchange::Reply(reply, body))) => {
                self.status.set(Activity::CleaningUp);
                CallOutcome::Replied(*reply, body)
            }
            Some(Ok(Exchange::NotRead)) => CallOutcome::NotRun,
            Some(Ok(Exchange::Unclean(leftover))) => CallOutcome::NotRunUnclean(leftover),
            Some(Err(error)) => CallOutcome::Died(error.to_string()),
            None => CallOutcome::TimedOut,
        }
    }

    async fn exchange(&mut self, parts: &Parts, on_first_part: &(dyn Fn() -> bool + Sync)) -> io::Result<Exchange> {
        let status = tokio::select! {
            biased;
            exchange = self.channel.exchange(parts, on_first_part) => match exchange {
                // Its end says why: the signal that killed it, for example.
                Err(error) if is_hang_up(&error) => {
                    return Err(timeout(END_TIMEOUT, self.end.wait()).await.map_or(error, |how| io::Error::other(how.to_owned())));
                }
                exchange => return exchange,
            },
            // Another process may hold the socket: one that this one has forked.
            status = self.end.wait() => status,
        };
        self.channel.exchange_before_end().map_err(|_| io::Error::other(status.to_owned()))
    }

    /// Waits until the process has cleaned up after its reply.
    pub(super) async fn clean_up(&mut self) -> CleanUp {
        let clean_up = tokio::select! {
            biased;
            clean_up = self.channel.clean_up() => clean_up,
            _ = self.end.wait() => CleanUp::Failed,
        };
        if matches!(clean_up, CleanUp::Done) {
            self.status.set(Activity::Idle);
        }
        clean_up
    }

    /// The process's memory in bytes.
    ///
    /// Usually what PHP reported. Every few calls also what the system says, which costs more to find out.
    pub(super) fn memory(&self) -> u64 {
        let is_due = self.calls.is_multiple_of(MEMORY_READING_INTERVAL);
        let allocated = self.channel.allocated();
        if is_due { private_memory(self.id).max(allocated) } else { allocated }
    }

    /// Makes the process exit.
    pub(super) fn exit(self, reason: ExitReason) {
        self.status.set(Activity::Exiting(reason));
        // The send fails when the process has exited already.
        let _ = self.exit.send(reason);
    }
}

impl PooledProcess for PhpProcess {
    fn id(&self) -> u32 {
        self.id
    }

    fn inbox(&self) -> &Arc<Inbox> {
        &self.channel.inbox
    }
}
