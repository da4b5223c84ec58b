//! What other gateways report of their members, and what Redis has of these.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use diffyne_shared::bus::{RoomChange, RoomMember, RoomReport, RoomsBeat, RoomsPeer, RoomsRead};

use super::{DEAF_AFTER, PEER_LIFE, Peer, Rooms, WORK_MAX, behind};

impl Rooms {
    /// Takes the report of another gateway. Returns `false` if something is missing before it.
    pub fn apply_report(&mut self, report: RoomReport, now: Instant) -> bool {
        let RoomReport { gateway, number, changes } = report;
        let until = now + PEER_LIFE;
        self.revive(&gateway);
        let peer =
            self.peers.entry(Arc::clone(&gateway)).or_insert(Peer { seen: 0, ahead: None, until, is_late: false });
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
        self.reread_after = Some("".into());
    }

    /// Keeps the members of a gateway that was gone and is back. Whatever of them is outdated is read again.
    fn revive(&mut self, gateway: &Arc<str>) {
        self.gone.retain(|gone| gone != gateway);
    }

    /// Whether Redis knows a gateway again of which it gave nothing in between, as its heartbeat was late.
    fn has_come_back(&mut self, gateway: &Arc<str>) -> bool {
        self.peers.get_mut(gateway).is_some_and(|peer| std::mem::take(&mut peer.is_late))
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
        self.revive(&there.gateway);
        let was_late = self.has_come_back(&there.gateway);
        let Some(peer) = self.peers.get_mut(&there.gateway) else {
            let peer = Peer { seen: there.number, ahead: None, until, is_late: false };
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
        is_behind || was_late
    }

    pub(super) fn drop_gone_peers(&mut self, now: Instant) {
        let gone = self.peers.iter().filter(|(_, peer)| peer.until <= now).map(|(gateway, _)| Arc::clone(gateway));
        for gateway in gone.collect::<Vec<_>>() {
            self.peers.remove(&gateway);
            self.gone.push(gateway);
            self.swept_to = "".into();
        }
    }

    /// Forgets members at gateways that are gone, as many as go at once. Returns whether none are left.
    pub(super) fn sweep(&mut self) -> bool {
        if self.gone.is_empty() {
            return true;
        }
        let mut work = 0;
        for (name, room) in self.by_name.range_mut::<str, _>(behind(&self.swept_to)) {
            if work >= WORK_MAX {
                return false;
            }
            work += 1;
            for gone in self.gone.iter().filter_map(|gateway| room.peers.remove(gateway)).collect::<Vec<_>>() {
                work += gone.members.len();
                for id in gone.members.keys() {
                    room.update(&self.own, id);
                }
                self.untold.insert(Arc::clone(name));
            }
            self.swept_to = Arc::clone(name);
        }
        self.gone.clear();
        true
    }

    /// Returns rooms that are to be read: first those whose list somebody waits for.
    pub fn unread(&mut self, most: usize) -> Vec<Arc<str>> {
        let missing = most.saturating_sub(self.unread_new.len() + self.unread.len());
        if let Some(after) = self.reread_after.take() {
            let more: Vec<_> =
                self.by_name.range::<str, _>(behind(&after)).take(missing).map(|(name, _)| name).cloned().collect();
            if more.len() == missing {
                self.reread_after = more.last().cloned().or(Some(after));
            }
            let is_new = |name: &Arc<str>| self.unread_new.contains(name);
            let more: Vec<_> = more.into_iter().filter(|name| !is_new(name)).collect();
            for name in more {
                self.unread.insert(name);
            }
        }
        self.unread_new.iter().chain(self.unread.iter()).take(most).cloned().collect()
    }

    /// Takes rooms as Redis has them. Those of a gateway that reports everything anew are to be read again.
    pub fn apply_read(&mut self, names: &[Arc<str>], read: RoomsRead, now: Instant) {
        let RoomsRead { peers, rooms } = read;
        let peers: Vec<RoomsPeer> = peers.into_iter().filter(|peer| peer.gateway != self.own).collect();
        for (gateway, peer) in &mut self.peers {
            peer.is_late |= !peers.iter().any(|there| there.gateway == *gateway);
        }
        for there in &peers {
            self.revive(&there.gateway);
            if self.has_come_back(&there.gateway) {
                self.read_all_again();
            }
            if !self.peers.contains_key(&there.gateway) {
                let until = now + there.life;
                self.peers.insert(
                    Arc::clone(&there.gateway),
                    Peer { seen: there.number, ahead: None, until, is_late: false },
                );
                // Rooms that were read before lack what it has reported since.
                if there.number > 0 {
                    self.read_all_again();
                }
            }
        }
        for (name, stored) in names.iter().zip(rooms) {
            self.unread_new.remove(name);
            self.unread.remove(name);
            let mut stored: HashMap<Arc<str>, Vec<RoomMember>> = stored.into_iter().collect();
            for there in &peers {
                let seen = self.peers.get(&there.gateway).map_or(0, |peer| peer.seen);
                let members = stored.remove(&there.gateway).unwrap_or_default();
                if !there.is_complete {
                    self.unread.insert(Arc::clone(name));
                } else if there.number >= seen {
                    self.replace(name, there, members);
                } else {
                    // A report has come meanwhile that is newer than what was read.
                    self.unread.insert(Arc::clone(name));
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
    /// back. Returns whether there are more such rooms.
    pub fn give_up_reading(&mut self) -> bool {
        for _ in 0..WORK_MAX {
            let Some(name) = self.unread_new.pop_first() else { return false };
            if let Some(room) = self.by_name.get_mut(&name) {
                room.is_read = true;
                self.unread.insert(name);
            }
        }
        true
    }
}
