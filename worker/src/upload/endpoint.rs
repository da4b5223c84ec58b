//! Uploads and previews by HTTP, for gateways and nginx. Who may upload is for whoever serves the page to say; who holds
//! a handle sees its file.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use diffyne_shared::http_server::{self, ServerLimits};
use diffyne_shared::listener::Listener;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::body::{self, FileBody, StoredFile, UploadError};
use super::store::UploadStore;

/// An upload or a preview may take as long as a connection. Gateways have a limit of their own (`DIFFYNE_UPLOAD_TIMEOUT`).
const LIMITS: ServerLimits = ServerLimits {
    connections: 256,
    header_timeout: Duration::from_secs(10),
    connection_life: Duration::from_mins(15),
};
/// How long what a refused client still sends is read, so that it gets the response.
const REST_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves a store until the program ends.
pub async fn serve(listener: Listener, store: Arc<UploadStore>) {
    http_server::serve(listener, "uploads", LIMITS, move |request| {
        let store = Arc::clone(&store);
        async move { route(request, &store).await }
    })
    .await;
}

async fn route(request: Request<Incoming>, store: &Arc<UploadStore>) -> Response<FileBody> {
    let last = request.uri().path().rsplit('/').next().unwrap_or_default();
    match (request.method(), last) {
        (&Method::POST, "upload") => upload(request, store).await,
        (&Method::GET | &Method::HEAD, "preview") => preview(&request, store),
        (_, "upload" | "preview") => refused(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
        _ => refused(StatusCode::NOT_FOUND, "Not Found"),
    }
}

async fn upload(request: Request<Incoming>, store: &Arc<UploadStore>) -> Response<FileBody> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = content_type.and_then(|text| multer::parse_boundary(text).ok());
    let is_too_large = request.body().size_hint().lower() > store.file_bytes_max as u64;
    let mut body = request.into_body().into_data_stream();
    let received = match boundary {
        _ if is_too_large => Err(UploadError::TooLarge),
        None => Err(UploadError::Invalid),
        Some(boundary) => body::receive(store, &mut body, &boundary).await,
    };
    let error = match received {
        Ok(StoredFile { handle, name, size }) => {
            store.metrics.count("stored");
            let stored = json!({"success": true, "identifier": handle, "filename": name, "size": size});
            return respond(StatusCode::OK, &stored);
        }
        Err(error) => error,
    };
    let rest = async { while body.next().await.is_some_and(|piece| piece.is_ok()) {} };
    // Without an answer to this, the connection is closed.
    let _ = tokio::time::timeout(REST_TIMEOUT, rest).await;
    let (status, label) = match &error {
        UploadError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        UploadError::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
        UploadError::Incomplete | UploadError::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
        UploadError::Failed(cause) => {
            tracing::error!(error = %cause, "an uploaded file could not be stored");
            (StatusCode::INTERNAL_SERVER_ERROR, "failed")
        }
    };
    store.metrics.count(label);
    refused(status, &error.to_string())
}

fn preview(request: &Request<Incoming>, store: &UploadStore) -> Response<FileBody> {
    let query = request.uri().query().unwrap_or_default();
    let handle = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "id").map(|(_, handle)| handle);
    let file = handle.and_then(|handle| store.show(&handle));
    let Some((file, body)) = file.and_then(|file| body::send(&file).ok().map(|body| (file, body))) else {
        return refused(StatusCode::NOT_FOUND, "Not Found");
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    // Only pictures are shown: what else a user sends must not become a page of this site.
    let kind = file.content_type().filter(|_| file.is_image());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind.unwrap_or("application/octet-stream")));
    if kind.is_none() {
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file.size()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    response
}

fn refused(status: StatusCode, text: &str) -> Response<FileBody> {
    respond(status, &json!({"success": false, "error": text}))
}

fn respond(status: StatusCode, content: &Value) -> Response<FileBody> {
    let body = Full::new(Bytes::from(content.to_string())).map_err(|never| match never {});
    let mut response = Response::new(FileBody::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
