//! Sends a client the broadcasts that it missed while it was away, from the thread's history.
//!
//! A connection has one replay at a time. It is sent in batches: after each one, other connections get their turn and
//! the client's account has to be paid. The replay also delivers the broadcasts that arrive meanwhile, so the order is
//! kept.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use diffyne_shared::bus::Position;

use super::Connection;
use super::account::FILTER_COST;
use crate::protocol::{self, Confirmation};
use crate::reaction;
use crate::shard::hub::MissedBroadcasts;
use crate::shard::state::Shard;

/// How long the gateway waits to catch up with a client that comes from a gateway ahead of it.
pub(super) const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the gateway checks whether it has caught up.
pub(super) const CATCH_UP_STEP: Duration = Duration::from_millis(5);

/// A replay in progress.
struct Replay {
    position: Position,
    grant: Option<String>,
    request_id: Option<String>,
    /// Bytes sent so far.
    bytes: usize,
}

/// The step after a batch.
enum Next {
    /// The replay has ended, and the client has been told how.
    Done,
    /// Another batch follows after this time.
    Batch(Duration),
}

/// Sends what was broadcast after a position, then confirms the resume.
pub(super) fn start(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    position: Position,
    grant: Option<String>,
    request_id: Option<&str>,
) {
    let is_ahead = is_behind(shard, &position);
    let mut replay = Replay { position, grant, request_id: request_id.map(str::to_owned), bytes: 0 };
    if is_ahead {
        // Another gateway was slightly ahead. What the client received there is not sent again.
        shard.hub.set_floor(connection, &replay.position);
        let (shard, connection) = (Rc::clone(shard), Rc::clone(connection));
        tokio::task::spawn_local(async move { replay.catch_up(&shard, &connection).await });
        return;
    }
    connection.requests.begin_replay();
    // Most clients have missed little, and one batch sends it at once.
    if let Next::Batch(wait) = replay.send_batch(shard, connection) {
        let (shard, connection) = (Rc::clone(shard), Rc::clone(connection));
        tokio::task::spawn_local(async move { replay.run(&shard, &connection, wait).await });
    }
}

/// Whether the client has received broadcasts elsewhere that this thread has not delivered yet.
fn is_behind(shard: &Shard, client: &Position) -> bool {
    shard.hub.position().is_some_and(|here| here.epoch == client.epoch && here.offset < client.offset)
}

/// Tells the client how its resume ended. This is the last message of a resume: a client that loses the connection
/// before it keeps its old position.
pub(super) fn confirm(
    shard: &Shard,
    connection: &Rc<Connection>,
    recovered: bool,
    grant: Option<&str>,
    request_id: Option<&str>,
) {
    connection.requests.end_resume();
    shard.metrics.resumes.with_label_values(&[if recovered { "recovered" } else { "lost" }]).inc();
    let confirmation = Confirmation { position: shard.position(), grant, request_id };
    // After a restart, many clients are told at once.
    let window_ms =
        (!recovered).then(|| reaction::window_ms(&shard.bus, shard.settings.reactions_per_second)).flatten();
    let text = protocol::resumed(recovered, window_ms, &confirmation);
    let place = confirmation.position.as_ref();
    // That everything is there is no news.
    if recovered {
        shard.hub.send_quietly(connection, &text, place);
    } else {
        shard.hub.send_at(connection, &text, place);
    }
}

impl Replay {
    async fn run(mut self, shard: &Rc<Shard>, connection: &Rc<Connection>, mut wait: Duration) {
        while connection.takes_messages() {
            shard.hub.flush();
            if wait.is_zero() {
                tokio::task::yield_now().await;
            } else {
                shard.metrics.limited.with_label_values(&["replay"]).inc();
                tokio::time::sleep(wait).await;
            }
            match self.send_batch(shard, connection) {
                Next::Done => break,
                Next::Batch(next) => wait = next,
            }
        }
        shard.hub.flush();
    }

    /// Sends the next batch. Nothing is awaited between the last batch and the end of the replay, so no broadcast is
    /// lost between them.
    fn send_batch(&mut self, shard: &Rc<Shard>, connection: &Rc<Connection>) -> Next {
        let batch = match shard.hub.missed(connection, &self.position) {
            MissedBroadcasts::Batch(batch) => batch,
            MissedBroadcasts::Unrecoverable => return self.end(shard, connection, false),
        };
        let bytes = batch.frames.iter().map(Bytes::len).sum::<usize>();
        self.bytes += bytes;
        // The replay may fill half of the outbox. The other half is for broadcasts that arrive meanwhile.
        if self.bytes > shard.settings.outbox_bytes_max / 2 {
            return self.end(shard, connection, false);
        }
        for frame in batch.frames {
            shard.metrics.replayed.inc();
            shard.hub.push_encoded(connection, frame);
        }
        self.position = batch.position;
        let cost = bytes as u64 + batch.filters as u64 * FILTER_COST;
        let wait = connection.account.charge(&shard.rates, cost, Instant::now());
        if batch.is_last { self.end(shard, connection, true) } else { Next::Batch(wait) }
    }

    fn end(&self, shard: &Rc<Shard>, connection: &Rc<Connection>, recovered: bool) -> Next {
        confirm(shard, connection, recovered, self.grant.as_deref(), self.request_id.as_deref());
        Next::Done
    }

    /// Waits until this thread has delivered what the client received from another gateway.
    async fn catch_up(self, shard: &Rc<Shard>, connection: &Rc<Connection>) {
        let limit = Instant::now() + CATCH_UP_TIMEOUT;
        let client = &self.position;
        while is_behind(shard, client) && Instant::now() < limit && connection.takes_messages() {
            tokio::time::sleep(CATCH_UP_STEP).await;
        }
        // Broadcasts since then have been delivered live.
        let here = shard.position().filter(|here| here.epoch == client.epoch && here.offset >= client.offset);
        self.end(shard, connection, here.is_some());
        shard.hub.flush();
    }
}
