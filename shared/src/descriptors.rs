//! The limit of file descriptors that this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to the most that this process may have, and returns it; `usize::MAX` where there is none.
pub fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    // Where the system refuses, the old limit stays.
    let is_raised = limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok();
    let current = if is_raised { limit.maximum } else { limit.current };
    current.map_or(usize::MAX, |descriptors| usize::try_from(descriptors).unwrap_or(usize::MAX))
}
