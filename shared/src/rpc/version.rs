//! Versions of the protocol between gateways and workers.

use serde::{Deserialize, Serialize};

/// The versions of this protocol that this release speaks.
///
/// Version 2 is version 1 with a proof of the token ([`handshake`](super::handshake)) instead of the token itself.
pub const VERSIONS: VersionRange = VersionRange { min: 1, max: 2 };

/// A range of protocol versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// Oldest version spoken.
    pub min: u16,
    /// Newest version spoken.
    pub max: u16,
}

impl Default for VersionRange {
    /// What this release speaks.
    fn default() -> Self {
        VERSIONS
    }
}

impl VersionRange {
    /// The highest version that both sides speak.
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_spoken() {
        let range = |min, max| VersionRange { min, max };
        assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
        assert_eq!(range(2, 5).common(range(1, 3)), Some(3));
        assert_eq!(range(1, 1).common(range(2, 3)), None);
        assert_eq!(range(4, 4).common(range(2, 3)), None);
    }
}
