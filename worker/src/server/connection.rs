//! The connection of one gateway thread: reads its calls, and writes their replies.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use diffyne_shared::LocalBoxFuture;
use diffyne_shared::listener::Stream;
use diffyne_shared::rpc::handshake::AdmittedGateway;
use diffyne_shared::rpc::{
    self, Call, CallDetails, CallId, CallRef, CodecError, Frame, FrameReader, Outcome, OversizedFrame, Part, PartsSent,
    Pong, Push, Reply, ResponseEvent, UserEvent,
};
use diffyne_shared::telemetry::{self, LogThrottle};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::call_streams::CallStreams;
use super::calls::{self, CallEnd};
use super::follow_ups::FollowUps;
use super::handshake;
use super::state::WorkerState;
use super::traces::CallTrace;
use crate::call::parts::SentPart;
use crate::call::{CallPhases, CallResult};

/// The size of the write buffer, in bytes, above which the worker reads no further calls.
const OUT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A write buffer that grew beyond this many bytes is released after use.
const IDLE_OUT_BYTES_MAX: usize = 256 * 1024;
/// The gateway is told where the time of a call went that took this long.
const DETAILS_FROM_MICROS: u32 = 1_000;

/// The response to a call whose frame was too large to be read.
const TOO_LARGE: &[u8] =
    br#"{"s":false,"error":"The message is larger than this worker takes. The call was not run.","type":"too_large"}"#;
/// The response to a call whose own response is too large for the gateway.
const RESPONSE_TOO_LARGE: &[u8] =
    br#"{"s":false,"error":"The answer is larger than the gateway takes. The call was run.","type":"server_error"}"#;

/// Limits log lines about refused gateways, because anybody may connect.
static LINES: LogThrottle = LogThrottle::new(1, 10);

/// A call of this connection that has ended, by the gateway's id.
struct EndedCall {
    id: u64,
    end: CallEnd,
}

/// An admitted gateway's connection.
struct GatewayConnection {
    worker: Arc<WorkerState>,
    /// The longest frame that the gateway accepts.
    frame_bytes_max: usize,
    /// Frames to be written.
    out: Vec<u8>,
    /// The part of `out` that has been written.
    written: usize,
    running: FuturesUnordered<LocalBoxFuture<'static, EndedCall>>,
    /// Calls that wait for a slot, and how to cancel them.
    queued: HashMap<u64, CancellationToken>,
    /// Calls that were answered and of which more is to come.
    follow_ups: FollowUps,
    /// Calls whose client takes parts of the answer.
    streams: CallStreams,
}

/// Serves a connection until the gateway hangs up.
pub(super) async fn serve(worker: Arc<WorkerState>, stream: Stream) {
    let Some((stream, reader, admitted)) = admit(&worker, stream).await else { return };
    let gateway = telemetry::name(&admitted.id);
    if admitted.legacy {
        tracing::warn!(%gateway, "a gateway showed its token in the clear (DIFFYNE_WORKER_TOKEN_LEGACY=accept)");
    }
    tracing::info!(%gateway, "gateway connected");
    worker.count_gateways(|count| count.fetch_add(1, Ordering::Relaxed) + 1);
    let mut connection = GatewayConnection::new(&worker, admitted.frame_bytes_max);
    let why = connection.exchange_frames(stream, reader).await;
    tracing::info!(%gateway, why = %telemetry::error(&why), "gateway disconnected");
    connection.finish_calls().await;
}

/// Waits for the gateway's hello and proof; `None` when the connection was refused or evicted.
async fn admit(worker: &WorkerState, stream: Stream) -> Option<(Stream, FrameReader, AdmittedGateway)> {
    let pending = worker.pending.add();
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(handshake::HELLO_TIMEOUT, handshake::accept(worker, stream)) => accepted,
        () = pending.evicted() => {
            worker.metrics.refused.inc();
            tracing::debug!("a connection without a hello was evicted");
            return None;
        }
    };
    match accepted {
        Ok(Ok(accepted)) => return Some(accepted),
        Ok(Err(why)) => {
            worker.metrics.refused.inc();
            if let Some(left_out) = LINES.allow() {
                tracing::warn!(why = %telemetry::error(&why), left_out, "refused a gateway");
            }
        }
        Err(_elapsed) => tracing::debug!("a connection without a hello was closed"),
    }
    None
}

/// What the gateway is told of a call that took long or failed.
fn details(result: &CallResult) -> Option<CallDetails<'_>> {
    let CallPhases { queue, run, render, diff, total } = result.phases;
    if result.outcome == Outcome::Ok && total < DETAILS_FROM_MICROS {
        return None;
    }
    Some(CallDetails { request: &result.request_id, method: &result.method, queue, run, render, diff, total })
}

impl Drop for GatewayConnection {
    /// With calls that have not ended, where the gateway's thread has: it is one of this process.
    fn drop(&mut self) {
        let calls = self.running.len() as u32 + self.follow_ups.clear();
        self.worker.load.fetch_sub(calls, Ordering::Relaxed);
        self.worker.count_gateways(|count| count.fetch_sub(1, Ordering::Relaxed) - 1);
    }
}

impl GatewayConnection {
    fn new(worker: &Arc<WorkerState>, frame_bytes_max: Option<u32>) -> Self {
        // A gateway that does not report its limit is assumed to accept replies of up to this worker's own limit.
        let assumed = worker.reply_bytes_max + rpc::FRAME_OVERHEAD_MAX;
        Self {
            worker: Arc::clone(worker),
            frame_bytes_max: frame_bytes_max.map_or(assumed, |bytes| bytes as usize),
            out: Vec::new(),
            written: 0,
            running: FuturesUnordered::new(),
            queued: HashMap::new(),
            follow_ups: FollowUps::default(),
            streams: CallStreams::default(),
        }
    }

    /// Reads calls and writes replies until the connection ends. Returns why it ended.
    async fn exchange_frames(&mut self, stream: Stream, mut reader: FrameReader) -> String {
        let (mut read, mut write) = tokio::io::split(stream);
        let drain = self.worker.drain.clone();
        let drained = drain.cancelled();
        tokio::pin!(drained);
        let mut has_sent_draining = false;
        loop {
            if let Err(error) = self.handle_frames(&mut reader) {
                return format!("it sent an invalid frame: {error}");
            }
            if let Err(error) = self.write_available(&mut write).await {
                return error.to_string();
            }
            tokio::select! {
                filled = reader.fill(&mut read), if self.out.len() < OUT_BYTES_MAX => match filled {
                    Ok(0) => return "closed by the gateway".to_owned(),
                    Ok(_) => {}
                    Err(error) => return error.to_string(),
                },
                Some(ended) = self.running.next(), if !self.running.is_empty() => self.end_call(ended),
                part = self.streams.next(), if self.out.len() < OUT_BYTES_MAX => self.send_part(part),
                Some((id, data)) = self.follow_ups.next(), if !self.follow_ups.is_empty() => self.push(id, data),
                written = write.write(&self.out[self.written..]), if self.written < self.out.len() => match written {
                    Ok(count) => self.advance(count),
                    Err(error) => return error.to_string(),
                },
                () = &mut drained, if !has_sent_draining => {
                    has_sent_draining = true;
                    self.send_load(false);
                }
            }
        }
    }

    /// Handles everything that was read.
    fn handle_frames(&mut self, reader: &mut FrameReader) -> Result<(), CodecError> {
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => self.handle_frame(frame),
                Ok(None) => return Ok(()),
                Err(CodecError::Oversized(oversized)) => self.refuse_oversized(oversized),
                Err(error) => return Err(error),
            }
        }
    }

    fn handle_frame(&mut self, frame: Frame<'_>) {
        match frame {
            Frame::Call(call) => self.start_call(&call),
            Frame::Cancel(CallId { id }) => {
                if let Some(cancel) = self.queued.get(&id) {
                    cancel.cancel();
                }
                self.follow_ups.cancel(id);
                self.streams.cancel(id);
            }
            Frame::PartsSent(PartsSent { id, bytes }) => self.streams.sent(id, bytes),
            Frame::Ping(ping) => self.send_load(ping.processes),
            _ => {}
        }
    }

    /// Replies to the call of a frame that was too large to be read, if it was a call.
    fn refuse_oversized(&mut self, frame: OversizedFrame) {
        let limit = self.worker.frame_bytes_max;
        tracing::warn!(bytes = frame.bytes, limit, "a gateway's frame is too large and was dropped");
        if let Some(CallRef::Call(id)) = frame.call {
            let failed = Reply::new(id, Outcome::ValidationError, 413, TOO_LARGE);
            self.send(&Frame::Reply(self.with_state(failed)));
        }
    }

    /// Runs a call, queues it, or hands it back if the queue is full.
    fn start_call(&mut self, call: &Call<'_>) {
        if self.worker.drain.is_cancelled() {
            return self.hand_back(call.id);
        }
        let worker = Arc::clone(&self.worker);
        let id = call.id;
        let trace = CallTrace::begin(&worker.tracer, call);
        let mut running: LocalBoxFuture<'static, EndedCall> = if let Ok(slot) =
            Arc::clone(&worker.slots).try_acquire_owned()
        {
            let job = calls::job(call, self.streams.begin(call), trace);
            worker.load.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                let result = calls::run(&worker, job, Duration::ZERO, trace).await;
                drop(slot);
                EndedCall { id, end: CallEnd::Ran(result) }
            })
        } else {
            let budget = Duration::from_millis(call.budget_ms.into());
            let Some(place) = worker.queue.enter(Instant::now(), budget) else { return self.hand_back(id) };
            let cancel = CancellationToken::new();
            self.queued.insert(id, cancel.clone());
            worker.load.fetch_add(1, Ordering::Relaxed);
            let job = calls::job(call, self.streams.begin(call), trace);
            Box::pin(async move { EndedCall { id, end: calls::wait_and_run(worker, job, place, cancel, trace).await } })
        };
        // Most calls end at the first poll and need no wake-up.
        match running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ended) => self.end_call(ended),
            Poll::Pending => self.running.push(running),
        }
    }

    fn end_call(&mut self, EndedCall { id, end }: EndedCall) {
        self.queued.remove(&id);
        // They come before the answer.
        while let Some(part) = self.streams.next_now() {
            self.send_part(part);
        }
        self.streams.end(id);
        self.count(&end);
        match end {
            CallEnd::Ran(mut result) => {
                self.reply(id, &result);
                if let Some(follow_up) = result.follow_up.take() {
                    // As long as something is to come, the worker is not done with the call.
                    self.worker.load.fetch_add(1, Ordering::Relaxed);
                    self.follow_ups.add(id, follow_up);
                }
            }
            // A cancelled call is handed back as well, so that the gateway removes it.
            CallEnd::NotRun | CallEnd::Cancelled => self.hand_back(id),
        }
    }

    /// Sends a part of an answer. One that the gateway does not take is left out.
    fn send_part(&mut self, (id, data): SentPart) {
        self.worker.metrics.parts.inc();
        if let Err(error) =
            rpc::encode_within(&Frame::Part(Part { id, data: &data }), &mut self.out, self.frame_bytes_max)
        {
            tracing::error!(%error, "a part of an answer is larger than the gateway takes");
            self.streams.sent(id, u32::try_from(data.len()).unwrap_or(u32::MAX));
        }
    }

    /// Sends what follows an answer; `None`: nothing more does.
    fn push(&mut self, id: u64, data: Option<Vec<u8>>) {
        let last = data.is_none();
        let push = Push { id, data: data.as_deref().unwrap_or_default(), last };
        if let Err(error) = rpc::encode_within(&Frame::Push(push), &mut self.out, self.frame_bytes_max) {
            tracing::error!(%error, "what follows an answer is larger than the gateway takes");
            self.send(&Frame::Push(Push { id, data: &[], last }));
        }
        if last {
            self.worker.load.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Runs after the gateway has disconnected: cancels queued calls, and lets running ones finish, because they may
    /// have changed something already.
    async fn finish_calls(&mut self) {
        for cancel in self.queued.values() {
            cancel.cancel();
        }
        // Their clients are gone with the gateway.
        self.streams.cancel_all();
        self.worker.load.fetch_sub(self.follow_ups.clear(), Ordering::Relaxed);
        while let Some(ended) = self.running.next().await {
            self.count(&ended.end);
        }
    }

    fn count(&mut self, end: &CallEnd) {
        self.worker.load.fetch_sub(1, Ordering::Relaxed);
        if let CallEnd::Ran(result) = end {
            self.worker.metrics.count_call(result);
        }
    }

    fn reply(&mut self, id: u64, result: &CallResult) {
        let broadcasts = result.broadcasts.iter();
        let reply = self.with_state(Reply {
            event_count: result.event_count,
            broadcasts: broadcasts
                .map(|event| ResponseEvent { index: event.index, name: &event.name, params: &event.params })
                .collect(),
            user_events: result
                .user_events
                .iter()
                .map(|event| UserEvent { user: &event.user, name: &event.name, params: &event.params })
                .collect(),
            user: result.user.as_deref(),
            set_cookie: result.set_cookie.clone(),
            session: result.session,
            component: (!result.class.is_empty()).then_some(result.class.as_str()),
            release: result.release.as_deref(),
            open: result.follow_up.is_some(),
            details: details(result),
            ..Reply::new(id, result.outcome, result.status, &result.data)
        });
        if let Err(error) = rpc::encode_within(&Frame::Reply(reply), &mut self.out, self.frame_bytes_max) {
            tracing::error!(%error, "an answer is larger than the gateway takes");
            let failed = Reply::new(id, Outcome::ServerError, 500, RESPONSE_TOO_LARGE);
            self.send(&Frame::Reply(self.with_state(failed)));
        }
    }

    fn hand_back(&mut self, id: u64) {
        self.worker.metrics.busy.inc();
        self.send(&Frame::Busy(CallId { id }));
    }

    fn send_load(&mut self, with_processes: bool) {
        let processes = with_processes.then(|| self.worker.backend.processes().unwrap_or_default().to_string());
        let pong = Pong {
            processes,
            load: self.load(),
            queue: self.queue(),
            draining: self.worker.drain.is_cancelled(),
            faulty: self.faulty(),
            outdated: self.outdated(),
            release: self.worker.backend.release().as_deref().map(str::to_owned),
        };
        self.send(&Frame::Pong(pong));
    }

    /// The reply, and how the worker is: each reply tells the gateway.
    fn with_state<'a>(&self, reply: Reply<'a>) -> Reply<'a> {
        Reply { load: self.load(), queue: self.queue(), faulty: self.faulty(), outdated: self.outdated(), ..reply }
    }

    fn load(&self) -> u32 {
        self.worker.load.load(Ordering::Relaxed)
    }

    /// How many calls may wait, if not as many as in the hello.
    fn queue(&self) -> Option<u32> {
        let queue = &self.worker.queue;
        let limit = queue.limit(Instant::now());
        (limit != queue.least()).then(|| u32::try_from(limit).unwrap_or(u32::MAX))
    }

    fn faulty(&self) -> bool {
        self.worker.backend.ready().is_err()
    }

    fn outdated(&self) -> bool {
        self.worker.backend.outdated().is_some()
    }

    fn send(&mut self, frame: &Frame<'_>) {
        if let Err(error) = rpc::encode(frame, &mut self.out) {
            tracing::error!(%error, "a frame was not sent");
        }
    }

    /// Writes as much as the socket accepts without waiting.
    async fn write_available(&mut self, write: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        while self.written < self.out.len() {
            let written =
                std::future::poll_fn(|cx| match Pin::new(&mut *write).poll_write(cx, &self.out[self.written..]) {
                    Poll::Ready(result) => Poll::Ready(result.map(Some)),
                    Poll::Pending => Poll::Ready(Ok(None)),
                });
            match written.await? {
                Some(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Some(count) => self.advance(count),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        self.written += count;
        if self.written == self.out.len() {
            self.written = 0;
            self.out.clear();
            if self.out.capacity() > IDLE_OUT_BYTES_MAX {
                self.out = Vec::new();
            }
        }
    }
}
