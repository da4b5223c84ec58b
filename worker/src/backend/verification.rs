//! Refuses invalid and unsigned messages before a PHP process or another server sees them.

use diffyne_shared::rpc::CallKind;
use diffyne_shared::signing::{BorrowedJson, LockedValues, Signer};

use super::names;
use crate::call::message::CallMessage;
use crate::call::verified::{LockedProperties, VerifiedCall};
use crate::call::{CallResult, Job};

/// Checks a call's message and, where it needs one, its signature. The error is the result of the refused call.
pub(super) fn verify(job: &Job, signer: &Signer) -> Result<VerifiedCall<'static>, Box<CallResult>> {
    let transport = job.client.transport;
    if matches!(job.kind, CallKind::Grant | CallKind::Lifecycle) {
        return Ok(VerifiedCall::without_component(job.kind));
    }
    CallMessage::<BorrowedJson<'_>>::read(&job.payload)
        .and_then(|message| {
            VerifiedCall::of(&message, job.kind, transport, signer, LockedProperties::Unknown)
                .map(VerifiedCall::into_owned)
        })
        .and_then(|verified| names::check(&verified, job.kind).map(|()| verified))
        .map_err(|error| Box::new(CallResult::refused(&error, job.kind, transport)))
}

/// The feature of a worker that accepts locked values by the package's own rules.
pub(super) fn locked_feature(signer: &Signer) -> Option<String> {
    (signer.locked_values() == LockedValues::Upstream).then(|| "locked-upstream".to_owned())
}
