//! Decodes bytes to messages (RFC 6455), without I/O.
//!
//! An unfragmented message that is completely in the read buffer is unmasked in place and borrowed: no copy, no
//! allocation. Only incomplete data is kept, in a buffer that is freed with its message. The length that a frame
//! declares reserves no memory. UTF-8 is checked as it arrives; of a compressed message once it is complete.

use std::borrow::Cow;

use super::close::{Close, is_allowed};
use super::deflate;
use super::frame::{COMPRESSED, CONTROL_MAX};
use super::partial::Partial;

const HEAD_MAX: usize = 14;

/// The limits of incoming messages.
#[derive(Debug, Clone, Copy)]
pub struct DecoderLimits {
    /// The largest accepted message, assembled, in bytes.
    pub message_bytes_max: usize,
    /// Whether binary messages are accepted.
    pub binary: bool,
    /// Whether messages may be compressed.
    pub inflates: bool,
}

/// A decoded event.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A complete text message.
    Text(Cow<'a, str>),
    /// A complete binary message.
    Binary(Cow<'a, [u8]>),
    /// A ping, to be answered with the same payload.
    Ping(Cow<'a, [u8]>),
    /// Any pong.
    Pong,
    /// A close frame, with the peer's code if it gave one.
    Close(Option<u16>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
    Ping,
    Pong,
    Close,
}

impl Kind {
    fn is_control(self) -> bool {
        matches!(self, Self::Ping | Self::Pong | Self::Close)
    }
}

/// The frame whose payload is being read.
#[derive(Debug, Clone, Copy)]
struct FrameState {
    kind: Kind,
    /// The frame belongs to a compressed message.
    compressed: bool,
    fin: bool,
    remaining: usize,
    mask: [u8; 4],
    /// Bytes of this frame that have been unmasked, modulo 4.
    phase: usize,
}

/// Decodes one connection's frames.
#[derive(Debug)]
pub struct Decoder {
    limits: DecoderLimits,
    head: [u8; HEAD_MAX],
    head_length: u8,
    frame: Option<FrameState>,
    /// The kind of the fragmented message that has begun.
    message: Option<Kind>,
    /// That message is compressed.
    compressed: bool,
    partial: Partial,
    control: Vec<u8>,
    /// The number of frames that began since the last `take_frames`.
    frames: u32,
    /// The bytes of messages that were compressed, since the last `take_inflated`.
    inflated: usize,
}

impl Decoder {
    /// Creates a decoder for a new connection.
    pub fn new(limits: DecoderLimits) -> Self {
        Self {
            limits,
            head: [0; HEAD_MAX],
            head_length: 0,
            frame: None,
            message: None,
            compressed: false,
            partial: Partial::default(),
            control: Vec::new(),
            frames: 0,
            inflated: 0,
        }
    }

    /// Returns the bytes of messages that were inflated since the last call.
    pub fn take_inflated(&mut self) -> usize {
        std::mem::take(&mut self.inflated)
    }

    /// Returns the number of frames, of every kind, that began since the last call.
    pub fn take_frames(&mut self) -> u32 {
        std::mem::take(&mut self.frames)
    }

    /// Whether nothing is left of what was decoded, so that a new decoder would do as well.
    pub fn is_unused(&self) -> bool {
        !self.is_mid_message() && self.frames == 0 && self.held() == 0
    }

    /// Returns the memory of the unfinished message, in bytes.
    pub fn held(&self) -> usize {
        self.partial.bytes.capacity() + self.control.capacity()
    }

    /// Returns the next event in `input` from `*used` on, or `None` if more bytes are needed. An error ends the
    /// connection with its close code.
    pub fn next<'a>(&mut self, input: &'a mut [u8], used: &mut usize) -> Result<Option<Event<'a>>, Close> {
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.read_head(input, used)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let available = frame.remaining.min(input.len() - *used);
            let range = *used..*used + available;
            *used = range.end;
            unmask(&mut input[range.clone()], frame.mask, frame.phase);
            let whole = available == frame.remaining;
            if whole {
                self.frame = None;
            } else {
                let phase = (frame.phase + available) % 4;
                self.frame = Some(FrameState { remaining: frame.remaining - available, phase, ..frame });
            }

            if frame.kind.is_control() {
                if !whole {
                    self.control.extend_from_slice(&input[range]);
                    return Ok(None);
                }
                let payload = if self.control.is_empty() {
                    Cow::Borrowed(&input[range])
                } else {
                    let mut start = std::mem::take(&mut self.control);
                    start.extend_from_slice(&input[range]);
                    Cow::Owned(start)
                };
                return control_event(frame.kind, payload).map(Some);
            }

            if whole && frame.fin && self.message.is_none() && self.partial.bytes.is_empty() {
                let payload = &input[range];
                if frame.compressed {
                    return self.inflate(payload, frame.kind).map(Some);
                }
                return match frame.kind {
                    Kind::Text => match std::str::from_utf8(payload) {
                        Ok(text) => Ok(Some(Event::Text(Cow::Borrowed(text)))),
                        Err(_) => Err(Close::BAD_UTF8),
                    },
                    _ => Ok(Some(Event::Binary(Cow::Borrowed(payload)))),
                };
            }

            let checks_utf8 = frame.kind == Kind::Text && !frame.compressed;
            self.partial.append(&input[range], checks_utf8, self.limits.message_bytes_max)?;
            if !whole {
                return Ok(None);
            }
            if frame.fin {
                self.message = None;
                let complete = std::mem::take(&mut self.partial);
                if frame.compressed {
                    return self.inflate(&complete.bytes, frame.kind).map(Some);
                }
                return into_event(complete.bytes, frame.kind).map(Some);
            }
            self.message = Some(frame.kind);
            self.compressed = frame.compressed;
        }
    }

    fn inflate<'a>(&mut self, payload: &[u8], kind: Kind) -> Result<Event<'a>, Close> {
        let bytes = deflate::inflate(payload, self.limits.message_bytes_max)?;
        self.inflated = self.inflated.saturating_add(bytes.len());
        into_event(bytes, kind)
    }

    /// Whether the peer is in the middle of a message.
    pub fn is_mid_message(&self) -> bool {
        self.head_length > 0 || self.frame.is_some() || self.message.is_some()
    }

    fn read_head(&mut self, input: &[u8], used: &mut usize) -> Result<Option<FrameState>, Close> {
        let rest = &input[*used..];
        if self.head_length == 0 {
            // Usually the head has arrived completely.
            if let Some(length) = head_length(rest).filter(|length| rest.len() >= *length) {
                *used += length;
                let frame = self.parse_head(&rest[..length])?;
                self.frames = self.frames.saturating_add(1);
                self.frame = Some(frame);
                return Ok(Some(frame));
            }
        }
        for byte in rest {
            let at = usize::from(self.head_length);
            self.head[at] = *byte;
            self.head_length += 1;
            *used += 1;
            if head_length(&self.head[..=at]) == Some(at + 1) {
                self.head_length = 0;
                let head = self.head;
                let frame = self.parse_head(&head[..=at])?;
                self.frames = self.frames.saturating_add(1);
                self.frame = Some(frame);
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    fn parse_head(&self, head: &[u8]) -> Result<FrameState, Close> {
        let fin = head[0] & 0x80 != 0;
        let compressed = self.limits.inflates && matches!(head[0] & 0x0f, 1 | 2) && head[0] & COMPRESSED != 0;
        if head[0] & 0x70 != if compressed { COMPRESSED } else { 0 } {
            return Err(Close::protocol("Reserved bits are set"));
        }
        if head[1] & 0x80 == 0 {
            return Err(Close::protocol("Client frames must be masked"));
        }
        let short = usize::from(head[1] & 0x7f);
        let length = match short {
            126 => usize::from(u16::from_be_bytes([head[2], head[3]])),
            127 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&head[2..10]);
                let length = u64::from_be_bytes(bytes);
                if length >> 63 != 0 {
                    return Err(Close::protocol("Frame length out of range"));
                }
                usize::try_from(length).map_err(|_| Close::TOO_BIG)?
            }
            short => short,
        };
        let kind = match head[0] & 0x0f {
            0 => self.message.ok_or(Close::protocol("Continuation without a message"))?,
            1 | 2 if self.message.is_some() => return Err(Close::protocol("A message is not finished")),
            1 => Kind::Text,
            2 if self.limits.binary => Kind::Binary,
            2 => return Err(Close::BINARY),
            8 => Kind::Close,
            9 => Kind::Ping,
            10 => Kind::Pong,
            _ => return Err(Close::protocol("Unknown opcode")),
        };
        if kind.is_control() {
            if !fin {
                return Err(Close::protocol("Control frames cannot be fragmented"));
            }
            if short > CONTROL_MAX {
                return Err(Close::protocol("Control frame too long"));
            }
        } else if length > self.limits.message_bytes_max.saturating_sub(self.partial.bytes.len()) {
            return Err(Close::TOO_BIG);
        }
        let mask = head.last_chunk::<4>().copied().unwrap_or_default();
        let compressed = compressed || self.message == Some(kind) && self.compressed;
        Ok(FrameState { kind, compressed, fin, remaining: length, mask, phase: 0 })
    }
}

/// Returns the length of a head from its start, or `None` with fewer than two bytes.
fn head_length(start: &[u8]) -> Option<usize> {
    let second = *start.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    Some(match second & 0x7f {
        // A head that will be refused anyway needs no further bytes.
        126 => 4 + mask,
        127 => 10 + mask,
        _ => 2 + mask,
    })
}

fn unmask(payload: &mut [u8], mut mask: [u8; 4], phase: usize) {
    mask.rotate_left(phase);
    fastwebsockets::unmask(payload, mask);
}

fn control_event(kind: Kind, payload: Cow<'_, [u8]>) -> Result<Event<'_>, Close> {
    match kind {
        Kind::Ping => Ok(Event::Ping(payload)),
        Kind::Close => close_event(&payload).map(Event::Close),
        _ => Ok(Event::Pong),
    }
}

fn close_event(payload: &[u8]) -> Result<Option<u16>, Close> {
    match payload {
        [] => Ok(None),
        [_] => Err(Close::protocol("Close frame of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !is_allowed(code) {
                return Err(Close::protocol("Close code not allowed"));
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(Close::BAD_UTF8);
            }
            Ok(Some(code))
        }
    }
}

fn into_event<'a>(bytes: Vec<u8>, kind: Kind) -> Result<Event<'a>, Close> {
    if kind == Kind::Text {
        String::from_utf8(bytes).map(|text| Event::Text(Cow::Owned(text))).map_err(|_| Close::BAD_UTF8)
    } else {
        Ok(Event::Binary(Cow::Owned(bytes)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIMITS: DecoderLimits = DecoderLimits { message_bytes_max: 1000, binary: false, inflates: false };

    /// Builds a masked client frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = vec![first];
        match payload.len() {
            short @ 0..=125 => out.push(0x80 | short as u8),
            medium @ 126..=65_535 => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(medium as u16).to_be_bytes());
            }
            long => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&mask);
        out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
        out
    }

    /// Feeds bytes in chunks. Returns the events, and the close code if decoding failed.
    fn run(limits: DecoderLimits, bytes: &[u8], chunk: usize) -> (Vec<String>, Option<u16>) {
        let mut decoder = Decoder::new(limits);
        let mut seen = Vec::new();
        for part in bytes.chunks(chunk) {
            let (mut part, mut used) = (part.to_vec(), 0);
            loop {
                match decoder.next(&mut part, &mut used) {
                    Ok(Some(event)) => seen.push(format!("{event:?}")),
                    Ok(None) => break,
                    Err(close) => return (seen, Some(close.code)),
                }
            }
            assert_eq!(used, part.len());
        }
        (seen, None)
    }

    fn join(frames: &[Vec<u8>]) -> Vec<u8> {
        frames.concat()
    }

    #[test]
    fn messages_survive_any_cut_of_the_stream() {
        let bytes = join(&[
            frame(0x81, b"hello"),
            frame(0x01, "gr".as_bytes()),
            frame(0x89, b"ping"),
            frame(0x00, &"ü".as_bytes()[..1]),
            frame(0x80, &"ü".as_bytes()[1..]),
            frame(0x8a, b""),
            frame(0x81, &[b'x'; 300]),
            frame(0x81, b""),
            frame(0x88, &[3, 232]),
        ]);
        let whole = run(LIMITS, &bytes, bytes.len());
        assert_eq!(whole.1, None);
        assert_eq!(whole.0[0], r#"Text("hello")"#);
        assert_eq!(whole.0[2], r#"Text("grü")"#);
        assert_eq!(whole.0.last().unwrap(), "Close(Some(1000))");
        for chunk in 1..40 {
            assert_eq!(run(LIMITS, &bytes, chunk), whole, "chunk {chunk}");
        }
    }

    #[test]
    fn protocol_errors_have_their_close_codes() {
        let unmasked = vec![0x81, 2, b'h', b'i'];
        let faults = [
            (unmasked, 1002),
            (frame(0xc1, b"x"), 1002),
            (frame(0x83, b"x"), 1002),
            (frame(0x80, b"x"), 1002),
            (frame(0x09, b"x"), 1002),
            (frame(0x89, &[0; 126]), 1002),
            (join(&[frame(0x01, b"x"), frame(0x81, b"y")]), 1002),
            (frame(0x88, &[3]), 1002),
            (frame(0x88, &[3, 237]), 1002),
            (frame(0x88, &[3, 232, 0xff]), 1007),
            (frame(0x82, b"x"), 1003),
            (frame(0x81, &[0xff]), 1007),
            (frame(0x81, &"ü".as_bytes()[..1]), 1007),
            (frame(0x81, &[b'x'; 1001]), 1009),
            (join(&[frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 401])]), 1009),
        ];
        for (bytes, code) in faults {
            for chunk in [1, 3, bytes.len()] {
                assert_eq!(run(LIMITS, &bytes, chunk).1, Some(code), "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_message_of_exactly_the_limit_is_accepted() {
        let at_once = frame(0x81, &[b'x'; 1000]);
        let in_parts = join(&[frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 400])]);
        for bytes in [at_once, in_parts] {
            let (seen, end) = run(LIMITS, &bytes, 7);
            assert_eq!((seen.len(), end), (1, None));
        }
    }

    #[test]
    fn an_excessive_length_is_refused_before_the_payload_and_reserves_nothing() {
        let mut head = vec![0x81, 0x80 | 127];
        head.extend_from_slice(&(60u64 << 20).to_be_bytes());
        head.extend_from_slice(&[0; 4]);
        assert_eq!(run(LIMITS, &head, 1).1, Some(1009));
        let mut decoder = Decoder::new(DecoderLimits { message_bytes_max: 64 << 20, ..LIMITS });
        let mut used = 0;
        assert_eq!(decoder.next(&mut head, &mut used), Ok(None));
        assert!(decoder.partial.bytes.capacity() <= 1024);
    }

    #[test]
    fn invalid_utf8_is_detected_before_the_frame_ends() {
        let mut bytes = frame(0x81, &[b'x'; 900]);
        bytes[8 + 10] ^= 0xf0;
        let cut = 8 + 20;
        assert_eq!(run(LIMITS, &bytes[..cut], cut).1, Some(1007));
    }

    #[test]
    fn memory_is_released_after_a_large_message() {
        let mut decoder = Decoder::new(LIMITS);
        let bytes = frame(0x81, &[b'x'; 1000]);
        for part in bytes.chunks(100) {
            let (mut part, mut used) = (part.to_vec(), 0);
            while decoder.next(&mut part, &mut used).unwrap().is_some() {}
        }
        assert_eq!(decoder.partial.bytes.capacity(), 0);
        assert!(!decoder.is_mid_message());
    }

    #[test]
    fn binary_messages_are_accepted_if_allowed() {
        let limits = DecoderLimits { binary: true, ..LIMITS };
        assert_eq!(run(limits, &frame(0x82, &[0xff]), 100).0, ["Binary([255])"]);
    }
}
