//! Subscribes a connection to events, at once or after a replay of what it missed.

use std::rc::Rc;
use std::time::Instant;

use diffyne_shared::bus::Position;
use diffyne_shared::envelope::FailureKind;
use diffyne_shared::settings::value::Subscribe;

use super::Connection;
use super::account::HeldKind;
use super::identification;
use super::replay::{self, CATCH_UP_STEP, CATCH_UP_TIMEOUT};
use crate::auth::grant::EventSubscription;
use crate::protocol::{self, Confirmation};
use crate::shard::hub::SubscribeError;
use crate::shard::state::Shard;
use crate::shard::subscription_index::filter_bytes;

/// Tells a client that its request failed.
pub(super) fn fail(
    shard: &Shard,
    connection: &Rc<Connection>,
    failure: FailureKind,
    text: &str,
    request_id: Option<&str>,
) {
    shard.hub.send(connection, &protocol::diffyne_error(failure.label(), text, request_id));
}

/// Returns what an event takes, in bytes.
pub(super) fn bytes(event: &EventSubscription) -> usize {
    event.name.len() + event.component_class.as_ref().map_or(0, String::len) + filter_bytes(&event.filter)
}

/// Stores the granted events of a connection, on its account.
pub(super) fn set_granted(connection: &Connection, granted: Vec<EventSubscription>) {
    connection.account.set(HeldKind::Grants, granted.iter().map(bytes).sum());
    connection.granted.replace(granted.into_boxed_slice());
}

/// Subscribes to events, and confirms with the position from which broadcasts are delivered.
pub(super) fn begin(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    events: Vec<EventSubscription>,
    grant: Option<String>,
    request_id: Option<&str>,
) {
    let owned_id = request_id.map(str::to_owned);
    once_positioned(shard, connection, request_id, move |shard, connection| {
        let request_id = owned_id.as_deref();
        if add(shard, connection, &events, request_id) {
            let json = serde_json::to_string(&events).unwrap_or_default();
            let confirmation = Confirmation { position: shard.position(), grant: grant.as_deref(), request_id };
            let text = protocol::subscribed(&json, &confirmation);
            shard.hub.send_at(connection, &text, confirmation.position.as_ref());
            if shard.settings.subscribe == Subscribe::Open {
                identification::send_grant(shard, connection);
            }
        }
    });
}

/// Subscribes to events after a replay of what was broadcast since the client's position.
pub(super) fn resume(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    events: Vec<EventSubscription>,
    position: Position,
    grant: Option<String>,
    request_id: Option<&str>,
) {
    if !connection.requests.begin_resume() {
        let text = "A resume of this connection is under way";
        return fail(shard, connection, FailureKind::Overloaded, text, request_id);
    }
    let owned_id = request_id.map(str::to_owned);
    let began = once_positioned(shard, connection, request_id, move |shard, connection| {
        let request_id = owned_id.as_deref();
        if !add(shard, connection, &events, request_id) {
            connection.requests.end_resume();
            return;
        }
        match shard.hub.position() {
            Some(_) => replay::start(shard, connection, position, grant, request_id),
            None => replay::confirm(shard, connection, false, grant.as_deref(), request_id),
        }
    });
    if !began {
        connection.requests.end_resume();
    }
}

/// Adds subscriptions. Returns `false` if the client was told why that is refused.
fn add(shard: &Shard, connection: &Rc<Connection>, events: &[EventSubscription], request_id: Option<&str>) -> bool {
    let most = shard.settings.subscriptions_max;
    for event in events {
        if let Err(error) = shard.hub.subscribe(connection, &event.name, &event.filter, most) {
            let text = match error {
                SubscribeError::TooMany => format!("A connection may have at most {most} subscriptions"),
                SubscribeError::TooLarge => "Too much is held for this connection already".to_owned(),
            };
            fail(shard, connection, FailureKind::Subscribe, &text, request_id);
            return false;
        }
    }
    true
}

/// Runs `work` once this thread knows its position in the history; a gateway that has just started needs a moment for
/// that. The broadcasts that `work` finds in the history are not delivered by the thread itself. Returns `false` if the
/// client was told that too many of its requests already wait.
fn once_positioned(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    request_id: Option<&str>,
    work: impl FnOnce(&Rc<Shard>, &Rc<Connection>) + 'static,
) -> bool {
    if shard.hub.position().is_some() {
        work(shard, connection);
        return true;
    }
    if !connection.requests.begin_wait() {
        let text = "Too many subscriptions of this connection wait for the gateway to start";
        fail(shard, connection, FailureKind::Overloaded, text, request_id);
        return false;
    }
    let (shard, connection) = (Rc::clone(shard), Rc::clone(connection));
    tokio::task::spawn_local(async move {
        let limit = Instant::now() + CATCH_UP_TIMEOUT;
        while shard.hub.position().is_none() && Instant::now() < limit && connection.takes_messages() {
            tokio::time::sleep(CATCH_UP_STEP).await;
        }
        connection.requests.end_wait();
        if connection.takes_messages() {
            work(&shard, &connection);
            shard.hub.flush();
        }
    });
    true
}
