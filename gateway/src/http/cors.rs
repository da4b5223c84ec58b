//! Cross-origin requests: sets the response headers that tell a browser which pages may call.

use diffyne_shared::settings::gateway::GatewaySettings;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

/// How long a browser may cache a preflight response, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// Adds the headers that let the requesting page read the response. Only pages that act as their user may send cookies.
pub(super) fn allow(headers: &mut HeaderMap, origin: Option<&HeaderValue>, guest: bool) {
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if !guest {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// Adds the headers of a preflight response.
pub(super) fn preflight(headers: &mut HeaderMap, settings: &GatewaySettings) {
    let mut list = |name: HeaderName, values: &[String]| {
        // The values were checked when the settings were read, so this does not fail.
        if let Ok(value) = HeaderValue::from_str(&values.join(", ")) {
            headers.insert(name, value);
        }
    };
    list(header::ACCESS_CONTROL_ALLOW_METHODS, &settings.cors_methods);
    list(header::ACCESS_CONTROL_ALLOW_HEADERS, &settings.cors_headers);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
}
