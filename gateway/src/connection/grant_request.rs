//! Asks a worker, in the user's session, whether a client may subscribe (`DIFFYNE_SUBSCRIBE=granted`).

use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::bus::Position;
use diffyne_shared::envelope::FailureKind;
use diffyne_shared::rpc::{CallKind, Outcome, Transport};
use serde::Deserialize;
use serde_json::json;

use super::Connection;
use super::account::HeldKind;
use super::subscription::{begin, fail, resume, set_granted};
use crate::auth::grant::EventSubscription;
use crate::relay::{CallRequest, ComponentKey, RelayResult};
use crate::shard::call::{CallOrigin, PendingGrant};
use crate::shard::state::Shard;

/// Asks a worker about these events and about those that the connection already subscribes to.
///
/// Subscriptions that are no longer granted end, so one grant covers all of them.
pub(super) fn send(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    mut events: Vec<EventSubscription>,
    position: Option<Position>,
    renews: bool,
    request_id: Option<&str>,
) {
    if let Some(event) = events.iter().find(|event| event.component_class.is_none()) {
        let text = format!("Each event must name the componentClass that listens to it: {} does not", event.name);
        return fail(shard, connection, FailureKind::Subscribe, &text, request_id);
    }
    if !connection.requests.begin_wait() {
        let text = "Too many subscriptions of this connection wait for a worker";
        return fail(shard, connection, FailureKind::Overloaded, text, request_id);
    }
    for known in connection.granted.borrow().iter() {
        if !events.contains(known) {
            events.push(known.clone());
        }
    }
    let payload: Rc<str> = json!({"events": events}).to_string().into();
    let held = payload.len() * 2;
    connection.account.hold(HeldKind::Calls, held);
    let session = shard.grants.session(&connection.caller);
    let grant = PendingGrant { events, position, renews, session, request_id: request_id.map(str::to_owned), held };
    let call = call(shard, connection, payload);
    shard.relay.submit(call, CallOrigin::Grant(Rc::clone(connection), Box::new(grant)));
}

fn call(shard: &Shard, connection: &Connection, payload: Rc<str>) -> CallRequest {
    let now = Instant::now();
    CallRequest {
        caller: Rc::clone(&connection.caller),
        transport: Transport::Ws,
        kind: CallKind::Grant,
        // A grant belongs to no component: any worker will do, and not the same one for all clients.
        component: ComponentKey::new("", connection.caller.id()),
        cause: None,
        takes_pushes: false,
        stream_max: Duration::ZERO,
        trace: None,
        payload,
        arrived: now,
        deadline: now + shard.settings.call_timeout,
    }
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
    connection.requests.end_wait();
    connection.account.release(HeldKind::Calls, request.held);
    if !connection.takes_messages() {
        return;
    }
    match granted(result) {
        Ok(granted) => apply(shard, connection, request, &granted),
        Err(_) if request.renews => keep(shard, connection, request),
        Err((failure, text)) => {
            count(shard, "failed");
            fail(shard, connection, failure, text, request.request_id.as_deref());
        }
    }
}

/// Subscribes to the granted events, and ends the subscriptions to the others.
fn apply(shard: &Rc<Shard>, connection: &Rc<Connection>, request: PendingGrant, granted: &[bool]) {
    let mut granted = granted.iter();
    let (yes, no) = request.events.into_iter().partition::<Vec<_>, _>(|_| granted.next() == Some(&true));
    for event in &no {
        shard.hub.unsubscribe(connection, &event.name, &event.filter);
    }
    let request_id = request.request_id.as_deref();
    if !no.is_empty() {
        count(shard, "refused");
        // If anything was granted, the confirmation answers the request.
        let answered_id = request_id.filter(|_| yes.is_empty());
        fail(shard, connection, FailureKind::Subscribe, &format!("Not granted: {}", describe(&no)), answered_id);
    }
    set_granted(connection, yes.clone());
    if yes.is_empty() {
        return;
    }
    count(shard, "given");
    // If the session has changed meanwhile, it is unknown in which session the worker answered.
    let same_session = request.session == shard.grants.session(&connection.caller);
    let grant = if same_session { shard.grants.sign(yes.clone(), &request.session) } else { None };
    match request.position {
        Some(position) => resume(shard, connection, yes, position, grant, request_id),
        None => begin(shard, connection, yes, grant, request_id),
    }
}

fn describe(events: &[EventSubscription]) -> String {
    let name = |event: &EventSubscription| {
        format!("{} for {}", event.name, event.component_class.as_deref().unwrap_or_default())
    };
    events.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Keeps the subscriptions when no worker could renew the grant: the client's grant remains valid until it expires.
fn keep(shard: &Rc<Shard>, connection: &Rc<Connection>, request: PendingGrant) {
    count(shard, "not_renewed");
    set_granted(connection, request.events.clone());
    let request_id = request.request_id.as_deref();
    match request.position {
        Some(position) => resume(shard, connection, request.events, position, None, request_id),
        None => begin(shard, connection, request.events, None, request_id),
    }
}

/// Counts a grant by its result.
pub(super) fn count(shard: &Shard, result: &str) {
    shard.metrics.grants.with_label_values(&[result]).inc();
}
