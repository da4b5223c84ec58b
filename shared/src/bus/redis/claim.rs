//! What other processes claim in Redis, and why a claim is rejected.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A claim that needs a MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// "Here is a worker."
    Registration,
    /// "Disconnect these connections."
    Command,
    /// "I have disconnected so many."
    Response,
}

/// All claims.
pub const CLAIMS: [Claim; 3] = [Claim::Registration, Claim::Command, Claim::Response];

impl Claim {
    /// The label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Command => "order",
            Self::Response => "answer",
        }
    }
}

/// Why a claim is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustError {
    /// It has no MAC of a token that we know, or one for another claim.
    Unproved,
    /// Its time is too far in the past or in the future.
    Untimely,
    /// It was used before.
    Repeated,
    /// It concerns more than this machine, and there is no token to prove it by.
    NoToken,
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unproved => "it is not signed with DIFFYNE_WORKER_TOKEN: it is a stranger's, of another token, or of an older release",
            Self::Untimely => "its time does not fit: it is an old one, or the clocks of two hosts differ by a minute",
            Self::Repeated => "it was there before",
            Self::NoToken => "it concerns more than this machine, and DIFFYNE_WORKER_TOKEN is not set",
        })
    }
}

/// A registration that is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedWorker {
    /// The address that it names, truncated.
    pub address: String,
    /// Why it is rejected.
    pub why: TrustError,
}

/// The workers that have announced themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerList {
    /// Those whose registration is accepted.
    pub workers: Vec<WorkerEntry>,
    /// The others.
    pub rejected: Vec<RejectedWorker>,
}

/// A worker as it announces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerEntry {
    /// A new one for each start.
    pub id: String,
    /// Where gateways reach it.
    pub address: String,
    /// It takes no new calls.
    #[serde(default)]
    pub draining: bool,
}
