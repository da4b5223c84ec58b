//! Reports this gateway's rooms to the cluster, and queues what that finds: the first subscriber of a room, the last one
//! gone, a gateway that has ended without leaving.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::bus::{Occupancy, OccupancyChanges, RoomNews, RoomState};
use diffyne_shared::settings::lifecycle::LifecycleKind;
use diffyne_shared::telemetry::LogThrottle;
use tokio_util::sync::CancellationToken;

use super::event::EventFields;
use super::queue::EventQueue;
use super::rooms::{RoomName, Rooms};

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
    reported_at: Option<Instant>,
    away: LogThrottle,
}

impl OccupancyTask {
    /// Creates the task for the rooms of a gateway.
    pub fn new(occupancy: Occupancy, rooms: Arc<Rooms>, queue: Arc<EventQueue>) -> Self {
        Self { occupancy, rooms, queue, pending: None, reported_at: None, away: LogThrottle::default() }
    }

    /// Reports until the gateway stops, and then that it has no rooms any more.
    pub async fn run(mut self, stop: CancellationToken) -> Self {
        while !stop.is_cancelled() {
            let is_well = self.report(false).await;
            let pause = match is_well {
                true if self.rooms.has_changes() => continue,
                true => self.rooms.due_in().map_or(BEAT_EVERY, |due| due.clamp(COLLECT, BEAT_EVERY)),
                false => RETRY_EVERY,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.rooms.changed.notified(), if is_well => tokio::time::sleep(COLLECT).await,
                () = stop.cancelled() => {}
            }
        }
        self.leave().await;
        self
    }

    /// Reports that this gateway has no rooms any more, and what was delivered by now: then nothing is left for the others
    /// to take over.
    pub async fn leave(&mut self) {
        while self.report(true).await && (self.pending.is_some() || self.rooms.has_any()) {}
    }

    /// Reports what has changed, as much as goes at a time. Returns whether that was taken.
    async fn report(&mut self, leaves: bool) -> bool {
        let changes = match self.pending.take() {
            Some(pending) => pending,
            None if !self.occupancy.is_known() => self.begin(leaves),
            None => self.rooms.take_changes(leaves),
        };
        let is_due = leaves || self.reported_at.is_none_or(|at| at.elapsed() >= BEAT_EVERY);
        if changes.is_empty() && !is_due {
            return true;
        }
        match self.occupancy.apply(&changes).await {
            Ok(Some(news)) => {
                self.reported_at = Some(Instant::now());
                for news in news {
                    self.tell(news).await;
                }
                true
            }
            Ok(None) => {
                // Redis has come back empty, or another gateway has taken this one for dead.
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
    fn begin(&self, leaves: bool) -> OccupancyChanges {
        self.rooms.forget_reports();
        OccupancyChanges { is_first: true, ..self.rooms.take_changes(leaves) }
    }

    async fn tell(&self, news: RoomNews) {
        let kind = match news.state {
            RoomState::Occupied => LifecycleKind::Occupied,
            RoomState::Vacated => LifecycleKind::Vacated,
            RoomState::LostGateway => LifecycleKind::GatewayLost,
        };
        let told = (Arc::clone(&news.room), news.version);
        if !self.queue.tells(kind) {
            return self.rooms.told(told);
        }
        if news.state == RoomState::LostGateway {
            tracing::warn!(gateway = news.lost_gateway(), "a gateway has ended without leaving");
            let fields = EventFields { lost: Some(news.lost_gateway()), ..EventFields::default() };
            return self.queue.push_room(kind, &fields, told).await;
        }
        let Some(name) = RoomName::read(&news.room) else { return self.rooms.told(told) };
        let fields = EventFields {
            event: Some(&name.event),
            filter: Some(&name.filter).filter(|filter| !filter.is_empty()),
            version: Some(news.version),
            ..EventFields::default()
        };
        self.queue.push_room(kind, &fields, told).await;
    }
}
