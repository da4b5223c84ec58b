//! Starts and stops the tasks behind the queue of events.

use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::bus::Bus;
use diffyne_shared::settings::lifecycle::{LifecycleKind, LifecycleSettings};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::delivery::{DeliveryTask, Receiver};
use super::occupancy::OccupancyTask;
use super::queue::EventQueue;
use super::rooms::{Rooms, is_among};
use crate::metrics::Metrics;

/// How long a gateway that stops reports that it leaves its rooms.
const LAST_ROOMS: Duration = Duration::from_secs(1);
/// How long a gateway that stops tries to deliver the last events.
const LAST_EVENTS: Duration = Duration::from_secs(4);
/// The longest batch, in bytes.
const BATCH_BYTES_MAX: usize = 128 * 1024;

/// Where the shards report what happens.
#[derive(Clone)]
pub struct Lifecycle {
    /// The events that wait to be delivered.
    pub queue: Arc<EventQueue>,
    /// The rooms, where they are told of.
    pub rooms: Option<Arc<Rooms>>,
    /// Event names whose subscriptions are told of.
    names: Arc<[String]>,
}

impl Lifecycle {
    /// Creates the queue and the rooms of a gateway; `None` where nobody is told anything.
    pub fn new(settings: &LifecycleSettings, bus: &Bus, metrics: &Arc<Metrics>) -> Option<Self> {
        if !settings.is_on() {
            return None;
        }
        let queue = EventQueue::new(bus.gateway_id(), settings.kinds, settings.queue_bytes_max, Arc::clone(metrics));
        let rooms = Rooms::new(&settings.rooms, settings.vacated_after, Arc::clone(metrics));
        let rooms = settings.kinds.has_rooms().then(|| Arc::new(rooms));
        Some(Self { queue: Arc::new(queue), rooms, names: settings.rooms.clone().into() })
    }

    /// Whether subscriptions to an event are told of.
    pub fn tells_of(&self, event: &str) -> bool {
        is_among(&self.names, event)
    }
}

/// The tasks of a gateway.
pub struct LifecycleTasks {
    queue: Arc<EventQueue>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    occupancy: Option<JoinHandle<OccupancyTask>>,
    delivery: JoinHandle<()>,
}

impl LifecycleTasks {
    /// Starts them on the caller's runtime. `message_bytes_max` bounds a batch as well.
    pub fn start(
        lifecycle: &Lifecycle,
        settings: &LifecycleSettings,
        receiver: Box<dyn Receiver>,
        message_bytes_max: usize,
        bus: &Bus,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let (queue, stop) = (Arc::clone(&lifecycle.queue), CancellationToken::new());
        // Without rooms, the lease alone tells the others when this gateway is killed.
        let rooms = lifecycle.rooms.clone().or_else(|| {
            let rooms = || Arc::new(Rooms::new(&[], settings.vacated_after, Arc::clone(metrics)));
            settings.kinds.has(LifecycleKind::GatewayLost).then(rooms)
        });
        let occupancy = rooms.clone().map(|rooms| {
            let task = OccupancyTask::new(bus.occupancy(), rooms, Arc::clone(&queue));
            tokio::spawn(task.run(stop.clone()))
        });
        let delivery = DeliveryTask {
            queue: Arc::clone(&queue),
            receiver,
            rooms,
            batch_bytes_max: BATCH_BYTES_MAX.min(message_bytes_max),
            retry: settings.retry,
            metrics: Arc::clone(metrics),
        };
        let metrics = Arc::clone(metrics);
        Self { queue, metrics, stop, occupancy, delivery: tokio::spawn(delivery.run()) }
    }

    /// Leaves the rooms, and delivers what waits, for so long at most.
    pub async fn stop(self) {
        let Self { queue, metrics, stop, occupancy, mut delivery } = self;
        stop.cancel();
        let occupancy = match occupancy {
            Some(mut task) => {
                let left = timeout(LAST_ROOMS, &mut task).await;
                task.abort();
                left.ok().and_then(Result::ok)
            }
            None => None,
        };
        queue.close();
        if timeout(LAST_EVENTS, &mut delivery).await.is_err() {
            delivery.abort();
            let waiting = metrics.lifecycle_waiting.get();
            tracing::error!(
                waiting,
                "events of connections were not delivered before the end, besides those of a batch under way"
            );
        }
        if let Some(mut occupancy) = occupancy {
            // Otherwise the lease ends by itself, and another gateway tells what this one has not told.
            let _ = timeout(LAST_ROOMS, occupancy.leave()).await;
        }
    }
}
