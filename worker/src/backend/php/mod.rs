//! Components of a Laravel application, in a pool of PHP processes that boot it once.
//!
//! * `dispatcher`: hands calls to processes, on the threads of the calls; `table`: which call gets which process
//! * `supervisor`: starts, replaces and ends processes, on a thread that they die with
//! * `starter`: starts a process: forked from a `template` if that is `forkable`, else by itself (`start`)
//! * `template_process`, `descriptors`: the exchange with the template, and the sockets that it is sent
//! * `child`, `os_process`, `exit_reason`: a process's exit
//! * `script`: what a process runs
//! * `process`, `channel`: its calls, and what is exchanged with it for them
//! * `shared_calls`: equal reactions to one broadcast, of which one runs
//! * `socket`, `frame`, `message`: the socket between worker and process, its frames, and what they say
//! * `inbox`: calls that lie in that socket, and can be taken back until they are read
//! * `watch`: files whose changes replace the processes
//! * `affinity`: the CPU cores that processes keep to while calls wait
//! * `status`: what each process does, for operators; `pool_status`: whether the pool can run calls
//! * `output`: what processes print, in the worker's log
//! * `metrics`: the pool's counters and gauges

mod affinity;
mod channel;
mod child;
mod descriptors;
mod dispatcher;
mod exit_reason;
mod forkable;
mod frame;
mod inbox;
mod message;
mod metrics;
mod os_process;
mod output;
mod pool_status;
mod process;
mod script;
mod shared_calls;
mod socket;
mod start;
mod starter;
mod status;
mod supervisor;
mod table;
mod template;
mod template_process;
mod watch;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use diffyne_shared::rpc::LIFECYCLE_FEATURE;
use diffyne_shared::settings::php::PhpSettings;
use diffyne_shared::settings::rendering::RenderingSettings;
use diffyne_shared::signing::Signer;
use diffyne_shared::task;
use prometheus::Registry;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::bridge_reply::{BridgeReply, CallInfo};
use super::bridge_request::BridgeRequest;
use super::names::KnownNames;
use super::release::PageRelease;
use super::rendering::{RenderRequest, Rendering};
use super::verification::{locked_feature, verify};
use super::{Backend, ReloadProgress, bridge_request};
use crate::call::verified::VerifiedCall;
use crate::call::{BoxFuture, CallResult, Job, Parts};
use dispatcher::Dispatcher;
use metrics::PoolMetrics;
use process::CallTime;
use shared_calls::{Admission, SharedCalls};
use status::CallLabel;
use supervisor::{GatewayStatus, SPARE_PROCESSES, Supervisor};

/// Commands that wait for the supervisor's thread; they are rare.
const COMMANDS_MAX: usize = 1024;

/// A command for the supervisor's thread.
enum PoolCommand {
    Reload,
    Gateways(GatewayStatus),
}

/// The backend over a pool of PHP processes.
pub(crate) struct PhpBackend {
    commands: mpsc::Sender<PoolCommand>,
    dispatcher: Arc<Dispatcher>,
    /// Can be replaced while calls run.
    signer: ArcSwap<Signer>,
    debug: bool,
    known_names: KnownNames,
    rendering: Arc<Rendering>,
    shared_calls: Arc<SharedCalls>,
    /// The operator's name of the release.
    release: Option<Arc<str>>,
}

impl PhpBackend {
    /// Starts the pool, on a thread of its own.
    ///
    /// The connection's status stays in the application's cache for `status_ttl` after its last refresh.
    pub(crate) fn start(
        settings: PhpSettings,
        rendering: &RenderingSettings,
        status_ttl: Duration,
        signer: Signer,
        debug: bool,
        release: Option<Arc<str>>,
    ) -> std::io::Result<Arc<Self>> {
        let rendering = Rendering::new(rendering, &signer);
        let swept = Arc::clone(&rendering);
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let metrics = PoolMetrics::new();
        let shared_calls = SharedCalls::new(metrics.coalesced.clone(), metrics.calls_waiting.clone());
        let dispatcher = Dispatcher::new(&settings, SPARE_PROCESSES, metrics);
        let supervised = Arc::clone(&dispatcher);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("php-pool".to_owned()).spawn(move || {
            let local = LocalSet::new();
            local.spawn_local(swept.sweep());
            local.block_on(&runtime, supervise(settings, status_ttl, supervised, received));
        })?;
        Ok(Arc::new(Self {
            commands,
            dispatcher,
            signer: ArcSwap::from_pointee(signer),
            debug,
            known_names: KnownNames::default(),
            rendering,
            shared_calls,
            release,
        }))
    }

    async fn run_call(&self, job: Job) -> CallResult {
        let signer = self.signer.load_full();
        let verified = match verify(&job, &signer) {
            Ok(verified) => verified,
            Err(refused) => return *refused,
        };
        let (render, shown) = self.rendering.request(job.kind, &verified);
        let parts = if verified.takes_parts { job.parts.clone() } else { Parts::default() };
        let head = bridge_request::head(&job, &verified.coverage, render, &parts);
        let began = Instant::now();
        let (reply, body, waited) = self.reply(&job, &verified, &head, render, &parts).await;
        let answered = began.elapsed();
        let call = CallInfo {
            kind: job.kind,
            transport: job.client.transport,
            class: &verified.class,
            method: &verified.method,
            request_id: &job.request_id,
            debug: self.debug,
            known_names: &self.known_names,
            rendering: &self.rendering,
            signer: &signer,
            component_id: &verified.id,
            is_exact: verified.is_exact,
            shown: shown.as_ref(),
        };
        let mut result = reply.into_result(body, &call);
        if let Some(waited) = waited {
            self.dispatcher.metrics.observe_wait(&result.class, waited);
        }
        result.phases.split_queue_and_run(waited.unwrap_or_default(), answered);
        result
    }

    /// The reply to a call: its own, or that of an equal one that is shared. Returns also how long a call waited for its
    /// PHP process.
    async fn reply(
        &self,
        job: &Job,
        call: &VerifiedCall<'_>,
        head: &BridgeRequest<'_>,
        render: RenderRequest,
        parts: &Parts,
    ) -> (BridgeReply, Vec<u8>, Option<Duration>) {
        let first = match self.shared_calls.admit(job, call, head, render) {
            Admission::Alone => None,
            Admission::First(first) => Some(first),
            Admission::Other(other) => match other.reply(&call.id, job.deadline).await {
                Some((reply, body)) => return (reply, body, None),
                None => None,
            },
        };
        let label = CallLabel { class: &call.class, method: &call.method, request_id: &job.request_id };
        let payload = first.as_ref().map_or(&job.payload, |first| &first.payload);
        let (reply, body, waited) = {
            let none = Parts::default();
            // What runs once for many pages is shown to none of them before its end.
            let time = CallTime { deadline: job.deadline, parts: if first.is_some() { &none } else { parts } };
            self.dispatcher.run_call(&label, head, payload, time).await
        };
        self.shared_calls.learn(job.kind, call, &reply);
        let (reply, body) = if let Some(first) = first { first.finish((reply, body), &call.id) } else { (reply, body) };
        (reply, body, Some(waited))
    }
}

/// Runs the supervisor until the backend is dropped.
async fn supervise(
    settings: PhpSettings,
    status_ttl: Duration,
    dispatcher: Arc<Dispatcher>,
    mut commands: mpsc::Receiver<PoolCommand>,
) {
    let supervisor = Supervisor::new(settings, status_ttl, dispatcher);
    let tasks = [
        task::spawn_local(Rc::clone(&supervisor).start_processes()),
        task::spawn_local(Rc::clone(&supervisor).watch()),
        task::spawn_local(Rc::clone(&supervisor).reload_on_change()),
        task::spawn_local(Rc::clone(&supervisor).reload_without_template()),
    ];
    while let Some(command) = commands.recv().await {
        match command {
            PoolCommand::Reload => supervisor.start_newest(),
            PoolCommand::Gateways(status) => supervisor.set_gateways(status),
        }
    }
    for task in tasks {
        task.abort();
    }
}

impl Backend for PhpBackend {
    fn name(&self) -> &'static str {
        "php"
    }

    fn run(&self, job: Job) -> BoxFuture<'_, CallResult> {
        Box::pin(async move {
            let page = PageRelease::of(&job);
            let result = self.run_call(job).await;
            page.compare(self.release(), result)
        })
    }

    fn features(&self) -> Vec<String> {
        ["bridge", LIFECYCLE_FEATURE]
            .map(str::to_owned)
            .into_iter()
            .chain(locked_feature(&self.signer.load()))
            .collect()
    }

    fn release(&self) -> Option<Arc<str>> {
        self.release.clone().or_else(|| self.dispatcher.state.borrow().release.clone())
    }

    fn register_metrics(&self, registry: &Registry) {
        self.dispatcher.metrics.register(registry);
        self.rendering.register_metrics(registry);
    }

    fn refresh_metrics(&self) {
        self.dispatcher.metrics.set_processes(|state| self.dispatcher.processes.count(state));
    }

    fn gateways(&self, connected: usize, draining: bool) {
        // The queue does not fill up: commands are rare, and the thread has little else to do.
        let _ = self.commands.try_send(PoolCommand::Gateways(GatewayStatus { connected, draining }));
    }

    /// Replaces all processes one by one, so that they run the application's newest code.
    fn reload(&self) -> bool {
        // At once, so that whoever asks next for the progress hears of this reload.
        self.dispatcher.begin_generation();
        self.commands.try_send(PoolCommand::Reload).is_ok()
    }

    fn reload_progress(&self) -> ReloadProgress {
        let state = self.dispatcher.state.borrow();
        let renewed = state.ready.saturating_sub(state.outdated);
        ReloadProgress { left: state.outdated, renewed, error: state.start_error.clone() }
    }

    fn outdated(&self) -> Option<String> {
        let state = self.dispatcher.state.borrow();
        let error = state.start_error.as_ref().filter(|_| state.outdated > 0)?;
        Some(format!("old code still serves, because the newest does not start: {error}"))
    }

    fn processes(&self) -> Option<serde_json::Value> {
        Some(self.dispatcher.report())
    }

    fn set_signer(&self, signer: &Signer) {
        self.signer.store(Arc::new(signer.clone()));
    }

    fn ready(&self) -> Result<(), String> {
        let state = self.dispatcher.state.borrow();
        match &state.start_error {
            _ if state.ready > 0 => Ok(()),
            Some(error) => Err(format!("PHP does not start: {error}")),
            None => Err("PHP is starting".to_owned()),
        }
    }
}
