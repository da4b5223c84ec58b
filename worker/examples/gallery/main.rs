//! A gallery of components written in Rust, and the pages that show them.
//!
//! Behind one nginx (`nginx/application.conf`) with a gateway:
//!
//! ```text
//! cargo run --example gallery -- serve --signing-key secret --worker-listen 127.0.0.1:7001
//! diffyne-gateway serve --workers 127.0.0.1:7001
//! ```
//!
//! The pages are served on 127.0.0.1:8000, or where `GALLERY_LISTEN` says.

mod components;
mod site;

use std::process::ExitCode;
use std::sync::Arc;

use diffyne_worker::page::{Script, script_tag};
use diffyne_worker::{cli, demo};
use tokio::net::TcpListener;

fn main() -> ExitCode {
    cli::main_with_site(
        |registry, settings| {
            components::register(registry);
            demo::app(&settings.database)
        },
        |engine| async move {
            let listen = std::env::var("GALLERY_LISTEN").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
            let scripts =
                script_tag(&Script { source: "/_diffyne/client.js", socket: Some("/diffyne"), ..Script::default() });
            println!("The gallery's pages are at http://{listen}/");
            let site = Arc::new(site::Site { engine, scripts, more: &[] });
            Ok(site.serve(TcpListener::bind(listen).await?).await?)
        },
    )
}
