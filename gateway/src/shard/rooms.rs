//! Has connections enter and leave rooms, and tells them what there is of these.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use diffyne_shared::bus::{RoomMember, Whisper};

use super::delivery::SharedFrame;
use super::hub::{FAN_OUT_BYTES, FAN_OUT_TURN, Hub, Turn};
use crate::connection::Connection;
use crate::connection::account::{HeldKind, Rates};
use crate::connection::room_membership::RoomMembership;
use crate::connection::transport::ClientTransport;
use crate::presence::news::PresenceNews;
use crate::presence::rooms::{Departure, RoomFull};
use crate::protocol;

impl Hub {
    /// Has a connection enter a room, or be there with another info than before. It is sent the list.
    pub fn enter_room(&self, connection: &Connection, room: &Arc<str>, member: RoomMember) -> Result<(), RoomFull> {
        // Nobody is told of this departure, since the member is back before the next news.
        self.leave_room(connection, room, Departure::AfterGrace);
        let key = connection.key();
        if key == usize::MAX {
            return Ok(());
        }
        let membership = RoomMembership::new(room, &member);
        self.rooms.presence.join(room, self.rooms.watcher(key), member)?;
        self.rooms.connections.borrow_mut().add(room, key);
        connection.account.hold(HeldKind::Subscriptions, membership.bytes);
        connection.rooms.add(membership);
        Ok(())
    }

    /// Has a connection leave a room. Returns `false` if it is not there.
    pub fn leave_room(&self, connection: &Connection, room: &str, departure: Departure) -> bool {
        let Some(membership) = connection.rooms.remove(room) else { return false };
        self.end_membership(connection, &membership, departure);
        true
    }

    fn end_membership(&self, connection: &Connection, membership: &RoomMembership, departure: Departure) {
        let key = connection.key();
        connection.account.release(HeldKind::Subscriptions, membership.bytes);
        self.rooms.connections.borrow_mut().remove(&membership.room, key);
        self.rooms.presence.leave(&membership.room, self.rooms.watcher(key), &membership.member, departure);
    }

    /// Has a connection leave all rooms. Returns their names.
    pub fn leave_all_rooms(&self, connection: &Connection, departure: Departure) -> Vec<Arc<str>> {
        let all = connection.rooms.take();
        for membership in &all {
            self.end_membership(connection, membership, departure);
        }
        all.into_iter().map(|membership| membership.room).collect()
    }

    /// Has a connection leave what it has entered as another user. Its page enters again, if it may.
    pub(super) fn leave_rooms_of_another(&self, connection: &Rc<Connection>) {
        let left = self.leave_all_rooms(connection, Departure::Now);
        if !left.is_empty() {
            self.send(connection, &protocol::left(&left, Some("the user has changed"), None));
        }
    }

    /// Sends what a connection whispers to the others in a room. Returns `false` if too many whispers wait.
    pub fn whisper(&self, connection: &Connection, whisper: Whisper) -> bool {
        self.rooms.presence.whisper(whisper, Some(self.rooms.watcher(connection.key())))
    }

    /// Returns to how many a message to a room goes.
    pub fn audience(&self, room: &str) -> usize {
        self.rooms.presence.audience(room)
    }

    /// Tells connections what there is of their rooms, in turns with everything else on this thread.
    pub async fn tell_rooms(&self, rates: &Rates, news: &[PresenceNews]) {
        let mut turn = Turn::default();
        for news in news {
            match news {
                PresenceNews::Change { room, frame } => self.tell(&mut turn, room, frame, None).await,
                PresenceNews::Whisper { room, frame, except } => {
                    let except = except.and_then(|sender| self.rooms.key_of(sender));
                    self.tell(&mut turn, room, frame, except).await;
                }
                PresenceNews::List { room, frame, watchers } => {
                    let keys = watchers.iter().filter_map(|watcher| self.rooms.key_of(*watcher));
                    for key in keys.collect::<Vec<_>>() {
                        if self.rooms.connections.borrow_mut().set_listed(room, key) {
                            self.tell_one(&mut turn, key, frame, Some(rates)).await;
                        }
                    }
                }
            }
        }
        self.flush();
    }

    async fn tell(&self, turn: &mut Turn, room: &str, frame: &SharedFrame, except: Option<usize>) {
        let keys = self.rooms.connections.borrow().listed(room);
        for key in keys {
            if Some(key) != except && self.rooms.connections.borrow().is_listed(room, key) {
                self.tell_one(turn, key, frame, None).await;
            }
        }
    }

    /// `charges`: the connection has asked for this.
    async fn tell_one(&self, turn: &mut Turn, key: usize, frame: &SharedFrame, charges: Option<&Rates>) {
        let connection = self.connections.borrow().get(key).cloned();
        let Some(connection) = connection else { return };
        if let Some(rates) = charges {
            // The next read waits until this is paid.
            let _ = connection.account.charge(rates, frame.len() as u64, Instant::now());
        }
        let encoded = match connection.transport {
            ClientTransport::WebSocket(deflate) => frame.frame_for(deflate).clone(),
            one_way => one_way.encode(frame.plain().clone(), None),
        };
        turn.bytes += encoded.len();
        turn.pushes += 1;
        self.push_encoded(&connection, encoded);
        if turn.bytes >= FAN_OUT_BYTES {
            self.flush();
            turn.bytes = 0;
        }
        if turn.pushes >= FAN_OUT_TURN {
            self.end_turn(turn).await;
        }
    }
}
