//! Positional parameters, coerced as PHP's weak typing does. Errors name the parameter that cannot be coerced.

use serde_json::Value;

use crate::call::CallError;

/// A type that a parameter or property can have.
pub trait FromParam: Sized {
    /// PHP's name of the type.
    const TYPE: &'static str;
    /// The value, if PHP would accept it for this type.
    fn from_param(value: &Value) -> Option<Self>;
    /// The value of a missing parameter, if the type has one.
    fn absent() -> Option<Self> {
        None
    }
}

impl FromParam for i64 {
    const TYPE: &'static str = "int";
    fn from_param(value: &Value) -> Option<Self> {
        let whole = |float: f64| (float.fract() == 0.0 && float.abs() < 9.2e18).then_some(float as i64);
        match value {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
            Value::Bool(flag) => Some(i64::from(*flag)),
            Value::String(text) => text.trim().parse().ok().or_else(|| text.trim().parse().ok().and_then(whole)),
            _ => None,
        }
    }
}

impl FromParam for f64 {
    const TYPE: &'static str = "float";
    fn from_param(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_f64(),
            Value::Bool(flag) => Some(if *flag { 1.0 } else { 0.0 }),
            Value::String(text) => text.trim().parse().ok().filter(|float: &f64| float.is_finite()),
            _ => None,
        }
    }
}

impl FromParam for bool {
    const TYPE: &'static str = "bool";
    fn from_param(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) => number.as_f64().map(|float| float != 0.0),
            Value::String(text) => Some(!text.is_empty() && text != "0"),
            _ => None,
        }
    }
}

impl FromParam for String {
    const TYPE: &'static str = "string";
    fn from_param(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(flag) => Some(if *flag { "1" } else { "" }.to_owned()),
            Value::Number(number) => Some(match number.as_i64() {
                Some(integer) => integer.to_string(),
                None => diffyne_shared::signing::format_float(number.as_f64()?),
            }),
            _ => None,
        }
    }
}

impl FromParam for Value {
    const TYPE: &'static str = "mixed";
    fn from_param(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl FromParam for Vec<Value> {
    const TYPE: &'static str = "array";
    fn from_param(value: &Value) -> Option<Self> {
        value.as_array().cloned()
    }
}

impl FromParam for serde_json::Map<String, Value> {
    const TYPE: &'static str = "array";
    fn from_param(value: &Value) -> Option<Self> {
        match value {
            Value::Object(map) => Some(map.clone()),
            // An empty PHP array may have been either.
            Value::Array(items) if items.is_empty() => Some(Self::new()),
            _ => None,
        }
    }
}

impl<T: FromParam> FromParam for Option<T> {
    const TYPE: &'static str = T::TYPE;
    fn from_param(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::from_param(value).map(Some) }
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// PHP's name of a value's type.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int",
        Value::Number(_) => "float",
        Value::String(_) => "string",
        Value::Array(_) | Value::Object(_) => "array",
    }
}

/// All parameters of a method as a tuple.
pub trait FromParams: Sized {
    /// Number of parameters.
    const COUNT: usize;
    /// Reads the parameters; `names` are for error texts.
    fn from_params(method: &str, names: &[&str], values: &[Value]) -> Result<Self, CallError>;
}

fn param<T: FromParam>(method: &str, names: &[&str], values: &[Value], at: usize) -> Result<T, CallError> {
    let name = names.get(at).copied().unwrap_or("?");
    match values.get(at) {
        Some(value) => T::from_param(value).ok_or_else(|| {
            let given = type_of(value);
            CallError::Method(format!(
                "Parameter [{name}] of method [{method}] must be of type {}, {given} given.",
                T::TYPE
            ))
        }),
        None => {
            T::absent().ok_or_else(|| CallError::Method(format!("Parameter [{name}] of method [{method}] is missing.")))
        }
    }
}

macro_rules! tuples {
    ($($count:literal: $($type:ident $at:tt),*;)*) => {$(
        impl<$($type: FromParam),*> FromParams for ($($type,)*) {
            const COUNT: usize = $count;
            #[allow(unused_variables)]
            fn from_params(method: &str, names: &[&str], values: &[Value]) -> Result<Self, CallError> {
                Ok(($(param::<$type>(method, names, values, $at)?,)*))
            }
        }
    )*};
}
tuples! {
    0: ;
    1: A 0;
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_coerced_as_php_does() {
        assert_eq!(i64::from_param(&json!("12")), Some(12));
        assert_eq!(i64::from_param(&json!(1.0)), Some(1));
        assert_eq!(i64::from_param(&json!(true)), Some(1));
        for value in [json!("x"), json!(null), json!([]), json!(1.5)] {
            assert_eq!(i64::from_param(&value), None, "{value}");
        }
        assert_eq!(String::from_param(&json!(7)), Some("7".to_owned()));
        assert_eq!(String::from_param(&json!(true)), Some("1".to_owned()));
        assert_eq!(bool::from_param(&json!("0")), Some(false));
        assert_eq!(Option::<i64>::from_param(&json!(null)), Some(None));
    }

    #[test]
    fn a_wrong_or_missing_parameter_is_named() {
        let error = <(i64,)>::from_params("add", &["n"], &[json!("x")]).unwrap_err();
        let text = "Parameter [n] of method [add] must be of type int, string given.";
        assert_eq!(error, CallError::Method(text.to_owned()));
        let error = <(i64,)>::from_params("add", &["n"], &[]).unwrap_err();
        assert_eq!(error, CallError::Method("Parameter [n] of method [add] is missing.".to_owned()));
        assert_eq!(<(i64, Option<i64>)>::from_params("m", &["a", "b"], &[json!(1)]), Ok((1, None)));
    }
}
