//! Which properties a component has, and what clients may do with each.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher};

use serde_json::{Map, Value};

use super::property_type::PropertyTypes;
use super::state;
use crate::call::CallError;

/// A property that is also in the page's query string.
#[derive(Debug, Clone)]
pub(super) struct QueryProperty {
    pub(super) property: &'static str,
    /// Its name in the query string.
    pub(super) name: &'static str,
    /// Whether it stays in the query string while it is empty.
    pub(super) keep_empty: bool,
}

/// The properties of a component class.
#[derive(Debug, Default)]
pub(super) struct Properties {
    /// Every property with its default.
    pub(super) defaults: Map<String, Value>,
    pub(super) types: PropertyTypes,
    pub(super) locked: Vec<&'static str>,
    pub(super) hidden: Vec<&'static str>,
    pub(super) computed: Vec<&'static str>,
    pub(super) query: Vec<QueryProperty>,
}

impl Properties {
    /// Adds names, defaults and protection to a hash.
    pub(super) fn hash(&self, mut hasher: &mut dyn Hasher) {
        for (name, default) in &self.defaults {
            (name, default.to_string()).hash(&mut hasher);
        }
        for names in [&self.locked, &self.hidden, &self.computed] {
            names.hash(&mut hasher);
        }
        for query in &self.query {
            (query.property, query.name, query.keep_empty).hash(&mut hasher);
        }
    }

    /// Refuses properties that clients may not set.
    pub(super) fn check_writable(&self, name: &str) -> Result<(), CallError> {
        if self.computed.contains(&name) {
            return Err(CallError::Property(format!("Property [{name}] is computed and cannot be updated.")));
        }
        if !self.defaults.contains_key(name) {
            return Err(CallError::UnknownProperty(name.to_owned()));
        }
        if self.hidden.contains(&name) {
            return Err(CallError::Property(format!("Property [{name}] is protected and cannot be updated.")));
        }
        if self.locked.contains(&name) {
            let text = format!("Property [{name}] is locked and cannot be updated from client.");
            return Err(CallError::Property(text));
        }
        Ok(())
    }

    /// Whether clients may not choose its value: it is locked, hidden or computed.
    pub(super) fn is_protected(&self, name: &str) -> bool {
        [&self.locked, &self.hidden, &self.computed].into_iter().any(|names| names.contains(&name))
    }

    /// The properties that clients see.
    pub(super) fn visible(&self) -> Vec<&str> {
        self.defaults.keys().map(String::as_str).filter(|name| !self.hidden.contains(name)).collect()
    }

    /// Whether a state has exactly the class's properties, all of the right types.
    pub(super) fn fits(&self, state: &Map<String, Value>) -> bool {
        self.hidden.is_empty() && state.len() == self.defaults.len() && state::fits(&self.types, state)
    }

    /// The properties by a client's state: values are coerced, and missing ones get their default.
    pub(super) fn restore(&self, state: &Map<String, Value>) -> Result<Value, CallError> {
        let mut properties = self.defaults.clone();
        for (name, value) in state.iter().filter(|(name, _)| !self.hidden.contains(&name.as_str())) {
            state::restore(&mut properties, &self.types, name, value)?;
        }
        Ok(Value::Object(properties))
    }

    /// The properties of a new component: defaults, overridden by the query string, overridden by the parameters.
    pub(super) fn mount(
        &self,
        query: &Map<String, Value>,
        params: &Map<String, Value>,
    ) -> Result<Map<String, Value>, CallError> {
        let mut properties = self.defaults.clone();
        for known in self.query.iter().filter(|known| !self.is_protected(known.property)) {
            if let Some(value) = query.get(known.name) {
                // Anybody can write an address: a value of the wrong type is ignored.
                let _ = state::set(&mut properties, &self.types, known.property, value);
            }
        }
        for (name, value) in params.iter().filter(|(name, _)| self.defaults.contains_key(*name)) {
            state::set(&mut properties, &self.types, name, value)?;
        }
        Ok(properties)
    }

    /// Removes the hidden properties.
    pub(super) fn hide(&self, properties: &mut Map<String, Value>) {
        for name in &self.hidden {
            properties.shift_remove(*name);
        }
    }

    /// The page's query string. A value that has just become empty is null, so that clients remove the old one; a value
    /// that was empty before is left out.
    pub(super) fn query_string(&self, before: &Map<String, Value>, now: &Value) -> BTreeMap<&'static str, Value> {
        let is_empty = |value: Option<&Value>| value.is_none_or(|value| value.is_null() || value == "");
        let mut pairs = BTreeMap::new();
        for known in &self.query {
            let value = now.get(known.property);
            if known.keep_empty || !is_empty(value) {
                pairs.insert(known.name, value.cloned().unwrap_or_default());
            } else if !is_empty(before.get(known.property)) {
                pairs.insert(known.name, Value::Null);
            }
        }
        pairs
    }
}
