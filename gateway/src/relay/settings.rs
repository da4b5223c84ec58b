//! One thread's share of a gateway's settings.

use std::time::Duration;

use diffyne_shared::rpc;
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::tls::ClientTls;
use diffyne_shared::token::SharedTokens;

/// Limits and secrets of a relay.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// This gateway, as its hello says.
    pub gateway_id: String,
    /// The worker token, which gateway and worker prove to each other; exchanged for the next connections.
    pub tokens: SharedTokens,
    /// Calls that may wait for a worker on this thread.
    pub queue_max: usize,
    /// How long a call waits when no worker is connected.
    pub worker_wait: Duration,
    /// Silence after which a worker is left out.
    pub health: Duration,
    /// Longest frame from a worker, in bytes.
    pub frame_bytes_max: usize,
    /// Longest frame to a worker that does not tell what it takes, in bytes.
    pub call_bytes_assumed: usize,
    /// TLS to workers on other hosts, if it is used.
    pub tls: Option<ClientTls>,
}

impl RelaySettings {
    /// The share of one thread; the error says why the certificate cannot be used.
    pub fn new(settings: &GatewaySettings, gateway_id: String, tokens: SharedTokens) -> Result<Self, String> {
        Ok(Self {
            gateway_id,
            tokens,
            queue_max: settings.call_queue_max.div_ceil(settings.threads),
            worker_wait: settings.worker_wait,
            health: settings.worker_health,
            frame_bytes_max: settings.outbox_bytes_max + rpc::FRAME_OVERHEAD_MAX,
            call_bytes_assumed: settings.message_bytes_max + rpc::FRAME_OVERHEAD_MAX,
            tls: settings.worker_ca.as_deref().map(ClientTls::read).transpose()?,
        })
    }
}
