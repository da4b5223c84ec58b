//! The processes that visitors of the demo's page may kill: those whose ids a script has put into a directory
//! (`deploy/cluster.sh`), as long as they are gateways or workers.

use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

/// The beginnings of the programs' names, as the kernel keeps them.
const PROGRAMS: [&str; 2] = ["diffyne-gateway", "diffyne-worker"];
/// Processes that are listed.
const PARTS_MAX: usize = 64;

/// A directory with a file for each process, `worker-7001` for example, that has its id.
#[derive(Debug, Clone)]
pub(super) struct Control(pub(super) PathBuf);

impl Control {
    /// The names of the processes.
    pub(super) fn parts(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut names: Vec<String> = files.filter_map(|file| file.file_name().into_string().ok()).collect();
        names.retain(|name| is_name(name));
        names.sort();
        names.truncate(PARTS_MAX);
        names
    }

    /// The process of this name, if it is one of ours and runs.
    pub(super) fn process(&self, name: &str) -> Option<Pid> {
        let text = is_name(name).then(|| std::fs::read_to_string(self.0.join(name)).ok())??;
        let id: i32 = text.trim().parse().ok()?;
        let program = std::fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
        // The kernel keeps 15 characters.
        let is_ours = PROGRAMS.iter().any(|name| name[..name.len().min(15)] == *program.trim_end());
        Pid::from_raw(id).filter(|_| is_ours)
    }
}

/// Kills a process as a crash would.
pub(super) fn kill(process: Pid) -> std::io::Result<()> {
    Ok(kill_process(process, Signal::KILL)?)
}

fn is_name(name: &str) -> bool {
    let port = name.strip_prefix("gateway-").or_else(|| name.strip_prefix("worker-"));
    port.is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_of_ours_can_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control(folder.path().to_owned());
        let own = std::process::id().to_string();
        for name in ["worker-7001", "gateway-6001", "redis", "worker-7001.old", "worker-99999"] {
            std::fs::write(folder.path().join(name), &own).unwrap();
        }
        assert_eq!(control.parts(), ["gateway-6001", "worker-7001"]);
        // This test is no worker, whatever the file says.
        for name in ["worker-7001", "redis", "../worker-7001", "worker-7002", ""] {
            assert_eq!(control.process(name), None, "{name}");
        }
    }
}
