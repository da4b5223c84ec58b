//! A component that shows what a test gives it, and pages of a test's own in front of a cluster.

use std::time::Duration;

use diffyne_worker::component::{CallError, Definition, Registry};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::application::nginx_site;
use crate::cluster::Cluster;
use crate::ports::free_ports;
use crate::process::Process;

/// `view` is HTML, in which `{n}`, `{said}` and `{lock}` stand for the rest.
#[derive(Default, Serialize, Deserialize)]
struct Stage {
    view: String,
    n: i64,
    said: String,
    text: String,
    open: bool,
}

impl Stage {
    fn html(&self) -> String {
        let view = self.view.replace("{n}", &self.n.to_string()).replace("{said}", &self.said);
        format!("<div>{}</div>", view.replace("{lock}", if self.open { "disabled" } else { "" }))
    }
}

/// Adds the component, `App\Tests\Stage`.
pub fn register(registry: &mut Registry) {
    registry.add(
        Definition::<Stage>::new("App\\Tests\\Stage")
            .render(Stage::html)
            .method("add", ["n"], |stage, _context, (n,): (i64,)| stage.n += n)
            .method("say", ["a", "b", "c"], |stage, _context, (a, b, c): (Value, Value, Value)| {
                stage.said = json!([a, b, c]).to_string().replace('"', "'");
            })
            .method("toggle", [], |stage, _context, ()| stage.open = !stage.open)
            .method("stage", ["view"], |stage, _context, (view,): (String,)| stage.view = view)
            .method("go", ["url"], |_stage, context, (url,): (String,)| context.redirect(&url))
            .method("fail", [], |_stage, _context, ()| Err(CallError::Exception("it failed on purpose".to_owned())))
            .async_method("slow", ["ms", "n"], |stage, _context, (ms, n): (i64, i64)| {
                Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())).await;
                    stage.n += n;
                    stage.open = n == 7;
                    Ok(())
                })
            }),
    );
}

/// Pages at `/stage/`, behind one nginx with the gateways.
pub struct StagePages {
    /// Where they are.
    pub port: u16,
    _nginx: Process,
}

impl StagePages {
    /// Serves these files, by name.
    pub fn start(cluster: &Cluster, files: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = cluster.directory.path().join("pages");
        std::fs::create_dir_all(folder.join("stage"))?;
        for (name, text) in files {
            std::fs::write(folder.join("stage").join(name), text)?;
        }
        let [port, unused] = free_ports()?;
        let site = nginx_site(cluster, port, unused, None)?;
        let location = format!(
            "    location /stage/ {{ root {}; types {{ text/html html; text/javascript js; text/css css; }} }}\n",
            folder.display()
        );
        let site = site.replace("    # The application: php-fpm", &format!("{location}    # The application: php-fpm"));
        Ok(Self { port, _nginx: cluster.run_nginx(&site, port)? })
    }

    /// The address of a page.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/stage/{name}", self.port)
    }
}
