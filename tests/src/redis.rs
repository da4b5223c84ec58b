//! Redis in its other shapes: behind Sentinels, as a Cluster, and with TLS; all as real processes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::ports::free_ports;
use crate::process::{Process, Signal, eventually, wait_for_port};

/// Runs `redis-cli` against a port; what it printed.
pub fn cli(port: u16, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn server(directory: &Path, port: u16, flags: &[&str]) -> anyhow::Result<Process> {
    let folder = directory.join(format!("redis-{port}"));
    std::fs::create_dir_all(&folder)?;
    let process = Process::start(&format!("redis-{port}"), &folder, &PathBuf::from("redis-server"), |command| {
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(&folder).args(flags);
    })?;
    Ok(process)
}

/// A server by itself, and its port.
pub fn start(directory: &Path) -> anyhow::Result<(Process, u16)> {
    let [port] = free_ports()?;
    let process = server(directory, port, &[])?;
    wait_for_port(port)?;
    Ok((process, port))
}

/// A primary, a replica, and three Sentinels that watch them.
pub struct Sentinels {
    /// Both servers, the first primary first, with their ports.
    pub servers: Vec<(Process, u16)>,
    watchers: Vec<Process>,
    ports: [u16; 3],
}

impl Sentinels {
    /// Starts all of them; a server that is silent for half a second is voted out.
    pub fn start(directory: &Path) -> anyhow::Result<Self> {
        let [primary, replica, a, b, c] = free_ports()?;
        let mut servers = vec![(server(directory, primary, &[])?, primary)];
        wait_for_port(primary)?;
        servers.push((server(directory, replica, &["--replicaof", "127.0.0.1", &primary.to_string()])?, replica));
        wait_for_port(replica)?;
        let mut sentinels = Vec::new();
        for port in [a, b, c] {
            let file = directory.join(format!("sentinel-{port}.conf"));
            let configuration = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary} 2\n\
                 sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
            );
            std::fs::write(&file, configuration)?;
            sentinels.push(Process::start(
                &format!("sentinel-{port}"),
                directory,
                &PathBuf::from("redis-server"),
                |command| {
                    command.arg(&file).arg("--sentinel");
                },
            )?);
            wait_for_port(port)?;
        }
        let known = || {
            let info = cli(a, &["sentinel", "master", "main"]).unwrap_or_default();
            let value = |name: &str| {
                let mut lines = info.lines().skip_while(|line| *line != name);
                lines.nth(1).and_then(|value| value.parse::<u32>().ok()).unwrap_or(0)
            };
            value("num-slaves") == 1 && value("num-other-sentinels") == 2
        };
        eventually("the Sentinels know each other and the replica", known)?;
        let linked = || cli(replica, &["info", "replication"]).is_ok_and(|info| info.contains("master_link_status:up"));
        eventually("the replica follows", linked)?;
        Ok(Self { servers, watchers: sentinels, ports: [a, b, c] })
    }

    /// The URL that gateways are given.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    /// The port of the server that the Sentinels call the primary.
    pub fn primary(&self) -> anyhow::Result<u16> {
        let address = cli(self.ports[0], &["sentinel", "get-master-addr-by-name", "main"])?;
        Ok(address.lines().nth(1).context("no primary")?.parse()?)
    }

    /// Kills the primary, and waits until the other server has taken its place.
    pub fn fail_over(&mut self) -> anyhow::Result<()> {
        let before = self.primary()?;
        let at = self.servers.iter().position(|(_, port)| *port == before).context("an unknown primary")?;
        self.servers[at].0.signal(Signal::Kill)?;
        self.wait_for_other()
    }

    /// Waits until the server that was a replica is the primary: the other one has been killed.
    pub fn wait_for_other(&mut self) -> anyhow::Result<()> {
        let mut dead = None;
        eventually("one of them has ended", || {
            dead = self.servers.iter_mut().position(|(process, _)| !process.is_running());
            dead.is_some()
        })?;
        let gone = self.servers[dead.context("none has ended")?].1;
        eventually("the other server is the primary", || {
            self.primary()
                .is_ok_and(|now| now != gone && cli(now, &["role"]).is_ok_and(|role| role.starts_with("master")))
        })
    }

    /// How many Sentinels run.
    pub fn count(&self) -> usize {
        self.watchers.len()
    }
}

/// Three nodes that share the slots.
pub struct RedisCluster {
    nodes: Vec<Process>,
    ports: [u16; 3],
}

impl RedisCluster {
    /// Starts and joins them.
    pub fn start(directory: &Path) -> anyhow::Result<Self> {
        let ports: [u16; 3] = free_ports()?;
        let mut nodes = Vec::new();
        for port in &ports {
            nodes.push(server(directory, *port, &["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"])?);
            wait_for_port(*port)?;
        }
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let joined =
            Command::new("redis-cli").args(["--cluster", "create"]).args(&hosts).arg("--cluster-yes").output()?;
        ensure!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stdout));
        for port in &ports {
            eventually("the nodes agree", || {
                cli(*port, &["cluster", "info"]).is_ok_and(|info| info.contains("cluster_state:ok"))
            })?;
        }
        Ok(Self { nodes, ports })
    }

    /// The URL that gateways are given: any node leads to the others.
    pub fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{}", self.ports[0])
    }

    /// How many nodes run.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }
}

/// A certificate authority of one's own, and a certificate for 127.0.0.1.
pub struct Certificates {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them with openssl.
    pub fn make(directory: &Path) -> anyhow::Result<Self> {
        let file = |name: &str| directory.join(name);
        let made = Self { authority: file("ca.pem"), certificate: file("server.pem"), key: file("server.key") };
        let script = "set -e; cd \"$0\"; \
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.pem -subj /CN=test-ca; \
            openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server; \
            printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > ext; \
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out server.pem -extfile ext";
        let output = Command::new("bash").args(["-c", script]).arg(directory).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(made)
    }
}

/// A Redis that speaks TLS only and asks for a user and a password; its port.
pub fn with_tls(directory: &Path, certificates: &Certificates) -> anyhow::Result<(Process, u16)> {
    let [port] = free_ports()?;
    let folder = directory.join("redis-tls");
    std::fs::create_dir_all(&folder)?;
    let (certificate, key) = (certificates.certificate.display(), certificates.key.display());
    let configuration = format!(
        "port 0\ntls-port {port}\nbind 127.0.0.1\nsave \"\"\ntls-cert-file {certificate}\ntls-key-file {key}\n\
         tls-ca-cert-file {}\ntls-auth-clients no\ndir {}\nuser diffyne on >s3cret ~* &* +@all\nuser default off\n",
        certificates.authority.display(),
        folder.display()
    );
    std::fs::write(folder.join("redis.conf"), configuration)?;
    let process = Process::start("redis-tls", &folder, &PathBuf::from("redis-server"), |command| {
        command.arg(folder.join("redis.conf"));
    })?;
    wait_for_port(port)?;
    Ok((process, port))
}
