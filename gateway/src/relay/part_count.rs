//! How many bytes of a call's parts its worker has not been told of.

use std::cell::Cell;

use diffyne_shared::rpc::PARTS_AHEAD_BYTES_MAX;

/// A worker is told of parts that were sent when they are this many bytes. It can be as far ahead once more meanwhile.
const TOLD_BYTES: u32 = PARTS_AHEAD_BYTES_MAX / 2;

/// The parts of one call: how many bytes of them the worker has not been told of.
#[derive(Debug, Default)]
pub struct PartCount(Cell<u32>);

impl PartCount {
    /// Counts a part. Returns the bytes that the worker is to be told of, once they have been sent.
    pub fn add(&self, bytes: usize) -> Option<u32> {
        let count = self.0.get().saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        let is_due = count >= TOLD_BYTES;
        self.0.set(if is_due { 0 } else { count });
        is_due.then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_told_of_parts_when_they_are_many() {
        let count = PartCount::default();
        let told: u32 = (0..1000).filter_map(|_| count.add(1000)).sum();
        assert!(told + count.0.get() == 1_000_000 && told > 950_000, "{told}");
        assert!(count.add(10).is_none());
    }
}
