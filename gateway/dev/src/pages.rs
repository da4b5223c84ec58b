//! The demo page, beside the client scripts of every gateway.

use std::sync::Arc;

use diffyne_gateway::http::health::HealthSource;
use diffyne_gateway::http::pages::{Page, PageFuture, Pages};
use diffyne_gateway::scripts::{self, ScriptPages};
use diffyne_worker::component::ClientInfo;
use diffyne_worker::component::engine::Engine;
use diffyne_worker::demo;
use diffyne_worker::page::{self, Script, script_tag};

const PAGE: &str = include_str!("demo.html");

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
        let mut html = PAGE.replace("{{ style }}", demo::STYLE).replace("{{ script }}", &script_tag(&script));
        let page = page::Page::new(&self.engine, ClientInfo::default(), "");
        for (mark, class) in [("{{ counter }}", demo::COUNTER), ("{{ chat }}", demo::CHAT_ROOM)] {
            let component = page.component(class, serde_json::Value::Null).await;
            let component = component.unwrap_or_else(|failure| {
                tracing::error!(?failure, class, "a demo component does not mount");
                "<p>This component cannot be shown; see the log.</p>".to_owned()
            });
            html = html.replace(mark, &component);
        }
        scripts::page("text/html; charset=utf-8", html)
    }
}

impl Pages for DemoPages {
    fn page<'a>(&'a self, path: &'a str) -> PageFuture<'a> {
        Box::pin(async move { if path == "/" { Some(self.demo().await) } else { self.scripts.page(path).await } })
    }

    fn release(&self) -> &str {
        self.scripts.release()
    }

    fn health(&self) -> String {
        self.scripts.health()
    }
}
