//! Asks the admin listener of a running program, as its command line does.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::http::request::Builder;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::listener::Stream;
use crate::rpc::Endpoint;

/// The largest answer that the command line takes: a worker tells of at most a thousand processes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long a running program may take to answer its command line.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Has a running program change something, at its admin address, as its own command line does. Returns the answer, or the
/// reason why there is none.
pub async fn ask(address: &Endpoint, token: &str, path: &str, body: &str) -> Result<Value, String> {
    exchange(address, token, Request::post(path), body).await
}

/// Asks a running program for what it does, as [`ask`] does.
pub async fn look(address: &Endpoint, token: &str, path: &str) -> Result<Value, String> {
    exchange(address, token, Request::get(path), "").await
}

/// Asks a running program whether it is ready for traffic. The error says why not.
pub async fn ready(address: &Endpoint) -> Result<(), String> {
    exchange(address, "", Request::get("/ready"), "").await.map(drop)
}

async fn exchange(address: &Endpoint, token: &str, request: Builder, body: &str) -> Result<Value, String> {
    fn text(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let exchange = async {
        let stream =
            Stream::connect(address).await.map_err(|error| format!("nothing answers at {address}: {error}"))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
        let driver = tokio::spawn(connection);
        let request = request
            .header(hyper::header::HOST, "localhost")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(text)?;
        let response = sender.send_request(request).await.map_err(text)?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(text);
        driver.abort();
        let answer: Value = serde_json::from_slice(&bytes?.to_bytes()).unwrap_or_default();
        if status.is_success() {
            Ok(answer)
        } else {
            let words = answer["error"].as_str().or(answer["reason"].as_str());
            Err(format!("{status}: {}", words.unwrap_or("no reason given")))
        }
    };
    tokio::time::timeout(ASK_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {ASK_TIMEOUT:?}")))
}
