//! The check of a message and its signatures: what a component may be called with.

use std::borrow::Cow;
use std::cell::OnceCell;

use diffyne_shared::rpc::{CallKind, Transport};
use diffyne_shared::signing::{JsonTree, LockedValues, Purpose, Shape, SignatureParts, Signer, Verdict};
use serde::{Serialize, Serializer};

use super::error::CallError;
use super::message::{CallMessage, invalid};

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
    fn of<T: JsonTree>(
        message: &CallMessage<'_, T>,
        id: &str,
        signer: &Signer,
        state_check: &StateCheck<'_, T>,
    ) -> Self {
        let class = message.component_class.get().unwrap_or_default();
        let Some(signature) = message.signature.get() else { return Self::Nothing };
        let lock = message.lock.get().or(SignatureParts::of(signature).lock);
        if let Some(lock) = lock
            && message.state.is_object()
        {
            let state = message.state.by_name();
            if let Some(names) = signer.locked_names(class, id, |name| state.get(name), lock) {
                return Self::Names(names);
            }
        }
        let is_covered = match message.base() {
            Cow::Borrowed(_) => state_check.is_covered(),
            Cow::Owned(base) => signer.covers(&base, id, signature),
        };
        if is_covered { Self::WholeState } else { Self::Nothing }
    }

    /// Which parameters of a mount the page's server has signed.
    fn of_params<T: JsonTree>(message: &CallMessage<'_, T>, class: &str, signer: &Signer) -> Self {
        signer.locked_params(class, &message.params).map_or(Self::Nothing, Self::Names)
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
struct StateCheck<'a, T> {
    message: &'a CallMessage<'a, T>,
    signer: &'a Signer,
    result: OnceCell<bool>,
}

impl<'a, T: JsonTree> StateCheck<'a, T> {
    fn new(message: &'a CallMessage<'a, T>, signer: &'a Signer) -> Self {
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
    pub(crate) fn of<T: JsonTree>(
        message: &'a CallMessage<'_, T>,
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
        if !message.state.is_object() {
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
        let is_unedited = || matches!(message.base.shape(), Shape::Null) && state_check.is_covered();
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
fn verified_coverage<T: JsonTree>(
    message: &CallMessage<'_, T>,
    purpose: Purpose,
    signer: &Signer,
    locked: LockedProperties<'_>,
    state_check: &StateCheck<'_, T>,
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
