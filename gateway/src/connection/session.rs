//! The reading side of a connection: messages in, answers or calls out.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use diffyne_shared::bus::Position;
use diffyne_shared::envelope::{self, DataHead, Failure, TextField};
use diffyne_shared::rpc::{CallKind, Transport};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::lanes::{Part, Pending, Turn};
use super::{Connection, Phase};
use crate::reactor::Reactor;
use crate::relay::Request;
use crate::socket::{Close, Decoder, Event, IoReader, frame};

/// How long a client may be ahead of this gateway when it comes from another.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);
const CATCH_UP_STEP: Duration = Duration::from_millis(5);
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
    reactor.connection_ended();
}

/// Nobody waits for the answers any more.
fn cancel(reactor: &Rc<Reactor>, connection: &Rc<Connection>) {
    let mut lanes = connection.lanes.borrow_mut();
    if !lanes.is_empty() {
        let waiting = lanes.drop_waiting();
        drop(lanes);
        let unsent = reactor.relay.cancel(|origin| origin.is_of(connection));
        reactor.metrics.in_flight(-((waiting + unsent) as i64));
    }
}

fn message(reactor: &Rc<Reactor>, connection: &Rc<Connection>, text: &str) {
    if let Some((message, head)) = envelope::parse_usual(text) {
        let kind = if message.event == "diffyne.call" { CallKind::Call } else { CallKind::Update };
        return call(reactor, connection, kind, message.data, head);
    }
    let message = match envelope::parse(text) {
        Ok(message) => message,
        Err(fault) => return answer(reactor, connection, &envelope::error(&fault)),
    };
    match &*message.event {
        "diffyne.call" => call(reactor, connection, CallKind::Call, message.data, DataHead::read(message.data)),
        "diffyne.update" => call(reactor, connection, CallKind::Update, message.data, DataHead::read(message.data)),
        "diffyne.mount" => call(reactor, connection, CallKind::Mount, message.data, DataHead::read(message.data)),
        "diffyne.ping" => {
            let position = reactor.position();
            let position = position.as_ref().map(|position| (position.epoch.as_str(), position.offset));
            answer(reactor, connection, &envelope::pong(position));
        }
        "diffyne.subscribe" => subscribe(reactor, connection, message.data),
        "diffyne.resume" => resume(reactor, connection, message.data),
        "diffyne.unsubscribe" => unsubscribe(reactor, connection, message.data),
        other => answer(reactor, connection, &envelope::error(&format!("Event '{other}' does not exist"))),
    }
}

fn answer(reactor: &Reactor, connection: &Rc<Connection>, text: &str) {
    reactor.hub.push(connection, frame::text(text));
}

fn call(reactor: &Rc<Reactor>, connection: &Rc<Connection>, kind: CallKind, data: &str, head: DataHead<'_>) {
    let member = match kind {
        CallKind::Call => ("method", &head.method),
        CallKind::Update => ("property", &head.property),
        // Nothing more is needed.
        CallKind::Mount | CallKind::Grant => ("componentId", &head.component_id),
    };
    let names = [("componentId", &head.component_id), ("componentClass", &head.component_class), member];
    let request_id = head.request_id.map(RawValue::get);
    if names.iter().any(|(_, field)| **field == TextField::Missing) {
        reactor.metrics.unrecognised(Failure::Invalid.kind());
        let text = envelope::failure(Failure::Invalid, envelope::MISSING_PARAMETERS, request_id);
        return answer(reactor, connection, &text);
    }
    let (Some(component), Some(class), Some(_)) =
        (head.component_id.json(), head.component_class.json(), member.1.json())
    else {
        reactor.metrics.unrecognised(Failure::Invalid.kind());
        let wrong = names.iter().find(|(_, field)| **field == TextField::WrongType).map_or("data", |(name, _)| *name);
        let text = match request_id {
            Some(_) => envelope::failure(Failure::Invalid, &format!("{wrong} must be a string"), request_id),
            None => envelope::error(envelope::INTERNAL_ERROR),
        };
        return answer(reactor, connection, &text);
    };
    if connection.lanes.borrow().len() >= reactor.settings.calls_per_connection_max {
        reactor.metrics.unrecognised(Failure::Overloaded.kind());
        let words = "Too many calls of this connection are waiting. The call was not run.";
        return answer(reactor, connection, &envelope::failure(Failure::Overloaded, words, request_id));
    }
    let started = Instant::now();
    let whole: Rc<str> = data.into();
    let pending = Pending {
        component: Part::of(data, component),
        request_id: request_id.map(|id| Part::of(data, id)),
        class: Part::of(data, class),
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

/// One wish of a subscription.
#[derive(Deserialize)]
struct Wish<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default, rename = "match")]
    filter: Option<Map<String, Value>>,
}

fn wishes<'a>(head: &DataHead<'a>) -> Option<Vec<Wish<'a>>> {
    let wishes: Vec<Wish<'a>> = serde_json::from_str(head.events?.get()).ok()?;
    let plain = |name: &str| !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_graphic());
    (!wishes.is_empty() && wishes.iter().all(|wish| plain(&wish.name))).then_some(wishes)
}

fn subscription_failed(reactor: &Reactor, connection: &Rc<Connection>, text: &str, request_id: Option<&str>) {
    answer(reactor, connection, &envelope::diffyne_error(Failure::Subscribe.kind(), text, request_id));
}

const WISHES: &str = "events must be a list of {name, match?} with names of 1 to 128 printable characters";

/// Takes a connection's wishes in; `false` when it was told why not.
fn take_wishes(reactor: &Reactor, connection: &Rc<Connection>, head: &DataHead<'_>) -> bool {
    let request_id = head.request_id.map(RawValue::get);
    let Some(wishes) = wishes(head) else {
        subscription_failed(reactor, connection, WISHES, request_id);
        return false;
    };
    let most = reactor.settings.subscriptions_max;
    for wish in wishes {
        if !reactor.hub.subscribe(connection, &wish.name, wish.filter, most) {
            let text = format!("A connection may have at most {most} subscriptions");
            subscription_failed(reactor, connection, &text, request_id);
            return false;
        }
    }
    true
}

fn subscribe(reactor: &Reactor, connection: &Rc<Connection>, data: &str) {
    let head = DataHead::read(data);
    if take_wishes(reactor, connection, &head) {
        confirm(reactor, connection, "diffyne.subscribed", &head);
    }
}

/// Where a client was when it lost its connection.
#[derive(Deserialize)]
struct Place<'a> {
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    offset: u64,
}

/// Subscribes again, after a replay of exactly what came since. A client that is not recovered refreshes.
fn resume(reactor: &Rc<Reactor>, connection: &Rc<Connection>, data: &str) {
    let head = DataHead::read(data);
    let request_id = head.request_id.map(RawValue::get);
    let Ok(place) = serde_json::from_str::<Place<'_>>(data) else {
        let text = "epoch must be a string and offset a whole number";
        return subscription_failed(reactor, connection, text, request_id);
    };
    if !take_wishes(reactor, connection, &head) {
        return;
    }
    let place = Position { epoch: place.epoch.into_owned(), offset: place.offset };
    let is_ahead = |reactor: &Reactor| {
        reactor.hub.position().is_none_or(|here| here.epoch == place.epoch && here.offset < place.offset)
    };
    if !is_ahead(reactor) {
        return resumed(reactor, connection, &place, request_id);
    }
    // Another gateway was faster by a moment: what the client has from there is not repeated.
    reactor.hub.set_floor(connection, &place);
    let (reactor, connection) = (Rc::clone(reactor), Rc::clone(connection));
    let (place, request_id) = (place.clone(), request_id.map(str::to_owned));
    tokio::task::spawn_local(async move {
        let limit = Instant::now() + CATCH_UP_TIMEOUT;
        let behind =
            || reactor.hub.position().is_none_or(|here| here.epoch == place.epoch && here.offset < place.offset);
        while behind() && Instant::now() < limit && connection.takes_messages() {
            tokio::time::sleep(CATCH_UP_STEP).await;
        }
        // What came since has been delivered live.
        let here = reactor.position().filter(|here| here.epoch == place.epoch && here.offset >= place.offset);
        tell_resumed(&reactor, &connection, here.is_some(), request_id.as_deref());
        reactor.hub.flush();
    });
}

fn resumed(reactor: &Reactor, connection: &Rc<Connection>, place: &Position, request_id: Option<&str>) {
    // Half of what may wait: the other half is for what comes meanwhile.
    let missed = reactor.hub.missed(connection, place, reactor.settings.outbox_bytes_max / 2);
    let recovered = missed.is_some();
    for frame in missed.into_iter().flatten() {
        reactor.metrics.replayed.inc();
        reactor.hub.push(connection, frame);
    }
    tell_resumed(reactor, connection, recovered, request_id);
}

/// The last word of a resume: a connection that breaks before it has not moved on.
fn tell_resumed(reactor: &Reactor, connection: &Rc<Connection>, recovered: bool, request_id: Option<&str>) {
    reactor.metrics.resumes.with_label_values(&[if recovered { "recovered" } else { "lost" }]).inc();
    let mut message = format!(r#"{{"event":"diffyne.resumed","data":{{"recovered":{recovered}"#);
    if let Some(position) = reactor.position() {
        // Writing into a String cannot fail.
        let _ = write!(message, r#","epoch":"{}","offset":{}"#, position.epoch, position.offset);
    }
    if let Some(id) = request_id {
        let _ = write!(message, r#","requestId":{id}"#);
    }
    message.push_str("}}");
    answer(reactor, connection, &message);
}

fn unsubscribe(reactor: &Reactor, connection: &Rc<Connection>, data: &str) {
    let head = DataHead::read(data);
    let Some(wishes) = wishes(&head) else {
        return subscription_failed(reactor, connection, WISHES, head.request_id.map(RawValue::get));
    };
    for wish in wishes {
        reactor.hub.unsubscribe(connection, &wish.name, &wish.filter);
    }
    confirm(reactor, connection, "diffyne.unsubscribed", &head);
}

fn confirm(reactor: &Reactor, connection: &Rc<Connection>, event: &str, head: &DataHead<'_>) {
    let events = head.events.map_or("[]", RawValue::get);
    let mut message = format!(r#"{{"event":"{event}","data":{{"events":{events}"#);
    if let Some(position) = reactor.position() {
        // Writing into a String cannot fail.
        let _ = write!(message, r#","epoch":"{}","offset":{}"#, position.epoch, position.offset);
    }
    if let Some(id) = head.request_id {
        message.push_str(r#","requestId":"#);
        message.push_str(id.get());
    }
    message.push_str("}}");
    answer(reactor, connection, &message);
}

/// Tells a connection that it is closed for this reason.
pub fn close(reactor: &Reactor, connection: &Rc<Connection>, reason: &Close) {
    connection.close(reason, &reactor.metrics, reactor.hub.now());
}
