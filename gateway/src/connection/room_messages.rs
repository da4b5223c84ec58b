//! Handles the messages `diffyne.presence`, `diffyne.leave` and `diffyne.whisper`.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use diffyne_shared::bus::{ChannelEvent, Whisper, is_event_name, is_guarded, read_room_name, room_name};
use diffyne_shared::envelope::{CLASS_BYTES_MAX, FailureKind, REQUEST_ID_BYTES_MAX};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Connection;
use super::identification;
use super::room_request::{self, Admitted};
use super::subscription::fail;
use crate::auth::grant::EventSubscription;
use crate::presence::rooms::Departure;
use crate::protocol;
use crate::shard::call::WantedRoom;
use crate::shard::state::Shard;

/// The limit of a message's `rooms`, in bytes of JSON: with grants, whose infos a worker has made.
const ROOMS_BYTES_MAX: usize = 256 * 1024;
/// The bytes of a whisper beside what it says.
const WHISPER_BYTES: usize = 64;
/// How the names of rooms of presence channels begin.
const CHANNEL: &str = "presence:";

const ROOMS_FORMAT: &str = "rooms must be a list of {name, match?, componentClass, grant?} with names of 1 to 128 printable characters without braces; a room of a channel is named presence: and the channel's name";
const LEAVE_FORMAT: &str = "rooms must be a list of names of rooms";
const WHISPER_FORMAT: &str = "a whisper is {room, name, data} with a name of 1 to 128 printable characters";

#[derive(Deserialize)]
struct EnterFields<'a> {
    #[serde(borrow)]
    rooms: Vec<EnterRoom<'a>>,
}

#[derive(Deserialize)]
struct EnterRoom<'a> {
    #[serde(flatten)]
    event: EventSubscription,
    #[serde(borrow, default)]
    grant: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct LeaveFields {
    rooms: Vec<String>,
}

#[derive(Deserialize)]
struct WhisperFields<'a> {
    #[serde(borrow)]
    room: Cow<'a, str>,
    name: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Returns a message's request id, as JSON; `None` if it has none or one that is too long.
fn request_id(data: &str) -> Option<&str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        #[serde(borrow, default)]
        request_id: Option<&'a RawValue>,
    }
    let fields: Fields<'_> = serde_json::from_str(data).ok()?;
    fields.request_id.map(RawValue::get).filter(|id| id.len() <= REQUEST_ID_BYTES_MAX)
}

/// Handles `diffyne.presence`: enters rooms, at once with a grant, or when a worker has decided.
pub(super) fn enter(shard: &Rc<Shard>, connection: &Rc<Connection>, data: &str) {
    let request_id = request_id(data);
    let refuse = |text: &str| fail(shard, connection, FailureKind::Subscribe, text, request_id);
    let fields = serde_json::from_str::<EnterFields<'_>>(data).ok().filter(|_| data.len() <= ROOMS_BYTES_MAX);
    let Some(EnterFields { rooms }) = fields.filter(|fields| !fields.rooms.is_empty()) else {
        return refuse(ROOMS_FORMAT);
    };
    let most = shard.settings.presence_rooms_max;
    if rooms.len() > most {
        return refuse(&format!("A connection may be in at most {most} rooms"));
    }
    let session = shard.grants.session(&connection.caller);
    let (mut admitted, mut wanted) = (Vec::new(), Vec::new());
    for EnterRoom { event, grant } in rooms {
        let Some(name) = checked_room(&event) else { return refuse(ROOMS_FORMAT) };
        let shown = grant.and_then(|grant| shard.grants.verify_room(&grant, &event, &session).ok());
        match shown {
            Some((grant, room)) => {
                if let Some(user) = &grant.user {
                    identification::set_shown_user(shard, connection, user);
                }
                // Who is another one by now has to be decided about anew.
                let is_same = grant.user.as_deref() == connection.user.known().as_deref() || grant.user.is_none();
                if is_same && !grant.needs_renewal {
                    admitted.push(Admitted { name, room, is_new: false });
                } else {
                    wanted.push(WantedRoom { name, event, shown: is_same.then_some(room) });
                }
            }
            None => wanted.push(WantedRoom { name, event, shown: None }),
        }
    }
    room_request::admit(shard, connection, admitted, request_id);
    if !wanted.is_empty() {
        room_request::send(shard, connection, wanted, request_id);
    }
}

/// Returns the name of a room that somebody can decide about.
fn checked_room(event: &EventSubscription) -> Option<Arc<str>> {
    let has_class = event.component_class.as_ref().is_some_and(|class| (1..=CLASS_BYTES_MAX).contains(&class.len()));
    let is_channel = event
        .name
        .strip_prefix(CHANNEL)
        .is_some_and(|channel| !channel.is_empty() && !channel.contains(':') && event.filter.is_none());
    let is_of_component = !is_guarded(&event.name) && ChannelEvent::read(&event.name).is_none() && has_class;
    (is_channel || is_of_component).then(|| room_name(&event.name, event.filter.as_ref()))?
}

/// Handles `diffyne.leave`.
pub(super) fn leave(shard: &Shard, connection: &Rc<Connection>, data: &str) {
    let request_id = request_id(data);
    let fields = serde_json::from_str::<LeaveFields>(data).ok();
    let most = shard.settings.presence_rooms_max;
    let Some(LeaveFields { rooms }) = fields.filter(|fields| fields.rooms.len() <= most) else {
        return fail(shard, connection, FailureKind::Subscribe, LEAVE_FORMAT, request_id);
    };
    let mut left = Vec::new();
    for room in rooms.iter().filter_map(|room| read_room_name(room)) {
        if shard.hub.leave_room(connection, &room, Departure::Now) {
            left.push(room);
        }
    }
    shard.hub.send(connection, &protocol::left(&left, None, request_id));
}

/// Handles `diffyne.whisper`.
pub(super) fn whisper(shard: &Shard, connection: &Rc<Connection>, data: &str, now: Instant) {
    let request_id = request_id(data);
    let refuse = |result: &str, failure: FailureKind, text: &str| {
        shard.metrics.whispers.with_label_values(&[result]).inc();
        fail(shard, connection, failure, text, request_id);
    };
    let fields = serde_json::from_str::<WhisperFields<'_>>(data).ok();
    let Some(WhisperFields { room, name, data }) = fields.filter(|fields| is_event_name(&fields.name)) else {
        return refuse("refused", FailureKind::Subscribe, WHISPER_FORMAT);
    };
    let room = read_room_name(&room);
    let Some((room, from)) = room.and_then(|room| connection.rooms.member_in(&room).map(|from| (room, from))) else {
        return refuse("refused", FailureKind::Subscribe, "Whispers reach only rooms that this connection has entered");
    };
    let most = shard.settings.whisper_bytes_max;
    if data.get().len() > most {
        let text = format!("The data of a whisper may have at most {most} bytes");
        return refuse("refused", FailureKind::TooLarge, &text);
    }
    if !connection.rooms.may_whisper(shard.settings.whisper_rate, now) {
        return refuse("limited", FailureKind::RateLimited, "Too many whispers");
    }
    let whisper = Whisper { room, name, from, data: data.get().to_owned() };
    // Each member gets it: the next read waits until this is paid.
    let frame = WHISPER_BYTES + whisper.room.len() + whisper.name.len() + whisper.from.len() + whisper.data.len();
    let cost = (frame * shard.hub.audience(&whisper.room)) as u64;
    let _ = connection.account.charge(&shard.rates, cost, now);
    let result = if shard.hub.whisper(connection, whisper) { "sent" } else { "dropped" };
    shard.metrics.whispers.with_label_values(&[result]).inc();
}
