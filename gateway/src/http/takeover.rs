//! Takes the stream of an HTTP connection back from hyper, to answer a request with a response that has no end.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::socket::SocketIo;

/// Goes on with the stream of a connection.
type Continuation = Box<dyn FnOnce(SocketIo)>;

/// What becomes of one HTTP connection. Its requests' handlers share it with the task that serves it.
#[derive(Clone, Default)]
pub(super) struct Takeover(Rc<State>);

#[derive(Default)]
struct State {
    continuation: RefCell<Option<Continuation>>,
    asked: Notify,
}

impl Takeover {
    /// Has the connection end as an HTTP connection, and something else go on with its stream. The caller's request gets
    /// no response from hyper: this never returns.
    pub(super) async fn take<T>(&self, continuation: impl FnOnce(SocketIo) + 'static) -> T {
        self.0.continuation.replace(Some(Box::new(continuation)));
        self.0.asked.notify_one();
        std::future::pending().await
    }

    /// Returns when a request has asked for the stream.
    pub(super) async fn asked(&self) {
        self.0.asked.notified().await;
    }

    /// Goes on with the stream.
    pub(super) fn go_on(&self, io: SocketIo) {
        if let Some(continuation) = self.0.continuation.take() {
            continuation(io);
        }
    }
}
