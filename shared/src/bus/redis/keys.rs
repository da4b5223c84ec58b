//! The names of keys and channels in Redis.

/// Names in Redis. The braces are literal: one slot in a Redis Cluster.
#[derive(Debug, Clone)]
pub(super) struct RedisKeys {
    base: String,
}

impl RedisKeys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { base: format!("{prefix}{{diffyne}}:") }
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    pub(super) fn meta(&self) -> String {
        self.named("meta")
    }
    pub(super) fn stream(&self) -> String {
        self.named("stream")
    }
    /// Marks a name that is valid once.
    pub(super) fn once(&self, name: &str) -> String {
        self.named(&format!("once:{name}"))
    }
    /// The answer to an idempotency key.
    pub(super) fn idempotent(&self, key: &str) -> String {
        self.named(&format!("idempotent:{key}"))
    }
    /// What applications publish by themselves.
    pub(super) fn ingress(&self) -> String {
        self.named("ingress")
    }
    /// What a gateway has published last.
    pub(super) fn mark(&self, gateway: &str) -> String {
        self.named(&format!("published:{gateway}"))
    }
    /// Responses to one gateway's query.
    pub(super) fn responses(&self, id: &str) -> String {
        self.named(&format!("answers:{id}"))
    }
    /// Where doctor tries what the user may do: a key that never exists, and a channel that nobody hears.
    pub(super) fn trial(&self) -> String {
        self.named("doctor")
    }
    /// Channel of broadcasts.
    pub(super) fn events(&self) -> String {
        self.named("events")
    }
    /// Channel of connection counts and of changes among workers.
    pub(super) fn status(&self) -> String {
        self.named("status")
    }
    /// Values and deadlines of the gateways.
    pub(super) fn gateways(&self) -> [String; 2] {
        [self.named("gateways"), self.named("gateways:until")]
    }
    /// Values and deadlines of the workers.
    pub(super) fn workers(&self) -> [String; 2] {
        [self.named("workers"), self.named("workers:until")]
    }
    /// Who occupies which room: the leases of the gateways, the number of gateways in each room, the last version; and the
    /// beginning of the names of what single gateways have.
    pub(super) fn occupancy(&self) -> [String; 4] {
        ["until", "rooms", "version", ""].map(|name| self.named(&format!("occupancy:{name}")))
    }
    /// States and deadlines of the gateways that have rooms.
    pub(super) fn room_gateways(&self) -> [String; 2] {
        [self.named("rooms:gateways"), self.named("rooms:until")]
    }
    /// The list of a gateway's rooms.
    pub(super) fn rooms_of(&self, gateway: &str) -> String {
        self.named(&format!("rooms:of:{gateway}"))
    }
    /// The members of a room at one gateway, as `GATEWAY:ROOM`.
    pub(super) fn room(&self, room: &str) -> String {
        self.named(&format!("room:{room}"))
    }
    /// Channel of changes in rooms, and of what members whisper.
    pub(super) fn rooms_channel(&self) -> String {
        self.named("rooms")
    }
}
