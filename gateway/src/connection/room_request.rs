//! Asks a worker, in the user's session, whether a client may enter rooms, and what the others there may know of the user.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use diffyne_shared::bus::{RoomMember, is_user_id};
use diffyne_shared::clock::unix_millis;
use diffyne_shared::envelope::FailureKind;
use diffyne_shared::rpc::Outcome;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Connection;
use super::permission_call::{self, Standing, Validity};
use super::subscription::fail;
use crate::auth::grant::GrantedRoom;
use crate::presence::rooms::Departure;
use crate::protocol::{self, EnteredRoom};
use crate::relay::RelayResult;
use crate::shard::call::{CallOrigin, PendingRooms, WantedRoom};
use crate::shard::state::Shard;

/// The longest info of a user, in bytes of JSON.
const INFO_BYTES_MAX: usize = 4096;

/// A room that a client may enter.
pub(super) struct Admitted {
    /// The room's name.
    pub(super) name: Arc<str>,
    /// What a worker has said of the user.
    pub(super) room: GrantedRoom,
    /// A worker has said it just now, so the client gets a grant.
    pub(super) is_new: bool,
}

/// Asks a worker about rooms.
pub(super) fn send(shard: &Rc<Shard>, connection: &Rc<Connection>, rooms: Vec<WantedRoom>, request_id: Option<&str>) {
    let wanted: Vec<_> = rooms.iter().map(|room| &room.event).collect();
    let payload = json!({"events": [], "rooms": wanted}).to_string();
    let names = rooms.iter().map(|room| room.name.len()).sum();
    let Some((call, decision)) = permission_call::begin(shard, connection, payload, names, request_id) else {
        let text = "Too many requests of this connection wait for a worker";
        return fail(shard, connection, FailureKind::Overloaded, text, request_id);
    };
    let pending = PendingRooms { rooms, decision };
    shard.relay.submit(call, CallOrigin::Rooms(Rc::clone(connection), Box::new(pending)));
}

#[derive(Deserialize)]
struct WorkerAnswer {
    here: Vec<Option<WorkerMember>>,
}

#[derive(Deserialize)]
struct WorkerMember {
    id: String,
    info: Value,
}

/// Returns what the worker says of the user for each room, or why it could not decide.
fn decisions(result: &RelayResult<'_>, rooms: usize) -> Result<Vec<Option<WorkerMember>>, (FailureKind, &'static str)> {
    match result {
        RelayResult::Reply(reply, _) if reply.outcome == Outcome::Ok => {
            serde_json::from_slice::<WorkerAnswer>(reply.data)
                .ok()
                .map(|answer| answer.here)
                .filter(|here| here.len() == rooms)
                .ok_or((FailureKind::Subscribe, "The worker runs a release that knows no rooms."))
        }
        RelayResult::Reply(..) => Err((FailureKind::Subscribe, "The component could not be asked.")),
        RelayResult::Failed(failure, text) => Err((*failure, *text)),
    }
}

/// Handles a worker's answer or failure.
pub fn complete(shard: &Rc<Shard>, connection: &Rc<Connection>, request: PendingRooms, result: &RelayResult<'_>) {
    let standing = permission_call::end(shard, connection, &request.decision, result, Validity::SameSession);
    let request_id = request.decision.request_id.as_deref();
    let is_other_user = match standing {
        Standing::Ended => return,
        Standing::Outdated => {
            let rooms = request.rooms.into_iter().map(|room| WantedRoom { shown: None, ..room }).collect();
            return send(shard, connection, rooms, request_id);
        }
        // A grant that was shown for the user before counts no more, whether a worker has answered or not.
        Standing::Current { is_other_user } => is_other_user,
    };
    match decisions(result, request.rooms.len()) {
        Ok(here) => apply(shard, connection, request.rooms, here, request_id),
        Err((failure, text)) => {
            let shown = |room: WantedRoom| WantedRoom { shown: room.shown.filter(|_| !is_other_user), ..room };
            let rooms = request.rooms.into_iter().map(shown).collect();
            keep(shard, connection, rooms, failure, text, request_id);
        }
    }
}

/// Enters the granted rooms, and leaves the others.
fn apply(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    rooms: Vec<WantedRoom>,
    here: Vec<Option<WorkerMember>>,
    request_id: Option<&str>,
) {
    let (mut admitted, mut refused) = (Vec::new(), Vec::new());
    for (WantedRoom { name, event, .. }, member) in rooms.into_iter().zip(here) {
        match member.filter(|member| is_user_id(&member.id)) {
            Some(WorkerMember { id, info }) => {
                admitted.push(Admitted {
                    name,
                    room: GrantedRoom { event, id, info, at: unix_millis() },
                    is_new: true,
                });
            }
            None => refused.push(name),
        }
    }
    for room in &refused {
        // With whatever right it has entered before.
        let left = shard.hub.leave_room(connection, room, Departure::Now);
        if left {
            shard.hub.send(connection, &protocol::left(&[room], Some("not granted"), None));
        }
    }
    if !refused.is_empty() {
        count(shard, "refused", refused.len());
        let text = format!("Not granted: {}", refused.join(", "));
        refuse(shard, connection, FailureKind::Subscribe, &text, &refused, request_id);
    }
    admit(shard, connection, admitted, request_id);
}

/// Enters the rooms for which a client has shown a valid grant, since no worker could renew it.
fn keep(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    rooms: Vec<WantedRoom>,
    failure: FailureKind,
    text: &str,
    request_id: Option<&str>,
) {
    let (mut admitted, mut failed) = (Vec::new(), Vec::new());
    for WantedRoom { name, shown, .. } in rooms {
        match shown {
            Some(room) => admitted.push(Admitted { name, room, is_new: false }),
            None => failed.push(name),
        }
    }
    if !failed.is_empty() {
        count(shard, "failed", failed.len());
        refuse(shard, connection, failure, text, &failed, request_id);
    }
    admit(shard, connection, admitted, request_id);
}

/// Has a connection enter rooms, and confirms. Says nothing if there is none.
pub(super) fn admit(shard: &Rc<Shard>, connection: &Rc<Connection>, rooms: Vec<Admitted>, request_id: Option<&str>) {
    let mut entered = Vec::new();
    for admitted in rooms {
        match enter(shard, connection, &admitted) {
            Ok(()) => entered.push(admitted),
            Err(text) => refuse(shard, connection, FailureKind::Subscribe, &text, &[admitted.name], request_id),
        }
    }
    if entered.is_empty() {
        return;
    }
    let session = shard.grants.session(&connection.caller);
    let user = connection.user.known();
    let sign = |room: &GrantedRoom| shard.grants.sign_room(room.clone(), &session, user.as_deref());
    let entered: Vec<EnteredRoom<'_>> = entered
        .iter()
        .map(|Admitted { name, room, is_new }| {
            let grant = is_new.then(|| sign(room)).flatten();
            EnteredRoom { room: name, event: &room.event, id: &room.id, grant }
        })
        .collect();
    shard.hub.send(connection, &protocol::joined(&entered, request_id));
}

/// Has a connection enter a room. The error is the text for the client.
fn enter(shard: &Shard, connection: &Connection, Admitted { name, room, is_new }: &Admitted) -> Result<(), String> {
    let info = room.info.to_string();
    let (id, at) = (room.id.as_str().into(), room.at);
    if info.len() > INFO_BYTES_MAX {
        count(shard, "full", 1);
        tracing::warn!(
            bytes = info.len(),
            "a worker tells more of a user than the {INFO_BYTES_MAX} bytes of a room's info"
        );
        return Err(format!("What there is to know of a user may have at most {INFO_BYTES_MAX} bytes: {name}"));
    }
    let most = shard.settings.presence_rooms_max;
    if connection.rooms.member_in(name).is_none() && connection.rooms.len() >= most {
        count(shard, "full", 1);
        return Err(format!("A connection may be in at most {most} rooms"));
    }
    let member = RoomMember { id, info: info.into(), at };
    let bytes = member.bytes();
    if !connection.has_room_for(bytes + name.len()) {
        count(shard, "full", 1);
        return Err("Too much is held for this connection already".to_owned());
    }
    if shard.hub.enter_room(connection, name, member).is_err() {
        count(shard, "full", 1);
        return Err(format!("The room is full: {name}"));
    }
    // All are told of it, and this connection of all.
    let cost = (bytes * shard.hub.audience(name)) as u64;
    let _ = connection.account.charge(&shard.rates, cost, Instant::now());
    count(shard, if *is_new { "granted" } else { "shown" }, 1);
    Ok(())
}

/// Tells a client which rooms it cannot enter.
fn refuse(
    shard: &Shard,
    connection: &Rc<Connection>,
    failure: FailureKind,
    text: &str,
    rooms: &[Arc<str>],
    request_id: Option<&str>,
) {
    shard.hub.send(connection, &protocol::rooms_error(failure.label(), text, rooms, request_id));
}

fn count(shard: &Shard, result: &str, rooms: usize) {
    shard.metrics.presence_entries.with_label_values(&[result]).inc_by(rooms as u64);
}
