//! Signing keys.

use std::fmt;

use base64::Engine as _;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use thiserror::Error;

/// The label from which the key of locks is derived. PHP's bridge has the same text.
const LABEL: &[u8] = b"diffyne locked values 1";
/// A key that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// It has no bytes.
    #[error("the key is empty")]
    Empty,
    /// It starts with `base64:`, and what follows is not base64.
    #[error("the key starts with `base64:` but what follows is not base64")]
    NotBase64,
}

/// One signing key, ready for use. Its bytes never reach a log: `Debug` prints none.
#[derive(Clone)]
pub struct SigningKey {
    pub(super) state: Hmac<Sha256>,
    /// Derived from the same bytes, for locked values.
    pub(super) lock: Hmac<Sha256>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl SigningKey {
    /// Reads a key as Laravel writes it: plain text, or `base64:` and the bytes.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = Self::bytes(text)?;
        // HMAC takes a key of any length, so this does not fail.
        Self::from_bytes(&bytes).ok_or(KeyError::Empty)
    }

    /// A key by its bytes, as [`Self::bytes`] gives them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let state = Hmac::new_from_slice(bytes).ok()?;
        let lock = lock_key(&state)?;
        Some(Self { state, lock })
    }

    /// The bytes of a key as Laravel writes it, from which keys for other uses than signing are derived.
    pub fn bytes(text: &str) -> Result<Vec<u8>, KeyError> {
        let bytes = match text.strip_prefix("base64:") {
            Some(encoded) => {
                base64::engine::general_purpose::STANDARD.decode(encoded.trim()).map_err(|_| KeyError::NotBase64)?
            }
            None => text.as_bytes().to_vec(),
        };
        if bytes.is_empty() { Err(KeyError::Empty) } else { Ok(bytes) }
    }

    /// Bytes for another use than signing.
    pub(super) fn derived(&self, purpose: &[u8]) -> [u8; 32] {
        let mut mac = self.state.clone();
        mac.update(purpose);
        mac.finalize().into_bytes().into()
    }

    pub(super) fn mac(&self, canonical: &str, component_id: &str) -> Hmac<Sha256> {
        let mut mac = self.state.clone();
        mac.update(canonical.as_bytes());
        mac.update(component_id.as_bytes());
        mac
    }
}

/// The key of the locks that belong to a signing key.
fn lock_key(key: &Hmac<Sha256>) -> Option<Hmac<Sha256>> {
    let mut mac = key.clone();
    mac.update(LABEL);
    Hmac::new_from_slice(&mac.finalize().into_bytes()).ok()
}
