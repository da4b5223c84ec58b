//! Connects the bus to the shards: a broadcast becomes one frame, which goes to every shard in the bus's order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use diffyne_shared::bus::{Broadcast, Bus, BusEvent, Publication};
use diffyne_shared::task;
use diffyne_shared::trace::Tracer;
use tokio::sync::mpsc;

use crate::auth::grant::Grants;
use crate::metrics::Metrics;
use crate::operator;
use crate::presence::registry::RoomRegistry;
use crate::protocol;
use crate::quota::Quota;
use crate::reaction;
use crate::shard::command::{Command, ShardHandle, send_to_all};
use crate::shard::delivery::{Audience, Clock, CompressedFrame, Delivery, FirstParam};
use crate::traces::Delivering;

/// The number of broadcasts, delivered while Redis was away, that are remembered until they arrive from Redis.
const LOCAL_MAX: usize = 100_000;
/// The number of events of the bus that are taken at a time.
const EVENTS_MAX: usize = 256;
/// The bytes of the frames that go to the shards at a time, unless a single frame is larger.
const DELIVER_BYTES_MAX: usize = 256 * 1024;
/// How often the bus is told the number of connections.
const COUNT_EVERY: Duration = Duration::from_millis(50);

/// Delivers the bus's events to the shards.
pub struct Deliveries {
    /// The bus; it knows the number of connections in the cluster.
    pub bus: Bus,
    /// The shards that get the broadcasts.
    pub shards: Vec<ShardHandle>,
    /// Orders deliveries and subscriptions.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Voids the grants of users who are disconnected.
    pub grants: Arc<Grants>,
    /// Who is in which room.
    pub presence: Arc<RoomRegistry>,
    /// Records spans, where a collector wants them.
    pub tracer: Tracer,
    /// `DIFFYNE_REACTION_RATE`.
    pub reactions_per_second: u64,
}

impl Deliveries {
    /// Delivers events until the bus ends. What has come together goes to the shards together.
    pub async fn run(self, mut events: mpsc::Receiver<BusEvent>) {
        let mut state = DeliveryState::default();
        let mut waiting = Vec::with_capacity(EVENTS_MAX);
        while events.recv_many(&mut waiting, EVENTS_MAX).await > 0 {
            let mut batch = DeliveryBatch::new(reaction::window_ms(&self.bus, self.reactions_per_second));
            for event in waiting.drain(..) {
                if let Some(other) = self.collect(event, &mut state, &mut batch) {
                    self.deliver(&mut batch).await;
                    self.handle(other).await;
                } else if batch.bytes >= DELIVER_BYTES_MAX {
                    self.deliver(&mut batch).await;
                }
            }
            self.deliver(&mut batch).await;
        }
    }

    /// Adds a broadcast to a batch. Returns the event if it is none.
    fn collect(&self, event: BusEvent, state: &mut DeliveryState, batch: &mut DeliveryBatch) -> Option<BusEvent> {
        match event {
            BusEvent::Broadcast(incoming) => {
                state.returned = self.bus.own_sequence(&incoming.id).unwrap_or(0).max(state.returned);
                let audience = state.local.take(&incoming.id).map_or(Audience::All, Audience::After);
                batch.push(&self.tracer, incoming, audience);
            }
            // Redis pushed it back while the publisher took Redis for lost.
            BusEvent::Local(incoming)
                if self.bus.own_sequence(&incoming.id).is_some_and(|sequence| sequence <= state.returned) => {}
            BusEvent::Local(incoming) => {
                let moment = self.clock.tick();
                state.local.insert(incoming.id.clone(), moment);
                batch.push(&self.tracer, incoming, Audience::Before(moment));
            }
            // Of no broadcast's order.
            BusEvent::Rooms(report) => {
                if !self.presence.apply_report(report) {
                    self.metrics.presence_resyncs.inc();
                }
            }
            BusEvent::Whispers(whispers) => {
                for whisper in whispers {
                    if !self.presence.whisper(whisper, None) {
                        self.metrics.whispers.with_label_values(&["dropped"]).inc();
                    }
                }
            }
            other => return Some(other),
        }
        None
    }

    async fn deliver(&self, batch: &mut DeliveryBatch) {
        let deliveries: Arc<[Arc<Delivery>]> = batch.take();
        if !deliveries.is_empty() {
            self.revoke(&deliveries);
            for delivery in deliveries.iter() {
                self.metrics.broadcast_received(&delivery.name);
            }
            send_to_all(&self.shards, || Command::Deliver(Arc::clone(&deliveries))).await;
        }
        for traced in batch.traced.drain(..) {
            traced.end(&self.tracer);
        }
    }

    /// Voids the grants of users who are disconnected.
    fn revoke(&self, deliveries: &[Arc<Delivery>]) {
        for delivery in deliveries.iter().filter(|delivery| delivery.disconnects()) {
            self.grants.revoke(delivery.user.as_deref().unwrap_or_default());
        }
    }

    async fn handle(&self, event: BusEvent) {
        match event {
            BusEvent::Start { position, history } => {
                let before = history.into_iter().map(|old| Arc::new(delivery(old, Audience::All, None)));
                let before: Arc<[_]> = before.collect();
                self.revoke(&before);
                send_to_all(&self.shards, || Command::StartHistory(position.clone(), Arc::clone(&before))).await;
            }
            BusEvent::Query { id, query } => self.spawn_command(id, query),
            BusEvent::Gap(position) => send_to_all(&self.shards, || Command::Gap(position.clone())).await,
            BusEvent::Broadcast(_) | BusEvent::Local(_) | BusEvent::Rooms(_) | BusEvent::Whispers(_) => {}
        }
    }

    /// Runs another gateway's command concurrently, because deliveries must not wait for it.
    fn spawn_command(&self, id: String, command: String) {
        let (bus, shards) = (self.bus.clone(), self.shards.clone());
        task::spawn(async move {
            if let Some(result) = operator::run_json(&shards, bus.gateway_id(), &command).await {
                bus.respond(&id, &result).await;
            }
        });
    }
}

/// What is remembered of the deliveries so far.
#[derive(Default)]
struct DeliveryState {
    local: LocalDeliveries,
    /// The last of this gateway's own broadcasts that came back from Redis.
    returned: u64,
}

/// Broadcasts that go to the shards together, in order.
struct DeliveryBatch {
    deliveries: Vec<Arc<Delivery>>,
    bytes: usize,
    reaction_window_ms: Option<u64>,
    /// Those of the deliveries whose spans are recorded.
    traced: Vec<Delivering>,
}

impl DeliveryBatch {
    fn new(reaction_window_ms: Option<u64>) -> Self {
        Self { deliveries: Vec::new(), bytes: 0, reaction_window_ms, traced: Vec::new() }
    }

    fn push(&mut self, tracer: &Tracer, incoming: Broadcast, audience: Audience) {
        self.traced.extend(Delivering::begin(tracer, incoming.event.trace, &incoming.event.name));
        let delivery = delivery(incoming, audience, self.reaction_window_ms);
        self.bytes += delivery.frame.len();
        self.deliveries.push(Arc::new(delivery));
    }

    fn take(&mut self) -> Arc<[Arc<Delivery>]> {
        self.bytes = 0;
        std::mem::take(&mut self.deliveries).into()
    }
}

fn delivery(incoming: Broadcast, audience: Audience, reaction_window_ms: Option<u64>) -> Delivery {
    let (frame, params) = protocol::event(&incoming, reaction_window_ms);
    let Broadcast { position, event, .. } = incoming;
    let Publication { name, except, user, .. } = event;
    let (first, compressed) = (FirstParam::within(params), CompressedFrame::default());
    Delivery { name, frame, compressed, first, except, user, audience, position }
}

/// The moments of local deliveries that Redis has not repeated yet. Their number is bounded; the oldest are forgotten
/// first.
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
        // Redis repeats broadcasts in the order in which they were published.
        while self.order.front().is_some_and(|front| !self.moments.contains_key(front)) {
            self.order.pop_front();
        }
        Some(moment)
    }
}

/// Tells the bus the number of connections, until the program ends.
pub async fn count_connections(bus: Bus, quota: Arc<Quota>) {
    let mut tick = tokio::time::interval(COUNT_EVERY);
    loop {
        tick.tick().await;
        bus.set_connections(quota.connections.load(Ordering::Relaxed) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffyne_shared::bus::Position;

    #[test]
    fn a_broadcast_is_one_frame_with_unmodified_parameters() {
        let incoming = Broadcast {
            id: "g.1-7".to_owned(),
            position: Some(Position { epoch: "e".into(), offset: 9 }),
            event: Publication {
                name: "message-sent".to_owned(),
                params: r#"[{"room_id": 1.0}]"#.to_owned(),
                except: None,
                depth: 1,
                user: None,
                trace: None,
            },
        };
        let delivery = delivery(incoming, Audience::All, None);
        let text = String::from_utf8_lossy(&delivery.frame).into_owned();
        let expected = r#"{"event":"diffyne.event","data":{"events":[{"name":"message-sent","params":[{"room_id": 1.0}],"to":null,"self":false}],"id":"g.1-7","offset":9,"depth":1}}"#;
        assert!(text.ends_with(expected), "{text}");
        assert_eq!(delivery.first(), Some(&serde_json::json!({"room_id": 1.0})));
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
