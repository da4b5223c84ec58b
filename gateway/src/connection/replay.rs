//! What a client missed while it was away, sent again from the thread's history.
//!
//! One replay at a time a connection, in parts: after each of them others get their turn, and the client's account has
//! to be paid. What is broadcast meanwhile is not pushed to it, since the replay will come to it: order holds.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use diffyne_shared::bus::Position;

use super::Connection;
use super::account::FILTER_COST;
use super::subscription::tell_resumed;
use crate::hub::Missed;
use crate::reactor::Reactor;

/// How long a client may be ahead of this gateway when it comes from another.
pub(super) const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);
pub(super) const CATCH_UP_STEP: Duration = Duration::from_millis(5);

/// A replay on its way.
struct Replay {
    place: Position,
    grant: Option<String>,
    request_id: Option<String>,
    /// Bytes sent so far.
    bytes: usize,
}

/// How a part of a replay ended.
enum Step {
    /// All was sent, or cannot be: the client was told.
    Over,
    /// More comes after this.
    Wait(Duration),
}

/// Sends what came after a place, then says so.
pub(super) fn start(
    reactor: &Rc<Reactor>,
    connection: &Rc<Connection>,
    place: Position,
    grant: Option<String>,
    request_id: Option<&str>,
) {
    let here = reactor.hub.position();
    let is_ahead = here.is_some_and(|here| here.epoch == place.epoch && here.offset < place.offset);
    let mut replay = Replay { place, grant, request_id: request_id.map(str::to_owned), bytes: 0 };
    if is_ahead {
        // Another gateway was faster by a moment: what the client has from there is not repeated.
        reactor.hub.set_floor(connection, &replay.place);
        let (reactor, connection) = (Rc::clone(reactor), Rc::clone(connection));
        tokio::task::spawn_local(async move { replay.catch_up(&reactor, &connection).await });
        return;
    }
    connection.replaying.set(true);
    // Most have missed little: it is sent at once.
    if let Step::Wait(wait) = replay.step(reactor, connection) {
        let (reactor, connection) = (Rc::clone(reactor), Rc::clone(connection));
        tokio::task::spawn_local(async move { replay.go_on(&reactor, &connection, wait).await });
    }
}

impl Replay {
    async fn go_on(mut self, reactor: &Rc<Reactor>, connection: &Rc<Connection>, mut wait: Duration) {
        while connection.takes_messages() {
            reactor.hub.flush();
            if wait.is_zero() {
                tokio::task::yield_now().await;
            } else {
                reactor.metrics.limited.with_label_values(&["replay"]).inc();
                tokio::time::sleep(wait).await;
            }
            match self.step(reactor, connection) {
                Step::Over => break,
                Step::Wait(next) => wait = next,
            }
        }
        reactor.hub.flush();
    }

    /// Sends the next part. Nothing is awaited between the last part and the end of the replay: no broadcast falls
    /// between them.
    fn step(&mut self, reactor: &Rc<Reactor>, connection: &Rc<Connection>) -> Step {
        let part = match reactor.hub.missed(connection, &self.place) {
            Missed::Part(part) => part,
            Missed::Unknown => return self.end(reactor, connection, false),
        };
        let bytes = part.frames.iter().map(Bytes::len).sum::<usize>();
        self.bytes += bytes;
        // Half of what may wait: the other half is for what comes meanwhile.
        if self.bytes > reactor.settings.outbox_bytes_max / 2 {
            return self.end(reactor, connection, false);
        }
        for frame in part.frames {
            reactor.metrics.replayed.inc();
            reactor.hub.push(connection, frame);
        }
        self.place = part.place;
        let cost = bytes as u64 + part.filters as u64 * FILTER_COST;
        let wait = connection.account.charge(&reactor.rates, cost, Instant::now());
        if part.is_last { self.end(reactor, connection, true) } else { Step::Wait(wait) }
    }

    fn end(&self, reactor: &Rc<Reactor>, connection: &Rc<Connection>, recovered: bool) -> Step {
        connection.replaying.set(false);
        tell_resumed(reactor, connection, recovered, self.grant.as_deref(), self.request_id.as_deref());
        Step::Over
    }

    /// Waits until this thread has delivered what the client has from another gateway.
    async fn catch_up(self, reactor: &Rc<Reactor>, connection: &Rc<Connection>) {
        let limit = Instant::now() + CATCH_UP_TIMEOUT;
        let place = &self.place;
        let behind =
            || reactor.hub.position().is_some_and(|here| here.epoch == place.epoch && here.offset < place.offset);
        while behind() && Instant::now() < limit && connection.takes_messages() {
            tokio::time::sleep(CATCH_UP_STEP).await;
        }
        // What came since has been delivered live.
        let here = reactor.position().filter(|here| here.epoch == place.epoch && here.offset >= place.offset);
        self.end(reactor, connection, here.is_some());
        reactor.hub.flush();
    }
}
