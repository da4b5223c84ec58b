//! Asks the admin listener of a running program, as its command line does.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::http::request::Builder;
use serde_json::Value;

use crate::http_client::{connect, send, within};
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
        let stream = connect(address, None).await.map_err(|error| format!("nothing answers at {address}: {error}"))?;
        let request = request
            .header(HOST, "localhost")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(text)?;
        let answer = send(stream, request).await.map_err(text)?;
        let status = answer.status();
        let body = answer.body(ANSWER_BYTES_MAX).await.map_err(text)?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            Ok(answer)
        } else {
            let words = answer["error"].as_str().or(answer["reason"].as_str());
            Err(format!("{status}: {}", words.unwrap_or("no reason given")))
        }
    };
    within(ASK_TIMEOUT, exchange).await
}
