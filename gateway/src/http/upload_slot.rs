//! Slots of uploads. An upload takes longer than a call, so their number is limited by itself, in all and per address;
//! each has the slot of an AJAX call as well. A preview has only that.

use std::net::IpAddr;
use std::sync::Arc;

use http_body_util::Either;
use prometheus::IntGauge;

use super::ajax_response::to_http;
use super::request_slot::{RequestCount, RequestSlot};
use super::upload_failure::{Failure, Refusal, refuse};
use super::upload_route::UploadRoute;
use crate::quota::HttpTicket;
use crate::shard::state::Shard;

/// A slot of an upload or a preview. Dropping it releases the slot.
pub(super) struct UploadSlot {
    request: Arc<RequestSlot>,
    _upload: Option<CountedUpload>,
}

/// One of the counted uploads.
struct CountedUpload {
    _all: RequestCount,
    _address: Option<HttpTicket>,
    under_way: IntGauge,
}

impl Drop for CountedUpload {
    fn drop(&mut self) {
        self.under_way.dec();
    }
}

impl UploadSlot {
    /// Takes a slot for a request from this address. The error is the response that refuses the request.
    pub(super) fn take(shard: &Shard, route: UploadRoute, address: IpAddr) -> Result<Arc<Self>, Refusal> {
        let request =
            RequestSlot::take(shard, address).map_err(|refused| Box::new(to_http(refused).map(Either::Left)))?;
        let upload = match route {
            UploadRoute::Preview => None,
            UploadRoute::Upload => {
                Some(CountedUpload::take(shard, address).map_err(|failure| refuse(shard, route, failure))?)
            }
        };
        Ok(Arc::new(Self { request, _upload: upload }))
    }

    /// Returns the slot of an AJAX call that this one has.
    pub(super) fn request(&self) -> Arc<RequestSlot> {
        Arc::clone(&self.request)
    }
}

impl CountedUpload {
    fn take(shard: &Shard, address: IpAddr) -> Result<Self, Failure> {
        let all = RequestCount::take(&shard.uploads, shard.settings.upload.uploads_max).ok_or(Failure::Full)?;
        // Behind a proxy that does not name its clients, all of them would share the proxy's address.
        let of_address = if shard.admission.is_trusted(address) {
            None
        } else {
            shard.quota.enter_upload(address).map_err(|_| Failure::Address)?
        };
        let under_way = shard.metrics.uploads_under_way.clone();
        under_way.inc();
        Ok(Self { _all: all, _address: of_address, under_way })
    }
}
