//! Restores a client's state: unknown keys are ignored, missing ones get their default, and values are coerced to the
//! type of the default, as PHP's typed properties do.

use serde_json::{Map, Number, Value};

use super::params::{FromParam as _, type_of};
use crate::call::CallError;

/// A value in the type of a property's default, if PHP would coerce it.
fn coerce(default: &Value, value: &Value) -> Option<Value> {
    match default {
        // Untyped, or nullable without a value: anything goes.
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
fn zero(default: &Value) -> Value {
    match default {
        Value::Null => Value::Null,
        Value::Bool(_) => Value::Bool(false),
        Value::Number(number) if number.is_f64() => Value::from(0.0),
        Value::Number(_) => Value::from(0),
        Value::String(_) => Value::String(String::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Object(_) => Value::Object(Map::new()),
    }
}

fn wrong_type(name: &str, default: &Value, value: &Value) -> CallError {
    CallError::Property(format!("Property [{name}] must be of type {}, {} given.", type_of(default), type_of(value)))
}

/// Whether a state needs no coercion: every property is present, in the type of its default.
pub(super) fn fits(defaults: &Map<String, Value>, state: &Map<String, Value>) -> bool {
    defaults.iter().all(|(name, default)| match (default, state.get(name)) {
        (Value::Number(default), Some(Value::Number(value))) => {
            default.is_f64() == value.is_f64() && default.is_i64() == value.is_i64()
        }
        (Value::Bool(_), Some(Value::Bool(_)))
        | (Value::String(_), Some(Value::String(_)))
        | (Value::Array(_), Some(Value::Array(_)))
        | (Value::Object(_), Some(Value::Object(_)))
        | (Value::Null, Some(_)) => true,
        _ => false,
    })
}

/// Restores one value of a client's state. A name that the class does not have is ignored.
pub(super) fn restore(properties: &mut Map<String, Value>, name: &str, value: &Value) -> Result<(), CallError> {
    let Some(property) = properties.get_mut(name) else { return Ok(()) };
    *property = match value {
        Value::Null => zero(property),
        value => coerce(property, value).ok_or_else(|| wrong_type(name, property, value))?,
    };
    Ok(())
}

/// Sets one property, as an update does. A list property wraps a value that is not a list.
pub(super) fn set(
    properties: &mut Map<String, Value>,
    defaults: &Map<String, Value>,
    name: &str,
    value: &Value,
) -> Result<(), CallError> {
    let default = defaults.get(name).ok_or_else(|| CallError::UnknownProperty(name.to_owned()))?;
    let value = match (default, value) {
        (Value::Array(_), Value::Null | Value::Array(_) | Value::Object(_)) => value.clone(),
        (Value::Array(_), single) => Value::Array(vec![single.clone()]),
        (_, value) => value.clone(),
    };
    let coerced = coerce(default, &value).ok_or_else(|| wrong_type(name, default, &value))?;
    properties.insert(name.to_owned(), coerced);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn defaults() -> Map<String, Value> {
        json!({"count": 0, "label": "a", "rate": 1.5, "on": true, "items": [1], "any": null})
            .as_object()
            .unwrap()
            .clone()
    }

    #[test]
    fn a_state_is_restored_as_php_restores_it() {
        let state = json!({"count": "41", "label": null, "zz": 1, "items": null, "any": {"x": 1}});
        let mut restored = defaults();
        for (name, value) in state.as_object().unwrap() {
            restore(&mut restored, name, value).unwrap();
        }
        let restored = Value::Object(restored);
        let expected = json!({"count": 41, "label": "", "rate": 1.5, "on": true, "items": [], "any": {"x": 1}});
        assert_eq!(restored, expected);
        assert_eq!(serde_json::to_string(&restored).unwrap(), serde_json::to_string(&expected).unwrap());
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        let mut properties = defaults();
        let mut set = |name, value| set(&mut properties, &defaults(), name, &value);
        assert_eq!(set("count", json!(1.5)), Ok(()));
        assert_eq!(set("label", json!(true)), Ok(()));
        assert_eq!(set("items", json!(7)), Ok(()));
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
}
