//! The demo page, beside the client scripts of every gateway.

use std::sync::Arc;

use diffyne_gateway::http::health::{Audience, HealthSource};
use diffyne_gateway::http::pages::{Page, PageFuture, Pages};
use diffyne_gateway::scripts::{self, ScriptPages};
use diffyne_worker::component::engine::Engine;
use diffyne_worker::demo;
use diffyne_worker::page::Script;

/// Serves the demo page at `/`.
pub struct DemoPages {
    scripts: ScriptPages,
    engine: Arc<Engine>,
    /// The path of the WebSocket, with its key.
    socket: String,
    prefix: String,
}

impl DemoPages {
    /// Creates pages that mount components of this engine. Their scripts connect to `socket`.
    pub fn new(health: Arc<HealthSource>, engine: Arc<Engine>, socket: String, prefix: String) -> Self {
        Self { scripts: ScriptPages::new(health, &prefix, engine.release.as_deref()), engine, socket, prefix }
    }

    async fn demo(&self) -> Page {
        let source = format!("{}/client.js", self.prefix);
        let script = Script { source: &source, socket: Some(&self.socket), endpoint: Some(&self.prefix), ajax: None };
        scripts::page("text/html; charset=utf-8", demo::html(&self.engine, &script).await)
    }
}

impl Pages for DemoPages {
    fn page<'a>(&'a self, path: &'a str) -> PageFuture<'a> {
        Box::pin(async move { if path == "/" { Some(self.demo().await) } else { self.scripts.page(path).await } })
    }

    fn release(&self) -> &str {
        self.scripts.release()
    }

    fn health(&self, audience: Audience) -> String {
        self.scripts.health(audience)
    }
}
