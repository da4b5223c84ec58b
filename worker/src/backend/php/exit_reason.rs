//! Why PHP processes exit.

/// Why a running process exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExitReason {
    /// A newer process takes its place, or the pool shrank.
    Replaced,
    /// It ended while it had no call.
    Idle,
    /// Its call ended it: `exit`, or a fatal error.
    LastCall,
    /// It died in a call.
    Died,
    /// Its call ran until the deadline.
    CallTimedOut,
    /// It did not clean up after a call.
    CleanUpFailed,
    /// Its call left something behind that cannot be put back.
    Unclean,
    /// It reached its limit of calls.
    MaxCalls,
    /// It reached its limit of memory.
    MaxMemory,
}

impl ExitReason {
    /// The label in metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Idle => "ended_idle",
            Self::LastCall => "ended_by_call",
            Self::Died => "died",
            Self::CallTimedOut => "call_too_long",
            Self::CleanUpFailed => "not_tidied_up",
            Self::Unclean => "unclean",
            Self::MaxCalls => "max_calls",
            Self::MaxMemory => "max_memory",
        }
    }

    /// Whether the process has to be killed: one in an endless loop does not notice that its socket closed.
    pub(super) fn needs_kill(self) -> bool {
        matches!(self, Self::CallTimedOut | Self::CleanUpFailed | Self::Died)
    }
}
