//! `docs/protocol.md` is true: every example of it is replayed against real processes, in the order of the page, and
//! every message, failure type and close code of the source is described there.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::process::{PATIENCE, Signal, project};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// One step of the page. Names are those of connections.
#[derive(Debug, PartialEq)]
enum Step {
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
type Located = (usize, Step);

/// Reads the steps of a page.
fn steps(page: &str) -> anyhow::Result<Vec<Located>> {
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

/// The values that placeholders stand for.
#[derive(Default)]
struct Bindings(HashMap<String, Value>);

impl Bindings {
    /// A message with its placeholders replaced.
    fn fill(&self, template: &Value) -> anyhow::Result<Value> {
        Ok(match template {
            Value::String(text) => match placeholder(text) {
                Some(("", name, "")) => self.get(name)?.clone(),
                Some((before, name, after)) => {
                    let value = self.get(name)?.as_str().context("only a string can be part of a string")?;
                    format!("{before}{value}{after}").into()
                }
                None => template.clone(),
            },
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect::<anyhow::Result<Vec<_>>>()?.into(),
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| Ok((name.clone(), self.fill(value)?)));
                Value::Object(fields.collect::<anyhow::Result<_>>()?)
            }
            other => other.clone(),
        })
    }

    fn get(&self, name: &str) -> anyhow::Result<&Value> {
        self.0.get(name).with_context(|| format!("{{{{{name}}}}} stands for nothing yet"))
    }

    /// Compares what came with what the page says, and notes what new placeholders stand for.
    fn compare(&mut self, template: &Value, actual: &Value) -> anyhow::Result<()> {
        match (template, actual) {
            (Value::String(text), _) if text == "<any>" => {}
            (Value::String(text), _) if matches!(placeholder(text), Some(("", _, ""))) => {
                let (_, name, _) = placeholder(text).unwrap();
                let known = self.0.entry(name.to_owned()).or_insert_with(|| actual.clone());
                ensure!(known == actual, "{{{{{name}}}}} was {known}, is {actual}");
            }
            (Value::Array(expected), Value::Array(items)) => {
                ensure!(expected.len() == items.len(), "{actual} has {} items", items.len());
                for (expected, item) in expected.iter().zip(items) {
                    self.compare(expected, item)?;
                }
            }
            (Value::Object(expected), Value::Object(fields)) => {
                let names = |fields: &serde_json::Map<String, Value>| fields.keys().cloned().collect::<BTreeSet<_>>();
                ensure!(names(expected) == names(fields), "fields: {:?}", names(fields));
                for (name, expected) in expected {
                    self.compare(expected, &fields[name]).with_context(|| name.clone())?;
                }
            }
            _ => ensure!(template == actual, "{actual} instead of {template}"),
        }
        Ok(())
    }
}

/// The text before, in and behind `{{..}}`.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (name, after) = rest.split_once("}}")?;
    Some((before, name, after))
}

/// A connection whose greeting nobody has looked at, perhaps.
struct Connection {
    client: Client,
    greeting: Option<Value>,
}

impl Connection {
    async fn open(url: &str) -> anyhow::Result<Self> {
        let connecting = tokio_tungstenite::connect_async(url.into_client_request()?);
        let (socket, _) = tokio::time::timeout(PATIENCE, connecting).await??;
        let mut client = Client { socket, id: String::new() };
        let greeting = serde_json::from_str(&client.receive_text().await?)?;
        Ok(Self { client, greeting: Some(greeting) })
    }

    async fn receive(&mut self, expected: &Value) -> anyhow::Result<Value> {
        let greeting = self.greeting.take().filter(|_| expected["event"] == "diffyne.connected");
        match greeting {
            Some(greeting) => Ok(greeting),
            None => Ok(serde_json::from_str(&self.client.receive_text().await?)?),
        }
    }

    /// The close frame, which has to be the next message.
    async fn closed(&mut self) -> anyhow::Result<String> {
        match tokio::time::timeout(PATIENCE, self.client.socket.next()).await?.context("no close frame")?? {
            Message::Close(Some(frame)) => Ok(format!("{} {}", u16::from(frame.code), frame.reason)),
            other => bail!("{other:?} instead of a close frame"),
        }
    }
}

/// Replays the steps.
#[derive(Default)]
struct Replay {
    cluster: Option<Cluster>,
    connections: HashMap<String, Connection>,
    bindings: Bindings,
    response: Option<HttpText>,
}

impl Replay {
    async fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Start { redis, flags } => self.start(*redis, flags)?,
            Step::Connect(name) => {
                let connection = Connection::open(&self.cluster()?.url(0)).await?;
                self.connections.insert(name.clone(), connection);
            }
            Step::Leave(name) => drop(self.connections.remove(name).context("not connected")?),
            Step::Binary(name) => self.connection(name)?.client.socket.send(Message::binary("{}")).await?,
            Step::Stop => self.cluster()?.gateways[0].process.signal(Signal::Term)?,
            Step::EmptyRedis => {
                let client = deadpool_redis::redis::Client::open(self.cluster()?.redis_url())?;
                let mut redis = client.get_multiplexed_async_connection().await?;
                deadpool_redis::redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await?;
            }
            Step::Send(name, message) => {
                let text = self.bindings.fill(message)?.to_string();
                self.connection(name)?.client.send_text(&text).await?;
            }
            Step::Receive(name, expected) => {
                let actual = self.connection(name)?.receive(expected).await?;
                self.bindings.compare(expected, &actual).with_context(|| format!("received {actual}"))?;
            }
            Step::Close(name, expected) => {
                let actual = self.connection(name)?.closed().await?;
                ensure!(*expected == actual, "closed with {actual}");
            }
            Step::Request(text) => {
                let port = self.cluster()?.gateways[0].port;
                self.response = Some(exchange(port, &HttpText::parse(text)?)?);
            }
            Step::Response(text) => {
                let actual = self.response.take().context("no request")?;
                self.compare_response(&HttpText::parse(text)?, &actual).with_context(|| format!("{actual:?}"))?;
            }
            Step::Example(_) => {}
        }
        Ok(())
    }

    fn start(&mut self, redis: bool, flags: &[String]) -> anyhow::Result<()> {
        *self = Self::default();
        let shape = Shape { redis, gateway_flags: flags.to_vec(), ..Shape::new(1, 1) };
        self.cluster = Some(Cluster::start(shape)?);
        Ok(())
    }

    fn cluster(&self) -> anyhow::Result<&Cluster> {
        self.cluster.as_ref().context("nothing was started")
    }

    fn connection(&mut self, name: &str) -> anyhow::Result<&mut Connection> {
        self.connections.get_mut(name).with_context(|| format!("{name} is not connected"))
    }

    fn compare_response(&mut self, expected: &HttpText, actual: &HttpText) -> anyhow::Result<()> {
        ensure!(expected.start == actual.start, "{} instead of {}", actual.start, expected.start);
        for (name, value) in &expected.headers {
            let is_there = |(other, has): &(String, String)| other.eq_ignore_ascii_case(name) && has == value;
            ensure!(actual.headers.iter().any(is_there), "{name}: {value} is missing");
        }
        if expected.body.starts_with('{') {
            self.bindings.compare(&serde_json::from_str(&expected.body)?, &serde_json::from_str(&actual.body)?)
        } else {
            ensure!(expected.body.is_empty() || expected.body == actual.body, "the body is {}", actual.body);
            Ok(())
        }
    }
}

/// An HTTP request or response.
#[derive(Debug)]
struct HttpText {
    /// The request line or the status line.
    start: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl HttpText {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let (start, lines) = head.split_once('\n').unwrap_or((head, ""));
        let headers = lines.lines().map(|line| {
            let (name, value) = line.split_once(": ").with_context(|| format!("no header: {line}"))?;
            Ok((name.to_owned(), value.to_owned()))
        });
        let headers = headers.collect::<anyhow::Result<_>>()?;
        Ok(Self { start: start.to_owned(), headers, body: body.to_owned() })
    }
}

/// Sends a request, and reads the response as far as its Content-Length says.
fn exchange(port: u16, request: &HttpText) -> anyhow::Result<HttpText> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = format!("{}\r\n", request.start);
    for (name, value) in &request.headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    write!(text, "Content-Length: {}\r\n\r\n{}", request.body.len(), request.body)?;
    stream.write_all(text.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let mut response = HttpText::parse(std::str::from_utf8(&head)?.trim_end())?;
    let length = response.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.map_or(Ok(0), |(_, length)| length.parse())?];
    stream.read_exact(&mut body)?;
    response.body = String::from_utf8(body)?;
    Ok(response)
}

fn page() -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(project().join("docs/protocol.md"))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_protocol_page_is_what_really_happens() -> anyhow::Result<()> {
    let steps = steps(&page()?)?;
    let compared = steps.iter().filter(|(_, step)| matches!(step, Step::Receive(..) | Step::Response(_)));
    assert!(compared.count() > 30, "the examples of the page are not found");
    let mut replay = Replay::default();
    for (line, step) in &steps {
        replay.step(step).await.with_context(|| format!("docs/protocol.md, line {line}"))?;
    }
    Ok(())
}

#[test]
fn a_wrong_example_is_noticed() -> anyhow::Result<()> {
    let mut bindings = Bindings::default();
    let actual = serde_json::json!({"event": "a", "data": {"offset": 1, "ids": ["x"]}});
    let right = serde_json::json!({"event": "a", "data": {"offset": "{{offset}}", "ids": "<any>"}});
    bindings.compare(&right, &actual)?;
    let wrong = [
        serde_json::json!({"event": "b", "data": {"offset": 1, "ids": ["x"]}}),
        serde_json::json!({"event": "a", "data": {"offset": 1}}),
        serde_json::json!({"event": "a", "data": {"offset": 1, "ids": ["x"], "more": 1}}),
        serde_json::json!({"event": "a", "data": {"offset": 1, "ids": ["x", "y"]}}),
        serde_json::json!({"event": "a", "data": {"offset": 1, "ids": ["{{offset}}"]}}),
    ];
    for template in wrong {
        assert!(bindings.compare(&template, &actual).is_err(), "{template}");
    }
    assert!(steps("```json\n{}\n```").is_err(), "a block that says nothing of its direction");
    assert!(steps("<!-- replay: dance -->").is_err());
    Ok(())
}

/// Every Rust file below a folder, as text.
fn sources(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            texts.extend(sources(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            texts.push(std::fs::read_to_string(path)?);
        }
    }
    Ok(texts)
}

/// The words between each `before` and the next `"`.
fn quoted_after<'a>(text: &'a str, before: &str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
}

#[test]
fn every_message_failure_and_close_code_of_the_source_is_on_the_page() -> anyhow::Result<()> {
    let page = page()?;
    let mut texts = sources(&project().join("gateway/src"))?;
    texts.extend(sources(&project().join("shared/src"))?);

    let mut events = BTreeSet::from(["error".to_owned()]);
    for text in &texts {
        let names = quoted_after(text, "\"diffyne.").filter(|name| name.bytes().all(|b| b.is_ascii_lowercase()));
        events.extend(names.map(|name| format!("diffyne.{name}")));
    }
    assert!(events.len() > 15, "{events:?}");
    let shown: BTreeSet<String> = steps(&page)?
        .iter()
        .filter_map(|(_, step)| match step {
            Step::Send(_, message) | Step::Receive(_, message) => message["event"].as_str().map(str::to_owned),
            _ => None,
        })
        .collect();
    let missing: Vec<_> = events.difference(&shown).collect();
    assert!(missing.is_empty(), "docs/protocol.md shows no {missing:?}");

    // The arms of the match that names the types of failures.
    let kinds = texts.iter().find_map(|text| {
        let lines: Vec<&str> = text.lines().collect();
        let middle = lines.iter().position(|line| line.contains("=> \"grant_expired\""))?;
        let is_arm = |line: &&&str| line.contains("=> \"");
        let before = lines[..middle].iter().rev().take_while(is_arm);
        let arms = before.chain(lines[middle..].iter().take_while(is_arm));
        Some(arms.filter_map(|line| quoted_after(line, "=> \"").next()).collect::<BTreeSet<_>>())
    });
    let kinds = kinds.context("where are the types of failures?")?;
    assert!(kinds.len() > 7, "{kinds:?}");
    for kind in kinds {
        assert!(page.contains(&format!("\n| `{kind}` |")), "docs/protocol.md does not explain {kind}");
    }

    let closes: Vec<(&str, &str)> = texts.iter().flat_map(|text| close_reasons(text)).collect();
    assert!(closes.len() > 8, "{closes:?}");
    for (code, reason) in closes {
        assert!(
            page.contains(&format!("| {code} | `{reason}` |")),
            "docs/protocol.md does not explain {code} {reason}"
        );
    }
    Ok(())
}

/// Code and reason of each `Close` that is a constant of its module.
fn close_reasons(text: &str) -> Vec<(&str, &str)> {
    let calls = text.split("Self = Self::new(").skip(1).filter_map(|rest| rest.split("\")").next());
    calls
        .filter_map(|call| call.split_once(", \""))
        .filter(|(code, _)| code.bytes().all(|b| b.is_ascii_digit()))
        .collect()
}
