//! How slow a worker is, compared with all workers and for the same classes. A worker whose components take long by
//! themselves is not slow.

use std::cell::Cell;
use std::time::Duration;

use super::component_key::ComponentKey;
use super::latency::{MICROS_MIN, follow_median};

/// The classes whose usual latency is kept. Further ones share an entry with another class.
const CLASSES: usize = 256;

/// The usual latency of each class over all workers, in microseconds; 0 while it is unknown.
#[derive(Debug)]
pub(super) struct ClassLatencies(Box<[Cell<f64>]>);

impl Default for ClassLatencies {
    fn default() -> Self {
        Self(vec![Cell::new(0.0); CLASSES].into())
    }
}

impl ClassLatencies {
    /// Records the duration of a call, and returns how many times the usual one of its class it was.
    pub(super) fn observe(&self, component: ComponentKey, took: Duration) -> f64 {
        let usual = &self.0[component.class() as usize % CLASSES];
        let (known, sample) = (usual.get(), (took.as_secs_f64() * 1e6).max(MICROS_MIN));
        if known == 0.0 {
            usual.set(sample);
            return 1.0;
        }
        usual.set(follow_median(known, sample));
        sample / known
    }
}

/// The usual latency of a worker relative to that of its calls' classes: 1 for a worker like the others.
#[derive(Debug)]
pub(super) struct Slowness(Cell<f64>);

impl Default for Slowness {
    fn default() -> Self {
        Self(Cell::new(1.0))
    }
}

impl Slowness {
    /// Records a call that took `relative` times as long as usual.
    pub(super) fn observe(&self, relative: f64) {
        self.0.set(follow_median(self.0.get(), relative));
    }

    pub(super) fn get(&self) -> f64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(classes: &ClassLatencies, worker: &Slowness, class: &str, ms: u64) {
        worker.observe(classes.observe(ComponentKey::new(class, "x"), Duration::from_millis(ms)));
    }

    #[test]
    fn a_worker_is_slow_by_itself_and_not_by_its_components() {
        let (classes, quick, slow, heavy) =
            (ClassLatencies::default(), Slowness::default(), Slowness::default(), Slowness::default());
        for _ in 0..200 {
            observe(&classes, &quick, "Counter", 2);
            observe(&classes, &slow, "Counter", 20);
            // No other worker has this component, and it takes long.
            observe(&classes, &heavy, "Report", 500);
        }
        assert!(slow.get() > 4.0 * quick.get(), "{} and {}", slow.get(), quick.get());
        assert!((0.8..1.25).contains(&heavy.get()), "{}", heavy.get());
        for _ in 0..200 {
            observe(&classes, &quick, "Counter", 2);
            observe(&classes, &slow, "Counter", 2);
        }
        assert!(slow.get() < 1.25 * quick.get(), "it is as quick as the others again");
    }
}
