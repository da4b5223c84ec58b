//! A server that answers everything with the input of the moment, and a worker's backend that asks it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use diffyne_shared::settings::worker::{Components, MissingKey, WorkerSettings};
use diffyne_shared::settings::{Files, Layers, worker};
use diffyne_worker::backend::upstream::UpstreamBackend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Target;

/// The bytes that the server answers with.
pub type Input = Arc<Mutex<Vec<u8>>>;

/// Starts the server, and the backend for HTTP or FastCGI.
pub async fn start(target: Target, input: Input) -> anyhow::Result<Arc<UpstreamBackend>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(reply(stream, Arc::clone(&input)));
        }
    });
    let mut flags = HashMap::from([("APP_KEY".to_owned(), "k".to_owned())]);
    if target == Target::Http {
        flags.insert("DIFFYNE_BACKEND_URL".to_owned(), format!("http://{address}"));
    } else {
        flags.insert("DIFFYNE_FASTCGI".to_owned(), address);
        flags.insert("DIFFYNE_FASTCGI_SCRIPT".to_owned(), "/app/public/index.php".to_owned());
    }
    let layers = Layers::read(&worker::specs(), &Files::default(), &HashMap::new(), &flags)?;
    let settings = WorkerSettings::read(&layers, MissingKey::Refuse)?;
    let Components::Application(application) = settings.components else { anyhow::bail!("no application") };
    Ok(UpstreamBackend::start(application, &settings.rendering, settings.signer, false, None))
}

/// Reads once, whatever is asked, and writes the input. The backend may hang up at any time.
async fn reply(mut stream: TcpStream, input: Input) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let bytes = input.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}
