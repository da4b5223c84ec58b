//! `diffyne-gateway dev`: gateway, worker and bus in one process, with the demo page. The worker is reached by the
//! same protocol as in production, over a stream in memory. The only place in this crate that names the worker.

use std::collections::HashMap;
use std::sync::Arc;

use clap::{ArgMatches, Command};
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings::gateway::{self, GatewaySettings};
use diffyne_shared::settings::worker::{self, MissingKey, WorkerSettings};
use diffyne_shared::settings::{self, Layers, Spec};
use diffyne_shared::telemetry::Logs;
use diffyne_worker::backend::native::NativeBackend;
use diffyne_worker::component::engine::Engine;
use diffyne_worker::component::{ClientInfo, Registry};
use diffyne_worker::page::{self, Script, script_tag};
use diffyne_worker::server::Worker;
use diffyne_worker::{cli as worker_cli, demo};

use crate::cli;
use crate::http::{Page, PageFuture, Pages};
use crate::pages::{self, ServePages};
use crate::relay::MemoryConnector;
use crate::server::{Extras, Gateway};

/// The worker's name within the process.
const WORKER: &str = "dev";
const PAGE: &str = include_str!("client/demo.html");

fn specs() -> Vec<&'static Spec> {
    let mut specs = gateway::specs();
    for spec in worker::specs() {
        if !specs.iter().any(|known| known.name == spec.name) {
            specs.push(spec);
        }
    }
    specs
}

/// The command and its flags: those of both programs.
pub fn command() -> Command {
    Command::new("dev")
        .about("Try it: gateway, worker and bus in one process, and a demo page")
        .args(settings::arguments(&specs()))
}

/// Runs everything until Ctrl-C.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let specs = specs();
    let (files, flags) = settings::from_matches(matches, &specs);
    let environment: HashMap<String, String> = std::env::vars().collect();
    let layers = Layers::read(&specs, &files, &environment, &flags)?;
    let mut gateway_settings = GatewaySettings::read(&layers)?;
    gateway_settings.workers.push(Endpoint::Memory(WORKER.to_owned()));
    let worker_settings = WorkerSettings::read(&layers, MissingKey::Random)?;
    let logs = Logs::start(&gateway_settings.log, "diffyne-dev").map_err(anyhow::Error::msg)?;

    cli::control_runtime()?.block_on(async {
        let mut registry = Registry::default();
        demo::register(&mut registry);
        let engine = worker_cli::engine(&worker_settings, registry, demo::app(&worker_settings.database)?);
        let memory = MemoryConnector::default();
        let connections = memory.listen(WORKER);
        let worker =
            Worker::in_memory(&worker_settings, Arc::new(NativeBackend::new(Arc::clone(&engine))), connections)?;
        let key = gateway_settings.keys.first().cloned();
        let (prefix, path) = (gateway_settings.route_prefix.clone(), gateway_settings.path.clone());
        let bus = gateway_settings.redis.url.as_ref().map_or("in memory", |_| "Redis");
        let pages = move |health| -> Arc<dyn Pages> {
            let query = key.map(|key| format!("?key={key}")).unwrap_or_default();
            let serve = ServePages::new(health, &prefix);
            Arc::new(DevPages { serve, engine, socket: format!("{path}{query}"), prefix })
        };
        let gateway = Gateway::start(gateway_settings, Extras { memory: Some(memory), pages: Box::new(pages) })?;
        println!("{}", welcome(&gateway, bus, &worker_settings));
        cli::wait_for_stop(&gateway, &logs, matches).await?;
        gateway.stop().await;
        worker.stop().await;
        Ok(())
    })
}

fn welcome(gateway: &Gateway, bus: &str, worker: &WorkerSettings) -> String {
    let admin = gateway.admin_address.as_ref().map_or_else(|| "off".to_owned(), |at| format!("http://{at}/metrics"));
    format!(
        "
  Diffyne Cluster {version} is running: one gateway, one worker, a bus {bus}.

    page     http://{at}/          open it in two tabs and chat
    socket   ws://{at}/
    health   http://{at}/health
    metrics  {admin}
    messages {database}

  Try: curl -s http://{at}/health
  Ctrl-C stops.
",
        version = diffyne_shared::VERSION,
        at = gateway.address,
        database = worker.database.display(),
    )
}

struct DevPages {
    serve: ServePages,
    engine: Arc<Engine>,
    /// Address of the WebSocket, with its key.
    socket: String,
    prefix: String,
}

impl DevPages {
    async fn demo(&self) -> Page {
        let source = format!("{}/client.js", self.prefix);
        let script = Script { source: &source, socket: Some(&self.socket), endpoint: Some(&self.prefix), ajax: None };
        let mut html = PAGE.replace("{{ script }}", &script_tag(&script));
        let page = page::Page::new(&self.engine, ClientInfo::default(), "");
        for (mark, class) in [("{{ counter }}", demo::COUNTER), ("{{ chat }}", demo::CHAT_ROOM)] {
            let component = page.component(class, serde_json::Value::Null).await;
            let component = component.unwrap_or_else(|failure| {
                tracing::error!(?failure, class, "a demo component does not mount");
                "<p>This component cannot be shown; see the log.</p>".to_owned()
            });
            html = html.replace(mark, &component);
        }
        pages::page("text/html; charset=utf-8", html)
    }
}

impl Pages for DevPages {
    fn page<'a>(&'a self, path: &'a str) -> PageFuture<'a> {
        Box::pin(async move { if path == "/" { Some(self.demo().await) } else { self.serve.page(path).await } })
    }

    fn health(&self) -> String {
        self.serve.health()
    }
}
