//! While calls wait, each process keeps to a core of its own.
//!
//! Left to the system, two busy processes were found on one core for a quarter of the time, while the other core was
//! idle: wake-ups draw a process to where it is woken from. So when calls wait, and there are exactly as many places
//! as cores, each process that runs a call stays where it is; as soon as none waits, the system may move it again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores that this worker may use, and which of them a busy process keeps to.
pub(super) struct Cores {
    all: Vec<usize>,
    taken: Mutex<Vec<bool>>,
}

/// A core that nobody else keeps to, until this is dropped.
pub(super) struct Core {
    cores: Arc<Cores>,
    at: usize,
}

impl Core {
    /// As the system counts them.
    pub(super) fn number(&self) -> usize {
        self.cores.all[self.at]
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.cores.taken()[self.at] = false;
    }
}

impl Cores {
    /// Those of this worker.
    pub(super) fn of_this_worker() -> Arc<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        Self::new((0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false)).collect())
    }

    fn new(all: Vec<usize>) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::new(vec![false; all.len()]), all })
    }

    fn taken(&self) -> MutexGuard<'_, Vec<bool>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// A core that nobody keeps to, the one that is preferred if possible.
    pub(super) fn take(self: &Arc<Self>, preferred: Option<usize>) -> Option<Core> {
        let mut taken = self.taken();
        let free = |at: &usize| !taken[*at];
        let own = preferred.and_then(|core| self.all.iter().position(|other| *other == core)).filter(free);
        let at = own.or_else(|| (0..taken.len()).find(free))?;
        taken[at] = true;
        Some(Core { cores: Arc::clone(self), at })
    }

    /// Where a process may run: on one core, or on all of them.
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
    fn each_core_is_taken_once_and_the_preferred_one_first() {
        let cores = Cores::new(vec![2, 5, 7]);
        let five = cores.take(Some(5)).unwrap();
        let two = cores.take(Some(5)).unwrap();
        let seven = cores.take(Some(99)).unwrap();
        assert_eq!([five.number(), two.number(), seven.number()], [5, 2, 7]);
        assert!(cores.take(None).is_none());
        drop(two);
        assert_eq!(cores.take(Some(7)).unwrap().number(), 2);
    }

    #[test]
    fn a_process_can_be_bound_and_freed() {
        let cores = Cores::of_this_worker();
        assert!(cores.count() > 0);
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = Pid::from_raw(sleeper.id() as i32);
        let core = cores.take(None).unwrap().number();
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
