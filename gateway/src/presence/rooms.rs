//! The members of the rooms that clients of this gateway are in. No I/O.
//!
//! A gateway knows its own members by the connections that they have, and those at other gateways by what these report.
//! Who is a member anywhere is one entry. What has changed is collected and told at once, so that somebody who leaves and
//! comes back meanwhile has not left.

mod name_queue;
mod peers;
mod whole;

pub use whole::WholeReport;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::bus::{RoomChange, RoomMember, RoomReport};

use self::name_queue::NameQueue;
use super::room::{OwnMember, Room, RoomNews, Watcher};

/// How long a gateway counts after it was heard of.
const PEER_LIFE: Duration = Duration::from_secs(4);
/// Without a heartbeat for this long, nobody knows which other gateways are there.
const DEAF_AFTER: Duration = Duration::from_secs(3);
/// The bytes of one report, unless a single room has more.
const REPORT_BYTES_MAX: usize = 128 * 1024;
/// Rooms with changes of which the others were not told yet.
const UNREPORTED_MAX: usize = 20_000;
/// About how many rooms and members are gone through at once. Threads that serve clients wait meanwhile.
const WORK_MAX: usize = 2_000;

/// The limits of a room.
#[derive(Debug, Clone, Copy)]
pub struct RoomLimits {
    /// `DIFFYNE_PRESENCE_MAX_MEMBERS`.
    pub members_max: usize,
    /// `DIFFYNE_PRESENCE_MAX_BYTES`.
    pub bytes_max: usize,
    /// `DIFFYNE_PRESENCE_GRACE`.
    pub grace: Duration,
}

/// The room has as many members, or as many bytes of them, as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomFull;

/// How a member leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// At once.
    Now,
    /// Its connection has ended; another one may follow.
    AfterGrace,
}

/// Another gateway.
#[derive(Debug)]
struct Peer {
    /// The number of its last report that has come here.
    seen: u64,
    /// The number that Redis had at the last beat, if that was more.
    ahead: Option<u64>,
    /// It counts until then, unless it is heard of.
    until: Instant,
    /// Redis gave nothing of it when rooms were read, as its heartbeat was late.
    is_late: bool,
}

/// All rooms of this gateway.
#[derive(Debug)]
pub struct Rooms {
    own: Arc<str>,
    has_others: bool,
    limits: RoomLimits,
    /// In the order of their names, so that what concerns all of them goes on where it was interrupted.
    by_name: BTreeMap<Arc<str>, Room>,
    peers: HashMap<Arc<str>, Peer>,
    /// Gateways that are gone, and whose members are still in the rooms behind `swept_to`.
    gone: Vec<Arc<str>>,
    swept_to: Arc<str>,
    /// Rooms that connections are to be told of.
    untold: BTreeSet<Arc<str>>,
    /// Rooms that other gateways are to be told of.
    unreported: NameQueue,
    /// Rooms that are to be read and have not been yet.
    unread_new: NameQueue,
    /// Rooms that are to be read again.
    unread: NameQueue,
    /// All rooms behind this one are to be read again.
    reread_after: Option<Arc<str>>,
    /// Members whose last connection has ended, in the order in which they leave.
    leaving: VecDeque<(Instant, Arc<str>, Arc<str>)>,
    /// The number of the last report.
    number: u64,
    beat_at: Option<Instant>,
    own_members: usize,
    /// Rooms were forgotten before the others knew that they are empty.
    has_forgotten: bool,
}

impl Rooms {
    /// No room. `own` is this gateway's id.
    pub fn new(own: &str, has_others: bool, limits: RoomLimits) -> Self {
        Self {
            own: own.into(),
            has_others,
            limits,
            by_name: BTreeMap::new(),
            peers: HashMap::new(),
            gone: Vec::new(),
            swept_to: "".into(),
            untold: BTreeSet::new(),
            unreported: NameQueue::default(),
            unread_new: NameQueue::default(),
            unread: NameQueue::default(),
            reread_after: None,
            leaving: VecDeque::new(),
            number: 0,
            beat_at: None,
            own_members: 0,
            has_forgotten: false,
        }
    }

    /// Returns the number of rooms.
    pub fn count(&self) -> usize {
        self.by_name.len()
    }

    /// Returns how many entries members at this gateway have.
    pub fn own_members(&self) -> usize {
        self.own_members
    }

    /// Returns to how many a message to a room goes: its members, or more connections here, of which several may be one
    /// member's.
    pub fn audience(&self, room: &str) -> usize {
        self.by_name.get(room).map_or(0, |room| room.members.len().max(room.connections))
    }

    /// Returns how many members a room has, as far as this gateway knows; 0 for a room that no client here is in.
    pub fn members_in(&self, room: &str) -> usize {
        self.by_name.get(room).map_or(0, |room| room.members.len())
    }

    /// Whether other gateways have members in the room.
    pub fn has_members_elsewhere(&self, room: &str) -> bool {
        self.by_name
            .get(room)
            .is_some_and(|room| !room.is_read || room.peers.values().any(|peer| !peer.members.is_empty()))
    }

    /// Returns the members of a room that clients of this gateway are in.
    pub fn list(&self, room: &str) -> Option<Vec<RoomMember>> {
        self.by_name.get(room).map(|room| room.members.values().cloned().collect())
    }

    /// Adds a connection of a member. It is sent the list as soon as it is known.
    pub fn join(
        &mut self,
        name: &Arc<str>,
        watcher: Watcher,
        member: RoomMember,
        now: Instant,
    ) -> Result<(), RoomFull> {
        let limits = self.limits;
        let room = self.by_name.entry(Arc::clone(name)).or_insert_with(|| Room::new(!self.has_others, now));
        let before = room.members.get(&member.id);
        let is_over = before.is_none() && room.members.len() >= limits.members_max;
        let shown = before.map(|before| Arc::clone(&before.info));
        let bytes = room.bytes - before.map_or(0, RoomMember::bytes) + member.bytes();
        if is_over || bytes > limits.bytes_max {
            self.drop_if_empty(name);
            return Err(RoomFull);
        }
        if !room.is_read {
            self.unread_new.insert(Arc::clone(name));
        }
        room.waiting.insert(watcher);
        self.untold.insert(Arc::clone(name));
        let id = Arc::clone(&member.id);
        let own_members = &mut self.own_members;
        let own = room.own.entry(Arc::clone(&id)).or_insert_with(|| {
            *own_members += 1;
            OwnMember { member: RoomMember { at: 0, ..member.clone() }, connections: 0, leaves_at: None }
        });
        own.connections += 1;
        own.leaves_at = None;
        room.connections += 1;
        // What a worker has told last counts, also if another gateway was told something else meanwhile.
        let is_other = own.member.info != member.info || shown.is_some_and(|shown| shown != member.info);
        if own.member.at == 0 || (is_other && member.at >= own.member.at) {
            own.member = member;
            self.note_own_change(name, &id);
        }
        Ok(())
    }

    /// Removes a connection of a member.
    pub fn leave(&mut self, name: &Arc<str>, watcher: Watcher, id: &Arc<str>, departure: Departure, now: Instant) {
        let Some(room) = self.by_name.get_mut(name) else { return };
        room.waiting.remove(&watcher);
        let Some(own) = room.own.get_mut(id) else { return };
        own.connections = own.connections.saturating_sub(1);
        room.connections = room.connections.saturating_sub(1);
        if own.connections > 0 {
            return;
        }
        if departure == Departure::AfterGrace && !self.limits.grace.is_zero() {
            let at = now + self.limits.grace;
            own.leaves_at = Some(at);
            self.leaving.push_back((at, Arc::clone(name), Arc::clone(id)));
        } else {
            self.remove_own(name, id);
        }
    }

    /// Removes members whose connection has ended and who have not come back, and those of gateways that are gone: as many
    /// as go at once. Returns whether there are more.
    pub fn expire(&mut self, now: Instant) -> bool {
        // Without a heartbeat nobody knows whether they are.
        if self.beat_at.is_some_and(|at| now.duration_since(at) < DEAF_AFTER) {
            self.drop_gone_peers(now);
        }
        let is_swept = self.sweep();
        for _ in 0..WORK_MAX {
            if self.leaving.front().is_none_or(|(at, ..)| *at > now) {
                return !is_swept;
            }
            let Some((at, name, id)) = self.leaving.pop_front() else { return !is_swept };
            let own = self.by_name.get(&name).and_then(|room| room.own.get(&id));
            if own.is_some_and(|own| own.connections == 0 && own.leaves_at == Some(at)) {
                self.remove_own(&name, &id);
            }
        }
        true
    }

    fn remove_own(&mut self, name: &Arc<str>, id: &Arc<str>) {
        let Some(room) = self.by_name.get_mut(name) else { return };
        if room.own.remove(id).is_some() {
            self.own_members -= 1;
            self.note_own_change(name, id);
        }
        self.forget_if_too_many(name);
        self.drop_if_empty(name);
    }

    /// While the others cannot be told, rooms that are empty by now are kept for that; but not as many as clients make.
    fn forget_if_too_many(&mut self, name: &Arc<str>) {
        if self.unreported.len() <= UNREPORTED_MAX {
            return;
        }
        if let Some(room) = self.by_name.get_mut(name).filter(|room| room.own.is_empty()) {
            room.unreported.clear();
            self.unreported.remove(name);
            self.has_forgotten = true;
        }
    }

    /// Whether there is something that the others were not told and that is forgotten here: then everything has to be
    /// reported anew. The others see that a number is missing, and read what is left.
    pub fn take_forgotten(&mut self) -> bool {
        let has_forgotten = std::mem::take(&mut self.has_forgotten);
        self.number += u64::from(has_forgotten);
        has_forgotten
    }

    fn note_own_change(&mut self, name: &Arc<str>, id: &Arc<str>) {
        let Some(room) = self.by_name.get_mut(name) else { return };
        room.update(&self.own, id);
        self.untold.insert(Arc::clone(name));
        if self.has_others {
            room.unreported.insert(Arc::clone(id));
            self.unreported.insert(Arc::clone(name));
        }
    }

    /// Forgets a room that no client of this gateway is in, once the others know it.
    fn drop_if_empty(&mut self, name: &Arc<str>) {
        if self.by_name.get(name).is_some_and(|room| room.own.is_empty() && room.unreported.is_empty()) {
            self.by_name.remove(name);
            self.untold.remove(name);
            self.unread_new.remove(name);
            self.unread.remove(name);
        }
    }

    /// Takes what connections are to be told now of the rooms behind one: as much as goes at once. Returns as well after which
    /// room it goes on.
    pub fn take_news(&mut self, now: Instant, after: &str) -> (Vec<RoomNews>, Option<Arc<str>>) {
        let (mut news, mut told, mut work, mut last) = (Vec::new(), Vec::new(), 0, None);
        for name in self.untold.range::<str, _>(behind(after)) {
            work += 1;
            if let Some(room) = self.by_name.get_mut(name) {
                if room.has_news(now) {
                    work += room.untold.len();
                    let found = room.take_news(name, now);
                    work += found.list.as_ref().map_or(0, |(members, _)| members.len());
                    news.push(found);
                }
                if room.untold.is_empty() && room.waiting.is_empty() {
                    told.push(Arc::clone(name));
                }
            } else {
                told.push(Arc::clone(name));
            }
            if work >= WORK_MAX {
                last = Some(Arc::clone(name));
                break;
            }
        }
        for name in &told {
            self.untold.remove(name);
        }
        news.retain(|news| news.list.is_some() || !news.joins.is_empty() || !news.leaves.is_empty());
        (news, last)
    }

    // ---- to other gateways ----

    /// Returns the number of the last report.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Takes what the others are to be told next, of the rooms first that have waited longest; `None` if that is nothing.
    pub fn take_report(&mut self) -> Option<RoomReport> {
        let (mut changes, mut bytes) = (Vec::new(), 0);
        while bytes < REPORT_BYTES_MAX
            && let Some(name) = self.unreported.first().cloned()
        {
            let change = self.take_change(&name);
            bytes += change.bytes();
            changes.push(change);
        }
        (!changes.is_empty()).then(|| self.report(changes))
    }

    /// Makes the next report.
    fn report(&mut self, changes: Vec<RoomChange>) -> RoomReport {
        self.number += 1;
        RoomReport { gateway: Arc::clone(&self.own), number: self.number, changes }
    }

    fn take_change(&mut self, name: &Arc<str>) -> RoomChange {
        let mut change = RoomChange { room: Arc::clone(name), joins: Vec::new(), leaves: Vec::new(), is_whole: false };
        if let Some(room) = self.by_name.get_mut(name) {
            for id in room.unreported.drain() {
                match room.own.get(&id) {
                    Some(own) => change.joins.push(own.member.clone()),
                    None => change.leaves.push(id),
                }
            }
        }
        self.unreported.remove(name);
        self.drop_if_empty(name);
        change
    }
}

/// Everything behind a name; behind the empty name, which no room has, all there is.
fn behind(name: &str) -> (Bound<&str>, Bound<&str>) {
    (Bound::Excluded(name), Bound::Unbounded)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
