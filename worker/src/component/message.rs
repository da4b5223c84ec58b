//! The client's `data`, as far as a component needs it.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::failure::Failure;

/// A call, an update or a lazy mount.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Data<'a> {
    #[serde(borrow, default)]
    pub(super) component_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) component_class: Text<'a>,
    #[serde(borrow, default)]
    pub(super) method: Text<'a>,
    #[serde(default)]
    pub(super) params: Value,
    #[serde(borrow, default)]
    pub(super) property: Text<'a>,
    #[serde(default)]
    pub(super) value: Value,
    #[serde(default)]
    pub(super) state: Value,
    #[serde(borrow, default)]
    pub(super) signature: Text<'a>,
    #[serde(default)]
    pub(super) query_params: Value,
}

pub(super) fn invalid() -> Failure {
    Failure::Invalid("Invalid request".to_owned())
}

impl<'a> Data<'a> {
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, Failure> {
        serde_json::from_slice(payload).map_err(|_| invalid())
    }

    /// Positional parameters; an object's values count in order, as PHP's named ones must not.
    pub(super) fn positional(&self) -> Result<Vec<Value>, Failure> {
        match &self.params {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => Ok(items.clone()),
            Value::Object(map) => Ok(map.values().cloned().collect()),
            _ => Err(Failure::Invalid("params must be an array".to_owned())),
        }
    }
}

/// A JSON object; PHP prints an empty one as a list.
pub(super) fn object(value: &Value) -> Option<Cow<'_, Map<String, Value>>> {
    match value {
        Value::Object(map) => Some(Cow::Borrowed(map)),
        Value::Array(items) if items.is_empty() => Some(Cow::Owned(Map::new())),
        _ => None,
    }
}

/// A field that should be a string, borrowed where it can be; nothing where it is something else.
#[derive(Default)]
pub(super) struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    /// The text, unless it is empty.
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The JSON as it stands: a string without escapes needs no copy.
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let Some(inner) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            return Ok(Self(None));
        };
        if inner.contains('\\') {
            return Ok(Self(serde_json::from_str(raw).ok().map(Cow::Owned)));
        }
        Ok(Self(Some(Cow::Borrowed(inner))))
    }
}
