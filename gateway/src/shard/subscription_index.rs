//! The subscriptions to one event, indexed by their filters. The cost of a broadcast depends on its deliveries, not on
//! the number of filters.
//!
//! Equal filters form one group. A group is indexed by one of its fields: the one that indexes the fewest other groups.
//! A broadcast looks up each field of its first parameter.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};

use diffyne_shared::bus::Position;
use serde_json::{Map, Value};
use slab::Slab;

use super::delivery::{Audience, Delivery, Filter};

/// The memory that a map entry takes beside its content, in bytes.
const ENTRY_BYTES: usize = 64;

/// A filter in a compact form that is fast to compare.
#[derive(Debug, PartialEq)]
struct Matcher {
    fields: Box<[(Box<str>, Value)]>,
    /// The subscription has no `match` at all. To unsubscribe, this differs from an empty filter.
    is_open: bool,
}

impl Matcher {
    fn new(filter: &Filter) -> Self {
        let fields = filter.iter().flatten().map(|(name, value)| (name.as_str().into(), value.clone()));
        let mut fields: Box<[(Box<str>, Value)]> = fields.collect();
        fields.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Self { fields, is_open: filter.is_none() }
    }

    /// Returns the memory of the filter, in bytes. Equal filters share it, but each subscriber is charged for the
    /// whole.
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.fields.iter().map(|(name, value)| 16 + name.len() + value_bytes(value)).sum::<usize>()
    }

    /// Compares the fields without coercion.
    fn matches(&self, delivery: &Delivery) -> bool {
        if self.fields.is_empty() {
            return true;
        }
        let Some(Value::Object(first)) = delivery.first() else { return false };
        self.fields.iter().all(|(name, value)| first.get(&**name) == Some(value))
    }
}

/// Estimates the memory of a value from its parts, in bytes.
fn value_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.capacity(),
            Value::Array(items) => items.iter().map(value_bytes).sum(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| ENTRY_BYTES + name.len() + value_bytes(value)).sum()
            }
            _ => 0,
        }
}

/// Returns the memory of a filter, in bytes.
pub fn filter_bytes(filter: &Filter) -> usize {
    Matcher::new(filter).bytes()
}

/// The connections with one filter.
#[derive(Debug)]
struct Group {
    matcher: Matcher,
    /// The hash of the whole filter.
    hash: u64,
    /// The hash of the field that indexes the group; `None` if the group matches every event.
    found_by: Option<u64>,
    connections: HashSet<usize>,
}

/// One connection's subscription to one event.
#[derive(Debug)]
struct Subscription {
    /// The moment at which the subscription began.
    since: u64,
    /// The client came from a gateway that was ahead of this one, and already has everything up to this position.
    floor: Option<Box<Position>>,
    groups: Vec<usize>,
}

impl Subscription {
    /// Whether the subscription is in the audience of a delivery, regardless of its filters.
    fn is_meant_by(&self, delivery: &Delivery) -> bool {
        let heard = match delivery.audience {
            Audience::All => true,
            Audience::Before(moment) => self.since < moment,
            Audience::After(moment) => self.since > moment,
        };
        heard && !self.has(delivery)
    }

    fn has(&self, delivery: &Delivery) -> bool {
        let (Some(floor), Some(place)) = (&self.floor, &delivery.position) else { return false };
        floor.epoch == place.epoch && place.offset <= floor.offset
    }
}

/// The result of adding a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insertion {
    /// The filter is new.
    New,
    /// The connection already had the filter.
    Known,
    /// The connection has as many filters of this event as it may.
    Full,
}

/// All subscriptions to one event on one thread.
#[derive(Debug, Default)]
pub struct SubscriptionIndex {
    by_connection: HashMap<usize, Subscription>,
    groups: Slab<Group>,
    by_hash: HashMap<u64, Vec<usize>>,
    by_field: HashMap<u64, Vec<usize>>,
    open: Vec<usize>,
    /// Some subscription has, or had, a floor.
    has_floors: bool,
    hasher: RandomState,
}

impl SubscriptionIndex {
    /// Returns the number of subscribed connections.
    pub fn len(&self) -> usize {
        self.by_connection.len()
    }

    /// Whether there are no subscriptions.
    pub fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }

    /// Notes that a connection has everything up to a position.
    pub fn set_floor(&mut self, connection: usize, place: &Position) {
        if let Some(subscription) = self.by_connection.get_mut(&connection) {
            subscription.floor = Some(Box::new(place.clone()));
            self.has_floors = true;
        }
    }

    /// Adds a filter of a connection. `moment` is called if the filter is the connection's first.
    pub fn add(&mut self, connection: usize, filter: &Filter, most: usize, moment: impl FnOnce() -> u64) -> Insertion {
        let matcher = Matcher::new(filter);
        let hash = self.hash_of(&matcher);
        let known =
            self.by_hash.get(&hash).into_iter().flatten().copied().find(|at| self.groups[*at].matcher == matcher);
        if let Some(subscription) = self.by_connection.get(&connection) {
            if known.is_some_and(|at| self.groups[at].connections.contains(&connection)) {
                return Insertion::Known;
            }
            if subscription.groups.len() >= most {
                return Insertion::Full;
            }
        }
        let at = known.unwrap_or_else(|| self.new_group(matcher, hash));
        self.groups[at].connections.insert(connection);
        self.by_connection
            .entry(connection)
            .or_insert_with(|| Subscription { since: moment(), floor: None, groups: Vec::new() })
            .groups
            .push(at);
        Insertion::New
    }

    fn new_group(&mut self, matcher: Matcher, hash: u64) -> usize {
        let fields = matcher.fields.iter().map(|(name, value)| self.hash_of_field(name, value));
        let rarest = fields.min_by_key(|field| self.by_field.get(field).map_or(0, Vec::len));
        let at = self.groups.insert(Group { matcher, hash, found_by: rarest, connections: HashSet::new() });
        self.by_hash.entry(hash).or_default().push(at);
        match rarest {
            Some(field) => self.by_field.entry(field).or_default().push(at),
            None => self.open.push(at),
        }
        at
    }

    /// Removes a filter of a connection, or all of them. Returns the bytes that were charged for them, and whether the
    /// connection has no filter left.
    pub fn remove(&mut self, connection: usize, filter: Option<&Filter>) -> (usize, bool) {
        let Some(mut subscription) = self.by_connection.remove(&connection) else { return (0, false) };
        let wanted = filter.filter(|filter| filter.is_some()).map(Matcher::new);
        let goes = |at: &usize| wanted.as_ref().is_none_or(|wanted| self.groups[*at].matcher == *wanted);
        let (gone, left): (Vec<usize>, Vec<usize>) = subscription.groups.iter().copied().partition(goes);
        let mut bytes = 0;
        for at in gone {
            bytes += self.groups[at].matcher.bytes();
            self.leave(at, connection);
        }
        let is_over = left.is_empty();
        if !is_over {
            subscription.groups = left;
            self.by_connection.insert(connection, subscription);
        }
        (bytes, is_over)
    }

    /// Returns the filters that [`SubscriptionIndex::remove`] would remove.
    pub fn filters(&self, connection: usize, filter: Option<&Filter>) -> Vec<Map<String, Value>> {
        let wanted = filter.filter(|filter| filter.is_some()).map(Matcher::new);
        let groups = self.by_connection.get(&connection).into_iter().flat_map(|subscription| &subscription.groups);
        let matchers = groups.map(|at| &self.groups[*at].matcher);
        let removed = matchers.filter(|matcher| wanted.as_ref().is_none_or(|wanted| *matcher == wanted));
        removed
            .map(|matcher| matcher.fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect())
            .collect()
    }

    fn leave(&mut self, at: usize, connection: usize) {
        self.groups[at].connections.remove(&connection);
        if !self.groups[at].connections.is_empty() {
            return;
        }
        let group = self.groups.remove(at);
        drop_from(&mut self.by_hash, group.hash, at);
        match group.found_by {
            Some(field) => drop_from(&mut self.by_field, field, at),
            None => self.open.retain(|other| *other != at),
        }
    }

    /// Returns the connections that a delivery is for, each once.
    pub fn wanting(&self, delivery: &Delivery) -> Vec<usize> {
        let mut found: Vec<usize> = self.open.clone();
        if !self.by_field.is_empty()
            && let Some(Value::Object(first)) = delivery.first()
        {
            for (name, value) in first {
                let groups = self.by_field.get(&self.hash_of_field(name, value));
                let groups = groups.into_iter().flatten().copied();
                found.extend(groups.filter(|at| self.groups[*at].matcher.matches(delivery)));
            }
        }
        let mut keys: Vec<usize> = match found.as_slice() {
            [only] => self.groups[*only].connections.iter().copied().collect(),
            several => {
                let all: HashSet<usize> =
                    several.iter().flat_map(|at| self.groups[*at].connections.iter().copied()).collect();
                all.into_iter().collect()
            }
        };
        if self.has_floors || delivery.audience != Audience::All {
            let is_meant = |key: &usize| self.by_connection.get(key).is_some_and(|one| one.is_meant_by(delivery));
            keys.retain(is_meant);
        }
        keys
    }

    /// Whether a connection that subscribed before `moment` wants a delivery.
    pub fn wants(&self, connection: usize, delivery: &Delivery, moment: u64) -> bool {
        self.by_connection.get(&connection).is_some_and(|subscription| {
            subscription.since < moment
                && subscription.is_meant_by(delivery)
                && subscription.groups.iter().any(|at| self.groups[*at].matcher.matches(delivery))
        })
    }

    /// Returns whether a connection missed a past delivery, and how many filters were compared to decide.
    pub fn missed(&self, connection: usize, delivery: &Delivery) -> (bool, usize) {
        let Some(subscription) = self.by_connection.get(&connection) else { return (false, 0) };
        let heard_live = matches!(delivery.audience, Audience::After(moment) if subscription.since < moment);
        if heard_live {
            return (false, 0);
        }
        let mut groups = subscription.groups.iter();
        let found = groups.position(|at| self.groups[*at].matcher.matches(delivery));
        (found.is_some(), found.map_or(subscription.groups.len(), |at| at + 1))
    }

    fn hash_of(&self, matcher: &Matcher) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for (name, value) in &matcher.fields {
            (name, value).hash(&mut hasher);
        }
        matcher.is_open.hash(&mut hasher);
        hasher.finish()
    }

    fn hash_of_field(&self, name: &str, value: &Value) -> u64 {
        self.hasher.hash_one((name, value))
    }
}

fn drop_from(index: &mut HashMap<u64, Vec<usize>>, key: u64, at: usize) {
    if let Some(groups) = index.get_mut(&key) {
        groups.retain(|other| *other != at);
        if groups.is_empty() {
            index.remove(&key);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::shard::delivery::CompressedFrame;
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::json;

    fn filter(value: Value) -> Filter {
        value.as_object().cloned()
    }

    fn delivery(first: Option<Value>, audience: Audience) -> Delivery {
        Delivery {
            name: String::new(),
            frame: Bytes::new(),
            compressed: CompressedFrame::default(),
            first: first.into(),
            except: None,
            user: None,
            audience,
            position: None,
        }
    }

    fn wanting(subscribers: &SubscriptionIndex, first: Value) -> Vec<usize> {
        let mut keys = subscribers.wanting(&delivery(Some(first), Audience::All));
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_match_compares_fields_without_coercion() {
        let first = json!({"room_id": 1, "who": {"id": 2, "x": 3}});
        let cases = [
            (json!({"room_id": 1}), true),
            (json!({"room_id": "1"}), false),
            (json!({"room_id": 1.0}), false),
            (json!({"room_id": 1, "who": {"x": 3, "id": 2}}), true),
            (json!({"room_id": 1, "nope": null}), false),
            (json!({}), true),
        ];
        for (wanted, expected) in cases {
            let mut subscribers = SubscriptionIndex::default();
            subscribers.add(7, &filter(wanted.clone()), 10, || 0);
            assert_eq!(!wanting(&subscribers, first.clone()).is_empty(), expected, "{wanted}");
        }
        let mut subscribers = SubscriptionIndex::default();
        subscribers.add(1, &None, 10, || 0);
        subscribers.add(2, &filter(json!({"a": 1})), 10, || 0);
        assert_eq!(wanting(&subscribers, json!(7)), [1]);
        assert_eq!(subscribers.wanting(&delivery(None, Audience::All)), [1]);
    }

    #[test]
    fn a_late_copy_reaches_only_later_subscriptions() {
        let mut subscribers = SubscriptionIndex::default();
        subscribers.add(1, &None, 10, || 1);
        subscribers.add(2, &None, 10, || 3);
        assert_eq!(subscribers.wanting(&delivery(None, Audience::Before(2))), [1]);
        assert_eq!(subscribers.wanting(&delivery(None, Audience::After(2))), [2]);
        assert_eq!(subscribers.missed(1, &delivery(None, Audience::After(2))), (false, 0), "it heard it live");
    }

    #[test]
    fn a_filter_is_compared_only_for_broadcasts_with_its_rarest_field() {
        let mut subscribers = SubscriptionIndex::default();
        for i in 0..1000 {
            subscribers.add(i, &filter(json!({"room_id": 1, "nope": i})), 10, || 0);
            subscribers.add(i, &filter(json!({"nope": i, "room_id": 1, "user": 9})), 10, || 0);
        }
        let room = subscribers.hash_of_field("room_id", &json!(1));
        assert!(subscribers.by_field.get(&room).is_none_or(|groups| groups.len() <= 1));
        assert_eq!(wanting(&subscribers, json!({"room_id": 1})), Vec::<usize>::new());
        assert_eq!(wanting(&subscribers, json!({"room_id": 1, "nope": 5})), [5]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(usize, Filter),
        Remove(usize, Option<Filter>),
    }

    fn some_filter() -> impl Strategy<Value = Filter> {
        let value = prop_oneof![Just(json!(1)), Just(json!(2)), Just(json!("1")), Just(json!(null)), Just(json!([1]))];
        let fields = proptest::collection::vec((prop_oneof![Just("a"), Just("b"), Just("c")], value), 0..3);
        proptest::option::of(
            fields.prop_map(|fields| {
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()
            }),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        /// Compares the index with a plain list of filters.
        #[test]
        fn the_index_finds_what_a_scan_finds(
            steps in proptest::collection::vec(prop_oneof![
                3 => (0..6usize, some_filter()).prop_map(|(key, filter)| Step::Add(key, filter)),
                1 => (0..6usize, proptest::option::of(some_filter())).prop_map(|(key, filter)| Step::Remove(key, filter)),
            ], 1..60),
            firsts in proptest::collection::vec(some_filter(), 1..6),
        ) {
            let mut subscribers = SubscriptionIndex::default();
            let mut plain: Vec<(usize, Filter)> = Vec::new();
            for step in steps {
                match step {
                    Step::Add(key, filter) => {
                        let known = plain.contains(&(key, filter.clone()));
                        let added = subscribers.add(key, &filter, 100, || 0);
                        prop_assert_eq!(added, if known { Insertion::Known } else { Insertion::New });
                        if !known {
                            plain.push((key, filter));
                        }
                    }
                    Step::Remove(key, filter) => {
                        let all = filter.as_ref().is_none_or(Option::is_none);
                        subscribers.remove(key, filter.as_ref());
                        plain.retain(|(other, known)| *other != key || !(all || filter.as_ref() == Some(known)));
                    }
                }
            }
            for first in firsts {
                let first = first.map(Value::Object);
                let delivery = delivery(first, Audience::All);
                let mut expected: Vec<usize> = plain
                    .iter()
                    .filter(|(_, filter)| Matcher::new(filter).matches(&delivery))
                    .map(|(key, _)| *key)
                    .collect();
                expected.sort_unstable();
                expected.dedup();
                let mut found = subscribers.wanting(&delivery);
                found.sort_unstable();
                prop_assert_eq!(&found, &expected);
                for key in 0..6 {
                    prop_assert_eq!(subscribers.wants(key, &delivery, 1), expected.contains(&key));
                }
            }
            for key in 0..6 {
                subscribers.remove(key, None);
            }
            let empty = subscribers.is_empty() && subscribers.groups.is_empty() && subscribers.open.is_empty();
            prop_assert!(empty && subscribers.by_hash.is_empty() && subscribers.by_field.is_empty());
        }
    }
}
