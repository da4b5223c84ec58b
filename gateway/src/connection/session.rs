//! The reading side of a connection: messages in, answers or calls out.

use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use diffyne_shared::envelope::{self, DataHead, FailureKind, TextField};
use diffyne_shared::rpc::{CallKind, Transport};

use super::account::{Held, SUBSCRIBE_COST};
use super::lanes::{Part, Pending, Turn};
use super::{Connection, Phase, subscription};
use crate::reactor::Reactor;
use crate::relay::Request;
use crate::socket::{Close, Decoder, Event, IoReader, frame};

/// How often a connection whose peer has stopped sending is looked at.
const LINGER_STEP: Duration = Duration::from_millis(20);
/// Bytes of one connection that are handled before others get their turn.
const TURN_BYTES: usize = 128 * 1024;
/// How often a connection that is not read from is looked at.
const PAUSE_STEP: Duration = Duration::from_millis(100);
/// What a call takes beside its message, in bytes.
const CALL_BYTES: usize = 512;

/// Serves a connection until it is over.
pub async fn run(reactor: Rc<Reactor>, connection: Rc<Connection>, mut io: IoReader, early: Bytes) {
    let mut decoder = Decoder::new(reactor.limits());
    reactor.hub.push(&connection, frame::text(&envelope::connected(&connection.caller.id)));
    let mut open = true;
    if !early.is_empty() {
        let mut copy = early.to_vec();
        open = receive(&reactor, &connection, &mut decoder, &mut copy, Instant::now());
    }
    // Even empty it would keep hyper's read buffer alive, for as long as the connection lives.
    drop(early);
    reactor.hub.flush();
    if reactor.is_draining() {
        connection.drain();
        reactor.hub.close_if_drained(&connection);
    }
    let mut turn = 0;
    while open {
        open = read(&reactor, &connection, &mut io, &mut decoder, &mut turn).await;
    }
    end(&reactor, &connection).await;
}

/// Reads once into the thread's buffer, and handles what came; `false` at the end. `turn` counts bytes since others had
/// theirs.
async fn read(
    reactor: &Rc<Reactor>,
    connection: &Rc<Connection>,
    io: &mut IoReader,
    decoder: &mut Decoder,
    turn: &mut usize,
) -> bool {
    // Nothing else runs on this thread between the read and the handling: the buffer is ours until the next await.
    match std::future::poll_fn(|cx| io.poll_read(cx, &mut reactor.scratch.borrow_mut())).await {
        Ok(0) => false,
        Ok(length) => {
            let arrived = Instant::now();
            let open = receive(reactor, connection, decoder, &mut reactor.scratch.borrow_mut()[..length], arrived);
            reactor.hub.flush();
            if open {
                let wait = connection.account.charge(&reactor.rates, length as u64, arrived);
                *turn += length;
                if !wait.is_zero() || connection.holds_too_much() {
                    // Boxed: a connection that is not slowed down needs no room for it.
                    Box::pin(slow_down(reactor, connection, wait)).await;
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

/// Does not read from a client that has caused more work than it may, or holds more than it may: its kernel, and then
/// its program, have to wait.
async fn slow_down(reactor: &Reactor, connection: &Connection, wait: Duration) {
    if !wait.is_zero() {
        pause(reactor, connection, wait).await;
    }
    if connection.holds_too_much() {
        wait_for_room(reactor, connection).await;
    }
}

/// Waits until the work that a client has caused is paid.
async fn pause(reactor: &Reactor, connection: &Connection, wait: Duration) {
    reactor.metrics.limited.with_label_values(&["bytes"]).inc();
    let until = tokio::time::Instant::now() + wait;
    while tokio::time::Instant::now() < until && connection.takes_messages() {
        tokio::time::sleep_until(until.min(tokio::time::Instant::now() + PAUSE_STEP)).await;
    }
}

/// Waits while the calls of a client leave no room for the rest of its message.
async fn wait_for_room(reactor: &Reactor, connection: &Connection) {
    reactor.metrics.limited.with_label_values(&["held"]).inc();
    while connection.holds_too_much() && connection.takes_messages() && !connection.lanes.borrow().is_empty() {
        tokio::time::sleep(LINGER_STEP).await;
    }
}

/// Handles the bytes of one read; `false` when nothing more is to be read.
fn receive(
    reactor: &Rc<Reactor>,
    connection: &Rc<Connection>,
    decoder: &mut Decoder,
    bytes: &mut [u8],
    arrived: Instant,
) -> bool {
    let now = reactor.hub.now();
    connection.hear(now);
    reactor.metrics.bytes_in.inc_by(bytes.len() as u64);
    let mut used = 0;
    while connection.takes_messages() {
        match decoder.next(bytes, &mut used) {
            Ok(Some(Event::Text(text))) => {
                reactor.metrics.messages_in.inc();
                connection.finished_message();
                message(reactor, connection, &text, arrived);
            }
            Ok(Some(Event::Ping(payload))) => reactor.hub.push(connection, frame::pong(&payload)),
            Ok(Some(Event::Pong | Event::Binary(_))) => {}
            Ok(Some(Event::Close(code))) => {
                cancel(reactor, connection);
                connection.close_back(code, &reactor.metrics, now);
            }
            Ok(None) => break,
            Err(close) => {
                tracing::debug!(client = connection.caller.id, code = close.code, %close.reason, "closed");
                cancel(reactor, connection);
                connection.close(&close, &reactor.metrics, now);
            }
        }
    }
    if connection.takes_messages()
        && let Some(excess) = excess(reactor, connection, decoder, arrived)
    {
        cancel(reactor, connection);
        close(reactor, connection, &excess);
    }
    // Closing: what still comes is read and dropped, so that the close frame is not lost to a reset.
    connection.takes_messages() || connection.phase() == Phase::Closing
}

/// Counts the frames of a read, and what is left of it unfinished; why the connection ends, if it does.
fn excess(reactor: &Reactor, connection: &Connection, decoder: &mut Decoder, arrived: Instant) -> Option<Close> {
    let limited = |what: &str, close: Close| {
        reactor.metrics.limited.with_label_values(&[what]).inc();
        Some(close)
    };
    if !connection.account.may_send_frames(&reactor.rates, decoder.take_frames(), arrived) {
        return limited("frames", Close::TOO_MANY);
    }
    connection.set_unfinished(decoder.is_mid_message(), decoder.held(), reactor.hub.now());
    if connection.holds_too_much() && connection.account.is_held_by_itself() {
        return limited("held", Close::HOLDS_TOO_MUCH);
    }
    None
}

/// The stream has ended. A peer that only stopped sending still gets its answers.
async fn end(reactor: &Rc<Reactor>, connection: &Rc<Connection>) {
    if matches!(connection.phase(), Phase::Open | Phase::Draining) && connection.owes_answers() {
        connection.half_close();
        let limit = Instant::now() + reactor.settings.call_timeout;
        while connection.owes_answers() && Instant::now() < limit {
            tokio::time::sleep(LINGER_STEP).await;
        }
    } else {
        cancel(reactor, connection);
    }
    reactor.hub.remove(connection);
}

/// Nobody waits for the answers any more.
fn cancel(reactor: &Rc<Reactor>, connection: &Rc<Connection>) {
    let mut lanes = connection.lanes.borrow_mut();
    if !lanes.is_empty() || connection.questions.get() > 0 {
        let waiting = lanes.drop_waiting();
        drop(lanes);
        let unsent = reactor.relay.cancel(|origin| origin.is_of(connection));
        reactor.metrics.in_flight(-((waiting + unsent) as i64));
    }
}

fn message(reactor: &Rc<Reactor>, connection: &Rc<Connection>, text: &str, now: Instant) {
    if !connection.account.may_send_message(&reactor.rates, now) {
        reactor.metrics.limited.with_label_values(&["messages"]).inc();
        cancel(reactor, connection);
        return close(reactor, connection, &Close::TOO_MANY);
    }
    connection.acted.set(reactor.hub.now());
    if let Some((message, head)) = envelope::parse_canonical(text) {
        let kind = if message.event == "diffyne.call" { CallKind::Call } else { CallKind::Update };
        return call(reactor, connection, kind, message.data, head, now);
    }
    let message = match envelope::parse(text) {
        Ok(message) => message,
        Err(fault) => return answer(reactor, connection, &envelope::error(&fault)),
    };
    match &*message.event {
        "diffyne.call" => call(reactor, connection, CallKind::Call, message.data, DataHead::read(message.data), now),
        "diffyne.update" => {
            call(reactor, connection, CallKind::Update, message.data, DataHead::read(message.data), now);
        }
        "diffyne.mount" => call(reactor, connection, CallKind::Mount, message.data, DataHead::read(message.data), now),
        "diffyne.ping" => {
            let position = reactor.position();
            let position = position.as_ref().map(|position| (position.epoch.as_str(), position.offset));
            answer(reactor, connection, &envelope::pong(position));
        }
        "diffyne.subscribe" | "diffyne.resume" | "diffyne.unsubscribe" => {
            // The next read waits for it.
            let _ = connection.account.charge(&reactor.rates, message.data.len() as u64 * SUBSCRIBE_COST, now);
            match &*message.event {
                "diffyne.subscribe" => subscription::subscribe(reactor, connection, message.data),
                "diffyne.resume" => subscription::resume(reactor, connection, message.data),
                _ => subscription::unsubscribe(reactor, connection, message.data),
            }
        }
        other => answer(
            reactor,
            connection,
            &envelope::error(&format!("Event '{}' does not exist", envelope::shortened(other))),
        ),
    }
}

pub(super) fn answer(reactor: &Reactor, connection: &Rc<Connection>, text: &str) {
    reactor.hub.push(connection, frame::text(text));
}

fn call(
    reactor: &Rc<Reactor>,
    connection: &Rc<Connection>,
    kind: CallKind,
    data: &str,
    head: DataHead<'_>,
    started: Instant,
) {
    let member = match kind {
        CallKind::Call => ("method", &head.method),
        CallKind::Update => ("property", &head.property),
        // Nothing more is needed.
        CallKind::Mount | CallKind::Grant => ("componentId", &head.component_id),
    };
    let names = [("componentId", &head.component_id), ("componentClass", &head.component_class), member];
    let request_id = head.request_id();
    if let Err(text) = head.check_lengths() {
        reactor.metrics.call(None, FailureKind::Invalid.label());
        return answer(reactor, connection, &envelope::failure(FailureKind::Invalid, &text, request_id));
    }
    if names.iter().any(|(_, field)| **field == TextField::Missing) {
        reactor.metrics.call(None, FailureKind::Invalid.label());
        let text = envelope::failure(FailureKind::Invalid, envelope::MISSING_PARAMETERS, request_id);
        return answer(reactor, connection, &text);
    }
    let (Some(component), Some(_), Some(_)) = (head.component_id.json(), head.component_class.json(), member.1.json())
    else {
        reactor.metrics.call(None, FailureKind::Invalid.label());
        let wrong = names.iter().find(|(_, field)| **field == TextField::WrongType).map_or("data", |(name, _)| *name);
        let text = match request_id {
            Some(_) => envelope::failure(FailureKind::Invalid, &format!("{wrong} must be a string"), request_id),
            None => envelope::error(envelope::INTERNAL_ERROR),
        };
        return answer(reactor, connection, &text);
    };
    if connection.lanes.borrow().len() >= reactor.settings.calls_per_connection_max {
        reactor.metrics.call(None, FailureKind::Overloaded.label());
        let words = "Too many calls of this connection are waiting. The call was not run.";
        return answer(reactor, connection, &envelope::failure(FailureKind::Overloaded, words, request_id));
    }
    if !connection.has_room_for(data.len() + CALL_BYTES) {
        reactor.metrics.call(None, FailureKind::Overloaded.label());
        reactor.metrics.limited.with_label_values(&["held"]).inc();
        let words = "Too much is held for this connection already. The call was not run.";
        return answer(reactor, connection, &envelope::failure(FailureKind::Overloaded, words, request_id));
    }
    if !connection.account.may_call(&reactor.rates, started) {
        reactor.metrics.call(None, FailureKind::RateLimited.label());
        reactor.metrics.limited.with_label_values(&["calls"]).inc();
        let words = "Too many calls in a short time. The call was not run.";
        return answer(reactor, connection, &envelope::failure(FailureKind::RateLimited, words, request_id));
    }
    let whole: Rc<str> = data.into();
    let pending = Pending {
        component: Part::of(data, component),
        request_id: request_id.map(|id| Part::of(data, id)),
        data: Rc::clone(&whole),
        kind,
        cause_depth: head.cause.as_ref().map(|cause| cause.depth),
        started,
    };
    let request = Request {
        caller: Rc::clone(&connection.caller),
        transport: Transport::Ws,
        kind,
        cause: head.cause,
        payload: whole,
        arrived: started,
        deadline: started + reactor.settings.call_timeout,
    };
    reactor.metrics.in_flight(1);
    connection.account.hold(Held::Calls, whole_bytes(&request));
    let turn = connection.lanes.borrow_mut().enter(request, pending);
    if let Turn::Now(request, pending) = turn {
        reactor.submit(connection, request, pending);
    }
}

/// What is held for a call that is not answered, in bytes.
fn whole_bytes(request: &Request) -> usize {
    request.payload.len() + CALL_BYTES
}

/// A call is answered: what was held for it is not any more.
pub(super) fn release(connection: &Connection, pending: &Pending) {
    connection.account.release(Held::Calls, pending.data.len() + CALL_BYTES);
}

/// Tells a connection that it is closed for this reason.
pub fn close(reactor: &Reactor, connection: &Rc<Connection>, reason: &Close) {
    connection.close(reason, &reactor.metrics, reactor.hub.now());
}
