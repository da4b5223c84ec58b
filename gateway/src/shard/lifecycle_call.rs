//! Has a worker call the application's class that is told of connections. No client makes this call: it has neither
//! cookies nor headers.

use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::rpc::{CallKind, Outcome, Transport};
use tokio::sync::oneshot;

use super::call::CallOrigin;
use super::command::LifecycleCall;
use super::state::Shard;
use crate::auth::cookie_store::CookieStore;
use crate::lifecycle::delivery::{DeliveryError, Verdict};
use crate::relay::{CallRequest, Caller, ComponentKey, RelayResult};

/// The address of the caller, which is this gateway.
const OWN_ADDRESS: &str = "127.0.0.1";

/// Submits the call.
pub(super) fn submit(shard: &Shard, call: LifecycleCall, reply: oneshot::Sender<Result<(), DeliveryError>>) {
    let request = CallRequest {
        caller: Rc::new(Caller::new("", OWN_ADDRESS, b"", CookieStore::default())),
        transport: Transport::Ajax,
        kind: CallKind::Lifecycle,
        // It belongs to no component, and any worker will do.
        component: ComponentKey::new("", &fastrand::u64(..).to_string()),
        cause: None,
        takes_pushes: false,
        wants_user: false,
        stream_max: Duration::ZERO,
        trace: None,
        payload: Rc::from(&*call.payload),
        arrived: Instant::now(),
        deadline: call.deadline,
    };
    shard.relay.submit(request, CallOrigin::Lifecycle(reply));
}

/// Hands the result to whoever waits for it, if it still does.
pub(super) fn complete(reply: oneshot::Sender<Result<(), DeliveryError>>, result: &RelayResult<'_>) {
    let result = match result {
        RelayResult::Reply(answer, _) if answer.outcome == Outcome::Ok => Ok(()),
        RelayResult::Reply(answer, _) => {
            let reason = format!("the listener was not run to its end: {}", answer.outcome.label());
            Err(DeliveryError { reason, verdict: Verdict::Failed, after: None })
        }
        RelayResult::Failed(failure, text) => Err(format!("{}: {text}", failure.label()).into()),
    };
    let _ = reply.send(result);
}
