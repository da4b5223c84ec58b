//! What `diffyne-gateway serve` serves beside the WebSocket: `/health` and the client script.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;

use crate::http::{HealthSource, Page, PageFuture, Pages};

/// Where the scripts are found.
pub const CLIENT_SCRIPT_PATH: &str = "/_diffyne/client.js";
const CLIENT_SCRIPT: &str = include_str!("client/diffyne-client.js");

/// A page of this content.
pub fn page(content_type: &'static str, body: impl Into<Bytes>) -> Page {
    let body = body.into();
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    Page { content_type, etag: format!("\"{:016x}\"", hasher.finish()), body }
}

/// The pages of a gateway in production.
pub struct ServePages {
    health: Arc<HealthSource>,
    script: Page,
}

impl ServePages {
    /// Pages over these figures.
    pub fn new(health: Arc<HealthSource>) -> Self {
        Self { health, script: page("text/javascript; charset=utf-8", CLIENT_SCRIPT) }
    }
}

impl Pages for ServePages {
    fn page<'a>(&'a self, path: &'a str) -> PageFuture<'a> {
        Box::pin(async move { (path == CLIENT_SCRIPT_PATH).then(|| self.script.clone()) })
    }

    fn health(&self) -> String {
        self.health.json()
    }
}
