//! Messages that a browser gets.

use std::fmt::Write as _;

use super::failure::FailureKind;
use super::json::json_string;

/// Seconds since 1970: the timestamps of upstream's messages.
pub fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The first message on a connection.
pub fn connected(client_id: &str) -> String {
    format!(
        r#"{{"event":"diffyne.connected","data":{{"clientId":"{client_id}","message":"Connected to Diffyne WebSocket server","timestamp":{}}}}}"#,
        unix_seconds()
    )
}

/// The answer to `diffyne.ping`, with the position in the history if there is one.
pub fn pong(position: Option<(&str, u64)>) -> String {
    let mut out = format!(r#"{{"event":"diffyne.pong","data":{{"timestamp":{}"#, unix_seconds());
    if let Some((epoch, offset)) = position {
        let _ = write!(out, r#","epoch":"{epoch}","offset":{offset}"#);
    }
    out.push_str("}}");
    out
}

/// The answer to a text that is no message.
pub fn error(text: &str) -> String {
    format!(r#"{{"event":"error","data":{{"message":{},"timestamp":{}}}}}"#, json_string(text), unix_seconds())
}

/// The failure of a call: a response when its requestId is known, else `diffyne.error`.
pub fn failure(failure: FailureKind, text: &str, request_id: Option<&str>) -> String {
    let (text, kind) = (json_string(text), failure.label());
    match request_id {
        Some(id) => format!(
            r#"{{"event":"diffyne.response","data":{{"s":false,"error":{text},"type":"{kind}","requestId":{id}}}}}"#
        ),
        None => format!(r#"{{"event":"diffyne.error","data":{{"error":{text},"type":"{kind}"}}}}"#),
    }
}

/// An error that is no answer to a call: of a subscription, a resume, a mount.
pub fn diffyne_error(kind: &str, text: &str, request_id: Option<&str>) -> String {
    let (text, kind) = (json_string(text), json_string(kind));
    let request_id = request_id.map(|id| format!(r#","requestId":{id}"#)).unwrap_or_default();
    format!(r#"{{"event":"diffyne.error","data":{{"error":{text},"type":{kind}{request_id}}}}}"#)
}
