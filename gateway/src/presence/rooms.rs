//! The members of the rooms that clients of this gateway are in. No I/O.
//!
//! A gateway knows its own members by the connections that they have, and those at other gateways by what these report.
//! Who is a member anywhere is one entry. What has changed is collected and told at once, so that somebody who leaves and
//! comes back meanwhile has not left.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::bus::{RoomChange, RoomMember, RoomReport, RoomsBeat, RoomsPeer, RoomsRead};

use super::room::{OwnMember, Room, RoomNews, Watcher};

/// How long a gateway counts after it was heard of.
const PEER_LIFE: Duration = Duration::from_secs(4);
/// Without a heartbeat for this long, nobody knows which other gateways are there.
const DEAF_AFTER: Duration = Duration::from_secs(3);
/// The bytes of one report, unless a single room has more.
const REPORT_BYTES_MAX: usize = 128 * 1024;
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
}

/// All rooms of this gateway.
#[derive(Debug)]
pub struct Rooms {
    own: Arc<str>,
    has_others: bool,
    limits: RoomLimits,
    by_name: HashMap<Arc<str>, Room>,
    peers: HashMap<Arc<str>, Peer>,
    /// Rooms that connections are to be told of.
    untold: HashSet<Arc<str>>,
    /// Rooms that other gateways are to be told of.
    unreported: HashSet<Arc<str>>,
    /// Rooms that are to be read.
    unread: HashSet<Arc<str>>,
    /// Members whose last connection has ended, in the order in which they leave.
    leaving: VecDeque<(Instant, Arc<str>, Arc<str>)>,
    /// The number of the last report.
    number: u64,
    beat_at: Option<Instant>,
    own_members: usize,
}

impl Rooms {
    /// No room. `own` is this gateway's id.
    pub fn new(own: &str, has_others: bool, limits: RoomLimits) -> Self {
        Self {
            own: own.into(),
            has_others,
            limits,
            by_name: HashMap::new(),
            peers: HashMap::new(),
            untold: HashSet::new(),
            unreported: HashSet::new(),
            unread: HashSet::new(),
            leaving: VecDeque::new(),
            number: 0,
            beat_at: None,
            own_members: 0,
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
            self.unread.insert(Arc::clone(name));
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
        // What is told last counts, also if another gateway was told something else meanwhile.
        if own.member.at == 0 || own.member.info != member.info || shown.is_some_and(|shown| shown != member.info) {
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

    /// Removes members whose connection has ended and who have not come back, and those of gateways that are gone.
    pub fn expire(&mut self, now: Instant) {
        // Without a heartbeat nobody knows whether they are.
        if self.beat_at.is_some_and(|at| now.duration_since(at) < DEAF_AFTER) {
            self.drop_gone_peers(now);
        }
        while self.leaving.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((at, name, id)) = self.leaving.pop_front() else { break };
            let own = self.by_name.get(&name).and_then(|room| room.own.get(&id));
            if own.is_some_and(|own| own.connections == 0 && own.leaves_at == Some(at)) {
                self.remove_own(&name, &id);
            }
        }
    }

    fn remove_own(&mut self, name: &Arc<str>, id: &Arc<str>) {
        let Some(room) = self.by_name.get_mut(name) else { return };
        if room.own.remove(id).is_some() {
            self.own_members -= 1;
            self.note_own_change(name, id);
        }
        self.drop_if_empty(name);
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
            self.unread.remove(name);
        }
    }

    /// Takes what connections are to be told now.
    pub fn take_news(&mut self, now: Instant) -> Vec<RoomNews> {
        let rooms = &mut self.by_name;
        let mut news = Vec::new();
        self.untold.retain(|name| {
            let Some(room) = rooms.get_mut(name) else { return false };
            if room.has_news(now) {
                news.push(room.take_news(name, now));
            }
            !room.untold.is_empty() || !room.waiting.is_empty()
        });
        news.retain(|news| news.list.is_some() || !news.joins.is_empty() || !news.leaves.is_empty());
        news
    }

    // ---- to other gateways ----

    /// Returns the number of the last report.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Takes what the others are to be told next; `None` if that is nothing.
    pub fn take_report(&mut self) -> Option<RoomReport> {
        let (mut changes, mut bytes) = (Vec::new(), 0);
        let names: Vec<Arc<str>> = self.unreported.iter().cloned().collect();
        for name in names {
            if bytes >= REPORT_BYTES_MAX {
                break;
            }
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

    /// Returns the rooms that a report of everything has to name: all, and those of a report that got lost.
    pub fn all_names(&self, lost: &[Arc<str>]) -> Vec<Arc<str>> {
        let names: HashSet<&Arc<str>> = self.by_name.keys().chain(lost).collect();
        names.into_iter().cloned().collect()
    }

    /// Takes a part of a report of everything: as many of the rooms from the end of the list as fit.
    pub fn take_part(&mut self, names: &mut Vec<Arc<str>>) -> RoomReport {
        let (mut changes, mut bytes) = (Vec::new(), 0);
        while bytes < REPORT_BYTES_MAX
            && let Some(name) = names.pop()
        {
            let room = self.by_name.get_mut(&name);
            let joins = room.map_or_else(Vec::new, |room| {
                room.unreported.clear();
                room.own.values().map(|own| own.member.clone()).collect()
            });
            self.unreported.remove(&name);
            self.drop_if_empty(&name);
            let change = RoomChange { room: name, joins, leaves: Vec::new(), is_whole: true };
            bytes += change.bytes();
            changes.push(change);
        }
        self.report(changes)
    }

    // ---- from other gateways ----

    /// Takes the report of another gateway. Returns `false` if something is missing before it.
    pub fn apply_report(&mut self, report: RoomReport, now: Instant) -> bool {
        let RoomReport { gateway, number, changes } = report;
        let until = now + PEER_LIFE;
        let peer = self.peers.entry(Arc::clone(&gateway)).or_insert(Peer { seen: 0, ahead: None, until });
        if number <= peer.seen {
            return true;
        }
        let is_next = number == peer.seen + 1;
        peer.seen = number;
        peer.until = peer.until.max(until);
        if !is_next {
            self.read_all_again();
        }
        for change in changes {
            self.apply_change(&gateway, number, change);
        }
        is_next
    }

    fn apply_change(&mut self, gateway: &Arc<str>, number: u64, change: RoomChange) {
        let RoomChange { room: name, joins, leaves, is_whole } = change;
        let Some(room) = self.by_name.get_mut(&name) else { return };
        let known = room.peers.entry(Arc::clone(gateway)).or_default();
        if number <= known.as_of {
            return;
        }
        let mut changed: Vec<Arc<str>> = leaves;
        if is_whole {
            changed.extend(known.members.drain().map(|(id, _)| id));
        }
        for id in &changed {
            known.members.remove(id);
        }
        for member in joins {
            changed.push(Arc::clone(&member.id));
            known.members.insert(Arc::clone(&member.id), member);
        }
        for id in &changed {
            room.update(&self.own, id);
        }
        self.untold.insert(name);
    }

    fn read_all_again(&mut self) {
        self.unread.extend(self.by_name.keys().cloned());
    }

    /// Takes the answer to a heartbeat. Returns `false` if something of other gateways is missing here.
    pub fn apply_beat(&mut self, beat: &RoomsBeat, now: Instant) -> bool {
        let was_deaf = self.beat_at.is_none_or(|at| now.duration_since(at) > DEAF_AFTER);
        self.beat_at = Some(now);
        let mut is_missing = false;
        for peer in &beat.peers {
            is_missing |= self.apply_peer(peer, now);
        }
        if was_deaf || beat.is_lost {
            // The others have to find out as well; until then, they are as they were.
            for peer in self.peers.values_mut() {
                peer.until = peer.until.max(now + PEER_LIFE);
            }
        }
        self.drop_gone_peers(now);
        if is_missing {
            self.read_all_again();
        }
        !is_missing
    }

    /// Notes what Redis knows of another gateway. Returns whether something of it is missing here.
    fn apply_peer(&mut self, there: &RoomsPeer, now: Instant) -> bool {
        let until = now + there.life;
        let Some(peer) = self.peers.get_mut(&there.gateway) else {
            let peer = Peer { seen: there.number, ahead: None, until };
            self.peers.insert(Arc::clone(&there.gateway), peer);
            return there.number > 0;
        };
        peer.until = until;
        // Its last report may be on its way; what was there a beat ago has come by now.
        let is_behind = peer.ahead.is_some_and(|ahead| peer.seen < ahead);
        if is_behind {
            peer.seen = there.number;
        }
        peer.ahead = (there.number > peer.seen).then_some(there.number);
        is_behind
    }

    fn drop_gone_peers(&mut self, now: Instant) {
        let gone = self.peers.iter().filter(|(_, peer)| peer.until <= now).map(|(gateway, _)| Arc::clone(gateway));
        for gateway in gone.collect::<Vec<_>>() {
            self.drop_peer(&gateway);
        }
    }

    /// Forgets the members at a gateway that is gone.
    fn drop_peer(&mut self, gateway: &Arc<str>) {
        self.peers.remove(gateway);
        for (name, room) in &mut self.by_name {
            let Some(gone) = room.peers.remove(gateway) else { continue };
            for id in gone.members.keys() {
                room.update(&self.own, id);
            }
            self.untold.insert(Arc::clone(name));
        }
    }

    /// Returns rooms that are to be read.
    pub fn unread(&self, most: usize) -> Vec<Arc<str>> {
        self.unread.iter().take(most).cloned().collect()
    }

    /// Takes rooms as Redis has them. Those of a gateway that reports everything anew are to be read again.
    pub fn apply_read(&mut self, names: &[Arc<str>], read: RoomsRead, now: Instant) {
        let RoomsRead { peers, rooms } = read;
        let peers: Vec<RoomsPeer> = peers.into_iter().filter(|peer| peer.gateway != self.own).collect();
        for there in &peers {
            if !self.peers.contains_key(&there.gateway) {
                let until = now + there.life;
                self.peers.insert(Arc::clone(&there.gateway), Peer { seen: there.number, ahead: None, until });
                // Rooms that were read before lack what it has reported since.
                if there.number > 0 {
                    self.read_all_again();
                }
            }
        }
        for (name, stored) in names.iter().zip(rooms) {
            self.unread.remove(name);
            let mut stored: HashMap<Arc<str>, Vec<RoomMember>> = stored.into_iter().collect();
            for there in &peers {
                let seen = self.peers.get(&there.gateway).map_or(0, |peer| peer.seen);
                let members = stored.remove(&there.gateway).unwrap_or_default();
                if !there.is_complete {
                    self.unread.insert(Arc::clone(name));
                } else if there.number >= seen {
                    self.replace(name, there, members);
                }
            }
            if let Some(room) = self.by_name.get_mut(name) {
                room.is_read = true;
                self.untold.insert(Arc::clone(name));
            } else {
                self.unread.remove(name);
            }
        }
    }

    fn replace(&mut self, name: &Arc<str>, there: &RoomsPeer, members: Vec<RoomMember>) {
        let Some(room) = self.by_name.get_mut(name) else { return };
        let known = room.peers.entry(Arc::clone(&there.gateway)).or_default();
        known.as_of = there.number;
        let mut changed: Vec<Arc<str>> = known.members.drain().map(|(id, _)| id).collect();
        changed.extend(members.iter().map(|member| Arc::clone(&member.id)));
        known.members.extend(members.into_iter().map(|member| (Arc::clone(&member.id), member)));
        for id in &changed {
            room.update(&self.own, id);
        }
    }

    /// Notes that Redis does not answer. Who waits for a list gets what is known here, and what is missing when Redis is
    /// back.
    pub fn give_up_reading(&mut self, names: &[Arc<str>]) {
        for name in names {
            if let Some(room) = self.by_name.get_mut(name) {
                room.is_read = true;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
