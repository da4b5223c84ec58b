//! The client's message.

use std::borrow::Cow;

use diffyne_shared::signing::{JsonTree, Shape, Signer};
use diffyne_shared::telemetry;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::deep_json::{self, DEPTH_MAX, DeepJsonError};
use super::error::CallError;
use super::page_script::{Accepted, release_in};
use super::page_values;

/// The `data` of a call, an update or a lazy mount. Values are copies where a component gets them, and parts of the message
/// where only its signatures are checked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "T: JsonTree + Deserialize<'de>"))]
pub(crate) struct CallMessage<'a, T = Value> {
    #[serde(borrow, default)]
    pub(crate) component_id: MessageField<'a>,
    #[serde(borrow, default)]
    pub(crate) component_class: MessageField<'a>,
    #[serde(borrow, default)]
    pub(crate) method: MessageField<'a>,
    #[serde(default)]
    pub(crate) params: T,
    #[serde(borrow, default)]
    pub(crate) property: MessageField<'a>,
    #[serde(default)]
    pub(crate) value: T,
    #[serde(default)]
    pub(crate) state: T,
    #[serde(borrow, default)]
    pub(crate) signature: MessageField<'a>,
    /// The original values of the state's edited fields, where a client script of this project kept them.
    #[serde(default)]
    pub(crate) base: T,
    /// The signature's second part, over locked values, where a client script split it off: the package's own endpoint
    /// accepts the first part only.
    #[serde(borrow, default)]
    pub(crate) lock: MessageField<'a>,
    #[serde(default)]
    pub(crate) query_params: T,
    /// The fingerprint of the last answer, as the client got it.
    #[serde(borrow, default)]
    pub(crate) fingerprint: MessageField<'a>,
    /// True where the page's script returns integers as it got them.
    #[serde(default)]
    exact: T,
    /// True where the page's script counts the children of a reorder as paths do.
    #[serde(default)]
    moves: T,
    /// The release of the page.
    #[serde(borrow, default)]
    release: Option<&'a RawValue>,
    /// What the page's script can do.
    #[serde(borrow, default)]
    accepts: Option<&'a RawValue>,
    /// The part of the view that the call is to render alone.
    #[serde(borrow, default)]
    pub(crate) island: MessageField<'a>,
}

/// The same, with the values that may nest deeply unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeepMessage<'a> {
    #[serde(borrow, default)]
    component_id: MessageField<'a>,
    #[serde(borrow, default)]
    component_class: MessageField<'a>,
    #[serde(borrow, default)]
    method: MessageField<'a>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    property: MessageField<'a>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    state: Option<&'a RawValue>,
    #[serde(borrow, default)]
    signature: MessageField<'a>,
    #[serde(borrow, default)]
    base: Option<&'a RawValue>,
    #[serde(borrow, default)]
    lock: MessageField<'a>,
    #[serde(borrow, default)]
    query_params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    fingerprint: MessageField<'a>,
    #[serde(borrow, default)]
    exact: Option<&'a RawValue>,
    #[serde(borrow, default)]
    moves: Option<&'a RawValue>,
    #[serde(borrow, default)]
    release: Option<&'a RawValue>,
    /// What the page's script can do.
    #[serde(borrow, default)]
    accepts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    island: MessageField<'a>,
}

impl<'a> DeepMessage<'a> {
    fn read<T: JsonTree>(self) -> Result<CallMessage<'a, T>, DeepJsonError> {
        // The message itself is the first level.
        let value = |raw: Option<&RawValue>| {
            raw.map_or(Ok(T::default()), |raw| deep_json::read(raw, DEPTH_MAX - 1).map(T::from))
        };
        Ok(CallMessage {
            component_id: self.component_id,
            component_class: self.component_class,
            method: self.method,
            params: value(self.params)?,
            property: self.property,
            value: value(self.value)?,
            state: value(self.state)?,
            signature: self.signature,
            base: value(self.base)?,
            lock: self.lock,
            query_params: value(self.query_params)?,
            fingerprint: self.fingerprint,
            exact: value(self.exact)?,
            moves: value(self.moves)?,
            release: self.release,
            accepts: self.accepts,
            island: self.island,
        })
    }
}

pub(crate) fn invalid() -> CallError {
    CallError::Invalid("Invalid request".to_owned())
}

impl<'a, T: JsonTree> CallMessage<'a, T> {
    /// Reads a message that nests at most [`DEPTH_MAX`] lists and objects.
    pub(crate) fn read(payload: &'a [u8]) -> Result<Self, CallError>
    where
        T: Deserialize<'a>,
    {
        match serde_json::from_slice(payload) {
            // serde_json has no code for this error: its own limit is 128.
            Err(error) if error.to_string().starts_with("recursion limit exceeded") => Self::read_deep(payload),
            result => result.map_err(|_| invalid()),
        }
    }

    fn read_deep(payload: &'a [u8]) -> Result<Self, CallError> {
        let message: DeepMessage<'a> = serde_json::from_slice(payload).map_err(|_| invalid())?;
        message.read().map_err(|error| match error {
            DeepJsonError::TooDeep => {
                CallError::Invalid(format!("The message nests more than {DEPTH_MAX} lists and objects."))
            }
            DeepJsonError::Invalid => invalid(),
        })
    }

    /// Whether the page's script returns integers as it got them.
    pub(crate) fn is_exact(&self) -> bool {
        self.exact.is_bool(true)
    }

    /// Whether the page's script counts the children of a reorder as paths do: without white space.
    pub(crate) fn counts_moves(&self) -> bool {
        self.moves.is_bool(true)
    }

    /// Refuses integers that JavaScript may have changed, unless the page's script keeps them or a signature covers them.
    pub(crate) fn check_integers(&self, signer: &Signer) -> Result<(), CallError> {
        if self.is_exact() {
            return Ok(());
        }
        let refused = |subject: &dyn Fn() -> String, value: &T| match page_values::doubtful_integer(value) {
            Some(number) => Err(CallError::Invalid(page_values::integer_text(&subject(), number))),
            None => Ok(()),
        };
        let class = telemetry::name(self.component_class.get().unwrap_or_default());
        match self.params.shape() {
            Shape::List(items) => {
                for (index, value) in items.iter().enumerate() {
                    let method = telemetry::name(self.method.get().unwrap_or("mount"));
                    refused(&|| format!("Parameter {} of method [{method}] of {class}", index + 1), value)?;
                }
            }
            Shape::Object(members) => {
                for (name, value) in members {
                    refused(&|| format!("Parameter [{}] of {class}", telemetry::name(name)), value)?;
                }
            }
            _ => {}
        }
        let property = telemetry::name(self.property.get().unwrap_or_default());
        refused(&|| format!("Property [{property}] of {class}"), &self.value)?;
        let is_signed = || {
            let (id, signature) = (self.component_id.get(), self.signature.get());
            id.zip(signature).is_some_and(|(id, signature)| signer.covers(&self.state, id, signature))
        };
        let Shape::Object(properties) = self.state.shape() else { return Ok(()) };
        for (name, value) in properties {
            let result = refused(&|| format!("Property [{}] of {class}", telemetry::name(name)), value);
            // A float prints as an integer in JavaScript.
            if result.is_err() && !is_signed() {
                return result;
            }
        }
        Ok(())
    }

    /// What the page's script can do beyond patches.
    pub(crate) fn accepts(&self) -> Accepted {
        self.accepts.map(Accepted::read).unwrap_or_default()
    }

    /// The release of the page, see [`page_release`](super::page_script::page_release).
    pub(crate) fn release(&self) -> Option<Cow<'_, str>> {
        release_in(self.release?)
    }

    /// The state as the client says the server sent it; unproven until a signature covers it.
    pub(crate) fn base(&self) -> Cow<'_, T> {
        if matches!(self.base.shape(), Shape::Object(_)) {
            return Cow::Owned(self.state.with_members(&self.base));
        }
        Cow::Borrowed(&self.state)
    }
}

impl CallMessage<'_> {
    /// Positional parameters. An object's values are taken in order: its keys must not become PHP's named arguments.
    pub(crate) fn positional(&self) -> Result<Vec<Value>, CallError> {
        match &self.params {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => Ok(items.clone()),
            Value::Object(map) => Ok(map.values().cloned().collect()),
            _ => Err(CallError::Invalid("params must be an array".to_owned())),
        }
    }
}

/// A JSON object; PHP encodes an empty one as a list.
pub(crate) fn object(value: &Value) -> Option<Cow<'_, Map<String, Value>>> {
    match value {
        Value::Object(map) => Some(Cow::Borrowed(map)),
        Value::Array(items) if items.is_empty() => Some(Cow::Owned(Map::new())),
        _ => None,
    }
}

/// A text field, borrowed where possible; `None` where the JSON value is not a string.
#[derive(Default)]
pub(crate) struct MessageField<'a>(Option<Cow<'a, str>>);

impl MessageField<'_> {
    /// The text, unless it is empty.
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for MessageField<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The raw JSON: a string without escapes needs no copy.
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
