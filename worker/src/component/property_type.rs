//! What a property can hold. Serde does not tell the types of fields; they are found by trying values.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::params::type_of;

/// The types of a class's properties by name.
pub(super) type PropertyTypes = HashMap<String, PropertyType>;

/// The type of a property.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PropertyType {
    /// A value of the type; null where it takes anything, or nothing that JSON has a type for.
    pub(super) example: Value,
    /// An item of its list; null where items may be anything, and for all that is no list.
    pub(super) item: Value,
    /// Whether it may be null.
    pub(super) takes_null: bool,
    /// Whether it may be an empty text.
    pub(super) takes_empty_text: bool,
}

impl PropertyType {
    /// The name of the type as PHP and its documentation spell it.
    pub(super) fn name(&self) -> String {
        let mark = if self.takes_null && !self.example.is_null() { "?" } else { "" };
        match self.item {
            Value::Null => format!("{mark}{}", type_of(&self.example)),
            ref item => format!("{mark}{}[]", type_of(item)),
        }
    }
}

/// Finds the types of the properties of a struct with these defaults.
pub(super) fn property_types<T: DeserializeOwned>(defaults: &Map<String, Value>) -> PropertyTypes {
    defaults.iter().map(|(name, default)| (name.clone(), property_type::<T>(defaults, name, default))).collect()
}

fn property_type<T: DeserializeOwned>(defaults: &Map<String, Value>, name: &str, default: &Value) -> PropertyType {
    let takes = |value: Value| {
        let mut properties = defaults.clone();
        properties.insert(name.to_owned(), value);
        serde_json::from_value::<T>(Value::Object(properties)).is_ok()
    };
    let example = match default {
        Value::Null => common_type(&takes).unwrap_or_default(),
        default => default.clone(),
    };
    let item = match example {
        Value::Array(_) => common_type(&|item| takes(Value::Array(vec![item]))).unwrap_or_default(),
        _ => Value::Null,
    };
    PropertyType { example, item, takes_null: takes(Value::Null), takes_empty_text: takes(json!("")) }
}

/// The one type of JSON that is taken; `None` where several are, or none is.
fn common_type(takes: &dyn Fn(Value) -> bool) -> Option<Value> {
    let examples = [json!(""), json!(0), json!(false), json!([]), json!({})];
    let mut taken = examples.into_iter().filter(|example| takes(example.clone()));
    match (taken.next(), taken.next()) {
        // A list may stand for a struct.
        (Some(Value::Array(_)), Some(Value::Object(map))) => Some(Value::Object(map)),
        (Some(Value::Number(_)), None) if takes(json!(0.5)) => Some(json!(0.5)),
        (Some(example), None) => Some(example),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Default, Serialize, Deserialize)]
    enum Size {
        #[default]
        Small,
    }

    #[derive(Default, Serialize, Deserialize)]
    struct All {
        label: String,
        count: Option<i64>,
        rate: Option<f64>,
        note: Option<String>,
        flag: Option<bool>,
        any: Value,
        size: Option<Size>,
        ids: Vec<i64>,
        names: Option<Vec<String>>,
        mixed: Vec<Value>,
        sizes: Vec<Size>,
    }

    #[test]
    fn types_are_found_by_trying_values() {
        let Value::Object(mut defaults) = serde_json::to_value(All::default()).unwrap() else { panic!("no object") };
        defaults["flag"] = json!(true);
        let types = property_types::<All>(&defaults);
        let expected = [
            ("label", json!(""), json!(null), false, true),
            ("count", json!(0), json!(null), true, false),
            ("rate", json!(0.5), json!(null), true, false),
            ("note", json!(""), json!(null), true, true),
            ("flag", json!(true), json!(null), true, false),
            ("any", json!(null), json!(null), true, true),
            ("size", json!(null), json!(null), true, false),
            ("ids", json!([]), json!(0), false, false),
            ("names", json!([]), json!(""), true, false),
            ("mixed", json!([]), json!(null), false, false),
            ("sizes", json!([]), json!(null), false, false),
        ];
        for (name, example, item, takes_null, takes_empty_text) in expected {
            assert_eq!(types[name], PropertyType { example, item, takes_null, takes_empty_text }, "{name}");
        }
    }
}
