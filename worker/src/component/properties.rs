//! Which properties a component has, and what clients may do with each.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::failure::Failure;
use super::state;

/// A property that lives in the page's address.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) property: &'static str,
    /// Its name in the address.
    pub(super) name: &'static str,
    /// Stays in the address when it is empty.
    pub(super) keep: bool,
}

/// The properties of a component class.
#[derive(Debug, Default)]
pub(super) struct Properties {
    /// Every property with its first value.
    pub(super) defaults: Map<String, Value>,
    pub(super) locked: Vec<&'static str>,
    pub(super) hidden: Vec<&'static str>,
    pub(super) computed: Vec<&'static str>,
    pub(super) query: Vec<Query>,
}

impl Properties {
    /// Whether clients may set it, and if not, why.
    pub(super) fn writable(&self, name: &str) -> Result<(), Failure> {
        if self.computed.contains(&name) {
            return Err(Failure::Property(format!("Property [{name}] is computed and cannot be updated.")));
        }
        if !self.defaults.contains_key(name) {
            return Err(Failure::UnknownProperty(name.to_owned()));
        }
        if self.hidden.contains(&name) {
            return Err(Failure::Property(format!("Property [{name}] is protected and cannot be updated.")));
        }
        if self.locked.contains(&name) {
            let text = format!("Property [{name}] is locked and cannot be updated from client.");
            return Err(Failure::Property(text));
        }
        Ok(())
    }

    /// Whether no client has a say in its value: it is locked, hidden or computed.
    pub(super) fn is_protected(&self, name: &str) -> bool {
        [&self.locked, &self.hidden, &self.computed].into_iter().any(|names| names.contains(&name))
    }

    /// The properties that clients see.
    pub(super) fn visible(&self) -> Vec<&str> {
        self.defaults.keys().map(String::as_str).filter(|name| !self.hidden.contains(name)).collect()
    }

    /// Whether a state can be read as it is: all that the class has, in the right types, and nothing else.
    pub(super) fn fits(&self, state: &Map<String, Value>) -> bool {
        self.hidden.is_empty() && state.len() == self.defaults.len() && state::fits(&self.defaults, state)
    }

    /// The properties that a client's state stands for.
    pub(super) fn restore(&self, state: &Map<String, Value>) -> Result<Value, Failure> {
        let mut properties = self.defaults.clone();
        for (name, value) in state.iter().filter(|(name, _)| !self.hidden.contains(&name.as_str())) {
            state::restore(&mut properties, name, value)?;
        }
        Ok(Value::Object(properties))
    }

    /// The properties of a new component: the first values, then the address, then the parameters.
    pub(super) fn mount(
        &self,
        query: &Map<String, Value>,
        params: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Failure> {
        let mut properties = self.defaults.clone();
        for known in self.query.iter().filter(|known| !self.is_protected(known.property)) {
            if let Some(value) = query.get(known.name) {
                // An address is anybody's text: what does not fit the type counts as not given.
                let _ = state::set(&mut properties, &self.defaults, known.property, value);
            }
        }
        for (name, value) in params.iter().filter(|(name, _)| self.defaults.contains_key(*name)) {
            state::set(&mut properties, &self.defaults, name, value)?;
        }
        Ok(properties)
    }

    /// Takes what clients must not see out of a component's properties.
    pub(super) fn hide(&self, properties: &mut Map<String, Value>) {
        for name in &self.hidden {
            properties.shift_remove(*name);
        }
    }

    /// What the page's address has to say. A value that has just become empty is null, so that clients take the old
    /// one out; one that was empty before is left out.
    pub(super) fn query_string(&self, before: &Map<String, Value>, now: &Value) -> BTreeMap<&'static str, Value> {
        let is_empty = |value: Option<&Value>| value.is_none_or(|value| value.is_null() || value == "");
        let mut pairs = BTreeMap::new();
        for known in &self.query {
            let value = now.get(known.property);
            if known.keep || !is_empty(value) {
                pairs.insert(known.name, value.cloned().unwrap_or_default());
            } else if !is_empty(before.get(known.property)) {
                pairs.insert(known.name, Value::Null);
            }
        }
        pairs
    }
}
