//! A call on its way through the worker: from the gateway's frame, through the queue, to its result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::rpc::Call;
use diffyne_shared::telemetry;
use tokio_util::sync::CancellationToken;

use super::queue::Place;
use super::state::WorkerState;
use super::traces::{self, CallTrace};
use crate::call::{CallError, CallResult, ClientInfo, Job, Parts, cookies};

/// The end of a call.
#[expect(clippy::large_enum_variant, reason = "nearly all calls have a result")]
pub(super) enum CallEnd {
    Ran(CallResult),
    /// The worker began to drain, or the call's time or its place's was up, before it ran.
    NotRun,
    /// The gateway cancelled the call before it ran.
    Cancelled,
}

/// Builds the job for a gateway's call.
pub(super) fn job(call: &Call<'_>, parts: Parts, trace: Option<CallTrace>) -> Job {
    let mut headers = String::from_utf8_lossy(call.client.headers).into_owned();
    if !call.client.cookies.is_empty() {
        headers = cookies::override_with(&headers, &String::from_utf8_lossy(call.client.cookies));
    }
    let headers = traces::headers(headers, call, trace);
    let client = ClientInfo {
        id: call.client.id.to_owned(),
        ip: call.client.ip.to_owned(),
        transport: call.client.transport,
        headers,
    };
    Job {
        kind: call.kind,
        request_id: client.request_id(),
        client,
        cause: call.cause.clone(),
        payload: call.payload.to_vec(),
        pushes: call.pushes,
        wants_user: call.wants_user,
        parts,
        deadline: Instant::now() + Duration::from_millis(call.budget_ms.into()),
    }
}

/// Runs a call on the backend. It has waited this long for its slot.
pub(super) async fn run(worker: &WorkerState, job: Job, waited: Duration, trace: Option<CallTrace>) -> CallResult {
    let started = Instant::now();
    let (kind, transport, request_id) = (job.kind, job.client.transport, Box::from(job.request_id.as_str()));
    let mut result = worker.backend.run(job).await;
    let broadcasts = result.broadcasts.iter().map(|event| event.params.len());
    let size =
        result.data.len() + broadcasts.chain(result.user_events.iter().map(|event| event.params.len())).sum::<usize>();
    let limit = worker.reply_bytes_max;
    if size > limit {
        // The gateway would refuse the frame and end the connection with all its other calls.
        let (component, method, request) = (&result.class, &result.method, telemetry::name(&request_id));
        tracing::error!(component, method, size, limit, %request, "an answer is too large (DIFFYNE_WORKER_MAX_ANSWER)");
        let error = CallError::Exception("the answer is too large".to_owned());
        let CallResult { class, method, phases, .. } = result;
        result = CallResult { class, method, phases, ..CallResult::refused(&error, kind, transport) };
    }
    let took = started.elapsed();
    worker.metrics.observe_duration(&result.class, took);
    result.request_id = request_id;
    result.phases.around(waited, took);
    if let Some(trace) = trace {
        trace.end(&worker.tracer, &result, waited, took);
    }
    result
}

/// Waits for a slot and runs a call. Does not run it if the worker drains first.
pub(super) async fn wait_and_run(
    worker: Arc<WorkerState>,
    job: Job,
    place: Place,
    cancel: CancellationToken,
    trace: Option<CallTrace>,
) -> CallEnd {
    let slot = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(CallEnd::Cancelled),
        () = worker.drain.cancelled() => Err(CallEnd::NotRun),
        slot = tokio::time::timeout(place.patience, Arc::clone(&worker.slots).acquire_owned()) => match slot {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(CallEnd::NotRun),
        },
    };
    match slot {
        Ok(slot) => {
            let waited = worker.queue.got_slot(&place, Instant::now());
            let result = run(&worker, job, waited, trace).await;
            drop(slot);
            CallEnd::Ran(result)
        }
        Err(end) => {
            worker.queue.leave();
            end
        }
    }
}
