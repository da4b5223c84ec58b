//! What of Redis is believed. Whoever can write there could announce a worker or give an operator's order, so both
//! carry MACs of the worker token: made for this prefix, with a time, and good once where that matters. No I/O.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::once::Once;
use super::registry::WorkerEntry;
use crate::envelope::unix_seconds;
use crate::rate::Hush;
use crate::rpc::Endpoint;
use crate::settings::common::RedisSettings;
use crate::token::{Purpose, SharedTokens};

/// How long a registration is good, once it is signed: as much as the clocks of two hosts may differ. In Redis it lives
/// for some seconds only; this is how long a recorded one can be written there again.
const REGISTRATION_LIFE: Duration = Duration::from_mins(1);
/// How old an order may be, and how far ahead.
const ORDER_AGE_MAX: Duration = Duration::from_mins(1);
/// How much of a stranger's words goes into a log line.
const SHOWN_CHARS: usize = 80;

/// What a MAC is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// "Here is a worker."
    Registration,
    /// "Disconnect these."
    Order,
    /// "I have disconnected so many."
    Answer,
}

/// All of them.
pub const CLAIMS: [Claim; 3] = [Claim::Registration, Claim::Order, Claim::Answer];

impl Claim {
    /// The label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Order => "order",
            Self::Answer => "answer",
        }
    }
}

/// Why something in Redis is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// No MAC of a token that we know, or one for something else.
    Unproved,
    /// Its time is over, or has yet to come.
    Untimely,
    /// It was there before.
    Repeated,
    /// There is no token to prove it by, and it concerns more than this machine.
    NoToken,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unproved => "it is not signed with DIFFYNE_WORKER_TOKEN: it is a stranger's, of another token, or of an older release",
            Self::Untimely => "its time does not fit: it is an old one, or the clocks of two hosts differ by a minute",
            Self::Repeated => "it was there before",
            Self::NoToken => "it concerns more than this machine, and DIFFYNE_WORKER_TOKEN is not set",
        })
    }
}

/// A registration that is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubted {
    /// The address that it names, shortened.
    pub address: String,
    /// Why.
    pub why: Doubt,
}

/// The workers that have announced themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Those that are believed.
    pub workers: Vec<WorkerEntry>,
    /// The others.
    pub doubted: Vec<Doubted>,
}

/// A registration as it lies in Redis.
#[derive(Serialize, Deserialize)]
struct SignedEntry {
    #[serde(flatten)]
    entry: WorkerEntry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    macs: Vec<String>,
}

/// An operator's order to all gateways, on the status channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SignedOrder {
    /// Random, and where the answers go.
    pub(super) ask: String,
    /// The gateway that asks.
    pub(super) from: String,
    pub(super) question: String,
    /// Unix time.
    #[serde(default)]
    at: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    macs: Vec<String>,
}

/// A gateway's answer.
#[derive(Serialize, Deserialize)]
struct SignedAnswer {
    answer: String,
    macs: Vec<String>,
}

/// Signs what goes to Redis, and judges what comes from there.
pub(super) struct Trust {
    tokens: SharedTokens,
    /// Before all keys: what was signed for one cluster is nothing in another.
    place: String,
    /// Without a token, orders are taken from a Redis that only this machine can reach.
    is_local: bool,
    /// An order from before this process cannot be known as repeated.
    started: u64,
    seen: Once,
    doubted: [AtomicU64; CLAIMS.len()],
    hush: Hush,
}

fn parts_of<'a>(place: &'a str, entry: &'a WorkerEntry, until: &'a [u8]) -> [&'a [u8]; 5] {
    let draining: &[u8] = if entry.draining { b"draining" } else { b"" };
    [place.as_bytes(), entry.id.as_bytes(), entry.address.as_bytes(), draining, until]
}

impl Trust {
    pub(super) fn new(tokens: SharedTokens, settings: &RedisSettings) -> Self {
        Self {
            tokens,
            place: settings.prefix.clone(),
            is_local: settings.is_local,
            started: unix_seconds(),
            seen: Once::default(),
            doubted: Default::default(),
            hush: Hush::default(),
        }
    }

    /// How often a claim was not believed.
    pub(super) fn doubted(&self, claim: Claim) -> u64 {
        self.doubted[claim as usize].load(Relaxed)
    }

    /// Counts, and tells the log once a second.
    fn doubt(&self, claim: Claim, who: &str, why: Doubt) {
        self.doubted[claim as usize].fetch_add(1, Relaxed);
        if let Some(unsaid) = self.hush.may_say() {
            let (what, who) = (claim.label(), shorten(who));
            tracing::warn!(what, who, %why, unsaid, "something in redis is not believed and was ignored");
        }
    }

    /// A registration for the next seconds.
    pub(super) fn sign_entry(&self, entry: &WorkerEntry) -> Option<String> {
        let tokens = self.tokens.load();
        let until = (!tokens.is_empty()).then(|| unix_seconds() + REGISTRATION_LIFE.as_secs());
        let signed_until = until.unwrap_or_default().to_be_bytes();
        let macs = tokens.seal(Purpose::Registration, &parts_of(&self.place, entry, &signed_until));
        serde_json::to_string(&SignedEntry { entry: entry.clone(), until, macs }).ok()
    }

    /// What is believed of the registry.
    pub(super) fn read_entries<'a>(&self, values: impl Iterator<Item = &'a String>) -> Listing {
        let mut listing = Listing::default();
        for value in values {
            let Ok(signed) = serde_json::from_str::<SignedEntry>(value) else { continue };
            match self.judge_entry(&signed, unix_seconds()) {
                Ok(()) => listing.workers.push(signed.entry),
                Err(why) => {
                    self.doubt(Claim::Registration, &signed.entry.address, why);
                    listing.doubted.push(Doubted { address: shorten(&signed.entry.address), why });
                }
            }
        }
        listing
    }

    fn judge_entry(&self, signed: &SignedEntry, now: u64) -> Result<(), Doubt> {
        let tokens = self.tokens.load();
        if tokens.is_empty() {
            // One that is no address is nowhere.
            let far = signed.entry.address.parse::<Endpoint>().is_ok_and(|address| !address.is_local());
            return if far { Err(Doubt::NoToken) } else { Ok(()) };
        }
        let until = signed.until.unwrap_or_default();
        let bytes = until.to_be_bytes();
        if !tokens.opens(Purpose::Registration, &parts_of(&self.place, &signed.entry, &bytes), &signed.macs) {
            return Err(Doubt::Unproved);
        }
        let good = now <= until && until - now <= 2 * REGISTRATION_LIFE.as_secs();
        if good { Ok(()) } else { Err(Doubt::Untimely) }
    }

    /// An order that all gateways believe, as text.
    pub(super) fn sign_order(&self, ask: String, from: &str, question: &str) -> Option<String> {
        let mut order =
            SignedOrder { ask, from: from.to_owned(), question: question.to_owned(), at: unix_seconds(), macs: vec![] };
        order.macs = self.tokens.load().seal(Purpose::Order, &self.order_parts(&order, &order.at.to_be_bytes()));
        serde_json::to_string(&order).ok()
    }

    fn order_parts<'a>(&'a self, order: &'a SignedOrder, at: &'a [u8]) -> [&'a [u8]; 5] {
        [self.place.as_bytes(), order.ask.as_bytes(), order.from.as_bytes(), order.question.as_bytes(), at]
    }

    /// Whether to do what an order says.
    pub(super) fn believes(&self, order: &SignedOrder) -> bool {
        match self.judge_order(order, unix_seconds()) {
            Ok(()) => true,
            Err(why) => {
                self.doubt(Claim::Order, &order.from, why);
                false
            }
        }
    }

    fn judge_order(&self, order: &SignedOrder, now: u64) -> Result<(), Doubt> {
        let tokens = self.tokens.load();
        if tokens.is_empty() {
            return if self.is_local { Ok(()) } else { Err(Doubt::NoToken) };
        }
        if !tokens.opens(Purpose::Order, &self.order_parts(order, &order.at.to_be_bytes()), &order.macs) {
            return Err(Doubt::Unproved);
        }
        if order.at < self.started || now.abs_diff(order.at) > ORDER_AGE_MAX.as_secs() {
            return Err(Doubt::Untimely);
        }
        // Until it would be untimely, wherever in that time it was made.
        if self.seen.first(&order.ask, 2 * ORDER_AGE_MAX + Duration::from_secs(1)) {
            Ok(())
        } else {
            Err(Doubt::Repeated)
        }
    }

    /// An answer to the order with this id, as text.
    pub(super) fn sign_answer(&self, ask: &str, answer: &str) -> String {
        let macs =
            self.tokens.load().seal(Purpose::Answer, &[self.place.as_bytes(), ask.as_bytes(), answer.as_bytes()]);
        if macs.is_empty() {
            return answer.to_owned();
        }
        serde_json::to_string(&SignedAnswer { answer: answer.to_owned(), macs }).unwrap_or_default()
    }

    /// The answer in a text, if it is a gateway's.
    pub(super) fn read_answer(&self, ask: &str, text: String) -> Option<String> {
        let tokens = self.tokens.load();
        if tokens.is_empty() {
            return Some(text);
        }
        let signed = serde_json::from_str::<SignedAnswer>(&text).ok().filter(|signed| {
            let parts = [self.place.as_bytes(), ask.as_bytes(), signed.answer.as_bytes()];
            tokens.opens(Purpose::Answer, &parts, &signed.macs)
        });
        if signed.is_none() {
            self.doubt(Claim::Answer, ask, Doubt::Unproved);
        }
        signed.map(|signed| signed.answer)
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::settings::{Files, Layers, gateway};
    use crate::token::Tokens;

    fn trust(list: &[&str], url: &str, prefix: &str) -> Trust {
        let pairs = [("DIFFYNE_REDIS_URL", url), ("DIFFYNE_REDIS_PREFIX", prefix)];
        let flags = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let layers = Layers::read(&gateway::specs(), &Files::default(), &std::collections::HashMap::new(), &flags);
        let settings = gateway::GatewaySettings::read(&layers.unwrap()).unwrap();
        let tokens: Vec<String> = list.iter().map(|token| (*token).to_owned()).collect();
        Trust::new(Tokens::shared(&tokens), &settings.redis)
    }

    fn near(list: &[&str]) -> Trust {
        trust(list, "redis://127.0.0.1", "p")
    }

    fn entry(address: &str) -> WorkerEntry {
        WorkerEntry { id: "w.1".to_owned(), address: address.to_owned(), draining: false }
    }

    /// A signed text with one field of it changed.
    fn with(text: &str, name: &str, value: Value) -> String {
        let mut object: Value = serde_json::from_str(text).unwrap();
        object[name] = value;
        object.to_string()
    }

    #[test]
    fn a_registration_is_good_for_what_it_says_for_its_time_and_for_its_cluster() {
        let (ours, signed) = (near(&["new", "old"]), near(&["old"]).sign_entry(&entry("10.0.0.1:7001")).unwrap());
        let doubt = |text: &str| ours.read_entries([text.to_owned()].iter()).doubted.first().map(|doubted| doubted.why);
        assert_eq!(doubt(&signed), None);
        let later = unix_seconds() + 3600;
        let elsewhere = trust(&["old"], "redis://127.0.0.1", "other").sign_entry(&entry("10.0.0.1:7001")).unwrap();
        for forged in [
            with(&signed, "address", json!("10.0.0.2:7001")),
            with(&signed, "id", json!("w.2")),
            with(&signed, "draining", json!(true)),
            with(&signed, "until", json!(later)),
            with(&signed, "until", json!(null)),
            with(&signed, "macs", json!([])),
            with(&signed, "macs", json!(["AAAA"])),
            near(&["theirs"]).sign_entry(&entry("10.0.0.1:7001")).unwrap(),
            near(&[]).sign_entry(&entry("127.0.0.1:7001")).unwrap(),
            elsewhere,
        ] {
            assert_eq!(doubt(&forged), Some(Doubt::Unproved), "{forged}");
        }
        let signed: SignedEntry = serde_json::from_str(&signed).unwrap();
        let now = unix_seconds();
        assert_eq!(ours.judge_entry(&signed, now + 50), Ok(()));
        assert_eq!(ours.judge_entry(&signed, now + 62), Err(Doubt::Untimely));
        assert_eq!(ours.judge_entry(&signed, now - 62), Err(Doubt::Untimely));
        assert!(ours.doubted(Claim::Registration) >= 10 && ours.doubted(Claim::Order) == 0);
    }

    #[test]
    fn without_a_token_only_this_machine_is_believed() {
        let nobody = near(&[]);
        let listing = |address: &str| nobody.read_entries([nobody.sign_entry(&entry(address)).unwrap()].iter());
        for address in ["127.0.0.1:7001", "unix:/run/w.sock", "[::1]:7001", "no address"] {
            assert_eq!(listing(address).workers.len(), 1, "{address}");
        }
        for address in ["10.0.0.1:7001", "worker:7001", "0.0.0.0:7001"] {
            assert_eq!(listing(address).doubted, [Doubted { address: address.to_owned(), why: Doubt::NoToken }]);
        }
        let order =
            |trust: &Trust| serde_json::from_str(&trust.sign_order("1".to_owned(), "g", "{}").unwrap()).unwrap();
        assert!(nobody.believes(&order(&nobody)));
        let far = trust(&[], "redis://10.0.0.9", "p");
        assert!(!far.believes(&order(&far)), "whoever reaches that Redis could give orders");
    }

    #[test]
    fn an_order_is_good_once_and_for_a_minute() {
        let (mut ours, theirs) = (near(&["a", "b"]), near(&["b"]));
        let text = theirs.sign_order("77".to_owned(), "g.2", r#"{"disconnect":{"client":"c"}}"#).unwrap();
        let order = |text: &str| serde_json::from_str::<SignedOrder>(text).unwrap();
        let now = unix_seconds();
        for (name, value) in [
            ("ask", json!("78")),
            ("from", json!("g.3")),
            ("question", json!("{}")),
            ("at", json!(now + 1)),
            ("macs", json!([])),
        ] {
            assert_eq!(ours.judge_order(&order(&with(&text, name, value)), now), Err(Doubt::Unproved), "{name}");
        }
        assert_eq!(ours.judge_order(&order(&text), now + 62), Err(Doubt::Untimely));
        assert_eq!(ours.judge_order(&order(&text), now - 62), Err(Doubt::Untimely));
        assert_eq!(ours.judge_order(&order(&text), now), Ok(()));
        for later in [0, 1, 30, 59] {
            assert_eq!(ours.judge_order(&order(&text), now + later), Err(Doubt::Repeated));
        }
        ours.started = now + 5;
        let before = theirs.sign_order("79".to_owned(), "g.2", "{}").unwrap();
        assert_eq!(ours.judge_order(&order(&before), now), Err(Doubt::Untimely), "it may have been here before");
    }

    #[test]
    fn an_answer_is_good_for_its_order() {
        let (ours, theirs) = (near(&["a"]), near(&["a"]));
        let text = theirs.sign_answer("1", r#"{"closed":3}"#);
        assert_eq!(ours.read_answer("1", text.clone()).as_deref(), Some(r#"{"closed":3}"#));
        assert_eq!(ours.read_answer("2", text.clone()), None);
        assert_eq!(ours.read_answer("1", with(&text, "answer", json!("{}"))), None);
        assert_eq!(ours.read_answer("1", r#"{"closed":3}"#.to_owned()), None);
        assert_eq!(near(&[]).read_answer("1", "x".to_owned()).as_deref(), Some("x"));
    }
}
