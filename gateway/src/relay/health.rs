//! How a worker is, as a gateway sees it.

/// The health of a worker, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Not connected, silent, or about to leave.
    Unreachable,
    /// Connected, but its backend cannot run calls.
    Degraded,
    /// It runs calls.
    Healthy,
}
