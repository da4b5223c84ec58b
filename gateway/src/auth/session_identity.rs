//! Identifies the session of a connection, so that one session cannot use what was issued to another.
//!
//! Laravel encrypts its cookies anew with each response: the text changes while the session stays the same. With the
//! application's key, the gateway decrypts them and compares their content: the session id, the CSRF token, a
//! remembered login. Other cookies (consent, analytics) change independently of the session, so they are left out. If
//! no cookie can be decrypted (Rust components, another cipher, no key here), all cookies count, as sent.
//!
//! A false difference costs one request to a worker. It is not an error.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut as _, KeyIvInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use percent_encoding::percent_decode;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::relay::Caller;

/// The number of cookies of one connection that are examined.
const COOKIES_MAX: usize = 64;
/// A larger cookie is not decrypted. Browsers keep none above 4 KiB.
const COOKIE_BYTES_MAX: usize = 8 * 1024;

/// A session, as a digest. Two connections of one session have equal digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionIdentity([u8; 32]);

impl SessionIdentity {
    /// Returns the digest. It must not leave the process as it is: it covers secrets that may be short.
    pub fn digest(&self) -> &[u8] {
        &self.0
    }
}

/// Computes session identities.
pub struct Sessions {
    /// The keys with which the application encrypts its cookies.
    keys: Vec<Vec<u8>>,
}

/// An encrypted cookie, as Laravel writes it.
#[derive(Deserialize)]
struct EncryptedCookie {
    iv: String,
    value: String,
    mac: String,
}

impl Sessions {
    /// Creates the type with the application's keys. Keys whose length does not fit AES are ignored.
    pub fn new(keys: &[Vec<u8>]) -> Self {
        Self { keys: keys.iter().filter(|key| matches!(key.len(), 16 | 32)).cloned().collect() }
    }

    /// Returns the session of a connection, including the cookies that its calls have set since the handshake.
    pub fn of(&self, caller: &Caller) -> SessionIdentity {
        let mut cookies: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut add = |header: &[u8]| {
            for pair in header.split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
                let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
                let (name, value) = (&pair[..equals], &pair[equals + 1..]);
                // Cookies set by calls come first. Of two cookies with one name, the first counts.
                if cookies.len() < COOKIES_MAX && !cookies.iter().any(|(known, _)| known == name) {
                    cookies.push((name.to_vec(), value.to_vec()));
                }
            }
        };
        caller.cookies.with(&mut add);
        let lines = || caller.headers().split(|byte| *byte == b'\n');
        lines().filter_map(|line| line.strip_prefix(b"cookie: ")).for_each(&mut add);
        let read = cookies.iter().filter_map(|(name, value)| Some((name.clone(), self.read(value)?)));
        let read: Vec<_> = read.collect();
        let (kind, mut told) = if read.is_empty() { (&b"as they are"[..], cookies) } else { (&b"read"[..], read) };
        told.sort();
        let mut digest = Sha256::new();
        let mut update = |part: &[u8]| {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        };
        update(kind);
        for (name, value) in &told {
            update(name);
            update(value);
        }
        for line in lines().filter_map(|line| line.strip_prefix(b"authorization: ")) {
            update(b"authorization");
            update(line);
        }
        SessionIdentity(digest.finalize().into())
    }

    /// Decrypts a cookie. Returns `None` if the application did not encrypt it.
    fn read(&self, value: &[u8]) -> Option<Vec<u8>> {
        if value.len() > COOKIE_BYTES_MAX {
            return None;
        }
        let text: Vec<u8> = percent_decode(value).collect();
        let cookie: EncryptedCookie = serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()?;
        let mac = hex::decode(&cookie.mac).ok()?;
        let (iv, secret) = (STANDARD.decode(&cookie.iv).ok()?, STANDARD.decode(&cookie.value).ok()?);
        self.keys.iter().find_map(|key| {
            let mut right = Hmac::<Sha256>::new_from_slice(key).ok()?;
            right.update(cookie.iv.as_bytes());
            right.update(cookie.value.as_bytes());
            right.verify_slice(&mac).ok()?;
            match key.len() {
                16 => cbc::Decryptor::<aes::Aes128>::new_from_slices(key, &iv)
                    .ok()?
                    .decrypt_padded_vec_mut::<Pkcs7>(&secret)
                    .ok(),
                _ => cbc::Decryptor::<aes::Aes256>::new_from_slices(key, &iv)
                    .ok()?
                    .decrypt_padded_vec_mut::<Pkcs7>(&secret)
                    .ok(),
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use aes::cipher::BlockEncryptMut as _;

    use super::*;
    use crate::auth::cookie_store::CookieStore;

    const KEY: [u8; 32] = [7; 32];

    /// Encrypts as Laravel's encrypter does.
    fn encrypted(plain: &str, iv: u8) -> String {
        let iv = [iv; 16];
        let secret = cbc::Encryptor::<aes::Aes256>::new(&KEY.into(), &iv.into())
            .encrypt_padded_vec_mut::<Pkcs7>(plain.as_bytes());
        let (iv, value) = (STANDARD.encode(iv), STANDARD.encode(secret));
        let mut mac = Hmac::<Sha256>::new_from_slice(&KEY).unwrap();
        mac.update(iv.as_bytes());
        mac.update(value.as_bytes());
        let mac = hex::encode(mac.finalize().into_bytes());
        let json = serde_json::json!({"iv": iv, "value": value, "mac": mac, "tag": ""}).to_string();
        STANDARD.encode(json).replace('=', "%3D")
    }

    fn identity(sessions: &Sessions, headers: &str, set: &[String]) -> SessionIdentity {
        let cookies = CookieStore::default();
        cookies.store(set);
        sessions.of(&Caller::new("c", "", headers.as_bytes(), cookies))
    }

    #[test]
    fn a_session_keeps_its_identity_when_its_cookies_are_re_encrypted() {
        let sessions = Sessions::new(&[b"short".to_vec(), KEY.to_vec()]);
        let of = |headers: &str| identity(&sessions, headers, &[]);
        let (first, again) = (encrypted("p|ada-40-characters", 1), encrypted("p|ada-40-characters", 2));
        let (eve, token) = (encrypted("p|eve-40-characters", 3), encrypted("p|csrf", 4));
        assert_ne!(first, again);
        let ada = of(&format!("cookie: s={first}; XSRF-TOKEN={token}; _ga=1\n"));
        for (same, headers) in [
            (true, format!("cookie: _ga=2; XSRF-TOKEN={token}; s={again}\n")),
            (true, format!("host: x\ncookie: s={again}\ncookie: consent=yes;XSRF-TOKEN={token}\n")),
            (true, format!("cookie: s={first}; XSRF-TOKEN={token}; s={eve}\n")),
            (false, format!("cookie: s={eve}; XSRF-TOKEN={token}; _ga=1\n")),
            (false, format!("cookie: s={eve}; XSRF-TOKEN={token}; s={first}\n")),
            (false, format!("cookie: XSRF-TOKEN={token}\n")),
            (false, format!("cookie: t={first}; XSRF-TOKEN={token}\n")),
            (false, "cookie: s=p|ada-40-characters; XSRF-TOKEN=p|csrf; _ga=1\n".to_owned()),
            (false, format!("cookie: s={first}; XSRF-TOKEN={token}; _ga=1\nauthorization: Bearer x\n")),
            (false, String::new()),
        ] {
            assert_eq!(of(&headers) == ada, same, "{headers}");
        }
        // One changed character invalidates the cookie.
        let forged = format!("cookie: s={}; XSRF-TOKEN={token}\n", first.replacen("ey", "ez", 1));
        assert_ne!(of(&forged), ada);
    }

    #[test]
    fn a_cookie_set_by_a_call_replaces_that_of_the_handshake() {
        let sessions = Sessions::new(&[KEY.to_vec()]);
        let (guest, ada, again) = (encrypted("guest", 1), encrypted("ada", 2), encrypted("ada", 3));
        let over_the_socket = identity(&sessions, &format!("cookie: s={guest}\n"), &[format!("s={ada}; Path=/")]);
        assert_eq!(over_the_socket, identity(&sessions, &format!("cookie: s={again}\n"), &[]));
        assert_ne!(over_the_socket, identity(&sessions, &format!("cookie: s={guest}\n"), &[]));
    }

    #[test]
    fn without_a_key_all_cookies_count_as_sent() {
        let sessions = Sessions::new(&[]);
        let of = |headers: &str| identity(&sessions, headers, &[]);
        let ada = of("cookie: session=ada; theme=dark\n");
        assert_eq!(of("cookie: theme=dark; session=ada\n"), ada);
        for other in
            ["cookie: session=eve; theme=dark\n", "cookie: session=ada\n", "", "cookie: sessionada=; theme=dark\n"]
        {
            assert_ne!(of(other), ada, "{other}");
        }
        assert_eq!(of(""), of("host: x\n"), "all who have none are one");
    }
}
