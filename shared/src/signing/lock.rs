//! The second signature of a component's answers: it names the class, the component and the values that clients must
//! not change.
//!
//! The package's own signature covers the state as a whole and names no class; diffyne.js changes fields of the state
//! before a call, and then that signature no longer fits. A lock stays valid under such edits. It follows the package's
//! signature, in the one string that scripts of pages return unread:
//!
//! ```text
//! SIGNATURE.LOCK.NAMES     64 hexadecimal digits . 64 hexadecimal digits . base64url(JSON list of names)
//! ```
//!
//! `LOCK` is `hex(HMAC-SHA256(lock key, printed({"class": .., "id": .., "values": {name: value}})))`; its key is
//! `HMAC-SHA256(signing key, LABEL)`, so that no signature of a state can pass for a lock. The names are part of it
//! because a worker that runs PHP components does not know which properties are locked.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use serde_json::{Map, Value};
use sha2::Sha256;

use super::canonical::{Escaping, Numbers, print_number, print_string};
use super::json_tree::{JsonTree, Shape};
use super::key::SigningKey;
use super::signature::to_hex;
use super::signer::{LockedValues, Signer};

/// The parameter of a mount that carries the lock over those of the others that clients must not choose. No property
/// has such a name, so that the package's own endpoint ignores it.
pub const PARAMS_LOCK: &str = "diffyne:lock";

/// The component id in locks over parameters: one mount is like another, and no component has this id.
const NO_COMPONENT: &str = "";

/// Names that one lock may cover; a class has fewer properties.
const NAMES_MAX: usize = 256;

/// Values by name.
type Named<'a, T> = [(&'a str, &'a T)];

fn mac<T: JsonTree>(key: &SigningKey, class: &str, component_id: &str, values: &Named<'_, T>) -> Hmac<Sha256> {
    let mut document = String::with_capacity(256);
    for (name, text) in [(r#"{"class":"#, folded(class).as_str()), (r#","id":"#, component_id)] {
        document.push_str(name);
        print_string(&mut document, text, Escaping::Readable);
    }
    document.push_str(r#","values":"#);
    print(&mut document, Members::of(values.iter().map(|(name, value)| (Cow::Borrowed(*name), *value))));
    document.push('}');
    let mut mac = key.lock.clone();
    mac.update(document.as_bytes());
    mac
}

/// The form of a document that a lock is made over: every list as an object, keys in the order of their bytes. Unlike
/// the package's form it does not depend on the order in which a browser prints keys that are numbers.
fn print<T: JsonTree>(out: &mut String, members: Members<'_, T>) {
    out.push('{');
    let mut open = vec![members];
    while let Some(members) = open.last_mut() {
        let Some((name, value)) = members.0.next() else {
            out.push('}');
            open.pop();
            continue;
        };
        if !out.ends_with('{') {
            out.push(',');
        }
        print_string(out, &name, Escaping::Readable);
        out.push(':');
        match value.shape() {
            Shape::Null => out.push_str("null"),
            Shape::Bool(flag) => out.push_str(if flag { "true" } else { "false" }),
            Shape::Number(number) => print_number(out, number, Numbers::AsReturned),
            Shape::Text(text) => print_string(out, text, Escaping::Readable),
            Shape::List(items) => {
                let indexes = (0..items.len()).map(|index| Cow::Owned(index.to_string()));
                out.push('{');
                open.push(Members::of(indexes.zip(items)));
            }
            Shape::Object(members) => {
                out.push('{');
                open.push(Members::of(members.map(|(name, value)| (Cow::Borrowed(name), value))));
            }
        }
    }
}

/// What is left of a list or object that is being printed.
struct Members<'a, T>(std::vec::IntoIter<(Cow<'a, str>, &'a T)>);

impl<'a, T> Members<'a, T> {
    fn of(members: impl Iterator<Item = (Cow<'a, str>, &'a T)>) -> Self {
        let mut members: Vec<_> = members.collect();
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self(members.into_iter())
    }
}

/// Values of these names, each once. `None` where one is missing.
fn named<'n, 's: 'n, T: 's>(
    names: &'n [impl AsRef<str>],
    value: impl Fn(&str) -> Option<&'s T>,
) -> Option<Vec<(&'n str, &'n T)>> {
    let mut values: Vec<(&'n str, &'n T)> = Vec::with_capacity(names.len());
    for name in names.iter().map(AsRef::as_ref) {
        let value = value(name)?;
        if values.iter().all(|(known, _)| *known != name) {
            values.push((name, value));
        }
    }
    Some(values)
}

/// The one spelling of a class that locks cover: PHP ignores case and a leading backslash.
fn folded(class: &str) -> String {
    class.trim_start_matches('\\').to_ascii_lowercase()
}

impl Signer {
    /// Which locked values are accepted.
    pub fn locked_values(&self) -> LockedValues {
        self.locked
    }

    /// The signature of a state whose named values clients must not change. Without names, or with
    /// [`LockedValues::Upstream`], it is the package's own.
    pub fn sign_locked<T: JsonTree>(&self, class: &str, component_id: &str, state: &T, names: &[&str]) -> String {
        let signature = self.sign(state, component_id);
        if names.is_empty() || self.locked == LockedValues::Upstream {
            return signature;
        }
        let state = state.by_name();
        let names: Vec<&str> = names.iter().copied().filter(|name| state.get(name).is_some()).collect();
        let values = named(&names, |name| state.get(name)).unwrap_or_default();
        format!("{signature}.{}", self.lock_of(class, component_id, &values))
    }

    /// `LOCK.NAMES` over these values, as [`Self::locked_names`] reads it.
    pub fn lock(&self, class: &str, component_id: &str, values: &Map<String, Value>) -> String {
        let values: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value)).collect();
        self.lock_of(class, component_id, &values)
    }

    fn lock_of<T: JsonTree>(&self, class: &str, component_id: &str, values: &Named<'_, T>) -> String {
        let lock = to_hex(&mac(&self.keys[0], class, component_id, values).finalize().into_bytes());
        let names: Value = values.iter().map(|(name, _)| *name).collect();
        format!("{lock}.{}", URL_SAFE_NO_PAD.encode(names.to_string()))
    }

    /// Adds the lock to a lazy component's parameters on a page, where clients must not choose some of them. The
    /// package's own rules do not know it, and do not need to: it is made whichever locked values are accepted.
    pub fn lock_params(&self, class: &str, params: &mut Map<String, Value>, is_protected: impl Fn(&str) -> bool) {
        let values: Map<String, Value> = params
            .iter()
            .filter(|(name, _)| is_protected(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !values.is_empty() {
            params.insert(PARAMS_LOCK.to_owned(), self.lock(class, NO_COMPONENT, &values).into());
        }
    }

    /// The parameters of a mount that the page's server has chosen, by their names; `None` when no lock fits.
    pub fn locked_params<T: JsonTree>(&self, class: &str, params: &T) -> Option<Vec<String>> {
        let Shape::Text(lock) = params.member(PARAMS_LOCK)?.shape() else { return None };
        let params = params.by_name();
        self.locked_names(class, NO_COMPONENT, |name| params.get(name), lock)
    }

    /// The names whose values in a state a lock covers, for this class and component; `None` when it does not fit.
    pub fn locked_names<'s, T: JsonTree + 's>(
        &self,
        class: &str,
        component_id: &str,
        value: impl Fn(&str) -> Option<&'s T>,
        lock: &str,
    ) -> Option<Vec<String>> {
        let (digits, list) = lock.split_once('.')?;
        let lock = hex::decode(digits).ok()?;
        let names: Vec<String> = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(list).ok()?).ok()?;
        if names.len() > NAMES_MAX {
            return None;
        }
        // A value that was left out would become its default, which nobody has signed.
        let values = named(&names, value)?;
        let fits = |key: &SigningKey| mac(key, class, component_id, &values).verify_slice(&lock).is_ok();
        self.keys.iter().any(fits).then_some(names)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::super::signature::SignatureParts;
    use super::super::signer::VerifyState;
    use super::*;

    const CLASS: &str = "App\\Diffyne\\Counter";

    fn signer(keys: &[&str]) -> Signer {
        let keys = keys.iter().map(|key| SigningKey::parse(key).unwrap()).collect();
        Signer::new(keys, VerifyState::default(), true).unwrap()
    }

    fn names(signer: &Signer, class: &str, id: &str, state: &Value, signature: &str) -> Option<Vec<String>> {
        let lock = SignatureParts::of(signature).lock?;
        signer.locked_names(class, id, |name| state.member(name), lock)
    }

    #[test]
    fn a_lock_covers_class_component_and_values_and_nothing_else() {
        let signer = signer(&["k"]);
        let state = json!({"count": 1, "owner": 7, "plan": "", "tags": {"b": 1, "a": [1.0]}});
        let signature = signer.sign_locked(CLASS, "c1", &state, &["owner", "plan", "tags"]);
        let covered = Some(vec!["owner".to_owned(), "plan".to_owned(), "tags".to_owned()]);
        assert!(signature.starts_with(&signer.sign(&state, "c1")), "the package's own comes first");
        let changed = |name: &str, value: Value| {
            let mut changed = state.clone();
            changed[name] = value;
            changed
        };
        let without_owner = json!({"count": 1, "plan": "", "tags": {"b": 1, "a": [1.0]}});
        let rows: [(&str, &str, &str, Value, bool); 10] = [
            ("as it was signed", CLASS, "c1", state.clone(), true),
            ("an edit of another field", CLASS, "c1", changed("count", json!(9)), true),
            ("a new field", CLASS, "c1", changed("more", json!(9)), true),
            ("as a browser prints it", CLASS, "c1", changed("tags", json!({"a": [1], "b": 1})), true),
            ("another spelling of the class", "\\app\\diffyne\\counter", "c1", state.clone(), true),
            ("another value", CLASS, "c1", changed("owner", json!(1)), false),
            ("null for an empty text", CLASS, "c1", changed("plan", json!(null)), false),
            ("a value left out", CLASS, "c1", without_owner, false),
            ("another class", "App\\Diffyne\\Other", "c1", state.clone(), false),
            ("another component", CLASS, "c2", state.clone(), false),
        ];
        for (what, class, id, state, fits) in rows {
            assert_eq!(names(&signer, class, id, &state, &signature), covered.clone().filter(|_| fits), "{what}");
        }
    }

    #[test]
    fn nothing_is_locked_without_names_or_where_upstream_decides() {
        let state = json!({"owner": 7});
        let signer = signer(&["k"]);
        assert_eq!(signer.sign_locked(CLASS, "c1", &state, &[]), signer.sign(&state, "c1"));
        let upstream = signer.clone().with_locked_values(LockedValues::Upstream);
        assert_eq!(upstream.sign_locked(CLASS, "c1", &state, &["owner"]), signer.sign(&state, "c1"));
    }

    #[test]
    fn an_old_key_opens_a_lock_while_a_new_one_makes_them_and_garbage_opens_none() {
        let state = json!({"owner": 7});
        let signature = signer(&["old"]).sign_locked(CLASS, "c1", &state, &["owner"]);
        assert!(names(&signer(&["new", "old"]), CLASS, "c1", &state, &signature).is_some());
        assert_eq!(names(&signer(&["new"]), CLASS, "c1", &state, &signature), None);
        let parts = SignatureParts::of(&signature);
        let lock = parts.lock.unwrap();
        let (digits, list) = lock.split_once('.').unwrap();
        for lock in ["", ".", "zz.W10", digits, &format!("{digits}."), &format!("{digits}.!!"), &format!(".{list}")] {
            let opened = signer(&["old"]).locked_names(CLASS, "c1", |name| state.member(name), lock);
            assert_eq!(opened, None, "{lock}");
        }
        // A lock over no names is no lock over these, and the state's signature is none at all.
        let fewer = format!("{digits}.{}", URL_SAFE_NO_PAD.encode("[]"));
        assert_eq!(signer(&["old"]).locked_names(CLASS, "c1", |name| state.member(name), &fewer), None);
        let mistaken = format!("{}.{list}", parts.state);
        assert_eq!(signer(&["old"]).locked_names(CLASS, "c1", |name| state.member(name), &mistaken), None);
    }

    #[test]
    fn every_vector_of_the_bridge_is_made_and_opened() {
        let text = include_str!("../../../tests/data/lock-vectors.json");
        let vectors: Vec<Value> = serde_json::from_str(text).unwrap();
        assert!(vectors.len() >= 6);
        for vector in &vectors {
            let text = |name: &str| vector[name].as_str().unwrap();
            let state: Value = serde_json::from_str(text("state_json")).unwrap();
            let list: Vec<&str> =
                vector["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            let signer = signer(&[text("key")]);
            let made = signer.sign_locked(text("class"), text("id"), &state, &list);
            assert_eq!(SignatureParts::of(&made).lock, Some(text("lock")), "{vector}");
            let opened = signer.locked_names(text("class"), text("id"), |name| state.member(name), text("lock"));
            assert_eq!(opened.unwrap(), list);
        }
    }
}
