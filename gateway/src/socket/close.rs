//! Why a WebSocket ends, as its close frame says it.

use std::borrow::Cow;

/// A close code and the words beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// RFC 6455, section 7.4.
    pub code: u16,
    /// At most 123 bytes go on the wire.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// A close with a fixed reason.
    pub const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// 1001: the server stops.
    pub const GOING_AWAY: Self = Self::new(1001, "Server is going away");
    /// 1003: this server takes text only.
    pub const BINARY: Self = Self::new(1003, "Binary messages are not supported");
    /// 1007: not UTF-8.
    pub const BAD_UTF8: Self = Self::new(1007, "Invalid UTF-8");
    /// 1008: it does not read what is sent to it.
    pub const SLOW_CONSUMER: Self = Self::new(1008, "Slow consumer");
    /// 1008: more messages than one connection may send.
    pub const TOO_MANY: Self = Self::new(1008, "Too many messages");
    /// 1000: it has done nothing for long.
    pub const IDLE: Self = Self::new(1000, "Idle");
    /// 1008: a message does not come to its end.
    pub const UNFINISHED: Self = Self::new(1008, "The message did not arrive in time");
    /// 1008: more is held for it than one connection may take.
    pub const HOLDS_TOO_MUCH: Self = Self::new(1008, "Too much is held for this connection");
    /// 1008: an operator wants it so.
    pub const DISCONNECTED: Self = Self::new(1008, "Disconnected by the operator");
    /// 1013: the server is short of memory.
    pub const SHEDDING: Self = Self::new(1013, "Try again later");
    /// 1009: over the configured size, also when assembled from fragments.
    pub const TOO_BIG: Self = Self::new(1009, "Message payload too large");

    /// 1002: what the peer did is against the protocol.
    pub const fn protocol(reason: &'static str) -> Self {
        Self::new(1002, reason)
    }
}

/// Whether a peer may put this code into a close frame.
pub(super) fn is_allowed(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
