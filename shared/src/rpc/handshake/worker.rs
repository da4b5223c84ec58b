//! A worker's side of the handshake.

use std::sync::Arc;

use super::transcript::{
    HandshakeError, NONCE_BYTES, PROOF_VERSION, Transcript, WRONG_TOKEN, no_common_version, nonce, shown,
};
use crate::rpc::frame::Frame;
use crate::rpc::messages::{Bytes, Challenge, Hello, Proof, Refuse};
use crate::rpc::version::VERSIONS;
use crate::token::{MacPurpose, TOKENS_MAX, Tokens};

/// What a worker does with gateways that send their token in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LegacyToken {
    /// It refuses them.
    #[default]
    Refuse,
    /// It lets them in with the right token, for the time of a roll-out.
    Accept,
}

/// A gateway that a worker lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedGateway {
    /// The gateway's id.
    pub id: String,
    /// It sent its token in the clear.
    pub legacy: bool,
    /// Longest frame that it takes, if it tells.
    pub frame_bytes_max: Option<u32>,
}

/// What a worker does next.
#[derive(Debug)]
pub enum WorkerStep {
    /// Send this, and read on.
    Send(Frame<'static>),
    /// The gateway proved the token, or no token is set: send this, and take its calls.
    Welcome(Frame<'static>, AdmittedGateway),
    /// Send this, and hang up.
    Refuse(Frame<'static>, HandshakeError),
}

enum HandshakeState {
    Connected,
    ChallengeSent(Transcript),
    Done,
}

/// A worker's side.
pub struct WorkerHandshake {
    tokens: Arc<Tokens>,
    legacy: LegacyToken,
    /// What the worker tells a gateway that it lets in.
    hello: Hello,
    /// The longest frame that the gateway takes.
    frame_bytes_max: Option<u32>,
    state: HandshakeState,
}

impl WorkerHandshake {
    /// Begins; the gateway speaks first.
    pub fn new(tokens: Arc<Tokens>, legacy: LegacyToken, hello: Hello) -> Self {
        Self { tokens, legacy, hello, frame_bytes_max: None, state: HandshakeState::Connected }
    }

    /// Takes a frame of the gateway. After an error, or when the gateway is in or refused, it takes none.
    pub fn receive(&mut self, frame: Frame<'_>) -> Result<WorkerStep, HandshakeError> {
        match (std::mem::replace(&mut self.state, HandshakeState::Done), frame) {
            (HandshakeState::Connected, Frame::Hello(hello)) => self.challenge(hello),
            (HandshakeState::ChallengeSent(transcript), Frame::Proof(proof)) => {
                Ok(self.check_gateway(transcript, &proof))
            }
            (HandshakeState::Connected, _) => Err(HandshakeError::Protocol("it did not say hello first")),
            (HandshakeState::ChallengeSent(_), _) => {
                Err(HandshakeError::Protocol("it did not prove that it knows the token"))
            }
            (HandshakeState::Done, _) => Err(HandshakeError::Protocol("it went on after the hello")),
        }
    }

    fn challenge(&mut self, hello: Hello) -> Result<WorkerStep, HandshakeError> {
        self.frame_bytes_max = hello.frame_bytes_max;
        let Some(version) = VERSIONS.common(hello.versions) else {
            return Ok(refuse(&hello.id, no_common_version(VERSIONS, hello.versions)));
        };
        if self.tokens.is_empty() {
            return Ok(self.admit(hello.id, None, false));
        }
        if version < PROOF_VERSION {
            return Ok(self.check_legacy(hello));
        }
        let Some(theirs) = hello.nonce.filter(|nonce| nonce.len() == NONCE_BYTES) else {
            return Ok(refuse(&hello.id, "its hello has no nonce of 32 bytes".to_owned()));
        };
        let ours = nonce()?;
        let challenge = Challenge { versions: VERSIONS, id: self.hello.id.clone(), nonce: ours.clone() };
        self.state = HandshakeState::ChallengeSent(Transcript {
            gateway: (hello.versions, hello.id, theirs),
            worker: (VERSIONS, self.hello.id.clone(), ours),
        });
        Ok(WorkerStep::Send(Frame::Challenge(challenge)))
    }

    /// Checks a gateway of a release that sends its token.
    fn check_legacy(&mut self, hello: Hello) -> WorkerStep {
        if self.legacy == LegacyToken::Refuse {
            let why = "this gateway is of a release that shows its token in the clear: update it, or set \
                       DIFFYNE_WORKER_TOKEN_LEGACY=accept on the workers until all gateways are updated";
            return refuse(&hello.id, why.to_owned());
        }
        if !self.tokens.contains(hello.token.as_deref()) {
            return refuse(&hello.id, WRONG_TOKEN.to_owned());
        }
        self.admit(hello.id, None, true)
    }

    fn check_gateway(&mut self, transcript: Transcript, proof: &Proof) -> WorkerStep {
        let answer = transcript.with_parts(|parts| {
            let index = self.tokens.check(MacPurpose::GatewayProof, parts, &proof.macs)?;
            self.tokens.mac_by(index, MacPurpose::WorkerProof, parts)
        });
        let id = transcript.gateway.1;
        match answer {
            Some(mac) => self.admit(id, Some(Bytes::from(mac.to_vec())), false),
            None if proof.macs.is_empty() => refuse(&id, format!("{WRONG_TOKEN}: the gateway has none")),
            None if proof.macs.len() > TOKENS_MAX => refuse(&id, format!("more than {TOKENS_MAX} proofs")),
            None => refuse(&id, WRONG_TOKEN.to_owned()),
        }
    }

    fn admit(&mut self, id: String, proof: Option<Bytes>, legacy: bool) -> WorkerStep {
        let hello = Hello { proof, ..std::mem::take(&mut self.hello) };
        WorkerStep::Welcome(Frame::Hello(hello), AdmittedGateway { id, legacy, frame_bytes_max: self.frame_bytes_max })
    }
}

fn refuse(id: &str, reason: String) -> WorkerStep {
    let error = HandshakeError::Refused(format!("{}: {reason}", shown(id)));
    WorkerStep::Refuse(Frame::Refuse(Refuse { reason }), error)
}
