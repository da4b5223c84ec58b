//! Pages of memory, in which the system counts what a process uses.

use nix::unistd::{SysconfVar, sysconf};

/// Bytes of a page of memory, as the system says; 4096 where it does not.
pub fn page_bytes() -> usize {
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(4096)
}
