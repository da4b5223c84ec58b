//! Subscriptions of one connection: what it wants to hear, whether it may, and what it missed.
//!
//! With `DIFFYNE_SUBSCRIBE=granted` a worker is asked in the user's own session; the answer becomes a grant, with
//! which the client comes back to any gateway.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Instant;

use diffyne_shared::bus::{Position, is_event_name};
use diffyne_shared::envelope::{self, CLASS_BYTES_MAX, DataHead, FailureKind};
use diffyne_shared::rpc::{CallKind, Outcome, Transport};
use diffyne_shared::settings::value::Subscribe;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::Connection;
use super::account::Held;
use super::replay::{self, CATCH_UP_STEP, CATCH_UP_TIMEOUT};
use super::session::answer;
use crate::grant::{Age, Unfit, Wish};
use crate::hub::Excess;
use crate::reactor::{Origin, Reactor};
use crate::relay::{Answer, Request};
use crate::session_identity::SessionIdentity;
use crate::subscribers::filter_bytes;

/// Questions of one connection that a worker has not answered.
const QUESTIONS_MAX: u32 = 4;

/// Bytes of the `events` of one message, as JSON: their filters are kept, and travel in grants.
const EVENTS_BYTES_MAX: usize = 64 * 1024;

const WISHES: &str = "events must be a list of {name, match?, componentClass?} with names of 1 to 128 printable characters, in at most 64 KiB";

/// A worker is asked whether a user may hear events.
pub struct Question {
    wishes: Vec<Wish>,
    /// Where the client was, if it comes back.
    place: Option<Position>,
    /// The client has a grant that is still good: nothing is lost when nobody answers.
    renews: bool,
    /// The session that the worker is asked in.
    session: SessionIdentity,
    /// JSON of the request id.
    request_id: Option<String>,
    /// Bytes that are held for it.
    held: usize,
}

/// What a client shows and asks for when it comes back.
#[derive(Deserialize)]
struct Return<'a> {
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    offset: u64,
    #[serde(borrow, default)]
    grant: Option<Cow<'a, str>>,
}

fn read_wishes(head: &DataHead<'_>) -> Option<Vec<Wish>> {
    let events = head.events?.get();
    if events.len() > EVENTS_BYTES_MAX {
        return None;
    }
    let wishes: Vec<Wish> = serde_json::from_str(events).ok()?;
    let class_fits = |wish: &Wish| wish.component_class.as_ref().is_none_or(|class| class.len() <= CLASS_BYTES_MAX);
    let fits = |wish: &Wish| is_event_name(&wish.name) && class_fits(wish);
    (!wishes.is_empty() && wishes.iter().all(fits)).then_some(wishes)
}

fn failed(reactor: &Reactor, connection: &Rc<Connection>, failure: FailureKind, text: &str, request_id: Option<&str>) {
    answer(reactor, connection, &envelope::diffyne_error(failure.label(), text, request_id));
}

/// The wishes of a message, unless the client was told what is wrong with them.
fn wishes(reactor: &Reactor, connection: &Rc<Connection>, head: &DataHead<'_>) -> Option<Vec<Wish>> {
    let request_id = head.request_id();
    let Some(wishes) = read_wishes(head) else {
        failed(reactor, connection, FailureKind::Subscribe, WISHES, request_id);
        return None;
    };
    let most = reactor.settings.subscriptions_max;
    if wishes.len() > most {
        let text = format!("A connection may have at most {most} subscriptions");
        failed(reactor, connection, FailureKind::Subscribe, &text, request_id);
        return None;
    }
    Some(wishes)
}

/// Takes wishes in; `false` when the client was told why not.
fn take(reactor: &Reactor, connection: &Rc<Connection>, wishes: &[Wish], request_id: Option<&str>) -> bool {
    let most = reactor.settings.subscriptions_max;
    for wish in wishes {
        if let Err(excess) = reactor.hub.subscribe(connection, &wish.name, &wish.filter, most) {
            let text = match excess {
                Excess::Number => format!("A connection may have at most {most} subscriptions"),
                Excess::Bytes => "Too much is held for this connection already".to_owned(),
            };
            failed(reactor, connection, FailureKind::Subscribe, &text, request_id);
            return false;
        }
    }
    true
}

/// `diffyne.subscribe`.
pub fn subscribe(reactor: &Rc<Reactor>, connection: &Rc<Connection>, data: &str) {
    let head = DataHead::read(data);
    let Some(wishes) = wishes(reactor, connection, &head) else { return };
    let request_id = head.request_id();
    match reactor.settings.subscribe {
        Subscribe::Open => begin(reactor, connection, wishes, None, request_id),
        Subscribe::Granted => ask(reactor, connection, wishes, None, false, request_id),
    }
}

/// `diffyne.unsubscribe`.
pub fn unsubscribe(reactor: &Reactor, connection: &Rc<Connection>, data: &str) {
    let head = DataHead::read(data);
    let Some(wishes) = wishes(reactor, connection, &head) else { return };
    for wish in &wishes {
        reactor.hub.unsubscribe(connection, &wish.name, &wish.filter);
    }
    connection.granted.borrow_mut().retain(|known| {
        !wishes.iter().any(|wish| wish.name == known.name && (wish.filter.is_none() || wish.filter == known.filter))
    });
    let events = head.events.map_or("[]", RawValue::get);
    confirm(reactor, connection, "diffyne.unsubscribed", events, None, head.request_id());
}

/// `diffyne.resume`: subscribes again, after a replay of exactly what came since. A client that is not recovered
/// refreshes.
pub fn resume(reactor: &Rc<Reactor>, connection: &Rc<Connection>, data: &str) {
    let head = DataHead::read(data);
    let request_id = head.request_id();
    let Ok(back) = serde_json::from_str::<Return<'_>>(data) else {
        let text = "epoch must be a string and offset a whole number";
        return failed(reactor, connection, FailureKind::Subscribe, text, request_id);
    };
    let Some(wishes) = wishes(reactor, connection, &head) else { return };
    let place = Position { epoch: back.epoch.into_owned(), offset: back.offset };
    if reactor.settings.subscribe == Subscribe::Open {
        return come_back(reactor, connection, wishes, place, None, request_id);
    }
    let Some(grant) = back.grant else { return ask(reactor, connection, wishes, Some(place), false, request_id) };
    match reactor.grants.check(&grant, &wishes, &reactor.grants.session(&connection.caller)) {
        Ok(Age::Young) => {
            count(reactor, "shown");
            set_granted(connection, wishes.clone());
            come_back(reactor, connection, wishes, place, None, request_id);
        }
        Ok(Age::Old) => ask(reactor, connection, wishes, Some(place), true, request_id),
        Err(Unfit::OtherSession) => {
            // Another user's, or the user has logged in or out since: this session has no grant.
            count(reactor, "other_session");
            ask(reactor, connection, wishes, Some(place), false, request_id);
        }
        Err(Unfit::Expired) => {
            count(reactor, "expired");
            let text = "The grant's time is over: subscribe or resume without it";
            failed(reactor, connection, FailureKind::GrantExpired, text, request_id);
        }
        Err(Unfit::Wrong) => {
            count(reactor, "forged");
            failed(reactor, connection, FailureKind::Subscribe, "The grant is not good for these events", request_id);
        }
    }
}

/// What a connection was granted, on its account.
fn set_granted(connection: &Connection, granted: Vec<Wish>) {
    let bytes = |wish: &Wish| {
        wish.name.len() + wish.component_class.as_ref().map_or(0, String::len) + filter_bytes(&wish.filter)
    };
    connection.account.set(Held::Grants, granted.iter().map(bytes).sum());
    connection.granted.replace(granted);
}

fn count(reactor: &Reactor, result: &str) {
    reactor.metrics.grants.with_label_values(&[result]).inc();
}

/// Asks a worker about these events, and about those that the connection hears already: what is not granted any more
/// ends, so that one grant covers all of them.
fn ask(
    reactor: &Rc<Reactor>,
    connection: &Rc<Connection>,
    mut wishes: Vec<Wish>,
    place: Option<Position>,
    renews: bool,
    request_id: Option<&str>,
) {
    if let Some(wish) = wishes.iter().find(|wish| wish.component_class.is_none()) {
        let text = format!("Each event must name the componentClass that listens to it: {} does not", wish.name);
        return failed(reactor, connection, FailureKind::Subscribe, &text, request_id);
    }
    if connection.questions.get() >= QUESTIONS_MAX {
        let text = "Too many subscriptions of this connection wait for a worker";
        return failed(reactor, connection, FailureKind::Overloaded, text, request_id);
    }
    for known in connection.granted.borrow().iter() {
        if !wishes.contains(known) {
            wishes.push(known.clone());
        }
    }
    connection.questions.set(connection.questions.get() + 1);
    let now = Instant::now();
    let payload: Rc<str> = json!({"events": wishes}).to_string().into();
    let held = payload.len() * 2;
    connection.account.hold(Held::Calls, held);
    let request = Request {
        caller: Rc::clone(&connection.caller),
        transport: Transport::Ws,
        kind: CallKind::Grant,
        cause: None,
        payload,
        arrived: now,
        deadline: now + reactor.settings.call_timeout,
    };
    let session = reactor.grants.session(&connection.caller);
    let question = Question { wishes, place, renews, session, request_id: request_id.map(str::to_owned), held };
    reactor.relay.submit(request, Origin::Question(Rc::clone(connection), Box::new(question)));
}

#[derive(Deserialize)]
struct Granted {
    granted: Vec<bool>,
}

/// A worker has answered, or nobody did.
pub fn answered(reactor: &Rc<Reactor>, connection: &Rc<Connection>, question: Question, told: &Answer<'_>) {
    connection.questions.set(connection.questions.get().saturating_sub(1));
    connection.account.release(Held::Calls, question.held);
    if !connection.takes_messages() {
        return;
    }
    let Question { wishes, place, renews, session, request_id, .. } = question;
    let request_id = request_id.as_deref();
    let granted = match told {
        Answer::Reply(reply) if reply.outcome == Outcome::Ok => serde_json::from_slice::<Granted>(reply.data)
            .map(|answer| answer.granted)
            .map_err(|_| (FailureKind::Subscribe, "The worker's answer cannot be used.")),
        Answer::Reply(_) => Err((FailureKind::Subscribe, "The component could not be asked.")),
        Answer::Failed(failure, text) => Err((*failure, *text)),
    };
    let (yes, no) = match granted {
        Ok(granted) => {
            let mut granted = granted.into_iter();
            wishes.into_iter().partition::<Vec<_>, _>(|_| granted.next() == Some(true))
        }
        Err(_) if renews => return hold(reactor, connection, wishes, place, request_id),
        Err((failure, text)) => {
            count(reactor, "failed");
            return failed(reactor, connection, failure, text, request_id);
        }
    };
    for wish in &no {
        reactor.hub.unsubscribe(connection, &wish.name, &wish.filter);
    }
    if !no.is_empty() {
        count(reactor, "refused");
        let names: Vec<String> = no
            .iter()
            .map(|wish| format!("{} for {}", wish.name, wish.component_class.as_deref().unwrap_or_default()))
            .collect();
        let text = format!("Not granted: {}", names.join(", "));
        // The request is answered by what was granted, if anything was.
        failed(reactor, connection, FailureKind::Subscribe, &text, request_id.filter(|_| yes.is_empty()));
    }
    set_granted(connection, yes.clone());
    if yes.is_empty() {
        return;
    }
    count(reactor, "given");
    // A login or logout while the worker was asked: nobody knows in which session it answered.
    let same_session = session == reactor.grants.session(&connection.caller);
    let grant = if same_session { reactor.grants.give(yes.clone(), &session) } else { None };
    match place {
        Some(place) => come_back(reactor, connection, yes, place, grant, request_id),
        None => begin(reactor, connection, yes, grant, request_id),
    }
}

/// Nobody could say whether a grant is to be renewed: what the client has shown is good still, until its own end.
fn hold(
    reactor: &Rc<Reactor>,
    connection: &Rc<Connection>,
    wishes: Vec<Wish>,
    place: Option<Position>,
    request_id: Option<&str>,
) {
    count(reactor, "not_renewed");
    connection.granted.replace(wishes.clone());
    match place {
        Some(place) => come_back(reactor, connection, wishes, place, None, request_id),
        None => begin(reactor, connection, wishes, None, request_id),
    }
}

/// Does something that needs to know where the history is: a gateway that has just started waits a moment for that.
/// What it finds there is nothing that it delivers by itself.
fn once_placed(
    reactor: &Rc<Reactor>,
    connection: &Rc<Connection>,
    request_id: Option<&str>,
    work: impl FnOnce(&Rc<Reactor>, &Rc<Connection>) + 'static,
) {
    if reactor.hub.position().is_some() {
        return work(reactor, connection);
    }
    if connection.questions.get() >= QUESTIONS_MAX {
        connection.returning.set(false);
        let text = "Too many subscriptions of this connection wait for the gateway to start";
        return failed(reactor, connection, FailureKind::Overloaded, text, request_id);
    }
    connection.questions.set(connection.questions.get() + 1);
    let (reactor, connection) = (Rc::clone(reactor), Rc::clone(connection));
    tokio::task::spawn_local(async move {
        let limit = Instant::now() + CATCH_UP_TIMEOUT;
        while reactor.hub.position().is_none() && Instant::now() < limit && connection.takes_messages() {
            tokio::time::sleep(CATCH_UP_STEP).await;
        }
        connection.questions.set(connection.questions.get().saturating_sub(1));
        if connection.takes_messages() {
            work(&reactor, &connection);
            reactor.hub.flush();
        }
    });
}

/// Subscribes, and tells from where on.
fn begin(
    reactor: &Rc<Reactor>,
    connection: &Rc<Connection>,
    wishes: Vec<Wish>,
    grant: Option<String>,
    request_id: Option<&str>,
) {
    let owned = request_id.map(str::to_owned);
    once_placed(reactor, connection, request_id, move |reactor, connection| {
        let request_id = owned.as_deref();
        if take(reactor, connection, &wishes, request_id) {
            let events = serde_json::to_string(&wishes).unwrap_or_default();
            confirm(reactor, connection, "diffyne.subscribed", &events, grant.as_deref(), request_id);
        }
    });
}

/// Subscribes, after a replay of what came since the client was there.
fn come_back(
    reactor: &Rc<Reactor>,
    connection: &Rc<Connection>,
    wishes: Vec<Wish>,
    place: Position,
    grant: Option<String>,
    request_id: Option<&str>,
) {
    let owned = request_id.map(str::to_owned);
    if connection.returning.replace(true) {
        let text = "A resume of this connection is under way";
        return failed(reactor, connection, FailureKind::Overloaded, text, request_id);
    }
    once_placed(reactor, connection, request_id, move |reactor, connection| {
        let request_id = owned.as_deref();
        if !take(reactor, connection, &wishes, request_id) {
            connection.returning.set(false);
            return;
        }
        match reactor.hub.position() {
            Some(_) => replay::start(reactor, connection, place, grant, request_id),
            None => tell_resumed(reactor, connection, false, grant.as_deref(), request_id),
        }
    });
}

/// The last word of a resume: a connection that breaks before it has not moved on.
pub(super) fn tell_resumed(
    reactor: &Reactor,
    connection: &Rc<Connection>,
    recovered: bool,
    grant: Option<&str>,
    request_id: Option<&str>,
) {
    connection.returning.set(false);
    reactor.metrics.resumes.with_label_values(&[if recovered { "recovered" } else { "lost" }]).inc();
    let start = format!(r#"{{"event":"diffyne.resumed","data":{{"recovered":{recovered}"#);
    answer(reactor, connection, &with_place(reactor, start, grant, request_id));
}

fn confirm(
    reactor: &Reactor,
    connection: &Rc<Connection>,
    event: &str,
    events: &str,
    grant: Option<&str>,
    request_id: Option<&str>,
) {
    let start = format!(r#"{{"event":"{event}","data":{{"events":{events}"#);
    answer(reactor, connection, &with_place(reactor, start, grant, request_id));
}

fn with_place(reactor: &Reactor, mut message: String, grant: Option<&str>, request_id: Option<&str>) -> String {
    if let Some(position) = reactor.position() {
        // Writing into a String cannot fail.
        let _ = write!(message, r#","epoch":"{}","offset":{}"#, position.epoch, position.offset);
    }
    if let Some(grant) = grant {
        let _ = write!(message, r#","grant":"{grant}""#);
    }
    if let Some(id) = request_id {
        let _ = write!(message, r#","requestId":{id}"#);
    }
    message.push_str("}}");
    message
}
