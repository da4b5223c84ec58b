//! The limit of file descriptors that this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Returns the limit that is in force; `usize::MAX` where there is none.
pub fn limit() -> usize {
    number(getrlimit(Resource::Nofile).current)
}

fn number(limit: Option<u64>) -> usize {
    limit.map_or(usize::MAX, |descriptors| usize::try_from(descriptors).unwrap_or(usize::MAX))
}

/// Raises the limit to the most that this process may have, and returns it; `usize::MAX` where there is none.
pub fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    // Where the system refuses, the old limit stays.
    let is_raised = limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok();
    number(if is_raised { limit.maximum } else { limit.current })
}
