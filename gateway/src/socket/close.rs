//! Close codes and reasons of WebSockets.

use std::borrow::Cow;

/// A close code and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The code of RFC 6455, section 7.4.
    pub code: u16,
    /// The reason. At most 123 bytes of it are sent.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// Creates a close with a fixed reason.
    pub const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// 1001: the server stops.
    pub const GOING_AWAY: Self = Self::new(1001, "Server is going away");
    /// 1003: this server accepts text only.
    pub const BINARY: Self = Self::new(1003, "Binary messages are not supported");
    /// 1007: the text is not UTF-8.
    pub const BAD_UTF8: Self = Self::new(1007, "Invalid UTF-8");
    /// 1008: the client does not read what is sent to it.
    pub const SLOW_CONSUMER: Self = Self::new(1008, "Slow consumer");
    /// 1008: the client sends more messages than one connection may.
    pub const TOO_MANY: Self = Self::new(1008, "Too many messages");
    /// 1000: the client has done nothing for a long time.
    pub const IDLE: Self = Self::new(1000, "Idle");
    /// 1008: the client does not finish a message.
    pub const UNFINISHED: Self = Self::new(1008, "The message did not arrive in time");
    /// 1008: the connection holds more memory than it may.
    pub const HOLDS_TOO_MUCH: Self = Self::new(1008, "Too much is held for this connection");
    /// 1008: an operator closed the connection.
    pub const DISCONNECTED: Self = Self::new(1008, "Disconnected by the operator");
    /// 1013: the server is short of memory.
    pub const SHEDDING: Self = Self::new(1013, "Try again later");
    /// 1009: the message exceeds the configured size, possibly when assembled from fragments.
    pub const TOO_BIG: Self = Self::new(1009, "Message payload too large");

    /// Creates a close with code 1002: the peer violated the protocol.
    pub const fn protocol(reason: &'static str) -> Self {
        Self::new(1002, reason)
    }
}

/// Whether a peer may use this code in a close frame.
pub(super) fn is_allowed(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
