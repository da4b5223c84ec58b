//! One gateway thread's connection: its calls in, its replies out.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use diffyne_shared::listener::Stream;
use diffyne_shared::rpc::handshake::{AdmittedGateway, HELLO_BYTES_MAX, WorkerHandshake, WorkerStep};
use diffyne_shared::rpc::{
    self, Call, CallId, CallRef, CodecError, Frame, FrameReader, Hello, Outcome, OversizedFrame, Pong, Reply,
    ResponseEvent,
};
use diffyne_shared::telemetry::{self, LogThrottle};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::backend::{Finished, Job, request_id};
use crate::component::{ClientInfo, Failure};
use crate::cookies;

/// How long a gateway may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Replies that wait to be written; beyond it no further calls are read.
const OUT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A write buffer that grew beyond this is not kept.
const OUT_BYTES_KEPT: usize = 256 * 1024;

/// The answer to a call whose frame was too large to be read.
const TOO_LARGE: &[u8] =
    br#"{"s":false,"error":"The message is larger than this worker takes. The call was not run.","type":"too_large"}"#;
/// The answer to a call whose real one is too large for the gateway.
const ANSWER_TOO_LARGE: &[u8] =
    br#"{"s":false,"error":"The answer is larger than the gateway takes. The call was run.","type":"server_error"}"#;

/// Log lines about gateways that are turned away: anybody may connect.
static LINES: LogThrottle = LogThrottle::new(1, 10);

/// How a call left this connection.
enum Left {
    Ran(Finished),
    /// Drained before it began, or its budget ended in the queue.
    NotRun,
    /// Nobody waits for it.
    Cancelled,
}

struct Done {
    id: u64,
    left: Left,
}

type Running = Pin<Box<dyn Future<Output = Done>>>;

struct Connection {
    shared: Arc<Shared>,
    /// Longest frame that the gateway takes.
    frame_bytes_max: usize,
    out: Vec<u8>,
    written: usize,
    running: FuturesUnordered<Running>,
    /// Calls that have not begun, and how to drop them.
    queued: HashMap<u64, CancellationToken>,
}

/// Serves a gateway until it hangs up.
pub(super) async fn serve(shared: Arc<Shared>, stream: Stream) {
    let stranger = shared.strangers.enter();
    let admitted = tokio::select! {
        admitted = tokio::time::timeout(HELLO_TIMEOUT, admit(&shared, stream)) => admitted,
        () = stranger.has_to_go() => {
            shared.metrics.refused.inc();
            return tracing::debug!("a connection that had not said hello made room for another");
        }
    };
    drop(stranger);
    let (stream, reader, AdmittedGateway { id: gateway, legacy, frame_bytes_max }) = match admitted {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(why)) => {
            shared.metrics.refused.inc();
            if let Some(left_out) = LINES.allow() {
                tracing::warn!(why = %telemetry::error(&why), left_out, "a gateway was turned away");
            }
            return;
        }
        Err(_elapsed) => return tracing::debug!("somebody connected and said nothing"),
    };
    let gateway = telemetry::name(&gateway);
    if legacy {
        tracing::warn!(%gateway, "a gateway showed its token in the clear (DIFFYNE_WORKER_TOKEN_LEGACY=accept)");
    }
    // One that does not tell takes what this worker's own limit of an answer lets through.
    let assumed = shared.answer_bytes_max + rpc::FRAME_OVERHEAD_MAX;
    let frame_bytes_max = frame_bytes_max.map_or(assumed, |bytes| bytes as usize);
    tracing::info!(%gateway, "gateway connected");
    shared.gateways(|count| count.fetch_add(1, Ordering::Relaxed) + 1);
    let mut connection = Connection {
        shared: Arc::clone(&shared),
        frame_bytes_max,
        out: Vec::new(),
        written: 0,
        running: FuturesUnordered::new(),
        queued: HashMap::new(),
    };
    let why = connection.talk(stream, reader).await;
    tracing::info!(%gateway, why = %telemetry::error(&why), "gateway disconnected");
    // Nobody waits for the answers; what runs may have begun to change things, so it runs to its end.
    for cancel in connection.queued.values() {
        cancel.cancel();
    }
    while let Some(done) = connection.running.next().await {
        connection.count(&done.left);
    }
    shared.gateways(|count| count.fetch_sub(1, Ordering::Relaxed) - 1);
}

/// Finds out who has connected: TLS where it is set, then the hello.
async fn admit(shared: &Shared, mut stream: Stream) -> Result<(Stream, FrameReader, AdmittedGateway), String> {
    if let Some(tls) = shared.tls.load_full() {
        let hint = "DIFFYNE_WORKER_TLS_CA in the gateway's settings";
        stream = tls.accept(stream).await.map_err(|error| format!("no TLS ({hint}): {error}"))?;
    }
    let mut reader = FrameReader::new(HELLO_BYTES_MAX);
    let visitor = greet(shared, &mut stream, &mut reader).await?;
    reader.set_frame_bytes_max(shared.frame_bytes_max);
    Ok((stream, reader, visitor))
}

/// Lets a gateway in that knows the token, and has it know that this worker does too.
async fn greet(shared: &Shared, stream: &mut Stream, reader: &mut FrameReader) -> Result<AdmittedGateway, String> {
    fn words(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let ours = Hello {
        features: shared.backend.features(),
        id: shared.id.clone(),
        capacity: shared.concurrency as u32,
        backend: shared.backend.name().to_owned(),
        draining: shared.drain.is_cancelled(),
        faulty: shared.backend.ready().is_err(),
        queue: u32::try_from(shared.queue_max).ok(),
        frame_bytes_max: u32::try_from(shared.frame_bytes_max).ok(),
        ..Hello::default()
    };
    let mut greeting = WorkerHandshake::new(shared.tokens.load_full(), **shared.legacy_token.load(), ours);
    loop {
        let Some(frame) = reader.next_frame().map_err(words)? else {
            if reader.fill(stream).await.map_err(words)? == 0 {
                return Err("it hung up during the hello".to_owned());
            }
            continue;
        };
        let step = greeting.receive(frame).map_err(words)?;
        match step {
            WorkerStep::Send(frame) => send(stream, &frame).await.map_err(words)?,
            WorkerStep::Welcome(frame, visitor) => {
                send(stream, &frame).await.map_err(words)?;
                return Ok(visitor);
            }
            WorkerStep::Refuse(frame, error) => {
                send(stream, &frame).await.map_err(words)?;
                // The gateway logs the reason only if it can read it before the end.
                let _ = stream.shutdown().await;
                return Err(error.to_string());
            }
        }
    }
}

async fn send(stream: &mut Stream, frame: &Frame<'_>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    rpc::encode(frame, &mut bytes).map_err(std::io::Error::other)?;
    stream.write_all(&bytes).await
}

impl Connection {
    async fn talk(&mut self, stream: Stream, mut reader: FrameReader) -> String {
        let (mut read, mut write) = tokio::io::split(stream);
        let drain = self.shared.drain.clone();
        let drained = drain.cancelled();
        tokio::pin!(drained);
        let mut draining_told = false;
        loop {
            // What was read is handled before anything is waited for.
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => self.frame(frame),
                    Ok(None) => break,
                    Err(CodecError::Oversized(oversized)) => self.oversized(oversized),
                    Err(error) => return format!("it speaks nonsense: {error}"),
                }
            }
            if let Err(error) = self.write_now(&mut write).await {
                return error.to_string();
            }
            tokio::select! {
                filled = reader.fill(&mut read), if self.out.len() < OUT_BYTES_MAX => match filled {
                    Ok(0) => return "closed by the gateway".to_owned(),
                    Ok(_) => {}
                    Err(error) => return error.to_string(),
                },
                Some(done) = self.running.next(), if !self.running.is_empty() => self.done(&done),
                written = write.write(&self.out[self.written..]), if self.written < self.out.len() => match written {
                    Ok(count) => self.advance(count),
                    Err(error) => return error.to_string(),
                },
                () = &mut drained, if !draining_told => {
                    draining_told = true;
                    self.tell_load();
                }
            }
        }
    }

    /// Writes as much as there is room for, without waiting.
    async fn write_now(&mut self, write: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
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
            if self.out.capacity() > OUT_BYTES_KEPT {
                self.out = Vec::new();
            }
        }
    }

    fn send(&mut self, frame: &Frame<'_>) {
        if let Err(error) = rpc::encode(frame, &mut self.out) {
            tracing::error!(%error, "a frame was not sent");
        }
    }

    /// Sends a reply, or a short one in its place if the gateway would not take it.
    fn reply(&mut self, reply: Reply<'_>) {
        let (id, load, faulty) = (reply.id, reply.load, reply.faulty);
        if let Err(error) = rpc::encode_within(&Frame::Reply(reply), &mut self.out, self.frame_bytes_max) {
            tracing::error!(%error, "an answer is larger than the gateway takes");
            let failed = Reply::new(id, Outcome::ServerError, 500, ANSWER_TOO_LARGE);
            self.send(&Frame::Reply(Reply { load, faulty, ..failed }));
        }
    }

    /// A frame was too large, and read past: its call, if it was one, is answered.
    fn oversized(&mut self, frame: OversizedFrame) {
        let limit = self.shared.frame_bytes_max;
        tracing::warn!(bytes = frame.bytes, limit, "a gateway's frame is too large and was dropped");
        if let Some(CallRef::Call(id)) = frame.call {
            let (load, faulty) = (self.load(), self.faulty());
            let failed = Reply::new(id, Outcome::ValidationError, 413, TOO_LARGE);
            self.send(&Frame::Reply(Reply { load, faulty, ..failed }));
        }
    }

    fn load(&self) -> u32 {
        self.shared.load.load(Ordering::Relaxed)
    }

    fn faulty(&self) -> bool {
        self.shared.backend.ready().is_err()
    }

    fn tell_load(&mut self) {
        let pong = Pong { load: self.load(), draining: self.shared.drain.is_cancelled(), faulty: self.faulty() };
        self.send(&Frame::Pong(pong));
    }

    fn frame(&mut self, frame: Frame<'_>) {
        match frame {
            Frame::Call(call) => self.call(&call),
            Frame::Cancel(CallId { id }) => {
                if let Some(cancel) = self.queued.get(&id) {
                    cancel.cancel();
                }
            }
            Frame::Ping(_) => self.tell_load(),
            _ => {}
        }
    }

    fn busy(&mut self, id: u64) {
        self.shared.metrics.busy.inc();
        self.send(&Frame::Busy(CallId { id }));
    }

    fn call(&mut self, call: &Call<'_>) {
        if self.shared.drain.is_cancelled() {
            return self.busy(call.id);
        }
        let shared = Arc::clone(&self.shared);
        let id = call.id;
        let mut running: Running = if let Ok(slot) = Arc::clone(&shared.slots).try_acquire_owned() {
            let job = job(call);
            shared.load.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                let finished = run(&shared, job).await;
                drop(slot);
                Done { id, left: Left::Ran(finished) }
            })
        } else {
            if shared.queued.fetch_add(1, Ordering::Relaxed) >= shared.queue_max {
                shared.queued.fetch_sub(1, Ordering::Relaxed);
                return self.busy(id);
            }
            let cancel = CancellationToken::new();
            self.queued.insert(id, cancel.clone());
            shared.load.fetch_add(1, Ordering::Relaxed);
            Box::pin(wait_and_run(shared, job(call), id, Duration::from_millis(call.budget_ms.into()), cancel))
        };
        // Most calls end at once: no need to let them wait for a wake-up.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match running.as_mut().poll(&mut context) {
            Poll::Ready(done) => self.done(&done),
            Poll::Pending => self.running.push(running),
        }
    }

    fn count(&mut self, left: &Left) {
        self.shared.load.fetch_sub(1, Ordering::Relaxed);
        if let Left::Ran(finished) = left {
            self.shared.metrics.finished(finished);
        }
    }

    fn done(&mut self, done: &Done) {
        self.queued.remove(&done.id);
        self.count(&done.left);
        match &done.left {
            Left::Ran(finished) => {
                let broadcasts = finished.broadcasts.iter();
                let reply = Reply {
                    id: done.id,
                    outcome: finished.outcome,
                    status: finished.status,
                    data: &finished.data,
                    event_count: finished.event_count,
                    broadcasts: broadcasts
                        .map(|event| ResponseEvent { index: event.index, name: &event.name, params: &event.params })
                        .collect(),
                    set_cookie: finished.set_cookie.clone(),
                    session: finished.session,
                    listeners: finished.listeners.as_deref(),
                    component: (!finished.class.is_empty()).then_some(finished.class.as_str()),
                    load: self.load(),
                    faulty: self.faulty(),
                };
                self.reply(reply);
            }
            // A cancelled call is handed back as well, so that the gateway can forget it.
            Left::NotRun | Left::Cancelled => self.busy(done.id),
        }
    }
}

async fn run(shared: &Shared, job: Job) -> Finished {
    let started = Instant::now();
    let (kind, transport) = (job.kind, job.client.transport);
    let mut finished = shared.backend.run(job).await;
    let size = finished.data.len() + finished.broadcasts.iter().map(|event| event.params.len()).sum::<usize>();
    if size > shared.answer_bytes_max {
        // The gateway would not take it, and end the connection with all its other calls.
        let limit = shared.answer_bytes_max;
        tracing::error!(component = finished.class, method = finished.method, size, limit, "an answer is too large");
        let failure = Failure::Exception("the answer is too large".to_owned());
        let labels = (finished.class, finished.method);
        finished = Finished { class: labels.0, method: labels.1, ..Finished::refused(&failure, kind, transport) };
    }
    shared.metrics.duration.observe(started.elapsed().as_secs_f64());
    finished
}

/// Waits for a place; what has not begun when the worker drains is handed back.
async fn wait_and_run(shared: Arc<Shared>, job: Job, id: u64, budget: Duration, cancel: CancellationToken) -> Done {
    let slot = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Left::Cancelled),
        () = shared.drain.cancelled() => Err(Left::NotRun),
        slot = tokio::time::timeout(budget, Arc::clone(&shared.slots).acquire_owned()) => match slot {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(Left::NotRun),
        },
    };
    shared.queued.fetch_sub(1, Ordering::Relaxed);
    let left = match slot {
        Ok(slot) => {
            let finished = run(&shared, job).await;
            drop(slot);
            Left::Ran(finished)
        }
        Err(left) => left,
    };
    Done { id, left }
}

fn job(call: &Call<'_>) -> Job {
    let mut headers = String::from_utf8_lossy(call.client.headers).into_owned();
    if !call.client.jar.is_empty() {
        headers = cookies::put_over(&headers, &String::from_utf8_lossy(call.client.jar));
    }
    let client = ClientInfo {
        id: call.client.id.to_owned(),
        ip: call.client.ip.to_owned(),
        transport: call.client.transport,
        headers,
    };
    Job {
        kind: call.kind,
        request_id: request_id(&client),
        client,
        cause: call.cause.clone(),
        payload: call.payload.to_vec(),
        deadline: Instant::now() + Duration::from_millis(call.budget_ms.into()),
    }
}
