//! The processes that are measured: a bare echo, and a gateway with a worker of one build or of two.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::ArgMatches;
use diffyne_tests::load::{Socket, client_frame};
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{Process, program, program_in, wait_for_port};
use serde_json::Value;

use crate::arguments;

/// The build that is measured, and the one that it is compared with.
#[derive(Debug, Clone, Default)]
pub struct Builds {
    /// Where the programs are; none: beside this one.
    pub new: Option<PathBuf>,
    /// Where those of the other build are.
    pub old: Option<PathBuf>,
}

impl Builds {
    /// What `--programs` and `--against` say.
    pub fn of(matches: &ArgMatches) -> anyhow::Result<Self> {
        Ok(Self { new: arguments::get_programs(matches)?, old: arguments::get_against(matches)? })
    }
}

/// A gateway by itself.
pub struct Gateway {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it listens for admins.
    pub admin: SocketAddr,
}

impl Gateway {
    /// Starts one of a build (none: the one beside this program), with more arguments.
    pub fn start(name: &str, programs: Option<&Path>, directory: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let [address, admin] = free_ports()?.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let process = Process::start(name, directory, &find(programs, "diffyne-gateway")?, |command| {
            command.args(["serve", "--listen", &address.to_string(), "--admin-listen", &admin.to_string()]);
            command.args(arguments);
        })?;
        wait_for_port(address.port())?;
        Ok(Self { process, address, admin })
    }
}

pub fn find(programs: Option<&Path>, name: &str) -> anyhow::Result<PathBuf> {
    programs.map_or_else(|| program(name), |here| program_in(here, name))
}

/// A gateway and its worker.
pub struct Deployment {
    /// `new` or `old`.
    pub name: &'static str,
    /// The gateway.
    pub gateway: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// The worker.
    pub worker: Process,
}

/// Everything that takes part in a run.
pub struct Setup {
    /// hyper and fastwebsockets with nothing in between.
    pub echo: Process,
    /// Where it listens.
    pub echo_address: SocketAddr,
    /// The new build, and the old one where there is one.
    pub deployments: Vec<Deployment>,
    /// Logs and the demo's database. Last, so that it goes last.
    pub directory: tempfile::TempDir,
}

impl Setup {
    /// Starts everything and waits until it listens.
    pub fn start(builds: &Builds) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let (echo, echo_address) = start_echo("echo", path, &[])?;
        let mut deployments = vec![Deployment::start("new", builds.new.as_deref(), path)?];
        if let Some(old) = &builds.old {
            deployments.push(Deployment::start("old", Some(old), path)?);
        }
        Ok(Self { echo, echo_address, deployments, directory })
    }
}

impl Deployment {
    fn start(name: &'static str, programs: Option<&Path>, directory: &Path) -> anyhow::Result<Self> {
        let [worker_port, worker_admin] = free_ports()?;
        let worker =
            Process::start(&format!("worker-{name}"), directory, &find(programs, "test-worker")?, |command| {
                command.args(["serve", "--worker-listen", &format!("127.0.0.1:{worker_port}")]);
                command.args(["--worker-admin-listen", &format!("127.0.0.1:{worker_admin}")]);
                command.args(["--signing-key", "bench", "--database"]).arg(directory.join(format!("{name}.sqlite")));
            })?;
        let workers = format!("127.0.0.1:{worker_port}");
        let mut arguments = vec!["--max-connections", "50000", "--workers", &workers];
        for limit in [
            "--handshake-rate",
            "--message-rate",
            "--call-rate",
            "--broadcast-rate",
            "--frame-rate",
            "--connection-rate",
        ] {
            arguments.extend([limit, "off"]);
        }
        wait_for_port(worker_port)?;
        let Gateway { process: gateway, address, .. } =
            Gateway::start(&format!("gateway-{name}"), programs, directory, &arguments)?;
        Ok(Self { name, gateway, address, worker })
    }
}

/// Starts `diffyne-bench echo`, with more arguments.
pub fn start_echo(name: &str, directory: &Path, arguments: &[&str]) -> anyhow::Result<(Process, SocketAddr)> {
    let [port] = free_ports()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let process = Process::start(name, directory, &std::env::current_exe()?, |command| {
        command.args(["echo", &address.to_string()]).args(arguments);
    })?;
    wait_for_port(port)?;
    Ok((process, address))
}

/// The `data` of the answer to a message; an error if that is no success.
pub fn answer(server: SocketAddr, message: &str) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut answer: Value = runtime.block_on(async {
        let mut socket = Socket::connect(server, "").await?;
        socket.begin(1, None).await?;
        socket.send(&client_frame(message)).await?;
        Ok::<_, anyhow::Error>(serde_json::from_slice(socket.receive().await?)?)
    })?;
    ensure!(answer["data"]["s"] == true, "a call has failed: {answer}");
    Ok(answer["data"].take())
}

/// A call of one of the test worker's components.
pub fn call(class: &str, method: &str, params: &str, state: &str) -> String {
    format!(
        r#"{{"event":"diffyne.call","data":{{"type":"call","componentId":"diffyne-ygkdSsR3Lxj8Asv7","componentClass":"{class}","method":"{method}","params":{params},"state":{state},"fingerprint":"b35e951ba958819ccddb9224b2df2a55","signature":"ae42e7b1d7c1f9f5a6c3a4c9b0e1d2f3a4b5c6d7e8f90123456789abcdef0123","requestId":"req-abcdefghi"}}}}"#
    )
}
