//! A real MariaDB with one application's database.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

use crate::ports::free_ports;
use crate::process::{Process, eventually};

/// What an application finds: a database, a table, and a user who may do everything.
const CONTENT: &str = "create database app; create table app.notes (id int primary key auto_increment, text varchar(20)); \
                       create user app identified by 'x'; grant all on *.* to app";

/// A server on a port and a directory of its own. It ends with this.
pub struct MariaDb {
    directory: PathBuf,
    /// Its port.
    pub port: u16,
    process: Process,
}

impl MariaDb {
    /// Makes a data directory, which takes some seconds, and starts a server on it.
    pub fn start(directory: &Path) -> anyhow::Result<Self> {
        let [port] = free_ports()?;
        let directory = directory.join("mariadb");
        let data = format!("--datadir={}", directory.join("data").display());
        std::fs::create_dir_all(&directory)?;
        let installed = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root", &data])
            .output()?;
        ensure!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let process = run(&directory, port)?;
        let server = Self { directory, port, process };
        server.wait_until_ready()?;
        server.client(&["-e", CONTENT])?;
        Ok(server)
    }

    /// Ends the server as a crash does, and starts it again with its data.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process = run(&self.directory, self.port)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        eventually("MariaDB is ready", || self.client(&["-e", "select 1"]).is_ok())
    }

    fn client(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let socket = format!("--socket={}", self.directory.join("socket").display());
        let output =
            Command::new("mariadb").args(["--no-defaults", "--user=root", &socket]).args(arguments).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

fn run(directory: &Path, port: u16) -> anyhow::Result<Process> {
    Process::start("mariadb", directory, &PathBuf::from("mariadbd"), |command| {
        command.args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--skip-log-bin"]);
        // What is committed outlives a crash: the log is flushed at each commit, as by default.
        command.args(["--innodb-buffer-pool-size=32M", &format!("--port={port}")]);
        for (name, file) in [("datadir", "data"), ("socket", "socket"), ("pid-file", "pid")] {
            command.arg(format!("--{name}={}", directory.join(file).display()));
        }
    })
}
