//! Compares the table with a model. Whatever workers and clients do, and in whatever order, each call has one
//! state, ends once, and is with at most one worker.

use std::collections::BTreeMap;
use std::rc::Rc;

use diffyne_shared::rpc::{CallKind, Endpoint, Hello, Transport};
use proptest::prelude::*;

use super::*;
use crate::auth::cookie_store::CookieStore;
use crate::relay::Caller;

const QUEUE: usize = 3;
const UPSTREAMS: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    /// A call arrives, and is sent to a worker if one is given, otherwise queued.
    Arrive(Option<usize>),
    /// The first waiting call is sent to a worker.
    Send(usize),
    /// A worker answers the n-th call, whether it has that call or not.
    Answer(usize, usize),
    /// A worker hands the n-th call back.
    Busy(usize, usize),
    /// The n-th call waits, if it is new.
    Wait(usize),
    /// A worker's connection breaks before this many of its newest calls were written.
    Lost(usize, usize),
    /// A client leaves.
    Cancel(usize),
    /// An answer arrives for a call that ended long ago.
    Stale(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (upstream, call) = (0..UPSTREAMS, 0..12usize);
    prop_oneof![
        3 => proptest::option::of(upstream.clone()).prop_map(Step::Arrive),
        2 => upstream.clone().prop_map(Step::Send),
        3 => (upstream.clone(), call.clone()).prop_map(|(upstream, call)| Step::Answer(upstream, call)),
        2 => (upstream.clone(), call.clone()).prop_map(|(upstream, call)| Step::Busy(upstream, call)),
        2 => call.clone().prop_map(Step::Wait),
        1 => (upstream.clone(), 0..4usize).prop_map(|(upstream, unsent)| Step::Lost(upstream, unsent)),
        1 => call.clone().prop_map(Step::Cancel),
        1 => upstream.prop_map(Step::Stale),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    New,
    Waiting,
    With(usize),
}

fn request() -> CallRequest {
    let caller = Caller::new("c", "", b"", CookieStore::default());
    let now = Instant::now();
    CallRequest {
        caller: Rc::new(caller),
        transport: Transport::Ws,
        kind: CallKind::Call,
        component: ComponentKey::default(),
        cause: None,
        takes_pushes: false,
        wants_user: false,
        stream_max: Duration::ZERO,
        trace: None,
        payload: "{}".into(),
        arrived: now,
        deadline: now + Duration::from_mins(1),
    }
}

fn upstreams() -> Vec<Rc<Upstream>> {
    let hello = Hello::worker("w", 4);
    let upstreams: Vec<Rc<Upstream>> =
        (0..UPSTREAMS).map(|port| Upstream::new(Endpoint::tcp("h", port as u16))).collect();
    for upstream in &upstreams {
        upstream.connected(&hello, usize::MAX);
    }
    upstreams
}

fn check(table: &CallTable<u64>, upstreams: &[Rc<Upstream>], model: &BTreeMap<u64, At>) {
    assert_eq!(table.len(), model.len());
    for (key, at) in model {
        match (table.state(*key).unwrap(), at) {
            (CallState::New, At::New) | (CallState::Waiting, At::Waiting) => {}
            (CallState::Sent(upstream), At::With(index)) => assert!(Rc::ptr_eq(&upstream, &upstreams[*index])),
            (place, at) => panic!("{place:?} instead of {at:?}"),
        }
    }
    let waiting = model.values().filter(|at| **at == At::Waiting).count();
    assert!(waiting <= QUEUE && table.waiting() >= waiting, "{waiting} of {} wait", table.waiting());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_call_has_one_state_and_ends_once(steps in proptest::collection::vec(step(), 1..80)) {
        let (mut table, upstreams) = (CallTable::new(QUEUE), upstreams());
        let mut model: BTreeMap<u64, At> = BTreeMap::new();
        let (mut ended, mut number) = (Vec::new(), 0u64);
        let nth = |model: &BTreeMap<u64, At>, n: usize| model.keys().nth(n % model.len().max(1)).copied();
        for step in steps {
            match step {
                Step::Arrive(to) => {
                    number += 1;
                    let key = table.insert(request(), number);
                    prop_assert!(!model.contains_key(&key) && !ended.contains(&key), "an id is used again");
                    let at = match to {
                        Some(upstream) => { prop_assert_eq!(table.send(key, &upstreams[upstream]), SendResult::Queued); At::With(upstream) }
                        None if table.wait(key) => At::Waiting,
                        None => {
                            prop_assert!(table.waiting() >= QUEUE, "there was room");
                            prop_assert_eq!(table.remove(key), Some(number));
                            ended.push(key);
                            continue;
                        }
                    };
                    model.insert(key, at);
                }
                Step::Send(upstream) => {
                    if let Some(key) = table.first_waiting() {
                        let oldest = model.iter().find(|(_, at)| **at == At::Waiting);
                        prop_assert_eq!(Some(&key), oldest.map(|(key, _)| key));
                        prop_assert_eq!(table.send(key, &upstreams[upstream]), SendResult::Queued);
                        table.left_queue();
                        model.insert(key, At::With(upstream));
                    } else {
                        prop_assert!(!model.values().any(|at| *at == At::Waiting), "somebody waits and is not found");
                    }
                }
                Step::Answer(upstream, n) => {
                    let Some(key) = nth(&model, n) else { continue };
                    let taken = table.take_sent(key, &upstreams[upstream], Instant::now());
                    prop_assert_eq!(taken.is_some(), model[&key] == At::With(upstream), "only who has it answers it");
                    if taken.is_some() {
                        model.remove(&key);
                        ended.push(key);
                    }
                }
                Step::Busy(upstream, n) => {
                    let Some(key) = nth(&model, n) else { continue };
                    let handed_back = table.refused(key, &upstreams[upstream]);
                    prop_assert_eq!(handed_back, model[&key] == At::With(upstream));
                    if handed_back {
                        prop_assert!(table.was_refused(key, &upstreams[upstream]));
                        model.insert(key, At::New);
                    }
                }
                Step::Wait(n) => {
                    let Some(key) = nth(&model, n).filter(|key| model[key] == At::New) else { continue };
                    if table.wait(key) {
                        model.insert(key, At::Waiting);
                    } else {
                        prop_assert!(table.waiting() >= QUEUE, "there was room");
                    }
                }
                Step::Lost(upstream, unsent) => {
                    let its: Vec<u64> = model.iter().filter(|(_, at)| **at == At::With(upstream)).map(|(key, _)| *key).collect();
                    let unsent: Vec<u64> = its.iter().rev().take(unsent).copied().collect();
                    let (again, lost) = table.of_upstream(&upstreams[upstream], &unsent);
                    let sorted = |mut keys: Vec<u64>| { keys.sort_unstable(); keys };
                    prop_assert_eq!(sorted(again.clone()), sorted(unsent), "what never left is not lost");
                    prop_assert_eq!(sorted([again.clone(), lost.clone()].concat()), its, "and nothing else is touched");
                    for key in lost {
                        prop_assert!(table.remove(key).is_some());
                        model.remove(&key);
                        ended.push(key);
                    }
                    model.extend(again.into_iter().map(|key| (key, At::New)));
                }
                Step::Cancel(n) => {
                    let Some(key) = nth(&model, n) else { continue };
                    if matches!(model[&key], At::With(_)) {
                        table.cancel(key);
                        prop_assert!(table.is_cancelled(key));
                    } else {
                        prop_assert!(table.remove(key).is_some());
                        model.remove(&key);
                        ended.push(key);
                    }
                }
                Step::Stale(upstream) => {
                    for key in &ended {
                        prop_assert!(table.take_sent(*key, &upstreams[upstream], Instant::now()).is_none(), "it had ended");
                        prop_assert!(!table.refused(*key, &upstreams[upstream]) && table.remove(*key).is_none());
                    }
                }
            }
            check(&table, &upstreams, &model);
        }
    }
}

#[test]
fn the_number_of_a_call_may_begin_anew() {
    let key = |generation: u32| u64::from(generation) << 32;
    assert!(is_older(key(1), key(2)) && !is_older(key(2), key(1)) && !is_older(key(2), key(2)));
    assert!(is_older(key(u32::MAX), key(0)) && !is_older(key(0), key(u32::MAX)));
}

#[test]
fn each_part_gives_a_call_more_time_and_not_without_end() {
    let (upstreams, mut table) = (upstreams(), CallTable::new(QUEUE));
    let minute = Duration::from_mins(1);
    let request = CallRequest { stream_max: 2 * minute, ..request() };
    let arrived = request.arrived;
    let key = table.insert(request, 7);
    assert!(table.take_part(key, &upstreams[0], arrived).is_none(), "it is with no worker");
    table.send(key, &upstreams[0]);
    assert!(table.take_part(key, &upstreams[1], arrived).is_none(), "it is with another one");
    assert_eq!(table.take_part(key, &upstreams[0], arrived + minute / 2), Some(&7));
    assert_eq!(table.budget(key, arrived + minute), Some(minute / 2));
    table.take_part(key, &upstreams[0], arrived + minute * 3 / 2);
    assert_eq!(table.budget(key, arrived + minute * 3 / 2), Some(minute / 2), "two minutes in all");
    table.cancel(key);
    assert!(table.has_parts(key) && table.take_part(key, &upstreams[0], arrived).is_none(), "its client has left");
}
