//! Pages and scripts that the program serves beside the WebSocket.

use std::pin::Pin;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};

use super::health::Audience;
use super::response::respond;

/// A page that is ready to be sent.
#[derive(Debug, Clone)]
pub struct Page {
    /// The MIME type.
    pub content_type: &'static str,
    /// The content.
    pub body: Bytes,
    /// The hash of the content, as an entity tag.
    pub etag: String,
    /// How browsers may cache the page.
    pub cache: CachePolicy,
}

/// How browsers may cache a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// Browsers ask each time whether the page has changed.
    Revalidate,
    /// Browsers keep the page, because its address contains the hash of its content.
    Immutable,
}

/// The future of a page, which may have to be rendered first.
pub type PageFuture<'a> = Pin<Box<dyn Future<Output = Option<Page>> + 'a>>;

/// The pages that a program serves beside the WebSocket.
pub trait Pages: Send + Sync {
    /// Returns the page at a path.
    fn page<'a>(&'a self, path: &'a str) -> PageFuture<'a>;
    /// Returns the release of the scripts.
    fn release(&self) -> &str;
    /// Returns the JSON of `/health`.
    fn health(&self, audience: Audience) -> String;
}

pub(super) fn page_response(request: &Request<Incoming>, page: &Page) -> Response<Full<Bytes>> {
    let known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|tag| tag == page.etag.as_str());
    let mut response = if known {
        respond(StatusCode::NOT_MODIFIED, page.content_type, Bytes::new())
    } else {
        respond(StatusCode::OK, page.content_type, page.body.clone())
    };
    if let Ok(etag) = HeaderValue::from_str(&page.etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    let policy = match page.cache {
        CachePolicy::Revalidate => "no-cache",
        CachePolicy::Immutable => "public, max-age=31536000, immutable",
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if page.content_type.starts_with("text/javascript") {
        // Browsers fetch modules with CORS, including those for pages on other hosts.
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    response
}
