//! `GET /health`: the state of the gateway for load balancers and people. The status is always 200 while the process
//! serves. On the public port strangers are told the status alone: names of hosts and numbers of clients are for
//! operators.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arc_swap::ArcSwap;
use diffyne_shared::VERSION;
use diffyne_shared::bus::{Bus, RedisState};
use serde_json::{Value, json};

use crate::quota::Quota;

const SEE_WORKERS: &str = "see their /ready and their logs";

/// Collects the values for `/health`.
pub struct HealthSource {
    bus: Bus,
    quota: Arc<Quota>,
    started: Instant,
    workers: ArcSwap<WorkerCounts>,
}

/// Who reads the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Somebody at an address that is not in `DIFFYNE_TRUSTED_PROXIES`.
    Anyone,
    /// Whoever is at a trusted address, or asks on the admin port.
    Operators,
}

/// The number of workers that this gateway knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// All workers that are announced or listed.
    pub known: usize,
    /// The workers among them that answer and can run calls.
    pub reachable: usize,
    /// The workers among them that answer but cannot run calls: their PHP does not start, for example.
    pub faulty: usize,
    /// The reachable workers that run older code of the application, as the newest does not start.
    pub outdated: usize,
}

impl WorkerCounts {
    /// Returns the number of workers that do not answer.
    pub fn unreachable(&self) -> usize {
        self.known.saturating_sub(self.reachable + self.faulty)
    }

    /// Returns why there is no worker that can run calls, if there is none.
    pub fn none_usable(&self) -> Option<String> {
        (self.reachable == 0).then(|| self.problems().join("; "))
    }

    fn problems(&self) -> Vec<String> {
        let Self { known, reachable, faulty, outdated } = *self;
        if reachable + faulty == 0 {
            return vec!["no worker is reachable".to_owned()];
        }
        let problems = [
            (self.unreachable(), format!("{} of {known} workers are not reachable", self.unreachable())),
            (faulty, format!("{faulty} of {known} workers cannot run calls ({SEE_WORKERS})")),
            (
                outdated,
                format!(
                    "old code still serves on {outdated} of {known} workers, as the application's newest code does not start \
                     ({SEE_WORKERS})"
                ),
            ),
        ];
        problems.into_iter().filter(|(count, _)| *count > 0).map(|(_, problem)| problem).collect()
    }
}

impl HealthSource {
    /// Creates a source for this start of the gateway.
    pub fn new(bus: Bus, quota: Arc<Quota>) -> Arc<Self> {
        Arc::new(Self { bus, quota, started: Instant::now(), workers: ArcSwap::default() })
    }

    /// Sets the worker counts.
    pub fn set_workers(&self, counts: WorkerCounts) {
        self.workers.store(Arc::new(counts));
    }

    /// Returns the worker counts.
    pub fn workers(&self) -> WorkerCounts {
        **self.workers.load()
    }

    /// Returns the current problems as text.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = self.workers().problems();
        if self.bus.redis_state() == RedisState::Down {
            reasons.push(
                "Redis does not answer: broadcasts reach the clients of this gateway and wait for the others"
                    .to_owned(),
            );
        }
        if self.quota.shedding.load(Ordering::Relaxed) {
            let words =
                "memory: above DIFFYNE_MEMORY_MAX, so new connections are refused and the largest ones are closed";
            reasons.push(words.to_owned());
        }
        reasons
    }

    /// Returns the response as JSON, as far as it is meant for this audience.
    pub fn json(&self, audience: Audience) -> String {
        match audience {
            Audience::Anyone => json!({"status": self.status()}).to_string(),
            Audience::Operators => self.details().to_string(),
        }
    }

    fn status(&self) -> &'static str {
        if self.reasons().is_empty() { "ok" } else { "degraded" }
    }

    /// Returns everything that operators may know.
    pub fn details(&self) -> Value {
        let reasons = self.reasons();
        let presence = self.bus.presence();
        let local = presence.get(self.bus.gateway_id()).copied().unwrap_or_default();
        json!({
            "status": if reasons.is_empty() { "ok" } else { "degraded" },
            "reasons": reasons,
            "version": VERSION,
            "gateway": self.bus.gateway_id(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "connections": {
                "local": local,
                "cluster": presence.values().sum::<u64>(),
                "gateways": *presence,
            },
            "workers": self.workers().reachable,
            "redis": self.bus.redis_state().label(),
        })
    }
}
