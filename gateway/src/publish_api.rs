//! `POST /api/broadcast`: events of an application that are not part of a call, such as those of queue jobs. One event,
//! or a list of them. An event with an idempotency key that was published before is answered with the id of the first
//! time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::bus::{Bus, KeyClaim, Publication, read_event};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

/// Requests that may wait for room in the queue at the same time. It is less than the connections of the admin listener,
/// so that others get through.
const WAITING_MAX: usize = 128;
/// Events in one request.
const EVENTS_MAX: usize = 1000;

/// How long a key is held at least for an event that is being published. A gateway that ends meanwhile so lets it go.
const CLAIM_LIFE_MIN: Duration = Duration::from_secs(30);
/// How long Redis may take for the keys of a request, beyond the wait for room.
const KEYS_TIME_MAX: Duration = Duration::from_secs(5);
/// The field with the key.
pub const KEY_FIELD: &str = "idempotency_key";
/// The longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// The status and the JSON of an API response.
pub type ApiResponse = (StatusCode, Value);

/// Publishes for applications.
pub struct PublishApi {
    bus: Bus,
    metrics: Arc<Metrics>,
    wait_max: Duration,
    waiting: Semaphore,
}

/// An event, and the key under which it is published once.
struct Event {
    publication: Publication,
    key: Option<String>,
}

/// The events of a request.
enum Request {
    One(Event),
    List(Vec<Event>),
}

/// Why an event was not published.
struct Refusal(StatusCode, String);

impl PublishApi {
    /// Creates the API. A request waits for room in the queue as long as `wait_max`.
    pub fn new(bus: &Bus, metrics: Arc<Metrics>, wait_max: Duration) -> Self {
        Self { bus: bus.with_own_share(), metrics, wait_max, waiting: Semaphore::new(WAITING_MAX) }
    }

    /// Publishes what a request's body asks for.
    pub async fn handle(&self, body: &str) -> ApiResponse {
        match read(body) {
            Ok(Request::One(event)) => match self.publish(vec![event]).await {
                (ids, None) => (StatusCode::ACCEPTED, json!({"id": ids.first()})),
                (_, Some(Refusal(status, error))) => (status, json!({"error": error})),
            },
            Ok(Request::List(events)) => match self.publish(events).await {
                (ids, None) => (StatusCode::ACCEPTED, json!({"ids": ids})),
                (ids, Some(Refusal(status, error))) => (status, json!({"error": error, "ids": ids})),
            },
            Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, json!({"error": error})),
        }
    }

    /// Publishes events in their order. Returns the ids of those that were taken, and why the next one was not.
    async fn publish(&self, events: Vec<Event>) -> (Vec<String>, Option<Refusal>) {
        let mut ids = Vec::with_capacity(events.len());
        let Ok(_waiting) = self.waiting.try_acquire() else {
            let text = format!("{WAITING_MAX} requests wait for room in the queue of broadcasts already");
            return (ids, Some(Refusal(StatusCode::SERVICE_UNAVAILABLE, text)));
        };
        let started = Instant::now();
        for event in events {
            if started.elapsed() > self.wait_max + KEYS_TIME_MAX {
                let text = "Redis takes too long for idempotency keys".to_owned();
                return (ids, Some(Refusal(StatusCode::SERVICE_UNAVAILABLE, text)));
            }
            let left = self.wait_max.saturating_sub(started.elapsed());
            match self.publish_once(event, left).await {
                Ok(id) => ids.push(id),
                Err(refusal) => {
                    self.metrics.publish_wait.observe(started.elapsed().as_secs_f64());
                    return (ids, Some(refusal));
                }
            }
        }
        self.metrics.publish_wait.observe(started.elapsed().as_secs_f64());
        (ids, None)
    }

    /// Publishes an event, unless that was done under its key. Returns the id of the first time.
    async fn publish_once(&self, event: Event, limit: Duration) -> Result<String, Refusal> {
        let Some(key) = event.key else { return self.publish_one(event.publication, limit).await };
        let life = CLAIM_LIFE_MIN.max(self.wait_max + 2 * KEYS_TIME_MAX);
        match self.bus.claim_key(&key, life).await {
            KeyClaim::New => {}
            KeyClaim::Answered(id) => {
                self.metrics.repeated.inc();
                return Ok(id);
            }
            KeyClaim::UnderWay => {
                let text = "an event with this idempotency_key is being published; ask again".to_owned();
                return Err(Refusal(StatusCode::CONFLICT, text));
            }
            KeyClaim::Full => {
                let text = "too many idempotency keys of the last minutes are remembered already".to_owned();
                return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, text));
            }
        }
        let published = self.publish_one(event.publication, limit).await;
        self.bus.settle_key(&key, published.as_ref().ok().map(String::as_str)).await;
        published
    }

    async fn publish_one(&self, publication: Publication, limit: Duration) -> Result<String, Refusal> {
        let published = self.bus.publish_within(publication, limit).await;
        let id = published.map_err(|full| {
            let text = format!("{full}, and no room came within {:?}", self.wait_max);
            Refusal(StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        self.metrics.broadcasts_published.inc();
        Ok(id)
    }
}

fn read(body: &str) -> Result<Request, String> {
    const EVENT: &str = r#"{"name": "...", "params": [...], "except"?: client id, "user"?: 1 to 255 bytes, "idempotency_key"?: 1 to 255 bytes}"#;
    if !body.trim_start().starts_with('[') {
        let event = read_one(body).ok_or_else(|| format!("The body must be {EVENT}, or a list of these."))?;
        return Ok(Request::One(event));
    }
    let list: Vec<&RawValue> =
        serde_json::from_str(body).map_err(|_| format!("The body must be {EVENT}, or a list of these."))?;
    if list.len() > EVENTS_MAX {
        return Err(format!("A request may have {EVENTS_MAX} events; this one has {}.", list.len()));
    }
    let read = |(at, event): (usize, &&RawValue)| {
        read_one(event.get()).ok_or_else(|| format!("Event {at} of the list (from 0) must be {EVENT}."))
    };
    Ok(Request::List(list.iter().enumerate().map(read).collect::<Result<_, _>>()?))
}

fn read_one(text: &str) -> Option<Event> {
    #[derive(Deserialize)]
    struct KeyField {
        #[serde(default)]
        idempotency_key: Option<String>,
    }
    let publication = read_event(text)?;
    let KeyField { idempotency_key: key } = serde_json::from_str(text).ok()?;
    key.as_ref().is_none_or(|key| (1..=KEY_BYTES_MAX).contains(&key.len())).then_some(Event { publication, key })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metrics::RedisUse;
    use diffyne_shared::bus::{BusCounters, BusEvent, GatewayIdentity};

    const EVENT: &str = r#"{"name":"news","params":[1]}"#;

    fn list(events: usize) -> String {
        format!("[{}]", vec![EVENT; events].join(","))
    }

    #[tokio::test]
    async fn a_request_publishes_one_event_or_a_list_in_order() {
        let (bus, mut events) = Bus::memory(GatewayIdentity::new("g"));
        let api = PublishApi::new(&bus, Metrics::new(&BusCounters::default(), RedisUse::No), Duration::ZERO);
        let (status, answer) = api.handle(EVENT).await;
        assert_eq!((status, answer["id"].is_string()), (StatusCode::ACCEPTED, true), "{answer}");
        let (status, answer) = api.handle(&list(3)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        // The start of the history, and the first event.
        events.recv().await.unwrap();
        events.recv().await.unwrap();
        for id in answer["ids"].as_array().unwrap() {
            let Some(BusEvent::Broadcast(broadcast)) = events.recv().await else { panic!("no broadcast") };
            assert_eq!(id.as_str(), Some(broadcast.id.as_str()));
        }
        assert_eq!(api.handle("[]").await.1, json!({"ids": []}));
    }

    #[tokio::test]
    async fn an_event_is_published_once_under_its_key() {
        let (bus, _events) = Bus::memory(GatewayIdentity::new("g"));
        let metrics = Metrics::new(&BusCounters::default(), RedisUse::No);
        let api = PublishApi::new(&bus, Arc::clone(&metrics), Duration::ZERO);
        let keyed = |key: &str| format!(r#"{{"name":"news","params":[1],"idempotency_key":"{key}"}}"#);
        let (status, first) = api.handle(&keyed("a")).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{first}");
        assert_eq!(api.handle(&keyed("a")).await, (StatusCode::ACCEPTED, first.clone()));
        let list = api.handle(&format!("[{},{},{}]", keyed("b"), keyed("a"), keyed("b"))).await.1;
        assert_eq!((&list["ids"][1], &list["ids"][0]), (&first["id"], &list["ids"][2]), "{list}");
        assert_eq!(bus.position().map(|position| position.offset), Some(2));
        assert_eq!(metrics.repeated.get(), 3);
        for wrong in [String::new(), "x".repeat(KEY_BYTES_MAX + 1)] {
            assert_eq!(api.handle(&keyed(&wrong)).await.0, StatusCode::UNPROCESSABLE_ENTITY);
        }
        // What found no room was not published, and can be.
        while bus.publish(read_event(EVENT).unwrap()).is_ok() {}
        assert_eq!(api.handle(&keyed("c")).await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(api.handle(&keyed("c")).await.0, StatusCode::SERVICE_UNAVAILABLE, "not: is being published");
    }

    #[tokio::test]
    async fn a_list_with_something_else_in_it_publishes_nothing() {
        let (bus, _events) = Bus::memory(GatewayIdentity::new("g"));
        let api = PublishApi::new(&bus, Metrics::new(&BusCounters::default(), RedisUse::No), Duration::ZERO);
        for body in ["", "[", "7", "{}", "[7]", &format!("[{EVENT},{{}}]"), &list(EVENTS_MAX + 1)] {
            let (status, answer) = api.handle(body).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body:.40}");
            assert!(answer["error"].is_string());
        }
        assert_eq!(bus.position().map(|position| position.offset), Some(0));
    }

    #[tokio::test]
    async fn a_full_queue_makes_a_request_wait_and_refuses_it_after_the_limit() {
        let (bus, mut events) = Bus::memory(GatewayIdentity::new("g"));
        let metrics = Metrics::new(&BusCounters::default(), RedisUse::No);
        let api = PublishApi::new(&bus, Arc::clone(&metrics), Duration::from_millis(20));
        let room = (0..5000).take_while(|_| bus.publish(read_event(EVENT).unwrap()).is_ok()).count();
        let (status, answer) = api.handle(&list(2)).await;
        assert_eq!((status, &answer["ids"]), (StatusCode::SERVICE_UNAVAILABLE, &json!([])), "{answer}");
        let patient = PublishApi::new(&bus, metrics, Duration::from_hours(1));
        let (taken, ()) = tokio::join!(patient.handle(EVENT), async {
            // The start and the broadcasts so far; then there is room.
            for _ in 0..=room {
                events.recv().await.unwrap();
            }
        });
        assert_eq!(taken.0, StatusCode::ACCEPTED, "{}", taken.1);
    }

    #[tokio::test]
    async fn not_all_connections_can_wait() {
        let (bus, _events) = Bus::memory(GatewayIdentity::new("g"));
        let metrics = Metrics::new(&BusCounters::default(), RedisUse::No);
        let api = Arc::new(PublishApi::new(&bus, metrics, Duration::from_hours(1)));
        while bus.publish(read_event(EVENT).unwrap()).is_ok() {}
        let waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let api = Arc::clone(&api);
                tokio::spawn(async move { api.handle(EVENT).await })
            })
            .collect();
        while api.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(api.handle(EVENT).await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert!(waiting.iter().all(|request| !request.is_finished()));
    }
}
