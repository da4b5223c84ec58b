//! A gateway's side of the handshake.

use std::sync::Arc;

use super::transcript::{
    HandshakeError, NONCE_BYTES, PROOF_VERSION, Transcript, WRONG_TOKEN, no_common_version, nonce, shown,
};
use crate::rpc::frame::Frame;
use crate::rpc::messages::{Bytes, Challenge, Hello, Proof};
use crate::rpc::version::VERSIONS;
use crate::token::{MacPurpose, Tokens};

/// What a gateway does next.
#[derive(Debug)]
pub enum GatewayStep {
    /// Send this, and read on.
    Send(Frame<'static>),
    /// The worker proved the token, or no token is set: calls may go there.
    Connected(Hello),
}

enum GatewayState {
    HelloSent,
    ProofSent(Transcript),
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
        let hello = Hello::gateway(id, nonce.clone(), frame_bytes_max);
        let handshake = Self { tokens, id: id.to_owned(), nonce, state: GatewayState::HelloSent };
        Ok((handshake, Frame::Hello(hello)))
    }

    /// Takes a frame of the worker. After an error, or when it is connected, it takes none.
    pub fn receive(&mut self, frame: Frame<'_>) -> Result<GatewayStep, HandshakeError> {
        match (std::mem::replace(&mut self.state, GatewayState::Done), frame) {
            (GatewayState::HelloSent, Frame::Challenge(challenge)) => self.prove(challenge),
            (GatewayState::HelloSent, Frame::Hello(hello)) => self.accept_unproved(hello),
            (GatewayState::ProofSent(transcript), Frame::Hello(hello)) => self.check_worker(&transcript, hello),
            (GatewayState::HelloSent, Frame::Refuse(refuse)) if refuse.reason.contains(WRONG_TOKEN) => {
                // A worker of this release sends a challenge first.
                let why = format!(
                    "{WRONG_TOKEN}, without a question: is it of an older release? Update workers before gateways"
                );
                Err(HandshakeError::TurnedAway(why))
            }
            (GatewayState::HelloSent | GatewayState::ProofSent(_), Frame::Refuse(refuse)) => {
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
        self.state = GatewayState::ProofSent(transcript);
        Ok(GatewayStep::Send(Frame::Proof(Proof { macs: macs.iter().map(|mac| Bytes::from(mac.to_vec())).collect() })))
    }

    /// Takes the hello of a worker that asks for no proof.
    fn accept_unproved(&self, hello: Hello) -> Result<GatewayStep, HandshakeError> {
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

    fn check_worker(&self, transcript: &Transcript, hello: Hello) -> Result<GatewayStep, HandshakeError> {
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
