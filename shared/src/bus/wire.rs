//! The JSON of broadcasts in Redis: the event as it was published, and the envelope that the script adds.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::event::{Broadcast, Position, Publication};
use super::names::{is_event_name, is_user_id};
use crate::trace_context::{self, TraceContext};

#[derive(Deserialize)]
struct WireEvent<'a> {
    name: String,
    #[serde(borrow)]
    params: &'a RawValue,
    #[serde(default)]
    except: Option<String>,
    #[serde(default)]
    depth: u32,
    #[serde(default, deserialize_with = "user_id")]
    user: Option<String>,
    /// The name of an event for a user, whose `name` is empty.
    #[serde(default)]
    event: Option<String>,
    #[serde(default, deserialize_with = "trace_context::lenient")]
    traceparent: Option<TraceContext>,
}

/// Reads a user's id: a text, or a number as applications have it. A user that is `null` is a mistake, and not everybody.
fn user_id<'de, D: Deserializer<'de>>(user: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum UserId {
        Text(String),
        Number(i64),
    }
    UserId::deserialize(user).map(|user| match user {
        UserId::Text(text) => Some(text),
        UserId::Number(number) => Some(number.to_string()),
    })
}

/// An event for one user has no `name`: gateways up to 0.2, which know no users, would send it to everybody who has
/// subscribed to that name, and nobody can subscribe to none.
#[derive(Serialize)]
struct WireEventRef<'a> {
    name: &'a str,
    params: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    except: Option<&'a str>,
    depth: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<TraceContext>,
}

/// Encodes an event for the publish script.
pub(super) fn encode_event(event: &Publication) -> Option<String> {
    let params: &RawValue = serde_json::from_str(&event.params).ok()?;
    let Publication { name, except, depth, user, trace, .. } = event;
    let user = user.as_deref();
    let (name, user_event) = if user.is_some() { ("", Some(name.as_str())) } else { (name.as_str(), None) };
    let except = except.as_deref();
    let wire = WireEventRef { name, params, except, depth: *depth, user, event: user_event, traceparent: *trace };
    serde_json::to_string(&wire).ok()
}

/// Decodes an event of the history.
pub(super) fn decode_event(text: &str) -> Option<Publication> {
    publication(serde_json::from_str(text).ok()?)
}

fn publication(event: WireEvent<'_>) -> Option<Publication> {
    let WireEvent { name, params, except, depth, user, event: user_event, traceparent: trace } = event;
    let name = user_event.filter(|_name| user.is_some()).unwrap_or(name);
    let params = params.get();
    params.starts_with('[').then(|| Publication { name, params: params.to_owned(), except, depth, user, trace })
}

/// Reads an event as applications write it: `{"name", "params": [...], "except"?, "user"?}`.
pub fn read_event(text: &str) -> Option<Publication> {
    decode_event(text).filter(|event| is_event_name(&event.name) && event.user.as_deref().is_none_or(is_user_id))
}

/// The event of an application as the history has it: as the application has written it, unless that would reach others
/// than its user in gateways up to 0.2. `None`: it is no event.
pub(super) fn history_event(item: &str) -> Option<Cow<'_, str>> {
    let event = read_event(item)?;
    if event.user.is_some() { encode_event(&event).map(Cow::Owned) } else { Some(Cow::Borrowed(item)) }
}

/// One message of the events channel.
#[derive(Debug)]
pub(super) enum EventsMessage {
    /// Broadcasts with consecutive offsets, and the id of the one before them.
    Broadcasts { broadcasts: Vec<Broadcast>, prev: String },
    /// The epoch was renewed.
    Renewed,
}

/// A message has `id` and `event`, or `batch` with a list of both.
#[derive(Deserialize)]
struct WireBroadcasts<'a> {
    epoch: String,
    offset: u64,
    #[serde(default)]
    prev: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(borrow, default)]
    event: Option<WireEvent<'a>>,
    #[serde(borrow, default)]
    batch: Vec<(String, WireEvent<'a>)>,
}

/// Decodes a message of the events channel; `None` for a message of somebody else.
pub(super) fn decode_message(bytes: &[u8]) -> Option<EventsMessage> {
    let WireBroadcasts { epoch, offset, prev, id, event, batch } = serde_json::from_slice(bytes).ok()?;
    let epoch: Arc<str> = epoch.into();
    let batch = match id {
        Some(id) => vec![(id, event?)],
        None if batch.is_empty() => return Some(EventsMessage::Renewed),
        None => batch,
    };
    let broadcasts = batch.into_iter().zip(0..).map(|((id, event), at)| {
        let position = Some(Position { epoch: Arc::clone(&epoch), offset: offset.checked_add(at)? });
        Some(Broadcast { id, position, event: publication(event)? })
    });
    Some(EventsMessage::Broadcasts { broadcasts: broadcasts.collect::<Option<_>>()?, prev })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parameters_pass_through_untouched() {
        let params = r#"[{"room_id":1, "f": 1.0,"big":12345678901234567890,"e":[],"o":{}}]"#.to_owned();
        let event = Publication {
            name: "a".to_owned(),
            params: params.clone(),
            except: Some("c".to_owned()),
            depth: 1,
            user: None,
            trace: None,
        };
        let text = encode_event(&event).unwrap();
        let message = format!(r#"{{"epoch":"e","offset":3,"id":"g-3","prev":"g-2","event":{text}}}"#);
        let Some(EventsMessage::Broadcasts { mut broadcasts, prev }) = decode_message(message.as_bytes()) else {
            panic!("{message}")
        };
        let broadcast = broadcasts.remove(0);
        assert_eq!((broadcast.event.params, prev.as_str()), (params, "g-2"));
        assert_eq!((broadcast.event.except.as_deref(), broadcasts.len()), (Some("c"), 0));
    }

    #[test]
    fn a_batch_has_consecutive_offsets() {
        let event = r#"{"name":"a","params":[1],"depth":0}"#;
        let message = format!(r#"{{"epoch":"e","offset":7,"prev":"g-2","batch":[["g-3",{event}],["h-1",{event}]]}}"#);
        let Some(EventsMessage::Broadcasts { broadcasts, prev }) = decode_message(message.as_bytes()) else {
            panic!("{message}")
        };
        let read: Vec<(&str, u64)> =
            broadcasts.iter().map(|one| (one.id.as_str(), one.position.as_ref().unwrap().offset)).collect();
        assert_eq!((read, prev.as_str()), (vec![("g-3", 7), ("h-1", 8)], "g-2"));
    }

    #[test]
    fn an_event_for_a_user_has_no_name_that_an_older_gateway_would_know() {
        for (item, user) in [
            (r#"{"name":"a","params":[{"n":1.0}],"user":"7"}"#, "7"),
            (r#"{"name":"a","params":[{"n":1.0}],"user":7}"#, "7"),
        ] {
            let event = history_event(item).unwrap();
            let wire: serde_json::Value = serde_json::from_str(&event).unwrap();
            assert_eq!((wire["name"].as_str(), wire["user"].as_str()), (Some(""), Some(user)), "{event}");
            let event = decode_event(&event).unwrap();
            assert_eq!((event.name.as_str(), event.user.as_deref()), ("a", Some(user)));
            assert_eq!(event.params, r#"[{"n":1.0}]"#);
        }
        let plain = r#"{"name":"a" , "params":[], "event":"b"}"#;
        assert_eq!(history_event(plain).unwrap(), plain);
        assert_eq!(decode_event(plain).unwrap().name, "a", "only an event for a user has another name");
        for wrong in ["null", "\"\"", "\"a\\n\"", "[7]", "7.5", "true", &format!("\"{}\"", "x".repeat(256))] {
            assert!(read_event(&format!(r#"{{"name":"a","params":[],"user":{wrong}}}"#)).is_none(), "{wrong}");
        }
    }

    #[test]
    fn strangers_messages_are_none_of_ours() {
        let texts = [
            "",
            "7",
            "{}",
            r#"{"epoch":"e","offset":1,"id":"x"}"#,
            r#"{"epoch":"e","offset":-1}"#,
            r#"{"epoch":"e","offset":1,"batch":[["x"]]}"#,
            r#"{"epoch":"e","offset":1,"batch":[["x",{"name":"a","params":{}}]]}"#,
        ];
        for text in texts {
            assert!(decode_message(text.as_bytes()).is_none(), "{text}");
        }
    }
}
