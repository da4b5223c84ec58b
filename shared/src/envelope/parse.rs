//! Reading the envelope of a message: `{"event", "data"}`.

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::head::DataHead;
use super::json::{CowStr, json_str};

/// How many unknown fields of an envelope the answer names.
const UNKNOWN_FIELDS_MAX: usize = 8;
/// Characters of a client's text that an answer repeats.
const ECHO_CHARS_MAX: usize = 64;

/// A well-formed envelope.
#[derive(Debug)]
pub struct Message<'a> {
    /// The event's name.
    pub event: Cow<'a, str>,
    /// The JSON of `data`: an object or an array.
    pub data: &'a str,
}

/// The beginnings that diffyne.js gives a call and an update.
const CANONICAL: [(&str, &str); 2] = [
    ("diffyne.call", r#"{"event":"diffyne.call","data":"#),
    ("diffyne.update", r#"{"event":"diffyne.update","data":"#),
];

/// Reads a message in the form in which diffyne.js prints calls, in one pass; `None` when it has another form.
///
/// If the text between the canonical beginning and the last brace is one whole JSON object, the envelope is well-formed.
pub fn parse_canonical(text: &str) -> Option<(Message<'_>, DataHead<'_>)> {
    CANONICAL.iter().find_map(|(event, beginning)| {
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
    envelope.check().map_err(|errors| format!("Message validation failed: {}", errors.join(", ")).into())
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

impl<'a> Envelope<'a> {
    fn unknown(&mut self, name: &str) {
        if self.others.len() < UNKNOWN_FIELDS_MAX {
            let name = shortened(name);
            if !self.others.iter().any(|known| *known == name) {
                self.others.push(name.into_owned());
            }
        }
    }

    fn check(self) -> Result<Message<'a>, Vec<String>> {
        let mut errors = Vec::new();
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
            errors.push(text.to_owned());
        }
        if let Err(text) = data {
            errors.push(text.to_owned());
        }
        if !self.others.is_empty() {
            errors.push(format!("Message contains unsupported fields: {}", self.others.join(", ")));
        }
        match (event, data) {
            (Ok(event), Ok(Some(data))) if errors.is_empty() => Ok(Message { event, data: data.get() }),
            _ => Err(errors),
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

            // To PHP a list is an array with the keys 0, 1, ...
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

/// The beginning of a client's text, for an answer that repeats it.
pub fn shortened(word: &str) -> Cow<'_, str> {
    match word.char_indices().nth(ECHO_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}...", &word[..end])),
        None => Cow::Borrowed(word),
    }
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
}
