//! The memory of this process, and what the host and the process's control groups still have for it.

use std::path::{Path, PathBuf};

use nix::unistd::{SysconfVar, sysconf};

/// Bytes of a page of memory, as the system says; 4096 where it does not.
pub fn page_bytes() -> usize {
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(4096)
}

/// Tells how much memory is left. Control groups are those of this process and all around them, of both versions.
#[derive(Debug)]
pub struct MemorySource {
    root: PathBuf,
    groups: Vec<Group>,
}

/// A control group whose memory may be limited.
#[derive(Debug)]
struct Group {
    directory: PathBuf,
    files: &'static GroupFiles,
}

/// The files of a control group.
#[derive(Debug)]
struct GroupFiles {
    /// Where the groups of this version are mounted.
    mounts: &'static [&'static str],
    limit: &'static str,
    usage: &'static str,
    /// The line of `memory.stat` with the bytes of files that the kernel drops before it runs out of memory.
    droppable: &'static str,
}

const VERSION_1: GroupFiles = GroupFiles {
    mounts: &["sys/fs/cgroup/memory"],
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    droppable: "total_inactive_file",
};
const VERSION_2: GroupFiles = GroupFiles {
    mounts: &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
    limit: "memory.max",
    usage: "memory.current",
    droppable: "inactive_file",
};

impl MemorySource {
    /// The source for this process.
    pub fn of_this_process() -> Self {
        Self::at(Path::new("/"))
    }

    /// The source in a tree that looks like a system's.
    fn at(root: &Path) -> Self {
        let table = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let groups = table.lines().filter_map(|line| {
            // hierarchy:controllers:path
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let files = match controllers {
                "" => &VERSION_2,
                list if list.split(',').any(|controller| controller == "memory") => &VERSION_1,
                _ => return None,
            };
            Some((files, path.trim_start_matches('/').to_owned()))
        });
        let directories = groups.flat_map(|(files, path)| {
            files.mounts.iter().flat_map(move |mount| {
                let path = PathBuf::from(&path);
                // A limit of a group around counts, too. In a container the path may be that of the host, and its
                // files those of the mount itself.
                let around: Vec<PathBuf> = path.ancestors().map(Path::to_owned).collect();
                around.into_iter().map(move |group| (files, Path::new(mount).join(group)))
            })
        });
        let limited = directories.map(|(files, directory)| Group { directory: root.join(directory), files });
        Self { root: root.to_owned(), groups: limited.filter(Group::exists).collect() }
    }

    /// Bytes that this process can still use before the host, or a control group around it, runs out of memory; `None`
    /// where the system does not tell.
    pub fn available(&self) -> Option<u64> {
        self.groups.iter().filter_map(Group::left).chain(self.host()).min()
    }

    fn host(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.root.join("proc/meminfo")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
    }
}

impl Group {
    fn exists(&self) -> bool {
        self.directory.join(self.files.limit).is_file()
    }

    fn number(&self, file: &str) -> Option<u64> {
        std::fs::read_to_string(self.directory.join(file)).ok()?.trim().parse().ok()
    }

    /// Bytes below the limit; `None` without one, which version 2 writes as `max`.
    fn left(&self) -> Option<u64> {
        let (limit, usage) = (self.number(self.files.limit)?, self.number(self.files.usage)?);
        let statistics = std::fs::read_to_string(self.directory.join("memory.stat")).unwrap_or_default();
        let droppable = statistics.lines().find_map(|line| line.strip_prefix(self.files.droppable)?.strip_prefix(' '));
        let droppable = droppable.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
        Some(limit.saturating_sub(usage.saturating_sub(droppable)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn available(name: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = std::env::temp_dir().join(format!("diffyne-memory-{name}-{}", std::process::id()));
        for (file, text) in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let available = MemorySource::at(&root).available();
        std::fs::remove_dir_all(root).unwrap();
        available
    }

    #[test]
    fn the_closest_limit_counts_wherever_it_is_set() {
        const HOST: (&str, &str) = ("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    1048576 kB\n");
        const UNIT: (&str, &str) = ("proc/self/cgroup", "0::/system.slice/g.service\n");
        const OWN: &str = "sys/fs/cgroup/system.slice/g.service/";
        const AROUND: &str = "sys/fs/cgroup/system.slice/";
        let own = |file: &str| format!("{OWN}{file}");
        let around = |file: &str| format!("{AROUND}{file}");
        assert_eq!(available("host", &[HOST]), Some(1024 * MIB));
        assert_eq!(
            available("none", &[HOST, UNIT, (&own("memory.max"), "max\n"), (&own("memory.current"), "1\n")]),
            Some(1024 * MIB)
        );
        // A unit of systemd with MemoryMax=: the file lies in the unit's own group.
        let unit = [
            HOST,
            UNIT,
            (&own("memory.max"), "268435456\n"),
            (&own("memory.current"), "104857600\n"),
            (&own("memory.stat"), "anon 1\ninactive_file 4194304\nactive_file 9\n"),
        ];
        assert_eq!(available("unit", &unit), Some((256 - 100 + 4) * MIB));
        // A slice around it has less.
        let slice = [(&*around("memory.max"), "134217728"), (&*around("memory.current"), "125829120")];
        assert_eq!(available("slice", &[&unit[..], &slice].concat()), Some(8 * MIB));
        // A container: the path is the host's, the files are at the top.
        let container = [
            HOST,
            ("proc/self/cgroup", "0::/docker/0123\n"),
            ("sys/fs/cgroup/memory.max", "67108864\n"),
            ("sys/fs/cgroup/memory.current", "1048576\n"),
        ];
        assert_eq!(available("container", &container), Some(63 * MIB));
        // Version 1.
        let old = [
            HOST,
            ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a\n0::/a\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "33554432\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "2097152\n"),
            ("sys/fs/cgroup/memory/a/memory.stat", "inactive_file 7\ntotal_inactive_file 1048576\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n"),
        ];
        assert_eq!(available("version-1", &old), Some(31 * MIB));
        assert_eq!(available("nothing", &[("proc/self/cgroup", "")]), None);
    }
}
