//! `GET /health`: the state of the gateway for load balancers and people. The status is always 200 while the process
//! serves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arc_swap::ArcSwap;
use diffyne_shared::VERSION;
use diffyne_shared::bus::{Bus, RedisState};
use serde_json::json;

use crate::quota::Quota;

/// Collects the values for `/health`.
pub struct HealthSource {
    bus: Bus,
    quota: Arc<Quota>,
    started: Instant,
    workers: ArcSwap<WorkerCounts>,
}

/// The number of workers that this gateway knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// All workers that are announced or listed.
    pub known: usize,
    /// The workers among them that answer.
    pub reachable: usize,
    /// The workers among them that answer but cannot run calls: their PHP does not start, for example.
    pub faulty: usize,
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
        let WorkerCounts { known, reachable, faulty } = self.workers();
        let mut reasons = Vec::new();
        if reachable == 0 {
            reasons.push("no worker is reachable".to_owned());
        } else if reachable < known {
            reasons.push(format!("{} of {known} workers are not reachable", known - reachable));
        }
        if faulty > 0 {
            let words = "cannot run calls (their own logs and /ready say why)";
            reasons.push(format!("{faulty} of {known} workers {words}"));
        }
        if self.bus.redis_state() == RedisState::Down {
            reasons.push("redis does not answer: broadcasts stay on this gateway and wait".to_owned());
        }
        if self.quota.shedding.load(Ordering::Relaxed) {
            let words = "memory: above DIFFYNE_MEMORY_MAX; nobody else comes in, and the largest connections end";
            reasons.push(words.to_owned());
        }
        reasons
    }

    /// Returns the complete response as JSON.
    pub fn json(&self) -> String {
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
        .to_string()
    }
}
