//! How messages travel to a client.

use std::fmt::{self, Display};

use bytes::Bytes;
use diffyne_shared::bus::Position;

use crate::socket::{Deflate, event_stream};

/// How messages travel to a client. Everything else about a connection is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientTransport {
    /// A WebSocket, with the terms of its compression if it has any. The client sends messages, too.
    WebSocket(Option<Deflate>),
    /// Server-sent events, in a response that has no end. The client has said with its request what it wants to hear.
    Events,
    /// Server-sent events, in a response that ends with the first news, or after so many seconds.
    Poll(u8),
}

/// A place in the history, as the id of a server-sent event.
struct PlaceId<'a>(&'a Position);

impl Display for PlaceId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.epoch, self.0.offset)
    }
}

/// Reads the id of a server-sent event. A text that is none names a past that no gateway knows.
pub fn read_place_id(id: &str) -> Position {
    let place = id.rsplit_once(':').and_then(|(epoch, offset)| Some((epoch, offset.parse().ok()?)));
    let (epoch, offset) = place.unwrap_or((id, 0));
    Position { epoch: epoch.into(), offset }
}

impl ClientTransport {
    /// All labels in metrics.
    pub const LABELS: [&'static str; 3] = ["websocket", "sse", "poll"];

    /// Returns the label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::WebSocket(_) => Self::LABELS[0],
            Self::Events => Self::LABELS[1],
            Self::Poll(_) => Self::LABELS[2],
        }
    }

    /// Whether the client only hears.
    pub fn is_one_way(self) -> bool {
        !matches!(self, Self::WebSocket(_))
    }

    /// Returns the terms on which messages are compressed.
    pub fn deflate(self) -> Option<Deflate> {
        if let Self::WebSocket(deflate) = self { deflate } else { None }
    }

    /// Encodes a frame, without compression. `place` is where in the history a client is that has got it.
    pub fn encode(self, frame: Bytes, place: Option<&Position>) -> Bytes {
        if !self.is_one_way() {
            return frame;
        }
        let id = place.map(PlaceId);
        event_stream::block(&frame, id.as_ref().map(|id| id as &dyn Display))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_comes_back_with_the_id_that_it_was_given() {
        let position = Position { epoch: "a:b".into(), offset: 12 };
        assert_eq!(read_place_id(&PlaceId(&position).to_string()), position);
        for wrong in ["", "x", ":", "a:-1", "a:99999999999999999999"] {
            assert_eq!(read_place_id(wrong), Position { epoch: wrong.into(), offset: 0 });
        }
    }
}
