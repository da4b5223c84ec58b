//! The messages between the worker and a PHP process.

use diffyne_shared::settings::php::{Isolation, Kernel};
use serde::{Deserialize, Serialize};

use super::frame::FrameHead;
use crate::backend::bridge_reply::BridgeReply;
use crate::call::parts::Part;

/// The first message to a process.
#[derive(Serialize)]
pub(super) struct StartMessage<'a> {
    pub(super) directory: &'a str,
    pub(super) environment: &'a [(String, String)],
    pub(super) kernel: Kernel,
    pub(super) isolation: Isolation,
    /// Others are forked from this process.
    pub(super) template: bool,
    /// Connections that providers have opened are closed, and opened anew when they are used.
    pub(super) reconnect: bool,
    pub(super) classes: &'a str,
}

/// A message from a process.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ProcessMessage {
    /// `id`: the process's number as it knows it. `kernel`: why calls go through the HTTP kernel; empty when they take the fast path. `release`: the hash of the
    /// application's views and components; empty when it is not known.
    Ready {
        id: u32,
        php: String,
        laravel: String,
        kernel: String,
        #[serde(default)]
        release: String,
    },
    Failed {
        error: String,
    },
    /// A process that others should be forked from lacks what that needs.
    CannotFork {
        reason: String,
    },
    Answer(Box<BridgeReply>),
    /// A part of the answer to a call that still runs.
    Part(Part),
    /// It has cleaned up, and there is no next call yet; `memory`: what PHP has allocated, in bytes.
    ///
    /// With `replace`, it reads no further call, whether there is one or not, and exits.
    Idle {
        #[serde(default)]
        memory: u64,
        #[serde(default)]
        replace: Option<Leftover>,
    },
}

/// How PHP begins the reply to a call.
const ANSWER: &[u8] = br#"{"type":"answer","#;

impl FrameHead for ProcessMessage {
    fn read(json: &[u8]) -> serde_json::Result<Self> {
        // Where the type is not known beforehand, all else is kept as values until it is.
        if json.starts_with(ANSWER) {
            serde_json::from_slice(json).map(Self::Answer)
        } else {
            serde_json::from_slice(json)
        }
    }
}

/// Tells a process that the client of its call has left.
#[derive(Serialize)]
pub(super) struct ClientLeftMessage {
    kind: &'static str,
}

/// The message that says so.
pub(super) const CLIENT_LEFT: ClientLeftMessage = ClientLeftMessage { kind: "left" };

/// What a call left behind in its process that cannot be put back.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Leftover {
    /// The kind of state.
    pub(super) kind: String,
    /// The component that the call was for.
    pub(super) component: String,
}
