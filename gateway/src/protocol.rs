//! Builds every message that is sent to a browser.
//!
//! Answers to a single message are text; messages for many connections are complete frames. A worker's JSON object is
//! not parsed: ids are inserted before its last brace.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use diffyne_shared::bus::{Broadcast, Position, RoomMember, Whisper};
use diffyne_shared::clock::unix_seconds;
use diffyne_shared::envelope::{FailureKind, json_string};
use serde::{Deserialize, Serialize};

use crate::auth::grant::EventSubscription;
use crate::socket::frame;

/// The error that replaces a worker's answer that is not a JSON object.
pub const UNUSABLE: &[u8] = br#""s":false,"error":"The worker's answer cannot be used.","type":"server_error""#;

/// Builds `diffyne.connected`, the first message on a connection. It tells scripts what is to go by AJAX, and which
/// release is served.
pub fn connected(client_id: &str, message_bytes_max: usize, release: Release<'_>) -> String {
    format!(
        r#"{{"event":"diffyne.connected","data":{{"clientId":"{client_id}","message":"Connected to Diffyne WebSocket server","maxMessageSize":{message_bytes_max}{},"timestamp":{}}}}}"#,
        release.field(),
        unix_seconds()
    )
}

/// The release that is served, as far as a page is to hear of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Release<'a> {
    /// The scripts.
    pub scripts: Option<&'a str>,
    /// The components.
    pub components: Option<&'a str>,
}

impl Release<'_> {
    /// Builds `,"release":{...}`; nothing if there is nothing to tell.
    pub fn field(self) -> String {
        let parts = [("scripts", self.scripts), ("components", self.components)];
        let parts = parts.iter().filter_map(|(name, value)| Some(format!(r#""{name}":{}"#, json_string((*value)?))));
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() { String::new() } else { format!(r#","release":{{{}}}"#, parts.join(",")) }
    }
}

/// Builds `diffyne.pong`, with the position in the history if it is known.
pub fn pong(position: Option<&Position>) -> String {
    let mut out = format!(r#"{{"event":"diffyne.pong","data":{{"timestamp":{}"#, unix_seconds());
    if let Some(Position { epoch, offset }) = position {
        // Writing into a `String` cannot fail.
        let _ = write!(out, r#","epoch":"{epoch}","offset":{offset}"#);
    }
    out.push_str("}}");
    out
}

/// Builds `error`: a text could not be read as a message.
pub fn error(text: &str) -> String {
    format!(r#"{{"event":"error","data":{{"message":{},"timestamp":{}}}}}"#, json_string(text), unix_seconds())
}

/// Builds the message of a failed call: `diffyne.response` if its request id is known, otherwise `diffyne.error`.
pub fn failure(failure: FailureKind, text: &str, request_id: Option<&str>) -> String {
    let (text, kind) = (json_string(text), failure.label());
    match request_id {
        Some(id) => format!(
            r#"{{"event":"diffyne.response","data":{{"s":false,"error":{text},"type":"{kind}","requestId":{id}}}}}"#
        ),
        None => format!(r#"{{"event":"diffyne.error","data":{{"error":{text},"type":"{kind}"}}}}"#),
    }
}

/// Builds `diffyne.error`: a subscription, a resume or a mount failed.
pub fn diffyne_error(kind: &str, text: &str, request_id: Option<&str>) -> String {
    let (text, kind) = (json_string(text), json_string(kind));
    let request_id = request_id.map(|id| format!(r#","requestId":{id}"#)).unwrap_or_default();
    format!(r#"{{"event":"diffyne.error","data":{{"error":{text},"type":{kind}{request_id}}}}}"#)
}

/// Builds `diffyne.event`: a broadcast, as one frame for all connections that get it. Returns where the frame has the
/// event's parameters, too.
pub fn event(incoming: &Broadcast, reaction_window_ms: Option<u64>) -> (Bytes, Range<usize>) {
    const HEAD: &str = r#"{"event":"diffyne.event","data":{"events":[{"name":"#;
    let event = &incoming.event;
    let name = json_string(&event.name);
    let mut rest = String::with_capacity(96 + incoming.id.len());
    // Writing into a `String` cannot fail.
    let _ = write!(rest, r#","to":null,"self":false}}],"id":{}"#, json_string(&incoming.id));
    if let Some(position) = &incoming.position {
        let _ = write!(rest, r#","offset":{}"#, position.offset);
    }
    let _ = write!(rest, r#","depth":{}"#, event.depth);
    rest += &spread_field(reaction_window_ms);
    rest.push_str("}}");
    let parts = [HEAD.as_bytes(), name.as_bytes(), br#","params":"#, event.params.as_bytes(), rest.as_bytes()];
    let frame = frame::text_from_parts(&parts);
    let end = frame.len() - rest.len();
    (frame, end - event.params.len()..end)
}

/// Builds `diffyne.gap`: broadcasts up to this position are missing. Pages fetch themselves anew within the window.
pub fn gap(position: &Position, window_ms: Option<u64>) -> Bytes {
    frame::text(&format!(
        r#"{{"event":"diffyne.gap","data":{{"epoch":"{}","offset":{}{}}}}}"#,
        position.epoch,
        position.offset,
        spread_field(window_ms)
    ))
}

/// Builds `,"spread":...`: the milliseconds over which pages spread what they do now.
fn spread_field(window_ms: Option<u64>) -> String {
    window_ms.map(|ms| format!(r#","spread":{ms}"#)).unwrap_or_default()
}

/// Builds `diffyne.disconnect`: the connection ends. It tells whether, and after how many milliseconds, the client
/// reconnects.
pub fn disconnect(reason: &str, reconnect_after_ms: Option<u64>) -> Bytes {
    let (reconnect, after) = (reconnect_after_ms.is_some(), reconnect_after_ms.unwrap_or(0));
    frame::text(&format!(
        r#"{{"event":"diffyne.disconnect","data":{{"reason":"{reason}","reconnect":{reconnect},"retryAfter":{after}}}}}"#
    ))
}

/// The last fields of `diffyne.subscribed`, `diffyne.unsubscribed` and `diffyne.resumed`.
#[derive(Debug, Clone, Default)]
pub struct Confirmation<'a> {
    /// The position up to which broadcasts have been delivered.
    pub position: Option<Position>,
    /// The grant with which the client resumes on any gateway.
    pub grant: Option<&'a str>,
    /// The request id, as JSON.
    pub request_id: Option<&'a str>,
}

/// Builds `diffyne.subscribed`, with the events as JSON.
pub fn subscribed(events: &str, confirmation: &Confirmation<'_>) -> String {
    confirmed(format!(r#"{{"event":"diffyne.subscribed","data":{{"events":{events}"#), confirmation)
}

/// Builds the `diffyne.subscribed` that brings a grant which names the client's user, and confirms no event.
pub fn user_grant(grant: &str) -> String {
    format!(r#"{{"event":"diffyne.subscribed","data":{{"grant":"{grant}"}}}}"#)
}

/// Builds `diffyne.unsubscribed`, with the events as JSON.
pub fn unsubscribed(events: &str, confirmation: &Confirmation<'_>) -> String {
    confirmed(format!(r#"{{"event":"diffyne.unsubscribed","data":{{"events":{events}"#), confirmation)
}

/// A room that a client has entered, as `diffyne.joined` names it.
#[derive(Debug, Serialize)]
pub struct EnteredRoom<'a> {
    /// The room's name, by which messages about it name it.
    pub room: &'a str,
    /// The event and the fields that make it.
    #[serde(flatten)]
    pub event: &'a EventSubscription,
    /// The id under which the client's user is there.
    pub id: &'a str,
    /// With this the client enters again on any gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

/// Builds `diffyne.joined`: the client is in these rooms.
pub fn joined(rooms: &[EnteredRoom<'_>], request_id: Option<&str>) -> String {
    let rooms = serde_json::to_string(rooms).unwrap_or_default();
    confirmed(
        format!(r#"{{"event":"diffyne.joined","data":{{"rooms":{rooms}"#),
        &Confirmation { request_id, ..Confirmation::default() },
    )
}

/// Builds the `diffyne.error` about rooms that a client cannot enter.
pub fn rooms_error<R: AsRef<str>>(kind: &str, text: &str, rooms: &[R], request_id: Option<&str>) -> String {
    let rooms: Vec<String> = rooms.iter().map(|room| json_string(room.as_ref())).collect();
    let (text, kind, rooms) = (json_string(text), json_string(kind), rooms.join(","));
    confirmed(
        format!(r#"{{"event":"diffyne.error","data":{{"error":{text},"type":{kind},"rooms":[{rooms}]"#),
        &Confirmation { request_id, ..Confirmation::default() },
    )
}

/// Builds `diffyne.left`: the client is in these rooms no more.
pub fn left<R: AsRef<str>>(rooms: &[R], reason: Option<&str>, request_id: Option<&str>) -> String {
    let rooms: Vec<String> = rooms.iter().map(|room| json_string(room.as_ref())).collect();
    let reason = reason.map(|reason| format!(r#","reason":"{reason}""#)).unwrap_or_default();
    confirmed(
        format!(r#"{{"event":"diffyne.left","data":{{"rooms":[{}]{reason}"#, rooms.join(",")),
        &Confirmation { request_id, ..Confirmation::default() },
    )
}

fn push_members(out: &mut String, members: &[RoomMember]) {
    for (at, RoomMember { id, info, .. }) in members.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        // Writing into a `String` cannot fail.
        let _ = write!(out, r#"{comma}{{"id":{},"info":{info}}}"#, json_string(id));
    }
}

/// Builds `diffyne.presence` with all members of a room.
pub fn room_list(room: &str, members: &[RoomMember]) -> Bytes {
    let bytes = members.iter().map(RoomMember::bytes).sum::<usize>() + 24 * members.len();
    let mut out = String::with_capacity(bytes + room.len() + 64);
    let _ = write!(out, r#"{{"event":"diffyne.presence","data":{{"room":{},"here":["#, json_string(room));
    push_members(&mut out, members);
    out.push_str("]}}");
    frame::text(&out)
}

/// Builds `diffyne.presence` with the changes among the members of a room.
pub fn room_change(room: &str, joins: &[RoomMember], leaves: &[Arc<str>]) -> Bytes {
    let mut out = format!(r#"{{"event":"diffyne.presence","data":{{"room":{},"joins":["#, json_string(room));
    push_members(&mut out, joins);
    let leaves: Vec<String> = leaves.iter().map(|id| json_string(id)).collect();
    let _ = write!(out, r#"],"leaves":[{}]}}}}"#, leaves.join(","));
    frame::text(&out)
}

/// Builds `diffyne.whisper`: what a member says to the others in a room.
pub fn whisper(Whisper { room, name, from, data }: &Whisper) -> Bytes {
    frame::text(&format!(
        r#"{{"event":"diffyne.whisper","data":{{"room":{},"name":{},"from":{},"data":{data}}}}}"#,
        json_string(room),
        json_string(name),
        json_string(from),
    ))
}

/// Builds `diffyne.resumed`, which tells whether all missed broadcasts have been sent. If not, pages fetch themselves
/// anew within the window.
pub fn resumed(recovered: bool, window_ms: Option<u64>, confirmation: &Confirmation<'_>) -> String {
    let spread = spread_field(window_ms);
    confirmed(format!(r#"{{"event":"diffyne.resumed","data":{{"recovered":{recovered}{spread}"#), confirmation)
}

fn confirmed(mut message: String, confirmation: &Confirmation<'_>) -> String {
    // Writing into a `String` cannot fail.
    if let Some(position) = &confirmation.position {
        let _ = write!(message, r#","epoch":"{}","offset":{}"#, position.epoch, position.offset);
    }
    if let Some(grant) = confirmation.grant {
        let _ = write!(message, r#","grant":"{grant}""#);
    }
    if let Some(id) = confirmation.request_id {
        let _ = write!(message, r#","requestId":{id}"#);
    }
    message.push_str("}}");
    message
}

/// Builds `diffyne.response`: a worker's object, with more fields and the request id inserted before its last brace.
pub fn response(data: &[u8], extra: &str, request_id: Option<&str>) -> Bytes {
    let (key, id) = request_id.map_or(("", ""), |id| (r#","requestId":"#, id));
    frame::text_from_parts(&[
        br#"{"event":"diffyne.response","data":{"#,
        without_braces(data).unwrap_or(UNUSABLE),
        extra.as_bytes(),
        key.as_bytes(),
        id.as_bytes(),
        b"}}",
    ])
}

/// Builds `diffyne.part`: a part of the answer to a call that still runs. The component's id is JSON.
pub fn part(component: &str, request_id: Option<&str>, data: &[u8]) -> String {
    let rest = without_braces(data).and_then(|rest| std::str::from_utf8(rest).ok()).unwrap_or("\"to\":null");
    let request_id = request_id.map(|id| format!(r#","requestId":{id}"#)).unwrap_or_default();
    format!(r#"{{"event":"diffyne.part","data":{{"componentId":{component}{request_id},{rest}}}}}"#)
}

/// Builds the `diffyne.response` that ends the lines of an HTTP response.
pub fn response_line(answer: &[u8]) -> String {
    format!(r#"{{"event":"diffyne.response","data":{}}}"#, String::from_utf8_lossy(answer))
}

/// Builds `diffyne.push`: what a worker has to say after its answer to a call.
pub fn push(data: &[u8]) -> Bytes {
    let body = without_braces(data).unwrap_or(br#""lost":true"#);
    frame::text_from_parts(&[br#"{"event":"diffyne.push","data":{"#, body, b"}}"])
}

/// Builds the `diffyne.push` of a component, whose id is JSON, that gets nothing of what it waits for.
pub fn lost_push(component: &str) -> Bytes {
    frame::text(&format!(r#"{{"event":"diffyne.push","data":{{"componentId":{component},"lost":true}}}}"#))
}

/// The error in a worker's object.
#[derive(Debug, Deserialize)]
pub struct WorkerError {
    /// The error message, for people.
    #[serde(default)]
    pub error: String,
    /// The type of the error.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// Returns a worker's object without its braces, or `None` if it is not an object.
pub fn without_braces(data: &[u8]) -> Option<&[u8]> {
    match data {
        [b'{', body @ .., b'}'] if std::str::from_utf8(body).is_ok() => Some(body),
        _ => {
            tracing::error!("a worker's answer is not a JSON object; the client gets an error");
            None
        }
    }
}

/// Builds `,"session":{...}`: the address from which the page fetches the cookies of a login or logout over the socket.
pub fn session_field(route_prefix: &str, token: &str) -> String {
    format!(r#","session":{{"url":"{route_prefix}/session","token":"{token}"}}"#)
}

/// Builds `,"eventIds":[...]`, parallel to the reply's events. It is empty if no event was broadcast.
pub fn event_ids_field(event_count: u32, ids: &[(u32, String)]) -> String {
    let mut out = String::new();
    if ids.is_empty() {
        return out;
    }
    out.push_str(r#","eventIds":["#);
    for index in 0..event_count {
        if index > 0 {
            out.push(',');
        }
        // Writing into a `String` cannot fail.
        let _ = match ids.iter().find(|(at, _)| *at == index) {
            Some((_, id)) => write!(out, "\"{id}\""),
            None => write!(out, "null"),
        };
    }
    out.push(']');
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(frame: &Bytes) -> &str {
        let start = frame.iter().position(|byte| *byte == b'{').unwrap();
        std::str::from_utf8(&frame[start..]).unwrap()
    }

    #[test]
    fn ids_are_inserted_before_the_last_brace() {
        let ids = event_ids_field(3, &[(1, "g-7".to_owned())]);
        let frame = response(br#"{"s":true}"#, &ids, Some(r#"{"x":[]}"#));
        assert_eq!(
            text(&frame),
            r#"{"event":"diffyne.response","data":{"s":true,"eventIds":[null,"g-7",null],"requestId":{"x":[]}}}"#
        );
    }

    #[test]
    fn an_invalid_answer_of_a_worker_does_not_reach_the_client() {
        for data in [&b""[..], b"[]", b"{", b"{\xff}"] {
            let frame = response(data, "", Some("1"));
            assert!(text(&frame).contains("cannot be used") && text(&frame).ends_with(r#""requestId":1}}"#));
        }
    }
}
