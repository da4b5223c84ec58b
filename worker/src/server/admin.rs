//! The worker's admin pages: metrics, readiness, PHP processes and their reload.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use diffyne_shared::BoxFuture;
use diffyne_shared::admin::history::{History, Series};
use diffyne_shared::admin::overview::Overview;
use diffyne_shared::admin::{AdminSource, ApiFuture, ApiRequest};
use diffyne_shared::admin_tokens::AdminTokens;
use hyper::{Method, StatusCode};
use prometheus::Registry;
use serde_json::{Value, json};

use super::overview;
use super::state::WorkerState;
use crate::backend::{Backend, ReloadProgress};

/// The source of the admin pages.
pub(super) struct WorkerAdmin(pub(super) Arc<WorkerState>);

impl AdminSource for WorkerAdmin {
    fn registry(&self) -> &Registry {
        &self.0.metrics.registry
    }

    fn refresh(&self) {
        let queued = self.0.queue.waiting() as i64;
        self.0.metrics.queued.set(queued);
        self.0.metrics.queue_limit.set(self.0.queue.limit(Instant::now()) as i64);
        self.0.metrics.running.set(i64::from(self.0.load.load(Ordering::Relaxed)) - queued);
        self.0.metrics.concurrency.set(self.0.concurrency as i64);
        self.0.backend.refresh_metrics();
        self.0.metrics.outdated.set(i64::from(self.0.backend.outdated().is_some()));
    }

    fn ready(&self) -> Result<(), String> {
        if self.0.drain.is_cancelled() {
            return Err("this worker is stopping".to_owned());
        }
        self.0.backend.ready()
    }

    fn warnings(&self) -> Vec<String> {
        self.0.backend.outdated().into_iter().collect()
    }

    fn series(&self) -> &'static [Series] {
        &overview::SERIES
    }

    fn overview<'a>(&'a self, history: &'a History) -> BoxFuture<'a, Overview> {
        Box::pin(std::future::ready(overview::of(&self.0, history)))
    }

    fn tokens(&self) -> &AdminTokens {
        &self.0.admin_tokens
    }

    fn is_audited(&self, path: &str) -> bool {
        // It changes nothing; older command lines ask with POST.
        path != "/api/reload/left"
    }

    fn api<'a>(&'a self, request: ApiRequest<'a>) -> ApiFuture<'a> {
        let backend = &self.0.backend;
        let response = match request.path {
            "/api/reload" if request.method != Method::POST => None,
            "/api/reload" if backend.reload() => Some((StatusCode::ACCEPTED, progress(&**backend))),
            "/api/reload" => Some(no_processes()),
            "/api/processes" if request.method == Method::GET => Some(processes(&self.0)),
            "/api/reload/left" => Some((StatusCode::OK, progress(&**backend))),
            _ => None,
        };
        Box::pin(std::future::ready(response))
    }
}

/// How far a reload is.
fn progress(backend: &dyn Backend) -> Value {
    let ReloadProgress { left, renewed, error } = backend.reload_progress();
    json!({"left": left, "renewed": renewed, "error": error})
}

/// What each PHP process does.
fn processes(worker: &WorkerState) -> (StatusCode, Value) {
    let Some(mut report) = worker.backend.processes() else { return no_processes() };
    report["worker"] = worker.id.as_str().into();
    (StatusCode::OK, report)
}

fn no_processes() -> (StatusCode, Value) {
    (StatusCode::CONFLICT, json!({"error": "This worker runs no PHP processes."}))
}
