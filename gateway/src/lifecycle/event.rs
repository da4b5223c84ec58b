//! The JSON of events.

use diffyne_shared::settings::lifecycle::LifecycleKind;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The bytes of a room's hash that its ids have.
const ROOM_DIGEST_BYTES: usize = 8;

/// A user's id; null for guests, and while it is not known.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(transparent)]
pub struct UserId<'a>(pub Option<&'a str>);

/// The fields of one event, as far as it has them. The queue adds its id, its time and the gateway.
#[derive(Debug, Default, Serialize)]
pub struct EventFields<'a> {
    /// The client id of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<&'a str>,
    /// Who the user is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId<'a>>,
    /// Who it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<UserId<'a>>,
    /// How messages travel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<&'a str>,
    /// The browser's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<&'a str>,
    /// How long the connection has lasted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// The name of the event that is subscribed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'a str>,
    /// Which of these events.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub filter: Option<&'a Map<String, Value>>,
    /// The gateway that has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<&'a str>,
    /// Grows with each change of a room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

#[derive(Serialize)]
struct Event<'a> {
    id: &'a str,
    name: &'static str,
    at: u64,
    gateway: &'a str,
    #[serde(flatten)]
    fields: &'a EventFields<'a>,
}

/// An event as it is delivered. `at` is in milliseconds since 1970.
pub fn json(kind: LifecycleKind, id: &str, at: u64, gateway: &str, fields: &EventFields<'_>) -> Box<str> {
    let event = Event { id, name: kind.name(), at, gateway, fields };
    // A map with strings as keys cannot fail to be written.
    serde_json::to_string(&event).unwrap_or_default().into()
}

/// The id of what is told of a room: it is the same if the same is told again, also by another gateway.
pub fn room_id(kind: LifecycleKind, room: &str, version: u64) -> String {
    let digest = Sha256::digest(room.as_bytes());
    format!("{}-{version}-{}", kind.name(), hex::encode(&digest[..ROOM_DIGEST_BYTES]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_fields_of_its_kind_alone() {
        let fields =
            EventFields { connection: Some("c"), user: Some(UserId(None)), seconds: Some(3), ..EventFields::default() };
        let text = json(LifecycleKind::Disconnected, "g.1-7", 5, "g.1", &fields);
        assert_eq!(
            &*text,
            r#"{"id":"g.1-7","name":"disconnected","at":5,"gateway":"g.1","connection":"c","user":null,"seconds":3}"#
        );
    }

    #[test]
    fn what_is_told_of_a_room_has_an_id_of_room_kind_and_version() {
        let id = room_id(LifecycleKind::Occupied, "a", 7);
        // printf a | sha256sum
        assert_eq!(id, "occupied-7-ca978112ca1bbdca");
        let others =
            [(LifecycleKind::Vacated, "a", 7), (LifecycleKind::Occupied, "b", 7), (LifecycleKind::Occupied, "a", 8)];
        assert!(others.iter().all(|(kind, room, version)| room_id(*kind, room, *version) != id));
    }
}
