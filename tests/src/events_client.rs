//! A client that hears by `/_diffyne/events`, as server-sent events or by polling.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::message::ServerMessage;
use crate::process::PATIENCE;

/// One response with events.
pub struct EventsClient {
    stream: TcpStream,
    /// The status of the response.
    pub status: u16,
    /// Everything before the body.
    pub head: String,
    /// What has come of the next block.
    text: String,
    /// The id of the last block that had one.
    pub last_id: Option<String>,
    /// The text of the last message.
    pub last_text: String,
}

/// A block of the response.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A message.
    Message(ServerMessage),
    /// Only comments, and maybe an id.
    Comment(String),
}

impl EventsClient {
    /// Requests events, with what a subscribe or resume message has as its `data`; returns when the head of the response
    /// is there.
    pub async fn post(port: u16, query: &str, headers: &[(&str, &str)], data: &Value) -> anyhow::Result<Self> {
        let body = data.to_string();
        let length = body.len().to_string();
        let headers = [headers, &[("Content-Type", "application/json"), ("Content-Length", &length)]].concat();
        Self::send(port, "POST", query, &headers, &body).await
    }

    /// Requests events with a query alone.
    pub async fn get(port: u16, query: &str, headers: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::send(port, "GET", query, headers, "").await
    }

    /// Hears all of an event from now on, or, with an id, after that.
    pub async fn hear(port: u16, name: &str, last_id: Option<&str>) -> anyhow::Result<Self> {
        let mut data = json!({"events": [{"name": name}]});
        if let Some((epoch, offset)) = last_id.and_then(|id| id.rsplit_once(':')) {
            data["epoch"] = json!(epoch);
            data["offset"] = json!(offset.parse::<u64>()?);
        }
        let mut client = Self::post(port, "", &[], &data).await?;
        ensure!(client.receive().await?.event() == "diffyne.connected", "no greeting");
        Ok(client)
    }

    async fn send(port: u16, method: &str, query: &str, headers: &[(&str, &str)], body: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        // In this version of HTTP no body comes in chunks.
        let mut request = format!("{method} /_diffyne/events?{query} HTTP/1.0\r\n");
        let host = [("Host", "127.0.0.1")];
        let host = host.iter().filter(|_| !headers.iter().any(|(name, _)| *name == "Host"));
        for (name, value) in host.chain(headers) {
            request.extend([*name, ": ", *value, "\r\n"]);
        }
        request.extend(["\r\n", body]);
        stream.write_all(request.as_bytes()).await?;
        let mut client = Self {
            stream,
            status: 0,
            head: String::new(),
            text: String::new(),
            last_id: None,
            last_text: String::new(),
        };
        client.head = client.read_until("\r\n\r\n").await?.context("no response")?;
        client.status = client.head.split(' ').nth(1).context("no status")?.parse()?;
        Ok(client)
    }

    /// Reads up to a mark, which is left out; `None` at the end of the response.
    async fn read_until(&mut self, mark: &str) -> anyhow::Result<Option<String>> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some((before, after)) = self.text.split_once(mark) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.text = after;
                return Ok(Some(before));
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await.context("nothing came")?;
            // A connection that was cut ends the response, too.
            match read.unwrap_or(0) {
                0 => return Ok(None),
                read => self.text.push_str(std::str::from_utf8(&buffer[..read])?),
            }
        }
    }

    /// The next block; `None` at the end of the response.
    pub async fn next(&mut self) -> anyhow::Result<Option<Block>> {
        let Some(block) = self.read_until("\n\n").await? else { return Ok(None) };
        let mut data = Vec::new();
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => self.last_id = Some(id.to_owned()),
                Some(("data", text)) => data.push(text),
                _ => ensure!(line.starts_with(':'), "neither field nor comment: {line}"),
            }
        }
        if data.is_empty() {
            return Ok(Some(Block::Comment(block)));
        }
        self.last_text = data.join("\n");
        Ok(Some(Block::Message(ServerMessage::parse(&self.last_text)?)))
    }

    /// The next message.
    pub async fn receive(&mut self) -> anyhow::Result<ServerMessage> {
        loop {
            if let Block::Message(message) = self.next().await?.context("the end")? {
                return Ok(message);
            }
        }
    }

    /// The text of the next message. When this is dropped before its end, nothing is lost.
    pub async fn receive_text(&mut self) -> anyhow::Result<String> {
        self.receive().await.map(|_| self.last_text.clone())
    }

    /// The next message, which has to be of this event.
    pub async fn expect(&mut self, event: &str) -> anyhow::Result<ServerMessage> {
        let message = self.receive().await?;
        ensure!(message.event() == event, "not {event}: {message}");
        Ok(message)
    }

    /// All messages up to the end of the response.
    pub async fn rest(&mut self) -> anyhow::Result<Vec<ServerMessage>> {
        let mut messages = Vec::new();
        while let Some(block) = self.next().await? {
            if let Block::Message(message) = block {
                messages.push(message);
            }
        }
        Ok(messages)
    }
}
