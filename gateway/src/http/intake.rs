//! HTTP connections that have not asked for anything yet. When there are as many as one thread takes, the oldest of
//! them goes: whoever says nothing keeps nobody out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use tokio::sync::Notify;

/// One connection, until its first request has arrived.
#[derive(Debug, Default)]
pub(super) struct Silent {
    spoke: Cell<bool>,
    evict: Notify,
}

impl Silent {
    /// Its first request has arrived.
    pub(super) fn speaks(&self) {
        self.spoke.set(true);
    }

    /// Returns when it has to make room.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

/// The connections of one thread that have said nothing, oldest first.
#[derive(Debug, Default)]
pub struct Intake {
    silent: RefCell<VecDeque<Weak<Silent>>>,
    open: Cell<usize>,
}

/// A connection's place on its thread; given back when it is dropped.
pub(super) struct Place {
    pub(super) silent: Rc<Silent>,
    intake: Rc<Intake>,
}

impl Intake {
    /// A place for a new connection, among `most`; `None` when all others have a request under way.
    pub(super) fn enter(self: &Rc<Self>, most: usize) -> Option<Place> {
        if self.open.get() >= most && !self.evict_oldest() {
            return None;
        }
        let silent = Rc::new(Silent::default());
        let mut all = self.silent.borrow_mut();
        let is_silent = |weak: &Weak<Silent>| weak.upgrade().is_some_and(|silent| !silent.spoke.get());
        while all.front().is_some_and(|oldest| !is_silent(oldest)) {
            all.pop_front();
        }
        if all.len() >= most.saturating_mul(2) {
            all.retain(is_silent);
        }
        all.push_back(Rc::downgrade(&silent));
        self.open.set(self.open.get() + 1);
        Some(Place { silent, intake: Rc::clone(self) })
    }

    fn evict_oldest(&self) -> bool {
        let mut all = self.silent.borrow_mut();
        while let Some(oldest) = all.pop_front() {
            if let Some(silent) = oldest.upgrade().filter(|silent| !silent.spoke.get()) {
                silent.evict.notify_one();
                return true;
            }
        }
        false
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.intake.open.set(self.intake.open.get().saturating_sub(1));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn the_oldest_that_says_nothing_makes_room() {
        let intake = Rc::new(Intake::default());
        let (first, second) = (intake.enter(2).unwrap(), intake.enter(2).unwrap());
        first.silent.speaks();
        let third = intake.enter(2).unwrap();
        assert!(first.silent.evicted().now_or_never().is_none(), "it has a request under way");
        assert!(second.silent.evicted().now_or_never().is_some());
        drop(second);
        third.silent.speaks();
        assert!(intake.enter(2).is_none(), "all have a request under way");
        drop(first);
        assert!(intake.enter(2).is_some());
    }

    #[test]
    fn nothing_is_remembered_of_those_that_have_gone() {
        let intake = Rc::new(Intake::default());
        for _ in 0..1000 {
            let place = intake.enter(10).unwrap();
            place.silent.speaks();
        }
        assert!(intake.silent.borrow().len() <= 1);
        assert_eq!(intake.open.get(), 0);
    }
}
