//! Names of classes and methods: those that strangers write, and those that an application has said exist.
//!
//! PHP does not mind the case of such names, so that each can be spelt in many ways. Labels, logs and caches take the
//! application's own spelling, or nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use diffyne_shared::rpc::CallKind;

use crate::component::Failure;
use crate::component::message::Verified;

/// Bytes of a name of a class, a method or a property.
const NAME_BYTES_MAX: usize = 255;
/// Names that are remembered.
const NAMES_MAX: usize = 5_000;
/// Laravel writes a file for each class of this namespace that somebody asks for.
const MADE_BY_ASKING: &str = "facades\\";

/// A call's class and method as they are written in the application.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) class: String,
    pub(super) method: String,
}

/// The names that answers have told, for calls that end without an answer.
#[derive(Debug, Default)]
pub struct KnownNames(Mutex<HashMap<String, String>>);

impl KnownNames {
    /// Remembers names, as long as there is room.
    pub(super) fn learn(&self, names: &Names) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, name) in [(key(&names.class, ""), &names.class), (key(&names.class, &names.method), &names.method)] {
            if !name.is_empty() && !known.contains_key(&key) && known.len() < NAMES_MAX {
                known.insert(key, name.clone());
            }
        }
    }

    /// The application's spelling of names, as far as they are known.
    pub(super) fn find(&self, class: &str, method: &str) -> Names {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let class = class.trim_start_matches('\\');
        let find = |key: String| known.get(&key).cloned().unwrap_or_default();
        Names { class: find(key(class, "")), method: find(key(class, method)) }
    }
}

fn key(class: &str, method: &str) -> String {
    format!("{class}::{method}").to_ascii_lowercase()
}

/// A name as an application tells it, if it is one.
pub(super) fn told(name: &str) -> &str {
    if is_class(name) { name } else { "" }
}

/// Refuses names that PHP has no place for, before PHP is woken: it would look for the class's file, and remember
/// that there is none.
pub(super) fn check(verified: &Verified<'_>, kind: CallKind) -> Result<(), Failure> {
    let (class, member) = (&*verified.class, &*verified.member);
    let is_made_by_asking = class.trim_start_matches('\\').to_ascii_lowercase().starts_with(MADE_BY_ASKING);
    match kind {
        CallKind::Grant => Ok(()),
        _ if !is_class(class) || is_made_by_asking => Err(Failure::UnknownComponent(class.to_owned())),
        CallKind::Call if !is_word(member) => Err(Failure::UnknownMethod(member.to_owned())),
        CallKind::Update if !is_word(member) => Err(Failure::UnknownProperty(member.to_owned())),
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

    fn verified<'a>(class: &'a str, member: &'a str) -> Verified<'a> {
        let trust = crate::component::message::Trust::Nothing;
        Verified { id: "c".into(), class: class.into(), member: member.into(), method: member.into(), trust }
    }

    #[test]
    fn names_that_php_has_no_place_for_wake_nobody() {
        let long = "x".repeat(400_000);
        for class in ["Counter", "App\\Diffyne\\Counter", "\\App\\Counter", "Größe\\Zähler_2"] {
            assert_eq!(check(&verified(class, "increment"), CallKind::Call), Ok(()), "{class}");
        }
        let wrong = ["", "\\", "App\\", "App\\\\B", "2App", "App/Counter", "a b", "../x", "a\0b", "Facades\\App\\X"];
        for class in wrong.into_iter().chain(["\\facades\\X", &long]) {
            let refused = check(&verified(class, "increment"), CallKind::Mount);
            assert!(matches!(refused, Err(Failure::UnknownComponent(_))), "{class:.40}");
        }
        for member in ["", "a-b", "1", "a::b", &long] {
            let refused = check(&verified("A", member), CallKind::Call);
            assert!(matches!(refused, Err(Failure::UnknownMethod(_))), "{member:.40}");
            let refused = check(&verified("A", member), CallKind::Update);
            assert!(matches!(refused, Err(Failure::UnknownProperty(_))), "{member:.40}");
        }
    }

    #[test]
    fn names_are_known_by_any_spelling_and_bounded() {
        let known = KnownNames::default();
        let names = Names { class: "App\\Counter".to_owned(), method: "addOne".to_owned() };
        known.learn(&names);
        assert_eq!(known.find("\\APP\\counter", "ADDONE"), names);
        assert_eq!(known.find("App\\Counter", "other"), Names { method: String::new(), ..names });
        assert_eq!(known.find("Other", "addOne"), Names::default());
        for number in 0..2 * NAMES_MAX {
            known.learn(&Names { class: format!("C{number}"), method: "m".to_owned() });
        }
        assert!(known.0.lock().is_ok_and(|known| known.len() <= NAMES_MAX));
    }
}
