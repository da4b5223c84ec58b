//! How a gateway and a worker prove to each other that they know the token, before the first call. No I/O.
//!
//! | frame | from | what |
//! |---|---|---|
//! | `Hello` | gateway | its id, its versions and a nonce; never the token |
//! | `Challenge` | worker | its id, its versions and a nonce |
//! | `Proof` | gateway | a MAC of all of these by each of its tokens |
//! | `Hello` | worker | a MAC of the same, under another label, by the token that fitted; and what the worker is |
//!
//! The gateway proves first: a worker answers whoever connects, and must not hand a stranger anything to guess a token
//! by. Each side gives a fresh nonce, so a recorded exchange is worth nothing. A worker without a token says `Hello` at
//! once; a gateway with one does not take that for an answer. Four frames, each of [`HELLO_BYTES_MAX`] at most.

use std::sync::Arc;

use thiserror::Error;

use super::{Bytes, Challenge, Frame, Hello, Proof, Refuse, VERSIONS, VersionRange};
use crate::token::{MacPurpose, TOKENS_MAX, Tokens};

/// Since this version of the protocol the token is proved. Before, gateways showed it in the clear.
pub const PROOF_VERSION: u16 = 2;
/// The largest frame before both sides know each other.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;
/// How much of a stranger's words goes into a log line.
const SHOWN_CHARS: usize = 300;

/// What a worker says to whom it does not trust.
const WRONG_TOKEN: &str = "wrong worker token (DIFFYNE_WORKER_TOKEN)";

/// Why two sides do not come together.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum HandshakeError {
    /// A frame that has no place here.
    #[error("{0}")]
    Protocol(&'static str),
    /// The other side said no.
    #[error("turned away: {0}")]
    TurnedAway(String),
    /// The other side was told no.
    #[error("{0}")]
    Refused(String),
    /// The worker did not prove that it knows the token.
    #[error("{0}")]
    Unproved(&'static str),
    /// The system gives no random numbers.
    #[error("no random numbers for a nonce")]
    NoRandomness,
}

/// What both sides have said, and what a MAC covers.
struct Transcript {
    gateway: (VersionRange, String, Bytes),
    worker: (VersionRange, String, Bytes),
}

impl Transcript {
    fn with_parts<R>(&self, read: impl FnOnce(&[&[u8]]) -> R) -> R {
        let versions = |range: VersionRange| [range.min.to_be_bytes(), range.max.to_be_bytes()].concat();
        let ((g_range, g_id, g_nonce), (w_range, w_id, w_nonce)) = (&self.gateway, &self.worker);
        let (g_range, w_range) = (versions(*g_range), versions(*w_range));
        read(&[&g_range, g_id.as_bytes(), g_nonce, &w_range, w_id.as_bytes(), w_nonce])
    }
}

fn nonce() -> Result<Bytes, HandshakeError> {
    let mut bytes = vec![0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| HandshakeError::NoRandomness)?;
    Ok(Bytes::from(bytes))
}

fn no_common_version(worker: VersionRange, gateway: VersionRange) -> String {
    format!(
        "no common protocol version: the worker speaks {} to {}, the gateway {} to {}",
        worker.min, worker.max, gateway.min, gateway.max
    )
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

/// What a gateway does next.
#[derive(Debug)]
pub enum GatewayStep {
    /// Send this, and read on.
    Send(Frame<'static>),
    /// The worker is who it should be: calls may go there.
    Connected(Hello),
}

enum GatewayState {
    Greeted,
    Proved(Transcript),
    Done,
}

/// A gateway's side.
pub struct GatewayHandshake {
    tokens: Arc<Tokens>,
    id: String,
    nonce: Bytes,
    state: GatewayState,
}

impl GatewayHandshake {
    /// Begins with the gateway's own id and the longest frame that it takes; the frame is to be sent first.
    pub fn new(
        tokens: Arc<Tokens>,
        id: &str,
        frame_bytes_max: usize,
    ) -> Result<(Self, Frame<'static>), HandshakeError> {
        let nonce = nonce()?;
        let frame_bytes_max = u32::try_from(frame_bytes_max).ok();
        let hello = Hello { id: id.to_owned(), nonce: Some(nonce.clone()), frame_bytes_max, ..Hello::default() };
        let greeting = Self { tokens, id: id.to_owned(), nonce, state: GatewayState::Greeted };
        Ok((greeting, Frame::Hello(hello)))
    }

    /// Takes a frame of the worker. After an error, or when it is connected, it takes none.
    pub fn receive(&mut self, frame: Frame<'_>) -> Result<GatewayStep, HandshakeError> {
        match (std::mem::replace(&mut self.state, GatewayState::Done), frame) {
            (GatewayState::Greeted, Frame::Challenge(challenge)) => self.prove(challenge),
            (GatewayState::Greeted, Frame::Hello(hello)) => self.unasked(hello),
            (GatewayState::Proved(transcript), Frame::Hello(hello)) => self.judge(&transcript, hello),
            (GatewayState::Greeted, Frame::Refuse(refuse)) if refuse.reason.contains(WRONG_TOKEN) => {
                // Who can be proved to asks first.
                let why = format!(
                    "{WRONG_TOKEN}, without a question: is it of an older release? Update workers before gateways"
                );
                Err(HandshakeError::TurnedAway(why))
            }
            (GatewayState::Greeted | GatewayState::Proved(_), Frame::Refuse(refuse)) => {
                Err(HandshakeError::TurnedAway(shown(&refuse.reason)))
            }
            _ => Err(HandshakeError::Protocol("the worker did not say hello first")),
        }
    }

    fn prove(&mut self, challenge: Challenge) -> Result<GatewayStep, HandshakeError> {
        if VERSIONS.common(challenge.versions).is_none_or(|version| version < PROOF_VERSION) {
            return Err(HandshakeError::Refused(no_common_version(challenge.versions, VERSIONS)));
        }
        if challenge.nonce.len() != NONCE_BYTES {
            return Err(HandshakeError::Protocol("the worker's challenge has no nonce of 32 bytes"));
        }
        let transcript = Transcript {
            gateway: (VERSIONS, self.id.clone(), self.nonce.clone()),
            worker: (challenge.versions, challenge.id, challenge.nonce),
        };
        // Without a token the list is empty: the worker says no, and both sides know why.
        let macs = transcript.with_parts(|parts| self.tokens.macs(MacPurpose::GatewayProof, parts));
        self.state = GatewayState::Proved(transcript);
        Ok(GatewayStep::Send(Frame::Proof(Proof { macs: macs.iter().map(|mac| Bytes::from(mac.to_vec())).collect() })))
    }

    /// The worker asks for no proof.
    fn unasked(&self, hello: Hello) -> Result<GatewayStep, HandshakeError> {
        let Some(version) = VERSIONS.common(hello.versions) else {
            return Err(HandshakeError::Refused(no_common_version(hello.versions, VERSIONS)));
        };
        match (self.tokens.is_empty(), version < PROOF_VERSION) {
            (true, _) => Ok(GatewayStep::Connected(hello)),
            (false, true) => Err(HandshakeError::Unproved(
                "the worker is of a release that cannot prove the token: update workers before gateways",
            )),
            (false, false) => Err(HandshakeError::Unproved(
                "the worker did not prove that it knows DIFFYNE_WORKER_TOKEN: set the same token there, and see who listens at this address",
            )),
        }
    }

    fn judge(&self, transcript: &Transcript, hello: Hello) -> Result<GatewayStep, HandshakeError> {
        let macs: Vec<&[u8]> = hello.proof.iter().map(|mac| mac.as_slice()).collect();
        let index = transcript.with_parts(|parts| self.tokens.check(MacPurpose::WorkerProof, parts, &macs));
        if index.is_none() || hello.id != transcript.worker.1 || hello.versions != transcript.worker.0 {
            return Err(HandshakeError::Unproved(
                "the worker asked for a proof and gave none that fits DIFFYNE_WORKER_TOKEN: see who listens at this address",
            ));
        }
        Ok(GatewayStep::Connected(hello))
    }
}

/// What a worker does with gateways that show their token in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LegacyToken {
    /// They are turned away.
    #[default]
    Refuse,
    /// They are let in with the right token, for the time of a roll-out.
    Accept,
}

/// Who has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedGateway {
    /// The gateway's id.
    pub id: String,
    /// It showed its token in the clear.
    pub legacy: bool,
    /// Longest frame that it takes, if it tells.
    pub frame_bytes_max: Option<u32>,
}

/// What a worker does next.
#[derive(Debug)]
pub enum WorkerStep {
    /// Send this, and read on.
    Send(Frame<'static>),
    /// The gateway is who it should be: send this, and take its calls.
    Welcome(Frame<'static>, AdmittedGateway),
    /// Send this, and hang up.
    Refuse(Frame<'static>, HandshakeError),
}

enum WorkerState {
    Waiting,
    Challenged(Transcript),
    Done,
}

/// A worker's side.
pub struct WorkerHandshake {
    tokens: Arc<Tokens>,
    legacy: LegacyToken,
    /// What the worker says of itself to whom it trusts.
    hello: Hello,
    /// What the gateway said of its longest frame.
    frame_bytes_max: Option<u32>,
    state: WorkerState,
}

impl WorkerHandshake {
    /// Begins; the gateway speaks first.
    pub fn new(tokens: Arc<Tokens>, legacy: LegacyToken, hello: Hello) -> Self {
        Self { tokens, legacy, hello, frame_bytes_max: None, state: WorkerState::Waiting }
    }

    /// Takes a frame of the gateway. After an error, or when the gateway is in or refused, it takes none.
    pub fn receive(&mut self, frame: Frame<'_>) -> Result<WorkerStep, HandshakeError> {
        match (std::mem::replace(&mut self.state, WorkerState::Done), frame) {
            (WorkerState::Waiting, Frame::Hello(hello)) => self.greeted(hello),
            (WorkerState::Challenged(transcript), Frame::Proof(proof)) => Ok(self.judge(transcript, &proof)),
            (WorkerState::Waiting, _) => Err(HandshakeError::Protocol("it did not say hello first")),
            (WorkerState::Challenged(_), _) => {
                Err(HandshakeError::Protocol("it did not prove that it knows the token"))
            }
            (WorkerState::Done, _) => Err(HandshakeError::Protocol("it went on after the hello")),
        }
    }

    fn greeted(&mut self, hello: Hello) -> Result<WorkerStep, HandshakeError> {
        self.frame_bytes_max = hello.frame_bytes_max;
        let Some(version) = VERSIONS.common(hello.versions) else {
            return Ok(refuse(&hello.id, no_common_version(VERSIONS, hello.versions)));
        };
        if self.tokens.is_empty() {
            return Ok(self.welcome(hello.id, None, false));
        }
        if version < PROOF_VERSION {
            return Ok(self.legacy(hello));
        }
        let Some(theirs) = hello.nonce.filter(|nonce| nonce.len() == NONCE_BYTES) else {
            return Ok(refuse(&hello.id, "its hello has no nonce of 32 bytes".to_owned()));
        };
        let ours = nonce()?;
        let challenge = Challenge { versions: VERSIONS, id: self.hello.id.clone(), nonce: ours.clone() };
        self.state = WorkerState::Challenged(Transcript {
            gateway: (hello.versions, hello.id, theirs),
            worker: (VERSIONS, self.hello.id.clone(), ours),
        });
        Ok(WorkerStep::Send(Frame::Challenge(challenge)))
    }

    /// A gateway of a release that shows its token.
    fn legacy(&mut self, hello: Hello) -> WorkerStep {
        if self.legacy == LegacyToken::Refuse {
            let why = "this gateway is of a release that shows its token in the clear: update it, or set \
                       DIFFYNE_WORKER_TOKEN_LEGACY=accept on the workers until all gateways are updated";
            return refuse(&hello.id, why.to_owned());
        }
        if !self.tokens.contains(hello.token.as_deref()) {
            return refuse(&hello.id, WRONG_TOKEN.to_owned());
        }
        self.welcome(hello.id, None, true)
    }

    fn judge(&mut self, transcript: Transcript, proof: &Proof) -> WorkerStep {
        let answer = transcript.with_parts(|parts| {
            let index = self.tokens.check(MacPurpose::GatewayProof, parts, &proof.macs)?;
            self.tokens.mac_by(index, MacPurpose::WorkerProof, parts)
        });
        let id = transcript.gateway.1;
        match answer {
            Some(mac) => self.welcome(id, Some(Bytes::from(mac.to_vec())), false),
            None if proof.macs.is_empty() => refuse(&id, format!("{WRONG_TOKEN}: the gateway has none")),
            None if proof.macs.len() > TOKENS_MAX => refuse(&id, format!("more than {TOKENS_MAX} proofs")),
            None => refuse(&id, WRONG_TOKEN.to_owned()),
        }
    }

    fn welcome(&mut self, id: String, proof: Option<Bytes>, legacy: bool) -> WorkerStep {
        let hello = Hello { proof, ..std::mem::take(&mut self.hello) };
        WorkerStep::Welcome(Frame::Hello(hello), AdmittedGateway { id, legacy, frame_bytes_max: self.frame_bytes_max })
    }
}

fn refuse(id: &str, reason: String) -> WorkerStep {
    let error = HandshakeError::Refused(format!("{}: {reason}", shown(id)));
    WorkerStep::Refuse(Frame::Refuse(Refuse { reason }), error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rpc::{CallId, Empty, Pong};

    fn tokens(list: &[&str]) -> Arc<Tokens> {
        Arc::new(Tokens::new(&list.iter().map(|token| (*token).to_owned()).collect::<Vec<_>>()))
    }

    fn worker(list: &[&str], legacy: LegacyToken) -> WorkerHandshake {
        let hello = Hello { id: "w".to_owned(), capacity: 7, ..Hello::default() };
        WorkerHandshake::new(tokens(list), legacy, hello)
    }

    /// Lets the two talk; what each comes to.
    fn meet(
        gateway: &[&str],
        worker_tokens: &[&str],
    ) -> (Result<Hello, HandshakeError>, Result<AdmittedGateway, HandshakeError>) {
        let (mut gateway, mut frame) = GatewayHandshake::new(tokens(gateway), "g", 1 << 20).unwrap();
        let mut worker = worker(worker_tokens, LegacyToken::Refuse);
        for _ in 0..4 {
            let (answer, visitor) = match worker.receive(frame) {
                Ok(WorkerStep::Send(answer)) => (answer, None),
                Ok(WorkerStep::Welcome(answer, visitor)) => (answer, Some(Ok(visitor))),
                Ok(WorkerStep::Refuse(answer, error)) => (answer, Some(Err(error))),
                Err(error) => return (Err(HandshakeError::Protocol("hung up")), Err(error)),
            };
            match gateway.receive(answer) {
                Ok(GatewayStep::Send(next)) => frame = next,
                Ok(GatewayStep::Connected(hello)) => return (Ok(hello), visitor.unwrap()),
                Err(error) => return (Err(error), visitor.unwrap_or(Err(HandshakeError::Protocol("hung up")))),
            }
        }
        panic!("they talk for ever")
    }

    #[test]
    fn who_has_a_token_in_common_comes_together_and_nobody_else() {
        for (gateway, worker, comes) in [
            (&[][..], &[][..], true),
            (&["a"], &["a"], true),
            (&["old"], &["new", "old"], true),
            (&["new", "old"], &["old"], true),
            (&["a"], &["b"], false),
            (&["a"], &[], false),
            (&[], &["a"], false),
        ] {
            let (there, here) = meet(gateway, worker);
            assert_eq!(there.is_ok(), comes, "{gateway:?} {worker:?} {there:?}");
            assert!(!comes || (there.unwrap().capacity == 7 && here.unwrap().id == "g"));
        }
        let (there, here) = meet(&["a"], &["b"]);
        assert!(
            there.unwrap_err().to_string().contains(WRONG_TOKEN) && here.unwrap_err().to_string().contains("g: wrong")
        );
        assert!(meet(&[], &["a"]).0.unwrap_err().to_string().contains("the gateway has none"));
        // A worker of the first version says no at once.
        let (mut gateway, _) = GatewayHandshake::new(tokens(&["a"]), "g", 1 << 20).unwrap();
        let told = gateway.receive(Frame::Refuse(Refuse { reason: WRONG_TOKEN.to_owned() })).unwrap_err();
        assert!(told.to_string().contains("Update workers before gateways"), "{told}");
        assert!(matches!(meet(&["a"], &[]).0, Err(HandshakeError::Unproved(_))));
    }

    #[test]
    fn no_frame_of_the_hello_has_the_token_in_it() {
        let secret = "a-token-that-must-not-be-seen";
        let (mut gateway, hello) = GatewayHandshake::new(tokens(&[secret]), "g", 1 << 20).unwrap();
        let mut worker = worker(&[secret], LegacyToken::Accept);
        let mut bytes = Vec::new();
        crate::rpc::encode(&hello, &mut bytes).unwrap();
        let Ok(WorkerStep::Send(challenge)) = worker.receive(hello) else { panic!() };
        crate::rpc::encode(&challenge, &mut bytes).unwrap();
        let Ok(GatewayStep::Send(proof)) = gateway.receive(challenge) else { panic!() };
        crate::rpc::encode(&proof, &mut bytes).unwrap();
        let Ok(WorkerStep::Welcome(hello, _)) = worker.receive(proof) else { panic!() };
        crate::rpc::encode(&hello, &mut bytes).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        assert!(bytes.len() < 1000, "{} bytes", bytes.len());
    }

    #[test]
    fn a_recorded_exchange_is_worth_nothing() {
        // The frames of a good exchange.
        let (mut gateway, hello) = GatewayHandshake::new(tokens(&["a"]), "g", 1 << 20).unwrap();
        let mut first = worker(&["a"], LegacyToken::Refuse);
        let Ok(WorkerStep::Send(challenge)) = first.receive(hello.clone()) else { panic!() };
        let Ok(GatewayStep::Send(proof)) = gateway.receive(challenge.clone()) else { panic!() };
        let Ok(WorkerStep::Welcome(welcome, _)) = first.receive(proof.clone()) else { panic!() };
        // To a worker,
        let mut second = worker(&["a"], LegacyToken::Refuse);
        assert!(matches!(second.receive(hello), Ok(WorkerStep::Send(Frame::Challenge(_)))));
        assert!(matches!(second.receive(proof.clone()), Ok(WorkerStep::Refuse(..))));
        // and to a gateway.
        let (mut other, _) = GatewayHandshake::new(tokens(&["a"]), "g", 1 << 20).unwrap();
        assert!(matches!(other.receive(challenge.clone()), Ok(GatewayStep::Send(_))));
        assert!(matches!(other.receive(welcome), Err(HandshakeError::Unproved(_))));
        // Nor is a gateway's own proof a worker's.
        let (mut third, _) = GatewayHandshake::new(tokens(&["a"]), "g", 1 << 20).unwrap();
        let Ok(GatewayStep::Send(Frame::Proof(own))) = third.receive(challenge) else { panic!() };
        let back = Hello { id: "w".to_owned(), proof: own.macs.into_iter().next(), ..Hello::default() };
        assert!(matches!(third.receive(Frame::Hello(back)), Err(HandshakeError::Unproved(_))));
    }

    #[test]
    fn an_older_gateway_is_let_in_only_while_that_is_set_and_with_the_right_token() {
        let old = |token: Option<&str>| {
            let versions = VersionRange { min: 1, max: 1 };
            Frame::Hello(Hello { versions, id: "old".to_owned(), token: token.map(str::to_owned), ..Hello::default() })
        };
        for (list, legacy, token, comes) in [
            (&["a", "b"][..], LegacyToken::Accept, Some("b"), true),
            (&["a"], LegacyToken::Accept, Some("b"), false),
            (&["a"], LegacyToken::Accept, None, false),
            (&["a"], LegacyToken::Refuse, Some("a"), false),
            (&[], LegacyToken::Refuse, None, true),
        ] {
            let step = worker(list, legacy).receive(old(token)).unwrap();
            assert_eq!(matches!(&step, WorkerStep::Welcome(..)), comes, "{list:?} {legacy:?} {token:?} {step:?}");
        }
        // A gateway that knows better cannot be talked into it.
        let new = Frame::Hello(Hello { token: Some("a".to_owned()), ..Hello::default() });
        assert!(matches!(worker(&["a"], LegacyToken::Accept).receive(new), Ok(WorkerStep::Refuse(..))));
    }

    /// What a stranger may say, in any order: he knows what was said in the open and has no token.
    #[derive(Debug, Clone)]
    enum Word {
        Hello { min: u16, max: u16, token: Option<String>, nonce: Option<Vec<u8>>, proof: Option<Vec<u8>> },
        Challenge { min: u16, max: u16, nonce: Vec<u8> },
        Proof(Vec<Vec<u8>>),
        Refuse,
        Other(u8),
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![proptest::collection::vec(any::<u8>(), 0..40), proptest::collection::vec(any::<u8>(), 32)]
    }

    fn word() -> impl Strategy<Value = Word> {
        let token = proptest::option::of(prop_oneof![Just("stolen".to_owned()), Just(String::new())]);
        prop_oneof![
            4 => (0..4u16, 0..4u16, token, proptest::option::of(bytes()), proptest::option::of(bytes()))
                .prop_map(|(min, max, token, nonce, proof)| Word::Hello { min, max, token, nonce, proof }),
            3 => (0..4u16, 0..4u16, bytes()).prop_map(|(min, max, nonce)| Word::Challenge { min, max, nonce }),
            3 => proptest::collection::vec(bytes(), 0..7).prop_map(Word::Proof),
            1 => Just(Word::Refuse),
            2 => any::<u8>().prop_map(Word::Other),
        ]
    }

    impl Word {
        fn frame(&self) -> Frame<'static> {
            match self.clone() {
                Self::Hello { min, max, token, nonce, proof } => Frame::Hello(Hello {
                    versions: VersionRange { min, max },
                    token,
                    id: "w".to_owned(),
                    nonce: nonce.map(Bytes::from),
                    proof: proof.map(Bytes::from),
                    ..Hello::default()
                }),
                Self::Challenge { min, max, nonce } => Frame::Challenge(Challenge {
                    versions: VersionRange { min, max },
                    id: "w".to_owned(),
                    nonce: Bytes::from(nonce),
                }),
                Self::Proof(macs) => Frame::Proof(Proof { macs: macs.into_iter().map(Bytes::from).collect() }),
                Self::Refuse => Frame::Refuse(Refuse { reason: "x".repeat(10_000) }),
                Self::Other(0..80) => Frame::Busy(CallId { id: 1 }),
                Self::Other(80..160) => Frame::Ping(Empty {}),
                Self::Other(160..200) => Frame::Pong(Pong::default()),
                Self::Other(tag) => Frame::Unknown(tag),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn whatever_a_stranger_says_neither_side_takes_him_in(
            words in proptest::collection::vec(word(), 0..12),
            legacy in any::<bool>(),
        ) {
            let legacy = if legacy { LegacyToken::Accept } else { LegacyToken::Refuse };
            let mut worker = worker(&["secret", "older"], legacy);
            let (mut gateway, _) = GatewayHandshake::new(tokens(&["secret"]), "g", 1 << 20).unwrap();
            let (mut sent, mut ended) = (0, false);
            for word in &words {
                match worker.receive(word.frame()) {
                    Ok(WorkerStep::Welcome(..)) => prop_assert!(false, "let in after {words:?}"),
                    Ok(step) => {
                        prop_assert!(!ended, "it goes on after its end");
                        ended |= matches!(step, WorkerStep::Refuse(..));
                    }
                    Err(_) => ended = true,
                }
                match gateway.receive(word.frame()) {
                    Ok(GatewayStep::Connected(_)) => prop_assert!(false, "connected after {words:?}"),
                    Ok(GatewayStep::Send(_)) => sent += 1,
                    Err(_) => {}
                }
            }
            prop_assert!(sent <= 1, "a gateway says one thing more");
        }
    }
}
