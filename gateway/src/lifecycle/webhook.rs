//! Posts events to the application's web server.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use diffyne_shared::clock;
use diffyne_shared::listener::Stream;
use diffyne_shared::settings::lifecycle::{LifecycleSettings, WebhookUrl};
use diffyne_shared::tls::ClientTls;
use hmac::{Hmac, Mac as _};
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio_util::task::AbortOnDropHandle;

use super::delivery::{DeliveryError, DeliveryFuture, Receiver};

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

    /// A connection for each request: there are few, and the server may close one at any time.
    async fn post(&self, body: Bytes) -> Result<(), DeliveryError> {
        let stream = Stream::connect(&self.url.address).await?;
        let stream = match (&self.tls, self.url.address.host_port()) {
            (Some(tls), Some((host, _))) => tls.connect(host, stream).await?,
            _ => stream,
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async { drop(connection.await) }));
        let signature = signature(&self.secrets.load(), clock::unix_seconds(), &body);
        let request = Request::post(self.url.path.as_str())
            .header(HOST, self.url.authority.as_str())
            .header(CONNECTION, "close")
            .header(USER_AGENT, concat!("diffyne-gateway/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE, signature)
            .body(Full::new(body))?;
        let answer = sender.send_request(request).await?;
        drop(connection);
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Err(DeliveryError { reason: format!("status {status}"), after: after.map(Duration::from_secs) })
    }
}

impl Receiver for Webhook {
    fn deliver(&self, body: Bytes) -> DeliveryFuture<'_> {
        Box::pin(async move {
            let posted = tokio::time::timeout(self.timeout, self.post(body)).await;
            posted.unwrap_or_else(|_elapsed| Err(format!("no answer within {:?}", self.timeout).into()))
        })
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
}
