//! Where a peer listens: `host:port` or `unix:PATH`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// A text that is no endpoint.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("neither `host:port` nor `unix:PATH`")]
pub struct EndpointError;

/// An address to listen on or to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// A host name or address, and a port.
    Tcp {
        /// Name or address, without the brackets of IPv6.
        host: String,
        /// Port; 0 lets the system choose when listening.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
    /// The worker of this process. Only programs that have one name it.
    InProcess,
}

impl Endpoint {
    /// A TCP address.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp { host: host.into(), port }
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => {
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            Self::Unix(_) | Self::InProcess => true,
        }
    }

    /// Whether this means every address of this machine, on which one can listen but to which nobody can connect.
    pub fn is_anywhere(&self) -> bool {
        self.host_port().is_some_and(|(host, _)| host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified()))
    }

    /// `host:port` for the resolver; `None` unless TCP.
    pub fn host_port(&self) -> Option<(&str, u16)> {
        match self {
            Self::Tcp { host, port } => Some((host, *port)),
            Self::Unix(_) | Self::InProcess => None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(EndpointError) } else { Ok(Self::Unix(path.into())) };
        }
        let text = text.strip_prefix("tcp://").unwrap_or(text);
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(EndpointError);
        }
        Ok(Self::Tcp { host: host.to_owned(), port: port.parse().map_err(|_| EndpointError)? })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::InProcess => f.write_str("in-process"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_a_round_trip() {
        for text in ["127.0.0.1:7001", "[::1]:7001", "worker-1.internal:7001", "unix:/run/w.sock"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "7001", "host:", ":7001", "unix:", "host:99999", "http://x:1", "a b:1"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_and_unix_are_local() {
        let local = |text: &str| text.parse::<Endpoint>().unwrap().is_local();
        assert!(local("127.0.0.5:1") && local("[::1]:1") && local("localhost:1") && local("unix:/x"));
        assert!(!local("0.0.0.0:1") && !local("10.0.0.1:1") && !local("example.com:1"));
    }
}
