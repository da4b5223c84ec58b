//! The broadcasts that wait for Redis or for their return from it, and whether they were delivered locally meanwhile. No
//! I/O.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bus::event::Publication;

/// A broadcast on its way to Redis.
#[derive(Debug)]
pub(super) struct QueuedBroadcast {
    /// Counts this gateway's broadcasts. It is part of the id.
    pub(super) sequence: u64,
    pub(super) id: String,
    pub(super) event: Publication,
    pub(super) json: String,
}

/// Broadcasts in the order in which they are published.
#[derive(Debug)]
pub(super) struct Backlog {
    queue: VecDeque<Arc<QueuedBroadcast>>,
    /// What Redis took and has not pushed back yet, as far as this gateway knows. Should Redis go away now, its clients
    /// get these before the ones in the queue.
    unreturned: VecDeque<Arc<QueuedBroadcast>>,
    /// The limit of each of the two.
    len_max: usize,
    /// Everything in the queue was delivered locally already.
    away: bool,
    /// Some broadcasts found the queue full: everybody has to know that something is missing.
    overflowed: bool,
}

/// Where a new broadcast goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// To Redis in its turn; it is delivered when it comes back from there.
    Queued,
    /// To this gateway's own connections now, and to Redis when it is back.
    QueuedAndLocal,
    /// To this gateway's own connections only: the queue is full.
    LocalOnly,
}

impl Backlog {
    pub(super) fn new(len_max: usize) -> Self {
        Self { queue: VecDeque::new(), unreturned: VecDeque::new(), len_max, away: false, overflowed: false }
    }

    /// The next for Redis.
    pub(super) fn front(&self) -> Option<Arc<QueuedBroadcast>> {
        self.queue.front().cloned()
    }

    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    pub(super) fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    pub(super) fn push(&mut self, item: &Arc<QueuedBroadcast>) -> Placement {
        if self.queue.len() >= self.len_max && self.away {
            self.overflowed = true;
            return Placement::LocalOnly;
        }
        self.queue.push_back(Arc::clone(item));
        if self.away { Placement::QueuedAndLocal } else { Placement::Queued }
    }

    /// Redis took the first, and has pushed back this gateway's broadcasts up to `returned`. Returns `true` when Redis
    /// had been away and has everything now.
    pub(super) fn published(&mut self, returned: u64) -> bool {
        let taken = self.queue.pop_front();
        self.overflowed = false;
        if self.away {
            self.away = !self.queue.is_empty();
            return !self.away;
        }
        self.unreturned.extend(taken);
        self.forget_returned(returned);
        if self.unreturned.len() > self.len_max {
            self.unreturned.pop_front();
        }
        false
    }

    /// Redis did not take the first, or nobody knows whether it did. Returns what is to be delivered locally now, in
    /// order.
    pub(super) fn failed(&mut self, returned: u64) -> Vec<Arc<QueuedBroadcast>> {
        if std::mem::replace(&mut self.away, true) {
            return Vec::new();
        }
        self.forget_returned(returned);
        self.unreturned.drain(..).chain(self.queue.iter().cloned()).collect()
    }

    fn forget_returned(&mut self, returned: u64) {
        while self.unreturned.front().is_some_and(|front| front.sequence <= returned) {
            self.unreturned.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    //! Runs the queue against a model of Redis that loses answers, is away, and loses what it had acknowledged. The
    //! model keeps the script's promise: an id gets one number as long as Redis remembers it.

    use std::cell::RefCell;
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 5;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Publish,
        /// Redis answers.
        Answered,
        /// It never got the broadcast.
        Unheard,
        /// It took it, and its answer was lost.
        AnswerLost,
        /// It pushes the next that this gateway has not seen.
        Pushed,
        /// A replica takes over that lacks so many of the last.
        Failover(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => Just(Step::Publish),
            4 => Just(Step::Answered),
            2 => Just(Step::Unheard),
            2 => Just(Step::AnswerLost),
            4 => Just(Step::Pushed),
            1 => (0..3usize).prop_map(Step::Failover),
        ]
    }

    #[derive(Default)]
    struct Redis {
        log: Vec<String>,
        seen: HashSet<String>,
        /// How many of the log this gateway has got.
        pushed: usize,
        renewed: usize,
        /// Acknowledged and lost by a failover: nobody can restore them, and the new epoch tells clients so.
        lost: HashSet<String>,
    }

    impl Redis {
        /// The highest number that was pushed.
        fn returned(&self) -> u64 {
            self.log[..self.pushed].iter().filter_map(|id| id.parse().ok()).max().unwrap_or(0)
        }

        fn publish(&mut self, id: &str, overflowed: bool) {
            self.renewed += usize::from(overflowed);
            if self.seen.insert(id.to_owned()) {
                self.log.push(id.to_owned());
            }
        }
    }

    fn item(number: usize) -> Arc<QueuedBroadcast> {
        let event = Publication { name: "e".to_owned(), params: "[]".to_owned(), except: None, depth: 0 };
        Arc::new(QueuedBroadcast { sequence: number as u64, id: number.to_string(), event, json: String::new() })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn each_broadcast_is_numbered_once_delivered_locally_once_and_none_is_forgotten(
            steps in proptest::collection::vec(step(), 1..120),
        ) {
            let (mut backlog, mut redis) = (Backlog::new(MOST), Redis::default());
            let (mut number, mut dropped, mut overflows, mut failed_over) = (0, HashSet::new(), 0, false);
            let mut local: HashMap<String, usize> = HashMap::new();
            // What a client of this gateway gets, in this order; it gets a push only if it did not get it locally.
            let client = RefCell::new(Vec::new());
            let mut deliver = |id: &str| {
                *local.entry(id.to_owned()).or_insert(0) += 1;
                client.borrow_mut().push(id.to_owned());
            };
            let mut steps: Vec<Step> = steps;
            // In the end Redis is there, and stays.
            steps.extend(std::iter::repeat_n(Step::Answered, 200));
            for step in steps {
                match step {
                    Step::Publish => {
                        number += 1;
                        let item = item(number);
                        match backlog.push(&item) {
                            Placement::Queued => prop_assert!(!backlog.is_away()),
                            Placement::QueuedAndLocal => deliver(&item.id),
                            Placement::LocalOnly => {
                                deliver(&item.id);
                                dropped.insert(item.id.clone());
                                overflows += 1;
                                prop_assert!(backlog.has_overflowed());
                            }
                        }
                    }
                    Step::Answered => {
                        let Some(front) = backlog.front() else { continue };
                        redis.publish(&front.id, backlog.has_overflowed());
                        let all_through = backlog.published(redis.returned());
                        prop_assert_eq!(all_through && backlog.is_away(), false);
                    }
                    Step::Unheard | Step::AnswerLost => {
                        let Some(front) = backlog.front() else { continue };
                        if matches!(step, Step::AnswerLost) {
                            redis.publish(&front.id, backlog.has_overflowed());
                        }
                        backlog.failed(redis.returned()).iter().for_each(|item| deliver(&item.id));
                    }
                    Step::Pushed => {
                        let Some(id) = redis.log.get(redis.pushed).cloned() else { continue };
                        redis.pushed += 1;
                        let mut client = client.borrow_mut();
                        if !client.contains(&id) {
                            client.push(id);
                        }
                    }
                    Step::Failover(lost) => {
                        failed_over = true;
                        let keep = redis.log.len().saturating_sub(lost);
                        redis.pushed = redis.pushed.min(keep);
                        for id in redis.log.split_off(keep) {
                            redis.seen.remove(&id);
                            redis.lost.insert(id);
                        }
                    }
                }
            }
            prop_assert!(backlog.front().is_none() && !backlog.is_away());
            let mut once = HashSet::new();
            for id in &redis.log {
                prop_assert!(once.insert(id.clone()), "{} is numbered twice", id);
                redis.lost.remove(id);
            }
            for id in (1..=number).map(|number| number.to_string()) {
                let somewhere = once.contains(&id) || dropped.contains(&id) || redis.lost.contains(&id);
                prop_assert!(somewhere, "{} is forgotten", id);
                prop_assert!(local.get(&id).copied().unwrap_or(0) <= 1, "{} is delivered locally twice", id);
            }
            prop_assert!(overflows == 0 || redis.renewed > 0, "nobody was told of what never left");
            let order: Vec<usize> = redis.log.iter().filter_map(|id| id.parse().ok()).collect();
            if !failed_over {
                let client: Vec<usize> = client.borrow().iter().filter_map(|id| id.parse().ok()).collect();
                prop_assert!(client.is_sorted(), "a client gets {:?}", client);
            }
            // A broadcast that a failover lost and a retry restored comes later.
            prop_assert!(!redis.lost.is_empty() || order.is_sorted() || order.len() < number, "{:?}", order);
        }
    }
}
