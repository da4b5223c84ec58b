//! Posts events to the application's web server.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use diffyne_shared::clock;
use diffyne_shared::http_client;
use diffyne_shared::settings::lifecycle::{LifecycleSettings, WebhookUrl};
use diffyne_shared::tls::ClientTls;
use hmac::{Hmac, Mac as _};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use sha2::Sha256;

use super::delivery::{DeliveryError, DeliveryFuture, Receiver, Verdict};

const SIGNATURE: &str = "X-Diffyne-Signature";

/// The secrets that sign; they can be replaced.
pub type SharedSecrets = Arc<ArcSwap<Vec<String>>>;

/// The application's web server.
pub struct Webhook {
    url: WebhookUrl,
    tls: Option<ClientTls>,
    secrets: SharedSecrets,
    timeout: Duration,
}

impl Webhook {
    /// The server that the settings name, if they name one. The error is about the certificates to trust.
    pub fn new(settings: &LifecycleSettings, secrets: SharedSecrets) -> Result<Option<Self>, String> {
        let Some(url) = settings.url.clone() else { return Ok(None) };
        let tls = url.is_secure.then(|| ClientTls::trusting(settings.ca.as_deref())).transpose()?;
        Ok(Some(Self { url, tls, secrets, timeout: settings.timeout }))
    }

    async fn post(&self, body: Bytes) -> Result<(), DeliveryError> {
        let stream = http_client::connect(&self.url.address, self.tls.as_ref()).await?;
        let signature = signature(&self.secrets.load(), clock::unix_seconds(), &body);
        let request = Request::post(self.url.path.as_str())
            .header(HOST, self.url.authority.as_str())
            .header(USER_AGENT, concat!("diffyne-gateway/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE, signature)
            .body(Full::new(body))?;
        let answer = http_client::send(stream, request).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let reason = format!("status {status}");
        Err(DeliveryError { reason, verdict: verdict(status), after: answer.retry_after() })
    }
}

/// What a status says of the request: whether the same one may be taken later.
fn verdict(status: StatusCode) -> Verdict {
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => Verdict::Unavailable,
        StatusCode::INTERNAL_SERVER_ERROR => Verdict::Failed,
        _ if status.is_client_error() => Verdict::Refused,
        _ => Verdict::Unavailable,
    }
}

impl Receiver for Webhook {
    fn deliver(&self, body: Bytes) -> DeliveryFuture<'_> {
        Box::pin(http_client::within(self.timeout, self.post(body)))
    }

    fn name(&self) -> String {
        self.url.shown()
    }
}

/// `t=SECONDS,v1=HEX`, with a `v1` for each secret: the receiver needs one of them.
fn signature(secrets: &[String], seconds: u64, body: &[u8]) -> String {
    let mut signature = format!("t={seconds}");
    for secret in secrets {
        // HMAC takes keys of any length, so this does not fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { continue };
        mac.update(seconds.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        signature.push_str(",v1=");
        signature.push_str(&hex::encode(mac.finalize().into_bytes()));
    }
    signature
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_signs_time_and_body() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
        let once = signature(&["secret".to_owned()], 1_700_000_000, b"{}");
        assert_eq!(once, "t=1700000000,v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163");
        let twice = signature(&["other".to_owned(), "secret".to_owned()], 1_700_000_000, b"{}");
        assert!(twice.ends_with(once.trim_start_matches("t=1700000000")) && twice.matches("v1=").count() == 2);
    }

    #[test]
    fn only_a_final_refusal_is_about_the_events() {
        for (status, expected) in [
            (400, Verdict::Refused),
            (403, Verdict::Refused),
            (413, Verdict::Refused),
            (422, Verdict::Refused),
            (408, Verdict::Unavailable),
            (425, Verdict::Unavailable),
            (429, Verdict::Unavailable),
            (302, Verdict::Unavailable),
            (500, Verdict::Failed),
            (503, Verdict::Unavailable),
        ] {
            assert_eq!(verdict(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }
}
