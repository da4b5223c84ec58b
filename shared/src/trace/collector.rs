//! What `OTEL_*` variables say of the collector: where it is, what it speaks, and who sends.

use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::message::Resource;
use super::{number, variable};

/// How spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// OTLP over HTTP/1.1: `http/protobuf`.
    Http,
    /// OTLP over HTTP/2: `grpc`.
    Grpc,
}

/// A collector of traces.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) protocol: Protocol,
    pub(super) endpoint: Uri,
    /// Sent with each batch; they may have a secret.
    pub(super) headers: HeaderMap,
    /// The file with the authorities that are trusted; otherwise the system's.
    pub(super) authority: Option<String>,
    /// How long a batch may take.
    pub(super) timeout: Duration,
}

/// The variable of this name for traces, or the one for everything: `ENDPOINT`, say.
fn exporter_variable(name: &str) -> Option<(String, String)> {
    let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")];
    names.into_iter().find_map(|name| variable(&name).map(|text| (name, text)))
}

impl Collector {
    /// Reads the variables. The error names the one that is wrong.
    pub(super) fn read() -> Result<Self, String> {
        let protocol = protocol()?;
        if let Some((name, text)) = exporter_variable("COMPRESSION").filter(|(_, text)| text != "none") {
            return Err(format!("{name}={text}: spans are sent without compression, so leave it out"));
        }
        let timeout = exporter_variable("TIMEOUT").map_or(Ok(10_000), |(name, _)| number(&name, 10_000))?;
        Ok(Self {
            protocol,
            endpoint: endpoint(protocol)?,
            headers: exporter_variable("HEADERS").map_or(Ok(HeaderMap::new()), |(name, text)| headers(&name, &text))?,
            authority: exporter_variable("CERTIFICATE").map(|(_, file)| file),
            timeout: Duration::from_millis(timeout as u64),
        })
    }
}

fn protocol() -> Result<Protocol, String> {
    match exporter_variable("PROTOCOL") {
        None => Ok(Protocol::Http),
        Some((name, text)) => match text.as_str() {
            "http/protobuf" => Ok(Protocol::Http),
            "grpc" => Ok(Protocol::Grpc),
            _ => Err(format!("{name}={text}: use http/protobuf (port 4318 of a collector) or grpc (port 4317)")),
        },
    }
}

/// The address that spans are posted to.
fn endpoint(protocol: Protocol) -> Result<Uri, String> {
    let (default, path) = match protocol {
        Protocol::Http => ("http://localhost:4318", "/v1/traces"),
        Protocol::Grpc => ("http://localhost:4317", "/"),
    };
    let (name, text) = exporter_variable("ENDPOINT").unwrap_or_else(|| ("the default".to_owned(), default.to_owned()));
    // The variable for traces has the whole path, the other one what is before it.
    let is_whole = name.contains("_TRACES_") && protocol == Protocol::Http;
    let text = if is_whole { text } else { format!("{}{path}", text.trim_end_matches('/')) };
    let uri = text.parse::<Uri>().ok();
    let is_address = |uri: &Uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"));
    let Some(uri) = uri.filter(is_address) else {
        // It may have a secret, which belongs into no log.
        return Err(format!("{name} is no address such as {default}"));
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(format!("{name} has a user or a password: say it in OTEL_EXPORTER_OTLP_HEADERS"));
    }
    Ok(uri)
}

/// Pairs as `name=value,name=value`, values percent-encoded.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?.into_owned();
        Some((name.trim().to_owned(), value))
    };
    text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(pair).collect()
}

fn headers(name: &str, text: &str) -> Result<HeaderMap, String> {
    // Without the value, which may have a secret.
    let wrong = || format!("{name} is no list such as authorization=Bearer%20TOKEN,x-team=web");
    let header = |(name, value): (String, String)| {
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
    };
    pairs(text).and_then(|pairs| pairs.into_iter().map(header).collect()).ok_or_else(wrong)
}

/// Who sends: the variables' words count before ours.
pub(super) fn resource(service: &str) -> Result<Resource, String> {
    let mut attributes: Vec<(String, String)> = [
        ("service.name", service),
        ("service.version", crate::VERSION),
        ("telemetry.sdk.name", "diffyne"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", crate::VERSION),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let mut set = |name: String, value: String| match attributes.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = value,
        None => attributes.push((name, value)),
    };
    if let Some(text) = variable("OTEL_RESOURCE_ATTRIBUTES") {
        let wrong = || format!("OTEL_RESOURCE_ATTRIBUTES={text}: it has to be a list such as team=web,region=eu");
        pairs(&text).ok_or_else(wrong)?.into_iter().for_each(|(name, value)| set(name, value));
    }
    if let Some(name) = variable("OTEL_SERVICE_NAME") {
        set("service.name".to_owned(), name);
    }
    Ok(Resource::new(attributes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_pairs_with_percent_encoded_values() {
        let pairs = pairs(" authorization=Bearer%20a%3Db , x-team = web,,empty=").unwrap();
        let of = |name: &str| pairs.iter().find(|(known, _)| known == name).unwrap().1.as_str();
        assert_eq!((of("authorization"), of("x-team"), of("empty")), ("Bearer a=b", "web", ""));
        assert!(super::pairs("name").is_none());
    }

    #[test]
    fn headers_that_are_none_are_named_without_their_value() {
        for wrong in ["secret", "bad name=secret", "x=secret%0A"] {
            let error = headers("OTEL_EXPORTER_OTLP_HEADERS", wrong).unwrap_err();
            assert!(error.starts_with("OTEL_EXPORTER_OTLP_HEADERS") && !error.contains("secret"), "{error}");
        }
    }
}
