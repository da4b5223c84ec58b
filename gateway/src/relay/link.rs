//! The connection to one worker: it is kept up until the worker leaves the list, and is read, written and monitored.
//!
//! A worker that sends nothing for the health interval gets no calls until it answers again. It keeps the calls that it
//! has until its connection breaks (a vanished host breaks it within a second) or their time ends.

use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::backoff::Backoff;
use diffyne_shared::envelope::FailureKind;
use diffyne_shared::listener::Stream;
use diffyne_shared::rpc::{
    self, CallId, CallRef, CodecError, Frame, FrameReader, OversizedFrame, Part, Ping, Push, Reply,
};
use diffyne_shared::task;
use diffyne_shared::telemetry;
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::call::RelayResult;
use super::connect::{ConnectError, WorkerConnection, connect};
use super::discovery::Workers;
use super::dispatch::{Relay, SWEEP_EVERY};
use super::upstream::{LinkState, Upstream};

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// A connection that lived this long resets the backoff.
const STEADY: Duration = Duration::from_secs(5);
/// A write buffer that grew beyond this many bytes is not kept.
const OUT_BYTES_KEPT: usize = 256 * 1024;

const ANSWER_TOO_LARGE: &str = "The worker's answer is larger than this gateway takes. The call was run.";
const WORKER_LOST: &str = "The worker is gone. The call may or may not have run.";

impl<O: 'static> Relay<O> {
    /// Keeps a connection to each listed worker and checks deadlines until the thread ends.
    pub async fn run(self: Rc<Self>, mut workers: watch::Receiver<Workers>) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.follow(&workers.borrow_and_update().clone());
        loop {
            tokio::select! {
                changed = workers.changed() => match changed {
                    Ok(()) => self.follow(&workers.borrow_and_update().clone()),
                    Err(_) => return,
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    /// Connects to workers that are new on the list, and retires those that left it.
    fn follow(self: &Rc<Self>, workers: &Workers) {
        let mut upstreams = self.upstreams.borrow_mut();
        upstreams.retain(|upstream| {
            let stays = workers.iter().any(|address| *address == upstream.address);
            if !stays {
                upstream.retire();
            }
            stays
        });
        for address in workers.iter() {
            if !upstreams.iter().any(|upstream| upstream.address == *address) {
                let upstream = Upstream::new(address.clone());
                task::spawn_local(keep_connected(Rc::clone(self), Rc::clone(&upstream)));
                upstreams.push(upstream);
            }
        }
    }
}

/// Keeps a worker connected until it is retired.
async fn keep_connected<O: 'static>(relay: Rc<Relay<O>>, upstream: Rc<Upstream>) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
    let mut last_error = None;
    while !upstream.retired.get() {
        match connect(&upstream.address, &relay.settings).await {
            Ok(connected) => {
                last_error = None;
                let began = Instant::now();
                serve(&relay, &upstream, connected).await;
                // A worker that keeps reconnecting must not set the pace, so only a steady connection resets the
                // backoff.
                if began.elapsed() >= STEADY {
                    backoff.reset();
                }
            }
            Err(error) => log_once(&relay, &upstream, &mut last_error, error),
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = upstream.retire.notified() => {}
        }
    }
}

/// Logs why a worker cannot be reached, but not the same reason twice in a row.
fn log_once<O>(relay: &Relay<O>, upstream: &Upstream, last: &mut Option<ConnectError>, error: ConnectError) {
    if error.is_unproved() {
        relay.observer.unproved();
    }
    if last.as_ref() != Some(&error) {
        tracing::warn!(worker = %upstream.address, %error, "cannot reach the worker; trying again");
        *last = Some(error);
    }
}

/// Serves one connection until it ends.
async fn serve<O: 'static>(relay: &Rc<Relay<O>>, upstream: &Rc<Upstream>, connected: WorkerConnection) {
    let WorkerConnection { stream, reader, hello } = connected;
    let (id, backend) = (telemetry::name(&hello.id), telemetry::name(&hello.backend));
    tracing::info!(worker = %upstream.address, %id, %backend, "worker connected");
    upstream.connected(&hello, relay.settings.call_bytes_assumed);
    relay.observer.worker_connection(true);
    relay.dispatch_waiting();
    let (read, write) = tokio::io::split(stream);
    let why = tokio::select! {
        why = read_loop(relay, upstream, read, reader) => why,
        why = write_loop(upstream, write) => why,
        () = health_loop(relay, upstream) => "retired".to_owned(),
    };
    upstream.state.set(LinkState::Disconnected);
    relay.observer.worker_connection(false);
    tracing::info!(worker = %upstream.address, why, "worker disconnected");
    upstream_lost(relay, upstream);
}

async fn read_loop<O: 'static>(
    relay: &Rc<Relay<O>>,
    upstream: &Rc<Upstream>,
    mut read: ReadHalf<Stream>,
    mut reader: FrameReader,
) -> String {
    loop {
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => receive(relay, upstream, frame),
                Ok(None) => break,
                Err(CodecError::Oversized(oversized)) => receive_oversized(relay, upstream, oversized),
                Err(error) => return format!("the worker sent an invalid frame: {error}"),
            }
        }
        relay.dispatch_waiting();
        relay.handler.batch_complete();
        match reader.fill(&mut read).await {
            Ok(0) => return "closed by the worker".to_owned(),
            Ok(_) => {
                upstream.heard.set(Instant::now());
                if upstream.silent.replace(false) {
                    tracing::info!(worker = %upstream.address, "the worker answers again");
                }
            }
            Err(error) => return error.to_string(),
        }
    }
}

/// Writes everything that was queued since the last write at once, without a timer.
async fn write_loop(upstream: &Rc<Upstream>, mut write: WriteHalf<Stream>) -> String {
    loop {
        upstream.wake.notified().await;
        loop {
            let mut batch = upstream.take_out();
            if batch.is_empty() {
                break;
            }
            if let Err(error) = write.write_all(&batch).await {
                return error.to_string();
            }
            batch.clear();
            let mut out = upstream.out.borrow_mut();
            if out.is_empty() && out.capacity() == 0 && batch.capacity() <= OUT_BYTES_KEPT {
                *out = batch;
            }
        }
        if upstream.is_finished() {
            return "drained".to_owned();
        }
    }
}

/// Pings a silent worker, and excludes it while it does not answer.
async fn health_loop<O: 'static>(relay: &Rc<Relay<O>>, upstream: &Rc<Upstream>) {
    let interval = relay.settings.health;
    loop {
        tokio::time::sleep(interval / 2).await;
        let silence = upstream.heard.get().elapsed();
        if silence > interval && !upstream.silent.replace(true) {
            tracing::warn!(worker = %upstream.address, ?silence, "the worker does not answer: it gets no calls until it does");
        }
        if silence > interval / 4 {
            upstream.send(&Frame::Ping(Ping::default()));
        }
    }
}

/// Handles the loss of a worker's connection. Calls that reached the worker may have run; the others go to another
/// worker.
fn upstream_lost<O: 'static>(relay: &Rc<Relay<O>>, upstream: &Rc<Upstream>) {
    let unsent = upstream.take_unsent();
    let (again, lost) = relay.calls.borrow_mut().of_upstream(upstream, &unsent);
    if !lost.is_empty() {
        upstream.failed("its connection broke under a call");
    }
    for key in lost {
        relay.fail(key, FailureKind::WorkerLost, WORKER_LOST);
    }
    for key in again {
        relay.dispatch(key);
    }
    lose_open(relay, upstream);
    relay.handler.batch_complete();
}

/// Handles a frame from a worker that was too large and was skipped.
fn receive_oversized<O: 'static>(relay: &Rc<Relay<O>>, upstream: &Rc<Upstream>, frame: OversizedFrame) {
    tracing::error!(worker = %upstream.address, bytes = frame.bytes, limit = relay.settings.frame_bytes_max,
            "a worker's frame is too large and was dropped: lower its DIFFYNE_WORKER_MAX_ANSWER");
    let Some(CallRef::Reply(id)) = frame.call else { return };
    let taken = relay.calls.borrow_mut().take_sent(id, upstream, Instant::now());
    if let Some((origin, _)) = taken {
        relay.handler.complete(origin, &RelayResult::Failed(FailureKind::AnswerTooLarge, ANSWER_TOO_LARGE));
    }
}

/// Handles one frame from a worker.
fn receive<O: 'static>(relay: &Rc<Relay<O>>, upstream: &Rc<Upstream>, frame: Frame<'_>) {
    match frame {
        Frame::Reply(reply) => receive_reply(relay, upstream, reply),
        Frame::Push(push) => receive_push(relay, upstream, &push),
        Frame::Part(part) => receive_part(relay, upstream, &part),
        Frame::Busy(CallId { id }) => receive_busy(relay, upstream, id),
        Frame::Pong(pong) => {
            upstream.set_load(pong.load, pong.queue);
            upstream.set_faulty(pong.faulty);
            upstream.set_outdated(pong.outdated);
            upstream.set_release(pong.release.as_deref());
            upstream.set_processes(pong.processes);
            if pong.draining {
                upstream.drain();
            }
        }
        Frame::Ping(_) => upstream.send(&Frame::Pong(rpc::Pong::default())),
        Frame::Refuse(refuse) => {
            tracing::error!(worker = %upstream.address, reason = %telemetry::error(&refuse.reason), "the worker refused this gateway");
        }
        Frame::Hello(_)
        | Frame::Challenge(_)
        | Frame::Proof(_)
        | Frame::Call(_)
        | Frame::Cancel(_)
        | Frame::PartsSent(_)
        | Frame::Unknown(_) => {}
    }
}

/// Handles a worker's answer to a call.
fn receive_reply<O: 'static>(relay: &Rc<Relay<O>>, upstream: &Rc<Upstream>, reply: Reply<'_>) {
    upstream.set_load(reply.load, reply.queue);
    upstream.set_faulty(reply.faulty);
    upstream.set_outdated(reply.outdated);
    let now = Instant::now();
    let component = relay.calls.borrow().component(reply.id).unwrap_or_default();
    let has_parts = relay.calls.borrow().has_parts(reply.id);
    let taken = relay.calls.borrow_mut().take_sent(reply.id, upstream, now);
    let Some((origin, took)) = taken else {
        relay.observer.stray_reply();
        return;
    };
    relay.throughput.observe_answer();
    // How long an answer is says nothing of the worker.
    if !has_parts {
        upstream.latency.observe(took, now);
        upstream.slowness.observe(relay.class_latencies.observe(component, took));
    }
    if matches!(reply.data, [b'{', .., b'}']) {
        upstream.succeeded();
    } else {
        upstream.failed("its answer is not a JSON object");
    }
    let (call, is_open) = (reply.id, reply.open);
    if is_open {
        upstream.call_opened();
        relay.open.borrow_mut().insert(call, Rc::clone(upstream));
    }
    relay.handler.complete(origin, &RelayResult::Reply(reply, took));
    if is_open && !relay.handler.takes_pushes(call) {
        relay.cancel_open(call);
    }
}

/// Handles a part of the answer to a call that still runs.
fn receive_part<O: 'static>(relay: &Rc<Relay<O>>, upstream: &Rc<Upstream>, part: &Part<'_>) {
    let mut calls = relay.calls.borrow_mut();
    if let Some(origin) = calls.take_part(part.id, upstream, Instant::now()) {
        relay.handler.part(part.id, origin, part.data);
    }
}

/// Handles what follows the answer of a call.
fn receive_push<O: 'static>(relay: &Rc<Relay<O>>, upstream: &Rc<Upstream>, push: &Push<'_>) {
    let is_open = relay.open.borrow().get(&push.id).is_some_and(|other| Rc::ptr_eq(other, upstream));
    if !is_open {
        return;
    }
    if !push.data.is_empty() || !push.last {
        relay.handler.pushed(push.id, push.data);
    }
    if push.last {
        relay.open.borrow_mut().remove(&push.id);
        upstream.call_ended();
        relay.handler.pushes_ended(push.id, false);
    }
}

/// Ends what follows the answers of a worker that is lost.
fn lose_open<O: 'static>(relay: &Rc<Relay<O>>, upstream: &Rc<Upstream>) {
    let lost: Vec<u64> = {
        let open = relay.open.borrow();
        open.iter().filter(|(_, other)| Rc::ptr_eq(other, upstream)).map(|(call, _)| *call).collect()
    };
    for call in lost {
        relay.open.borrow_mut().remove(&call);
        upstream.call_ended();
        relay.handler.pushes_ended(call, true);
    }
}

/// Handles a call that a worker hands back.
fn receive_busy<O: 'static>(relay: &Rc<Relay<O>>, upstream: &Rc<Upstream>, id: u64) {
    upstream.set_busy();
    upstream.breaker.handed_back();
    relay.observer.busy();
    let handed_back = relay.calls.borrow_mut().refused(id, upstream);
    if handed_back && relay.calls.borrow().is_cancelled(id) {
        relay.calls.borrow_mut().remove(id);
        relay.observer.cancelled();
    } else if handed_back {
        relay.dispatch(id);
    }
}
