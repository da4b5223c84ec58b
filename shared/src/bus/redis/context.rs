//! What all tasks of the bus need.

use std::sync::Arc;

use super::connector::Connector;
use super::health::RedisHealth;
use super::keys::RedisKeys;
use crate::bus::state::BusState;
use crate::settings::common::RedisSettings;

/// What all tasks of the bus need; clones share it.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) connector: Connector,
    pub(super) keys: RedisKeys,
    pub(super) settings: Arc<RedisSettings>,
    pub(super) shared: Arc<BusState>,
    pub(super) health: Arc<RedisHealth>,
}
