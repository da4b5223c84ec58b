//! The state that all connections of a worker share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use diffyne_shared::admin_tokens::AdminTokens;
use diffyne_shared::bus::random_bits;
use diffyne_shared::rpc::handshake::LegacyToken;
use diffyne_shared::settings::worker::WorkerSettings;
use diffyne_shared::tls::ServerTls;
use diffyne_shared::token::{SharedTokens, Tokens};
use diffyne_shared::trace::Tracer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::pending_connections::PendingConnections;
use super::queue::CallQueue;
use crate::backend::Backend;
use crate::metrics::WorkerMetrics;

/// The state that all connections of a worker share.
pub(super) struct WorkerState {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) id: String,
    pub(super) admin_tokens: AdminTokens,
    /// The tokens that gateways have to prove. They can be replaced while the worker runs.
    pub(super) tokens: SharedTokens,
    /// Whether gateways may send their token in plain text. It can be replaced while the worker runs.
    pub(super) legacy_token: ArcSwap<LegacyToken>,
    /// Connections that have not proved the token yet.
    pub(super) pending: PendingConnections,
    /// The certificate for gateways on TCP; without one, they connect without TLS. It can be replaced while the worker
    /// runs.
    pub(super) tls: ArcSwapOption<ServerTls>,
    /// The number of calls that may run at once.
    pub(super) concurrency: usize,
    /// The calls that wait for a slot.
    pub(super) queue: CallQueue,
    pub(super) frame_bytes_max: usize,
    pub(super) reply_bytes_max: usize,
    /// One permit per running call.
    pub(super) slots: Arc<Semaphore>,
    /// The number of calls that run or wait.
    pub(super) load: AtomicU32,
    /// The number of connected gateway threads.
    pub(super) connections: AtomicUsize,
    pub(super) drain: CancellationToken,
    pub(super) metrics: Arc<WorkerMetrics>,
    /// Records spans, where a collector wants them.
    pub(super) tracer: Tracer,
    pub(super) started: Instant,
}

impl WorkerState {
    pub(super) fn new(
        settings: &WorkerSettings,
        backend: Arc<dyn Backend>,
        metrics: Arc<WorkerMetrics>,
        tracer: Tracer,
    ) -> Result<Self, String> {
        backend.register_metrics(&metrics.registry);
        Ok(Self {
            backend,
            id: format!("{}.{:016x}", settings.name, random_bits()),
            admin_tokens: settings.admin_tokens.clone(),
            tokens: Tokens::shared(&settings.tokens),
            legacy_token: ArcSwap::from_pointee(settings.legacy_token),
            pending: PendingConnections::default(),
            tls: ArcSwapOption::new(read_tls_or_warn(settings)?),
            concurrency: settings.concurrency,
            queue: CallQueue::new(settings.queue_max, settings.queue_time),
            // Never less than a message of the WebSocket.
            frame_bytes_max: settings.request_bytes_max + diffyne_shared::rpc::FRAME_OVERHEAD_MAX,
            reply_bytes_max: settings.answer_bytes_max,
            slots: Arc::new(Semaphore::new(settings.concurrency.min(Semaphore::MAX_PERMITS))),
            load: AtomicU32::new(0),
            connections: AtomicUsize::new(0),
            drain: CancellationToken::new(),
            metrics,
            tracer,
            started: Instant::now(),
        })
    }

    /// Replaces the tokens and the certificate. Connected gateways stay connected.
    pub(super) fn set_secrets(&self, settings: &WorkerSettings) -> Result<(), String> {
        self.tls.store(read_tls_or_warn(settings)?);
        self.tokens.store(Arc::new(Tokens::new(&settings.tokens)));
        self.legacy_token.store(Arc::new(settings.legacy_token));
        Ok(())
    }

    /// Updates the number of connections, and tells the backend.
    pub(super) fn count_gateways(&self, change: impl FnOnce(&AtomicUsize) -> usize) {
        let connected = change(&self.connections);
        self.metrics.connections.set(connected as i64);
        self.backend.gateways(connected, self.drain.is_cancelled());
    }
}

/// Reads the certificate and its key, where the settings name them.
pub(super) fn read_tls(settings: &WorkerSettings) -> Result<Option<Arc<ServerTls>>, String> {
    let Some((certificate, key)) = &settings.tls else { return Ok(None) };
    let tls = ServerTls::read(certificate, key).map_err(|error| format!("DIFFYNE_WORKER_TLS_CERT: {error}"))?;
    Ok(Some(Arc::new(tls)))
}

fn read_tls_or_warn(settings: &WorkerSettings) -> Result<Option<Arc<ServerTls>>, String> {
    let tls = read_tls(settings)?;
    if tls.is_none() && !settings.listen.is_local() {
        tracing::warn!(
            listen = %settings.listen,
            "calls come from other hosts in the clear: set DIFFYNE_WORKER_TLS_CERT and DIFFYNE_WORKER_TLS_KEY"
        );
    }
    Ok(tls)
}
