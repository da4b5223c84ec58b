//! One call at a time per component: a second one waits until the first is answered. Calls of different components
//! run side by side.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use crate::relay::Request;

/// A call as its connection knows it.
#[derive(Debug)]
pub struct Pending {
    /// The component's id on the page.
    pub component: Rc<str>,
    /// As sent, JSON of any type.
    pub request_id: Option<Box<str>>,
    /// The component's class.
    pub class: Box<str>,
    /// Depth of the push that it reacts to.
    pub cause_depth: Option<u32>,
    /// When it arrived.
    pub started: Instant,
}

#[derive(Debug)]
struct Lane {
    component: Rc<str>,
    waiting: VecDeque<(Request, Pending)>,
}

/// The calls of one connection.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Vec<Lane>,
    calls: usize,
}

/// Whether a call may leave now.
#[derive(Debug)]
pub enum Turn {
    /// At once.
    Now(Request, Pending),
    /// It waits for the call before it.
    Later,
}

impl Lanes {
    /// Calls that run or wait.
    pub fn len(&self) -> usize {
        self.calls
    }

    /// Whether nothing runs or waits.
    pub fn is_empty(&self) -> bool {
        self.calls == 0
    }

    /// Adds a call.
    pub fn enter(&mut self, request: Request, pending: Pending) -> Turn {
        self.calls += 1;
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.component == pending.component) {
            lane.waiting.push_back((request, pending));
            return Turn::Later;
        }
        self.lanes.push(Lane { component: Rc::clone(&pending.component), waiting: VecDeque::new() });
        Turn::Now(request, pending)
    }

    /// The running call of a component is answered; the next one, if one waits.
    pub fn leave(&mut self, component: &str) -> Option<(Request, Pending)> {
        let at = self.lanes.iter().position(|lane| &*lane.component == component)?;
        self.calls -= 1;
        let next = self.lanes[at].waiting.pop_front();
        if next.is_none() {
            self.lanes.swap_remove(at);
            if self.lanes.is_empty() {
                self.lanes = Vec::new();
            }
        }
        next
    }

    /// The client is gone: what waits need not run.
    pub fn drop_waiting(&mut self) {
        for lane in &mut self.lanes {
            self.calls -= lane.waiting.len();
            lane.waiting.clear();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::relay::Caller;
    use diffyne_shared::rpc::{CallKind, Transport};

    fn call(component: &str, id: &str) -> (Request, Pending) {
        let caller = Rc::new(Caller { id: String::new(), ip: String::new(), headers: Box::default() });
        let now = Instant::now();
        let request = Request {
            caller,
            transport: Transport::Ws,
            kind: CallKind::Call,
            cause: None,
            payload: Box::default(),
            deadline: now,
        };
        let pending = Pending {
            component: component.into(),
            request_id: Some(id.into()),
            class: "C".into(),
            cause_depth: None,
            started: now,
        };
        (request, pending)
    }

    #[test]
    fn calls_of_one_component_wait_for_each_other_and_others_do_not() {
        let mut lanes = Lanes::default();
        let enter = |lanes: &mut Lanes, component, id| {
            let (request, pending) = call(component, id);
            matches!(lanes.enter(request, pending), Turn::Now(..))
        };
        assert!(enter(&mut lanes, "a", "1"));
        assert!(!enter(&mut lanes, "a", "2"));
        assert!(enter(&mut lanes, "b", "3"));
        assert!(!enter(&mut lanes, "a", "4"));
        assert_eq!(lanes.leave("a").unwrap().1.request_id.as_deref(), Some("2"));
        assert!(lanes.leave("b").is_none());
        assert_eq!(lanes.leave("a").unwrap().1.request_id.as_deref(), Some("4"));
        assert!(lanes.leave("a").is_none());
        assert!(lanes.is_empty());
        assert!(lanes.leave("a").is_none());
    }
}
