//! The handshake: a gateway and a worker prove to each other that they know the token, before the first call. No I/O.
//!
//! | frame | from | what |
//! |---|---|---|
//! | `Hello` | gateway | its id, its versions and a nonce; never the token |
//! | `Challenge` | worker | its id, its versions and a nonce |
//! | `Proof` | gateway | a MAC of all of these by each of its tokens |
//! | `Hello` | worker | a MAC of the same, under another label, by the token in common; and what the worker is |
//!
//! The gateway proves first: a worker answers whoever connects, and must not hand a stranger anything to guess a token
//! by. Each side sends a fresh nonce, so a recorded exchange is worth nothing. A worker without a token sends `Hello` at
//! once, and a gateway with a token refuses that. There are four frames, each of [`HELLO_BYTES_MAX`] at most.

mod gateway;
#[cfg(test)]
mod tests;
mod transcript;
mod worker;

pub use gateway::{GatewayHandshake, GatewayStep};
pub use transcript::{HELLO_BYTES_MAX, HandshakeError};
pub use worker::{AdmittedGateway, LegacyToken, WorkerHandshake, WorkerStep};
