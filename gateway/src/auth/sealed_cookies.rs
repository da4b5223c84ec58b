//! Carries cookies that a call over the socket has set to the browser. They are sealed in a token; the page returns it
//! with one ordinary HTTP request, to any gateway, within half a minute.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use diffyne_shared::clock::unix_seconds;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How long a token is valid.
const LIFE: Duration = Duration::from_secs(30);
/// The largest clock difference between two gateways.
const CLOCK_SKEW_MAX: Duration = Duration::from_mins(5);
/// The error of comparing whole seconds.
const ROUNDING: Duration = Duration::from_secs(2);
/// How long a used token is remembered. This is longer than any gateway accepts it, whatever the difference of its
/// clock and the rounding to whole seconds.
pub const MARK_LIFE: Duration = LIFE.saturating_add(CLOCK_SKEW_MAX).saturating_add(ROUNDING);
/// The largest token that is opened.
const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// Separates this use of the key from all others.
const PURPOSE: &[u8] = b"diffyne session sealed_cookies 1";
const NONCE_BYTES: usize = 24;

/// The content of a token.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cookies {
    /// The unique id of the token, which can be used once.
    pub id: String,
    expires: u64,
    /// `Set-Cookie` values.
    pub lines: Vec<String>,
}

/// Seals and opens tokens with keys that all gateways share.
pub struct SealedCookies {
    ciphers: Vec<XChaCha20Poly1305>,
}

impl SealedCookies {
    /// Creates the type with these signing keys. The first seals; any opens. Without keys there are no tokens.
    pub fn new(keys: &[Vec<u8>]) -> Self {
        let ciphers = keys.iter().filter_map(|key| {
            let mut derive = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key).ok()?;
            derive.update(PURPOSE);
            Some(XChaCha20Poly1305::new(Key::from_slice(&derive.finalize().into_bytes())))
        });
        Self { ciphers: ciphers.collect() }
    }

    /// Seals these cookies in a token.
    pub fn seal(&self, lines: &[String]) -> Option<String> {
        let cipher = self.ciphers.first()?;
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).ok()?;
        let cookies = Cookies {
            id: URL_SAFE_NO_PAD.encode(nonce),
            expires: unix_seconds() + LIFE.as_secs(),
            lines: lines.to_vec(),
        };
        let sealed = cipher.encrypt(XNonce::from_slice(&nonce), serde_json::to_vec(&cookies).ok()?.as_slice()).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens a token. Returns `None` if it has expired or was not sealed with our keys.
    pub fn open(&self, token: &str) -> Option<Cookies> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES)?;
        let nonce = XNonce::from_slice(nonce);
        let plain = self.ciphers.iter().find_map(|cipher| cipher.decrypt(nonce, sealed).ok())?;
        let cookies: Cookies = serde_json::from_slice(&plain).ok()?;
        is_timely(cookies.expires, unix_seconds()).then_some(cookies)
    }
}

/// Whether a token is within its lifetime. A token from further in the future than clocks may differ is refused: it
/// would be valid for longer than its use is remembered.
fn is_timely(expires: u64, now: u64) -> bool {
    now < expires && expires - now <= (LIFE + CLOCK_SKEW_MAX).as_secs()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_used_token_is_remembered_for_longer_than_any_clock_accepts_it() {
        // Real time counts in tenths of a second from the moment of sealing. The gateways' clocks differ by up to five
        // minutes.
        let skew = CLOCK_SKEW_MAX.as_secs() as i64;
        let clock = |tenths: i64, off: i64| ((10_000_000 + tenths) / 10 + off).unsigned_abs();
        for sealed_by in [-skew / 2, 0, skew / 2] {
            let expires = clock(0, sealed_by) + LIFE.as_secs();
            for taken_by in [sealed_by - skew, sealed_by, sealed_by + skew] {
                let good: Vec<i64> =
                    (0..20_000).filter(|tenths| is_timely(expires, clock(*tenths, taken_by))).collect();
                let first_use = 0;
                let forgotten = first_use + MARK_LIFE.as_millis() as i64 / 100;
                assert!(good.iter().all(|tenths| *tenths < forgotten), "{sealed_by} {taken_by}: {:?}", good.last());
            }
            assert!(is_timely(expires, clock(295, sealed_by)) && !is_timely(expires, clock(301, sealed_by)));
        }
    }

    #[test]
    fn a_token_opens_only_with_the_right_key() {
        let (old, new) = (b"old".to_vec(), b"new".to_vec());
        let token = SealedCookies::new(std::slice::from_ref(&old)).seal(&["session=1; httponly".to_owned()]).unwrap();
        assert!(!token.contains("session"));
        let rotated = SealedCookies::new(&[new.clone(), old]);
        assert_eq!(rotated.open(&token).unwrap().lines, ["session=1; httponly"]);
        assert!(SealedCookies::new(&[new]).open(&token).is_none());
        let mut changed = token.into_bytes();
        changed[40] ^= 1;
        assert!(rotated.open(std::str::from_utf8(&changed).unwrap()).is_none());
        assert!(rotated.open("").is_none() && rotated.open("AAAA").is_none());
        assert!(SealedCookies::new(&[]).seal(&[]).is_none());
    }

    #[test]
    fn an_expired_token_is_refused() {
        let sealed_cookies = SealedCookies::new(&[b"k".to_vec()]);
        let nonce = [7; NONCE_BYTES];
        let cookies = Cookies { id: "x".to_owned(), expires: unix_seconds() - 1, lines: Vec::new() };
        let plain = serde_json::to_vec(&cookies).unwrap();
        let sealed = sealed_cookies.ciphers[0].encrypt(XNonce::from_slice(&nonce), plain.as_slice()).unwrap();
        assert!(sealed_cookies.open(&URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat())).is_none());
    }
}
