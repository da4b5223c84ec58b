//! What a Redis URL names: one server, Sentinels and the name of what they watch, or nodes of a Cluster.
//!
//! `redis://`, `rediss://`, `redis+unix://`; `redis+sentinel://h1:26379,h2/name`; `redis+cluster://h1:7000,h2:7001`;
//! the last two also with `rediss+`.

use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _,
    RedisError, TlsCertificates, Value, from_redis_value_ref,
};

use super::keys::RedisKeys;
use crate::settings::common::RedisSettings;

const SENTINEL_PORT: u16 = 26379;
const CLUSTER_PORT: u16 = 6379;
/// How a certificate begins in a PEM file.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
/// Addresses in one URL.
const HOSTS_MAX: usize = 32;

/// The topology of Redis.
pub(super) enum Topology {
    /// One server, or something that looks like one.
    Single(ConnectionInfo),
    /// Sentinels, and what they call the primary.
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        master: String,
        /// Credentials, database and TLS of the servers that they watch.
        node: ConnectionInfo,
    },
    /// Some nodes of a Cluster.
    Cluster {
        seeds: Vec<ConnectionInfo>,
        /// A key of the bus: all of them are in one slot.
        key: String,
    },
}

fn wrong(words: &'static str) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, words))
}

/// A URL that names several hosts.
struct UrlParts<'a> {
    /// `redis` or `rediss`.
    scheme: &'a str,
    /// `user:password@`, or nothing.
    credentials: String,
    hosts: Vec<&'a str>,
    path: &'a str,
}

/// `host:port`; the default port unless the host has one.
fn with_port(host: &str, port: u16) -> String {
    // An IPv6 address has colons of its own, in brackets.
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:{port}") }
}

impl Topology {
    pub(super) fn parse(url: &str, settings: &RedisSettings) -> Result<Self, String> {
        let ca = match &settings.ca {
            Some(path) => {
                let wrong = |error: &dyn std::fmt::Display| format!("DIFFYNE_REDIS_CA = `{}`: {error}", path.display());
                let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
                // The library takes a file without any as nobody whom to trust, and says so at each connection.
                if !pem.windows(CERTIFICATE.len()).any(|bytes| bytes == CERTIFICATE) {
                    return Err(wrong(&"no certificate in it"));
                }
                Some(pem)
            }
            None => None,
        };
        Self::read(url, settings, ca.as_deref()).map_err(|error| error.to_string())
    }

    fn read(url: &str, settings: &RedisSettings, ca: Option<&[u8]>) -> Result<Self, RedisError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("no scheme"))?;
        let Some((scheme, kind)) = scheme.split_once('+').filter(|(_, kind)| *kind != "unix") else {
            return Ok(Self::Single(node(url, ca)?));
        };
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (format!("{credentials}@"), rest),
            None => (String::new(), rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts: Vec<&str> = hosts.split(',').filter(|host| !host.is_empty()).collect();
        if hosts.is_empty() || hosts.len() > HOSTS_MAX {
            return Err(wrong("it must name 1 to 32 hosts"));
        }
        let parts = UrlParts { scheme, credentials, hosts, path };
        if kind == "sentinel" { Self::sentinel(&parts, settings, ca) } else { Self::cluster(&parts, settings, ca) }
    }

    fn sentinel(url: &UrlParts<'_>, settings: &RedisSettings, ca: Option<&[u8]>) -> Result<Self, RedisError> {
        let UrlParts { scheme, credentials, hosts, path } = url;
        let (master, database) = path.split_once('/').unwrap_or((path, "0"));
        if master.is_empty() {
            return Err(wrong(
                "it must end with the name that the Sentinels watch: redis+sentinel://host:26379/mymaster",
            ));
        }
        let sentinels = hosts.iter().map(|host| {
            let info = node(&format!("{scheme}://{}", with_port(host, SENTINEL_PORT)), ca)?;
            let Some(password) = &settings.sentinel_password else { return Ok(info) };
            let own = info.redis_settings().clone().set_password(password);
            Ok::<_, RedisError>(info.set_redis_settings(own))
        });
        Ok(Self::Sentinel {
            sentinels: sentinels.collect::<Result<_, _>>()?,
            master: master.to_owned(),
            node: node(&format!("{scheme}://{credentials}{}/{database}", with_port(hosts[0], CLUSTER_PORT)), ca)?,
        })
    }

    fn cluster(url: &UrlParts<'_>, settings: &RedisSettings, ca: Option<&[u8]>) -> Result<Self, RedisError> {
        let UrlParts { scheme, credentials, hosts, path } = url;
        if !path.is_empty() && *path != "0" {
            return Err(wrong("a Cluster has one database only: leave the number out"));
        }
        let seeds =
            hosts.iter().map(|host| node(&format!("{scheme}://{credentials}{}", with_port(host, CLUSTER_PORT)), ca));
        Ok(Self::Cluster { seeds: seeds.collect::<Result<_, _>>()?, key: RedisKeys::new(&settings.prefix).meta() })
    }

    /// The server that takes writes of the bus.
    pub(super) async fn primary(
        &self,
        config: &AsyncConnectionConfig,
        timeout: Duration,
    ) -> Result<ConnectionInfo, RedisError> {
        match self {
            Self::Single(info) => Ok(info.clone()),
            Self::Sentinel { sentinels, master, node } => {
                first_of(sentinels, &Question::Primary { master, node }, config, timeout).await
            }
            Self::Cluster { key, .. } => self.node_of(key, config, timeout).await,
        }
    }

    /// The node of a Cluster that has a key; without a Cluster, the primary.
    pub(super) async fn node_of(
        &self,
        key: &str,
        config: &AsyncConnectionConfig,
        timeout: Duration,
    ) -> Result<ConnectionInfo, RedisError> {
        match self {
            Self::Cluster { seeds, .. } => first_of(seeds, &Question::Slot { key }, config, timeout).await,
            Self::Single(info) => Ok(info.clone()),
            Self::Sentinel { .. } => Box::pin(self.primary(config, timeout)).await,
        }
    }
}

/// The address of one server, with TLS by our own authority if one is set.
fn node(url: &str, ca: Option<&[u8]>) -> Result<ConnectionInfo, RedisError> {
    let info = match ca.filter(|_| url.starts_with("rediss://")) {
        Some(pem) => {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
            Client::build_with_tls(url, certificates)?.get_connection_info().clone()
        }
        None => url.into_connection_info()?,
    };
    // The end of a large batch does not wait until the rest has been acknowledged.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    Ok(info.set_tcp_settings(tcp))
}

/// The same credentials and TLS, at another address.
fn at(template: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let address = match template.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    template.clone().set_addr(address)
}

/// A question to a server.
enum Question<'a> {
    /// Of a Sentinel: where is the primary?
    Primary { master: &'a str, node: &'a ConnectionInfo },
    /// Of a node: who has this key?
    Slot { key: &'a str },
}

/// Asks one server after the other, each within the limit. Returns the last error when none can tell.
async fn first_of(
    asked: &[ConnectionInfo],
    question: &Question<'_>,
    config: &AsyncConnectionConfig,
    timeout: Duration,
) -> Result<ConnectionInfo, RedisError> {
    let mut last = wrong("nobody to ask");
    for info in asked {
        let ask = async {
            match question {
                Question::Primary { master, node } => ask_sentinel(info, master, node, config).await,
                Question::Slot { key } => ask_cluster(info, key, config).await,
            }
        };
        match tokio::time::timeout(timeout, ask).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => last = error,
            Err(_elapsed) => last = RedisError::from((ErrorKind::Io, "timed out", info.addr().to_string())),
        }
    }
    Err(last)
}

async fn open(info: &ConnectionInfo, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, RedisError> {
    Client::open(info.clone())?.get_multiplexed_async_connection_with_config(config).await
}

async fn ask_sentinel(
    sentinel: &ConnectionInfo,
    master: &str,
    node: &ConnectionInfo,
    config: &AsyncConnectionConfig,
) -> Result<ConnectionInfo, RedisError> {
    let mut connection = open(sentinel, config).await?;
    let address: Option<(String, u16)> =
        redis::cmd("SENTINEL").arg("get-master-addr-by-name").arg(master).query_async(&mut connection).await?;
    let (host, port) = address.ok_or_else(|| {
        RedisError::from((ErrorKind::InvalidClientConfig, "the Sentinel does not watch this name", master.to_owned()))
    })?;
    let primary = at(node, host, port);
    // A Sentinel may not have heard yet.
    let mut connection = open(&primary, config).await?;
    let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
    let role: String = role.first().map(from_redis_value_ref).transpose()?.unwrap_or_default();
    if role == "master" {
        return Ok(primary);
    }
    Err(RedisError::from((ErrorKind::Io, "what the Sentinel names is no primary", primary.addr().to_string())))
}

async fn ask_cluster(
    seed: &ConnectionInfo,
    key: &str,
    config: &AsyncConnectionConfig,
) -> Result<ConnectionInfo, RedisError> {
    let mut connection = open(seed, config).await?;
    let slot: u16 = redis::cmd("CLUSTER").arg("KEYSLOT").arg(key).query_async(&mut connection).await?;
    let ranges: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
    for range in &ranges {
        let [first, last, node, ..] = &range[..] else { continue };
        let (first, last): (u16, u16) = (from_redis_value_ref(first)?, from_redis_value_ref(last)?);
        if !(first..=last).contains(&slot) {
            continue;
        }
        let node: Vec<Value> = from_redis_value_ref(node)?;
        let [host, port, ..] = &node[..] else { continue };
        let host: Option<String> = from_redis_value_ref(host)?;
        // A node that does not know its own address means the one it was asked at.
        let host = host.filter(|host| !host.is_empty()).or_else(|| host_of(seed));
        return Ok(at(seed, host.unwrap_or_default(), from_redis_value_ref(port)?));
    }
    Err(RedisError::from((ErrorKind::Io, "no node of the Cluster has the slot", slot.to_string())))
}

fn host_of(info: &ConnectionInfo) -> Option<String> {
    match info.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => Some(host.clone()),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn settings() -> RedisSettings {
        RedisSettings {
            url: None,
            prefix: "app-".to_owned(),
            ca: None,
            sentinel_password: None,
            timeout: Duration::from_secs(1),
            queue_max: 1,
            ingress_max: 1,
            history_length: 1,
            history_age: Duration::from_secs(1),
            history_bytes: 1,
            is_local: true,
        }
    }

    #[test]
    fn urls_name_sentinels_and_clusters() {
        let read = |url: &str| Topology::parse(url, &settings());
        let Topology::Sentinel { sentinels, master, node } = read("redis+sentinel://u:p@a:1,b/main/3").unwrap() else {
            panic!("sentinels")
        };
        let addresses: Vec<String> = sentinels.iter().map(|info| info.addr().to_string()).collect();
        assert_eq!((addresses, master.as_str()), (vec!["a:1".to_owned(), "b:26379".to_owned()], "main"));
        assert_eq!((node.redis_settings().db(), node.redis_settings().password()), (3, Some("p")));
        assert_eq!(sentinels[0].redis_settings().password(), None, "theirs is another");
        let Topology::Cluster { seeds, key } = read("redis+cluster://[::1]:7000,c").unwrap() else { panic!("nodes") };
        assert_eq!((seeds.len(), key.as_str()), (2, "app-{diffyne}:meta"));
        assert!(matches!(read("redis://:p@h/2").unwrap(), Topology::Single(_)));
        assert!(matches!(read("redis+unix:///tmp/r.sock").unwrap(), Topology::Single(_)));
        for url in ["redis+sentinel://a:1", "redis+cluster://a/1", "redis+cluster://", "http://a"] {
            assert!(read(url).is_err(), "{url}");
        }
    }
}
