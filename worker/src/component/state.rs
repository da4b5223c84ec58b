//! Restores a client's state: unknown keys are ignored, missing ones get their default, and values are coerced to the
//! property's type, as PHP's typed properties do.

use serde_json::{Map, Number, Value};

use super::params::{FromParam as _, type_of};
use super::property_type::{PropertyType, PropertyTypes};
use crate::call::CallError;

/// A value in a property's type, if PHP would coerce it. An emptied field is null where the type has no empty text.
fn coerce(kind: &PropertyType, value: &Value) -> Option<Value> {
    let is_emptied = !kind.takes_empty_text && value.as_str().is_some_and(|text| text.trim().is_empty());
    if kind.takes_null && (value.is_null() || is_emptied) {
        return Some(Value::Null);
    }
    match coerce_to(&kind.example, value)? {
        Value::Array(items) if !kind.item.is_null() => items.iter().map(|item| coerce_to(&kind.item, item)).collect(),
        value => Some(value),
    }
}

/// A value in the type of an example.
fn coerce_to(example: &Value, value: &Value) -> Option<Value> {
    match example {
        // Untyped: anything goes.
        Value::Null => Some(value.clone()),
        Value::Bool(_) => bool::from_param(value).map(Value::Bool),
        Value::Number(number) if number.is_f64() => {
            f64::from_param(value).and_then(Number::from_f64).map(Value::Number)
        }
        // PHP truncates fractions (a deprecated conversion).
        Value::Number(_) => match value {
            Value::Number(number) if number.is_f64() => {
                number.as_f64().filter(|float| float.abs() < 9.2e18).map(|float| Value::from(float as i64))
            }
            // Beyond PHP's integers, for a property of the type u64.
            Value::Number(number) if number.is_u64() && !number.is_i64() => Some(value.clone()),
            value => i64::from_param(value).map(Value::from),
        },
        Value::String(_) => String::from_param(value).map(Value::String),
        Value::Array(_) | Value::Object(_) => match value {
            Value::Array(_) | Value::Object(_) => Some(value.clone()),
            _ => None,
        },
    }
}

/// The zero value of a type. Null becomes it when a state is restored.
fn zero(example: &Value) -> Value {
    match example {
        Value::Null => Value::Null,
        Value::Bool(_) => Value::Bool(false),
        Value::Number(number) if number.is_f64() => Value::from(0.0),
        Value::Number(_) => Value::from(0),
        Value::String(_) => Value::String(String::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Object(_) => Value::Object(Map::new()),
    }
}

fn wrong_type(name: &str, kind: &PropertyType, value: &Value) -> CallError {
    CallError::Property(format!("Property [{name}] must be of type {}, {} given.", kind.name(), type_of(value)))
}

/// Whether a state needs no coercion: every property is present, in its type.
pub(super) fn fits(types: &PropertyTypes, state: &Map<String, Value>) -> bool {
    types.iter().all(|(name, kind)| match state.get(name) {
        None => false,
        Some(Value::Null) => kind.takes_null,
        Some(Value::Array(items)) if kind.example.is_array() => items.iter().all(|item| is_like(&kind.item, item)),
        Some(value) => is_like(&kind.example, value),
    })
}

fn is_like(example: &Value, value: &Value) -> bool {
    match (example, value) {
        (Value::Number(example), Value::Number(value)) => {
            example.is_f64() == value.is_f64() && example.is_i64() == value.is_i64()
        }
        (Value::Bool(_), Value::Bool(_))
        | (Value::String(_), Value::String(_))
        | (Value::Array(_), Value::Array(_))
        | (Value::Object(_), Value::Object(_))
        | (Value::Null, _) => true,
        _ => false,
    }
}

/// Restores one value of a client's state. A name that the class does not have is ignored.
pub(super) fn restore(
    properties: &mut Map<String, Value>,
    types: &PropertyTypes,
    name: &str,
    value: &Value,
) -> Result<(), CallError> {
    let (Some(property), Some(kind)) = (properties.get_mut(name), types.get(name)) else { return Ok(()) };
    *property = match value {
        Value::Null if !kind.takes_null => zero(&kind.example),
        value => coerce(kind, value).ok_or_else(|| wrong_type(name, kind, value))?,
    };
    Ok(())
}

/// Sets one property, as an update does. A list property wraps a value that is not a list.
pub(super) fn set(
    properties: &mut Map<String, Value>,
    types: &PropertyTypes,
    name: &str,
    value: &Value,
) -> Result<(), CallError> {
    let kind = types.get(name).ok_or_else(|| CallError::UnknownProperty(name.to_owned()))?;
    let value = match (&kind.example, value) {
        (Value::Array(_), Value::Null | Value::Array(_) | Value::Object(_)) => value.clone(),
        (Value::Array(_), single) => Value::Array(vec![single.clone()]),
        (_, value) => value.clone(),
    };
    let coerced = coerce(kind, &value).ok_or_else(|| wrong_type(name, kind, &value))?;
    properties.insert(name.to_owned(), coerced);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::component::property_type::property_types;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Properties {
        count: i64,
        label: String,
        rate: f64,
        on: bool,
        items: Vec<i64>,
        any: Value,
        age: Option<i64>,
        sure: Option<bool>,
        note: Option<String>,
        limit: Option<f64>,
    }

    fn defaults() -> Map<String, Value> {
        let properties = Properties { rate: 1.5, on: true, limit: Some(0.5), ..Properties::default() };
        let Value::Object(defaults) = serde_json::to_value(properties).unwrap() else { panic!("no object") };
        defaults
    }

    fn types() -> PropertyTypes {
        property_types::<Properties>(&defaults())
    }

    #[test]
    fn a_state_is_restored_as_php_restores_it() {
        let state = json!({"count": "41", "label": null, "zz": 1, "items": null, "any": {"x": 1}});
        let mut restored = defaults();
        for (name, value) in state.as_object().unwrap() {
            restore(&mut restored, &types(), name, value).unwrap();
        }
        let restored = Value::Object(restored);
        let expected = json!({
            "count": 41, "label": "", "rate": 1.5, "on": true, "items": [], "any": {"x": 1}, "age": null, "sure": null,
            "note": null, "limit": 0.5,
        });
        assert_eq!(restored, expected);
        assert_eq!(serde_json::to_string(&restored).unwrap(), serde_json::to_string(&expected).unwrap());
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        let mut properties = defaults();
        let types = types();
        let mut set = |name, value| set(&mut properties, &types, name, &value);
        assert_eq!(set("count", json!(1.5)), Ok(()));
        assert_eq!(set("label", json!(true)), Ok(()));
        assert_eq!(set("items", json!(7)), Ok(()));
        let text = "Property [age] must be of type ?int, string given.";
        assert_eq!(set("age", json!("five")), Err(CallError::Property(text.to_owned())));
        let text = "Property [items] must be of type int[], array given.";
        assert_eq!(set("items", json!(["x"])), Err(CallError::Property(text.to_owned())));
        let text = "Property [count] must be of type int, string given.";
        assert_eq!(set("count", json!("x")), Err(CallError::Property(text.to_owned())));
        let text = "Property [label] must be of type string, null given.";
        assert_eq!(set("label", json!(null)), Err(CallError::Property(text.to_owned())));
        assert_eq!(set("nope", json!(1)), Err(CallError::UnknownProperty("nope".to_owned())));
        assert_eq!(
            (&properties["count"], &properties["label"], &properties["items"]),
            (&json!(1), &json!("1"), &json!([7]))
        );
    }

    /// What fields send for each type of property, whatever it holds now.
    #[test]
    fn optional_properties_and_items_of_lists_take_what_fields_send() {
        let cases = [
            ("age", json!("5"), json!(5)),
            ("age", json!(""), json!(null)),
            ("age", json!(" "), json!(null)),
            ("age", json!(null), json!(null)),
            ("age", json!(true), json!(1)),
            ("sure", json!("1"), json!(true)),
            ("sure", json!("0"), json!(false)),
            ("sure", json!(""), json!(null)),
            ("note", json!(""), json!("")),
            ("note", json!(7), json!("7")),
            ("note", json!(null), json!(null)),
            ("limit", json!("1.05"), json!(1.05)),
            ("limit", json!(2), json!(2.0)),
            ("limit", json!(""), json!(null)),
            ("items", json!(["1", 2, "3"]), json!([1, 2, 3])),
            ("items", json!("4"), json!([4])),
            ("any", json!("5"), json!("5")),
        ];
        for (name, value, expected) in cases {
            let (mut set_to, mut restored) = (defaults(), defaults());
            set(&mut set_to, &types(), name, &value).unwrap();
            assert_eq!(set_to[name], expected, "{name} = {value}");
            assert!(fits(&types(), &set_to), "{name} = {value}");
            if name != "items" || value.is_array() {
                restore(&mut restored, &types(), name, &value).unwrap();
                assert_eq!(restored[name], expected, "{name} = {value}, restored");
            }
            serde_json::from_value::<Properties>(Value::Object(set_to)).unwrap();
        }
    }
}
