//! The reading side of a connection: messages in, answers or calls out.

use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use diffyne_shared::envelope::{self, DataHead, Failure, TextField};
use diffyne_shared::rpc::{CallKind, Transport};
use serde_json::value::RawValue;

use super::lanes::{Part, Pending, Turn};
use super::{Connection, Phase, subscription};
use crate::reactor::Reactor;
use crate::relay::Request;
use crate::socket::{Close, Decoder, Event, IoReader, frame};

/// How often a connection whose peer has stopped sending is looked at.
const LINGER_STEP: Duration = Duration::from_millis(20);

/// Serves a connection until it is over.
pub async fn run(reactor: Rc<Reactor>, connection: Rc<Connection>, mut io: IoReader, early: Bytes) {
    let mut decoder = Decoder::new(reactor.limits());
    reactor.hub.push(&connection, frame::text(&envelope::connected(&connection.caller.id)));
    let mut open = true;
    if !early.is_empty() {
        let mut copy = early.to_vec();
        open = receive(&reactor, &connection, &mut decoder, &mut copy);
    }
    // Even empty it would keep hyper's read buffer alive, for as long as the connection lives.
    drop(early);
    reactor.hub.flush();
    if reactor.is_draining() {
        connection.drain();
        reactor.hub.close_if_drained(&connection);
    }
    while open {
        open = read(&reactor, &connection, &mut io, &mut decoder).await;
    }
    end(&reactor, &connection).await;
}

/// Reads once into the thread's buffer, and handles what came; `false` at the end.
async fn read(reactor: &Rc<Reactor>, connection: &Rc<Connection>, io: &mut IoReader, decoder: &mut Decoder) -> bool {
    // Nothing else runs on this thread between the read and the handling: the buffer is ours until the next await.
    match std::future::poll_fn(|cx| io.poll_read(cx, &mut reactor.scratch.borrow_mut())).await {
        Ok(0) => false,
        Ok(length) => {
            let mut scratch = reactor.scratch.borrow_mut();
            let open = receive(reactor, connection, decoder, &mut scratch[..length]);
            reactor.hub.flush();
            open
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => true,
        Err(_broken) => {
            connection.abort();
            false
        }
    }
}

/// Handles the bytes of one read; `false` when nothing more is to be read.
fn receive(reactor: &Rc<Reactor>, connection: &Rc<Connection>, decoder: &mut Decoder, bytes: &mut [u8]) -> bool {
    let now = reactor.hub.now();
    connection.hear(now);
    reactor.metrics.bytes_in.inc_by(bytes.len() as u64);
    let mut used = 0;
    while connection.takes_messages() {
        match decoder.next(bytes, &mut used) {
            Ok(Some(Event::Text(text))) => {
                reactor.metrics.messages_in.inc();
                message(reactor, connection, &text);
            }
            Ok(Some(Event::Ping(payload))) => reactor.hub.push(connection, frame::pong(&payload)),
            Ok(Some(Event::Pong | Event::Binary(_))) => {}
            Ok(Some(Event::Close(code))) => {
                cancel(reactor, connection);
                connection.close_back(code, &reactor.metrics, now);
            }
            Ok(None) => return true,
            Err(close) => {
                tracing::debug!(client = connection.caller.id, code = close.code, %close.reason, "closed");
                cancel(reactor, connection);
                connection.close(&close, &reactor.metrics, now);
            }
        }
    }
    // Closing: what still comes is read and dropped, so that the close frame is not lost to a reset.
    connection.phase() == Phase::Closing
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

fn message(reactor: &Rc<Reactor>, connection: &Rc<Connection>, text: &str) {
    let now = Instant::now();
    if !connection.messages.take(reactor.settings.message_rate, now) {
        reactor.metrics.limited.with_label_values(&["messages"]).inc();
        cancel(reactor, connection);
        return close(reactor, connection, &Close::TOO_MANY);
    }
    connection.acted.set(reactor.hub.now());
    if let Some((message, head)) = envelope::parse_usual(text) {
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
        "diffyne.subscribe" => subscription::subscribe(reactor, connection, message.data),
        "diffyne.resume" => subscription::resume(reactor, connection, message.data),
        "diffyne.unsubscribe" => subscription::unsubscribe(reactor, connection, message.data),
        other => answer(reactor, connection, &envelope::error(&format!("Event '{other}' does not exist"))),
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
    let request_id = head.request_id.map(RawValue::get);
    if names.iter().any(|(_, field)| **field == TextField::Missing) {
        reactor.metrics.call(None, Failure::Invalid.kind());
        let text = envelope::failure(Failure::Invalid, envelope::MISSING_PARAMETERS, request_id);
        return answer(reactor, connection, &text);
    }
    let (Some(component), Some(_), Some(_)) = (head.component_id.json(), head.component_class.json(), member.1.json())
    else {
        reactor.metrics.call(None, Failure::Invalid.kind());
        let wrong = names.iter().find(|(_, field)| **field == TextField::WrongType).map_or("data", |(name, _)| *name);
        let text = match request_id {
            Some(_) => envelope::failure(Failure::Invalid, &format!("{wrong} must be a string"), request_id),
            None => envelope::error(envelope::INTERNAL_ERROR),
        };
        return answer(reactor, connection, &text);
    };
    if connection.lanes.borrow().len() >= reactor.settings.calls_per_connection_max {
        reactor.metrics.call(None, Failure::Overloaded.kind());
        let words = "Too many calls of this connection are waiting. The call was not run.";
        return answer(reactor, connection, &envelope::failure(Failure::Overloaded, words, request_id));
    }
    if !connection.calls.take(reactor.settings.call_rate, started) {
        reactor.metrics.call(None, Failure::RateLimited.kind());
        reactor.metrics.limited.with_label_values(&["calls"]).inc();
        let words = "Too many calls in a short time. The call was not run.";
        return answer(reactor, connection, &envelope::failure(Failure::RateLimited, words, request_id));
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
    let turn = connection.lanes.borrow_mut().enter(request, pending);
    if let Turn::Now(request, pending) = turn {
        reactor.submit(connection, request, pending);
    }
}

/// Tells a connection that it is closed for this reason.
pub fn close(reactor: &Reactor, connection: &Rc<Connection>, reason: &Close) {
    connection.close(reason, &reactor.metrics, reactor.hub.now());
}
