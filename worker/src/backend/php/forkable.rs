//! Whether a process that has booted the application can be forked.
//!
//! What a process has open is shared by those that are forked from it: two that read from one socket, or from one place in
//! one file, take from each other. So nothing may be open but what the worker has given the process, and what is shared
//! without harm. Threads do not live on in a fork.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// The last descriptor that a process inherits: input, output, errors and a socket.
const INHERITED_LAST: u32 = 3;
/// Devices without a place that processes could share.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];
/// What opcache locks, under either of its names. Its locks belong to processes.
const OPCACHE_LOCKS: [&str; 2] = ["opcache_lock", ".ZendSem."];
/// `O_ACCMODE`, `O_WRONLY`, `O_APPEND` and `O_CLOEXEC`.
const ACCESS_MODE: u32 = 0o3;
const WRITE_ONLY: u32 = 0o1;
const APPEND: u32 = 0o2000;
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

/// What keeps a process from being forked; `None` when nothing does. `channel` has the inodes of its sockets to the worker.
pub(super) fn obstacle(process: u32, channel: [u64; 2]) -> Option<String> {
    let directory = PathBuf::from(format!("/proc/{process}"));
    match look(&directory, channel) {
        Ok(obstacle) => obstacle,
        Err(error) => Some(format!("the worker cannot read what it has open ({error})")),
    }
}

fn look(directory: &Path, channel: [u64; 2]) -> io::Result<Option<String>> {
    let threads = std::fs::read_dir(directory.join("task"))?.count();
    if threads > 1 {
        return Ok(Some(format!("it has {threads} threads, as extensions start them")));
    }
    let mut open = Vec::new();
    for entry in std::fs::read_dir(directory.join("fd"))? {
        let entry = entry?;
        let number: u32 = entry.file_name().to_string_lossy().parse().unwrap_or(u32::MAX);
        // What PHP has closed meanwhile is no obstacle.
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        open.push((number, target.to_string_lossy().into_owned()));
    }
    let mut ours: HashSet<String> =
        open.iter().filter(|(number, _)| *number <= INHERITED_LAST).map(|(_, target)| target.clone()).collect();
    ours.extend(channel.map(|inode| format!("socket:[{inode}]")));
    ours.extend(inherited()?);
    let stranger = open.iter().find(|(number, target)| {
        !ours.contains(target) && !is_shared_without_harm(target) && !is_log(directory, *number)
    });
    Ok(stranger.map(|(_, target)| format!("the application has opened {} when it booted", describe(target))))
}

fn describe(target: &str) -> String {
    if target.starts_with("socket:") { format!("a connection ({target})") } else { target.to_owned() }
}

/// What every program that the worker starts inherits, because the worker has inherited it that way.
fn inherited() -> io::Result<Vec<String>> {
    let directory = Path::new("/proc/self");
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(directory.join("fd"))? {
        let entry = entry?;
        let number = entry.file_name().to_string_lossy().parse().unwrap_or(u32::MAX);
        if let Ok(target) = std::fs::read_link(entry.path())
            && flags(directory, number) & CLOSE_ON_EXEC == 0
        {
            targets.push(target.to_string_lossy().into_owned());
        }
    }
    Ok(targets)
}

fn is_shared_without_harm(target: &str) -> bool {
    DEVICES.contains(&target) || OPCACHE_LOCKS.iter().any(|name| target.contains(name))
}

/// Whether a file is open for writing at its end alone, as logs are: each line goes to the end, whoever writes it.
fn is_log(directory: &Path, number: u32) -> bool {
    let flags = flags(directory, number);
    flags & ACCESS_MODE == WRITE_ONLY && flags & APPEND != 0
}

/// The flags of a descriptor, as `open` has them; 0 when it is closed.
fn flags(directory: &Path, number: u32) -> u32 {
    let info = std::fs::read_to_string(directory.join(format!("fdinfo/{number}"))).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that has opened something by itself, and then waits.
    fn process(script: &str) -> (Child, UnixStream) {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{script}\necho open\nread line")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        (child, UnixStream::pair().unwrap().0)
    }

    #[test]
    fn what_two_processes_would_take_from_each_other_is_an_obstacle() {
        let file = std::env::temp_dir().join(format!("diffyne-forkable-{}", std::process::id()));
        File::create(&file).unwrap();
        let path = file.display();
        let harmless = ["", "exec 5>/dev/null 6</dev/urandom", &format!("exec 5>>{path}"), "exec 7>&1"];
        let harmful =
            [format!("exec 5<{path}"), format!("exec 5>{path}"), format!("exec 5<>{path}"), "exec 5</".to_owned()];
        for (script, expected) in
            harmless.map(|script| (script.to_owned(), false)).into_iter().chain(harmful.map(|script| (script, true)))
        {
            let (mut child, _socket) = process(&script);
            let found = obstacle(child.id(), [0; 2]);
            assert_eq!(found.is_some(), expected, "{script}: {found:?}");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        std::fs::remove_file(file).unwrap();
        assert!(obstacle(u32::MAX, [0; 2]).is_some(), "a process that cannot be looked into");
    }
}
