//! The settings of one thread's relay.

use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::listener::Stream;
use diffyne_shared::rpc;
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::tls::ClientTls;
use diffyne_shared::token::SharedTokens;

/// Serves a connection of this gateway by the worker in the same process, on the thread that calls it.
#[derive(Clone)]
pub struct OwnWorker(pub Arc<dyn Fn(Stream) + Send + Sync>);

impl std::fmt::Debug for OwnWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnWorker")
    }
}

/// The limits and secrets of a relay.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// The id of this gateway in its hello.
    pub gateway_id: String,
    /// The worker tokens, which gateway and worker prove to each other. A replacement applies to new connections.
    pub tokens: SharedTokens,
    /// The number of calls that may wait for a worker on this thread.
    pub queue_max: usize,
    /// How long a call waits when no worker is connected.
    pub worker_wait: Duration,
    /// The time of silence after which a worker gets no calls.
    pub health: Duration,
    /// The longest frame from a worker, in bytes.
    pub frame_bytes_max: usize,
    /// The longest frame to a worker that does not report its limit, in bytes.
    pub call_bytes_assumed: usize,
    /// TLS to workers on other hosts, if it is used.
    pub tls: Option<ClientTls>,
    /// The worker in this process, where there is one.
    pub own_worker: Option<OwnWorker>,
}

impl RelaySettings {
    /// Derives the settings of one thread. The error tells why the certificate cannot be used.
    pub fn new(settings: &GatewaySettings, gateway_id: String, tokens: SharedTokens) -> Result<Self, String> {
        Ok(Self {
            gateway_id,
            tokens,
            queue_max: settings.call_queue_max.div_ceil(settings.threads),
            worker_wait: settings.worker_wait,
            health: settings.worker_health,
            frame_bytes_max: settings.outbox_bytes_max + rpc::FRAME_OVERHEAD_MAX,
            call_bytes_assumed: settings.request_bytes_max + rpc::FRAME_OVERHEAD_MAX,
            tls: settings.worker_ca.as_deref().map(ClientTls::read).transpose()?,
            own_worker: None,
        })
    }
}
