//! Which values of a client's state are believed: those of locked properties only where a signature covers them.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value};

use super::Registry;
use super::failure::Failure;
use super::lifecycle::Component;
use super::message::{Data, Trust, object};

/// The state that a call starts from. Its locked values are those that a signature covers, for this class and this
/// component; without one the call fails.
pub(super) fn believed<'a>(
    registry: &Registry,
    component: &dyn Component,
    data: &'a Data<'_>,
    trust: &Trust,
) -> Result<Cow<'a, Map<String, Value>>, Failure> {
    let state = object(&data.state).unwrap_or_default();
    let locked = component.locked();
    let is_covered = |names: &[String]| locked.iter().all(|name| names.iter().any(|covered| covered == name));
    match trust {
        _ if locked.is_empty() => Ok(state),
        // A form that was filled in has left the locked values alone: the signature was compared with them as they are.
        Trust::Upstream | Trust::UpstreamForm => Ok(state),
        Trust::Names(names) if is_covered(names) => Ok(state),
        Trust::Base if is_the_only_one(registry, component) => with_locked_of(&data.base(), state, component),
        Trust::Base | Trust::Names(_) | Trust::Nothing => Err(Failure::Unsigned),
    }
}

/// Whether no other class has a state of the same names: then the package's signature, which names no class, speaks of
/// this one.
fn is_the_only_one(registry: &Registry, component: &dyn Component) -> bool {
    let names: HashSet<&str> = component.visible().into_iter().collect();
    let is_other = |other: &dyn Component| other.class() != component.class();
    registry
        .all()
        .filter(|other| is_other(*other))
        .all(|other| other.visible().into_iter().collect::<HashSet<_>>() != names)
}

/// The client's state, with the locked values that the server has sent.
fn with_locked_of<'a>(
    base: &Value,
    state: Cow<'a, Map<String, Value>>,
    component: &dyn Component,
) -> Result<Cow<'a, Map<String, Value>>, Failure> {
    let base = object(base).ok_or(Failure::Unsigned)?;
    let visible = component.visible();
    if base.len() != visible.len() || !visible.iter().all(|name| base.contains_key(*name)) {
        return Err(Failure::Unsigned);
    }
    let mut believed = state.into_owned();
    for name in component.locked() {
        believed.insert((*name).to_owned(), base.get(*name).cloned().unwrap_or_default());
    }
    Ok(Cow::Owned(believed))
}
