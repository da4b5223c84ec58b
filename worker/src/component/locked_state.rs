//! The state that a call starts from: the client's, with locked properties only where a signature covers them.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value};

use super::Registry;
use super::lifecycle::Component;
use crate::call::CallError;
use crate::call::message::{CallMessage, object};
use crate::call::verified::LockCoverage;

/// The state that a call starts from.
///
/// A signature has to cover its locked values, for this class and this component; otherwise the call fails.
pub(super) fn verified_state<'a>(
    registry: &Registry,
    component: &dyn Component,
    message: &'a CallMessage<'_>,
    coverage: &LockCoverage,
) -> Result<Cow<'a, Map<String, Value>>, CallError> {
    let state = object(&message.state).unwrap_or_default();
    let locked = component.locked();
    let is_covered = |names: &[String]| locked.iter().all(|name| names.iter().any(|covered| covered == name));
    match coverage {
        _ if locked.is_empty() => Ok(state),
        // A submitted form leaves the locked values alone: the signature was compared with them unchanged.
        LockCoverage::Upstream | LockCoverage::UpstreamForm => Ok(state),
        LockCoverage::Names(names) if is_covered(names) => Ok(state),
        LockCoverage::WholeState if has_unique_state(registry, component) => {
            with_locked_of(&message.base(), state, component)
        }
        LockCoverage::WholeState | LockCoverage::Names(_) | LockCoverage::Nothing => Err(CallError::Unsigned),
    }
}

/// Whether no other class has a state of the same names.
///
/// Only then the package's signature, which names no class, can be about this class alone.
fn has_unique_state(registry: &Registry, component: &dyn Component) -> bool {
    let names: HashSet<&str> = component.visible().into_iter().collect();
    let is_other = |other: &dyn Component| other.class() != component.class();
    registry
        .all()
        .filter(|other| is_other(*other))
        .all(|other| other.visible().into_iter().collect::<HashSet<_>>() != names)
}

/// The client's state, with the locked values that the server sent.
fn with_locked_of<'a>(
    base: &Value,
    state: Cow<'a, Map<String, Value>>,
    component: &dyn Component,
) -> Result<Cow<'a, Map<String, Value>>, CallError> {
    let base = object(base).ok_or(CallError::Unsigned)?;
    let visible = component.visible();
    if base.len() != visible.len() || !visible.iter().all(|name| base.contains_key(*name)) {
        return Err(CallError::Unsigned);
    }
    let mut verified = state.into_owned();
    for name in component.locked() {
        verified.insert((*name).to_owned(), base.get(*name).cloned().unwrap_or_default());
    }
    Ok(Cow::Owned(verified))
}
