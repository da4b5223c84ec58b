//! How pages spread what they do when many of them hear the same: their reactions to a broadcast, and the fetch of a page
//! that has missed something.

use diffyne_shared::bus::Bus;

/// The shortest window over which pages spread. A shorter one has no effect: pages react at once.
const WINDOW_MIN_MS: u64 = 20;
/// The longest window over which pages spread.
const WINDOW_MAX_MS: u64 = 10_000;

/// Returns the window for all connections of the cluster, at `DIFFYNE_REACTION_RATE` a second.
pub fn window_ms(bus: &Bus, per_second: u64) -> Option<u64> {
    let connections: u64 = bus.presence().values().sum();
    window_of(connections, per_second)
}

fn window_of(connections: u64, per_second: u64) -> Option<u64> {
    let ms = connections.saturating_mul(1000).checked_div(per_second)?.min(WINDOW_MAX_MS);
    (ms >= WINDOW_MIN_MS).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_pages_spread_their_reactions() {
        assert_eq!(window_of(10, 2000), None);
        assert_eq!(window_of(5000, 2000), Some(2500));
        assert_eq!(window_of(1_000_000, 2000), Some(WINDOW_MAX_MS));
        assert_eq!(window_of(5000, 0), None, "switched off");
    }
}
