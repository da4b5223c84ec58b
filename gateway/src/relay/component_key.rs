//! The component that a call is for, as a hash of its class and its id on the page. All gateways compute the same, so
//! they agree on its worker without telling each other.

use std::hash::Hasher as _;

use diffyne_shared::envelope::DataHead;
use fnv::FnvHasher;

/// The hash of a component. The default is that of calls without a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ComponentKey {
    class: u64,
    component: u64,
}

impl ComponentKey {
    /// Reads the component from the head of a call.
    pub fn of(head: &DataHead<'_>) -> Self {
        let [class, id] = [&head.component_class, &head.component_id].map(|field| field.text().unwrap_or_default());
        Self::new(class, id)
    }

    /// Hashes a class and an id, as the client has sent them.
    pub fn new(class: &str, id: &str) -> Self {
        let mut hasher = FnvHasher::default();
        hasher.write(class.as_bytes());
        let class = hasher.finish();
        // No byte of UTF-8, so that the end of the class is told from the beginning of the id.
        hasher.write_u8(0xff);
        hasher.write(id.as_bytes());
        Self { class, component: hasher.finish() }
    }

    /// The hash of the class alone.
    pub(super) fn class(self) -> u64 {
        mix(self.class)
    }

    /// The hash of this component with a worker.
    pub(super) fn with_worker(self, worker: u64) -> u64 {
        mix(self.component ^ worker)
    }
}

/// Returns the identity of a worker in hashes: its address, as the settings or the registry have it.
pub(super) fn worker_identity(address: &str) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(address.as_bytes());
    mix(hasher.finish())
}

/// Spreads a difference in any bit over all bits (the finalizer of SplitMix64): names that differ in their last
/// character have close FNV hashes.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_class_and_id_and_on_nothing_else() {
        let key = ComponentKey::new("App\\Diffyne\\Counter", "diffyne-a");
        assert_eq!(key, ComponentKey::new("App\\Diffyne\\Counter", "diffyne-a"));
        assert_ne!(key, ComponentKey::new("App\\Diffyne\\Counter", "diffyne-b"));
        assert_ne!(key, ComponentKey::new("App\\Diffyne\\Counterd", "iffyne-a"), "the border counts");
        assert_eq!(key.class(), ComponentKey::new("App\\Diffyne\\Counter", "").class());
        // Gateways of other builds have to agree.
        assert_eq!(key.with_worker(worker_identity("127.0.0.1:7001")), 0xf49b_5209_aeff_cc95);
    }
}
