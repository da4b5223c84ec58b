//! Frames to bytes and back: a u32 length in network order, then MessagePack.
//!
//! The sender measures a frame before it sends it. The reader skips a frame that arrives too large all the same: its own
//! call fails, and the connection goes on.

use bytes::{Buf as _, BytesMut};
use serde::{Deserialize as _, Serialize as _};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::frame::{Frame, tag};

const LENGTH_BYTES: usize = 4;
/// Bytes that one read asks the kernel for.
const READ_BYTES: usize = 64 * 1024;
/// A buffer that grew beyond this is released when it is empty.
const KEPT_BYTES: usize = 256 * 1024;
/// A frame that announces more than this is not skipped: the stream is broken.
const SKIPPED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How deep lists and maps of a frame may nest. Ours nest four deep; skipping what a newer release adds takes stack.
const DEPTH_MAX: usize = 64;
/// Bytes at the beginning of a frame that contain its type and the id of its call.
const FRAME_HEAD_BYTES: usize = 32;

/// Why bytes are no frame, or a frame no bytes.
#[derive(Debug, Error)]
pub enum CodecError {
    /// More than the limit (the second number), in bytes.
    #[error("a frame of {0} bytes is over the limit of {1}")]
    TooLarge(usize, usize),
    /// A frame over the limit arrived and is skipped; the reader goes on behind it.
    #[error("a frame of {} bytes is too large and was read past", .0.bytes)]
    Oversized(OversizedFrame),
    /// Not MessagePack, or not of the frame's shape.
    #[error("not a frame: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    /// A value that MessagePack cannot hold.
    #[error("a frame cannot be encoded: {0}")]
    Unencodable(#[from] rmp_serde::encode::Error),
}

/// A protocol that somebody speaks who has come to the wrong address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignProtocol {
    /// TLS, where only one side has it.
    Tls,
    /// HTTP, as on an admin address.
    Http,
}

impl CodecError {
    /// What the other side speaks instead: its first four bytes stand where a frame has its length.
    pub fn foreign_protocol(&self) -> Option<ForeignProtocol> {
        let Self::TooLarge(length, _) = self else { return None };
        match u32::try_from(*length).ok()?.to_be_bytes() {
            // A handshake, or an alert.
            [0x15 | 0x16, 3, ..] => Some(ForeignProtocol::Tls),
            first => [*b"GET ", *b"HEAD", *b"POST", *b"HTTP"].contains(&first).then_some(ForeignProtocol::Http),
        }
    }
}

/// A frame that was skipped because it is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OversizedFrame {
    /// Its length.
    pub bytes: usize,
    /// The call that it was about.
    pub call: Option<CallRef>,
}

/// The call that a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallRef {
    /// The call with this id.
    Call(u64),
    /// The reply to this id.
    Reply(u64),
}

impl OversizedFrame {
    /// Reads type and id of the frame that begins so.
    fn read(bytes: usize, mut head: &[u8]) -> Self {
        use rmp::decode::{read_array_len, read_int, read_map_len, read_str_from_slice};
        let mut call = || {
            read_array_len(&mut head).ok()?;
            let tag: u8 = read_int(&mut head).ok()?;
            read_map_len(&mut head).ok()?;
            let (name, mut rest) = read_str_from_slice(head).ok()?;
            let id: u64 = read_int(&mut rest).ok()?;
            match (name, tag) {
                ("id", tag::CALL) => Some(CallRef::Call(id)),
                ("id", tag::REPLY) => Some(CallRef::Reply(id)),
                _ => None,
            }
        };
        Self { bytes, call: call() }
    }
}

/// Appends a frame to a buffer. On an error nothing is appended.
pub fn encode(frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), CodecError> {
    encode_within(frame, out, u32::MAX as usize)
}

/// Appends a frame of at most `frame_bytes_max` bytes to a buffer. On an error nothing is appended.
pub fn encode_within(frame: &Frame<'_>, out: &mut Vec<u8>, frame_bytes_max: usize) -> Result<(), CodecError> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let encoded = frame.serialize(&mut rmp_serde::Serializer::new(&mut *out).with_struct_map());
    let length = out.len() - start - LENGTH_BYTES;
    match (encoded, u32::try_from(length)) {
        (Ok(()), Ok(length32)) if length <= frame_bytes_max => {
            out[start..start + LENGTH_BYTES].copy_from_slice(&length32.to_be_bytes());
            Ok(())
        }
        (Err(error), _) => {
            out.truncate(start);
            Err(error.into())
        }
        (Ok(()), _) => {
            out.truncate(start);
            Err(CodecError::TooLarge(length, frame_bytes_max))
        }
    }
}

/// Collects bytes from a stream and gives the frames in them.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    /// Bytes to be dropped before the next frame: of the one given last, or of one that is too large.
    given: usize,
    frame_bytes_max: usize,
}

impl FrameReader {
    /// A reader that skips frames longer than `frame_bytes_max`.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), given: 0, frame_bytes_max }
    }

    /// Changes the limit: it is small until the handshake is over.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Reads once; 0 at the end of the stream. Nothing is lost when this is cancelled.
    pub async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<usize> {
        self.drop_given();
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(READ_BYTES);
        stream.read_buf(&mut self.buffer).await
    }

    /// The next whole frame that was read, or `None` when more bytes are needed. [`CodecError::Oversized`] is about
    /// one frame: those behind it can be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CodecError> {
        self.drop_given();
        let Some(head) = self.buffer.first_chunk::<LENGTH_BYTES>().filter(|_| self.given == 0) else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > self.frame_bytes_max {
            if length > SKIPPED_BYTES_MAX {
                return Err(CodecError::TooLarge(length, self.frame_bytes_max));
            }
            let Some(head) = self.buffer.get(LENGTH_BYTES..LENGTH_BYTES + length.min(FRAME_HEAD_BYTES)) else {
                return Ok(None);
            };
            let oversized = OversizedFrame::read(length, head);
            self.given = LENGTH_BYTES + length;
            return Err(CodecError::Oversized(oversized));
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.given = LENGTH_BYTES + length;
        let body = &self.buffer[LENGTH_BYTES..LENGTH_BYTES + length];
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
        deserializer.set_max_depth(DEPTH_MAX);
        Ok(Some(Frame::deserialize(&mut deserializer)?))
    }

    fn drop_given(&mut self) {
        let here = self.given.min(self.buffer.len());
        self.buffer.advance(here);
        self.given -= here;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::rpc::{
        Call, CallDetails, CallKind, Client, Outcome, Pong, Reply, ResponseEvent, SessionChange, Transport, UserEvent,
    };
    use serde::Serialize;

    fn call(payload: &[u8]) -> Frame<'_> {
        let client =
            Client { id: "c", ip: "127.0.0.1", transport: Transport::Ws, headers: b"cookie: a=b\n", cookies: b"" };
        Frame::Call(Call {
            id: 7,
            budget_ms: 28_000,
            client,
            kind: CallKind::Call,
            cause: None,
            pushes: true,
            stream_ms: 0,
            wants_user: false,
            trace: None,
            payload,
        })
    }

    async fn read_all(bytes: &[u8], chunk: usize, max: usize) -> Result<Vec<String>, CodecError> {
        let mut reader = FrameReader::new(max);
        let mut seen = Vec::new();
        for part in bytes.chunks(chunk) {
            let mut part = part;
            while reader.fill(&mut part).await.unwrap() > 0 {}
            while let Some(frame) = reader.next_frame()? {
                seen.push(format!("{frame:?}"));
            }
        }
        Ok(seen)
    }

    #[tokio::test]
    async fn frames_survive_any_cut_of_the_stream() {
        let params = br#"[{"room_id":1}]"#;
        let reply = Frame::Reply(Reply {
            id: 7,
            outcome: Outcome::Ok,
            status: 200,
            data: br#"{"s":true}"#,
            event_count: 1,
            broadcasts: vec![ResponseEvent { index: 0, name: "message-sent", params }],
            user_events: vec![UserEvent { user: "7", name: "order-paid", params }],
            user: Some("7"),
            set_cookie: vec!["a=b".to_owned()],
            session: SessionChange::Same,
            component: None,
            load: 3,
            queue: Some(40),
            faulty: false,
            outdated: false,
            release: None,
            open: true,
            details: Some(CallDetails { request: "r-1", method: "send", run: 1_200, ..CallDetails::default() }),
        });
        let frames = [call(b"{}"), reply, Frame::Pong(Pong { load: 1, draining: true, ..Pong::default() })];
        let mut bytes = Vec::new();
        for frame in &frames {
            encode(frame, &mut bytes).unwrap();
        }
        let expected: Vec<String> = frames.iter().map(|frame| format!("{frame:?}")).collect();
        for chunk in [1, 2, 3, 7, 64, bytes.len()] {
            assert_eq!(read_all(&bytes, chunk, 10_000).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn a_newer_release_may_add_fields_and_frames() {
        #[derive(Serialize)]
        struct NewerPong {
            load: u32,
            mood: &'static str,
        }
        let mut bytes = Vec::new();
        let mut body = Vec::new();
        let frame = (7u8, NewerPong { load: 2, mood: "fine" }, "more");
        frame.serialize(&mut rmp_serde::Serializer::new(&mut body).with_struct_map()).unwrap();
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&body);
        encode(&Frame::Unknown(99), &mut bytes).unwrap();
        let seen = read_all(&bytes, 5, 1000).await.unwrap();
        assert_eq!(
            seen,
            [
                "Pong(Pong { load: 2, queue: None, draining: false, faulty: false, outdated: false, release: None, processes: None })",
                "Unknown(99)"
            ]
        );
    }

    #[tokio::test]
    async fn a_frame_that_is_too_large_is_read_past_and_names_its_call() {
        let big = vec![b'x'; 5000];
        let mut bytes = Vec::new();
        encode(&call(b"first"), &mut bytes).unwrap();
        encode(&call(&big), &mut bytes).unwrap();
        bytes.extend_from_slice(&3000_u32.to_be_bytes());
        bytes.extend_from_slice(&[0xff; 3000]);
        encode(&Frame::Pong(Pong { load: 9, ..Pong::default() }), &mut bytes).unwrap();
        for chunk in [1, 7, 40, 1000, bytes.len()] {
            let mut reader = FrameReader::new(1000);
            let mut seen = Vec::new();
            for part in bytes.chunks(chunk) {
                let mut part = part;
                while reader.fill(&mut part).await.unwrap() > 0 {}
                loop {
                    match reader.next_frame() {
                        Ok(Some(Frame::Call(call))) => seen.push(format!("call {}", call.id)),
                        Ok(Some(Frame::Pong(pong))) => seen.push(format!("pong {}", pong.load)),
                        Ok(Some(other)) => panic!("{other:?}"),
                        Ok(None) => break,
                        Err(CodecError::Oversized(oversized)) => seen.push(format!("past {:?}", oversized.call)),
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            assert_eq!(seen, ["call 7", "past Some(Call(7))", "past None", "pong 9"], "in chunks of {chunk}");
            assert!(reader.buffer.len() < 2000, "nothing of it is kept");
        }
    }

    #[tokio::test]
    async fn what_a_newer_release_adds_may_nest_but_not_without_end() {
        let framed = |depth: usize| {
            let body = [&[0x92, 99], vec![0x91; depth].as_slice(), &[0xc0]].concat();
            [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
        };
        assert_eq!(read_all(&framed(40), 1000, 10_000).await.unwrap(), ["Unknown(99)"]);
        for depth in [70, 2000, 9000] {
            assert!(matches!(read_all(&framed(depth), 1000, 10_000).await, Err(CodecError::Malformed(_))), "{depth}");
        }
    }

    #[test]
    fn other_protocols_are_told_by_their_first_bytes() {
        let told =
            |first: &[u8; 4]| CodecError::TooLarge(u32::from_be_bytes(*first) as usize, 16_384).foreign_protocol();
        assert_eq!(
            (told(&[0x16, 3, 1, 0]), told(&[0x15, 3, 3, 0])),
            (Some(ForeignProtocol::Tls), Some(ForeignProtocol::Tls))
        );
        assert_eq!((told(b"GET "), told(b"HTTP")), (Some(ForeignProtocol::Http), Some(ForeignProtocol::Http)));
        assert_eq!((told(b"SSH-"), told(&[0, 1, 0, 0])), (None, None));
    }

    #[test]
    fn a_frame_is_measured_before_it_is_sent() {
        let mut out = b"before".to_vec();
        let refused = encode_within(&call(&[b'x'; 500]), &mut out, 400);
        assert!(matches!(refused, Err(CodecError::TooLarge(500.., 400))));
        assert_eq!(out, b"before");
        assert!(encode_within(&call(&[b'x'; 500]), &mut out, 700).is_ok());
    }

    #[tokio::test]
    async fn what_is_no_frame_is_an_error_and_not_a_panic() {
        assert!(matches!(read_all(&[0x7f, 0, 4, 0], 4, 100).await, Err(CodecError::TooLarge(..))));
        for body in [&[0xc0][..], &[0x92, 2], &[0x92, 2, 0x80], &[0x90], &[0xdd, 0xff, 0xff, 0xff, 0xff]] {
            let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
            bytes.extend_from_slice(body);
            assert!(matches!(read_all(&bytes, 100, 100).await, Err(CodecError::Malformed(_))), "{body:?}");
        }
    }
}
