//! The body of a bridge's response: first a line with each part of the answer, while the call runs, and then the reply.

use serde::Deserialize;

use super::transport::RESPONSE_BYTES_MAX;
use crate::call::Parts;
use crate::call::parts::{CONTENT_BYTES_MAX, Part, PartError};

/// How a line with a part begins.
const BEGIN: &[u8] = br#"{"part":"#;
/// The longest line with a part: JSON may write a byte as six.
const LINE_BYTES_MAX: usize = 6 * CONTENT_BYTES_MAX + 8 * 1024;

/// A line with a part.
#[derive(Deserialize)]
struct Line {
    part: Part,
}

/// Reads a body as it comes, and passes on the parts.
pub(super) struct PartLines<'a> {
    parts: &'a Parts,
    bytes: Vec<u8>,
    /// The reply has begun.
    is_reply: bool,
}

impl<'a> PartLines<'a> {
    pub(super) fn new(parts: &'a Parts) -> Self {
        Self { parts, bytes: Vec::new(), is_reply: !parts.are_taken() }
    }

    /// Takes the next bytes of the body. While it waits for the client to read, the caller reads nothing of the
    /// application, which then waits, too. An error ends the request.
    pub(super) async fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.bytes.len() + bytes.len() > RESPONSE_BYTES_MAX {
            return Err("its answer is over the limit".to_owned());
        }
        self.bytes.extend_from_slice(bytes);
        while !self.is_reply {
            if !self.bytes.starts_with(BEGIN) {
                self.is_reply = !BEGIN.starts_with(&self.bytes);
                break;
            }
            let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
                if self.bytes.len() > LINE_BYTES_MAX {
                    return Err("a part of its answer is over the limit".to_owned());
                }
                break;
            };
            let line: Line = serde_json::from_slice(&self.bytes[..end]).map_err(|error| error.to_string())?;
            self.bytes.drain(..=end);
            match self.parts.send(&line.part).await {
                Ok(()) => {}
                Err(PartError::Invalid(why)) => tracing::warn!(why, "a part of an answer is left out"),
                // PHP notices that nobody reads, as with any browser that leaves.
                Err(error @ PartError::ClientLeft) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// The reply, after the end of the body.
    pub(super) fn into_reply(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn parts_are_taken_off_a_body_however_it_is_cut() {
        let body = "{\"part\":{\"to\":\"a\",\"content\":\"1\\n\"}}\n{\"part\":{\"to\":\"a\",\"content\":\"2\",\"replace\":true}}\n\
                    {\"outcome\":\"ok\"}\n{\"part\":{}}\n";
        for size in [1, 3, 40, body.len()] {
            let (sink, mut sent) = mpsc::unbounded_channel();
            let parts = Parts::new(1, sink, Duration::from_secs(1), Duration::from_secs(9));
            let mut lines = PartLines::new(&parts);
            for bytes in body.as_bytes().chunks(size) {
                lines.push(bytes).await.unwrap();
            }
            assert_eq!(
                String::from_utf8(lines.into_reply()).unwrap(),
                "{\"outcome\":\"ok\"}\n{\"part\":{}}\n",
                "{size}"
            );
            assert_eq!(sent.try_recv().unwrap().1, br#"{"to":"a","content":"1\n"}"#);
            assert_eq!(sent.try_recv().unwrap().1, br#"{"to":"a","content":"2","replace":true}"#);
        }
    }

    #[tokio::test]
    async fn a_body_without_parts_is_the_reply_and_what_is_no_part_is_refused() {
        let none = Parts::default();
        let mut lines = PartLines::new(&none);
        lines.push(b"{\"part\":1}\n").await.unwrap();
        assert_eq!(lines.into_reply(), b"{\"part\":1}\n");
        let (sink, _sent) = mpsc::unbounded_channel();
        let parts = Parts::new(1, sink, Duration::from_secs(1), Duration::from_secs(9));
        PartLines::new(&parts).push(b"{\"part\":1}\n").await.unwrap_err();
        let endless = [BEGIN, "x".repeat(LINE_BYTES_MAX + 1).as_bytes()].concat();
        PartLines::new(&parts).push(&endless).await.unwrap_err();
        parts.cancel();
        PartLines::new(&parts).push(b"{\"part\":{\"to\":\"a\",\"content\":\"1\"}}\n").await.unwrap_err();
    }
}
