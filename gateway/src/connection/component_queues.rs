//! Runs one call at a time per component: the next one waits until the previous one has its result. Calls of different
//! components run concurrently.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use diffyne_shared::rpc::CallKind;

use crate::relay::{CallRequest, PartCount};
use crate::traces::CallTrace;

/// The memory that a call takes beside its message, in bytes.
pub const CALL_BYTES: usize = 512;

/// A part of a call's JSON, as a range: messages are far shorter than 4 GiB. The call is copied once; its names are not copied again.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Returns the range of `part` in `whole`. `part` must be a slice of `whole`.
    pub fn of(whole: &str, part: &str) -> Self {
        let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        Self { start: start as u32, end: (start + part.len()) as u32 }
    }

    /// Returns the part itself.
    pub fn within(self, whole: &str) -> &str {
        whole.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Whether a page has the scripts that this gateway serves, as far as it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageScripts {
    /// These, or it does not tell.
    Current,
    /// Those of another release.
    Other,
}

/// A call of a connection that has no result yet.
#[derive(Debug)]
pub struct PendingCall {
    /// The client's `data`.
    pub data: Rc<str>,
    /// The id of the component on the page, as JSON.
    pub component: Span,
    /// Whether no other call of the component waits for this one.
    pub background: bool,
    /// The request id as sent: JSON of any type.
    pub request_id: Option<Span>,
    /// The kind of the call.
    pub kind: CallKind,
    /// The depth of the push that the call reacts to.
    pub cause_depth: Option<u32>,
    /// The release of the page's scripts.
    pub scripts: PageScripts,
    /// The parts of the answer.
    pub parts: PartCount,
    /// How often the connection's user had changed when the call came.
    pub user_changes: u32,
    /// Its spans, if they are recorded.
    pub trace: Option<Box<CallTrace>>,
    /// The time of the call's arrival.
    pub started: Instant,
}

/// The calls of one component: the running one, and those that wait for it.
#[derive(Debug)]
struct ComponentQueue {
    data: Rc<str>,
    name: Span,
    waiting: VecDeque<(CallRequest, PendingCall)>,
}

impl PendingCall {
    /// Returns the component's id as JSON.
    pub fn component(&self) -> &str {
        self.component.within(&self.data)
    }

    /// Returns the name of the call's queue: the id of the component or, of a call in the background, the request id.
    pub fn queue(&self) -> &str {
        self.queue_name().within(&self.data)
    }

    fn queue_name(&self) -> Span {
        self.request_id.filter(|_id| self.background).unwrap_or(self.component)
    }

    /// Returns the bytes that the call takes on the connection's account until it has a result.
    pub fn held_bytes(&self) -> usize {
        self.data.len() + CALL_BYTES
    }

    /// Returns the request id as sent.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.map(|part| part.within(&self.data))
    }
}

/// The calls of one connection.
#[derive(Debug, Default)]
pub struct ComponentQueues {
    queues: Vec<ComponentQueue>,
    calls: usize,
}

impl ComponentQueue {
    fn name(&self) -> &str {
        self.name.within(&self.data)
    }
}

/// Whether a call can go to a worker now.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is moved once, and a box would cost each call an allocation")]
pub enum PushResult {
    /// The call can be sent.
    Ready(CallRequest, PendingCall),
    /// The call waits for the component's previous call.
    Queued,
}

impl ComponentQueues {
    /// Returns the number of calls that run or wait.
    pub fn len(&self) -> usize {
        self.calls
    }

    /// Whether no call runs or waits.
    pub fn is_empty(&self) -> bool {
        self.calls == 0
    }

    /// Adds a call.
    pub fn push(&mut self, request: CallRequest, pending: PendingCall) -> PushResult {
        self.calls += 1;
        if let Some(queue) = self.queues.iter_mut().find(|queue| queue.name() == pending.queue()) {
            queue.waiting.push_back((request, pending));
            return PushResult::Queued;
        }
        self.queues.push(ComponentQueue {
            data: Rc::clone(&pending.data),
            name: pending.queue_name(),
            waiting: VecDeque::new(),
        });
        PushResult::Ready(request, pending)
    }

    /// Ends the running call of a queue. Returns the next one, if one waits.
    pub fn complete(&mut self, name: &str) -> Option<(CallRequest, PendingCall)> {
        let at = self.queues.iter().position(|queue| queue.name() == name)?;
        self.calls -= 1;
        let next = self.queues[at].waiting.pop_front();
        if next.is_none() {
            self.queues.swap_remove(at);
            if self.queues.is_empty() {
                self.queues = Vec::new();
            }
        }
        next
    }

    /// Drops the waiting calls of a client that has left. Returns their number.
    pub fn drop_waiting(&mut self) -> usize {
        let before = self.calls;
        for queue in &mut self.queues {
            self.calls -= queue.waiting.len();
            queue.waiting.clear();
        }
        before - self.calls
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::relay::{Caller, ComponentKey};
    use diffyne_shared::rpc::Transport;

    fn call(component: &str, id: &str) -> (CallRequest, PendingCall) {
        let cookies = crate::auth::cookie_store::CookieStore::default();
        let caller = Rc::new(Caller::new("", "", b"", cookies));
        let now = Instant::now();
        let request = CallRequest {
            caller,
            transport: Transport::Ws,
            kind: CallKind::Call,
            component: ComponentKey::default(),
            cause: None,
            takes_pushes: false,
            wants_user: false,
            stream_max: std::time::Duration::ZERO,
            trace: None,
            payload: "".into(),
            arrived: now,
            deadline: now,
        };
        let data: Rc<str> = format!("{component} {id}").into();
        let (component, id) = data.split_once(' ').unwrap();
        let pending = PendingCall {
            component: Span::of(&data, component),
            background: false,
            request_id: Some(Span::of(&data, id)),
            data: Rc::clone(&data),
            kind: CallKind::Call,
            cause_depth: None,
            scripts: PageScripts::Current,
            parts: PartCount::default(),
            user_changes: 0,
            trace: None,
            started: now,
        };
        (request, pending)
    }

    #[test]
    fn calls_of_one_component_are_serialized_and_others_are_not() {
        let mut component_queues = ComponentQueues::default();
        let enter = |component_queues: &mut ComponentQueues, component, id| {
            let (request, pending) = call(component, id);
            matches!(component_queues.push(request, pending), PushResult::Ready(..))
        };
        assert!(enter(&mut component_queues, "a", "1"));
        assert!(!enter(&mut component_queues, "a", "2"));
        assert!(enter(&mut component_queues, "b", "3"));
        assert!(!enter(&mut component_queues, "a", "4"));
        assert_eq!(component_queues.complete("a").unwrap().1.request_id(), Some("2"));
        assert!(component_queues.complete("b").is_none());
        assert_eq!(component_queues.complete("a").unwrap().1.request_id(), Some("4"));
        assert!(component_queues.complete("a").is_none());
        assert!(component_queues.is_empty());
        assert!(component_queues.complete("a").is_none());
    }

    #[test]
    fn a_call_in_the_background_keeps_no_other_one_waiting() {
        let mut component_queues = ComponentQueues::default();
        let (request, mut poll) = call("a", "1");
        poll.background = true;
        assert!(matches!(component_queues.push(request, poll), PushResult::Ready(..)));
        let (request, click) = call("a", "2");
        assert!(matches!(component_queues.push(request, click), PushResult::Ready(..)));
        assert!(component_queues.complete("1").is_none());
        assert_eq!(component_queues.len(), 1);
        assert!(component_queues.complete("a").is_none());
        assert!(component_queues.is_empty());
    }
}
