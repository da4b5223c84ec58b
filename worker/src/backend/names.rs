//! Names of classes and methods: checks those that clients send, and remembers those that the application confirmed.
//!
//! PHP ignores the case of such names, so a client can spell each in many ways. Labels, logs and caches use the
//! application's own spelling, or none.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use diffyne_shared::rpc::CallKind;

use crate::call::CallError;
use crate::call::verified::VerifiedCall;

/// Bytes of a name of a class, a method or a property.
const NAME_BYTES_MAX: usize = 255;
/// Number of names that are remembered.
const NAMES_MAX: usize = 5_000;
/// Laravel generates a file for each class of this namespace on its first use.
const REAL_TIME_FACADES: &str = "facades\\";

/// A call's class and method in the application's own spelling.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct CallNames {
    pub(super) class: String,
    pub(super) method: String,
}

/// Names from earlier replies, for calls that end without a reply.
#[derive(Debug, Default)]
pub(super) struct KnownNames(Mutex<HashMap<String, String>>);

impl KnownNames {
    /// Remembers names, up to [`NAMES_MAX`].
    pub(super) fn learn(&self, names: &CallNames) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, name) in [(key(&names.class, ""), &names.class), (key(&names.class, &names.method), &names.method)] {
            if !name.is_empty() && !known.contains_key(&key) && known.len() < NAMES_MAX {
                known.insert(key, name.clone());
            }
        }
    }

    /// The application's spelling of names; empty where it is not known.
    pub(super) fn find(&self, class: &str, method: &str) -> CallNames {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let class = class.trim_start_matches('\\');
        let find = |key: String| known.get(&key).cloned().unwrap_or_default();
        CallNames { class: find(key(class, "")), method: find(key(class, method)) }
    }
}

fn key(class: &str, method: &str) -> String {
    format!("{class}::{method}").to_ascii_lowercase()
}

/// A class or method name from the application's reply; empty where it is not a valid name.
pub(super) fn valid_or_empty(name: &str) -> &str {
    if is_class(name) { name } else { "" }
}

/// Refuses names that PHP cannot have, before a process sees them: PHP would look for the class's file, and remember
/// that there is none.
pub(super) fn check(verified: &VerifiedCall<'_>, kind: CallKind) -> Result<(), CallError> {
    let (class, member) = (&*verified.class, &*verified.member);
    let is_facade = class.trim_start_matches('\\').to_ascii_lowercase().starts_with(REAL_TIME_FACADES);
    match kind {
        CallKind::Grant | CallKind::Lifecycle => Ok(()),
        _ if !is_class(class) || is_facade => Err(CallError::UnknownComponent(class.to_owned())),
        CallKind::Call if !is_word(member) => Err(CallError::UnknownMethod(member.to_owned())),
        CallKind::Update if !is_word(member) => Err(CallError::UnknownProperty(member.to_owned())),
        _ => Ok(()),
    }
}

/// Whether PHP would take this for a class, with its namespace.
fn is_class(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && name.strip_prefix('\\').unwrap_or(name).split('\\').all(is_word)
}

/// Whether PHP would take this for a name.
fn is_word(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
    let mut bytes = name.bytes();
    name.len() <= NAME_BYTES_MAX
        && bytes.next().is_some_and(is_letter)
        && bytes.all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified<'a>(class: &'a str, member: &'a str) -> VerifiedCall<'a> {
        let coverage = crate::call::verified::LockCoverage::Nothing;
        VerifiedCall {
            id: "c".into(),
            class: class.into(),
            member: member.into(),
            method: member.into(),
            coverage,
            ..VerifiedCall::grant()
        }
    }

    #[test]
    fn names_that_php_cannot_have_reach_no_process() {
        let long = "x".repeat(400_000);
        for class in ["Counter", "App\\Diffyne\\Counter", "\\App\\Counter", "Größe\\Zähler_2"] {
            assert_eq!(check(&verified(class, "increment"), CallKind::Call), Ok(()), "{class}");
        }
        let wrong = ["", "\\", "App\\", "App\\\\B", "2App", "App/Counter", "a b", "../x", "a\0b", "Facades\\App\\X"];
        for class in wrong.into_iter().chain(["\\facades\\X", &long]) {
            let refused = check(&verified(class, "increment"), CallKind::Mount);
            assert!(matches!(refused, Err(CallError::UnknownComponent(_))), "{class:.40}");
        }
        for member in ["", "a-b", "1", "a::b", &long] {
            let refused = check(&verified("A", member), CallKind::Call);
            assert!(matches!(refused, Err(CallError::UnknownMethod(_))), "{member:.40}");
            let refused = check(&verified("A", member), CallKind::Update);
            assert!(matches!(refused, Err(CallError::UnknownProperty(_))), "{member:.40}");
        }
    }

    #[test]
    fn names_are_known_by_any_spelling_and_bounded() {
        let known = KnownNames::default();
        let names = CallNames { class: "App\\Counter".to_owned(), method: "addOne".to_owned() };
        known.learn(&names);
        assert_eq!(known.find("\\APP\\counter", "ADDONE"), names);
        assert_eq!(known.find("App\\Counter", "other"), CallNames { method: String::new(), ..names });
        assert_eq!(known.find("Other", "addOne"), CallNames::default());
        for number in 0..2 * NAMES_MAX {
            known.learn(&CallNames { class: format!("C{number}"), method: "m".to_owned() });
        }
        assert!(known.0.lock().is_ok_and(|known| known.len() <= NAMES_MAX));
    }
}
