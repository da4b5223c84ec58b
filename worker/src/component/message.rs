//! The client's `data`, as far as a component needs it.

use std::borrow::Cow;

use diffyne_shared::rpc::{CallKind, Transport};
use diffyne_shared::signing::{LockedValues, Purpose, SignatureParts, Signer, Verdict};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::failure::Failure;

/// Lists and objects within each other that a message may have: `serde_json`'s own bound, below which all that is done
/// with a state, its signature for example, needs little of a stack.
const JSON_DEPTH_MAX: usize = 128;

/// A call, an update or a lazy mount.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Data<'a> {
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
    /// What edited fields of the state were when the server sent it, where a script of ours has kept that.
    #[serde(default)]
    pub(super) base: Value,
    /// Our part of the signature, where a script of ours has split it: the package's own endpoint knows its own only.
    #[serde(borrow, default)]
    pub(super) lock: Text<'a>,
    #[serde(default)]
    pub(super) query_params: Value,
}

pub(super) fn invalid() -> Failure {
    Failure::Invalid("Invalid request".to_owned())
}

impl<'a> Data<'a> {
    pub(crate) fn read(payload: &'a [u8]) -> Result<Self, Failure> {
        serde_json::from_slice(payload).map_err(|error| {
            // serde_json tells it in words only.
            if error.to_string().starts_with("recursion limit exceeded") {
                Failure::Invalid(format!("The message nests more than {JSON_DEPTH_MAX} lists and objects."))
            } else {
                invalid()
            }
        })
    }

    /// The state as the server has sent it: the client's word until a signature fits.
    pub(super) fn base(&self) -> Cow<'_, Value> {
        let Value::Object(edited) = &self.base else { return Cow::Borrowed(&self.state) };
        let mut base = object(&self.state).unwrap_or_default().into_owned();
        base.extend(edited.iter().map(|(name, value)| (name.clone(), value.clone())));
        Cow::Owned(Value::Object(base))
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

/// What is known of a class's locked properties while a message is verified.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Locked<'a> {
    /// These.
    Known(&'a [&'a str]),
    /// Only the application knows.
    Unknown,
}

/// What a message's signatures have shown of locked values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Trust {
    /// Nothing.
    #[default]
    Nothing,
    /// The package's signature covers the state as it was sent to the page, as a whole. It names no class.
    Base,
    /// A lock of ours covers the values of these names in the state, for this class and component.
    Names(Vec<String>),
    /// What the package's own rules let pass is taken.
    Upstream,
    /// The same, where they let it pass as a form that was filled in.
    UpstreamForm,
}

impl Trust {
    fn of(data: &Data<'_>, class: &str, id: &str, signer: &Signer) -> Self {
        let Some(signature) = data.signature.get() else { return Self::Nothing };
        let lock = data.lock.get().or(SignatureParts::of(signature).lock);
        let state = object(&data.state);
        if let (Some(lock), Some(state)) = (lock, &state)
            && let Some(names) = signer.locked_names(class, id, state, lock)
        {
            return Self::Names(names);
        }
        if signer.covers(&data.base(), id, signature) { Self::Base } else { Self::Nothing }
    }

    fn names(&self) -> &[String] {
        if let Self::Names(names) = self { names } else { &[] }
    }
}

/// As the bridge reads it.
impl Serialize for Trust {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.collect_seq([""; 0]),
            Self::Names(names) => serializer.collect_seq(names),
            Self::Base => serializer.serialize_str("base"),
            Self::Upstream => serializer.serialize_str("upstream"),
            Self::UpstreamForm => serializer.serialize_str("upstream form"),
        }
    }
}

/// A message that may be run: it is whole, and its state is signed where it has to be.
#[derive(Debug)]
pub(crate) struct Verified<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) class: Cow<'a, str>,
    /// The method or property; `mount` for a mount.
    pub(crate) member: Cow<'a, str>,
    /// The method, or `update` or `mount`: what logs and metrics say.
    pub(crate) method: Cow<'a, str>,
    /// What is known of the values that clients must not change.
    pub(crate) trust: Trust,
}

impl<'a> Verified<'a> {
    /// Checks a message, without a look at the component beyond its locked properties.
    pub(crate) fn of(
        data: &'a Data<'_>,
        kind: CallKind,
        transport: Transport,
        signer: &Signer,
        locked: Locked<'_>,
    ) -> Result<Self, Failure> {
        let id = data.component_id.get().ok_or_else(invalid)?;
        let class = data.component_class.get().ok_or_else(invalid)?;
        let missing = |what: &str| match transport {
            Transport::Ajax => Failure::Invalid(format!("{what} not specified")),
            Transport::Ws => invalid(),
        };
        let (purpose, member, method) = match kind {
            CallKind::Call => {
                let method = data.method.get().ok_or_else(|| missing("Method"))?;
                (Purpose::Call, method, method)
            }
            CallKind::Update => (Purpose::Update, data.property.get().ok_or_else(|| missing("Property"))?, "update"),
            CallKind::Mount => {
                let (member, method) = ("mount".into(), "mount".into());
                return Ok(Self { id: id.into(), class: class.into(), member, method, trust: Trust::Nothing });
            }
            CallKind::Grant => return Ok(Verified::grant()),
        };
        if object(&data.state).is_none() {
            return Err(match transport {
                Transport::Ajax => invalid(),
                Transport::Ws => Failure::Invalid("state must be an object".to_owned()),
            });
        }
        if signer.wants(purpose) && data.signature.get().is_none() {
            return Err(Failure::Invalid("Missing state signature".to_owned()));
        }
        let trust = match (signer.locked_values(), locked) {
            (LockedValues::Upstream, _) => Trust::Upstream,
            (LockedValues::Signed, Locked::Known([])) => Trust::Nothing,
            (LockedValues::Signed, _) => Trust::of(data, class, id, signer),
        };
        let signature = data.signature.get();
        let verdict = match locked {
            Locked::Known(names) => signer.judge(purpose, &data.state, id, signature, names),
            Locked::Unknown => signer.judge(purpose, &data.state, id, signature, trust.names()),
        };
        let trust = match (verdict, trust) {
            (Verdict::Refused, _) => return Err(Failure::Security),
            (Verdict::Lenient, Trust::Upstream) => Trust::UpstreamForm,
            (Verdict::Accepted | Verdict::Lenient, trust) => trust,
        };
        Ok(Self { id: id.into(), class: class.into(), member: member.into(), method: method.into(), trust })
    }

    /// A question about events: it names its classes itself, and needs no state.
    pub(crate) fn grant() -> Verified<'static> {
        Verified {
            id: "".into(),
            class: "".into(),
            member: "grant".into(),
            method: "grant".into(),
            trust: Trust::Nothing,
        }
    }

    pub(crate) fn into_owned(self) -> Verified<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        Verified {
            id: owned(self.id),
            class: owned(self.class),
            member: owned(self.member),
            method: owned(self.method),
            trust: self.trust,
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
pub(crate) struct Text<'a>(Option<Cow<'a, str>>);

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
