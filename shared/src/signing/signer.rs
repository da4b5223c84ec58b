//! Signing and verifying states.

use hmac::Mac as _;
use serde_json::{Map, Value};

use super::canonical::{EmptyStrings, Numbers, canonical_json};
use super::json_tree::{JsonTree, Shape};
use super::key::SigningKey;
use super::signature::{SignatureParts, to_hex};

/// How many values a lenient second try may change (the PHP package's own limit).
const LENIENT_CHANGES_MAX: usize = 20;

/// Which messages must carry a valid signature (`DIFFYNE_VERIFY_STATE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VerifyState {
    /// Only property updates: upstream's default, since calls carry unsaved edits.
    #[default]
    PropertyUpdates,
    /// Updates and calls.
    Strict,
    /// Nothing is verified.
    None,
}

/// What a signature is checked for: an update must match exactly, a call may carry unsaved edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A `diffyne.call`.
    Call,
    /// A `diffyne.update`.
    Update,
}

/// Which values of locked and hidden properties are accepted (`DIFFYNE_LOCKED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockedValues {
    /// Those that a signature covers, for the class and the component that they are sent for.
    #[default]
    Signed,
    /// Those that the package accepts: any, where the verification of states lets them pass.
    Upstream,
}

/// Signs and verifies states. Signs with the first key, accepts any (two at a time allow a rotation).
#[derive(Debug, Clone)]
pub struct Signer {
    pub(super) keys: Vec<SigningKey>,
    verify: VerifyState,
    lenient: bool,
    pub(super) locked: LockedValues,
}

/// Whether a message's signature fits its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be run: the signature fits, or none is wanted.
    Accepted,
    /// It may be run: the signature fits once what a form's fields may have added is taken away.
    Lenient,
    /// It may not be run.
    Refused,
}

impl Signer {
    /// A signer with at least one key; `None` without any.
    pub fn new(keys: Vec<SigningKey>, verify: VerifyState, lenient: bool) -> Option<Self> {
        (!keys.is_empty()).then_some(Self { keys, verify, lenient, locked: LockedValues::default() })
    }

    /// The same, with another rule for locked values.
    #[must_use]
    pub fn with_locked_values(self, locked: LockedValues) -> Self {
        Self { locked, ..self }
    }

    /// The signature of a state that the server sends: empty strings count as null, as in the PHP package, and numbers as
    /// they come back.
    pub fn sign<T: JsonTree>(&self, state: &T, component_id: &str) -> String {
        let canonical = canonical_json(state, EmptyStrings::AsNull, Numbers::AsReturned);
        to_hex(&self.keys[0].mac(&canonical, component_id).finalize().into_bytes())
    }

    /// A key for another use than signing, derived from the key that signs.
    pub fn derived_key(&self, purpose: &[u8]) -> [u8; 32] {
        self.keys[0].derived(purpose)
    }

    /// Whether a message of this purpose needs a signature.
    pub fn wants(&self, purpose: Purpose) -> bool {
        match self.verify {
            VerifyState::None => false,
            VerifyState::PropertyUpdates => purpose == Purpose::Update,
            VerifyState::Strict => true,
        }
    }

    /// Whether a message of this purpose may be run with this state and signature. `locked` are the names of values
    /// that no form can have filled in; the lenient second try leaves them as they are.
    pub fn judge<T: JsonTree>(
        &self,
        purpose: Purpose,
        state: &T,
        component_id: &str,
        signature: Option<&str>,
        locked: &[impl AsRef<str>],
    ) -> Verdict {
        if !self.wants(purpose) {
            return Verdict::Accepted;
        }
        let Some(signature) = signature else { return Verdict::Refused };
        if self.covers(state, component_id, signature) {
            return Verdict::Accepted;
        }
        let is_filled_in = self.lenient
            && purpose == Purpose::Call
            && without_form_input(state, locked).is_some_and(|state| self.covers(&state, component_id, signature));
        if is_filled_in { Verdict::Lenient } else { Verdict::Refused }
    }

    /// Whether the package's signature is that of this state as a whole. It names no class.
    pub fn covers<T: JsonTree>(&self, state: &T, component_id: &str, signature: &str) -> bool {
        let signature = hex::decode(SignatureParts::of(signature).state);
        signature.is_ok_and(|signature| self.matches(state, component_id, &signature))
    }

    fn matches<T: JsonTree>(&self, state: &T, component_id: &str, signature: &[u8]) -> bool {
        let canonical = canonical_json(state, EmptyStrings::AsNull, Numbers::AsReturned);
        self.keys.iter().any(|key| key.mac(&canonical, component_id).verify_slice(signature).is_ok())
    }
}

/// The state as it may have been before a user filled in a form: the lenient second try of strict mode.
fn without_form_input<T: JsonTree>(state: &T, locked: &[impl AsRef<str>]) -> Option<Value> {
    let Shape::Object(members) = state.shape() else { return None };
    let mut changed = 0;
    let mut before = Map::new();
    for (name, value) in members {
        let reset = match value.shape() {
            _ if locked.iter().any(|locked| locked.as_ref() == name) => None,
            Shape::Text(text) if !text.is_empty() => Some(Value::Null),
            Shape::Number(number) if number.as_i64().is_some_and(|n| n != 0) => Some(Value::from(0)),
            Shape::Bool(true) => Some(Value::Bool(false)),
            _ => None,
        };
        changed += usize::from(reset.is_some());
        before.insert(name.to_owned(), reset.unwrap_or_else(|| value.to_value()));
    }
    (1..=LENIENT_CHANGES_MAX).contains(&changed).then_some(Value::Object(before))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::super::{KeyError, fingerprint};
    use super::*;

    fn accepts(signer: &Signer, purpose: Purpose, state: &Value, id: &str, signature: Option<&str>) -> bool {
        signer.judge(purpose, state, id, signature, &[""; 0]) != Verdict::Refused
    }

    fn signer(verify: VerifyState, lenient: bool) -> Signer {
        Signer::new(vec![SigningKey::parse("key").unwrap()], verify, lenient).unwrap()
    }

    #[test]
    fn every_vector_of_the_real_signer_passes_in_both_columns() {
        let vectors: Vec<Value> =
            serde_json::from_str(include_str!("../../../tests/data/signing-vectors.json")).unwrap();
        assert_eq!(vectors.len(), 22);
        for vector in &vectors {
            let text = |pointer: &str| vector.pointer(pointer).and_then(Value::as_str).unwrap();
            let state: Value = serde_json::from_str(text("/state_json")).unwrap();
            let key = SigningKey::parse(text("/key")).unwrap();
            let columns = [("/verify", EmptyStrings::Keep), ("/render", EmptyStrings::AsNull)];
            for (column, rule) in columns {
                let canonical = canonical_json(&state, rule, Numbers::AsMade);
                assert_eq!(canonical, text(&format!("{column}/canonical")), "{}", text("/state_json"));
                let signature = hex::encode(key.mac(&canonical, text("/component_id")).finalize().into_bytes());
                assert_eq!(signature, text(&format!("{column}/signature")));
            }
            let signer = Signer::new(vec![key], VerifyState::Strict, false).unwrap();
            let signature = signer.sign(&state, text("/component_id"));
            // No browser returns -0, nor an integer just beyond 64 bits.
            let is_returned =
                !["-0.0", "9223372036854775808"].iter().any(|number| text("/state_json").contains(number));
            assert_eq!(signature == text("/render/signature"), is_returned, "{}", text("/state_json"));
        }
    }

    #[test]
    fn recorded_fingerprints_are_those_of_php() {
        let mut seen = 0;
        for line in include_str!("../../../tests/data/recorded/upstream.jsonl").lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let Some(c) = record.pointer("/socket/data/c") else { continue };
            assert_eq!(fingerprint(&c["st"]), c["f"].as_str().unwrap(), "{line}");
            seen += 1;
        }
        assert!(seen > 20);
    }

    #[test]
    fn updates_are_verified_by_default_and_calls_are_not() {
        let signer = signer(VerifyState::default(), true);
        let state = json!({"a": ""});
        let good = signer.sign(&state, "id");
        assert!(accepts(&signer, Purpose::Update, &state, "id", Some(&good)));
        assert!(!accepts(&signer, Purpose::Update, &json!({"a": "x"}), "id", Some(&good)));
        assert!(!accepts(&signer, Purpose::Update, &state, "other", Some(&good)));
        assert!(!accepts(&signer, Purpose::Update, &state, "id", None));
        assert!(!accepts(&signer, Purpose::Update, &state, "id", Some("zz")));
        assert!(accepts(&signer, Purpose::Call, &json!({"a": "x"}), "id", None));
    }

    #[test]
    fn strict_mode_allows_filled_forms_only_when_lenient() {
        let sent = json!({"name": null, "count": 0, "agreed": false});
        let filled = json!({"name": "Ada", "count": 3, "agreed": true});
        let strict = signer(VerifyState::Strict, false);
        let lenient = signer(VerifyState::Strict, true);
        let signature = strict.sign(&sent, "id");
        assert!(!accepts(&strict, Purpose::Call, &filled, "id", Some(&signature)));
        assert!(accepts(&lenient, Purpose::Call, &filled, "id", Some(&signature)));
        assert!(!accepts(&lenient, Purpose::Update, &filled, "id", Some(&signature)));
        let locked = ["count"];
        let verdict = lenient.judge(Purpose::Call, &filled, "id", Some(&signature), &locked);
        assert_eq!(verdict, Verdict::Refused, "a form does not fill in what is locked");
        let by_hand = json!({"name": "Ada", "count": 0, "agreed": true});
        assert_eq!(lenient.judge(Purpose::Call, &by_hand, "id", Some(&signature), &locked), Verdict::Lenient);
        let wide: Map<String, Value> = (0..21).map(|i| (format!("k{i}"), json!(1))).collect();
        let zeros: Map<String, Value> = (0..21).map(|i| (format!("k{i}"), json!(0))).collect();
        let signature = lenient.sign(&Value::Object(zeros), "id");
        assert!(!accepts(&lenient, Purpose::Call, &Value::Object(wide), "id", Some(&signature)));
    }

    #[test]
    fn an_old_key_still_verifies_while_a_new_one_signs() {
        let [old, new] = ["old", "new"].map(|text| SigningKey::parse(text).unwrap());
        let before = Signer::new(vec![old.clone()], VerifyState::Strict, false).unwrap();
        let during = Signer::new(vec![new.clone(), old], VerifyState::Strict, false).unwrap();
        let after = Signer::new(vec![new], VerifyState::Strict, false).unwrap();
        let state = json!({"a": 1});
        assert!(accepts(&during, Purpose::Call, &state, "id", Some(&before.sign(&state, "id"))));
        assert_eq!(during.sign(&state, "id"), after.sign(&state, "id"));
    }

    #[test]
    fn keys_that_cannot_work_are_refused() {
        assert_eq!(SigningKey::parse("").unwrap_err(), KeyError::Empty);
        assert_eq!(SigningKey::parse("base64:***").unwrap_err(), KeyError::NotBase64);
        assert_eq!(format!("{:?}", SigningKey::parse("hush").unwrap()), "SigningKey(..)");
    }
}
