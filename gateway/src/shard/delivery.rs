//! A broadcast on its way to the connections of this process: one frame for all of them, and the rules for its
//! audience.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use diffyne_shared::bus::{DISCONNECT_EVENT, Position};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::socket::{Deflate, deflate};

/// The filter of a subscription: `None` matches every event; otherwise these fields of the first parameter have to be
/// equal.
pub type Filter = Option<Map<String, Value>>;

/// Orders subscriptions and local deliveries across shards.
///
/// A broadcast that was delivered while Redis was away is not delivered again to the same clients.
#[derive(Debug, Default, Clone)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Returns the next moment. No two are equal.
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The subscriptions that a delivery is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// All subscriptions.
    All,
    /// Subscriptions that began before this moment.
    Before(u64),
    /// Subscriptions that began after this moment; the others already got the broadcast.
    After(u64),
}

/// A broadcast that is ready to be delivered.
#[derive(Debug)]
pub struct Delivery {
    /// The event's name.
    pub name: String,
    /// The complete WebSocket frame.
    pub frame: Bytes,
    /// The compressed frame.
    pub compressed: CompressedFrame,
    /// The event's first parameter, which filters compare.
    pub first: FirstParam,
    /// The id of the client that does not get the broadcast, because the response to its call already carried the
    /// event.
    pub except: Option<String>,
    /// The only user who gets it; `None`: everybody.
    pub user: Option<String>,
    /// The subscriptions that get the broadcast.
    pub audience: Audience,
    /// The broadcast's position in the history, if it has one.
    pub position: Option<Position>,
}

impl Delivery {
    /// Whether it disconnects its user, and nobody hears of it.
    pub fn is_disconnection(&self) -> bool {
        self.user.is_some() && self.name == DISCONNECT_EVENT
    }

    /// Whether it disconnects its user now: it has not done so already, while Redis was away.
    pub fn disconnects(&self) -> bool {
        self.is_disconnection() && !matches!(self.audience, Audience::After(_))
    }

    /// Returns the frame for a client with these terms of compression. It is compressed once, by the first thread that needs
    /// it.
    pub fn frame_for(&self, deflate: Option<Deflate>) -> &Bytes {
        self.compressed.of(&self.frame, deflate)
    }

    /// Returns the frame for a client that comes back: compressed only if that has been done already.
    pub fn known_frame_for(&self, deflate: Option<Deflate>) -> &Bytes {
        let is_known = self.compressed.0.get().is_some();
        self.frame_for(deflate.filter(|_| is_known))
    }

    /// Returns the bytes of the frame, and of its compressed copy if there is one.
    pub fn held_bytes(&self) -> usize {
        self.frame.len() + self.compressed.0.get().and_then(Option::as_ref).map_or(0, Bytes::len)
    }

    /// Returns the event's first parameter, if it has one.
    pub fn first(&self) -> Option<&Value> {
        self.first.read.get_or_init(|| first_param(self.frame.get(self.first.params.clone())?)).as_ref()
    }
}

/// The frame as clients get it that compress; made when the first of them needs it. It is nothing if it would not be
/// smaller.
#[derive(Debug, Default)]
pub struct CompressedFrame(OnceLock<Option<Bytes>>);

impl CompressedFrame {
    fn of<'a>(&'a self, frame: &'a Bytes, deflate: Option<Deflate>) -> &'a Bytes {
        match deflate {
            Some(terms) if terms.allows(frame.len()) => {
                self.0.get_or_init(|| deflate::compress(frame)).as_ref().unwrap_or(frame)
            }
            _ => frame,
        }
    }
}

/// A message for several connections that is no broadcast.
#[derive(Debug)]
pub struct SharedFrame {
    frame: Bytes,
    compressed: CompressedFrame,
}

impl SharedFrame {
    /// Shares a WebSocket frame.
    pub fn new(frame: Bytes) -> Self {
        Self { frame, compressed: CompressedFrame::default() }
    }

    /// Returns the bytes of the frame.
    pub fn len(&self) -> usize {
        self.frame.len()
    }

    /// Returns the frame as it is.
    pub fn plain(&self) -> &Bytes {
        &self.frame
    }

    /// Returns the frame for a client with these terms of compression.
    pub fn frame_for(&self, deflate: Option<Deflate>) -> &Bytes {
        self.compressed.of(&self.frame, deflate)
    }
}

/// An event's first parameter. It is read from the frame when a filter is compared with it.
#[derive(Debug)]
pub struct FirstParam {
    /// Where the frame has the parameters.
    params: Range<usize>,
    read: OnceLock<Option<Value>>,
}

impl FirstParam {
    /// The first of the parameters that are at this place in the frame.
    pub fn within(params: Range<usize>) -> Self {
        Self { params, read: OnceLock::new() }
    }
}

impl From<Option<Value>> for FirstParam {
    fn from(first: Option<Value>) -> Self {
        Self { params: 0..0, read: OnceLock::from(first) }
    }
}

fn first_param(params: &[u8]) -> Option<Value> {
    let params: Vec<&RawValue> = serde_json::from_slice(params).ok()?;
    serde_json::from_str(params.first()?.get()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

    use super::*;
    use crate::socket::{extensions, frame};

    fn delivery(text: &str, audience: Audience) -> Delivery {
        Delivery {
            name: DISCONNECT_EVENT.to_owned(),
            frame: frame::text(text),
            compressed: CompressedFrame::default(),
            first: None.into(),
            except: None,
            user: Some("ada".to_owned()),
            audience,
            position: None,
        }
    }

    fn terms(offer: &'static str) -> Deflate {
        let headers = HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer))]);
        extensions::negotiate(&headers).unwrap().unwrap().0
    }

    #[test]
    fn a_user_is_disconnected_once_also_where_the_event_comes_again_through_redis() {
        for (audience, disconnects) in [(Audience::All, true), (Audience::Before(7), true), (Audience::After(7), false)]
        {
            let delivery = delivery("{}", audience);
            assert_eq!((delivery.is_disconnection(), delivery.disconnects()), (true, disconnects), "{audience:?}");
        }
        let others = [
            Delivery { user: None, ..delivery("{}", Audience::All) },
            Delivery { name: "order-paid".to_owned(), ..delivery("{}", Audience::All) },
        ];
        assert!(others.iter().all(|delivery| !delivery.is_disconnection() && !delivery.disconnects()));
    }

    #[test]
    fn a_broadcast_is_compressed_once_for_all_that_take_it() {
        let delivery = delivery(&"row, ".repeat(1000), Audience::All);
        let whole = delivery.held_bytes();
        let wide = Some(terms("permessage-deflate"));
        let narrow = Some(terms("permessage-deflate; server_max_window_bits=10"));
        assert!(delivery.known_frame_for(wide).as_ptr() == delivery.frame.as_ptr(), "nobody has needed it yet");
        let first = delivery.frame_for(wide);
        assert!(first.len() < delivery.frame.len() / 10);
        for again in [delivery.frame_for(wide), delivery.known_frame_for(wide)] {
            assert_eq!(again.as_ptr(), first.as_ptr());
        }
        for plain in [delivery.frame_for(None), delivery.frame_for(narrow)] {
            assert_eq!(plain.as_ptr(), delivery.frame.as_ptr());
        }
        assert_eq!(delivery.held_bytes(), whole + first.len());
    }
}
