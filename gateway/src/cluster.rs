//! Between the bus and the threads: a broadcast becomes one frame and goes to every thread, in order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use diffyne_shared::bus::{Broadcast, Bus, BusEvent};
use diffyne_shared::envelope::json_string;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::hub::{Audience, Clock, Delivery};
use crate::metrics::Metrics;
use crate::operator;
use crate::quota::Quota;
use crate::reactor::{Command, ReactorHandle};
use crate::socket::frame;

/// Broadcasts delivered while Redis was away whose way through Redis is still to come.
const LOCAL_MAX: usize = 100_000;
/// Pages do not spread their reactions over less than this,
const SPREAD_MIN_MS: u64 = 20;
/// nor over more.
const SPREAD_MAX_MS: u64 = 10_000;
/// How often the number of connections is told to the bus.
const COUNT_EVERY: Duration = Duration::from_millis(50);

/// Delivers what the bus tells until it ends.
pub async fn run(
    mut events: mpsc::Receiver<BusEvent>,
    threads: Vec<ReactorHandle>,
    clock: Clock,
    metrics: Arc<Metrics>,
    spread: Spread,
) {
    let mut delivered_locally = LocalDeliveries::default();
    while let Some(event) = events.recv().await {
        match event {
            BusEvent::Broadcast(incoming) => {
                metrics.broadcasts_received.inc();
                let audience = delivered_locally.take(&incoming.id).map_or(Audience::All, Audience::After);
                deliver(&threads, &incoming, audience, spread.now()).await;
            }
            BusEvent::Local(incoming) => {
                metrics.broadcasts_received.inc();
                let moment = clock.tick();
                delivered_locally.insert(incoming.id.clone(), moment);
                deliver(&threads, &incoming, Audience::Before(moment), spread.now()).await;
            }
            BusEvent::Start { position, history } => {
                let before: Arc<[_]> = history.iter().map(|old| Arc::new(delivery(old, Audience::All, None))).collect();
                for thread in &threads {
                    // A thread that has ended has nobody to tell.
                    let _ = thread.commands.send(Command::Start(position.clone(), Arc::clone(&before))).await;
                }
            }
            BusEvent::Query { id, query: question } => {
                // Beside the deliveries, which must not wait for it.
                let (bus, threads) = (spread.bus.clone(), threads.clone());
                tokio::spawn(async move {
                    if let Some(answer) = operator::answer(&threads, bus.gateway_id(), &question).await {
                        bus.respond(&id, &answer).await;
                    }
                });
            }
            BusEvent::Gap(position) => {
                for thread in &threads {
                    // A thread that has ended has nobody to tell.
                    let _ = thread.commands.send(Command::Gap(position.clone())).await;
                }
            }
        }
    }
}

/// The window over which pages spread their reactions to a broadcast, by the number of connections.
pub struct Spread {
    /// Knows the connections of the cluster.
    pub bus: Bus,
    /// Reactions that the workers are meant to get, a second.
    pub reactions_per_second: u64,
}

impl Spread {
    /// The window in milliseconds; none while it would not be felt.
    fn now(&self) -> Option<u64> {
        let connections: u64 = self.bus.presence().values().sum();
        spread_ms(connections, self.reactions_per_second)
    }
}

fn spread_ms(connections: u64, reactions_per_second: u64) -> Option<u64> {
    let ms = connections.saturating_mul(1000).checked_div(reactions_per_second)?.min(SPREAD_MAX_MS);
    (ms >= SPREAD_MIN_MS).then_some(ms)
}

async fn deliver(threads: &[ReactorHandle], incoming: &Broadcast, audience: Audience, spread: Option<u64>) {
    let delivery = Arc::new(delivery(incoming, audience, spread));
    for thread in threads {
        // A thread that has ended has nobody to tell.
        let _ = thread.commands.send(Command::Deliver(Arc::clone(&delivery))).await;
    }
}

fn delivery(incoming: &Broadcast, audience: Audience, spread: Option<u64>) -> Delivery {
    let event = &incoming.event;
    let offset = incoming.position.as_ref().map(|position| format!(r#","offset":{}"#, position.offset));
    let spread = spread.map(|ms| format!(r#","spread":{ms}"#));
    let text = format!(
        r#"{{"event":"diffyne.event","data":{{"events":[{{"name":{},"params":{},"to":null,"self":false}}],"id":{}{},"depth":{}{}}}}}"#,
        json_string(&event.name),
        event.params,
        json_string(&incoming.id),
        offset.unwrap_or_default(),
        event.depth,
        spread.unwrap_or_default()
    );
    Delivery {
        name: event.name.clone(),
        frame: frame::text(&text),
        first: first_param(&event.params),
        except: event.except.clone(),
        audience,
        position: incoming.position.clone(),
    }
}

fn first_param(params: &str) -> Option<Value> {
    let params: Vec<&RawValue> = serde_json::from_str(params).ok()?;
    serde_json::from_str(params.first()?.get()).ok()
}

/// What was delivered while Redis was away, and when; bounded, the oldest forgotten first.
#[derive(Default)]
struct LocalDeliveries {
    moments: HashMap<String, u64>,
    order: VecDeque<String>,
}

impl LocalDeliveries {
    fn insert(&mut self, id: String, moment: u64) {
        if self.order.len() >= LOCAL_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.moments.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.moments.insert(id, moment);
    }

    fn take(&mut self, id: &str) -> Option<u64> {
        let moment = self.moments.remove(id)?;
        // They come back in the order in which they left.
        while self.order.front().is_some_and(|front| !self.moments.contains_key(front)) {
            self.order.pop_front();
        }
        Some(moment)
    }
}

/// Tells the bus how many connections there are, until the program ends.
pub async fn count(bus: Bus, quota: Arc<Quota>) {
    let mut tick = tokio::time::interval(COUNT_EVERY);
    loop {
        tick.tick().await;
        bus.set_connections(quota.connections.load(Ordering::Relaxed) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffyne_shared::bus::{Position, Publication};

    #[test]
    fn a_broadcast_is_one_frame_with_untouched_parameters() {
        let incoming = Broadcast {
            id: "g.1-7".to_owned(),
            position: Some(Position { epoch: "e".to_owned(), offset: 9 }),
            event: Publication {
                name: "message-sent".to_owned(),
                params: r#"[{"room_id": 1.0}]"#.to_owned(),
                except: None,
                depth: 1,
            },
        };
        let delivery = delivery(&incoming, Audience::All, None);
        let text = String::from_utf8_lossy(&delivery.frame).into_owned();
        let expected = r#"{"event":"diffyne.event","data":{"events":[{"name":"message-sent","params":[{"room_id": 1.0}],"to":null,"self":false}],"id":"g.1-7","offset":9,"depth":1}}"#;
        assert!(text.ends_with(expected), "{text}");
        assert_eq!(delivery.first, Some(serde_json::json!({"room_id": 1.0})));
    }

    #[test]
    fn many_pages_spread_their_reactions_and_few_do_not() {
        assert_eq!(spread_ms(10, 2000), None);
        assert_eq!(spread_ms(5000, 2000), Some(2500));
        assert_eq!(spread_ms(1_000_000, 2000), Some(SPREAD_MAX_MS));
        assert_eq!(spread_ms(5000, 0), None, "switched off");
    }

    #[test]
    fn local_deliveries_are_remembered_once_and_bounded() {
        let mut local = LocalDeliveries::default();
        for i in 0..LOCAL_MAX + 10 {
            local.insert(i.to_string(), i as u64);
        }
        assert_eq!(local.take("5"), None);
        assert_eq!(local.take("10"), Some(10));
        assert_eq!(local.take("10"), None);
        assert_eq!(local.moments.len(), local.order.len());
    }
}
