//! A request to the application and its response, whatever protocol carries them.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderMap;

use crate::call::{BoxFuture, Parts};

/// The largest response that the worker accepts.
pub(super) const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long connecting may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One POST request to the application.
pub(super) struct UpstreamRequest {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// The browser's address.
    pub(super) address: String,
    /// Whether the page was loaded over https. The host is among the headers.
    pub(super) secure: bool,
}

/// The application's complete response.
pub(super) struct UpstreamResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// What PHP has printed to its error output meanwhile, or the beginning of it.
    pub(super) printed: String,
}

/// How requests reach the application.
pub(super) trait UpstreamTransport: Send + Sync {
    /// The backend's name for logs and for the hello to gateways.
    fn name(&self) -> &'static str;
    /// The application's address.
    fn address(&self) -> &str;
    /// Sends a request and reads the response. Parts of the answer are passed on as they come.
    fn send<'a>(
        &'a self,
        request: UpstreamRequest,
        parts: &'a Parts,
    ) -> BoxFuture<'a, Result<UpstreamResponse, String>>;
}
