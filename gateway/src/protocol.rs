//! Every message that leaves for a browser.
//!
//! Those that answer a single message are text; those that many connections share are whole frames. A worker's JSON
//! object is taken as it is: ids go in before its last brace.

use std::fmt::Write as _;

use bytes::Bytes;
use diffyne_shared::bus::{Broadcast, Position};
use diffyne_shared::envelope::json_string;
use serde::Deserialize;

use crate::socket::frame;

pub use diffyne_shared::envelope::{
    INTERNAL_ERROR, MISSING_PARAMETERS, connected, diffyne_error, error, failure, pong, shortened,
};

/// What takes the place of a worker's answer that is no JSON object.
pub const UNUSABLE: &[u8] = br#""s":false,"error":"The worker's answer cannot be used.","type":"server_error""#;

/// `diffyne.event`: a broadcast, as one frame for all who get it.
pub fn event(incoming: &Broadcast, reaction_window_ms: Option<u64>) -> Bytes {
    let event = &incoming.event;
    let offset = incoming.position.as_ref().map(|position| format!(r#","offset":{}"#, position.offset));
    let spread = reaction_window_ms.map(|ms| format!(r#","spread":{ms}"#));
    let text = format!(
        r#"{{"event":"diffyne.event","data":{{"events":[{{"name":{},"params":{},"to":null,"self":false}}],"id":{}{},"depth":{}{}}}}}"#,
        json_string(&event.name),
        event.params,
        json_string(&incoming.id),
        offset.unwrap_or_default(),
        event.depth,
        spread.unwrap_or_default()
    );
    frame::text(&text)
}

/// `diffyne.gap`: broadcasts up to this position are missing.
pub fn gap(position: &Position) -> Bytes {
    frame::text(&format!(
        r#"{{"event":"diffyne.gap","data":{{"epoch":"{}","offset":{}}}}}"#,
        position.epoch, position.offset
    ))
}

/// `diffyne.disconnect`: the connection ends; whether, and after how many milliseconds, the client reconnects.
pub fn disconnect(reason: &str, reconnect_after_ms: Option<u64>) -> Bytes {
    let (reconnect, after) = (reconnect_after_ms.is_some(), reconnect_after_ms.unwrap_or(0));
    frame::text(&format!(
        r#"{{"event":"diffyne.disconnect","data":{{"reason":"{reason}","reconnect":{reconnect},"retryAfter":{after}}}}}"#
    ))
}

/// What `diffyne.subscribed`, `diffyne.unsubscribed` and `diffyne.resumed` end with.
#[derive(Debug, Clone, Default)]
pub struct Confirmation<'a> {
    /// Up to where broadcasts have been delivered.
    pub position: Option<Position>,
    /// The grant with which the client resumes elsewhere.
    pub grant: Option<&'a str>,
    /// JSON of the request id.
    pub request_id: Option<&'a str>,
}

/// `diffyne.subscribed`, with the events as JSON.
pub fn subscribed(events: &str, confirmation: &Confirmation<'_>) -> String {
    confirmed(format!(r#"{{"event":"diffyne.subscribed","data":{{"events":{events}"#), confirmation)
}

/// `diffyne.unsubscribed`, with the events as JSON.
pub fn unsubscribed(events: &str, confirmation: &Confirmation<'_>) -> String {
    confirmed(format!(r#"{{"event":"diffyne.unsubscribed","data":{{"events":{events}"#), confirmation)
}

/// `diffyne.resumed`: whether everything that was missed has been sent.
pub fn resumed(recovered: bool, confirmation: &Confirmation<'_>) -> String {
    confirmed(format!(r#"{{"event":"diffyne.resumed","data":{{"recovered":{recovered}"#), confirmation)
}

fn confirmed(mut message: String, confirmation: &Confirmation<'_>) -> String {
    // Writing into a String cannot fail.
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

/// `diffyne.response`: a worker's object, with more fields and the request id before its last brace.
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

/// The error in a worker's object.
#[derive(Debug, Deserialize)]
pub struct WorkerError {
    /// What went wrong, for people.
    #[serde(default)]
    pub error: String,
    /// The type of error.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// A worker's object without its braces; `None` when it is no object.
pub fn without_braces(data: &[u8]) -> Option<&[u8]> {
    match data {
        [b'{', body @ .., b'}'] if std::str::from_utf8(body).is_ok() => Some(body),
        _ => {
            tracing::error!("a worker's answer is no JSON object; the client gets an error");
            None
        }
    }
}

/// `,"session":{...}`: where the page fetches the cookies of a login or logout that happened over the socket.
pub fn session_field(route_prefix: &str, token: &str) -> String {
    format!(r#","session":{{"url":"{route_prefix}/session","token":"{token}"}}"#)
}

/// `,"eventIds":[...]`, parallel to the reply's events; empty when none was broadcast.
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
        // Writing into a String cannot fail.
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
    fn ids_go_in_before_the_last_brace() {
        let ids = event_ids_field(3, &[(1, "g-7".to_owned())]);
        let frame = response(br#"{"s":true}"#, &ids, Some(r#"{"x":[]}"#));
        assert_eq!(
            text(&frame),
            r#"{"event":"diffyne.response","data":{"s":true,"eventIds":[null,"g-7",null],"requestId":{"x":[]}}}"#
        );
    }

    #[test]
    fn a_workers_nonsense_does_not_reach_the_client() {
        for data in [&b""[..], b"[]", b"{", b"{\xff}"] {
            let frame = response(data, "", Some("1"));
            assert!(text(&frame).contains("cannot be used") && text(&frame).ends_with(r#""requestId":1}}"#));
        }
    }
}
