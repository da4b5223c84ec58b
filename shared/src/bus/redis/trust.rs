//! Which claims in Redis are accepted. Whoever can write there could announce a worker or send an operator's command,
//! so both carry MACs of the worker token: made for this prefix, with a time, and valid once where that matters. No
//! I/O.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::{CLAIMS, Claim, RejectedWorker, TrustError, WorkerEntry, WorkerList};
use crate::bus::once::SeenNames;
use crate::clock::unix_seconds;
use crate::rpc::Endpoint;
use crate::settings::common::RedisSettings;
use crate::telemetry::LogThrottle;
use crate::token::{MacPurpose, SharedTokens};

/// How long a signed registration is valid: as much as the clocks of two hosts may differ. In Redis it lives for some
/// seconds only; somebody who recorded one can write it there again for this long.
const REGISTRATION_LIFE: Duration = Duration::from_mins(1);
/// How old a command may be, and how far ahead.
const COMMAND_AGE_MAX: Duration = Duration::from_mins(1);
/// Characters of a stranger's text in a log line.
const SHOWN_CHARS: usize = 80;

/// A registration in Redis.
#[derive(Serialize, Deserialize)]
struct SignedEntry {
    #[serde(flatten)]
    entry: WorkerEntry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    macs: Vec<String>,
}

/// An operator's command to all gateways, on the status channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SignedCommand {
    /// Random; names the list for the responses.
    #[serde(rename = "ask")]
    pub(super) id: String,
    /// The gateway that sends it.
    pub(super) from: String,
    #[serde(rename = "question")]
    pub(super) query: String,
    /// Unix time.
    #[serde(default)]
    at: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    macs: Vec<String>,
}

/// A gateway's response.
#[derive(Serialize, Deserialize)]
struct SignedResponse {
    #[serde(rename = "answer")]
    response: String,
    macs: Vec<String>,
}

/// Signs what goes to Redis, and checks what comes from there.
pub(super) struct Trust {
    tokens: SharedTokens,
    /// The prefix of all keys: a MAC for one cluster is worth nothing in another.
    prefix: String,
    /// Without a token, commands are accepted from a Redis that only this machine can reach.
    is_local: bool,
    /// When this process started: it cannot know whether an earlier command is repeated.
    started: u64,
    seen: SeenNames,
    rejected: [AtomicU64; CLAIMS.len()],
    throttle: LogThrottle,
}

fn entry_parts<'a>(prefix: &'a str, entry: &'a WorkerEntry, until: &'a [u8]) -> [&'a [u8]; 5] {
    let draining: &[u8] = if entry.draining { b"draining" } else { b"" };
    [prefix.as_bytes(), entry.id.as_bytes(), entry.address.as_bytes(), draining, until]
}

impl Trust {
    pub(super) fn new(tokens: SharedTokens, settings: &RedisSettings) -> Self {
        Self {
            tokens,
            prefix: settings.prefix.clone(),
            is_local: settings.is_local,
            started: unix_seconds(),
            seen: SeenNames::default(),
            rejected: Default::default(),
            throttle: LogThrottle::default(),
        }
    }

    /// How often a claim was rejected.
    pub(super) fn rejected(&self, claim: Claim) -> u64 {
        self.rejected[claim as usize].load(Relaxed)
    }

    /// Counts a rejected claim, and logs one a second.
    fn reject(&self, claim: Claim, who: &str, why: TrustError) {
        self.rejected[claim as usize].fetch_add(1, Relaxed);
        if let Some(unsaid) = self.throttle.allow() {
            let (what, who) = (claim.label(), shorten(who));
            tracing::warn!(what, who, %why, unsaid, "ignored an entry in Redis that does not prove the worker token");
        }
    }

    /// A registration for the next seconds.
    pub(super) fn sign_entry(&self, entry: &WorkerEntry) -> Option<String> {
        let tokens = self.tokens.load();
        let until = (!tokens.is_empty()).then(|| unix_seconds() + REGISTRATION_LIFE.as_secs());
        let signed_until = until.unwrap_or_default().to_be_bytes();
        let macs = tokens.sign(MacPurpose::Registration, &entry_parts(&self.prefix, entry, &signed_until));
        serde_json::to_string(&SignedEntry { entry: entry.clone(), until, macs }).ok()
    }

    /// The registrations that are accepted, and the others.
    pub(super) fn read_entries<'a>(&self, values: impl Iterator<Item = &'a String>) -> WorkerList {
        let mut list = WorkerList::default();
        for value in values {
            let Ok(signed) = serde_json::from_str::<SignedEntry>(value) else { continue };
            match self.check_entry(&signed, unix_seconds()) {
                Ok(()) => list.workers.push(signed.entry),
                Err(why) => {
                    self.reject(Claim::Registration, &signed.entry.address, why);
                    list.rejected.push(RejectedWorker { address: shorten(&signed.entry.address), why });
                }
            }
        }
        list
    }

    fn check_entry(&self, signed: &SignedEntry, now: u64) -> Result<(), TrustError> {
        let tokens = self.tokens.load();
        if tokens.is_empty() {
            // A text that is no address leads nowhere.
            let far = signed.entry.address.parse::<Endpoint>().is_ok_and(|address| !address.is_local());
            return if far { Err(TrustError::NoToken) } else { Ok(()) };
        }
        let until = signed.until.unwrap_or_default();
        let bytes = until.to_be_bytes();
        if !tokens.verify(MacPurpose::Registration, &entry_parts(&self.prefix, &signed.entry, &bytes), &signed.macs) {
            return Err(TrustError::Unproved);
        }
        let good = now <= until && until - now <= 2 * REGISTRATION_LIFE.as_secs();
        if good { Ok(()) } else { Err(TrustError::Untimely) }
    }

    /// A command that all gateways accept, as text.
    pub(super) fn sign_command(&self, id: String, from: &str, query: &str) -> Option<String> {
        let mut command =
            SignedCommand { id, from: from.to_owned(), query: query.to_owned(), at: unix_seconds(), macs: vec![] };
        command.macs =
            self.tokens.load().sign(MacPurpose::Command, &self.command_parts(&command, &command.at.to_be_bytes()));
        serde_json::to_string(&command).ok()
    }

    fn command_parts<'a>(&'a self, command: &'a SignedCommand, at: &'a [u8]) -> [&'a [u8]; 5] {
        [self.prefix.as_bytes(), command.id.as_bytes(), command.from.as_bytes(), command.query.as_bytes(), at]
    }

    /// Whether to run a command.
    pub(super) fn accepts(&self, command: &SignedCommand) -> bool {
        match self.check_command(command, unix_seconds()) {
            Ok(()) => true,
            Err(why) => {
                self.reject(Claim::Command, &command.from, why);
                false
            }
        }
    }

    fn check_command(&self, command: &SignedCommand, now: u64) -> Result<(), TrustError> {
        let tokens = self.tokens.load();
        if tokens.is_empty() {
            return if self.is_local { Ok(()) } else { Err(TrustError::NoToken) };
        }
        if !tokens.verify(MacPurpose::Command, &self.command_parts(command, &command.at.to_be_bytes()), &command.macs) {
            return Err(TrustError::Unproved);
        }
        if command.at < self.started || now.abs_diff(command.at) > COMMAND_AGE_MAX.as_secs() {
            return Err(TrustError::Untimely);
        }
        // It is remembered until its time would be rejected.
        if self.seen.insert(&command.id, 2 * COMMAND_AGE_MAX + Duration::from_secs(1)) {
            Ok(())
        } else {
            Err(TrustError::Repeated)
        }
    }

    /// A response to the command with this id, as text.
    pub(super) fn sign_response(&self, command_id: &str, response: &str) -> String {
        let macs = self
            .tokens
            .load()
            .sign(MacPurpose::Response, &[self.prefix.as_bytes(), command_id.as_bytes(), response.as_bytes()]);
        if macs.is_empty() {
            return response.to_owned();
        }
        serde_json::to_string(&SignedResponse { response: response.to_owned(), macs }).unwrap_or_default()
    }

    /// The response in a text, if it is a gateway's.
    pub(super) fn read_response(&self, command_id: &str, text: String) -> Option<String> {
        let tokens = self.tokens.load();
        if tokens.is_empty() {
            return Some(text);
        }
        let signed = serde_json::from_str::<SignedResponse>(&text).ok().filter(|signed| {
            let parts = [self.prefix.as_bytes(), command_id.as_bytes(), signed.response.as_bytes()];
            tokens.verify(MacPurpose::Response, &parts, &signed.macs)
        });
        if signed.is_none() {
            self.reject(Claim::Response, command_id, TrustError::Unproved);
        }
        signed.map(|signed| signed.response)
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
        let doubt =
            |text: &str| ours.read_entries([text.to_owned()].iter()).rejected.first().map(|rejected| rejected.why);
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
            assert_eq!(doubt(&forged), Some(TrustError::Unproved), "{forged}");
        }
        let signed: SignedEntry = serde_json::from_str(&signed).unwrap();
        let now = unix_seconds();
        assert_eq!(ours.check_entry(&signed, now + 50), Ok(()));
        assert_eq!(ours.check_entry(&signed, now + 62), Err(TrustError::Untimely));
        assert_eq!(ours.check_entry(&signed, now - 62), Err(TrustError::Untimely));
        assert!(ours.rejected(Claim::Registration) >= 10 && ours.rejected(Claim::Command) == 0);
    }

    #[test]
    fn without_a_token_only_this_machine_is_believed() {
        let nobody = near(&[]);
        let listing = |address: &str| nobody.read_entries([nobody.sign_entry(&entry(address)).unwrap()].iter());
        for address in ["127.0.0.1:7001", "unix:/run/w.sock", "[::1]:7001", "no address"] {
            assert_eq!(listing(address).workers.len(), 1, "{address}");
        }
        for address in ["10.0.0.1:7001", "worker:7001", "0.0.0.0:7001"] {
            assert_eq!(
                listing(address).rejected,
                [RejectedWorker { address: address.to_owned(), why: TrustError::NoToken }]
            );
        }
        let command =
            |trust: &Trust| serde_json::from_str(&trust.sign_command("1".to_owned(), "g", "{}").unwrap()).unwrap();
        assert!(nobody.accepts(&command(&nobody)));
        let far = trust(&[], "redis://10.0.0.9", "p");
        assert!(!far.accepts(&command(&far)), "whoever reaches that Redis could give orders");
    }

    #[test]
    fn an_order_is_good_once_and_for_a_minute() {
        let (mut ours, theirs) = (near(&["a", "b"]), near(&["b"]));
        let text = theirs.sign_command("77".to_owned(), "g.2", r#"{"disconnect":{"client":"c"}}"#).unwrap();
        let command = |text: &str| serde_json::from_str::<SignedCommand>(text).unwrap();
        let now = unix_seconds();
        for (name, value) in [
            ("ask", json!("78")),
            ("from", json!("g.3")),
            ("question", json!("{}")),
            ("at", json!(now + 1)),
            ("macs", json!([])),
        ] {
            assert_eq!(
                ours.check_command(&command(&with(&text, name, value)), now),
                Err(TrustError::Unproved),
                "{name}"
            );
        }
        assert_eq!(ours.check_command(&command(&text), now + 62), Err(TrustError::Untimely));
        assert_eq!(ours.check_command(&command(&text), now - 62), Err(TrustError::Untimely));
        assert_eq!(ours.check_command(&command(&text), now), Ok(()));
        for later in [0, 1, 30, 59] {
            assert_eq!(ours.check_command(&command(&text), now + later), Err(TrustError::Repeated));
        }
        ours.started = now + 5;
        let before = theirs.sign_command("79".to_owned(), "g.2", "{}").unwrap();
        assert_eq!(
            ours.check_command(&command(&before), now),
            Err(TrustError::Untimely),
            "it may have been here before"
        );
    }

    #[test]
    fn an_answer_is_good_for_its_order() {
        let (ours, theirs) = (near(&["a"]), near(&["a"]));
        let text = theirs.sign_response("1", r#"{"closed":3}"#);
        assert_eq!(ours.read_response("1", text.clone()).as_deref(), Some(r#"{"closed":3}"#));
        assert_eq!(ours.read_response("2", text.clone()), None);
        assert_eq!(ours.read_response("1", with(&text, "answer", json!("{}"))), None);
        assert_eq!(ours.read_response("1", r#"{"closed":3}"#.to_owned()), None);
        assert_eq!(near(&[]).read_response("1", "x".to_owned()).as_deref(), Some("x"));
    }
}
