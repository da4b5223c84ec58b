//! Which headers of an upload reach the application, and which of its response reach the browser.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::upload_route::UploadRoute;
use crate::auth::admission::Identity;

/// Headers of the browser's request that the application gets beside those of the identity. The length follows from the
/// body.
const PASSED_ON: [HeaderName; 12] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONTENT_TYPE,
    header::RANGE,
    header::IF_RANGE,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    HeaderName::from_static("x-requested-with"),
    // By these the application knows its own pages.
    HeaderName::from_static("x-csrf-token"),
    HeaderName::from_static("x-xsrf-token"),
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-mode"),
];
/// Headers that concern one connection.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// How the names of the headers begin by which a server tells which pages may read its responses.
const CORS: &str = "access-control-";

/// Builds the headers of the request to the application.
pub(super) fn upstream(sent: &HeaderMap, identity: &Identity) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in identity.headers.split(|byte| *byte == b'\n') {
        let Some(at) = line.windows(2).position(|pair| pair == b": ") else { continue };
        let name = HeaderName::from_bytes(&line[..at]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[at + 2..])) {
            headers.append(name, value);
        }
    }
    for name in PASSED_ON {
        if let Some(value) = sent.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if let Ok(address) = HeaderValue::from_str(&identity.ip.to_string()) {
        headers.insert("x-forwarded-for", address);
    }
    match headers.get(header::HOST).cloned() {
        Some(host) => headers.insert("x-forwarded-host", host),
        None => headers.insert(header::HOST, HeaderValue::from_static("localhost")),
    };
    headers
}

/// Removes from a response what concerns the connection to the application, and what this gateway decides itself.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let cors: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(CORS)).cloned().collect();
    for name in named.iter().chain(&cors).chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Adds what every response has, and removes what a page of another site must not cause.
pub(super) fn finish(headers: &mut HeaderMap, route: UploadRoute, identity: &Identity) {
    // The content is a user's: a browser must not guess a type that would make it a page or a script.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if route == UploadRoute::Upload {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if identity.guest {
        headers.remove(header::SET_COOKIE);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn identity(lines: &str, guest: bool) -> Identity {
        Identity { ip: "1.2.3.4".parse().unwrap(), headers: lines.as_bytes().into(), guest }
    }

    #[test]
    fn the_application_gets_the_resolved_identity_and_nothing_that_a_client_forwards() {
        let identity = identity("host: shop.test\nx-forwarded-proto: https\ncookie: a=b: c\n", false);
        let sent = map(&[
            ("host", "inner:6001"),
            ("content-type", "multipart/form-data; boundary=x"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("connection", "x-secret"),
            ("x-secret", "1"),
            ("expect", "100-continue"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-host", "evil.test"),
            ("forwarded", "for=6.6.6.6"),
            ("cookie", "stolen=1"),
            ("x-csrf-token", "t"),
        ]);
        let expected = map(&[
            ("host", "shop.test"),
            ("x-forwarded-proto", "https"),
            ("cookie", "a=b: c"),
            ("content-type", "multipart/form-data; boundary=x"),
            ("x-csrf-token", "t"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-host", "shop.test"),
        ]);
        assert_eq!(upstream(&sent, &identity), expected);
    }

    #[test]
    fn a_response_loses_what_belongs_to_one_connection_or_is_decided_here() {
        let mut headers = map(&[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("access-control-allow-origin", "*"),
            ("set-cookie", "a=b"),
            ("content-type", "image/png"),
        ]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("set-cookie", "a=b"), ("content-type", "image/png")]));
        finish(&mut headers, UploadRoute::Preview, &identity("", false));
        assert!(headers.contains_key("set-cookie") && !headers.contains_key("cache-control"));
        finish(&mut headers, UploadRoute::Upload, &identity("", true));
        assert!(!headers.contains_key("set-cookie"), "a page of another site sets no cookies of its visitor");
        assert!(headers["cache-control"] == "no-store" && headers["x-content-type-options"] == "nosniff");
    }
}
