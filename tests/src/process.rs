//! Real processes: started with their output in a file, killed with their test.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// How long something that should happen may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(10);

/// A signal, by the name that `kill` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Stop gracefully.
    Term,
    /// Die.
    Kill,
    /// Freeze.
    Stop,
    /// Go on.
    Cont,
    /// Reload.
    Hup,
    /// What Ctrl-C sends.
    Int,
    /// What has other servers open their logs anew.
    Usr1,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
            Self::Hup => "HUP",
            Self::Int => "INT",
            Self::Usr1 => "USR1",
        }
    }
}

/// A process that ends with its owner.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    end: Signal,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Process {
    /// Starts a program. `setpriv` makes it die with the test, should that be killed.
    pub fn start(
        name: &str,
        directory: &Path,
        program: &Path,
        prepare: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Self> {
        Self::start_ending(name, directory, program, Signal::Kill, prepare)
    }

    /// Starts a program that has processes of its own (nginx) and has to be asked to end, so that they end too.
    pub fn start_parent(
        name: &str,
        directory: &Path,
        program: &Path,
        prepare: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Self> {
        Self::start_ending(name, directory, program, Signal::Term, prepare)
    }

    fn start_ending(
        name: &str,
        directory: &Path,
        program: &Path,
        end: Signal,
        prepare: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", end.name()]).arg(program);
        prepare(&mut command);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { name: name.to_owned(), child, end, log })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let name = signal.name();
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status()?;
        ensure!(status.success(), "cannot send {name} to {}", self.name);
        Ok(())
    }

    /// Kills it, and waits for its end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::Kill)?;
        self.wait()?;
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let until = Instant::now() + PATIENCE + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "{} does not end", self.name);
            std::thread::sleep(STEP);
        }
    }

    /// Ends it, if it has not ended by itself.
    pub fn end(&mut self) {
        if self.end == Signal::Term && self.is_running() && self.signal(Signal::Term).is_ok() {
            let _ = self.wait();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
    }

    /// CPU time so far, of all threads.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        // Nanoseconds that each thread has been on a CPU; finer than the ticks of /proc/PID/stat.
        let mut nanos = 0u64;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanos += text.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
        }
        Ok(nanos as f64 / 1e9)
    }

    /// CPU time of its children that have ended.
    pub fn ended_children_cpu_seconds(&self) -> anyhow::Result<f64> {
        ended_children_cpu_seconds(&PathBuf::from(format!("/proc/{}", self.id())))
    }
}

/// CPU time of the children of a process in `/proc` that have ended, in ticks of a hundredth of a second.
pub fn ended_children_cpu_seconds(process: &Path) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(process.join("stat"))?;
    // The name, in parentheses, may have spaces.
    let fields = text.rsplit(')').next().unwrap_or("").split_whitespace().skip(13).take(2);
    let ticks: u64 = fields.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / 100.0)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The variable that names a folder with programs of another build, which are started instead of this one's.
pub const PROGRAMS: &str = "DIFFYNE_PROGRAMS";

/// Where a program is: of the build that [`PROGRAMS`] names, if it is there, or else where cargo has put this build's.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    if let Some(found) = std::env::var_os(PROGRAMS).and_then(|folder| program_in(Path::new(&folder), name).ok()) {
        return Ok(found);
    }
    let own = std::env::current_exe()?;
    // target/debug/deps/test-1234 or target/debug/program.
    let found = own.ancestors().skip(1).take(2).find_map(|folder| program_in(folder, name).ok());
    found.with_context(|| format!("{name} is not built: run `cargo build --workspace --bins --examples` first"))
}

/// A program of the build in a folder.
pub fn program_in(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is not there", path.display());
    // Some processes are started in another folder.
    Ok(path.canonicalize()?)
}

/// The top folder of the project.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Waits until something holds; the words are for the error.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > until {
            bail!("waited {PATIENCE:?} in vain: {what}");
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

/// Starts `diffyne-dev` (gateway, worker and demo page) in a directory; returns when it listens.
pub fn start_dev(directory: &Path, port: u16) -> anyhow::Result<Process> {
    let dev = Process::start("dev", directory, &program("diffyne-dev")?, |command| {
        command.args(["--ws-port", &port.to_string(), "--admin-listen", "127.0.0.1:0"]);
        command.arg("--database").arg(directory.join("d.sqlite"));
    })?;
    wait_for_port(port)?;
    Ok(dev)
}

/// [`eventually`] for a condition that has to be awaited.
pub async fn eventually_async(what: &str, mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !holds().await? {
        ensure!(Instant::now() < until, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(STEP).await;
    }
    Ok(())
}

/// Measures how long something takes, less what a busy machine adds: the time for which the threads of this and of the
/// observed processes were ready to run and had to wait for a CPU.
#[derive(Debug)]
pub struct Stopwatch {
    processes: Vec<u32>,
    started: Instant,
    waited: Duration,
}

impl Stopwatch {
    /// Starts it. `processes` are the ids of those that do the measured work, beside this one.
    pub fn start(processes: &[u32]) -> Self {
        let processes = [processes, &[std::process::id()]].concat();
        let waited = waited_for_cpu(&processes);
        Self { processes, started: Instant::now(), waited }
    }

    /// The time that has passed.
    pub fn elapsed(&self) -> Duration {
        let passed = self.started.elapsed();
        passed.saturating_sub(waited_for_cpu(&self.processes).saturating_sub(self.waited))
    }
}

/// How long threads have waited for a CPU so far: the second number of `schedstat`. A process that has ended has waited
/// no longer.
fn waited_for_cpu(processes: &[u32]) -> Duration {
    let tasks = processes.iter().filter_map(|id| std::fs::read_dir(format!("/proc/{id}/task")).ok());
    let nanos = tasks.flatten().flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// Waits until somebody accepts connections there.
pub fn wait_for_port(port: u16) -> anyhow::Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    eventually(&format!("somebody listens on {port}"), || TcpStream::connect(address).is_ok())
}
