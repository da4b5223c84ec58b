//! Rooms in Redis: each gateway keeps its own members there, with a lease, and tells the others what changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::{self, RedisError, Script, ScriptInvocation};

use super::context::Context;
use crate::bus::rooms::{
    self, ReportKind, Reported, RoomMember, RoomReport, RoomsBeat, RoomsPeer, RoomsRead, Whisper, decode_state,
    encode_state,
};

/// How long the members at a silent gateway count.
const LIFE: Duration = Duration::from_secs(4);
/// The rooms that are cleared in one step.
const CLEAR_MAX: usize = 500;

/// The members at one gateway, as the script returns them: id and value.
type StoredMembers = BTreeMap<String, String>;

/// Reports this gateway's members, and reads those of the others.
#[derive(Clone)]
pub(in crate::bus) struct RedisRooms {
    context: Context,
}

impl RedisRooms {
    pub(super) fn new(context: Context) -> Self {
        Self { context }
    }

    fn own(&self) -> &str {
        &self.context.shared.identity.id
    }

    async fn invoke<T: redis::FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, RedisError> {
        let work = async {
            let mut connection = self.context.connector.pooled().await?;
            call.invoke_async(&mut connection).await
        };
        self.context.connector.limited(work).await
    }

    /// Keeps the members of this gateway alive. `number` is that of its last report; `None` at its first beat.
    pub(in crate::bus) async fn beat(&self, number: Option<u64>) -> Result<RoomsBeat, RedisError> {
        let expected = number.map(|number| encode_state(number, ReportKind::Change)).unwrap_or_default();
        let script = Script::new(include_str!("scripts/rooms_beat.lua"));
        let mut call = script.prepare_invoke();
        let keys = &self.context.keys;
        let [states, deadlines] = keys.room_gateways();
        call.key(states).key(deadlines).arg(self.own()).arg(&expected).arg(LIFE.as_millis() as u64);
        call.arg(keys.room("")).arg(keys.rooms_of("")).arg(CLEAR_MAX);
        let answer: Vec<String> = self.invoke(&call).await?;
        let Some((own, peers)) = answer.split_first() else {
            return Ok(RoomsBeat { is_lost: true, peers: Vec::new() });
        };
        let is_lost = number.is_some() && *own != expected;
        Ok(RoomsBeat { is_lost, peers: read_peers(peers) })
    }

    /// Clears what this gateway has reported, before it reports everything anew. Returns whether nothing is left.
    pub(in crate::bus) async fn clear(&self, number: u64) -> Result<bool, RedisError> {
        let script = Script::new(include_str!("scripts/rooms_clear.lua"));
        let mut call = script.prepare_invoke();
        let keys = &self.context.keys;
        let [states, deadlines] = keys.room_gateways();
        call.key(states).key(deadlines).key(keys.rooms_of(self.own()));
        call.arg(self.own()).arg(encode_state(number, ReportKind::Part)).arg(LIFE.as_millis() as u64);
        call.arg(keys.room(&format!("{}:", self.own()))).arg(CLEAR_MAX);
        Ok(self.invoke::<i64>(&call).await? == 1)
    }

    /// Reports changes among this gateway's members.
    pub(in crate::bus) async fn report(&self, report: &RoomReport, kind: ReportKind) -> Result<Reported, RedisError> {
        // Whoever made the report has read its infos as JSON.
        let Some(message) = rooms::encode_report(report) else { return Ok(Reported::Lost) };
        let before = report.number.saturating_sub(1);
        let before = encode_state(before, if kind == ReportKind::LastPart { ReportKind::Part } else { kind });
        let script = Script::new(include_str!("scripts/rooms_report.lua"));
        let mut call = script.prepare_invoke();
        let keys = &self.context.keys;
        let [states, deadlines] = keys.room_gateways();
        call.key(states).key(deadlines).key(keys.rooms_of(self.own()));
        call.arg(self.own()).arg(before).arg(encode_state(report.number, kind)).arg(LIFE.as_millis() as u64);
        call.arg(keys.room(&format!("{}:", self.own()))).arg(keys.rooms_channel()).arg(message);
        for change in &report.changes {
            call.arg(&*change.room).arg(if change.is_whole { "whole" } else { "" }).arg(change.leaves.len());
            for id in &change.leaves {
                call.arg(&**id);
            }
            call.arg(change.joins.len());
            for member in &change.joins {
                call.arg(&*member.id).arg(rooms::encode_value(member));
            }
        }
        Ok(if self.invoke::<i64>(&call).await? == 1 { Reported::Taken } else { Reported::Lost })
    }

    /// Reads rooms, as all gateways have reported them.
    pub(in crate::bus) async fn read(&self, names: &[Arc<str>]) -> Result<RoomsRead, RedisError> {
        let script = Script::new(include_str!("scripts/rooms_read.lua"));
        let mut call = script.prepare_invoke();
        let keys = &self.context.keys;
        let [states, deadlines] = keys.room_gateways();
        call.key(states).key(deadlines).arg(keys.room(""));
        for name in names {
            call.arg(&**name);
        }
        let (peers, rooms): (Vec<String>, Vec<Vec<(String, StoredMembers)>>) = self.invoke(&call).await?;
        let members = |(gateway, stored): (String, StoredMembers)| {
            let members = stored.iter().filter_map(|(id, value)| rooms::decode_value(id, value));
            (Arc::from(gateway), members.collect::<Vec<RoomMember>>())
        };
        let rooms = rooms.into_iter().map(|room| room.into_iter().map(members).collect());
        Ok(RoomsRead { peers: read_peers(&peers), rooms: rooms.collect() })
    }

    /// Tells other gateways what members here whisper.
    pub(in crate::bus) async fn whisper(&self, whispers: &[Whisper]) -> Result<(), RedisError> {
        let Some(message) = rooms::encode_whispers(self.own(), whispers) else { return Ok(()) };
        let publish = async {
            let mut connection = self.context.connector.pooled().await?;
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(self.context.keys.rooms_channel()).arg(message);
            publish.query_async::<i64>(&mut connection).await
        };
        self.context.connector.limited(publish).await.map(|_| ())
    }

    /// Removes this gateway's members, at the end of a graceful stop.
    pub(in crate::bus) async fn leave(&self) -> Result<(), RedisError> {
        let remove = async {
            let mut connection = self.context.connector.pooled().await?;
            let [states, deadlines] = self.context.keys.room_gateways();
            // The next beat of another gateway clears the rest.
            redis::cmd("HDEL").arg(states).arg(self.own()).query_async::<i64>(&mut connection).await?;
            redis::cmd("ZADD").arg(deadlines).arg(0).arg(self.own()).query_async::<i64>(&mut connection).await
        };
        self.context.connector.limited(remove).await.map(|_| ())
    }
}

/// Reads gateways: of each its id, its state and how many milliseconds it counts on.
fn read_peers(texts: &[String]) -> Vec<RoomsPeer> {
    let peer = |peer: &[String]| {
        let [gateway, state, life] = peer else { return None };
        let (number, is_complete) = decode_state(state)?;
        let life = Duration::from_millis(life.parse().ok()?);
        Some(RoomsPeer { gateway: gateway.as_str().into(), number, is_complete, life })
    };
    texts.chunks(3).filter_map(peer).collect()
}
