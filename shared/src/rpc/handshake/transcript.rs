//! What both sides of a handshake share: the transcript that MACs cover, limits and errors.

use thiserror::Error;

use crate::rpc::messages::Bytes;
use crate::rpc::version::VersionRange;

/// The first version of the protocol in which the token is proved. Before, gateways sent it in the clear.
pub(super) const PROOF_VERSION: u16 = 2;
/// The largest frame of the handshake.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a nonce.
pub(super) const NONCE_BYTES: usize = 32;
/// Characters of the other side's text in an error.
const SHOWN_CHARS: usize = 300;

/// What a worker answers to a gateway without a token in common.
pub(super) const WRONG_TOKEN: &str = "wrong worker token (DIFFYNE_WORKER_TOKEN)";

/// Why a handshake failed.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum HandshakeError {
    /// The other side sent a frame that has no place in the handshake.
    #[error("{0}")]
    Protocol(&'static str),
    /// The other side refused this one.
    #[error("turned away: {0}")]
    TurnedAway(String),
    /// This side refused the other one.
    #[error("{0}")]
    Refused(String),
    /// The worker did not prove that it knows the token.
    #[error("{0}")]
    Unproved(&'static str),
    /// The system gives no random numbers.
    #[error("no random numbers for a nonce")]
    NoRandomness,
}

/// What both sides have sent, and what a MAC covers.
pub(super) struct Transcript {
    pub(super) gateway: (VersionRange, String, Bytes),
    pub(super) worker: (VersionRange, String, Bytes),
}

impl Transcript {
    pub(super) fn with_parts<R>(&self, read: impl FnOnce(&[&[u8]]) -> R) -> R {
        let versions = |range: VersionRange| [range.min.to_be_bytes(), range.max.to_be_bytes()].concat();
        let ((g_range, g_id, g_nonce), (w_range, w_id, w_nonce)) = (&self.gateway, &self.worker);
        let (g_range, w_range) = (versions(*g_range), versions(*w_range));
        read(&[&g_range, g_id.as_bytes(), g_nonce, &w_range, w_id.as_bytes(), w_nonce])
    }
}

pub(super) fn nonce() -> Result<Bytes, HandshakeError> {
    let mut bytes = vec![0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| HandshakeError::NoRandomness)?;
    Ok(Bytes::from(bytes))
}

pub(super) fn no_common_version(worker: VersionRange, gateway: VersionRange) -> String {
    format!(
        "no common protocol version: the worker speaks {} to {}, the gateway {} to {}",
        worker.min, worker.max, gateway.min, gateway.max
    )
}

pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}
