//! What the page says, step by step.

use anyhow::{Context as _, bail};
use serde_json::Value;

/// One step of the page. Names are those of connections.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Start a cluster with these gateway flags; everything before it ends.
    Start { redis: bool, flags: Vec<String> },
    /// Open a connection.
    Connect(String),
    /// Drop a connection.
    Leave(String),
    /// Send a binary message.
    Binary(String),
    /// Send SIGTERM to the gateway.
    Stop,
    /// Remove everything from Redis.
    EmptyRedis,
    /// The client sends a message.
    Send(String, Value),
    /// The server sends a message.
    Receive(String, Value),
    /// The server closes the connection with this code and reason.
    Close(String, String),
    /// An HTTP request,
    Request(String),
    /// and its response.
    Response(String),
    /// A message that is not replayed.
    Example(Value),
}

/// A step and its line in the page.
pub type Located = (usize, Step);

/// Reads the steps of a page.
pub fn read(page: &str) -> anyhow::Result<Vec<Located>> {
    let mut steps = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let step = if let Some(directive) = line.strip_prefix("<!-- replay: ") {
            Some(read_directive(directive.trim_end_matches("-->").trim()))
        } else if let Some(info) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            Some(read_block(info, &body.join("\n")))
        } else {
            None
        };
        if let Some(step) = step {
            steps.push((index + 1, step.with_context(|| format!("line {}: {line}", index + 1))?));
        }
    }
    Ok(steps)
}

fn read_directive(text: &str) -> anyhow::Result<Step> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["start", flags @ ..] => {
            let redis = flags.first() == Some(&"--redis");
            let flags = flags.iter().skip(usize::from(redis)).map(ToString::to_string).collect();
            Step::Start { redis, flags }
        }
        ["connect", name] => Step::Connect((*name).to_owned()),
        ["leave", name] => Step::Leave((*name).to_owned()),
        ["binary", name] => Step::Binary((*name).to_owned()),
        ["stop"] => Step::Stop,
        ["empty", "redis"] => Step::EmptyRedis,
        _ => bail!("unknown directive"),
    })
}

fn read_block(info: &str, body: &str) -> anyhow::Result<Step> {
    let words: Vec<&str> = info.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["json", "send", name] => Step::Send((*name).to_owned(), serde_json::from_str(body)?),
        ["json", "receive", name] => Step::Receive((*name).to_owned(), serde_json::from_str(body)?),
        ["json", "example"] => Step::Example(serde_json::from_str(body)?),
        ["text", "close", name] => Step::Close((*name).to_owned(), body.to_owned()),
        ["http", "request"] => Step::Request(body.to_owned()),
        ["http", "response"] => Step::Response(body.to_owned()),
        _ => bail!("a block has to say what it is"),
    })
}
