//! The JSON of broadcasts in Redis: the event as it was published, and the envelope that the script adds.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::event::{Broadcast, Position, Publication, is_event_name};

#[derive(Serialize, Deserialize)]
struct WireEvent<'a> {
    name: String,
    #[serde(borrow)]
    params: &'a RawValue,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    except: Option<String>,
    #[serde(default)]
    depth: u32,
}

/// Encodes an event for the publish script.
pub(super) fn encode_event(event: &Publication) -> Option<String> {
    let params: &RawValue = serde_json::from_str(&event.params).ok()?;
    let wire = WireEvent { name: event.name.clone(), params, except: event.except.clone(), depth: event.depth };
    serde_json::to_string(&wire).ok()
}

/// Decodes an event of the history.
pub(super) fn decode_event(text: &str) -> Option<Publication> {
    let wire: WireEvent<'_> = serde_json::from_str(text).ok()?;
    if !wire.params.get().starts_with('[') {
        return None;
    }
    Some(Publication { name: wire.name, params: wire.params.get().to_owned(), except: wire.except, depth: wire.depth })
}

/// Reads an event as applications write it: `{"name", "params": [...], "except"?}`.
pub fn read_event(text: &str) -> Option<Publication> {
    decode_event(text).filter(|event| is_event_name(&event.name))
}

/// One message of the events channel.
#[derive(Debug)]
pub(super) enum EventsMessage {
    /// A broadcast, and the id of the one before.
    Broadcast { broadcast: Broadcast, prev: String },
    /// The epoch was renewed.
    Renewed,
}

#[derive(Deserialize)]
struct WireBroadcast<'a> {
    epoch: String,
    offset: u64,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    prev: String,
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
}

/// Decodes a message of the events channel; `None` for a message of somebody else.
pub(super) fn decode_message(bytes: &[u8]) -> Option<EventsMessage> {
    let envelope: WireBroadcast<'_> = serde_json::from_slice(bytes).ok()?;
    let position = Position { epoch: envelope.epoch, offset: envelope.offset };
    let Some(id) = envelope.id else { return Some(EventsMessage::Renewed) };
    let event = decode_event(envelope.event?.get())?;
    Some(EventsMessage::Broadcast { broadcast: Broadcast { id, position: Some(position), event }, prev: envelope.prev })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parameters_pass_through_untouched() {
        let params = r#"[{"room_id":1, "f": 1.0,"big":12345678901234567890,"e":[],"o":{}}]"#.to_owned();
        let event =
            Publication { name: "a".to_owned(), params: params.clone(), except: Some("c".to_owned()), depth: 1 };
        let text = encode_event(&event).unwrap();
        let message = format!(r#"{{"epoch":"e","offset":3,"id":"g-3","prev":"g-2","event":{text}}}"#);
        let Some(EventsMessage::Broadcast { broadcast, prev }) = decode_message(message.as_bytes()) else {
            panic!("{message}")
        };
        assert_eq!((broadcast.event.params, prev.as_str()), (params, "g-2"));
        assert_eq!(broadcast.event.except.as_deref(), Some("c"));
    }

    #[test]
    fn strangers_messages_are_none_of_ours() {
        for text in ["", "7", "{}", r#"{"epoch":"e","offset":1,"id":"x"}"#, r#"{"epoch":"e","offset":-1}"#] {
            assert!(decode_message(text.as_bytes()).is_none(), "{text}");
        }
    }
}
