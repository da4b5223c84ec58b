//! Who calls a component.

use diffyne_shared::rpc::Transport;

use crate::cookies;

/// Who calls.
#[derive(Debug, Clone)]
pub struct ClientInfo {
    /// The client id of the connection; empty for a request that named none.
    pub id: String,
    /// The browser's address.
    pub ip: String,
    /// How the call came.
    pub transport: Transport,
    /// `name: value` lines of the handshake or request.
    pub headers: String,
}

impl Default for ClientInfo {
    /// Nobody in particular, by a page request.
    fn default() -> Self {
        Self { id: String::new(), ip: String::new(), transport: Transport::Ajax, headers: String::new() }
    }
}

impl ClientInfo {
    /// Whether the call came over a WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.transport == Transport::Ws
    }

    /// A header, by lower-case name. Gateways pass on cookies, the language, the user agent and the origin as they came,
    /// and as `host` and `x-forwarded-proto` the host and scheme that they have resolved.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().filter_map(|line| line.split_once(": ")).find(|(known, _)| *known == name).map(|(_, v)| v)
    }

    /// What the browser says it is.
    pub fn user_agent(&self) -> Option<&str> {
        self.header("user-agent")
    }

    /// A cookie, as it was sent; of two of one name the first.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        cookies::pairs(&self.headers).find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_cookies_are_found_by_name() {
        let headers = "user-agent: Firefox/1\ncookie: a=1; b=2\ncookie: b=3; \u{a0}a=4\n".to_owned();
        let client = ClientInfo { headers, ..ClientInfo::default() };
        assert_eq!((client.user_agent(), client.header("host")), (Some("Firefox/1"), None));
        assert_eq!((client.cookie("a"), client.cookie("b"), client.cookie("c")), (Some("1"), Some("2"), None));
    }
}
