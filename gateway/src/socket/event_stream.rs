//! Server-sent events: what a frame says to a client that hears by an HTTP response.
//!
//! A frame is built for WebSockets. Here it becomes the block with the same text, and with the id by which a client that
//! comes back says where it was.

use std::fmt::Display;

use bytes::Bytes;

use super::frame::{OPCODE_CLOSE, OPCODE_PING, OPCODE_TEXT, parse};

/// The bytes that a block has beside its text and its id.
const BLOCK_BYTES: usize = 32;

/// Builds the block of a server frame. A ping becomes a comment, a close frame a comment with its code and reason.
/// Frames that have no meaning here become nothing.
pub fn block(frame: &[u8], id: Option<&dyn Display>) -> Bytes {
    let (opcode, payload) = parse(frame);
    let mut out = Vec::with_capacity(payload.len() + BLOCK_BYTES + id.map_or(0, |_| BLOCK_BYTES));
    match opcode {
        OPCODE_TEXT => {
            add_id(&mut out, id);
            add_data(&mut out, payload);
        }
        OPCODE_PING => {
            out.extend_from_slice(b":\n");
            add_id(&mut out, id);
        }
        OPCODE_CLOSE if payload.len() > 2 => {
            let code = u16::from_be_bytes([payload[0], payload[1]]);
            out.extend_from_slice(format!(": closed, {code} ").as_bytes());
            out.extend_from_slice(&payload[2..]);
            out.push(b'\n');
        }
        _ => return Bytes::new(),
    }
    out.push(b'\n');
    out.into()
}

fn add_id(out: &mut Vec<u8>, id: Option<&dyn Display>) {
    if let Some(id) = id {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
}

/// Adds a text. A client joins its lines again; JSON has line breaks only where any white space would do.
fn add_data(out: &mut Vec<u8>, text: &[u8]) {
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Close, frame};
    use super::*;

    fn said(frame: &Bytes, id: Option<&dyn Display>) -> String {
        String::from_utf8(block(frame, id).to_vec()).unwrap()
    }

    #[test]
    fn a_frame_becomes_a_block_with_the_same_text() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(length);
            assert_eq!(said(&frame::text(&text), Some(&"e:7")), format!("id: e:7\ndata: {text}\n\n"), "{length}");
        }
        assert_eq!(said(&frame::text("{\n\"a\":\r\n1}"), None), "data: {\ndata: \"a\":\ndata: \ndata: 1}\n\n");
        assert_eq!(said(&frame::ping(), None), ":\n\n");
        assert_eq!(said(&frame::ping(), Some(&"e:8")), ":\nid: e:8\n\n");
        assert_eq!(said(&frame::close(&Close::GOING_AWAY), None), ": closed, 1001 Server is going away\n\n");
        assert_eq!(said(&frame::pong(b"x"), None) + &said(&frame::close_empty(), None), "");
    }
}
