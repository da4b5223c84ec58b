//! Who calls a component.

use diffyne_shared::rpc::Transport;

use super::cookies;

/// The longest request id that a proxy may choose.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Who calls.
#[derive(Debug, Clone)]
pub struct ClientInfo {
    /// The client id of the connection; empty for a request without one.
    pub id: String,
    /// The browser's address.
    pub ip: String,
    /// How the call reached the gateway.
    pub transport: Transport,
    /// `name: value` lines of the handshake or request.
    pub headers: String,
}

impl Default for ClientInfo {
    /// An anonymous page request.
    fn default() -> Self {
        Self { id: String::new(), ip: String::new(), transport: Transport::Ajax, headers: String::new() }
    }
}

impl ClientInfo {
    /// Whether the call came over a WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.transport == Transport::Ws
    }

    /// A header, by lower-case name.
    ///
    /// Gateways pass on the cookies, the language, the user agent and the origin unchanged. `host` and
    /// `x-forwarded-proto` are the host and scheme that the gateway resolved.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().filter_map(|line| line.split_once(": ")).find(|(known, _)| *known == name).map(|(_, v)| v)
    }

    /// The browser's `User-Agent`.
    pub fn user_agent(&self) -> Option<&str> {
        self.header("user-agent")
    }

    /// A cookie's value as the browser sent it. Of two cookies with one name the first counts.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        cookies::pairs(&self.headers).find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The request's id: the one that a proxy gave an AJAX request, otherwise a new one.
    pub(crate) fn request_id(&self) -> String {
        // A WebSocket's handshake has one id for all calls of the connection, so it identifies no call.
        let own = self.header("x-request-id").filter(|_| self.transport == Transport::Ajax);
        let is_valid = |id: &&str| id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
        own.filter(is_valid).map_or_else(|| format!("{:016x}", fastrand::u64(..)), str::to_owned)
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

    #[test]
    fn an_ajax_request_keeps_its_id_and_each_call_of_a_socket_gets_its_own() {
        let ajax = ClientInfo { headers: "x-request-id: r-1\n".to_owned(), ..ClientInfo::default() };
        assert_eq!(ajax.request_id(), "r-1");
        let socket = ClientInfo { transport: Transport::Ws, ..ajax };
        assert_ne!(socket.request_id(), socket.request_id());
    }
}
