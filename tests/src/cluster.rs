//! Gateways, workers, Redis and nginx, as real processes on ports of their own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{http_get, http_post};
use crate::ports::free_ports;
use crate::process::{Process, Signal, eventually, program, program_in, project, wait_for_port};

/// What a cluster consists of.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Gateways.
    pub gateways: usize,
    /// Workers.
    pub workers: usize,
    /// Redis, and the registry in it; else a memory bus and workers by address.
    pub redis: bool,
    /// nginx in front.
    pub nginx: bool,
    /// Workers that gateways are expected to reach; default: all.
    pub reachable: Option<usize>,
    /// More flags for gateways.
    pub gateway_flags: Vec<String>,
    /// More flags for workers.
    pub worker_flags: Vec<String>,
    /// More environment for workers.
    pub worker_environment: Vec<(String, String)>,
    /// More environment for gateways.
    pub gateway_environment: Vec<(String, String)>,
    /// Key that states are signed with.
    pub signing_key: String,
    /// Workers with an application are waited for until they can run calls, else until gateways are connected to them.
    pub wait_for_php: bool,
    /// Gateways have the limits that they have by default; else rates are off, since tests send faster than users.
    pub default_limits: bool,
    /// The folder of another build's programs; default: this build's.
    pub programs: Option<PathBuf>,
}

impl Shape {
    /// Gateways and workers without anything else.
    pub fn new(gateways: usize, workers: usize) -> Self {
        Self {
            gateways,
            workers,
            redis: false,
            nginx: false,
            reachable: None,
            gateway_flags: Vec::new(),
            worker_flags: Vec::new(),
            worker_environment: Vec::new(),
            gateway_environment: Vec::new(),
            signing_key: "test".to_owned(),
            wait_for_php: true,
            default_limits: false,
            programs: None,
        }
    }

    /// With Redis.
    #[must_use]
    pub fn with_redis(self) -> Self {
        Self { redis: true, ..self }
    }

    /// With the limits that gateways have by default.
    #[must_use]
    pub fn with_default_limits(self) -> Self {
        Self { default_limits: true, ..self }
    }

    /// With nginx.
    #[must_use]
    pub fn with_nginx(self) -> Self {
        Self { nginx: true, ..self }
    }

    /// With a flag for every gateway.
    #[must_use]
    pub fn gateway(mut self, flag: &str, value: &str) -> Self {
        self.gateway_flags.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// With a variable in the environment of every worker.
    #[must_use]
    pub fn worker_variable(mut self, name: &str, value: &str) -> Self {
        self.worker_environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a variable in the environment of every gateway and worker.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.gateway_environment.push((name.to_owned(), value.to_owned()));
        self.worker_variable(name, value)
    }

    /// With a flag for every worker.
    #[must_use]
    pub fn worker(mut self, flag: &str, value: &str) -> Self {
        self.worker_flags.extend([flag.to_owned(), value.to_owned()]);
        self
    }
}

/// A gateway or a worker.
#[derive(Debug)]
pub struct Node {
    /// Its process.
    pub process: Process,
    /// Its port.
    pub port: u16,
    /// Its admin port.
    pub admin: u16,
}

/// A running cluster.
pub struct Cluster {
    /// Where everything lies.
    pub directory: TempDir,
    /// The shape it was started in.
    pub shape: Shape,
    /// Redis.
    pub redis: Option<Process>,
    /// Redis's port.
    pub redis_port: u16,
    /// Workers.
    pub workers: Vec<Node>,
    /// Gateways.
    pub gateways: Vec<Node>,
    /// nginx's port.
    pub nginx_port: u16,
    /// nginx.
    pub nginx: Option<Process>,
}

impl Cluster {
    /// Starts everything and waits until it is ready.
    pub fn start(shape: Shape) -> anyhow::Result<Self> {
        let mut cluster = Self::start_unready(shape)?;
        cluster.wait_until_ready()?;
        if cluster.shape.nginx {
            cluster.nginx = Some(cluster.start_nginx()?);
        }
        Ok(cluster)
    }

    /// Starts everything but nginx.
    pub fn start_unready(shape: Shape) -> anyhow::Result<Self> {
        let [redis_port, nginx_port] = free_ports()?;
        let mut cluster = Self {
            directory: tempfile::tempdir()?,
            shape,
            redis: None,
            redis_port,
            workers: Vec::new(),
            gateways: Vec::new(),
            nginx_port,
            nginx: None,
        };
        if cluster.shape.redis {
            cluster.start_redis()?;
        }
        for _ in 0..cluster.shape.workers {
            let worker = cluster.start_worker()?;
            cluster.workers.push(worker);
        }
        for _ in 0..cluster.shape.gateways {
            let gateway = cluster.start_gateway()?;
            cluster.gateways.push(gateway);
        }
        Ok(cluster)
    }

    /// Starts Redis, on the same port as before.
    pub fn start_redis(&mut self) -> anyhow::Result<()> {
        let port = self.redis_port.to_string();
        let directory = self.directory.path().to_owned();
        let redis = Process::start("redis", &directory, &PathBuf::from("redis-server"), |command| {
            // What is written to the file survives a kill. With the default, `everysec`, Redis puts off the write while
            // the disk is busy.
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
            command.args(["--appendonly", "yes", "--appendfsync", "no"]);
            command.arg("--dir").arg(&directory);
        })?;
        wait_for_port(self.redis_port)?;
        self.redis = Some(redis);
        Ok(())
    }

    fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.shape.programs.as_ref().map_or_else(|| program(name), |folder| program_in(folder, name))
    }

    /// Where Redis is.
    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.redis_port)
    }

    /// The file in which the probe notes its runs.
    pub fn probe_file(&self) -> PathBuf {
        self.directory.path().join("probe.txt")
    }

    /// Starts one more worker.
    pub fn start_worker(&self) -> anyhow::Result<Node> {
        let [port, admin] = free_ports()?;
        self.start_worker_at(port, admin)
    }

    /// Starts a worker again, under its old name and at its old place.
    pub fn restart_worker(&mut self, index: usize) -> anyhow::Result<()> {
        self.workers[index].process.end();
        let node = self.start_worker_at(self.workers[index].port, self.workers[index].admin)?;
        self.workers[index] = node;
        Ok(())
    }

    fn start_worker_at(&self, port: u16, admin: u16) -> anyhow::Result<Node> {
        let name = format!("worker-{port}");
        let process = Process::start(&name, self.directory.path(), &self.program("test-worker")?, |command| {
            command.args(["serve", "--worker-listen", &format!("127.0.0.1:{port}")]);
            command.args([
                "--worker-admin-listen",
                &format!("127.0.0.1:{admin}"),
                "--signing-key",
                &self.shape.signing_key,
            ]);
            command.arg("--database").arg(self.directory.path().join("demo.sqlite"));
            command.env("DIFFYNE_PROBE_FILE", self.probe_file());
            command.envs(self.shape.worker_environment.iter().cloned());
            if self.shape.redis {
                command.args(["--redis-url", &self.redis_url()]);
            }
            command.args(&self.shape.worker_flags);
        })?;
        let node = Node::listening(process, port, admin)?;
        if self.shape.worker_flags.iter().any(|flag| ["--app", "--backend-url", "--fastcgi"].contains(&flag.as_str()))
            && self.shape.wait_for_php
        {
            eventually("PHP is ready", || node.ready().is_ok_and(|status| status == 200))
                .with_context(|| format!("the worker's log: {}", node.process.output()))?;
        }
        Ok(node)
    }

    /// Starts one more gateway.
    pub fn start_gateway(&self) -> anyhow::Result<Node> {
        let [port, admin] = free_ports()?;
        self.start_gateway_at(port, admin)
    }

    /// Starts a gateway again, under its old name and at its old place.
    pub fn restart_gateway(&mut self, index: usize) -> anyhow::Result<()> {
        self.gateways[index].process.end();
        let node = self.start_gateway_at(self.gateways[index].port, self.gateways[index].admin)?;
        self.gateways[index] = node;
        Ok(())
    }

    fn start_gateway_at(&self, port: u16, admin: u16) -> anyhow::Result<Node> {
        let name = format!("gateway-{port}");
        let process = Process::start(&name, self.directory.path(), &self.program("diffyne-gateway")?, |command| {
            command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
            command.args(["--admin-listen", &format!("127.0.0.1:{admin}")]);
            command.envs(self.shape.gateway_environment.iter().cloned());
            if self.shape.redis {
                command.args(["--redis-url", &self.redis_url()]);
            } else if !self.workers.is_empty() && !self.shape.gateway_flags.iter().any(|flag| flag == "--workers") {
                let workers: Vec<String> = self.workers.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
                command.args(["--workers", &workers.join(",")]);
            }
            // Tests send faster than users; those about limits set their own.
            for name in ["handshake", "message", "call", "broadcast", "frame", "connection"] {
                let flag = format!("--{name}-rate");
                if !self.shape.default_limits && !self.shape.gateway_flags.contains(&flag) {
                    command.args([&flag, "off"]);
                }
            }
            command.args(&self.shape.gateway_flags);
        })?;
        Node::listening(process, port, admin)
    }

    /// Waits until every gateway reaches every worker, and Redis where there is one. An error shows what each process
    /// has printed.
    pub fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let workers = self.shape.reachable.unwrap_or(self.workers.len());
        let redis = if self.shape.redis { "up" } else { "off" };
        for index in 0..self.gateways.len() {
            let gateway = &mut self.gateways[index];
            let mut ended = false;
            let ready = eventually("a gateway reaches all workers and Redis", || {
                ended = !gateway.process.is_running();
                let health = gateway.health();
                let is_reached = |health: &Value| {
                    if self.shape.wait_for_php {
                        health["workers"] == workers
                    } else {
                        gateway.connected_workers().is_ok_and(|connected| connected == workers)
                    }
                };
                ended || health.is_ok_and(|health| is_reached(&health) && health["redis"] == redis)
            });
            if ended || ready.is_err() {
                bail!("a gateway is not ready; it has ended: {ended}; {}", self.outputs());
            }
        }
        Ok(())
    }

    /// What gateways and workers have printed.
    fn outputs(&self) -> String {
        let nodes = self.gateways.iter().chain(&self.workers);
        nodes
            .map(|node| format!("\n--- port {}, admin {}:\n{}", node.port, node.admin, node.process.output()))
            .collect()
    }

    fn start_nginx(&self) -> anyhow::Result<Process> {
        self.run_nginx(&self.shipped_site("diffyne.conf", self.nginx_port)?, self.nginx_port)
    }

    /// A site of `nginx/` in front of these gateways. Without certificates, as the tests have none: `tls.conf` says https by itself.
    pub fn shipped_site(&self, file: &str, port: u16) -> anyhow::Result<String> {
        let read = |file: &str| std::fs::read_to_string(project().join("nginx").join(file));
        let text = match file {
            // A part of a site, with what it needs beside it.
            "locations.conf" => {
                let application = "location / {\n proxy_pass http://127.0.0.1:8000;\n}";
                format!(
                    "{}server {{\nlisten 127.0.0.1:8080;\n{}{application}\n}}\n",
                    read("upstream.conf")?,
                    read(file)?
                )
            }
            _ => read(file)?,
        };
        let mut site: String =
            text.lines().filter(|line| !line.trim().starts_with("ssl_")).flat_map(|line| [line, "\n"]).collect();
        for (index, usual) in [6001, 6002, 6003].iter().enumerate() {
            let gateway =
                self.gateways.get(index).map(|gateway| format!("    server 127.0.0.1:{} max_fails=0;\n", gateway.port));
            for place in [format!("127.0.0.1:{usual}"), format!("unix:/run/diffyne/{usual}.sock")] {
                let line = format!("    server {place} max_fails=0;\n");
                site = site.replace(&line, gateway.as_deref().unwrap_or_default());
            }
        }
        for listen in ["127.0.0.1:8080", "443 ssl"] {
            site = site.replace(&format!("listen {listen};"), &format!("listen 127.0.0.1:{port};"));
        }
        Ok(site)
    }

    /// Runs nginx with a site, on a port that the site names.
    pub fn run_nginx(&self, site: &str, port: u16) -> anyhow::Result<Process> {
        let folder = self.directory.path().join(format!("nginx-{port}"));
        std::fs::create_dir_all(&folder)?;
        let folder_text = folder.display();
        std::fs::write(folder.join("site.conf"), site.replace("/var/log/nginx", &folder_text.to_string()))?;
        let main = format!(
            "user root;\ndaemon off;\nworker_processes 2;\npid {folder_text}/nginx.pid;\nerror_log {folder_text}/error.log;\n\
             worker_shutdown_timeout 10s;\nevents {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n\
             client_body_temp_path {folder_text}/body; proxy_temp_path {folder_text}/proxy;\n\
             fastcgi_temp_path {folder_text}/f; uwsgi_temp_path {folder_text}/u; scgi_temp_path {folder_text}/s;\n\
             include {folder_text}/site.conf;\n}}\n"
        );
        std::fs::write(folder.join("nginx.conf"), main)?;
        let check = Command::new("nginx").arg("-t").arg("-c").arg(folder.join("nginx.conf")).output()?;
        ensure!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
        let nginx = Process::start_parent(&format!("nginx-{port}"), &folder, &PathBuf::from("nginx"), |command| {
            command.arg("-c").arg(folder.join("nginx.conf"));
        })?;
        wait_for_port(port)?;
        Ok(nginx)
    }

    /// The WebSocket of a gateway.
    pub fn url(&self, gateway: usize) -> String {
        format!("ws://127.0.0.1:{}/", self.gateways[gateway].port)
    }

    /// The WebSocket behind nginx.
    pub fn nginx_url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.nginx_port)
    }

    /// Releases the probe's calls of `hold` that wait for this name: those that wait now, and all that come later.
    pub fn release(&self, name: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.probe_file().with_extension(format!("release-{name}")), "")?)
    }

    /// Waits until the probe has begun a call with this tag.
    pub fn wait_until_begun(&self, tag: &str) -> anyhow::Result<()> {
        let note = format!("begin {tag}");
        eventually(&format!("the call {tag} has begun"), || self.notes().contains(&note))
    }

    /// What the probe has noted.
    pub fn notes(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.probe_file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Stops Redis without ado, as a crash would.
    pub fn kill_redis(&mut self) -> anyhow::Result<()> {
        let mut redis = self.redis.take().context("no Redis")?;
        redis.signal(Signal::Kill)?;
        redis.wait()?;
        Ok(())
    }
}

impl Node {
    /// A process that listens on both ports, which it does one after the other.
    pub fn listening(process: Process, port: u16, admin: u16) -> anyhow::Result<Self> {
        wait_for_port(port)?;
        wait_for_port(admin)?;
        Ok(Self { process, port, admin })
    }

    /// `GET /health` on the admin port, or on the public one of a release that has it only there.
    pub fn health(&self) -> anyhow::Result<Value> {
        let response = http_get(self.admin, "/health")?;
        let response = if response.status == 404 { http_get(self.port, "/health")? } else { response };
        ensure!(response.status == 200, "{response:?}");
        Ok(serde_json::from_str(&response.body)?)
    }

    /// Workers that answer a gateway, whether they can run calls or not.
    fn connected_workers(&self) -> anyhow::Result<usize> {
        let count = |state: &str| self.metric(&format!("diffyne_gateway_workers{{state=\"{state}\"}}"));
        Ok((count("reachable")? + count("faulty")?) as usize)
    }

    /// The status of `GET /ready`.
    pub fn ready(&self) -> anyhow::Result<u16> {
        Ok(http_get(self.admin, "/ready")?.status)
    }

    /// Disconnects a client of any gateway, as an operator with this token does; what the gateway answers.
    pub fn disconnect(&self, admin_token: &str, client: &str) -> anyhow::Result<Value> {
        let bearer = format!("Bearer {admin_token}");
        let body = serde_json::json!({"client": client}).to_string();
        http_post(self.admin, "/api/disconnect", &[("Authorization", &bearer)], &body)?.json()
    }

    /// The metrics as text.
    pub fn metrics(&self) -> anyhow::Result<String> {
        Ok(http_get(self.admin, "/metrics")?.body)
    }

    /// One sample, by its name with labels; 0 when it is not there.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.metrics()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.unwrap_or("0").parse()?)
    }
}
