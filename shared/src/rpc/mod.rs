//! The frames between a gateway (the relay) and a worker.
//!
//! On the wire: a u32 length, then MessagePack `[type, {fields by name}]`. Unknown fields and unknown types are
//! ignored and new fields are optional, so that releases mix during a deploy. Payloads are `bin`, never re-encoded.

mod codec;
mod endpoint;
pub mod handshake;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use codec::{CallRef, CodecError, FrameReader, OversizedFrame, encode, encode_within};
pub use endpoint::{Endpoint, EndpointError};
pub use serde_bytes::ByteBuf as Bytes;

/// The versions of this protocol that this release speaks.
/// Version 2 is version 1 with a proof of the token ([`handshake`]) instead of the token itself.
pub const VERSIONS: VersionRange = VersionRange { min: 1, max: 2 };

/// What a frame may add to its payload: names, headers and an error's words fit well within.
pub const FRAME_OVERHEAD_MAX: usize = 256 * 1024;

/// A range of protocol versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// Oldest version spoken.
    pub min: u16,
    /// Newest version spoken.
    pub max: u16,
}

impl Default for VersionRange {
    /// What this release speaks.
    fn default() -> Self {
        VERSIONS
    }
}

impl VersionRange {
    /// The highest version that both sides speak.
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

/// The first frame of a gateway, and a worker's when it takes calls.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Hello {
    /// Protocol versions spoken.
    pub versions: VersionRange,
    /// Names of optional abilities.
    #[serde(default)]
    pub features: Vec<String>,
    /// Who this is: a gateway's or a worker's id.
    pub id: String,
    /// The token itself: from gateways of version 1 only. See [`handshake`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Calls that the worker runs side by side; 0 from a gateway.
    #[serde(default)]
    pub capacity: u32,
    /// What the worker runs calls on, for people.
    #[serde(default)]
    pub backend: String,
    /// The worker takes no new calls.
    #[serde(default)]
    pub draining: bool,
    /// Its backend cannot run calls now; why is in its own log and at its `/ready`.
    #[serde(default)]
    pub faulty: bool,
    /// Longest frame that this side takes, in bytes; not told by older ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_bytes_max: Option<u32>,
    /// Calls that may wait in the worker beyond its capacity, so that gateways send no more; not told by older ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// A gateway's random bytes, so that the worker's proof is made for this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Bytes>,
    /// A worker's MAC, after it has seen the gateway's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Bytes>,
}

/// A worker's question to a gateway that wants in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Challenge {
    /// Protocol versions spoken.
    pub versions: VersionRange,
    /// The worker's id.
    pub id: String,
    /// Random bytes for this connection.
    pub nonce: Bytes,
}

/// A gateway's answer to a challenge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Proof {
    /// A MAC by each of its tokens.
    pub macs: Vec<Bytes>,
}

/// How a call came to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Over a WebSocket.
    Ws,
    /// As an HTTP request.
    Ajax,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallKind {
    /// `diffyne.call`: run a method.
    Call,
    /// `diffyne.update`: set a property.
    Update,
    /// A lazy component's first state.
    Mount,
    /// May this user hear these events?
    Grant,
}

/// Who calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Client<'a> {
    /// The client id of the connection.
    #[serde(borrow)]
    pub id: &'a str,
    /// The address of the browser, as far as proxies are trusted.
    #[serde(borrow)]
    pub ip: &'a str,
    /// How the call came.
    pub transport: Transport,
    /// `name: value` lines of the handshake, one blob made once a connection.
    #[serde(borrow, with = "serde_bytes", default)]
    pub headers: &'a [u8],
    /// Cookies set since the handshake.
    #[serde(borrow, with = "serde_bytes", default)]
    pub jar: &'a [u8],
}

/// The push that a call reacts to.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Cause {
    /// Id of the broadcast.
    pub id: String,
    /// Its depth.
    pub depth: u32,
}

/// One component call on its way to a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call<'a> {
    /// Unique on this relay connection.
    pub id: u64,
    /// What is left of the time for this call.
    pub budget_ms: u32,
    /// Who calls.
    #[serde(borrow)]
    pub client: Client<'a>,
    /// What is asked for.
    pub kind: CallKind,
    /// The push that this call reacts to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The client's `data` object, as it came.
    #[serde(borrow, with = "serde_bytes")]
    pub payload: &'a [u8],
}

/// How a call ended, in words that become a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Ran; patches, or a redirect.
    Ok,
    /// The component's validation refused its state, or the message its shape.
    ValidationError,
    /// Unknown or not invokable method, or a parameter of the wrong type.
    MethodError,
    /// Unknown, hidden, locked or computed property, or a value of the wrong type.
    PropertyError,
    /// The signature does not fit the state.
    SecurityError,
    /// The component threw.
    Exception,
    /// The backend failed.
    ServerError,
    /// No such component.
    UnknownComponent,
    /// From a newer worker.
    #[serde(other)]
    Other,
}

impl Outcome {
    /// The label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ValidationError => "validation_error",
            Self::MethodError => "method_error",
            Self::PropertyError => "property_error",
            Self::SecurityError => "security_error",
            Self::Exception => "exception",
            Self::ServerError => "server_error",
            Self::UnknownComponent => "unknown_component",
            Self::Other => "other",
        }
    }
}

/// An event of a response that may leave for the whole cluster: its `to` is null.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResponseEvent<'a> {
    /// Place in the response's `events`.
    pub index: u32,
    /// Event name.
    #[serde(borrow)]
    pub name: &'a str,
    /// The `params` list as JSON.
    #[serde(borrow, with = "serde_bytes")]
    pub params: &'a [u8],
}

/// What became of the user's session in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionChange {
    /// As before, or no session at all.
    #[default]
    Same,
    /// Another id: login, logout.
    Changed,
    /// It had ended.
    Gone,
}

/// The answer to a call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply<'a> {
    /// The call's id.
    pub id: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The status code that the HTTP twin would give.
    #[serde(default)]
    pub status: u16,
    /// The finished JSON object, without `requestId` and `eventIds`.
    #[serde(borrow, with = "serde_bytes")]
    pub data: &'a [u8],
    /// Number of the response's events: `eventIds` is as long.
    #[serde(default)]
    pub event_count: u32,
    /// Events that may be broadcast.
    #[serde(borrow, default)]
    pub broadcasts: Vec<ResponseEvent<'a>>,
    /// `Set-Cookie` values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_cookie: Vec<String>,
    /// What became of the session.
    #[serde(default)]
    pub session: SessionChange,
    /// The class's listeners, as JSON, when a mount or grant asked.
    #[serde(borrow, default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
    pub listeners: Option<&'a [u8]>,
    /// The component's class as the worker knows it, in its own spelling; not told by older workers.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub component: Option<&'a str>,
    /// Calls running and waiting in the worker now.
    #[serde(default)]
    pub load: u32,
    /// Its backend cannot run calls now.
    #[serde(default)]
    pub faulty: bool,
}

impl<'a> Reply<'a> {
    /// An answer without events, cookies or listeners.
    pub fn new(id: u64, outcome: Outcome, status: u16, data: &'a [u8]) -> Self {
        Self {
            id,
            outcome,
            status,
            data,
            event_count: 0,
            broadcasts: Vec::new(),
            set_cookie: Vec::new(),
            session: SessionChange::Same,
            listeners: None,
            component: None,
            load: 0,
            faulty: false,
        }
    }
}

/// A worker's load, asked for by `Ping` or told by itself.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Pong {
    /// Calls running and waiting in the worker now.
    pub load: u32,
    /// The worker takes no new calls.
    #[serde(default)]
    pub draining: bool,
    /// Its backend cannot run calls now; why is in its own log and at its `/ready`.
    #[serde(default)]
    pub faulty: bool,
}

/// The id of a call, alone.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct CallId {
    /// The call's id.
    pub id: u64,
}

/// Why a peer is turned away, before the connection closes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refuse {
    /// Words for the other side's log.
    pub reason: String,
}

/// Nothing to say.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Empty {}

/// One frame.
#[derive(Debug, Clone)]
pub enum Frame<'a> {
    /// First frame of both sides.
    Hello(Hello),
    /// To the worker: run this.
    Call(Call<'a>),
    /// To the gateway: it ran.
    Reply(Reply<'a>),
    /// To the gateway: not run and not queued; give it to another worker.
    Busy(CallId),
    /// To the worker: the client is gone, drop it if not started.
    Cancel(CallId),
    /// Is anybody there?
    Ping(Empty),
    /// The answer, and a worker's own word when its load changed.
    Pong(Pong),
    /// Not with you.
    Refuse(Refuse),
    /// To the gateway: prove that you know the token.
    Challenge(Challenge),
    /// To the worker: the proof.
    Proof(Proof),
    /// From a newer release: to be ignored.
    Unknown(u8),
}

/// Type numbers on the wire. Never reuse one.
mod tag {
    pub(super) const HELLO: u8 = 1;
    pub(super) const CALL: u8 = 2;
    pub(super) const REPLY: u8 = 3;
    pub(super) const BUSY: u8 = 4;
    pub(super) const CANCEL: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const PONG: u8 = 7;
    pub(super) const REFUSE: u8 = 8;
    pub(super) const CHALLENGE: u8 = 9;
    pub(super) const PROOF: u8 = 10;
}

impl Serialize for Frame<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Hello(body) => (tag::HELLO, body).serialize(serializer),
            Self::Call(body) => (tag::CALL, body).serialize(serializer),
            Self::Reply(body) => (tag::REPLY, body).serialize(serializer),
            Self::Busy(body) => (tag::BUSY, body).serialize(serializer),
            Self::Cancel(body) => (tag::CANCEL, body).serialize(serializer),
            Self::Ping(body) => (tag::PING, body).serialize(serializer),
            Self::Pong(body) => (tag::PONG, body).serialize(serializer),
            Self::Refuse(body) => (tag::REFUSE, body).serialize(serializer),
            Self::Challenge(body) => (tag::CHALLENGE, body).serialize(serializer),
            Self::Proof(body) => (tag::PROOF, body).serialize(serializer),
            Self::Unknown(tag) => (tag, Empty {}).serialize(serializer),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Frame<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FrameVisitor(PhantomData))
    }
}

struct FrameVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for FrameVisitor<'a> {
    type Value = Frame<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame: [type, fields]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Frame<'a>, A::Error> {
        fn body<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
            seq.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &"a frame with fields"))
        }
        let tag: u8 = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &"a frame with a type"))?;
        let frame = match tag {
            tag::HELLO => Frame::Hello(body(&mut seq)?),
            tag::CALL => Frame::Call(body(&mut seq)?),
            tag::REPLY => Frame::Reply(body(&mut seq)?),
            tag::BUSY => Frame::Busy(body(&mut seq)?),
            tag::CANCEL => Frame::Cancel(body(&mut seq)?),
            tag::PING => Frame::Ping(body(&mut seq)?),
            tag::PONG => Frame::Pong(body(&mut seq)?),
            tag::REFUSE => Frame::Refuse(body(&mut seq)?),
            tag::CHALLENGE => Frame::Challenge(body(&mut seq)?),
            tag::PROOF => Frame::Proof(body(&mut seq)?),
            other => {
                body::<IgnoredAny, A>(&mut seq)?;
                Frame::Unknown(other)
            }
        };
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_spoken() {
        let range = |min, max| VersionRange { min, max };
        assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
        assert_eq!(range(2, 5).common(range(1, 3)), Some(3));
        assert_eq!(range(1, 1).common(range(2, 3)), None);
        assert_eq!(range(4, 4).common(range(2, 3)), None);
    }
}
