//! Reports what happens to a thread's connections, where the application wants to be told. A client that polls is a new
//! connection with each request, so only its rooms are told of.

use diffyne_shared::settings::lifecycle::LifecycleKind;
use serde_json::{Map, Value};

use super::delivery::Filter;
use crate::connection::transport::ClientTransport;
use crate::connection::{Connection, Phase};
use crate::lifecycle::event::{EventFields, UserId};
use crate::lifecycle::rooms;
use crate::lifecycle::tasks::Lifecycle;

/// The events of one thread.
pub struct LifecycleEvents(Lifecycle);

impl LifecycleEvents {
    /// Reports to this gateway's queue.
    pub fn new(lifecycle: &Lifecycle) -> Self {
        Self(lifecycle.clone())
    }

    fn push(&self, kind: LifecycleKind, connection: &Connection, user: Option<&str>, more: EventFields<'_>) {
        if !matches!(connection.transport, ClientTransport::Poll(_)) {
            let fields = EventFields { connection: Some(connection.caller.id()), user: Some(UserId(user)), ..more };
            self.0.queue.push(kind, &fields);
        }
    }

    pub(super) fn connected(&self, connection: &Connection) {
        let more = EventFields {
            transport: Some(connection.transport.label()),
            address: Some(connection.caller.ip()),
            ..EventFields::default()
        };
        self.push(LifecycleKind::Connected, connection, None, more);
    }

    pub(super) fn disconnected(&self, connection: &Connection, user: Option<&str>, now: u32) {
        let seconds = Some(now.saturating_sub(connection.born()));
        self.push(LifecycleKind::Disconnected, connection, user, EventFields { seconds, ..EventFields::default() });
    }

    /// `None`: it is a guest, or not known.
    pub(super) fn identified(&self, connection: &Connection, before: Option<&str>, user: Option<&str>) {
        if before != user && connection.phase() != Phase::Gone {
            let more = EventFields { before: Some(UserId(before)), ..EventFields::default() };
            self.push(LifecycleKind::Identified, connection, user, more);
        }
    }

    pub(super) fn subscribed(&self, connection: &Connection, name: &str, filter: &Filter) {
        let none = Map::new();
        let fields = filter.as_ref().unwrap_or(&none);
        self.subscription(LifecycleKind::Subscribed, connection, name, fields);
        if let Some(rooms) = &self.0.rooms {
            rooms.enter(name, fields);
        }
    }

    pub(super) fn unsubscribed(&self, connection: &Connection, name: &str, filters: &[Map<String, Value>]) {
        for fields in filters {
            self.subscription(LifecycleKind::Unsubscribed, connection, name, fields);
        }
        self.left(name, filters);
    }

    /// Ends subscriptions of a connection that has ended, which is told.
    pub(super) fn left(&self, name: &str, filters: &[Map<String, Value>]) {
        if let Some(rooms) = &self.0.rooms {
            for fields in filters {
                rooms.leave(name, fields);
            }
        }
    }

    fn subscription(&self, kind: LifecycleKind, connection: &Connection, name: &str, fields: &Map<String, Value>) {
        // What is too long for a room is none of a subscription either: clients choose it.
        if !self.0.tells_of(name) || rooms::key(name, fields).is_none() {
            return;
        }
        let filter = Some(fields).filter(|fields| !fields.is_empty());
        let user = connection.user.id();
        self.push(
            kind,
            connection,
            user.as_deref(),
            EventFields { event: Some(name), filter, ..EventFields::default() },
        );
    }
}
