//! What all tasks of the bus need.

use std::sync::Arc;

use super::connector::Connector;
use super::health::RedisHealth;
use super::keys::Keys;
use crate::bus::shared::Shared;
use crate::settings::common::RedisSettings;

/// What all tasks of the bus need; clones share it.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) connector: Connector,
    pub(super) keys: Keys,
    pub(super) settings: Arc<RedisSettings>,
    pub(super) shared: Arc<Shared>,
    pub(super) health: Arc<RedisHealth>,
}
