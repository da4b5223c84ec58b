//! Receivers that do not take everything. Time is tokio's, which passes while nothing else is to be done.

use std::sync::Mutex;

use diffyne_shared::bus::{Bus, GatewayIdentity};
use diffyne_shared::settings::lifecycle::{LifecycleKind, LifecycleKinds};
use serde_json::Value;

use super::super::set_aside::SUBJECTS_MAX;
use super::*;
use crate::lifecycle::event::EventFields;
use crate::metrics::RedisUse;

type Answer = Box<dyn Fn(usize, &str) -> Option<Verdict> + Send + Sync>;
/// What was handed over, and whether it was taken.
type Handed = Arc<Mutex<Vec<(String, bool)>>>;

/// Answers by the number of requests before, and by the body.
struct Scripted {
    answer: Answer,
    handed: Handed,
}

impl Receiver for Scripted {
    fn deliver(&self, body: Bytes) -> DeliveryFuture<'_> {
        let text = String::from_utf8(body.to_vec()).unwrap();
        let mut handed = self.handed.lock().unwrap();
        let verdict = (self.answer)(handed.len(), &text);
        handed.push((text, verdict.is_none()));
        let error = |verdict| DeliveryError { reason: "not this".to_owned(), verdict, after: None };
        Box::pin(std::future::ready(verdict.map_or(Ok(()), |verdict| Err(error(verdict)))))
    }

    fn name(&self) -> String {
        "a test".to_owned()
    }
}

fn task(retry: Duration, answer: Answer) -> (DeliveryTask, Handed) {
    let (bus, _events) = Bus::memory(GatewayIdentity::new("g"));
    let metrics = Metrics::new(bus.counters(), RedisUse::No);
    let handed = Handed::default();
    let task = DeliveryTask {
        queue: Arc::new(EventQueue::new("g.1", LifecycleKinds::ALL, 10_000_000, Arc::clone(&metrics))),
        receiver: Box::new(Scripted { answer, handed: Arc::clone(&handed) }),
        rooms: Some(Arc::new(Rooms::new(&[], Duration::ZERO, Arc::clone(&metrics)))),
        batch_bytes_max: 100_000,
        retry,
        metrics,
    };
    (task, handed)
}

struct World {
    queue: Arc<EventQueue>,
    rooms: Arc<Rooms>,
    metrics: Arc<Metrics>,
    handed: Handed,
    task: tokio::task::JoinHandle<()>,
}

impl World {
    /// Starts a delivery of what `fill` has queued.
    fn start(retry: Duration, answer: Answer, fill: impl FnOnce(&EventQueue)) -> Self {
        let (task, handed) = task(retry, answer);
        let (queue, metrics) = (Arc::clone(&task.queue), Arc::clone(&task.metrics));
        let rooms = Arc::clone(task.rooms.as_ref().unwrap());
        fill(&queue);
        Self { queue, rooms, metrics, handed, task: tokio::spawn(task.run()) }
    }

    async fn finish(self) -> Self {
        self.queue.close();
        let Self { queue, rooms, metrics, handed, task } = self;
        task.await.unwrap();
        Self { queue, rooms, metrics, handed, task: tokio::spawn(async {}) }
    }

    fn count(&self, result: &str) -> u64 {
        self.metrics.lifecycle_events.with_label_values(&[result]).get()
    }

    /// The events that were taken, as `connection name`, in order.
    fn taken(&self) -> Vec<String> {
        let handed = self.handed.lock().unwrap();
        let bodies = handed.iter().filter(|(_, taken)| *taken).map(|(body, _)| body);
        let events =
            bodies.flat_map(|body| serde_json::from_str::<Value>(body).unwrap()["events"].as_array().unwrap().clone());
        events
            .map(|event| format!("{} {}", event["connection"].as_str().unwrap_or("-"), event["name"].as_str().unwrap()))
            .collect()
    }

    async fn wait_until(&self, what: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(Duration::from_mins(1), async {
            while !what(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "{:?}", self.taken());
    }
}

fn push(queue: &EventQueue, kind: LifecycleKind, connection: &str) {
    queue.push(kind, &EventFields { connection: Some(connection), ..EventFields::default() });
}

fn push_room(queue: &EventQueue) {
    assert!(queue.push_room(LifecycleKind::Occupied, &EventFields::default(), ("room".into(), 7)));
}

#[tokio::test]
async fn a_failed_batch_comes_again_before_the_next_and_not_for_ever() {
    let first_fails = || -> Answer { Box::new(|before, _| (before == 0).then_some(Verdict::Unavailable)) };
    let fill = |queue: &EventQueue| {
        push_room(queue);
        push(queue, LifecycleKind::Connected, "a");
    };
    let world = World::start(Duration::from_mins(1), first_fails(), fill).finish().await;
    assert_eq!((world.taken(), world.count("delivered")), (vec!["- occupied".into(), "a connected".into()], 2));
    let handed = world.handed.lock().unwrap().clone();
    assert!(handed.len() == 2 && handed[0].0 == handed[1].0);
    assert!(handed[0].0.starts_with(r#"{"events":[{"id":"occupied-7-"#) && handed[0].0.ends_with("}]}"));
    assert_eq!(world.rooms.take_changes(false).told.len(), 1);
    let world = World::start(Duration::ZERO, first_fails(), fill).finish().await;
    assert_eq!((world.count("delivered"), world.count("abandoned")), (0, 2));
    assert_eq!(world.rooms.take_changes(false).told.len(), 1, "what is given up keeps nothing from being told");
}

#[tokio::test]
async fn an_event_that_is_refused_holds_up_its_own_connection_alone() {
    let is_mended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    // The connection is refused, not its first event alone.
    let answer = move |_, body: &str| {
        let is_wrong = body.contains(r#""connection":"bad""#) && !mended.load(std::sync::atomic::Ordering::Relaxed);
        is_wrong.then_some(Verdict::Refused)
    };
    let world = World::start(Duration::from_mins(1), Box::new(answer), |queue| {
        for n in 0..60 {
            push(queue, LifecycleKind::Connected, if n == 37 { "bad" } else { "good" });
        }
        push(queue, LifecycleKind::Identified, "bad");
        push_room(queue);
    });
    world.wait_until(|world| world.count("delivered") == 60).await;
    assert!(world.taken().iter().all(|event| !event.starts_with("bad")));
    assert_eq!(world.metrics.lifecycle_set_aside.get(), 2);
    assert_eq!(world.rooms.take_changes(false).told.len(), 1);
    let requests = world.handed.lock().unwrap().len();
    assert!(requests < 40, "the search takes few requests: {requests}");
    // What comes later waits behind it, and comes in order.
    push(&world.queue, LifecycleKind::Disconnected, "bad");
    push(&world.queue, LifecycleKind::Disconnected, "good");
    world.wait_until(|world| world.count("delivered") == 61).await;
    is_mended.store(true, std::sync::atomic::Ordering::Relaxed);
    world.wait_until(|world| world.count("delivered") == 64).await;
    let of_bad: Vec<_> = world.taken().into_iter().filter(|event| event.starts_with("bad")).collect();
    assert_eq!(of_bad, ["bad connected", "bad identified", "bad disconnected"]);
    world.wait_until(|world| world.metrics.lifecycle_set_aside.get() == 0).await;
    let refused = world.metrics.lifecycle_requests.with_label_values(&["refused"]).get();
    assert!(refused > 0 && world.count("abandoned") == 0);
    world.finish().await;
}

#[tokio::test]
async fn a_receiver_that_refuses_everything_gets_everything_when_it_is_mended() {
    let is_mended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    let answer = move |_, _: &str| (!mended.load(std::sync::atomic::Ordering::Relaxed)).then_some(Verdict::Refused);
    let count = SUBJECTS_MAX as u64 + 20;
    let world = World::start(Duration::from_mins(1), Box::new(answer), |queue| {
        for n in 0..count {
            push(queue, LifecycleKind::Connected, &format!("c{n}"));
        }
    });
    world.wait_until(|world| world.metrics.lifecycle_set_aside.get() == SUBJECTS_MAX as i64).await;
    is_mended.store(true, std::sync::atomic::Ordering::Relaxed);
    world.wait_until(|world| world.count("delivered") == count).await;
    assert_eq!(world.count("abandoned"), 0);
    let world = world.finish().await;
    let later: Vec<_> = world
        .taken()
        .into_iter()
        .filter(|event| event[1..].split(' ').next().unwrap().parse::<usize>().unwrap() >= SUBJECTS_MAX)
        .collect();
    let expected: Vec<_> = (SUBJECTS_MAX as u64..count).map(|n| format!("c{n} connected")).collect();
    assert_eq!(later, expected, "what was not set aside is in order");
}

#[tokio::test]
async fn clients_whose_events_are_refused_hold_up_nobody_however_many_they_are() {
    let answer = |_, body: &str| body.contains(r#""connection":"bad"#).then_some(Verdict::Refused);
    let bad = SUBJECTS_MAX as u64 + 4;
    let world = World::start(Duration::from_mins(1), Box::new(answer), |queue| {
        for n in 0..bad {
            push(queue, LifecycleKind::Connected, "good");
            push(queue, LifecycleKind::Connected, &format!("bad{n}"));
        }
        // One of them has much to say.
        for _ in 0..300 {
            push(queue, LifecycleKind::Subscribed, &format!("bad{}", bad - 1));
        }
        push(queue, LifecycleKind::Connected, "last");
    });
    world.wait_until(|world| world.count("delivered") == bad + 1).await;
    world.wait_until(|world| world.count("abandoned") >= 4).await;
    let world = world.finish().await;
    assert_eq!(world.count("delivered") + world.count("abandoned"), 2 * bad + 301, "each has its end");
    assert_eq!(world.metrics.lifecycle_set_aside.get(), 0);
}

/// An event of this connection.
fn event(connection: &str) -> QueuedEvent {
    QueuedEvent { json: format!(r#"{{"connection":"{connection}"}}"#).into(), room: None }
}

/// The numbers of events that were given up and delivered.
fn ends(delivery: &Delivery) -> [u64; 2] {
    ["abandoned", "delivered"].map(|result| delivery.task.metrics.lifecycle_events.with_label_values(&[result]).get())
}

#[tokio::test]
async fn others_are_handed_over_between_attempts_with_what_is_set_aside() {
    for verdict in [Verdict::Unavailable, Verdict::Refused] {
        let answer = move |_, body: &str| body.contains("bad").then_some(verdict);
        let (task, handed) = task(Duration::from_mins(1), Box::new(answer));
        push(&task.queue, LifecycleKind::Connected, "good");
        let mut delivery = Delivery::new(task);
        for connection in ["bad1", "bad2", "bad3"] {
            delivery.aside.add(event(connection), 0);
        }
        for _ in 0..4 {
            // Attempts take so long that there is always one that is due.
            delivery.aside.hurry_all();
            assert!(delivery.step().await);
        }
        let handed = handed.lock().unwrap();
        let is_of = |at: usize, connection: &str| handed[at].0.contains(connection);
        assert!(handed.len() == 3 && is_of(0, "bad") && is_of(1, "good") && is_of(2, "bad"), "{handed:?}");
        assert_ne!(handed[0], handed[2], "each has its turn");
    }
}

#[tokio::test]
async fn an_event_that_fails_is_looked_for_without_waiting_after_each_half_that_is_taken() {
    let (task, _) = task(Duration::from_mins(1), Box::new(|_, body| body.contains("bad").then_some(Verdict::Failed)));
    let mut delivery = Delivery::new(task);
    for n in 0..8 {
        delivery.batch.push(event(if n == 5 { "bad" } else { "good" }));
    }
    // They have failed for long.
    delivery.batch.split(8);
    for _ in 0..4 {
        delivery.step().await;
    }
    assert_eq!((delivery.aside.len(), delivery.batch.len(), ends(&delivery)), (1, 2, [0, 5]));
}

#[tokio::test]
async fn many_events_of_one_connection_are_not_given_up_while_everything_is_refused() {
    let is_mended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    let answer = move |_, _: &str| (!mended.load(std::sync::atomic::Ordering::Relaxed)).then_some(Verdict::Refused);
    let world = World::start(Duration::from_mins(1), Box::new(answer), |queue| {
        (0..300).for_each(|_| push(queue, LifecycleKind::Subscribed, "a"));
    });
    world.wait_until(|world| world.metrics.lifecycle_set_aside.get() == 300).await;
    push(&world.queue, LifecycleKind::Connected, "b");
    world.wait_until(|world| world.metrics.lifecycle_set_aside.get() == 301).await;
    is_mended.store(true, std::sync::atomic::Ordering::Relaxed);
    world.wait_until(|world| world.count("delivered") == 301).await;
    assert_eq!(world.count("abandoned"), 0);
}

#[tokio::test]
async fn what_follows_an_event_that_is_given_up_is_tried() {
    let (task, _) = task(Duration::ZERO, Box::new(|before, _| (before == 0).then_some(Verdict::Refused)));
    let mut delivery = Delivery::new(task);
    delivery.aside.add(event("a"), 0);
    assert!(delivery.aside.follow(event("a")).is_none());
    delivery.aside.hurry_all();
    delivery.step().await;
    assert_eq!((delivery.aside.len(), ends(&delivery)), (1, [1, 0]));
    while !delivery.aside.is_empty() {
        delivery.step().await;
    }
    assert_eq!(ends(&delivery), [1, 1]);
}
