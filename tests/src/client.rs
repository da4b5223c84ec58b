//! An independent WebSocket client (tungstenite, not fastwebsockets) that speaks Diffyne.

use anyhow::{Context as _, bail};
use diffyne_shared::signing::{Signer, SigningKey, VerifyState};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::message::ServerMessage;
use crate::process::PATIENCE;

/// A connected client.
pub struct Client {
    /// The socket itself, for what is not Diffyne.
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// As the gateway named it.
    pub id: String,
}

impl Client {
    /// Connects and takes the greeting.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        Self::connect_with(url, &[]).await
    }

    /// The same with more headers.
    pub async fn connect_with(url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        }
        let (socket, _) = tokio::time::timeout(PATIENCE, tokio_tungstenite::connect_async(request)).await??;
        let mut client = Self { socket, id: String::new() };
        let hello = client.receive().await?;
        client.id = hello["clientId"].as_str().context("no clientId")?.to_owned();
        Ok(client)
    }

    /// Sends text.
    pub async fn send_text(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// Sends an event.
    pub async fn send(&mut self, event: &str, data: Value) -> anyhow::Result<()> {
        self.send_text(&json!({"event": event, "data": data}).to_string()).await
    }

    /// The next text, whatever it is.
    pub async fn receive_text(&mut self) -> anyhow::Result<String> {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.context("nothing came")? {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(frame))) => bail!("closed: {frame:?}"),
                Some(Ok(_)) => {}
                Some(Err(error)) => bail!("broken: {error}"),
                None => bail!("the end"),
            }
        }
    }

    /// The next text, however long it takes.
    pub async fn receive_text_forever(&mut self) -> anyhow::Result<String> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(frame))) => bail!("closed: {frame:?}"),
                Some(Ok(_)) => {}
                Some(Err(error)) => bail!("broken: {error}"),
                None => bail!("the end"),
            }
        }
    }

    /// The next message.
    pub async fn receive(&mut self) -> anyhow::Result<ServerMessage> {
        ServerMessage::parse(&self.receive_text().await?)
    }

    /// The next message of this event; others before it are dropped.
    pub async fn receive_event(&mut self, event: &str) -> anyhow::Result<ServerMessage> {
        loop {
            let message = self.receive().await?;
            if message.event() == event {
                return Ok(message);
            }
        }
    }

    /// Sends an event and receives the next message.
    pub async fn request(&mut self, event: &str, data: Value) -> anyhow::Result<ServerMessage> {
        self.send(event, data).await?;
        self.receive().await
    }

    /// Sends a call and receives the next message.
    pub async fn call(&mut self, data: Value) -> anyhow::Result<ServerMessage> {
        self.request("diffyne.call", data).await
    }

    /// The close code that ends the connection; texts before it are dropped.
    pub async fn closed(&mut self) -> anyhow::Result<u16> {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.context("nothing came")? {
                Some(Ok(Message::Close(Some(frame)))) => return Ok(frame.code.into()),
                Some(Ok(_)) => {}
                other => bail!("no close frame: {other:?}"),
            }
        }
    }

    /// Calls the demo counter, which counts on from `n`.
    pub async fn check_increment(&mut self, n: i64) -> anyhow::Result<()> {
        let reply = self.call(increment("diffyne-a", n, "r")).await?;
        anyhow::ensure!(reply.state()["count"] == n + 1, "{reply}");
        Ok(())
    }

    /// Subscribes to all of an event.
    pub async fn subscribe(&mut self, name: &str) -> anyhow::Result<ServerMessage> {
        let reply = self.request("diffyne.subscribe", json!({"events": [{"name": name}], "requestId": "sub"})).await?;
        anyhow::ensure!(reply.event() == "diffyne.subscribed", "{reply}");
        Ok(reply)
    }

    /// A round trip after which everything that was sent before has been handled; the messages that came before its end.
    pub async fn barrier(&mut self) -> anyhow::Result<Vec<ServerMessage>> {
        self.send("diffyne.ping", json!({})).await?;
        let mut before = Vec::new();
        loop {
            let message = self.receive().await?;
            if message.event() == "diffyne.pong" {
                return Ok(before);
            }
            before.push(message);
        }
    }
}

/// The `data` of a call.
pub fn call(class: &str, component: &str, method: &str, params: Value, state: Value, request_id: &str) -> Value {
    json!({
        "type": "call", "componentId": component, "componentClass": class, "method": method, "params": params,
        "state": state, "fingerprint": "", "signature": "", "requestId": request_id,
    })
}

/// The same `data`, signed with this key as the server signs its answers; `locked` are the class's locked properties.
pub fn signed(mut data: Value, key: &str, locked: &[&str]) -> anyhow::Result<Value> {
    let signer = Signer::new(vec![SigningKey::parse(key)?], VerifyState::default(), true).context("no key")?;
    let [class, id] = ["componentClass", "componentId"].map(|field| data[field].as_str().unwrap_or_default());
    data["signature"] = signer.sign_locked(class, id, &data["state"], locked).into();
    Ok(data)
}

/// A call of the demo counter.
pub fn increment(component: &str, count: i64, request_id: &str) -> Value {
    call("App\\Diffyne\\Counter", component, "increment", json!([]), json!({"count": count}), request_id)
}

/// A chat message.
pub fn chat(text: &str, request_id: &str) -> Value {
    let state = json!({"roomId": 1, "messages": [], "newMessage": text});
    call("App\\Diffyne\\ChatRoom", "diffyne-chat", "sendMessage", json!([]), state, request_id)
}

/// A call of the tests' probe.
pub fn probe(component: &str, method: &str, params: Value, request_id: &str) -> Value {
    call("App\\Tests\\Probe", component, method, params, json!({"runs": 0}), request_id)
}
