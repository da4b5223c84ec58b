//! The health of a worker, as a gateway sees it.

/// The health of a worker, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// The worker is disconnected, silent, or about to leave.
    Unreachable,
    /// The worker is connected, but its backend cannot run calls.
    Degraded,
    /// The worker runs calls, but with older code of the application, as the newest does not start.
    Outdated,
    /// The worker runs calls.
    Healthy,
}
