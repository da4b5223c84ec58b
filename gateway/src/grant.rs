//! Grants: the right to hear events, given by a worker in the user's own session and signed by the gateway, so that
//! a client that comes back in that session shows it to any gateway and no worker has to be asked again.
//!
//! `base64url(JSON {events, exp, ses}) . base64url(HMAC-SHA256)`, with a key derived from the signing key. `ses` is a MAC
//! of the session ([`crate::session_identity`]); a grant without it is of an older release and fits no session.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diffyne_shared::envelope::unix_seconds;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::relay::Caller;
use crate::session_identity::{SessionIdentity, Sessions};

const LABEL: &[u8] = b"diffyne grant 1";
const SESSION_LABEL: &[u8] = b"diffyne grant session 1";
/// Of a session's MAC, as many bytes are in a grant.
const SESSION_BYTES: usize = 16;
/// A longer text is no grant of ours.
const GRANT_BYTES_MAX: usize = 64 * 1024;

/// An event that may be heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// Fields of its first parameter; none: all of them.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub filter: Option<Map<String, Value>>,
    /// The component that listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_class: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    events: Vec<Wish>,
    exp: u64,
    #[serde(default)]
    ses: String,
}

/// Why a grant is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Not ours, changed, or for other events.
    Wrong,
    /// Its time is over.
    Expired,
    /// It was given to another session: a worker is asked about this one.
    OtherSession,
}

/// What is left of a grant's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// In its first half.
    Young,
    /// It should be renewed.
    Old,
}

/// Signs grants and knows them again.
pub struct Grants {
    /// The first signs, all are known.
    keys: Vec<Keys>,
    sessions: Sessions,
    life: Duration,
}

/// Both derived from one signing key.
struct Keys {
    signature: Hmac<Sha256>,
    session: Hmac<Sha256>,
}

impl Keys {
    fn derive(key: &[u8]) -> Option<Self> {
        // HMAC takes keys of any length: none of these fails.
        let derive = |label: &[u8]| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
            mac.update(label);
            Hmac::new_from_slice(&mac.finalize().into_bytes()).ok()
        };
        Some(Self { signature: derive(LABEL)?, session: derive(SESSION_LABEL)? })
    }

    fn session(&self, session: &SessionIdentity) -> String {
        let mut mac = self.session.clone();
        mac.update(session.digest());
        URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..SESSION_BYTES])
    }
}

impl Grants {
    /// Grants signed with keys derived from these. `cookie_keys` are those with which the application encrypts its cookies.
    pub fn new(signing_keys: &[Vec<u8>], cookie_keys: &[Vec<u8>], life: Duration) -> Self {
        let keys = signing_keys.iter().filter_map(|key| Keys::derive(key)).collect();
        Self { keys, sessions: Sessions::new(cookie_keys), life }
    }

    /// The session of a connection as it is now.
    pub fn session(&self, caller: &Caller) -> SessionIdentity {
        self.sessions.of(caller)
    }

    /// A grant for these events in this session; none without a key.
    pub fn give(&self, events: Vec<Wish>, session: &SessionIdentity) -> Option<String> {
        let keys = self.keys.first()?;
        let exp = unix_seconds() + self.life.as_secs().max(1);
        let content = Content { events, exp, ses: keys.session(session) };
        let content = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&content).ok()?);
        let mut mac = keys.signature.clone();
        mac.update(content.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        Some(format!("{content}.{signature}"))
    }

    /// Whether a grant covers all that is wished for in this session.
    pub fn check(&self, grant: &str, wishes: &[Wish], session: &SessionIdentity) -> Result<Age, Unfit> {
        let (keys, content) = self.open(grant).ok_or(Unfit::Wrong)?;
        let now = unix_seconds();
        if content.exp <= now {
            return Err(Unfit::Expired);
        }
        let fits: bool = keys.session(session).as_bytes().ct_eq(content.ses.as_bytes()).into();
        if !fits {
            return Err(Unfit::OtherSession);
        }
        if !wishes.iter().all(|wish| content.events.contains(wish)) {
            return Err(Unfit::Wrong);
        }
        let is_old = content.exp - now <= self.life.as_secs() / 2;
        Ok(if is_old { Age::Old } else { Age::Young })
    }

    /// What a grant says, and the keys by which it was made.
    fn open(&self, grant: &str) -> Option<(&Keys, Content)> {
        if grant.len() > GRANT_BYTES_MAX {
            return None;
        }
        let (content, signature) = grant.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let keys = self.keys.iter().find(|keys| {
            let mut mac = keys.signature.clone();
            mac.update(content.as_bytes());
            // In constant time.
            mac.verify_slice(&signature).is_ok()
        })?;
        Some((keys, serde_json::from_slice(&URL_SAFE_NO_PAD.decode(content).ok()?).ok()?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wish(name: &str, room: Option<i64>) -> Wish {
        let filter = room.map(|room| Map::from_iter([("room_id".to_owned(), room.into())]));
        Wish { name: name.to_owned(), filter, component_class: Some("App\\Diffyne\\ChatRoom".to_owned()) }
    }

    fn session(cookie: &str) -> SessionIdentity {
        let headers = format!("cookie: {cookie}\n").into_bytes().into_boxed_slice();
        let caller = Caller { id: "c".to_owned(), ip: String::new(), headers, jar: crate::jar::Jar::default() };
        Sessions::new(&[]).of(&caller)
    }

    fn ada() -> SessionIdentity {
        session("session=ada")
    }

    #[test]
    fn a_grant_is_good_in_its_session_alone() {
        let grants = Grants::new(&[b"new".to_vec(), b"old".to_vec()], &[], Duration::from_hours(1));
        let earlier = Grants::new(&[b"old".to_vec()], &[], Duration::from_hours(1));
        for giver in [&grants, &earlier] {
            let given = giver.give(vec![wish("a", None)], &ada()).unwrap();
            assert_eq!(grants.check(&given, &[wish("a", None)], &ada()), Ok(Age::Young));
            for other in ["session=eve", "", "session=ada; admin=1"] {
                assert_eq!(
                    grants.check(&given, &[wish("a", None)], &session(other)),
                    Err(Unfit::OtherSession),
                    "{other}"
                );
            }
        }
        // Of an older release: signed, and given to nobody.
        let exp = unix_seconds() + 100;
        let content = URL_SAFE_NO_PAD.encode(format!(r#"{{"events":[{{"name":"a"}}],"exp":{exp}}}"#));
        let mut mac = grants.keys[0].signature.clone();
        mac.update(content.as_bytes());
        let unbound = format!("{content}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        assert_eq!(grants.check(&unbound, &[], &ada()), Err(Unfit::OtherSession));
    }

    #[test]
    fn a_grant_is_good_for_what_it_names_and_for_its_time() {
        let grants = Grants::new(&[b"new".to_vec(), b"old".to_vec()], &[], Duration::from_hours(1));
        let given = grants.give(vec![wish("a", Some(1)), wish("b", None)], &ada()).unwrap();
        assert_eq!(grants.check(&given, &[wish("b", None), wish("a", Some(1))], &ada()), Ok(Age::Young));
        assert_eq!(grants.check(&given, &[wish("a", Some(2))], &ada()), Err(Unfit::Wrong));
        assert_eq!(grants.check(&given, &[wish("a", None)], &ada()), Err(Unfit::Wrong), "all is more than a part");
        let other_class = Wish { component_class: None, ..wish("b", None) };
        assert_eq!(grants.check(&given, &[other_class], &ada()), Err(Unfit::Wrong));
        let earlier =
            Grants::new(&[b"old".to_vec()], &[], Duration::from_hours(1)).give(vec![wish("b", None)], &ada()).unwrap();
        assert_eq!(
            grants.check(&earlier, &[wish("b", None)], &ada()),
            Ok(Age::Young),
            "a key that was rotated out signs no more"
        );
        let brief =
            Grants::new(&[b"new".to_vec()], &[], Duration::from_secs(1)).give(vec![wish("b", None)], &ada()).unwrap();
        assert_eq!(grants.check(&brief, &[wish("b", None)], &ada()), Ok(Age::Old));
    }

    #[test]
    fn forged_and_outlived_grants_are_told_apart() {
        let grants = Grants::new(&[b"key".to_vec()], &[], Duration::from_hours(1));
        let given = grants.give(vec![wish("a", None)], &ada()).unwrap();
        let (content, signature) = given.split_once('.').unwrap();
        let more = URL_SAFE_NO_PAD.encode(r#"{"events":[{"name":"a"}],"exp":99999999999}"#);
        let stranger = Grants::new(&[b"other".to_vec()], &[], Duration::from_hours(1))
            .give(vec![wish("a", None)], &ada())
            .unwrap();
        for forged in ["", ".", "x.y", content, &format!("{more}.{signature}"), &format!("{content}."), &stranger] {
            assert_eq!(grants.check(forged, &[wish("a", None)], &ada()), Err(Unfit::Wrong), "{forged}");
        }
        let exp = URL_SAFE_NO_PAD.encode(r#"{"events":[{"name":"a"}],"exp":1000}"#);
        let mut mac = grants.keys[0].signature.clone();
        mac.update(exp.as_bytes());
        let outlived = format!("{exp}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        assert_eq!(grants.check(&outlived, &[], &ada()), Err(Unfit::Expired));
        assert_eq!(
            Grants::new(&[], &[], Duration::from_hours(1)).give(vec![], &ada()),
            None,
            "nobody signs without a key"
        );
    }
}
