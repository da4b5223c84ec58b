//! Delivers events: one batch after the other, so that they arrive in order, each again until it was taken. What the receiver
//! refuses is found and set aside, with what follows of the same connection or room.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use diffyne_shared::backoff::Backoff;
use diffyne_shared::telemetry::{self, LogThrottle};

use super::batch::{self, Batch};
use super::queue::{EventQueue, QueuedEvent};
use super::rooms::Rooms;
use super::set_aside::{Place, SetAside};
use crate::metrics::Metrics;

/// How long events are collected for a batch.
const COLLECT: Duration = Duration::from_millis(100);
/// The first pause after a failure.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest pause that a receiver may ask for.
const AFTER_MAX: Duration = Duration::from_mins(5);
/// Between two attempts of a gateway that stops.
const STOP_PAUSE: Duration = Duration::from_millis(200);
/// Between two attempts to find the event that the receiver does not take.
const SEARCH_PAUSE: Duration = Duration::from_millis(20);
/// A receiver that fails with the same events for so long fails because of them, as far as anybody can tell.
const FAILS_FOR: Duration = Duration::from_secs(15);

/// What it means that a batch was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver is not there or has no time: it takes the same later.
    Unavailable,
    /// It has failed, maybe because of what was handed over.
    Failed,
    /// It does not want what was handed over.
    Refused,
}

impl Verdict {
    fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unavailable | Self::Failed => "failed",
        }
    }
}

/// Why a batch was not taken.
#[derive(Debug)]
pub struct DeliveryError {
    /// In words.
    pub reason: String,
    /// What it means.
    pub verdict: Verdict,
    /// When the receiver wants to be asked again.
    pub after: Option<Duration>,
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for DeliveryError {
    fn from(error: E) -> Self {
        Self { reason: error.into().to_string(), verdict: Verdict::Unavailable, after: None }
    }
}

/// A delivery under way.
pub type DeliveryFuture<'a> = Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send + 'a>>;

/// Whoever takes events.
pub trait Receiver: Send + Sync {
    /// Hands over a batch. Returns within a limit of its own.
    fn deliver(&self, body: Bytes) -> DeliveryFuture<'_>;
    /// A name for people.
    fn name(&self) -> String;
}

/// The task that delivers.
pub struct DeliveryTask {
    /// The events.
    pub queue: Arc<EventQueue>,
    /// Who gets them.
    pub receiver: Box<dyn Receiver>,
    /// Where the delivery of news about rooms is noted, if there are any.
    pub rooms: Option<Arc<Rooms>>,
    /// The longest batch, in bytes.
    pub batch_bytes_max: usize,
    /// How long a batch is tried.
    pub retry: Duration,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

impl DeliveryTask {
    /// Delivers until the queue is closed and empty.
    pub async fn run(self) {
        let mut delivery = Delivery::new(self);
        while delivery.step().await {}
        delivery.finish().await;
    }
}

/// A delivery, with what has been taken from the queue.
struct Delivery {
    task: DeliveryTask,
    /// What is handed over in order.
    batch: Batch,
    aside: SetAside,
    /// What was set aside has just had its turn: the others are next.
    aside_had_turn: bool,
    /// How often the receiver has taken something.
    delivered: u64,
    /// Grows with each failure, until something is taken.
    backoff: Backoff,
    /// Nothing is handed over before.
    resume_at: Instant,
    failures: LogThrottle,
    refusals: LogThrottle,
}

impl Delivery {
    fn new(task: DeliveryTask) -> Self {
        Self {
            aside: SetAside::new(task.queue.bytes_max()),
            task,
            batch: Batch::default(),
            aside_had_turn: false,
            delivered: 0,
            backoff: Backoff::new(PAUSE_FIRST, PAUSE_MAX),
            resume_at: Instant::now(),
            failures: LogThrottle::default(),
            refusals: LogThrottle::default(),
        }
    }

    /// Makes an attempt, or takes events for the next one. Returns `false` at the end. Attempts with what was set aside may be
    /// slow, and there may always be one that is due: all others are handed over in between.
    async fn step(&mut self) -> bool {
        self.pause().await;
        let is_due = self.aside.due().is_some_and(|due| due <= Instant::now());
        if is_due && !self.aside_had_turn {
            self.hand_over_aside().await;
            self.aside_had_turn = true;
        } else if !self.batch.is_empty() {
            self.hand_over().await;
            self.aside_had_turn = false;
        } else if self.fill().await {
            self.aside_had_turn &= !self.batch.is_empty();
        } else {
            return false;
        }
        while let Some((events, reason)) = self.aside.take_overfull(self.delivered) {
            self.give_up(events.into_events(), reason);
        }
        self.count_aside();
        true
    }

    fn count_aside(&self) {
        let metrics = &self.task.metrics;
        metrics.lifecycle_set_aside.set(i64::try_from(self.aside.len()).unwrap_or(i64::MAX));
        metrics.lifecycle_set_aside_bytes.set(i64::try_from(self.aside.bytes()).unwrap_or(i64::MAX));
    }

    /// Waits until something may be handed over. A gateway that stops has little time left.
    async fn pause(&self) {
        let time = self.resume_at.saturating_duration_since(Instant::now());
        if time.is_zero() {
            return;
        }
        if self.task.queue.is_closed() {
            return tokio::time::sleep(time.min(STOP_PAUSE)).await;
        }
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.task.queue.closed() => {}
        }
    }

    /// Takes the next events from the queue, or waits until something that was set aside is due. Returns `false` at the end.
    async fn fill(&mut self) -> bool {
        let queue = &self.task.queue;
        let due = self.aside.due();
        tokio::select! {
            biased;
            has_events = queue.wait() => if !has_events {
                return false;
            },
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => return true,
        }
        if !queue.is_closed() {
            tokio::time::sleep(COLLECT).await;
        }
        for event in queue.take(batch::EVENTS_MAX, self.task.batch_bytes_max) {
            if let Some(event) = self.aside.follow(event) {
                self.batch.push(event);
            }
        }
        true
    }

    /// Hands over the next events of the batch.
    async fn hand_over(&mut self) {
        let (body, count) = self.batch.next(self.task.batch_bytes_max);
        let Err(error) = self.deliver(body).await else {
            let taken = self.batch.take(count);
            return self.settle(taken, "delivered");
        };
        if self.batch.tried_for() >= self.task.retry {
            let given_up = self.batch.remove(count);
            return self.give_up(given_up, &error.reason);
        }
        let is_because_of_them = match error.verdict {
            Verdict::Refused => true,
            Verdict::Failed => self.batch.is_searching() || self.batch.tried_for() >= FAILS_FOR,
            Verdict::Unavailable => false,
        };
        if is_because_of_them && self.search(count, &error) {
            return;
        }
        self.warn(&error);
        self.back_off(&error);
    }

    /// Looks for the event that the receiver does not take among the first ones, and sets it aside. Returns `false` if there
    /// is no place for it.
    fn search(&mut self, count: usize, error: &DeliveryError) -> bool {
        self.resume_at = Instant::now() + error.after.unwrap_or_default().clamp(SEARCH_PAUSE, AFTER_MAX);
        if self.batch.split(count) {
            return true;
        }
        match self.aside.make_place(self.delivered) {
            Place::Made(given_up) => self.give_up(given_up.into_events(), "too many others were refused"),
            Place::AfterAttempt => return true,
            Place::None => return false,
        }
        let Some(event) = self.batch.remove(1).pop() else { return true };
        let about = telemetry::name(self.aside.add(event, self.delivered)).to_string();
        self.batch.hand_on(|event| self.aside.follow(event));
        if let Some(unsaid) = self.refusals.allow() {
            let (receiver, reason) = (self.task.receiver.name(), telemetry::error(&error.reason));
            tracing::warn!(%receiver, %reason, about, unsaid, "an event of a connection was refused; it is tried by itself with what follows of the same connection or room, and all others go on");
        }
        true
    }

    /// Tries what was set aside and is due first.
    async fn hand_over_aside(&mut self) {
        let bytes_max = self.task.batch_bytes_max;
        let Some((body, count)) = self.aside.first().map(|events| events.next(bytes_max)) else { return };
        let result = self.deliver(body).await;
        let Some(events) = self.aside.first() else { return };
        match result {
            Ok(()) => {
                let taken = events.take(count);
                self.aside.proceed(self.delivered);
                self.settle(taken, "delivered");
            }
            Err(error) if events.tried_for() >= self.task.retry => {
                // What is behind them was not tried yet.
                let given_up = events.remove(count);
                self.aside.proceed(self.delivered);
                self.give_up(given_up, &error.reason);
            }
            Err(error) => {
                if error.verdict == Verdict::Unavailable {
                    self.warn(&error);
                    self.back_off(&error);
                } else {
                    events.split(count);
                }
                self.aside.postpone(self.delivered);
            }
        }
    }

    /// Tries once more what was set aside. What the receiver still does not take of rooms, another gateway tells.
    async fn finish(mut self) {
        self.aside.hurry_all();
        while !self.aside.is_empty() {
            let waiting = self.aside.len();
            self.hand_over_aside().await;
            if self.aside.len() == waiting {
                let dropped = self.aside.remove_first().into_events();
                self.task.queue.release(&dropped);
                self.task.metrics.lifecycle_events.with_label_values(&["abandoned"]).inc_by(dropped.len() as u64);
            }
        }
        self.count_aside();
    }

    async fn deliver(&mut self, body: Bytes) -> Result<(), DeliveryError> {
        let result = self.task.receiver.deliver(body).await;
        let label = result.as_ref().map_or_else(|error| error.verdict.label(), |()| "taken");
        self.task.metrics.lifecycle_requests.with_label_values(&[label]).inc();
        if result.is_ok() {
            self.backoff.reset();
            self.delivered += 1;
        }
        result
    }

    fn back_off(&mut self, error: &DeliveryError) {
        self.resume_at = Instant::now() + self.backoff.wait().max(error.after.unwrap_or_default().min(AFTER_MAX));
    }

    fn warn(&self, error: &DeliveryError) {
        if let Some(unsaid) = self.failures.allow() {
            let (receiver, waiting) = (self.task.receiver.name(), self.task.queue.len());
            let reason = telemetry::error(&error.reason);
            tracing::warn!(%receiver, %reason, waiting, unsaid, "events of connections were not taken; they are sent again");
        }
    }

    fn give_up(&self, events: Vec<QueuedEvent>, reason: &str) {
        if events.is_empty() {
            return;
        }
        let (receiver, count) = (self.task.receiver.name(), events.len());
        let reason = telemetry::error(reason);
        tracing::error!(%receiver, %reason, count, "events of connections are given up");
        self.settle(events, "abandoned");
    }

    /// Counts events, gives others their place, and notes that what they tell of rooms was told or never will be.
    fn settle(&self, events: Vec<QueuedEvent>, result: &str) {
        self.task.metrics.lifecycle_events.with_label_values(&[result]).inc_by(events.len() as u64);
        self.task.queue.release(&events);
        if let Some(rooms) = &self.task.rooms {
            events.into_iter().filter_map(|event| event.room).for_each(|room| rooms.told(room));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
