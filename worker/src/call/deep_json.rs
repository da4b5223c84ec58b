//! JSON that nests deeper than serde_json reads, without recursion: PHP reads up to 512 lists and objects.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// How deep PHP reads lists and objects by default.
pub(crate) const DEPTH_MAX: usize = 512;

/// Why a value is not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DeepJsonError {
    /// It nests deeper than allowed.
    TooDeep,
    /// A string or a number in it has no value.
    Invalid,
}

/// A list or object that is not complete yet.
enum Open {
    List(Vec<Value>),
    /// The key is that of the next value.
    Object(Map<String, Value>, Option<String>),
}

/// Reads a value that nests at most `depth_max` lists and objects. Whether it is JSON was checked when it became a
/// [`RawValue`].
pub(crate) fn read(raw: &RawValue, depth_max: usize) -> Result<Value, DeepJsonError> {
    let text = raw.get();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        let start = at;
        at += 1;
        let value = match byte {
            b'[' | b'{' => {
                if open.len() == depth_max {
                    return Err(DeepJsonError::TooDeep);
                }
                open.push(if *byte == b'[' { Open::List(Vec::new()) } else { Open::Object(Map::new(), None) });
                continue;
            }
            b']' | b'}' => match open.pop() {
                Some(Open::List(items)) => Value::Array(items),
                Some(Open::Object(members, _)) => Value::Object(members),
                None => return Err(DeepJsonError::Invalid),
            },
            b'"' => {
                at = string_end(text, at);
                let string = scalar(&text[start..at])?;
                if let (Some(Open::Object(_, key @ None)), Value::String(name)) = (open.last_mut(), &string) {
                    *key = Some(name.clone());
                    continue;
                }
                string
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => continue,
            _ => {
                let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
                at = text.as_bytes()[at..].iter().position(is_end).map_or(text.len(), |length| at + length);
                scalar(&text[start..at])?
            }
        };
        match open.last_mut() {
            None => return Ok(value),
            Some(Open::List(items)) => items.push(value),
            Some(Open::Object(members, key)) => {
                members.insert(key.take().unwrap_or_default(), value);
            }
        }
    }
    Err(DeepJsonError::Invalid)
}

/// The end of a string whose first byte is at `at`, behind its quote.
fn string_end(text: &str, mut at: usize) -> usize {
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn scalar(text: &str) -> Result<Value, DeepJsonError> {
    serde_json::from_str(text).map_err(|_| DeepJsonError::Invalid)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(text: &str) -> Box<RawValue> {
        serde_json::from_str(text).unwrap()
    }

    fn nested(depth: usize) -> String {
        format!("{}{}", r#"[{"a":"#.repeat(depth / 2), "}]".repeat(depth / 2)).replace(":}", ":null}")
    }

    #[test]
    fn what_nests_as_deep_as_allowed_is_read_and_what_nests_deeper_is_not() {
        let text = nested(DEPTH_MAX);
        assert_eq!(read(&raw(&text), DEPTH_MAX).unwrap().to_string(), text);
        assert_eq!(read(&raw(&nested(DEPTH_MAX + 2)), DEPTH_MAX), Err(DeepJsonError::TooDeep));
        assert_eq!(read(&raw(&nested(1_000_000)), DEPTH_MAX), Err(DeepJsonError::TooDeep));
    }

    #[test]
    fn what_has_no_value_is_invalid() {
        for text in [r#"["\ud800"]"#, "[1e999]", r#"{"\udfff":1}"#] {
            assert_eq!(read(&raw(text), DEPTH_MAX), Err(DeepJsonError::Invalid), "{text}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no others", |float| float.is_finite()).prop_map(Value::from),
            "\\PC{0,6}|[\"\\\\\\[\\]{},: \n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            let members = proptest::collection::vec(("[a-z\"\\\\:{}]{0,4}", inner.clone()), 0..6);
            prop_oneof![
                proptest::collection::vec(inner, 0..6).prop_map(Value::from),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_reads_as_serde_json_does(value in value()) {
            for text in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
                prop_assert_eq!(read(&raw(&text), DEPTH_MAX).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
