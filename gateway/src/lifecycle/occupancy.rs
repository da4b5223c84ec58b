//! Reports this gateway's rooms to the cluster, and queues what that finds: the first subscriber of a room, the last one
//! gone, a gateway that has ended without leaving.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::bus::{Occupancy, OccupancyChanges, RoomNews, RoomState};
use diffyne_shared::settings::lifecycle::LifecycleKind;
use diffyne_shared::telemetry::LogThrottle;
use tokio_util::sync::CancellationToken;

use super::event::EventFields;
use super::queue::EventQueue;
use super::rooms::{CHANGES_MAX, RoomName, Rooms};

/// How often a gateway renews its lease.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// How long changes are collected before they are reported.
const COLLECT: Duration = Duration::from_millis(20);
/// Between two attempts while Redis is away.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// The task that reports.
pub struct OccupancyTask {
    occupancy: Occupancy,
    rooms: Arc<Rooms>,
    queue: Arc<EventQueue>,
    /// Changes that Redis may not have got.
    pending: Option<OccupancyChanges>,
    /// News for which the queue had no room yet. Meanwhile this gateway reports nothing but that it lives.
    untold: VecDeque<RoomNews>,
    /// The versions of what was queued, until Redis knows that it was told: it may be found again meanwhile.
    queued: HashMap<Arc<str>, u64>,
    /// Rooms that were reported as empty when Redis came back so. It does not know that they were ever occupied.
    emptied: VecDeque<Arc<str>>,
    reported_at: Option<Instant>,
    away: LogThrottle,
}

impl OccupancyTask {
    /// Creates the task for the rooms of a gateway.
    pub fn new(occupancy: Occupancy, rooms: Arc<Rooms>, queue: Arc<EventQueue>) -> Self {
        let (pending, untold, queued, emptied, reported_at, away) = Default::default();
        Self { occupancy, rooms, queue, pending, untold, queued, emptied, reported_at, away }
    }

    /// Reports until the gateway stops, and then that it has no rooms any more.
    pub async fn run(mut self, stop: CancellationToken) -> Self {
        while !stop.is_cancelled() {
            let is_well = self.report(false).await;
            let pause = match is_well {
                true if !self.untold.is_empty() => RETRY_EVERY,
                true if self.rooms.has_changes() || !self.emptied.is_empty() => continue,
                true if self.occupancy.has_more() => COLLECT,
                true => self.rooms.due_in().map_or(BEAT_EVERY, |due| due.clamp(COLLECT, BEAT_EVERY)),
                false => RETRY_EVERY,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.rooms.changed.notified(), if is_well && self.untold.is_empty() => tokio::time::sleep(COLLECT).await,
                () = stop.cancelled() => {}
            }
        }
        self.leave().await;
        self
    }

    /// Reports that this gateway has no rooms any more, and what was delivered by now: then nothing is left for the others
    /// to take over.
    pub async fn leave(&mut self) {
        while self.report(true).await && (self.pending.is_some() || self.rooms.has_any()) {
            // Another gateway tells what finds no room here.
            self.untold.clear();
        }
    }

    /// Reports what has changed, as much as goes at a time. Returns whether that was taken.
    async fn report(&mut self, leaves: bool) -> bool {
        self.tell();
        let changes = match self.pending.take() {
            Some(pending) => pending,
            None if !self.occupancy.is_known() => self.begin(leaves),
            None if !self.untold.is_empty() => OccupancyChanges { only_lives: true, ..OccupancyChanges::default() },
            None => self.take_changes(leaves),
        };
        let is_due =
            leaves || self.occupancy.has_more() || self.reported_at.is_none_or(|at| at.elapsed() >= BEAT_EVERY);
        if changes.is_empty() && !is_due {
            return true;
        }
        match self.occupancy.apply(&changes).await {
            Ok(Some(news)) => {
                self.reported_at = Some(Instant::now());
                for (room, version) in &changes.told {
                    if self.queued.get(room) == Some(version) {
                        self.queued.remove(room);
                    }
                }
                self.untold.extend(news);
                self.tell();
                true
            }
            Ok(None) => {
                // Redis has come back empty, or another gateway has taken this one for dead.
                self.emptied.extend(changes.left);
                self.pending = Some(self.begin(leaves));
                true
            }
            Err(error) => {
                if let Some(unsaid) = self.away.allow() {
                    tracing::warn!(%error, unsaid, "redis does not answer; rooms are told of when it is back");
                }
                self.pending = Some(changes);
                false
            }
        }
    }

    /// The first report, after which all rooms follow.
    fn begin(&mut self, leaves: bool) -> OccupancyChanges {
        self.rooms.forget_reports();
        OccupancyChanges { is_first: true, ..self.rooms.take_changes(leaves) }
    }

    /// What has changed, and rooms of which Redis has forgotten that they were occupied: they are entered and left again,
    /// so that their end is told, unless they are occupied elsewhere.
    fn take_changes(&mut self, leaves: bool) -> OccupancyChanges {
        let mut changes = self.rooms.take_changes(leaves);
        for _ in 0..self.emptied.len().min(CHANGES_MAX.saturating_sub(changes.left.len())) {
            let Some(room) = self.emptied.pop_front().filter(|room| !self.rooms.is_occupied(room)) else { continue };
            changes.entered.push(Arc::clone(&room));
            changes.left.push(room);
        }
        changes
    }

    /// Queues the news, as long as there is room for them.
    fn tell(&mut self) {
        while let Some(news) = self.untold.pop_front() {
            if !self.queue_news(&news) {
                return self.untold.push_front(news);
            }
        }
    }

    /// Returns whether there was room.
    fn queue_news(&mut self, news: &RoomNews) -> bool {
        let kind = match news.state {
            RoomState::Occupied => LifecycleKind::Occupied,
            RoomState::Vacated => LifecycleKind::Vacated,
            RoomState::LostGateway => LifecycleKind::GatewayLost,
        };
        let told = (Arc::clone(&news.room), news.version);
        if self.queued.get(&news.room).is_some_and(|queued| *queued >= news.version) {
            return true;
        }
        if !self.queue.tells(kind) {
            self.rooms.told(told);
            return true;
        }
        if news.state == RoomState::LostGateway {
            let fields = EventFields { lost: Some(news.lost_gateway()), ..EventFields::default() };
            let has_room = self.queue.push_room(kind, &fields, told);
            if has_room {
                self.queued.insert(Arc::clone(&news.room), news.version);
                tracing::warn!(gateway = news.lost_gateway(), "a gateway has ended without leaving");
            }
            return has_room;
        }
        let Some(name) = RoomName::read(&news.room) else {
            self.rooms.told(told);
            return true;
        };
        let fields = EventFields {
            event: Some(&name.event),
            filter: Some(&name.filter).filter(|filter| !filter.is_empty()),
            version: Some(news.version),
            ..EventFields::default()
        };
        let has_room = self.queue.push_room(kind, &fields, told);
        if has_room {
            self.queued.insert(Arc::clone(&news.room), news.version);
        }
        has_room
    }
}
