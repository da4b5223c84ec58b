//! Binds each busy process to a CPU core of its own while calls wait.
//!
//! Left to the system, two busy processes shared one core for a quarter of the time while the other core was idle: a
//! wake-up draws a process to the core of its waker. So when calls wait and the pool has exactly one slot a core, each
//! process that runs a call is bound to a core. When no call waits, the system may move it again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores that this worker may use, and which of them are reserved for a process.
pub(super) struct CpuCores {
    all: Vec<usize>,
    reserved: Mutex<Vec<bool>>,
}

/// A core that is reserved for one process until this is dropped.
pub(super) struct CoreReservation {
    cores: Arc<CpuCores>,
    at: usize,
}

impl CoreReservation {
    /// The core's number in the system.
    pub(super) fn number(&self) -> usize {
        self.cores.all[self.at]
    }
}

impl Drop for CoreReservation {
    fn drop(&mut self) {
        self.cores.reserved()[self.at] = false;
    }
}

impl CpuCores {
    /// The cores that this worker may use.
    pub(super) fn of_this_worker() -> Arc<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        Self::new((0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false)).collect())
    }

    fn new(all: Vec<usize>) -> Arc<Self> {
        Arc::new(Self { reserved: Mutex::new(vec![false; all.len()]), all })
    }

    fn reserved(&self) -> MutexGuard<'_, Vec<bool>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Reserves a free core, the preferred one if possible.
    pub(super) fn reserve(self: &Arc<Self>, preferred: Option<usize>) -> Option<CoreReservation> {
        let mut reserved = self.reserved();
        let is_free = |at: &usize| !reserved[*at];
        let preferred = preferred.and_then(|core| self.all.iter().position(|other| *other == core)).filter(is_free);
        let at = preferred.or_else(|| (0..reserved.len()).find(is_free))?;
        reserved[at] = true;
        Some(CoreReservation { cores: Arc::clone(self), at })
    }

    /// Binds a process to one core, or lets it run on all of them.
    pub(super) fn bind(&self, process: u32, core: Option<usize>) -> nix::Result<()> {
        let mut set = CpuSet::new();
        match core {
            Some(core) => set.set(core)?,
            None => self.all.iter().try_for_each(|core| set.set(*core))?,
        }
        sched_setaffinity(Pid::from_raw(i32::try_from(process).map_err(|_| nix::Error::ESRCH)?), &set)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_core_is_reserved_once_and_the_preferred_one_first() {
        let cores = CpuCores::new(vec![2, 5, 7]);
        let five = cores.reserve(Some(5)).unwrap();
        let two = cores.reserve(Some(5)).unwrap();
        let seven = cores.reserve(Some(99)).unwrap();
        assert_eq!([five.number(), two.number(), seven.number()], [5, 2, 7]);
        assert!(cores.reserve(None).is_none());
        drop(two);
        assert_eq!(cores.reserve(Some(7)).unwrap().number(), 2);
    }

    #[test]
    fn a_process_can_be_bound_and_freed() {
        let cores = CpuCores::of_this_worker();
        assert!(cores.count() > 0);
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = Pid::from_raw(sleeper.id() as i32);
        let core = cores.reserve(None).unwrap().number();
        cores.bind(sleeper.id(), Some(core)).unwrap();
        let bound = sched_getaffinity(id).unwrap();
        assert!((0..CpuSet::count()).all(|other| bound.is_set(other).unwrap() == (other == core)));
        cores.bind(sleeper.id(), None).unwrap();
        assert_eq!(sched_getaffinity(id).unwrap(), sched_getaffinity(Pid::from_raw(0)).unwrap());
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        cores.bind(sleeper.id(), None).unwrap_err();
    }
}
