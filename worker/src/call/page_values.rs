//! What a page cannot return as it got it: integers that JavaScript changes, and what nests too deep.
//!
//! A script that keeps integers says so in each message (`"exact": true`). For another one a state with such an integer
//! is refused when it is made, and a message that brings one, since it may be another one by now.

use diffyne_shared::signing::{JsonTree, Shape, javascript_keeps};
use serde_json::Number;

use super::deep_json::DEPTH_MAX;
use super::error::CallError;

/// The largest integer up to which JavaScript has all of them. One beyond it that comes back may have been another one.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// How deep a state may nest. In a response two objects are around it, in a message one.
pub(crate) const STATE_DEPTH_MAX: usize = DEPTH_MAX - 2;

/// The first integer in a value that a page changes when it returns it.
fn unreturnable_integer<T: JsonTree>(value: &T) -> Option<&Number> {
    find_integer(value, |size| !javascript_keeps(size))
}

/// The first integer in a returned value that may have been another one.
pub(crate) fn doubtful_integer<T: JsonTree>(value: &T) -> Option<&Number> {
    find_integer(value, |size| size > INTEGER_MAX)
}

/// Looks through a value, which is at most [`DEPTH_MAX`] deep.
fn find_integer<T: JsonTree>(value: &T, is_wanted: fn(u64) -> bool) -> Option<&Number> {
    match value.shape() {
        Shape::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            size.filter(|size| is_wanted(*size)).map(|_| number)
        }
        Shape::List(items) => items.iter().find_map(|item| find_integer(item, is_wanted)),
        Shape::Object(mut members) => members.find_map(|(_, member)| find_integer(member, is_wanted)),
        Shape::Null | Shape::Bool(_) | Shape::Text(_) => None,
    }
}

/// What to say of such an integer; the subject is a property or parameter.
pub(crate) fn integer_text(subject: &str, number: &Number) -> String {
    format!(
        "{subject} holds the integer {number}. JavaScript changes integers beyond 2^53, and the script of this page does \
         not keep them: load companion.js or client.js, or use a string."
    )
}

/// Whether a page can return this state. `is_exact` says that its script keeps integers.
pub(crate) fn check_state<T: JsonTree>(class: &str, state: &T, is_exact: bool) -> Result<(), CallError> {
    let Shape::Object(properties) = state.shape() else { return Ok(()) };
    for (name, value) in properties {
        let subject = || format!("Property [{name}] of {class}");
        if !is_exact && let Some(number) = unreturnable_integer(value) {
            return Err(CallError::Unreturnable(integer_text(&subject(), number)));
        }
        if nests_deeper(value, STATE_DEPTH_MAX - 1) {
            let text = format!("{} nests too deep: a state may have {STATE_DEPTH_MAX} levels.", subject());
            return Err(CallError::Unreturnable(text));
        }
    }
    Ok(())
}

fn nests_deeper<T: JsonTree>(value: &T, levels: usize) -> bool {
    let inner = |value: &T| levels == 0 || nests_deeper(value, levels - 1);
    match value.shape() {
        Shape::List(items) => levels == 0 || items.iter().any(inner),
        Shape::Object(mut members) => levels == 0 || members.any(|(_, member)| inner(member)),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn integers_that_javascript_keeps_are_no_changed_ones() {
        let kept = json!([9_007_199_254_740_991_u64, -9_007_199_254_740_991_i64, 1e300, 1e18, "432224099704639488"]);
        assert_eq!((unreturnable_integer(&kept), doubtful_integer(&kept)), (None, None));
        for number in [json!(9_007_199_254_740_993_u64), json!(i64::MIN), json!(u64::MAX)] {
            let nested = json!({"a": [1, {"b": number}]});
            assert_eq!(unreturnable_integer(&nested).unwrap().to_string(), number.to_string());
            assert_eq!(doubtful_integer(&nested).unwrap().to_string(), number.to_string());
        }
        let rounded = json!(432_224_099_704_639_500_u64);
        assert!(unreturnable_integer(&rounded).is_none() && doubtful_integer(&rounded).is_some());
    }

    #[test]
    fn a_state_that_no_page_can_return_names_its_class_and_property() {
        let state = json!({"id": 432_224_099_704_639_488_u64});
        assert_eq!(check_state("App\\Order", &state, true), Ok(()));
        let Err(CallError::Unreturnable(text)) = check_state("App\\Order", &state, false) else { panic!() };
        assert!(text.starts_with("Property [id] of App\\Order holds the integer 432224099704639488."), "{text}");
        let nested = |levels: usize| (1..levels).fold(json!([]), |inner, _| json!([inner]));
        assert_eq!(check_state("A", &json!({"deep": nested(STATE_DEPTH_MAX - 1)}), true), Ok(()));
        let Err(CallError::Unreturnable(text)) = check_state("A", &json!({"deep": nested(STATE_DEPTH_MAX)}), true)
        else {
            panic!()
        };
        assert_eq!(text, "Property [deep] of A nests too deep: a state may have 510 levels.");
    }
}
