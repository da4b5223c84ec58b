//! Slots of AJAX calls. Their number is limited in all and per address; each is held until its response has been
//! written.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diffyne_shared::envelope::FailureKind;
use http_body_util::Either;
use hyper::Response;

use super::ajax_response::{failed, to_http};
use super::upload_body::HttpBody;
use crate::quota::HttpTicket;
use crate::shard::call::AjaxResponse;
use crate::shard::state::Shard;

/// A slot of an AJAX call. Dropping it releases the slot.
pub(super) struct RequestSlot {
    _all: RequestCount,
    _address: Option<HttpTicket>,
}

/// One of a number of counted requests. Dropping it releases it.
pub(super) struct RequestCount(Arc<AtomicUsize>);

impl RequestCount {
    /// Counts one more. Returns `None` at the limit.
    pub(super) fn take(counter: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let taken = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < most).then_some(now + 1));
        taken.ok().map(|_| Self(Arc::clone(counter)))
    }
}

impl Drop for RequestCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RequestSlot {
    /// Takes a slot for a call from this address. The error is the response that refuses the call.
    pub(super) fn take(shard: &Shard, address: IpAddr) -> Result<Arc<Self>, AjaxResponse> {
        let refused = |label: &str, failure, text| {
            shard.metrics.requests.with_label_values(&[label]).inc();
            failed(failure, text)
        };
        if shard.quota.shedding.load(Ordering::Relaxed) {
            return Err(refused(
                "memory",
                FailureKind::Overloaded,
                "The server is short of memory. The call was not run.",
            ));
        }
        let all = RequestCount::take(&shard.requests, shard.settings.requests_max).ok_or_else(|| {
            let text = "Too many requests are waiting. The call was not run.";
            refused("full", FailureKind::Overloaded, text)
        })?;
        // Behind a proxy that does not name its clients, all of them would share the proxy's address.
        let of_address = if shard.admission.is_trusted(address) {
            None
        } else {
            shard.quota.enter_request(address).map_err(|_| {
                let text = "Too many requests of this address are waiting. The call was not run.";
                refused("address", FailureKind::RateLimited, text)
            })?
        };
        Ok(Arc::new(Self { _all: all, _address: of_address }))
    }
}

/// Serves a request in a slot. The response keeps the slot until it has been written.
pub(super) async fn with_slot(
    shard: &Shard,
    address: IpAddr,
    serve: impl AsyncFnOnce(&Arc<RequestSlot>) -> Response<HttpBody>,
) -> Response<HttpBody> {
    match RequestSlot::take(shard, address) {
        Ok(slot) => {
            let mut response = serve(&slot).await;
            response.extensions_mut().insert(slot);
            response
        }
        Err(refused) => to_http(refused).map(Either::Left),
    }
}
