//! A page in a room: who is here, as it has been told.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::client::Client;
use crate::members::{MEMBER, ORDER};
use crate::message::ServerMessage;
use crate::process::PATIENCE;

/// A connected page.
pub struct Visitor {
    /// Its connection.
    pub client: Client,
    /// The members of each room, by the room's name.
    pub members: BTreeMap<String, BTreeMap<String, Value>>,
    /// What members have whispered: the room, the name, who, and what.
    pub whispers: Vec<Value>,
    /// The grants that it was given, by room.
    pub grants: BTreeMap<String, String>,
    /// What changed and was told as such, in order: +id or -id.
    pub changes: Vec<String>,
}

/// The room of the tests' event with this number, as a client asks for it.
pub fn room(number: i64) -> Value {
    json!({"name": ORDER, "match": {"room": number}, "componentClass": MEMBER})
}

/// Its name.
pub fn room_name(number: i64) -> String {
    format!(r#"{ORDER}{{"room":{number}}}"#)
}

impl Visitor {
    /// Connects with these cookies; none: a guest.
    pub async fn connect(url: &str, cookies: &str) -> anyhow::Result<Self> {
        let headers = [("Cookie", cookies), ("Origin", "http://127.0.0.1")];
        let headers: &[_] = if cookies.is_empty() { &[] } else { &headers };
        let client = Client::connect_with(url, headers).await?;
        let (members, grants) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { client, members, whispers: Vec::new(), grants, changes: Vec::new() })
    }

    /// Connects as a user, and enters a room.
    pub async fn enter(url: &str, user: &str, number: i64) -> anyhow::Result<Self> {
        let mut visitor = Self::connect(url, &format!("session={user}")).await?;
        visitor.ask(json!([room(number)])).await?;
        visitor.wait_until("it is in", |visitor| visitor.members.contains_key(&room_name(number))).await?;
        Ok(visitor)
    }

    /// Asks to enter rooms.
    pub async fn ask(&mut self, rooms: Value) -> anyhow::Result<()> {
        self.client.send("diffyne.presence", json!({"rooms": rooms, "requestId": "r"})).await
    }

    /// Takes in a message.
    pub fn hear(&mut self, message: &ServerMessage) -> anyhow::Result<()> {
        match message.event() {
            "diffyne.joined" => {
                for room in message["rooms"].as_array().context("no rooms")? {
                    let name = room["room"].as_str().unwrap_or_default().to_owned();
                    if let Some(grant) = room["grant"].as_str() {
                        self.grants.insert(name, grant.to_owned());
                    }
                }
            }
            "diffyne.presence" => self.hear_members(message)?,
            "diffyne.left" => {
                for room in message["rooms"].as_array().context("no rooms")? {
                    self.members.remove(room.as_str().unwrap_or_default());
                }
            }
            "diffyne.whisper" => self.whispers.push(message.data().clone()),
            _ => {}
        }
        Ok(())
    }

    fn hear_members(&mut self, message: &ServerMessage) -> anyhow::Result<()> {
        let room = message["room"].as_str().context("no room")?.to_owned();
        let entry = |member: &Value| (member["id"].as_str().unwrap_or_default().to_owned(), member["info"].clone());
        if let Some(here) = message.get("here").and_then(Value::as_array) {
            self.members.insert(room, here.iter().map(entry).collect());
            return Ok(());
        }
        let members = self.members.get_mut(&room).context("a change before the list")?;
        for (id, info) in message["joins"].as_array().context("no joins")?.iter().map(entry) {
            self.changes.push(format!("+{id}"));
            members.insert(id, info);
        }
        for id in message["leaves"].as_array().context("no leaves")?.iter().filter_map(Value::as_str) {
            self.changes.push(format!("-{id}"));
            ensure!(members.remove(id).is_some(), "{id} left and was never there");
        }
        Ok(())
    }

    /// Hears messages until something holds.
    pub async fn wait_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        self.wait_for(PATIENCE, what, holds).await
    }

    /// The same, within this time.
    pub async fn wait_for(&mut self, limit: Duration, what: &str, holds: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let until = tokio::time::Instant::now() + limit;
        while !holds(self) {
            let Ok(message) = tokio::time::timeout_at(until, self.client.receive()).await else {
                bail!("{what}: not within {limit:?}; {:?}", self.members)
            };
            self.hear(&message?)?;
        }
        Ok(())
    }

    /// Waits until exactly these users are in a room.
    pub async fn sees(&mut self, number: i64, users: &[&str]) -> anyhow::Result<()> {
        let name = room_name(number);
        let holds = |visitor: &Self| visitor.members.get(&name).is_some_and(|here| here.keys().eq(users));
        self.wait_until(&format!("{users:?} in {name}"), holds).await
    }

    /// Hears what has come so far.
    pub async fn catch_up(&mut self) -> anyhow::Result<()> {
        for message in self.client.barrier().await? {
            self.hear(&message)?;
        }
        Ok(())
    }
}
