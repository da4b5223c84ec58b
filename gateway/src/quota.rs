//! The limits of one gateway: connections in all, per address and per key; new handshakes per second; broadcasts per
//! second and event name. The gateway refuses and counts what exceeds a limit, and logs it at most once a second.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use diffyne_shared::rate::{Bucket, Rate};
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::telemetry::{self, LogThrottle};

use crate::auth::admission::Refusal;
use crate::retry_after::RetryAfter;

/// The number of event names with a bucket of their own; the others share one.
const EVENT_NAMES_MAX: usize = 1000;

/// Counts by address or key. Nothing is counted without a limit.
type Counts<K> = Mutex<HashMap<K, usize>>;

/// The limits of one process, and their current use.
pub struct Quota {
    connections_max: usize,
    per_address_max: usize,
    per_key_max: usize,
    requests_per_address_max: usize,
    http_per_address_max: usize,
    uploads_per_address_max: usize,
    handshakes: (Rate, Bucket),
    broadcasts: Rate,
    /// The number of open WebSocket connections.
    pub connections: AtomicUsize,
    /// Memory is short, so new connections are refused.
    pub shedding: AtomicBool,
    /// When refused clients should come again.
    pub retry_after: RetryAfter,
    addresses: Counts<IpAddr>,
    requests: Counts<IpAddr>,
    http: Counts<IpAddr>,
    uploads: Counts<IpAddr>,
    keys: Counts<Box<str>>,
    events: Mutex<HashMap<String, Bucket>>,
    other_events: Bucket,
    refused: LogThrottle,
    held: LogThrottle,
}

/// A counted connection. Dropping the ticket releases it.
pub struct Ticket {
    quota: Arc<Quota>,
    /// Without these limits, a connection needs no memory for them.
    counted: Option<Box<Counted>>,
}

/// Where a connection is counted beside the number of all.
#[derive(Default)]
struct Counted {
    address: Option<IpAddr>,
    key: Option<Box<str>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the network that an address is counted by: providers assign whole /64 networks of IPv6.
fn holder(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => {
            let bits = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Counts one more for `key`. Returns `false` at the limit.
fn take<K: Eq + std::hash::Hash + Clone>(counts: &Counts<K>, key: &K, most: usize) -> bool {
    let mut counts = lock(counts);
    let count = counts.entry(key.clone()).or_insert(0);
    if *count >= most {
        return false;
    }
    *count += 1;
    true
}

fn give_back<K: Eq + std::hash::Hash>(counts: &Counts<K>, key: &K) {
    let mut counts = lock(counts);
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Quota {
    /// Creates the limits from these settings.
    pub fn new(settings: &GatewaySettings) -> Arc<Self> {
        Arc::new(Self {
            connections_max: settings.connections_max,
            per_address_max: settings.connections_per_address_max,
            per_key_max: settings.connections_per_key_max,
            requests_per_address_max: settings.requests_per_address_max,
            http_per_address_max: settings.http_connections_per_address_max,
            uploads_per_address_max: settings.upload.per_address_max,
            handshakes: (settings.handshake_rate, Bucket::default()),
            broadcasts: settings.broadcast_rate,
            connections: AtomicUsize::new(0),
            shedding: AtomicBool::new(false),
            retry_after: RetryAfter::default(),
            addresses: Mutex::default(),
            requests: Mutex::default(),
            http: Mutex::default(),
            uploads: Mutex::default(),
            keys: Mutex::default(),
            events: Mutex::default(),
            other_events: Bucket::default(),
            refused: LogThrottle::default(),
            held: LogThrottle::default(),
        })
    }

    /// Counts a connection from this address with this key.
    pub fn enter(self: &Arc<Self>, address: IpAddr, key: Option<&str>) -> Result<Ticket, Refusal> {
        let taken = self.try_enter(address, key);
        if let Err(refusal) = &taken {
            self.log_refusal(*refusal, Some(address));
        }
        taken
    }

    /// Logs a refused handshake, once a second at most.
    pub fn log_refusal(&self, refusal: Refusal, address: Option<IpAddr>) {
        if let Some(unsaid) = self.refused.allow() {
            let address = address.map(tracing::field::display);
            tracing::warn!(
                reason = refusal.label(),
                setting = refusal.setting(),
                address,
                unsaid,
                "refused a handshake: a limit is reached"
            );
        }
    }

    fn try_enter(self: &Arc<Self>, address: IpAddr, key: Option<&str>) -> Result<Ticket, Refusal> {
        if self.shedding.load(Ordering::Relaxed) {
            return Err(Refusal::Memory);
        }
        if !self.handshakes.1.take(self.handshakes.0, Instant::now()) {
            return Err(Refusal::Rate);
        }
        let most = self.connections_max;
        let taken =
            self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < most).then_some(now + 1));
        taken.map_err(|_| Refusal::Full)?;
        // From here on, dropping the ticket releases the connection.
        let mut ticket = Ticket { quota: Arc::clone(self), counted: None };
        if self.per_address_max > 0 {
            let address = holder(address);
            if !take(&self.addresses, &address, self.per_address_max) {
                return Err(Refusal::Address);
            }
            ticket.counted.get_or_insert_default().address = Some(address);
        }
        if let Some(key) = key.filter(|_| self.per_key_max > 0) {
            let key = Box::from(key);
            if !take(&self.keys, &key, self.per_key_max) {
                return Err(Refusal::KeyFull);
            }
            ticket.counted.get_or_insert_default().key = Some(key);
        }
        Ok(ticket)
    }

    /// Counts an HTTP connection from this address. Returns `None` without a limit.
    pub fn enter_http(self: &Arc<Self>, address: IpAddr) -> Result<Option<HttpTicket>, Refusal> {
        self.enter_counted(address, self.http_per_address_max, |quota| &quota.http)
    }

    /// Counts an AJAX call from this address. Returns `None` without a limit.
    pub fn enter_request(self: &Arc<Self>, address: IpAddr) -> Result<Option<HttpTicket>, Refusal> {
        self.enter_counted(address, self.requests_per_address_max, |quota| &quota.requests)
    }

    /// Counts an upload from this address. Returns `None` without a limit.
    pub fn enter_upload(self: &Arc<Self>, address: IpAddr) -> Result<Option<HttpTicket>, Refusal> {
        self.enter_counted(address, self.uploads_per_address_max, |quota| &quota.uploads)
    }

    fn enter_counted(
        self: &Arc<Self>,
        address: IpAddr,
        most: usize,
        counts: fn(&Self) -> &Counts<IpAddr>,
    ) -> Result<Option<HttpTicket>, Refusal> {
        if most == 0 {
            return Ok(None);
        }
        let address = holder(address.to_canonical());
        if !take(counts(self), &address, most) {
            if let Some(unsaid) = self.refused.allow() {
                tracing::warn!(%address, most, unsaid, "an address has as many HTTP connections, calls or uploads as it may");
            }
            return Err(Refusal::Address);
        }
        Ok(Some(HttpTicket { quota: Arc::clone(self), address, counts }))
    }

    /// Whether one more broadcast of this event may leave now.
    pub fn may_broadcast(&self, name: &str) -> bool {
        if self.broadcasts.per_second == 0 {
            return true;
        }
        let now = Instant::now();
        let mut events = lock(&self.events);
        let may = match events.get(name) {
            Some(bucket) => bucket.take(self.broadcasts, now),
            None if events.len() >= EVENT_NAMES_MAX => self.other_events.take(self.broadcasts, now),
            None => events.entry(name.to_owned()).or_default().take(self.broadcasts, now),
        };
        drop(events);
        if !may && let Some(unsaid) = self.held.allow() {
            let event = telemetry::name(name);
            tracing::warn!(%event, unsaid, "a broadcast stays in its response: over DIFFYNE_BROADCAST_RATE");
        }
        may
    }
}

/// A counted HTTP connection, AJAX call or upload of an address. Dropping the ticket releases it.
pub struct HttpTicket {
    quota: Arc<Quota>,
    address: IpAddr,
    counts: fn(&Quota) -> &Counts<IpAddr>,
}

impl Drop for HttpTicket {
    fn drop(&mut self) {
        give_back((self.counts)(&self.quota), &self.address);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.quota.connections.fetch_sub(1, Ordering::Relaxed);
        let Some(counted) = &self.counted else { return };
        if let Some(address) = &counted.address {
            give_back(&self.quota.addresses, address);
        }
        if let Some(key) = &counted.key {
            give_back(&self.quota.keys, key);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use diffyne_shared::settings::{Files, Layers, gateway};

    fn quota(pairs: &[(&str, &str)]) -> Arc<Quota> {
        let flags: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let layers = Layers::read(&gateway::specs(), &Files::default(), &HashMap::new(), &flags).unwrap();
        Quota::new(&GatewaySettings::read(&layers).unwrap())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn connections_are_counted_by_address_and_key_and_released() {
        let quota = quota(&[
            ("DIFFYNE_MAX_CONNECTIONS", "5"),
            ("DIFFYNE_MAX_CONNECTIONS_PER_ADDRESS", "2"),
            ("DIFFYNE_MAX_CONNECTIONS_PER_KEY", "3"),
        ]);
        let one = quota.enter(ip("10.0.0.1"), Some("a")).unwrap();
        let two = quota.enter(ip("10.0.0.1"), Some("a")).unwrap();
        assert_eq!(quota.enter(ip("10.0.0.1"), Some("b")).err(), Some(Refusal::Address));
        let _three = quota.enter(ip("2001:db8::1"), Some("a")).unwrap();
        assert_eq!(quota.enter(ip("10.0.0.2"), Some("a")).err(), Some(Refusal::KeyFull));
        let four = quota.enter(ip("2001:db8::ffff"), None).unwrap();
        assert_eq!(quota.enter(ip("2001:db8::2:3"), None).err(), Some(Refusal::Address), "the same /64");
        let five = quota.enter(ip("2001:db8:0:1::1"), None).unwrap();
        assert_eq!(quota.enter(ip("10.0.0.3"), None).err(), Some(Refusal::Full));
        drop((one, two, four, five));
        assert_eq!(quota.connections.load(Ordering::Relaxed), 1);
        assert_eq!(
            (lock(&quota.addresses).len(), lock(&quota.keys).len()),
            (1, 1),
            "nothing is remembered of the gone"
        );
    }

    #[test]
    fn handshakes_and_broadcasts_are_rate_limited() {
        let quota = quota(&[("DIFFYNE_HANDSHAKE_RATE", "1/s:3"), ("DIFFYNE_BROADCAST_RATE", "1/s:2")]);
        let taken = (0..10).filter(|_| quota.enter(ip("10.0.0.1"), None).is_ok()).count();
        assert_eq!(taken, 3);
        assert_eq!(quota.enter(ip("10.0.0.1"), None).err(), Some(Refusal::Rate));
        let left = |name: &str| (0..5).filter(|_| quota.may_broadcast(name)).count();
        assert_eq!((left("a"), left("b"), left("a")), (2, 2, 0), "each name by itself");
    }
}
