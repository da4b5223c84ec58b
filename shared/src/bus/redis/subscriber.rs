//! Reads broadcasts from pub/sub and delivers them in offset order; closes gaps from the stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpool_redis::redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use deadpool_redis::redis::streams::StreamRangeReply;
use deadpool_redis::redis::{self, ErrorKind, Msg, RedisError, Script};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::sync::{Notify, mpsc};

use super::context::Context;
use super::tracker::{Continuity, Head, Tracker};
use super::trust::{SignedCommand, Trust};
use crate::backoff::Backoff;
use crate::bus::event::{Broadcast, BusEvent, Position};
use crate::bus::rooms::{self, RoomsMessage};
use crate::bus::state::{Presence, random_bits};
use crate::bus::wire::{self, EventsMessage};

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(1);
/// How often the head is compared. A dropped message shows after this time at the latest.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How far this gateway may be behind. The library keeps what it has not taken, however much that is; so one that is too
/// slow gives the subscription up, and goes on from the history.
const BEHIND_MAX: Duration = Duration::from_secs(5);
/// Entries read from the stream at a time.
const RANGE_MAX: usize = 500;

pub(super) struct Subscriber {
    pub(super) context: Context,
    pub(super) workers_changed: Arc<Notify>,
    pub(super) trust: Arc<Trust>,
    pub(super) events: mpsc::Sender<BusEvent>,
}

/// A message on the status channel.
#[derive(Deserialize)]
#[serde(untagged)]
enum StatusMessage {
    Gateway { gateway: String, connections: u64 },
    Workers { workers: String },
    Command(SignedCommand),
}

impl Subscriber {
    pub(super) async fn run(self) {
        let mut tracker = Tracker::default();
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        let mut was_up = true;
        loop {
            let Err(error) = self.session(&mut tracker, &mut backoff).await;
            if self.context.health.subscriber.swap(false, Relaxed) || was_up {
                tracing::warn!(%error, "there is no subscription to Redis (DIFFYNE_REDIS_URL); trying again");
                was_up = false;
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// One connection's life.
    async fn session(
        &self,
        tracker: &mut Tracker,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, RedisError> {
        let mut pubsub = self.context.connector.pubsub().await?;
        self.context.connector.limited(pubsub.subscribe(self.context.keys.events())).await?;
        self.context.connector.limited(pubsub.subscribe(self.context.keys.status())).await?;
        self.context.connector.limited(pubsub.subscribe(self.context.keys.rooms_channel())).await?;
        let mut commands = self.context.connector.dedicated().await?;
        // From now on broadcasts arrive; the earlier ones are in the stream.
        self.catch_up(&mut commands, tracker).await?;
        backoff.reset();
        if !self.context.health.subscriber.swap(true, Relaxed) {
            self.context.shared.counters.reconnects.fetch_add(1, Relaxed);
            tracing::info!("subscribed to Redis");
        }
        let (mut sink, mut messages) = pubsub.split();
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.next() => {
                    let message = message.ok_or_else(|| RedisError::from((ErrorKind::Io, "the subscription ended")))?;
                    in_time(self.message(&message, &mut commands, tracker)).await?;
                }
                _ = check.tick() => {
                    self.context.connector.check_role(&mut commands).await?;
                    in_time(self.check_head(&mut sink, &mut messages, &mut commands, tracker)).await?;
                }
            }
        }
    }

    /// Finds out whether something was lost on the way here, and whether the history is still the one that was delivered.
    async fn check_head(
        &self,
        sink: &mut PubSubSink,
        messages: &mut PubSubStream,
        commands: &mut MultiplexedConnection,
        tracker: &mut Tracker,
    ) -> Result<(), RedisError> {
        let there = self.head(commands).await?;
        // Whatever was published before the ping is here when its answer is.
        self.context.connector.limited(sink.ping::<redis::Value>()).await?;
        let found = tracker.check_head(&there);
        while tracker.check_head(&there) == Continuity::Missing
            && let Some(Some(message)) = tokio::task::unconstrained(messages.next()).now_or_never()
        {
            self.message(&message, commands, tracker).await?;
        }
        let was_on_its_way = found == Continuity::Missing && tracker.has_reached(&there);
        if found == Continuity::Next || was_on_its_way { Ok(()) } else { self.catch_up(commands, tracker).await }
    }

    async fn message(
        &self,
        message: &Msg,
        commands: &mut MultiplexedConnection,
        tracker: &mut Tracker,
    ) -> Result<(), RedisError> {
        if message.get_channel_name() == self.context.keys.status() {
            self.status(message.get_payload_bytes()).await;
            return Ok(());
        }
        if message.get_channel_name() == self.context.keys.rooms_channel() {
            self.rooms(message.get_payload_bytes()).await;
            return Ok(());
        }
        let (broadcasts, mut prev) = match wire::decode_message(message.get_payload_bytes()) {
            Some(EventsMessage::Broadcasts { broadcasts, prev }) => (broadcasts, prev),
            Some(EventsMessage::Renewed) => return self.catch_up(commands, tracker).await,
            None => {
                tracing::warn!("ignored a foreign message on the events channel");
                return Ok(());
            }
        };
        for broadcast in broadcasts {
            let Some(position) = &broadcast.position else { continue };
            let continuity = tracker.check(position, &broadcast.id, &prev);
            prev.clone_from(&broadcast.id);
            match continuity {
                Continuity::Next => self.deliver(tracker, broadcast).await,
                Continuity::Duplicate => {}
                Continuity::Missing | Continuity::NewEpoch => self.catch_up(commands, tracker).await?,
                Continuity::Diverged => self.renew_epoch(commands, tracker).await?,
            }
        }
        self.show_position(tracker);
        Ok(())
    }

    /// Brings this gateway to the head of the history.
    async fn catch_up(&self, commands: &mut MultiplexedConnection, tracker: &mut Tracker) -> Result<(), RedisError> {
        let there = self.head(commands).await?;
        match tracker.check_head(&there) {
            Continuity::Next | Continuity::Duplicate => Ok(()),
            Continuity::NewEpoch => {
                if tracker.head().is_none() {
                    return self.start(commands, tracker, there).await;
                }
                self.enter_epoch(commands, tracker, there).await
            }
            Continuity::Diverged => self.renew_epoch(commands, tracker).await,
            Continuity::Missing => {
                let closed = self.close_gap(commands, tracker, there).await;
                self.show_position(tracker);
                closed
            }
        }
    }

    /// Begins at the head, and delivers the stream's history: clients of other gateways come here to resume.
    async fn start(
        &self,
        commands: &mut MultiplexedConnection,
        tracker: &mut Tracker,
        there: Head,
    ) -> Result<(), RedisError> {
        let position = there.position();
        let history = self.read_history(commands, &position).await?;
        self.jump(tracker, there, false).await;
        // The gateway stops: nobody is left to tell.
        let _ = self.events.send(BusEvent::Start { position, history }).await;
        Ok(())
    }

    /// Reads the stream backwards from the head, since only the end is of use. The same limits hold as for the stream.
    async fn read_history(
        &self,
        commands: &mut MultiplexedConnection,
        head: &Position,
    ) -> Result<Vec<Broadcast>, RedisError> {
        let settings = &self.context.settings;
        let mut history: VecDeque<Broadcast> = VecDeque::new();
        let (mut bytes, mut newest) = (0, head.offset);
        while newest > 0 && history.len() < settings.history_length && bytes < settings.history_bytes {
            let mut range = redis::cmd("XREVRANGE");
            range.arg(self.context.keys.stream()).arg(format!("{newest}-0")).arg("-").arg("COUNT").arg(RANGE_MAX);
            let range: StreamRangeReply = range.query_async(commands).await?;
            let before = history.len();
            for entry in range.ids {
                let Some((broadcast, _)) = self.read_entry(&entry, &head.epoch) else { break };
                if broadcast.position.as_ref().is_none_or(|place| place.offset != newest) {
                    break;
                }
                bytes += broadcast.event.params.len();
                newest -= 1;
                history.push_front(broadcast);
            }
            if (history.len() - before) < RANGE_MAX {
                break;
            }
        }
        Ok(history.into())
    }

    /// Goes on in another epoch, with all that its history still holds. Clients learn that they missed something before.
    async fn enter_epoch(
        &self,
        commands: &mut MultiplexedConnection,
        tracker: &mut Tracker,
        there: Head,
    ) -> Result<(), RedisError> {
        let first = self.before_oldest(commands, &there).await?;
        let is_behind = first.offset < there.offset;
        self.jump(tracker, first, true).await;
        if is_behind { self.close_gap(commands, tracker, there).await } else { Ok(()) }
    }

    /// The place before the oldest entry of the stream: the head, if there is none that can be delivered.
    async fn before_oldest(&self, commands: &mut MultiplexedConnection, there: &Head) -> Result<Head, RedisError> {
        let mut range = redis::cmd("XRANGE");
        range.arg(self.context.keys.stream()).arg("-").arg("+").arg("COUNT").arg(1);
        let range: StreamRangeReply = range.query_async(commands).await?;
        let oldest = range.ids.first().and_then(|entry| self.read_entry(entry, &there.epoch));
        let before = oldest.and_then(|(broadcast, prev)| {
            let offset = broadcast.position?.offset.checked_sub(1)?;
            Some(Head { epoch: Arc::clone(&there.epoch), offset, last: prev })
        });
        Ok(before.filter(|before| before.offset < there.offset).unwrap_or_else(|| there.clone()))
    }

    /// Delivers what the stream has after our head.
    async fn close_gap(
        &self,
        commands: &mut MultiplexedConnection,
        tracker: &mut Tracker,
        there: Head,
    ) -> Result<(), RedisError> {
        self.context.shared.counters.gaps_closed.fetch_add(1, Relaxed);
        while let Some(here) = tracker.head().cloned().filter(|here| here.offset < there.offset) {
            let range: StreamRangeReply = redis::cmd("XRANGE")
                .arg(self.context.keys.stream())
                .arg(format!("{}-0", here.offset + 1))
                .arg("+")
                .arg("COUNT")
                .arg(RANGE_MAX)
                .query_async(commands)
                .await?;
            for entry in range.ids {
                let Some((broadcast, prev)) = self.read_entry(&entry, &here.epoch) else {
                    self.jump(tracker, there, true).await;
                    return Ok(());
                };
                let Some(position) = broadcast.position.clone() else { continue };
                match tracker.check(&position, &broadcast.id, &prev) {
                    Continuity::Next => self.deliver(tracker, broadcast).await,
                    Continuity::Duplicate => {}
                    // The history does not reach back far enough: our own clients have to know.
                    Continuity::Missing | Continuity::NewEpoch => {
                        self.jump(tracker, there, true).await;
                        return Ok(());
                    }
                    Continuity::Diverged => return Box::pin(self.renew_epoch(commands, tracker)).await,
                }
            }
            if tracker.head().is_none_or(|now| now.offset == here.offset) {
                self.jump(tracker, there, true).await;
                return Ok(());
            }
        }
        Ok(())
    }

    /// An entry of the stream; `None` when it is too old or unreadable.
    fn read_entry(&self, entry: &redis::streams::StreamId, epoch: &str) -> Option<(Broadcast, String)> {
        let offset = entry.id.split('-').next()?.parse().ok()?;
        let age_ms = crate::clock::unix_seconds().saturating_mul(1000).saturating_sub(entry.get::<u64>("t")?);
        if u128::from(age_ms) > self.context.settings.history_age.as_millis() {
            return None;
        }
        let event = wire::decode_event(&entry.get::<String>("e")?)?;
        let position = Some(Position { epoch: epoch.into(), offset });
        Some((Broadcast { id: entry.get("id")?, position, event }, entry.get("prev").unwrap_or_default()))
    }

    /// Starts a new epoch: the history has another past than the one delivered, so old offsets mean nothing.
    async fn renew_epoch(&self, commands: &mut MultiplexedConnection, tracker: &mut Tracker) -> Result<(), RedisError> {
        let Some(old) = tracker.head().map(|head| head.epoch.clone()) else { return Ok(()) };
        tracing::warn!(epoch = &*old, "the history is not the one that was delivered; its epoch is renewed");
        let script = Script::new(include_str!("scripts/renew.lua"));
        let mut call = script.prepare_invoke();
        call.key(self.context.keys.meta()).key(self.context.keys.stream());
        call.arg(&*old).arg(format!("{:016x}", random_bits())).arg(self.context.keys.events());
        call.invoke_async::<i64>(commands).await?;
        let there = self.head(commands).await?;
        self.enter_epoch(commands, tracker, there).await
    }

    async fn head(&self, commands: &mut MultiplexedConnection) -> Result<Head, RedisError> {
        let script = Script::new(include_str!("scripts/head.lua"));
        let mut call = script.prepare_invoke();
        call.key(self.context.keys.meta()).key(self.context.keys.stream()).arg(format!("{:016x}", random_bits()));
        let (epoch, offset, last): (String, u64, String) = call.invoke_async(commands).await?;
        Ok(Head { epoch: epoch.into(), offset, last })
    }

    /// Continues at another place. With `tell`, clients learn that they missed something.
    async fn jump(&self, tracker: &mut Tracker, head: Head, tell: bool) {
        // The gateway stops: nobody is left to tell.
        let Ok(place) = self.events.reserve().await else { return };
        let position = head.position();
        tracker.start_at(head);
        self.show_position(tracker);
        if tell {
            self.context.shared.counters.gaps_told.fetch_add(1, Relaxed);
            tracing::warn!(
                epoch = &*position.epoch,
                offset = position.offset,
                "broadcasts were lost: the history no longer has them; clients are told"
            );
            place.send(BusEvent::Gap(position));
        }
    }

    async fn deliver(&self, tracker: &mut Tracker, broadcast: Broadcast) {
        // The gateway stops: nobody is left to deliver to.
        let Ok(place) = self.events.reserve().await else { return };
        tracker.advance(&broadcast);
        if let Some(sequence) = self.context.shared.identity.sequence_of(&broadcast.id) {
            self.context.shared.returned.fetch_max(sequence, Relaxed);
            self.context.shared.returns.notify_one();
        }
        place.send(BusEvent::Broadcast(broadcast));
    }

    /// Lets others see how far the history has been delivered.
    fn show_position(&self, tracker: &Tracker) {
        self.context.shared.position.store(Arc::new(tracker.head().map(Head::position)));
    }

    async fn rooms(&self, payload: &[u8]) {
        let own = &self.context.shared.identity.id;
        let event = match rooms::decode_message(payload) {
            Some(RoomsMessage::Report(report)) if *report.gateway != **own => BusEvent::Rooms(report),
            Some(RoomsMessage::Whispers { gateway, whispers }) if gateway != *own => BusEvent::Whispers(whispers),
            _ => return,
        };
        // The gateway stops: nobody is left to tell.
        let _ = self.events.send(event).await;
    }

    async fn status(&self, payload: &[u8]) {
        match serde_json::from_slice(payload) {
            Ok(StatusMessage::Gateway { gateway, connections }) if gateway != self.context.shared.identity.id => {
                let mut presence = Presence::clone(&self.context.shared.presence.load());
                presence.insert(gateway, connections);
                self.context.shared.presence.store(Arc::new(presence));
            }
            Ok(StatusMessage::Workers { workers }) => {
                tracing::debug!(worker = workers, "workers changed");
                self.workers_changed.notify_waiters();
            }
            Ok(StatusMessage::Command(command))
                if command.from != self.context.shared.identity.id && self.trust.accepts(&command) =>
            {
                let SignedCommand { id, query, .. } = command;
                // The gateway stops: nobody is left to respond.
                let _ = self.events.send(BusEvent::Query { id, query }).await;
            }
            Ok(StatusMessage::Gateway { .. } | StatusMessage::Command(_)) | Err(_) => {}
        }
    }
}

/// Ends what takes so long that this gateway falls behind.
async fn in_time(work: impl Future<Output = Result<(), RedisError>>) -> Result<(), RedisError> {
    let behind = || RedisError::from((ErrorKind::Io, "this gateway does not deliver as fast as others publish"));
    tokio::time::timeout(BEHIND_MAX, work).await.unwrap_or_else(|_elapsed| Err(behind()))
}
