//! An application in php-fpm.
//!
//! An open connection occupies one of php-fpm's children. So connections are closed after each request unless a setting
//! keeps them open, and their number is limited.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use diffyne_shared::listener::Stream;
use diffyne_shared::settings::application::FastCgiSettings;
use fastcgi_client::conn::{KeepAlive, ShortConn};
use fastcgi_client::io::TokioCompat;
use fastcgi_client::response::{Content, ResponseStream};
use fastcgi_client::{Client, Params, Request};
use futures_util::{FutureExt as _, StreamExt as _};
use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Semaphore;

use super::part_lines::PartLines;
use super::transport::{CONNECT_TIMEOUT, RESPONSE_BYTES_MAX, UpstreamRequest, UpstreamResponse, UpstreamTransport};
use crate::call::{BoxFuture, Parts};

/// How much of php-fpm's error output about one request is logged.
const ERROR_BYTES_MAX: usize = 2_000;

type KeepAliveClient = Client<TokioCompat<Stream>, KeepAlive>;

/// Sends requests to php-fpm.
pub(super) struct FastCgiTransport {
    settings: FastCgiSettings,
    address: String,
    /// The folder of the script.
    root: String,
    /// One permit a connection.
    connections: Semaphore,
    idle: Mutex<Vec<KeepAliveClient>>,
}

impl FastCgiTransport {
    pub(super) fn new(settings: &FastCgiSettings) -> Self {
        let root = settings.script.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        Self {
            address: settings.address.to_string(),
            root,
            connections: Semaphore::new(settings.connections_max.min(Semaphore::MAX_PERMITS)),
            idle: Mutex::default(),
            settings: settings.clone(),
        }
    }

    async fn connect(&self) -> Result<Stream, String> {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, Stream::connect(&self.settings.address)).await;
        stream.map_err(|_| "it does not take connections".to_owned())?.map_err(|error| error.to_string())
    }

    async fn exchange(&self, request: UpstreamRequest, parts: &Parts) -> Result<UpstreamResponse, String> {
        // The semaphore is never closed.
        let _permit = self.connections.acquire().await.map_err(|error| error.to_string())?;
        let params = self.params(&request);
        if !self.settings.keep_alive {
            let client: Client<_, ShortConn> = Client::new_tokio(self.connect().await?);
            let request = Request::new_tokio(params, request.body.as_slice());
            let stream = client.execute_once_stream(request).await.map_err(|error| error.to_string())?;
            return read_response(stream, parts).await;
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut client = match idle {
            Some(client) => client,
            None => Client::new_keep_alive_tokio(self.connect().await?),
        };
        let first = Request::new_tokio(params.clone(), request.body.as_slice());
        let response = match client.execute_stream(first).await {
            Ok(stream) => read_response(stream, parts).await,
            Err(error) => {
                // php-fpm replaced the child and closed the idle connection: it has read nothing of the request.
                tracing::debug!(%error, "a kept connection to php-fpm was closed");
                client = Client::new_keep_alive_tokio(self.connect().await?);
                let second = Request::new_tokio(params, request.body.as_slice());
                let stream = client.execute_stream(second).await.map_err(|error| error.to_string())?;
                read_response(stream, parts).await
            }
        };
        if response.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
        }
        response
    }

    /// The parameters that a web server would send.
    fn params(&self, request: &UpstreamRequest) -> Params<'static> {
        // fastcgi-client takes text only, and every header was made of text.
        let read = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let text = |name: &HeaderName| request.headers.get(name).map(read).unwrap_or_default();
        let host = text(&HOST);
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
            _ => (host.as_str(), if request.secure { "443" } else { "80" }),
        };
        let file = self.settings.script.strip_prefix(self.root.as_str()).unwrap_or_default();
        let (path, query) = request.path.split_once('?').unwrap_or((request.path.as_str(), ""));
        let mut params: Params<'static> = Params::default();
        let mut set = |name: &str, value: &str| {
            params.insert(name.to_owned().into(), value.to_owned().into());
        };
        set("GATEWAY_INTERFACE", "CGI/1.1");
        set("SERVER_SOFTWARE", concat!("diffyne-worker/", env!("CARGO_PKG_VERSION")));
        set("SERVER_PROTOCOL", "HTTP/1.1");
        set("REQUEST_METHOD", "POST");
        set("REQUEST_URI", &request.path);
        set("DOCUMENT_URI", path);
        set("QUERY_STRING", query);
        set("SCRIPT_NAME", file);
        set("SCRIPT_FILENAME", &self.settings.script);
        set("DOCUMENT_ROOT", &self.root);
        set("SERVER_NAME", name);
        set("SERVER_PORT", port);
        set("SERVER_ADDR", "127.0.0.1");
        set("REMOTE_ADDR", &request.address);
        set("REMOTE_PORT", "0");
        set("REQUEST_SCHEME", if request.secure { "https" } else { "http" });
        if request.secure {
            set("HTTPS", "on");
        }
        // A php-fpm that was built with force-cgi-redirect refuses requests without it.
        set("REDIRECT_STATUS", "200");
        set("CONTENT_TYPE", &text(&CONTENT_TYPE));
        set("CONTENT_LENGTH", &request.body.len().to_string());
        for (name, value) in &request.headers {
            // A `Proxy` header would become PHP's proxy setting.
            if name == CONTENT_TYPE || name == CONTENT_LENGTH || name == "proxy" {
                continue;
            }
            set(&format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_")), &read(value));
        }
        params
    }
}

impl UpstreamTransport for FastCgiTransport {
    fn name(&self) -> &'static str {
        "fastcgi"
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn send<'a>(
        &'a self,
        request: UpstreamRequest,
        parts: &'a Parts,
    ) -> BoxFuture<'a, Result<UpstreamResponse, String>> {
        // fastcgi-client 0.12 panics on an end record that is too short.
        let response = AssertUnwindSafe(self.exchange(request, parts)).catch_unwind();
        Box::pin(async { response.await.unwrap_or_else(|_| Err("its response is not FastCGI".to_owned())) })
    }
}

/// Reads a response to its end, within limits.
async fn read_response<S>(mut stream: ResponseStream<S>, parts: &Parts) -> Result<UpstreamResponse, String>
where
    ResponseStream<S>: futures_util::Stream<Item = Result<Content, fastcgi_client::ClientError>> + Unpin,
    S: fastcgi_client::io::AsyncRead + Unpin,
{
    let (mut head, mut errors) = (Vec::new(), Vec::new());
    let mut lines = PartLines::new(parts);
    let mut has_head = false;
    while let Some(content) = stream.next().await {
        match content.map_err(|error| error.to_string())? {
            Content::Stdout(bytes) if has_head => lines.push(&bytes).await?,
            Content::Stdout(bytes) if head.len() + bytes.len() > RESPONSE_BYTES_MAX => {
                return Err("its answer is over the limit".to_owned());
            }
            Content::Stdout(bytes) => {
                head.extend_from_slice(&bytes);
                if let Some((end, gap)) = end_of_head(&head) {
                    has_head = true;
                    lines.push(&head.split_off(end + gap)).await?;
                }
            }
            Content::Stderr(bytes) => {
                let space = ERROR_BYTES_MAX.saturating_sub(errors.len());
                errors.extend_from_slice(&bytes[..bytes.len().min(space)]);
            }
        }
    }
    let printed = String::from_utf8_lossy(errors.trim_ascii()).into_owned();
    let Some(response) = parse(head) else {
        return Err(format!("its answer cannot be read: {printed}").trim_end_matches(": ").to_owned());
    };
    Ok(UpstreamResponse { body: lines.into_reply().into(), printed, ..response })
}

/// Where the head of a CGI program's output ends, and the length of the empty line behind it.
fn end_of_head(output: &[u8]) -> Option<(usize, usize)> {
    output.windows(4).position(|window| window == b"\r\n\r\n").map(|at| (at, 4)).or_else(|| {
        let at = output.windows(2).position(|window| window == b"\n\n")?;
        Some((at, 2))
    })
}

/// Splits the output of a CGI program into headers and body.
fn parse(output: Vec<u8>) -> Option<UpstreamResponse> {
    let (end, gap) = end_of_head(&output)?;
    let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
    for line in std::str::from_utf8(&output[..end]).ok()?.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            status = StatusCode::from_bytes(value.get(..3)?.as_bytes()).ok()?;
        } else if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.trim()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    let body = Bytes::from(output).slice(end + gap..);
    Some(UpstreamResponse { status, headers, body, printed: String::new() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn output_is_split_into_headers_and_body() {
        let answer =
            parse(b"Status: 404 Not Found\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nbody\r\n\r\nmore".to_vec());
        let answer = answer.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (404, &b"body\r\n\r\nmore"[..]));
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(parse(b"Content-Type: text/html\n\nx".to_vec()).unwrap().status, StatusCode::OK);
        for invalid in ["", "no head at all", "Status: ?\r\n\r\n", "Status: 1\r\n\r\n"] {
            assert!(parse(invalid.as_bytes().to_vec()).is_none(), "{invalid:?}");
        }
    }
}
