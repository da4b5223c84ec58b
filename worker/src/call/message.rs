//! The client's message, and the check of its signatures.

use std::borrow::Cow;
use std::cell::OnceCell;

use diffyne_shared::rpc::{CallKind, Transport};
use diffyne_shared::signing::{LockedValues, Purpose, SignatureParts, Signer, Verdict};
use diffyne_shared::telemetry;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::deep_json::{self, DEPTH_MAX, DeepJsonError};
use super::error::CallError;
use super::page_script::{Accepted, release_in};
use super::page_values;

/// The `data` of a call, an update or a lazy mount.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallMessage<'a> {
    #[serde(borrow, default)]
    pub(crate) component_id: MessageField<'a>,
    #[serde(borrow, default)]
    pub(crate) component_class: MessageField<'a>,
    #[serde(borrow, default)]
    pub(crate) method: MessageField<'a>,
    #[serde(default)]
    pub(crate) params: Value,
    #[serde(borrow, default)]
    pub(crate) property: MessageField<'a>,
    #[serde(default)]
    pub(crate) value: Value,
    #[serde(default)]
    pub(crate) state: Value,
    #[serde(borrow, default)]
    pub(crate) signature: MessageField<'a>,
    /// The original values of the state's edited fields, where a client script of this project kept them.
    #[serde(default)]
    pub(crate) base: Value,
    /// The signature's second part, over locked values, where a client script split it off: the package's own endpoint
    /// accepts the first part only.
    #[serde(borrow, default)]
    pub(crate) lock: MessageField<'a>,
    #[serde(default)]
    pub(crate) query_params: Value,
    /// The fingerprint of the last answer, as the client got it.
    #[serde(borrow, default)]
    fingerprint: MessageField<'a>,
    /// True where the page's script returns integers as it got them.
    #[serde(default)]
    exact: Value,
    /// True where the page's script counts the children of a reorder as paths do.
    #[serde(default)]
    moves: Value,
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
    fn read(self) -> Result<CallMessage<'a>, DeepJsonError> {
        // The message itself is the first level.
        let value = |raw: Option<&RawValue>| raw.map_or(Ok(Value::Null), |raw| deep_json::read(raw, DEPTH_MAX - 1));
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

impl<'a> CallMessage<'a> {
    /// Reads a message that nests at most [`DEPTH_MAX`] lists and objects.
    pub(crate) fn read(payload: &'a [u8]) -> Result<Self, CallError> {
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
        self.exact == Value::Bool(true)
    }

    /// Whether the page's script counts the children of a reorder as paths do: without white space.
    pub(crate) fn counts_moves(&self) -> bool {
        self.moves == Value::Bool(true)
    }

    /// Refuses integers that JavaScript may have changed, unless the page's script keeps them or a signature covers them.
    fn check_integers(&self, signer: &Signer) -> Result<(), CallError> {
        if self.is_exact() {
            return Ok(());
        }
        let refused = |subject: &str, value: &Value| match page_values::doubtful_integer(value) {
            Some(number) => Err(CallError::Invalid(page_values::integer_text(subject, number))),
            None => Ok(()),
        };
        let class = telemetry::name(self.component_class.get().unwrap_or_default());
        for (index, value) in self.params.as_array().into_iter().flatten().enumerate() {
            let method = telemetry::name(self.method.get().unwrap_or("mount"));
            refused(&format!("Parameter {} of method [{method}] of {class}", index + 1), value)?;
        }
        for (name, value) in self.params.as_object().into_iter().flatten() {
            refused(&format!("Parameter [{}] of {class}", telemetry::name(name)), value)?;
        }
        let property = telemetry::name(self.property.get().unwrap_or_default());
        refused(&format!("Property [{property}] of {class}"), &self.value)?;
        let is_signed = || {
            let (id, signature) = (self.component_id.get(), self.signature.get());
            id.zip(signature).is_some_and(|(id, signature)| signer.covers(&self.state, id, signature))
        };
        for (name, value) in self.state.as_object().into_iter().flatten() {
            let result = refused(&format!("Property [{}] of {class}", telemetry::name(name)), value);
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
    pub(crate) fn base(&self) -> Cow<'_, Value> {
        let Value::Object(edited) = &self.base else { return Cow::Borrowed(&self.state) };
        let mut base = object(&self.state).unwrap_or_default().into_owned();
        base.extend(edited.iter().map(|(name, value)| (name.clone(), value.clone())));
        Cow::Owned(Value::Object(base))
    }

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

/// What the verifier knows of a class's locked properties.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LockedProperties<'a> {
    /// The class locks these.
    Known(&'a [&'a str]),
    /// Only the application knows them.
    Unknown,
}

/// Which locked values of a message its signatures cover.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum LockCoverage {
    /// No signature covers them.
    #[default]
    Nothing,
    /// The package's signature covers the whole state as it was sent to the page. It names no class.
    WholeState,
    /// The second signature covers the values of these names, for this class and component.
    Names(Vec<String>),
    /// The operator accepts whatever the package's own rules accept.
    Upstream,
    /// As `Upstream`, for a message that those rules accept as a submitted form.
    UpstreamForm,
}

impl LockCoverage {
    fn of(message: &CallMessage<'_>, id: &str, signer: &Signer, state_check: &StateCheck<'_>) -> Self {
        let class = message.component_class.get().unwrap_or_default();
        let Some(signature) = message.signature.get() else { return Self::Nothing };
        let lock = message.lock.get().or(SignatureParts::of(signature).lock);
        let state = object(&message.state);
        if let (Some(lock), Some(state)) = (lock, &state)
            && let Some(names) = signer.locked_names(class, id, state, lock)
        {
            return Self::Names(names);
        }
        let is_covered = match message.base() {
            Cow::Borrowed(_) => state_check.is_covered(),
            Cow::Owned(base) => signer.covers(&base, id, signature),
        };
        if is_covered { Self::WholeState } else { Self::Nothing }
    }

    /// Which parameters of a mount the page's server has signed.
    fn of_params(message: &CallMessage<'_>, class: &str, signer: &Signer) -> Self {
        let params = object(&message.params);
        params.and_then(|params| signer.locked_params(class, &params)).map_or(Self::Nothing, Self::Names)
    }

    pub(crate) fn names(&self) -> &[String] {
        if let Self::Names(names) = self { names } else { &[] }
    }
}

/// The form that the bridge reads.
impl Serialize for LockCoverage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.collect_seq([""; 0]),
            Self::Names(names) => serializer.collect_seq(names),
            Self::WholeState => serializer.serialize_str("base"),
            Self::Upstream => serializer.serialize_str("upstream"),
            Self::UpstreamForm => serializer.serialize_str("upstream form"),
        }
    }
}

/// Whether the signature covers the state as it was sent, found out once at most.
struct StateCheck<'a> {
    message: &'a CallMessage<'a>,
    signer: &'a Signer,
    result: OnceCell<bool>,
}

impl<'a> StateCheck<'a> {
    fn new(message: &'a CallMessage<'a>, signer: &'a Signer) -> Self {
        Self { message, signer, result: OnceCell::new() }
    }

    fn is_covered(&self) -> bool {
        *self.result.get_or_init(|| {
            let (id, signature) = (self.message.component_id.get(), self.message.signature.get());
            id.zip(signature).is_some_and(|(id, signature)| self.signer.covers(&self.message.state, id, signature))
        })
    }
}

/// A message that may be run: it is complete, and its state is signed where that is required.
#[derive(Debug)]
pub(crate) struct VerifiedCall<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) class: Cow<'a, str>,
    /// The method or property; `mount` for a mount.
    pub(crate) member: Cow<'a, str>,
    /// The method, or `update` or `mount`: the label in logs and metrics.
    pub(crate) method: Cow<'a, str>,
    /// Which locked values the message's signatures cover.
    pub(crate) coverage: LockCoverage,
    /// The fingerprint of the last answer that the client has applied.
    pub(crate) fingerprint: Cow<'a, str>,
    /// Whether patches may start from the HTML of that answer.
    pub(crate) shows_answer: bool,
    /// Whether the page's script returns integers as it got them.
    pub(crate) is_exact: bool,
    /// Whether the page's script shows parts of the answer while the call runs.
    pub(crate) takes_parts: bool,
}

impl<'a> VerifiedCall<'a> {
    /// Checks a message. Of the component this needs the locked properties only.
    pub(crate) fn of(
        message: &'a CallMessage<'_>,
        kind: CallKind,
        transport: Transport,
        signer: &Signer,
        locked: LockedProperties<'_>,
    ) -> Result<Self, CallError> {
        let id = message.component_id.get().ok_or_else(invalid)?;
        let class = message.component_class.get().ok_or_else(invalid)?;
        message.check_integers(signer)?;
        let missing = |what: &str| match transport {
            Transport::Ajax => CallError::Invalid(format!("{what} not specified")),
            Transport::Ws => invalid(),
        };
        let (purpose, member, method) = match kind {
            CallKind::Call => {
                let method = message.method.get().ok_or_else(|| missing("Method"))?;
                (Purpose::Call, method, method)
            }
            CallKind::Update => (Purpose::Update, message.property.get().ok_or_else(|| missing("Property"))?, "update"),
            CallKind::Mount => {
                return Ok(Self {
                    id: id.into(),
                    class: class.into(),
                    member: "mount".into(),
                    method: "mount".into(),
                    coverage: LockCoverage::of_params(message, class, signer),
                    is_exact: message.is_exact(),
                    takes_parts: message.accepts().parts,
                    ..VerifiedCall::grant()
                });
            }
            CallKind::Grant | CallKind::Lifecycle => return Ok(VerifiedCall::without_component(kind)),
        };
        if object(&message.state).is_none() {
            return Err(match transport {
                Transport::Ajax => invalid(),
                Transport::Ws => CallError::Invalid("state must be an object".to_owned()),
            });
        }
        if signer.wants(purpose) && message.signature.get().is_none() {
            return Err(CallError::Invalid("Missing state signature".to_owned()));
        }
        let state_check = StateCheck::new(message, signer);
        let coverage = verified_coverage(message, purpose, signer, locked, &state_check)?;
        let fingerprint = message.fingerprint.get().unwrap_or_default();
        // Only a fingerprint of a worker's answer tells what the client shows. Fields that the user has edited show
        // something else; the scripts that write them by themselves need no patches for that.
        let is_unedited = || message.base.is_null() && state_check.is_covered();
        let shows_answer = fingerprint.contains('.') && (message.accepts().base || is_unedited());
        Ok(Self {
            id: id.into(),
            class: class.into(),
            member: member.into(),
            method: method.into(),
            coverage,
            fingerprint: fingerprint.into(),
            shows_answer,
            is_exact: message.is_exact(),
            takes_parts: message.accepts().parts,
        })
    }

    /// A grant request: it names its classes itself and has no state.
    pub(crate) fn grant() -> VerifiedCall<'static> {
        VerifiedCall {
            id: "".into(),
            class: "".into(),
            member: "grant".into(),
            method: "grant".into(),
            coverage: LockCoverage::Nothing,
            fingerprint: "".into(),
            shows_answer: false,
            is_exact: false,
            takes_parts: false,
        }
    }

    /// A call that is for no component.
    pub(crate) fn without_component(kind: CallKind) -> VerifiedCall<'static> {
        let name = if kind == CallKind::Lifecycle { "lifecycle" } else { "grant" };
        VerifiedCall { member: name.into(), method: name.into(), ..VerifiedCall::grant() }
    }

    pub(crate) fn into_owned(self) -> VerifiedCall<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        VerifiedCall {
            id: owned(self.id),
            class: owned(self.class),
            member: owned(self.member),
            method: owned(self.method),
            coverage: self.coverage,
            fingerprint: owned(self.fingerprint),
            shows_answer: self.shows_answer,
            is_exact: self.is_exact,
            takes_parts: self.takes_parts,
        }
    }
}

/// Verifies the state's signature, and tells which locked values the message's signatures cover.
fn verified_coverage(
    message: &CallMessage<'_>,
    purpose: Purpose,
    signer: &Signer,
    locked: LockedProperties<'_>,
    state_check: &StateCheck<'_>,
) -> Result<LockCoverage, CallError> {
    let id = message.component_id.get().unwrap_or_default();
    let coverage = match (signer.locked_values(), locked) {
        (LockedValues::Upstream, _) => LockCoverage::Upstream,
        (LockedValues::Signed, LockedProperties::Known([])) => LockCoverage::Nothing,
        (LockedValues::Signed, _) => LockCoverage::of(message, id, signer, state_check),
    };
    let signature = message.signature.get();
    let verdict = match locked {
        _ if signer.wants(purpose) && state_check.is_covered() => Verdict::Accepted,
        LockedProperties::Known(names) => signer.judge(purpose, &message.state, id, signature, names),
        LockedProperties::Unknown => signer.judge(purpose, &message.state, id, signature, coverage.names()),
    };
    match (verdict, coverage) {
        (Verdict::Refused, _) => Err(CallError::Security),
        (Verdict::Lenient, LockCoverage::Upstream) => Ok(LockCoverage::UpstreamForm),
        (Verdict::Accepted | Verdict::Lenient, coverage) => Ok(coverage),
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
