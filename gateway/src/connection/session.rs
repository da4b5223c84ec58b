//! The reading side of a connection: receives messages, and answers them or turns them into calls.

use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use diffyne_shared::envelope::{self, DataHead, Message};
use diffyne_shared::rpc::CallKind;

use super::account::SUBSCRIBE_COST;
use super::{Connection, Phase, component_call, subscription_messages};
use crate::protocol;
use crate::shard::state::Shard;
use crate::socket::{Close, Decoder, Event, IoReader, frame};

/// How often a connection is checked whose client has stopped sending.
const LINGER_STEP: Duration = Duration::from_millis(20);
/// Bytes of one connection that are handled before other connections get their turn.
const TURN_BYTES: usize = 128 * 1024;
/// How often a connection is checked that is not being read.
const PAUSE_STEP: Duration = Duration::from_millis(100);

/// Serves a connection until it ends.
pub async fn run(shard: Rc<Shard>, connection: Rc<Connection>, mut io: IoReader, early: Bytes) {
    let mut decoder = Decoder::new(shard.decoder_limits());
    let connected = protocol::connected(&connection.caller.id, shard.settings.message_bytes_max);
    shard.hub.push(&connection, frame::text(&connected));
    let mut open = true;
    if !early.is_empty() {
        let mut copy = early.to_vec();
        open = receive(&shard, &connection, &mut decoder, &mut copy, Instant::now());
    }
    // Even when empty, it would keep hyper's read buffer alive for the connection's lifetime.
    drop(early);
    shard.hub.flush();
    if shard.is_draining() {
        connection.drain();
        shard.hub.close_if_drained(&connection);
    }
    let mut turn = 0;
    while open {
        open = read(&shard, &connection, &mut io, &mut decoder, &mut turn).await;
    }
    end(&shard, &connection).await;
}

/// Reads once into the thread's buffer and handles the data. Returns `false` at the end of the stream. `turn` counts
/// the bytes since other connections had their turn.
async fn read(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    io: &mut IoReader,
    decoder: &mut Decoder,
    turn: &mut usize,
) -> bool {
    // Nothing else runs on this thread between the read and the handling, so the buffer is ours until the next await.
    match std::future::poll_fn(|cx| io.poll_read(cx, &mut shard.scratch.borrow_mut())).await {
        Ok(0) => false,
        Ok(length) => {
            let arrived = Instant::now();
            let open = receive(shard, connection, decoder, &mut shard.scratch.borrow_mut()[..length], arrived);
            shard.hub.flush();
            if open {
                let wait = connection.account.charge(&shard.rates, length as u64, arrived);
                *turn += length;
                if !wait.is_zero() || connection.holds_too_much() {
                    // Boxed, so that a connection that is not slowed down reserves no memory for it.
                    Box::pin(slow_down(shard, connection, wait)).await;
                } else if *turn >= TURN_BYTES {
                    *turn = 0;
                    tokio::task::yield_now().await;
                }
            }
            open
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => true,
        Err(_broken) => {
            connection.abort();
            false
        }
    }
}

/// Stops reading from a client that has caused too much work or holds too much memory. Back-pressure then reaches its
/// kernel and its program.
async fn slow_down(shard: &Shard, connection: &Connection, wait: Duration) {
    if !wait.is_zero() {
        pause(shard, connection, wait).await;
    }
    if connection.holds_too_much() {
        wait_for_room(shard, connection).await;
    }
}

/// Waits until the client has paid for the work that it caused.
async fn pause(shard: &Shard, connection: &Connection, wait: Duration) {
    shard.metrics.limited.with_label_values(&["bytes"]).inc();
    let until = tokio::time::Instant::now() + wait;
    while tokio::time::Instant::now() < until && connection.takes_messages() {
        tokio::time::sleep_until(until.min(tokio::time::Instant::now() + PAUSE_STEP)).await;
    }
}

/// Waits while the client's calls leave no memory for the rest of its message.
async fn wait_for_room(shard: &Shard, connection: &Connection) {
    shard.metrics.limited.with_label_values(&["held"]).inc();
    while connection.holds_too_much() && connection.takes_messages() && !connection.component_queues.borrow().is_empty()
    {
        tokio::time::sleep(LINGER_STEP).await;
    }
}

/// Handles the bytes of one read. Returns `false` when nothing more is to be read.
fn receive(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    decoder: &mut Decoder,
    bytes: &mut [u8],
    arrived: Instant,
) -> bool {
    let now = shard.hub.now();
    connection.hear(now);
    shard.metrics.bytes_in.inc_by(bytes.len() as u64);
    let mut used = 0;
    while connection.takes_messages() {
        match decoder.next(bytes, &mut used) {
            Ok(Some(Event::Text(text))) => {
                shard.metrics.messages_in.inc();
                connection.finished_message();
                handle_message(shard, connection, &text, arrived);
            }
            Ok(Some(Event::Ping(payload))) => shard.hub.push(connection, frame::pong(&payload)),
            Ok(Some(Event::Pong | Event::Binary(_))) => {}
            Ok(Some(Event::Close(code))) => {
                cancel_calls(shard, connection);
                connection.close_back(code, &shard.metrics, now);
            }
            Ok(None) => break,
            Err(close) => {
                tracing::debug!(client = connection.caller.id, code = close.code, %close.reason, "closed");
                cancel_calls(shard, connection);
                connection.close(&close, &shard.metrics, now);
            }
        }
    }
    if connection.takes_messages()
        && let Some(excess) = excess(shard, connection, decoder, arrived)
    {
        cancel_calls(shard, connection);
        shard.hub.close(connection, &excess);
    }
    // While closing, further input is read and dropped, so that a reset does not destroy the close frame.
    connection.takes_messages() || connection.phase() == Phase::Closing
}

/// Counts the frames of a read and its unfinished rest. Returns why the connection ends, if it does.
fn excess(shard: &Shard, connection: &Connection, decoder: &mut Decoder, arrived: Instant) -> Option<Close> {
    let limited = |what: &str, close: Close| {
        shard.metrics.limited.with_label_values(&[what]).inc();
        Some(close)
    };
    if !connection.account.may_send_frames(&shard.rates, decoder.take_frames(), arrived) {
        return limited("frames", Close::TOO_MANY);
    }
    connection.set_unfinished(decoder.is_mid_message(), decoder.held(), shard.hub.now());
    if connection.holds_too_much() && connection.account.is_held_by_itself() {
        return limited("held", Close::HOLDS_TOO_MUCH);
    }
    None
}

/// Handles the end of the stream. A client that only stopped sending still gets its responses.
async fn end(shard: &Rc<Shard>, connection: &Rc<Connection>) {
    if matches!(connection.phase(), Phase::Open | Phase::Draining) && connection.owes_answers() {
        connection.half_close();
        let limit = Instant::now() + shard.settings.call_timeout;
        while connection.owes_answers() && Instant::now() < limit {
            tokio::time::sleep(LINGER_STEP).await;
        }
    } else {
        cancel_calls(shard, connection);
    }
    shard.hub.remove(connection);
}

/// Cancels the calls of a client that no longer waits for the responses.
fn cancel_calls(shard: &Rc<Shard>, connection: &Rc<Connection>) {
    let mut queues = connection.component_queues.borrow_mut();
    if !queues.is_empty() || connection.requests.is_waiting() {
        let waiting = queues.drop_waiting();
        drop(queues);
        let unsent = shard.relay.cancel(|origin| origin.is_of(connection));
        shard.metrics.in_flight(-((waiting + unsent) as i64));
    }
}

fn handle_message(shard: &Rc<Shard>, connection: &Rc<Connection>, text: &str, now: Instant) {
    if !connection.account.may_send_message(&shard.rates, now) {
        shard.metrics.limited.with_label_values(&["messages"]).inc();
        cancel_calls(shard, connection);
        return shard.hub.close(connection, &Close::TOO_MANY);
    }
    connection.acted.set(shard.hub.now());
    if let Some((message, head)) = envelope::parse_canonical(text) {
        let kind = if message.event == "diffyne.call" { CallKind::Call } else { CallKind::Update };
        return component_call::receive(shard, connection, kind, message.data, head, now);
    }
    match envelope::parse(text) {
        Ok(message) => handle_event(shard, connection, &message, now),
        Err(fault) => shard.hub.send(connection, &protocol::error(&fault)),
    }
}

fn handle_event(shard: &Rc<Shard>, connection: &Rc<Connection>, message: &Message<'_>, now: Instant) {
    let data = message.data;
    let call = |kind| component_call::receive(shard, connection, kind, data, DataHead::read(data), now);
    let charge = || {
        // The next read waits until this is paid.
        let _ = connection.account.charge(&shard.rates, data.len() as u64 * SUBSCRIBE_COST, now);
    };
    match &*message.event {
        "diffyne.call" => call(CallKind::Call),
        "diffyne.update" => call(CallKind::Update),
        "diffyne.mount" => call(CallKind::Mount),
        "diffyne.ping" => {
            shard.hub.send(connection, &protocol::pong(shard.position().as_ref()));
        }
        "diffyne.subscribe" => {
            charge();
            subscription_messages::subscribe(shard, connection, data);
        }
        "diffyne.resume" => {
            charge();
            subscription_messages::resume(shard, connection, data);
        }
        "diffyne.unsubscribe" => {
            charge();
            subscription_messages::unsubscribe(shard, connection, data);
        }
        other => {
            let text = format!("Event '{}' does not exist", envelope::shortened(other));
            shard.hub.send(connection, &protocol::error(&text));
        }
    }
}
