//! The gallery's pages, served by hyper. Any Rust web server can do it: it needs [`Page`] and a script tag.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;

use diffyne_worker::component::ClientInfo;
use diffyne_worker::component::engine::Engine;
use diffyne_worker::demo;
use diffyne_worker::page::Page;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use super::components::{SHOWN, SOURCES};

const LAYOUT: &str = include_str!("layout.html");

/// The gallery's web server.
pub struct Site {
    pub engine: Arc<Engine>,
    /// The script tags at the end of every page.
    pub scripts: String,
    /// Pages beside the gallery's own: path, title, class and description.
    pub more: &'static [(&'static str, &'static str, &'static str, &'static str)],
}

impl Site {
    /// The page at a path; several components stand on one page when their paths are joined by `+`.
    pub async fn page(&self, path: &str, query: &str, headers: String) -> Option<String> {
        let client = ClientInfo { headers, ..ClientInfo::default() };
        let page = Page::new(&self.engine, client, query);
        let (title, body) = match path {
            "/" => ("Components", index()),
            "/done" => ("Done", "<article><p>That was all.</p></article>".to_owned()),
            path => {
                let mut body = String::new();
                let mut title = "";
                for name in path.trim_start_matches('/').split('+') {
                    let (path, shown, class, about) =
                        SHOWN.iter().chain(self.more).find(|(path, ..)| path.trim_start_matches('/') == name)?;
                    title = shown;
                    let component = page.component(class, Value::Null).await.unwrap_or_else(|error| {
                        eprintln!("{class} cannot be shown: {error:?}");
                        "<p>This component cannot be shown.</p>".to_owned()
                    });
                    // Writing into a String cannot fail.
                    let _ = write!(
                        body,
                        "<article><h2>{shown}</h2><p class=\"quiet\">{about}</p>{component}{}</article>",
                        source(path)
                    );
                }
                (title, body)
            }
        };
        let about = if path == "/" { "Components written in Rust, their pages served by hyper." } else { "" };
        let head =
            LAYOUT.replace("{{ style }}", demo::STYLE).replace("{{ title }}", title).replace("{{ about }}", about);
        Some(head.replace("{{ scripts }}", &self.scripts).replace("{{ body }}", &body))
    }

    /// Serves the pages until the program ends.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> std::io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            let site = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let site = Arc::clone(&site);
                    async move { Ok::<_, Infallible>(site.respond(&request).await) }
                });
                // The connection fails when the browser goes away.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    async fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut headers = String::new();
        for (name, value) in request.headers() {
            if let Ok(value) = value.to_str() {
                // Writing into a String cannot fail.
                let _ = writeln!(headers, "{name}: {value}");
            }
        }
        let page = self.page(request.uri().path(), request.uri().query().unwrap_or_default(), headers).await;
        let status = if page.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let mut response = Response::new(Full::from(page.unwrap_or_else(|| "There is no such page.".to_owned())));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/html; charset=utf-8"));
        response
    }
}

/// The source of the component at a path, folded away.
fn source(path: &str) -> String {
    let Some((_, source)) = SOURCES.iter().find(|(shown, _)| *shown == path) else { return String::new() };
    let source = source.replace('&', "&amp;").replace('<', "&lt;");
    format!("<details><summary>Source</summary><pre tabindex=\"0\"><code>{source}</code></pre></details>")
}

fn index() -> String {
    let mut body = String::new();
    for (path, title, _, about) in SHOWN {
        // Writing into a String cannot fail.
        let _ = write!(
            body,
            "<article><h2><a href=\"{path}\" diff:navigate.hover>{title}</a></h2><p class=\"quiet\">{about}</p></article>"
        );
    }
    body
}
