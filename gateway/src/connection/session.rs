//! The reading side of a connection: receives messages, and answers them or turns them into calls.

use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use diffyne_shared::envelope::{self, DataHead, Message};
use diffyne_shared::rpc::CallKind;
use serde_json::{Map, Value};

use super::account::SUBSCRIBE_COST;
use super::transport::ClientTransport;
use super::{Connection, Phase, component_call, room_messages, subscription_messages};
use crate::protocol::{self, Release};
use crate::shard::readers::Reader;
use crate::shard::state::Shard;
use crate::socket::{Close, Decoder, Event, frame};

/// How often a connection is checked whose client has stopped sending.
const LINGER_STEP: Duration = Duration::from_millis(20);
/// Bytes of one connection that are handled before other connections get their turn.
const TURN_BYTES: usize = 128 * 1024;
/// The most bytes of one read from a client that compresses. A byte becomes a thousand at most, so this bounds what is
/// inflated before other connections get their turn.
const COMPRESSED_READ_BYTES: usize = 4 * 1024;
/// How often a connection is checked that is not being read.
const PAUSE_STEP: Duration = Duration::from_millis(100);

/// Serves a connection until it ends. `early` is what the client sent behind its handshake.
pub fn start(shard: Rc<Shard>, connection: Rc<Connection>, early: &[u8]) {
    greet(&shard, &connection);
    let mut unfinished = None;
    let mut progress = Progress::Open(Duration::ZERO);
    if !early.is_empty() {
        (progress, _) = handle(&shard, &connection, &mut unfinished, &mut early.to_vec());
    }
    begin(&shard, Reader { connection, unfinished }, progress);
}

/// Serves a client that only hears, until it ends. What it wants to hear is what a subscribe or resume message has as its
/// `data`; nothing if that is empty.
pub fn start_listening(shard: Rc<Shard>, connection: Rc<Connection>, subscription: &Map<String, Value>) {
    connection.expect_silence(2 * shard.settings.ping_interval);
    greet(&shard, &connection);
    if !subscription.is_empty() {
        let data = Value::from(subscription.clone()).to_string();
        let _ = connection.account.charge(&shard.rates, data.len() as u64 * SUBSCRIBE_COST, Instant::now());
        let has_rooms = subscription.contains_key("rooms");
        if subscription.contains_key("epoch") {
            subscription_messages::resume(&shard, &connection, &data);
        } else if subscription.contains_key("events") || !has_rooms {
            subscription_messages::subscribe(&shard, &connection, &data);
        }
        // A poll is over too soon to be anywhere.
        if has_rooms && matches!(connection.transport, ClientTransport::Events) {
            room_messages::enter(&shard, &connection, &data);
        }
    }
    begin(&shard, Reader { connection, unfinished: None }, Progress::Open(Duration::ZERO));
}

/// Tells a client who it is, and which release is served.
fn greet(shard: &Shard, connection: &Rc<Connection>) {
    let components = shard.relay.release();
    let release = Release { scripts: Some(shard.pages.release()), components: components.as_deref() };
    let connected = protocol::connected(connection.caller.id(), shard.settings.message_bytes_max, release);
    shard.hub.send_quietly(connection, &connected, None);
}

/// Reads from a new connection, whose first messages leave now.
fn begin(shard: &Rc<Shard>, reader: Reader, progress: Progress) {
    shard.hub.flush();
    if shard.is_draining() {
        reader.connection.drain();
        shard.hub.close_if_drained(&reader.connection);
    }
    go_on(shard, reader, progress);
}

/// What follows after some bytes were received.
enum Progress {
    /// More can be read after this time.
    Open(Duration),
    /// Nothing more is to be read.
    Over,
}

impl Progress {
    /// Whether more can be read at once.
    fn is_free(&self, connection: &Connection) -> bool {
        matches!(self, Self::Open(wait) if wait.is_zero()) && !connection.holds_too_much()
    }
}

/// Reads from a connection as long as there is something, the client may cause more work, and others need not have their
/// turn. Ready when it goes on elsewhere.
pub fn read(shard: &Rc<Shard>, reader: &mut Reader, cx: &mut Context<'_>) -> Poll<()> {
    // Bytes since other connections had their turn.
    let mut turn = 0;
    loop {
        let progress = match ready!(read_once(shard, reader, cx)) {
            Ok((progress, length)) => {
                turn += length;
                progress
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_broken) => {
                reader.connection.abort();
                Progress::Over
            }
        };
        if !progress.is_free(&reader.connection) {
            let reader = Reader { connection: Rc::clone(&reader.connection), unfinished: reader.unfinished.take() };
            go_on(shard, reader, progress);
            return Poll::Ready(());
        }
        if turn >= TURN_BYTES {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
    }
}

/// Reads on, at once or when the client may cause more work, or ends the connection.
fn go_on(shard: &Rc<Shard>, reader: Reader, progress: Progress) {
    if progress.is_free(&reader.connection) {
        return shard.readers.add(reader);
    }
    let shard = Rc::clone(shard);
    tokio::task::spawn_local(async move {
        match progress {
            Progress::Over => end(&shard, &reader.connection).await,
            Progress::Open(wait) => {
                slow_down(&shard, &reader.connection, wait).await;
                shard.readers.add(reader);
            }
        }
    });
}

/// Reads once into the thread's buffer and handles the data. Returns what follows, and the number of bytes, inflated.
fn read_once(
    shard: &Rc<Shard>,
    Reader { connection, unfinished }: &mut Reader,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(Progress, usize)>> {
    // Nothing else runs on this thread between the read and the handling, so the buffer is ours until the end.
    let mut scratch = shard.scratch.borrow_mut();
    let most = if connection.transport.deflate().is_some() { COMPRESSED_READ_BYTES } else { scratch.len() };
    let length = ready!(connection.poll_read(cx, &mut scratch[..most]))?;
    Poll::Ready(Ok(match length {
        0 => (Progress::Over, 0),
        // Nothing is expected: the client has said with its request what it wants.
        _ if connection.transport.is_one_way() => {
            (Progress::Open(connection.account.charge(&shard.rates, length as u64, Instant::now())), length)
        }
        _ => handle(shard, connection, unfinished, &mut scratch[..length]),
    }))
}

/// Handles received bytes, and writes what they have caused. Only a decoder in the middle of a message is kept. Returns
/// what follows, and the number of bytes, inflated.
fn handle(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    unfinished: &mut Option<Box<Decoder>>,
    bytes: &mut [u8],
) -> (Progress, usize) {
    let arrived = Instant::now();
    let (open, inflated) = if let Some(decoder) = unfinished {
        let open = receive(shard, connection, decoder, bytes, arrived);
        let inflated = decoder.take_inflated();
        if decoder.is_unused() {
            *unfinished = None;
        }
        (open, inflated)
    } else {
        let mut decoder = Decoder::new(shard.decoder_limits(connection));
        let open = receive(shard, connection, &mut decoder, bytes, arrived);
        let inflated = decoder.take_inflated();
        if !decoder.is_unused() {
            *unfinished = Some(Box::new(decoder));
        }
        (open, inflated)
    };
    shard.hub.flush();
    if inflated > 0 {
        shard.metrics.inflated.inc_by(inflated as u64);
    }
    let length = bytes.len() + inflated;
    if !open {
        return (Progress::Over, length);
    }
    (Progress::Open(connection.account.charge(&shard.rates, length as u64, arrived)), length)
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
    connection.received.set(connection.received.get() + bytes.len() as u64);
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
                tracing::debug!(client = connection.caller.id(), code = close.code, %close.reason, "closed");
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
    let may_wait = !connection.transport.is_one_way() && connection.owes_answers();
    if matches!(connection.phase(), Phase::Open | Phase::Draining) && may_wait {
        connection.half_close();
        let limit = Instant::now() + shard.settings.call_timeout;
        while connection.owes_answers() && Instant::now() < limit {
            tokio::time::sleep(LINGER_STEP).await;
        }
    } else {
        cancel_calls(shard, connection);
    }
    for call in shard.hub.open_calls.remove_all(connection) {
        shard.relay.cancel_open(call);
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
            shard.hub.send(connection, &protocol::pong(shard.hub.place_of(connection).as_ref()));
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
        "diffyne.presence" => {
            charge();
            room_messages::enter(shard, connection, data);
        }
        "diffyne.leave" => {
            charge();
            room_messages::leave(shard, connection, data);
        }
        "diffyne.whisper" => room_messages::whisper(shard, connection, data, now),
        other => {
            let text = format!("Event '{}' does not exist", envelope::shortened(other));
            shard.hub.send(connection, &protocol::error(&text));
        }
    }
}
