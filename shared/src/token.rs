//! The tokens that gateways and workers share (`DIFFYNE_WORKER_TOKEN`), and what is proved with them. A token never
//! leaves its process: each use has a key of its own, derived from the token and a label.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};

/// Tokens in force at once: two during a rotation, and some that nobody has removed yet.
pub const TOKENS_MAX: usize = 4;
/// Bytes of a MAC.
const MAC_BYTES: usize = 32;

/// What a MAC is made for. One that was made for another purpose proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacPurpose {
    /// A gateway proves itself to a worker.
    GatewayProof,
    /// A worker proves itself to a gateway.
    WorkerProof,
    /// A worker announces itself in Redis.
    Registration,
    /// An operator's command to all gateways.
    Command,
    /// A gateway's response to a command.
    Response,
}

/// All purposes, in the order of a token's keys.
const PURPOSES: [MacPurpose; 5] = [
    MacPurpose::GatewayProof,
    MacPurpose::WorkerProof,
    MacPurpose::Registration,
    MacPurpose::Command,
    MacPurpose::Response,
];

impl MacPurpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::GatewayProof => b"diffyne relay gateway proof 1",
            Self::WorkerProof => b"diffyne relay worker proof 1",
            Self::Registration => b"diffyne worker registration 1",
            Self::Command => b"diffyne operator order 1",
            Self::Response => b"diffyne operator answer 1",
        }
    }
}

struct Token {
    plain: String,
    keys: Vec<(MacPurpose, Hmac<Sha256>)>,
}

impl Token {
    /// `None` never happens: HMAC takes keys of any length.
    fn new(plain: &str) -> Option<Self> {
        let derive = |purpose: MacPurpose| {
            let mut mac = Hmac::<Sha256>::new_from_slice(plain.as_bytes()).ok()?;
            mac.update(purpose.label());
            Some((purpose, Hmac::new_from_slice(&mac.finalize().into_bytes()).ok()?))
        };
        Some(Self { plain: plain.to_owned(), keys: PURPOSES.into_iter().map(derive).collect::<Option<_>>()? })
    }

    fn mac(&self, purpose: MacPurpose, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let (_, key) = self.keys.iter().find(|(of, _)| *of == purpose)?;
        let mut mac = key.clone();
        for part in parts {
            // The length first, so that no two lists of parts have the same bytes.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Some(mac)
    }
}

/// The tokens of this process. It makes a MAC with each of them and accepts a MAC of any: two programs need one token in
/// common, so a rotation can visit them in any order.
#[derive(Default)]
pub struct Tokens(Vec<Token>);

/// Tokens that can be exchanged while the program runs.
pub type SharedTokens = Arc<ArcSwap<Tokens>>;

/// The index of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenIndex(usize);

impl Tokens {
    /// The first [`TOKENS_MAX`] of these tokens.
    pub fn new(tokens: &[String]) -> Self {
        Self(tokens.iter().take(TOKENS_MAX).filter_map(|token| Token::new(token)).collect())
    }

    /// Tokens that can be exchanged.
    pub fn shared(tokens: &[String]) -> SharedTokens {
        Arc::new(ArcSwap::from_pointee(Self::new(tokens)))
    }

    /// Whether nothing can be proved.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A MAC by each token.
    pub fn macs(&self, purpose: MacPurpose, parts: &[&[u8]]) -> Vec<[u8; MAC_BYTES]> {
        let macs = self.0.iter().filter_map(|token| token.mac(purpose, parts));
        macs.map(|mac| mac.finalize().into_bytes().into()).collect()
    }

    /// A MAC by one token.
    pub(crate) fn mac_by(&self, which: TokenIndex, purpose: MacPurpose, parts: &[&[u8]]) -> Option<[u8; MAC_BYTES]> {
        Some(self.0.get(which.0)?.mac(purpose, parts)?.finalize().into_bytes().into())
    }

    /// The token that made one of these MACs. Each MAC is compared with each token's, in constant time; a list of more
    /// than [`TOKENS_MAX`] is refused.
    pub(crate) fn check<M: AsRef<[u8]>>(&self, purpose: MacPurpose, parts: &[&[u8]], macs: &[M]) -> Option<TokenIndex> {
        if macs.len() > TOKENS_MAX {
            return None;
        }
        let mut fitting = None;
        for (index, token) in self.0.iter().enumerate() {
            let right: [u8; MAC_BYTES] = token.mac(purpose, parts)?.finalize().into_bytes().into();
            let found = macs.iter().fold(Choice::from(0), |found, mac| found | right.ct_eq(mac.as_ref()));
            if found.into() {
                fitting = Some(TokenIndex(index));
            }
        }
        fitting
    }

    /// MACs as text, for JSON.
    pub fn sign(&self, purpose: MacPurpose, parts: &[&[u8]]) -> Vec<String> {
        self.macs(purpose, parts).iter().map(|mac| URL_SAFE_NO_PAD.encode(mac)).collect()
    }

    /// Whether one of these texts is a valid MAC.
    pub fn verify(&self, purpose: MacPurpose, parts: &[&[u8]], macs: &[String]) -> bool {
        if macs.len() > TOKENS_MAX {
            return false;
        }
        let macs: Vec<Vec<u8>> = macs.iter().filter_map(|text| URL_SAFE_NO_PAD.decode(text).ok()).collect();
        self.check(purpose, parts, &macs).is_some()
    }

    /// Whether this is one of the tokens: older gateways send theirs in the clear. Each token is compared, so that the
    /// time tells nothing.
    pub fn contains(&self, shown: Option<&str>) -> bool {
        let shown = shown.unwrap_or_default().as_bytes();
        let known = self.0.iter().fold(Choice::from(0), |known, token| known | token.plain.as_bytes().ct_eq(shown));
        known.into()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tokens(list: &[&str]) -> Tokens {
        Tokens::new(&list.iter().map(|token| (*token).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn one_token_in_common_is_enough_and_none_is_not() {
        for (ours, theirs, fits) in [
            (&["a"][..], &["a"][..], true),
            (&["old", "new"], &["new"], true),
            (&["new", "old"], &["old", "other"], true),
            (&["a"], &["b"], false),
            (&["a"], &[], false),
            (&[], &["a"], false),
            (&[], &[], false),
        ] {
            let macs = tokens(theirs).macs(MacPurpose::Command, &[b"x"]);
            assert_eq!(tokens(ours).check(MacPurpose::Command, &[b"x"], &macs).is_some(), fits, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn a_mac_is_good_for_its_purpose_and_its_parts_alone() {
        let ours = tokens(&["a"]);
        let made = ours.sign(MacPurpose::Registration, &[b"id", b"10.0.0.1:7001"]);
        assert!(ours.verify(MacPurpose::Registration, &[b"id", b"10.0.0.1:7001"], &made));
        for purpose in PURPOSES.into_iter().filter(|purpose| *purpose != MacPurpose::Registration) {
            assert!(!ours.verify(purpose, &[b"id", b"10.0.0.1:7001"], &made), "{purpose:?}");
        }
        let others: [&[&[u8]]; 5] = [&[], &[b"id"], &[b"i", b"d10.0.0.1:7001"], &[b"id10.0.0.1:7001"], &[b"id", b""]];
        for parts in others {
            assert!(!ours.verify(MacPurpose::Registration, parts, &made), "{parts:?}");
        }
        let mut changed = URL_SAFE_NO_PAD.decode(&made[0]).unwrap();
        for bit in 0..MAC_BYTES * 8 {
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(ours.check(MacPurpose::Registration, &[b"id", b"10.0.0.1:7001"], &[&changed]).is_none());
            changed[bit / 8] ^= 1 << (bit % 8);
        }
        for short in [&changed[..31], &changed[..0]] {
            assert!(ours.check(MacPurpose::Registration, &[b"id", b"10.0.0.1:7001"], &[short]).is_none());
        }
        let many = vec![made[0].clone(); TOKENS_MAX + 1];
        assert!(!ours.verify(MacPurpose::Registration, &[b"id", b"10.0.0.1:7001"], &many), "a list is bounded");
    }

    #[test]
    fn a_token_is_not_shown() {
        assert_eq!(format!("{:?}", tokens(&["secret"])), "Tokens(1)");
        assert!(
            tokens(&["a", "b"]).contains(Some("b"))
                && !tokens(&["a"]).contains(Some(""))
                && !tokens(&["a"]).contains(None)
        );
        assert!(!tokens(&[]).contains(None));
    }
}
