//! The package's own AJAX endpoint: requests and responses of an application without the bridge.

use std::borrow::Cow;

use diffyne_shared::signing::SignatureParts;
use serde::Deserialize;
use serde_json::Value;

use crate::backend::bridge_reply::{BridgeEvent, BridgeReply};

/// A response of the endpoint: `{s, c, events, ..}`, or one of its forms of refusal.
#[derive(Deserialize)]
struct EndpointResponse {
    #[serde(default)]
    s: bool,
    #[serde(default)]
    success: bool,
    #[serde(default)]
    error: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    errors: Value,
    #[serde(default)]
    events: Vec<EndpointEvent>,
}

#[derive(Deserialize)]
struct EndpointEvent {
    name: String,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    to: Value,
}

/// A message for the endpoint, with the package's part of the signature alone.
///
/// A page has the other part from a worker whose application had the bridge.
pub(super) fn request(payload: Vec<u8>) -> Vec<u8> {
    #[derive(Deserialize)]
    struct SignedMessage<'a> {
        #[serde(borrow, default)]
        signature: Option<Cow<'a, str>>,
    }
    let signature = serde_json::from_slice::<SignedMessage<'_>>(&payload).ok().and_then(|message| message.signature);
    let Some(parts) = signature.as_deref().map(SignatureParts::of).filter(|parts| parts.lock.is_some()) else {
        return payload;
    };
    let Ok(mut message) = serde_json::from_slice::<Value>(&payload) else { return payload };
    message["signature"] = parts.state.into();
    message.to_string().into_bytes()
}

/// Reads a response of the endpoint, and the client's JSON where the call succeeded.
pub fn read_response(status: u16, body: &[u8]) -> (BridgeReply, Vec<u8>) {
    let refused = || (BridgeReply::refused(status), Vec::new());
    let Ok(json) = serde_json::from_slice::<Value>(body) else { return refused() };
    let Ok(response) = serde_json::from_slice::<EndpointResponse>(body) else { return refused() };
    if response.s || response.success {
        return (success(&response), client_json(json));
    }
    let outcome = match (response.kind.as_str(), status) {
        ("validation_error", _) => "validation",
        ("method_error", _) => "method",
        ("property_error", _) => "property",
        ("exception" | "server_error", _) => "exception",
        (_, 400) if !response.error.is_empty() => "invalid",
        (_, 404) if !response.error.is_empty() => "unknown_component",
        _ => return refused(),
    };
    (BridgeReply::failed(outcome, response.error, response.errors), Vec::new())
}

fn success(response: &EndpointResponse) -> BridgeReply {
    let broadcasts = response.events.iter().enumerate().filter(|(_, event)| event.to.is_null());
    let events = broadcasts.map(|(index, event)| {
        let params = if event.params.is_null() { "[]".to_owned() } else { event.params.to_string() };
        BridgeEvent { index: index as u32, name: event.name.clone(), params }
    });
    BridgeReply::succeeded(response.events.len() as u32, events.collect())
}

/// The response for the client. PHP encodes a filtered list of patches as an object, which diffyne.js cannot read.
fn client_json(mut json: Value) -> Vec<u8> {
    if let Some(patches) = json.pointer_mut("/c/p")
        && let Value::Object(map) = patches
    {
        let map = std::mem::take(map);
        let mut pairs: Vec<(i64, Value)> =
            map.into_iter().map(|(key, value)| (key.parse().unwrap_or(0), value)).collect();
        pairs.sort_by_key(|(key, _)| *key);
        *patches = pairs.into_iter().map(|(_, value)| value).collect();
    }
    json.to_string().into_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_endpoint_gets_the_packages_signature() {
        let sent = |text: &str| String::from_utf8(request(text.as_bytes().to_vec())).unwrap();
        let message = r#"{"signature":"ab.cd.ef","state":{"b":1.0,"a":"x"}}"#;
        assert_eq!(sent(message), r#"{"signature":"ab","state":{"b":1.0,"a":"x"}}"#);
        for unchanged in [r#"{ "signature": "ab" }"#, r#"{ "signature": 7 }"#, "{}", "no JSON"] {
            assert_eq!(sent(unchanged), unchanged);
        }
    }
}
