//! The fields of `data` that a gateway reads.

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::json::{CowStr, json_str};
use crate::rpc::Cause;

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

/// A field that should be a string.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TextField<'a> {
    /// Not there.
    #[default]
    Missing,
    /// There, of another type.
    WrongType,
    /// There, and a string.
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
    /// Name of the method of a call.
    pub method: TextField<'a>,
    /// Name of the property of an update.
    pub property: TextField<'a>,
    /// The broadcast that this is a reaction to.
    pub cause: Option<Cause>,
    /// Whether no other call of the component has to wait for this one.
    pub background: bool,
    /// The release of the page, see [`DataHead::scripts`].
    pub release: Option<&'a RawValue>,
    /// Names and filters of a subscription.
    pub events: Option<&'a RawValue>,
}

impl<'a> DataHead<'a> {
    /// Reads the head of `data`. A list has none of the fields.
    pub fn read(data: &'a str) -> Self {
        serde_json::from_str(data).unwrap_or_default()
    }

    /// The request id that an answer repeats; `None` if it is too long.
    pub fn request_id(&self) -> Option<&'a str> {
        self.request_id.map(RawValue::get).filter(|id| id.len() <= REQUEST_ID_BYTES_MAX)
    }

    /// The release of the page's scripts; `None` if the client does not tell it.
    pub fn scripts(&self) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct PageRelease<'a> {
            #[serde(borrow)]
            scripts: CowStr<'a>,
        }
        serde_json::from_str::<PageRelease<'a>>(self.release?.get()).ok().map(|release| release.scripts.0)
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
                        "background" => {
                            let raw: &RawValue = map.next_value()?;
                            head.background = raw.get() == "true";
                        }
                        "release" => head.release = Some(map.next_value()?),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_read_without_touching_the_rest() {
        let data = r#"{"componentClass":"App\\Diffyne\\Counter","componentId":null,"background":true,"state":{"method":"no"},"requestId":{"a":[1]},"cause":{"id":"g-1","depth":1}}"#;
        let head = DataHead::read(data);
        assert_eq!(head.component_class.text(), Some("App\\Diffyne\\Counter"));
        assert_eq!(head.scripts(), None);
        assert_eq!((head.component_id, head.method), (TextField::WrongType, TextField::Missing));
        assert!(head.background && !DataHead::read(r#"{"background":"true"}"#).background);
        assert_eq!(head.request_id.unwrap().get(), r#"{"a":[1]}"#);
        for (release, scripts) in
            [(r#"{"components":1,"scripts":"ab"}"#, Some("ab")), (r#"{"scripts":7}"#, None), ("[]", None)]
        {
            let data = format!(r#"{{"release":{release}}}"#);
            assert_eq!(DataHead::read(&data).scripts().as_deref(), scripts, "{data}");
        }
        assert_eq!(head.cause, Some(Cause { id: "g-1".to_owned(), depth: 1 }));
    }
}
