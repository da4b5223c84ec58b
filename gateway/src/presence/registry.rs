//! The rooms of a gateway, as all of its threads share them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diffyne_shared::bus::{RoomMember, RoomReport, Whisper};
use tokio::sync::mpsc;

use super::room::{RoomNews, Watcher};
use super::rooms::{Departure, RoomFull, RoomLimits, Rooms};

/// The whispers that wait to be delivered; more are dropped.
pub(super) const WHISPERS_MAX: usize = 4096;

/// Between two steps of what concerns all rooms, so that threads that serve clients get the lock.
const STEP_PAUSE: Duration = Duration::from_millis(1);

/// A whisper on its way.
#[derive(Debug)]
pub struct QueuedWhisper {
    /// The whisper.
    pub whisper: Whisper,
    /// The connection that it comes from; `None`: another gateway has sent it.
    pub sender: Option<Watcher>,
}

/// The rooms of this gateway.
pub struct RoomRegistry {
    rooms: Mutex<Rooms>,
    whispers: mpsc::Sender<QueuedWhisper>,
    queued: Mutex<Option<mpsc::Receiver<QueuedWhisper>>>,
}

impl RoomRegistry {
    /// No room. `own` is this gateway's id.
    pub fn new(own: &str, has_others: bool, limits: RoomLimits) -> Arc<Self> {
        let (whispers, queued) = mpsc::channel(WHISPERS_MAX);
        let rooms = Mutex::new(Rooms::new(own, has_others, limits));
        Arc::new(Self { rooms, whispers, queued: Mutex::new(Some(queued)) })
    }

    /// The rooms. The lock must not be held for long: threads that serve clients wait for it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the whispers' queue; `None` after the first time.
    pub(super) fn take_queue(&self) -> Option<mpsc::Receiver<QueuedWhisper>> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Adds a connection of a member to a room.
    pub fn join(&self, room: &Arc<str>, watcher: Watcher, member: RoomMember) -> Result<(), RoomFull> {
        self.lock().join(room, watcher, member, Instant::now())
    }

    /// Removes a connection of a member from a room.
    pub fn leave(&self, room: &Arc<str>, watcher: Watcher, id: &Arc<str>, departure: Departure) {
        self.lock().leave(room, watcher, id, departure, Instant::now());
    }

    /// Returns to how many a message to a room goes.
    pub fn audience(&self, room: &str) -> usize {
        self.lock().audience(room)
    }

    /// Returns the members of a room that clients of this gateway are in.
    pub fn list(&self, room: &str) -> Option<Vec<RoomMember>> {
        self.lock().list(room)
    }

    /// Takes what another gateway reports. Returns `false` if something is missing before it.
    pub fn apply_report(&self, report: RoomReport) -> bool {
        self.lock().apply_report(report, Instant::now())
    }

    /// Removes who has left, and takes what connections are to be told now, in steps.
    pub(super) async fn take_news(&self, now: Instant) -> Vec<RoomNews> {
        while self.lock().expire(now) {
            tokio::time::sleep(STEP_PAUSE).await;
        }
        let (mut all, mut after) = (Vec::new(), Arc::from(""));
        loop {
            let (news, last) = self.lock().take_news(now, &after);
            all.extend(news);
            match last {
                Some(last) => after = last,
                None => return all,
            }
            tokio::time::sleep(STEP_PAUSE).await;
        }
    }

    /// Returns the number of rooms, and how many entries members at this gateway have.
    pub(super) fn counts(&self) -> (usize, usize) {
        let rooms = self.lock();
        (rooms.count(), rooms.own_members())
    }

    /// Has all who wait for a list get what is known here, in steps.
    pub(super) async fn give_up_reading(&self) {
        while self.lock().give_up_reading() {
            tokio::time::sleep(STEP_PAUSE).await;
        }
    }

    /// Queues a whisper to be delivered. Returns `false` if too many wait.
    pub fn whisper(&self, whisper: Whisper, sender: Option<Watcher>) -> bool {
        self.whispers.try_send(QueuedWhisper { whisper, sender }).is_ok()
    }
}
