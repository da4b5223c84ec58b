//! A real Prometheus that scrapes a cluster by the configuration that we ship.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::http::http;
use crate::ports::free_ports;
use crate::process::{Process, project, wait_for_port};

/// A running Prometheus. It ends with this.
pub struct Prometheus {
    _process: Process,
    port: u16,
}

impl Prometheus {
    /// Starts it with `deploy/prometheus`, but for the targets, which are those of the cluster, and for the intervals,
    /// which are a second.
    pub fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let shipped = project().join("deploy/prometheus");
        let folder = cluster.directory.path().join("prometheus");
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(shipped.join("alerts.yml"), folder.join("alerts.yml"))?;
        let nodes = |nodes: &[crate::cluster::Node]| -> Vec<String> {
            nodes.iter().map(|node| format!("'127.0.0.1:{}'", node.admin)).collect()
        };
        let config = std::fs::read_to_string(shipped.join("prometheus.yml"))?
            .replace("'127.0.0.1:16001', '127.0.0.1:16002', '127.0.0.1:16003'", &nodes(&cluster.gateways).join(", "))
            .replace("'127.0.0.1:17001', '127.0.0.1:17002'", &nodes(&cluster.workers).join(", "))
            .replace("15s", "1s");
        std::fs::write(folder.join("prometheus.yml"), config)?;
        let [port] = free_ports()?;
        let process = Process::start("prometheus", &folder, &PathBuf::from("prometheus"), |command| {
            command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
            command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        })?;
        wait_for_port(port)?;
        Ok(Self { _process: process, port })
    }

    /// The `data` that it answers a request of its API with. The error of one that it refuses has its words.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        // By HTTP/1.0, long answers come in one piece.
        let answer = http(self.port, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))?;
        let mut body: Value = serde_json::from_str(&answer.body).with_context(|| format!("{path}: {answer:?}"))?;
        ensure!(body["status"] == "success", "{path}: {body}");
        Ok(body["data"].take())
    }

    /// The series that an expression has now.
    pub fn query(&self, expression: &str) -> anyhow::Result<Vec<Value>> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut data = self.get(&format!("/api/v1/query?query={encoded}"))?;
        serde_json::from_value(data["result"].take()).with_context(|| format!("{expression}: {data}"))
    }

    /// The value of the only series of an expression, if it has one.
    pub fn value(&self, expression: &str) -> Option<f64> {
        let series = self.query(expression).ok()?;
        series.first()?["value"][1].as_str()?.parse().ok()
    }
}
