//! Grants: the right to hear events, given by a worker in the user's own session and signed by the gateway, so that
//! a client that comes back shows it to any gateway and no worker has to be asked again.
//!
//! `base64url(JSON {events, exp}) . base64url(HMAC-SHA256)`, with a key derived from the signing key.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diffyne_shared::envelope::unix_seconds;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::Sha256;

const LABEL: &[u8] = b"diffyne grant 1";
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
}

/// Why a grant is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Not ours, changed, or for other events.
    Wrong,
    /// Its time is over.
    Expired,
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
    keys: Vec<Hmac<Sha256>>,
    life: Duration,
}

impl Grants {
    /// Grants signed with keys derived from these.
    pub fn new(signing_keys: &[Vec<u8>], life: Duration) -> Self {
        let derive = |key: &Vec<u8>| {
            // HMAC takes keys of any length: neither fails.
            let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
            mac.update(LABEL);
            Hmac::new_from_slice(&mac.finalize().into_bytes()).ok()
        };
        Self { keys: signing_keys.iter().filter_map(derive).collect(), life }
    }

    /// A grant for these events; none without a key.
    pub fn give(&self, events: Vec<Wish>) -> Option<String> {
        let exp = unix_seconds() + self.life.as_secs().max(1);
        let content = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Content { events, exp }).ok()?);
        let mut mac = self.keys.first()?.clone();
        mac.update(content.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        Some(format!("{content}.{signature}"))
    }

    /// Whether a grant covers all that is wished for.
    pub fn check(&self, grant: &str, wishes: &[Wish]) -> Result<Age, Unfit> {
        let content = self.open(grant).ok_or(Unfit::Wrong)?;
        let now = unix_seconds();
        if content.exp <= now {
            return Err(Unfit::Expired);
        }
        if !wishes.iter().all(|wish| content.events.contains(wish)) {
            return Err(Unfit::Wrong);
        }
        let is_old = content.exp - now <= self.life.as_secs() / 2;
        Ok(if is_old { Age::Old } else { Age::Young })
    }

    fn open(&self, grant: &str) -> Option<Content> {
        if grant.len() > GRANT_BYTES_MAX {
            return None;
        }
        let (content, signature) = grant.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let known = self.keys.iter().any(|key| {
            let mut mac = key.clone();
            mac.update(content.as_bytes());
            // In constant time.
            mac.verify_slice(&signature).is_ok()
        });
        if !known {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(content).ok()?).ok()
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

    #[test]
    fn a_grant_is_good_for_what_it_names_and_for_its_time() {
        let grants = Grants::new(&[b"new".to_vec(), b"old".to_vec()], Duration::from_hours(1));
        let given = grants.give(vec![wish("a", Some(1)), wish("b", None)]).unwrap();
        assert_eq!(grants.check(&given, &[wish("b", None), wish("a", Some(1))]), Ok(Age::Young));
        assert_eq!(grants.check(&given, &[wish("a", Some(2))]), Err(Unfit::Wrong));
        assert_eq!(grants.check(&given, &[wish("a", None)]), Err(Unfit::Wrong), "all is more than a part");
        let other_class = Wish { component_class: None, ..wish("b", None) };
        assert_eq!(grants.check(&given, &[other_class]), Err(Unfit::Wrong));
        let earlier = Grants::new(&[b"old".to_vec()], Duration::from_hours(1)).give(vec![wish("b", None)]).unwrap();
        assert_eq!(
            grants.check(&earlier, &[wish("b", None)]),
            Ok(Age::Young),
            "a key that was rotated out signs no more"
        );
        let brief = Grants::new(&[b"new".to_vec()], Duration::from_secs(1)).give(vec![wish("b", None)]).unwrap();
        assert_eq!(grants.check(&brief, &[wish("b", None)]), Ok(Age::Old));
    }

    #[test]
    fn forged_and_outlived_grants_are_told_apart() {
        let grants = Grants::new(&[b"key".to_vec()], Duration::from_hours(1));
        let given = grants.give(vec![wish("a", None)]).unwrap();
        let (content, signature) = given.split_once('.').unwrap();
        let more = URL_SAFE_NO_PAD.encode(r#"{"events":[{"name":"a"}],"exp":99999999999}"#);
        let stranger = Grants::new(&[b"other".to_vec()], Duration::from_hours(1)).give(vec![wish("a", None)]).unwrap();
        for forged in ["", ".", "x.y", content, &format!("{more}.{signature}"), &format!("{content}."), &stranger] {
            assert_eq!(grants.check(forged, &[wish("a", None)]), Err(Unfit::Wrong), "{forged}");
        }
        let exp = URL_SAFE_NO_PAD.encode(r#"{"events":[{"name":"a"}],"exp":1000}"#);
        let mut mac = grants.keys[0].clone();
        mac.update(exp.as_bytes());
        let outlived = format!("{exp}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        assert_eq!(grants.check(&outlived, &[]), Err(Unfit::Expired));
        assert_eq!(Grants::new(&[], Duration::from_hours(1)).give(vec![]), None, "nobody signs without a key");
    }
}
