//! Checks whether file uploads reach the application.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, StatusCode, header};

use super::{Report, Target};
use crate::http::application_server::ApplicationServer;

/// The time limit for the application's answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn check(target: &Target, report: &mut Report) {
    let prefix = &target.settings.route_prefix;
    let server = match ApplicationServer::new(&target.settings.upload) {
        Ok(Some(server)) => server,
        Ok(None) => {
            return report.warn(
                "uploads",
                format!(
                    "DIFFYNE_UPLOAD_URL is not set, so gateways refuse file uploads (501). That is fine while nginx sends \
                     {prefix}/upload and {prefix}/preview to the application, as nginx/application.conf does. Otherwise name the \
                     application's web server, http://127.0.0.1:8000 for example"
                ),
            );
        }
        Err(error) => return report.fail("uploads", format!("DIFFYNE_UPLOAD_CA: {error}")),
    };
    let address = server.address().to_string();
    match upload_nothing(&server, &format!("{prefix}/upload")).await {
        Ok(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => report.fail(
            "uploads",
            format!(
                "{address} knows no POST {prefix}/upload: is it the application, does its Diffyne take uploads, and is its \
                 route_prefix the DIFFYNE_ROUTE_PREFIX of the gateways?"
            ),
        ),
        Ok(status) if status.is_server_error() => {
            report.fail("uploads", format!("{address} answered {status}: the application's log says why"));
        }
        // An upload of nothing is refused, for its missing file or for its missing session.
        Ok(_) => report.ok("uploads", format!("{address} takes them")),
        Err(error) => report.fail("uploads", format!("{address} does not answer: {error}")),
    }
}

/// Sends an upload without a file. The application stores nothing.
async fn upload_nothing(server: &ApplicationServer, path: &str) -> Result<StatusCode, String> {
    let request = Request::post(server.path(path))
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let (mut sender, _connection) = server.connect().await.map_err(|error| error.to_string())?;
        sender.send_request(request).await.map(|response| response.status()).map_err(|error| error.to_string())
    };
    tokio::time::timeout(ASK_TIMEOUT, exchange).await.map_err(|_elapsed| "not in time".to_owned())?
}
