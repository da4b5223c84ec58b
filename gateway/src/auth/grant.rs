//! Grants: signed rights to subscribe to events.
//!
//! A worker decides in the user's session, and the gateway signs the decision. A client that reconnects in that session
//! shows the grant to any gateway, so no worker has to be asked again.
//!
//! The format is `base64url(JSON {events, exp, ses, iat, usr}) . base64url(HMAC-SHA256)`, with a key derived from the signing
//! key. `ses` is a MAC of the session ([`crate::auth::session_identity`]). A grant without `ses` was issued by an older
//! release and matches no session. `usr` is the user's id, empty for a guest; a grant without it says nothing about the
//! user. `iat` is the second in which it was given.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diffyne_shared::clock::unix_seconds;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::auth::revocations::Revocations;
use crate::auth::session_identity::{SessionIdentity, Sessions};
use crate::relay::Caller;

const LABEL: &[u8] = b"diffyne grant 1";
const SESSION_LABEL: &[u8] = b"diffyne grant session 1";
/// The number of bytes of the session's MAC that a grant carries.
const SESSION_BYTES: usize = 16;
/// The largest grant that is verified. This gateway issues none that are longer.
const GRANT_BYTES_MAX: usize = 64 * 1024;

/// An event that a client may subscribe to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventSubscription {
    /// The event's name.
    pub name: String,
    /// The required fields of the event's first parameter; `None` matches every event of this name.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub filter: Option<Map<String, Value>>,
    /// The class of the component that listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_class: Option<String>,
}

/// A room that a client may enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedRoom {
    /// The event and the fields that make the room, and the class that has decided.
    pub event: EventSubscription,
    /// The id under which the user is there.
    pub id: String,
    /// What others may know of the user.
    pub info: Value,
    /// When the worker has said so, in milliseconds of Unix time.
    #[serde(default)]
    pub at: u64,
}

#[derive(Serialize, Deserialize)]
struct Content {
    events: Vec<EventSubscription>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room: Option<GrantedRoom>,
    exp: u64,
    #[serde(default)]
    ses: String,
    #[serde(default)]
    iat: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    usr: Option<String>,
}

/// Why a grant is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantError {
    /// The grant was not issued here, was modified, or does not cover these events.
    Invalid,
    /// The grant's lifetime is over.
    Expired,
    /// The grant was issued to another session. A worker has to decide for this one.
    OtherSession,
    /// The application has disconnected the user since. A worker has to decide anew.
    Revoked,
}

/// A grant that covers the requested events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidGrant {
    /// The user's id, empty for a guest; `None`: the grant does not tell it.
    pub user: Option<String>,
    /// More than half of the grant's lifetime is over.
    pub needs_renewal: bool,
}

/// Signs and verifies grants.
pub struct Grants {
    /// The first key signs; every key verifies.
    keys: Vec<GrantKeys>,
    sessions: Sessions,
    revocations: Revocations,
    life: Duration,
}

/// The two MACs that are derived from one signing key.
struct GrantKeys {
    signature: Hmac<Sha256>,
    session: Hmac<Sha256>,
}

impl GrantKeys {
    fn derive(key: &[u8]) -> Option<Self> {
        // HMAC accepts keys of any length, so this never fails.
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
    /// Creates grants signed with keys derived from `signing_keys`. `cookie_keys` are the keys with which the
    /// application encrypts its cookies.
    pub fn new(signing_keys: &[Vec<u8>], cookie_keys: &[Vec<u8>], life: Duration) -> Self {
        let keys = signing_keys.iter().filter_map(|key| GrantKeys::derive(key)).collect();
        Self { keys, sessions: Sessions::new(cookie_keys), revocations: Revocations::new(life), life }
    }

    /// Returns the connection's current session.
    pub fn session(&self, caller: &Caller) -> SessionIdentity {
        self.sessions.of(caller)
    }

    /// Voids all grants of a user that were given so far.
    pub fn revoke(&self, user: &str) {
        self.revocations.add(user, unix_seconds());
    }

    /// Signs a grant for these events in this session, which names the user: empty for a guest, `None` if nobody has told
    /// it. Returns `None` without a signing key.
    pub fn sign(
        &self,
        events: Vec<EventSubscription>,
        session: &SessionIdentity,
        user: Option<&str>,
    ) -> Option<String> {
        self.sign_content(events, None, session, user)
    }

    /// Signs a grant to enter a room in this session.
    pub fn sign_room(&self, room: GrantedRoom, session: &SessionIdentity, user: Option<&str>) -> Option<String> {
        self.sign_content(Vec::new(), Some(room), session, user)
    }

    fn sign_content(
        &self,
        events: Vec<EventSubscription>,
        room: Option<GrantedRoom>,
        session: &SessionIdentity,
        user: Option<&str>,
    ) -> Option<String> {
        let keys = self.keys.first()?;
        let iat = unix_seconds();
        let exp = iat + self.life.as_secs().max(1);
        let content = Content { events, room, exp, ses: keys.session(session), iat, usr: user.map(str::to_owned) };
        let content = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&content).ok()?);
        let mut mac = keys.signature.clone();
        mac.update(content.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        Some(format!("{content}.{signature}"))
    }

    /// Checks that a grant covers all requested events in this session.
    pub fn verify(
        &self,
        grant: &str,
        events: &[EventSubscription],
        session: &SessionIdentity,
    ) -> Result<ValidGrant, GrantError> {
        self.check(grant, session, |content| events.iter().all(|event| content.events.contains(event)))
            .map(|(valid, _)| valid)
    }

    /// Checks that a grant is for this room in this session. Returns what the worker has said of the user.
    pub fn verify_room(
        &self,
        grant: &str,
        event: &EventSubscription,
        session: &SessionIdentity,
    ) -> Result<(ValidGrant, GrantedRoom), GrantError> {
        let (valid, content) =
            self.check(grant, session, |content| content.room.as_ref().is_some_and(|room| room.event == *event))?;
        content.room.map(|room| (valid, room)).ok_or(GrantError::Invalid)
    }

    fn check(
        &self,
        grant: &str,
        session: &SessionIdentity,
        covers: impl Fn(&Content) -> bool,
    ) -> Result<(ValidGrant, Content), GrantError> {
        let (keys, content) = self.open(grant).ok_or(GrantError::Invalid)?;
        let now = unix_seconds();
        if content.exp <= now {
            return Err(GrantError::Expired);
        }
        let fits: bool = keys.session(session).as_bytes().ct_eq(content.ses.as_bytes()).into();
        if !fits {
            return Err(GrantError::OtherSession);
        }
        if !covers(&content) {
            return Err(GrantError::Invalid);
        }
        if content.usr.as_deref().is_some_and(|user| self.revocations.cover(user, content.iat)) {
            return Err(GrantError::Revoked);
        }
        let needs_renewal = content.exp - now <= self.life.as_secs() / 2;
        Ok((ValidGrant { needs_renewal, user: content.usr.clone() }, content))
    }

    /// Returns the content of a grant and the keys that signed it.
    fn open(&self, grant: &str) -> Option<(&GrantKeys, Content)> {
        if grant.len() > GRANT_BYTES_MAX {
            return None;
        }
        let (content, signature) = grant.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let keys = self.keys.iter().find(|keys| {
            let mut mac = keys.signature.clone();
            mac.update(content.as_bytes());
            // Compares in constant time.
            mac.verify_slice(&signature).is_ok()
        })?;
        Some((keys, serde_json::from_slice(&URL_SAFE_NO_PAD.decode(content).ok()?).ok()?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn event(name: &str, room: Option<i64>) -> EventSubscription {
        let filter = room.map(|room| Map::from_iter([("room_id".to_owned(), room.into())]));
        EventSubscription { name: name.to_owned(), filter, component_class: Some("App\\Diffyne\\ChatRoom".to_owned()) }
    }

    fn session(cookie: &str) -> SessionIdentity {
        let headers = format!("cookie: {cookie}\n").into_bytes().into_boxed_slice();
        let caller = Caller::new("c", "", &headers, crate::auth::cookie_store::CookieStore::default());
        Sessions::new(&[]).of(&caller)
    }

    fn ada() -> SessionIdentity {
        session("session=ada")
    }

    #[test]
    fn a_grant_is_valid_only_in_its_own_session() {
        let grants = Grants::new(&[b"new".to_vec(), b"old".to_vec()], &[], Duration::from_hours(1));
        let earlier = Grants::new(&[b"old".to_vec()], &[], Duration::from_hours(1));
        for giver in [&grants, &earlier] {
            let given = giver.sign(vec![event("a", None)], &ada(), Some("")).unwrap();
            assert_eq!(
                grants.verify(&given, &[event("a", None)], &ada()),
                Ok(ValidGrant { needs_renewal: false, user: Some(String::new()) })
            );
            for other in ["session=eve", "", "session=ada; admin=1"] {
                assert_eq!(
                    grants.verify(&given, &[event("a", None)], &session(other)),
                    Err(GrantError::OtherSession),
                    "{other}"
                );
            }
        }
        // A grant of an older release: correctly signed, but without a session.
        let exp = unix_seconds() + 100;
        let content = URL_SAFE_NO_PAD.encode(format!(r#"{{"events":[{{"name":"a"}}],"exp":{exp}}}"#));
        let mut mac = grants.keys[0].signature.clone();
        mac.update(content.as_bytes());
        let unbound = format!("{content}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        assert_eq!(grants.verify(&unbound, &[], &ada()), Err(GrantError::OtherSession));
    }

    #[test]
    fn a_grant_is_valid_for_its_events_until_it_expires() {
        let grants = Grants::new(&[b"new".to_vec(), b"old".to_vec()], &[], Duration::from_hours(1));
        let given = grants.sign(vec![event("a", Some(1)), event("b", None)], &ada(), Some("")).unwrap();
        assert_eq!(
            grants.verify(&given, &[event("b", None), event("a", Some(1))], &ada()),
            Ok(ValidGrant { needs_renewal: false, user: Some(String::new()) })
        );
        assert_eq!(grants.verify(&given, &[event("a", Some(2))], &ada()), Err(GrantError::Invalid));
        assert_eq!(
            grants.verify(&given, &[event("a", None)], &ada()),
            Err(GrantError::Invalid),
            "all is more than a part"
        );
        let other_class = EventSubscription { component_class: None, ..event("b", None) };
        assert_eq!(grants.verify(&given, &[other_class], &ada()), Err(GrantError::Invalid));
        let earlier = Grants::new(&[b"old".to_vec()], &[], Duration::from_hours(1))
            .sign(vec![event("b", None)], &ada(), Some(""))
            .unwrap();
        assert_eq!(
            grants.verify(&earlier, &[event("b", None)], &ada()),
            Ok(ValidGrant { needs_renewal: false, user: Some(String::new()) }),
            "a key that was rotated out signs no more"
        );
        let brief = Grants::new(&[b"new".to_vec()], &[], Duration::from_secs(1))
            .sign(vec![event("b", None)], &ada(), Some(""))
            .unwrap();
        assert_eq!(
            grants.verify(&brief, &[event("b", None)], &ada()),
            Ok(ValidGrant { needs_renewal: true, user: Some(String::new()) })
        );
    }

    #[test]
    fn forged_and_expired_grants_are_distinguished() {
        let grants = Grants::new(&[b"key".to_vec()], &[], Duration::from_hours(1));
        let given = grants.sign(vec![event("a", None)], &ada(), Some("")).unwrap();
        let (content, signature) = given.split_once('.').unwrap();
        let more = URL_SAFE_NO_PAD.encode(r#"{"events":[{"name":"a"}],"exp":99999999999}"#);
        let stranger = Grants::new(&[b"other".to_vec()], &[], Duration::from_hours(1))
            .sign(vec![event("a", None)], &ada(), Some(""))
            .unwrap();
        for forged in ["", ".", "x.y", content, &format!("{more}.{signature}"), &format!("{content}."), &stranger] {
            assert_eq!(grants.verify(forged, &[event("a", None)], &ada()), Err(GrantError::Invalid), "{forged}");
        }
        let exp = URL_SAFE_NO_PAD.encode(r#"{"events":[{"name":"a"}],"exp":1000}"#);
        let mut mac = grants.keys[0].signature.clone();
        mac.update(exp.as_bytes());
        let outlived = format!("{exp}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        assert_eq!(grants.verify(&outlived, &[], &ada()), Err(GrantError::Expired));
        assert_eq!(
            Grants::new(&[], &[], Duration::from_hours(1)).sign(vec![], &ada(), Some("")),
            None,
            "nobody signs without a key"
        );
    }

    #[test]
    fn a_grant_for_a_room_is_good_for_that_room_and_no_event() {
        let grants = Grants::new(&[b"key".to_vec()], &[], Duration::from_hours(1));
        let room =
            GrantedRoom { event: event("a", Some(1)), id: "7".to_owned(), info: serde_json::json!({"n": 1.0}), at: 7 };
        let given = grants.sign_room(room.clone(), &ada(), Some("7")).unwrap();
        let (valid, shown) = grants.verify_room(&given, &event("a", Some(1)), &ada()).unwrap();
        assert_eq!((shown, valid.user.as_deref()), (room, Some("7")));
        let other_class = EventSubscription { component_class: Some("App\\Other".to_owned()), ..event("a", Some(1)) };
        for other in [event("a", Some(2)), event("a", None), event("b", Some(1)), other_class] {
            assert_eq!(grants.verify_room(&given, &other, &ada()), Err(GrantError::Invalid), "{other:?}");
        }
        assert_eq!(grants.verify(&given, &[event("a", Some(1))], &ada()), Err(GrantError::Invalid));
        let hears = grants.sign(vec![event("a", Some(1))], &ada(), Some("7")).unwrap();
        assert_eq!(grants.verify_room(&hears, &event("a", Some(1)), &ada()), Err(GrantError::Invalid));
        let eve = grants.verify_room(&given, &event("a", Some(1)), &session("session=eve"));
        assert_eq!(eve, Err(GrantError::OtherSession));
        grants.revoke("7");
        assert_eq!(grants.verify_room(&given, &event("a", Some(1)), &ada()), Err(GrantError::Revoked));
    }

    #[test]
    fn a_grant_names_the_user_until_the_user_is_disconnected() {
        let grants = Grants::new(&[b"key".to_vec()], &[], Duration::from_hours(1));
        let [ada, guest, unknown] =
            [Some("7"), Some(""), None].map(|user| grants.sign(vec![event("a", None)], &self::ada(), user).unwrap());
        for (grant, user) in [(&ada, Some("7")), (&guest, Some("")), (&unknown, None)] {
            assert_eq!(grants.verify(grant, &[], &self::ada()).unwrap().user.as_deref(), user);
            let eve = grants.verify(grant, &[], &session("session=eve"));
            assert_eq!(eve, Err(GrantError::OtherSession), "a grant of another session names nobody");
        }
        grants.revoke("7");
        assert_eq!(grants.verify(&ada, &[event("a", None)], &self::ada()), Err(GrantError::Revoked));
        assert!(grants.verify(&guest, &[event("a", None)], &self::ada()).is_ok());
    }
}
