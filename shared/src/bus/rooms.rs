//! Rooms as gateways tell each other of them: who is in a room at which gateway, and what members whisper.
//!
//! A gateway reports the changes of its own members under consecutive numbers. Whoever misses a number reads the room again.
//! Gateways up to 0.2 do not listen to the channel of these messages.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::names::is_event_name;

/// The longest name of a room, in bytes: that of an event, and the fields that make the room one of many.
pub const ROOM_BYTES_MAX: usize = 512;

/// Returns the name of the room of an event with these fields: the fields as JSON behind the event's name, in the order of
/// their names. `None` if the name would be too long.
pub fn room_name(event: &str, fields: Option<&Map<String, Value>>) -> Option<Arc<str>> {
    let name = match fields {
        Some(fields) if !fields.is_empty() => format!("{event}{}", Value::Object(sorted_fields(fields))),
        _ => event.to_owned(),
    };
    // With a brace in it, an event without fields would have the name of another one's room.
    (is_event_name(event) && !event.contains('{') && name.len() <= ROOM_BYTES_MAX).then(|| name.into())
}

/// Reads the name of a room as people write it, with its fields in any order.
pub fn read_room_name(text: &str) -> Option<Arc<str>> {
    // What it may take with spaces and escapes. Reading more costs more than it is worth.
    if text.len() > 2 * ROOM_BYTES_MAX {
        return None;
    }
    let Some(at) = text.find('{') else { return room_name(text, None) };
    let fields: Map<String, Value> = serde_json::from_str(&text[at..]).ok()?;
    room_name(&text[..at], Some(&fields))
}

/// Returns the same fields in the order of their names, and those of each object in them: fields are compared like JSON
/// objects, which have no order. They nest no deeper than messages may.
pub fn sorted_fields(fields: &Map<String, Value>) -> Map<String, Value> {
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort_unstable();
    names.into_iter().map(|name| (name.clone(), sorted(&fields[name]))).collect()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(sorted_fields(fields)),
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// A member of a room at one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomMember {
    /// The user's id.
    pub id: Arc<str>,
    /// What others may know of the user, as JSON.
    pub info: Arc<str>,
    /// When the gateway was told this, in milliseconds of Unix time: of several gateways, the latest counts.
    pub at: u64,
}

impl RoomMember {
    /// The bytes that the member takes in a list.
    pub fn bytes(&self) -> usize {
        self.id.len() + self.info.len()
    }
}

/// What changes in a room among the members of one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomChange {
    /// The room.
    pub room: Arc<str>,
    /// Those who have come, or of whom there is something else to know.
    pub joins: Vec<RoomMember>,
    /// The ids of those who have left.
    pub leaves: Vec<Arc<str>>,
    /// The gateway has no other members in this room than those who come.
    pub is_whole: bool,
}

impl RoomChange {
    /// Estimates the bytes of its JSON.
    pub fn bytes(&self) -> usize {
        let joins = self.joins.iter().map(|member| member.bytes() + 32).sum::<usize>();
        self.room.len() + joins + self.leaves.iter().map(|id| id.len() + 3).sum::<usize>() + 32
    }
}

/// What one gateway reports at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomReport {
    /// The gateway.
    pub gateway: Arc<str>,
    /// The number of the report among the gateway's own.
    pub number: u64,
    /// The changes.
    pub changes: Vec<RoomChange>,
}

/// How a report follows those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    /// It changes what was reported before.
    Change,
    /// A part of everything; more is to come.
    Part,
    /// The last part of everything.
    LastPart,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// The others have it.
    Taken,
    /// Redis does not have what was reported before: everything has to be reported anew.
    Lost,
}

/// A gateway as Redis knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomsPeer {
    /// Its id.
    pub gateway: Arc<str>,
    /// The number of its last report.
    pub number: u64,
    /// All that it has reported is there. It is not while the gateway reports everything anew.
    pub is_complete: bool,
    /// How long it counts if it is not heard of again.
    pub life: Duration,
}

/// The answer to a heartbeat.
#[derive(Debug)]
pub struct RoomsBeat {
    /// What was reported before is not there any more.
    pub is_lost: bool,
    /// The other gateways.
    pub peers: Vec<RoomsPeer>,
}

/// Rooms as they are in Redis.
#[derive(Debug)]
pub struct RoomsRead {
    /// The gateways that count, whether or not they have members in these rooms.
    pub peers: Vec<RoomsPeer>,
    /// Of each room that was asked for: the members at each gateway.
    pub rooms: Vec<Vec<(Arc<str>, Vec<RoomMember>)>>,
}

/// What a member says to the others in a room, and nobody keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whisper {
    /// The room.
    pub room: Arc<str>,
    /// Its name.
    pub name: String,
    /// The id of the member.
    pub from: Arc<str>,
    /// JSON.
    pub data: String,
}

/// A message on the channel of rooms.
#[derive(Debug)]
pub enum RoomsMessage {
    /// Changes among a gateway's members.
    Report(RoomReport),
    /// What members at a gateway whisper.
    Whispers {
        /// The gateway.
        gateway: String,
        /// The whispers.
        whispers: Vec<Whisper>,
    },
}

#[derive(Serialize, Deserialize)]
struct WireChange<'a> {
    room: Arc<str>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    joins: Vec<(Arc<str>, u64, &'a RawValue)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    leaves: Vec<Arc<str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    whole: bool,
}

#[derive(Serialize, Deserialize)]
struct WireWhisper<'a> {
    room: Arc<str>,
    name: String,
    from: Arc<str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// A message has `number` and `changes`, or `whispers`.
#[derive(Serialize, Deserialize)]
struct WireMessage<'a> {
    gateway: &'a str,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<WireChange<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    whispers: Vec<WireWhisper<'a>>,
}

/// Encodes a report. `None` if an info is not JSON.
pub(super) fn encode_report(report: &RoomReport) -> Option<String> {
    let change = |change: &'_ RoomChange| -> Option<String> {
        let joins = change
            .joins
            .iter()
            .map(|member| Some((Arc::clone(&member.id), member.at, serde_json::from_str(&member.info).ok()?)))
            .collect::<Option<Vec<(_, _, &RawValue)>>>()?;
        let (room, leaves) = (Arc::clone(&change.room), change.leaves.clone());
        serde_json::to_string(&WireChange { room, joins, leaves, whole: change.is_whole }).ok()
    };
    let changes = report.changes.iter().map(change).collect::<Option<Vec<_>>>()?.join(",");
    let gateway = serde_json::to_string(&*report.gateway).ok()?;
    Some(format!(r#"{{"gateway":{gateway},"number":{},"changes":[{changes}]}}"#, report.number))
}

/// Encodes whispers. `None` if the data of one is not JSON.
pub(super) fn encode_whispers(gateway: &str, whispers: &[Whisper]) -> Option<String> {
    let whispers = whispers.iter().map(|Whisper { room, name, from, data }| {
        let data = serde_json::from_str(data).ok()?;
        Some(WireWhisper { room: Arc::clone(room), name: name.clone(), from: Arc::clone(from), data })
    });
    let whispers = whispers.collect::<Option<Vec<_>>>()?;
    serde_json::to_string(&WireMessage { gateway, number: None, changes: Vec::new(), whispers }).ok()
}

/// Decodes a message of the channel; `None` for a message of somebody else.
pub(super) fn decode_message(bytes: &[u8]) -> Option<RoomsMessage> {
    let WireMessage { gateway, number, changes, whispers } = serde_json::from_slice(bytes).ok()?;
    let Some(number) = number else {
        let whispers = whispers.into_iter().map(|WireWhisper { room, name, from, data }| Whisper {
            room,
            name,
            from,
            data: data.get().to_owned(),
        });
        return Some(RoomsMessage::Whispers { gateway: gateway.to_owned(), whispers: whispers.collect() });
    };
    let changes = changes.into_iter().map(|WireChange { room, joins, leaves, whole }| RoomChange {
        room,
        joins: joins.into_iter().map(|(id, at, info)| RoomMember { id, info: info.get().into(), at }).collect(),
        leaves,
        is_whole: whole,
    });
    Some(RoomsMessage::Report(RoomReport { gateway: gateway.into(), number, changes: changes.collect() }))
}

/// Encodes what Redis keeps of a member under its id.
pub(super) fn encode_value(member: &RoomMember) -> String {
    format!("{} {}", member.at, member.info)
}

/// Decodes a member; `None` for something else.
pub(super) fn decode_value(id: &str, value: &str) -> Option<RoomMember> {
    let (at, info) = value.split_once(' ')?;
    serde_json::from_str::<&RawValue>(info).ok()?;
    Some(RoomMember { id: id.into(), info: info.into(), at: at.parse().ok()? })
}

/// How the state of a gateway ends while it reports everything anew.
const INCOMPLETE: char = '~';

/// Encodes the state of a gateway after a report.
pub(super) fn encode_state(number: u64, kind: ReportKind) -> String {
    match kind {
        ReportKind::Change | ReportKind::LastPart => number.to_string(),
        ReportKind::Part => format!("{number}{INCOMPLETE}"),
    }
}

/// Decodes the state of a gateway: the number of its last report, and whether everything is there.
pub(super) fn decode_state(state: &str) -> Option<(u64, bool)> {
    match state.strip_suffix(INCOMPLETE) {
        Some(number) => Some((number.parse().ok()?, false)),
        None => Some((state.parse().ok()?, true)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_room_has_one_name_whatever_the_order_of_its_fields() {
        let name = |event: &str, fields: Value| room_name(event, fields.as_object());
        let expected = r#"seen{"a":{"x":1,"y":[{"b":2,"c":3}]},"z":"1"}"#;
        for fields in [
            json!({"z": "1", "a": {"y": [{"c": 3, "b": 2}], "x": 1}}),
            json!({"a": {"x": 1, "y": [{"b": 2, "c": 3}]}, "z": "1"}),
        ] {
            let found = name("seen", fields.clone()).unwrap();
            assert_eq!(&*found, expected);
            assert_eq!(read_room_name(&format!("seen{fields}")), Some(found));
        }
        assert_eq!(name("seen", json!({})).as_deref(), Some("seen"));
        assert_eq!(read_room_name("presence:room.1").as_deref(), Some("presence:room.1"));
        assert_ne!(name("seen", json!({"room": 1})), name("seen", json!({"room": "1"})));
        assert_eq!(room_name(r#"seen{"room":1}"#, None), None, "it would be the room of another event");
        for wrong in
            ["", "a b", "seen{", "seen{}x", "seen[1]{\"a\":1", &format!("seen{{\"a\":\"{}\"}}", "x".repeat(512))]
        {
            assert_eq!(read_room_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn reports_and_whispers_arrive_as_they_were_sent() {
        let member = |id: &str| RoomMember { id: id.into(), info: r#"{"name": "\u00e9", "n":1.0}"#.into(), at: 7 };
        let report = RoomReport {
            gateway: "g.1".into(),
            number: 3,
            changes: vec![
                RoomChange {
                    room: r#"seen{"a":1}"#.into(),
                    joins: vec![member("a\"b")],
                    leaves: vec!["c".into()],
                    is_whole: false,
                },
                RoomChange { room: "seen".into(), joins: vec![], leaves: vec![], is_whole: true },
            ],
        };
        let text = encode_report(&report).unwrap();
        let Some(RoomsMessage::Report(read)) = decode_message(text.as_bytes()) else { panic!("{text}") };
        assert_eq!(read, report);
        let whisper = Whisper { room: "r".into(), name: "typing".into(), from: "7".into(), data: "[1.0]".into() };
        let text = encode_whispers("g.1", std::slice::from_ref(&whisper)).unwrap();
        let Some(RoomsMessage::Whispers { gateway, whispers }) = decode_message(text.as_bytes()) else {
            panic!("{text}")
        };
        assert_eq!((gateway.as_str(), whispers), ("g.1", vec![whisper]));
        let stored = member("x");
        assert_eq!(decode_value("x", &encode_value(&stored)), Some(stored));
        for (kind, complete) in [(ReportKind::Change, true), (ReportKind::Part, false), (ReportKind::LastPart, true)] {
            assert_eq!(decode_state(&encode_state(9, kind)), Some((9, complete)));
        }
    }

    #[test]
    fn what_strangers_write_is_nobodys() {
        for text in ["", "7", "{}", r#"{"gateway":"g","number":-1}"#, r#"{"gateway":"g","number":1,"changes":[7]}"#] {
            assert!(decode_message(text.as_bytes()).is_none(), "{text}");
        }
        for value in ["", "7", "x {}", "7 {", "7 "] {
            assert_eq!(decode_value("a", value), None, "{value}");
        }
        for state in ["", "~", "x", "-1"] {
            assert_eq!(decode_state(state), None, "{state}");
        }
    }
}
