//! One call at a time per component: a second one waits until the first is answered. Calls of different components
//! run side by side.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use diffyne_shared::rpc::CallKind;

use crate::relay::Request;

/// A part of a call's JSON, by place: a call is copied once, and its names are not copied again.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    start: usize,
    end: usize,
}

impl Part {
    /// The place of `part` in `whole`, of which it must be a slice.
    pub fn of(whole: &str, part: &str) -> Self {
        let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        Self { start, end: start + part.len() }
    }

    /// The part itself.
    pub fn within(self, whole: &str) -> &str {
        whole.get(self.start..self.end).unwrap_or_default()
    }
}

/// A call as its connection knows it.
#[derive(Debug)]
pub struct Pending {
    /// The client's `data`.
    pub data: Rc<str>,
    /// JSON of the component's id on the page.
    pub component: Part,
    /// As sent, JSON of any type.
    pub request_id: Option<Part>,
    /// What it asks for.
    pub kind: CallKind,
    /// Depth of the push that it reacts to.
    pub cause_depth: Option<u32>,
    /// When it arrived.
    pub started: Instant,
}

/// The call of a component that runs, and those that wait for it.
#[derive(Debug)]
struct Lane {
    data: Rc<str>,
    component: Part,
    waiting: VecDeque<(Request, Pending)>,
}

impl Pending {
    /// JSON of the component's id.
    pub fn component(&self) -> &str {
        self.component.within(&self.data)
    }

    /// The request id as sent.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.map(|part| part.within(&self.data))
    }
}

/// The calls of one connection.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Vec<Lane>,
    calls: usize,
}

impl Lane {
    fn component(&self) -> &str {
        self.component.within(&self.data)
    }
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
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.component() == pending.component()) {
            lane.waiting.push_back((request, pending));
            return Turn::Later;
        }
        self.lanes.push(Lane {
            data: Rc::clone(&pending.data),
            component: pending.component,
            waiting: VecDeque::new(),
        });
        Turn::Now(request, pending)
    }

    /// The running call of a component is answered; the next one, if one waits.
    pub fn leave(&mut self, component: &str) -> Option<(Request, Pending)> {
        let at = self.lanes.iter().position(|lane| lane.component() == component)?;
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

    /// The client is gone: what waits need not run. How many calls that were.
    pub fn drop_waiting(&mut self) -> usize {
        let before = self.calls;
        for lane in &mut self.lanes {
            self.calls -= lane.waiting.len();
            lane.waiting.clear();
        }
        before - self.calls
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::relay::Caller;
    use diffyne_shared::rpc::Transport;

    fn call(component: &str, id: &str) -> (Request, Pending) {
        let caller = Rc::new(Caller {
            id: String::new(),
            ip: String::new(),
            headers: Box::default(),
            jar: crate::jar::Jar::default(),
        });
        let now = Instant::now();
        let request = Request {
            caller,
            transport: Transport::Ws,
            kind: CallKind::Call,
            cause: None,
            payload: "".into(),
            arrived: now,
            deadline: now,
        };
        let data: Rc<str> = format!("{component} {id}").into();
        let (component, id) = data.split_once(' ').unwrap();
        let pending = Pending {
            component: Part::of(&data, component),
            request_id: Some(Part::of(&data, id)),
            data: Rc::clone(&data),
            kind: CallKind::Call,
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
        assert_eq!(lanes.leave("a").unwrap().1.request_id(), Some("2"));
        assert!(lanes.leave("b").is_none());
        assert_eq!(lanes.leave("a").unwrap().1.request_id(), Some("4"));
        assert!(lanes.leave("a").is_none());
        assert!(lanes.is_empty());
        assert!(lanes.leave("a").is_none());
    }
}
