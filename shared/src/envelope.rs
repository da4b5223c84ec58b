//! What a browser sends (`{"event", "data"}`) and the messages it gets.
//!
//! Only the few fields that a gateway needs are read; state, parameters and values stay as they came. The texts of
//! faults are upstream's, letter by letter.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::rpc::Cause;

/// Unknown fields of an envelope that the answer names; the rest is read past.
const UNKNOWN_FIELDS_MAX: usize = 8;
/// Characters of a client's own word that an answer repeats.
const ECHO_CHARS_MAX: usize = 64;
/// Bytes of a request id's JSON: it is copied into each answer.
pub const REQUEST_ID_BYTES_MAX: usize = 1024;
/// Bytes of a component id, as JSON. The package's own have 26.
pub const COMPONENT_ID_BYTES_MAX: usize = 256;
/// Bytes of a class name, as JSON.
pub const CLASS_BYTES_MAX: usize = 512;
/// Bytes of the name of a method or property, as JSON.
pub const MEMBER_BYTES_MAX: usize = 512;
/// Bytes of a cause's id: a gateway's name, its random bits and a number.
pub const CAUSE_ID_BYTES_MAX: usize = 192;

/// The text of a fault for a handler that cannot take what it got.
pub const INTERNAL_ERROR: &str = "Internal server error processing message";
/// The text of a fault for a call that lacks what every call has.
pub const MISSING_PARAMETERS: &str = "Missing required parameters";

/// A well-formed envelope.
#[derive(Debug)]
pub struct Message<'a> {
    /// The event's name.
    pub event: Cow<'a, str>,
    /// The JSON of `data`: an object or an array.
    pub data: &'a str,
}

/// How diffyne.js prints a call and an update.
const USUAL: [(&str, &str); 2] = [
    ("diffyne.call", r#"{"event":"diffyne.call","data":"#),
    ("diffyne.update", r#"{"event":"diffyne.update","data":"#),
];

/// A message in the form in which clients print calls, read in one pass; `None` when it has another form.
///
/// If what stands between the usual beginning and the last brace is one whole JSON object, the envelope is well-formed.
pub fn parse_canonical(text: &str) -> Option<(Message<'_>, DataHead<'_>)> {
    USUAL.iter().find_map(|(event, beginning)| {
        let data = text.strip_prefix(beginning)?.strip_suffix('}')?;
        let head = serde_json::from_str(data).ok()?;
        Some((Message { event: Cow::Borrowed(event), data: data.trim() }, head))
    })
}

/// Reads an envelope; the error is the text for the client.
pub fn parse(text: &str) -> Result<Message<'_>, Cow<'static, str>> {
    if text.is_empty() {
        return Err("Empty message payload".into());
    }
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else {
        return Err(not_an_envelope(text).into());
    };
    envelope.checked().map_err(|faults| format!("Message validation failed: {}", faults.join(", ")).into())
}

fn not_an_envelope(text: &str) -> &'static str {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => "Message must be a JSON object",
        Err(_) => "Invalid JSON format: Syntax error",
    }
}

/// The top level as it came; the last of two equal keys counts, as in PHP.
#[derive(Default)]
struct Envelope<'a> {
    event: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    /// The first few unknown fields, each once.
    others: Vec<String>,
}

/// The beginning of a client's own word, as answers repeat it.
pub fn shortened(word: &str) -> Cow<'_, str> {
    match word.char_indices().nth(ECHO_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}...", &word[..end])),
        None => Cow::Borrowed(word),
    }
}

impl<'a> Envelope<'a> {
    fn unknown(&mut self, name: &str) {
        if self.others.len() < UNKNOWN_FIELDS_MAX {
            let name = shortened(name);
            if !self.others.iter().any(|known| *known == name) {
                self.others.push(name.into_owned());
            }
        }
    }

    fn checked(self) -> Result<Message<'a>, Vec<String>> {
        let mut faults = Vec::new();
        let event = match self.event.map(RawValue::get) {
            None | Some("null") => Err("Missing required field: event"),
            Some(raw) => match json_str(raw) {
                None => Err("Event field must be a string"),
                Some(name) if name.is_empty() => Err("Event field cannot be empty"),
                Some(name) if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) => Ok(name),
                Some(_) => Err("Invalid event name format (only alphanumeric, dots, underscores, hyphens allowed)"),
            },
        };
        let data = match self.data.map(RawValue::get) {
            None | Some("null") => Err("Missing required field: data"),
            Some(raw) if raw.starts_with(['{', '[']) => Ok(self.data),
            Some(_) => Err("Data field must be an object/array"),
        };
        if let Err(text) = event {
            faults.push(text.to_owned());
        }
        if let Err(text) = data {
            faults.push(text.to_owned());
        }
        if !self.others.is_empty() {
            faults.push(format!("Message contains unsupported fields: {}", self.others.join(", ")));
        }
        match (event, data) {
            (Ok(event), Ok(Some(data))) if faults.is_empty() => Ok(Message { event, data: data.get() }),
            _ => Err(faults),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvelopeVisitor;
        impl<'de> Visitor<'de> for EnvelopeVisitor {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object or an array")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(key) = map.next_key::<CowStr<'de>>()? {
                    match &*key.0 {
                        "event" => envelope.event = Some(map.next_value()?),
                        "data" => envelope.data = Some(map.next_value()?),
                        other => {
                            envelope.unknown(other);
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(envelope)
            }

            // A list is an array to PHP as well: one with keys 0, 1, ...
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Envelope<'de>, A::Error> {
                let mut envelope = Envelope::default();
                let mut index = 0_usize;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    if index < UNKNOWN_FIELDS_MAX {
                        envelope.unknown(&index.to_string());
                    }
                    index += 1;
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_any(EnvelopeVisitor)
    }
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct CowStr<'a>(#[serde(borrow)] Cow<'a, str>);

/// The string that this JSON is, borrowed where it has no escapes.
fn json_str(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// A field that should be a string.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TextField<'a> {
    /// Not there.
    #[default]
    Missing,
    /// There, of another type.
    WrongType,
    /// As it should be.
    Text {
        /// The text.
        text: Cow<'a, str>,
        /// Its JSON, as it came.
        json: &'a str,
    },
}

impl<'a> TextField<'a> {
    fn from_raw(raw: &'a RawValue) -> Self {
        json_str(raw.get()).map_or(Self::WrongType, |text| Self::Text { text, json: raw.get() })
    }

    /// Bytes of its JSON; 0 if it is no text.
    fn json_bytes(&self) -> usize {
        self.json().map_or(0, str::len)
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Its JSON as it came, if it is a text.
    pub fn json(&self) -> Option<&'a str> {
        match self {
            Self::Text { json, .. } => Some(json),
            _ => None,
        }
    }
}

/// What a gateway reads of `data`.
#[derive(Debug, Default)]
pub struct DataHead<'a> {
    /// Echoed unchanged, of any JSON type.
    pub request_id: Option<&'a RawValue>,
    /// `diffyne-` and 16 letters.
    pub component_id: TextField<'a>,
    /// A PHP class name.
    pub component_class: TextField<'a>,
    /// Of a call.
    pub method: TextField<'a>,
    /// Of an update.
    pub property: TextField<'a>,
    /// The push that this is a reaction to.
    pub cause: Option<Cause>,
    /// Of a subscription.
    pub events: Option<&'a RawValue>,
}

impl<'a> DataHead<'a> {
    /// Reads the head of `data`. A list has none of the fields.
    pub fn read(data: &'a str) -> Self {
        serde_json::from_str(data).unwrap_or_default()
    }

    /// The request id as an answer repeats it; one that is too long is not repeated.
    pub fn request_id(&self) -> Option<&'a str> {
        self.request_id.map(RawValue::get).filter(|id| id.len() <= REQUEST_ID_BYTES_MAX)
    }

    /// Checks the lengths of all that a gateway copies; the error is the text for the client.
    pub fn check_lengths(&self) -> Result<(), String> {
        let fields = [
            ("requestId", self.request_id.map_or(0, |id| id.get().len()), REQUEST_ID_BYTES_MAX),
            ("componentId", self.component_id.json_bytes(), COMPONENT_ID_BYTES_MAX),
            ("componentClass", self.component_class.json_bytes(), CLASS_BYTES_MAX),
            ("method", self.method.json_bytes(), MEMBER_BYTES_MAX),
            ("property", self.property.json_bytes(), MEMBER_BYTES_MAX),
            ("cause.id", self.cause.as_ref().map_or(0, |cause| cause.id.len()), CAUSE_ID_BYTES_MAX),
        ];
        match fields.into_iter().find(|(_, bytes, most)| bytes > most) {
            Some((name, _, most)) => Err(format!("{name} is longer than {most} bytes")),
            None => Ok(()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for DataHead<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadVisitor;
        impl<'de> Visitor<'de> for HeadVisitor {
            type Value = DataHead<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DataHead<'de>, A::Error> {
                let mut head = DataHead::default();
                while let Some(key) = map.next_key::<CowStr<'de>>()? {
                    match &*key.0 {
                        "requestId" => head.request_id = Some(map.next_value()?),
                        "componentId" => head.component_id = TextField::from_raw(map.next_value()?),
                        "componentClass" => head.component_class = TextField::from_raw(map.next_value()?),
                        "method" => head.method = TextField::from_raw(map.next_value()?),
                        "property" => head.property = TextField::from_raw(map.next_value()?),
                        "events" => head.events = Some(map.next_value()?),
                        "cause" => {
                            let raw: &RawValue = map.next_value()?;
                            head.cause = serde_json::from_str(raw.get()).ok();
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(head)
            }
        }
        deserializer.deserialize_map(HeadVisitor)
    }
}

/// Ours: kinds of failure that a gateway itself tells, beside upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The message lacks something, or has it in another type.
    Invalid,
    /// Not run: no place to wait.
    Overloaded,
    /// May have run: its worker is gone.
    WorkerLost,
    /// May have run: no answer in time.
    Timeout,
    /// Not run: no worker there.
    NoWorker,
    /// Not run: too many in a short time.
    RateLimited,
    /// A subscription that cannot be, or is not granted.
    Subscribe,
    /// A grant whose time is over: a new one can be had.
    GrantExpired,
    /// Not run: larger than a worker takes.
    TooLarge,
    /// Ran: its answer is larger than what the client can be sent.
    AnswerTooLarge,
}

impl FailureKind {
    /// The `type` on the wire, which is the outcome's label as well.
    pub fn label(self) -> &'static str {
        match self {
            Self::Invalid => "validation_error",
            Self::Overloaded => "overloaded",
            Self::WorkerLost => "worker_lost",
            Self::Timeout => "timeout",
            Self::NoWorker | Self::AnswerTooLarge => "server_error",
            Self::RateLimited => "rate_limited",
            Self::Subscribe => "subscribe_error",
            Self::GrantExpired => "grant_expired",
            Self::TooLarge => "too_large",
        }
    }
}

/// A JSON string.
pub fn json_string(text: &str) -> String {
    // Serialising a string cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

/// Seconds since 1970, as upstream stamps its messages.
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

/// The answer to `diffyne.ping`, with the place in the history where there is one.
pub fn pong(position: Option<(&str, u64)>) -> String {
    let mut out = format!(r#"{{"event":"diffyne.pong","data":{{"timestamp":{}"#, unix_seconds());
    if let Some((epoch, offset)) = position {
        let _ = write!(out, r#","epoch":"{epoch}","offset":{offset}"#);
    }
    out.push_str("}}");
    out
}

/// The answer to a message that is no message.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_upstreams_words() {
        let prefix = "Message validation failed: ";
        let expected = [
            ("", "Empty message payload"),
            ("x", "Invalid JSON format: Syntax error"),
            ("{\"event\":\"a\",}", "Invalid JSON format: Syntax error"),
            ("7", "Message must be a JSON object"),
            ("null", "Message must be a JSON object"),
            (r#""{}""#, "Message must be a JSON object"),
        ];
        for (text, fault) in expected {
            assert_eq!(parse(text).unwrap_err(), fault, "{text}");
        }
        let validation = [
            ("[]", "Missing required field: event, Missing required field: data"),
            (
                "[1,2]",
                "Missing required field: event, Missing required field: data, Message contains unsupported fields: 0, 1",
            ),
            (r#"{"event":"a","data":null}"#, "Missing required field: data"),
            (r#"{"event":7,"data":7}"#, "Event field must be a string, Data field must be an object/array"),
            (r#"{"event":"","data":{}}"#, "Event field cannot be empty"),
            (r#"{"event":"a","data":{},"b":1,"c":2,"b":3}"#, "Message contains unsupported fields: b, c"),
        ];
        for (text, faults) in validation {
            assert_eq!(parse(text).unwrap_err(), format!("{prefix}{faults}"), "{text}");
        }
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        let message =
            parse(r#"{"event":"a","event":"b\u002ec","data":[],"data":{"method":"x","method":"y"}}"#).unwrap();
        assert_eq!(message.event, "b.c");
        assert_eq!(DataHead::read(message.data).method.text(), Some("y"));
    }

    #[test]
    fn the_usual_form_is_read_as_any_other() {
        let usual = r#"{"event":"diffyne.call","data":{"method":"x","state":{"a":[1,"}"]},"requestId":1}}"#;
        let (message, head) = parse_canonical(usual).unwrap();
        let slow = parse(usual).unwrap();
        assert_eq!((message.event, message.data), (slow.event, slow.data));
        assert_eq!(head.method, DataHead::read(slow.data).method);
        let others = [
            r#"{"event":"diffyne.call","data":[]}"#,
            r#"{"event":"diffyne.call","data":{},"extra":{}}"#,
            r#"{"event":"diffyne.call","data":{}}}"#,
            r#"{"event":"diffyne.call","data":{}"#,
            r#"{"event":"diffyne.call","data":{"a":1},"data":{}}"#,
            r#"{"event":"diffyne.ping","data":{}}"#,
        ];
        for text in others {
            assert!(parse_canonical(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_head_is_read_without_touching_the_rest() {
        let data = r#"{"componentClass":"App\\Diffyne\\Counter","componentId":null,"state":{"method":"no"},"requestId":{"a":[1]},"cause":{"id":"g-1","depth":1}}"#;
        let text = format!(r#"{{"data":{data},"event":"diffyne.call"}}"#);
        let message = parse(&text).unwrap();
        let head = DataHead::read(message.data);
        assert_eq!(message.data, data);
        assert_eq!(head.component_class.text(), Some("App\\Diffyne\\Counter"));
        assert_eq!((head.component_id, head.method), (TextField::WrongType, TextField::Missing));
        assert_eq!(head.request_id.unwrap().get(), r#"{"a":[1]}"#);
        assert_eq!(head.cause, Some(Cause { id: "g-1".to_owned(), depth: 1 }));
    }
}
