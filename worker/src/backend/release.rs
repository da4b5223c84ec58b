//! The release of an application in PHP, which pages compare with their own.

use std::sync::Arc;

use crate::call::page_script::page_release;
use crate::call::{CallResult, Job};

/// What becomes of a call's result once it has run, by the release of its page.
pub(super) struct PageRelease(Option<String>);

impl PageRelease {
    /// The release of the page that makes a call.
    pub(super) fn of(job: &Job) -> Self {
        Self(page_release(&job.payload))
    }

    /// Adds the application's release to a result, where the page is of another one.
    pub(super) fn compare(self, current: Option<Arc<str>>, result: CallResult) -> CallResult {
        let is_other = |current: &Arc<str>| self.0.as_ref().is_some_and(|page| **page != **current);
        CallResult { release: current.filter(is_other), ..result }
    }
}
