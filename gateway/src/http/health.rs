//! `GET /health`: what a load balancer and a person want to know. Always 200 while the process serves.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use diffyne_shared::VERSION;
use diffyne_shared::bus::{Bus, RedisState};
use serde_json::json;

/// Collects the figures.
pub struct HealthSource {
    bus: Bus,
    started: Instant,
    /// Workers that can be called, of all known.
    workers: ArcSwap<(usize, usize)>,
}

impl HealthSource {
    /// A source for this start of the gateway.
    pub fn new(bus: Bus) -> Arc<Self> {
        Arc::new(Self { bus, started: Instant::now(), workers: ArcSwap::from_pointee((0, 0)) })
    }

    /// Tells how many workers can be called, of how many.
    pub fn set_workers(&self, reachable: usize, known: usize) {
        self.workers.store(Arc::new((reachable, known)));
    }

    /// Workers that can be called, of all known.
    pub fn workers(&self) -> (usize, usize) {
        **self.workers.load()
    }

    /// What is wrong, in words.
    pub fn reasons(&self) -> Vec<String> {
        let (reachable, known) = self.workers();
        let mut reasons = Vec::new();
        if reachable == 0 {
            reasons.push("no worker is reachable".to_owned());
        } else if reachable < known {
            reasons.push(format!("{} of {known} workers are not reachable", known - reachable));
        }
        if self.bus.redis_state() == RedisState::Down {
            reasons.push("redis does not answer: broadcasts stay on this gateway and wait".to_owned());
        }
        reasons
    }

    /// The whole answer.
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
            "workers": self.workers().0,
            "redis": self.bus.redis_state().label(),
        })
        .to_string()
    }
}
