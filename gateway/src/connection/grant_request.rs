//! Asks a worker, in the user's session, whether a client may subscribe (to private channels, and to everything where
//! `DIFFYNE_SUBSCRIBE=granted`), or only who the user is.

use std::rc::Rc;

use diffyne_shared::bus::{ChannelEvent, Position};
use diffyne_shared::envelope::FailureKind;
use diffyne_shared::rpc::Outcome;
use diffyne_shared::settings::value::Subscribe;
use serde::Deserialize;
use serde_json::json;

use super::Connection;
use super::identification::{self, UserChange};
use super::permission_call::{self, Standing, Validity};
use super::subscription::{self, begin, fail, resume, set_granted};
use crate::auth::grant::EventSubscription;
use crate::relay::RelayResult;
use crate::shard::call::{CallOrigin, GrantQuestion, PendingGrant};
use crate::shard::departures::ReconnectPolicy;
use crate::shard::state::Shard;

/// The events of a client's message.
pub(super) struct Wanted {
    /// Those that a worker has to decide about.
    pub guarded: Vec<EventSubscription>,
    /// Those that everybody may hear.
    pub open: Vec<EventSubscription>,
}

impl Wanted {
    /// Events that everybody may hear.
    pub(super) fn open(events: Vec<EventSubscription>) -> Self {
        Self { guarded: Vec::new(), open: events }
    }
}

/// Asks a worker about the guarded events and about those that the connection already subscribes to.
///
/// Subscriptions that are no longer granted end, so one grant covers all of them.
pub(super) fn send(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    mut wanted: Wanted,
    position: Option<Position>,
    renews: bool,
    request_id: Option<&str>,
) {
    let events = &mut wanted.guarded;
    let is_decidable =
        |event: &EventSubscription| event.component_class.is_some() || ChannelEvent::read(&event.name).is_some();
    if let Some(event) = events.iter().find(|event| !is_decidable(event)) {
        let text = format!("Each event must name the componentClass that listens to it: {} does not", event.name);
        return fail(shard, connection, FailureKind::Subscribe, &text, request_id);
    }
    for known in connection.granted.borrow().iter() {
        if !events.contains(known) {
            events.push(known.clone());
        }
    }
    let payload = json!({"events": events}).to_string();
    submit(shard, connection, payload, GrantQuestion::Events { renews }, wanted, position, request_id);
}

/// Asks a worker who the user is, and subscribes then. Needs no grant: also where no worker answers.
pub(super) fn identify(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    events: Vec<EventSubscription>,
    position: Option<Position>,
    request_id: Option<&str>,
) {
    let payload = r#"{"events":[]}"#.to_owned();
    submit(shard, connection, payload, GrantQuestion::User, Wanted::open(events), position, request_id);
}

fn submit(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    payload: String,
    question: GrantQuestion,
    wanted: Wanted,
    position: Option<Position>,
    request_id: Option<&str>,
) {
    let open_bytes = wanted.open.iter().map(subscription::bytes).sum();
    let Some((call, decision)) = permission_call::begin(shard, connection, payload, open_bytes, request_id) else {
        let text = "Too many subscriptions of this connection wait for a worker";
        fail(shard, connection, FailureKind::Overloaded, text, request_id);
        return end_outdated(shard, connection);
    };
    let Wanted { guarded: events, open } = wanted;
    let grant = PendingGrant { events, open, position, question, decision };
    shard.relay.submit(call, CallOrigin::Grant(Rc::clone(connection), Box::new(grant)));
}

#[derive(Deserialize)]
struct WorkerAnswer {
    granted: Vec<bool>,
}

/// Returns whether each event was granted, or why the worker could not decide.
fn granted(result: &RelayResult<'_>) -> Result<Vec<bool>, (FailureKind, &'static str)> {
    match result {
        RelayResult::Reply(reply, _) if reply.outcome == Outcome::Ok => {
            serde_json::from_slice::<WorkerAnswer>(reply.data)
                .map(|answer| answer.granted)
                .map_err(|_| (FailureKind::Subscribe, "The worker's answer cannot be used."))
        }
        RelayResult::Reply(..) => Err((FailureKind::Subscribe, "The component could not be asked.")),
        RelayResult::Failed(failure, text) => Err((*failure, *text)),
    }
}

/// Handles a worker's answer or failure.
pub fn complete(shard: &Rc<Shard>, connection: &Rc<Connection>, request: PendingGrant, result: &RelayResult<'_>) {
    match permission_call::end(shard, connection, &request.decision, result, Validity::SameUser) {
        Standing::Ended => return,
        Standing::Outdated => return ask_again(shard, connection, request),
        Standing::Current { .. } => {}
    }
    match granted(result) {
        _ if request.question == GrantQuestion::User => begin_identified(shard, connection, request),
        Ok(granted) => apply(shard, connection, request, &granted),
        Err(_) if request.question == (GrantQuestion::Events { renews: true }) => keep(shard, connection, request),
        Err((failure, text)) => {
            count(shard, "failed");
            fail(shard, connection, failure, text, request.decision.request_id.as_deref());
            subscribe(shard, connection, request.open, request.position, None, None);
            end_outdated(shard, connection);
        }
    }
}

/// Ends a connection that hears what was granted to another user, when no worker can say what its user may hear. The client
/// comes back, and a worker is asked again.
fn end_outdated(shard: &Shard, connection: &Rc<Connection>) {
    if connection.granted.borrow().is_empty() || !connection.user.has_grants_of_another() {
        return;
    }
    for event in &connection.granted.take() {
        shard.hub.unsubscribe(connection, &event.name, &event.filter);
    }
    set_granted(connection, Vec::new());
    shard.hub.send_disconnect(connection, "the user has changed", ReconnectPolicy::AfterMs(0));
    connection.drain();
}

/// Renews what a client shows when it comes back, since it has another user.
pub(super) fn renew(shard: &Rc<Shard>, connection: &Rc<Connection>, change: UserChange) {
    if change.is_first {
        connection.user.set_granted();
    }
    match shard.settings.subscribe {
        // What was granted to the former user is another question for this one.
        _ if !change.is_first && !connection.granted.borrow().is_empty() => {
            send(shard, connection, Wanted::open(Vec::new()), None, false, None);
        }
        Subscribe::Open => identification::send_grant(shard, connection),
        Subscribe::Granted => {}
    }
}

fn ask_again(shard: &Rc<Shard>, connection: &Rc<Connection>, request: PendingGrant) {
    let PendingGrant { events, open, position, question, decision } = request;
    let request_id = decision.request_id.as_deref();
    match question {
        GrantQuestion::Events { renews } => {
            let wanted = Wanted { guarded: events, open };
            send(shard, connection, wanted, position, renews, request_id);
        }
        GrantQuestion::User => identify(shard, connection, open, position, request_id),
    }
}

/// Subscribes to events that need no grant, once the user is known or no worker can tell it.
fn begin_identified(shard: &Rc<Shard>, connection: &Rc<Connection>, request: PendingGrant) {
    let PendingGrant { open, position, decision, .. } = request;
    let grant = position.as_ref().and_then(|_| identification::user_grant(shard, connection));
    subscribe(shard, connection, open, position, grant, decision.request_id.as_deref());
}

/// Subscribes to events that the client may hear, after a replay if it resumes.
fn subscribe(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    events: Vec<EventSubscription>,
    position: Option<Position>,
    grant: Option<String>,
    request_id: Option<&str>,
) {
    match position {
        _ if events.is_empty() => {}
        Some(position) => resume(shard, connection, events, position, grant, request_id),
        None => begin(shard, connection, events, grant, request_id),
    }
}

/// Subscribes to the granted events, and ends the subscriptions to the others.
fn apply(shard: &Rc<Shard>, connection: &Rc<Connection>, request: PendingGrant, granted: &[bool]) {
    let mut granted = granted.iter();
    let (yes, no) = request.events.into_iter().partition::<Vec<_>, _>(|_| granted.next() == Some(&true));
    for event in &no {
        shard.hub.unsubscribe(connection, &event.name, &event.filter);
    }
    let request_id = request.decision.request_id.as_deref();
    if !no.is_empty() {
        count(shard, "refused");
        // If anything can be heard, the confirmation answers the request.
        let answered_id = request_id.filter(|_| yes.is_empty() && request.open.is_empty());
        fail(shard, connection, FailureKind::Subscribe, &format!("Not granted: {}", describe(&no)), answered_id);
    }
    set_granted(connection, yes.clone());
    connection.user.set_granted();
    if yes.is_empty() {
        return subscribe(shard, connection, request.open, request.position, None, request_id);
    }
    count(shard, "given");
    // If the session has changed meanwhile, it is unknown in which session the worker answered.
    let same_session = request.decision.session == shard.grants.session(&connection.caller);
    let grant = if same_session {
        shard.grants.sign(yes.clone(), &request.decision.session, connection.user.known().as_deref())
    } else {
        None
    };
    let events = [yes, request.open].concat();
    subscribe(shard, connection, events, request.position, grant, request_id);
}

fn describe(events: &[EventSubscription]) -> String {
    let name = |event: &EventSubscription| match event.component_class.as_deref() {
        Some(class) => format!("{} for {class}", event.name),
        None => event.name.clone(),
    };
    events.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Keeps the subscriptions when no worker could renew the grant: the client's grant remains valid until it expires.
fn keep(shard: &Rc<Shard>, connection: &Rc<Connection>, request: PendingGrant) {
    count(shard, "not_renewed");
    set_granted(connection, request.events.clone());
    connection.user.set_granted();
    let events = [request.events, request.open].concat();
    subscribe(shard, connection, events, request.position, None, request.decision.request_id.as_deref());
}

/// Counts a grant by its result.
pub(super) fn count(shard: &Shard, result: &str) {
    shard.metrics.grants.with_label_values(&[result]).inc();
}
