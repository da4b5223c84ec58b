//! `GET /api/presence?room=`: who is in a room, over all gateways.

use std::slice;
use std::sync::Arc;

use diffyne_shared::bus::{Bus, RoomMember, read_room_name};
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::presence::registry::RoomRegistry;
use crate::presence::room::merged;
use crate::publish_api::ApiResponse;

const ROOM_FORMAT: &str = "room must be the name of an event, with the fields that make the room behind it: message-sent{\"room_id\":7}; or presence: and the name of a channel.";

/// Returns the members of a room.
pub async fn members(bus: &Bus, presence: &RoomRegistry, room: &Value) -> ApiResponse {
    let Some(name) = room.as_str().and_then(read_room_name) else {
        return (StatusCode::UNPROCESSABLE_ENTITY, json!({"error": ROOM_FORMAT}));
    };
    let known = presence.list(&name);
    if !bus.has_others() {
        return found(&name, &known.unwrap_or_default());
    }
    match (bus.read_rooms(slice::from_ref(&name)).await, known) {
        (Ok(mut read), _) => found(&name, &merged(read.rooms.pop().unwrap_or_default())),
        // As it was when Redis was there.
        (Err(_), Some(known)) => found(&name, &known),
        (Err(error), None) => {
            let error = format!("Redis does not answer, and no client of this gateway is in the room: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, json!({"error": error}))
        }
    }
}

fn found(name: &Arc<str>, members: &[RoomMember]) -> ApiResponse {
    let member = |RoomMember { id, info, .. }: &RoomMember| {
        let info = serde_json::from_str::<Value>(info).unwrap_or_default();
        json!({"id": **id, "info": info})
    };
    let members: Vec<Value> = members.iter().map(member).collect();
    (StatusCode::OK, json!({"room": **name, "total": members.len(), "members": members}))
}
