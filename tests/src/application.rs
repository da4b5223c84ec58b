//! A web application in front of a cluster: pages with the gallery's components, behind one nginx with the gateways.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use diffyne_shared::signing::{LockedValues, Signer, SigningKey, VerifyState};
use diffyne_worker::component::Registry;
use diffyne_worker::component::engine::{Engine, PushSlots};
use diffyne_worker::demo;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::cluster::Cluster;
use crate::field_components;
use crate::gallery::{components, site};
use crate::ports::free_ports;
use crate::process::{Process, project};

/// What drives the pages.
#[derive(Debug, Clone)]
pub enum Script {
    /// diffyne-client.js.
    Client,
    /// companion.js beside a script with the surface of diffyne.js, which lies here.
    Companion(PathBuf),
    /// That script alone, by AJAX.
    Alone(PathBuf),
}

impl Script {
    /// The real diffyne.js without a script of ours, if it is at hand.
    pub fn alone() -> Option<Self> {
        std::env::var_os("DIFFYNE_JS").map(|path| Self::Alone(path.into()))
    }

    /// companion.js beside the stand-in, and, if the real diffyne.js is at hand, beside that.
    pub fn companions() -> Vec<Self> {
        let stand_in = project().join("tests/data/stand-in.js");
        let real = std::env::var_os("DIFFYNE_JS").map(PathBuf::from);
        std::iter::once(stand_in).chain(real).map(Self::Companion).collect()
    }

    /// The script that stands for diffyne.js, where there is one.
    pub(crate) fn diffyne_js(&self) -> Option<&Path> {
        match self {
            Self::Client => None,
            Self::Companion(path) | Self::Alone(path) => Some(path),
        }
    }

    pub(crate) fn tags(&self, socket: &str, more: &str) -> String {
        match self {
            Self::Client => {
                format!(r#"<script type="module" src="/_diffyne/client.js" data-url="{socket}"{more}></script>"#)
            }
            Self::Alone(_) => r#"<script>window.diffyneConfig = {transport: 'ajax', endpoint: '/_diffyne'};</script>
                <script src="/diffyne.js" defer></script>"#
                .to_owned(),
            Self::Companion(_) => format!(
                r#"<script>window.diffyneConfig = {{transport: 'websocket', wsUrl: 'ws://127.0.0.1:1/?key=', endpoint: '/_diffyne'}};</script>
                <script src="/diffyne.js" defer></script>
                <script type="module" src="/_diffyne/companion.js" data-url="{socket}"{more}></script>"#
            ),
        }
    }
}

/// A running application.
pub struct Application {
    /// Where its pages are.
    pub port: u16,
    site: AbortHandle,
    _nginx: Process,
}

impl Drop for Application {
    fn drop(&mut self) {
        self.site.abort();
    }
}

impl Application {
    /// Serves pages in front of a cluster, whose signing key and database they share. `socket` is the address of the
    /// WebSocket that the pages are told, `more` are attributes of the script tag.
    pub async fn start(cluster: &Cluster, script: &Script, socket: &str, more: &str) -> anyhow::Result<Self> {
        Self::start_signing(cluster, script, socket, more, LockedValues::Signed).await
    }

    /// The same; with [`LockedValues::Upstream`] its pages are signed as those that the package renders.
    pub async fn start_signing(
        cluster: &Cluster,
        script: &Script,
        socket: &str,
        more: &str,
        locked: LockedValues,
    ) -> anyhow::Result<Self> {
        let mut registry = Registry::default();
        components::register(&mut registry);
        field_components::register(&mut registry);
        let key = SigningKey::parse("test")?;
        let signer =
            Signer::new(vec![key], VerifyState::PropertyUpdates, true).ok_or_else(|| anyhow::anyhow!("no key"))?;
        let signer = signer.with_locked_values(locked);
        let app = demo::app(&cluster.directory.path().join("demo.sqlite"))?;
        let mut flags = cluster.shape.worker_flags.windows(2);
        let release = flags.find(|flag| flag[0] == "--release").map(|flag| Arc::from(flag[1].as_str()));
        let engine = Arc::new(Engine {
            registry,
            signer: ArcSwap::from_pointee(signer),
            app,
            debug: false,
            uploads: None,
            release,
            push_slots: PushSlots::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let site_port = listener.local_addr()?.port();
        let site = Arc::new(site::Site { engine, scripts: script.tags(socket, more), more: &field_components::PAGES });
        let site = tokio::spawn(site.serve(listener)).abort_handle();
        let [port] = free_ports()?;
        let nginx = cluster.run_nginx(&nginx_site(cluster, port, site_port, script.diffyne_js())?, port)?;
        Ok(Self { port, site, _nginx: nginx })
    }

    /// The address of a page.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

/// The site of `nginx/application.conf`, on these ports.
pub(crate) fn nginx_site(
    cluster: &Cluster,
    port: u16,
    site_port: u16,
    diffyne_js: Option<&Path>,
) -> anyhow::Result<String> {
    let mut site = cluster.shipped_site("application.conf", port)?;
    // Uploads for components in Rust go to a worker, through a gateway.
    for path in ["upload", "preview"] {
        let start = site.find(&format!("location = /_diffyne/{path} {{")).context("no location for uploads")?;
        let rest = site.split_off(start);
        site += &rest.replacen("proxy_pass http://127.0.0.1:8000;", "proxy_pass http://diffyne;", 1);
    }
    site = site.replace("127.0.0.1:8000", &format!("127.0.0.1:{site_port}"));
    if let Some(path) = diffyne_js {
        let folder = cluster.directory.path().join("scripts");
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(path, folder.join("diffyne.js"))?;
        let text =
            format!("    location = /diffyne.js {{ root {}; types {{ text/javascript js; }} }}\n", folder.display());
        site = site.replace("    # The application: php-fpm", &format!("{text}    # The application: php-fpm"));
    }
    Ok(site)
}
