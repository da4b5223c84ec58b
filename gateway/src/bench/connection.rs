//! One client of a bench: it connects, calls when its turn has come, and hears broadcasts.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Bench, CALL_ID, EVENT};
use crate::front_client::{Handshake, shake};

/// The time limit of a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pings that wait for their answer.
const PINGS_MAX: usize = 8;

/// The call of a client that waits for its answer.
#[derive(Default)]
struct Turn {
    /// When the call was due.
    due: Cell<Option<Instant>>,
    answered: Notify,
}

/// Runs a client until the bench ends.
pub(super) async fn run(bench: Rc<Bench>, number: u64) {
    let started = Instant::now();
    let target = &bench.target;
    let handshake = shake(&target.front, target.tls.as_ref(), &target.origin, target.key.as_deref());
    let pipe = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(Handshake::Open(pipe))) => *pipe,
        Ok(Ok(Handshake::Refused(status, _))) => {
            return bench.tally.error(&format!("handshake refused: {}", status.as_u16()));
        }
        Ok(Err(error)) => return bench.tally.error(&error),
        Err(_elapsed) => return bench.tally.error("a handshake was not answered in time"),
    };
    bench.tally.handshake(started.elapsed());
    bench.tally.connected.set(bench.tally.connected.get() + 1);
    let (read, write) = tokio::io::split(pipe);
    let mut reader = WebSocket::after_handshake(tokio::io::join(read, tokio::io::sink()), Role::Client);
    reader.set_auto_pong(false);
    reader.set_auto_close(false);
    let writer = WebSocket::after_handshake(tokio::io::join(tokio::io::empty(), write), Role::Client);
    let (pings, pinged) = mpsc::channel(PINGS_MAX);
    let turn = Turn::default();
    let ended = tokio::select! {
        error = hear(&bench, reader, &turn, pings) => Some(error),
        error = speak(&bench, writer, &turn, pinged, number) => Some(error),
        () = bench.stop.cancelled() => None,
    };
    bench.tally.connected.set(bench.tally.connected.get() - 1);
    if turn.due.get().is_some() {
        bench.tally.under_way.set(bench.tally.under_way.get() - 1);
    }
    if let Some(error) = ended {
        bench.tally.error(&error);
    }
}

/// Reads until the connection ends; why it did.
async fn hear<S: AsyncRead + AsyncWrite + Unpin>(
    bench: &Bench,
    mut reader: WebSocket<S>,
    turn: &Turn,
    pings: mpsc::Sender<Vec<u8>>,
) -> String {
    loop {
        let frame = match reader.read_frame().await {
            Ok(frame) => frame,
            Err(error) => return format!("a connection broke: {error}"),
        };
        match frame.opcode {
            OpCode::Text => take(bench, &frame.payload, turn),
            // More of them than the writer takes need no answer of their own.
            OpCode::Ping => drop(pings.try_send(frame.payload.to_vec())),
            OpCode::Close => {
                let code = frame.payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                return format!("closed by the gateway: {code}");
            }
            _ => {}
        }
    }
}

fn take(bench: &Bench, text: &[u8], turn: &Turn) {
    let is_of = |event: &str| text.starts_with(format!("{{\"event\":\"{event}\"").as_bytes());
    if is_of("diffyne.response") || is_of("diffyne.error") {
        let message: Value = serde_json::from_slice(text).unwrap_or_default();
        // Others answer the subscription.
        if message["data"]["requestId"] != CALL_ID {
            return;
        }
        let Some(due) = turn.due.take() else { return };
        bench.tally.under_way.set(bench.tally.under_way.get() - 1);
        match bench.call.failure(&message["data"]) {
            None => bench.tally.call(due.elapsed()),
            Some(kind) => bench.tally.error(&kind),
        }
        turn.answered.notify_one();
    } else if is_of("diffyne.event") {
        let message: Value = serde_json::from_slice(text).unwrap_or_default();
        for event in message["data"]["events"].as_array().into_iter().flatten() {
            if event["name"] == EVENT
                && let Some(sent) = event["params"][0].as_u64()
            {
                bench.tally.delivery(bench.began.elapsed().saturating_sub(Duration::from_micros(sent)));
            }
        }
    }
}

/// Writes until the connection ends; why it did.
async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
    bench: &Bench,
    mut writer: WebSocket<S>,
    turn: &Turn,
    mut pinged: mpsc::Receiver<Vec<u8>>,
    number: u64,
) -> String {
    let broken = |error| format!("a connection broke: {error}");
    if bench.hears
        && let Err(error) = writer.write_frame(text(&bench.subscription)).await
    {
        return broken(error);
    }
    // Clients call one after the other, so that the rate is even.
    let share = bench.interval.map(|interval| interval.mul_f64(number as f64 / bench.connections.max(1) as f64));
    let mut next = bench.interval.map(|_| Instant::now() + share.unwrap_or_default());
    loop {
        let is_waiting = turn.due.get().is_some();
        let due = next.filter(|_| !is_waiting);
        tokio::select! {
            Some(ping) = pinged.recv() => {
                if let Err(error) = writer.write_frame(Frame::pong(Payload::Owned(ping))).await {
                    return broken(error);
                }
            }
            () = turn.answered.notified(), if is_waiting => {}
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                turn.due.set(due);
                bench.tally.under_way.set(bench.tally.under_way.get() + 1);
                next = next.zip(bench.interval).map(|(next, interval)| next + interval);
                if let Err(error) = writer.write_frame(text(&bench.call.frame)).await {
                    return broken(error);
                }
            }
            else => std::future::pending().await,
        }
    }
}

fn text(text: &str) -> Frame<'_> {
    // The client masks what it sends in place.
    Frame::text(Payload::Owned(text.as_bytes().to_vec()))
}
