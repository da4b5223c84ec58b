//! Failures that a gateway reports itself.

/// The text of an error for a message that its handler cannot process.
pub const INTERNAL_ERROR: &str = "Internal server error processing message";
/// The text of an error for a call without a field that every call needs.
pub const MISSING_PARAMETERS: &str = "Missing required parameters";

/// The kinds of failure that a gateway itself reports, beside upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// A field of the message is missing, or has another type.
    Invalid,
    /// Not run: the queue is full.
    Overloaded,
    /// May have run: the connection to its worker is lost.
    WorkerLost,
    /// May have run: there was no answer in time.
    Timeout,
    /// Not run: there is no worker.
    NoWorker,
    /// Not run: too many calls in a short time.
    RateLimited,
    /// A subscription that is malformed or not granted.
    Subscribe,
    /// A grant that has expired; the client can get a new one.
    GrantExpired,
    /// Not run: the call is larger than a worker takes.
    TooLarge,
    /// Ran: its answer is larger than the client can be sent.
    AnswerTooLarge,
}

impl FailureKind {
    /// The `type` on the wire, which is the outcome's label as well.
    pub fn label(self) -> &'static str {
        match self {
            Self::Invalid => "validation_error",
            Self::Overloaded => "overloaded",
            Self::WorkerLost => "worker_lost",
            Self::Timeout => "timeout",
            Self::NoWorker | Self::AnswerTooLarge => "server_error",
            Self::RateLimited => "rate_limited",
            Self::Subscribe => "subscribe_error",
            Self::GrantExpired => "grant_expired",
            Self::TooLarge => "too_large",
        }
    }
}
