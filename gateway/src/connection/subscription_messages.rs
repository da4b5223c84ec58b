//! Handles the messages `diffyne.subscribe`, `diffyne.unsubscribe` and `diffyne.resume`.

use std::borrow::Cow;
use std::rc::Rc;

use diffyne_shared::bus::{Position, is_event_name, is_guarded};
use diffyne_shared::envelope::{CLASS_BYTES_MAX, DataHead, FailureKind};
use diffyne_shared::settings::value::Subscribe;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Connection;
use super::grant_request::{self, Wanted, count};
use super::identification;
use super::subscription::{self, fail, set_granted};
use crate::auth::grant::{EventSubscription, GrantError};
use crate::protocol::{self, Confirmation};
use crate::shard::state::Shard;

/// The limit of a message's `events`, in bytes of JSON. Their filters are stored, and are part of grants.
const EVENTS_BYTES_MAX: usize = 64 * 1024;

const EVENTS_FORMAT: &str = "events must be a list of {name, match?, componentClass?} with names of 1 to 128 printable characters, in at most 64 KiB";

/// What a client reports about its last connection when it resumes.
#[derive(Deserialize)]
struct ResumeFields<'a> {
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    offset: u64,
    #[serde(borrow, default)]
    grant: Option<Cow<'a, str>>,
}

/// Handles `diffyne.subscribe`.
pub(super) fn subscribe(shard: &Rc<Shard>, connection: &Rc<Connection>, data: &str) {
    let head = DataHead::read(data);
    let Some(events) = checked_events(shard, connection, &head) else { return };
    let request_id = head.request_id();
    let wanted = wanted(shard, events);
    if !wanted.guarded.is_empty() {
        grant_request::send(shard, connection, wanted, None, false, request_id);
    } else if identification::is_needed(shard, connection) {
        grant_request::identify(shard, connection, wanted.open, None, request_id);
    } else {
        subscription::begin(shard, connection, wanted.open, None, request_id);
    }
}

/// Tells those events about which a worker has to decide from the others.
fn wanted(shard: &Shard, events: Vec<EventSubscription>) -> Wanted {
    let all = shard.settings.subscribe == Subscribe::Granted;
    let (guarded, open) = events.into_iter().partition(|event| all || is_guarded(&event.name));
    Wanted { guarded, open }
}

/// Handles `diffyne.unsubscribe`.
pub(super) fn unsubscribe(shard: &Shard, connection: &Rc<Connection>, data: &str) {
    let head = DataHead::read(data);
    let Some(events) = checked_events(shard, connection, &head) else { return };
    for event in &events {
        shard.hub.unsubscribe(connection, &event.name, &event.filter);
    }
    let mut granted = connection.granted.take().into_vec();
    granted.retain(|known| {
        !events.iter().any(|event| event.name == known.name && (event.filter.is_none() || event.filter == known.filter))
    });
    set_granted(connection, granted);
    let json = head.events.map_or("[]", RawValue::get);
    let confirmation = Confirmation { position: shard.position(), grant: None, request_id: head.request_id() };
    shard.hub.send(connection, &protocol::unsubscribed(json, &confirmation));
}

/// Handles `diffyne.resume`: subscribes again, after a replay of exactly what was broadcast since. A client that cannot
/// be recovered is told so, and refreshes.
pub(super) fn resume(shard: &Rc<Shard>, connection: &Rc<Connection>, data: &str) {
    connection.requests.set_has_resumed();
    let head = DataHead::read(data);
    let request_id = head.request_id();
    let Ok(fields) = serde_json::from_str::<ResumeFields<'_>>(data) else {
        let text = "epoch must be a string and offset a whole number";
        return fail(shard, connection, FailureKind::Subscribe, text, request_id);
    };
    let Some(events) = checked_events(shard, connection, &head) else { return };
    let position = Position { epoch: (*fields.epoch).into(), offset: fields.offset };
    let wanted = wanted(shard, events);
    if wanted.guarded.is_empty() {
        return resume_as_user(shard, connection, wanted.open, position, fields.grant.as_deref(), request_id);
    }
    match fields.grant {
        None => grant_request::send(shard, connection, wanted, Some(position), false, request_id),
        Some(grant) => resume_with_grant(shard, connection, wanted, position, &grant, request_id),
    }
}

/// Resumes in `open` mode, where a grant only tells who the user is.
fn resume_as_user(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    events: Vec<EventSubscription>,
    position: Position,
    grant: Option<&str>,
    request_id: Option<&str>,
) {
    let valid = grant.and_then(|grant| shard.grants.verify(grant, &[], &shard.grants.session(&connection.caller)).ok());
    let needs_renewal = valid.as_ref().is_some_and(|grant| grant.needs_renewal);
    if let Some(user) = valid.and_then(|grant| grant.user) {
        identification::set_shown_user(shard, connection, &user);
    }
    if needs_renewal || identification::is_needed(shard, connection) {
        return grant_request::identify(shard, connection, events, Some(position), request_id);
    }
    subscription::resume(shard, connection, events, position, None, request_id);
}

fn resume_with_grant(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    wanted: Wanted,
    position: Position,
    grant: &str,
    request_id: Option<&str>,
) {
    match shard.grants.verify(grant, &wanted.guarded, &shard.grants.session(&connection.caller)) {
        Ok(grant) if grant.needs_renewal => {
            if let Some(user) = grant.user {
                identification::set_shown_user(shard, connection, &user);
            }
            grant_request::send(shard, connection, wanted, Some(position), true, request_id);
        }
        Ok(grant) => {
            count(shard, "shown");
            if let Some(user) = grant.user {
                identification::set_shown_user(shard, connection, &user);
            }
            set_granted(connection, wanted.guarded.clone());
            connection.user.set_granted();
            let events = [wanted.guarded, wanted.open].concat();
            subscription::resume(shard, connection, events, position, None, request_id);
        }
        Err(GrantError::OtherSession) => {
            // The grant belongs to another user, or the user has logged in or out since. This session has none.
            count(shard, "other_session");
            grant_request::send(shard, connection, wanted, Some(position), false, request_id);
        }
        Err(GrantError::Revoked) => {
            count(shard, "revoked");
            grant_request::send(shard, connection, wanted, Some(position), false, request_id);
        }
        Err(GrantError::Expired) => {
            count(shard, "expired");
            let text = "The grant's time is over: subscribe or resume without it";
            fail(shard, connection, FailureKind::GrantExpired, text, request_id);
        }
        Err(GrantError::Invalid) if shard.settings.subscribe == Subscribe::Open => {
            // The client's grant may be from before it wanted to hear channels, and only name its user.
            grant_request::send(shard, connection, wanted, Some(position), false, request_id);
        }
        Err(GrantError::Invalid) => {
            count(shard, "forged");
            fail(shard, connection, FailureKind::Subscribe, "The grant is not good for these events", request_id);
        }
    }
}

/// Returns the events of a message, or `None` if the client was told that they are invalid.
fn checked_events(shard: &Shard, connection: &Rc<Connection>, head: &DataHead<'_>) -> Option<Vec<EventSubscription>> {
    let request_id = head.request_id();
    let Some(events) = read_events(head) else {
        fail(shard, connection, FailureKind::Subscribe, EVENTS_FORMAT, request_id);
        return None;
    };
    let most = shard.settings.subscriptions_max;
    if events.len() > most {
        let text = format!("A connection may have at most {most} subscriptions");
        fail(shard, connection, FailureKind::Subscribe, &text, request_id);
        return None;
    }
    Some(events)
}

fn read_events(head: &DataHead<'_>) -> Option<Vec<EventSubscription>> {
    let json = head.events?.get();
    if json.len() > EVENTS_BYTES_MAX {
        return None;
    }
    let events: Vec<EventSubscription> = serde_json::from_str(json).ok()?;
    let class_fits =
        |event: &EventSubscription| event.component_class.as_ref().is_none_or(|class| class.len() <= CLASS_BYTES_MAX);
    let fits = |event: &EventSubscription| is_event_name(&event.name) && class_fits(event);
    (!events.is_empty() && events.iter().all(fits)).then_some(events)
}
