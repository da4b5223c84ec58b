//! Keeps the rooms of this gateway and those of the others the same, through the bus.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::bus::{Bus, ReportKind, Reported, RoomReport};
use tokio::time::MissedTickBehavior;

use super::registry::RoomRegistry;
use super::rooms::WholeReport;
use crate::metrics::Metrics;

/// How often changes are reported.
const STEP: Duration = Duration::from_millis(100);
/// How often a gateway says that it is there. Redis drops the members of one that has not for four seconds.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Reports in one step. The rest waits for the next one: heartbeats and lists must come in time.
const REPORTS_MAX: usize = 8;
/// Rooms that are read at once, and how long a step begins to read more.
const READ_MAX: usize = 16;
const READ_TIME: Duration = Duration::from_millis(50);

/// Reports this gateway's members and reads those of the others, until the program ends.
pub async fn run(presence: Arc<RoomRegistry>, bus: Bus, metrics: Arc<Metrics>) {
    if !bus.has_others() {
        return;
    }
    let mut sync = Sync { presence, bus, metrics, beat_due: Instant::now(), began: false, unsent: None, whole: None };
    let mut tick = tokio::time::interval(STEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_up = true;
    loop {
        tick.tick().await;
        let done = sync.step().await;
        match &done {
            Err(error) if was_up => {
                tracing::warn!(%error, "rooms are not shared with the other gateways for now (DIFFYNE_REDIS_URL)");
            }
            Ok(()) if !was_up => tracing::info!("rooms are shared with the other gateways again"),
            _ => {}
        }
        was_up = done.is_ok();
        if !was_up {
            sync.presence.give_up_reading().await;
            tokio::time::sleep(BEAT_EVERY).await;
        }
    }
}

struct Sync {
    presence: Arc<RoomRegistry>,
    bus: Bus,
    metrics: Arc<Metrics>,
    beat_due: Instant,
    /// A heartbeat has arrived.
    began: bool,
    /// The report under way. It is repeated as it is until it is known what became of it.
    unsent: Option<RoomReport>,
    /// Everything has to be reported anew, these rooms as well.
    whole: Option<Vec<Arc<str>>>,
}

impl Sync {
    async fn step(&mut self) -> Result<(), String> {
        if self.presence.lock().take_forgotten() {
            let unsent = self.unsent.take().into_iter().flat_map(|report| report.changes);
            self.whole.get_or_insert_default().extend(unsent.map(|change| change.room));
        }
        if self.whole.is_some() {
            self.report_all().await?;
        }
        self.report().await?;
        if self.beat_due <= Instant::now() && self.whole.is_none() {
            self.beat().await?;
            self.beat_due = Instant::now() + BEAT_EVERY;
        }
        self.read().await
    }

    async fn beat(&mut self) -> Result<(), String> {
        let number = self.began.then(|| self.presence.lock().number());
        let beat = self.bus.beat_rooms(number).await?;
        self.began = true;
        if beat.is_lost {
            tracing::info!("redis does not have this gateway's rooms any more; they are reported anew");
            self.whole.get_or_insert_default();
        }
        if !self.presence.lock().apply_beat(&beat, Instant::now()) {
            self.metrics.presence_resyncs.inc();
        }
        Ok(())
    }

    /// Reports what has changed.
    async fn report(&mut self) -> Result<(), String> {
        for _ in 0..REPORTS_MAX {
            if !self.began || self.whole.is_some() {
                break;
            }
            let next = self.unsent.take().or_else(|| self.presence.lock().take_report());
            let Some(report) = next else { break };
            match self.bus.report_rooms(&report, ReportKind::Change).await {
                Ok(Reported::Taken) => {}
                Ok(Reported::Lost) => {
                    let lost = report.changes.into_iter().map(|change| change.room);
                    self.whole.get_or_insert_default().extend(lost);
                }
                Err(error) => {
                    self.unsent = Some(report);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Reports everything anew.
    async fn report_all(&mut self) -> Result<(), String> {
        self.metrics.presence_resyncs.inc();
        let mut whole = WholeReport::new(self.whole.take().unwrap_or_default());
        let done = self.report_parts(&mut whole).await;
        if done != Ok(true) {
            // Everything is reported again.
            self.whole = Some(whole.into_named());
        }
        done.map(drop)
    }

    /// Returns whether all parts were taken.
    async fn report_parts(&mut self, whole: &mut WholeReport) -> Result<bool, String> {
        let number = self.presence.lock().number();
        while !self.bus.clear_rooms(number).await? {}
        loop {
            let part = self.presence.lock().take_part(whole);
            let kind = if whole.is_complete() { ReportKind::LastPart } else { ReportKind::Part };
            if self.bus.report_rooms(&part, kind).await? == Reported::Lost {
                return Ok(false);
            }
            if whole.is_complete() {
                return Ok(true);
            }
        }
    }

    /// Reads rooms of which something is missing.
    async fn read(&mut self) -> Result<(), String> {
        let until = Instant::now() + READ_TIME;
        loop {
            let names = self.presence.lock().unread(READ_MAX);
            if names.is_empty() {
                return Ok(());
            }
            let read = self.bus.read_rooms(&names).await?;
            let now = Instant::now();
            self.presence.lock().apply_read(&names, read, now);
            if now >= until {
                return Ok(());
            }
        }
    }
}
