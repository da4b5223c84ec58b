//! Pages of a real Laravel application in front of a cluster: `/pages/{class}` shows one component, as the package
//! renders it.

use std::path::Path;

use crate::application::{Script, nginx_site};
use crate::cluster::Cluster;
use crate::laravel::Laravel;
use crate::ports::free_ports;
use crate::process::Process;

/// The pages, behind one nginx with the gateways.
pub struct LaravelPages {
    /// Where they are.
    pub port: u16,
    _nginx: Process,
    _php: Process,
}

impl LaravelPages {
    /// Serves the pages with this script, whose tag has `more` as attributes.
    pub fn start(cluster: &Cluster, laravel: &Laravel, script: &Script, more: &str) -> anyhow::Result<Self> {
        let (php, php_port) = laravel.serve()?;
        std::fs::write(laravel.path("tags.html"), script.tags("/diffyne", more))?;
        let [port] = free_ports()?;
        let diffyne_js: Option<&Path> = script.diffyne_js();
        let nginx = cluster.run_nginx(&nginx_site(cluster, port, php_port, diffyne_js)?, port)?;
        Ok(Self { port, _nginx: nginx, _php: php })
    }

    /// The address of a page.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}
