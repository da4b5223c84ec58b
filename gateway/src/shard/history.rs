//! The most recent broadcasts, as one thread has delivered them. MissedBroadcasts broadcasts are replayed from here, so that a
//! thousand clients that reconnect at once cause no load elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::bus::Position;

use super::delivery::Delivery;

/// The limits of a history.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimits {
    /// The number of broadcasts.
    pub length: usize,
    /// The bytes of their frames, compressed copies included; all threads share the frames.
    pub bytes: usize,
    /// The time since their delivery.
    pub age: Duration,
}

struct HistoryEntry {
    since: Instant,
    /// The bytes that are counted for the delivery.
    bytes: usize,
    delivery: Arc<Delivery>,
}

/// One thread's history: consecutive offsets of one epoch, up to the current position.
pub struct History {
    limits: HistoryLimits,
    entries: VecDeque<HistoryEntry>,
    bytes: usize,
    position: Option<Position>,
}

impl History {
    /// Creates an empty history whose position is not known yet.
    pub fn new(limits: HistoryLimits) -> Self {
        Self { limits, entries: VecDeque::new(), bytes: 0, position: None }
    }

    /// Returns the position up to which this thread has delivered.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Starts the history at a position, with the broadcasts before it.
    pub fn start(&mut self, position: Position, before: &[Arc<Delivery>]) {
        self.entries.clear();
        self.bytes = 0;
        self.position = None;
        for delivery in before {
            self.push(delivery);
        }
        if self.position.as_ref() != Some(&position) {
            // The broadcasts do not lead up to the position.
            self.entries.clear();
            self.bytes = 0;
            self.position = Some(position);
        }
    }

    /// Adds the next delivery.
    pub fn push(&mut self, delivery: &Arc<Delivery>) {
        let Some(position) = &delivery.position else { return };
        let is_next =
            self.position.as_ref().is_none_or(|now| now.epoch == position.epoch && now.offset + 1 == position.offset);
        if !is_next {
            self.entries.clear();
            self.bytes = 0;
        }
        let bytes = delivery.held_bytes();
        self.bytes += bytes;
        self.entries.push_back(HistoryEntry { since: Instant::now(), bytes, delivery: Arc::clone(delivery) });
        self.position = Some(position.clone());
        self.forget_old();
    }

    /// Counts the bytes of the newest delivery anew: it may have been compressed since it was added.
    pub fn recount(&mut self, delivery: &Arc<Delivery>) {
        if let Some(newest) = self.entries.back_mut().filter(|entry| Arc::ptr_eq(&entry.delivery, delivery)) {
            let bytes = delivery.held_bytes();
            self.bytes = self.bytes - newest.bytes + bytes;
            newest.bytes = bytes;
            self.forget_old();
        }
    }

    fn forget_old(&mut self) {
        let now = Instant::now();
        while let Some(oldest) = self.entries.front() {
            let too_many = self.entries.len() > self.limits.length || self.bytes > self.limits.bytes;
            if !too_many && now.duration_since(oldest.since) <= self.limits.age {
                return;
            }
            self.bytes -= oldest.bytes;
            self.entries.pop_front();
        }
    }

    /// Returns the broadcasts after a position. Returns `None` if the history does not reach back to it, or the
    /// position belongs to another epoch.
    pub fn since(&mut self, place: &Position) -> Option<impl Iterator<Item = &Arc<Delivery>>> {
        self.forget_old();
        let now = self.position.as_ref()?;
        let missed = now.offset.checked_sub(place.offset)?;
        if now.epoch != place.epoch || missed > self.entries.len() as u64 {
            return None;
        }
        // Offsets are consecutive, so the missed broadcasts are the last ones.
        let known = self.entries.len() - missed as usize;
        Some(self.entries.range(known..).map(|entry| &entry.delivery))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::shard::delivery::{Audience, CompressedFrame};
    use bytes::Bytes;

    fn place(epoch: &str, offset: u64) -> Position {
        Position { epoch: epoch.into(), offset }
    }

    fn delivery(epoch: &str, offset: u64) -> Arc<Delivery> {
        Arc::new(Delivery {
            name: "e".to_owned(),
            frame: Bytes::from_static(b"0123456789"),
            compressed: CompressedFrame::default(),
            first: None.into(),
            except: None,
            user: None,
            audience: Audience::All,
            position: Some(place(epoch, offset)),
        })
    }

    fn offsets(history: &mut History, from: &Position) -> Option<Vec<u64>> {
        let missed = history.since(from)?;
        Some(missed.map(|delivery| delivery.position.as_ref().unwrap().offset).collect())
    }

    fn history(length: usize, bytes: usize) -> History {
        History::new(HistoryLimits { length, bytes, age: Duration::from_mins(5) })
    }

    #[test]
    fn exactly_the_missed_broadcasts_are_replayed() {
        let mut history = history(100, 10_000);
        assert_eq!(offsets(&mut history, &place("a", 0)), None, "before anything is known");
        history.start(place("a", 3), &[delivery("a", 2), delivery("a", 3)]);
        history.push(&delivery("a", 4));
        assert_eq!(offsets(&mut history, &place("a", 1)), Some(vec![2, 3, 4]));
        assert_eq!(offsets(&mut history, &place("a", 4)), Some(vec![]));
        assert_eq!(offsets(&mut history, &place("a", 0)), None, "it does not reach back");
        assert_eq!(offsets(&mut history, &place("a", 5)), None, "above the head");
        assert_eq!(offsets(&mut history, &place("b", 4)), None, "another past");
    }

    #[test]
    fn a_jump_clears_the_earlier_history() {
        let mut history = history(100, 10_000);
        history.start(place("a", 2), &[delivery("a", 1), delivery("a", 2)]);
        history.push(&delivery("a", 4));
        assert_eq!(offsets(&mut history, &place("a", 2)), None);
        assert_eq!(offsets(&mut history, &place("a", 3)), Some(vec![4]));
        history.start(place("b", 9), &[delivery("a", 1)]);
        assert_eq!(offsets(&mut history, &place("b", 9)), Some(vec![]));
        assert_eq!(offsets(&mut history, &place("b", 8)), None);
    }

    #[test]
    fn a_history_is_bounded_by_count_bytes_and_age() {
        let mut by_number = history(3, 10_000);
        let mut by_bytes = history(100, 30);
        for offset in 1..=10 {
            by_number.push(&delivery("a", offset));
            by_bytes.push(&delivery("a", offset));
        }
        for history in [&mut by_number, &mut by_bytes] {
            assert_eq!(offsets(history, &place("a", 7)), Some(vec![8, 9, 10]));
            assert_eq!(offsets(history, &place("a", 6)), None);
        }
        let mut by_age = History::new(HistoryLimits { length: 9, bytes: 999, age: Duration::ZERO });
        by_age.push(&delivery("a", 1));
        let pushed = Instant::now();
        while pushed.elapsed().is_zero() {}
        assert_eq!(offsets(&mut by_age, &place("a", 0)), None);
        assert_eq!(offsets(&mut by_age, &place("a", 1)), Some(vec![]), "who missed nothing needs no history");
    }

    mod model {
        //! Compares history and resume with a model. Many threads' histories start at different moments and jump, and a
        //! client moves between them. The client must get each broadcast once, or be told that it missed some.

        use super::*;
        use proptest::prelude::*;

        #[derive(Debug, Clone)]
        enum Step {
            /// A broadcast, which each gateway receives or misses.
            Publish(Vec<bool>),
            /// A gateway catches up from the stream.
            CatchUp(usize),
            /// A gateway cannot catch up: it continues at the head and tells its clients.
            Jump(usize),
            /// The client reconnects to a gateway.
            Move(usize),
            /// A new epoch begins for all.
            Renew,
        }

        const GATEWAYS: usize = 3;

        fn step() -> impl Strategy<Value = Step> {
            prop_oneof![
                6 => proptest::collection::vec(proptest::bool::weighted(0.9), GATEWAYS).prop_map(Step::Publish),
                2 => (0..GATEWAYS).prop_map(Step::CatchUp),
                1 => (0..GATEWAYS).prop_map(Step::Jump),
                3 => (0..GATEWAYS).prop_map(Step::Move),
                1 => Just(Step::Renew),
            ]
        }

        struct World {
            epoch: String,
            head: u64,
            gateways: Vec<History>,
            /// The client's gateway, and the position up to which the client has everything or knows what it lacks.
            at: usize,
            place: Position,
            heard: Vec<(String, u64)>,
        }

        impl World {
            fn missing(&self, gateway: usize) -> std::ops::RangeInclusive<u64> {
                let here = self.gateways[gateway].position().unwrap();
                here.offset + 1..=self.head
            }

            fn deliver(&mut self, gateway: usize, offset: u64) {
                self.gateways[gateway].push(&delivery(&self.epoch, offset));
                if gateway == self.at {
                    self.hear(offset);
                }
            }

            fn hear(&mut self, offset: u64) {
                self.heard.push((self.epoch.clone(), offset));
                self.place = place(&self.epoch, offset);
            }

            /// Reconnects the client: it gets a replay, or is told that broadcasts are missing.
            fn come_to(&mut self, gateway: usize) {
                self.at = gateway;
                let here = self.gateways[gateway].position().unwrap().clone();
                let behind = here.epoch == self.place.epoch && here.offset < self.place.offset;
                if behind {
                    // The client waits until the gateway has caught up. Live deliveries up to its own position are left
                    // out.
                    for offset in self.missing(gateway) {
                        self.gateways[gateway].push(&delivery(&self.epoch, offset));
                        if offset > self.place.offset {
                            self.hear(offset);
                        }
                    }
                    return;
                }
                let client = self.place.clone();
                match offsets(&mut self.gateways[gateway], &client) {
                    Some(missed) => missed.into_iter().for_each(|offset| self.hear(offset)),
                    None => self.place = here,
                }
            }
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(400))]
            #[test]
            fn a_moving_client_gets_each_broadcast_once_or_is_told(steps in proptest::collection::vec(step(), 1..120)) {
                let start = || {
                    let mut history = history(20, 10_000);
                    history.start(place("e0", 0), &[]);
                    history
                };
                let mut world = World {
                    epoch: "e0".to_owned(),
                    head: 0,
                    gateways: (0..GATEWAYS).map(|_| start()).collect(),
                    at: 0,
                    place: place("e0", 0),
                    heard: Vec::new(),
                };
                let mut epochs = 0;
                for step in steps {
                    match step {
                        Step::Publish(hears) => {
                            world.head += 1;
                            for (gateway, hears) in hears.into_iter().enumerate() {
                                // A gateway that missed something closes the gap before it continues.
                                if hears {
                                    for offset in world.missing(gateway) {
                                        world.deliver(gateway, offset);
                                    }
                                }
                            }
                        }
                        Step::CatchUp(gateway) => {
                            for offset in world.missing(gateway) {
                                world.deliver(gateway, offset);
                            }
                        }
                        Step::Jump(gateway) => {
                            let head = place(&world.epoch, world.head);
                            world.gateways[gateway].start(head.clone(), &[]);
                            if gateway == world.at {
                                world.place = head;
                            }
                        }
                        Step::Move(gateway) => world.come_to(gateway),
                        Step::Renew => {
                            epochs += 1;
                            (world.epoch, world.head) = (format!("e{epochs}"), 0);
                            for gateway in &mut world.gateways {
                                gateway.start(place(&world.epoch, 0), &[]);
                            }
                            // The connected client is told.
                            world.place = place(&world.epoch, 0);
                        }
                    }
                    // Broadcasts arrive in order, and none arrives twice.
                    let in_order = world.heard.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].1 < pair[1].1);
                    prop_assert!(in_order, "{:?}", world.heard);
                    let here = world.gateways[world.at].position().unwrap().clone();
                    prop_assert_eq!(&here.epoch, &world.place.epoch);
                    prop_assert!(world.place.offset >= here.offset, "the client lacks what its gateway has delivered");
                }
            }
        }
    }
}
