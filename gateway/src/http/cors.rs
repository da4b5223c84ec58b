//! Cross-origin requests: which pages may call, and what a browser is told of it before and after.

use diffyne_shared::settings::gateway::GatewaySettings;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

/// How long a browser may remember a preflight's answer, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// Adds what the page behind this request may see. Cookies are allowed to those that may act as their user only.
pub(super) fn allow(headers: &mut HeaderMap, origin: Option<&HeaderValue>, guest: bool) {
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if !guest {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// Adds the answers to a preflight.
pub(super) fn preflight(headers: &mut HeaderMap, settings: &GatewaySettings) {
    let mut list = |name: HeaderName, values: &[String]| {
        // Checked when the settings were read.
        if let Ok(value) = HeaderValue::from_str(&values.join(", ")) {
            headers.insert(name, value);
        }
    };
    list(header::ACCESS_CONTROL_ALLOW_METHODS, &settings.cors_methods);
    list(header::ACCESS_CONTROL_ALLOW_HEADERS, &settings.cors_headers);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
}
