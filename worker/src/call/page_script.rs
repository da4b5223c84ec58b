//! What the script of a page says of itself: its release, and what it can do.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What a page's script can do beyond patches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Changes of streams.
    pub(crate) streams: bool,
    /// Values that come after the answer.
    pub(crate) push: bool,
    /// Parts of the answer while the call runs.
    pub(crate) parts: bool,
    /// Fields show the state by themselves, so that patches need not start from what the user has edited.
    pub(crate) base: bool,
    /// Answers of islands alone.
    pub(crate) islands: bool,
}

impl Accepted {
    pub(super) fn read(raw: &RawValue) -> Self {
        let words: Vec<Cow<'_, str>> = serde_json::from_str(raw.get()).unwrap_or_default();
        let has = |name| words.iter().any(|word| word == name);
        let [streams, push, parts, base, islands] = ["streams", "push", "parts", "base", "islands"].map(has);
        Self { streams, push, parts, base, islands }
    }
}

/// The release of the page's components as the page tells it: empty if it does not know it, `None` if its script has no
/// use for another one.
pub(crate) fn page_release(payload: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow, default)]
        release: Option<&'a RawValue>,
    }
    let message: Message<'_> = serde_json::from_slice(payload).ok()?;
    release_in(message.release?).map(Cow::into_owned)
}

pub(super) fn release_in(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct PageRelease<'a> {
        #[serde(borrow, default)]
        components: Cow<'a, str>,
    }
    let release: PageRelease<'_> = serde_json::from_str(raw.get()).ok()?;
    Some(release.components)
}
