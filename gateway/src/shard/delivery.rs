//! A broadcast on its way to the connections of this process: one frame for all of them, and who gets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use diffyne_shared::bus::Position;
use serde_json::{Map, Value};

/// What a subscription wants of an event: everything, or only where these fields of the first parameter are equal.
pub type Filter = Option<Map<String, Value>>;

/// Orders subscriptions and local deliveries across shards.
///
/// A broadcast that was delivered while Redis was away is not delivered again to those who got it then.
#[derive(Debug, Default, Clone)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// The next moment; no two are equal.
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Which subscriptions a delivery is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// All of them.
    All,
    /// Those that began before a moment.
    Before(u64),
    /// Those that began after a moment: the others have it already.
    After(u64),
}

/// A broadcast, ready to be delivered.
#[derive(Debug)]
pub struct Delivery {
    /// Event name.
    pub name: String,
    /// The whole WebSocket frame.
    pub frame: Bytes,
    /// The first parameter, which filters compare.
    pub first: Option<Value>,
    /// Id of the client that does not get it: the response to its call carried the event already.
    pub except: Option<String>,
    /// Who gets it.
    pub audience: Audience,
    /// Its position in the history, if it has one.
    pub position: Option<Position>,
}
