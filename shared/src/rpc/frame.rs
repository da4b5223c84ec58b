//! A frame, and its encoding as type and body in MessagePack.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::messages::{Call, CallId, Challenge, Empty, Hello, Ping, Pong, Proof, Push, Refuse, Reply};

/// Bytes that a frame may add to its payload: names, headers and the text of an error fit well within.
pub const FRAME_OVERHEAD_MAX: usize = 256 * 1024;

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
    /// To the worker: are you there?
    Ping(Ping),
    /// To the gateway: the answer to a ping, or the worker's load has changed.
    Pong(Pong),
    /// The other side is refused.
    Refuse(Refuse),
    /// To the gateway: prove that you know the token.
    Challenge(Challenge),
    /// To the worker: the proof.
    Proof(Proof),
    /// To the gateway: more for the client of a call that was answered.
    Push(Push<'a>),
    /// From a newer release: to be ignored.
    Unknown(u8),
}

/// Type numbers on the wire. Never reuse one.
pub(super) mod tag {
    pub(in crate::rpc) const HELLO: u8 = 1;
    pub(in crate::rpc) const CALL: u8 = 2;
    pub(in crate::rpc) const REPLY: u8 = 3;
    pub(in crate::rpc) const BUSY: u8 = 4;
    pub(in crate::rpc) const CANCEL: u8 = 5;
    pub(in crate::rpc) const PING: u8 = 6;
    pub(in crate::rpc) const PONG: u8 = 7;
    pub(in crate::rpc) const REFUSE: u8 = 8;
    pub(in crate::rpc) const CHALLENGE: u8 = 9;
    pub(in crate::rpc) const PROOF: u8 = 10;
    pub(in crate::rpc) const PUSH: u8 = 11;
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
            Self::Push(body) => (tag::PUSH, body).serialize(serializer),
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
            tag::PUSH => Frame::Push(body(&mut seq)?),
            other => {
                body::<IgnoredAny, A>(&mut seq)?;
                Frame::Unknown(other)
            }
        };
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(frame)
    }
}
