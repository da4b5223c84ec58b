//! Encodes server frames. A frame is built once, unmasked, and can be shared by any number of connections.

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload};

use super::Close;

/// The most bytes reserved for the head of a server frame. The longest head has two bytes and a 64-bit length.
const HEAD_MAX: usize = 16;
/// The longest payload of a control frame, in bytes.
pub(super) const CONTROL_MAX: usize = 125;

/// The opcodes of a frame's first byte (RFC 6455, section 5.2).
pub(super) const OPCODE_TEXT: u8 = 1;
pub(super) const OPCODE_CLOSE: u8 = 8;
pub(super) const OPCODE_PING: u8 = 9;
/// The first byte of a whole text message.
const TEXT: u8 = 0x80 | OPCODE_TEXT;
/// The bit of the first byte that says that the message is compressed (RFC 7692, section 6).
pub(super) const COMPRESSED: u8 = 0x40;

fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(HEAD_MAX + payload.len());
    let mut head = [0; HEAD_MAX];
    let length = Frame::new(true, opcode, None, Payload::Borrowed(payload)).fmt_head(&mut head);
    out.extend_from_slice(&head[..length]);
    out.extend_from_slice(payload);
    Bytes::from(out)
}

/// Builds a text message.
pub fn text(message: &str) -> Bytes {
    frame(OpCode::Text, message.as_bytes())
}

/// Builds a binary message.
pub fn binary(message: &[u8]) -> Bytes {
    frame(OpCode::Binary, message)
}

/// Builds a ping without payload.
pub fn ping() -> Bytes {
    Bytes::from_static(&[0x89, 0])
}

/// Builds the answer to a ping.
pub fn pong(payload: &[u8]) -> Bytes {
    frame(OpCode::Pong, payload)
}

/// Builds a close frame. The reason is truncated to the limit of a control frame.
pub fn close(close: &Close) -> Bytes {
    let mut reason = &*close.reason;
    while reason.len() > CONTROL_MAX - 2 {
        let mut end = CONTROL_MAX - 2;
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason = &reason[..end];
    }
    let mut payload = close.code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    frame(OpCode::Close, &payload)
}

/// Builds a close frame without a code, which answers one without a code.
pub fn close_empty() -> Bytes {
    Bytes::from_static(&[0x88, 0])
}

/// Builds a text message from parts, without joining them first.
pub fn text_from_parts(parts: &[&[u8]]) -> Bytes {
    from_parts(TEXT, parts)
}

/// Builds a text message whose payload is compressed.
pub(super) fn compressed_text(payload: &[u8]) -> Bytes {
    from_parts(TEXT | COMPRESSED, &[payload])
}

/// Returns the opcode and the payload of a server frame, which is whole and not masked.
pub(super) fn parse(frame: &[u8]) -> (u8, &[u8]) {
    let [first, second, ..] = *frame else { return (0, &[]) };
    let head = match second {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    (first & 0x0f, frame.get(head..).unwrap_or_default())
}

fn from_parts(first: u8, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let head = if length <= CONTROL_MAX {
        2
    } else if u16::try_from(length).is_ok() {
        4
    } else {
        10
    };
    // Exactly as large as the frame, so that it becomes shared bytes as it is.
    let mut out = Vec::with_capacity(head + length);
    // The head of a server frame depends only on the length (RFC 6455, section 5.2).
    out.push(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short <= 125 => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_build_the_same_frame_as_the_whole() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let whole = "x".repeat(length);
            let (a, b) = whole.split_at(length / 3);
            assert_eq!(text(&whole), text_from_parts(&[a.as_bytes(), b.as_bytes()]), "{length}");
        }
    }

    #[test]
    fn a_long_reason_is_truncated_between_characters() {
        let frame = close(&Close { code: 1000, reason: "é".repeat(100).into() });
        assert!(frame.len() <= 2 + CONTROL_MAX);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
