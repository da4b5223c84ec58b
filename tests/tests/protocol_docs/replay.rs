//! Replays the steps of the page against real processes.

use std::collections::HashMap;

use anyhow::{Context as _, bail, ensure};
use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::process::{PATIENCE, Signal};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::bindings::Bindings;
use super::exchange::{HttpText, exchange};
use super::steps::Step;

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
pub struct Replay {
    cluster: Option<Cluster>,
    connections: HashMap<String, Connection>,
    bindings: Bindings,
    response: Option<HttpText>,
}

impl Replay {
    /// Takes a step, and compares what comes with what the page says.
    pub async fn step(&mut self, step: &Step) -> anyhow::Result<()> {
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
