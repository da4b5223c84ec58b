//! Plain HTTP requests, as raw as a test wants them, and the answers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::Context as _;
use serde_json::Value;

use crate::message::ServerMessage;
use crate::process::PATIENCE;

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Everything before the body.
    pub head: String,
    /// The body.
    pub body: String,
}

impl HttpResponse {
    /// The body as a message of the gateway.
    pub fn message(&self) -> anyhow::Result<ServerMessage> {
        ServerMessage::from_body(&self.body)
    }

    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {self:?}"))
    }

    /// The values of a header, in their order.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The cookies that it sets, as a browser sends them back in one line.
    pub fn cookies(&self) -> String {
        let pairs: Vec<&str> = self.header("set-cookie").iter().filter_map(|line| line.split(';').next()).collect();
        pairs.join("; ")
    }
}

/// Sends a raw request and reads the answer.
pub fn http(port: u16, request: &str) -> anyhow::Result<HttpResponse> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    read_response(&mut stream)
}

/// Reads an answer: as long as it says to be, or until the server closes.
pub fn read_response(stream: &mut TcpStream) -> anyhow::Result<HttpResponse> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while !is_whole(&bytes) {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no HTTP answer: {text}"))?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(HttpResponse { status, head: head.to_owned(), body: body.to_owned() })
}

/// Whether an answer with a Content-Length is there to its end.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let head_bytes = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
    length.is_some_and(|length| bytes.len() >= head_bytes + length)
}

/// A plain GET.
pub fn http_get(port: u16, path: &str) -> anyhow::Result<HttpResponse> {
    http(port, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"))
}

/// A POST of JSON.
pub fn http_post(port: u16, path: &str, headers: &[(&str, &str)], body: &str) -> anyhow::Result<HttpResponse> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.extend([*name, ": ", *value, "\r\n"]);
    }
    request.extend(["\r\n", body]);
    http(port, &request)
}

/// The request of a WebSocket handshake; `more` are header lines that follow or, by name, take the place of the usual.
pub fn handshake(path: &str, more: &[(&str, &str)]) -> String {
    let usual = [
        ("Host", "127.0.0.1"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut request = format!("GET {path} HTTP/1.1\r\n");
    let kept = usual.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
    // An empty value leaves a usual header out.
    for (name, value) in kept.chain(more).filter(|(_, value)| !value.is_empty()) {
        request.extend([*name, ": ", *value, "\r\n"]);
    }
    request.push_str("\r\n");
    request
}
