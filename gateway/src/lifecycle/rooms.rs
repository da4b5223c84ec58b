//! Who subscribes to what on this gateway, over all threads: how many to each room. A room is an event with a `match`.
//!
//! Shards count here, and [`super::occupancy`] takes what has changed. That is a state and no list of events: however long
//! Redis is away, it is no larger than the number of rooms.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diffyne_shared::bus::{OccupancyChanges, sorted_fields};
use diffyne_shared::telemetry::LogThrottle;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use super::queue::ToldRoom;
use crate::metrics::Metrics;

/// Rooms of one gateway. More are not told of.
const ROOMS_MAX: usize = 200_000;
/// The longest room, as JSON, in bytes. A longer one is not told of.
const ROOM_BYTES_MAX: usize = 1024;
/// Changes that are reported at a time.
pub const CHANGES_MAX: usize = 500;

/// An event with a `match`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomName {
    /// The name of the event.
    pub event: String,
    /// Fields of its first parameter; empty: whatever that has.
    #[serde(rename = "match", default, skip_serializing_if = "Map::is_empty")]
    pub filter: Map<String, Value>,
}

impl RoomName {
    /// Reads what [`key`] has written.
    pub fn read(key: &str) -> Option<Self> {
        serde_json::from_str(key).ok()
    }
}

/// A room's key: the same for equal filters, whatever the order of their fields is.
pub fn key(event: &str, filter: &Map<String, Value>) -> Option<String> {
    let name = RoomName { event: event.to_owned(), filter: sorted_fields(filter) };
    serde_json::to_string(&name).ok().filter(|key| key.len() <= ROOM_BYTES_MAX)
}

/// One room on this gateway.
#[derive(Default)]
struct Room {
    subscribers: usize,
    /// The count of [`RoomTable::reports`] when it was reported as occupied; 0: never.
    reported: u64,
    /// It is listed as new.
    is_listed: bool,
    /// Since when it has no subscribers.
    empty_since: Option<Instant>,
    /// It is listed as empty.
    is_listed_empty: bool,
}

struct RoomTable {
    rooms: BTreeMap<Arc<str>, Room>,
    /// How often everything was reported from the beginning.
    reports: u64,
    /// The room after which the search for rooms goes on that have to be reported again; `None`: there is no such search.
    again_after: Option<Arc<str>>,
    /// Rooms that may have to be reported as occupied.
    new: VecDeque<Arc<str>>,
    /// Rooms that had no subscribers at that time.
    empty: VecDeque<(Instant, Arc<str>)>,
    /// What was told of rooms and is not reported yet.
    told: VecDeque<ToldRoom>,
}

impl Default for RoomTable {
    fn default() -> Self {
        let (rooms, again_after, new, empty, told) = Default::default();
        Self { rooms, reports: 1, again_after, new, empty, told }
    }
}

/// The rooms of a gateway.
pub struct Rooms {
    table: Mutex<RoomTable>,
    /// Event names whose rooms are told of.
    names: Vec<String>,
    /// How long a room is empty before it counts as such.
    grace: Duration,
    /// Something is to be reported.
    pub changed: Notify,
    metrics: Arc<Metrics>,
    left_out: LogThrottle,
}

impl Rooms {
    /// Creates an empty table.
    pub fn new(names: &[String], grace: Duration, metrics: Arc<Metrics>) -> Self {
        let (table, changed) = Default::default();
        Self { table, names: names.to_vec(), grace, changed, metrics, left_out: LogThrottle::default() }
    }

    fn lock(&self) -> MutexGuard<'_, RoomTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a subscription.
    pub fn enter(&self, event: &str, filter: &Map<String, Value>) {
        if !is_among(&self.names, event) {
            return;
        }
        let Some(key) = key(event, filter) else { return self.leave_out() };
        let mut table = self.lock();
        let table = &mut *table;
        if let Some(room) = table.rooms.get_mut(key.as_str()) {
            room.subscribers += 1;
            room.empty_since = None;
            if room.reported == table.reports || std::mem::replace(&mut room.is_listed, true) {
                return;
            }
            let known = table.rooms.get_key_value(key.as_str()).map(|(known, _)| Arc::clone(known));
            table.new.extend(known);
        } else if table.rooms.len() < ROOMS_MAX {
            let key: Arc<str> = key.into();
            table.rooms.insert(Arc::clone(&key), Room { subscribers: 1, is_listed: true, ..Room::default() });
            table.new.push_back(key);
        } else {
            return self.leave_out();
        }
        self.changed.notify_one();
    }

    fn leave_out(&self) {
        self.metrics.lifecycle_events.with_label_values(&["left_out"]).inc();
        if let Some(unsaid) = self.left_out.allow() {
            tracing::warn!(unsaid, "a room is not told of: it has too long a match, or there are too many rooms");
        }
    }

    /// Ends a subscription.
    pub fn leave(&self, event: &str, filter: &Map<String, Value>) {
        if !is_among(&self.names, event) {
            return;
        }
        let Some(key) = key(event, filter) else { return };
        let mut table = self.lock();
        let table = &mut *table;
        // One that was left out when the table was full may be there now, of others: it ends a subscription too many.
        let Some((known, _)) = table.rooms.get_key_value(key.as_str()) else { return };
        let known = Arc::clone(known);
        let Some(room) = table.rooms.get_mut(&known) else { return };
        room.subscribers = room.subscribers.saturating_sub(1);
        if room.subscribers == 0 && room.empty_since.is_none() {
            let now = Instant::now();
            room.empty_since = Some(now);
            if !std::mem::replace(&mut room.is_listed_empty, true) {
                table.empty.push_back((now, known));
                self.changed.notify_one();
            }
        }
    }

    /// Takes what has changed, as much as is reported at a time. `leaves`: the gateway stops, and has no rooms any more.
    pub fn take_changes(&self, leaves: bool) -> OccupancyChanges {
        let mut table = self.lock();
        let mut changes = OccupancyChanges { leaves, ..OccupancyChanges::default() };
        table.take_new(&mut changes);
        table.take_again(&mut changes);
        table.take_empty(&mut changes, if leaves { Duration::ZERO } else { self.grace });
        if leaves {
            table.take_rest(&mut changes);
        }
        let told = table.told.len().min(CHANGES_MAX);
        changes.told.extend(table.told.drain(..told));
        changes
    }

    /// Whether there is more to take at once.
    pub fn has_changes(&self) -> bool {
        let table = self.lock();
        !table.new.is_empty() || table.again_after.is_some() || table.told.len() >= CHANGES_MAX
    }

    /// Whether there is any room, or anything that was told and not reported.
    pub fn has_any(&self) -> bool {
        let table = self.lock();
        !table.rooms.is_empty() || !table.told.is_empty()
    }

    /// When the next room has been empty long enough.
    pub fn due_in(&self) -> Option<Duration> {
        self.lock().empty.front().map(|(since, _)| self.grace.saturating_sub(since.elapsed()))
    }

    /// Notes that what was told of a room has been delivered, or never will be.
    pub fn told(&self, room: ToldRoom) {
        self.lock().told.push_back(room);
        self.changed.notify_one();
    }

    /// Whether a room has subscribers.
    pub fn is_occupied(&self, room: &str) -> bool {
        self.lock().rooms.get(room).is_some_and(|room| room.subscribers > 0)
    }

    /// Has all rooms reported again, in steps.
    pub fn forget_reports(&self) {
        let mut table = self.lock();
        table.reports += 1;
        // No room has an empty key.
        table.again_after = Some("".into());
        drop(table);
        self.changed.notify_one();
    }
}

impl RoomTable {
    fn take_new(&mut self, changes: &mut OccupancyChanges) {
        while changes.entered.len() < CHANGES_MAX
            && let Some(key) = self.new.pop_front()
        {
            let Some(room) = self.rooms.get_mut(&key) else { continue };
            room.is_listed = false;
            if room.subscribers > 0 && room.reported != self.reports {
                room.reported = self.reports;
                changes.entered.push(key);
            }
        }
    }

    /// Takes rooms that were reported before, as far as one step goes. Those without subscribers are left to their grace.
    fn take_again(&mut self, changes: &mut OccupancyChanges) {
        let Some(after) = self.again_after.take() else { return };
        let behind: (Bound<&str>, Bound<&str>) = (Bound::Excluded(&after), Bound::Unbounded);
        let mut rooms = self.rooms.range_mut::<str, _>(behind);
        for (key, room) in rooms.by_ref().take(CHANGES_MAX.saturating_sub(changes.entered.len())) {
            if room.subscribers > 0 && room.reported != self.reports {
                room.reported = self.reports;
                changes.entered.push(Arc::clone(key));
            }
            self.again_after = Some(Arc::clone(key));
        }
        if changes.entered.len() >= CHANGES_MAX {
            self.again_after.get_or_insert(after);
        } else if rooms.next().is_none() {
            self.again_after = None;
        }
    }

    /// The order is that of the times, so that the first one that is not due ends the search.
    fn take_empty(&mut self, changes: &mut OccupancyChanges, grace: Duration) {
        while changes.left.len() < CHANGES_MAX
            && let Some((listed, _)) = self.empty.front()
            && listed.elapsed() >= grace
            && let Some((listed, key)) = self.empty.pop_front()
        {
            let Some(room) = self.rooms.get_mut(&key) else { continue };
            match room.empty_since {
                None => room.is_listed_empty = false,
                // It had subscribers meanwhile.
                Some(since) if since != listed && since.elapsed() < grace => self.empty.push_back((since, key)),
                Some(_) => self.remove(key, changes),
            }
        }
    }

    fn take_rest(&mut self, changes: &mut OccupancyChanges) {
        let count = CHANGES_MAX.saturating_sub(changes.left.len());
        let keys: Vec<Arc<str>> = self.rooms.keys().take(count).cloned().collect();
        for key in keys {
            self.remove(key, changes);
        }
    }

    /// Removes a room. Where the cluster has forgotten that it was occupied, it is entered and left again, so that its end is
    /// told unless it is occupied elsewhere.
    fn remove(&mut self, key: Arc<str>, changes: &mut OccupancyChanges) {
        let reported = self.rooms.remove(&key).map_or(0, |room| room.reported);
        if reported == 0 {
            return;
        }
        if reported != self.reports {
            changes.entered.push(Arc::clone(&key));
        }
        changes.left.push(key);
    }
}

/// Whether a list has this name, or a beginning of it with `*`.
pub fn is_among(names: &[String], name: &str) -> bool {
    names.iter().any(|wanted| match wanted.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => wanted == name,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metrics::RedisUse;
    use diffyne_shared::bus::{Bus, GatewayIdentity};
    use serde_json::json;

    fn rooms(names: &[&str], grace: Duration) -> Rooms {
        let (bus, _events) = Bus::memory(GatewayIdentity::new("g"));
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Rooms::new(&names, grace, Metrics::new(bus.counters(), RedisUse::No))
    }

    fn filter(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn equal_filters_are_one_room_and_each_field_counts() {
        let [a, b] = [r#"{"a":1,"b":{"x":1,"y":2}}"#, r#"{"b":{"y":2,"x":1},"a":1}"#]
            .map(|text| filter(&serde_json::from_str(text).unwrap()));
        assert_eq!(key("e", &a), key("e", &b));
        let others = [json!({}), json!({"a": 1}), json!({"a": "1", "b": {"x": 1, "y": 2}})];
        assert!(others.iter().all(|other| key("e", &filter(other)) != key("e", &a)));
        let name = RoomName::read(&key("e", &a).unwrap()).unwrap();
        assert_eq!((name.event.as_str(), name.filter), ("e", a));
        assert_eq!(key("e", &filter(&json!({"a": "x".repeat(2000)}))), None);
    }

    #[test]
    fn a_room_is_reported_with_its_first_and_without_its_last_subscriber() {
        let (rooms, none) = (rooms(&["room:*", "chat"], Duration::ZERO), Map::new());
        for name in ["room:1", "room:1", "chat", "chats"] {
            rooms.enter(name, &none);
        }
        let changes = rooms.take_changes(false);
        let names = |keys: &[Arc<str>]| keys.iter().map(|key| RoomName::read(key).unwrap().event).collect::<Vec<_>>();
        assert_eq!((names(&changes.entered), changes.left.len()), (vec!["room:1".to_owned(), "chat".to_owned()], 0));
        rooms.leave("room:1", &none);
        assert!(rooms.take_changes(false).left.is_empty());
        rooms.leave("room:1", &none);
        assert_eq!(names(&rooms.take_changes(false).left), ["room:1"]);
        // All again, when Redis has forgotten them; and the end of all.
        rooms.forget_reports();
        assert_eq!(names(&rooms.take_changes(false).entered), ["chat"]);
        assert_eq!(names(&rooms.take_changes(true).left), ["chat"]);
        assert!(rooms.lock().rooms.is_empty());
    }

    #[test]
    fn a_page_that_loads_anew_does_not_empty_its_room() {
        let (rooms, none) = (rooms(&["*"], Duration::from_hours(1)), Map::new());
        rooms.enter("chat", &none);
        assert_eq!(rooms.take_changes(false).entered.len(), 1);
        rooms.leave("chat", &none);
        rooms.enter("chat", &none);
        let changes = rooms.take_changes(false);
        assert!(changes.left.is_empty() && changes.entered.is_empty());
        rooms.leave("chat", &none);
        assert!(rooms.take_changes(false).left.is_empty());
        // Whoever has forgotten that it was occupied is told of its end all the same.
        rooms.forget_reports();
        assert!(rooms.take_changes(false).entered.is_empty());
        let changes = rooms.take_changes(true);
        assert!(changes.entered.len() == 1 && changes.entered == changes.left);
        // Somebody who was never reported leaves nothing behind.
        rooms.enter("other", &none);
        rooms.leave("other", &none);
        assert!(rooms.take_changes(false).entered.is_empty());
        assert!(rooms.take_changes(true).left.is_empty() && rooms.lock().rooms.is_empty());
    }

    #[test]
    fn all_rooms_are_reported_again_in_steps_of_bounded_work() {
        let (rooms, none) = (rooms(&["*"], Duration::ZERO), Map::new());
        let count = 3 * CHANGES_MAX + 7;
        let report_all = || {
            let mut entered = std::collections::HashSet::new();
            let mut steps = 0;
            while rooms.has_changes() {
                let changes = rooms.take_changes(false);
                assert!(changes.entered.len() <= CHANGES_MAX && changes.left.is_empty());
                assert!(changes.entered.into_iter().all(|room| entered.insert(room)), "each once");
                steps += 1;
            }
            (entered.len(), steps)
        };
        (0..count).for_each(|n| rooms.enter(&format!("room:{n}"), &none));
        assert_eq!(report_all(), (count, 4));
        // Meanwhile one comes, one loses its last subscriber, and Redis forgets everything once more.
        rooms.forget_reports();
        assert_eq!(rooms.take_changes(false).entered.len(), CHANGES_MAX);
        rooms.enter("a new one", &none);
        rooms.forget_reports();
        assert_eq!(report_all().0, count + 1);
        rooms.forget_reports();
        rooms.leave("room:9", &none);
        let changes = rooms.take_changes(false);
        let left = key("room:9", &none).unwrap();
        assert!(changes.left.len() == 1 && *changes.left[0] == *left && changes.entered.contains(&changes.left[0]));
        assert_eq!(report_all().0 + changes.entered.len(), count + 1);
    }
}
