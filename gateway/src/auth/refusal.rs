//! The reasons for which a handshake is refused.

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The path is not that of the WebSocket.
    NotFound,
    /// The page's origin is not allowed.
    Origin,
    /// The key is wrong or missing.
    Key,
    /// The request is not a WebSocket handshake.
    Invalid,
    /// The client speaks another version of the protocol.
    Version,
    /// The gateway has as many connections as it may.
    Full,
    /// There are too many handshakes per second.
    Rate,
    /// This address has as many connections as it may.
    Address,
    /// This key has as many connections as it may.
    KeyFull,
    /// Memory is short.
    Memory,
    /// As many connections wait for their handshake as may.
    Queue,
    /// The process has as many descriptors open as it may.
    Descriptors,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::NotFound,
        Self::Origin,
        Self::Key,
        Self::Invalid,
        Self::Version,
        Self::Full,
        Self::Rate,
        Self::Address,
        Self::KeyFull,
        Self::Memory,
        Self::Queue,
        Self::Descriptors,
    ];

    /// Returns the setting that sets the limit, if one does.
    pub fn setting(self) -> Option<&'static str> {
        match self {
            Self::Full => Some("DIFFYNE_MAX_CONNECTIONS"),
            Self::Rate => Some("DIFFYNE_HANDSHAKE_RATE"),
            Self::Address => Some("DIFFYNE_MAX_CONNECTIONS_PER_ADDRESS"),
            Self::KeyFull => Some("DIFFYNE_MAX_CONNECTIONS_PER_KEY"),
            Self::Memory => Some("DIFFYNE_MEMORY_MAX"),
            Self::Queue => Some("DIFFYNE_HANDSHAKE_QUEUE"),
            Self::NotFound | Self::Origin | Self::Key | Self::Invalid | Self::Version | Self::Descriptors => None,
        }
    }

    /// Returns the label for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Origin => "origin",
            Self::Key => "key",
            Self::Invalid => "invalid",
            Self::Version => "version",
            Self::Full => "full",
            Self::Rate => "rate",
            Self::Address => "address",
            Self::KeyFull => "key_full",
            Self::Memory => "memory",
            Self::Queue => "queue_full",
            Self::Descriptors => "descriptors",
        }
    }
}
